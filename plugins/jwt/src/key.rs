//! Keys: where they come from, which tokens they are for.
//!
//! Owns: the reading of PEM and JWK (RFC 7517), the choice of a key for a token. Must not: fetch.

use crate::algorithm::{Algorithm, Public, verifies_hmac};
use crate::token::Token;
use crate::{Rejection, URL_BASE64};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use p256::pkcs8::DecodePublicKey as _;
use rsa::pkcs1::DecodeRsaPublicKey as _;
use rsa::{BigUint, RsaPublicKey, traits::PublicKeyParts as _};
use serde::Deserialize;
use serde_json::Value;

/// Keys of one set.
const KEYS: usize = 64;
/// Keys that are tried for a token that names none.
const TRIES: usize = 4;
/// Bits of an RSA key: at least what RFC 7518 asks for, at most what a check has time for.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=4096;

/// A key as the operator names it.
#[derive(Clone, Debug, Deserialize, witmq_sdk::Config)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum KeyConfig {
    /// A secret of the host, for HS256, HS384 and HS512. Read anew for each token.
    Secret {
        /// Its name; `secret:NAME` has to be granted.
        secret: String,
        /// How it is written.
        #[serde(default)]
        encoding: Encoding,
        /// Algorithms it may be used with; all that fit if left out.
        algorithms: Option<Vec<Algorithm>>,
        /// Tokens that name another key are not for it.
        kid: Option<String>,
    },
    /// A public key: RSA, P-256, P-384, P-521 or Ed25519.
    Pem {
        /// `-----BEGIN PUBLIC KEY-----` …
        pem: String,
        /// Algorithms it may be used with; all that fit if left out.
        algorithms: Option<Vec<Algorithm>>,
        /// Tokens that name another key are not for it.
        kid: Option<String>,
    },
    /// A set of public keys: `{"keys":[…]}` (RFC 7517).
    Jwks {
        /// The set.
        jwks: Value,
    },
}

/// How a secret is written.
#[derive(Clone, Copy, Debug, Default, Deserialize, witmq_sdk::Config, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// As it is, without blanks around it.
    #[default]
    Text,
    /// In base64.
    Base64,
}

/// A key.
#[derive(Clone, Debug)]
pub struct Key {
    kid: Option<String>,
    algorithms: Vec<Algorithm>,
    material: Material,
}

#[derive(Clone, Debug)]
enum Material {
    Public(Box<Public>),
    Secret { name: String, encoding: Encoding },
}

impl KeyConfig {
    /// The keys it stands for.
    ///
    /// # Errors
    /// What is wrong with it, for the operator.
    pub fn keys(&self) -> Result<Vec<Key>, String> {
        match self {
            Self::Secret {
                secret,
                encoding,
                algorithms,
                kid,
            } => {
                let material = Material::Secret {
                    name: secret.clone(),
                    encoding: *encoding,
                };
                let fitting = [Algorithm::Hs256, Algorithm::Hs384, Algorithm::Hs512];
                let algorithms = narrowed(&fitting, algorithms.as_deref())?;
                Ok(vec![Key {
                    kid: kid.clone(),
                    algorithms,
                    material,
                }])
            }
            Self::Pem {
                pem,
                algorithms,
                kid,
            } => {
                let public = from_pem(pem)?;
                let algorithms = narrowed(public.algorithms(), algorithms.as_deref())?;
                Ok(vec![Key {
                    kid: kid.clone(),
                    algorithms,
                    material: Material::Public(Box::new(public)),
                }])
            }
            Self::Jwks { jwks } => {
                let text = jwks.to_string();
                Ok(from_jwks(text.as_bytes())?.0)
            }
        }
    }
}

/// All keys of a configuration.
///
/// # Errors
/// What is wrong with which of them, for the operator.
pub fn keys(configs: &[KeyConfig]) -> Result<Vec<Key>, String> {
    let mut all = Vec::new();
    for (place, config) in (1..).zip(configs) {
        let keys = config.keys();
        all.extend(keys.map_err(|text| format!("keys: number {place}: {text}"))?);
    }
    Ok(all)
}

/// The algorithms of a key: those that fit its type, or the named ones of them.
fn narrowed(fitting: &[Algorithm], named: Option<&[Algorithm]>) -> Result<Vec<Algorithm>, String> {
    let named = named.unwrap_or(fitting);
    match named.iter().find(|one| !fitting.contains(one)) {
        Some(other) => Err(format!("algorithms: {other:?} is not for this type of key")),
        None if named.is_empty() => Err("algorithms: there is none".to_owned()),
        None => Ok(named.to_vec()),
    }
}

