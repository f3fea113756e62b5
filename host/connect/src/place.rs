//! Errors that say where: file, line and column.

use witmq_broker::ports::ControlError;

/// A sink file that cannot be applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}:{column}: {message}")]
pub(crate) struct SinkError {
    pub(crate) file: String,
    /// From 1.
    pub(crate) line: usize,
    /// From 1, in characters.
    pub(crate) column: usize,
    pub(crate) message: String,
    /// What to do.
    pub(crate) hint: Option<String>,
}

impl From<SinkError> for ControlError {
    fn from(error: SinkError) -> Self {
        Self::Invalid {
            code: "bad-sink",
            message: error.to_string(),
            hint: error.hint,
        }
    }
}

impl SinkError {
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// A source text with its name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source<'a> {
    pub(crate) file: &'a str,
    pub(crate) text: &'a str,
}

impl Source<'_> {
    /// An error at a byte of the text.
    pub(crate) fn error(&self, at: usize, message: impl Into<String>) -> SinkError {
        let before = self.text.get(..at).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        let column = before
            .rsplit('\n')
            .next()
            .map_or(0, |last| last.chars().count())
            + 1;
        SinkError {
            file: self.file.to_owned(),
            line,
            column,
            message: message.into(),
            hint: None,
        }
    }
}

/// The known word most like `word`, if one is like it at all.
pub(crate) fn suggest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let best = known
        .into_iter()
        .map(|known| (strsim::damerau_levenshtein(word, known), known))
        .min()?;
    (best.0 <= 1 + word.len() / 4).then_some(best.1)
}
