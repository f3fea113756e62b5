//! JSON Web Tokens (RFC 7519) as grants: what the components `auth-jwt` and `auth-jwks` have in common. They differ in where
//! keys come from: `auth-jwt` has them in its configuration and asks nobody, `auth-jwks` fetches them.
//!
//! Owns: the reading and verifying of tokens, the judgement of their claims, what they grant. Must not: be a component, or
//! send requests: a component that imports them has to be granted a host.

use base64::engine::general_purpose::{GeneralPurpose, URL_SAFE_NO_PAD};

mod acl;
mod algorithm;
mod judge;
mod key;
#[cfg(test)]
mod tests;
mod token;

pub use algorithm::Algorithm;
pub use judge::{Field, Judge, Tokens};
pub use key::{Encoding, Key, KeyConfig, from_jwks, keys, verify};
pub use token::Token;

/// Base64 as RFC 7515 has it: the alphabet of URLs, no padding, nothing left over.
const URL_BASE64: GeneralPurpose = URL_SAFE_NO_PAD;

/// Why a token lets nobody in. The words are for the client too.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// It does not look like one.
    #[error("this is no token")]
    NotAToken,
    /// Its size in bytes.
    #[error("the token has {0} bytes, at most {max}", max = token::TOKEN_BYTES)]
    TooLong(usize),
    /// Which part of it.
    #[error("the {0} of the token cannot be read")]
    Malformed(&'static str),
    /// `crit` in its header.
    #[error("the token asks for an extension that is not known")]
    Critical,
    /// Another `alg`.
    #[error("the token is signed by an algorithm that is not taken")]
    Algorithm,
    /// No key is for it, as far as is known.
    #[error("no key is known for the token")]
    NoKey,
    /// A key is for it and did not make it.
    #[error("the signature of the token is wrong")]
    Signature,
    /// Its end is past.
    #[error("the token has expired")]
    Expired,
    /// Its beginning is to come.
    #[error("the token is not valid yet")]
    NotYet,
    /// Which claim it should have.
    #[error("the token has no claim `{0}` as it should be")]
    Claim(String),
    /// It is for somebody else, or by somebody else.
    #[error("the claim `{0}` of the token is another")]
    Other(String),
}
