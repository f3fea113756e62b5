//! What all shards of a node read: interest, retained messages, and each shard's last counters.
//!
//! Owns: [`Shared`]. Must not: hold anything a shard writes per message.

use crate::auto_subscribe::AutoSubscribe;
use crate::delayed::Room;
use crate::exclusive::Exclusive;
use crate::limits::Limits;
use crate::redirect::Redirect;
use crate::retained::Retained;
use crate::rewrite::Rewrites;
use crate::router::interest::Interest;
use crate::shard::Counters;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// One per node, behind an `Arc`.
#[derive(Debug)]
pub struct Shared {
    /// Which shards have subscribers of a topic.
    pub interest: Interest,
    /// Retained messages.
    pub retained: Retained,
    /// Whether clients are sent elsewhere.
    pub redirect: Redirect,
    /// Filters that one client has alone.
    pub exclusive: Exclusive,
    /// How many delayed messages there are.
    pub delayed: Room,
    /// Topics the operator moves elsewhere. Set before the shards start.
    pub rewrites: Rewrites,
    /// Subscriptions made for every client. Set before the shards start.
    pub auto_subscribe: Vec<AutoSubscribe>,
    /// When the node started.
    pub started: Instant,
    counters: Vec<Mutex<Counters>>,
}

impl Shared {
    /// For a node of `shards` shards (1 to 64).
    #[must_use]
    pub fn new(shards: u16, limits: &Limits, started: Instant) -> Self {
        Self {
            interest: Interest::new(shards, limits.strategies.clone()),
            retained: Retained::new(limits.retained_messages, limits.retained_bytes),
            redirect: Redirect::default(),
            exclusive: Exclusive::new(limits.exclusive),
            delayed: Room::default(),
            rewrites: Rewrites::default(),
            auto_subscribe: Vec::new(),
            started,
            counters: (0..shards).map(|_| Mutex::default()).collect(),
        }
    }

    /// Notes the counters of one shard, about once a second.
    pub(crate) fn report(&self, shard: u16, counters: Counters) {
        if let Some(slot) = self.counters.get(usize::from(shard)) {
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = counters;
        }
    }

    /// The sum over all shards as last reported.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let mut sum = Counters::default();
        for slot in &self.counters {
            sum.add(&slot.lock().unwrap_or_else(PoisonError::into_inner));
        }
        sum
    }
}
