//! The server side of one Network Connection: bytes in, events out, `now` passed in.
//! CONTRACT SKETCH: bodies are written by the owner of this file; signatures are relied on by host/broker.

use crate::packet::{Auth, Disconnect, PacketId, Publish, QoS, Subscribe, Unsubscribe};
use crate::ReasonCode;

/// What this server allows one connection. From the configuration, the same for all.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Largest packet the server takes, bytes (default 1 MiB).
    pub maximum_packet_size: u32,
    /// QoS 1 and 2 publishes a client may have unacknowledged (default 1024).
    pub receive_maximum: u16,
    /// Highest alias a client may use (default 32).
    pub topic_alias_maximum: u16,
    /// Highest alias the server itself uses, below what the client allows (default 16).
    pub outbound_topic_alias_maximum: u16,
    /// QoS 1 and 2 messages outstanding towards a client before MQTT 5, or the bound of what a v5 client asks (default 1024).
    pub outbound_receive_maximum: u16,
    /// Longest keep-alive accepted, seconds; also used where the client asks 0; 0 = no bound (default 0).
    pub maximum_keep_alive: u16,
    /// Do not disconnect a client that exceeds the receive maximum (default false).
    pub lenient_receive_maximum: bool,
}

/// What the peer did, after the protocol's own rules were applied.
#[derive(Debug)]
pub enum Event {
    /// A new application message, alias resolved, `topic` valid and never empty. QoS 2 duplicates are
    /// answered inside and not reported. For QoS > 0 the broker must call `acknowledge` or `withhold` once.
    Publish(Box<Publish>),
    /// An outbound QoS 1 or 2 delivery is over (PUBACK, PUBCOMP, or a PUBREC >= 0x80); quota is free again.
    Delivered { packet_id: PacketId, qos: QoS, reason: ReasonCode },
    /// SUBSCRIBE; answer with `suback`.
    Subscribe(Box<Subscribe>),
    /// UNSUBSCRIBE; answer with `unsuback`.
    Unsubscribe(Box<Unsubscribe>),
    /// AUTH (v5): re-authentication or the next round.
    Auth(Box<Auth>),
    /// The client says goodbye; the connection is over.
    Disconnect(Box<Disconnect>),
}

/// What became of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivered {
    /// Queued; QoS 0 carries no id.
    Sent(Option<PacketId>),
    /// Receive maximum or packet ids used up: keep it and try after the next `Event::Delivered`.
    NoQuota,
    /// Larger than the receiver takes: drop it, the session goes on [MQTT-3.1.2-24].
    TooLarge,
    /// Its expiry has passed: drop it [MQTT-3.3.2-5].
    Expired,
}

// impl Endpoint {
//     /// A connection whose CONNECT was read; nothing is sent until `connack`.
//     /// While CONNACK is outstanding (authentication), only AUTH is accepted from the peer
//     /// (other packets stay undecoded in the input: `receive` returns `Ok(None)`).
//     pub fn new(now: Instant, connect: &Connect, settings: &Settings) -> Self;
//     /// Refuses: queues CONNACK with a failure code; the caller closes after transmitting.
//     pub fn refuse(&mut self, reason: ReasonCode, reason_string: Option<&str>, server_reference: Option<&str>);
//     /// Accepts: takes the session, queues CONNACK (fills in the server's own limits, and server_keep_alive
//     /// where it differs), then re-sends what the session has in flight, PUBREL included [MQTT-4.4.0-1].
//     pub fn accept(&mut self, now: Instant, session: Session, session_present: bool, properties: ConnackProperties);
//     /// Next event of `input`; consumes whole packets only. `Ok(None)`: more bytes needed (or not accepted yet).
//     /// After an `Err` call `disconnect(err.reason())` and close.
//     pub fn receive(&mut self, now: Instant, input: &mut BytesMut) -> Result<Option<Event>, ProtocolError>;
//     /// PUBACK / PUBREC for an inbound publish. A failure on QoS 2 ends the exchange.
//     /// `reason_string` is left out if the client asked for no problem information or it does not fit.
//     pub fn acknowledge(&mut self, packet_id: PacketId, qos: QoS, reason: ReasonCode, reason_string: Option<&str>);
//     /// No acknowledgement will be sent: the id is forgotten, so that a re-send counts as new.
//     pub fn withhold(&mut self, packet_id: PacketId, qos: QoS);
//     pub fn suback(&mut self, suback: Suback);
//     pub fn unsuback(&mut self, unsuback: Unsuback);
//     pub fn auth(&mut self, auth: Auth);
//     /// Sends a message. QoS > 0 enters the session's in-flight list. Chooses topic aliases on v5.
//     pub fn deliver(&mut self, now: Instant, delivery: &Delivery) -> Delivered;
//     /// Room for another QoS > 0 delivery?
//     pub fn has_quota(&self) -> bool;
//     /// Queues DISCONNECT (v5; nothing before v5). After this nothing else is queued.
//     pub fn disconnect(&mut self, reason: ReasonCode, reason_string: Option<&str>, server_reference: Option<&str>);
//     /// Bytes waiting to be written.
//     pub fn pending_bytes(&self) -> usize;
//     /// Moves everything queued to the end of `out`.
//     pub fn transmit(&mut self, out: &mut BytesMut);
//     /// When `handle_timeout` wants to be called (keep-alive).
//     pub fn poll_timeout(&self) -> Option<Instant>;
//     /// `Err(KeepAliveTimeout)` when 1.5 x keep-alive passed without a packet [MQTT-3.1.2-22].
//     pub fn handle_timeout(&mut self, now: Instant) -> Result<(), ProtocolError>;
//     pub fn version(&self) -> Version;
//     /// Outstanding QoS > 0 deliveries.
//     pub fn inflight(&self) -> usize;
//     /// Gives the session back at the end of the connection; `None` if never accepted.
//     pub fn into_session(self) -> Option<Session>;
// }
