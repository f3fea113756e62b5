//! What the broker keeps of a password: an argon2id hash for CONNECT, and keys for SCRAM-SHA-256.
//!
//! Owns: salts, costs, and the forms that the plugins auth-file and scram read. Must not: keep or send the password.

use super::{CliError, Exit};
use argon2::Argon2;
use argon2::password_hash::{PasswordHasher as _, SaltString};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use hmac::{Hmac, Mac};
use pbkdf2::pbkdf2_hmac;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256, Sha512};

/// Iterations of PBKDF2, paid here once and by the client at each log-in; the broker pays two HMACs. More than
/// RFC 7677 asks for, and little enough for a microcontroller to answer within the time for authentication. The
/// plugins auth-file and scram answer names that are not there with the same number.
pub(crate) const ITERATIONS: u32 = 20_000;
/// Bytes of a salt.
const SALT_BYTES: usize = 16;

/// How a client proves that it knows the password: a hash function for SCRAM.
#[derive(Clone, Copy, Debug, clap::ValueEnum, PartialEq, Eq)]
pub(crate) enum Mechanism {
    #[value(name = "SCRAM-SHA-256")]
    Sha256,
    #[value(name = "SCRAM-SHA-512")]
    Sha512,
}

impl Mechanism {
    pub(crate) const ALL: [Self; 2] = [Self::Sha256, Self::Sha512];

    fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "SCRAM-SHA-256",
            Self::Sha512 => "SCRAM-SHA-512",
        }
    }

    fn salted(self, password: &str, salt: &[u8], iterations: u32) -> Vec<u8> {
        let password = password.as_bytes();
        match self {
            Self::Sha256 => {
                let mut salted = vec![0; 32];
                pbkdf2_hmac::<Sha256>(password, salt, iterations, &mut salted);
                salted
            }
            Self::Sha512 => {
                let mut salted = vec![0; 64];
                pbkdf2_hmac::<Sha512>(password, salt, iterations, &mut salted);
                salted
            }
        }
    }

    fn hash(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha256 => Sha256::digest(bytes).to_vec(),
            Self::Sha512 => Sha512::digest(bytes).to_vec(),
        }
    }

    fn hmac(self, key: &[u8], text: &[u8]) -> Vec<u8> {
        // Filled with zeros to a block of the hash, as HMAC does with a shorter key: so it cannot fail.
        match self {
            Self::Sha256 => mac(Hmac::<Sha256>::new(&block::<64>(key).into()), text),
            Self::Sha512 => mac(Hmac::<Sha512>::new(&block::<128>(key).into()), text),
        }
    }
}

fn block<const BYTES: usize>(key: &[u8]) -> [u8; BYTES] {
    let mut block = [0_u8; BYTES];
    block.iter_mut().zip(key).for_each(|(to, from)| *to = *from);
    block
}

fn mac(function: impl Mac, text: &[u8]) -> Vec<u8> {
    function.chain_update(text).finalize().into_bytes().to_vec()
}

/// Keys of one password for SCRAM (RFC 5802 section 3), in base64 but for the number.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Keys {
    mechanism: Mechanism,
    salt: String,
    iterations: u32,
    stored_key: String,
    server_key: String,
}

impl Keys {
    fn new(mechanism: Mechanism, password: &str, salt: &[u8], iterations: u32) -> Self {
        let salted = mechanism.salted(password, salt, iterations);
        let stored_key = mechanism.hash(&mechanism.hmac(&salted, b"Client Key"));
        let server_key = mechanism.hmac(&salted, b"Server Key");
        Self {
            mechanism,
            salt: BASE64_STANDARD.encode(salt),
            iterations,
            stored_key: BASE64_STANDARD.encode(stored_key),
            server_key: BASE64_STANDARD.encode(server_key),
        }
    }

    /// As auth-file has them, for whom there is one mechanism.
    pub(crate) fn entry(&self) -> Value {
        json!({
            "salt": self.salt,
            "iterations": self.iterations,
            "stored_key": self.stored_key,
            "server_key": self.server_key,
        })
    }

    /// As scram has them.
    pub(crate) fn named_entry(&self) -> Value {
        let mut entry = self.entry();
        entry["mechanism"] = self.mechanism.name().into();
        entry
    }

    /// The same in one line, as PostgreSQL writes them.
    pub(crate) fn line(&self) -> String {
        let (name, iterations) = (self.mechanism.name(), self.iterations);
        let (salt, stored_key, server_key) = (&self.salt, &self.stored_key, &self.server_key);
        format!("{name}${iterations}:{salt}${stored_key}:{server_key}")
    }
}

fn salt() -> [u8; SALT_BYTES] {
    let mut salt = [0_u8; SALT_BYTES];
    rand::RngCore::fill_bytes(&mut rand::rng(), &mut salt);
    salt
}

