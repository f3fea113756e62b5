//! Subscriptions in turns: who waits, for how long, and that nothing else does.

use super::{Q0, Q1, id, join, options, payloads, publish, subscribed};
use crate::limits::Limits;
use crate::testing::Rig;
use proptest::collection::vec;
use proptest::prelude::*;
use std::time::Duration;
use witmq_proto::ReasonCode;
use witmq_proto::packet::{Ack, Packet, Subscribe, SubscribeFilter, Unsubscribe, Version};

/// One shard with so many changes in a turn, and turns that wait for [`Rig::turn`].
fn rig(subscribe_turn: usize) -> Rig {
    let mut rig = Rig::new(
        1,
        Limits {
            sys_interval: Duration::ZERO,
            subscribe_turn,
            ..Limits::default()
        },
    );
    rig.hold_turns();
    rig
}

fn subscribe(packet_id: u16, filters: &[String]) -> Packet {
    let filters = filters.iter().map(|filter| SubscribeFilter {
        filter: filter.as_str().into(),
        options: options(Q0),
    });
    Packet::Subscribe(Box::new(Subscribe {
        packet_id: id(packet_id),
        subscription_id: None,
        user: Vec::new(),
        filters: filters.collect(),
    }))
}

fn unsubscribe(packet_id: u16, filters: &[String]) -> Packet {
    Packet::Unsubscribe(Box::new(Unsubscribe {
        packet_id: id(packet_id),
        user: Vec::new(),
        filters: filters
            .iter()
            .map(|filter| filter.as_str().into())
            .collect(),
    }))
}

fn filters(of: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{of}/{n}")).collect()
}

