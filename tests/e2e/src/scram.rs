//! A client of RFC 5802 with SHA-256.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use hmac::{Hmac, Mac as _};
use sha2::{Digest as _, Sha256};

fn hmac(key: &[u8], text: &str) -> [u8; 32] {
    let function = Hmac::<Sha256>::new_from_slice(key).unwrap();
    let function = function.chain_update(text);
    function.finalize().into_bytes().into()
}

/// The last message of a client, and what the server must say then.
///
/// # Panics
/// The server's first message is none.
#[must_use]
pub fn answer(name: &str, nonce: &str, password: &str, server_first: &str) -> (String, String) {
    let mut attributes = server_first.split(',');
    let mut next = |name| attributes.next().unwrap().strip_prefix(name).unwrap();
    let (both, salt, iterations) = (next("r="), next("s="), next("i="));
    assert!(both.starts_with(nonce) && both.len() > nonce.len());
    let salted = pbkdf2::pbkdf2_hmac_array::<Sha256, 32>(
        password.as_bytes(),
        &BASE64_STANDARD.decode(salt).unwrap(),
        iterations.parse().unwrap(),
    );
    let without_proof = format!("c=biws,r={both}");
    let said = format!("n={name},r={nonce},{server_first},{without_proof}");
    let client_key = hmac(&salted, "Client Key");
    let signature = hmac(&Sha256::digest(client_key), &said);
    let pairs = client_key.iter().zip(signature);
    let proof: Vec<u8> = pairs.map(|(key, mask)| key ^ mask).collect();
    let server = hmac(&hmac(&salted, "Server Key"), &said);
    (
        format!("{without_proof},p={}", BASE64_STANDARD.encode(proof)),
        format!("v={}", BASE64_STANDARD.encode(server)),
    )
}
