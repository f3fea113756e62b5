//! Authenticates by JSON Web Tokens whose keys an identity provider publishes as a JWKS (RFC 7517), and by keys of its own
//! configuration. It sends requests, so it has to be granted the provider's host; `auth-jwt` does without.
//!
//! ```json
//! { "jwks": { "url": "https://id.example.com/.well-known/jwks.json" },
//!   "tokens": { "issuers": ["https://id.example.com"], "audiences": ["mqtt"] } }
//! ```
//!
//! Owns: where keys come from. What a token is and grants is in `witmq-jwt`. Made with the SDK like anyone else's plugin.

use serde::Deserialize;
use source::{Source, Times};
use witmq_jwt::{Judge, Key, KeyConfig, Rejection, Token, Tokens, verify};
use witmq_sdk::host::clock;
use witmq_sdk::host::http::Endpoint;
use witmq_sdk::{Attempt, Authenticate, Failure, Health, Place, Plugin, Step};

mod source;
#[cfg(test)]
mod tests;

/// The whole configuration.
#[derive(Debug, Deserialize, witmq_sdk::Config)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where the keys are published.
    jwks: Endpoint,
    /// Seconds after which they are fetched anew.
    #[serde(default = "refresh_s")]
    #[config(minimum = 1, maximum = 86_400)]
    refresh_s: u32,
    /// Seconds between two requests for them at least; a token of an unknown key asks for one before.
    #[serde(default = "pause_s")]
    #[config(minimum = 1, maximum = 3600)]
    pause_s: u32,
    /// Seconds that the last ones are used while they cannot be fetched.
    #[serde(default = "stale_s")]
    #[config(minimum = 1, maximum = 2_592_000)]
    stale_s: u32,
    /// More keys, which are always there.
    #[serde(default)]
    #[config(max_items = 64)]
    keys: Vec<KeyConfig>,
    /// Which tokens are taken, and what they grant.
    #[serde(default)]
    tokens: Tokens,
}

fn refresh_s() -> u32 {
    300
}

fn pause_s() -> u32 {
    10
}

fn stale_s() -> u32 {
    86_400
}

/// Authenticates by JSON Web Tokens, with keys that an identity provider publishes.
#[witmq_sdk::plugin(authenticate, name = "auth-jwks")]
#[derive(Debug)]
pub struct AuthJwks {
    own: Vec<Key>,
    source: Source,
    judge: Judge,
}

impl Plugin for AuthJwks {
    type Config = Config;

    fn new(config: Config, _place: &Place) -> Result<Self, String> {
        config
            .jwks
            .check()
            .map_err(|text| format!("jwks: {text}"))?;
        if config.stale_s < config.refresh_s {
            return Err(format!(
                "stale_s is {}, less than the {} of refresh_s",
                config.stale_s, config.refresh_s
            ));
        }
        let ms = |seconds: u32| u64::from(seconds) * 1000;
        let times = Times {
            refresh_ms: ms(config.refresh_s),
            pause_ms: ms(config.pause_s),
            stale_ms: ms(config.stale_s),
        };
        Ok(Self {
            own: witmq_jwt::keys(&config.keys)?,
            source: Source::new(config.jwks, times),
            judge: Judge::new(config.tokens),
        })
    }

    fn check(&mut self) -> Health {
        let fault = Judge::fault(&self.own);
        let fault = fault.or_else(|| self.source.keys().err());
        fault.map_or(Health::Ok, Health::Degraded)
    }
}

/// With the configuration's keys first: they need nobody.
fn verified(
    own: &[Key],
    source: &mut Source,
    token: &Token<'_>,
) -> Result<Result<(), Rejection>, Failure> {
    let by_own = verify(own, token);
    if by_own.is_ok() {
        return Ok(by_own);
    }
    let mut published = verify(source.keys().map_err(Failure::Failed)?, token);
    // Those that another instance fetched may be older than the key, so perhaps twice.
    for _ in 0..2 {
        if published != Err(Rejection::NoKey) || !source.renew() {
            break;
        }
        published = verify(source.keys().map_err(Failure::Failed)?, token);
    }
    Ok(published)
}

impl Authenticate for AuthJwks {
    fn begin(&mut self, attempt: &Attempt) -> Result<Step, Failure> {
        let Self { own, source, judge } = self;
        let verify = |token: &Token<'_>| verified(own, source, token);
        judge.decide(attempt, clock::now_ms(), verify)
    }
}
