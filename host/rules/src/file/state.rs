//! The shape of steps that remember something.

use serde::Deserialize;
use serde_spanned::Spanned;

/// What becomes of a message that does not pass.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Excess {
    /// The chain ends; the message goes on as it is.
    #[default]
    Stop,
    /// It is acknowledged and goes no further (transform chains only).
    Drop,
    /// Its publisher is told (transform chains only).
    Refuse,
}

/// `dedup = { … }`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Dedup {
    pub(crate) key: Spanned<String>,
    #[serde(rename = "for")]
    pub(crate) time: Spanned<String>,
    pub(crate) excess: Option<Spanned<Excess>>,
}

/// `rate = { … }`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rate {
    pub(crate) key: Option<Spanned<String>>,
    pub(crate) limit: Spanned<u32>,
    pub(crate) per: Spanned<String>,
    pub(crate) excess: Option<Spanned<Excess>>,
}

/// `changed = { … }`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Changed {
    pub(crate) key: Option<Spanned<String>>,
    pub(crate) value: Spanned<String>,
    /// Numbers that differ by less are the same.
    pub(crate) by: Option<Spanned<f64>>,
    /// After so long a message passes whatever it says.
    pub(crate) at_least: Option<Spanned<String>>,
    /// What the first message is compared with.
    pub(crate) initial: Option<toml::Value>,
    pub(crate) excess: Option<Spanned<Excess>>,
}
