//! An exchange of two rounds, the same at CONNECT and at a re-authentication (MQTT 5 section 4.12).
//!
//! Owns: the server's two messages and the check of the proof. Must not: know whose keys they are, or what they grant.

use super::message::{ClientFinal, ClientFirst};
use super::{Keys, Mechanism, ScramError};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use subtle::ConstantTimeEq as _;
use witmq_sdk::{Failure, Step};

/// Random bytes of the server's part of a nonce.
const NONCE_BYTES: usize = 24;

/// What an exchange came to: the client knows the password of this name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proven {
    /// Who it is.
    pub name: String,
    /// The server's last message, by which the client learns that the server knows the keys too.
    pub data: Vec<u8>,
}

/// From the client's first message to the server's. `keys` gives those of a name, made-up ones if nobody has it.
///
/// # Errors
/// There is no randomness, or `keys` fails.
pub fn begin(
    data: &[u8],
    keys: impl FnOnce(&str) -> Result<Keys, Failure>,
) -> Result<Step, Failure> {
    let first = match ClientFirst::parse(data) {
        Ok(first) => first,
        Err(error) => return Ok(error.denial()),
    };
    let nonce = nonce().map_err(|error| Failure::Failed(error.to_string()))?;
    let keys = keys(&first.name)?;
    let exchange = Exchange::begin(first, &nonce, &keys);
    Ok(Step::Challenge {
        data: exchange.server_first.as_bytes().to_vec(),
        state: exchange.state(),
    })
}

/// From the client's last message to the server's. The error is the end of the attempt.
///
/// # Errors
/// `keys` fails.
pub fn proceed(
    state: &[u8],
    data: &[u8],
    keys: impl FnOnce(&str) -> Result<Keys, Failure>,
) -> Result<Result<Proven, ScramError>, Failure> {
    let exchange = match Exchange::resume(state) {
        Ok(exchange) => exchange,
        Err(error) => return Ok(Err(error)),
    };
    let keys = keys(&exchange.first.name)?;
    let proof = ClientFinal::parse(data, keys.mechanism);
    let said = proof.and_then(|proof| exchange.finish(&proof, &keys));
    Ok(said.map(|said| Proven {
        name: exchange.first.name,
        data: said.into_bytes(),
    }))
}

/// Between the server's first message and its last.
pub(super) struct Exchange<'m> {
    first: ClientFirst<'m>,
    pub(super) server_first: String,
}

impl<'m> Exchange<'m> {
    /// Answers the client's first message; `nonce` is the server's part of it.
    pub(super) fn begin(first: ClientFirst<'m>, nonce: &str, keys: &Keys) -> Self {
        let salt = BASE64_STANDARD.encode(&keys.salt);
        let server_first = format!("r={}{nonce},s={salt},i={}", first.nonce, keys.iterations);
        Self {
            first,
            server_first,
        }
    }

    /// The exchange that [`Self::state`] was taken of.
    pub(super) fn resume(state: &'m [u8]) -> Result<Self, ScramError> {
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
    pub(super) fn state(&self) -> Vec<u8> {
        [self.first.message, &self.server_first]
            .join("\0")
            .into_bytes()
    }

    /// Checks the client's last message; gives the server's last one.
    pub(super) fn finish(&self, last: &ClientFinal<'_>, keys: &Keys) -> Result<String, ScramError> {
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
        let mechanism = keys.mechanism;
        let signature = mechanism.hmac(&keys.stored_key, &said);
        let pairs = last.proof.iter().zip(&signature);
        let client_key: Vec<u8> = pairs.map(|(proof, mask)| proof ^ mask).collect();
        let stored_key = mechanism.hash(&client_key);
        if bool::from(stored_key.ct_eq(&keys.stored_key)) {
            let proof = mechanism.hmac(&keys.server_key, &said);
            Ok(format!("v={}", BASE64_STANDARD.encode(proof)))
        } else {
            Err(ScramError::Proof)
        }
    }
}

/// The server's part of a nonce.
pub(super) fn nonce() -> Result<String, getrandom::Error> {
    let mut bytes = [0_u8; NONCE_BYTES];
    getrandom::fill(&mut bytes)?;
    Ok(BASE64_STANDARD.encode(bytes))
}

/// A proof is as long as a key.
pub(super) fn proof(mechanism: Mechanism, text: &str) -> Option<Vec<u8>> {
    let bytes = BASE64_STANDARD.decode(text).ok()?;
    (bytes.len() == mechanism.key_bytes()).then_some(bytes)
}
