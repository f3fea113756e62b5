//! Clients sent to another server: at CONNECT, and one by one while they are connected.

use super::*;
use crate::ports::hooks::AuthStep;
use crate::redirect::{Referral, ReferralError};
use witmq_proto::packet::Disconnect;

const SECOND: Duration = Duration::from_secs(1);

fn send_to(rig: &Rig, shard: usize, is_permanent: bool) {
    let referral = Referral::new("other:1883", is_permanent).unwrap();
    rig.shards[shard].shared().redirect.set(Some(referral));
}

fn goodbye(rig: &mut Rig, peer: usize) -> Disconnect {
    match rig.received(peer).pop() {
        Some(Packet::Disconnect(disconnect)) => *disconnect,
        other => panic!("{other:?}"),
    }
}

#[test]
fn who_connects_is_told_where_to_go() {
    for (is_permanent, reason) in [
        (false, ReasonCode::UseAnotherServer),
        (true, ReasonCode::ServerMoved),
    ] {
        let mut rig = rig();
        send_to(&rig, 0, is_permanent);
        rig.authenticator = Box::new(|_| panic!("nobody is asked about it"));
        for version in [Version::V31, Version::V311, Version::V5] {
            let peer = rig.connect(connect(version, "c"));
            assert!(!rig.is_open(peer));
            let packets = rig.received(peer);
            let [Packet::Connack(connack)] = &packets[..] else {
                panic!("{packets:?}")
            };
            let reference = connack.properties.server_reference.as_deref();
            if version.is_v5() {
                assert_eq!((connack.reason, reference), (reason, Some("other:1883")));
            } else {
                assert_eq!(connack.reason, ReasonCode::ServerUnavailable);
            }
        }
        assert_eq!(rig.counters().redirected, 3);
        rig.shards[0].shared().redirect.set(None);
        rig.authenticator = Box::new(|_| allow_all());
        join(&mut rig, Version::V5, "c");
    }
}

#[test]
fn a_drain_disconnects_one_after_the_other_and_sessions_stay() {
    let mut rig = Rig::new(1, Limits::default());
    let peers: Vec<_> = (0..4)
        .map(|n| join_with(&mut rig, persistent(Version::V5, &format!("c{n}"))).0)
        .collect();
    let old = join(&mut rig, Version::V311, "old");
    subscribed(&mut rig, peers[3], "t", Q1);
    send_to(&rig, 0, false);
    let now = rig.now;
    rig.shards[0].drain(now, Duration::ZERO, SECOND);
    for gone in 0..5 {
        rig.advance(if gone == 0 { Duration::ZERO } else { SECOND });
        let open = peers.iter().filter(|peer| rig.is_open(**peer)).count();
        assert_eq!(open, 4 - (gone + 1).min(4), "one a second");
    }
    for peer in &peers {
        let said = goodbye(&mut rig, *peer);
        assert_eq!(said.reason, ReasonCode::UseAnotherServer);
        assert_eq!(said.server_reference.as_deref(), Some("other:1883"));
    }
    assert!(!rig.is_open(old));
    assert!(
        rig.received(old).is_empty(),
        "MQTT 3 has no DISCONNECT of a server"
    );
    assert_eq!(rig.counters().redirected, 5);
    rig.shards[0].shared().redirect.set(None);
    let (_, connack) = join_with(&mut rig, persistent(Version::V5, "c3"));
    assert!(connack.session_present);
}

#[test]
fn a_drain_ends_when_clients_are_served_again_and_a_new_one_begins_anew() {
    let mut rig = Rig::new(1, Limits::default());
    let peers: Vec<_> = (0..4)
        .map(|n| join(&mut rig, Version::V5, &format!("c{n}")))
        .collect();
    let open = |rig: &Rig| peers.iter().filter(|peer| rig.is_open(**peer)).count();
    send_to(&rig, 0, false);
    let now = rig.now;
    rig.shards[0].drain(now, Duration::ZERO, SECOND);
    rig.advance(Duration::ZERO);
    assert_eq!(open(&rig), 3);
    rig.shards[0].shared().redirect.set(None);
    rig.advance(10 * SECOND);
    assert_eq!(open(&rig), 3);
    send_to(&rig, 0, false);
    // Asked twice, it is no faster than asked once.
    for _ in 0..2 {
        let now = rig.now;
        rig.shards[0].drain(now, SECOND, SECOND);
    }
    rig.advance(SECOND);
    assert_eq!(open(&rig), 2);
    rig.advance(SECOND);
    assert_eq!(open(&rig), 1);
}

#[test]
fn an_authentication_under_way_ends_in_the_referral() {
    let mut rig = Rig::new(1, Limits::default());
    let shared = rig.shards[0].shared();
    rig.authenticator = Box::new(move |_| {
        let referral = Referral::new("other:1883", false).unwrap();
        shared.redirect.set(Some(referral));
        allow_all()
    });
    let peer = rig.connect(connect(Version::V5, "c"));
    assert!(!rig.is_open(peer));
    let packets = rig.received(peer);
    assert!(
        matches!(&packets[..], [Packet::Connack(c)] if c.reason == ReasonCode::UseAnotherServer)
    );
}

#[test]
fn a_denial_with_that_code_needs_no_reference() {
    let mut rig = rig();
    rig.authenticator = Box::new(|_| AuthStep::Deny {
        reason: ReasonCode::UseAnotherServer,
        text: None,
        server_reference: None,
    });
    let peer = rig.connect(connect(Version::V5, "c"));
    let packets = rig.received(peer);
    let [Packet::Connack(connack)] = &packets[..] else {
        panic!("{packets:?}")
    };
    assert_eq!(connack.reason, ReasonCode::UseAnotherServer);
    assert_eq!(connack.properties.server_reference, None);
}

#[test]
fn a_denial_may_say_where_to_go() {
    let mut rig = rig();
    for (reason, reference) in [
        (ReasonCode::ServerMoved, Some("third:1883")),
        (ReasonCode::NotAuthorized, None), // none goes with it
    ] {
        rig.authenticator = Box::new(move |_| AuthStep::Deny {
            reason,
            text: None,
            server_reference: Some("third:1883".into()),
        });
        let peer = rig.connect(connect(Version::V5, "c"));
        let packets = rig.received(peer);
        let [Packet::Connack(connack)] = &packets[..] else {
            panic!("{packets:?}")
        };
        assert_eq!(connack.reason, reason);
        assert_eq!(connack.properties.server_reference.as_deref(), reference);
    }
}

#[test]
fn a_reference_is_short_printable_text() {
    assert_eq!(Referral::new("  ", false), Err(ReferralError::Empty));
    assert_eq!(Referral::new("a\nb", false), Err(ReferralError::Text));
    assert_eq!(
        Referral::new(&"a".repeat(1025), true),
        Err(ReferralError::Text)
    );
    assert!(Referral::new(&"a".repeat(1024), true).is_ok());
}
