//! Many client connections on one thread, TCP or WebSocket: bytes in by epoll, whole packets out to a [`Handler`].
//!
//! Owns: sockets and what of a packet has come or not gone. Must not: know what a packet means, leave loopback.

use crate::websocket::Wrapping;
use crate::wire;
use anyhow::{Context as _, Result, bail};
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, sockopt};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

/// Bytes read at once.
const READ_BYTES: usize = 1 << 20;
/// Events taken at once.
const EVENTS: usize = 512;
/// What the kernel keeps of a connection that is not read.
const DEAF_BYTES: usize = 4096;
/// What the timer is called among the events.
const TIMER: u64 = u64::MAX;

/// Where a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Not answered yet.
    Opening,
    /// A floor's connection whose one-byte answer has not come.
    Unregistered,
    /// Answered.
    Ready,
    /// Gone.
    Closed,
}

/// One client.
#[derive(Debug)]
pub struct Connection {
    /// Number among the connections of its role.
    pub number: usize,
    /// Where it is.
    pub state: State,
    /// Packets to be sent, without any frame around them.
    pub out: Vec<u8>,
    socket: Option<OwnedFd>,
    sent: usize,
    /// The part of a packet that has come.
    rest: Vec<u8>,
    wants_out: bool,
    wrapping: Option<Box<Wrapping>>,
    /// `out` within frames.
    framed: Vec<u8>,
}

/// Takes what comes.
pub trait Handler {
    /// Something was read; its packets follow.
    fn on_read(&mut self);
    /// A whole packet: its connection, first byte and body. Answers go to `out`.
    fn on_packet(&mut self, connection: &mut Connection, index: usize, first: u8, body: &[u8]);
    /// A floor has registered the connection.
    fn on_registered(&mut self);
    /// The other side closed it.
    fn on_closed(&mut self);
}

/// Where to connect and how.
#[derive(Debug, Clone)]
pub struct Target {
    /// A loopback address.
    pub address: SocketAddrV4,
    /// Path of the WebSocket.
    pub websocket: Option<String>,
    /// So many source addresses, 127.0.0.2 and on, so that ports do not run short; 0: the system's choice.
    pub sources: u32,
}

/// All connections.
pub struct Io {
    epoll: OwnedFd,
    timer: OwnedFd,
    target: Target,
    connections: Vec<Connection>,
    events: Vec<epoll::Event>,
    scratch: Vec<u8>,
    plain: Vec<u8>,
    /// Calls of `send` and `recv`.
    pub calls: u64,
}

