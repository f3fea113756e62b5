//! A subscriber that takes everything, remembers over connections what a QoS 2 receiver has to, and watches
//! the identifiers of the broker.

use super::{Board, Entry, Member, TICK, connect};
use crate::raw::{Incoming, Raw};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::Ordering;

/// Messages between two takeovers of a session that churns.
const TAKEOVER_MESSAGES: u64 = 500;
/// Messages of a topic whose identifier is remembered: more than can be in flight.
const REMEMBERED: usize = 1000;

/// Why a connection is served no longer.
enum End {
    Over,
    TakeOver,
    Lost,
}

pub(super) struct Subscriber {
    member: Member,
    /// QoS 2 identifiers taken and not released, with their message [MQTT-4.3.3-10].
    open: BTreeMap<u16, Entry>,
    /// Identifiers whose PUBCOMP may not have arrived.
    completed: BTreeSet<u16>,
    /// By publisher and topic, the identifier under which a message that no publisher repeats came first.
    first: BTreeMap<(u64, u64), BTreeMap<u64, u16>>,
    taken: u64,
}

impl Subscriber {
    pub(super) fn new(member: Member) -> Self {
        Self {
            member,
            open: BTreeMap::new(),
            completed: BTreeSet::new(),
            first: BTreeMap::new(),
            taken: 0,
        }
    }

    pub(super) fn run(mut self, board: &Board, broker: SocketAddr) {
        // The older connection of a takeover stays open until the broker ends it [MQTT-3.1.4-3].
        let mut older = None;
        while let Some((mut raw, is_present)) = connect(board, broker, self.member.name) {
            drop(older.take());
            if !is_present {
                self.blame(board, "its session is gone");
            }
            match self.serve(&mut raw, board) {
                Ok(End::Over) => return,
                Ok(End::TakeOver) => older = Some(raw),
                Ok(End::Lost) | Err(_) => {}
            }
        }
    }

    fn blame(&self, board: &Board, what: &str) {
        let text = format!("{}: {what}", self.member.name);
        board.violations.lock().unwrap().push(text);
    }

    fn serve(&mut self, raw: &mut Raw, board: &Board) -> std::io::Result<End> {
        while !board.is_over.load(Ordering::Relaxed) {
            if self.member.churns && self.taken % TAKEOVER_MESSAGES == TAKEOVER_MESSAGES - 1 {
                self.taken += 1;
                board.takeovers.fetch_add(1, Ordering::Relaxed);
                return Ok(End::TakeOver);
            }
            match raw.next(TICK)? {
                Some(Incoming::Publish {
                    id, qos, payload, ..
                }) => self.take(raw, board, (id, qos), &payload)?,
                Some(Incoming::Pubrel(id)) => {
                    // Answered before, or it is an identifier we never saw: it was not kept.
                    if self.open.remove(&id).is_none() && !self.completed.contains(&id) {
                        self.blame(board, &format!("PUBREL {id} of no message it was given"));
                    }
                    self.completed.insert(id);
                    raw.acknowledge(0x70, id)?;
                }
                Some(Incoming::Other(14)) => return Ok(End::Lost),
                _ => {}
            }
        }
        Ok(End::Over)
    }

    fn take(
        &mut self,
        raw: &mut Raw,
        board: &Board,
        (id, qos): (u16, u8),
        payload: &[u8],
    ) -> std::io::Result<()> {
        let text = String::from_utf8_lossy(payload);
        let numbers: Vec<u64> = text.split(':').map(|part| part.parse().unwrap()).collect();
        let entry = (numbers[0], numbers[1], numbers[2]);
        // What is sent again has its identifier again; only a QoS 2 publisher never repeats a message.
        let is_unique = !entry.0.is_multiple_of(2);
        let known = self.first.entry((entry.0, entry.1)).or_default();
        let first = *known.entry(entry.2).or_insert(id);
        if known.len() > REMEMBERED {
            known.pop_first();
        }
        if is_unique && qos > 0 && first != id {
            self.blame(board, &format!("{entry:?} came as {first} and as {id}"));
        }
        if let Some(held) = self.open.get(&id).copied().filter(|held| *held != entry) {
            let text = format!("identifier {id} was used for {entry:?} while {held:?} has it");
            self.blame(board, &text); // [MQTT-2.2.1-4]
        }
        if qos < 2 || self.open.insert(id, entry).is_none() {
            self.completed.remove(&id);
            self.taken += 1;
            let mut received = board.received.lock().unwrap();
            received.entry(self.member.name).or_default().push(entry);
        }
        match qos {
            0 => Ok(()),
            1 => raw.acknowledge(0x40, id),
            _ => raw.acknowledge(0x50, id),
        }
    }
}
