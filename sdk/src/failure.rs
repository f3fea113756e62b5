//! Why a hook could not do its work, and how other errors become that by `?`.

use crate::host;

/// Why a hook could not do its work. What then happens is up to whoever called: the failure policy of a step, another
/// try of a sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The input is not what the plugin expects; asking again will not help.
    BadInput(String),
    /// Something else went wrong; asking again may help.
    Failed(String),
}

impl Failure {
    /// The input is not what the plugin expects, in words.
    pub fn bad_input(text: impl Into<String>) -> Self {
        Self::BadInput(text.into())
    }

    /// Something else went wrong, in words.
    pub fn failed(text: impl Into<String>) -> Self {
        Self::Failed(text.into())
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::BadInput(text) => write!(f, "bad input: {text}"),
            Self::Failed(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for Failure {}

/// `?` on an error that is about the input, or about the work.
macro_rules! from {
    ($variant:ident: $($error:ty),+) => {
        $(
            impl From<$error> for Failure {
                fn from(error: $error) -> Self {
                    Self::$variant(error.to_string())
                }
            }
        )+
    };
}

from!(BadInput: serde_json::Error, std::str::Utf8Error, std::string::FromUtf8Error);
from!(BadInput: std::num::ParseIntError, std::num::ParseFloatError, std::num::TryFromIntError);
from!(Failed: host::KvError, host::PublishError, host::TimerError, host::ClientsError, host::SecretError);
#[cfg(feature = "http")]
from!(Failed: host::http::HttpError);
