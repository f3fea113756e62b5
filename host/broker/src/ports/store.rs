//! Where what must outlive the process goes, and how the shard gets it back.
//!
//! A shard appends records and never waits: the store tells by a watermark what is durable, and promises
//! (acknowledgements) are held until then. Queues of sessions are read back page by page.
//!
//! ```text
//! append ─► Position      flush: the turn is over, commit       stored() >= Position ─► promise kept
//! fetch(session, from) ─► later: poll_fetched() ─► page of the queue
//! ```

use crate::delayed::DelayedId;
use crate::router::ShardId;
use crate::router::interest::GroupKey;
use bytestring::ByteString;
use std::sync::Arc;
use witmq_proto::packet::{PacketId, SubscribeOptions, Will};
use witmq_proto::{Delivery, LogPlace, Message};

/// A place in the shard's sequence of records; grows by one per record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(pub u64);

/// A session in the store; never used for another one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionNumber(pub u64);

/// What is kept of a session beside its queue and subscriptions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionState {
    /// Whose.
    pub client_id: ByteString,
    /// Seconds it outlives a connection; `u32::MAX` for ever.
    pub expiry: u32,
    /// Since when its client is away, Unix milliseconds; `None` while it is connected.
    pub absent_since: Option<u64>,
    /// Numbers below this may have been sent; unknown while the client is connected.
    pub next_number: Option<u64>,
}

/// One change of durable state.
#[derive(Debug)]
#[allow(missing_docs, reason = "the variants say what their fields are")]
pub enum Record<'a> {
    /// A session that outlives its connection exists, or changed.
    Session {
        session: SessionNumber,
        state: &'a SessionState,
    },
    /// The session is gone with all it owned.
    SessionEnded {
        session: SessionNumber,
        client_id: &'a ByteString,
    },
    /// A subscription was made or replaced.
    Subscribed {
        session: SessionNumber,
        filter: &'a ByteString,
        options: SubscribeOptions,
        id: Option<u32>,
    },
    /// A subscription was removed.
    Unsubscribed {
        session: SessionNumber,
        filter: &'a ByteString,
    },
    /// A message for durable sessions, written once. Shards in `targets` (one bit each) owe it to their ordinary
    /// subscribers, those in `groups` to a member of that group, until they say [`Record::Applied`].
    Message {
        place: LogPlace,
        message: &'a Arc<Message>,
        targets: u64,
        groups: &'a [(ShardId, Arc<GroupKey>)],
    },
    /// This shard has queued what another shard logged, up to `place`.
    Applied { place: LogPlace },
    /// A message is owed to a session. `delivery.kept` says where the message is.
    Queued {
        session: SessionNumber,
        delivery: &'a Delivery,
    },
    /// The client took over a QoS 2 message; PUBCOMP is outstanding.
    Released {
        session: SessionNumber,
        number: u64,
        kept: Option<LogPlace>,
    },
    /// The session no longer owes it.
    Done {
        session: SessionNumber,
        number: u64,
        kept: Option<LogPlace>,
    },
    /// The oldest entry of the queue at or above `from` made room.
    Trimmed { session: SessionNumber, from: u64 },
    /// A QoS 2 packet id was taken from a publisher.
    Received {
        session: SessionNumber,
        packet_id: PacketId,
    },
    /// The publisher released it.
    Forgotten {
        session: SessionNumber,
        packet_id: PacketId,
    },
    /// The retained message of a topic (`None`: cleared). The highest `version` of a topic counts.
    Retained {
        topic: &'a str,
        version: u64,
        message: Option<&'a Arc<Message>>,
    },
    /// The will of a client (`None`: gone); due at that Unix millisecond if its client is away.
    Will {
        client_id: &'a ByteString,
        will: Option<(&'a Will, Option<u64>)>,
    },
    /// A message to be published later.
    Delayed {
        id: DelayedId,
        message: &'a Arc<Message>,
    },
    /// It was published, expired or was taken back.
    DelayedGone { id: DelayedId },
    /// Plugins changed keys of theirs before this ([`super::PluginKv`]): what they hold by now is committed
    /// with it.
    PluginKv,
}

/// Asks for entries of a session's queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// Whose.
    pub session: SessionNumber,
    /// Lowest number wanted.
    pub from: u64,
    /// Entries wanted at most.
    pub limit: usize,
    /// The page ends with the entry that reaches so many bytes of payload.
    pub bytes: usize,
    /// Which question of the shard this is: an answer that nobody waits for any more is thrown away.
    pub number: u64,
}

/// A page of a session's queue: every entry from `from` on, in order, within the bounds of the question.
#[derive(Debug)]
pub struct Fetched {
    /// The question.
    pub fetch: Fetch,
    /// The answer.
    pub entries: Vec<(u64, Entry)>,
    /// There was no more when it was read.
    pub is_last: bool,
}

/// An entry of a session's queue.
#[derive(Clone, Debug)]
pub enum Entry {
    /// To be sent, or sent and not acknowledged.
    Queued(Delivery),
    /// Taken over by the client (PUBREC).
    Released(Option<LogPlace>),
    /// The message was given up: the bound of the log was hit, or it cannot be read.
    Lost(Option<LogPlace>),
}

/// How the store is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// Takes records.
    #[default]
    Well,
    /// More is waiting to be committed than its bound: take nothing from publishers for now.
    Congested,
    /// Cannot commit (disk full, read-only): refuse what would have to be kept. It goes on trying.
    Refusing,
}

/// One shard's store. Plain owned data behind a port.
pub trait Store {
    /// Takes a record; it is durable once `stored() >=` the position returned.
    fn append(&mut self, record: Record<'_>) -> Position;
    /// Everything up to here is durable. Promises wait for it.
    fn stored(&self) -> Position;
    /// The turn is over: commit what was appended. What one call commits is durable all or not at all.
    fn flush(&mut self);
    /// How it is.
    fn health(&self) -> Health;
    /// Changes that plugins made to their keys so far, on any thread; 0 if none of them outlives the process.
    fn kv_changes(&self) -> u64 {
        0
    }
    /// A number for a new session.
    fn new_session(&mut self) -> SessionNumber;
    /// Asks for a page of a queue; answered by [`Self::poll_fetched`] now or later.
    fn fetch(&mut self, fetch: Fetch);
    /// The next page that was read.
    fn poll_fetched(&mut self) -> Option<Fetched>;
}

/// A session as it was when the node ended.
#[derive(Clone, Debug)]
pub struct Restored {
    /// Its number.
    pub session: SessionNumber,
    /// What was kept of it.
    pub state: SessionState,
    /// Its subscriptions: filter as subscribed, options, identifier.
    pub subscriptions: Vec<(ByteString, SubscribeOptions, Option<u32>)>,
    /// QoS 2 identifiers taken and not released.
    pub received: Vec<PacketId>,
    /// Its queue: lowest number, highest number, entries, bytes.
    pub queue: Option<(u64, u64, usize, usize)>,
}

/// What one shard begins with.
#[derive(Debug, Default)]
pub struct Past {
    /// Sessions of its clients.
    pub sessions: Vec<Restored>,
    /// Wills of its clients: client id, will, and when it is due (Unix milliseconds; `None`: its client was
    /// connected).
    pub wills: Vec<(ByteString, Will, Option<u64>)>,
    /// Messages to be published later, of publishers whose shard this is.
    pub delayed: Vec<(DelayedId, Message)>,
    /// The count its own delayed messages go on from.
    pub next_delayed_number: u64,
    /// The count its own log entries go on from.
    pub next_log_number: u64,
}
