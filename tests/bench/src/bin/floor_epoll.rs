//! `floor-epoll PORT`: the least that a broker on one thread can cost. A bare epoll forwarder, see `witmq_bench::floor`.
//!
//! Owns: its sockets. Each round reads every socket that has something, then writes once to each subscriber.
//! Must not: be reachable from beyond loopback.

use anyhow::{Context as _, Result};
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::SendFlags;
use std::io::Read as _;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use witmq_bench::floor::{Hello, REGISTERED, sort};
use witmq_bench::io::raise_open_files;

/// What the listener is called among the events.
const LISTENER: u64 = u64::MAX;
/// Events taken at once.
const EVENTS: usize = 512;
/// Bytes read at once, the part of a packet before them included.
const READ_BYTES: usize = 1 << 20;

struct Connection {
    socket: TcpStream,
    hello: Option<Hello>,
    rest: Vec<u8>,
    out: Vec<u8>,
    sent: usize,
    wants_out: bool,
}

#[derive(Default)]
struct Group {
    subscribers: Vec<usize>,
    waiting: Vec<u8>,
}

struct Floor {
    epoll: OwnedFd,
    connections: Vec<Option<Connection>>,
    groups: Vec<Group>,
    /// Groups with something waiting.
    touched: Vec<usize>,
    scratch: Vec<u8>,
}

fn main() -> Result<()> {
    let port = std::env::args().nth(1).and_then(|port| port.parse().ok());
    let port: u16 = port.context("usage: floor-epoll PORT")?;
    raise_open_files()?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .with_context(|| format!("cannot listen at port {port}"))?;
    listener.set_nonblocking(true)?;
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(
        &epoll,
        &listener,
        EventData::new_u64(LISTENER),
        EventFlags::IN,
    )?;
    let mut floor = Floor {
        epoll,
        connections: Vec::new(),
        groups: Vec::new(),
        touched: Vec::new(),
        scratch: vec![0; READ_BYTES],
    };
    let mut events = Vec::with_capacity(EVENTS);
    loop {
        match epoll::wait(&floor.epoll, spare_capacity(&mut events), None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error).context("epoll"),
        }
        for event in events.drain(..) {
            let epoll::Event { data, flags } = event;
            match usize::try_from(data.u64()) {
                _ if data.u64() == LISTENER => floor.accept(&listener)?,
                Ok(index) => floor.obey(index, flags)?,
                Err(_) => {}
            }
        }
        floor.forward();
    }
}

impl Floor {
    fn accept(&mut self, listener: &TcpListener) -> Result<()> {
        while let Ok((socket, _)) = listener.accept() {
            socket.set_nonblocking(true)?;
            socket.set_nodelay(true)?;
            let index = self.connections.len();
            let data = EventData::new_u64(u64::try_from(index)?);
            epoll::add(&self.epoll, &socket, data, EventFlags::IN)?;
            self.connections.push(Some(Connection {
                socket,
                hello: None,
                rest: Vec::new(),
                out: Vec::new(),
                sent: 0,
                wants_out: false,
            }));
        }
        Ok(())
    }

    fn obey(&mut self, index: usize, flags: EventFlags) -> Result<()> {
        let Some(Some(connection)) = self.connections.get_mut(index) else {
            return Ok(());
        };
        if flags.contains(EventFlags::OUT) {
            connection.flush(&self.epoll, index);
        }
        if !flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
            return Ok(());
        }
        let before = connection.rest.len();
        if let Some(place) = self.scratch.get_mut(..before) {
            place.copy_from_slice(&connection.rest);
        }
        connection.rest.clear();
        let place = self.scratch.get_mut(before..).unwrap_or_default();
        let read = connection.socket.read(place).unwrap_or(0);
        if read == 0 {
            self.leave(index);
            return Ok(());
        }
        let mut bytes = self.scratch.get(..before + read).unwrap_or_default();
        if connection.hello.is_none()
            && let Some((hello, rest)) = bytes.split_first_chunk::<{ Hello::BYTES }>()
        {
            let hello = Hello::read(*hello);
            let groups = self.groups.len().max(hello.group + 1);
            self.groups.resize_with(groups, Group::default);
            if let Some(group) = self
                .groups
                .get_mut(hello.group)
                .filter(|_| hello.is_subscriber)
            {
                group.subscribers.push(index);
            }
            connection.hello = Some(hello);
            connection.out.push(REGISTERED);
            bytes = rest;
        }
        let mut done = 0;
        let group = connection.hello.map_or(usize::MAX, |hello| hello.group);
        if let Some(waiting) = self.groups.get_mut(group).map(|group| &mut group.waiting) {
            let was_empty = waiting.is_empty();
            done = sort(bytes, &mut connection.out, |run| {
                waiting.extend_from_slice(run)
            })?;
            if was_empty && !waiting.is_empty() {
                self.touched.push(group);
            }
        }
        connection
            .rest
            .extend_from_slice(bytes.get(done..).unwrap_or_default());
        if !connection.out.is_empty() && !connection.wants_out {
            connection.flush(&self.epoll, index);
        }
        Ok(())
    }

    fn leave(&mut self, index: usize) {
        let gone = self.connections.get_mut(index).and_then(Option::take);
        let group = gone.and_then(|gone| gone.hello).map(|hello| hello.group);
        if let Some(group) = group.and_then(|group| self.groups.get_mut(group)) {
            group.subscribers.retain(|subscriber| *subscriber != index);
        }
    }

    /// One write for each subscriber of what this round brought.
    fn forward(&mut self) {
        for group in self.touched.drain(..) {
            let Some(group) = self.groups.get_mut(group) else {
                continue;
            };
            for index in &group.subscribers {
                if let Some(Some(connection)) = self.connections.get_mut(*index) {
                    connection.send(&self.epoll, *index, &group.waiting);
                }
            }
            group.waiting.clear();
        }
    }
}

impl Connection {
    /// Sends without a copy where nothing waits.
    fn send(&mut self, epoll: &OwnedFd, index: usize, bytes: &[u8]) {
        if !self.out.is_empty() {
            self.out.extend_from_slice(bytes);
            return self.flush(epoll, index);
        }
        let sent = rustix::net::send(&self.socket, bytes, SendFlags::NOSIGNAL).unwrap_or(0);
        if let Some(left) = bytes.get(sent..).filter(|left| !left.is_empty()) {
            self.out.extend_from_slice(left);
            self.arm(epoll, index, true);
        }
    }

    fn flush(&mut self, epoll: &OwnedFd, index: usize) {
        let left = self.out.get(self.sent..).unwrap_or_default();
        self.sent += rustix::net::send(&self.socket, left, SendFlags::NOSIGNAL).unwrap_or(0);
        let is_done = self.sent >= self.out.len();
        if is_done {
            self.out.clear();
            self.sent = 0;
        }
        self.arm(epoll, index, !is_done);
    }

    fn arm(&mut self, epoll: &OwnedFd, index: usize, wants_out: bool) {
        if std::mem::replace(&mut self.wants_out, wants_out) != wants_out {
            let out = if wants_out {
                EventFlags::OUT
            } else {
                EventFlags::empty()
            };
            let data = EventData::new_u64(u64::try_from(index).unwrap_or(LISTENER));
            // It is registered, so this fails only when the socket is gone, which reading notices.
            epoll::modify(epoll, &self.socket, data, EventFlags::IN | out).ok();
        }
    }
}
