//! SCRAM-SHA-256 by AUTH (MQTT 5 section 4.12), from `witmq user add` to a re-authentication, in bytes on a socket.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use witmq_e2e::scram::answer;
use witmq_e2e::{Broker, PATIENCE};

const METHOD: &str = "SCRAM-SHA-256";
const CONNECT: u8 = 0x10;
const CONNACK: u8 = 0x20;
const DISCONNECT: u8 = 0xE0;
const AUTH: u8 = 0xF0;
const SUCCESS: u8 = 0x00;
const CONTINUE: u8 = 0x18;
const AGAIN: u8 = 0x19;
const BAD_CREDENTIALS: u8 = 0x86;
const NOT_AUTHORIZED: u8 = 0x87;
const BAD_METHOD: u8 = 0x8C;

/// What the broker said, as far as it matters here.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    packet: u8,
    code: u8,
    method: Option<String>,
    data: Option<String>,
}

fn said(packet: u8, code: u8, data: Option<&str>) -> Said {
    Said {
        packet,
        code,
        method: data.map(|_| METHOD.to_owned()),
        data: data.map(str::to_owned),
    }
}

/// A string or binary data with its length.
fn field(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap();
    [&length.to_be_bytes(), bytes].concat()
}

/// Properties 0x15 and 0x16 with their length; short enough for one byte of it.
fn properties(method: &str, data: &str) -> Vec<u8> {
    let all = [
        &[0x15][..],
        &field(method.as_bytes()),
        &[0x16],
        &field(data.as_bytes()),
    ]
    .concat();
    [length(all.len()), all].concat()
}

/// A Variable Byte Integer of at most two bytes.
fn length(value: usize) -> Vec<u8> {
    match u8::try_from(value) {
        Ok(small) if small < 0x80 => vec![small],
        _ => vec![
            u8::try_from(value % 0x80).unwrap() | 0x80,
            u8::try_from(value / 0x80).unwrap(),
        ],
    }
}

/// Reads the properties of CONNACK, AUTH and DISCONNECT.
struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    fn take(&mut self, count: usize) -> &'b [u8] {
        let (taken, rest) = self.0.split_at(count);
        self.0 = rest;
        taken
    }

    fn byte(&mut self) -> u8 {
        self.take(1)[0]
    }

    fn field(&mut self) -> String {
        let length = u16::from_be_bytes(self.take(2).try_into().unwrap());
        String::from_utf8(self.take(usize::from(length)).to_vec()).unwrap()
    }

    fn length(&mut self) -> usize {
        let low = usize::from(self.byte());
        if low < 0x80 {
            return low;
        }
        low - 0x80 + usize::from(self.byte()) * 0x80
    }

    /// Authentication Method and Data.
    fn properties(&mut self) -> (Option<String>, Option<String>) {
        if self.0.is_empty() {
            return (None, None);
        }
        let length = self.length();
        let mut all = Reader(self.take(length));
        let (mut method, mut data) = (None, None);
        while !all.0.is_empty() {
            match all.byte() {
                0x15 => method = Some(all.field()),
                0x16 => data = Some(all.field()),
                0x12 | 0x1A | 0x1C | 0x1F => drop(all.field()),
                0x26 => drop((all.field(), all.field())),
                0x11 | 0x27 => drop(all.take(4)),
                0x13 | 0x21 | 0x22 => drop(all.take(2)),
                0x24 | 0x25 | 0x28..=0x2A => drop(all.byte()),
                other => panic!("property {other:#x}"),
            }
        }
        (method, data)
    }
}

/// A connection.
struct Wire(TcpStream);

impl Wire {
    fn open(broker: &Broker) -> Self {
        let socket = TcpStream::connect(broker.address("tcp")).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(socket)
    }

    fn send(&mut self, packet: u8, body: &[u8]) {
        let bytes = [&[packet], &length(body.len())[..], body].concat();
        self.0.write_all(&bytes).unwrap();
    }

