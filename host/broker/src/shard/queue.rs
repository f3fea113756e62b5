//! Between outboxes and the store: what is owed to a session is kept, read back, and given up.
//!
//! Owns: the rules of a durable queue. A delivery of QoS 1 or 2 to a session that outlives its connection is
//! recorded before it is sent, with the number its packet identifier follows from; so the identifier is the
//! same after a restart, and what was acknowledged is not sent again.

use super::client::Sent;
use super::outbox::{Front, Outbox, Waiting, cost};
use super::{Action, Shard};
use crate::limits::Overflow;
use crate::ports::store::{Entry, Fetch, Fetched, SessionNumber, SessionState};
use crate::ports::{BrokerEvent, Position, Record};
use crate::router::ShardId;
use crate::router::groups::Pick;
use std::sync::Arc;
use std::time::Instant;
use witmq_proto::packet::QoS;
use witmq_proto::session::{Exchange, Session};
use witmq_proto::{Delivery, LogPlace, Message, ReasonCode};

/// Entries of a queue read at a time.
const PAGE_ENTRIES: usize = 128;
/// Payload bytes of a page, about.
const PAGE_BYTES: usize = 256 * 1024;

impl Shard {
    /// Owes `delivery` to a client, within the bounds of its outbox.
    #[inline]
    pub(super) fn push(&mut self, now: Instant, key: u32, mut delivery: Delivery) {
        if delivery.qos == QoS::AtMostOnce {
            return self.push_unkept(now, key, delivery);
        }
        let Some(client) = self.client(key) else {
            return;
        };
        let kept = client.kept;
        if client.connection.is_none() && kept.is_none() {
            self.counters.dropped_offline += 1;
            return;
        }
        if !self.make_room(now, key, &delivery) {
            return;
        }
        let mut position = Position::default();
        if let Some(session) = kept {
            if delivery.kept.is_none() {
                let message = delivery.message.clone();
                delivery.kept = Some(self.log(&message, 0, &[]));
            }
            delivery.number = self.take_number(key);
            position = self.append(Record::Queued {
                session,
                delivery: &delivery,
            });
        } else {
            delivery.kept = None;
            delivery.number = self.take_number(key);
        }
        let stored = self.ports.store.stored();
        let Some(client) = self.client_mut(key) else {
            return;
        };
        client.has_group_deliveries |= delivery.group.is_some();
        let connection = client.connection;
        let waiting = Waiting { delivery, position };
        client.outbox.push(waiting, connection.is_some());
        self.note_presence(key);
        let Some(id) = connection else { return };
        if position > stored {
            self.gated.push_back((position, id));
        } else {
            self.wake(id);
        }
    }

    /// QoS 0: nothing is recorded, and nothing waited for.
    #[inline]
    fn push_unkept(&mut self, now: Instant, key: u32, mut delivery: Delivery) {
        delivery.kept = None;
        let bounds = (self.limits.outbox_messages, self.limits.outbox_bytes);
        let Some(client) = self.client_mut(key) else {
            return;
        };
        let Some(id) = client.connection else {
            self.counters.dropped_offline += 1;
            return;
        };
        let client = if client.outbox.has_room(&delivery, bounds.0, bounds.1) {
            Some(client)
        } else if self.make_room(now, key, &delivery) {
            self.client_mut(key)
        } else {
            None
        };
        let Some(client) = client else { return };
        client.has_group_deliveries |= delivery.group.is_some();
        let has_presence = client.presence.is_some();
        let position = Position::default();
        client.outbox.push(Waiting { delivery, position }, true);
        if has_presence {
            self.note_presence(key);
        }
        self.wake(id);
    }

