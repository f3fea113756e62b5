//! The mechanisms, each of which is a hash function.
//!
//! Owns: their names, HMAC and H of RFC 5802 section 2.2. Must not: know messages.

use hmac::{Hmac, Mac};
use serde::Deserialize;
use sha2::{Digest as _, Sha256, Sha512};

/// How a client proves that it knows a password.
#[derive(Clone, Copy, Debug, Deserialize, witmq_sdk::Config, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mechanism {
    /// RFC 7677.
    #[serde(rename = "SCRAM-SHA-256")]
    Sha256,
    /// The same with the longer hash, registered as such with IANA.
    #[serde(rename = "SCRAM-SHA-512")]
    Sha512,
}

impl Mechanism {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Sha256, Self::Sha512];

    /// The Authentication Method.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "SCRAM-SHA-256",
            Self::Sha512 => "SCRAM-SHA-512",
        }
    }

    /// The mechanism of an Authentication Method; names are compared byte by byte.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == name)
    }

    /// Bytes of its keys.
    #[must_use]
    pub const fn key_bytes(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }

    pub(crate) fn hash(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha256 => Sha256::digest(bytes).to_vec(),
            Self::Sha512 => Sha512::digest(bytes).to_vec(),
        }
    }

    /// HMAC over the parts one after the other. A key is no longer than a hash.
    pub(crate) fn hmac(self, key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
        // Keys of the hash's block size, so that making the function cannot fail: HMAC fills a shorter one with zeros.
        match self {
            Self::Sha256 => mac(Hmac::<Sha256>::new(&block::<64>(key).into()), parts),
            Self::Sha512 => mac(Hmac::<Sha512>::new(&block::<128>(key).into()), parts),
        }
    }
}

fn block<const BYTES: usize>(key: &[u8]) -> [u8; BYTES] {
    let mut block = [0_u8; BYTES];
    block.iter_mut().zip(key).for_each(|(to, from)| *to = *from);
    block
}

fn mac(mut function: impl Mac, parts: &[&[u8]]) -> Vec<u8> {
    parts.iter().for_each(|part| function.update(part));
    function.finalize().into_bytes().to_vec()
}
