//! Fakes of the ports, and a node without I/O for tests: shards, mail and clients on a virtual clock.
//!
//! Owns: [`Rig`]. Only behind feature `testing` and in this crate's own tests.

#![allow(
    clippy::indexing_slicing,
    reason = "a test rig: its own numbers are its index"
)]

pub mod simulation;

use crate::limits::Limits;
use crate::memory::Memory;
use crate::ports::chains::{ChainProgress, ChainRun, Rest, StepAnswer, StepFailure, StepOutcome};
use crate::ports::hooks::{AuthRequest, AuthStep, Grant, Query};
use crate::ports::{
    AclRule, Authorize, BrokerEvent, Chains, Decision, Events, Past, Publisher, Store, Transform,
    Transport, Verdict,
};
use crate::router::ShardId;
use crate::shard::{
    Action, ClockBase, CloseCause, ConnectionId, Counters, Flow, Link, Mail, Shard, ShardPorts,
    Ticket, shard_of,
};
use crate::shared::Shared;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use witmq_proto::codec;
use witmq_proto::packet::{Connect, ConnectProperties, Packet, Version};
use witmq_proto::{BytesMut, Message, TopicFilter};

/// No plugin anywhere.
#[derive(Debug, Default)]
pub struct NoHooks;

impl Authorize for NoHooks {
    fn is_bound(&self) -> bool {
        false
    }

    fn authorize(&mut self, _query: &Query<'_>) -> Verdict {
        Verdict {
            decision: Decision::Ignore,
            cache: Duration::ZERO,
        }
    }
}

impl Transform for NoHooks {
    fn transform(
        &mut self,
        plugin: &str,
        _: Publisher<'_>,
        _: &Message,
    ) -> Result<StepOutcome, StepFailure> {
        Err(StepFailure::Unknown(plugin.to_owned()))
    }
}

/// No chain anywhere.
#[derive(Debug, Default)]
pub struct NoChains;

impl Chains for NoChains {
    fn run(&mut self, _: &mut dyn Transform, _: Publisher<'_>, _: &Arc<Message>) -> ChainProgress {
        ChainProgress::Done(ChainRun::untouched())
    }

    fn resume(
        &mut self,
        _: &mut dyn Transform,
        _: Publisher<'_>,
        _: Rest,
        _: Result<StepOutcome, StepFailure>,
    ) -> ChainProgress {
        ChainProgress::Done(ChainRun::untouched())
    }
}

/// Keeps every event for the test to read.
#[derive(Clone, Debug, Default)]
pub struct EventLog(Arc<Mutex<Vec<BrokerEvent>>>);

impl EventLog {
    /// Everything since the last call.
    #[must_use]
    pub fn take(&self) -> Vec<BrokerEvent> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Events for EventLog {
    fn emit(&mut self, event: BrokerEvent) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(event);
    }
}

/// Ports with nothing behind them.
#[must_use]
pub fn ports(events: EventLog) -> ShardPorts {
    ShardPorts {
        hooks: Box::new(NoHooks),
        chains: Box::new(NoChains),
        store: Box::new(Memory::default()),
        events: Box::new(events),
    }
}

/// A grant that allows everything.
#[must_use]
pub fn allow_all() -> AuthStep {
    let rule = |filter: &str| AclRule {
        allow: true,
        publish: true,
        subscribe: true,
        filter: filter.to_owned(),
    };
    AuthStep::Allow(Box::new(Grant {
        acl: vec![rule("#"), rule("$SYS/#")],
        acl_complete: true,
        ..Grant::default()
    }))
}

/// A CONNECT with nothing special.
#[must_use]
pub fn connect(version: Version, client_id: &str) -> Connect {
    Connect {
        version,
        clean_start: true,
        keep_alive: 0,
        client_id: client_id.into(),
        will: None,
        username: None,
        password: None,
        properties: ConnectProperties::default(),
    }
}

struct Peer {
    shard: usize,
    id: ConnectionId,
    version: Version,
    /// From the broker, not read by the test yet.
    output: BytesMut,
    /// To the broker, not taken yet.
    input: BytesMut,
    is_open: bool,
    is_paused: bool,
    /// The network takes nothing from the broker.
    is_stuck: bool,
}

/// Asks who may in.
pub type Authenticator = Box<dyn FnMut(&AuthRequest) -> AuthStep>;

