//! Keys in the store of the plugin: one entry for each user who is `stored`, in lines as in a secret.
//!
//! Owns: the form of what a chain hands over, and of what is kept. Must not: say who is a user; the configuration does.

use crate::lines;
use std::collections::BTreeSet;
use witmq_sdk::host::kv::{self, KvError};
use witmq_sdk::{Delivered, Failure, Message};
use witmq_users::scram::Keys;

/// Where the keys of a user are.
const PREFIX: &str = "keys/";
/// Bytes of a name: a key of the store has at most 512.
pub(crate) const NAME_BYTES: usize = 512 - PREFIX.len();

fn at(name: &str) -> String {
    format!("{PREFIX}{name}")
}

/// The keys of a user; none where none were put.
pub(crate) fn read(name: &str) -> Result<Vec<Keys>, String> {
    let fault = |cause: String| format!("the stored keys of `{name}`: {cause}");
    let kept = kv::get(&at(name)).map_err(|error| fault(error.to_string()))?;
    let text = String::from_utf8(kept.unwrap_or_default());
    let text = text.map_err(|_| fault("they are no text".to_owned()))?;
    lines(1, &text).map_err(fault)
}

/// Takes a message whose first line is a name, with a line for each of its keys; without any they are taken away.
pub(crate) fn put(
    message: &Message,
    is_stored: impl Fn(&str) -> bool,
) -> Result<Delivered, Failure> {
    let text = message.text()?;
    let (name, rest) = text.split_once('\n').unwrap_or((text, ""));
    let name = name.trim_end_matches('\r');
    if !is_stored(name) {
        let said = "its first line has to be the name of a user with `stored` in the configuration";
        return Ok(Delivered::Never(said.to_owned()));
    }
    let rest = rest.trim_end();
    let keys = match lines(2, rest) {
        Ok(keys) => keys,
        Err(cause) => return Ok(Delivered::Never(format!("`{name}`: {cause}"))),
    };
    let mut seen = BTreeSet::new();
    if let Some(twice) = keys.iter().find(|keys| !seen.insert(keys.mechanism())) {
        let mechanism = twice.mechanism().name();
        let said = format!("`{name}` has keys for {mechanism} twice");
        return Ok(Delivered::Never(said));
    }
    let done = match keys.is_empty() {
        true => kv::remove(&at(name)).map(|_| ()),
        false => kv::put(&at(name), rest.as_bytes()).map(|_| ()),
    };
    match done {
        Ok(()) => Ok(Delivered::Done),
        Err(error @ (KvError::TooLarge | KvError::Quota)) => {
            Ok(Delivered::Never(format!("`{name}`: {error}")))
        }
        Err(error) => Err(Failure::Failed(format!("`{name}`: {error}"))),
    }
}
