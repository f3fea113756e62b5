//! Access rules as people and services write them.
//!
//! Owns: [`AclEntry`] and how rules are made of it. Must not: decide; the broker enforces a grant's rules.

use crate::Config;
use crate::auth::Rule;
use serde::{Deserialize, Serialize};

/// One entry of a list of access rules, in a configuration or in what another service says. The first rule that matches
/// decides, so their order counts.
///
/// ```
/// use witmq_sdk::{AclEntry, Rule};
///
/// let text = r#"[{"allow":false,"actions":["publish"],"topics":["a/b"]},{"allow":true,"topics":["a/#"]}]"#;
/// let entries: Vec<AclEntry> = serde_json::from_str(text).unwrap();
/// let rules = AclEntry::rules(&entries);
/// assert_eq!(rules[0], Rule { subscribe: false, ..Rule::deny("a/b") });
/// assert_eq!(rules[1], Rule::allow("a/#"));
/// ```
#[derive(Clone, Debug, Deserialize, Serialize, Config, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct AclEntry {
    /// Allow, or deny.
    pub allow: bool,
    /// Publish, subscribe; both if left out.
    #[serde(default = "both")]
    pub actions: Vec<AclAction>,
    /// Topic filters; `{client}` and `{user}` stand for the client's names.
    pub topics: Vec<String>,
}

/// What a rule is about.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, Config, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum AclAction {
    /// Publishing.
    Publish,
    /// Subscribing.
    Subscribe,
}

fn both() -> Vec<AclAction> {
    vec![AclAction::Publish, AclAction::Subscribe]
}

impl AclEntry {
    /// The rules of some entries, in order.
    #[must_use]
    pub fn rules(entries: &[Self]) -> Vec<Rule> {
        let one = |entry: &Self, filter: &String| Rule {
            allow: entry.allow,
            publish: entry.actions.contains(&AclAction::Publish),
            subscribe: entry.actions.contains(&AclAction::Subscribe),
            filter: filter.clone(),
        };
        entries
            .iter()
            .flat_map(|entry| entry.topics.iter().map(move |filter| one(entry, filter)))
            .collect()
    }
}