fn rsa(key: RsaPublicKey) -> Result<Public, String> {
    let bits = key.n().bits();
    match RSA_BITS.contains(&bits) {
        true => Ok(Public::Rsa(key)),
        false => Err(format!(
            "an RSA key of {bits} bits, allowed are {} to {}",
            RSA_BITS.start(),
            RSA_BITS.end()
        )),
    }
}

fn from_pem(pem: &str) -> Result<Public, String> {
    let pem = pem.trim();
    if pem.contains("PRIVATE KEY") {
        return Err("pem: this is a private key; it belongs to who makes the tokens".to_owned());
    }
    if pem.contains("BEGIN CERTIFICATE") {
        let text =
            "pem: this is a certificate; `openssl x509 -pubkey -noout` prints its public key";
        return Err(text.to_owned());
    }
    if let Ok(key) =
        RsaPublicKey::from_public_key_pem(pem).or_else(|_| RsaPublicKey::from_pkcs1_pem(pem))
    {
        return rsa(key).map_err(|text| format!("pem: {text}"));
    }
    if let Ok(key) = p256::ecdsa::VerifyingKey::from_public_key_pem(pem) {
        return Ok(Public::P256(key));
    }
    if let Ok(key) = p384::ecdsa::VerifyingKey::from_public_key_pem(pem) {
        return Ok(Public::P384(key));
    }
    if let Ok(key) = ed25519_dalek::VerifyingKey::from_public_key_pem(pem) {
        return Ok(Public::Ed25519(key));
    }
    let key = p521::PublicKey::from_public_key_pem(pem).ok();
    let key = key.and_then(|key| p521::ecdsa::VerifyingKey::from_affine(*key.as_affine()).ok());
    key.map(Public::P521).ok_or_else(|| {
        "pem: this is no public key of RSA (2048 to 4096 bits), P-256, P-384, P-521 or Ed25519"
            .to_owned()
    })
}

/// One key of a set, as RFC 7517 and 7518 write it.
#[derive(Debug, Deserialize)]
struct Jwk {
    kty: String,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    kid: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Jwks {
    keys: Vec<Value>,
}

/// The keys of a set that tokens can be checked with, and in words why the others cannot: sets hold keys for other
/// purposes too.
///
/// # Errors
/// It is no set, holds more than 64 keys, or none for tokens.
pub fn from_jwks(text: &[u8]) -> Result<(Vec<Key>, Vec<String>), String> {
    let set: Jwks = serde_json::from_slice(text).map_err(|error| format!("jwks: {error}"))?;
    if set.keys.len() > KEYS {
        return Err(format!("jwks: {} keys, at most {KEYS}", set.keys.len()));
    }
    let (mut keys, mut others) = (Vec::new(), Vec::new());
    for (place, value) in (1..).zip(set.keys) {
        match serde_json::from_value::<Jwk>(value)
            .map_err(|error| error.to_string())
            .and_then(Key::from_jwk)
        {
            Ok(key) => keys.push(key),
            Err(text) => others.push(format!("key {place}: {text}")),
        }
    }
    match keys.is_empty() {
        true => Err(format!(
            "jwks: there is no key for tokens: {}",
            others.join("; ")
        )),
        false => Ok((keys, others)),
    }
}

impl Key {
    fn from_jwk(jwk: Jwk) -> Result<Self, String> {
        if jwk.usage.as_deref().is_some_and(|usage| usage != "sig") {
            return Err("it is not for signatures".to_owned());
        }
        let ops = jwk.key_ops.as_ref();
        if ops.is_some_and(|ops| !ops.iter().any(|op| op == "verify")) {
            return Err("it is not for verifying".to_owned());
        }
        let number = |value: &Option<String>, name: &str| {
            let text = value
                .as_deref()
                .ok_or_else(|| format!("it has no `{name}`"))?;
            let bytes = URL_BASE64.decode(text);
            bytes.map_err(|_| format!("`{name}` is not base64url"))
        };
        let point = || {
            let parts = [vec![4], number(&jwk.x, "x")?, number(&jwk.y, "y")?];
            Ok::<_, String>(parts.concat())
        };
        let public = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
            ("RSA", _) => {
                let (n, e) = (number(&jwk.n, "n")?, number(&jwk.e, "e")?);
                let (n, e) = (BigUint::from_bytes_be(&n), BigUint::from_bytes_be(&e));
                rsa(RsaPublicKey::new(n, e).map_err(|error| error.to_string())?)?
            }
            ("EC", Some("P-256")) => {
                let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(&point()?);
                Public::P256(key.map_err(|_| "it is no point of P-256")?)
            }
            ("EC", Some("P-384")) => {
                let key = p384::ecdsa::VerifyingKey::from_sec1_bytes(&point()?);
                Public::P384(key.map_err(|_| "it is no point of P-384")?)
            }
            ("EC", Some("P-521")) => {
                let key = p521::ecdsa::VerifyingKey::from_sec1_bytes(&point()?);
                Public::P521(key.map_err(|_| "it is no point of P-521")?)
            }
            ("OKP", Some("Ed25519")) => {
                let bytes = number(&jwk.x, "x")?;
                let bytes = bytes.as_slice().try_into();
                let bytes = bytes.map_err(|_| "`x` is not 32 bytes")?;
                let key = ed25519_dalek::VerifyingKey::from_bytes(bytes);
                let key = key.ok().filter(|key| !key.is_weak());
                Public::Ed25519(key.ok_or("it is no key of Ed25519")?)
            }
            ("oct", _) => {
                return Err("a secret does not belong into a set; use `secret`".to_owned());
            }
            (kty, _) => return Err(format!("keys of type {kty} on this curve are not known")),
        };
        let named = match &jwk.alg {
            Some(name) => {
                let algorithm = Algorithm::named(name);
                Some([algorithm.ok_or_else(|| format!("`{name}` is not for tokens"))?])
            }
            None => None,
        };
        let named = named.as_ref().map(|named| &named[..]);
        Ok(Self {
            algorithms: narrowed(public.algorithms(), named)?,
            kid: jwk.kid,
            material: Material::Public(Box::new(public)),
        })
    }

