//! What is kept of a password, and what stands for the passwords of names that are not there.
//!
//! Owns: the bounds of salts and iterations, the forms in which keys are written. Must not: know who has them.

use super::Mechanism;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use std::ops::RangeInclusive;

/// Bytes of a salt.
const SALT_BYTES: RangeInclusive<usize> = 8..=64;
/// Iterations: RFC 7677 begins at 4096, and a client is not to be kept busy for minutes.
const ITERATIONS: RangeInclusive<u32> = 4096..=1_000_000;
/// Bytes of a salt as `witmq user` makes them. Names that are not there look the same.
const USUAL_SALT_BYTES: usize = 16;
/// Iterations as `witmq user` makes keys with.
pub const USUAL_ITERATIONS: u32 = 20_000;
/// Bytes of the secret that made-up salts are made with.
const SECRET_BYTES: usize = 32;

/// What cannot be used of a configuration or a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeysError {
    /// Which part.
    #[error("`{0}` is not base64 of the right length")]
    Base64(&'static str),
    /// Too few, or too many.
    #[error("{0} iterations, allowed are {min} to {max}", min = ITERATIONS.start(), max = ITERATIONS.end())]
    Iterations(u32),
    /// It is not in the form of one line.
    #[error(
        "it is not `SCRAM-SHA-256$ITERATIONS:SALT$STORED_KEY:SERVER_KEY`, nor the same with SCRAM-SHA-512"
    )]
    Line,
}

/// Keys of one password for one mechanism.
#[derive(Clone)]
pub struct Keys {
    pub(crate) mechanism: Mechanism,
    pub(crate) salt: Vec<u8>,
    pub(crate) iterations: u32,
    pub(crate) stored_key: Vec<u8>,
    pub(crate) server_key: Vec<u8>,
}

impl Keys {
    /// Of the four values of RFC 5802, three of them in base64.
    ///
    /// # Errors
    /// What is wrong with which of them.
    pub fn new(
        mechanism: Mechanism,
        salt: &str,
        iterations: u32,
        stored_key: &str,
        server_key: &str,
    ) -> Result<Self, KeysError> {
        if !ITERATIONS.contains(&iterations) {
            return Err(KeysError::Iterations(iterations));
        }
        let salt = BASE64_STANDARD.decode(salt).ok();
        let salt = salt.filter(|salt| SALT_BYTES.contains(&salt.len()));
        let key = |text: &str, name| {
            let bytes = BASE64_STANDARD.decode(text).ok();
            let bytes = bytes.filter(|bytes| bytes.len() == mechanism.key_bytes());
            bytes.ok_or(KeysError::Base64(name))
        };
        Ok(Self {
            mechanism,
            salt: salt.ok_or(KeysError::Base64("salt"))?,
            iterations,
            stored_key: key(stored_key, "stored_key")?,
            server_key: key(server_key, "server_key")?,
        })
    }

    /// The same in one line, as PostgreSQL keeps them: `SCRAM-SHA-256$ITERATIONS:SALT$STORED_KEY:SERVER_KEY`.
    ///
    /// # Errors
    /// What is wrong with which of them.
    pub fn from_line(line: &str) -> Result<Self, KeysError> {
        let parts = || {
            let (name, rest) = line.split_once('$')?;
            let (how, keys) = rest.split_once('$')?;
            let (iterations, salt) = how.split_once(':')?;
            let (stored_key, server_key) = keys.split_once(':')?;
            let iterations = iterations.parse().ok()?;
            Some((
                Mechanism::named(name)?,
                iterations,
                salt,
                stored_key,
                server_key,
            ))
        };
        let (mechanism, iterations, salt, stored_key, server_key) =
            parts().ok_or(KeysError::Line)?;
        Self::new(mechanism, salt, iterations, stored_key, server_key)
    }

    /// What they are for.
    #[must_use]
    pub fn mechanism(&self) -> Mechanism {
        self.mechanism
    }
}

/// Makes keys for names that are not there: always the same for the same name, and no password fits.
#[derive(Clone)]
pub struct Decoys {
    secret: Vec<u8>,
    iterations: u32,
}

impl Decoys {
    /// From a secret, 32 bytes in base64, and the iterations that they seem to have.
    ///
    /// # Errors
    /// [`KeysError::Base64`] with `name`: the secret is another. [`KeysError::Iterations`].
    pub fn new(name: &'static str, secret: &str, iterations: u32) -> Result<Self, KeysError> {
        let secret = BASE64_STANDARD.decode(secret).ok();
        let secret = secret.filter(|secret| secret.len() == SECRET_BYTES);
        let secret = secret.ok_or(KeysError::Base64(name))?;
        match ITERATIONS.contains(&iterations) {
            true => Ok(Self { secret, iterations }),
            false => Err(KeysError::Iterations(iterations)),
        }
    }

    /// The keys of that name.
    #[must_use]
    pub fn keys(&self, mechanism: Mechanism, name: &str) -> Keys {
        let made = |what: &str| mechanism.hmac(&self.secret, &[what.as_bytes(), name.as_bytes()]);
        let mut salt = made("salt:");
        salt.truncate(USUAL_SALT_BYTES);
        Keys {
            mechanism,
            salt,
            iterations: self.iterations,
            stored_key: made("stored:"),
            server_key: made("server:"),
        }
    }
}
