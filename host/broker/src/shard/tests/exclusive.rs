//! Exclusive subscriptions, over three shards and over a restart.

use super::*;
use crate::ports::Past;
use crate::ports::store::{Restored, SessionNumber, SessionState};
use crate::shard::shard_of;

const ALONE: &str = "$exclusive/a/b";

fn code(rig: &mut Rig, peer: usize, filter: &str) -> u8 {
    rig.send(peer, &subscribe(&[(filter, options(Q1))], None));
    let answers = rig.received(peer);
    match &answers[..] {
        [Packet::Suback(suback)] => suback.reasons[0].to_u8(),
        [Packet::Suback(suback), Packet::Publish(_)] => suback.reasons[0].to_u8(),
        other => panic!("{other:?}"),
    }
}

fn say(rig: &mut Rig, publisher: usize, payload: &str) {
    let message = publish("a/b", payload, Q0, 0);
    rig.send(publisher, &Packet::Publish(Box::new(message)));
}

#[test]
fn one_client_of_the_node_has_it_until_it_unsubscribes_or_its_session_ends() {
    let mut rig = rig();
    let names: Vec<_> = (0..9).map(|n| format!("c{n}")).collect();
    let shards: std::collections::BTreeSet<_> =
        names.iter().map(|name| shard_of(name, 3)).collect();
    assert_eq!(shards.len(), 3);
    let peers: Vec<_> = names
        .iter()
        .map(|name| join(&mut rig, Version::V5, name))
        .collect();
    assert_eq!(code(&mut rig, peers[0], ALONE), 1);
    assert_eq!(code(&mut rig, peers[0], ALONE), 1, "its own, again");
    for peer in &peers[1..] {
        assert_eq!(code(&mut rig, *peer, ALONE), 0x97);
    }
    assert_eq!(rig.counters().exclusive_refused, 8);
    let old = join(&mut rig, Version::V311, "old");
    assert_eq!(code(&mut rig, old, ALONE), 0x80, "what MQTT 3 has for it");
    let publisher = join(&mut rig, Version::V5, "p");
    say(&mut rig, publisher, "1");
    assert_eq!(payloads(&mut rig, peers[0]), ["1"]);
    assert!(payloads(&mut rig, peers[1]).is_empty());
    let leave = Unsubscribe {
        packet_id: id(4),
        user: Vec::new(),
        filters: vec![ALONE.into()],
    };
    rig.send(peers[0], &Packet::Unsubscribe(Box::new(leave)));
    rig.received(peers[0]);
    assert_eq!(code(&mut rig, peers[1], ALONE), 1);
    rig.cut(peers[1]); // and its session with it
    assert_eq!(code(&mut rig, peers[2], ALONE), 1);
    say(&mut rig, publisher, "2");
    assert_eq!(payloads(&mut rig, peers[2]), ["2"]);
    assert!(payloads(&mut rig, peers[0]).is_empty());
}

#[test]
fn a_session_that_stays_keeps_it_and_its_expiry_frees_it() {
    let mut rig = rig();
    let (peer, _) = join_with(&mut rig, persistent(Version::V5, "stays"));
    assert_eq!(code(&mut rig, peer, ALONE), 1);
    rig.cut(peer);
    let other = join(&mut rig, Version::V5, "other");
    assert_eq!(code(&mut rig, other, ALONE), 0x97);
    rig.advance(Duration::from_secs(3600));
    assert_eq!(code(&mut rig, other, ALONE), 1);
    // Taken over with a clean start: the older session ends with what it had.
    let again = join(&mut rig, Version::V5, "other");
    let third = join(&mut rig, Version::V5, "third");
    assert_eq!(code(&mut rig, third, ALONE), 1);
    assert_eq!(code(&mut rig, again, ALONE), 0x97);
}

