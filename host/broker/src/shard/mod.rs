//! One shard: a single-threaded, sans-IO broker for the clients whose id hashes to it.
//!
//! Owns: connections' [`Endpoint`]s, sessions, outboxes, subscriptions, timers of its clients.
//! Must not: read a clock, touch a socket, block, log, or reach into another shard (it mails it).
//! Driven by `witmq-net`: call in, then drain [`Shard::poll_action`] and obey.
//!
//! The way of a PUBLISH: `inbound.rs` (receive, authorize, chains) → `route.rs` (retain, match, mail) →
//! `deliver.rs` (outbox, transmit); `burst.rs` is the short way of several at once, `chained.rs` that through chains. A client's life: `connect.rs`, `turn.rs` and
//! `subscribe.rs`, `end.rs`.

mod authorize;
mod burst;
mod chained;
mod claim;
mod client;
mod connect;
mod counters;
mod delayed;
mod deliver;
mod drain;
mod end;
mod group;
mod inbound;
mod inspect;
mod leftovers;
mod names;
mod outbox;
mod park;
mod promise;
mod queue;
mod raise;
mod report;
mod restore;
mod route;
mod subscribe;
mod sys;
#[cfg(test)]
mod tests;
mod timers;
mod topics;
mod turn;

pub use counters::Counters;
pub use park::Ticket;
pub use promise::Waiter;

use crate::acl::LastAcl;
use crate::blocks::Blocks;
use crate::limits::Limits;
use crate::ports::hooks::{AuthRequest, AuthStep, Certificate};
use crate::ports::store::{Health, SessionNumber};
use crate::ports::{Authorize, Chains, Events, Position, StepAnswer, Store, Transform, Transport};
use crate::router::ShardId;
use crate::router::groups::{Pick, Picker};
use crate::router::known::Known;
use crate::router::trie::{Trie, Walk};
use crate::shared::Shared;
use client::{Client, Connection, Subscription};
use foldhash::HashMap;
use names::Names;
use promise::Owed;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroU64};
use std::sync::Arc;
use std::time::{Duration, Instant};
use timers::{Timer, Timers};
use witmq_proto::{Burst, LogPlace, Message};

/// The shard of a client, the same on every start: sessions on disk stay where they are.
#[must_use]
pub fn shard_of(client_id: &str, shards: u16) -> ShardId {
    use std::hash::{BuildHasher, Hasher};
    let mut hasher = foldhash::quality::FixedState::with_seed(0x5749_544D_5121).build_hasher();
    hasher.write(client_id.as_bytes());
    let shard = hasher.finish() % u64::from(shards.max(1));
    ShardId(u16::try_from(shard).unwrap_or(0))
}

/// A connection of this shard; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(NonZeroU64);

impl ConnectionId {
    fn new(index: usize, generation: NonZeroU32) -> Self {
        let index = u64::try_from(index).unwrap_or(u64::MAX) & 0xFFFF_FFFF;
        let number = u64::from(generation.get()) << 32 | index;
        Self(NonZeroU64::new(number).unwrap_or(NonZeroU64::MIN)) // its upper half is not 0
    }

    /// The place among this shard's connections now: small and dense, for the driver's own tables.
    #[must_use]
    pub fn index(self) -> usize {
        usize::try_from(self.0.get() & 0xFFFF_FFFF).unwrap_or(usize::MAX)
    }

    /// A number that no other connection of the node has or had, none of which is 0.
    fn number(self, shard: ShardId) -> u64 {
        self.0.get() >> 32 << 16 | u64::from(shard.0)
    }
}

/// Where a connection comes from.
#[derive(Clone, Debug)]
pub struct Link {
    /// Address of the peer.
    pub peer: SocketAddr,
    /// Name of the listener.
    pub listener: Arc<str>,
    /// How the bytes come.
    pub transport: Transport,
    /// The client's certificate, where the listener asks for one and it has one.
    pub certificate: Option<Arc<Certificate>>,
}

/// Plugin hooks of one shard.
pub trait ShardHooks: Authorize + Transform {}
impl<T: Authorize + Transform> ShardHooks for T {}

/// What a shard calls, owned by it.
pub struct ShardPorts {
    /// Plugins.
    pub hooks: Box<dyn ShardHooks>,
    /// Chains.
    pub chains: Box<dyn Chains>,
    /// Durable state.
    pub store: Box<dyn Store>,
    /// Who listens.
    pub events: Box<dyn Events>,
}

