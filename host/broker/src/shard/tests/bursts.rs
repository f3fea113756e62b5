//! The short way of bursts is what the long way of each message is: the same script on two nodes, one of which takes every
//! message by itself, and what every client is told is compared byte for byte, with counters and events.

pub(super) mod scripted;

use super::{connect, id, options, publish};
use crate::limits::{Limits, Overflow};
use crate::ports::AclRule;
use crate::ports::chains::{ChainOutcome, ChainProgress, ChainRun, Rest, StepFailure, StepOutcome};
use crate::ports::hooks::{AuthStep, Grant};
use crate::ports::raised::{Detail, EventKind, Raised, Wanted};
use crate::ports::{Chains, Named, Publisher, Transform};
use crate::testing::{Rig, allow_all};
use proptest::prelude::*;
use scripted::Scripted;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use witmq_proto::codec;
use witmq_proto::endpoint::Settings;
use witmq_proto::packet::{
    Ack, Connect, Packet, Publish, PublishProperties, QoS, Subscribe, SubscribeFilter, Version,
};
use witmq_proto::packet::{MessageProperties, Unsubscribe};
use witmq_proto::{Bytes, BytesMut, Message, ReasonCode, TopicName};

const TOPICS: [&str; 5] = ["a/b", "a/long-enough-for-an-alias", "c", "no/entry", "$x/y"];
const FILTERS: [&str; 9] = [
    "a/b",
    "a/+",
    "#",
    "a/#",
    "c",
    "$share/g/a/b",
    "$share/g/c",
    "$x/#",
    "no/entry",
];
const PEERS: usize = 6;
/// Of PUBLISH packets.
const KINDS: u8 = 22;

/// What a shard counted, but for what tells the two ways apart.
fn but_bursts(shard: &crate::shard::Shard) -> crate::shard::Counters {
    crate::shard::Counters {
        bursts: 0,
        burst_messages: 0,
        ..shard.counters()
    }
}

/// One PUBLISH of a chunk.
#[derive(Clone, Debug)]
struct Sent {
    topic: usize,
    length: usize,
    /// 0 to 7: a plain one.
    kind: u8,
    times: usize,
}

#[derive(Clone, Debug)]
enum Step {
    Publish {
        peer: usize,
        chunk: Vec<Sent>,
        cut: Option<usize>,
    },
    Subscribe {
        peer: usize,
        filter: usize,
        kind: u8,
    },
    Unsubscribe {
        peer: usize,
        filter: usize,
    },
    /// What was received and asks for an answer has it, in one piece.
    Answer {
        peer: usize,
        times: usize,
        kind: u8,
    },
    Stick {
        peer: usize,
        is_stuck: bool,
    },
    Reconnect {
        peer: usize,
        is_cut: bool,
    },
    Wait {
        seconds: u64,
    },
}

fn sent() -> impl Strategy<Value = Sent> {
    let length = prop_oneof![4 => 0usize..40, 1 => 100usize..200, 1 => 3000usize..9000];
    let times = prop_oneof![2 => Just(1usize), 3 => 2usize..12];
    (0..TOPICS.len(), length, 0u8..KINDS, times).prop_map(|(topic, length, kind, times)| Sent {
        topic,
        length,
        kind,
        times,
    })
}

fn step() -> impl Strategy<Value = Step> {
    let peer = 0..PEERS;
    let filter = 0..FILTERS.len();
    let cut = proptest::option::of(0usize..60);
    prop_oneof![
        8 => (peer.clone(), proptest::collection::vec(sent(), 1..4), cut)
            .prop_map(|(peer, chunk, cut)| Step::Publish { peer, chunk, cut }),
        4 => (peer.clone(), filter.clone(), 0u8..24)
            .prop_map(|(peer, filter, kind)| Step::Subscribe { peer, filter, kind }),
        1 => (peer.clone(), filter).prop_map(|(peer, filter)| Step::Unsubscribe { peer, filter }),
        8 => (peer.clone(), prop_oneof![2 => 1usize..5, 3 => Just(usize::MAX)], 0u8..12)
            .prop_map(|(peer, times, kind)| Step::Answer { peer, times, kind }),
        2 => (peer.clone(), any::<bool>()).prop_map(|(peer, is_stuck)| Step::Stick { peer, is_stuck }),
        1 => (peer, any::<bool>()).prop_map(|(peer, is_cut)| Step::Reconnect { peer, is_cut }),
        1 => (0u64..8).prop_map(|seconds| Step::Wait { seconds }),
    ]
}