/// A node without I/O.
pub struct Rig {
    /// The virtual clock.
    pub now: Instant,
    /// Its shards.
    pub shards: Vec<Shard>,
    /// What they said.
    pub events: EventLog,
    /// Who decides about CONNECT; everybody may in by default.
    pub authenticator: Authenticator,
    peers: Vec<Peer>,
    places: HashMap<(usize, ConnectionId), usize>,
    /// Questions to plugins that wait.
    asked: Vec<(usize, Ticket, StepAnswer)>,
    limits: Arc<Limits>,
    shared: Arc<Shared>,
    clock: ClockBase,
    /// Mail from shard to shard that waits for [`Rig::take_mail`]; `None`: it is taken at once.
    mail: Option<BTreeMap<(usize, usize), VecDeque<Mail>>>,
    /// Shards that asked for their next turn, which waits for [`Rig::turn`]; `None`: it comes at once.
    turns: Option<Vec<usize>>,
}

/// Mail between two shards beyond which the sender is told that the channel is full.
const MAIL: usize = 4;

impl Rig {
    /// A node of `shards` shards with these limits.
    #[must_use]
    pub fn new(shards: u16, limits: Limits) -> Self {
        Self::with_store(shards, limits, || Box::new(Memory::default()))
    }

    /// The same with other stores.
    #[must_use]
    pub fn with_store(shards: u16, limits: Limits, store: impl Fn() -> Box<dyn Store>) -> Self {
        Self::with_shared(shards, limits, store, |_| {})
    }

    /// The same, with what the operator configures put in by `configure`.
    #[must_use]
    pub fn with_shared(
        shards: u16,
        limits: Limits,
        store: impl Fn() -> Box<dyn Store>,
        configure: impl FnOnce(&mut Shared),
    ) -> Self {
        let now = Instant::now();
        let limits = Arc::new(limits);
        let mut shared = Shared::new(shards, &limits, now);
        configure(&mut shared);
        let shared = Arc::new(shared);
        let clock = ClockBase {
            instant: now,
            unix_ms: 1_700_000_000_000,
        };
        let mut rig = Self {
            now,
            shards: Vec::new(),
            events: EventLog::default(),
            authenticator: Box::new(|_| allow_all()),
            peers: Vec::new(),
            places: HashMap::new(),
            asked: Vec::new(),
            limits,
            shared,
            clock,
            mail: None,
            turns: None,
        };
        rig.shards = (0..shards)
            .map(|id| rig.shard(id, shards, store()))
            .collect();
        rig
    }

    fn shard(&self, id: u16, shards: u16, store: Box<dyn Store>) -> Shard {
        let ports = ShardPorts {
            store,
            ..ports(self.events.clone())
        };
        Shard::new(
            ShardId(id),
            shards,
            self.limits.clone(),
            self.shared.clone(),
            ports,
            self.clock,
        )
    }

    /// The node ends without a warning, and another life of it begins after `down` with what was kept.
    pub fn crash(
        &mut self,
        down: Duration,
        retained: Vec<Message>,
        lives: impl IntoIterator<Item = (Box<dyn Store>, Past)>,
    ) {
        self.now += down;
        self.peers.iter_mut().for_each(|peer| peer.is_open = false);
        self.mail.iter_mut().for_each(BTreeMap::clear);
        self.turns.iter_mut().for_each(Vec::clear);
        self.asked.clear();
        let count = u16::try_from(self.shards.len()).unwrap_or(1);
        let shared = Shared::new(count, &self.limits, self.now);
        shared.retained.restore(retained);
        self.shared = Arc::new(shared);
        self.shards.clear();
        for ((store, past), id) in lives.into_iter().zip(0..) {
            let mut shard = self.shard(id, count, store);
            shard.restore(self.now, past);
            self.shards.push(shard);
        }
        self.jump(Duration::ZERO);
    }

    /// From now on mail waits for [`Self::take_mail`].
    pub fn hold_mail(&mut self) {
        self.mail = Some(BTreeMap::new());
    }

    /// From now on the turns of subscriptions wait for [`Self::turn`].
    pub fn hold_turns(&mut self) {
        self.turns = Some(Vec::new());
    }

    /// The next turn of every shard that asked for one; whether one did.
    pub fn turn(&mut self) -> bool {
        let asked = self.turns.as_mut().map(std::mem::take).unwrap_or_default();
        for shard in &asked {
            self.shards[*shard].next_turn(self.now);
        }
        self.run();
        !asked.is_empty()
    }

    /// Pairs of shards with mail on its way.
    #[must_use]
    pub fn mail_routes(&self) -> Vec<(usize, usize)> {
        let waiting = self.mail.iter().flatten();
        let waiting = waiting.filter(|(_, queue)| !queue.is_empty());
        waiting.map(|(route, _)| *route).collect()
    }

