//! Bursts to topics that chains name: each message goes through its chains, and those that come out with nothing but perhaps another
//! payload go on together.
//!
//! Owns: that what becomes of every message, its place among the others and its acknowledgement are what the way of each by itself makes of them
//! (`park.rs`, `inbound.rs`). QoS 2 does not come here.

use super::burst::may_end;
use super::counters::bytes;
use super::inbound::{Answer, Origin};
use super::route::bit;
use super::{ConnectionId, Shard};
use crate::ports::Position;
use crate::ports::chains::{ChainOutcome, ChainProgress, ChainRun};
use ::bytes::{Bytes, BytesMut};
use std::sync::Arc;
use std::time::Instant;
use witmq_proto::burst::{Gathered, Span};
use witmq_proto::packet::{PacketId, QoS};
use witmq_proto::{Burst, Message};

impl Shard {
    /// Every message of a burst goes through the chains. Where one comes to a step that waits, those behind it are put back in
    /// front of `input`; whether that happened.
    pub(super) fn run_burst(
        &mut self,
        now: Instant,
        (id, key): (ConnectionId, u32),
        burst: &Burst,
        input: &mut BytesMut,
    ) -> bool {
        let is_told = burst.packets().qos() > QoS::AtMostOnce;
        let mut gathered = Gathered::new(burst);
        let mut message = Arc::new(burst.with_payload(Bytes::new()));
        for span in burst.spans() {
            self.counters.burst_messages += 1;
            self.counters.received += 1;
            self.counters.payload_received += bytes(span.payload_bytes());
            let payload = burst.payload(span);
            match Arc::get_mut(&mut message) {
                Some(message) => message.payload = payload,
                None => message = Arc::new(burst.with_payload(payload)), // somebody keeps the one before
            }
            let before = (self.position, self.ports.store.kv_changes());
            let origin = Origin {
                client: Some(key),
                connection: Some(id),
                packet_id: span.id(),
            };
            match self.run_chains(origin, &message) {
                ChainProgress::Done(run) => {
                    if !self.gathers(&mut gathered, span, before, &run) {
                        // Before it, what came before it; and its answer behind theirs [MQTT-4.6.0-2].
                        if is_told || goes_anywhere(&run) {
                            self.send_on(now, (id, key), &mut gathered);
                        }
                        self.send_alone(now, origin, &message, before, run);
                    }
                    if !self.is_read(id) {
                        put_back(burst.behind(span), input);
                        return false;
                    }
                }
                ChainProgress::Waits { answer, rest } => {
                    self.send_on(now, (id, key), &mut gathered);
                    self.owe(id, span.id());
                    self.park_message(origin, (message, before.1), rest, answer);
                    put_back(burst.behind(span), input);
                    return true;
                }
            }
            if gathered.is_full() {
                self.send_on(now, (id, key), &mut gathered);
            }
        }
        self.send_on(now, (id, key), &mut gathered);
        false
    }

    /// Whether a message goes on with others. `before`: the last record and the changes of keys before its chains; a message whose chains have
    /// made one is acknowledged by itself.
    #[inline]
    fn gathers(
        &self,
        gathered: &mut Gathered<'_>,
        span: Span,
        before: (Position, u64),
        run: &ChainRun,
    ) -> bool {
        let is_changed = before != (self.position, self.ports.store.kv_changes());
        if !run.emissions.is_empty() || is_changed && span.id().is_some() {
            return false;
        }
        match &run.outcome {
            ChainOutcome::Untouched => {
                gathered.keep(span);
                true
            }
            ChainOutcome::Replaced(other) => gathered.put(span, other),
            _ => false,
        }
    }

    /// A message by itself, and what its publisher is told.
    fn send_alone(
        &mut self,
        now: Instant,
        origin: Origin,
        message: &Arc<Message>,
        before: (Position, u64),
        run: ChainRun,
    ) {
        let answer = self.dispose(now, message, (true, before.1), run);
        self.tell(origin, message.qos, before, answer);
    }

    /// The publisher of a message of a burst is told what became of it, if it is to be told.
    fn tell(&mut self, origin: Origin, qos: QoS, before: (Position, u64), answer: Answer) {
        let Some(id) = origin.connection else { return };
        self.owe(id, origin.packet_id);
        if let (Some(key), Some(packet_id)) = (origin.client, origin.packet_id) {
            self.conclude((id, key), (packet_id, qos), before, answer);
        }
    }

    /// A message is answered by itself.
    fn owe(&mut self, id: ConnectionId, packet_id: Option<PacketId>) {
        if let (Some(_), Some(connection)) = (packet_id, self.connection_mut(id)) {
            connection.endpoint.owe_message();
        }
    }

    /// Whether more of a connection is read: what comes of its own message may be too much for it.
    fn is_read(&self, id: ConnectionId) -> bool {
        self.connection(id)
            .is_some_and(|connection| !connection.closing)
    }

    /// Routes what was gathered, and acknowledges it.
    fn send_on(
        &mut self,
        now: Instant,
        (id, key): (ConnectionId, u32),
        gathered: &mut Gathered<'_>,
    ) {
        let Some(burst) = gathered.take() else {
            return;
        };
        let qos = burst.packets().qos();
        let place = self.known.place(&burst.topic);
        let wanted = self.known.wanted(&self.shared.interest, place);
        let (shards, durable, is_grouped) =
            (wanted.shards, wanted.durable, !wanted.groups.is_empty());
        let is_judged = durable != 0 || may_end(&self.limits, shards & bit(self.id));
        if is_grouped || is_judged && qos > QoS::AtMostOnce {
            // Somebody has subscribed since: each is kept, or chooses a member.
            for (span, message) in burst.spans().zip(burst.messages()) {
                let before = (self.position, self.ports.store.kv_changes());
                let reason = self.take(now, &Arc::new(message), true);
                let origin = Origin {
                    client: Some(key),
                    connection: Some(id),
                    packet_id: span.id(),
                };
                self.tell(origin, qos, before, Answer::code(reason));
            }
            return;
        }
        let (burst, before) = (Arc::new(burst), self.position);
        self.route_burst(now, &burst, place, shards);
        self.conclude_burst(id, before, burst.packets(), shards != 0);
    }
}

/// Whether something is routed of a message.
fn goes_anywhere(run: &ChainRun) -> bool {
    let ends = matches!(
        run.outcome,
        ChainOutcome::Refused { .. } | ChainOutcome::Consumed | ChainOutcome::Withheld
    );
    !ends || !run.emissions.is_empty()
}

/// What was taken off too early is read again.
fn put_back(bytes: Bytes, input: &mut BytesMut) {
    if bytes.is_empty() {
        return;
    }
    let mut all = BytesMut::with_capacity(bytes.len() + input.len());
    all.extend_from_slice(&bytes);
    all.extend_from_slice(input);
    *input = all;
}