/// Each peer is of another kind.
fn opening(peer: usize) -> Connect {
    let version = match peer {
        0 => Version::V31,
        1 | 2 => Version::V311,
        _ => Version::V5,
    };
    let mut connect = connect(version, &format!("peer-{peer}"));
    connect.clean_start = peer != 2 && peer != 4;
    let properties = &mut connect.properties;
    match peer {
        3 => properties.topic_alias_maximum = Some(2),
        4 => properties.session_expiry = Some(1000),
        5 => properties.maximum_packet_size = Some(100),
        _ => {}
    }
    if peer == 3 {
        properties.receive_maximum = Some(6);
    }
    connect
}

fn limits(seed: u16) -> Limits {
    let mut settings = Settings::default();
    if seed & 64 != 0 {
        settings.receive_maximum = 9;
        settings.outbound_receive_maximum = 20;
    }
    Limits {
        settings,
        sys_interval: Duration::ZERO,
        outbox_messages: if seed & 1 == 0 { 1000 } else { 7 },
        outbox_bytes: if seed & 2 == 0 { 1 << 20 } else { 2000 },
        outbox_age: Duration::from_secs(if seed & 4 == 0 { 0 } else { 5 }),
        overflow: match seed >> 3 & 3 {
            0 => Overflow::Disconnect,
            1 => Overflow::DropNewest,
            _ => Overflow::DropOldest,
        },
        ..Limits::default()
    }
}

/// A node and who is connected to it.
struct Town {
    rig: Rig,
    peers: Vec<usize>,
    told: Arc<Mutex<Vec<String>>>,
}

impl Town {
    fn new(seed: u16, is_short: bool) -> Self {
        let mut rig = Rig::new(3, limits(seed));
        let told = Arc::new(Mutex::new(Vec::new()));
        let mut wanted = Wanted::default();
        if seed & 128 != 0 && seed & 1 == 0 {
            wanted.add(EventKind::Acked);
        }
        if seed & 128 != 0 && seed & 2 == 0 {
            wanted.add(EventKind::Delivered);
        }
        for shard in &mut rig.shards {
            shard.ports.chains = Box::new(Scripted {
                has_chains: seed & 256 != 0,
                wanted,
                told: told.clone(),
            });
        }
        if !is_short {
            rig.shards
                .iter_mut()
                .for_each(|shard| shard.leave_short_way());
        }
        rig.authenticator = Box::new(move |_| {
            if seed & 32 == 0 {
                return allow_all();
            }
            let rule = |allow, filter: &str| AclRule {
                allow,
                publish: true,
                subscribe: true,
                filter: filter.to_owned(),
            };
            AuthStep::Allow(Box::new(Grant {
                acl: vec![rule(false, "no/#"), rule(true, "#"), rule(true, "$x/#")],
                acl_complete: true,
                ..Grant::default()
            }))
        });
        let peers = (0..PEERS).map(|peer| rig.connect(opening(peer))).collect();
        Self { rig, peers, told }
    }

    fn packet(sent: &Sent, number: u16, is_v5: bool) -> Publish {
        let mut packet = publish(TOPICS[sent.topic], "", QoS::AtMostOnce, 0);
        packet.payload = Bytes::from(vec![b'a' + u8::try_from(number % 26).unwrap(); sent.length]);
        match sent.kind {
            8 => packet.retain = true,
            9 => (packet.qos, packet.packet_id) = (QoS::AtLeastOnce, Some(id(number + 1))),
            10 => (packet.qos, packet.packet_id) = (QoS::ExactlyOnce, Some(id(number + 1))),
            14..=16 => (packet.qos, packet.packet_id) = (QoS::AtLeastOnce, Some(id(number + 1))),
            17..=19 => (packet.qos, packet.packet_id) = (QoS::ExactlyOnce, Some(id(number + 1))),
            20 => (packet.qos, packet.packet_id) = (QoS::ExactlyOnce, Some(id(number % 8 + 1))),
            21 => {
                packet.dup = true;
                (packet.qos, packet.packet_id) = (QoS::AtLeastOnce, Some(id(number + 1)));
            }
            11 if is_v5 => packet.topic_alias = Some(1 + number % 3),
            12 if is_v5 => {
                let properties = MessageProperties {
                    message_expiry: Some(3),
                    ..MessageProperties::default()
                };
                packet.properties = PublishProperties::from(properties);
            }
            13 if is_v5 && number > 200 => {
                (packet.topic, packet.topic_alias) = ("".into(), Some(1)); // a broken rule, if nobody set it
            }
            _ => {}
        }
        packet
    }