    /// The next mail of a route arrives.
    pub fn take_mail(&mut self, (from, to): (usize, usize)) {
        let queue = self
            .mail
            .as_mut()
            .and_then(|mail| mail.get_mut(&(from, to)));
        let Some((mail, left)) = queue.and_then(|queue| Some((queue.pop_front()?, queue.len())))
        else {
            return;
        };
        self.shards[to].handle_mail(self.now, mail);
        if left < MAIL {
            let to = self.shards[to].id();
            self.shards[from].congested(to, false);
        }
        self.run();
    }

    fn mail(&mut self, from: usize, to: usize, mail: Mail) {
        let Some(held) = &mut self.mail else {
            return self.shards[to].handle_mail(self.now, mail);
        };
        let queue = held.entry((from, to)).or_default();
        queue.push_back(mail);
        if queue.len() >= MAIL {
            let to = self.shards[to].id();
            self.shards[from].congested(to, true);
        }
    }

    /// The retained message of a topic.
    #[must_use]
    pub fn retained(&self, topic: &str) -> Option<Arc<Message>> {
        let filter = TopicFilter::new(topic).ok()?;
        let retained = &self.shared.retained;
        let mut page = retained.page(self.now, &filter, None, (1, usize::MAX), &mut 1);
        page.messages.pop()
    }

    /// Opens a connection; its number.
    pub fn connect(&mut self, connect: Connect) -> usize {
        let count = u16::try_from(self.shards.len()).unwrap_or(1);
        let shard = usize::from(shard_of(&connect.client_id, count).0);
        let version = connect.version;
        let peer = ([127, 0, 0, 1], 40_000).into();
        let link = Link {
            peer,
            listener: "tcp".into(),
            transport: Transport::Tcp,
            certificate: None,
        };
        let id = self.shards[shard].connect(self.now, link, connect);
        self.places.insert((shard, id), self.peers.len());
        self.peers.push(Peer {
            shard,
            id,
            version,
            output: BytesMut::new(),
            input: BytesMut::new(),
            is_open: true,
            is_paused: true,
            is_stuck: false,
        });
        self.run();
        self.peers.len() - 1
    }

    /// Sends a packet of a client.
    pub fn send(&mut self, peer: usize, packet: &Packet) {
        let version = self.peers[peer].version;
        let mut bytes = BytesMut::new();
        codec::encode(packet, version, &mut bytes).ok();
        self.send_bytes(peer, &bytes);
    }

    /// Sends bytes of a client.
    pub fn send_bytes(&mut self, peer: usize, bytes: &[u8]) {
        self.peers[peer].input.extend_from_slice(bytes);
        self.take_input(peer);
        self.run();
    }

    /// What the broker sent a client since the last call.
    pub fn received(&mut self, peer: usize) -> Vec<Packet> {
        let peer = &mut self.peers[peer];
        let mut packets = Vec::new();
        while let Ok(Some(packet)) =
            codec::decode(&mut peer.output, peer.version, &codec::Limits::default())
        {
            packets.push(packet);
        }
        packets
    }

    /// The bytes the broker sent a client since the last call.
    pub fn output(&mut self, peer: usize) -> BytesMut {
        self.peers[peer].output.split()
    }

    /// How many connections there have been.
    #[must_use]
    pub fn peers(&self) -> usize {
        self.peers.len()
    }

    /// Bursts that went the short way.
    #[must_use]
    pub fn bursts(&self) -> u64 {
        self.shards.iter().map(Shard::bursts).sum()
    }

    /// What the broker sent and the test did not read is lost beyond so many bytes.
    pub fn truncate(&mut self, peer: usize, bytes: usize) {
        self.peers[peer].output.truncate(bytes);
    }

    /// Bytes the broker sent and the test did not read.
    #[must_use]
    pub fn unread(&self, peer: usize) -> usize {
        self.peers[peer].output.len()
    }

    /// Whether the broker still has the connection.
    #[must_use]
    pub fn is_open(&self, peer: usize) -> bool {
        self.peers[peer].is_open
    }

    /// Whether the broker reads nothing from it at present.
    #[must_use]
    pub fn is_paused(&self, peer: usize) -> bool {
        self.peers[peer].is_paused
    }

    /// From now on (or no longer) the network takes nothing from the broker.
    pub fn stick(&mut self, peer: usize, is_stuck: bool) {
        self.peers[peer].is_stuck = is_stuck;
        self.flush(peer);
        self.run();
    }

