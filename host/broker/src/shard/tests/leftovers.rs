//! Sessions with more subscriptions than a turn has: their end is divided, and nobody sees that.

use super::{Q0, Q1, connect, id, join, join_with, options, payloads, publish, subscribed};
use crate::limits::Limits;
use crate::shard::timers::DUE_AT_ONCE;
use crate::testing::Rig;
use proptest::collection::vec;
use proptest::prelude::*;
use std::time::Duration;
use witmq_proto::ReasonCode;
use witmq_proto::packet::{Connect, Packet, Subscribe, SubscribeFilter, Version};

/// One shard with so many changes in a turn, and turns that wait for [`Rig::turn`].
fn rig(subscribe_turn: usize) -> Rig {
    let limits = Limits {
        sys_interval: Duration::ZERO,
        subscribe_turn,
        ..Limits::default()
    };
    let mut rig = Rig::new(1, limits);
    rig.hold_turns();
    rig
}

/// Each in a packet of its own, and each in a turn of its own.
fn subscribe_all(rig: &mut Rig, peer: usize, filters: &[&str]) {
    for filter in filters {
        rig.now += Duration::from_millis(1);
        subscribed(rig, peer, filter, Q1);
    }
}

/// Its connection breaks, in a turn of its own.
fn cut(rig: &mut Rig, peer: usize) {
    rig.now += Duration::from_millis(1);
    rig.cut(peer);
}

fn left(rig: &Rig) -> (u64, u64) {
    let counters = rig.counters();
    (counters.subscriptions, counters.subscriptions_left)
}

fn send(rig: &mut Rig, peer: usize, topic: &str) {
    let packet = publish(topic, topic, Q0, 0);
    rig.send(peer, &Packet::Publish(Box::new(packet)));
}

#[test]
fn a_session_is_over_at_once_and_its_subscriptions_go_in_turns() {
    let mut rig = rig(2);
    let [listener, publisher] = ["listener", "publisher"].map(|n| join(&mut rig, Version::V5, n));
    let gone = join(&mut rig, Version::V5, "gone");
    subscribe_all(&mut rig, gone, &["a", "b", "c", "d", "$exclusive/e"]);
    assert_eq!(left(&rig), (5, 0));
    cut(&mut rig, gone);
    assert_eq!(left(&rig), (0, 3), "nobody has them");
    let again = join(&mut rig, Version::V5, "gone");
    subscribe_all(&mut rig, listener, &["$exclusive/e", "a"]); // free for others
    for topic in ["a", "b", "e"] {
        send(&mut rig, publisher, topic);
    }
    assert!(rig.received(again).is_empty(), "it never asked for them");
    assert_eq!(payloads(&mut rig, listener), ["a", "e"]);
    for rest in [1, 0] {
        assert!(rig.turn());
        assert_eq!(left(&rig), (2, rest));
    }
    assert!(!rig.turn());
    send(&mut rig, publisher, "a");
    assert_eq!(payloads(&mut rig, listener), ["a"]);
}

#[test]
fn a_member_that_ended_is_chosen_no_more_and_one_that_comes_back_stays() {
    let mut rig = rig(1);
    let [listener, publisher] = ["listener", "publisher"].map(|n| join(&mut rig, Version::V5, n));
    let gone = join(&mut rig, Version::V5, "gone");
    let groups = ["$share/g/a", "$share/h/a", "$share/i/a"];
    subscribe_all(&mut rig, gone, &groups);
    subscribe_all(&mut rig, listener, &groups[..1]);
    cut(&mut rig, gone);
    assert_eq!(left(&rig), (1, 2));
    for _ in 0..2 {
        send(&mut rig, publisher, "a");
        assert_eq!(
            payloads(&mut rig, listener),
            ["a"],
            "it is the only one of `g`"
        );
    }
    // The same client is a member of them all again before its old parts are out.
    let again = join(&mut rig, Version::V5, "gone");
    subscribe_all(&mut rig, again, &groups);
    while rig.turn() {}
    assert_eq!(left(&rig), (4, 0));
    send(&mut rig, publisher, "a");
    let told = [listener, again].map(|peer| payloads(&mut rig, peer).len());
    assert_eq!(told.iter().sum::<usize>(), 3, "one of each group: {told:?}");
}