#[test]
fn it_is_an_ordinary_subscription_otherwise() {
    let mut rig = rig();
    let publisher = join(&mut rig, Version::V5, "p");
    let mut kept = publish("a/b", "kept", Q0, 0);
    kept.retain = true;
    rig.send(publisher, &Packet::Publish(Box::new(kept)));
    let owner = join(&mut rig, Version::V5, "owner");
    rig.send(
        owner,
        &subscribe(&[(ALONE, options(Q0)), ("a/b", options(Q0))], Some(5)),
    );
    rig.received(owner);
    say(&mut rig, publisher, "x");
    let got = publishes(rig.received(owner));
    assert_eq!(got.len(), 1, "one copy of two subscriptions");
    assert_eq!(got[0].properties.subscription_ids, [5, 5]);
    let other = join(&mut rig, Version::V5, "other");
    assert_eq!(code(&mut rig, other, "a/b"), 1, "plain filters are free");
    // Without the plain one the exclusive one still stands.
    let leave = Unsubscribe {
        packet_id: id(4),
        user: Vec::new(),
        filters: vec!["a/b".into()],
    };
    rig.send(owner, &Packet::Unsubscribe(Box::new(leave)));
    rig.received(owner);
    say(&mut rig, publisher, "y");
    assert_eq!(payloads(&mut rig, owner), ["y"]);
    let late = join(&mut rig, Version::V5, "late");
    rig.send(late, &subscribe(&[("$exclusive/a/c", options(Q0))], None));
    assert!(matches!(rig.received(late)[..], [Packet::Suback(_)]));
    rig.cut(owner);
    let heir = join(&mut rig, Version::V5, "heir");
    rig.send(heir, &subscribe(&[(ALONE, options(Q0))], None));
    assert_eq!(
        payloads(&mut rig, heir),
        ["kept"],
        "retained messages are sent"
    );
}

#[test]
fn filters_that_overlap_or_are_none_are_refused_and_the_table_is_bounded() {
    let limits = Limits {
        exclusive: 2,
        ..Limits::default()
    };
    let mut rig = Rig::new(3, limits);
    let peer = join(&mut rig, Version::V5, "c");
    for bad in [
        "$exclusive/",
        "$exclusive/a/+",
        "$exclusive/#",
        "$exclusive/a#",
        "$exclusive/$share/g/a",
        "$exclusive/$exclusive/a",
    ] {
        assert_eq!(code(&mut rig, peer, bad), 0x8F, "{bad}");
    }
    assert_eq!(code(&mut rig, peer, "$exclusive/1"), 1);
    assert_eq!(code(&mut rig, peer, "$exclusive/2"), 1);
    assert_eq!(code(&mut rig, peer, "$exclusive/3"), 0x97);
    assert_eq!(rig.counters().exclusive_refused, 1);
}

#[test]
fn it_survives_a_restart_with_its_session() {
    let restored = |number, client_id: &str| Restored {
        session: SessionNumber(number),
        state: SessionState {
            client_id: client_id.into(),
            expiry: 3600,
            absent_since: None,
            next_number: None,
        },
        subscriptions: vec![(ALONE.into(), options(Q1), None)],
        received: Vec::new(),
        queue: None,
    };
    let mut rig = Rig::new(1, Limits::default());
    let past = Past {
        sessions: vec![restored(1, "first"), restored(2, "second")],
        ..Past::default()
    };
    let now = rig.now;
    rig.shards[0].restore(now, past);
    assert_eq!(
        rig.counters().exclusive_refused,
        1,
        "it was never two clients'"
    );
    let other = join(&mut rig, Version::V5, "other");
    assert_eq!(code(&mut rig, other, ALONE), 0x97);
    let (first, connack) = join_with(&mut rig, persistent(Version::V5, "first"));
    assert!(connack.session_present);
    let publisher = join(&mut rig, Version::V5, "p");
    say(&mut rig, publisher, "x");
    assert_eq!(payloads(&mut rig, first), ["x"]);
}
