//! Shared subscriptions over three shards: every strategy. When members come, go and fill up: `members.rs`.

mod members;

use super::*;
use crate::router::ShardId;
use crate::router::groups::{COMPARED_MEMBERS, Strategies, Strategy};
use crate::shard::shard_of;
use std::collections::BTreeMap;

const SHARDS: u16 = 3;
const ALL: [Strategy; 5] = [
    Strategy::RoundRobin,
    Strategy::LeastInflight,
    Strategy::Sticky,
    Strategy::HashClient,
    Strategy::HashTopic,
];

/// A group `g` on `t/#`, its members and its publishers.
struct Town {
    rig: Rig,
    members: BTreeMap<String, usize>,
    publishers: BTreeMap<String, usize>,
    /// Members acknowledge what they get.
    acks: bool,
    /// Payload and member, in the order of receipt.
    received: Vec<(String, String)>,
    /// Not acknowledged yet.
    open: Vec<(usize, PacketId)>,
    published: u32,
    /// Published while the group had no member.
    unwanted: u32,
}

impl Town {
    fn new(strategy: Strategy, outbox_messages: usize) -> Self {
        let limits = Limits {
            sys_interval: Duration::ZERO,
            outbox_messages,
            strategies: Strategies {
                default: strategy,
                ..Strategies::default()
            },
            ..Limits::default()
        };
        Self {
            rig: Rig::new(SHARDS, limits),
            members: BTreeMap::new(),
            publishers: BTreeMap::new(),
            acks: true,
            received: Vec::new(),
            open: Vec::new(),
            published: 0,
            unwanted: 0,
        }
    }

    /// Six members, two on each shard.
    fn with_members(strategy: Strategy) -> Self {
        let mut town = Self::new(strategy, 1000);
        for shard in 0..SHARDS {
            for number in 0..2 {
                town.join(&name("m", shard, number));
            }
        }
        town
    }

    fn join(&mut self, name: &str) {
        let peer = join(&mut self.rig, Version::V5, name);
        subscribed(&mut self.rig, peer, "$share/g/t/#", Q1);
        self.members.insert(name.to_owned(), peer);
        self.collect(); // an earlier session of that client may have ended
    }

    /// A session that stays; again: its client comes back, or takes it over.
    fn settle(&mut self, name: &str) {
        let peer = self.rig.connect(persistent(Version::V5, name));
        let mut packets = self.rig.received(peer);
        let Packet::Connack(connack) = packets.remove(0) else {
            panic!("no CONNACK but {packets:?}")
        };
        self.members.insert(name.to_owned(), peer);
        self.take(name, peer, packets);
        if connack.session_present {
            self.collect();
        } else {
            subscribed(&mut self.rig, peer, "$share/g/t/#", Q1);
        }
    }

    /// Its connection ends, and its session unless it stays.
    fn leave(&mut self, name: &str) {
        let peer = self.members[name];
        self.rig.cut(peer);
        self.collect();
    }

    fn publish(&mut self, publisher: &str, topic: &str) -> String {
        let peer = match self.publishers.get(publisher) {
            Some(peer) => *peer,
            None => {
                let peer = join(&mut self.rig, Version::V5, publisher);
                self.publishers.insert(publisher.to_owned(), peer);
                peer
            }
        };
        self.published += 1;
        let payload = self.published.to_string();
        let message = publish(topic, &payload, Q1, 1);
        self.rig.send(peer, &Packet::Publish(Box::new(message)));
        match &self.rig.received(peer)[..] {
            [Packet::Puback(ack)] if ack.reason == ReasonCode::NoMatchingSubscribers => {
                self.unwanted += 1;
            }
            [Packet::Puback(ack)] => assert_eq!(ack.reason, ReasonCode::Success),
            other => panic!("{other:?}"),
        }
        self.collect();
        payload
    }

    fn is_present(&self, number: usize) -> bool {
        let peer = self.members.get(&member(number));
        peer.is_some_and(|peer| self.rig.is_open(*peer))
    }

