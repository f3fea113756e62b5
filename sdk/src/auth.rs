//! The types of `authenticate` and `authorize`.

use crate::message::QoS;

/// One CONNECT.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attempt {
    /// Client id.
    pub client_id: String,
    /// User name.
    pub username: Option<String>,
    /// Password.
    pub password: Option<Vec<u8>>,
    /// Enhanced authentication method.
    pub method: Option<String>,
    /// Enhanced authentication data.
    pub data: Vec<u8>,
    /// Address of the peer, `ip:port`.
    pub peer: String,
    /// Name of the listener.
    pub listener: String,
    /// `tcp`, `tls`, `ws` or `wss`.
    pub transport: String,
    /// Protocol level: 3, 4 or 5.
    pub protocol: u8,
}

/// One access rule; the first that matches decides. `{client}` and `{user}` in the filter stand for the client's names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Allow or deny.
    pub allow: bool,
    /// Applies to publishing.
    pub publish: bool,
    /// Applies to subscribing.
    pub subscribe: bool,
    /// Topic filter.
    pub filter: String,
}

/// What the client may do. The broker enforces it by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grant {
    /// Name to know the client by; the one it sent if `None`.
    pub username: Option<String>,
    /// Every check passes.
    pub superuser: bool,
    /// Access rules.
    pub acl: Vec<Rule>,
    /// Without a match: `true` denies, `false` asks `authorize`.
    pub acl_complete: bool,
    /// The grant ends after so many milliseconds.
    pub expires_ms: Option<u64>,
    /// Free attributes for chains.
    pub attributes: Vec<(String, String)>,
    /// Authentication Data of CONNACK, or of the AUTH that ends a re-authentication: at most 65,535 bytes, for clients
    /// that named a method.
    pub data: Option<Vec<u8>>,
}

/// The answer to an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// In, with these rights.
    Allow(Grant),
    /// Out.
    Deny {
        /// MQTT 5 reason code, for example 0x86 or 0x87.
        reason_code: u8,
        /// Text for people.
        text: Option<String>,
    },
    /// Another round by AUTH.
    Challenge {
        /// For the client: at most 65,535 bytes.
        data: Vec<u8>,
        /// Handed back with the client's answer; the client never sees it. At most 65,535 bytes.
        state: Vec<u8>,
    },
}

impl Step {
    /// Denied with an MQTT 5 reason code and words.
    pub fn deny(reason_code: u8, text: impl Into<String>) -> Self {
        Self::Deny {
            reason_code,
            text: Some(text.into()),
        }
    }
}

/// What a client wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// PUBLISH.
    Publish,
    /// SUBSCRIBE.
    Subscribe,
    /// Its will.
    Will,
}

/// A question that the grant leaves open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// Client id.
    pub client_id: String,
    /// User name.
    pub username: Option<String>,
    /// What for.
    pub action: Action,
    /// Topic name or filter.
    pub topic: String,
    /// Quality of service.
    pub qos: QoS,
    /// RETAIN flag.
    pub retain: bool,
}

/// A decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Yes.
    Allow,
    /// No.
    Deny,
    /// No opinion.
    Ignore,
}

/// A decision, and for how many milliseconds it may be kept (0: not at all).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The decision.
    pub decision: Decision,
    /// Milliseconds.
    pub cache_ms: u32,
}
