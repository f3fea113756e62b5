//! Sections about the protocol itself: what this broker offers its clients, and how groups share messages.

use serde::Deserialize;
use std::collections::BTreeMap;

/// Shared subscriptions.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Shared {
    /// How a group chooses the member that gets a message.
    pub(crate) strategy: Strategy,
    /// Publishers, each in each group, whose member a shard remembers.
    pub(crate) sticky_publishers: usize,
    /// Strategies of single groups, by ShareName.
    pub(crate) groups: BTreeMap<String, Strategy>,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            strategy: Strategy::RoundRobin,
            sticky_publishers: 65_536,
            groups: BTreeMap::new(),
        }
    }
}

/// How a group chooses.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Strategy {
    RoundRobin,
    LeastInflight,
    Sticky,
    HashClient,
    HashTopic,
}