    /// Publishes, and says who got it.
    fn whose(&mut self, publisher: &str, topic: &str) -> String {
        let payload = self.publish(publisher, topic);
        let mut owners = self.received.iter().filter(|(known, _)| *known == payload);
        let owner = owners.next().expect("somebody got it").1.clone();
        assert!(owners.next().is_none(), "two members got it");
        owner
    }

    /// Reads what members got until nothing comes any more.
    fn collect(&mut self) {
        loop {
            let before = self.received.len();
            for (name, peer) in self.members.clone() {
                let packets = self.rig.received(peer);
                self.take(&name, peer, packets);
            }
            if self.received.len() == before {
                return;
            }
        }
    }

    fn take(&mut self, name: &str, peer: usize, packets: Vec<Packet>) {
        for message in publishes(packets) {
            let payload = String::from_utf8_lossy(&message.payload).into_owned();
            self.received.push((payload, name.to_owned()));
            self.open.extend(message.packet_id.map(|id| (peer, id)));
        }
        if self.acks {
            self.acknowledge();
        }
    }

    fn acknowledge(&mut self) {
        for (peer, packet_id) in std::mem::take(&mut self.open) {
            if self.rig.is_open(peer) {
                let ack = Ack::new(packet_id, ReasonCode::Success);
                self.rig.send(peer, &Packet::Puback(ack));
            }
        }
    }

    fn counts(&self) -> BTreeMap<&str, usize> {
        let mut counts = BTreeMap::new();
        for (_, member) in &self.received {
            *counts.entry(member.as_str()).or_default() += 1;
        }
        counts
    }
}

/// A client id on that shard.
fn name(stem: &str, shard: u16, number: usize) -> String {
    (0..)
        .map(|n| format!("{stem}-{n}"))
        .filter(|name| shard_of(name, SHARDS) == ShardId(shard))
        .nth(number)
        .unwrap()
}

/// Six members over the shards.
fn member(number: usize) -> String {
    let shard = u16::try_from(number % 3).unwrap();
    name("m", shard, number / 3)
}

fn publisher(number: usize) -> String {
    format!("publisher-{number}")
}

#[test]
fn round_robin_gives_every_member_its_turn_on_every_shard() {
    let mut town = Town::with_members(Strategy::RoundRobin);
    for _ in 0..10 {
        for _ in 0..6 {
            town.publish("p", "t/x");
        }
    }
    assert_eq!(town.counts().values().copied().collect::<Vec<_>>(), [10; 6]);
    let late = name("m", 1, 2);
    town.join(&late);
    town.received.clear();
    for _ in 0..14 {
        town.publish("p", "t/x");
    }
    assert_eq!(town.counts().values().copied().collect::<Vec<_>>(), [2; 7]);
}

#[test]
fn least_inflight_prefers_who_acknowledges() {
    let mut town = Town::with_members(Strategy::LeastInflight);
    town.acks = false;
    for number in 0..30 {
        town.publish(&publisher(number % 3), "t/x");
    }
    assert_eq!(town.counts().values().copied().collect::<Vec<_>>(), [5; 6]);
    // One member works off what it has: it gets everything until it is level with the others.
    let quick = town.members.keys().next().unwrap().clone();
    let peer = town.members[&quick];
    let (its, others) = town.open.drain(..).partition(|(known, _)| *known == peer);
    town.open = its;
    town.acknowledge();
    town.open = others;
    for number in 0..5 {
        assert_eq!(town.whose(&publisher(number), "t/x"), quick);
    }
    town.received.clear();
    for _ in 0..6 {
        town.publish("p", "t/x");
    }
    assert_eq!(town.counts().values().copied().collect::<Vec<_>>(), [1; 6]);
}

