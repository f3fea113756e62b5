//! Authenticates by asking an HTTP service: POST, and the answer says yes with rights, no, or "not mine". The broker enforces
//! the rights by itself. A service that fails lets nobody in.
//!
//! ```json
//! { "endpoint": { "url": "https://id.example.com/mqtt", "authorization": { "secret": "auth-token" } } }
//! ```
//!
//! Question and answer are in `README.md`. Made with the SDK like anyone else's plugin.

use answer::{Allowed, Answer};
use config::{Format, OnFailure};
use witmq_sdk::host::http::Endpoint;
use witmq_sdk::host::{clock, metrics};
use witmq_sdk::{
    AclEntry, Attempt, Authenticate, Denial, Failure, Grant, Health, Memory, Place, Plugin, Rule,
    Step,
};

mod answer;
mod config;
mod question;
#[cfg(test)]
mod tests;

pub use config::Config;

/// Bytes of an answer.
const ANSWER_BYTES: usize = 256 * 1024;
/// Bytes of remembered answers, and as many of denials.
const CACHE_BYTES: usize = 8 * 1024 * 1024;
/// Failures one after the other that let the service rest, so that those who wait do not wait for nothing.
const FAILURES: u32 = 3;
/// Milliseconds of such a rest; the next attempt after it tries again.
const REST_MS: u64 = 1000;
/// MQTT 5: server unavailable.
const UNAVAILABLE: u8 = 0x88;

/// An answer, and until when it holds (milliseconds since 1970).
struct Kept {
    answer: Answer,
    until_ms: u64,
}

/// Authenticates by asking an HTTP service.
#[witmq_sdk::plugin(authenticate, name = "auth-http")]
pub struct AuthHttp {
    endpoint: Endpoint,
    format: Format,
    on_failure: OnFailure,
    /// Rules for everybody.
    general: Vec<Rule>,
    allow_ms: u64,
    deny_ms: u64,
    /// Of the fingerprints; it is of this instance only.
    key: [u8; 32],
    allowed: Memory<Kept>,
    /// Apart, so that many wrong passwords push no right one out.
    denied: Memory<Kept>,
    /// One after the other.
    failures: u32,
    rests_until_ms: u64,
}

impl Plugin for AuthHttp {
    type Config = Config;

    fn new(config: Config, _place: &Place) -> Result<Self, String> {
        let endpoint = config.endpoint;
        endpoint
            .check()
            .map_err(|text| format!("endpoint: {text}"))?;
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(|error| format!("no random bytes: {error}"))?;
        let memory = || Memory::new(config.cache_entries, CACHE_BYTES);
        Ok(Self {
            endpoint,
            format: config.format,
            on_failure: config.on_failure,
            general: AclEntry::rules(&config.acl),
            allow_ms: u64::from(config.cache_allow_s) * 1000,
            deny_ms: u64::from(config.cache_deny_s) * 1000,
            key,
            allowed: memory(),
            denied: memory(),
            failures: 0,
            rests_until_ms: 0,
        })
    }

    fn check(&mut self) -> Health {
        self.endpoint.health()
    }
}

impl AuthHttp {
    fn remembered(&mut self, fingerprint: &str, now_ms: u64) -> Option<Answer> {
        for memory in [&mut self.allowed, &mut self.denied] {
            match memory.get(fingerprint) {
                Some(kept) if kept.until_ms > now_ms => return Some(kept.answer.clone()),
                Some(_) => drop(memory.remove(fingerprint)),
                None => {}
            }
        }
        None
    }

    fn remember(&mut self, fingerprint: &str, answer: &Answer, now_ms: u64) {
        let (memory, for_ms, ends_ms) = match answer {
            Answer::Allow(allowed) => (&mut self.allowed, self.allow_ms, allowed.ends_ms),
            Answer::Deny { .. } | Answer::Ignore => (&mut self.denied, self.deny_ms, None),
        };
        let until_ms = now_ms
            .saturating_add(for_ms)
            .min(ends_ms.unwrap_or(u64::MAX));
        if until_ms > now_ms {
            let answer = answer.clone();
            let bytes = answer.bytes() + size_of::<Kept>();
            let gone = memory.insert(fingerprint, Kept { answer, until_ms }, bytes);
            metrics::count("cache_evicted", u64::try_from(gone).unwrap_or(u64::MAX));
        }
    }

    fn ask(&self, attempt: &Attempt) -> Result<Answer, String> {
        let words = |failure: Failure| failure.to_string();
        let (body, kind) = question::body(attempt, self.format).map_err(words)?;
        let request = self.endpoint.request("POST").map_err(words)?;
        let response = request
            .header("content-type", kind)
            .body(body)
            .body_bytes(ANSWER_BYTES)
            .send()
            .map_err(|error| error.to_string())?;
        answer::read(&response, clock::now_ms())
    }

    /// The answer of the service, unless it rests.
    fn answer(&mut self, attempt: &Attempt) -> Result<Answer, String> {
        let now_ms = clock::now_ms();
        // A clock that was set back makes no rest longer.
        if self.rests_until_ms > now_ms && self.rests_until_ms - now_ms <= REST_MS {
            metrics::count("service_not_asked", 1);
            return Err("the service failed before".to_owned());
        }
        let answer = self.ask(attempt);
        match &answer {
            Ok(_) => self.failures = 0,
            Err(text) => {
                metrics::count("service_failures", 1);
                witmq_sdk::warn!("no answer for client `{}`: {text}", attempt.client_id);
                self.failures = self.failures.saturating_add(1);
                if self.failures >= FAILURES {
                    self.rests_until_ms = clock::now_ms().saturating_add(REST_MS);
                }
            }
        }
        answer
    }

    fn step(&self, answer: Answer, now_ms: u64) -> Step {
        match answer {
            Answer::Allow(allowed) => Step::Allow(self.grant(allowed, now_ms)),
            Answer::Deny { reason_code, text } => Step::Deny(Denial {
                reason_code,
                text: Some(text),
                server_reference: None,
            }),
            Answer::Ignore => Step::Ignore,
        }
    }

    fn grant(&self, allowed: Allowed, now_ms: u64) -> Grant {
        let mut acl = AclEntry::rules(&allowed.acl);
        acl.extend(self.general.iter().cloned());
        Grant {
            username: allowed.username,
            superuser: allowed.superuser,
            acl,
            acl_complete: true,
            expires_ms: allowed
                .ends_ms
                .map(|ends| ends.saturating_sub(now_ms).max(1)),
            attributes: allowed.attributes.into_iter().collect(),
            data: None,
        }
    }
}

impl Authenticate for AuthHttp {
    fn begin(&mut self, attempt: &Attempt) -> Result<Step, Failure> {
        if attempt.method.is_some() {
            return Ok(Step::Ignore); // an exchange is for an authenticator that knows one
        }
        let fingerprint = question::fingerprint(attempt, &self.key)?;
        if let Some(answer) = self.remembered(&fingerprint, clock::now_ms()) {
            metrics::count("cache_hits", 1);
            return Ok(self.step(answer, clock::now_ms()));
        }
        Ok(match self.answer(attempt) {
            Ok(answer) => {
                let now_ms = clock::now_ms();
                self.remember(&fingerprint, &answer, now_ms);
                self.step(answer, now_ms)
            }
            Err(_) => match self.on_failure {
                OnFailure::Deny => {
                    Step::deny(UNAVAILABLE, "the authentication service does not answer")
                }
                OnFailure::Ignore => Step::Ignore,
            },
        })
    }
}
