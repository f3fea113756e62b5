//! What the broker keeps of a password: an argon2id hash for CONNECT, and keys for SCRAM-SHA-256.
//!
//! Owns: salts, costs, and the form that the auth-file plugin reads. Must not: keep or send the password.

use super::{CliError, Exit};
use argon2::Argon2;
use argon2::password_hash::{PasswordHasher as _, SaltString};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use hmac::{Hmac, Mac as _};
use pbkdf2::pbkdf2_hmac_array;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// Iterations of PBKDF2, paid here once and by the client at each log-in; the broker pays two HMACs. More than
/// RFC 7677 asks for, and little enough for a microcontroller to answer within the time for authentication. The
/// auth-file plugin answers names that are not there with the same number.
const ITERATIONS: u32 = 20_000;
/// Bytes of a salt.
const SALT_BYTES: usize = 16;
/// Bytes of SHA-256.
const KEY_BYTES: usize = 32;

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

/// Keys for SCRAM-SHA-256 (RFC 5802 section 3), of the password as a client prepares it (SASLprep).
pub(crate) fn scram(password: &str) -> Result<Value, CliError> {
    let prepared = stringprep::saslprep(password).map_err(|e| {
        let text = format!("this password cannot be used with SCRAM: {e}");
        CliError::new(Exit::Usage, text).hint("choose another, or leave SCRAM out with --no-scram")
    })?;
    Ok(keys(&prepared, &salt(), ITERATIONS))
}

fn keys(password: &str, salt: &[u8], iterations: u32) -> Value {
    let salted = pbkdf2_hmac_array::<Sha256, KEY_BYTES>(password.as_bytes(), salt, iterations);
    let stored_key = Sha256::digest(hmac(&salted, b"Client Key"));
    json!({
        "salt": BASE64_STANDARD.encode(salt),
        "iterations": iterations,
        "stored_key": BASE64_STANDARD.encode(stored_key),
        "server_key": BASE64_STANDARD.encode(hmac(&salted, b"Server Key")),
    })
}

fn hmac(key: &[u8; KEY_BYTES], text: &[u8]) -> [u8; KEY_BYTES] {
    // Filled with zeros to a block of SHA-256, as HMAC does with a shorter key: so it cannot fail.
    let mut block = [0_u8; 64];
    block.iter_mut().zip(key).for_each(|(to, from)| *to = *from);
    let function = Hmac::<Sha256>::new(&block.into());
    function.chain_update(text).finalize().into_bytes().into()
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

    #[test]
    fn the_keys_make_the_proofs_of_rfc_7677() {
        let salt = BASE64_STANDARD
            .decode("W22ZaJ0SNY7soEsUEjb6gQ==")
            .expect("base64");
        let keys = keys("pencil", &salt, 4096);
        let key = |name: &str| -> [u8; KEY_BYTES] {
            let bytes = BASE64_STANDARD.decode(keys[name].as_str().expect("text"));
            bytes.expect("base64").try_into().expect("32 bytes")
        };
        let nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let said = format!(
            "n=user,r=rOprNGfwEbeRWgbNEkqO,r={nonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,r={nonce}"
        );
        let server = hmac(&key("server_key"), said.as_bytes());
        assert_eq!(
            BASE64_STANDARD.encode(server),
            "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
        );
        let proof = BASE64_STANDARD
            .decode("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")
            .expect("base64");
        let signature = hmac(&key("stored_key"), said.as_bytes());
        let client_key: Vec<u8> = proof.iter().zip(signature).map(|(a, b)| a ^ b).collect();
        assert_eq!(Sha256::digest(client_key)[..], key("stored_key"));
    }

    #[test]
    fn passwords_are_prepared_and_salted() {
        assert_ne!(scram("pw").expect("keys"), scram("pw").expect("keys"));
        assert!(
            scram("bell\u{7}").is_err(),
            "SASLprep has no control characters"
        );
        // RFC 4013: a soft hyphen is nothing, a non-ASCII space is a space.
        let same = |a: &str, b: &str| {
            let prepared = stringprep::saslprep(a).expect("prepared");
            assert_eq!(keys(&prepared, b"12345678", 1), keys(b, b"12345678", 1));
        };
        same("I\u{AD}X", "IX");
        same("a\u{A0}b", "a b");
    }
}
