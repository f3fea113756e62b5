//! What clients are told once it is durable: acknowledgements wait here for their records, in order.
//!
//! Owns: [`Owed`] and [`Waiter`]. A connection's promises never overtake each other [MQTT-4.6.0-2]; those that promise
//! nothing durable are given at once.

use super::{ConnectionId, Shard};
use crate::ports::store::Health;
use crate::ports::{NotTaken, Position};
use std::sync::Arc;
use std::time::Instant;
use witmq_proto::packet::{PacketId, QoS, Suback, Unsuback};
use witmq_proto::session::Session;
use witmq_proto::{Message, ReasonCode};

/// Called once, on the shard's thread, when what somebody brought in or changed is kept.
pub type Waiter = Box<dyn FnOnce() + Send>;

/// An acknowledgement.
pub(super) enum Promise {
    /// PUBACK or PUBREC.
    Taken {
        packet_id: PacketId,
        qos: QoS,
        reason: ReasonCode,
        text: Option<String>,
    },
    /// PUBREL: the message will not be sent again.
    Released(PacketId),
    /// PUBCOMP: the identifier is free.
    Forgotten(PacketId),
    Suback(Box<Suback>),
    Unsuback(Box<Unsuback>),
}

/// An acknowledgement that waits for its record.
pub(super) struct Owed {
    position: Position,
    connection: ConnectionId,
    promise: Promise,
}

impl Shard {
    /// A message of the broker's own for somebody who waits until it is kept as far as anybody has a claim to it: he is
    /// called then, which may be before this comes back.
    ///
    /// # Errors
    /// It is not taken at present, and nobody is called.
    pub fn bring_in(
        &mut self,
        now: Instant,
        message: Message,
        waiter: Waiter,
    ) -> Result<(), NotTaken> {
        match self.ports.store.health() {
            Health::Refusing => return Err(NotTaken::Unstored),
            Health::Well if !self.is_congested() => {}
            Health::Well | Health::Congested => return Err(NotTaken::Busy),
        }
        if self.take(now, &Arc::new(message), false).is_failure() {
            return Err(NotTaken::Busy);
        }
        self.when_stored(waiter);
        Ok(())
    }

    /// Calls somebody once everything that was recorded so far is durable, at once if it is.
    pub fn when_stored(&mut self, waiter: Waiter) {
        if self.ports.store.stored() >= self.position {
            waiter();
        } else {
            self.waiting.push_back((self.position, waiter));
        }
    }

    /// Gives the promise once everything recorded since `before` is durable, at once if nothing was.
    pub(super) fn promise(&mut self, id: ConnectionId, before: Position, promise: Promise) {
        let position = self.position;
        let is_pending = position > before && position > self.ports.store.stored();
        let Some(connection) = self.connection_mut(id) else {
            return;
        };
        if !is_pending && connection.owes == 0 {
            return self.give(id, promise);
        }
        connection.owes += 1;
        self.owed.push_back(Owed {
            position,
            connection: id,
            promise,
        });
    }

    /// A connection ended with so many promises to it outstanding; when the last of them could have been kept. What was
    /// refused is not known to the session then: when it is sent again it is a new message [MQTT-4.3.3-9], not
    /// one to say PUBREC for.
    pub(super) fn drop_promises(
        &mut self,
        id: ConnectionId,
        owes: usize,
        mut session: Option<Session>,
    ) -> (Option<Session>, Position) {
        let mut last = Position::default();
        if owes == 0 {
            return (session, last);
        }
        self.owed.retain(|owed| {
            if owed.connection != id {
                return true;
            }
            last = last.max(owed.position);
            if let (
                Some(session),
                Promise::Taken {
                    packet_id, reason, ..
                },
            ) = (session.as_mut(), &owed.promise)
                && reason.is_failure()
            {
                session.forget_received(*packet_id);
            }
            false
        });
        (session, last)
    }

    /// Gives every promise whose record is durable by now [MQTT-4.3.2-4].
    pub(super) fn keep_promises(&mut self) {
        let stored = self.ports.store.stored();
        while self
            .owed
            .front()
            .is_some_and(|owed| owed.position <= stored)
        {
            let Some(owed) = self.owed.pop_front() else {
                return;
            };
            if let Some(connection) = self.connection_mut(owed.connection) {
                connection.owes -= 1;
                self.give(owed.connection, owed.promise);
                self.wake(owed.connection);
            }
        }
        while let Some((position, _)) = self.waiting.front()
            && *position <= stored
        {
            if let Some((_, waiter)) = self.waiting.pop_front() {
                waiter();
            }
        }
        while let Some((position, id)) = self.gated.front().copied() {
            if position > stored {
                return;
            }
            self.gated.pop_front();
            self.wake(id);
        }
    }

    fn give(&mut self, id: ConnectionId, promise: Promise) {
        let Some(connection) = self.connection_mut(id) else {
            return;
        };
        let endpoint = &mut connection.endpoint;
        match promise {
            Promise::Taken {
                packet_id,
                qos,
                reason,
                text,
            } => endpoint.acknowledge(packet_id, qos, reason, text.as_deref()),
            Promise::Released(packet_id) => endpoint.release(packet_id),
            Promise::Forgotten(packet_id) => endpoint.complete(packet_id),
            Promise::Suback(suback) => endpoint.suback(*suback),
            Promise::Unsuback(unsuback) => endpoint.unsuback(*unsuback),
        }
    }
}