/// The moment a shard's clock and the wall clock were read together.
#[derive(Clone, Copy, Debug)]
pub struct ClockBase {
    /// Monotonic.
    pub instant: Instant,
    /// Milliseconds since 1970 at that instant.
    pub unix_ms: u64,
}

impl ClockBase {
    /// Milliseconds since 1970 at `now`.
    #[must_use]
    pub fn unix_ms(&self, now: Instant) -> u64 {
        let passed = now.saturating_duration_since(self.instant).as_millis();
        self.unix_ms + u64::try_from(passed).unwrap_or(0)
    }
}

/// What the driver does with a connection after a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Read on.
    Continue,
    /// Read nothing from it until [`Action::Resume`].
    Pause,
    /// Transmit what is pending, close the socket (at most 2 s), then call [`Shard::closed`].
    Close,
}

/// Why a network connection ended, as the driver saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CloseCause {
    /// The peer closed it.
    Peer,
    /// It failed, or the peer took nothing for too long.
    Failed(String),
    /// The node shuts down: wills of clients are published, sessions kept.
    Shutdown,
}

/// What the shard wants done. Moved for every message that goes to another shard: what is large and rare is boxed.
pub enum Action {
    /// Something waits to be written: call [`Shard::transmit`]. Given once until it is called.
    Wake(ConnectionId),
    /// Read again.
    Resume(ConnectionId),
    /// As [`Flow::Close`], for a connection that is not the one being received.
    Close(ConnectionId),
    /// Ask the authenticator; answer with [`Shard::authenticated`].
    Authenticate {
        /// For whom.
        id: ConnectionId,
        /// What.
        request: Box<AuthRequest>,
    },
    /// Wait for a plugin; hand its answer to [`Shard::answered`].
    Ask {
        /// Goes with the answer.
        ticket: Ticket,
        /// The answer, later.
        answer: StepAnswer,
    },
    /// Call [`Shard::run_events`]. Given once until it is called.
    Events,
    /// Call [`Shard::next_turn`] once everybody else who has something to do was heard. Given once until it is called.
    Turn,
    /// Take mail to another shard. When its channel is full: [`Shard::congested`].
    Mail {
        /// Whose.
        to: ShardId,
        /// What.
        mail: Mail,
    },
}

/// A question of the control plane.
pub type Question = Box<dyn FnOnce(&mut Shard, Instant) + Send>;

/// From shard to shard, and from outside into one.
pub enum Mail {
    /// A message for subscribers of the receiving shard.
    Publish {
        /// The message.
        message: Arc<Message>,
        /// Members of shared groups, clients of the receiving shard, that it goes to.
        picks: Vec<Pick>,
        /// Whether ordinary subscriptions match too.
        plain: bool,
        /// Where the message is kept for those of them that must not lose it.
        kept: Option<LogPlace>,
    },
    /// Several messages of one client for ordinary subscribers of the receiving shard.
    Burst(Arc<Burst>),
    /// A message of the broker itself, of a plugin or the API: retained and routed, no hooks.
    Inject(Box<Message>),
    /// A question of the control plane, run on the shard's thread.
    Inspect(Question),
}

/// One shard of a node.
pub struct Shard {
    id: ShardId,
    shards: u16,
    limits: Arc<Limits>,
    shared: Arc<Shared>,
    ports: ShardPorts,
    clock: ClockBase,
    /// The moment that was last asked about, in milliseconds since 1970: it stays for a batch.
    moment: (Instant, u64),
    connections: Blocks<Connection>,
    generation: NonZeroU32,
    clients: Blocks<Client>,
    names: Names,
    /// The rules of the last grant: that of the next client is often the same.
    last_acl: LastAcl,
    trie: Trie<Subscription>,
    known: Known<Subscription>,
    walk: Walk,
    picker: Picker,
    timers: Timers,
    /// Messages that wait for a plugin.
    parked: HashMap<Ticket, park::Parked>,
    tickets: u64,
    /// To be published later.
    delayed: crate::delayed::Queue,
    actions: VecDeque<Action>,
    /// Who may change subscriptions.
    turnstile: turn::Turnstile,
    leftovers: leftovers::Leftovers,
    /// Events that wait for the chains they begin.
    raised: raise::Waiting,
    /// Promises that wait for their records, in order.
    owed: VecDeque<Owed>,
    /// Connections that have something to send once a record is durable, in order.
    gated: VecDeque<(Position, ConnectionId)>,
    /// Who brought messages in and waits for their records, in order.
    waiting: VecDeque<(Position, Waiter)>,
    /// Place of the last record.
    position: Position,
    /// Clients by the number of their session in the store.
    kept: HashMap<SessionNumber, u32>,
    /// Sessions that ended and whose queue is still being handed to others.
    ending: HashMap<SessionNumber, queue::Rest>,
    next_log_number: u64,
    /// Pages asked of the store.
    questions: u64,
    /// What `$SYS` remembers; of the first shard.
    sys: sys::Sys,
    /// Shards whose mail is congested, one bit each.
    congested: u64,
    /// Connections paused by that.
    stalled: Vec<ConnectionId>,
    /// Scratch of `route`: who matched, reused.
    hits: Vec<route::Hit>,
    epoch: u64,
    /// Bursts are taken as one. A test compares with what happens otherwise.
    is_short_way: bool,
    /// Bursts taken as one.
    bursts: u64,
    /// Clients are being sent elsewhere.
    draining: Option<drain::Drain>,
    drains: u64,
    absences: u64,
    assigned: u64,
    counters: Counters,
}