/// Codes of the SUBACK that is the only thing a client was sent; `None`: nothing was.
fn codes(rig: &mut Rig, peer: usize) -> Option<usize> {
    match &rig.received(peer)[..] {
        [] => None,
        [Packet::Suback(suback)] => Some(suback.reasons.len()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_message_does_not_wait_for_the_subscriptions_of_others() {
    let mut rig = rig(4);
    let listener = join(&mut rig, Version::V5, "listener");
    let publisher = join(&mut rig, Version::V5, "publisher");
    subscribed(&mut rig, listener, "news", Q0);
    rig.now += Duration::from_millis(1);
    let peers = ["a", "b", "c"].map(|name| join(&mut rig, Version::V5, name));
    for (peer, name) in peers.iter().zip(["a", "b", "c"]) {
        rig.send(*peer, &subscribe(1, &filters(name, 3)));
    }
    assert_eq!(
        peers.map(|peer| codes(&mut rig, peer)),
        [Some(3), None, None]
    );
    assert_eq!(rig.counters().subscriptions, 1 + 4, "one of b's is done");
    rig.send(
        publisher,
        &Packet::Publish(Box::new(publish("news", "x", Q0, 0))),
    );
    assert_eq!(payloads(&mut rig, listener), ["x"]);
    assert!(rig.turn());
    assert_eq!(
        peers.map(|peer| codes(&mut rig, peer)),
        [None, Some(3), None]
    );
    assert_eq!(rig.counters().subscriptions, 1 + 8);
    assert!(rig.turn());
    assert_eq!(
        peers.map(|peer| codes(&mut rig, peer)),
        [None, None, Some(3)]
    );
    assert!(!rig.turn(), "nobody waits, so no turn is asked for");
    assert_eq!(rig.counters().changes_waited, 2);
}

#[test]
fn what_a_client_sends_behind_a_subscribe_that_waits_stays_behind() {
    let mut rig = rig(2);
    let peer = join(&mut rig, Version::V5, "a");
    rig.send(peer, &subscribe(1, &filters("a", 3)));
    assert!(rig.is_paused(peer));
    rig.send(peer, &Packet::Publish(Box::new(publish("a/2", "x", Q1, 2))));
    rig.send(peer, &unsubscribe(3, &filters("a", 3)));
    rig.send(peer, &Packet::Publish(Box::new(publish("a/2", "y", Q1, 4))));
    assert!(rig.received(peer).is_empty());
    while rig.turn() {}
    let received = rig.received(peer);
    let kinds: Vec<_> = received
        .iter()
        .map(|packet| match packet {
            Packet::Suback(suback) => format!("suback of {}", suback.reasons.len()),
            Packet::Unsuback(unsuback) => format!("unsuback of {}", unsuback.reasons.len()),
            Packet::Puback(ack) => format!("puback {} {}", ack.packet_id, ack.reason as u8),
            Packet::Publish(message) => format!("message of {} bytes", message.payload.len()),
            other => format!("{other:?}"),
        })
        .collect();
    assert_eq!(
        kinds,
        [
            "suback of 3",
            "puback 2 0",
            "message of 1 bytes",
            "unsuback of 3",
            "puback 4 16"
        ]
    );
}

#[test]
fn one_with_more_filters_than_a_turn_has_lets_the_others_go_between() {
    let mut rig = rig(10);
    let large = join(&mut rig, Version::V311, "large");
    let small = join(&mut rig, Version::V311, "small");
    let mut wanted = filters("large", 35);
    wanted[20] = "not/#/one".to_owned();
    rig.send(large, &subscribe(1, &wanted));
    rig.send(small, &subscribe(1, &filters("small", 10)));
    assert_eq!(rig.counters().subscriptions, 10);
    assert!(rig.turn());
    assert_eq!(rig.counters().subscriptions, 20);
    assert!(rig.turn());
    assert_eq!(
        codes(&mut rig, small),
        Some(10),
        "its turn came before the rest of the large one"
    );
    assert_eq!(rig.counters().subscriptions, 30);
    rig.send(small, &unsubscribe(2, &filters("small", 10)));
    assert!(rig.turn());
    assert_eq!(
        rig.counters().subscriptions,
        39,
        "the next ten, one of which is no filter"
    );
    assert!(rig.turn());
    assert!(matches!(rig.received(small)[..], [Packet::Unsuback(_)]));
    assert!(rig.received(large).is_empty());
    assert!(rig.turn() && !rig.turn());
    let received = rig.received(large);
    let [Packet::Suback(suback)] = &received[..] else {
        panic!("{received:?}")
    };
    let failed = suback.reasons.iter().position(|reason| reason.is_failure());
    assert_eq!((suback.reasons.len(), failed), (35, Some(20)));
    assert_eq!(rig.counters().subscriptions, 34);
}

#[test]
fn a_turn_has_as_many_changes_as_the_limit_says_and_ends_by_itself() {
    for (count, waits) in [(5, false), (6, true)] {
        let mut rig = rig(5);
        let peer = join(&mut rig, Version::V5, "a");
        rig.send(peer, &subscribe(1, &filters("a", count)));
        assert_eq!(rig.is_paused(peer), waits, "{count} filters");
        assert_eq!(rig.counters().changes_waited, u64::from(waits));
        while rig.turn() {}
        assert_eq!(codes(&mut rig, peer), Some(count));
    }
    let mut rig = rig(5);
    let peer = join(&mut rig, Version::V5, "a");
    for round in 1..=3 {
        rig.send(peer, &subscribe(round, &filters("a", 5)));
        assert_eq!(codes(&mut rig, peer), Some(5));
        rig.now += Duration::from_millis(1);
    }
    rig.now -= Duration::from_micros(1);
    rig.send(peer, &subscribe(4, &filters("a", 1)));
    assert_eq!(codes(&mut rig, peer), None, "this turn is not over");
    assert_eq!(rig.counters().changes_waited, 1);
}

#[test]
fn a_long_filter_is_several_changes() {
    for (bytes, waits) in [(63, false), (64, true)] {
        let mut rig = rig(2);
        let peer = join(&mut rig, Version::V5, "a");
        let wanted = ["x".repeat(bytes), "second".to_owned()];
        rig.send(peer, &subscribe(1, &wanted));
        assert_eq!(rig.is_paused(peer), waits, "{bytes} bytes");
    }
    let mut rig = rig(1);
    let peer = join(&mut rig, Version::V5, "a");
    rig.send(peer, &subscribe(1, &["x/".repeat(30_000)]));
    assert_eq!(
        codes(&mut rig, peer),
        Some(1),
        "the first of a turn fits always"
    );
}

#[test]
fn who_goes_while_waiting_holds_up_nobody_and_changes_nothing_more() {
    let mut rig = rig(2);
    let [gone, taken, last] = ["gone", "taken", "last"].map(|n| join(&mut rig, Version::V5, n));
    rig.send(gone, &subscribe(1, &filters("gone", 4)));
    rig.send(taken, &subscribe(1, &filters("taken", 4)));
    rig.send(last, &subscribe(1, &filters("last", 2)));
    rig.cut(gone);
    let again = join(&mut rig, Version::V5, "taken");
    assert!(!rig.is_open(taken));
    rig.send(again, &subscribe(1, &filters("taken", 1)));
    assert!(rig.turn());
    assert_eq!(codes(&mut rig, last), Some(2), "the two before it are gone");
    assert!(rig.turn());
    assert_eq!(codes(&mut rig, again), Some(1));
    assert!(!rig.turn());
    assert_eq!(rig.counters().subscriptions, 3);
}

#[test]
fn what_is_retained_comes_behind_the_answer_for_all_filters() {
    let mut rig = rig(2);
    let [listener, publisher] = ["l", "p"].map(|name| join(&mut rig, Version::V5, name));
    for topic in ["l/0", "l/2"] {
        let mut message = publish(topic, topic, Q0, 0);
        message.retain = true;
        rig.send(publisher, &Packet::Publish(Box::new(message)));
    }
    rig.send(listener, &subscribe(1, &filters("l", 3)));
    assert!(rig.received(listener).is_empty());
    assert!(rig.turn());
    let received = rig.received(listener);
    let (Some(Packet::Suback(_)), rest) = (received.first(), received.len() - 1) else {
        panic!("{received:?}")
    };
    assert_eq!(rest, 2, "{received:?}");
}

#[test]
fn a_client_whose_subscribe_waits_does_not_run_out_of_its_keep_alive() {
    let mut rig = rig(1);
    let mut wanted = crate::testing::connect(Version::V5, "a");
    wanted.keep_alive = 2;
    let peer = super::join_with(&mut rig, wanted).0;
    rig.send(peer, &subscribe(1, &filters("a", 2)));
    rig.advance(Duration::from_secs(10));
    assert!(
        rig.is_open(peer),
        "nothing is read from it, so it cannot be blamed"
    );
    while rig.turn() {}
    rig.advance(Duration::from_secs(10));
    assert!(!rig.is_open(peer));
}

proptest! {
    #[test]
    fn everybody_is_served_and_the_outcome_is_as_without_turns(
        subscribe_turn in 1usize..12,
        steps in vec((0usize..4, 1usize..20, any::<bool>()), 1..40),
    ) {
        let (mut held, mut free) = (rig(subscribe_turn), rig(usize::MAX));
        let mut sent = [0usize; 4];
        let peers = [0, 1, 2, 3].map(|n| {
            let name = format!("client-{n}");
            let peer = join(&mut held, Version::V5, &name);
            prop_assert_eq!(peer, join(&mut free, Version::V5, &name));
            Ok(peer)
        });
        let mut changes = 0;
        for (number, (who, count, adds)) in (1..).zip(&steps) {
            let wanted = filters("t", *count);
            let packet = match adds {
                true => subscribe(number, &wanted),
                false => unsubscribe(number, &wanted),
            };
            let peer = peers[*who].clone()?;
            held.send(peer, &packet);
            free.send(peer, &packet);
            sent[*who] += 1;
            changes += count;
            if number % 3 == 0 {
                held.turn();
            }
        }
        let mut turns = 0;
        while held.turn() {
            turns += 1;
        }
        prop_assert!(turns <= changes / subscribe_turn + steps.len(), "{turns} turns");
        prop_assert_eq!(held.counters().subscriptions, free.counters().subscriptions);
        for (peer, count) in peers.into_iter().zip(sent) {
            let peer = peer?;
            let answers = held.received(peer);
            prop_assert_eq!(answers.len(), count);
            prop_assert_eq!(answers, free.received(peer));
        }
    }
}

#[test]
fn an_acknowledgement_of_the_same_client_waits_with_it_and_comes_after() {
    let mut rig = rig(1);
    let [listener, publisher] = ["l", "p"].map(|name| join(&mut rig, Version::V5, name));
    subscribed(&mut rig, listener, "news", Q1);
    rig.now += Duration::from_millis(1);
    rig.send(listener, &subscribe(1, &filters("l", 2)));
    rig.send(
        publisher,
        &Packet::Publish(Box::new(publish("news", "x", Q1, 7))),
    );
    let ack = Packet::Puback(Ack::new(id(7), ReasonCode::Success));
    assert_eq!(rig.received(publisher), [ack]);
    assert_eq!(
        payloads(&mut rig, listener),
        ["x"],
        "it is sent what comes meanwhile"
    );
    assert!(rig.turn());
    assert_eq!(codes(&mut rig, listener), Some(2));
}
