//! The records a shard keeps: one per connection, one per client (session).

use super::outbox::Outbox;
use super::turn::Changing;
use super::{ConnectionId, Link, Ticket};
use crate::acl::Acl;
use crate::ports::hooks::Attempt;
use crate::ports::store::SessionNumber;
use crate::ports::{AuthorizeAction, Position};
use crate::router::groups::Presence;
use crate::router::interest::GroupKey;
use bytes::Bytes;
use bytestring::ByteString;
use foldhash::{HashMap, HashSet};
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;
use witmq_proto::endpoint::Endpoint;
use witmq_proto::packet::{PacketId, QoS, SubscribeOptions, Will};
use witmq_proto::session::Session;
use witmq_proto::{TopicFilter, TopicName};

/// One Network Connection.
pub(super) struct Connection {
    pub(super) id: ConnectionId,
    pub(super) link: Link,
    pub(super) endpoint: Endpoint,
    /// The client it serves; `None` before CONNACK and after the end.
    pub(super) client: Option<u32>,
    /// What the CONNECT asked for, until it is answered.
    pub(super) pending: Option<Box<Pending>>,
    /// Rounds of an enhanced authentication; `None` without one.
    pub(super) exchange: Option<Box<Exchange>>,
    /// The authenticator is being asked.
    pub(super) asking: bool,
    /// A message of it waits for a plugin.
    pub(super) parked: Option<Ticket>,
    /// A SUBSCRIBE or UNSUBSCRIBE of it waits for its turn.
    pub(super) changing: Option<Box<Changing>>,
    /// Nothing more is taken from it.
    pub(super) closing: bool,
    /// [`super::Action::Wake`] was given and not obeyed yet.
    pub(super) woken: bool,
    /// Paused because a shard is congested.
    pub(super) stalled: bool,
    pub(super) grant_ends: Option<Instant>,
    /// Nothing is written before this is durable: what CONNACK promises.
    pub(super) gate: Position,
    /// Promises to it that wait for their records.
    pub(super) owes: usize,
}

/// A CONNECT on its way through authentication.
pub(super) struct Pending {
    pub(super) attempt: Attempt,
    pub(super) clean_start: bool,
    pub(super) will: Option<Will>,
    /// Session expiry asked for, seconds.
    pub(super) expiry: u32,
    pub(super) is_assigned: bool,
}

/// An enhanced authentication (MQTT 5 section 4.12).
pub(super) struct Exchange {
    pub(super) attempt: Attempt,
    pub(super) state: Bytes,
    pub(super) rounds: u8,
}

/// Who a client is, from its grant.
#[derive(Default)]
pub(super) struct Identity {
    pub(super) username: Option<ByteString>,
    /// Shared by clients whose grants have the same rules; `None`: they say nothing.
    pub(super) acl: Option<Arc<Acl>>,
    pub(super) attributes: Vec<(String, String)>,
    pub(super) verdicts: Vec<CachedVerdict>,
    /// The topic of late that its own rules let it publish to and that is where it says: settled once, not for every
    /// message. A text of its own: that of a message may be a part of something large.
    pub(super) settled: ByteString,
    /// The version of the chains in which a message to that topic came to a step that waits.
    pub(super) waited_at: Option<u64>,
}

impl Identity {
    /// As [`Acl::check_publish`].
    pub(super) fn check_publish(&self, topic: &str) -> Option<bool> {
        (self.acl.as_ref()).and_then(|acl| acl.check_publish(topic))
    }

    /// As [`Acl::check_subscribe`].
    pub(super) fn check_subscribe(&self, filter: &TopicFilter) -> Option<bool> {
        (self.acl.as_ref()).and_then(|acl| acl.check_subscribe(filter))
    }
}

/// A verdict of the `authorize` hook, until it runs out.
pub(super) struct CachedVerdict {
    pub(super) action: AuthorizeAction,
    pub(super) topic: ByteString,
    pub(super) qos: QoS,
    pub(super) retain: bool,
    pub(super) is_allowed: bool,
    pub(super) until: Instant,
}

