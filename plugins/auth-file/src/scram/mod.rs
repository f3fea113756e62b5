//! SCRAM-SHA-256 as its server sees it (RFC 5802, RFC 7677), without channel binding.
//!
//! Owns: the exchange, what is kept of a password, the made-up salts of names that are not there. Must not: know what
//! a user may do.
//!
//! The broker keeps the state between two rounds: the two messages said so far. So any instance can go on, and a
//! configuration that changed in between makes the proof wrong, not the answer.

mod message;
#[cfg(test)]
pub(crate) mod tests;

pub(crate) use message::{ClientFinal, ClientFirst};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use hmac::{Hmac, Mac as _};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use std::ops::RangeInclusive;
use subtle::ConstantTimeEq as _;

/// The Authentication Method.
pub(crate) const METHOD: &str = "SCRAM-SHA-256";
/// Bytes of a message of the client.
const MESSAGE_BYTES: usize = 2048;
/// Bytes of the client's part of the nonce.
const CLIENT_NONCE_BYTES: usize = 256;
/// Random bytes of the server's part.
const NONCE_BYTES: usize = 24;
/// Bytes of a salt in the configuration.
const SALT_BYTES: RangeInclusive<usize> = 8..=64;
/// Iterations in the configuration: RFC 7677 begins at 4096, and a client is not to be kept busy for minutes.
const ITERATIONS: RangeInclusive<u32> = 4096..=1_000_000;
/// Bytes of a salt, and iterations, as `witmq user add` makes them. Names that are not there look the same.
const USUAL_SALT_BYTES: usize = 16;
const USUAL_ITERATIONS: u32 = 20_000;
/// Bytes of SHA-256.
const KEY_BYTES: usize = 32;

type Key = [u8; KEY_BYTES];

/// Why an exchange ends without a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ScramError {
    #[error("a scram message is longer than {MESSAGE_BYTES} bytes")]
    TooLong,
    #[error("not a scram message: {0}")]
    Malformed(&'static str),
    #[error("channel binding is not offered here; begin the exchange with `n,,`")]
    ChannelBinding,
    #[error("the scram message needs an extension that is not known here")]
    Extension,
    #[error("nobody can act for another user here; leave the authorization identity out")]
    AnotherIdentity,
    #[error("the nonce or the channel binding is not that of this exchange")]
    AnotherExchange,
    #[error("bad user name or password")]
    Proof,
}

/// What cannot be used of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KeysError {
    #[error("scram: `{0}` is not base64 of the right length")]
    Base64(&'static str),
    #[error("scram: {0} iterations, allowed are {min} to {max}", min = ITERATIONS.start(), max = ITERATIONS.end())]
    Iterations(u32),
}

/// What the configuration keeps of a password.
#[derive(Debug, Deserialize, witmq_sdk::Config)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    /// In base64.
    salt: String,
    iterations: u32,
    /// In base64.
    #[config(secret)]
    stored_key: String,
    /// In base64.
    #[config(secret)]
    server_key: String,
}

/// The same, checked.
#[derive(Clone)]
pub(crate) struct Keys {
    salt: Vec<u8>,
    iterations: u32,
    stored_key: Key,
    server_key: Key,
}

impl TryFrom<&Entry> for Keys {
    type Error = KeysError;

    fn try_from(entry: &Entry) -> Result<Self, KeysError> {
        let salt = BASE64_STANDARD.decode(&entry.salt).ok();
        let salt = salt.filter(|salt| SALT_BYTES.contains(&salt.len()));
        if !ITERATIONS.contains(&entry.iterations) {
            return Err(KeysError::Iterations(entry.iterations));
        }
        Ok(Self {
            salt: salt.ok_or(KeysError::Base64("salt"))?,
            iterations: entry.iterations,
            stored_key: key(&entry.stored_key).ok_or(KeysError::Base64("stored_key"))?,
            server_key: key(&entry.server_key).ok_or(KeysError::Base64("server_key"))?,
        })
    }
}

/// Makes keys for names that are not there: always the same for the same name, and no password fits.
pub(crate) struct Decoys(Key);

