//! Sections about the protocol itself: what this broker offers its clients, and how groups share messages.

use super::ConfigError;
use serde::Deserialize;
use std::collections::BTreeMap;
use witmq_broker::redirect::{Referral, ReferralError};
use witmq_proto::TopicName;

/// What MQTT clients are offered.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Mqtt {
    /// Highest QoS taken and granted: 0, 1 or 2.
    pub(crate) maximum_qos: u8,
    pub(crate) retain_available: bool,
    pub(crate) wildcard_subscriptions: bool,
    pub(crate) subscription_identifiers: bool,
    pub(crate) shared_subscriptions: bool,
    /// Payloads that say they are UTF-8 are checked.
    pub(crate) payload_format_check: bool,
    /// Basis of response topics for clients that ask; empty: none.
    pub(crate) response_information: String,
}

impl Default for Mqtt {
    fn default() -> Self {
        Self {
            maximum_qos: 2,
            retain_available: true,
            wildcard_subscriptions: true,
            subscription_identifiers: true,
            shared_subscriptions: true,
            payload_format_check: true,
            response_information: String::new(),
        }
    }
}

impl Mqtt {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if self.maximum_qos > 2 {
            return Err(ConfigError::rule(format!(
                "mqtt.maximum_qos = {}: there is QoS 0, 1 and 2",
                self.maximum_qos
            )));
        }
        let information = &self.response_information;
        if let (false, Err(error)) = (information.is_empty(), TopicName::new(information.as_str()))
        {
            return Err(ConfigError::rule(format!(
                "mqtt.response_information = {information:?}: {error}; write a topic like \"response/{{client}}\""
            )));
        }
        Ok(())
    }
}

/// Clients sent to another server.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Redirect {
    /// `host:port`; empty: clients are served.
    pub(crate) server: String,
    /// They should come back later.
    pub(crate) temporary: bool,
}

impl Default for Redirect {
    fn default() -> Self {
        Self {
            server: String::new(),
            temporary: true,
        }
    }
}

impl Redirect {
    pub(crate) fn referral(&self) -> Result<Referral, ReferralError> {
        Referral::new(&self.server, !self.temporary)
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        match self.referral() {
            Ok(_) | Err(ReferralError::Empty) => Ok(()),
            Err(error) => Err(ConfigError::rule(format!("redirect.server: {error}"))),
        }
    }
}

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
