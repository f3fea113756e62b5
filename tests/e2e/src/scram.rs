//! A client of RFC 5802.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use hmac::{Hmac, Mac as _};
use pbkdf2::pbkdf2_hmac;
use sha2::{Digest as _, Sha256, Sha512};

/// The hash of a mechanism.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hash {
    /// That of SCRAM-SHA-256.
    Sha256,
    /// That of SCRAM-SHA-512.
    Sha512,
}

impl Hash {
    fn salted(self, password: &[u8], salt: &[u8], iterations: u32) -> Vec<u8> {
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

    fn digest(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha256 => Sha256::digest(bytes).to_vec(),
            Self::Sha512 => Sha512::digest(bytes).to_vec(),
        }
    }

    fn hmac(self, key: &[u8], text: &str) -> Vec<u8> {
        match self {
            Self::Sha256 => {
                let function = Hmac::<Sha256>::new_from_slice(key).unwrap();
                function.chain_update(text).finalize().into_bytes().to_vec()
            }
            Self::Sha512 => {
                let function = Hmac::<Sha512>::new_from_slice(key).unwrap();
                function.chain_update(text).finalize().into_bytes().to_vec()
            }
        }
    }
}

/// The last message of a client of SCRAM-SHA-256, and what the server must say then.
///
/// # Panics
/// The server's first message is none.
#[must_use]
pub fn answer(name: &str, nonce: &str, password: &str, server_first: &str) -> (String, String) {
    answer_by(Hash::Sha256, name, nonce, password, server_first)
}

/// The same with another hash.
///
/// # Panics
/// The server's first message is none.
#[must_use]
pub fn answer_by(
    hash: Hash,
    name: &str,
    nonce: &str,
    password: &str,
    server_first: &str,
) -> (String, String) {
    let mut attributes = server_first.split(',');
    let mut next = |name| attributes.next().unwrap().strip_prefix(name).unwrap();
    let (both, salt, iterations) = (next("r="), next("s="), next("i="));
    assert!(both.starts_with(nonce) && both.len() > nonce.len());
    let salt = BASE64_STANDARD.decode(salt).unwrap();
    let salted = hash.salted(password.as_bytes(), &salt, iterations.parse().unwrap());
    let without_proof = format!("c=biws,r={both}");
    let said = format!("n={name},r={nonce},{server_first},{without_proof}");
    let client_key = hash.hmac(&salted, "Client Key");
    let signature = hash.hmac(&hash.digest(&client_key), &said);
    let pairs = client_key.iter().zip(signature);
    let proof: Vec<u8> = pairs.map(|(key, mask)| key ^ mask).collect();
    let server = hash.hmac(&hash.hmac(&salted, "Server Key"), &said);
    (
        format!("{without_proof},p={}", BASE64_STANDARD.encode(proof)),
        format!("v={}", BASE64_STANDARD.encode(server)),
    )
}