    fn step(&mut self, step: &Step, number: &mut u16) {
        match step {
            Step::Publish { peer, chunk, cut } => {
                let version = opening(*peer).version;
                let mut bytes = BytesMut::new();
                for sent in chunk {
                    for _ in 0..sent.times {
                        *number += 1;
                        let packet = Self::packet(sent, *number, version.is_v5());
                        let packet = Packet::Publish(Box::new(packet));
                        codec::encode(&packet, version, &mut bytes).unwrap();
                    }
                }
                let at = cut.map_or(bytes.len(), |cut| bytes.len().saturating_sub(cut));
                let (first, rest) = bytes.split_at(at);
                self.rig.send_bytes(self.peers[*peer], first);
                if !rest.is_empty() {
                    self.rig.send_bytes(self.peers[*peer], rest);
                }
            }
            Step::Subscribe { peer, filter, kind } => {
                let mut options = options(QoS::from_bits(kind % 3).unwrap());
                let is_v5 = opening(*peer).version.is_v5();
                options.no_local =
                    is_v5 && kind & 4 != 0 && !FILTERS[*filter].starts_with("$share");
                options.retain_as_published = is_v5 && kind & 8 != 0;
                let subscribe = Subscribe {
                    packet_id: id(9),
                    subscription_id: (is_v5 && kind & 16 != 0).then_some(77),
                    user: Vec::new(),
                    filters: vec![SubscribeFilter {
                        filter: FILTERS[*filter].into(),
                        options,
                    }],
                };
                let packet = Packet::Subscribe(Box::new(subscribe));
                self.rig.send(self.peers[*peer], &packet);
            }
            Step::Unsubscribe { peer, filter } => {
                let unsubscribe = Unsubscribe {
                    packet_id: id(8),
                    user: Vec::new(),
                    filters: vec![FILTERS[*filter].into()],
                };
                let packet = Packet::Unsubscribe(Box::new(unsubscribe));
                self.rig.send(self.peers[*peer], &packet);
            }
            Step::Answer { .. } => {} // see `run`
            Step::Stick { peer, is_stuck } => self.rig.stick(self.peers[*peer], *is_stuck),
            Step::Reconnect { peer, is_cut } => {
                if *is_cut {
                    self.rig.cut(self.peers[*peer]);
                }
                self.peers[*peer] = self.rig.connect(opening(*peer));
            }
            Step::Wait { seconds } => self.rig.advance(Duration::from_secs(*seconds)),
        }
    }
}

/// What a client answers to what it was told.
fn answers(mut told: BytesMut, version: Version) -> Vec<Packet> {
    let mut all = Vec::new();
    while let Ok(Some(packet)) = codec::decode(&mut told, version, &codec::Limits::default()) {
        let bare = |id| Ack::new(id, ReasonCode::Success);
        match packet {
            Packet::Publish(publish) => all.extend(publish.packet_id.map(|id| match publish.qos {
                QoS::ExactlyOnce => Packet::Pubrec(bare(id)),
                _ => Packet::Puback(bare(id)),
            })),
            Packet::Pubrec(ack) if !ack.reason.is_failure() => {
                all.push(Packet::Pubrel(bare(ack.packet_id)));
            }
            Packet::Pubrel(ack) => all.push(Packet::Pubcomp(bare(ack.packet_id))),
            _ => {}
        }
    }
    all
}

