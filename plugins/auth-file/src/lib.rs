//! How WitMQ authenticates by default: users with argon2 hashes and access rules, all from its configuration.
//!
//! ```json
//! { "anonymous": "deny", "default": "deny",
//!   "users": [ { "name": "ada", "hash": "$argon2id$...",
//!                "acl": [ { "allow": true, "actions": ["publish", "subscribe"], "topics": ["home/#"] } ] } ] }
//! ```
//!
//! A user's own rules come first, then the general `acl`, then `default`. The rules are returned as a grant; the
//! broker enforces them. Made with the SDK like anyone else's plugin.

use argon2::password_hash::{PasswordHash, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use serde::Deserialize;
use std::collections::BTreeMap;
use witmq_sdk::{Attempt, Authenticate, Failure, Grant, Place, Plugin, Rule, Step};

/// MQTT 5: bad user name or password.
const BAD_CREDENTIALS: u8 = 0x86;
/// MQTT 5: not authorized.
const NOT_AUTHORIZED: u8 = 0x87;

/// Yes or no.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Choice {
    Allow,
    #[default]
    Deny,
}

/// The whole configuration.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Clients without a user name.
    anonymous: Choice,
    /// What no rule decides.
    default: Choice,
    /// Rules for everybody, after a user's own.
    acl: Vec<Entry>,
    users: Vec<User>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct User {
    name: String,
    /// PHC string, argon2id.
    hash: String,
    #[serde(default)]
    superuser: bool,
    #[serde(default)]
    acl: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    allow: bool,
    #[serde(default = "both")]
    actions: Vec<Action>,
    topics: Vec<String>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Action {
    Publish,
    Subscribe,
}

fn both() -> Vec<Action> {
    vec![Action::Publish, Action::Subscribe]
}

struct Account {
    hash: String,
    superuser: bool,
    rules: Vec<Rule>,
}

/// The plugin.
pub struct AuthFile {
    anonymous: Choice,
    default: Choice,
    general: Vec<Rule>,
    accounts: BTreeMap<String, Account>,
}

fn rules(entries: &[Entry]) -> Vec<Rule> {
    let one = |entry: &Entry, filter: &String| Rule {
        allow: entry.allow,
        publish: entry.actions.contains(&Action::Publish),
        subscribe: entry.actions.contains(&Action::Subscribe),
        filter: filter.clone(),
    };
    entries
        .iter()
        .flat_map(|entry| entry.topics.iter().map(move |filter| one(entry, filter)))
        .collect()
}

/// What a hash costs here when there is none to check: an unknown name takes as long as a wrong password.
const DECOY: &str = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

fn fits(password: &[u8], hash: &str) -> bool {
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::DEFAULT);
    PasswordHash::new(hash).is_ok_and(|hash| argon2.verify_password(password, &hash).is_ok())
}

impl Plugin for AuthFile {
    type Config = Config;

    fn new(config: Config, _place: &Place) -> Result<Self, String> {
        let mut accounts = BTreeMap::new();
        for user in config.users {
            let bad = |cause: String| format!("users: `{}`: {cause}", user.name);
            if user.name.is_empty() {
                return Err("users: a name is empty".to_owned());
            }
            let hash = PasswordHash::new(&user.hash).map_err(|error| {
                bad(format!(
                    "hash is no argon2 hash ({error}); make one with `witmq user add`"
                ))
            })?;
            if hash.algorithm.as_str() != "argon2id" {
                return Err(bad(format!(
                    "hash is {}, only argon2id is taken",
                    hash.algorithm
                )));
            }
            let account = Account {
                rules: rules(&user.acl),
                hash: user.hash.clone(),
                superuser: user.superuser,
            };
            if accounts.insert(user.name.clone(), account).is_some() {
                return Err(bad("is there twice".to_owned()));
            }
        }
        let general = rules(&config.acl);
        Ok(Self {
            anonymous: config.anonymous,
            default: config.default,
            general,
            accounts,
        })
    }
}

impl AuthFile {
    fn grant(&self, account: Option<&Account>) -> Grant {
        let mut acl = account
            .map(|account| account.rules.clone())
            .unwrap_or_default();
        acl.extend(self.general.iter().cloned());
        if self.default == Choice::Allow {
            let rest = |filter: &str| Rule {
                allow: true,
                publish: true,
                subscribe: true,
                filter: filter.to_owned(),
            };
            acl.extend(["#", "$SYS/#"].map(rest));
        }
        let superuser = account.is_some_and(|account| account.superuser);
        Grant {
            superuser,
            acl,
            acl_complete: true,
            ..Grant::default()
        }
    }
}

