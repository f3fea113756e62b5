//! Keys in the store of the plugin: one entry for each user who is `stored`, in lines as in a secret.
//!
//! Owns: the form of what a chain hands over, and of what is kept. Must not: say who is a user; the configuration does.

use crate::lines;
use std::collections::BTreeSet;
use witmq_sdk::host::kv::{self, KvError};
use witmq_sdk::host::{PublishError, metrics, publish};
use witmq_sdk::{Delivered, Emit, Failure, Message, QoS};
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
/// `plugin`: what this one is called.
pub(crate) fn put(
    plugin: &str,
    message: &Message,
    is_stored: impl Fn(&str) -> bool,
) -> Result<Delivered, Failure> {
    let refuse = |name: &str, reason: &str| refuse(plugin, message, name, reason);
    let Ok(text) = message.text() else {
        return refuse("", "it is no text");
    };
    let (name, rest) = text.split_once('\n').unwrap_or((text, ""));
    let name = name.trim_end_matches('\r');
    if !is_stored(name) {
        let said = "its first line has to be the name of a user with `stored` in the configuration";
        return refuse("", said); // it may be a key, and is not repeated
    }
    let rest = rest.trim_end();
    let keys = match lines(2, rest) {
        Ok(keys) => keys,
        Err(cause) => return refuse(name, &cause),
    };
    let mut seen = BTreeSet::new();
    if let Some(twice) = keys.iter().find(|keys| !seen.insert(keys.mechanism())) {
        let mechanism = twice.mechanism().name();
        return refuse(name, &format!("it has keys for {mechanism} twice"));
    }
    let done = match keys.is_empty() {
        true => kv::remove(&at(name)).map(|_| ()),
        false => kv::put(&at(name), rest.as_bytes()).map(|_| ()),
    };
    match done {
        Ok(()) => Ok(Delivered::Done),
        Err(error @ (KvError::TooLarge | KvError::Quota)) => refuse(name, &error.to_string()),
        Err(error) => Err(Failure::Failed(format!("`{name}`: {error}"))),
    }
}

/// A message that cannot be used is done with here: what the broker makes a dead letter of keeps its payload, and in that
/// are keys. The letter is written here instead, with the name (empty: nobody knows) and the reason.
fn refuse(plugin: &str, message: &Message, name: &str, reason: &str) -> Result<Delivered, Failure> {
    let mut letter = Emit::new(format!("$dead-letter/{plugin}"), name).qos(QoS::AtLeastOnce);
    let topic = ("topic".to_owned(), message.topic.clone());
    let why = ("reason".to_owned(), reason.to_owned());
    letter.properties.user.extend([topic, why]);
    match publish(&letter) {
        // Nothing was done with it yet, and there is room for a letter in another call.
        Err(PublishError::Busy | PublishError::Other(_)) => {
            return Ok(Delivered::Again { after_ms: 0 });
        }
        Err(error) => witmq_sdk::warn!("no dead letter says so: {error}"),
        Ok(()) => {}
    }
    let topic = &message.topic;
    witmq_sdk::warn!("keys for `{name}` from `{topic}` cannot be used: {reason}");
    metrics::count("scram_refused_keys", 1);
    Ok(Delivered::Done)
}