#[test]
fn least_inflight_compares_a_window_of_a_large_group() {
    for count in [COMPARED_MEMBERS, COMPARED_MEMBERS + 1] {
        let mut town = Town::new(Strategy::LeastInflight, 1000);
        town.acks = false;
        for number in 0..count {
            town.join(&format!("member-{number}"));
        }
        for _ in 0..2 * count {
            town.publish("p", "t/x");
        }
        assert!(town.counts().values().all(|got| *got == 2), "{count}");
    }
}

#[test]
fn sticky_publishers_keep_their_member_until_it_goes() {
    let mut town = Town::with_members(Strategy::Sticky);
    let before: Vec<_> = (0..30)
        .map(|number| town.whose(&publisher(number), "t/x"))
        .collect();
    assert!(town.counts().len() >= 4, "{:?}", town.counts());
    town.join(&name("m", 2, 2));
    let gone = before[0].clone();
    for (number, member) in before.iter().enumerate() {
        assert_eq!(town.whose(&publisher(number), "t/y"), *member);
    }
    town.leave(&gone);
    let after: Vec<_> = (0..30)
        .map(|number| town.whose(&publisher(number), "t/x"))
        .collect();
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(before == after, *before != gone);
    }
    // Whoever moved does not move back.
    town.join(&gone);
    for (number, member) in after.iter().enumerate() {
        assert_eq!(town.whose(&publisher(number), "t/x"), *member);
    }
    assert_eq!(town.rig.counters().sticky_forgotten, 0);
}

#[test]
fn the_memory_of_sticky_publishers_is_bounded_and_says_when_it_forgets() {
    let limits = |sticky_publishers| Limits {
        sticky_publishers,
        sys_interval: Duration::ZERO,
        strategies: Strategies {
            default: Strategy::Sticky,
            ..Strategies::default()
        },
        ..Limits::default()
    };
    for (bound, forgotten) in [(60, 0), (10, 20)] {
        let mut town = Town::new(Strategy::Sticky, 1000);
        town.rig = Rig::new(1, limits(bound));
        town.join("m");
        for number in 0..30 {
            town.publish(&publisher(number), "t/x");
        }
        assert_eq!(town.rig.counters().sticky_forgotten, forgotten, "{bound}");
    }
}

/// Where each of 60 keys goes.
fn shares(town: &mut Town, strategy: Strategy) -> Vec<String> {
    (0..60)
        .map(|number| match strategy {
            Strategy::HashTopic => town.whose(&publisher(number % 4), &format!("t/{number}")),
            _ => town.whose(&publisher(number), &format!("t/{}", number % 4)),
        })
        .collect()
}

#[test]
fn hashes_move_the_share_of_one_member_only() {
    for strategy in [Strategy::HashClient, Strategy::HashTopic] {
        let mut town = Town::with_members(strategy);
        let before = shares(&mut town, strategy);
        assert_eq!(before, shares(&mut town, strategy), "it is stable");
        assert_eq!(town.counts().len(), 6, "everybody has a share");
        let late = name("m", 0, 2);
        town.join(&late);
        let joined = shares(&mut town, strategy);
        for (before, after) in before.iter().zip(&joined) {
            assert!(before == after || *after == late);
        }
        assert!(joined.contains(&late));
        town.leave(&late);
        assert_eq!(shares(&mut town, strategy), before);
    }
}

#[test]
fn a_group_may_have_a_strategy_of_its_own() {
    let mut strategies = Strategies {
        default: Strategy::HashTopic,
        ..Strategies::default()
    };
    strategies.groups.insert("g".into(), Strategy::RoundRobin);
    let mut town = Town::new(Strategy::RoundRobin, 1000);
    let limits = Limits {
        strategies,
        sys_interval: Duration::ZERO,
        ..Limits::default()
    };
    town.rig = Rig::new(SHARDS, limits);
    for number in 0..2 {
        town.join(&format!("m{number}"));
    }
    for _ in 0..4 {
        town.publish("p", "t/x");
    }
    assert_eq!(town.counts().values().copied().collect::<Vec<_>>(), [2; 2]);
}
