//! Texts that a sink file may name instead of holding them.

use std::fmt;
use std::sync::Arc;

/// Reads a secret of the operator by its name.
pub type Secret = Arc<dyn Fn(&str) -> Option<Vec<u8>> + Send + Sync>;

/// A text of a sink file.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Text {
    /// As it stands there.
    Plain(String),
    /// The name of a secret of the configuration.
    Secret(String),
}

/// A text in the file may be a password too, so it is not shown.
impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(_) => f.write_str("Plain(..)"),
            Self::Secret(name) => f.debug_tuple("Secret").field(name).finish(),
        }
    }
}

impl Text {
    /// The text itself, read each time so that a secret can be exchanged while the broker runs.
    ///
    /// # Errors
    /// The secret is not there or no text, in words.
    pub(crate) fn reveal(&self, secrets: &Secret) -> Result<String, String> {
        match self {
            Self::Plain(text) => Ok(text.clone()),
            Self::Secret(name) => {
                let bytes = secrets(name).ok_or_else(|| {
                    format!("secret `{name}` cannot be read: name its file in [secrets] of the configuration")
                })?;
                String::from_utf8(bytes).map_err(|_| format!("secret `{name}` is no text"))
            }
        }
    }
}
