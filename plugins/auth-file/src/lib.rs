//! How WitMQ authenticates by default: users and access rules, all from its configuration. A user logs in by a password
//! in CONNECT (`hash`, argon2id), by SCRAM-SHA-256 in rounds of AUTH (`scram`), or by either.
//!
//! ```json
//! { "anonymous": "deny", "default": "deny", "scram_secret": "...",
//!   "users": [ { "name": "ada", "hash": "$argon2id$...",
//!                "scram": { "salt": "...", "iterations": 20000, "stored_key": "...", "server_key": "..." },
//!                "acl": [ { "allow": true, "actions": ["publish", "subscribe"], "topics": ["home/#"] } ] } ] }
//! ```
//!
//! A user's own rules come first, then the general `acl`, then `default`. The rules are returned as a grant; the
//! broker enforces them. Made with the SDK like anyone else's plugin.

use argon2::password_hash::{PasswordHash, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use config::User;
use std::collections::BTreeMap;
use witmq_sdk::{AclEntry, Attempt, Authenticate, Failure, Grant, Place, Plugin, Rule, Step};
use witmq_users::access::{Access, Choice};
use witmq_users::scram::{self, Decoys, Keys, Mechanism, Proven, ScramError, USUAL_ITERATIONS};

mod config;
#[cfg(test)]
mod tests;

pub use config::Config;

/// MQTT 5: bad user name or password.
const BAD_CREDENTIALS: u8 = 0x86;
/// MQTT 5: not authorized.
const NOT_AUTHORIZED: u8 = 0x87;
/// MQTT 5: bad authentication method.
const BAD_METHOD: u8 = 0x8C;

/// The Authentication Method that is offered.
const METHOD: Mechanism = Mechanism::Sha256;

struct Account {
    hash: Option<String>,
    scram: Option<Keys>,
    superuser: bool,
    rules: Vec<Rule>,
}

/// Users and access rules from the configuration.
#[witmq_sdk::plugin(authenticate, name = "auth-file")]
pub struct AuthFile {
    anonymous: Choice,
    access: Access,
    accounts: BTreeMap<String, Account>,
    /// There if SCRAM is offered.
    decoys: Option<Decoys>,
}

/// What a hash costs here when there is none to check: an unknown name takes as long as a wrong password.
const DECOY: &str = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

fn fits(password: &[u8], hash: &str) -> bool {
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::DEFAULT);
    PasswordHash::new(hash).is_ok_and(|hash| argon2.verify_password(password, &hash).is_ok())
}

fn account(user: User) -> Result<Account, String> {
    if user.hash.is_none() && user.scram.is_none() {
        return Err("needs `hash` or `scram`; make them with `witmq user add`".to_owned());
    }
    if let Some(hash) = &user.hash {
        let hash = PasswordHash::new(hash).map_err(|error| {
            format!("hash is no argon2 hash ({error}); make one with `witmq user add`")
        })?;
        if hash.algorithm.as_str() != "argon2id" {
            let algorithm = hash.algorithm;
            return Err(format!("hash is {algorithm}, only argon2id is taken"));
        }
    }
    let scram = user.scram.as_ref().map(config::Entry::keys).transpose();
    Ok(Account {
        rules: AclEntry::rules(&user.acl),
        hash: user.hash,
        scram: scram.map_err(|error| format!("scram: {error}"))?,
        superuser: user.superuser,
    })
}

impl Plugin for AuthFile {
    type Config = Config;

    fn new(config: Config, _place: &Place) -> Result<Self, String> {
        let decoys = config.scram_secret.as_deref().map(|secret| {
            let decoys = Decoys::new("scram_secret", secret, USUAL_ITERATIONS);
            decoys.map_err(|_| "scram_secret: this is not 32 bytes in base64".to_owned())
        });
        let decoys = decoys.transpose()?;
        let mut accounts = BTreeMap::new();
        for user in config.users {
            let name = user.name.clone();
            let bad = |cause: String| format!("users: `{name}`: {cause}");
            if name.is_empty() {
                return Err("users: a name is empty".to_owned());
            }
            let account = account(user).map_err(bad)?;
            if account.scram.is_some() && decoys.is_none() {
                return Err(bad(
                    "scram needs `scram_secret`, 32 random bytes in base64".to_owned()
                ));
            }
            if accounts.insert(name.clone(), account).is_some() {
                return Err(bad("is there twice".to_owned()));
            }
        }
        Ok(Self {
            anonymous: config.anonymous,
            access: Access::new(&config.acl, config.default),
            accounts,
            decoys,
        })
    }
}

impl AuthFile {
    fn grant(&self, account: Option<&Account>) -> Grant {
        let own = account.map_or(&[][..], |account| &account.rules);
        let superuser = account.is_some_and(|account| account.superuser);
        self.access.grant(own, superuser)
    }

    /// The keys of a user, or others that no password fits: the answer looks the same.
    fn keys(&self, decoys: &Decoys, name: &str) -> Keys {
        let known = self.accounts.get(name).and_then(|a| a.scram.as_ref());
        known.cloned().unwrap_or_else(|| decoys.keys(METHOD, name))
    }

    fn granted(&self, proven: Proven) -> Step {
        match self.accounts.get(&proven.name) {
            Some(account) => Step::Allow(Grant {
                username: Some(proven.name),
                data: Some(proven.data),
                ..self.grant(Some(account))
            }),
            None => ScramError::Proof.denial(),
        }
    }
}

/// What an attempt with an authentication method goes on with.
fn offered<'a>(method: &str, decoys: Option<&'a Decoys>) -> Result<&'a Decoys, Step> {
    match decoys {
        Some(decoys) if method == METHOD.name() => Ok(decoys),
        _ => {
            let text = format!("the authentication method is not {}", METHOD.name());
            let none = "this broker knows no enhanced authentication".to_owned();
            Err(Step::deny(BAD_METHOD, decoys.map_or(none, |_| text)))
        }
    }
}

impl Authenticate for AuthFile {
    fn begin(&mut self, attempt: &Attempt) -> Result<Step, Failure> {
        if let Some(method) = &attempt.method {
            let decoys = match offered(method, self.decoys.as_ref()) {
                Ok(decoys) => decoys,
                Err(denial) => return Ok(denial),
            };
            return scram::begin(&attempt.data, |name| Ok(self.keys(decoys, name)));
        }
        let Some(name) = &attempt.username else {
            return Ok(match self.anonymous {
                Choice::Allow => Step::Allow(self.grant(None)),
                Choice::Deny => Step::deny(NOT_AUTHORIZED, "a user name and a password are needed"),
            });
        };
        let account = self.accounts.get(name);
        let hash = account.and_then(|account| account.hash.as_deref());
        let password = attempt.password.as_deref().unwrap_or_default();
        let is_right = fits(password, hash.unwrap_or(DECOY)) && hash.is_some();
        Ok(match account {
            Some(account) if is_right => Step::Allow(self.grant(Some(account))),
            _ => Step::deny(BAD_CREDENTIALS, "bad user name or password"),
        })
    }

    fn proceed(&mut self, attempt: &Attempt, state: &[u8], data: &[u8]) -> Result<Step, Failure> {
        let method = attempt.method.as_deref().unwrap_or_default();
        let decoys = match offered(method, self.decoys.as_ref()) {
            Ok(decoys) => decoys,
            Err(denial) => return Ok(denial),
        };
        let proven = scram::proceed(state, data, |name| Ok(self.keys(decoys, name)))?;
        Ok(proven.map_or_else(ScramError::denial, |proven| self.granted(proven)))
    }
}
