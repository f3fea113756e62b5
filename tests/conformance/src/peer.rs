//! A client that does only what a case tells it, and says what was wrong in words.
//!
//! Owns: [`Peer`] and [`Hello`], the CONNECT. A case fails with the first answer that is not what it expects.

use crate::stream::{Stream, Target};
use crate::wire::{Body, Got, Message, prop_u32, split};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What a case ends with.
pub type Verdict<T = ()> = Result<T, String>;

/// Kinds of packets: the high nibble of the first byte.
pub mod kind {
    #![allow(missing_docs, reason = "the standard's names")]
    pub const CONNACK: u8 = 2;
    pub const PUBLISH: u8 = 3;
    pub const PUBACK: u8 = 4;
    pub const PUBREC: u8 = 5;
    pub const PUBREL: u8 = 6;
    pub const PUBCOMP: u8 = 7;
    pub const SUBACK: u8 = 9;
    pub const UNSUBACK: u8 = 11;
    pub const PINGRESP: u8 = 13;
    pub const DISCONNECT: u8 = 14;
    pub const AUTH: u8 = 15;
}

/// A name nobody else uses.
#[must_use]
pub fn unique(stem: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{stem}{}x{number}", std::process::id())
}

/// The Protocol Name that goes with a Protocol Level.
#[must_use]
pub fn protocol(level: u8) -> &'static str {
    if level == 3 { "MQIsdp" } else { "MQTT" }
}

/// A CONNECT.
#[derive(Clone, Debug)]
pub struct Hello {
    /// 3, 4 or 5.
    pub level: u8,
    /// Client identifier.
    pub id: String,
    /// Clean Start.
    pub clean: bool,
    /// Keep Alive.
    pub keep_alive: u16,
    /// Properties.
    pub props: Vec<u8>,
    /// Will.
    pub will: Option<Will>,
}

/// A will.
#[derive(Clone, Debug)]
pub struct Will {
    topic: String,
    payload: Vec<u8>,
    qos: u8,
    retain: bool,
    props: Vec<u8>,
}

impl Hello {
    /// Clean, without anything.
    #[must_use]
    pub fn new(level: u8, id: &str) -> Self {
        Self {
            level,
            id: id.to_owned(),
            clean: true,
            keep_alive: 0,
            props: Vec::new(),
            will: None,
        }
    }

    /// A session that stays, seconds: MQTT 3 has none of its own.
    #[must_use]
    pub fn lasting(mut self, seconds: u32) -> Self {
        self.clean = false;
        if self.level >= 5 {
            self.props.extend(prop_u32(0x11, seconds));
        }
        self
    }

    /// More properties (MQTT 5).
    #[must_use]
    pub fn with(mut self, props: &[u8]) -> Self {
        self.props.extend_from_slice(props);
        self
    }

    /// A will.
    #[must_use]
    pub fn will(
        mut self,
        topic: &str,
        payload: &[u8],
        qos: u8,
        retain: bool,
        props: &[u8],
    ) -> Self {
        self.will = Some(Will {
            topic: topic.to_owned(),
            payload: payload.to_vec(),
            qos,
            retain,
            props: props.to_vec(),
        });
        self
    }

    /// The packet.
    #[must_use]
    pub fn packet(&self, login: Option<&(String, String)>) -> Vec<u8> {
        let mut flags = if self.clean { 2 } else { 0 };
        if let Some(will) = &self.will {
            flags |= 4 | will.qos << 3 | u8::from(will.retain) << 5;
        }
        if login.is_some() {
            flags |= 0xC0;
        }
        let mut body = Body::new()
            .text(protocol(self.level))
            .u8(self.level)
            .u8(flags)
            .u16(self.keep_alive)
            .props(self.level, &self.props)
            .text(&self.id);
        if let Some(will) = &self.will {
            body = body.props(self.level, &will.props);
            body = body.text(&will.topic).text(&will.payload);
        }
        if let Some((name, password)) = login {
            body = body.text(name).text(password);
        }
        body.packet(0x10)
    }

    /// Connects; the peer and its CONNACK, whatever it says.
    ///
    /// # Errors
    /// No CONNACK.
    pub fn try_connect(&self, target: &Target) -> Verdict<(Peer, Got)> {
        let mut peer = Peer::open(target, self.level)?;
        peer.send(&self.packet(target.login.as_ref()))?;
        let connack = peer.expect(kind::CONNACK)?;
        Ok((peer, connack))
    }

    /// Connects with success.
    ///
    /// # Errors
    /// A refusal.
    pub fn connect(&self, target: &Target) -> Verdict<Peer> {
        self.connect_with_connack(target).map(|(peer, _)| peer)
    }