/// Some of what is owed, in order as a rule, with something odd in it at times.
fn said(owed: &mut Vec<Packet>, times: usize, kind: u8, version: Version) -> BytesMut {
    let mut some: Vec<_> = owed.drain(..times.min(owed.len())).collect();
    let middle = some.len() / 2;
    match kind {
        0 => some.reverse(),
        1 => some.insert(
            middle,
            Packet::Puback(Ack::new(id(60_000), ReasonCode::Success)),
        ),
        2 => some.insert(
            middle,
            Packet::Pubrec(Ack::new(id(60_000), ReasonCode::Success)),
        ),
        3 => some.insert(
            middle,
            Packet::Pubrel(Ack::new(id(60_000), ReasonCode::Success)),
        ),
        4 => some.extend(some.clone()),
        5 | 6 => {
            if let Some(Packet::Puback(ack) | Packet::Pubrec(ack)) = some.get_mut(middle) {
                ack.reason = ReasonCode::QuotaExceeded;
            }
        }
        7 => {
            if let Some(Packet::Puback(ack)) = some.get(middle) {
                let wrong = Packet::Pubcomp(ack.clone());
                some.insert(middle, wrong);
            }
        }
        _ => {}
    }
    let mut bytes = BytesMut::new();
    for packet in &some {
        codec::encode(packet, version, &mut bytes).unwrap();
    }
    bytes
}

fn run(seed: u16, steps: &[Step]) -> Result<(), TestCaseError> {
    let (mut short, mut long) = (Town::new(seed, true), Town::new(seed, false));
    let mut numbers = (0, 0);
    let mut owed: Vec<Vec<Packet>> = vec![Vec::new(); PEERS];
    for (at, step) in steps.iter().enumerate() {
        short.step(step, &mut numbers.0);
        long.step(step, &mut numbers.1);
        match step {
            Step::Answer { peer, times, kind } => {
                let bytes = said(&mut owed[*peer], *times, *kind, opening(*peer).version);
                short.rig.send_bytes(short.peers[*peer], &bytes);
                long.rig.send_bytes(long.peers[*peer], &bytes);
            }
            Step::Reconnect { peer, .. } => owed[*peer].clear(),
            _ => {}
        }
        for peer in 0..short.rig.peers() {
            let (a, b) = (short.rig.output(peer), long.rig.output(peer));
            prop_assert_eq!(&a, &b, "peer {} at step {}: {:?}", peer, at, step);
            if let Some(kind) = short.peers.iter().position(|last| *last == peer) {
                owed[kind].extend(answers(a, opening(kind).version));
            }
            let is_open = |town: &Town| (town.rig.is_open(peer), town.rig.is_paused(peer));
            prop_assert_eq!(is_open(&short), is_open(&long), "{} at step {}", peer, at);
        }
        for (a, b) in short.rig.shards.iter().zip(&long.rig.shards) {
            prop_assert_eq!(but_bursts(a), but_bursts(b), "at step {}: {:?}", at, step);
            prop_assert_eq!(a.longest_queue(), b.longest_queue(), "at step {}", at);
        }
        // Of each client in order; of several by the message in one case, by the client in the other.
        let events = |town: &Town| {
            let mut all: Vec<_> = (town.rig.events.take().iter())
                .map(|e| format!("{e:?}"))
                .collect();
            all.sort();
            all
        };
        prop_assert_eq!(events(&short), events(&long), "at step {}", at);
        let told = |town: &Town| {
            let mut all = std::mem::take(&mut *town.told.lock().unwrap());
            all.sort();
            all
        };
        prop_assert_eq!(told(&short), told(&long), "at step {}", at);
    }
    prop_assert_eq!(long.rig.bursts(), 0);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn both_ways_tell_everybody_the_same(
        seed: u16,
        steps in proptest::collection::vec(step(), 10..40),
    ) {
        run(seed, &steps)?;
    }
}

