//! Keys and tokens of NATS, made as its tools make them: an operator, an account, a user.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};

/// A key pair whose texts begin with a letter of their own.
struct Pair {
    kind: u8,
    seed: [u8; 32],
    key: Ed25519KeyPair,
}

impl Pair {
    /// `kind`: 14 an operator, 0 an account, 20 a user.
    fn make(kind: u8, byte: u8) -> Self {
        let seed = [byte; 32];
        let key = Ed25519KeyPair::from_seed_unchecked(&seed).unwrap();
        Self {
            kind: kind << 3,
            seed,
            key,
        }
    }

    fn public(&self) -> String {
        checked([&[self.kind], self.key.public_key().as_ref()].concat())
    }

    fn seed(&self) -> String {
        let head = [18 << 3 | self.kind >> 5, (self.kind & 31) << 3];
        checked([&head[..], &self.seed].concat())
    }

    /// A token about `of`, signed by this one.
    fn token(&self, of: &Self, nats: &Value) -> String {
        let claims = json!({
            "jti": "test", "iat": 1_700_000_000, "iss": self.public(), "name": "test", "sub": of.public(), "nats": nats,
        });
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let head = part(&json!({ "typ": "JWT", "alg": "ed25519-nkey" }));
        let text = format!("{head}.{}", part(&claims));
        let signed = URL_SAFE_NO_PAD.encode(self.key.sign(text.as_bytes()));
        format!("{text}.{signed}")
    }
}

/// With its CRC-16 in base32.
fn checked(mut bytes: Vec<u8>) -> String {
    let mut crc = 0u16;
    for byte in &bytes {
        crc ^= u16::from(*byte) << 8;
        for _ in 0..8 {
            let carry = crc & 0x8000 != 0;
            crc = crc << 1 ^ if carry { 0x1021 } else { 0 };
        }
    }
    bytes.extend(crc.to_le_bytes());
    let bits: String = bytes.iter().map(|byte| format!("{byte:08b}")).collect();
    let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let letter = |five: &[u8]| {
        let five = format!("{:0<5}", std::str::from_utf8(five).unwrap());
        char::from(letters[usize::from_str_radix(&five, 2).unwrap()])
    };
    bits.as_bytes().chunks(5).map(letter).collect()
}

/// The configuration of a server that trusts an operator, and the credentials of a user of its.
#[must_use]
pub fn operated() -> (String, String) {
    let (operator, account, user) = (Pair::make(14, 1), Pair::make(0, 2), Pair::make(20, 3));
    let of_operator = operator.token(&operator, &json!({ "type": "operator", "version": 2 }));
    let limits = json!({
        "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1, "leaf": -1,
    });
    let claims = json!({
        "limits": limits, "default_permissions": { "pub": {}, "sub": {} }, "type": "account", "version": 2,
    });
    let of_account = operator.token(&account, &claims);
    let claims = json!({
        "pub": {}, "sub": {}, "subs": -1, "data": -1, "payload": -1, "type": "user", "version": 2,
    });
    let of_user = account.token(&user, &claims);
    let configuration = format!(
        "operator: {of_operator}\nresolver: MEMORY\nresolver_preload: {{ {}: {of_account} }}\n",
        account.public()
    );
    let credentials = format!(
        "-----BEGIN NATS USER JWT-----\n{of_user}\n------END NATS USER JWT------\n\n\
         -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
        user.seed()
    );
    (configuration, credentials)
}