/// How often a shard reports its counters to the node.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

impl Shard {
    /// A shard without clients. `shards` is their number on the node, 1 to 64.
    #[must_use]
    pub fn new(
        id: ShardId,
        shards: u16,
        limits: Arc<Limits>,
        shared: Arc<Shared>,
        ports: ShardPorts,
        clock: ClockBase,
    ) -> Self {
        let mut timers = Timers::default();
        timers.set(clock.instant + REPORT_INTERVAL, Timer::Report);
        let known = Known::new(limits.known_topics);
        let picker = Picker::new(limits.sticky_publishers);
        let turnstile = turn::Turnstile::new(limits.subscribe_turn, clock.instant);
        Self {
            id,
            shards,
            limits,
            shared,
            ports,
            clock,
            moment: (clock.instant, clock.unix_ms),
            connections: Blocks::new(),
            generation: NonZeroU32::MAX,
            clients: Blocks::new(),
            names: Names::default(),
            last_acl: LastAcl::default(),
            trie: Trie::new(),
            known,
            walk: Walk::default(),
            picker,
            timers,
            parked: HashMap::default(),
            tickets: 0,
            delayed: crate::delayed::Queue::default(),
            actions: VecDeque::new(),
            turnstile,
            leftovers: leftovers::Leftovers::default(),
            raised: raise::Waiting::default(),
            owed: VecDeque::new(),
            gated: VecDeque::new(),
            waiting: VecDeque::new(),
            position: Position::default(),
            kept: HashMap::default(),
            ending: HashMap::default(),
            next_log_number: 0,
            questions: 0,
            sys: sys::Sys::new(clock.instant),
            congested: 0,
            stalled: Vec::new(),
            hits: Vec::new(),
            epoch: 0,
            is_short_way: true,
            bursts: 0,
            draining: None,
            drains: 0,
            absences: 0,
            assigned: 0,
            counters: Counters::default(),
        }
    }

    /// Which shard this is.
    #[must_use]
    pub fn id(&self) -> ShardId {
        self.id
    }

    /// What all shards of the node read.
    #[must_use]
    pub fn shared(&self) -> Arc<Shared> {
        self.shared.clone()
    }

    /// The next thing to do, until `None`.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// All there is to do, in order, into an empty queue whose room is used for what comes.
    pub fn take_actions(&mut self, into: &mut VecDeque<Action>) {
        debug_assert!(into.is_empty(), "what was taken before is done first");
        std::mem::swap(&mut self.actions, into);
    }

