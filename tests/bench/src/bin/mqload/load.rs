//! What all scenarios do: connect, subscribe, wait, publish a known number.
//!
//! Owns: [`Load`]. Must not: know a scenario.

use crate::options::{Options, nanoseconds};
use crate::tally::Tally;
use anyhow::{Result, bail};
use witmq_bench::io::{Io, Target, raise_open_files};
use witmq_bench::probe::{Snapshot, now_ns};
use witmq_bench::wire::{self, Stamp, Template};

/// Nothing more may come for so long before a phase is over, or given up.
const QUIET_NS: u64 = 3_000_000_000;
/// SUBSCRIBEs without an answer at once.
const SUBSCRIBES: u64 = 64;

/// A client's part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Publisher,
    Subscriber,
}

/// A run.
pub(crate) struct Load {
    pub(crate) options: Options,
    pub(crate) io: Io,
    pub(crate) tally: Tally,
    /// Client ids and topics begin with it, so that runs do not meet.
    pub(crate) run: String,
    deadline_ns: u64,
}

impl Load {
    pub(crate) fn new(options: Options) -> Result<Self> {
        raise_open_files()?;
        let target = Target {
            address: options.addr,
            websocket: options.ws.clone(),
            sources: options.sources,
        };
        Ok(Self {
            io: Io::new(target)?,
            tally: Tally::default(),
            run: format!("m{:x}", std::process::id()),
            deadline_ns: now_ns() + nanoseconds(options.limit),
            options,
        })
    }

    /// The broker now.
    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot::of(self.options.pid)
    }

    /// Lets come what comes, for `timeout_ns` at most.
    pub(crate) fn poll(&mut self, timeout_ns: u64) -> Result<()> {
        self.io.poll(&mut self.tally, timeout_ns)?;
        if self.tally.closed > 0 {
            bail!("the broker closed a connection");
        }
        if self.tally.refused > 0 {
            bail!("the broker refused a CONNECT");
        }
        if now_ns() > self.deadline_ns {
            bail!("not done after {} s", self.options.limit);
        }
        Ok(())
    }

    /// Opens `count` connections, not all at once. The first one's index.
    pub(crate) fn open(
        &mut self,
        role: Role,
        count: usize,
        is_clean: bool,
        group: impl Fn(usize) -> usize,
    ) -> Result<usize> {
        let first = self.io.opened();
        let login = self.options.login();
        let (before, mut started) = (self.tally.connacks, 0);
        while self.tally.connacks - before < as_u64(count) {
            while started < count
                && as_u64(started) < self.tally.connacks - before + self.options.handshakes
            {
                let bytes = if self.options.floor {
                    let group = u16::try_from(group(started))?.to_le_bytes();
                    vec![b'F', u8::from(role == Role::Subscriber), group[0], group[1]]
                } else {
                    let letter = if role == Role::Publisher { 'p' } else { 's' };
                    let id = format!("{}{letter}{started}", self.run);
                    wire::connect(&id, is_clean, login.as_ref())
                };
                self.io.open(started, &bytes, self.options.floor)?;
                started += 1;
            }
            self.poll(200_000_000)?;
        }
        Ok(first)
    }

    /// One subscription for each of `count` connections.
    pub(crate) fn subscribe(
        &mut self,
        first: usize,
        count: usize,
        qos: u8,
        filter: impl Fn(usize) -> String,
    ) -> Result<()> {
        if self.options.floor {
            return Ok(());
        }
        let (before, mut started) = (self.tally.subacks, 0);
        while self.tally.subacks - before < as_u64(count) {
            while started < count && as_u64(started) < self.tally.subacks - before + SUBSCRIBES {
                let filter = filter(started);
                let bytes = wire::subscribe(1, [filter.as_str()], qos);
                self.io.send(first + started, &bytes);
                started += 1;
            }
            self.poll(200_000_000)?;
        }
        if self.tally.refused_filters > 0 {
            bail!("the broker refused a subscription");
        }
        Ok(())
    }

    /// Waits, doing nothing else.
    pub(crate) fn settle(&mut self, milliseconds: u64) -> Result<()> {
        let end = now_ns() + milliseconds * 1_000_000;
        while now_ns() < end {
            self.poll(20_000_000)?;
        }
        Ok(())
    }

    /// Waits until `is_done`, or until nothing has come for a while. When the last message came.
    pub(crate) fn wait(&mut self, is_done: impl Fn(&Tally) -> bool) -> Result<u64> {
        let (mut seen, mut last) = (self.tally.delivered + self.tally.acked, now_ns());
        while !is_done(&self.tally) && now_ns() - last < QUIET_NS {
            self.poll(50_000_000)?;
            let sum = self.tally.delivered + self.tally.acked;
            if sum != seen {
                (seen, last) = (sum, now_ns());
            }
        }
        Ok(last)
    }

    /// Publishes `count` messages of QoS 1 from one connection and waits for every acknowledgement.
    pub(crate) fn publish_all(
        &mut self,
        publisher: usize,
        count: u64,
        retain: bool,
        topic: impl Fn(u64) -> String,
    ) -> Result<()> {
        let (window, payload) = (self.options.window(), self.options.payload());
        let (before, mut sent) = (self.tally.acked, 0);
        let mut last = now_ns();
        let mut bytes = Vec::new();
        while self.tally.acked - before < count {
            let acked = self.tally.acked - before;
            if sent < count && (sent - acked) * 2 <= window && !self.io.is_blocked(publisher) {
                bytes.clear();
                for _ in 0..(window - (sent - acked)).min(count - sent) {
                    let stamp = Stamp {
                        due_ns: now_ns(),
                        publisher: 0,
                        sequence: u32::try_from(sent)?,
                    };
                    Template::new(&topic(sent), 1, payload, retain).emit(&mut bytes, stamp);
                    sent += 1;
                }
                self.io.send(publisher, &bytes);
            }
            self.poll(20_000_000)?;
            if self.tally.acked - before > acked {
                last = now_ns();
            } else if now_ns() - last > QUIET_NS * 3 {
                bail!("no acknowledgement after {acked} of {count} messages");
            }
        }
        Ok(())
    }
}

/// A count as the tally has it.
pub(crate) fn as_u64(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
