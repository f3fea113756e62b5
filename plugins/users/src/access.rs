//! What a user may do: its own rules, then those for everybody, then what no rule decides.
//!
//! Owns: that order. Must not: enforce; the broker does.

use serde::Deserialize;
use witmq_sdk::{AclEntry, Grant, Rule};

/// Yes or no.
#[derive(Clone, Copy, Debug, Default, Deserialize, witmq_sdk::Config, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Choice {
    /// Yes.
    Allow,
    /// No.
    #[default]
    Deny,
}

/// Rules for everybody.
#[derive(Clone, Debug, Default)]
pub struct Access {
    general: Vec<Rule>,
}

impl Access {
    /// Entries for everybody, and what none of them decides.
    #[must_use]
    pub fn new(acl: &[AclEntry], default: Choice) -> Self {
        let mut general = AclEntry::rules(acl);
        if default == Choice::Allow {
            general.extend(["#", "$SYS/#"].map(Rule::allow));
        }
        Self { general }
    }

    /// The grant of one who has these rules besides.
    #[must_use]
    pub fn grant(&self, own: &[Rule], superuser: bool) -> Grant {
        Grant {
            superuser,
            acl: [own, &self.general].concat(),
            acl_complete: true,
            ..Grant::default()
        }
    }
}