impl Io {
    /// No connection yet.
    ///
    /// # Errors
    /// When the target is not on loopback or the system gives no descriptors.
    pub fn new(target: Target) -> Result<Self> {
        if !target.address.ip().is_loopback() {
            bail!("{}: only loopback addresses are loaded", target.address);
        }
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).context("epoll")?;
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags).context("timerfd")?;
        let data = EventData::new_u64(TIMER);
        epoll::add(&epoll, &timer, data, EventFlags::IN).context("timerfd in epoll")?;
        Ok(Self {
            epoll,
            timer,
            target,
            connections: Vec::new(),
            events: Vec::with_capacity(EVENTS),
            scratch: vec![0; READ_BYTES],
            plain: Vec::new(),
            calls: 0,
        })
    }

    /// How many were opened so far; the next one's index.
    #[must_use]
    pub fn opened(&self) -> usize {
        self.connections.len()
    }

    /// A connection.
    pub fn connection(&mut self, index: usize) -> Option<&mut Connection> {
        self.connections.get_mut(index)
    }

    /// Opens a connection; `first` goes out as soon as it is up. Its index.
    ///
    /// # Errors
    /// When the system gives no socket or the target refuses at once.
    pub fn open(&mut self, number: usize, first: &[u8], is_floor: bool) -> Result<usize> {
        let index = self.connections.len();
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)
            .context("no socket: is the limit of open files too low?")?;
        sockopt::set_tcp_nodelay(&socket, true)?;
        if self.target.sources > 0 {
            let place = u32::try_from(index).unwrap_or(0) % self.target.sources;
            let source = Ipv4Addr::from(0x7F00_0002 + place);
            rustix::net::bind(&socket, &SocketAddrV4::new(source, 0))
                .with_context(|| format!("cannot bind {source}"))?;
        }
        match rustix::net::connect(&socket, &self.target.address) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(error) => {
                return Err(error).with_context(|| format!("cannot reach {}", self.target.address));
            }
        }
        let data = EventData::new_u64(u64::try_from(index).unwrap_or(TIMER));
        epoll::add(&self.epoll, &socket, data, EventFlags::IN | EventFlags::OUT)?;
        let path = self.target.websocket.as_ref().filter(|_| !is_floor);
        let framed = path.map(|path| Wrapping::request(path, &self.target.address.to_string()));
        self.connections.push(Connection {
            number,
            state: if is_floor {
                State::Unregistered
            } else {
                State::Opening
            },
            out: first.to_vec(),
            socket: Some(socket),
            sent: 0,
            rest: Vec::new(),
            wants_out: true,
            wrapping: framed.is_some().then(Box::default),
            framed: framed.unwrap_or_default(),
        });
        Ok(index)
    }

    /// Closes a connection.
    pub fn close(&mut self, index: usize) {
        if let Some(connection) = self.connections.get_mut(index) {
            connection.close();
        }
    }

    /// From now on nothing is read from a connection, and the kernel keeps little for it.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn deafen(&mut self, index: usize) -> Result<()> {
        let connection = self.connections.get(index);
        if let Some(socket) = connection.and_then(|it| it.socket.as_ref()) {
            sockopt::set_socket_recv_buffer_size(socket, DEAF_BYTES)?;
            epoll::delete(&self.epoll, socket)?;
        }
        Ok(())
    }

    /// True while bytes handed over earlier have not all reached the kernel.
    #[must_use]
    pub fn is_blocked(&self, index: usize) -> bool {
        let connection = self.connections.get(index);
        connection.is_some_and(|it| it.sent < it.out.len() || !it.framed.is_empty())
    }

    /// Appends bytes to a connection's and sends them.
    pub fn send(&mut self, index: usize, bytes: &[u8]) {
        if let Some(connection) = self.connections.get_mut(index) {
            connection.out.extend_from_slice(bytes);
        }
        self.flush(index);
    }

    /// Sends what waits.
    pub fn flush(&mut self, index: usize) {
        if let Some(connection) = self.connections.get_mut(index) {
            connection.flush(&self.epoll, index, &mut self.calls);
        }
    }

    /// Waits for `timeout_ns` at most, to the nanosecond, and does the work that comes.
    ///
    /// # Errors
    /// When a connection sends what is no MQTT, or epoll fails.
    pub fn poll(&mut self, handler: &mut impl Handler, timeout_ns: u64) -> Result<()> {
        let until = Itimerspec {
            it_interval: timespec(0),
            it_value: timespec(timeout_ns),
        };
        // epoll's own timeout is in milliseconds where the kernel's newer call is not used. One that is a whole
        // number of them needs no timer.
        let is_fine = !timeout_ns.is_multiple_of(1_000_000);
        if is_fine {
            timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &until)?;
        }
        let limit = (!is_fine).then(|| timespec(timeout_ns));
        self.events.clear();
        let place = spare_capacity(&mut self.events);
        match epoll::wait(&self.epoll, place, limit.as_ref()) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(()),
            Err(error) => return Err(error).context("epoll"),
        }
        let mut events = std::mem::take(&mut self.events);
        let done = events
            .drain(..)
            .try_for_each(|event| self.obey(event, handler));
        self.events = events;
        done
    }

    fn obey(&mut self, event: epoll::Event, handler: &mut impl Handler) -> Result<()> {
        let (data, flags) = (event.data.u64(), event.flags);
        if data == TIMER {
            let mut count = [0; 8];
            // Nothing to read is as good: the timer was set again since.
            rustix::io::read(&self.timer, &mut count).ok();
            return Ok(());
        }
        let index = usize::try_from(data).unwrap_or(usize::MAX);
        if flags.contains(EventFlags::OUT) {
            self.flush(index);
        }
        if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
            self.take(index, handler)
                .with_context(|| format!("connection {index}"))?;
            if self.is_blocked(index) {
                self.flush(index);
            }
        }
        Ok(())
    }

    /// Reads once and hands the whole packets over.
    fn take(&mut self, index: usize, handler: &mut impl Handler) -> Result<()> {
        let Some(connection) = self.connections.get_mut(index) else {
            return Ok(());
        };
        let Some(socket) = &connection.socket else {
            return Ok(());
        };
        // A part of a packet goes before what comes now, so that the packet is in one piece.
        let rest = std::mem::take(&mut connection.rest);
        let is_plain = connection.wrapping.is_none();
        let before = if is_plain { rest.len() } else { 0 };
        if let Some(place) = self.scratch.get_mut(..before) {
            place.copy_from_slice(rest.get(..before).unwrap_or_default());
        }
        let place = self.scratch.get_mut(before..).unwrap_or_default();
        self.calls += 1;
        let read = match rustix::io::read(socket, place) {
            Ok(0) => None,
            Ok(read) => Some(read),
            Err(Errno::AGAIN | Errno::INTR) => {
                connection.rest = rest;
                return Ok(());
            }
            Err(_) => None,
        };
        let Some(read) = read else {
            connection.close();
            handler.on_closed();
            return Ok(());
        };
        let raw = self.scratch.get(..before + read).unwrap_or_default();
        let bytes = match &mut connection.wrapping {
            None => raw,
            Some(wrapping) => {
                self.plain.clear();
                self.plain.extend_from_slice(&rest);
                wrapping.take(raw, &mut self.plain)?;
                &self.plain
            }
        };
        handler.on_read();
        connection.deliver(index, bytes, handler)
    }
}