    /// Applies the bounds of the outbox and their policy; false if the delivery is dropped.
    fn make_room(&mut self, now: Instant, key: u32, delivery: &Delivery) -> bool {
        let (messages, bytes) = (self.limits.outbox_messages, self.limits.outbox_bytes);
        let overflow = self.limits.overflow;
        let Some(client) = self.client_mut(key) else {
            return false;
        };
        if client.outbox.has_room(delivery, messages, bytes) {
            return true;
        }
        if self.drop_too_old(now, key) {
            return self.make_room(now, key, delivery);
        }
        let Some(client) = self.client_mut(key) else {
            return false;
        };
        let connection = client.connection;
        if delivery.qos == QoS::AtMostOnce || overflow == Overflow::DropNewest {
            self.dropped(key, "queue-full", Some(delivery));
            return false;
        }
        if overflow == Overflow::Disconnect {
            self.dropped(key, "queue-full", Some(delivery));
            if let Some(id) = connection {
                let text = "the client reads too slowly";
                self.end_connection(now, id, ReasonCode::QuotaExceeded, text);
            }
            return false;
        }
        let oldest = client.outbox.pop();
        if let Some(oldest) = &oldest {
            self.done(key, oldest.number, oldest.kept);
        } else if let (Some(from), Some(session)) = (client.outbox.trim_spilled(), client.kept) {
            self.append(Record::Trimmed { session, from });
        }
        self.dropped(key, "queue-full", oldest.as_ref());
        true
    }

    /// Whatever was taken before this has waited too long, Unix milliseconds; 0: nothing has.
    pub(super) fn oldest_waiting(&self, now: Instant) -> u64 {
        let age = self.limits.outbox_age;
        if age.is_zero() {
            return 0;
        }
        let age = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        self.clock.unix_ms(now).saturating_sub(age)
    }

    /// Drops the first message in memory if it has waited too long; whether it had.
    fn drop_too_old(&mut self, now: Instant, key: u32) -> bool {
        let oldest = self.oldest_waiting(now);
        let Some(client) = self.client_mut(key) else {
            return false;
        };
        let is_first_too_old = match client.outbox.front() {
            Some(Front::One(waiting)) => is_too_old(&waiting.delivery, oldest),
            Some(Front::Burst(burst, _)) => burst.received_ms < oldest,
            None => false,
        };
        if !is_first_too_old {
            return false;
        }
        let Some(delivery) = client.outbox.pop() else {
            return false;
        };
        self.done(key, delivery.number, delivery.kept);
        self.dropped(key, "too-old", Some(&delivery));
        true
    }

    fn take_number(&mut self, key: u32) -> u64 {
        self.client_mut(key).map_or(0, |client| {
            let number = client.next_number;
            client.next_number += 1;
            number
        })
    }

    /// Writes a message to the log: for ordinary subscribers of the shards in `targets`, for `picks` on other
    /// shards, and for whoever refers to it in this turn.
    pub(super) fn log(&mut self, message: &Arc<Message>, targets: u64, picks: &[Pick]) -> LogPlace {
        let owed = picks
            .iter()
            .filter(|pick| pick.is_durable && pick.shard != self.id);
        let groups: Vec<_> = owed.map(|pick| (pick.shard, pick.key.clone())).collect();
        let place = LogPlace {
            shard: self.id.0,
            number: self.next_log_number,
        };
        self.next_log_number += 1;
        self.append(Record::Message {
            place,
            message,
            targets,
            groups: &groups,
        });
        place
    }

    /// The session no longer owes an entry of its queue.
    pub(super) fn done(&mut self, key: u32, number: u64, kept: Option<LogPlace>) {
        let session = self.client(key).and_then(|client| client.kept);
        if let (Some(session), Some(_)) = (session, kept) {
            self.append(Record::Done {
                session,
                number,
                kept,
            });
        }
    }

    /// Counts and reports a message that will not be delivered.
    pub(super) fn dropped(&mut self, key: u32, cause: &'static str, delivery: Option<&Delivery>) {
        self.raise_dropped(key, delivery, cause);
        match cause {
            "expired" => self.counters.dropped_expired += 1,
            "too-old" => self.counters.dropped_too_old += 1,
            "too-large" => self.counters.dropped_too_large += 1,
            "lost" => self.counters.dropped_lost += 1,
            _ => self.counters.dropped_full += 1,
        }
        let Some(client_id) = self.client(key).map(|client| client.id.clone()) else {
            return;
        };
        self.ports
            .events
            .emit(BrokerEvent::Dropped { client_id, cause });
    }