/// One client: its session, connected or not.
pub(super) struct Client {
    pub(super) id: ByteString,
    pub(super) connection: Option<ConnectionId>,
    /// While not connected; otherwise the endpoint has it.
    pub(super) session: Option<Box<Session>>,
    /// Its number in the store; `None`: it ends with its connection.
    pub(super) kept: Option<SessionNumber>,
    /// Number of the next QoS 1 or 2 delivery.
    pub(super) next_number: u64,
    pub(super) sent: Sent,
    /// QoS 2 identifiers of its publishes that the store has.
    pub(super) received: BTreeSet<PacketId>,
    /// What its connections ended before they were told is durable from here on.
    pub(super) promised: Position,
    /// Some of its deliveries came through a shared group.
    pub(super) has_group_deliveries: bool,
    /// Seconds the session outlives a connection; `u32::MAX` for ever.
    pub(super) expiry: u32,
    pub(super) identity: Identity,
    /// Its subscriptions outside shared groups, as it named them.
    pub(super) plain: HashSet<Box<str>>,
    /// Some of them are, or were, exclusive.
    pub(super) has_exclusive: bool,
    /// By their group; most clients have none.
    pub(super) shared: Option<Box<Memberships>>,
    /// What other shards see of a member of shared groups; `None`: it never was one.
    pub(super) presence: Option<Arc<Presence>>,
    pub(super) outbox: Outbox,
    pub(super) feeds: VecDeque<Feed>,
    pub(super) will: Option<Box<Will>>,
    /// The store has the will.
    pub(super) is_will_kept: bool,
    /// It was allowed before the node started; its client cannot be asked about any more.
    pub(super) is_will_allowed: bool,
    /// Number of the present absence, so that timers of an earlier one are recognised.
    pub(super) absence: u64,
    /// `(epoch, index)` of the routing that saw this client last.
    pub(super) mark: (u64, usize),
}

impl Connection {
    /// Whether a packet of it waits in the shard: what it sent behind that stays behind.
    pub(super) fn is_held(&self) -> bool {
        self.parked.is_some() || self.changing.is_some()
    }
}

impl Client {
    pub(super) fn new(id: ByteString) -> Self {
        Self {
            id,
            connection: None,
            session: None,
            kept: None,
            next_number: 0,
            sent: Sent::default(),
            received: BTreeSet::new(),
            promised: Position::default(),
            has_group_deliveries: false,
            expiry: 0,
            identity: Identity::default(),
            plain: HashSet::default(),
            has_exclusive: false,
            shared: None,
            presence: None,
            outbox: Outbox::default(),
            feeds: VecDeque::new(),
            will: None,
            is_will_kept: false,
            is_will_allowed: false,
            absence: 0,
            mark: (0, 0),
        }
    }

    pub(super) fn subscriptions(&self) -> usize {
        self.plain.len() + self.shared.as_ref().map_or(0, |shared| shared.len())
    }

    /// Its part in a shared group.
    pub(super) fn membership(&self, key: &GroupKey) -> Option<&Membership> {
        self.shared.as_ref()?.get(key)
    }

    /// All its parts in shared groups.
    pub(super) fn memberships(&self) -> impl Iterator<Item = &Membership> {
        self.shared.iter().flat_map(|shared| shared.values())
    }
}

/// What of a queue earlier connections have sent, or may have: it is in flight, not new.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sent {
    /// Numbers below this were sent.
    pub(super) below: u64,
    /// So many of the oldest entries may have been sent before the node ended: it cannot tell.
    pub(super) maybe: usize,
    /// Numbers from here on were given in this life of the node: no earlier one sent them.
    pub(super) maybe_below: u64,
}

impl Sent {
    /// Whether the next entry of the queue, of this number, may have been sent.
    pub(super) fn has(&mut self, number: u64) -> bool {
        if number < self.below {
            return true;
        }
        let may_be = self.maybe > 0 && number < self.maybe_below;
        self.maybe = self.maybe.saturating_sub(1);
        may_be
    }
}

/// One subscription, as the router keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Subscription {
    pub(super) options: SubscribeOptions,
    /// Subscription Identifier.
    pub(super) id: Option<u32>,
}

/// A client's parts in shared groups.
pub(super) type Memberships = HashMap<Arc<GroupKey>, Membership>;

/// A client's part in a shared group.
pub(super) struct Membership {
    pub(super) key: Arc<GroupKey>,
    /// As a delivery carries it.
    pub(super) name: Arc<(ByteString, ByteString)>,
    pub(super) subscription: Subscription,
}

impl Membership {
    /// Whether it must not lose QoS 1 and 2; `is_kept`: its session outlives a connection.
    pub(super) fn is_durable(&self, is_kept: bool) -> bool {
        is_kept && self.subscription.options.qos > QoS::AtMostOnce
    }
}

/// Retained messages of one new subscription, sent as the client takes them.
pub(super) struct Feed {
    pub(super) filter: TopicFilter,
    /// The last topic sent.
    pub(super) after: Option<TopicName>,
    pub(super) subscription: Subscription,
}