    /// The network connection breaks.
    pub fn cut(&mut self, peer: usize) {
        self.close(peer, &CloseCause::Peer);
        self.run();
    }

    /// Time passes.
    pub fn advance(&mut self, by: Duration) {
        let end = self.now + by;
        loop {
            let next = self.shards.iter().filter_map(Shard::poll_timeout).min();
            self.now = next.filter(|at| *at <= end).unwrap_or(end).max(self.now);
            self.do_what_is_due();
            if self.now >= end {
                return;
            }
        }
    }

    /// The clock jumps: what was due in between is late.
    pub fn jump(&mut self, by: Duration) {
        self.now += by;
        self.do_what_is_due();
    }

    fn do_what_is_due(&mut self) {
        loop {
            let now = self.now;
            (self.shards.iter_mut()).for_each(|shard| shard.handle_timeout(now));
            self.run();
            let mut next = self.shards.iter().filter_map(Shard::poll_timeout);
            if !next.any(|at| at <= now) {
                return;
            }
        }
    }

    /// The sum of all shards' counters.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let mut sum = Counters::default();
        self.shards
            .iter()
            .for_each(|shard| sum.add(&shard.counters()));
        sum
    }

    /// Obeys all actions of all shards until none is left.
    pub fn run(&mut self) {
        loop {
            let mut is_idle = true;
            for shard in 0..self.shards.len() {
                self.shards[shard].flush();
                self.shards[shard].stored(self.now);
                while let Some(action) = self.shards[shard].poll_action() {
                    is_idle = false;
                    self.obey(shard, action);
                }
            }
            if is_idle && !self.take_answers() {
                return;
            }
        }
    }

    fn find(&self, shard: usize, id: ConnectionId) -> Option<usize> {
        let place = self.places.get(&(shard, id)).copied();
        place.filter(|peer| self.peers[*peer].is_open)
    }

    fn obey(&mut self, shard: usize, action: Action) {
        match action {
            Action::Wake(id) => {
                if let Some(peer) = self.find(shard, id) {
                    self.flush(peer);
                }
            }
            Action::Resume(id) => {
                if let Some(peer) = self.find(shard, id) {
                    self.peers[peer].is_paused = false;
                    self.take_input(peer);
                }
            }
            Action::Close(id) => {
                if let Some(peer) = self.find(shard, id) {
                    self.close(peer, &CloseCause::Peer);
                }
            }
            Action::Authenticate { id, request } => {
                let step = (self.authenticator)(&request);
                self.shards[shard].authenticated(self.now, id, step);
            }
            Action::Events => self.shards[shard].run_events(self.now),
            Action::Turn => match &mut self.turns {
                Some(turns) => turns.push(shard),
                None => self.shards[shard].next_turn(self.now),
            },
            Action::Ask { ticket, answer } => self.asked.push((shard, ticket, answer)),
            Action::Mail { to, mail } => self.mail(shard, usize::from(to.0), mail),
        }
    }

    /// Hands in the answers that are there; whether there was one.
    fn take_answers(&mut self) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        let (now, before) = (self.now, self.asked.len());
        for (shard, ticket, mut answer) in std::mem::take(&mut self.asked) {
            match answer.as_mut().poll(&mut context) {
                Poll::Ready(answer) => self.shards[shard].answered(now, ticket, answer),
                Poll::Pending => self.asked.push((shard, ticket, answer)),
            }
        }
        self.asked.len() < before
    }

    fn take_input(&mut self, index: usize) {
        let peer = &mut self.peers[index];
        if peer.is_paused || !peer.is_open {
            return;
        }
        match self.shards[peer.shard].receive(self.now, peer.id, &mut peer.input) {
            Flow::Continue => {}
            Flow::Pause => peer.is_paused = true,
            Flow::Close => self.close(index, &CloseCause::Peer),
        }
    }

    fn flush(&mut self, index: usize) {
        let peer = &mut self.peers[index];
        if peer.is_stuck || !peer.is_open {
            return;
        }
        let shard = &mut self.shards[peer.shard];
        loop {
            match shard.transmit_large(self.now, peer.id) {
                Some(bytes) => peer.output.extend_from_slice(&bytes),
                None => shard.transmit(self.now, peer.id, &mut peer.output),
            }
            if !shard.has_more(peer.id) {
                return;
            }
        }
    }

    fn close(&mut self, index: usize, cause: &CloseCause) {
        self.flush(index);
        let peer = &mut self.peers[index];
        if std::mem::replace(&mut peer.is_open, false) {
            self.shards[peer.shard].closed(self.now, peer.id, cause);
        }
    }
}