/// What is for the one that is away and has a session goes to none of those whose sessions are over.
#[test]
fn a_member_that_ended_takes_nothing_from_one_that_is_away() {
    let mut rig = rig(1);
    let publisher = join(&mut rig, Version::V5, "publisher");
    let wanted = |name: &str, expiry| {
        let mut wanted = connect(Version::V5, name);
        wanted.properties.session_expiry = Some(expiry);
        wanted
    };
    let members = [("a", 10), ("b", 10), ("c", 10), ("away", 1_000)].map(|(name, expiry)| {
        let peer = join_with(&mut rig, wanted(name, expiry)).0;
        subscribe_all(&mut rig, peer, &["$share/g/t", "$share/h/t"]);
        peer
    });
    members.into_iter().for_each(|peer| rig.cut(peer));
    rig.advance(Duration::from_secs(10));
    assert_eq!(left(&rig), (2, 5), "one of six is out");
    for packet_id in 1..=4 {
        let packet = publish("t", "m", Q1, packet_id);
        rig.send(publisher, &Packet::Publish(Box::new(packet)));
    }
    let back = Connect {
        clean_start: false,
        ..wanted("away", 1_000)
    };
    let away = rig.connect(back);
    assert_eq!(payloads(&mut rig, away).len(), 8, "from both groups");
}

#[test]
fn an_end_that_fits_a_turn_leaves_nothing() {
    for (count, rest) in [(3, 0), (4, 1)] {
        let mut rig = rig(3);
        let gone = join(&mut rig, Version::V5, "gone");
        subscribe_all(&mut rig, gone, &["a", "b", "c", "d"][..count]);
        cut(&mut rig, gone);
        assert_eq!(left(&rig), (0, rest), "{count} subscriptions");
        assert_eq!(rig.turn(), rest > 0);
    }
}

#[test]
fn many_ends_at_one_moment_share_a_turn() {
    let mut rig = rig(3);
    let gone = ["g1", "g2", "g3"].map(|name| {
        let peer = join(&mut rig, Version::V5, name);
        subscribe_all(&mut rig, peer, &["a", "b"]);
        peer
    });
    rig.now += Duration::from_millis(1);
    for (peer, rest) in gone.into_iter().zip([0, 1, 3]) {
        rig.cut(peer);
        assert_eq!(left(&rig).1, rest);
    }
    assert!(rig.turn());
    assert_eq!(left(&rig), (0, 0));
}

#[test]
fn so_many_may_wait_and_beyond_that_an_end_is_in_one_piece() {
    for (most, rest) in [(2, 2), (1, 0)] {
        let mut rig = rig(1);
        rig.shards[0].leftovers.most = most;
        let gone = join(&mut rig, Version::V5, "gone");
        subscribe_all(&mut rig, gone, &["a", "b", "c"]);
        cut(&mut rig, gone);
        assert_eq!(left(&rig), (0, rest), "{most} may wait");
        while rig.turn() {}
        assert_eq!(left(&rig), (0, 0));
    }
}

/// Its number is not given to another before, who would have what was meant for it.
#[test]
fn clients_that_come_meanwhile_have_nothing_of_it() {
    let mut rig = rig(1);
    let publisher = join(&mut rig, Version::V5, "publisher");
    let gone = join(&mut rig, Version::V5, "gone");
    subscribe_all(&mut rig, gone, &["a", "b", "c"]);
    cut(&mut rig, gone);
    let mut others = Vec::new();
    for number in 0..4 {
        others.push(join(&mut rig, Version::V5, &format!("other-{number}")));
        for topic in ["a", "b", "c"] {
            send(&mut rig, publisher, topic);
        }
        rig.turn();
    }
    for other in others {
        assert!(rig.received(other).is_empty());
    }
}

/// The sessions of many clients who went together end together.
#[test]
fn what_falls_due_at_once_is_done_in_parts() {
    for (count, rest) in [(DUE_AT_ONCE, 0), (DUE_AT_ONCE + 1, 1)] {
        let mut rig = rig(64);
        for number in 0..count {
            let mut wanted = connect(Version::V5, &format!("client-{number}"));
            wanted.properties.session_expiry = Some(1_000);
            let peer = join_with(&mut rig, wanted).0;
            rig.cut(peer);
        }
        rig.advance(Duration::from_secs(999)); // what else they left behind
        let end = rig.now + Duration::from_secs(1);
        let shard = &mut rig.shards[0];
        shard.handle_timeout(end);
        assert_eq!(shard.counters().sessions, rest, "of {count}");
        let is_due = shard.poll_timeout().is_some_and(|at| at <= end);
        assert!(is_due || rest == 0, "it asks for its next turn");
        shard.handle_timeout(end);
        assert_eq!(shard.counters().sessions, 0);
    }
}

fn durable(client: usize) -> Connect {
    let mut connect = connect(Version::V5, &format!("client-{client}"));
    connect.clean_start = true;
    if client.is_multiple_of(2) {
        connect.properties.session_expiry = Some(1_000);
    }
    connect
}