impl Decoys {
    /// From `scram_secret`; `None` if that is not 32 bytes in base64.
    pub(crate) fn new(secret: &str) -> Option<Self> {
        key(secret).map(Self)
    }

    pub(crate) fn keys(&self, name: &str) -> Keys {
        let made = |what: &str| hmac(&self.0, &[what.as_bytes(), name.as_bytes()]);
        let mut salt = made("salt:").to_vec();
        salt.truncate(USUAL_SALT_BYTES);
        Keys {
            salt,
            iterations: USUAL_ITERATIONS,
            stored_key: made("stored:"),
            server_key: made("server:"),
        }
    }
}

/// Between the server's first message and its last.
pub(crate) struct Exchange<'m> {
    pub(crate) first: ClientFirst<'m>,
    server_first: String,
}

impl<'m> Exchange<'m> {
    /// Answers the client's first message; `nonce` is the server's part of it.
    pub(crate) fn begin(first: ClientFirst<'m>, nonce: &str, keys: &Keys) -> Self {
        let salt = BASE64_STANDARD.encode(&keys.salt);
        let server_first = format!("r={}{nonce},s={salt},i={}", first.nonce, keys.iterations);
        Self {
            first,
            server_first,
        }
    }

    /// The exchange that [`Self::state`] was taken of.
    pub(crate) fn resume(state: &'m [u8]) -> Result<Self, ScramError> {
        let lost = ScramError::Malformed("the state of the exchange is lost");
        let split = state.iter().position(|byte| *byte == 0).ok_or(lost)?;
        let (first, rest) = state.split_at(split);
        let server_first = std::str::from_utf8(rest.get(1..).unwrap_or_default());
        Ok(Self {
            first: ClientFirst::parse(first)?,
            server_first: server_first.map_err(|_| lost)?.to_owned(),
        })
    }

    /// Both messages so far, with a byte between them that no message has.
    pub(crate) fn state(&self) -> Vec<u8> {
        [self.first.message, &self.server_first]
            .join("\0")
            .into_bytes()
    }

    pub(crate) fn server_first(&self) -> &str {
        &self.server_first
    }

    /// Checks the client's last message; the server's last one, which proves that the server knows the keys too.
    pub(crate) fn finish(&self, last: &ClientFinal<'_>, keys: &Keys) -> Result<String, ScramError> {
        let nonce = self.server_first.strip_prefix("r=").unwrap_or_default();
        let nonce = nonce.split(',').next().unwrap_or_default();
        let binding = BASE64_STANDARD.encode(self.first.header);
        if last.nonce != nonce || last.binding != binding {
            return Err(ScramError::AnotherExchange);
        }
        let said = [
            self.first.bare,
            ",",
            &self.server_first,
            ",",
            last.without_proof,
        ];
        let said = said.map(str::as_bytes);
        let signature = hmac(&keys.stored_key, &said);
        let mut client_key = last.proof;
        for (byte, mask) in client_key.iter_mut().zip(signature) {
            *byte ^= mask;
        }
        let stored_key: Key = Sha256::digest(client_key).into();
        if bool::from(stored_key.ct_eq(&keys.stored_key)) {
            let proof = hmac(&keys.server_key, &said);
            Ok(format!("v={}", BASE64_STANDARD.encode(proof)))
        } else {
            Err(ScramError::Proof)
        }
    }
}

/// The server's part of a nonce.
pub(crate) fn nonce() -> Result<String, getrandom::Error> {
    let mut bytes = [0_u8; NONCE_BYTES];
    getrandom::fill(&mut bytes)?;
    Ok(BASE64_STANDARD.encode(bytes))
}

fn key(text: &str) -> Option<Key> {
    BASE64_STANDARD.decode(text).ok()?.try_into().ok()
}

fn hmac(key: &Key, parts: &[&[u8]]) -> Key {
    // A key of SHA-256's block size, so that making the function cannot fail: HMAC fills a shorter one with zeros.
    let mut block = [0_u8; 64];
    for (to, from) in block.iter_mut().zip(key) {
        *to = *from;
    }
    let mut function = Hmac::<Sha256>::new(&block.into());
    parts.iter().for_each(|part| function.update(part));
    function.finalize().into_bytes().into()
}
