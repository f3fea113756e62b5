//! A step: one command with a header and a time. A run stops at the first that fails and says how to repeat it.
//!
//! Owns: how children are started (their environment, their folder) and what a run prints.
//! Must not: know what is built or tested; that is `plan`.

use crate::tree::Tree;
use anyhow::{Context as _, Result, bail};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Variables that `cargo run` sets for this binary. Build scripts that watch them (ring's does) would run again
/// each time somebody changes between `cargo xtask` and plain `cargo`.
const OF_CARGO_RUN: [&str; 4] = [
    "CARGO_PKG_",
    "CARGO_MANIFEST_",
    "CARGO_BIN_",
    "CARGO_CRATE_",
];

/// One command, with what is needed to print the line that repeats it.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    words: Vec<OsString>,
    folder: Option<PathBuf>,
    settings: Vec<(&'static str, OsString)>,
}

impl Call {
    /// Starts with the program.
    pub(crate) fn new(program: impl Into<OsString>) -> Self {
        Self {
            words: vec![program.into()],
            folder: None,
            settings: Vec::new(),
        }
    }

    /// `cargo` with the words of `line`, which hold no blanks.
    pub(crate) fn cargo(line: &str) -> Self {
        Self::new("cargo").words(line.split_whitespace())
    }

    /// Adds words.
    pub(crate) fn words<W: Into<OsString>>(mut self, words: impl IntoIterator<Item = W>) -> Self {
        self.words.extend(words.into_iter().map(Into::into));
        self
    }

    /// Runs in `folder` instead of the workspace root.
    pub(crate) fn within(mut self, folder: &Path) -> Self {
        self.folder = Some(folder.to_path_buf());
        self
    }

    /// Sets a variable of the child's environment.
    pub(crate) fn set(mut self, name: &'static str, value: impl Into<OsString>) -> Self {
        self.settings.push((name, value.into()));
        self
    }

    /// A command ready to start.
    pub(crate) fn command(&self, tree: &Tree) -> Command {
        let mut words = self.words.iter();
        let mut command =
            Command::new(words.next().map_or(OsStr::new("true"), OsString::as_os_str));
        command
            .args(words)
            .current_dir(self.folder.as_deref().unwrap_or_else(|| tree.root()));
        for (name, _) in std::env::vars_os() {
            if OF_CARGO_RUN
                .iter()
                .any(|start| name.to_string_lossy().starts_with(start))
            {
                command.env_remove(name);
            }
        }
        command.envs(self.settings.iter().map(|(name, value)| (name, value)));
        command
    }

    /// The line to type in a shell at the workspace root.
    pub(crate) fn line(&self, tree: &Tree) -> String {
        let mut line = String::new();
        for (name, value) in &self.settings {
            line.push_str(&format!("{name}={} ", quoted(value)));
        }
        let words: Vec<_> = self.words.iter().map(|word| quoted(word)).collect();
        line.push_str(&words.join(" "));
        match &self.folder {
            Some(folder) => {
                let folder = folder.strip_prefix(tree.root()).unwrap_or(folder);
                format!("(cd {} && {line})", quoted(folder.as_os_str()))
            }
            None => line,
        }
    }
}

/// A word as a shell wants it.
fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%*".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.into_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// The steps done so far.
#[derive(Debug)]
pub(crate) struct Run<'tree> {
    tree: &'tree Tree,
    began: Instant,
    done: Vec<(String, Duration)>,
}

impl<'tree> Run<'tree> {
    pub(crate) fn new(tree: &'tree Tree) -> Self {
        Self {
            tree,
            began: Instant::now(),
            done: Vec::new(),
        }
    }

    pub(crate) fn tree(&self) -> &'tree Tree {
        self.tree
    }

    /// Runs one command to its end.
    ///
    /// # Errors
    /// When it cannot be started or ends with another code than 0; the text names the command that repeats it.
    pub(crate) fn step(&mut self, title: &str, call: &Call) -> Result<()> {
        let line = call.line(self.tree);
        println!("\n==> {title}\n    {line}");
        let began = Instant::now();
        let status = call
            .command(self.tree)
            .status()
            .with_context(|| format!("cannot start: {line}"))?;
        let took = began.elapsed();
        if !status.success() {
            bail!(
                "{title}: {status} after {}\nrepeat it with: {line}",
                seconds(took)
            );
        }
        println!("    {title}: {}", seconds(took));
        self.done.push((title.to_owned(), took));
        Ok(())
    }

    /// Prints what took how long.
    pub(crate) fn summary(&self) {
        println!("\nsteps:");
        for (title, took) in &self.done {
            println!("  {:>8}  {title}", seconds(*took));
        }
        println!("  {:>8}  in all", seconds(self.began.elapsed()));
    }
}

fn seconds(took: Duration) -> String {
    format!("{:.1} s", took.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::{Call, Run};
    use crate::tree::Tree;

    #[test]
    fn a_failure_names_the_command_that_repeats_it() {
        let tree = Tree::find().unwrap();
        let mut run = Run::new(&tree);
        let call = Call::new("sh")
            .words(["-c", "exit 3"])
            .set("A", "b c")
            .within(&tree.root().join("host"));
        let error = run.step("three", &call).unwrap_err().to_string();
        assert!(error.contains("three: exit status: 3"), "{error}");
        assert!(
            error.ends_with("repeat it with: (cd host && A='b c' sh -c 'exit 3')"),
            "{error}"
        );
    }

    #[test]
    fn a_program_that_is_missing_is_named() {
        let tree = Tree::find().unwrap();
        let error = Run::new(&tree)
            .step("none", &Call::new("witmq-no-such-program"))
            .unwrap_err();
        assert!(
            format!("{error:#}").contains("cannot start: witmq-no-such-program"),
            "{error:#}"
        );
    }

    #[test]
    fn what_cargo_run_set_is_not_passed_on() {
        let tree = Tree::find().unwrap();
        let call = Call::new("sh").words(["-c", "test -z \"$CARGO_PKG_NAME$CARGO_MANIFEST_DIR\""]);
        Run::new(&tree).step("clean environment", &call).unwrap();
    }
}
