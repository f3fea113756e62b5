//! Authenticates by JSON Web Tokens whose keys are in its configuration, or secrets of the host. It asks nobody, so it needs
//! no host granted; `auth-jwks` fetches keys.
//!
//! ```json
//! { "keys": [ { "kind": "secret", "secret": "jwt-key", "algorithms": ["HS256"] } ],
//!   "tokens": { "issuers": ["https://id.example.com"], "audiences": ["mqtt"] } }
//! ```
//!
//! Owns: the keys. What a token is and grants is in `witmq-jwt`. Made with the SDK like anyone else's plugin.

use serde::Deserialize;
use witmq_jwt::{Judge, Key, KeyConfig, Token, Tokens, verify};
use witmq_sdk::host::clock;
use witmq_sdk::{Attempt, Authenticate, Failure, Health, Place, Plugin, Step};

#[cfg(test)]
mod tests;

/// The whole configuration.
#[derive(Debug, Deserialize, witmq_sdk::Config)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Keys that tokens are checked with.
    #[config(min_items = 1, max_items = 64)]
    keys: Vec<KeyConfig>,
    /// Which tokens are taken, and what they grant.
    #[serde(default)]
    tokens: Tokens,
}

/// Authenticates by JSON Web Tokens, with keys from its configuration.
#[witmq_sdk::plugin(authenticate, name = "auth-jwt")]
#[derive(Debug)]
pub struct AuthJwt {
    keys: Vec<Key>,
    judge: Judge,
}

impl Plugin for AuthJwt {
    type Config = Config;

    fn new(config: Config, _place: &Place) -> Result<Self, String> {
        Ok(Self {
            keys: witmq_jwt::keys(&config.keys)?,
            judge: Judge::new(config.tokens),
        })
    }

    fn check(&mut self) -> Health {
        Judge::fault(&self.keys).map_or(Health::Ok, Health::Degraded)
    }
}

impl Authenticate for AuthJwt {
    fn begin(&mut self, attempt: &Attempt) -> Result<Step, Failure> {
        let verified = |token: &Token<'_>| Ok(verify(&self.keys, token));
        self.judge.decide(attempt, clock::now_ms(), verified)
    }
}