    /// The same, with CONNACK.
    ///
    /// # Errors
    /// A refusal.
    pub fn connect_with_connack(&self, target: &Target) -> Verdict<(Peer, Got)> {
        let (peer, connack) = self.try_connect(target)?;
        if connack.byte(1) != 0 {
            return Err(format!("CONNECT was refused with {:#04x}", connack.byte(1)));
        }
        Ok((peer, connack))
    }
}

/// One connection.
pub struct Peer {
    stream: Stream,
    input: Vec<u8>,
    /// 3, 4 or 5.
    pub level: u8,
    patience: Duration,
}

impl Peer {
    /// Opens a connection without CONNECT.
    ///
    /// # Errors
    /// Nobody there.
    pub fn open(target: &Target, level: u8) -> Verdict<Self> {
        let stream = target.open().map_err(|error| format!("{error:#}"))?;
        Ok(Self {
            stream,
            input: Vec::new(),
            level,
            patience: target.patience,
        })
    }

    /// Connects a clean session.
    ///
    /// # Errors
    /// A refusal.
    pub fn join(target: &Target, level: u8) -> Verdict<Self> {
        Hello::new(level, &unique("c")).connect(target)
    }

    /// Sends bytes. A connection the broker has closed by now is no error: the answer decides.
    ///
    /// # Errors
    /// Never at present.
    pub fn send(&mut self, bytes: &[u8]) -> Verdict {
        let _is_gone = self.stream.write(bytes).is_err();
        Ok(())
    }

    /// A text frame; false if this is no WebSocket.
    pub fn send_text_frame(&mut self, text: &str) -> bool {
        self.stream.write_text_frame(text)
    }

    /// The next packet; `None` when the connection is over.
    ///
    /// # Errors
    /// Nothing in time.
    pub fn packet(&mut self) -> Verdict<Option<Got>> {
        let end = Instant::now() + self.patience;
        loop {
            if let Some(got) = split(&mut self.input) {
                return Ok(Some(got));
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err("no answer in time".to_owned());
            }
            match self.stream.read(left) {
                Ok(Some(bytes)) => self.input.extend(bytes),
                Ok(None) => {}
                Err(_) => return Ok(None),
            }
        }
    }

    /// The next packet must be of this kind.
    ///
    /// # Errors
    /// It is not, or there is none.
    pub fn expect(&mut self, kind: u8) -> Verdict<Got> {
        match self.packet()? {
            Some(got) if got.kind == kind => Ok(got),
            Some(got) => Err(format!(
                "{} came where {} was expected: {:02x?}",
                name(got.kind),
                name(kind),
                got.body
            )),
            None => Err(format!(
                "the connection was closed where {} was expected",
                name(kind)
            )),
        }
    }

    /// The next packet must be a PUBLISH.
    ///
    /// # Errors
    /// It is not.
    pub fn message(&mut self) -> Verdict<Message> {
        let got = self.expect(kind::PUBLISH)?;
        got.message(self.level)
            .ok_or_else(|| format!("a damaged PUBLISH: {:02x?}", got.body))
    }

    /// The next packet must be a PUBLISH with this payload.
    ///
    /// # Errors
    /// It is not.
    pub fn message_of(&mut self, payload: &[u8]) -> Verdict<Message> {
        let message = self.message()?;
        if message.payload == payload {
            return Ok(message);
        }
        Err(format!(
            "{:?} came where {:?} was expected",
            String::from_utf8_lossy(&message.payload),
            String::from_utf8_lossy(payload)
        ))
    }

    /// The connection must be closed, in MQTT 5 with one of these codes or without a word.
    ///
    /// # Errors
    /// It stays open, or another code.
    pub fn expect_closed(&mut self, codes: &[u8]) -> Verdict {
        loop {
            let Some(got) = self.packet()? else {
                return Ok(());
            };
            let code = match got.kind {
                kind::DISCONNECT => got.byte(0),
                kind::CONNACK => got.byte(1),
                _ => continue,
            };
            if !codes.is_empty() && !codes.contains(&code) {
                return Err(format!(
                    "closed with {code:#04x} where one of {codes:02x?} was expected"
                ));
            }
        }
    }

    /// The connection must be closed as WitMQ promises: in MQTT 5 after a DISCONNECT with this very code, before
    /// it without a word.
    ///
    /// # Errors
    /// It stays open, or another word.
    pub fn expect_told(&mut self, code: u8) -> Verdict {
        if self.level >= 5 {
            let told = self.expect(kind::DISCONNECT)?;
            check(
                told.byte(0) == code,
                &format!("DISCONNECT with {:#04x} for {code:#04x}", told.byte(0)),
            )?;
        }
        match self.packet()? {
            None => Ok(()),
            Some(got) => Err(format!("{} came before the end", name(got.kind))),
        }
    }