    fn verifies(&self, token: &Token<'_>) -> bool {
        let (signed, signature) = (token.signed.as_bytes(), token.signature.as_slice());
        match &self.material {
            Material::Public(key) => key.verifies(token.algorithm, signed, signature),
            Material::Secret { name, encoding } => secret(name, *encoding)
                .is_ok_and(|secret| verifies_hmac(token.algorithm, &secret, signed, signature)),
        }
    }

    /// What is wrong with its secret.
    pub(crate) fn fault(&self) -> Option<String> {
        let Material::Secret { name, encoding } = &self.material else {
            return None;
        };
        let least = match self.algorithms.first() {
            Some(Algorithm::Hs512) => 64,
            Some(Algorithm::Hs384) => 48,
            _ => 32,
        };
        match secret(name, *encoding) {
            Ok(bytes) if bytes.len() < least => Some(format!(
                "the secret `{name}` has {} bytes, its algorithm needs {least}",
                bytes.len()
            )),
            Ok(_) => None,
            Err(text) => Some(text),
        }
    }
}

fn secret(name: &str, encoding: Encoding) -> Result<Vec<u8>, String> {
    let text = witmq_sdk::host::secrets::text(name)
        .map_err(|error| format!("the secret `{name}`: {error}"))?
        .ok_or_else(|| format!("the secret `{name}` is not there, or is no text"))?;
    match encoding {
        Encoding::Text => Ok(text.into_bytes()),
        Encoding::Base64 => {
            let bytes = BASE64_STANDARD.decode(text);
            bytes.map_err(|_| format!("the secret `{name}` is not base64"))
        }
    }
}

/// Whether one of the keys made the token.
///
/// # Errors
/// [`Rejection::NoKey`] if none is for it, [`Rejection::Signature`] if one is and says no.
pub fn verify<'k>(
    keys: impl IntoIterator<Item = &'k Key>,
    token: &Token<'_>,
) -> Result<(), Rejection> {
    let fits = |key: &&Key| {
        let is_named = match (&key.kid, &token.kid) {
            (Some(kid), Some(wanted)) => kid == wanted,
            _ => true,
        };
        is_named && key.algorithms.contains(&token.algorithm)
    };
    let mut fitting = keys.into_iter().filter(fits).take(TRIES).peekable();
    if fitting.peek().is_none() {
        return Err(Rejection::NoKey);
    }
    match fitting.any(|key| key.verifies(token)) {
        true => Ok(()),
        // One that names no key may be of a newer one.
        false if token.kid.is_none() => Err(Rejection::NoKey),
        false => Err(Rejection::Signature),
    }
}