#[derive(Clone, Debug)]
enum Step {
    Subscribe(usize, usize),
    Publish(usize),
    /// The connection is gone, or another one takes its place; the session of before is not wanted.
    Anew(usize, bool),
    Turn,
}

const CLIENTS: usize = 4;
const FILTERS: [&str; 7] = ["a/b", "a/+", "#", "a/#", "+/c", "$exclusive/a/b", "a/c"];

const GROUPS: [&str; 6] = [
    "$share/g/a/b",
    "$share/g/a/+",
    "$share/h/a/b",
    "$share/h/#",
    "a/b",
    "$share/g/+/c",
];

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..CLIENTS, 0..FILTERS.len()).prop_map(|(who, what)| Step::Subscribe(who, what)),
        4 => (0usize..3).prop_map(Step::Publish),
        2 => (0..CLIENTS, any::<bool>()).prop_map(|(who, is_cut)| Step::Anew(who, is_cut)),
        1 => Just(Step::Turn),
    ];
    vec(step, 1..60)
}

/// A rig with its clients.
struct Town {
    rig: Rig,
    peers: Vec<usize>,
    publisher: usize,
}

impl Town {
    fn new(turn: usize) -> Self {
        let mut rig = rig(turn);
        let peers = (0..CLIENTS).map(|client| join_with(&mut rig, durable(client)).0);
        let peers = peers.collect();
        let publisher = join(&mut rig, Version::V5, "publisher");
        Self {
            rig,
            peers,
            publisher,
        }
    }

    /// What each client is sent by it, and how many subscriptions there are.
    fn play(&mut self, step: &Step, filters: &[&str]) -> (Vec<Vec<Packet>>, u64) {
        let (rig, peers) = (&mut self.rig, &mut self.peers);
        match step {
            Step::Subscribe(who, what) => {
                rig.now += Duration::from_millis(1);
                let filter = SubscribeFilter {
                    filter: filters[*what % filters.len()].into(),
                    options: options(Q1),
                };
                let packet = Subscribe {
                    packet_id: id(1),
                    subscription_id: None,
                    user: Vec::new(),
                    filters: vec![filter],
                };
                rig.send(peers[*who], &Packet::Subscribe(Box::new(packet)));
            }
            Step::Publish(topic) => send(rig, self.publisher, ["a/b", "a/c", "b/c"][*topic]),
            Step::Anew(who, is_cut) => {
                if *is_cut {
                    rig.cut(peers[*who]);
                }
                peers[*who] = join_with(rig, durable(*who)).0;
            }
            Step::Turn => {
                rig.turn();
            }
        }
        let told = peers.iter().map(|peer| rig.received(*peer));
        (told.collect(), rig.counters().subscriptions)
    }

    /// All go for good, and what they left is taken out: whether nothing is wanted any more.
    fn leaves_nothing(mut self) -> bool {
        for client in 0..CLIENTS {
            let mut last = durable(client);
            last.properties.session_expiry = None;
            let peer = join_with(&mut self.rig, last).0;
            self.rig.cut(peer);
        }
        while self.rig.turn() {}
        let packet = publish("a/b", "x", Q1, 1);
        self.rig
            .send(self.publisher, &Packet::Publish(Box::new(packet)));
        let answers = self.rig.received(self.publisher);
        let Some(Packet::Puback(ack)) = answers.last() else {
            return false;
        };
        left(&self.rig) == (0, 0) && ack.reason == ReasonCode::NoMatchingSubscribers
    }
}

proptest! {
    #[test]
    fn nobody_sees_that_an_end_is_divided(turn in 1usize..4, steps in steps()) {
        let mut towns = [Town::new(turn), Town::new(usize::MAX)];
        for step in &steps {
            let [divided, whole] = towns.each_mut().map(|town| town.play(step, &FILTERS));
            prop_assert_eq!(divided, whole, "{:?}", step);
        }
        let [divided, _] = towns;
        prop_assert!(divided.leaves_nothing());
    }

    /// Which member a message goes to is the group's choice; that one gets it is not.
    #[test]
    fn a_group_loses_nothing_to_a_member_that_is_taken_out_later(turn in 1usize..4, steps in steps()) {
        let mut towns = [Town::new(turn), Town::new(usize::MAX)];
        for step in &steps {
            let seen = towns.each_mut().map(|town| town.play(step, &GROUPS));
            let [divided, whole] = seen.map(|(told, subscriptions)| (told.concat().len(), subscriptions));
            prop_assert_eq!(divided, whole, "{:?}", step);
        }
        let [divided, _] = towns;
        prop_assert!(divided.leaves_nothing());
    }
}
