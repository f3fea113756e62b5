//! Messages that ended calls of a `transform`, and when one has ended as many as it may.
//!
//! Owns: [`Strikes`], of one instance. Must not: decide what counts as an end.

use crate::plugin::Shared;
use crate::pump::bury;
use std::collections::VecDeque;
use std::hash::BuildHasher;
use witmq_proto::Message;

/// Messages whose strikes are remembered.
const STRUCK: usize = 16;
/// Calls that one message may end; then it goes to the dead-letter topic, and the plugin is not called with it again.
const STRIKES: u8 = 2;

/// Hashes of messages in whose calls an instance ended, and how often, the last ones.
#[derive(Default)]
pub(crate) struct Strikes(VecDeque<(u64, u8)>);

fn hash(message: &Message) -> u64 {
    let state = foldhash::fast::FixedState::default();
    state.hash_one((message.topic.as_str(), &message.payload))
}

impl Strikes {
    /// Whether this message ended as many calls as one may.
    pub(crate) fn is_poison(&self, message: &Message) -> bool {
        if self.0.is_empty() {
            return false;
        }
        let struck = hash(message);
        let mut known = self.0.iter();
        known.any(|(hash, count)| *hash == struck && *count >= STRIKES)
    }

    /// The message ended a call of the plugin.
    pub(crate) fn strike(&mut self, plugin: &Shared, message: &Message) {
        let struck = hash(message);
        let count = match self.0.iter_mut().find(|(hash, _)| *hash == struck) {
            Some((_, count)) => {
                *count = count.saturating_add(1);
                *count
            }
            None => {
                if self.0.len() >= STRUCK {
                    self.0.pop_front();
                }
                self.0.push_back((struck, 1));
                1
            }
        };
        if count == STRIKES {
            let text = format!("it ended {STRIKES} calls of a transform");
            bury(plugin, message, &text);
        }
    }
}