    /// When [`Self::handle_timeout`] wants to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Does what is due, or so much of it that nobody waits long: then [`Self::poll_timeout`] still says so.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.look_at_wanted();
        for _ in 0..timers::DUE_AT_ONCE {
            let Some(timer) = self.timers.pop(now) else {
                break;
            };
            match timer {
                Timer::KeepAlive(id) => self.check_keep_alive(now, id),
                Timer::Authentication(id) => self.authentication_timeout(now, id),
                Timer::Grant(id) => self.grant_ended(now, id),
                Timer::Will { client, absence } => self.will_due(now, client, absence),
                Timer::SessionEnd { client, absence } => self.session_due(now, client, absence),
                Timer::Delayed => self.delayed_due(now),
                Timer::Drain(number) => self.drain_due(now, number),
                Timer::Report => self.report(now),
            }
        }
        self.stored(now);
    }

    /// This mail comes next, all of it: a look at its topics at once is cheaper than one by one. May be left out.
    pub fn expect_mail(&self, batch: &[Mail]) {
        if batch.len() < 2 || !self.known.is_far() {
            return;
        }
        let topics = batch.iter().filter_map(|mail| match mail {
            Mail::Publish { message, .. } => Some(message.topic.as_bytes()),
            Mail::Burst(burst) => Some(burst.topic.as_bytes()),
            Mail::Inject(_) | Mail::Inspect(_) => None,
        });
        self.known.look_ahead(topics);
    }

    /// Mail of another shard or of the control plane.
    pub fn handle_mail(&mut self, now: Instant, mail: Mail) {
        self.look_at_wanted();
        match mail {
            Mail::Publish {
                message,
                picks,
                plain,
                kept,
            } => {
                if plain {
                    self.deliver_local(now, &message, kept);
                }
                for pick in picks {
                    self.deliver_group(now, &pick, &message, kept);
                }
                self.applied(kept);
            }
            Mail::Burst(burst) => self.deliver_burst(now, &burst),
            Mail::Inject(message) => self.publish(now, *message),
            Mail::Inspect(question) => question(self, now),
        }
    }

    /// A message of the broker's own: retained and routed, no hooks, no chains.
    pub fn publish(&mut self, now: Instant, message: Message) {
        let message = Arc::new(message);
        if self.retain(&message).is_ok() {
            self.route(now, &message);
        }
    }

    /// The channel to `to` is full, or has room again. While one is, publishers are paused.
    pub fn congested(&mut self, to: ShardId, is_full: bool) {
        let bit = 1u64 << (to.0 & 63);
        if is_full {
            self.congested |= bit;
            return;
        }
        self.congested &= !bit;
        self.resume_stalled();
    }

    /// Whether publishers wait: a shard or the store takes no more for now.
    fn is_congested(&self) -> bool {
        self.congested != 0 || self.ports.store.health() == Health::Congested
    }

    fn resume_stalled(&mut self) {
        if self.is_congested() {
            return;
        }
        self.ask_to_raise();
        self.ask_for_turn();
        if self.stalled.is_empty() {
            return;
        }
        for id in std::mem::take(&mut self.stalled) {
            if let Some(connection) = self.connection_mut(id) {
                connection.stalled = false;
                self.actions.push_back(Action::Resume(id));
            }
        }
    }

    /// The store moved on: promises that waited for it are kept, pages that were read are taken.
    pub fn stored(&mut self, now: Instant) {
        self.keep_promises();
        self.take_pages(now);
        self.resume_stalled();
    }

    /// The turn is over: what was recorded in it is committed as one.
    pub fn flush(&mut self) {
        self.ports.store.flush();
    }

    /// Takes the chains that are deployed now, as the next message would.
    pub fn refresh_chains(&mut self) {
        self.ports.chains.refresh();
    }

    /// The bounds of what the codec takes, for the first packet of a connection.
    #[must_use]
    pub fn codec_limits(&self) -> witmq_proto::codec::Limits {
        self.limits.settings.codec_limits()
    }

    fn connection(&self, id: ConnectionId) -> Option<&Connection> {
        self.connections
            .get(id.index())
            .filter(|connection| connection.id == id)
    }

    fn connection_mut(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        self.connections
            .get_mut(id.index())
            .filter(|connection| connection.id == id)
    }

    /// `now` in milliseconds since 1970.
    fn unix_ms(&mut self, now: Instant) -> u64 {
        if self.moment.0 != now {
            self.moment = (now, self.clock.unix_ms(now));
        }
        self.moment.1
    }

    fn client(&self, key: u32) -> Option<&Client> {
        self.clients.get(usize::try_from(key).ok()?)
    }

    fn client_mut(&mut self, key: u32) -> Option<&mut Client> {
        self.clients.get_mut(usize::try_from(key).ok()?)
    }

    /// Asks the driver to transmit, once.
    fn wake(&mut self, id: ConnectionId) {
        let Some(connection) = self.connection_mut(id) else {
            return;
        };
        if !connection.woken {
            connection.woken = true;
            self.actions.push_back(Action::Wake(id));
        }
    }
}

impl std::fmt::Debug for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shard")
            .field("id", &self.id)
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}

/// Where an authenticator's answer goes.
impl Shard {
    /// The answer to [`Action::Authenticate`]. Late ones, for connections that are gone, are ignored.
    pub fn authenticated(&mut self, now: Instant, id: ConnectionId, step: AuthStep) {
        self.handle_auth_step(now, id, step);
    }
}