    /// Records the session of a client as it is now.
    pub(super) fn record_session(&mut self, now: Instant, key: u32) {
        let absent_since = self.clock.unix_ms(now);
        let Some(client) = self.client(key) else {
            return;
        };
        let Some(session) = client.kept else { return };
        let is_away = client.connection.is_none();
        let state = SessionState {
            client_id: client.id.clone(),
            expiry: client.expiry,
            absent_since: is_away.then_some(absent_since),
            next_number: client.session.as_deref().map(Session::next_number),
        };
        self.append(Record::Session {
            session,
            state: &state,
        });
    }

    /// The client of a kept session went away: memory keeps no message of it.
    pub(super) fn leave_to_store(&mut self, key: u32) {
        let position = self.position;
        let Some(client) = self.client_mut(key) else {
            return;
        };
        let (outbox, session) = (&mut client.outbox, client.session.as_deref_mut());
        for (number, exchange) in session.into_iter().flat_map(Session::take_inflight) {
            let bytes = match &exchange {
                Exchange::Published(delivery) => cost(delivery),
                Exchange::Released(_) => 0,
            };
            outbox.spill(number, bytes, Position::default());
        }
        let dropped = outbox.leave_to_store(position);
        self.counters.dropped_offline += dropped;
    }

    /// Asks for the next page of a client's queue, if it needs one and is connected.
    pub(super) fn want_page(&mut self, now: Instant, key: u32) {
        if self.ask_for_page(key) {
            self.take_pages(now);
        }
    }

    fn ask_for_page(&mut self, key: u32) -> bool {
        let stored = self.ports.store.stored();
        let number = self.questions + 1;
        let Some(client) = self.client_mut(key) else {
            return false;
        };
        let (Some(session), Some(_)) = (client.kept, client.connection) else {
            return false;
        };
        let Some(from) = client.outbox.next_page(stored, number) else {
            return false;
        };
        self.fetch(session, from);
        true
    }

    /// Asks the store; the number of the question.
    fn fetch(&mut self, session: SessionNumber, from: u64) -> u64 {
        self.questions += 1;
        self.ports.store.fetch(Fetch {
            session,
            from,
            limit: PAGE_ENTRIES,
            bytes: PAGE_BYTES,
            number: self.questions,
        });
        self.questions
    }

    /// Takes every page the store has read by now.
    pub(super) fn take_pages(&mut self, now: Instant) {
        while let Some(page) = self.ports.store.poll_fetched() {
            let session = page.fetch.session;
            if let Some(rest) = self.ending.get(&session) {
                if rest.asked == page.fetch.number {
                    self.redistribute(now, page);
                }
            } else if let Some(key) = self.kept.get(&session).copied() {
                self.take_page(key, page);
            }
        }
    }

    fn take_page(&mut self, key: u32, page: Fetched) {
        let Some(client) = self.client_mut(key) else {
            return;
        };
        if !client.outbox.expects(page.fetch.number) {
            return;
        }
        let Some(id) = client.connection else { return };
        let is_empty = page.entries.is_empty();
        for (number, entry) in page.entries {
            self.take_entry(key, number, entry);
        }
        let Some(client) = self.client_mut(key) else {
            return;
        };
        client.outbox.end_page(page.is_last, is_empty);
        self.wake(id);
        self.ask_for_page(key);
    }

