//! How much of a shard's time changes of subscriptions take before everybody else has a turn.
//!
//! Owns: [`Turnstile`] and [`Changing`], a SUBSCRIBE or UNSUBSCRIBE on its way. A turn has so many changes; what
//! does not fit waits, first come first served, one with more filters than a turn has goes behind the others after
//! each turn's worth of them. A connection has at most one packet here and nothing more is read from it meanwhile,
//! so nothing of its client overtakes; the queue is as long as there are connections.

use super::promise::Promise;
use super::{Action, ConnectionId, Shard};
use crate::ports::Position;
use std::collections::VecDeque;
use std::time::{Duration, Instant};
use witmq_proto::ReasonCode;
use witmq_proto::packet::{Suback, Subscribe, Unsuback, Unsubscribe};

/// A turn for which nobody waits is over after this: who changes little never waits.
const TURN: Duration = Duration::from_millis(1);
/// A longer filter counts as one more change for each of these: its levels are as many steps.
const BYTES_PER_CHANGE: usize = 64;

/// Who may change subscriptions now, and who waits.
pub(super) struct Turnstile {
    /// Changes that this turn has left.
    pub(super) left: usize,
    began: Instant,
    /// In order. Connections that ended meanwhile are passed over.
    queue: VecDeque<ConnectionId>,
    /// [`Action::Turn`] was given and not obeyed yet.
    is_asked: bool,
}

impl Turnstile {
    /// Open for `changes`.
    pub(super) fn new(changes: usize, now: Instant) -> Self {
        Self {
            left: changes.max(1),
            began: now,
            queue: VecDeque::new(),
            is_asked: false,
        }
    }

    fn begin(&mut self, changes: usize, now: Instant) {
        self.left = changes.max(1);
        self.began = now;
    }

    /// Begins the next turn if nobody waits for it and this one is over.
    pub(super) fn open(&mut self, changes: usize, now: Instant) {
        if self.queue.is_empty() && now.saturating_duration_since(self.began) >= TURN {
            self.begin(changes, now);
        }
    }

    /// Whether one with a filter of so many bytes fits; the first of a turn always does.
    fn take(&mut self, share: &mut usize, bytes: usize) -> bool {
        if self.left == 0 || *share == 0 {
            return false;
        }
        let changes = changes(bytes);
        self.left = self.left.saturating_sub(changes);
        *share = share.saturating_sub(changes);
        true
    }
}

/// What taking a filter of so many bytes in or out counts as.
pub(super) fn changes(bytes: usize) -> usize {
    1 + bytes / BYTES_PER_CHANGE
}

/// What a client asked for.
enum Change {
    Subscribe(Box<Subscribe>),
    Unsubscribe(Box<Unsubscribe>),
}

/// A SUBSCRIBE or UNSUBSCRIBE of which some filters may be done.
pub(super) struct Changing {
    change: Change,
    /// Of the filters that are done, in order [MQTT-3.8.4-6].
    reasons: Vec<ReasonCode>,
    /// Last record before its first.
    before: Position,
    /// Changes it may still make before others that wait.
    share: usize,
}

impl Shard {
    pub(super) fn handle_subscribe(
        &mut self,
        now: Instant,
        id: ConnectionId,
        subscribe: Box<Subscribe>,
    ) {
        self.change(now, id, Change::Subscribe(subscribe));
    }

    pub(super) fn handle_unsubscribe(
        &mut self,
        now: Instant,
        id: ConnectionId,
        unsubscribe: Box<Unsubscribe>,
    ) {
        self.change(now, id, Change::Unsubscribe(unsubscribe));
    }

    fn change(&mut self, now: Instant, id: ConnectionId, change: Change) {
        if self
            .connection(id)
            .is_none_or(|connection| connection.client.is_none())
        {
            return;
        }
        let limit = self.limits.subscribe_turn;
        let is_first = self.turnstile.queue.is_empty();
        self.turnstile.open(limit, now);
        let filters = match &change {
            Change::Subscribe(subscribe) => subscribe.filters.len(),
            Change::Unsubscribe(unsubscribe) => unsubscribe.filters.len(),
        };
        let mut changing = Changing {
            change,
            reasons: Vec::with_capacity(filters),
            before: self.position,
            share: limit.max(1),
        };
        if is_first && self.advance(now, id, &mut changing) {
            return self.answer(id, changing);
        }
        self.counters.changes_waited += 1;
        self.wait(id, Box::new(changing));
    }

