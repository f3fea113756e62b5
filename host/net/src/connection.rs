//! One connection after its CONNECT: bytes in, bytes out, nothing else.
//!
//! Owns: the stream, what was read and not taken yet, what was fetched and not written yet: at most one
//! partial packet and one batch. What waits beyond that stays in the shard, under its bounds.

use crate::admission::{Admission, NetCounters};
use crate::driver::Core;
use crate::stream::Stream;
use bytes::{Buf, BytesMut};
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::time::{Sleep, sleep};
use witmq_broker::shard::{CloseCause, ConnectionId, Link};
use witmq_proto::packet::Connect;

/// Bytes read at a time.
const READ_BYTES: usize = 64 * 1024;
/// Room for a packet that is not there in full.
const PARTIAL_BYTES: usize = 8 * 1024;
/// Reads and writes before another connection of the thread has its turn.
const ROUNDS: u32 = 8;
/// Read while the peer takes nothing from us: it may be writing before it reads.
const BLOCKED_READ_BYTES: usize = 256 * 1024;
/// A closing connection has this long to take what is left.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// A connection that is about to be served.
pub(crate) struct Arrival {
    pub(crate) stream: Stream,
    pub(crate) connect: Connect,
    /// Read behind CONNECT.
    pub(crate) input: BytesMut,
    pub(crate) link: Link,
    pub(crate) admission: Admission,
}

/// Serves a connection on this thread's shard until it ends.
pub(crate) fn serve(core: &Rc<Core>, arrival: Arrival) {
    let Arrival {
        stream,
        connect,
        input,
        link,
        admission,
    } = arrival;
    let id = core
        .shard
        .borrow_mut()
        .connect(Instant::now(), link, connect);
    core.add(id);
    let mut connection = Connection {
        core: core.clone(),
        id,
        stream,
        rest: None,
        is_unflushed: false,
        is_woken: false,
        may_have_more: false,
        is_looking: false,
        is_shut: false,
        was_paused: true,
        is_begun: false,
        blocked_bytes: 0,
        deadline: None,
        _admission: admission,
    };
    if !input.is_empty() {
        connection.rest.get_or_insert_default().input = input;
    }
    core.obey();
    tokio::task::spawn_local(async move {
        let cause = std::future::poll_fn(|cx| connection.poll(cx)).await;
        connection.core.remove(connection.id, &cause);
    });
}

struct Connection {
    core: Rc<Core>,
    id: ConnectionId,
    stream: Stream,
    /// Most have none: then they own no buffer and no place for one.
    rest: Option<Box<Rest>>,
    is_unflushed: bool,
    /// The shard wants to transmit.
    is_woken: bool,
    /// The last transmit gave something, or the shard changed something.
    may_have_more: bool,
    /// The last transmit gave nothing yet: the shard looks for what is retained among very many.
    is_looking: bool,
    /// Our side of the stream is shut; the peer's last bytes are thrown away.
    is_shut: bool,
    was_paused: bool,
    /// It was read from: its client is in, or has to answer.
    is_begun: bool,
    blocked_bytes: usize,
    deadline: Option<Pin<Box<Sleep>>>,
    _admission: Admission,
}

/// What is on its way between the stream and the shard.
#[derive(Default)]
struct Rest {
    /// Read and not taken: the beginning of a packet.
    input: BytesMut,
    /// Fetched and not written.
    out: BytesMut,
}

impl Connection {
    fn has_input(&self) -> bool {
        (self.rest.as_ref()).is_some_and(|rest| !rest.input.is_empty())
    }

