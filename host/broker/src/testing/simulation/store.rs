//! The store of a simulated node: what shards recorded waits in turns, as it waits for the real committer, until
//! the simulation commits some of them or loses them all.

use crate::ports::store::{Fetch, Fetched, Health, SessionNumber, SessionState};
use crate::ports::{Past, Position, Record, Store};
use crate::router::ShardId;
use crate::router::interest::GroupKey;
use bytestring::ByteString;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use witmq_proto::packet::{PacketId, SubscribeOptions, Will};
use witmq_proto::{Delivery, LogPlace, Message};

/// A [`Record`] that waits.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the fields are those of the records")]
pub enum Kept {
    Session(SessionNumber, SessionState),
    SessionEnded(SessionNumber, ByteString),
    Subscribed(SessionNumber, ByteString, SubscribeOptions, Option<u32>),
    Unsubscribed(SessionNumber, ByteString),
    Message {
        place: LogPlace,
        message: Arc<Message>,
        targets: u64,
        groups: Vec<(ShardId, Arc<GroupKey>)>,
    },
    Applied(LogPlace),
    Queued(SessionNumber, Delivery),
    Released(SessionNumber, u64, Option<LogPlace>),
    Done(SessionNumber, u64, Option<LogPlace>),
    Trimmed(SessionNumber, u64),
    Received(SessionNumber, PacketId),
    Forgotten(SessionNumber, PacketId),
    Retained(String, u64, Option<Arc<Message>>),
    Will(ByteString, Option<(Will, Option<u64>)>),
}

impl Kept {
    /// `None`: a record of something that is not simulated.
    fn of(record: Record<'_>) -> Option<Self> {
        Some(match record {
            Record::Session { session, state } => Self::Session(session, state.clone()),
            Record::SessionEnded { session, client_id } => {
                Self::SessionEnded(session, client_id.clone())
            }
            Record::Subscribed {
                session,
                filter,
                options,
                id,
            } => Self::Subscribed(session, filter.clone(), options, id),
            Record::Unsubscribed { session, filter } => Self::Unsubscribed(session, filter.clone()),
            Record::Message {
                place,
                message,
                targets,
                groups,
            } => Self::Message {
                place,
                message: message.clone(),
                targets,
                groups: groups.to_vec(),
            },
            Record::Applied { place } => Self::Applied(place),
            Record::Queued { session, delivery } => Self::Queued(session, delivery.clone()),
            Record::Released {
                session,
                number,
                kept,
            } => Self::Released(session, number, kept),
            Record::Done {
                session,
                number,
                kept,
            } => Self::Done(session, number, kept),
            Record::Trimmed { session, from } => Self::Trimmed(session, from),
            Record::Received { session, packet_id } => Self::Received(session, packet_id),
            Record::Forgotten { session, packet_id } => Self::Forgotten(session, packet_id),
            Record::Retained {
                topic,
                version,
                message,
            } => Self::Retained(topic.to_owned(), version, message.cloned()),
            Record::Will { client_id, will } => {
                let will = will.map(|(will, due)| (will.clone(), due));
                Self::Will(client_id.clone(), will)
            }
            _ => return None,
        })
    }

    /// As a shard recorded it.
    #[must_use]
    pub fn record(&self) -> Record<'_> {
        match self {
            Self::Session(session, state) => Record::Session {
                session: *session,
                state,
            },
            Self::SessionEnded(session, client_id) => Record::SessionEnded {
                session: *session,
                client_id,
            },
            Self::Subscribed(session, filter, options, id) => Record::Subscribed {
                session: *session,
                filter,
                options: *options,
                id: *id,
            },
            Self::Unsubscribed(session, filter) => Record::Unsubscribed {
                session: *session,
                filter,
            },
            Self::Message {
                place,
                message,
                targets,
                groups,
            } => Record::Message {
                place: *place,
                message,
                targets: *targets,
                groups,
            },
            Self::Applied(place) => Record::Applied { place: *place },
            Self::Queued(session, delivery) => Record::Queued {
                session: *session,
                delivery,
            },
            Self::Released(session, number, kept) => Record::Released {
                session: *session,
                number: *number,
                kept: *kept,
            },
            Self::Done(session, number, kept) => Record::Done {
                session: *session,
                number: *number,
                kept: *kept,
            },
            Self::Trimmed(session, from) => Record::Trimmed {
                session: *session,
                from: *from,
            },
            Self::Received(session, packet_id) => Record::Received {
                session: *session,
                packet_id: *packet_id,
            },
            Self::Forgotten(session, packet_id) => Record::Forgotten {
                session: *session,
                packet_id: *packet_id,
            },
            Self::Retained(topic, version, message) => Record::Retained {
                topic,
                version: *version,
                message: message.as_ref(),
            },
            Self::Will(client_id, will) => Record::Will {
                client_id,
                will: will.as_ref().map(|(will, due)| (will, *due)),
            },
        }
    }
}

