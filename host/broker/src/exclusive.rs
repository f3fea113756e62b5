//! Exclusive subscriptions of a node: which client has which filter alone.
//!
//! Owns: [`Exclusive`], behind a lock that is taken on subscribe, unsubscribe and the end of a session only.

use bytestring::ByteString;
use foldhash::HashMap;
use std::sync::{Mutex, PoisonError};
use witmq_proto::TopicFilter;

/// Why a filter cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unclaimed {
    /// Another client has it.
    #[error("another client has this filter for itself")]
    Held,
    /// The node has as many exclusive subscriptions as it may.
    #[error("this broker has as many exclusive subscriptions as it may (limits.max_exclusive)")]
    Full,
}

/// The exclusive subscriptions of a node.
#[derive(Debug)]
pub struct Exclusive {
    capacity: usize,
    owners: Mutex<HashMap<TopicFilter, ByteString>>,
}

impl Exclusive {
    /// At most `capacity` filters.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity,
            owners: Mutex::default(),
        }
    }

    /// Gives a filter to a client, who may have it already.
    ///
    /// # Errors
    /// It is another's, or there are too many.
    pub fn claim(&self, filter: &TopicFilter, client_id: &ByteString) -> Result<(), Unclaimed> {
        let mut owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        match owners.get(filter) {
            Some(owner) if owner == client_id => Ok(()),
            Some(_) => Err(Unclaimed::Held),
            None if owners.len() >= self.capacity => Err(Unclaimed::Full),
            None => {
                owners.insert(filter.clone(), client_id.clone());
                Ok(())
            }
        }
    }

    /// The client no longer has the filter; nothing happens if it had not.
    pub fn release(&self, filter: &TopicFilter, client_id: &str) {
        let mut owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        if owners.get(filter).is_some_and(|owner| owner == client_id) {
            owners.remove(filter);
        }
    }
}
