//! The shape of a chain file, and the first half of its errors: what TOML and types can tell.

mod either;
mod from;
mod state;
mod step;
mod test;

use crate::payload::{self, Format};
use crate::place::{RuleError, Source, suggest};
use crate::step::words;
pub(crate) use either::Either;
pub(crate) use from::From;
use serde::Deserialize;
use serde_spanned::Spanned;
pub(crate) use state::{Changed, Dedup, Excess, Lookup, Rate, Store, Window};
use std::collections::BTreeMap;
pub(crate) use step::{OnError, Step};
pub(crate) use test::{Expected, Given, Test};

/// Steps of one chain.
const STEPS: usize = 64;

/// A whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct File {
    /// Topic templates.
    pub(crate) from: From,
    #[serde(default)]
    pub(crate) mode: Mode,
    #[serde(default)]
    pub(crate) order: i64,
    /// For whoever reads the file.
    pub(crate) description: Option<Spanned<String>>,
    #[serde(default = "yes")]
    pub(crate) enabled: bool,
    /// How payloads are read, and how they are written when they changed.
    #[serde(default, deserialize_with = "payload::decode")]
    pub(crate) decode: Format,
    #[serde(default, deserialize_with = "payload::encode")]
    pub(crate) encode: Format,
    /// A payload that cannot be read, and steps that say nothing else.
    pub(crate) on_error: Option<Spanned<OnError>>,
    pub(crate) step: Option<Vec<Spanned<Step>>>,
    /// Steps that `then` or a plugin leads to, by name.
    #[serde(default)]
    pub(crate) chain: BTreeMap<Spanned<String>, Named>,
    /// Constants by table and key, for `lookup`.
    #[serde(default)]
    pub(crate) table: BTreeMap<String, BTreeMap<String, toml::Value>>,
    #[serde(default)]
    pub(crate) test: Vec<Spanned<Test>>,
}

/// One `[chain.NAME]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Named {
    #[serde(default)]
    pub(crate) step: Vec<Spanned<Step>>,
}

fn yes() -> bool {
    true
}

/// What the chain does to the message itself.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Mode {
    /// What leaves the chain is retained and routed.
    Transform,
    /// The original is routed untouched; the chain acts by `publish`.
    #[default]
    Rule,
}

/// Words of the format that this version does not have yet.
const LATER: [&str; 1] = ["http"];

/// How a descriptor is made.
const DESCRIPTOR: &str =
    "protoc --include_imports --descriptor_set_out=x.desc x.proto, then base64 -w0 x.desc";

/// Parses a file.
pub(crate) fn parse(source: Source<'_>) -> Result<File, RuleError> {
    let file: File = toml::from_str(source.text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        let message = error.message().trim().to_owned();
        let word = message
            .strip_prefix("unknown field `")
            .and_then(|rest| rest.split('`').next())
            .map(str::to_owned);
        let located = source.error(at, "bad-file", message.clone());
        match word {
            Some(word) if LATER.contains(&&*word) => {
                let text = format!(
                    "`{word}` is not in this version; there are {} steps",
                    words()
                );
                let error = source.error(at, "not-yet", text);
                error.hint("give the message to a plugin that speaks HTTP, with `sink` or `plugin`")
            }
            Some(word) => {
                let known: Vec<&str> = message.split('`').skip(3).step_by(2).collect();
                match suggest(&word, known) {
                    Some(like) => located.hint(format!("did you mean `{like}`?")),
                    None => located,
                }
            }
            None if message.starts_with("protobuf: ") => located.hint(DESCRIPTOR),
            None => located,
        }
    })?;
    check_steps(&file, source)?;
    Ok(file)
}

fn check_steps(file: &File, source: Source<'_>) -> Result<(), RuleError> {
    let own = file.step.as_deref().unwrap_or_default();
    if own.is_empty() {
        return Err(source.error(0, "bad-file", "a chain needs at least one [[step]]"));
    }
    let mut count = own.len();
    for (name, chain) in &file.chain {
        let at = name.span().start;
        let name = name.get_ref();
        if chain.step.is_empty() {
            let text = format!("the chain `{name}` needs at least one step");
            let error = source.error(at, "bad-file", text);
            return Err(error.hint(format!("write it under [[chain.{name}.step]]")));
        }
        if !is_plain(name) {
            let text = format!("`{name}` is no name for a chain");
            let error = source.error(at, "bad-name", text);
            return Err(error.hint("use 1 to 64 letters, digits, - and _"));
        }
        count += chain.step.len();
    }
    if count > STEPS {
        let text = format!(
            "a chain file has at most {STEPS} steps, named chains included, this one {count}"
        );
        let error = source.error(0, "bad-file", text);
        return Err(error.hint("make two files of it"));
    }
    Ok(())
}

/// Whether it can name a chain.
pub(crate) fn is_plain(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    (1..=64).contains(&name.len()) && name.chars().all(is_plain)
}