    /// The turn of everybody else is over: [`Action::Turn`].
    pub fn next_turn(&mut self, now: Instant) {
        self.look_at_wanted();
        self.turnstile.is_asked = false;
        if self.is_congested() {
            return; // asked for again when it is not
        }
        self.turnstile.begin(self.limits.subscribe_turn, now);
        while self.turnstile.left > 0 {
            let Some(id) = self.turnstile.queue.pop_front() else {
                break;
            };
            let connection = self.connection_mut(id);
            let Some(mut changing) = connection.and_then(|connection| connection.changing.take())
            else {
                continue; // it ended
            };
            if self.advance(now, id, &mut changing) {
                self.answer(id, *changing);
                self.actions.push_back(Action::Resume(id));
            } else {
                self.wait(id, changing);
            }
        }
        self.clear_leftovers();
        self.ask_for_turn();
    }

    /// Whoever waits here is served in a turn to come, and so are leftovers.
    pub(super) fn ask_for_turn(&mut self) {
        let is_wanted = !self.turnstile.queue.is_empty() || !self.leftovers.is_empty();
        if is_wanted && !self.turnstile.is_asked {
            self.turnstile.is_asked = true;
            self.actions.push_back(Action::Turn);
        }
    }

    /// Before all others if its share is not used up, else behind them.
    fn wait(&mut self, id: ConnectionId, mut changing: Box<Changing>) {
        let is_begun = !changing.reasons.is_empty();
        let is_behind = changing.share == 0;
        if is_behind {
            changing.share = self.limits.subscribe_turn.max(1);
        }
        let Some(connection) = self.connection_mut(id) else {
            return;
        };
        connection.changing = Some(changing);
        if is_begun && !is_behind {
            self.turnstile.queue.push_front(id);
        } else {
            self.turnstile.queue.push_back(id);
        }
        self.ask_for_turn();
    }

    /// Changes as much as it may; whether all is done.
    fn advance(&mut self, now: Instant, id: ConnectionId, changing: &mut Changing) -> bool {
        let Some(key) = self.connection(id).and_then(|connection| connection.client) else {
            return true;
        };
        let Changing {
            change,
            reasons,
            share,
            ..
        } = changing;
        match change {
            Change::Subscribe(subscribe) => {
                let subscription_id = subscribe.subscription_id;
                for wanted in subscribe.filters.iter().skip(reasons.len()) {
                    if !self.turnstile.take(share, wanted.filter.len()) {
                        return false;
                    }
                    reasons.push(self.subscribe_one(now, key, wanted, subscription_id));
                }
            }
            Change::Unsubscribe(unsubscribe) => {
                for filter in unsubscribe.filters.iter().skip(reasons.len()) {
                    if !self.turnstile.take(share, filter.len()) {
                        return false;
                    }
                    reasons.push(self.unsubscribe_rewritten(key, filter));
                }
            }
        }
        true
    }

    /// All is done, and routing live: the client is told once what was recorded is durable.
    fn answer(&mut self, id: ConnectionId, changing: Changing) {
        let Changing {
            change,
            reasons,
            before,
            ..
        } = changing;
        let promise = match change {
            Change::Subscribe(subscribe) => Promise::Suback(Box::new(Suback {
                packet_id: subscribe.packet_id,
                reasons,
                reason_string: None,
                user: Vec::new(),
            })),
            Change::Unsubscribe(unsubscribe) => Promise::Unsuback(Box::new(Unsuback {
                packet_id: unsubscribe.packet_id,
                reasons,
                reason_string: None,
                user: Vec::new(),
            })),
        };
        self.promise(id, before, promise);
        self.wake(id);
    }
}
