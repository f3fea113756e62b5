//! Who made a component: Ed25519 signatures over its bytes, by keys that the operator trusts.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{ED25519, UnparsedPublicKey};
use witmq_broker::ports::ControlError;

/// What stands before the 32 bytes of an Ed25519 key in a SubjectPublicKeyInfo (RFC 8410).
const INFO: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];
const KEY_BYTES: usize = 32;

/// The public half of a key that signs components.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SigningKey([u8; KEY_BYTES]);

/// A text is no public key.
#[derive(Debug, thiserror::Error)]
#[error("it is no Ed25519 public key in PEM, as `openssl pkey -in KEY.pem -pubout` writes it")]
pub struct NoKey;

impl SigningKey {
    /// Of a PEM text, `-----BEGIN PUBLIC KEY-----`.
    ///
    /// # Errors
    /// Anything else.
    pub fn from_pem(text: &str) -> Result<Self, NoKey> {
        let body = text
            .trim()
            .strip_prefix("-----BEGIN PUBLIC KEY-----")
            .and_then(|rest| rest.strip_suffix("-----END PUBLIC KEY-----"))
            .ok_or(NoKey)?;
        let body: String = body.split_whitespace().collect();
        let info = STANDARD.decode(body).map_err(|_| NoKey)?;
        let key = info.strip_prefix(&INFO[..]).ok_or(NoKey)?;
        Ok(Self(key.try_into().map_err(|_| NoKey)?))
    }
}

/// Refuses what none of the keys signed; without keys everything passes.
pub(crate) fn check(
    keys: &[SigningKey],
    wasm: &[u8],
    signature: Option<&[u8]>,
) -> Result<(), ControlError> {
    if keys.is_empty() {
        return Ok(());
    }
    let hint = "openssl pkeyutl -sign -rawin -inkey KEY.pem -in PLUGIN.wasm -out PLUGIN.wasm.sig; then install it with --signature PLUGIN.wasm.sig";
    let refused = |message: &str| ControlError::Invalid {
        code: "not-signed",
        message: message.to_owned(),
        hint: Some(hint.to_owned()),
    };
    let Some(signature) = signature else {
        return Err(refused(
            "this broker takes signed plugins only, and this one has no signature",
        ));
    };
    let is_signed = |key: &SigningKey| {
        UnparsedPublicKey::new(&ED25519, &key.0)
            .verify(wasm, signature)
            .is_ok()
    };
    match keys.iter().any(is_signed) {
        true => Ok(()),
        false => Err(refused(
            "its signature is not by any key that this broker trusts, or it was changed since",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::signature::{Ed25519KeyPair, KeyPair};

    fn pem(pair: &Ed25519KeyPair) -> String {
        let info = [&INFO[..], pair.public_key().as_ref()].concat();
        format!(
            "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
            STANDARD.encode(info)
        )
    }

    #[test]
    fn only_what_a_known_key_signed_passes() {
        let pair = |seed: u8| Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
        let (one, other) = (pair(1), pair(2));
        let keys = [SigningKey::from_pem(&pem(&one)).unwrap()];
        let signature = one.sign(b"component");
        assert!(check(&keys, b"component", Some(signature.as_ref())).is_ok());
        assert!(check(&[], b"component", None).is_ok(), "nobody asks");
        for (wasm, signature) in [
            (&b"component"[..], None),
            (b"Component", Some(signature.as_ref())),
            (b"component", Some(other.sign(b"component").as_ref())),
            (b"component", Some(&signature.as_ref()[1..])),
        ] {
            let error = check(&keys, wasm, signature).unwrap_err();
            assert!(matches!(
                error,
                ControlError::Invalid {
                    code: "not-signed",
                    ..
                }
            ));
        }
        let both = [SigningKey::from_pem(&pem(&other)).unwrap(), keys[0].clone()];
        assert!(check(&both, b"component", Some(signature.as_ref())).is_ok());
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[1; 32]).unwrap();
        let good = pem(&pair);
        for bad in [
            String::new(),
            good.replace("PUBLIC", "PRIVATE"),
            good.replace("MCow", "MCox"),
            good.replace('=', ""),
        ] {
            assert!(SigningKey::from_pem(&bad).is_err(), "{bad}");
        }
    }
}
