//! The types of `authenticate` and `authorize`.

use crate::message::QoS;

/// One CONNECT, or the beginning of a re-authentication.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attempt {
    /// Client id (assigned already if the client sent none).
    pub client_id: String,
    /// User name.
    pub username: Option<String>,
    /// Password.
    pub password: Option<Vec<u8>>,
    /// Authentication Method of enhanced authentication.
    pub method: Option<String>,
    /// Authentication Data that came with it.
    pub data: Vec<u8>,
    /// Address of the peer, `ip:port`.
    pub peer: String,
    /// Name of the listener.
    pub listener: String,
    /// `tcp`, `tls`, `ws` or `wss`.
    pub transport: String,
    /// Protocol level: 3, 4 or 5.
    pub protocol: u8,
    /// The client's certificate, where the listener asks for one.
    pub certificate: Option<Certificate>,
}

/// What is known of a client certificate that was verified.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Certificate {
    /// Subject, as RFC 4514 writes it.
    pub subject: String,
    /// sha256 of the certificate, hex.
    pub fingerprint: String,
    /// Subject alternative names, each with its kind before it: `DNS:a.example.com`.
    pub names: Vec<String>,
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

impl Rule {
    /// Allows publishing and subscribing.
    pub fn allow(filter: impl Into<String>) -> Self {
        Self {
            allow: true,
            publish: true,
            subscribe: true,
            filter: filter.into(),
        }
    }

    /// Denies publishing and subscribing.
    pub fn deny(filter: impl Into<String>) -> Self {
        Self {
            allow: false,
            ..Self::allow(filter)
        }
    }
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
    /// Without a match: `true` denies, `false` asks [`crate::Authorize`].
    pub acl_complete: bool,
    /// The grant ends after this many milliseconds: the client renews it by AUTH before, or is disconnected.
    pub expires_ms: Option<u64>,
    /// Attributes for chains and other plugins. Names that begin with `witmq.` are settings of the broker.
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
    Deny(Denial),
    /// Another round by AUTH.
    Challenge {
        /// For the client: at most 65,535 bytes.
        data: Vec<u8>,
        /// Handed back with the client's answer; the client never sees it. At most 65,535 bytes.
        state: Vec<u8>,
    },
    /// Not mine: the next authenticator decides; after the last one the client is denied.
    Ignore,
}

/// A denial.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Denial {
    /// MQTT 5 reason code, for example 0x86 or 0x87.
    pub reason_code: u8,
    /// Text for people.
    pub text: Option<String>,
    /// Server Reference, with reason codes 0x9C and 0x9D.
    pub server_reference: Option<String>,
}

impl Step {
    /// Denied with an MQTT 5 reason code and words.
    pub fn deny(reason_code: u8, text: impl Into<String>) -> Self {
        Self::Deny(Denial {
            reason_code,
            text: Some(text.into()),
            server_reference: None,
        })
    }
}

/// What a client wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Action {
    /// PUBLISH.
    #[default]
    Publish,
    /// SUBSCRIBE.
    Subscribe,
    /// Its will.
    Will,
}

/// A question that the grant leaves open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// Client id.
    pub client_id: String,
    /// User name.
    pub username: Option<String>,
    /// Stable number of the connection.
    pub session: u64,
    /// What for.
    pub action: Action,
    /// Topic name, or topic filter of a subscription (that of a shared one without `$share/NAME/`).
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
    /// Not mine: the next plugin decides; after the last one it is denied.
    Ignore,
}

/// A decision, and for how many milliseconds it may be kept for this client (0: not at all).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The decision.
    pub decision: Decision,
    /// Milliseconds.
    pub cache_ms: u32,
}

impl From<Decision> for Verdict {
    /// A decision that is not kept.
    fn from(decision: Decision) -> Self {
        Self {
            decision,
            cache_ms: 0,
        }
    }
}
