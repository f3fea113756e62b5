//! Enhanced authentication (MQTT 5 section 4.12): rounds, what ends them, and the same again on a live connection.

use super::{join_with, publish, rig};
use crate::ports::AclRule;
use crate::ports::hooks::{AuthRequest, AuthStep};
use crate::testing::{Rig, allow_all, connect};
use witmq_proto::packet::{Ack, Auth, Connect, Packet, QoS, Version};
use witmq_proto::{Bytes, ReasonCode};

const METHOD: &str = "STEPS";

fn auth(reason: ReasonCode, data: &'static [u8]) -> Auth {
    Auth {
        reason,
        method: Some(METHOD.into()),
        data: Some(Bytes::from_static(data)),
        reason_string: None,
        user: Vec::new(),
    }
}

fn send(rig: &mut Rig, peer: usize, reason: ReasonCode, data: &'static [u8]) {
    rig.send(peer, &Packet::Auth(Box::new(auth(reason, data))));
}

fn with_method(client_id: &str) -> Connect {
    let mut connect = connect(Version::V5, client_id);
    connect.properties.authentication_method = Some(METHOD.into());
    connect.properties.authentication_data = Some(Bytes::from_static(b"one"));
    connect
}

fn granted(data: &'static [u8]) -> AuthStep {
    let AuthStep::Allow(mut grant) = allow_all() else {
        panic!("allow_all denies")
    };
    grant.data = Some(Bytes::from_static(data));
    AuthStep::Allow(grant)
}

/// `one`, a challenge, `two`: in. Anything else: out.
fn two_rounds(request: &AuthRequest) -> AuthStep {
    match request {
        AuthRequest::Begin(attempt) if attempt.data == "one" => AuthStep::Challenge {
            data: Bytes::from_static(b"more"),
            state: Bytes::from_static(b"kept"),
        },
        AuthRequest::Proceed { state, data, .. } if state == "kept" && data == "two" => {
            granted(b"welcome")
        }
        _ => AuthStep::Deny {
            reason: ReasonCode::BadUserNameOrPassword,
            text: None,
            server_reference: None,
        },
    }
}

/// A client in the middle of its CONNECT.
fn challenged(rig: &mut Rig) -> usize {
    let peer = rig.connect(with_method("c"));
    let asked = auth(ReasonCode::ContinueAuthentication, b"more");
    assert_eq!(rig.received(peer), [Packet::Auth(Box::new(asked))]); // [MQTT-4.12.0-2]
    peer
}

fn joined(rig: &mut Rig) -> usize {
    let peer = challenged(rig);
    send(rig, peer, ReasonCode::ContinueAuthentication, b"two");
    let packets = rig.received(peer);
    let [Packet::Connack(connack)] = &packets[..] else {
        panic!("{packets:?}")
    };
    assert_eq!(connack.reason, ReasonCode::Success);
    let properties = &connack.properties;
    assert_eq!(properties.authentication_method.as_deref(), Some(METHOD)); // [MQTT-4.12.0-5]
    assert_eq!(
        properties.authentication_data.as_deref(),
        Some(&b"welcome"[..])
    );
    peer
}

#[test]
fn rounds_end_with_data_in_connack_and_again_with_data_in_auth() {
    let mut rig = rig();
    rig.authenticator = Box::new(two_rounds);
    let peer = joined(&mut rig);
    for _ in 0..2 {
        send(&mut rig, peer, ReasonCode::ReAuthenticate, b"one");
        let asked = auth(ReasonCode::ContinueAuthentication, b"more");
        assert_eq!(rig.received(peer), [Packet::Auth(Box::new(asked))]);
        send(&mut rig, peer, ReasonCode::ContinueAuthentication, b"two");
        let done = auth(ReasonCode::Success, b"welcome");
        assert_eq!(rig.received(peer), [Packet::Auth(Box::new(done))]);
    }
    assert!(rig.is_open(peer));
}

#[test]
fn a_refusal_is_a_connack_at_first_and_a_disconnect_later() {
    let mut rig = rig();
    rig.authenticator = Box::new(two_rounds);
    let peer = challenged(&mut rig);
    send(&mut rig, peer, ReasonCode::ContinueAuthentication, b"wrong");
    let packets = rig.received(peer);
    let [Packet::Connack(connack)] = &packets[..] else {
        panic!("{packets:?}")
    };
    assert_eq!(connack.reason, ReasonCode::BadUserNameOrPassword);
    assert!(!rig.is_open(peer)); // [MQTT-4.12.0-4]
    let peer = joined(&mut rig);
    send(&mut rig, peer, ReasonCode::ReAuthenticate, b"wrong");
    let packets = rig.received(peer);
    // 0x86 is a code of CONNACK alone.
    assert!(
        matches!(&packets[..], [Packet::Disconnect(d)] if d.reason == ReasonCode::NotAuthorized),
        "{packets:?}"
    );
    assert!(!rig.is_open(peer)); // [MQTT-4.12.1-2]
}