    /// Lets go of what is empty.
    fn trim(&mut self) {
        let Some(rest) = &mut self.rest else { return };
        if rest.input.is_empty() {
            rest.input = BytesMut::new();
        }
        if rest.out.is_empty() {
            rest.out = BytesMut::new();
            if rest.input.is_empty() {
                self.rest = None;
            }
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<CloseCause> {
        let done = self.poll_rounds(cx);
        if self.core.leave() {
            cx.waker().wake_by_ref(); // what it has just done gave it something to do
        }
        done
    }

    fn poll_rounds(&mut self, cx: &mut Context<'_>) -> Poll<CloseCause> {
        for _ in 0..ROUNDS {
            let flags = self.core.enter(self.id, cx.waker());
            self.is_woken |= flags.is_woken;
            self.may_have_more |= flags.is_touched;
            let written = match self.poll_write(cx) {
                Poll::Ready(Err(error)) => return Poll::Ready(failed(&error)),
                other => other.is_ready(),
            };
            if let Poll::Ready(cause) = self.poll_deadline(cx, !written, flags.is_closing) {
                return Poll::Ready(cause);
            }
            if flags.is_closing {
                return if written {
                    self.poll_close(cx)
                } else {
                    Poll::Pending
                };
            }
            if flags.is_paused {
                self.was_paused = true;
                return self.poll_gone(cx);
            }
            self.is_begun = true;
            if !written && self.blocked_bytes > BLOCKED_READ_BYTES {
                return Poll::Pending;
            }
            if std::mem::take(&mut self.was_paused) && self.has_input() {
                self.take_input();
                continue;
            }
            match ready!(self.poll_read(cx)) {
                Ok(0) => return Poll::Ready(CloseCause::Peer),
                Ok(count) => {
                    self.blocked_bytes = if written {
                        0
                    } else {
                        self.blocked_bytes + count
                    }
                }
                Err(error) => return Poll::Ready(failed(&error)),
            }
        }
        cx.waker().wake_by_ref(); // others first
        Poll::Pending
    }

    /// Whether the peer has gone before it was let in: then nobody need find out who it is. What it sent behind its
    /// CONNECT is for later, and its end behind that.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<CloseCause> {
        if self.is_begun || self.has_input() {
            return Poll::Pending;
        }
        match ready!(self.stream.socket().poll_is_over(cx)) {
            Ok(true) => Poll::Ready(CloseCause::Peer),
            Ok(false) => Poll::Pending,
            Err(error) => Poll::Ready(failed(&error)),
        }
    }

    /// Hands the shard what was read.
    fn take_input(&mut self) {
        let Some(rest) = &mut self.rest else { return };
        let now = Instant::now();
        let mut shard = self.core.shard.borrow_mut();
        let flow = shard.receive(now, self.id, &mut rest.input);
        drop(shard);
        self.trim();
        self.core.note(self.id, flow);
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if let Some(rest) = (self.rest.as_mut()).filter(|rest| !rest.input.is_empty()) {
            rest.input.reserve(PARTIAL_BYTES);
            let count = ready!(pin!(self.stream.read_buf(&mut rest.input)).poll(cx))?;
            if count > 0 {
                self.take_input();
            }
            return Poll::Ready(Ok(count));
        }
        let core = self.core.clone();
        let mut scratch = core.input.borrow_mut();
        scratch.clear();
        scratch.reserve(READ_BYTES);
        let count = ready!(pin!(self.stream.read_buf(&mut *scratch)).poll(cx))?;
        if count > 0 {
            let flow = core
                .shard
                .borrow_mut()
                .receive(Instant::now(), self.id, &mut scratch);
            if !scratch.is_empty() {
                let rest = self.rest.get_or_insert_default();
                rest.input.extend_from_slice(&scratch);
            }
            drop(scratch);
            core.note(self.id, flow);
        }
        Poll::Ready(Ok(count))
    }

    /// Writes what is left, then what the shard has, until it has no more or the peer takes no more.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut is_all = false;
        for _ in 0..ROUNDS {
            while let Some(rest) = (self.rest.as_mut()).filter(|rest| !rest.out.is_empty()) {
                let count = ready!(Pin::new(&mut self.stream).poll_write(cx, &rest.out))?;
                rest.out.advance(count);
                self.progress();
                self.is_unflushed = true;
            }
            is_all = !self.fetch(cx)?;
            if is_all {
                break;
            }
        }
        self.trim();
        if self.is_unflushed {
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.is_unflushed = false;
            self.progress();
        }
        if std::mem::take(&mut self.is_looking) {
            // Woken when the sockets have been looked at: others are heard before it goes on.
            let _is_pending = pin!(tokio::task::yield_now()).poll(cx).is_pending();
        } else if !is_all && self.core.shard.borrow().has_more(self.id) {
            cx.waker().wake_by_ref();
        }
        Poll::Ready(Ok(()))
    }

