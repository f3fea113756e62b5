//! Messages whose chains have come to a step that waits: parked beside the way until its plugin has answered.
//!
//! Owns: [`Parked`]. A connection has at most one message parked, and nothing more is read from it meanwhile, so what
//! it publishes keeps its order [MQTT-4.6.0-5]. How many are parked altogether is bounded by the queues of the plugins.

use super::inbound::{Answer, Origin};
use super::{Action, ConnectionId, Shard};
use crate::ports::chains::{ChainProgress, Rest, StepAnswer, StepOutcome};
use crate::ports::{Publisher, StepFailure};
use bytestring::ByteString;
use std::sync::Arc;
use std::time::Instant;
use witmq_proto::Message;
use witmq_proto::packet::QoS;
use witmq_proto::session::Session;

/// A question to a plugin that waits, to be handed back with its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket(u64);

/// Who published it, as it was then.
#[derive(Clone, Default)]
struct Sender {
    username: Option<ByteString>,
    attributes: Vec<(String, String)>,
}

/// A message that waits.
pub(super) struct Parked {
    rest: Rest,
    message: Arc<Message>,
    origin: Origin,
    sender: Sender,
    /// Changes of keys before its chains.
    kv_before: u64,
    /// An event: nobody is told, and it goes nowhere itself.
    is_event: bool,
}

fn publisher<'a>(message: &'a Message, session: u64, sender: &'a Sender) -> Publisher<'a> {
    Publisher {
        client_id: &message.publisher,
        username: sender.username.as_deref(),
        attributes: &sender.attributes,
        session,
    }
}

impl Shard {
    /// Chains, retain, route: from an authorized message to what its publisher is told; `None`: not yet.
    #[inline]
    pub(super) fn ingest(
        &mut self,
        now: Instant,
        origin: Origin,
        message: Arc<Message>,
    ) -> Option<Answer> {
        let is_told = origin.connection.is_some();
        if self.passes_by(&message) {
            return Some(Answer::code(self.take(now, &message, is_told)));
        }
        let kv_before = self.ports.store.kv_changes();
        match self.run_chains(origin, &message) {
            ChainProgress::Done(run)
                if run.is_untouched() && self.ports.store.kv_changes() == kv_before =>
            {
                Some(Answer::code(self.take(now, &message, is_told)))
            }
            ChainProgress::Done(run) => {
                Some(self.dispose(now, &message, (is_told, kv_before), run))
            }
            ChainProgress::Waits { answer, rest } => {
                self.park_message(origin, (message, kv_before), rest, answer);
                None
            }
        }
    }

    /// A message has come to a step that waits.
    pub(super) fn park_message(
        &mut self,
        origin: Origin,
        (message, kv_before): (Arc<Message>, u64),
        rest: Rest,
        answer: StepAnswer,
    ) {
        let sender = self.sender(origin);
        let parked = Parked {
            rest,
            message,
            origin,
            sender,
            kv_before,
            is_event: false,
        };
        self.park(parked, answer);
    }

    /// Whether no chain names its topic.
    #[inline]
    fn passes_by(&mut self, message: &Message) -> bool {
        let chains = &mut self.ports.chains;
        let Some(version) = chains.version() else {
            return false;
        };
        let place = self.known.place(&message.topic);
        let names = |topic: &str| chains.names(topic);
        let named = self.known.named(place, version, names);
        if named.is_some() {
            chains.expect(version, named);
        }
        !named.is_some()
    }

    #[inline]
    pub(super) fn run_chains(&mut self, origin: Origin, message: &Arc<Message>) -> ChainProgress {
        let index = origin.client.and_then(|key| usize::try_from(key).ok());
        let client = index.and_then(|index| self.clients.get(index));
        let identity = client.map(|client| &client.identity);
        let publisher = Publisher {
            client_id: &message.publisher,
            username: identity.and_then(|identity| identity.username.as_deref()),
            attributes: identity.map_or(&[], |identity| &identity.attributes),
            session: self.number(origin),
        };
        self.ports
            .chains
            .run(self.ports.hooks.as_mut(), publisher, message)
    }

