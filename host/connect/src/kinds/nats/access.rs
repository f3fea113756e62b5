//! Who this broker is at a NATS server: a user, a token, or a key that signs what the server makes up.
//!
//! Owns: the texts of keys (nkeys: base32 with a checksum) and of credentials files.

use crate::keys::Keys;
use crate::place::SinkError;
use crate::secret::{Secret, Text};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::SignatureScheme;
use rustls::crypto::ring::sign::any_eddsa_type;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::sign::SigningKey;
use serde_json::{Map, Value};
use std::sync::Arc;

/// First byte of a seed and of a user's public key.
const SEED: u8 = 18 << 3;
const USER: u8 = 20 << 3;
/// What stands before a seed in a file of PKCS #8.
const BEFORE_SEED: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];
const SEED_BYTES: usize = 32;
const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Access {
    Open,
    User {
        name: String,
        password: Option<Text>,
    },
    Token(Text),
    /// A seed, `SU…`.
    Nkey(Text),
    /// The text of a `.creds` file.
    Creds(Text),
}

impl Access {
    pub(super) fn parse(keys: &mut Keys<'_>) -> Result<Self, SinkError> {
        let user = keys.text("username")?;
        let password = keys.private("password")?;
        let others = [
            keys.private("token")?.map(Self::Token),
            keys.private("nkey")?.map(Self::Nkey),
            keys.private("creds")?.map(Self::Creds),
        ];
        if user.is_none() && password.is_some() {
            return Err(keys.error("`password` needs a `username`"));
        }
        let user = user.map(|(name, _)| Self::User { name, password });
        let mut given = user.into_iter().chain(others.into_iter().flatten());
        let access = given.next().unwrap_or(Self::Open);
        match given.next() {
            None => Ok(access),
            Some(_) => Err(keys
                .error("there is more than one of `username`, `token`, `nkey`, `creds`")
                .hint("the server knows this broker in one way")),
        }
    }

    /// What CONNECT says of it. `nonce`: what the server made up.
    ///
    /// # Errors
    /// A secret is not there or not what it should be, in words.
    pub(super) fn fields(
        &self,
        secrets: &Secret,
        nonce: Option<&str>,
    ) -> Result<Map<String, Value>, String> {
        let mut fields = Map::new();
        let mut put = |name: &str, value: String| fields.insert(name.to_owned(), value.into());
        match self {
            Self::Open => {}
            Self::User { name, password } => {
                put("user", name.clone());
                if let Some(password) = password {
                    put("pass", password.reveal(secrets)?);
                }
            }
            Self::Token(token) => drop(put("auth_token", token.reveal(secrets)?)),
            Self::Nkey(seed) => {
                let key = key(seed.reveal(secrets)?.trim())?;
                put("nkey", public(&*key)?);
                put("sig", sign(&*key, nonce)?);
            }
            Self::Creds(text) => {
                let text = text.reveal(secrets)?;
                let part = |name: &str| {
                    part(&text, name).ok_or_else(|| format!("`creds` has no part `{name}`"))
                };
                put("jwt", part("NATS USER JWT")?);
                put("sig", sign(&*key(&part("USER NKEY SEED")?)?, nonce)?);
            }
        }
        Ok(fields)
    }
}

/// What stands between the lines `BEGIN name` and `END name` of a credentials file.
fn part(text: &str, name: &str) -> Option<String> {
    let mut lines = text.lines().map(str::trim);
    lines.find(|line| line.starts_with("---") && line.contains(&format!("BEGIN {name}")))?;
    lines
        .find(|line| !line.is_empty())
        .filter(|line| !line.starts_with("---"))
        .map(str::to_owned)
}

fn sign(key: &dyn SigningKey, nonce: Option<&str>) -> Result<String, String> {
    let nonce = nonce.ok_or("the server asks nobody for a key: is it set up for keys?")?;
    let signer = key.choose_scheme(&[SignatureScheme::ED25519]);
    let signed = signer
        .ok_or("the key does not sign")?
        .sign(nonce.as_bytes());
    Ok(URL_SAFE_NO_PAD.encode(signed.map_err(|error| error.to_string())?))
}

