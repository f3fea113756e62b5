//! The form of the configuration, and the accounts it stands for.
//!
//! Owns: names, shapes, what is wrong with a user. Must not: read secrets; they are read when somebody comes.

use crate::store::NAME_BYTES;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use witmq_sdk::{AclEntry, Rule};
use witmq_users::access::Choice;
use witmq_users::scram::{Keys, Mechanism, USUAL_ITERATIONS};

/// The whole configuration.
#[derive(Debug, Deserialize, witmq_sdk::Config)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Name of a secret of the host with 32 random bytes in base64: salts for names that are not there are made with it.
    #[config(min_length = 1)]
    pub(crate) decoy_secret: String,
    /// Iterations that names that are not there seem to have.
    #[serde(default = "usual_iterations")]
    #[config(minimum = 4096, maximum = 1_000_000)]
    pub(crate) decoy_iterations: u32,
    /// Mechanisms that are offered.
    #[serde(default = "all")]
    #[config(min_items = 1)]
    pub(crate) mechanisms: Vec<Mechanism>,
    /// What no rule decides.
    #[serde(default)]
    pub(crate) default: Choice,
    /// Rules for everybody, after a user's own.
    #[serde(default)]
    pub(crate) acl: Vec<AclEntry>,
    /// Who may log in.
    #[serde(default)]
    pub(crate) users: Vec<User>,
}

fn usual_iterations() -> u32 {
    USUAL_ITERATIONS
}

fn all() -> Vec<Mechanism> {
    Mechanism::ALL.to_vec()
}

/// One who may log in.
#[derive(Debug, Deserialize, witmq_sdk::Config)]
#[serde(deny_unknown_fields)]
pub(crate) struct User {
    /// User name.
    #[config(min_length = 1, max_length = 1024)]
    name: String,
    /// Keys, at most one for a mechanism.
    #[serde(default)]
    #[config(max_items = 2)]
    keys: Vec<Entry>,
    /// Names of secrets of the host with keys, in lines: `SCRAM-SHA-256$ITERATIONS:SALT$STORED_KEY:SERVER_KEY`.
    #[serde(default)]
    #[config(max_items = 2)]
    secrets: Vec<String>,
    /// Keys are in the store of the plugin, where a chain puts them that has it as a `sink`.
    #[serde(default)]
    stored: bool,
    /// Every check passes.
    #[serde(default)]
    superuser: bool,
    /// Attributes for chains.
    #[serde(default)]
    attributes: BTreeMap<String, String>,
    /// Rules before the general ones.
    #[serde(default)]
    acl: Vec<AclEntry>,
}

/// What is kept of a password.
#[derive(Debug, Deserialize, witmq_sdk::Config)]
#[serde(deny_unknown_fields)]
struct Entry {
    mechanism: Mechanism,
    /// In base64.
    salt: String,
    #[config(minimum = 4096, maximum = 1_000_000)]
    iterations: u32,
    /// In base64.
    #[config(secret)]
    stored_key: String,
    /// In base64.
    #[config(secret)]
    server_key: String,
}

/// A user, checked.
pub(crate) struct Account {
    pub(crate) keys: Vec<Keys>,
    pub(crate) secrets: Vec<String>,
    pub(crate) stored: bool,
    pub(crate) superuser: bool,
    pub(crate) attributes: Vec<(String, String)>,
    pub(crate) rules: Vec<Rule>,
}

/// Users by name.
///
/// # Errors
/// What is wrong with which of them.
pub(crate) fn accounts(users: Vec<User>) -> Result<BTreeMap<String, Account>, String> {
    let mut accounts = BTreeMap::new();
    for user in users {
        let name = user.name.clone();
        let bad = |cause: String| format!("users: `{name}`: {cause}");
        let account = account(user).map_err(bad)?;
        if accounts.insert(name.clone(), account).is_some() {
            return Err(bad("is there twice".to_owned()));
        }
    }
    Ok(accounts)
}

fn account(user: User) -> Result<Account, String> {
    if user.keys.is_empty() && user.secrets.is_empty() && !user.stored {
        return Err(
            "needs `keys` or `secrets`, which `witmq user keys` makes, or `stored`".to_owned(),
        );
    }
    if user.stored && user.name.len() > NAME_BYTES {
        return Err(format!(
            "has a name of more than {NAME_BYTES} bytes, which is too long for `stored`"
        ));
    }
    let mut keys = Vec::with_capacity(user.keys.len());
    let mut seen = BTreeSet::new();
    for entry in &user.keys {
        let mechanism = entry.mechanism;
        let name = mechanism.name();
        if !seen.insert(mechanism) {
            return Err(format!("has keys for {name} twice"));
        }
        let (salt, iterations) = (&entry.salt, entry.iterations);
        let (stored_key, server_key) = (&entry.stored_key, &entry.server_key);
        let checked = Keys::new(mechanism, salt, iterations, stored_key, server_key);
        keys.push(checked.map_err(|error| format!("{name}: {error}"))?);
    }
    Ok(Account {
        keys,
        secrets: user.secrets,
        stored: user.stored,
        superuser: user.superuser,
        attributes: user.attributes.into_iter().collect(),
        rules: AclEntry::rules(&user.acl),
    })
}