impl Connection {
    fn deliver(&mut self, index: usize, bytes: &[u8], handler: &mut impl Handler) -> Result<()> {
        let mut bytes = bytes;
        if self.state == State::Unregistered
            && let Some((_, rest)) = bytes.split_first()
        {
            bytes = rest;
            self.state = State::Ready;
            handler.on_registered();
        }
        while let Some(frame) = wire::frame(bytes)? {
            let (packet, rest) = bytes.split_at(frame.whole);
            let first = packet.first().copied().unwrap_or(0);
            let body = packet.get(frame.head..).unwrap_or_default();
            handler.on_packet(self, index, first, body);
            bytes = rest;
        }
        if self.state != State::Closed {
            self.rest.extend_from_slice(bytes);
        }
        Ok(())
    }

    fn close(&mut self) {
        self.socket = None;
        self.state = State::Closed;
        self.rest = Vec::new();
        self.out = Vec::new();
        self.framed = Vec::new();
        self.sent = 0;
    }

    fn flush(&mut self, epoll: &OwnedFd, index: usize, calls: &mut u64) {
        let Some(socket) = &self.socket else {
            return;
        };
        let buffer = match &self.wrapping {
            None => &mut self.out,
            Some(wrapping) => {
                if self.framed.is_empty() && !self.out.is_empty() && wrapping.is_open() {
                    Wrapping::frame(&self.out, &mut self.framed);
                    self.out.clear();
                }
                &mut self.framed
            }
        };
        while let Some(left) = buffer.get(self.sent..).filter(|left| !left.is_empty()) {
            *calls += 1;
            match rustix::net::send(socket, left, SendFlags::NOSIGNAL) {
                Ok(sent) => self.sent += sent,
                Err(Errno::AGAIN | Errno::NOTCONN | Errno::INPROGRESS | Errno::INTR) => break,
                // The reading side notices the reset.
                Err(_) => self.sent = buffer.len(),
            }
        }
        if self.sent >= buffer.len() {
            buffer.clear();
            self.sent = 0;
        }
        let is_pending = !buffer.is_empty();
        if is_pending != self.wants_out {
            self.wants_out = is_pending;
            let out = if is_pending {
                EventFlags::OUT
            } else {
                EventFlags::empty()
            };
            let data = EventData::new_u64(u64::try_from(index).unwrap_or(TIMER));
            // It is registered, so this fails only when the socket is gone, which reading notices.
            epoll::modify(epoll, socket, data, EventFlags::IN | out).ok();
        }
    }
}

fn timespec(nanoseconds: u64) -> Timespec {
    let duration = Duration::from_nanos(nanoseconds);
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}

/// As many open files as this process may have.
///
/// # Errors
/// When the limit cannot be set.
pub fn raise_open_files() -> Result<()> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).context("cannot raise the limit of open files")
}