/// Bursts of QoS 1 and 2 go the short way, too, if nobody must not lose them, and so do their acknowledgements.
#[test]
fn what_is_acknowledged_goes_the_short_way() {
    for kind in [14, 17] {
        let mut town = Town::new(0, true);
        let mut number = 0;
        let subscribe = |peer| Step::Subscribe {
            peer,
            filter: 0,
            kind: 2,
        };
        town.step(&subscribe(0), &mut number);
        let publish = |town: &mut Town, number: &mut u16, times| {
            let sent = Sent {
                topic: 0,
                length: 10,
                kind,
                times,
            };
            let step = Step::Publish {
                peer: 1,
                chunk: vec![sent],
                cut: None,
            };
            town.step(&step, number);
        };
        publish(&mut town, &mut number, 1);
        publish(&mut town, &mut number, 50);
        assert_eq!(town.rig.bursts(), 1, "the first settles the topic");
        // Two rounds of answers for QoS 2: PUBREC and PUBCOMP, PUBREL.
        for _ in 0..3 {
            for peer in 0..2 {
                let told = town.rig.output(town.peers[peer]);
                let mut owed = answers(told, Version::V31);
                let bytes = said(&mut owed, usize::MAX, 8, Version::V31);
                town.rig.send_bytes(town.peers[peer], &bytes);
            }
        }
        assert_eq!(town.rig.counters().sent, 51);
        let connections = (town.rig.shards.iter()).flat_map(|shard| shard.connections.iter());
        let inflight: usize = connections.map(|c| c.endpoint.inflight()).sum();
        assert_eq!(inflight, 0);
        assert_eq!([0, 1].map(|peer| town.rig.unread(town.peers[peer])), [0, 0]);
        town.step(&subscribe(5), &mut number);
        publish(&mut town, &mut number, 50);
        assert_eq!(
            town.rig.bursts(),
            2,
            "its session ends with its connection, too"
        );
        town.step(&subscribe(2), &mut number);
        publish(&mut town, &mut number, 50);
        assert_eq!(town.rig.bursts(), 2, "a session that must not lose them");
    }
}

/// One burst to a subscriber on the same shard and on others, and back: it went the short way, once for all of them.
#[test]
fn what_is_plain_goes_the_short_way() {
    let mut town = Town::new(0, true);
    let mut number = 0;
    for peer in 0..3 {
        town.step(
            &Step::Subscribe {
                peer,
                filter: 0,
                kind: 0,
            },
            &mut number,
        );
    }
    let chunk = |times| {
        vec![Sent {
            topic: 0,
            length: 10,
            kind: 0,
            times,
        }]
    };
    let mut publish = |town: &mut Town, times| {
        let step = Step::Publish {
            peer: 1,
            chunk: chunk(times),
            cut: None,
        };
        town.step(&step, &mut number);
    };
    publish(&mut town, 1);
    assert_eq!(town.rig.bursts(), 0, "nobody has settled the topic yet");
    publish(&mut town, 50);
    assert_eq!(town.rig.bursts(), 1);
    let mail = town.rig.counters().mailed;
    publish(&mut town, 5000);
    assert_eq!(town.rig.bursts(), 6, "a burst is bounded");
    assert_eq!((town.rig.counters().mailed - mail) % 5000, 0);
    assert_eq!(town.rig.counters().received, 5051);
    let counters = town.rig.counters();
    let burst = (counters.bursts, counters.burst_messages);
    assert_eq!(burst, (6, 5050), "and what went by itself is not in them");
}

/// Messages to a topic that chains name are taken together too, until one of them has to wait for a plugin.
#[test]
fn what_chains_name_is_taken_together_until_a_message_waits() {
    let mut town = Town::new(256, true);
    let mut number = 0;
    let subscribe = Step::Subscribe {
        peer: 0,
        filter: 2,
        kind: 0,
    };
    town.step(&subscribe, &mut number);
    let mut publish = |town: &mut Town, times| {
        let sent = Sent {
            topic: 0,
            length: 14,
            kind: 0,
            times,
        };
        let step = Step::Publish {
            peer: 1,
            chunk: vec![sent],
            cut: None,
        };
        let before = town.rig.counters().sent;
        town.step(&step, &mut number);
        (town.rig.bursts(), town.rig.counters().sent - before)
    };
    assert_eq!(publish(&mut town, 1), (0, 1), "the topic is not settled");
    assert_eq!(
        publish(&mut town, 8),
        (1, 8),
        "seven as they came, one with another payload"
    );
    // Another topic, two for one, none, none, two, another one, and one that waits.
    assert_eq!(publish(&mut town, 7), (2, 1 + 2 + 2 + 1 + 1));
    assert_eq!(town.rig.counters().parked, 1);
    assert_eq!(publish(&mut town, 7), (2, 7), "one by one from here on");
}