    /// Fetches a batch from the shard and writes what the peer takes of it; false if there was none.
    fn fetch(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        let is_woken = std::mem::take(&mut self.is_woken);
        let has_more = || self.may_have_more && self.core.shard.borrow().has_more(self.id);
        if !(is_woken || has_more()) {
            self.may_have_more = false;
            return Ok(false);
        }
        self.may_have_more = true;
        let core = self.core.clone();
        let now = Instant::now();
        let large = core.shard.borrow_mut().transmit_large(now, self.id);
        if let Some(large) = large {
            self.write_or_keep(cx, &large)?;
            return Ok(true);
        }
        let mut scratch = core.output.borrow_mut();
        scratch.clear();
        core.shard.borrow_mut().transmit(now, self.id, &mut scratch);
        if core.shard.borrow().has_events() {
            core.obey();
        }
        if scratch.is_empty() {
            self.may_have_more = core.shard.borrow().has_more(self.id);
            self.is_looking = self.may_have_more;
            return Ok(false);
        }
        self.write_or_keep(cx, &scratch)?;
        Ok(true)
    }

    /// Writes what the peer takes of it, and keeps the rest.
    fn write_or_keep(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> io::Result<()> {
        let count = match Pin::new(&mut self.stream).poll_write(cx, bytes) {
            Poll::Ready(written) => written?,
            Poll::Pending => 0,
        };
        self.is_unflushed = true;
        if let Some(left) = bytes.get(count..).filter(|left| !left.is_empty()) {
            let rest = self.rest.get_or_insert_default();
            rest.out.extend_from_slice(left);
        }
        Ok(())
    }

    /// The peer took something: it is not stuck.
    fn progress(&mut self) {
        if !self.is_shut {
            self.deadline = None;
        }
    }

    /// A peer that takes nothing for too long, or does not let a close end, is cut off.
    fn poll_deadline(
        &mut self,
        cx: &mut Context<'_>,
        is_blocked: bool,
        is_closing: bool,
    ) -> Poll<CloseCause> {
        if !is_blocked && !is_closing {
            self.deadline = None;
            return Poll::Pending;
        }
        let wait = if is_closing {
            CLOSE_TIMEOUT
        } else {
            self.core.config.write_timeout
        };
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep(wait)));
        ready!(deadline.as_mut().poll(cx));
        if !is_closing {
            NetCounters::count(&self.core.counters.write_timeouts);
        }
        Poll::Ready(CloseCause::Failed(
            "the client takes nothing from its connection".to_owned(),
        ))
    }

    /// Shuts our side and waits for the peer's end, so that our last packet is not lost to a reset.
    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<CloseCause> {
        if !self.is_shut {
            if let Err(error) = ready!(Pin::new(&mut self.stream).poll_shutdown(cx)) {
                return Poll::Ready(failed(&error));
            }
            self.is_shut = true;
        }
        let core = self.core.clone();
        let mut scratch = core.input.borrow_mut();
        for _ in 0..ROUNDS {
            scratch.clear();
            scratch.reserve(READ_BYTES);
            match ready!(pin!(self.stream.read_buf(&mut *scratch)).poll(cx)) {
                Ok(0) | Err(_) => return Poll::Ready(CloseCause::Peer),
                Ok(_) => {}
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

fn failed(error: &io::Error) -> CloseCause {
    match error.kind() {
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::UnexpectedEof => CloseCause::Peer,
        _ => CloseCause::Failed(error.to_string()),
    }
}
