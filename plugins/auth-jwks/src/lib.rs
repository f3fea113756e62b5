//! Authenticates by JSON Web Tokens whose keys an identity provider publishes as a JWKS (RFC 7517), and by keys of its own
//! configuration. It sends requests, so it has to be granted the provider's host; `auth-jwt` does without.
//!
//! ```json
//! { "issuer": { "url": "https://id.example.com" }, "tokens": { "audiences": ["mqtt"] } }
//! ```
//!
//! or, without the question where they are,
//!
//! ```json
//! { "jwks": { "url": "https://id.example.com/.well-known/jwks.json" },
//!   "tokens": { "issuers": ["https://id.example.com"], "audiences": ["mqtt"] } }
//! ```
//!
//! Owns: where keys come from. What a token is and grants is in `witmq-jwt`. Made with the SDK like anyone else's plugin.

use discovery::Discovery;
use serde::Deserialize;
use source::{Source, Times};
use witmq_jwt::{Judge, Key, KeyConfig, Rejection, Token, Tokens, verify};
use witmq_sdk::host::clock;
use witmq_sdk::host::http::Endpoint;
use witmq_sdk::{Attempt, Authenticate, Failure, Health, Place, Plugin, Step};

mod discovery;
mod source;
#[cfg(test)]
mod tests;

/// The whole configuration.
#[derive(Debug, Deserialize, witmq_sdk::Config)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where the keys are published; or `issuer`.
    jwks: Option<Endpoint>,
    /// The provider, which is asked where it publishes them (OpenID Connect Discovery). Its tokens have this address as `iss`.
    issuer: Option<Endpoint>,
    /// Seconds after which the provider is asked again.
    #[serde(default = "discovery_s")]
    #[config(minimum = 1, maximum = 2_592_000)]
    discovery_s: u32,
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

fn discovery_s() -> u32 {
    86_400
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
        let ms = |seconds: u32| u64::from(seconds) * 1000;
        let mut tokens = config.tokens;
        let (name, endpoint, discovery) = match (config.jwks, config.issuer) {
            (Some(jwks), None) => ("jwks", jwks, None),
            (None, Some(issuer)) => {
                if tokens.issuers.is_empty() {
                    tokens.issuers.push(issuer.url.clone());
                }
                let discovery = Discovery::new(ms(config.discovery_s));
                ("issuer", issuer, Some(discovery))
            }
            (None, None) => return Err("neither `jwks` nor `issuer` is there".to_owned()),
            (Some(_), Some(_)) => return Err("take `jwks` or `issuer`, not both".to_owned()),
        };
        endpoint.check().map_err(|text| format!("{name}: {text}"))?;
        if config.stale_s < config.refresh_s {
            return Err(format!(
                "stale_s is {}, less than the {} of refresh_s",
                config.stale_s, config.refresh_s
            ));
        }
        let times = Times {
            refresh_ms: ms(config.refresh_s),
            pause_ms: ms(config.pause_s),
            stale_ms: ms(config.stale_s),
        };
        Ok(Self {
            own: witmq_jwt::keys(&config.keys)?,
            source: Source::new(endpoint, discovery, times),
            judge: Judge::new(tokens),
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
