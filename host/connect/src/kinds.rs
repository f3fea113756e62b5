//! The kinds of connectors there are; each has a file of its own.

mod file;
mod tls;
mod webhook;

use crate::keys::Keys;
use crate::outlet::Outlet;
use crate::place::SinkError;
use crate::secret::Secret;
use std::path::PathBuf;

/// What connectors reach beyond themselves, as the operator allows it.
#[derive(Clone)]
pub(crate) struct Means {
    pub(crate) secrets: Secret,
    /// Files are written below this folder.
    pub(crate) exports: PathBuf,
}

/// Settings of one kind.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    File(file::Settings),
    Webhook(Box<webhook::Settings>),
}

/// As `kind` names them.
const NAMES: [&str; 2] = ["file", "webhook"];

impl Kind {
    pub(crate) fn parse(name: &str, keys: &mut Keys<'_>) -> Result<Self, SinkError> {
        match keys.word("kind", &NAMES)? {
            Some("file") => Ok(Self::File(file::Settings::parse(name, keys)?)),
            Some("webhook") => Ok(Self::Webhook(Box::new(webhook::Settings::parse(keys)?))),
            _ => {
                let error = keys.error("`kind` is missing");
                Err(error.hint(format!("there are {}", NAMES.join(", "))))
            }
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::File(_) => "file",
            Self::Webhook(_) => "webhook",
        }
    }

    /// Connects to nobody yet.
    pub(crate) fn outlet(&self, means: &Means) -> Box<dyn Outlet> {
        match self {
            Self::File(settings) => Box::new(file::File::new(settings.clone(), means)),
            Self::Webhook(settings) => Box::new(webhook::Webhook::new((**settings).clone(), means)),
        }
    }
}