#[test]
fn auth_out_of_turn_is_a_protocol_error() {
    let mut rig = rig();
    rig.authenticator = Box::new(two_rounds);
    // The answer of a finished exchange, sent again.
    let peer = joined(&mut rig);
    send(&mut rig, peer, ReasonCode::ContinueAuthentication, b"two");
    assert!(!rig.is_open(peer));
    // A re-authentication before CONNACK.
    let peer = challenged(&mut rig);
    send(&mut rig, peer, ReasonCode::ReAuthenticate, b"one");
    assert!(!rig.is_open(peer));
    // Another method [MQTT-4.12.0-5].
    let peer = challenged(&mut rig);
    let other = Auth {
        method: Some("OTHER".into()),
        ..auth(ReasonCode::ContinueAuthentication, b"two")
    };
    rig.send(peer, &Packet::Auth(Box::new(other)));
    assert!(!rig.is_open(peer));
}

#[test]
fn without_a_method_there_is_no_authentication_data() {
    let mut rig = rig();
    rig.authenticator = Box::new(|_| granted(b"for nobody"));
    let (_, connack) = join_with(&mut rig, connect(Version::V5, "c"));
    assert_eq!(connack.properties.authentication_method, None); // [MQTT-4.12.0-6]
    assert_eq!(connack.properties.authentication_data, None);
}

#[test]
fn rules_with_user_hold_for_the_name_sent_unless_the_grant_has_another() {
    for (named, allowed) in [(None, "home/ada/x"), (Some("bob"), "home/bob/x")] {
        let mut rig = rig();
        rig.authenticator = Box::new(move |_| {
            let AuthStep::Allow(mut grant) = allow_all() else {
                panic!("allow_all denies")
            };
            grant.username = named.map(Into::into);
            grant.acl = vec![AclRule {
                allow: true,
                publish: true,
                subscribe: false,
                filter: "home/{user}/#".to_owned(),
            }];
            AuthStep::Allow(grant)
        });
        let mut wanted = connect(Version::V5, "c");
        wanted.username = Some("ada".into());
        let (peer, _) = join_with(&mut rig, wanted);
        for topic in ["home/ada/x", "home/bob/x"] {
            let message = publish(topic, "x", QoS::AtLeastOnce, 1);
            rig.send(peer, &Packet::Publish(Box::new(message)));
            let packets = rig.received(peer);
            let [Packet::Puback(Ack { reason, .. })] = &packets[..] else {
                panic!("{packets:?}")
            };
            assert_eq!(
                *reason == ReasonCode::NotAuthorized,
                topic != allowed,
                "{topic}"
            );
        }
    }
}

#[test]
fn what_was_settled_under_one_grant_is_asked_again_under_the_next() {
    let mut rig = rig();
    rig.authenticator = Box::new(|request| {
        let AuthStep::Allow(mut grant) = allow_all() else {
            panic!("allow_all denies")
        };
        if let AuthRequest::Begin(attempt) = request
            && attempt.data == "less"
        {
            grant.acl.clear();
            grant.acl_complete = true;
        }
        AuthStep::Allow(grant)
    });
    let (peer, _) = join_with(&mut rig, with_method("c"));
    let told = |rig: &mut Rig, topic: &str| {
        let message = publish(topic, "x", QoS::AtLeastOnce, 1);
        rig.send(peer, &Packet::Publish(Box::new(message)));
        let packets = rig.received(peer);
        let [Packet::Puback(Ack { reason, .. })] = &packets[..] else {
            panic!("{packets:?}")
        };
        *reason
    };
    for topic in ["a", "a", "b", "a"] {
        assert_eq!(told(&mut rig, topic), ReasonCode::NoMatchingSubscribers);
    }
    send(&mut rig, peer, ReasonCode::ReAuthenticate, b"less");
    let packets = rig.received(peer);
    assert!(matches!(&packets[..], [Packet::Auth(_)]), "{packets:?}");
    assert_eq!(told(&mut rig, "a"), ReasonCode::NotAuthorized);
}
