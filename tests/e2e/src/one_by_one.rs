//! A publisher that knows what became of each message: MQTT 5 over a blocking socket, one message at a time.
//!
//! Owns: [`Publisher`], which goes on over connections and lives of the broker until each message is taken or
//! refused.

use crate::PATIENCE;
use crate::raw::{packet, split, text};
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// What the broker said to a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// It is stored: PUBACK, or PUBREC and PUBCOMP.
    Taken,
    /// It is refused with this code.
    Refused(u8),
}

/// Publishes numbers to `f/NAME` in a session that lasts.
#[derive(Debug)]
pub struct Publisher {
    broker: SocketAddr,
    name: String,
    qos: u8,
    /// Seconds its session outlives a connection.
    expiry: u32,
    socket: Option<TcpStream>,
    input: Vec<u8>,
    next: u64,
    id: u16,
    /// Every number that was taken, in order.
    pub taken: Vec<u64>,
    /// Every number that was refused.
    pub refused: Vec<(u64, u8)>,
}

impl Publisher {
    /// The same in a session that ends with its connection: it can begin while nothing can be stored.
    #[must_use]
    pub fn passing(broker: SocketAddr, name: &str, qos: u8) -> Self {
        Self {
            expiry: 0,
            ..Self::new(broker, name, qos)
        }
    }

    /// Not connected yet.
    #[must_use]
    pub fn new(broker: SocketAddr, name: &str, qos: u8) -> Self {
        Self {
            broker,
            name: name.to_owned(),
            qos,
            expiry: 3600,
            socket: None,
            input: Vec::new(),
            next: 0,
            id: 1,
            taken: Vec::new(),
            refused: Vec::new(),
        }
    }

    /// Its client id, which is before the `:` of each payload.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its QoS.
    #[must_use]
    pub fn qos(&self) -> u8 {
        self.qos
    }

    fn connect(&mut self) -> io::Result<()> {
        self.input.clear();
        let socket = TcpStream::connect(self.broker)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE * 3))?;
        let mut body = Vec::new();
        text(&mut body, b"MQTT");
        // Clean Start is 0; the one property is the Session Expiry Interval.
        body.extend_from_slice(&[5, 0, 0, 0, 5, 0x11]);
        body.extend_from_slice(&self.expiry.to_be_bytes());
        text(&mut body, self.name.as_bytes());
        self.socket = Some(socket);
        self.send(&packet(0x10, &body))?;
        let (first, connack) = self.receive()?;
        if first != 0x20 || connack.get(1) != Some(&0) {
            return Err(io::Error::other(format!("refused: {connack:?}")));
        }
        Ok(())
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.socket {
            Some(socket) => socket.write_all(bytes),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    fn receive(&mut self) -> io::Result<(u8, Vec<u8>)> {
        loop {
            if let Some((first, body, length)) = split(&self.input) {
                let got = (first, body.to_vec());
                self.input.drain(..length);
                return Ok(got);
            }
            let Some(socket) = &mut self.socket else {
                return Err(io::ErrorKind::NotConnected.into());
            };
            let mut part = [0; 4096];
            let count = socket.read(&mut part)?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.input.extend_from_slice(&part[..count]);
        }
    }

    /// The code of an answer to this packet id.
    fn answer(&mut self, kind: u8, id: u16) -> io::Result<u8> {
        loop {
            let (first, body) = self.receive()?;
            if first == kind && body.starts_with(&id.to_be_bytes()) {
                return Ok(body.get(2).copied().unwrap_or(0));
            }
        }
    }

    /// Publishes one message; comes back when it is taken or refused, whatever becomes of the broker meanwhile.
    ///
    /// # Panics
    /// There is no answer for a long time.
    pub fn publish(&mut self) -> Said {
        let (number, id) = (self.next, self.id);
        self.next += 1;
        self.id = self.id.checked_add(1).unwrap_or(1);
        let end = Instant::now() + PATIENCE * 4;
        let (mut is_again, mut is_received) = (false, false);
        loop {
            match self.attempt(number, id, is_again, &mut is_received) {
                Ok(Said::Taken) => {
                    self.taken.push(number);
                    return Said::Taken;
                }
                Ok(Said::Refused(code)) => {
                    self.refused.push((number, code));
                    return Said::Refused(code);
                }
                Err(error) => {
                    assert!(
                        Instant::now() < end,
                        "{}: message {number}: {error}",
                        self.name
                    );
                    self.socket = None;
                    is_again = true;
                    std::thread::yield_now();
                }
            }
        }
    }

    fn attempt(
        &mut self,
        number: u64,
        id: u16,
        is_again: bool,
        is_received: &mut bool,
    ) -> io::Result<Said> {
        if self.socket.is_none() {
            self.connect()?;
        }
        if !*is_received {
            let mut body = Vec::new();
            text(&mut body, format!("f/{}", self.name).as_bytes());
            body.extend_from_slice(&id.to_be_bytes());
            body.push(0);
            body.extend_from_slice(format!("{}:{number}", self.name).as_bytes());
            let dup = u8::from(is_again) << 3; // [MQTT-4.4.0-1]
            self.send(&packet(0x30 | dup | self.qos << 1, &body))?;
            let code = self.answer(if self.qos == 1 { 0x40 } else { 0x50 }, id)?;
            if code >= 0x80 {
                return Ok(Said::Refused(code));
            }
            if self.qos == 1 {
                return Ok(Said::Taken);
            }
            *is_received = true;
        }
        self.send(&packet(0x62, &id.to_be_bytes()))?;
        self.answer(0x70, id).map(|_| Said::Taken)
    }
}

/// Waits for something; other threads go on.
///
/// # Panics
/// It does not happen in time.
pub fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE * 3;
    while !done() {
        assert!(Instant::now() < end, "{what} did not happen in time");
        std::thread::sleep(Duration::from_millis(1));
    }
}