/// The key pair of a seed.
fn key(seed: &str) -> Result<Arc<dyn SigningKey>, String> {
    let wrong = "the seed of a key is none: it begins with `SU` and has 58 letters";
    let bytes = from_base32(seed).ok_or(wrong)?;
    let (bytes, sum) = bytes
        .split_last_chunk::<2>()
        .filter(|(bytes, sum)| crc(bytes) == u16::from_le_bytes(**sum))
        .ok_or(wrong)?;
    let _is_checked = sum;
    // Five bits say that it is a seed, the next five whose.
    let [first, second, seed @ ..] = bytes else {
        return Err(wrong.to_owned());
    };
    if seed.len() != SEED_BYTES || first & 0xf8 != SEED || (first & 7) << 5 | second >> 3 != USER {
        return Err(wrong.to_owned());
    }
    let whole = [&BEFORE_SEED[..], seed].concat();
    let whole = PrivatePkcs8KeyDer::from(whole);
    any_eddsa_type(&whole).map_err(|_| wrong.to_owned())
}

/// As the server knows it: `U…`.
fn public(key: &dyn SigningKey) -> Result<String, String> {
    let told = key.public_key();
    let own = told.as_ref().and_then(|key| key.last_chunk::<SEED_BYTES>());
    let mut bytes = vec![USER];
    bytes.extend_from_slice(own.ok_or("the key has no public part")?);
    bytes.extend_from_slice(&crc(&bytes).to_le_bytes());
    Ok(to_base32(&bytes))
}

/// CRC-16 as XMODEM has it.
fn crc(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0u16, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte) << 8, |crc, _| match crc & 0x8000 {
            0 => crc << 1,
            _ => crc << 1 ^ 0x1021,
        })
    })
}

fn from_base32(text: &str) -> Option<Vec<u8>> {
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0u32, 0);
    for letter in text.bytes() {
        let value = LETTERS.iter().position(|known| *known == letter)?;
        bits = (bits << 5 | u32::try_from(value).ok()?) & 0xffff;
        count += 5;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from(bits >> count & 0xff).ok()?);
        }
    }
    Some(bytes)
}

fn to_base32(bytes: &[u8]) -> String {
    let (mut text, mut bits, mut count) = (String::new(), 0usize, 0);
    for byte in bytes {
        bits = (bits << 8 | usize::from(*byte)) & 0xffff;
        count += 8;
        while count >= 5 {
            count -= 5;
            text.extend(
                LETTERS
                    .get(bits >> count & 31)
                    .map(|letter| char::from(*letter)),
            );
        }
    }
    if count > 0 {
        text.extend(
            LETTERS
                .get(bits << (5 - count) & 31)
                .map(|letter| char::from(*letter)),
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pair of the documentation of NATS.
    const PAIR: (&str, &str) = (
        "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY",
        "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4",
    );

    #[test]
    fn a_seed_is_a_key_that_the_server_knows() {
        let key = key(PAIR.0).expect("a seed");
        assert_eq!(public(&*key).as_deref(), Ok(PAIR.1));
        for wrong in ["", "SU", PAIR.1, &PAIR.0[1..], &PAIR.0.replace('3', "4")] {
            assert!(super::key(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn credentials_are_a_token_and_a_seed() {
        let text = format!(
            "-----BEGIN NATS USER JWT-----\na.b.c\n------END NATS USER JWT------\n\nIMPORTANT\n\
             -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
            PAIR.0
        );
        let secrets: Secret = Arc::new(|_| None);
        let fields = |text: String| Access::Creds(Text::Plain(text)).fields(&secrets, Some("n"));
        let given = fields(text.clone()).expect("whole");
        assert_eq!(given["jwt"], "a.b.c");
        assert_eq!(given["sig"].as_str().map(str::len), Some(86));
        let error = fields(text.replace("NKEY", "KEY")).expect_err("a part is missing");
        assert_eq!(error, "`creds` has no part `USER NKEY SEED`");
        let error = Access::Nkey(Text::Plain(PAIR.0.to_owned())).fields(&secrets, None);
        assert!(error.is_err_and(|error| error.contains("set up for keys")));
    }
}
