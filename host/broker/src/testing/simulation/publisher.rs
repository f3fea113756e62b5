//! A publisher that keeps what it published until it is acknowledged, over connections and lives of the node.

use super::World;
use std::collections::VecDeque;
use witmq_proto::packet::{Ack, Packet, PacketId, Publish, QoS};
use witmq_proto::{Bytes, ReasonCode};

/// Unacknowledged messages of one publisher.
const WINDOW: usize = 5;
/// Message Expiry Interval of some, seconds.
pub(super) const EXPIRY: u32 = 10;

/// What a message is, by its number: most are ordinary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// To `t/PUBLISHER`, perhaps with an expiry.
    Ordinary { expires: bool },
    /// To `r/PUBLISHER`, retained; `clears`: with an empty payload.
    Retained { clears: bool },
    /// To `u/PUBLISHER`, whose subscriber comes and goes.
    Fickle,
}

pub(super) fn kind(number: u64) -> Kind {
    match number % 8 {
        3 => Kind::Retained {
            clears: number.is_multiple_of(3),
        },
        5 => Kind::Fickle,
        other => Kind::Ordinary {
            expires: other == 6,
        },
    }
}

/// Whether a message has to arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owed {
    Must,
    May,
    Never,
}

/// A message that was begun.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) is_acknowledged: bool,
    /// Refused with a reason code at least once.
    pub(super) is_refused: bool,
    /// Sent while the store refused: nobody may have said so.
    pub(super) met_refusal: bool,
    /// To the subscriber of fickle messages.
    pub(super) fickle: Owed,
}

struct Pending {
    number: u64,
    id: PacketId,
    is_received: bool,
}

pub(super) struct Publisher {
    pub(super) name: usize,
    pub(super) peer: usize,
    pub(super) sent: Vec<Sent>,
    next_id: u16,
    pending: VecDeque<Pending>,
}

impl Publisher {
    pub(super) fn new(name: usize, peer: usize) -> Self {
        Self {
            name,
            peer,
            sent: Vec::new(),
            next_id: 1,
            pending: VecDeque::new(),
        }
    }

    pub(super) fn client_id(name: usize) -> String {
        format!("publisher-{name}")
    }

    pub(super) fn qos(name: usize) -> QoS {
        if name == 0 {
            QoS::AtLeastOnce
        } else {
            QoS::ExactlyOnce
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.pending.is_empty()
    }

    pub(super) fn is_pending(&self, number: u64) -> bool {
        self.pending.iter().any(|pending| pending.number == number)
    }

    /// What is outstanding may be refused, and nobody may say so.
    pub(super) fn meet_refusal(&mut self) {
        for pending in &self.pending {
            let number = usize::try_from(pending.number).unwrap_or(usize::MAX);
            self.sent[number].met_refusal = true;
        }
    }

    fn packet(&self, number: u64, id: PacketId, dup: bool) -> Packet {
        let (name, kind) = (self.name, kind(number));
        let (room, retain) = match kind {
            Kind::Ordinary { .. } => ("t", false),
            Kind::Retained { .. } => ("r", true),
            Kind::Fickle => ("u", false),
        };
        let payload = if kind == (Kind::Retained { clears: true }) {
            Bytes::new()
        } else {
            Bytes::from(format!("{name}:{number}"))
        };
        let mut packet = Publish {
            topic: format!("{room}/{name}").into(),
            payload,
            qos: Self::qos(name),
            retain,
            dup,
            packet_id: Some(id),
            ..Publish::default()
        };
        let expires = kind == (Kind::Ordinary { expires: true });
        packet.properties.message_expiry = expires.then_some(EXPIRY);
        Packet::Publish(Box::new(packet))
    }

    /// What is outstanding, as it is sent on a new connection [MQTT-4.4.0-1].
    fn again(&self) -> Vec<Packet> {
        let packet = |pending: &Pending| match pending.is_received {
            true => Packet::Pubrel(Ack::new(pending.id, ReasonCode::Success)),
            false => self.packet(pending.number, pending.id, true),
        };
        self.pending.iter().map(packet).collect()
    }

    /// The answer to a packet, if it wants one.
    pub(super) fn hear(&mut self, packet: &Packet) -> Option<Packet> {
        let (Packet::Puback(ack) | Packet::Pubcomp(ack) | Packet::Pubrec(ack)) = packet else {
            return None;
        };
        let place = self
            .pending
            .iter()
            .position(|pending| pending.id == ack.packet_id)?;
        let is_refused = ack.reason.is_failure();
        if matches!(packet, Packet::Pubrec(_)) && !is_refused {
            self.pending[place].is_received = true;
            let pubrel = Ack::new(ack.packet_id, ReasonCode::Success);
            return Some(Packet::Pubrel(pubrel));
        }
        // PUBCOMP of an unknown identifier ends the exchange as well; its message was acknowledged by PUBREC.
        let is_refused = is_refused && !matches!(packet, Packet::Pubcomp(_));
        let pending = self.pending.remove(place)?;
        let sent = &mut self.sent[usize::try_from(pending.number).unwrap_or(usize::MAX)];
        sent.is_acknowledged = !is_refused;
        sent.is_refused |= is_refused;
        None
    }
}

impl World {
    pub(super) fn publish(&mut self, name: usize) {
        let (fickle, met_refusal) = (self.fickle, self.is_refusing());
        let publisher = &mut self.publishers[name];
        if publisher.pending.len() >= WINDOW {
            return;
        }
        let number = u64::try_from(publisher.sent.len()).unwrap_or(u64::MAX);
        let id = PacketId::new(publisher.next_id).unwrap_or(PacketId::MIN);
        publisher.next_id = publisher.next_id % 60_000 + 1;
        publisher.sent.push(Sent {
            is_acknowledged: false,
            is_refused: false,
            met_refusal,
            fickle,
        });
        publisher.pending.push_back(Pending {
            number,
            id,
            is_received: false,
        });
        let (peer, packet) = (publisher.peer, publisher.packet(number, id, false));
        self.send(peer, &packet);
    }

    pub(super) fn hear_publisher(&mut self, name: usize) {
        let peer = self.publishers[name].peer;
        for packet in self.rig.received(peer) {
            let answer = self.publishers[name].hear(&packet);
            if let Some(answer) = answer {
                self.send(peer, &answer);
            }
        }
        if !self.rig.is_open(peer) {
            self.reconnect_publisher(name);
        }
    }

    pub(super) fn reconnect_publisher(&mut self, name: usize) {
        self.cut(self.publishers[name].peer);
        let peer = self.connect(&Publisher::client_id(name), u32::MAX, None);
        let is_refusing = self.is_refusing();
        let publisher = &mut self.publishers[name];
        publisher.peer = peer;
        if is_refusing {
            publisher.meet_refusal();
        }
        for packet in self.publishers[name].again() {
            self.send(peer, &packet);
        }
    }
}
