//! Events that chains begin with: noted where they happen, run at the end of the turn, on the shard that has them.
//!
//! Owns: the queue between the two, and the cut of loops: what comes out of a chain that an event began has made its
//! last hop, and what becomes of a message on its last hop is no event. Must not: make anything, not even a copy, where
//! no chain asks for the kind.

use super::{Action, Shard};
use crate::ports::chains::{ChainProgress, ChainRun};
use crate::ports::raised::{Detail, EventKind, PluginAlarm, Raised, Wanted};
use crate::ports::{Publisher, Record};
use bytestring::ByteString;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;
use witmq_proto::packet::QoS;
use witmq_proto::{Delivery, Message, ReasonCode};

/// Run in one go at most; between two of them the shard obeys its other actions.
const BATCH: usize = 256;

/// What has happened and waits for its chains.
#[derive(Default)]
pub(super) struct Waiting {
    queue: VecDeque<Raised>,
    /// Whether the driver is asked to come back for it.
    is_asked: bool,
    /// What chains asked for when this batch began.
    wanted: Wanted,
}

impl Shard {
    /// A batch begins: looks once which events chains ask for.
    pub(super) fn look_at_wanted(&mut self) {
        self.raised.wanted = self.ports.chains.wanted();
    }

    /// Whether a chain asks for it, as of this batch.
    pub(super) fn wants(&self, kind: EventKind) -> bool {
        self.raised.wanted.has(kind)
    }

    /// Something that concerns a client, and happens rarely.
    pub(super) fn raise(&mut self, kind: EventKind, key: u32, detail: impl FnOnce() -> Detail) {
        self.look_at_wanted();
        if self.wants(kind) {
            self.enqueue(kind, key, detail());
        }
    }

    /// What became of a message on its way to a client. Ask [`Self::wants`] before.
    pub(super) fn raise_message(
        &mut self,
        kind: EventKind,
        key: u32,
        (message, qos): (&Arc<Message>, QoS),
        reason: Option<ReasonCode>,
        cause: Option<&'static str>,
    ) {
        if message.hops >= self.limits.hops.max(1) {
            return; // an event began its chain, or could have
        }
        let detail = Detail::Message {
            message: message.clone(),
            qos,
            reason,
            cause,
        };
        self.enqueue(kind, key, detail);
    }

    /// The client took a message over; `None` if that is said of it already.
    pub(super) fn acked(
        &mut self,
        key: u32,
        message: Option<Arc<Message>>,
        qos: QoS,
        reason: ReasonCode,
    ) {
        if let Some(message) = message.filter(|_| self.wants(EventKind::Acked)) {
            self.raise_message(EventKind::Acked, key, (&message, qos), Some(reason), None);
        }
    }

    /// A message that will not be delivered, if that is known of it.
    pub(super) fn raise_dropped(
        &mut self,
        key: u32,
        delivery: Option<&Delivery>,
        cause: &'static str,
    ) {
        if let Some(delivery) = delivery.filter(|_| self.wants(EventKind::Dropped)) {
            let what = (&delivery.message, delivery.qos);
            self.raise_message(EventKind::Dropped, key, what, None, Some(cause));
        }
    }

    /// A plugin does not do well, or does again. No client is concerned.
    pub fn raise_alarm(&mut self, alarm: PluginAlarm) {
        self.look_at_wanted();
        if self.wants(EventKind::PluginAlarm) && self.has_room() {
            self.note(Raised {
                kind: EventKind::PluginAlarm,
                client_id: ByteString::new(),
                username: None,
                detail: Detail::Alarm(alarm),
            });
        }
    }

    fn enqueue(&mut self, kind: EventKind, key: u32, detail: Detail) {
        if !self.has_room() {
            return;
        }
        let Some(client) = self.client(key) else {
            return;
        };
        let raised = Raised {
            kind,
            client_id: client.id.clone(),
            username: client.identity.username.clone(),
            detail,
        };
        self.note(raised);
    }

    /// Whether one more may wait; if not, it is given up and counted.
    fn has_room(&mut self) -> bool {
        let has_room = self.raised.queue.len() < self.limits.chain_events;
        self.counters.events_given_up += u64::from(!has_room);
        has_room
    }

    fn note(&mut self, raised: Raised) {
        self.raised.queue.push_back(raised);
        self.ask_to_raise();
    }

    /// Asks the driver to call [`Self::run_events`], once.
    pub(super) fn ask_to_raise(&mut self) {
        if !self.raised.queue.is_empty() && !self.raised.is_asked {
            self.raised.is_asked = true;
            self.actions.push_back(Action::Events);
        }
    }

    /// Whether something that happened waits for its chains: a batch of deliveries may leave much.
    #[must_use]
    pub fn has_events(&self) -> bool {
        self.raised.is_asked
    }

    /// Runs chains on what has happened. While a shard or the store takes no more it waits, within its bound.
    pub fn run_events(&mut self, now: Instant) {
        self.raised.is_asked = false;
        for _ in 0..BATCH {
            if self.is_congested() {
                return; // asked again when publishers go on
            }
            let Some(raised) = self.raised.queue.pop_front() else {
                return;
            };
            self.run_event(now, &raised);
        }
        self.ask_to_raise();
    }

    fn run_event(&mut self, now: Instant, raised: &Raised) {
        let unix_ms = self.clock.unix_ms(now);
        let Some(mut message) = self.ports.chains.present(raised, unix_ms) else {
            return; // nobody asks any more
        };
        message.hops = self.limits.hops.saturating_sub(1);
        let message = Arc::new(message);
        self.counters.events_raised += 1;
        let kv_before = self.ports.store.kv_changes();
        let publisher = Publisher {
            client_id: &raised.client_id,
            username: raised.username.as_deref(),
            attributes: &[],
            session: 0,
        };
        let (chains, hooks) = (&mut self.ports.chains, self.ports.hooks.as_mut());
        match chains.run(hooks, publisher, &message) {
            ChainProgress::Done(run) => self.take_emissions(now, kv_before, &run),
            ChainProgress::Waits { answer, rest } => {
                let username = raised.username.clone();
                self.park_event((message, username), kv_before, rest, answer);
            }
        }
    }

    /// What rule chains made of an event; the event itself goes nowhere.
    pub(super) fn take_emissions(&mut self, now: Instant, kv_before: u64, run: &ChainRun) {
        for emission in &run.emissions {
            self.take(now, emission, false);
        }
        if self.ports.store.kv_changes() != kv_before {
            self.append(Record::PluginKv);
        }
    }
}
