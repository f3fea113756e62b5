//! Keys as `witmq user` makes them and the client's part of an exchange, for tests.
#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "only tests use this"
)]

use crate::scram::Mechanism;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use pbkdf2::pbkdf2_hmac;
use serde_json::{Value, json};
use sha2::{Sha256, Sha512};

fn salted(mechanism: Mechanism, password: &str, salt: &[u8], iterations: u32) -> Vec<u8> {
    let mut salted = vec![0; mechanism.key_bytes()];
    let password = password.as_bytes();
    match mechanism {
        Mechanism::Sha256 => pbkdf2_hmac::<Sha256>(password, salt, iterations, &mut salted),
        Mechanism::Sha512 => pbkdf2_hmac::<Sha512>(password, salt, iterations, &mut salted),
    }
    salted
}

/// The four values of RFC 5802, as a configuration has them.
#[must_use]
pub fn entry(mechanism: Mechanism, password: &str, salt: &[u8], iterations: u32) -> Value {
    let salted = salted(mechanism, password, salt, iterations);
    let stored_key = mechanism.hash(&mechanism.hmac(&salted, &[b"Client Key"]));
    json!({
        "salt": BASE64_STANDARD.encode(salt),
        "iterations": iterations,
        "stored_key": BASE64_STANDARD.encode(stored_key),
        "server_key": BASE64_STANDARD.encode(mechanism.hmac(&salted, &[b"Server Key"])),
    })
}

/// What a client answers: its last message, and the server's last message that it then waits for.
#[must_use]
pub fn answer(
    mechanism: Mechanism,
    password: &str,
    header: &str,
    bare: &str,
    server_first: &str,
) -> (String, String) {
    let mut attributes = server_first.split(',');
    let mut next = |name| attributes.next().unwrap().strip_prefix(name).unwrap();
    let (nonce, salt, iterations) = (next("r="), next("s="), next("i="));
    let salt = BASE64_STANDARD.decode(salt).unwrap();
    let salted = salted(mechanism, password, &salt, iterations.parse().unwrap());
    let client_key = mechanism.hmac(&salted, &[b"Client Key"]);
    let without_proof = format!("c={},r={nonce}", BASE64_STANDARD.encode(header));
    let said = format!("{bare},{server_first},{without_proof}");
    let signature = mechanism.hmac(&mechanism.hash(&client_key), &[said.as_bytes()]);
    let pairs = client_key.iter().zip(signature);
    let proof: Vec<u8> = pairs.map(|(key, mask)| key ^ mask).collect();
    let server_key = mechanism.hmac(&salted, &[b"Server Key"]);
    let expected = BASE64_STANDARD.encode(mechanism.hmac(&server_key, &[said.as_bytes()]));
    (
        format!("{without_proof},p={}", BASE64_STANDARD.encode(proof)),
        format!("v={expected}"),
    )
}
