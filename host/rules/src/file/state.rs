//! The shape of steps that remember something.

use serde::Deserialize;
use serde_spanned::Spanned;
use std::collections::BTreeMap;

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

/// `window = { … }`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Window {
    pub(crate) key: Option<Spanned<String>>,
    pub(crate) count: Option<Spanned<usize>>,
    pub(crate) time: Option<Spanned<String>>,
    pub(crate) every: Option<Spanned<String>>,
    #[serde(default)]
    pub(crate) sliding: bool,
    pub(crate) value: Option<Spanned<String>>,
    pub(crate) values: Option<Spanned<BTreeMap<String, Spanned<String>>>>,
    pub(crate) excess: Option<Spanned<Excess>>,
}

/// `lookup = { … }`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Lookup {
    pub(crate) table: Spanned<String>,
    pub(crate) key: Spanned<String>,
    /// The name of what is found, for the steps behind.
    #[serde(rename = "as")]
    pub(crate) name: Spanned<String>,
    /// What is found where nothing is; null without.
    pub(crate) default: Option<toml::Value>,
}

/// `store = { … }`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Store {
    pub(crate) table: Spanned<String>,
    pub(crate) key: Spanned<String>,
    /// Null removes the key.
    pub(crate) value: Spanned<String>,
}
