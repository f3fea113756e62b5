//! The `Store` that keeps nothing beyond the process: every record is "stored" at once.
//!
//! Owns: [`Memory`], the queues of sessions. Everything else a session has lives in the shard.

use crate::ports::store::{Entry, Fetch, Fetched, Health, SessionNumber};
use crate::ports::{Position, Record, Store};
use std::collections::{BTreeMap, VecDeque};

/// Queues in memory.
#[derive(Debug, Default)]
pub struct Memory {
    position: Position,
    sessions: u64,
    queues: BTreeMap<(SessionNumber, u64), Entry>,
    answers: VecDeque<Fetched>,
}

impl Memory {
    fn end(&mut self, session: SessionNumber) {
        let keys = self.queues.range((session, 0)..=(session, u64::MAX));
        let keys: Vec<_> = keys.map(|(key, _)| *key).collect();
        for key in keys {
            self.queues.remove(&key);
        }
    }
}

impl Store for Memory {
    fn append(&mut self, record: Record<'_>) -> Position {
        match record {
            Record::Queued { session, delivery } => {
                let entry = Entry::Queued(delivery.clone());
                self.queues.insert((session, delivery.number), entry);
            }
            Record::Released {
                session,
                number,
                kept,
            } => {
                self.queues.insert((session, number), Entry::Released(kept));
            }
            Record::Done {
                session, number, ..
            } => {
                self.queues.remove(&(session, number));
            }
            Record::Trimmed { session, from } => {
                let next = self.queues.range((session, from)..).next();
                if let Some(key) = next.map(|(key, _)| *key).filter(|(of, _)| *of == session) {
                    self.queues.remove(&key);
                }
            }
            Record::SessionEnded { session, .. } => self.end(session),
            _ => {}
        }
        self.position.0 += 1;
        self.position
    }

    fn stored(&self) -> Position {
        self.position
    }

    fn flush(&mut self) {}

    fn health(&self) -> Health {
        Health::Well
    }

    fn new_session(&mut self) -> SessionNumber {
        self.sessions += 1;
        SessionNumber(self.sessions)
    }

    fn fetch(&mut self, fetch: Fetch) {
        let (mut entries, mut bytes, mut is_last) = (Vec::new(), 0, true);
        let range = (fetch.session, fetch.from)..=(fetch.session, u64::MAX);
        for ((_, number), entry) in self.queues.range(range) {
            if entries.len() >= fetch.limit || bytes >= fetch.bytes {
                is_last = false;
                break;
            }
            if let Entry::Queued(delivery) = entry {
                bytes += delivery.message.payload.len();
            }
            entries.push((*number, entry.clone()));
        }
        self.answers.push_back(Fetched {
            fetch,
            entries,
            is_last,
        });
    }

    fn poll_fetched(&mut self) -> Option<Fetched> {
        self.answers.pop_front()
    }
}
