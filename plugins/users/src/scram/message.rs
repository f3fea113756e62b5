//! The two messages of a SCRAM client (RFC 5802 section 7).
//!
//! Owns: their form and bounds. Must not: know keys.

use super::exchange::proof;
use super::{CLIENT_NONCE_BYTES, MESSAGE_BYTES, Mechanism, ScramError};

/// `n,,n=user,r=nonce`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ClientFirst<'m> {
    /// All of it.
    pub(super) message: &'m str,
    /// The GS2 header, its last comma included.
    pub(super) header: &'m str,
    /// What comes after the header.
    pub(super) bare: &'m str,
    /// The client's part of the nonce.
    pub(super) nonce: &'m str,
    /// Who it says it is.
    pub(super) name: String,
}

impl<'m> ClientFirst<'m> {
    pub(super) fn parse(message: &'m [u8]) -> Result<Self, ScramError> {
        let message = text(message)?;
        let malformed = ScramError::Malformed;
        let no_header = malformed("the gs2 header is missing");
        let (flag, rest) = message.split_once(',').ok_or(no_header)?;
        match flag {
            "n" | "y" => {} // it cannot bind channels, or thinks that this server cannot
            _ if flag.starts_with("p=") => return Err(ScramError::ChannelBinding),
            _ => return Err(malformed("the gs2 header begins with neither n, y nor p")),
        }
        let (identity, bare) = rest.split_once(',').ok_or(no_header)?;
        let header = message.strip_suffix(bare).unwrap_or_default();
        if bare.starts_with("m=") {
            return Err(ScramError::Extension);
        }
        let mut attributes = bare.split(',');
        let name = value(attributes.next(), "n=").ok_or(malformed("n= is missing"))?;
        let nonce = value(attributes.next(), "r=").ok_or(malformed("r= is missing"))?;
        let is_printable = nonce.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_printable || nonce.len() > CLIENT_NONCE_BYTES {
            return Err(malformed("r= is no nonce"));
        }
        extensions(attributes)?;
        let name = plain(name)?;
        match identity {
            "" => {}
            _ => {
                let other = identity.strip_prefix("a=");
                let other = other.ok_or(malformed("the gs2 header has no a="))?;
                if plain(other)? != name {
                    return Err(ScramError::AnotherIdentity);
                }
            }
        }
        Ok(Self {
            message,
            header,
            bare,
            nonce,
            name,
        })
    }
}

/// `c=biws,r=nonce,p=proof`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ClientFinal<'m> {
    /// What the proof is about.
    pub(super) without_proof: &'m str,
    /// The GS2 header again, in base64.
    pub(super) binding: &'m str,
    /// Both parts of the nonce.
    pub(super) nonce: &'m str,
    pub(super) proof: Vec<u8>,
}

impl<'m> ClientFinal<'m> {
    pub(super) fn parse(message: &'m [u8], mechanism: Mechanism) -> Result<Self, ScramError> {
        let malformed = ScramError::Malformed;
        let no_proof = malformed("p= is missing at the end");
        let (without_proof, last) = text(message)?.rsplit_once(",p=").ok_or(no_proof)?;
        let mut attributes = without_proof.split(',');
        let binding = value(attributes.next(), "c=").ok_or(malformed("c= is missing"))?;
        let nonce = value(attributes.next(), "r=").ok_or(malformed("r= is missing"))?;
        extensions(attributes)?;
        Ok(Self {
            without_proof,
            binding,
            nonce,
            proof: proof(mechanism, last).ok_or(malformed("p= is no proof"))?,
        })
    }
}

fn text(message: &[u8]) -> Result<&str, ScramError> {
    if message.len() > MESSAGE_BYTES {
        return Err(ScramError::TooLong);
    }
    match std::str::from_utf8(message) {
        Ok("") => Err(ScramError::Malformed("it is empty")),
        Ok(text) if !text.contains('\0') => Ok(text),
        _ => Err(ScramError::Malformed("it is not text")),
    }
}

/// The value of an attribute, which is not empty.
fn value<'m>(attribute: Option<&'m str>, name: &str) -> Option<&'m str> {
    attribute?
        .strip_prefix(name)
        .filter(|value| !value.is_empty())
}

/// Unknown ones are passed over, but for those that must not be.
fn extensions<'m>(mut attributes: impl Iterator<Item = &'m str>) -> Result<(), ScramError> {
    attributes.try_for_each(|attribute| match attribute.as_bytes() {
        [b'm', b'=', ..] => Err(ScramError::Extension),
        [letter, b'=', _, ..] if letter.is_ascii_alphabetic() => Ok(()),
        _ => Err(ScramError::Malformed("an extension has no name or value")),
    })
}

/// A name with its `=2C` and `=3D` undone.
fn plain(name: &str) -> Result<String, ScramError> {
    let mut parts = name.split('=');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (sign, rest) = match (part.strip_prefix("2C"), part.strip_prefix("3D")) {
            (Some(rest), _) => (',', rest),
            (_, Some(rest)) => ('=', rest),
            _ => return Err(ScramError::Malformed("a name has a bare `=`")),
        };
        plain.push(sign);
        plain.push_str(rest);
    }
    Ok(plain)
}
