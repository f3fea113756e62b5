//! MQTT 3.1.1, and what is needed of 5, by hand over a blocking socket: for tests that must decide
//! about every packet themselves.
//!
//! Owns: [`Raw`], one connection. Must not: remember anything beyond it; what a client has to remember over
//! connections is what such tests are about.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// What the broker sent.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are those of the packets")]
pub enum Incoming {
    Publish {
        topic: String,
        payload: Vec<u8>,
        qos: u8,
        dup: bool,
        retain: bool,
        id: u16,
        /// Message Expiry Interval (MQTT 5).
        expiry: Option<u32>,
    },
    Puback(u16),
    Pubrec(u16),
    Pubrel(u16),
    Pubcomp(u16),
    Suback(u16),
    Unsuback(u16),
    Other(u8),
}

/// One connection.
#[derive(Debug)]
pub struct Raw {
    socket: TcpStream,
    input: Vec<u8>,
    is_v5: bool,
}

/// A CONNECT of MQTT 5.
#[derive(Clone, Copy, Debug, Default)]
pub struct V5<'a> {
    /// Clean Start.
    pub is_clean: bool,
    /// Session Expiry Interval, seconds.
    pub expiry: u32,
    /// Topic, payload and Will Delay Interval, seconds; QoS 2.
    pub will: Option<(&'a str, &'a str, u32)>,
}

/// How long an answer to CONNECT may take.
const CONNACK: Duration = Duration::from_secs(10);

pub(crate) fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    let mut length = body.len();
    loop {
        let digit = u8::try_from(length % 128).unwrap_or(0);
        length /= 128;
        bytes.push(if length > 0 { digit | 0x80 } else { digit });
        if length == 0 {
            break;
        }
    }
    bytes.extend_from_slice(body);
    bytes
}

pub(crate) fn text(body: &mut Vec<u8>, text: &[u8]) {
    let length = u16::try_from(text.len()).expect("a short text");
    body.extend_from_slice(&length.to_be_bytes());
    body.extend_from_slice(text);
}

impl Raw {
    /// Connects with clean session 0 (or 1), perhaps with a will of QoS 1; whether the session was there.
    ///
    /// # Errors
    /// No connection, or a refusal.
    pub fn connect(
        broker: SocketAddr,
        client_id: &str,
        is_clean: bool,
        will: Option<(&str, &[u8])>,
    ) -> io::Result<(Self, bool)> {
        let mut flags = if is_clean { 2 } else { 0 };
        if will.is_some() {
            flags |= 4 | 8; // QoS 1
        }
        let mut body = Vec::new();
        text(&mut body, b"MQTT");
        body.extend_from_slice(&[4, flags, 0, 0]);
        text(&mut body, client_id.as_bytes());
        if let Some((topic, payload)) = will {
            text(&mut body, topic.as_bytes());
            text(&mut body, payload);
        }
        let mut raw = Self::open(broker, &packet(0x10, &body))?;
        let mut connack = [0; 4];
        raw.socket.read_exact(&mut connack)?;
        if connack[3] != 0 {
            return Err(io::Error::other(format!("refused with {}", connack[3])));
        }
        Ok((raw, connack[2] == 1))
    }

