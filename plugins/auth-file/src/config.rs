//! The form of the configuration: what a person or `witmq user` writes.
//!
//! Owns: names and shapes. Must not: judge the values; `AuthFile::new` does.

use serde::Deserialize;
use witmq_sdk::AclEntry;
use witmq_users::access::Choice;
use witmq_users::scram::{Keys, KeysError, Mechanism};

/// The whole configuration.
#[derive(Debug, Default, Deserialize, witmq_sdk::Config)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Clients without a user name.
    pub(crate) anonymous: Choice,
    /// What no rule decides.
    pub(crate) default: Choice,
    /// Rules for everybody, after a user's own.
    pub(crate) acl: Vec<AclEntry>,
    /// Who may log in.
    pub(crate) users: Vec<User>,
    /// 32 random bytes in base64, needed as soon as a user has `scram`: salts for names that are not there are made
    /// with it.
    #[config(secret)]
    pub(crate) scram_secret: Option<String>,
}

#[derive(Debug, Deserialize, witmq_sdk::Config)]
#[serde(deny_unknown_fields)]
pub(crate) struct User {
    /// User name.
    pub(crate) name: String,
    /// PHC string, argon2id: for a password in CONNECT.
    #[config(secret)]
    pub(crate) hash: Option<String>,
    /// For SCRAM-SHA-256.
    pub(crate) scram: Option<Entry>,
    /// Every check passes.
    #[serde(default)]
    pub(crate) superuser: bool,
    /// Rules before the general ones.
    #[serde(default)]
    pub(crate) acl: Vec<AclEntry>,
}

/// What the configuration keeps of a password for SCRAM-SHA-256.
#[derive(Debug, Deserialize, witmq_sdk::Config)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    /// In base64.
    salt: String,
    iterations: u32,
    /// In base64.
    #[config(secret)]
    stored_key: String,
    /// In base64.
    #[config(secret)]
    server_key: String,
}

impl Entry {
    /// The same, checked.
    pub(crate) fn keys(&self) -> Result<Keys, KeysError> {
        let (salt, iterations) = (&self.salt, self.iterations);
        let (stored_key, server_key) = (&self.stored_key, &self.server_key);
        Keys::new(Mechanism::Sha256, salt, iterations, stored_key, server_key)
    }
}
