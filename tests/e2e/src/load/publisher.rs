//! A publisher that remembers over connections what the standard says it has to.

use super::{Board, TICK, TOPICS, connect};
use crate::raw::{Incoming, Raw};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;

/// Unacknowledged messages of one publisher.
const WINDOW: usize = 20;

/// A message on its way to the broker.
struct Pending {
    number: u64,
    id: u16,
    is_received: bool,
}

/// Publishes numbers with QoS 1 or 2, over connections.
pub(super) struct Publisher {
    name: u64,
    qos: u8,
    next: u64,
    next_id: u16,
    pending: VecDeque<Pending>,
}

impl Publisher {
    pub(super) fn new(name: u64) -> Self {
        Self {
            name,
            qos: if name.is_multiple_of(2) { 1 } else { 2 },
            next: 0,
            next_id: 1,
            pending: VecDeque::new(),
        }
    }

    pub(super) fn run(mut self, board: &Board, broker: SocketAddr) {
        let id = format!("publisher-{}", self.name);
        while let Some((mut raw, _)) = connect(board, broker, &id) {
            if self.serve(&mut raw, board).is_ok() {
                break;
            }
        }
        board.published.lock().unwrap().insert(self.name, self.next);
    }

    fn send(&self, raw: &mut Raw, pending: &Pending, dup: bool) -> std::io::Result<()> {
        if pending.is_received {
            return raw.acknowledge(0x62, pending.id);
        }
        let topic = pending.number % TOPICS;
        let payload = format!("{}:{topic}:{}", self.name, pending.number);
        let path = format!("c/{}/{topic}", self.name);
        let flags = (self.qos, topic == TOPICS - 1, dup);
        raw.publish(&path, payload.as_bytes(), flags, pending.id)
    }

    /// `Ok`: everything is published and acknowledged.
    fn serve(&mut self, raw: &mut Raw, board: &Board) -> std::io::Result<()> {
        for pending in &self.pending {
            self.send(raw, pending, true)?; // [MQTT-4.4.0-1]
        }
        loop {
            let is_stopping = board.is_stopping.load(Ordering::Relaxed);
            if is_stopping && self.pending.is_empty() {
                return Ok(());
            }
            if !is_stopping && self.pending.len() < WINDOW && may_begin(board) {
                self.publish_next(raw)?;
                if self.pending.len() < WINDOW {
                    continue;
                }
            }
            match raw.next(TICK)? {
                Some(Incoming::Puback(id) | Incoming::Pubcomp(id)) => {
                    self.pending.retain(|pending| pending.id != id);
                    board.acknowledged.fetch_add(1, Ordering::Relaxed);
                }
                Some(Incoming::Pubrec(id)) => {
                    for pending in &mut self.pending {
                        pending.is_received |= pending.id == id;
                    }
                    raw.acknowledge(0x62, id)?;
                }
                _ => {}
            }
        }
    }

    fn publish_next(&mut self, raw: &mut Raw) -> std::io::Result<()> {
        let pending = Pending {
            number: self.next,
            id: self.next_id,
            is_received: false,
        };
        self.next += 1;
        self.next_id = self.next_id.checked_add(1).unwrap_or(1);
        let sent = self.send(raw, &pending, false);
        self.pending.push_back(pending);
        sent
    }
}

fn may_begin(board: &Board) -> bool {
    let quota = board.quota.load(Ordering::Relaxed);
    let next = |begun| (begun < quota).then_some(begun + 1);
    let order = Ordering::Relaxed;
    board.begun.fetch_update(order, order, next).is_ok()
}
