//! What sessions that are over have left behind: subscriptions in the trie and in what all shards see.
//!
//! Owns: [`Leftovers`]. They are taken out in turns, `limits.subscribe_turn` changes at a time beside those of clients
//! ([`super::turn`]), so that neither the end of a session with very many nor that of many sessions holds anybody up. Nothing is
//! delivered for them: the number that they are filed under has no client, and is given to no other before the last is
//! out; a member of a shared group whose presence has ended is chosen for nothing. Beyond [`MOST`] of them an end is done in
//! one piece: turns may not come, while the shard is congested, and clients may.

use super::Shard;
use super::client::{Client, Membership};
use super::subscribe::place;
use super::turn::changes;
use crate::router::groups::Presence;
use crate::router::interest::GroupKey;
use bytestring::ByteString;
use std::collections::{VecDeque, hash_map, hash_set};
use std::sync::Arc;
use std::time::Instant;
use witmq_proto::topic::Filter;

/// Subscriptions of a shard that wait at most.
const MOST: usize = 1_000_000;

/// Subscriptions to take out, session by session.
pub(super) struct Leftovers {
    sessions: VecDeque<Leftover>,
    /// Of all sessions.
    len: usize,
    /// [`MOST`], but in tests.
    pub(super) most: usize,
}

impl Default for Leftovers {
    fn default() -> Self {
        Self {
            sessions: VecDeque::new(),
            len: 0,
            most: MOST,
        }
    }
}

impl Leftovers {
    pub(super) fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// Subscriptions that are still to be taken out.
    pub(super) fn len(&self) -> usize {
        self.len
    }
}

/// Those of one session.
struct Leftover {
    /// Its client's number.
    key: u32,
    /// The session outlived its connections.
    was_kept: bool,
    filters: hash_set::IntoIter<Box<str>>,
    groups: Option<Box<Groups>>,
}

/// Shared groups that it was in.
struct Groups {
    client_id: ByteString,
    presence: Arc<Presence>,
    parts: hash_map::IntoValues<Arc<GroupKey>, Membership>,
}

impl Leftover {
    fn of(key: u32, client: &mut Client) -> Self {
        let presence = client.presence.take();
        let groups = (client.shared.take().zip(presence)).map(|(shared, presence)| {
            Box::new(Groups {
                client_id: client.id.clone(),
                presence,
                parts: shared.into_values(),
            })
        });
        Self {
            key,
            was_kept: client.kept.is_some(),
            filters: std::mem::take(&mut client.plain).into_iter(),
            groups,
        }
    }

    fn len(&self) -> usize {
        let groups = self.groups.as_ref();
        self.filters.len() + groups.map_or(0, |groups| groups.parts.len())
    }
}

impl Shard {
    /// A client is gone from its place: nobody has its subscriptions from now on. What is exclusive is free at once, and what this
    /// turn has room for is taken out.
    pub(super) fn leave_behind(&mut self, now: Instant, key: u32, client: &mut Client) {
        self.counters.subscriptions -= u64::try_from(client.subscriptions()).unwrap_or(0);
        if client.has_exclusive {
            for text in client.plain.iter().filter(|text| place(key, text) != key) {
                if let Ok(Filter::Exclusive(filter)) = Filter::parse(&ByteString::from(&**text)) {
                    self.shared.exclusive.release(&filter, &client.id);
                }
            }
        }
        let mut left = Leftover::of(key, client);
        self.turnstile.open(self.limits.subscribe_turn, now);
        self.turnstile.left = self.take_out_of(&mut left, self.turnstile.left);
        if self.leftovers.len + left.len() > self.leftovers.most {
            self.take_out_of(&mut left, usize::MAX);
        }
        if left.len() == 0 {
            return self.let_go(key);
        }
        self.leftovers.len += left.len();
        self.leftovers.sessions.push_back(left);
        self.ask_for_turn();
    }

    /// One turn's worth.
    pub(super) fn clear_leftovers(&mut self) {
        let mut changes = self.limits.subscribe_turn.max(1);
        while let Some(mut left) = self.leftovers.sessions.pop_front() {
            let before = left.len();
            changes = self.take_out_of(&mut left, changes);
            self.leftovers.len -= before - left.len();
            if left.len() > 0 {
                return self.leftovers.sessions.push_front(left);
            }
            self.let_go(left.key);
        }
    }

    /// Takes out so many changes' worth; how many are left of them.
    fn take_out_of(&mut self, left: &mut Leftover, mut budget: usize) -> usize {
        while budget > 0 {
            let Some(text) = left.filters.next() else {
                return self.leave_groups(left, budget);
            };
            budget = budget.saturating_sub(changes(text.len()));
            let place = place(left.key, &text);
            if let Ok(Filter::Plain(filter) | Filter::Exclusive(filter)) =
                Filter::parse(&ByteString::from(&*text))
            {
                self.take_out(place, &filter, left.was_kept);
            }
        }
        budget
    }

    /// The same of its shared groups.
    fn leave_groups(&self, left: &mut Leftover, mut budget: usize) -> usize {
        let Some(groups) = &mut left.groups else {
            return budget;
        };
        while budget > 0 {
            let Some(part) = groups.parts.next() else {
                break;
            };
            budget = budget.saturating_sub(changes(part.key.filter.len()));
            let (client_id, presence) = (&groups.client_id, &groups.presence);
            self.shared.interest.leave(&part.key, client_id, presence);
        }
        budget
    }

    /// The number of a client that is gone may be given again.
    fn let_go(&mut self, key: u32) {
        if let Ok(index) = usize::try_from(key) {
            self.clients.release(index);
        }
    }
}