/// argon2id with the library's defaults (19 MiB, 2 passes), as a PHC string.
pub(crate) fn hash(password: &str) -> Result<String, CliError> {
    let failed = |e: argon2::password_hash::Error| CliError::failed(format!("cannot hash: {e}"));
    let salt = SaltString::encode_b64(&salt()).map_err(failed)?;
    let hash = Argon2::default()
        .hash_password(password.as_bytes(), &salt)
        .map_err(failed)?;
    Ok(hash.to_string())
}

/// Keys for SCRAM, of the password as a client prepares it (SASLprep).
pub(crate) fn scram(
    mechanism: Mechanism,
    password: &str,
    iterations: u32,
) -> Result<Keys, CliError> {
    let prepared = stringprep::saslprep(password).map_err(|e| {
        let text = format!("this password cannot be used with SCRAM: {e}");
        CliError::new(Exit::Usage, text).hint("choose another, or leave SCRAM out with --no-scram")
    })?;
    Ok(Keys::new(mechanism, &prepared, &salt(), iterations))
}

#[cfg(test)]
mod tests {
    use super::*;
    use argon2::password_hash::{PasswordHash, PasswordVerifier as _};

    #[test]
    fn the_hash_is_argon2id_salted_and_verifies() {
        let (a, b) = (hash("pw").expect("hash"), hash("pw").expect("hash"));
        assert!(a.starts_with("$argon2id$") && a != b);
        let parsed = PasswordHash::new(&a).expect("phc");
        assert!(Argon2::default().verify_password(b"pw", &parsed).is_ok());
        assert!(Argon2::default().verify_password(b"px", &parsed).is_err());
    }

    /// The user and the password of RFC 7677: what a client and a server say at last.
    fn example(mechanism: Mechanism, nonce: &str, salt: &str, proof: &str, server: &str) {
        let bytes = |text: &str| BASE64_STANDARD.decode(text).expect("base64");
        let keys = Keys::new(mechanism, "pencil", &bytes(salt), 4096);
        let said =
            format!("n=user,r=rOprNGfwEbeRWgbNEkqO,r={nonce},s={salt},i=4096,c=biws,r={nonce}");
        let signed = mechanism.hmac(&bytes(&keys.server_key), said.as_bytes());
        assert_eq!(BASE64_STANDARD.encode(signed), server);
        let stored_key = bytes(&keys.stored_key);
        let signature = mechanism.hmac(&stored_key, said.as_bytes());
        let pairs = bytes(proof).into_iter().zip(signature);
        let client_key: Vec<u8> = pairs.map(|(proof, mask)| proof ^ mask).collect();
        assert_eq!(mechanism.hash(&client_key), stored_key);
    }

    #[test]
    fn the_keys_make_the_proofs_of_published_examples() {
        example(
            Mechanism::Sha256,
            "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
            "W22ZaJ0SNY7soEsUEjb6gQ==",
            "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
            "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
        );
        example(
            Mechanism::Sha512,
            "rOprNGfwEbeRWgbNEkqO02431b08-2f89-4bad-a4e6-80c0564ec865",
            "Yin2FuHTt/M0kJWb0t9OI32n2VmOGi3m+JfjOvuDF88=",
            "Hc5yec3NmCD7t+kFRw4/3yD6/F3SQHc7AVYschRja+Bc3sbdjlA0eH1OjJc0DD4ghn1tnXN5/Wr6qm9xmaHt4A==",
            "BQuhnKHqYDwQWS5jAw4sZed+C9KFUALsbrq81bB0mh+bcUUbbMPNNmBIupnS2AmyyDnG5CTBQtkjJ9kyY4kzmw==",
        );
    }

    #[test]
    fn keys_are_written_as_an_entry_and_as_a_line() {
        let keys = Keys::new(Mechanism::Sha256, "pencil", b"12345678", 4096);
        let mut named = keys.entry();
        named["mechanism"] = "SCRAM-SHA-256".into();
        assert_eq!(keys.named_entry(), named);
        let line = keys.line();
        let parts: Vec<&str> = line.split(['$', ':']).collect();
        let entry = keys.entry();
        let text = |name: &str| entry[name].as_str().expect("text").to_owned();
        let (salt, stored, server) = (text("salt"), text("stored_key"), text("server_key"));
        assert_eq!(parts, ["SCRAM-SHA-256", "4096", &salt, &stored, &server]);
    }

    #[test]
    fn passwords_are_prepared_and_salted() {
        let made = |password| scram(Mechanism::Sha512, password, 4096);
        assert_ne!(made("pw").expect("keys"), made("pw").expect("keys"));
        let control = made("bell\u{7}");
        assert!(control.is_err(), "SASLprep has no control characters");
        // RFC 4013: a soft hyphen is nothing, a non-ASCII space is a space.
        let same = |a: &str, b: &str| {
            let prepared = stringprep::saslprep(a).expect("prepared");
            let keys = |password: &str| Keys::new(Mechanism::Sha256, password, b"12345678", 1);
            assert_eq!(keys(&prepared), keys(b));
        };
        same("I\u{AD}X", "IX");
        same("a\u{A0}b", "a b");
    }
}
