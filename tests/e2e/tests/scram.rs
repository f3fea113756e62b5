//! SCRAM-SHA-256 by AUTH (MQTT 5 section 4.12), from `witmq user add` to a re-authentication, in bytes on a socket.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use witmq_e2e::Broker;
use witmq_e2e::scram::answer;
use witmq_e2e::wire::{
    AGAIN, AUTH, BAD_CREDENTIALS, BAD_METHOD, CONNACK, CONTINUE, DISCONNECT, NOT_AUTHORIZED,
    SUCCESS, Said, Wire, field,
};

const METHOD: &str = "SCRAM-SHA-256";

fn said(packet: u8, code: u8, data: Option<&str>) -> Said {
    Said {
        packet,
        code,
        method: data.map(|_| METHOD.to_owned()),
        data: data.map(str::to_owned),
    }
}

/// A CONNECT with the first message of an exchange.
fn begin(broker: &Broker, method: &str, data: &str) -> Wire {
    Wire::connect(broker, "scram-1", method, data)
}

/// The server's first message of a challenge.
fn challenge(wire: &mut Wire) -> String {
    wire.said_with(AUTH, CONTINUE).data.unwrap()
}

fn broker_with_ada(flags: &[&str]) -> Broker {
    let broker = Broker::dev(&["--no-demo", "--no-anonymous"]);
    let words = [&["user", "add", "ada", "--password-stdin"], flags].concat();
    drop(broker.ok(&words, "pencil"));
    broker
}

/// Both rounds of a CONNECT; the second is not read yet. What the server must say then.
fn rounds(broker: &Broker, name: &str, password: &str) -> (Wire, String) {
    let mut wire = begin(broker, METHOD, &format!("n,,n={name},r=first"));
    let (last, expected) = answer(name, "first", password, &challenge(&mut wire));
    wire.auth(CONTINUE, METHOD, &last);
    (wire, expected)
}

#[test]
fn a_client_logs_in_the_broker_proves_itself_and_both_do_it_again() {
    let broker = broker_with_ada(&[]);
    let (mut wire, expected) = rounds(&broker, "ada", "pencil");
    assert_eq!(wire.said(), said(CONNACK, SUCCESS, Some(&expected)));
    assert!(wire.is_alive());
    for nonce in ["second", "third"] {
        wire.auth(AGAIN, METHOD, &format!("n,,n=ada,r={nonce}"));
        let (last, expected) = answer("ada", nonce, "pencil", &challenge(&mut wire));
        wire.auth(CONTINUE, METHOD, &last);
        assert_eq!(wire.said(), said(AUTH, SUCCESS, Some(&expected)));
        assert!(wire.is_alive());
    }
    wire.auth(AGAIN, METHOD, "n,,n=ada,r=fourth");
    let (last, _) = answer("ada", "fourth", "pencils", &challenge(&mut wire));
    wire.auth(CONTINUE, METHOD, &last);
    assert_eq!(wire.said(), said(DISCONNECT, NOT_AUTHORIZED, None));
    assert!(wire.is_over()); // [MQTT-4.12.1-2]
}

#[test]
fn a_wrong_password_and_an_unknown_name_are_refused_alike() {
    let broker = broker_with_ada(&[]);
    for (name, password) in [("ada", "pencils"), ("eve", "pencil")] {
        let (mut wire, _) = rounds(&broker, name, password);
        assert_eq!(wire.said(), said(CONNACK, BAD_CREDENTIALS, None), "{name}");
        assert!(wire.is_over(), "{name}"); // [MQTT-4.12.0-4]
    }
    let salts = |name: &str| {
        let first = format!("n,,n={name},r=abc");
        let message = challenge(&mut begin(&broker, METHOD, &first));
        message.split_once(',').unwrap().1.to_owned()
    };
    for name in ["ada", "eve"] {
        assert_eq!(salts(name), salts(name), "{name}");
    }
    assert_eq!(salts("ada").len(), salts("eve").len());
    assert_ne!(salts("ada"), salts("eve"));
}

#[test]
fn what_is_not_offered_is_refused_at_once() {
    let broker = broker_with_ada(&[]);
    for (method, data, code) in [
        ("SCRAM-SHA-1", "n,,n=ada,r=abc", BAD_METHOD),
        (METHOD, "p=tls-exporter,,n=ada,r=abc", BAD_METHOD),
        (METHOD, "who?", NOT_AUTHORIZED),
    ] {
        let mut wire = begin(&broker, method, data);
        assert_eq!(wire.said(), said(CONNACK, code, None), "{method} {data}");
        assert!(wire.is_over(), "{method} {data}"); // [MQTT-4.12.0-1]
    }
}

#[test]
fn without_keys_only_the_password_is_left() {
    let broker = broker_with_ada(&["--no-scram"]);
    let (mut wire, _) = rounds(&broker, "ada", "pencil");
    assert_eq!(wire.said(), said(CONNACK, BAD_CREDENTIALS, None));
    let mut wire = Wire::open(&broker);
    let head = b"\0\x04MQTT\x05\xC2\0\x3C\0"; // user name, password, clean start; no properties
    let strings = [field(b"c"), field(b"ada"), field(b"pencil")].concat();
    wire.send(witmq_e2e::wire::CONNECT, &[&head[..], &strings].concat());
    assert_eq!(wire.said(), said(CONNACK, SUCCESS, None));
}
