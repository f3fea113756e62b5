//! Bursts to topics that chains name: each message goes through its chains, and those that come out with nothing but perhaps another
//! payload go on together.
//!
//! Owns: that what becomes of every message, and its place among the others, is what the way of each by itself makes of it
//! (`park.rs`, `inbound.rs`). QoS 0 alone comes here: nobody is told what became of a message.

use super::counters::bytes;
use super::inbound::Origin;
use super::{ConnectionId, Shard};
use crate::ports::chains::{ChainOutcome, ChainProgress, ChainRun};
use ::bytes::{Bytes, BytesMut};
use std::sync::Arc;
use std::time::Instant;
use witmq_proto::Burst;
use witmq_proto::burst::Gathered;

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
        let origin = Origin {
            client: Some(key),
            connection: Some(id),
            packet_id: None,
        };
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
            let kv_before = self.ports.store.kv_changes();
            match self.run_chains(origin, &message) {
                ChainProgress::Done(ref run) if run.is_untouched() => gathered.keep(span),
                ChainProgress::Done(run) => {
                    let is_gathered = match &run.outcome {
                        ChainOutcome::Replaced(other) if run.emissions.is_empty() => {
                            gathered.put(span, other)
                        }
                        _ => false,
                    };
                    if !is_gathered && goes_anywhere(&run) {
                        self.send_on(now, &mut gathered); // before it, what came before it
                    }
                    if !is_gathered {
                        self.dispose(now, &message, (true, kv_before), run); // nobody is told
                    }
                    if !self.is_read(id) {
                        put_back(burst.behind(span), input);
                        return false;
                    }
                }
                ChainProgress::Waits { answer, rest } => {
                    self.send_on(now, &mut gathered);
                    self.park_message(origin, (message, kv_before), rest, answer);
                    put_back(burst.behind(span), input);
                    return true;
                }
            }
            if gathered.is_full() {
                self.send_on(now, &mut gathered);
            }
        }
        self.send_on(now, &mut gathered);
        false
    }

    /// Whether more of a connection is read: what comes of its own message may be too much for it.
    fn is_read(&self, id: ConnectionId) -> bool {
        self.connection(id)
            .is_some_and(|connection| !connection.closing)
    }

    /// Routes what was gathered.
    fn send_on(&mut self, now: Instant, gathered: &mut Gathered<'_>) {
        let Some(burst) = gathered.take() else {
            return;
        };
        let place = self.known.place(&burst.topic);
        let wanted = self.known.wanted(&self.shared.interest, place);
        let shards = wanted.shards;
        if wanted.groups.is_empty() {
            return self.route_burst(now, &Arc::new(burst), place, shards);
        }
        for message in burst.messages() {
            self.take(now, &Arc::new(message), true); // each chooses a member
        }
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
