//! Puts text between the two markers of a Markdown file.

use anyhow::{Context as _, Result};
use std::path::Path;

const BEGIN: &str = "<!-- bench: written by `cargo xtask bench` from here -->\n";
const END: &str = "<!-- bench: to here -->";

/// Replaces what is between the markers of `file`; a file that is not there is made.
///
/// # Errors
/// When the file has no markers, or cannot be read or written.
pub(crate) fn replace(file: &Path, text: &str) -> Result<()> {
    let old = if file.exists() {
        std::fs::read_to_string(file)
    } else {
        Ok(format!("{BEGIN}{END}\n"))
    };
    let old = old.with_context(|| format!("cannot read {}", file.display()))?;
    let new = spliced(&old, text).with_context(|| {
        format!(
            "{}: no line {} followed by {END}",
            file.display(),
            BEGIN.trim()
        )
    })?;
    std::fs::write(file, new).with_context(|| format!("cannot write {}", file.display()))
}

fn spliced(old: &str, text: &str) -> Option<String> {
    let (before, rest) = old.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{}\n\n{END}{after}", text.trim()))
}

#[cfg(test)]
mod tests {
    use super::{BEGIN, END, replace, spliced};

    #[test]
    fn only_what_is_between_the_markers_changes() {
        let old = format!("a\n{BEGIN}old\n{END}\nb\n");
        let new = spliced(&old, "new\n").unwrap();
        assert_eq!(new, format!("a\n{BEGIN}\nnew\n\n{END}\nb\n"));
        assert_eq!(spliced(&new, "new"), Some(new));
    }

    #[test]
    fn a_file_without_markers_is_refused_and_a_missing_one_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.md");
        replace(&file, "x").unwrap();
        assert!(std::fs::read_to_string(&file).unwrap().contains("\nx\n"));
        std::fs::write(&file, "nothing").unwrap();
        let error = replace(&file, "x").unwrap_err().to_string();
        assert!(error.contains("no line <!-- bench"), "{error}");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "nothing");
    }
}