/// What one shard recorded in one turn; durable all or not at all.
#[derive(Clone, Debug)]
pub struct Turn {
    /// Whose.
    pub shard: u16,
    /// What.
    pub records: Vec<Kept>,
    position: u64,
}

/// What survives a crash.
pub trait Disk {
    /// Makes these turns of any shards durable, in this order.
    fn commit(&mut self, turns: &[Turn]);
    /// Reads a page of a queue as it is durable now.
    fn page(&mut self, shard: u16, fetch: Fetch) -> Fetched;
    /// A number for a new session.
    fn new_session(&mut self) -> SessionNumber;
    /// The node ended: what the shards of its next life begin with, and retained messages.
    fn recover(&mut self, shards: u16) -> (Vec<Past>, Vec<Message>);
}

/// What all shards' stores share.
pub(super) struct Backend {
    disk: Box<dyn Disk>,
    turns: VecDeque<Turn>,
    /// Turns submitted and committed in all lives.
    pub(super) submitted: u64,
    pub(super) committed: u64,
    stored: Vec<u64>,
    pub(super) health: Health,
    /// Not read yet.
    asked: VecDeque<(u16, Fetch)>,
    /// Read, and on its way.
    read: VecDeque<(u16, Fetched)>,
    answers: Vec<VecDeque<Fetched>>,
}

impl Backend {
    pub(super) fn new(disk: Box<dyn Disk>, shards: u16) -> Self {
        Self {
            disk,
            turns: VecDeque::new(),
            submitted: 0,
            committed: 0,
            stored: vec![0; shards.into()],
            health: Health::Well,
            asked: VecDeque::new(),
            read: VecDeque::new(),
            answers: (0..shards).map(|_| VecDeque::new()).collect(),
        }
    }

    pub(super) fn waiting(&self) -> usize {
        self.turns.len()
    }

    /// Commits the oldest turns as one batch.
    pub(super) fn commit(&mut self, count: usize) {
        let count = count.min(self.turns.len());
        let turns: Vec<Turn> = self.turns.drain(..count).collect();
        if turns.is_empty() {
            return;
        }
        self.disk.commit(&turns);
        self.committed += u64::try_from(count).unwrap_or(0);
        for turn in turns {
            self.stored[usize::from(turn.shard)] = turn.position;
        }
    }

    /// Reads one page that was asked for; brings one that was read.
    pub(super) fn read(&mut self) {
        if let Some((shard, fetch)) = self.asked.pop_front() {
            let page = self.disk.page(shard, fetch);
            self.read.push_back((shard, page));
        }
    }

    pub(super) fn answer(&mut self) {
        if let Some((shard, page)) = self.read.pop_front() {
            self.answers[usize::from(shard)].push_back(page);
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.turns.is_empty() && self.asked.is_empty() && self.read.is_empty()
    }

    /// What is not committed is lost.
    pub(super) fn crash(&mut self) -> (Vec<Past>, Vec<Message>) {
        self.submitted = self.committed;
        self.turns.clear();
        self.asked.clear();
        self.read.clear();
        self.answers.iter_mut().for_each(VecDeque::clear);
        self.stored.iter_mut().for_each(|stored| *stored = 0);
        self.health = Health::Well;
        let shards = u16::try_from(self.stored.len()).unwrap_or(1);
        self.disk.recover(shards)
    }
}

/// One shard's end of it.
pub(super) struct SimulatedStore {
    backend: Rc<RefCell<Backend>>,
    shard: u16,
    position: u64,
    records: Vec<Kept>,
    has_turn: bool,
}

impl SimulatedStore {
    pub(super) fn new(backend: Rc<RefCell<Backend>>, shard: u16) -> Self {
        Self {
            backend,
            shard,
            position: 0,
            records: Vec::new(),
            has_turn: false,
        }
    }
}

impl Store for SimulatedStore {
    fn append(&mut self, record: Record<'_>) -> Position {
        self.records.extend(Kept::of(record));
        self.has_turn = true;
        self.position += 1;
        Position(self.position)
    }

    fn stored(&self) -> Position {
        Position(self.backend.borrow().stored[usize::from(self.shard)])
    }

    fn flush(&mut self) {
        if !std::mem::take(&mut self.has_turn) {
            return;
        }
        let mut backend = self.backend.borrow_mut();
        backend.submitted += 1;
        backend.turns.push_back(Turn {
            shard: self.shard,
            position: self.position,
            records: std::mem::take(&mut self.records),
        });
    }

    fn health(&self) -> Health {
        self.backend.borrow().health
    }

    fn new_session(&mut self) -> SessionNumber {
        self.backend.borrow_mut().disk.new_session()
    }

    fn fetch(&mut self, fetch: Fetch) {
        self.backend
            .borrow_mut()
            .asked
            .push_back((self.shard, fetch));
    }

    fn poll_fetched(&mut self) -> Option<Fetched> {
        self.backend.borrow_mut().answers[usize::from(self.shard)].pop_front()
    }
}