    fn connect(broker: &Broker, method: &str, data: &str) -> Self {
        let mut wire = Self::open(broker);
        let head = b"\0\x04MQTT\x05\x02\0\x3C"; // clean start, keep alive of a minute
        let body = [&head[..], &properties(method, data), &field(b"scram-1")].concat();
        wire.send(CONNECT, &body);
        wire
    }

    fn auth(&mut self, code: u8, data: &str) {
        self.send(AUTH, &[&[code][..], &properties(METHOD, data)].concat());
    }

    /// The next packet: its first byte and its body.
    fn packet(&mut self) -> (u8, Vec<u8>) {
        let mut head = [0; 2];
        self.0.read_exact(&mut head).unwrap();
        let mut length = usize::from(head[1] & 0x7F);
        if head[1] >= 0x80 {
            let mut high = [0];
            self.0.read_exact(&mut high).unwrap();
            length += usize::from(high[0]) * 0x80;
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).unwrap();
        (head[0], body)
    }

    fn said(&mut self) -> Said {
        let (packet, body) = self.packet();
        let mut reader = Reader(&body);
        if packet == CONNACK {
            assert_eq!(reader.byte(), 0, "no session is present");
        }
        let code = reader.byte();
        let (method, data) = reader.properties();
        Said {
            packet,
            code,
            method,
            data,
        }
    }

    /// The server's first message of a challenge.
    fn challenge(&mut self) -> String {
        let Said { data, .. } = self.said_with(AUTH, CONTINUE);
        data.unwrap()
    }

    fn said_with(&mut self, packet: u8, code: u8) -> Said {
        let said = self.said();
        assert_eq!((said.packet, said.code), (packet, code), "{said:?}");
        said
    }

    fn is_alive(&mut self) -> bool {
        self.send(0xC0, &[]);
        self.packet() == (0xD0, Vec::new())
    }

    fn is_over(&mut self) -> bool {
        // A reset ends it as well as an orderly close.
        self.0.read(&mut [0]).unwrap_or(0) == 0
    }
}

fn broker_with_ada(flags: &[&str]) -> Broker {
    let broker = Broker::dev(&["--no-demo", "--no-anonymous"]);
    let words = [&["user", "add", "ada", "--password-stdin"], flags].concat();
    drop(broker.ok(&words, "pencil"));
    broker
}

/// Both rounds of a CONNECT; the second is not read yet. What the server must say then.
fn rounds(broker: &Broker, name: &str, password: &str) -> (Wire, String) {
    let mut wire = Wire::connect(broker, METHOD, &format!("n,,n={name},r=first"));
    let (last, expected) = answer(name, "first", password, &wire.challenge());
    wire.auth(CONTINUE, &last);
    (wire, expected)
}

#[test]
fn a_client_logs_in_the_broker_proves_itself_and_both_do_it_again() {
    let broker = broker_with_ada(&[]);
    let (mut wire, expected) = rounds(&broker, "ada", "pencil");
    assert_eq!(wire.said(), said(CONNACK, SUCCESS, Some(&expected)));
    assert!(wire.is_alive());
    for nonce in ["second", "third"] {
        wire.auth(AGAIN, &format!("n,,n=ada,r={nonce}"));
        let (last, expected) = answer("ada", nonce, "pencil", &wire.challenge());
        wire.auth(CONTINUE, &last);
        assert_eq!(wire.said(), said(AUTH, SUCCESS, Some(&expected)));
        assert!(wire.is_alive());
    }
    wire.auth(AGAIN, "n,,n=ada,r=fourth");
    let (last, _) = answer("ada", "fourth", "pencils", &wire.challenge());
    wire.auth(CONTINUE, &last);
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
        let message = Wire::connect(&broker, METHOD, &first).challenge();
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
        let mut wire = Wire::connect(&broker, method, data);
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
    wire.send(CONNECT, &[&head[..], &strings].concat());
    assert_eq!(wire.said(), said(CONNACK, SUCCESS, None));
}