impl Authenticate for AuthFile {
    fn begin(&mut self, attempt: &Attempt) -> Result<Step, Failure> {
        if attempt.method.is_some() {
            return Ok(Step::deny(
                0x8C,
                "this broker knows no enhanced authentication",
            ));
        }
        let Some(name) = &attempt.username else {
            return Ok(match self.anonymous {
                Choice::Allow => Step::Allow(self.grant(None)),
                Choice::Deny => Step::deny(NOT_AUTHORIZED, "a user name and a password are needed"),
            });
        };
        let account = self.accounts.get(name);
        let password = attempt.password.as_deref().unwrap_or_default();
        let is_right = fits(password, account.map_or(DECOY, |account| &account.hash));
        Ok(match account {
            Some(account) if is_right => Step::Allow(self.grant(Some(account))),
            _ => Step::deny(BAD_CREDENTIALS, "bad user name or password"),
        })
    }
}

witmq_sdk::plugin!(AuthFile: authenticate);

#[cfg(test)]
mod tests {
    use super::*;
    use argon2::password_hash::{PasswordHasher, SaltString};
    use serde_json::json;
    use witmq_sdk::testing::start;

    fn hash(password: &str) -> String {
        let salt = SaltString::encode_b64(b"0123456789abcdef").unwrap();
        Argon2::default()
            .hash_password(password.as_bytes(), &salt)
            .unwrap()
            .to_string()
    }

    fn attempt(name: Option<&str>, password: &str) -> Attempt {
        Attempt {
            username: name.map(str::to_owned),
            password: Some(password.as_bytes().to_vec()),
            ..Attempt::default()
        }
    }

    fn code(step: &Step) -> u8 {
        match step {
            Step::Allow(_) => 0,
            Step::Deny { reason_code, .. } => *reason_code,
            Step::Challenge { .. } => 0xFF,
        }
    }

    #[test]
    fn passwords_names_and_anonymous_clients_get_the_code_they_deserve() {
        let config = json!({ "users": [{ "name": "ada", "hash": hash("right") }] }).to_string();
        let mut plugin = start::<AuthFile>(&config).unwrap();
        for (name, password, expected) in [
            (Some("ada"), "right", 0),
            (Some("ada"), "wrong", 0x86),
            (Some("eve"), "right", 0x86),
            (None, "", 0x87),
        ] {
            let step = plugin.begin(&attempt(name, password)).unwrap();
            assert_eq!(code(&step), expected, "{name:?} {password}");
        }
        let mut open = start::<AuthFile>(r#"{"anonymous":"allow","default":"allow"}"#).unwrap();
        let Step::Allow(grant) = open.begin(&attempt(None, "")).unwrap() else {
            panic!("denied")
        };
        assert_eq!(
            grant
                .acl
                .iter()
                .map(|rule| &*rule.filter)
                .collect::<Vec<_>>(),
            ["#", "$SYS/#"]
        );
    }

    #[test]
    fn own_rules_come_before_general_ones_and_the_rest_is_denied() {
        let config = json!({
            "acl": [{ "allow": true, "topics": ["open/#"] }],
            "users": [{ "name": "ada", "hash": hash("p"), "acl": [
                { "allow": false, "actions": ["publish"], "topics": ["open/no"] },
                { "allow": true, "actions": ["subscribe"], "topics": ["own/{user}/#", "x"] } ] }]
        });
        let mut plugin = start::<AuthFile>(&config.to_string()).unwrap();
        let Step::Allow(grant) = plugin.begin(&attempt(Some("ada"), "p")).unwrap() else {
            panic!("denied")
        };
        let rule = |allow, publish, subscribe, filter: &str| Rule {
            allow,
            publish,
            subscribe,
            filter: filter.into(),
        };
        assert_eq!(
            grant.acl,
            [
                rule(false, true, false, "open/no"),
                rule(true, false, true, "own/{user}/#"),
                rule(true, false, true, "x"),
                rule(true, true, true, "open/#"),
            ]
        );
        assert!(grant.acl_complete && !grant.superuser);
    }

    #[test]
    fn bad_configurations_are_refused_with_the_place() {
        let user = |hash: &str| json!({ "users": [{ "name": "ada", "hash": hash }] }).to_string();
        for (config, expected) in [
            (r#"{"anonymus":"allow"}"#.to_owned(), "anonymus"),
            (r#"{"anonymous":"maybe"}"#.to_owned(), "maybe"),
            (user("plain text"), "`ada`: hash is no argon2 hash"),
            (
                user("$argon2i$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA"),
                "argon2i,",
            ),
        ] {
            let error = start::<AuthFile>(&config).err().unwrap();
            assert!(error.contains(expected), "{error}");
        }
    }
}
