//! MQTT 5 in bytes on a socket, for enhanced authentication (section 4.12): CONNECT with a method, AUTH, and what comes back.
//!
//! Owns: [`Wire`], one connection. Must not: know a method.

use crate::{Broker, PATIENCE};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

/// First bytes of packets.
pub const CONNECT: u8 = 0x10;
/// See [`CONNECT`].
pub const CONNACK: u8 = 0x20;
/// See [`CONNECT`].
pub const DISCONNECT: u8 = 0xE0;
/// See [`CONNECT`].
pub const AUTH: u8 = 0xF0;
/// Reason codes.
pub const SUCCESS: u8 = 0x00;
/// See [`SUCCESS`].
pub const CONTINUE: u8 = 0x18;
/// See [`SUCCESS`].
pub const AGAIN: u8 = 0x19;
/// See [`SUCCESS`].
pub const BAD_CREDENTIALS: u8 = 0x86;
/// See [`SUCCESS`].
pub const NOT_AUTHORIZED: u8 = 0x87;
/// See [`SUCCESS`].
pub const BAD_METHOD: u8 = 0x8C;

/// What the broker said, as far as it matters here.
#[derive(Debug, PartialEq, Eq)]
pub struct Said {
    /// First byte.
    pub packet: u8,
    /// Reason code.
    pub code: u8,
    /// Authentication Method.
    pub method: Option<String>,
    /// Authentication Data.
    pub data: Option<String>,
}

/// A string or binary data with its length.
#[must_use]
#[allow(clippy::missing_panics_doc, reason = "texts of tests are short")]
pub fn field(bytes: &[u8]) -> Vec<u8> {
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
#[derive(Debug)]
pub struct Wire(TcpStream);

impl Wire {
    /// Nothing is sent yet.
    #[must_use]
    pub fn open(broker: &Broker) -> Self {
        let socket = TcpStream::connect(broker.address("tcp")).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(socket)
    }

    /// A packet.
    pub fn send(&mut self, packet: u8, body: &[u8]) {
        let bytes = [&[packet], &length(body.len())[..], body].concat();
        self.0.write_all(&bytes).unwrap();
    }

    /// CONNECT with a method and its first data.
    #[must_use]
    pub fn connect(broker: &Broker, client_id: &str, method: &str, data: &str) -> Self {
        let mut wire = Self::open(broker);
        let head = b"\0\x04MQTT\x05\x02\0\x3C"; // clean start, keep alive of a minute
        let body = [
            &head[..],
            &properties(method, data),
            &field(client_id.as_bytes()),
        ]
        .concat();
        wire.send(CONNECT, &body);
        wire
    }

    /// AUTH.
    pub fn auth(&mut self, code: u8, method: &str, data: &str) {
        self.send(AUTH, &[&[code][..], &properties(method, data)].concat());
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

    /// The next packet, as far as it matters here.
    pub fn said(&mut self) -> Said {
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

    /// The same; it must be this packet with this code.
    pub fn said_with(&mut self, packet: u8, code: u8) -> Said {
        let said = self.said();
        assert_eq!((said.packet, said.code), (packet, code), "{said:?}");
        said
    }

    /// The reason code of the PUBACK that must come.
    pub fn acknowledged(&mut self) -> u8 {
        let (packet, body) = self.packet();
        assert_eq!(packet, 0x40, "{body:x?}");
        body.get(2).copied().unwrap_or(SUCCESS)
    }

    /// Whether it answers.
    pub fn is_alive(&mut self) -> bool {
        self.send(0xC0, &[]);
        self.packet() == (0xD0, Vec::new())
    }

    /// Whether it was closed.
    pub fn is_over(&mut self) -> bool {
        // A reset ends it as well as an orderly close.
        self.0.read(&mut [0]).unwrap_or(0) == 0
    }
}
