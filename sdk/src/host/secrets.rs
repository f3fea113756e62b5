//! Secrets that the operator keeps outside of the configuration, granted by name (`secret:NAME`).

use super::broker;
use std::fmt;

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretError {
    /// Not granted, in words.
    Denied(String),
    /// Anything else, in words: more host calls than one call of a hook may make.
    Other(String),
}

impl fmt::Display for SecretError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied(text) => write!(f, "the secret is denied: {text}"),
            Self::Other(text) => write!(f, "the secrets: {text}"),
        }
    }
}

impl std::error::Error for SecretError {}

/// The bytes of a secret; `None` if there is none of that name. Read anew each time: ask when it is needed.
///
/// # Errors
/// It is not granted.
pub fn get(name: &str) -> Result<Option<Vec<u8>>, SecretError> {
    broker::secret(name)
}

/// The same as text without blanks around it; `None` if it is no text.
///
/// # Errors
/// It is not granted.
pub fn text(name: &str) -> Result<Option<String>, SecretError> {
    let text = get(name)?.and_then(|bytes| String::from_utf8(bytes).ok());
    Ok(text.map(|text| text.trim().to_owned()))
}
