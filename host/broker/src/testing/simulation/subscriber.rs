//! A subscriber that takes everything, remembers over connections what a QoS 2 receiver has to, and watches the
//! identifiers of the broker.

use super::World;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;
use witmq_proto::packet::{Ack, Packet, PacketId, Publish, QoS};
use witmq_proto::{ByteString, ReasonCode};

/// A message as a subscriber was given it: topic and payload.
pub(super) type Given = (ByteString, String);

#[derive(Debug)]
pub(super) struct Subscriber {
    pub(super) client_id: String,
    pub(super) peer: usize,
    /// Identifiers in use from where the client stands, and what for.
    open: BTreeMap<PacketId, Given>,
    /// QoS 2 identifiers whose PUBCOMP may not have arrived.
    completed: BTreeSet<PacketId>,
    /// Under which identifier a message that no publisher repeats came.
    first: BTreeMap<Given, PacketId>,
    pub(super) received: Vec<(Given, Instant)>,
    /// Answers not given yet.
    owed: VecDeque<Packet>,
    /// Of the last CONNACK that was read on this connection.
    pub(super) session_present: Option<bool>,
    /// The last verdict on a subscription or its end that was read on this connection.
    pub(super) verdict: Option<ReasonCode>,
}

/// Only a QoS 2 publisher never repeats a message.
fn is_unique(given: &Given) -> bool {
    !given.1.starts_with("0:")
}

impl Subscriber {
    pub(super) fn new(client_id: &str, peer: usize) -> Self {
        Self {
            client_id: client_id.to_owned(),
            peer,
            open: BTreeMap::new(),
            completed: BTreeSet::new(),
            first: BTreeMap::new(),
            received: Vec::new(),
            owed: VecDeque::new(),
            session_present: None,
            verdict: None,
        }
    }

    /// The session is a new one.
    pub(super) fn forget(&mut self) {
        *self = Self {
            received: std::mem::take(&mut self.received),
            ..Self::new(&self.client_id, self.peer)
        };
    }

    fn hear(&mut self, now: Instant, packet: Packet) {
        match packet {
            Packet::Connack(connack) if !connack.reason.is_failure() => {
                self.session_present = Some(connack.session_present);
            }
            Packet::Suback(suback) => self.verdict = suback.reasons.first().copied(),
            Packet::Unsuback(unsuback) => self.verdict = unsuback.reasons.first().copied(),
            Packet::Publish(publish) => self.take(now, &publish),
            Packet::Pubrel(ack) => {
                let id = ack.packet_id;
                let is_known = self.open.remove(&id).is_some() || self.completed.contains(&id);
                assert!(is_known, "{}: PUBREL {id} of no message", self.client_id);
                self.completed.insert(id);
                let pubcomp = Ack::new(id, ReasonCode::Success);
                self.owed.push_back(Packet::Pubcomp(pubcomp));
            }
            _ => {}
        }
    }

    fn take(&mut self, now: Instant, publish: &Publish) {
        let text = String::from_utf8_lossy(&publish.payload).into_owned();
        let given = (publish.topic.clone(), text);
        let who = &self.client_id;
        if let Some(left) = publish.properties.message_expiry.filter(|_| !publish.dup) {
            // Not begun once it is over [MQTT-3.3.2-5]; what was begun goes on.
            let is_left = (1..=super::publisher::EXPIRY).contains(&left);
            assert!(is_left, "{who}: {given:?} with {left} s left");
        }
        let Some(id) = publish.packet_id else {
            return self.received.push((given, now));
        };
        if is_unique(&given) {
            let first = *self.first.entry(given.clone()).or_insert(id);
            assert_eq!(first, id, "{who}: {given:?} changed its identifier");
        }
        let held = self.open.get(&id);
        assert!(
            held.is_none_or(|held| *held == given),
            "{who}: identifier {id} for {given:?} while {held:?} has it [MQTT-2.2.1-4]"
        );
        let is_new = self.open.insert(id, given.clone()).is_none();
        self.completed.remove(&id);
        let ack = Ack::new(id, ReasonCode::Success);
        if publish.qos == QoS::ExactlyOnce {
            if is_new {
                self.received.push((given, now));
            }
            self.owed.push_back(Packet::Pubrec(ack));
        } else {
            self.received.push((given, now));
            self.owed.push_back(Packet::Puback(ack));
        }
    }
}

impl World {
    pub(super) fn hear_subscriber(&mut self, number: usize) {
        self.listen(number);
        if !self.rig.is_open(self.subscribers[number].peer) {
            self.reconnect_subscriber(number);
        }
    }

    /// Takes what has arrived.
    pub(super) fn listen(&mut self, number: usize) {
        let (peer, now) = (self.subscribers[number].peer, self.rig.now);
        for packet in self.rig.received(peer) {
            self.subscribers[number].hear(now, packet);
        }
    }

    /// Gives the oldest answer owed; whether there was one.
    pub(super) fn answer(&mut self, number: usize) -> bool {
        let subscriber = &mut self.subscribers[number];
        let Some(packet) = subscriber.owed.pop_front() else {
            return false;
        };
        if let Packet::Puback(ack) = &packet {
            subscriber.open.remove(&ack.packet_id);
        }
        let peer = subscriber.peer;
        self.send(peer, &packet);
        true
    }

    /// Cuts its connection, or takes it over.
    pub(super) fn reconnect_subscriber(&mut self, number: usize) {
        if self.random.below(2) == 0 {
            self.leave(number);
        }
        self.listen(number);
        let client_id = self.subscribers[number].client_id.clone();
        let peer = self.connect(&client_id, u32::MAX, None);
        self.attach(number, peer);
    }

    /// Its connection breaks.
    pub(super) fn leave(&mut self, number: usize) {
        let peer = self.subscribers[number].peer;
        self.lose(peer);
        self.listen(number);
        self.rig.cut(peer);
    }

    /// From here on it uses this connection.
    pub(super) fn attach(&mut self, number: usize, peer: usize) {
        let subscriber = &mut self.subscribers[number];
        // What QoS 1 delivered and was not acknowledged comes again under its identifier.
        subscriber.peer = peer;
        subscriber.owed.clear();
        subscriber.session_present = None;
        subscriber.verdict = None;
    }
}