    /// Windows of chains have ended by themselves: what comes out of them is retained and routed.
    pub fn chains_due(&mut self, now: Instant) {
        let unix_ms = self.clock.unix_ms(now);
        let (chains, hooks) = (&mut self.ports.chains, self.ports.hooks.as_mut());
        for message in chains.due(hooks, unix_ms) {
            self.take(now, &message, false);
        }
    }

    /// As plugins know the connection; 0 without one.
    fn number(&self, origin: Origin) -> u64 {
        let connection = origin.connection;
        connection.map_or(0, |connection| connection.number(self.id))
    }

    fn sender(&self, origin: Origin) -> Sender {
        let client = origin.client.and_then(|key| self.client(key));
        client.map_or_else(Sender::default, |client| Sender {
            username: client.identity.username.clone(),
            attributes: client.identity.attributes.clone(),
        })
    }

    fn park(&mut self, parked: Parked, answer: StepAnswer) {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        let connection = parked.origin.connection;
        if let Some(connection) = connection.and_then(|id| self.connection_mut(id)) {
            connection.parked = Some(ticket);
        }
        self.parked.insert(ticket, parked);
        self.counters.parked += 1;
        self.actions.push_back(Action::Ask { ticket, answer });
    }

    /// An event whose chain has come to a step that waits.
    pub(super) fn park_event(
        &mut self,
        (message, username): (Arc<Message>, Option<ByteString>),
        kv_before: u64,
        rest: Rest,
        answer: StepAnswer,
    ) {
        let parked = Parked {
            rest,
            message,
            origin: Origin::default(),
            sender: Sender {
                username,
                attributes: Vec::new(),
            },
            kv_before,
            is_event: true,
        };
        self.park(parked, answer);
    }

    /// Whether a packet of the connection waits.
    pub(super) fn is_held(&self, id: ConnectionId) -> bool {
        self.connection(id)
            .is_some_and(|connection| connection.is_held())
    }

    /// The connection of a parked message ends before the answer is there. What is acknowledged comes again
    /// [MQTT-4.4.0-1], as new as it was the first time; going on with it now would take it twice. What is not goes on.
    pub(super) fn unpark(&mut self, ticket: Option<Ticket>, session: &mut Option<Session>) {
        let Some(ticket) = ticket else { return };
        let Some(parked) = self.parked.get_mut(&ticket) else {
            return;
        };
        let origin = std::mem::take(&mut parked.origin);
        let Some(packet_id) = origin.packet_id else {
            return;
        };
        if parked.message.qos == QoS::ExactlyOnce
            && let Some(session) = session
        {
            session.forget_received(packet_id);
        }
        self.parked.remove(&ticket);
        self.counters.parked_dropped += 1;
    }

    /// The answer to [`Action::Ask`]: the message goes on.
    pub fn answered(
        &mut self,
        now: Instant,
        ticket: Ticket,
        answer: Result<StepOutcome, StepFailure>,
    ) {
        let Some(parked) = self.parked.remove(&ticket) else {
            return; // its connection ended
        };
        let before = self.position;
        let (message, origin) = (parked.message.clone(), parked.origin);
        let session = self.number(origin);
        let publisher = publisher(&message, session, &parked.sender);
        let (chains, hooks) = (&mut self.ports.chains, self.ports.hooks.as_mut());
        let run = match chains.resume(hooks, publisher, parked.rest, answer) {
            ChainProgress::Done(run) => run,
            ChainProgress::Waits { answer, rest } => {
                return self.park(Parked { rest, ..parked }, answer);
            }
        };
        if parked.is_event {
            return self.take_emissions(now, parked.kv_before, &run);
        }
        let is_told = origin.connection.is_some();
        let said = self.dispose(now, &message, (is_told, parked.kv_before), run);
        let (Some(id), Some(key)) = (origin.connection, origin.client) else {
            return;
        };
        if let Some(connection) = self.connection_mut(id) {
            connection.parked = None;
        }
        if let Some(packet_id) = origin.packet_id {
            let packet = (packet_id, message.qos);
            self.conclude((id, key), packet, (before, parked.kv_before), said);
        }
        self.actions.push_back(Action::Resume(id));
    }
}
