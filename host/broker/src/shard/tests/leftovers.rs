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

proptest! {
    #[test]
    fn nobody_sees_that_an_end_is_divided(
        turn in 1usize..4,
        steps in vec(prop_oneof![
            6 => (0..CLIENTS, 0..FILTERS.len()).prop_map(|(who, what)| Step::Subscribe(who, what)),
            4 => (0usize..3).prop_map(Step::Publish),
            2 => (0..CLIENTS, any::<bool>()).prop_map(|(who, is_cut)| Step::Anew(who, is_cut)),
            1 => Just(Step::Turn),
        ], 1..60),
    ) {
        let mut rigs = [rig(turn), rig(usize::MAX)];
        let mut peers = rigs.each_mut().map(|rig| {
            let clients = (0..CLIENTS).map(|client| join_with(rig, durable(client)).0);
            clients.collect::<Vec<_>>()
        });
        let publishers = rigs.each_mut().map(|rig| join(rig, Version::V5, "publisher"));
        for step in &steps {
            let seen = [0, 1].map(|way| {
                let (rig, peers) = (&mut rigs[way], &mut peers[way]);
                match step {
                    Step::Subscribe(who, what) => {
                        rig.now += Duration::from_millis(1);
                        let filter = SubscribeFilter {
                            filter: FILTERS[*what].into(),
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
                    Step::Publish(topic) => send(rig, publishers[way], ["a/b", "a/c", "b/c"][*topic]),
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
                (told.collect::<Vec<_>>(), rig.counters().subscriptions)
            });
            prop_assert_eq!(&seen[0], &seen[1], "{:?}", step);
        }
        while rigs[0].turn() {}
        prop_assert_eq!(rigs[0].counters().subscriptions_left, 0);
        // Once all have gone for good nothing is wanted any more.
        for client in 0..CLIENTS {
            let mut last = durable(client);
            last.properties.session_expiry = None;
            let peer = join_with(&mut rigs[0], last).0;
            rigs[0].cut(peer);
        }
        while rigs[0].turn() {}
        let packet = publish("a/b", "x", Q1, 1);
        rigs[0].send(publishers[0], &Packet::Publish(Box::new(packet)));
        let answers = rigs[0].received(publishers[0]);
        let Some(Packet::Puback(ack)) = answers.last() else {
            return Err(TestCaseError::fail(format!("{answers:?}")));
        };
        prop_assert_eq!(ack.reason, ReasonCode::NoMatchingSubscribers);
    }
}
