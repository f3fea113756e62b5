//! Where the clients of a node are sent instead of being served.
//!
//! Owns: [`Redirect`], behind a lock that is taken once per CONNECT. Must not: disconnect anybody; a shard that
//! drains does.

use bytestring::ByteString;
use std::sync::{Arc, PoisonError, RwLock};
use witmq_proto::ReasonCode;

/// Longest Server Reference, bytes.
const REFERENCE_BYTES: usize = 1024;

/// Why a text is no reference to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReferralError {
    /// Nothing in it.
    #[error("a server to go to is needed, like `other.example:1883`")]
    Empty,
    /// Too long, or not printable.
    #[error("a server reference is at most {REFERENCE_BYTES} bytes of printable text")]
    Text,
}

/// Another server, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Referral {
    /// Server Reference: `host:port`, several separated by spaces (section 4.11).
    pub server: ByteString,
    /// The client should use it from now on.
    pub is_permanent: bool,
}

impl Referral {
    /// To `server`.
    ///
    /// # Errors
    /// It is no reference.
    pub fn new(server: &str, is_permanent: bool) -> Result<Self, ReferralError> {
        let server = server.trim();
        if server.is_empty() {
            return Err(ReferralError::Empty);
        }
        if server.len() > REFERENCE_BYTES || server.chars().any(char::is_control) {
            return Err(ReferralError::Text);
        }
        Ok(Self {
            server: ByteString::from(server),
            is_permanent,
        })
    }

    /// 0x9C or 0x9D.
    #[must_use]
    pub fn reason(&self) -> ReasonCode {
        if self.is_permanent {
            ReasonCode::ServerMoved
        } else {
            ReasonCode::UseAnotherServer
        }
    }
}

/// Whether a node sends its clients elsewhere.
#[derive(Debug, Default)]
pub struct Redirect(RwLock<Option<Arc<Referral>>>);

impl Redirect {
    /// Where clients are sent; `None`: they are served.
    #[must_use]
    pub fn present(&self) -> Option<Arc<Referral>> {
        let present = self.0.read().unwrap_or_else(PoisonError::into_inner);
        present.clone()
    }

    /// From now on they are sent there, or served.
    pub fn set(&self, referral: Option<Referral>) {
        let mut present = self.0.write().unwrap_or_else(PoisonError::into_inner);
        *present = referral.map(Arc::new);
    }
}
