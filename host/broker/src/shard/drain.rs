//! Clients that are sent to another server: who connects at once, who is connected one after the other.
//!
//! Owns: the pace of [`Shard::drain`]. Where they are sent is [`crate::redirect::Redirect`].

use super::{ConnectionId, Shard, Timer};
use bytestring::ByteString;
use std::time::{Duration, Instant};
use witmq_proto::ReasonCode;

/// What clients are told.
const TEXT: &str = "this broker sends its clients to another server";

/// A drain under way.
pub(super) struct Drain {
    /// Between two disconnects.
    pace: Duration,
    /// Connections before this place are done.
    cursor: usize,
    /// So that timers of an earlier drain are recognised.
    number: u64,
}

impl Shard {
    /// Disconnects its clients one by one, the first after `delay`, each with the node's referral; their sessions
    /// stay as their expiry says. Replaces a drain under way; ends early when the node serves again.
    pub fn drain(&mut self, now: Instant, delay: Duration, pace: Duration) {
        self.drains += 1;
        let number = self.drains;
        let cursor = 0;
        self.draining = Some(Drain {
            pace,
            cursor,
            number,
        });
        self.timers.set(now + delay, Timer::Drain(number));
    }

    pub(super) fn drain_due(&mut self, now: Instant, number: u64) {
        let is_stale = |drain: &Drain| drain.number != number;
        if self.draining.as_ref().is_none_or(is_stale) {
            return;
        }
        let (Some(mut drain), Some(referral)) =
            (self.draining.take(), self.shared.redirect.present())
        else {
            return;
        };
        while drain.cursor < self.connections.bound() {
            let place = drain.cursor;
            drain.cursor += 1;
            let Some(connection) = self.connections.get(place) else {
                continue;
            };
            if connection.client.is_none() || connection.closing {
                continue; // who is not in yet is refused at CONNACK
            }
            let id = connection.id;
            self.counters.redirected += 1;
            self.end_connection(now, id, referral.reason(), TEXT);
            self.timers.set(now + drain.pace, Timer::Drain(number));
            self.draining = Some(drain);
            return;
        }
    }

    /// Refuses a CONNECT if the node sends its clients elsewhere; whether it did.
    pub(super) fn refer(&mut self, id: ConnectionId, client_id: &ByteString) -> bool {
        let Some(referral) = self.shared.redirect.present() else {
            return false;
        };
        self.counters.redirected += 1;
        self.refuse(id, client_id, referral.reason(), Some(TEXT.to_owned()));
        true
    }

    /// Where the node sends its clients with this reason, if it does.
    pub(super) fn referral(&self, reason: ReasonCode) -> Option<ByteString> {
        let present = is_referral(reason).then(|| self.shared.redirect.present());
        let present = present.flatten();
        let present = present.filter(|referral| referral.reason() == reason)?;
        Some(present.server.clone())
    }
}

/// Whether a Server Reference goes with this reason (section 4.11).
pub(super) fn is_referral(reason: ReasonCode) -> bool {
    matches!(
        reason,
        ReasonCode::UseAnotherServer | ReasonCode::ServerMoved
    )
}
