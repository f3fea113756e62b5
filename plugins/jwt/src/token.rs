//! A token in its three parts (RFC 7515, compact form).
//!
//! Owns: the reading of what nobody has vouched for yet, within bounds. Must not: trust any of it.

use crate::algorithm::Algorithm;
use crate::{Rejection, URL_BASE64};
use base64::Engine as _;
use serde::Deserialize;
use serde_json::{Map, Value};

/// Bytes of a token.
pub(crate) const TOKEN_BYTES: usize = 16 * 1024;

/// A token that was taken apart. Nothing in it is true before its signature was verified.
#[derive(Debug)]
pub struct Token<'t> {
    pub(crate) algorithm: Algorithm,
    pub(crate) kid: Option<String>,
    pub(crate) claims: Map<String, Value>,
    /// What the signature is of.
    pub(crate) signed: &'t str,
    pub(crate) signature: Vec<u8>,
}

/// Other members (`jku`, `jwk`, `x5u` …) say where a key may be found; they are the bearer's word and are not read.
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    /// What one has to understand to judge the token: nothing of that is understood here.
    crit: Option<Value>,
}

impl<'t> Token<'t> {
    /// Takes a token apart.
    ///
    /// # Errors
    /// [`Rejection::NotAToken`] for what does not look like one, others for what is none.
    pub fn parse(text: &'t [u8]) -> Result<Self, Rejection> {
        let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
        let is_plain = text.iter().all(is_plain);
        let text = std::str::from_utf8(text).map_err(|_| Rejection::NotAToken)?;
        let mut parts = text.split('.');
        let (Some(header), Some(claims), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Rejection::NotAToken);
        };
        // Every header begins with `{"`, so it begins with these two.
        if !is_plain || !header.starts_with("ey") {
            return Err(Rejection::NotAToken);
        }
        if text.len() > TOKEN_BYTES {
            return Err(Rejection::TooLong(text.len()));
        }
        let signed = &text[..header.len() + 1 + claims.len()];
        let bytes = |part: &str, name| {
            let bytes = URL_BASE64.decode(part);
            bytes.map_err(|_| Rejection::Malformed(name))
        };
        let header: Header = serde_json::from_slice(&bytes(header, "header")?)
            .map_err(|_| Rejection::Malformed("header"))?;
        if header.crit.is_some() {
            return Err(Rejection::Critical);
        }
        let algorithm = Algorithm::named(&header.alg);
        Ok(Self {
            algorithm: algorithm.ok_or(Rejection::Algorithm)?,
            kid: header.kid,
            claims: serde_json::from_slice(&bytes(claims, "claims")?)
                .map_err(|_| Rejection::Malformed("claims"))?,
            signed,
            signature: bytes(signature, "signature")?,
        })
    }
}