    /// The same with MQTT 5.
    ///
    /// # Errors
    /// No connection, or a refusal.
    pub fn connect_v5(
        broker: SocketAddr,
        client_id: &str,
        how: V5<'_>,
    ) -> io::Result<(Self, bool)> {
        let mut flags = if how.is_clean { 2 } else { 0 };
        if how.will.is_some() {
            flags |= 4 | 16; // QoS 2
        }
        let mut body = Vec::new();
        text(&mut body, b"MQTT");
        body.extend_from_slice(&[5, flags, 0, 0, 5, 0x11]);
        body.extend_from_slice(&how.expiry.to_be_bytes());
        text(&mut body, client_id.as_bytes());
        if let Some((topic, payload, delay)) = how.will {
            body.extend_from_slice(&[5, 0x18]);
            body.extend_from_slice(&delay.to_be_bytes());
            text(&mut body, topic.as_bytes());
            text(&mut body, payload.as_bytes());
        }
        let mut raw = Self::open(broker, &packet(0x10, &body))?;
        raw.is_v5 = true;
        raw.socket.set_read_timeout(Some(CONNACK))?;
        loop {
            if let Some((_, connack, length)) = split(&raw.input) {
                let (is_present, code) = (connack[0] == 1, connack[1]);
                raw.input.drain(..length);
                if code != 0 {
                    return Err(io::Error::other(format!("refused with {code}")));
                }
                return Ok((raw, is_present));
            }
            let mut part = [0; 512];
            match raw.socket.read(&mut part)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => raw.input.extend_from_slice(&part[..count]),
            }
        }
    }

    fn open(broker: SocketAddr, connect: &[u8]) -> io::Result<Self> {
        let socket = TcpStream::connect(broker)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(CONNACK))?;
        let mut raw = Self {
            socket,
            input: Vec::new(),
            is_v5: false,
        };
        raw.send(connect)?;
        Ok(raw)
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.socket.write_all(bytes)
    }

    /// PUBLISH; `id` counts for QoS 1 and 2.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn publish(
        &mut self,
        topic: &str,
        payload: &[u8],
        flags: (u8, bool, bool),
        id: u16,
    ) -> io::Result<()> {
        self.publish_expiring(topic, payload, flags, id, None)
    }

    /// The same with a Message Expiry Interval in seconds, which MQTT 5 has.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn publish_expiring(
        &mut self,
        topic: &str,
        payload: &[u8],
        (qos, retain, dup): (u8, bool, bool),
        id: u16,
        expiry: Option<u32>,
    ) -> io::Result<()> {
        let mut body = Vec::new();
        text(&mut body, topic.as_bytes());
        if qos > 0 {
            body.extend_from_slice(&id.to_be_bytes());
        }
        match expiry.filter(|_| self.is_v5) {
            Some(seconds) => {
                body.extend_from_slice(&[5, 2]);
                body.extend_from_slice(&seconds.to_be_bytes());
            }
            None => self.no_properties(&mut body),
        }
        body.extend_from_slice(payload);
        let flags = qos << 1 | u8::from(retain) | u8::from(dup) << 3;
        self.send(&packet(0x30 | flags, &body))
    }

    fn no_properties(&self, body: &mut Vec<u8>) {
        if self.is_v5 {
            body.push(0);
        }
    }

    /// SUBSCRIBE to one filter.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn subscribe(&mut self, filter: &str, qos: u8, id: u16) -> io::Result<()> {
        let mut body = id.to_be_bytes().to_vec();
        self.no_properties(&mut body);
        text(&mut body, filter.as_bytes());
        body.push(qos);
        self.send(&packet(0x82, &body))
    }

    /// UNSUBSCRIBE from one filter.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn unsubscribe(&mut self, filter: &str, id: u16) -> io::Result<()> {
        let mut body = id.to_be_bytes().to_vec();
        self.no_properties(&mut body);
        text(&mut body, filter.as_bytes());
        self.send(&packet(0xA2, &body))
    }

    /// PUBACK (0x40), PUBREC (0x50), PUBREL (0x62) or PUBCOMP (0x70).
    ///
    /// # Errors
    /// The connection is gone.
    pub fn acknowledge(&mut self, first: u8, id: u16) -> io::Result<()> {
        self.send(&packet(first, &id.to_be_bytes()))
    }

    /// DISCONNECT.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn disconnect(mut self) -> io::Result<()> {
        self.send(&[0xE0, 0])
    }

    /// The next packet; `None` if none comes within `patience`.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn next(&mut self, patience: Duration) -> io::Result<Option<Incoming>> {
        self.socket.set_read_timeout(Some(patience))?;
        loop {
            if let Some((first, body, length)) = split(&self.input) {
                let incoming = parse(first, body, self.is_v5);
                self.input.drain(..length);
                return Ok(Some(incoming));
            }
            let mut part = [0; 16_384];
            match self.socket.read(&mut part) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.input.extend_from_slice(&part[..count]),
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                    ) =>
                {
                    return Ok(None);
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// First byte, body and whole length of the first packet, once it is there.
pub(crate) fn split(input: &[u8]) -> Option<(u8, &[u8], usize)> {
    let (mut length, mut shift) = (0, 0);
    for (place, byte) in input.iter().enumerate().skip(1) {
        length |= usize::from(byte & 0x7F) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            let start = place + 1;
            let body = input.get(start..start + length)?;
            return Some((input[0], body, start + length));
        }
    }
    None
}

fn parse(first: u8, body: &[u8], is_v5: bool) -> Incoming {
    let id_at = |at: usize| u16::from_be_bytes([body[at], body[at + 1]]);
    match first >> 4 {
        3 => {
            let end = 2 + usize::from(id_at(0));
            let qos = first >> 1 & 3;
            let mut start = if qos > 0 { end + 2 } else { end };
            let mut expiry = None;
            if is_v5 {
                let length = usize::from(body[start]); // the tests send few properties
                let properties = &body[start + 1..start + 1 + length];
                if let [2, a, b, c, d, ..] = *properties {
                    expiry = Some(u32::from_be_bytes([a, b, c, d]));
                }
                start += 1 + length;
            }
            Incoming::Publish {
                topic: String::from_utf8_lossy(&body[2..end]).into_owned(),
                payload: body[start..].to_vec(),
                qos,
                dup: first & 8 != 0,
                retain: first & 1 != 0,
                id: if qos > 0 { id_at(end) } else { 0 },
                expiry,
            }
        }
        4 => Incoming::Puback(id_at(0)),
        5 => Incoming::Pubrec(id_at(0)),
        6 => Incoming::Pubrel(id_at(0)),
        7 => Incoming::Pubcomp(id_at(0)),
        9 => Incoming::Suback(id_at(0)),
        11 => Incoming::Unsuback(id_at(0)),
        other => Incoming::Other(other),
    }
}
