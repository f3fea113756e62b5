//! Hooks that decide who may do what: authenticate (off the shard) and authorize (on it).

use bytes::Bytes;
use bytestring::ByteString;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use witmq_proto::ReasonCode;
use witmq_proto::packet::{QoS, Version};

/// How bytes reach the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// Plain TCP.
    Tcp,
    /// TLS over TCP.
    Tls,
    /// WebSocket.
    Ws,
    /// WebSocket over TLS.
    Wss,
}

/// What is known of a client's certificate that was verified.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Certificate {
    /// Subject, as RFC 4514 writes it.
    pub subject: String,
    /// SHA-256 of the certificate, hex.
    pub fingerprint: String,
    /// Subject alternative names, each with its kind before it: `DNS:a.example.com`.
    pub names: Vec<String>,
}

/// One CONNECT on its way to the `authenticate` hook.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Client id, assigned already if the client sent none.
    pub client_id: ByteString,
    /// User name of CONNECT.
    pub username: Option<ByteString>,
    /// Password of CONNECT.
    pub password: Option<Bytes>,
    /// Enhanced authentication method.
    pub method: Option<ByteString>,
    /// Enhanced authentication data.
    pub data: Bytes,
    /// Address of the peer.
    pub peer: SocketAddr,
    /// Name of the listener from the configuration.
    pub listener: Arc<str>,
    /// How the bytes came.
    pub transport: Transport,
    /// Protocol version.
    pub version: Version,
    /// The client's certificate, where the listener asks for one and it has one.
    pub certificate: Option<Arc<Certificate>>,
}

/// What the hook is asked: a first attempt, or the next round of an exchange.
#[derive(Clone, Debug)]
pub enum AuthRequest {
    /// First round, of a CONNECT or of a re-authentication.
    Begin(Attempt),
    /// A later round: the state that the last `Challenge` returned, and the client's data.
    Proceed {
        /// The first round's attempt.
        attempt: Attempt,
        /// Opaque state kept by the broker between rounds.
        state: Bytes,
        /// Authentication Data of AUTH.
        data: Bytes,
    },
}

/// The hook's answer.
#[derive(Clone, Debug)]
pub enum AuthStep {
    /// Let the client in with these rights.
    Allow(Box<Grant>),
    /// Refuse; the code goes into CONNACK.
    Deny {
        /// Why, on the wire.
        reason: ReasonCode,
        /// Text for the reason string.
        text: Option<String>,
        /// Where to go instead, with 0x9C and 0x9D; the node's own referral if `None`.
        server_reference: Option<ByteString>,
    },
    /// Ask the client for another round (AUTH 0x18).
    Challenge {
        /// Authentication Data for the client.
        data: Bytes,
        /// Handed back with the next round.
        state: Bytes,
    },
}

/// What an authenticated client may do. The broker compiles and enforces `acl` itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grant {
    /// The name to know the client by; the one it sent if `None`.
    pub username: Option<ByteString>,
    /// Every check passes.
    pub superuser: bool,
    /// First match decides. `{client}` and `{user}` in a filter stand for this client's names.
    pub acl: Vec<AclRule>,
    /// No match: `true` denies, `false` asks the `authorize` hook (and denies if there is none).
    pub acl_complete: bool,
    /// The grant ends after this long; the client is then disconnected (0xA0).
    pub expires: Option<Duration>,
    /// Free attributes for chains.
    pub attributes: Vec<(String, String)>,
    /// Authentication Data of CONNACK, or of the AUTH that ends a re-authentication.
    pub data: Option<Bytes>,
}

/// One access rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AclRule {
    /// Allow or deny.
    pub allow: bool,
    /// Applies to publishing.
    pub publish: bool,
    /// Applies to subscribing.
    pub subscribe: bool,
    /// Topic filter. For subscribing it must cover the requested filter whole.
    pub filter: String,
}

/// `authenticate`: may take long, so it never runs on a shard's thread. Implemented by the plugin
/// runtime, awaited by the shard's driver. Bounded: answers `ServerBusy` when its queue is full.
pub trait Authenticate {
    /// Starts one round. Never fails: a failing hook denies.
    fn authenticate(&self, request: AuthRequest) -> Pin<Box<dyn Future<Output = AuthStep>>>;
}

/// What a client wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AuthorizeAction {
    /// PUBLISH.
    Publish,
    /// SUBSCRIBE.
    Subscribe,
    /// The Will of a CONNECT, when it is published.
    Will,
}

/// A question the grant's own rules left open.
#[derive(Clone, Debug)]
pub struct Query<'a> {
    /// Who asks.
    pub client_id: &'a str,
    /// Its name.
    pub username: Option<&'a str>,
    /// Stable number of its connection; 0 while it has none.
    pub session: u64,
    /// What for.
    pub action: AuthorizeAction,
    /// Topic name or filter.
    pub topic: &'a str,
    /// QoS asked for.
    pub qos: QoS,
    /// RETAIN flag.
    pub retain: bool,
}

/// The hook's decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Yes.
    Allow,
    /// No.
    Deny,
    /// No opinion; if nobody has one, the answer is no.
    Ignore,
}

/// A decision and how long it may be cached for the same question (zero: not at all).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The decision.
    pub decision: Decision,
    /// Cache time.
    pub cache: Duration,
}

/// `authorize`: synchronous, on the shard, only for what the grant leaves open. Failure denies.
pub trait Authorize {
    /// Whether any plugin is bound; if not, the shard does not ask.
    fn is_bound(&self) -> bool;
    /// Decides. Never blocks; has a deadline of its own.
    fn authorize(&mut self, query: &Query<'_>) -> Verdict;
}
