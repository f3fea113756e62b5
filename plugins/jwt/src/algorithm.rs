//! The algorithms of RFC 7518 that are taken, and what each does with bytes.
//!
//! Owns: the table from algorithm to key type, and the calls into the cryptographic crates. Must not: choose a key.

use hmac::digest::KeyInit;
use hmac::{Hmac, Mac};
use p256::ecdsa::signature::Verifier;
use rsa::RsaPublicKey;
use serde::Deserialize;
use sha2::{Sha256, Sha384, Sha512};
use std::fmt;

/// How a token is signed. There is no `none`.
#[derive(Clone, Copy, Debug, Deserialize, witmq_sdk::Config, PartialEq, Eq)]
#[serde(rename_all = "UPPERCASE")]
pub enum Algorithm {
    /// HMAC with SHA-256; the secret has at least 32 bytes.
    Hs256,
    /// HMAC with SHA-384; the secret has at least 48 bytes.
    Hs384,
    /// HMAC with SHA-512; the secret has at least 64 bytes.
    Hs512,
    /// RSA PKCS #1 1.5 with SHA-256.
    Rs256,
    /// RSA PKCS #1 1.5 with SHA-384.
    Rs384,
    /// RSA PKCS #1 1.5 with SHA-512.
    Rs512,
    /// RSA PSS with SHA-256.
    Ps256,
    /// RSA PSS with SHA-384.
    Ps384,
    /// RSA PSS with SHA-512.
    Ps512,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// ECDSA on P-521 with SHA-512.
    Es512,
    /// Ed25519 (RFC 8037); tokens may name it `Ed25519` too (RFC 9864).
    #[serde(rename = "EdDSA")]
    EdDsa,
}

use Algorithm::{
    EdDsa, Es256, Es384, Es512, Hs256, Hs384, Hs512, Ps256, Ps384, Ps512, Rs256, Rs384, Rs512,
};

impl Algorithm {
    /// The algorithm of a header or a key; `None` for all others, `none` among them.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "HS256" => Hs256,
            "HS384" => Hs384,
            "HS512" => Hs512,
            "RS256" => Rs256,
            "RS384" => Rs384,
            "RS512" => Rs512,
            "PS256" => Ps256,
            "PS384" => Ps384,
            "PS512" => Ps512,
            "ES256" => Es256,
            "ES384" => Es384,
            "ES512" => Es512,
            "EdDSA" | "Ed25519" => EdDsa,
            _ => return None,
        })
    }
}

/// A public key.
#[derive(Clone)]
pub(crate) enum Public {
    Rsa(RsaPublicKey),
    P256(p256::ecdsa::VerifyingKey),
    P384(p384::ecdsa::VerifyingKey),
    P521(p521::ecdsa::VerifyingKey),
    Ed25519(ed25519_dalek::VerifyingKey),
}

/// That of P-521 has no `Debug`.
impl fmt::Debug for Public {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Public({:?})", self.algorithms())
    }
}

impl Public {
    /// What it can be used with; another use of a key is how tokens are forged.
    pub(crate) fn algorithms(&self) -> &'static [Algorithm] {
        match self {
            Self::Rsa(_) => &[Rs256, Rs384, Rs512, Ps256, Ps384, Ps512],
            Self::P256(_) => &[Es256],
            Self::P384(_) => &[Es384],
            Self::P521(_) => &[Es512],
            Self::Ed25519(_) => &[EdDsa],
        }
    }

    /// Whether it made this signature of these bytes.
    pub(crate) fn verifies(&self, algorithm: Algorithm, signed: &[u8], signature: &[u8]) -> bool {
        match (self, algorithm) {
            (Self::Rsa(key), Rs256) => pkcs1::<Sha256>(key, signed, signature),
            (Self::Rsa(key), Rs384) => pkcs1::<Sha384>(key, signed, signature),
            (Self::Rsa(key), Rs512) => pkcs1::<Sha512>(key, signed, signature),
            (Self::Rsa(key), Ps256) => pss::<Sha256>(key, signed, signature),
            (Self::Rsa(key), Ps384) => pss::<Sha384>(key, signed, signature),
            (Self::Rsa(key), Ps512) => pss::<Sha512>(key, signed, signature),
            (Self::P256(key), Es256) => p256::ecdsa::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify(signed, &signature).is_ok()),
            (Self::P384(key), Es384) => p384::ecdsa::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify(signed, &signature).is_ok()),
            (Self::P521(key), Es512) => p521::ecdsa::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify(signed, &signature).is_ok()),
            // Strictly: no keys and no signatures of small order, with which one signature fits many messages.
            (Self::Ed25519(key), EdDsa) => ed25519_dalek::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify_strict(signed, &signature).is_ok()),
            _ => false,
        }
    }
}

fn pkcs1<D>(key: &RsaPublicKey, signed: &[u8], signature: &[u8]) -> bool
where
    D: sha2::Digest + rsa::pkcs8::AssociatedOid,
{
    rsa::pkcs1v15::Signature::try_from(signature).is_ok_and(|signature| {
        let key = rsa::pkcs1v15::VerifyingKey::<D>::new(key.clone());
        key.verify(signed, &signature).is_ok()
    })
}

fn pss<D>(key: &RsaPublicKey, signed: &[u8], signature: &[u8]) -> bool
where
    D: sha2::Digest + sha2::digest::FixedOutputReset,
{
    rsa::pss::Signature::try_from(signature).is_ok_and(|signature| {
        let key = rsa::pss::VerifyingKey::<D>::new(key.clone());
        key.verify(signed, &signature).is_ok()
    })
}

/// Whether the secret made this signature, in the same time wherever they differ. A secret that is shorter than the hash
/// makes none (RFC 7518 section 3.2).
pub(crate) fn verifies_hmac(
    algorithm: Algorithm,
    secret: &[u8],
    signed: &[u8],
    signature: &[u8],
) -> bool {
    fn with<M: Mac + KeyInit>(secret: &[u8], signed: &[u8], signature: &[u8]) -> bool {
        secret.len() >= M::output_size()
            && <M as Mac>::new_from_slice(secret)
                .is_ok_and(|mac| mac.chain_update(signed).verify_slice(signature).is_ok())
    }
    match algorithm {
        Hs256 => with::<Hmac<Sha256>>(secret, signed, signature),
        Hs384 => with::<Hmac<Sha384>>(secret, signed, signature),
        Hs512 => with::<Hmac<Sha512>>(secret, signed, signature),
        _ => false,
    }
}
