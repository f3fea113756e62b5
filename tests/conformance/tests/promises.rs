//! What depends on the configuration, seen at the wire.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::{Duration, Instant};
use witmq_conformance::peer::{Hello, Peer, kind, unique};
use witmq_conformance::stream::{Target, Transport};
use witmq_conformance::wire::{prop_text, prop_u8};
use witmq_conformance::{own, peer::Verdict};
use witmq_e2e::Broker;

/// TCP, and WebSocket at the HTTP origin.
fn targets(broker: &Broker) -> [Target; 2] {
    let target = |listener, transport| Target {
        address: broker.address(listener),
        transport,
        patience: Duration::from_secs(10),
        login: None,
        scram: None,
    };
    [
        target("tcp", Transport::Tcp),
        target("http", Transport::Ws("/mqtt".to_owned())),
    ]
}

fn on_both(broker: &Broker, run: impl Fn(&Target) -> Verdict) {
    for target in targets(broker) {
        assert_eq!(run(&target), Ok(()), "{}", target.name());
    }
}

/// One and a half times the value in CONNACK, whatever CONNECT asked for [MQTT-3.1.2-21].
#[test]
fn the_keep_alive_in_force_is_the_one_told_in_connack() {
    let broker = Broker::serve_open("[limits]\nmax_keep_alive_s = 1");
    for target in targets(&broker) {
        for asked in [0, 600] {
            let mut hello = Hello::new(5, &unique("keep"));
            hello.keep_alive = asked;
            let start = Instant::now();
            let (mut peer, connack) = hello.connect_with_connack(&target).unwrap();
            let told = connack.props_at(2);
            assert!(told.contains(&(0x13, vec![0, 1])), "{told:?}");
            assert_eq!(peer.expect_told(0x8D), Ok(()), "{}", target.name());
            assert!(start.elapsed() >= Duration::from_millis(1500));
        }
    }
}

/// Beyond the receive maximum: 0x93, or a line in the log where the configuration says so.
#[test]
fn a_client_beyond_the_receive_maximum_is_tolerated_only_where_configured() {
    let flood = |target: &Target| -> Verdict<Peer> {
        let mut peer = Peer::join(target, 5)?;
        for id in 1..=4 {
            peer.publish("flood", b"x", 4, id)?; // no PUBREL: none of them is over
        }
        Ok(peer)
    };
    let strict = Broker::serve_open("[limits]\nreceive_maximum = 2");
    on_both(&strict, |target| {
        let mut peer = flood(target)?;
        peer.expect(kind::PUBREC)?;
        peer.expect(kind::PUBREC)?;
        peer.expect_told(0x93)
    });
    let lenient =
        Broker::serve_open("[limits]\nreceive_maximum = 2\nlenient_receive_maximum = true");
    on_both(&lenient, |target| {
        let mut peer = flood(target)?;
        for _ in 0..4 {
            peer.expect(kind::PUBREC)?;
        }
        peer.expect_quiet()
    });
    let mut lines = std::iter::from_fn(|| lenient.log.recv_timeout(Duration::from_secs(20)).ok());
    assert!(lines.any(|line| line.contains("tolerated") && line.contains("receive maximum")));
}

/// A payload that its indicator calls text and that is none (sections 3.3.2.3.2 and 3.1.3.2.3).
#[test]
fn a_payload_that_is_not_what_its_indicator_says_is_refused_with_0x99() {
    let broker = own::broker();
    for target in own::targets(&broker, Duration::from_secs(10)) {
        let mut peer = Peer::join(&target, 5).unwrap();
        for (flags, answer) in [(2, kind::PUBACK), (4, kind::PUBREC)] {
            peer.publish_with("t", &[0xFF], flags, 1, &prop_u8(0x01, 1))
                .unwrap();
            assert_eq!(peer.expect(answer).unwrap().byte(2), 0x99);
        }
        peer.publish_with("t", &[0xFF], 0, 0, &prop_u8(0x01, 1))
            .unwrap();
        assert_eq!(peer.expect_told(0x99), Ok(()));
        let hello = Hello::new(5, &unique("will"));
        let hello = hello.will("t", &[0xFF], 0, false, &prop_u8(0x01, 1));
        let (_, connack) = hello.try_connect(&target).unwrap();
        assert_eq!(connack.byte(1), 0x99);
    }
}

/// A method nobody offers is refused in CONNACK; everything a client may use is offered by being left out there.
#[test]
fn connack_offers_everything() {
    let broker = own::broker();
    for target in own::targets(&broker, Duration::from_secs(10)) {
        let hello = Hello::new(5, &unique("all"));
        let (_, connack) = hello.connect_with_connack(&target).unwrap();
        // Maximum QoS, Retain Available, wildcard, identifiers, shared: left out, or 1.
        for (id, value) in connack.props_at(2) {
            let is_ability = [0x24, 0x25, 0x28, 0x29, 0x2A].contains(&id);
            assert!(!is_ability || value == [1], "{id:#x} {value:?}");
        }
        let hello = Hello::new(5, &unique("will")).will("kept/will", b"x", 2, true, &[]);
        hello.connect(&target).unwrap().leave().unwrap();
        let other = Hello::new(5, &unique("no")).with(&prop_text(0x15, "NO-SUCH-METHOD"));
        let (_, connack) = other.try_connect(&target).unwrap();
        assert_eq!(connack.byte(1), 0x8C);
    }
}

/// 0x87 in MQTT 5; acknowledged and dropped before it, where no acknowledgement can say no.
#[test]
fn a_denied_publish_is_told_in_mqtt_5_and_dropped_before_it() {
    let broker = own::broker();
    let words = [
        "user",
        "add",
        "ada",
        "--password-stdin",
        "--pub",
        "own/#",
        "--sub",
        "#",
    ];
    drop(broker.ok(&words, "secret"));
    let words = ["plugin", "config", "auth-file"];
    let config = broker
        .ok(&words, "")
        .replace("\"default\": \"allow\"", "\"default\": \"deny\"");
    drop(broker.ok(&["plugin", "config", "auth-file", &config], ""));
    let login = Some(("ada".to_owned(), "secret".to_owned()));
    for target in own::targets(&broker, Duration::from_secs(10)) {
        let target = Target {
            login: login.clone(),
            ..target
        };
        for level in [3, 4, 5] {
            let code = if level == 5 { 0x87 } else { 0 };
            let topic = unique("other/");
            let mut peer = Peer::join(&target, level).unwrap();
            peer.subscribe(&topic, 0).unwrap();
            for (flags, answer) in [(2, kind::PUBACK), (4, kind::PUBREC)] {
                peer.publish(&topic, b"no", flags, 1).unwrap();
                assert_eq!(peer.expect(answer).unwrap().byte(2), code);
            }
            peer.publish(&topic, b"no", 0, 0).unwrap();
            assert_eq!(peer.expect_quiet(), Ok(()), "level {level}");
        }
    }
}

#[test]
fn who_is_taken_over_hears_0x8e() {
    let broker = own::broker();
    for target in own::targets(&broker, Duration::from_secs(10)) {
        for (older, newer) in [(5, 5), (5, 3), (4, 5), (3, 4)] {
            let id = unique("over");
            let mut first = Hello::new(older, &id).connect(&target).unwrap();
            let mut second = Hello::new(newer, &id).connect(&target).unwrap();
            assert_eq!(first.expect_told(0x8E), Ok(()), "{older} by {newer}");
            assert_eq!(second.expect_quiet(), Ok(()), "{older} by {newer}");
        }
    }
}