    /// Nothing may be waiting: PINGRESP comes next.
    ///
    /// # Errors
    /// Something else comes.
    pub fn expect_quiet(&mut self) -> Verdict {
        self.send(&[0xC0, 0])?;
        self.expect(kind::PINGRESP).map(drop)
    }

    /// Subscribes to one filter; the code of SUBACK.
    ///
    /// # Errors
    /// No SUBACK.
    pub fn subscribe(&mut self, filter: &str, options: u8) -> Verdict<u8> {
        self.subscribe_with(filter, options, &[])
    }

    /// The same with properties.
    ///
    /// # Errors
    /// No SUBACK.
    pub fn subscribe_with(&mut self, filter: &str, options: u8, props: &[u8]) -> Verdict<u8> {
        let body = Body::new()
            .u16(77)
            .props(self.level, props)
            .text(filter)
            .u8(options);
        self.send(&body.packet(0x82))?;
        let suback = self.expect(kind::SUBACK)?;
        let codes = suback.codes(self.level);
        match (&codes[..], suback.id()) {
            ([code], 77) => Ok(*code),
            other => Err(format!("SUBACK with {other:02x?}")),
        }
    }

    /// A PUBLISH without properties.
    ///
    /// # Errors
    /// Never at present.
    pub fn publish(&mut self, topic: &str, payload: &[u8], flags: u8, id: u16) -> Verdict {
        self.publish_with(topic, payload, flags, id, &[])
    }

    /// The same with properties.
    ///
    /// # Errors
    /// Never at present.
    pub fn publish_with(
        &mut self,
        topic: &str,
        payload: &[u8],
        flags: u8,
        id: u16,
        props: &[u8],
    ) -> Verdict {
        let mut body = Body::new().text(topic);
        if flags & 6 != 0 {
            body = body.u16(id);
        }
        self.send(
            &body
                .props(self.level, props)
                .raw(payload)
                .packet(0x30 | flags),
        )
    }

    /// Publishes and waits until the broker has it.
    ///
    /// # Errors
    /// No PUBACK.
    pub fn publish_acknowledged(&mut self, topic: &str, payload: &[u8], flags: u8) -> Verdict {
        self.publish(topic, payload, flags | 2, 99)?;
        let puback = self.expect(kind::PUBACK)?;
        check(puback.id() == 99, "PUBACK has another identifier")
    }

    /// Publishes at a QoS and sees it through.
    ///
    /// # Errors
    /// Another answer than the standard's.
    pub fn deliver(&mut self, topic: &str, payload: &[u8], qos: u8) -> Verdict {
        match qos {
            0 => {
                self.publish(topic, payload, 0, 0)?;
                self.expect_quiet()
            }
            1 => self.publish_acknowledged(topic, payload, 0),
            _ => {
                self.publish(topic, payload, 4, 98)?;
                self.expect(kind::PUBREC)?;
                self.acknowledge(0x62, 98)?;
                self.expect(kind::PUBCOMP).map(drop)
            }
        }
    }

    /// PUBACK (0x40), PUBREC (0x50), PUBREL (0x62), PUBCOMP (0x70).
    ///
    /// # Errors
    /// Never at present.
    pub fn acknowledge(&mut self, first: u8, id: u16) -> Verdict {
        self.send(&Body::new().u16(id).packet(first))
    }

    /// DISCONNECT.
    ///
    /// # Errors
    /// The broker does not close.
    pub fn leave(mut self) -> Verdict {
        self.send(&[0xE0, 0])?;
        self.expect_closed(&[])
    }

    /// Breaks the connection.
    pub fn cut(self) {
        self.stream.cut();
    }
}

/// Fails with these words unless it is so.
///
/// # Errors
/// It is not.
pub fn check(is_so: bool, words: &str) -> Verdict {
    if is_so { Ok(()) } else { Err(words.to_owned()) }
}

fn name(kind: u8) -> &'static str {
    const NAMES: [&str; 16] = [
        "a reserved packet",
        "CONNECT",
        "CONNACK",
        "PUBLISH",
        "PUBACK",
        "PUBREC",
        "PUBREL",
        "PUBCOMP",
        "SUBSCRIBE",
        "SUBACK",
        "UNSUBSCRIBE",
        "UNSUBACK",
        "PINGREQ",
        "PINGRESP",
        "DISCONNECT",
        "AUTH",
    ];
    NAMES.get(usize::from(kind)).copied().unwrap_or("a packet")
}
