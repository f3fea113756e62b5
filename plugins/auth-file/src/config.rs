//! The form of the configuration: what a person or `witmq user` writes.
//!
//! Owns: names and shapes. Must not: judge the values; `AuthFile::new` does.

use crate::scram;
use serde::Deserialize;
use witmq_sdk::AclEntry;

/// Yes or no.
#[derive(Clone, Copy, Debug, Default, Deserialize, witmq_sdk::Config, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Choice {
    Allow,
    #[default]
    Deny,
}

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
    pub(crate) scram: Option<scram::Entry>,
    /// Every check passes.
    #[serde(default)]
    pub(crate) superuser: bool,
    /// Rules before the general ones.
    #[serde(default)]
    pub(crate) acl: Vec<AclEntry>,
}
