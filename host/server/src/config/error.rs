//! What can be wrong with a configuration, in words that say where and what to do.

use super::limits::Stray;
use std::path::PathBuf;

/// A configuration that cannot be used; nothing was started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {}: {source}", path.display())]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    /// Not TOML, an unknown key or a value of the wrong kind.
    #[error("{origin}{at}: {message}{hint}")]
    Parse {
        origin: String,
        /// `:line:column`, empty where there is none.
        at: String,
        message: String,
        /// Empty, or `; did you mean …?`.
        hint: String,
    },
    /// A rule between several keys.
    #[error("configuration: {0}")]
    Rule(String),
}

impl ConfigError {
    pub(crate) fn rule(text: String) -> Self {
        Self::Rule(text)
    }

    /// A value that its key may not have: where it comes from, as far as that is known.
    pub(super) fn stray(origin: &str, text: &str, stray: Stray, overrides: &[String]) -> Self {
        let key = stray.key;
        let variable = format!("WITMQ_LIMITS__{}", key.to_uppercase());
        let is_it = |name: &&String| name.strip_suffix("_FILE").unwrap_or(name) == variable;
        let (origin, at) = match overrides.iter().find(is_it) {
            Some(name) => (format!("environment ({name})"), String::new()),
            None => (origin.to_owned(), place_of(text, key).unwrap_or_default()),
        };
        Self::Parse {
            origin,
            at,
            message: stray.message,
            hint: String::new(),
        }
    }

    /// From serde's words; `text` is the source the error's span points into.
    pub(crate) fn parse(origin: &str, text: &str, error: &toml::de::Error) -> Self {
        let at = error.span().map_or_else(String::new, |span| {
            let (line, column) = line_column(text, span.start);
            format!(":{line}:{column}")
        });
        let message = error.message().to_owned();
        let hint =
            suggestion(&message).map_or_else(String::new, |s| format!("; did you mean `{s}`?"));
        Self::Parse {
            origin: origin.to_owned(),
            at,
            message,
            hint,
        }
    }
}

/// `:line:column` of a key of `[limits]`.
fn place_of(text: &str, key: &str) -> Option<String> {
    let table = toml::de::DeTable::parse(text).ok()?;
    let limits = table.get_ref().get("limits")?.get_ref().as_table()?;
    let (found, _) = limits.iter().find(|(name, _)| name.get_ref() == key)?;
    let (line, column) = line_column(text, found.span().start);
    Some(format!(":{line}:{column}"))
}

/// 1-based line and column of a byte offset.
fn line_column(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
    (line, column)
}

/// serde says "unknown field `prot`, expected one of `port`, `bind`": the nearest of those.
fn suggestion(message: &str) -> Option<String> {
    let rest = message
        .strip_prefix("unknown field `")
        .or_else(|| message.strip_prefix("unknown variant `"))?;
    let (unknown, expected) = rest.split_once('`')?;
    expected
        .split('`')
        .skip(1)
        .step_by(2)
        .map(|known| (strsim::damerau_levenshtein(unknown, known), known))
        .filter(|(distance, known)| *distance <= known.len().max(3) / 2 + 1)
        .min()
        .map(|(_, known)| known.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_known_key_is_suggested() {
        let message =
            "unknown field `max_packet_byte`, expected one of `max_packet_bytes`, `overflow`";
        assert_eq!(suggestion(message).as_deref(), Some("max_packet_bytes"));
        assert_eq!(
            suggestion("unknown field `zzzzzz`, expected `bind` or `path`"),
            None
        );
        assert_eq!(suggestion("invalid type: string"), None);
    }

    #[test]
    fn offsets_become_lines_and_columns() {
        assert_eq!(line_column("a\nbc\n", 3), (2, 2));
        assert_eq!(line_column("", 0), (1, 1));
    }
}
