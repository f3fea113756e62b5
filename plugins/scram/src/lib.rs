//! Authenticates by SCRAM-SHA-256 and SCRAM-SHA-512 (RFC 5802, RFC 7677), with salted keys from its configuration, from
//! secrets of the host, or from its own store, where a chain puts them. No password is anywhere.
//!
//! ```json
//! { "decoy_secret": "scram-decoys",
//!   "users": [ { "name": "ada", "secrets": ["scram-ada"], "attributes": { "site": "north" },
//!                "acl": [ { "allow": true, "topics": ["home/{user}/#"] } ] } ] }
//! ```
//!
//! Owns: whose keys they are. The exchange is in `witmq-users`. Made with the SDK like anyone else's plugin.

use config::Account;
use std::collections::BTreeMap;
use witmq_sdk::host::{metrics, secrets};
use witmq_sdk::{
    Attempt, Authenticate, Delivered, Failure, Grant, Health, Message, Place, Plugin, Sink, Step,
};
use witmq_users::access::Access;
use witmq_users::scram::{self, Decoys, Keys, Mechanism, Proven, ScramError};

mod config;
mod store;
#[cfg(test)]
mod tests;

pub use config::Config;

/// Keys of users, for SCRAM.
#[witmq_sdk::plugin(authenticate, sink, name = "scram", tests = "tests.json")]
pub struct Scram {
    /// What it is called here.
    plugin: String,
    decoy_secret: String,
    decoy_iterations: u32,
    mechanisms: Vec<Mechanism>,
    access: Access,
    accounts: BTreeMap<String, Account>,
}

impl Plugin for Scram {
    type Config = Config;

    fn new(config: Config, place: &Place) -> Result<Self, String> {
        Ok(Self {
            plugin: place.plugin.clone(),
            decoy_secret: config.decoy_secret,
            decoy_iterations: config.decoy_iterations,
            mechanisms: config.mechanisms,
            access: Access::new(&config.acl, config.default),
            accounts: config::accounts(config.users)?,
        })
    }

    fn check(&mut self) -> Health {
        let all = self.accounts.values().flat_map(|one| &one.secrets);
        let fault = self.decoys().err();
        let fault = fault.or_else(|| all.filter_map(|name| read(name).err()).next());
        fault.map_or(Health::Ok, Health::Degraded)
    }
}

/// The text of a secret.
fn secret(name: &str) -> Result<String, String> {
    let text = secrets::text(name).map_err(|error| format!("the secret `{name}`: {error}"))?;
    text.ok_or_else(|| format!("the secret `{name}` is not there, or is no text"))
}

/// Keys, one a line, of which the first has this number.
fn lines(first: usize, text: &str) -> Result<Vec<Keys>, String> {
    let keys = (first..).zip(text.lines()).map(|(number, line)| {
        let keys = Keys::from_line(line.trim());
        keys.map_err(|error| format!("line {number}: {error}"))
    });
    keys.collect()
}

/// The keys in a secret, one a line.
fn read(name: &str) -> Result<Vec<Keys>, String> {
    let text = secret(name)?;
    let keys = lines(1, &text).map_err(|text| format!("the secret `{name}`, {text}"))?;
    match keys.is_empty() {
        true => Err(format!("the secret `{name}` is empty")),
        false => Ok(keys),
    }
}

/// The keys in the store; none if they cannot be read.
fn stored(name: &str) -> Vec<Keys> {
    store::read(name).unwrap_or_else(|text| {
        metrics::count("scram_store_failures", 1);
        witmq_sdk::warn!("{text}");
        Vec::new()
    })
}

impl Scram {
    /// Read anew each time, like all secrets: one that is changed holds from the next exchange on.
    fn decoys(&self) -> Result<Decoys, String> {
        let text = secret(&self.decoy_secret)?;
        let decoys = Decoys::new("decoy_secret", &text, self.decoy_iterations);
        decoys.map_err(|_| {
            let name = &self.decoy_secret;
            format!("the secret `{name}` is not 32 bytes in base64; `openssl rand -base64 32` makes some")
        })
    }

    /// What the client asks for, if it is offered here.
    fn offered(&self, attempt: &Attempt) -> Option<Mechanism> {
        let mechanism = Mechanism::named(attempt.method.as_deref()?)?;
        self.mechanisms.contains(&mechanism).then_some(mechanism)
    }

    /// The keys of a user, or others that no password fits: the answer looks the same, and so does its work.
    fn keys(&self, mechanism: Mechanism, name: &str) -> Result<Keys, Failure> {
        let made_up = self.decoys().map_err(Failure::Failed)?;
        let made_up = made_up.keys(mechanism, name);
        let Some(account) = self.accounts.get(name) else {
            return Ok(made_up);
        };
        let own = account.keys.iter().cloned();
        let read = |name: &String| match read(name) {
            Ok(keys) => keys,
            Err(text) => {
                metrics::count("scram_secret_failures", 1);
                witmq_sdk::warn!("{text}");
                Vec::new()
            }
        };
        let stored = account.stored.then(|| stored(name)).into_iter().flatten();
        let all = own.chain(account.secrets.iter().flat_map(read));
        let mut all = all.chain(stored);
        let found = all.find(|keys| keys.mechanism() == mechanism);
        Ok(found.unwrap_or(made_up))
    }

    fn granted(&self, proven: Proven) -> Step {
        let Some(account) = self.accounts.get(&proven.name) else {
            return ScramError::Proof.denial();
        };
        Step::Allow(Grant {
            username: Some(proven.name),
            attributes: account.attributes.clone(),
            data: Some(proven.data),
            ..self.access.grant(&account.rules, account.superuser)
        })
    }
}

impl Authenticate for Scram {
    fn begin(&mut self, attempt: &Attempt) -> Result<Step, Failure> {
        match self.offered(attempt) {
            Some(mechanism) => scram::begin(&attempt.data, |name| self.keys(mechanism, name)),
            None => Ok(Step::Ignore), // another authenticator's
        }
    }

    fn proceed(&mut self, attempt: &Attempt, state: &[u8], data: &[u8]) -> Result<Step, Failure> {
        let Some(mechanism) = self.offered(attempt) else {
            return Ok(ScramError::AnotherExchange.denial()); // it was offered when the exchange began
        };
        let proven = scram::proceed(state, data, |name| self.keys(mechanism, name))?;
        Ok(proven.map_or_else(ScramError::denial, |proven| self.granted(proven)))
    }
}

/// What a chain hands over: keys of a user.
impl Sink for Scram {
    fn deliver_one(&mut self, message: &Message) -> Result<Delivered, Failure> {
        let is_stored = |name: &str| self.accounts.get(name).is_some_and(|one| one.stored);
        store::put(&self.plugin, message, is_stored)
    }
}
