//! Errors that say where: file, line and column.

use std::ops::Range;
use witmq_broker::ports::ControlError;

/// A chain file that cannot be deployed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}:{column}: {message}")]
pub struct RuleError {
    /// As given.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// For machines, for example `cel-error`.
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

impl From<RuleError> for ControlError {
    fn from(error: RuleError) -> Self {
        Self::Invalid {
            code: error.code,
            message: error.to_string(),
            hint: error.hint,
        }
    }
}

/// A source text with its name.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) file: &'a str,
    pub(crate) text: &'a str,
}

impl Source<'_> {
    /// An error at a byte of the text.
    pub(crate) fn error(
        &self,
        at: usize,
        code: &'static str,
        message: impl Into<String>,
    ) -> RuleError {
        let (line, column) = crate::expression::position(self.text, at);
        RuleError {
            file: self.file.to_owned(),
            line,
            column,
            code,
            message: message.into(),
            hint: None,
        }
    }

    /// Where the content of a TOML string begins: behind its quotes.
    pub(crate) fn content(&self, span: &Range<usize>) -> usize {
        let text = self.text.get(span.start..).unwrap_or_default();
        let quotes = if text.starts_with("\"\"\"") || text.starts_with("'''") {
            3
        } else {
            1
        };
        let has_line_break =
            quotes == 3 && text.get(3..).is_some_and(|rest| rest.starts_with('\n'));
        span.start + quotes + usize::from(has_line_break)
    }
}

impl RuleError {
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
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