    fn take_entry(&mut self, key: u32, number: u64, entry: Entry) {
        let Some(client) = self.client_mut(key) else {
            return;
        };
        let bytes = match &entry {
            Entry::Queued(delivery) => cost(delivery),
            Entry::Released(_) | Entry::Lost(_) => 0,
        };
        client.outbox.took_back(number, bytes);
        // In the first pages is what an earlier connection had in flight: it goes first, marked as sent.
        let was_sent = client.sent.has(number);
        client.has_group_deliveries |= matches!(&entry, Entry::Queued(d) if d.group.is_some());
        let exchange = match entry {
            Entry::Lost(kept) => {
                self.done(key, number, kept);
                return self.dropped(key, "lost", None);
            }
            Entry::Queued(delivery) if !was_sent => return client.outbox.push_back(delivery),
            Entry::Queued(delivery) => Exchange::Published(delivery),
            Entry::Released(kept) => Exchange::Released(kept),
        };
        let Some(id) = client.connection else { return };
        if let Some(connection) = self.connection_mut(id) {
            connection.endpoint.restore(number, exchange);
        }
    }

    /// A session ended: what it owed through shared groups goes to other members, from memory at once, from
    /// the store page by page; then its queue is forgotten.
    pub(super) fn redistribute_queue(&mut self, now: Instant, ended: Ended) {
        for delivery in ended.deliveries {
            self.redeliver(now, &delivery);
        }
        let Some(session) = ended.kept else { return };
        if ended.outbox.spilled() > 0 && ended.has_group_deliveries {
            let asked = self.fetch(session, ended.outbox.spilled_from());
            let rest = Rest {
                asked,
                ..ended.rest
            };
            self.ending.insert(session, rest);
            return self.take_pages(now);
        }
        self.append(Record::SessionEnded {
            session,
            client_id: &ended.rest.client_id,
        });
    }

    fn redistribute(&mut self, now: Instant, page: Fetched) {
        let session = page.fetch.session;
        let last = page.entries.last().map(|(number, _)| *number);
        for (number, entry) in page.entries {
            let Entry::Queued(delivery) = entry else {
                continue;
            };
            let rest = self.ending.get_mut(&session);
            let was_sent = rest.is_some_and(|rest| rest.sent.has(number));
            // Begun with this client, a QoS 2 message goes to no other [MQTT-4.8.2-5].
            if !was_sent || delivery.qos < QoS::ExactlyOnce {
                self.redeliver(now, &delivery);
            }
        }
        match last.filter(|_| !page.is_last) {
            Some(last) => {
                let asked = self.fetch(session, last + 1);
                if let Some(rest) = self.ending.get_mut(&session) {
                    rest.asked = asked;
                }
            }
            None => {
                if let Some(rest) = self.ending.remove(&session) {
                    self.append(Record::SessionEnded {
                        session,
                        client_id: &rest.client_id,
                    });
                }
            }
        }
    }

    /// Tells the store that this shard has queued what another one logged.
    pub(super) fn applied(&mut self, kept: Option<LogPlace>) {
        if let Some(place) = kept {
            self.append(Record::Applied { place });
        }
    }

    /// Mails a message to another shard.
    pub(super) fn mail(
        &mut self,
        to: ShardId,
        message: &Arc<Message>,
        picks: Vec<Pick>,
        plain: bool,
        kept: Option<LogPlace>,
    ) {
        let mail = super::Mail::Publish {
            message: message.clone(),
            picks,
            plain,
            kept,
        };
        self.counters.mailed += 1;
        self.actions.push_back(Action::Mail { to, mail });
    }
}

/// Whether it was taken before `oldest`. What is retained did not wait for this client.
pub(super) fn is_too_old(delivery: &Delivery, oldest: u64) -> bool {
    delivery.message.received_ms < oldest && !delivery.retain
}

/// What must be known of a session that ended until its queue is handed to others.
pub(super) struct Rest {
    pub(super) client_id: bytestring::ByteString,
    pub(super) sent: Sent,
    /// Number of the question that is not answered yet.
    pub(super) asked: u64,
}

/// What is left of a session that ended.
pub(super) struct Ended {
    pub(super) rest: Rest,
    pub(super) kept: Option<SessionNumber>,
    pub(super) has_group_deliveries: bool,
    pub(super) outbox: Outbox,
    /// What was in memory.
    pub(super) deliveries: Vec<Delivery>,
}
