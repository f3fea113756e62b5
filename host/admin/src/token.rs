//! The bearer token of the admin API: made once per installation, compared in constant time.

use sha2::{Digest, Sha256};

/// The admin token, kept as its hash.
#[derive(Clone)]
pub struct Token([u8; 32]);

impl Token {
    /// From the text a client must send.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(Sha256::digest(text.as_bytes()).into())
    }

    /// Whether an `Authorization` header carries this token. Hashes are compared whole, so the time taken says
    /// nothing about how much of a guess was right.
    #[must_use]
    pub fn admits(&self, authorization: Option<&str>) -> bool {
        let Some(text) = authorization.and_then(|h| h.strip_prefix("Bearer ")) else {
            return false;
        };
        let guess: [u8; 32] = Sha256::digest(text.trim().as_bytes()).into();
        let difference = self
            .0
            .iter()
            .zip(guess)
            .fold(0_u8, |sum, (a, b)| sum | (a ^ b));
        difference == 0
    }
}

#[cfg(test)]
mod tests {
    use super::Token;

    #[test]
    fn only_the_exact_bearer_token_is_admitted() {
        let token = Token::new("s3cret");
        assert!(token.admits(Some("Bearer s3cret")));
        for wrong in [
            None,
            Some(""),
            Some("s3cret"),
            Some("Bearer s3cre"),
            Some("Basic s3cret"),
        ] {
            assert!(!token.admits(wrong), "{wrong:?}");
        }
    }
}
