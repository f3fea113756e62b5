//! The way of nearly every message: through chains that nobody looks at, one message in, the same or another one out.
//!
//! Owns: when that way is taken. Must not: do anything but what `Way::go` would; that takes over where a chain rests, is tried or
//! looked at, or makes of a message anything but one.

use super::Table;
use super::shard::{Gone, ShardChains, Way};
use crate::breaker::{Entry, Fared};
use crate::chain::Chain;
use crate::file::Mode;
use crate::run::{Ran, Sinks, Straight};
use std::sync::Arc;
use std::time::Duration;
use witmq_broker::ports::{ChainOutcome, Publisher, Transform};
use witmq_proto::Message;

/// What one chain made of a message.
enum Came {
    Same,
    Changed(Arc<Message>),
    /// The general way has it.
    Elsewhere(Elsewhere),
}

/// What the general way goes on with.
struct Elsewhere {
    ran: Ran,
    /// The last step that failed, and why.
    failed: Option<(usize, String)>,
    fared: Fared,
    took: Duration,
}

impl ShardChains {
    /// A message through the chains that match it.
    pub(super) fn direct(
        &mut self,
        steps: &mut dyn Transform,
        publisher: Publisher<'_>,
        message: &Arc<Message>,
    ) -> Gone {
        let Self {
            table, found, way, ..
        } = self;
        let matched = found.last();
        let mut gone = through((&**table, matched), way, (&mut *steps, publisher), message);
        if let Some(Gone::Same) = gone {
            return Gone::Same;
        }
        let gone =
            (gone.take()).unwrap_or_else(|| way.go(table, (message, matched), steps, publisher));
        if !matches!(gone, Gone::Waits(_)) {
            way.leave();
        }
        gone
    }
}

/// `None`: the message is on the general way, which goes on.
fn through(
    (table, matched): (&Table, &[u32]),
    way: &mut Way,
    (steps, publisher): (&mut dyn Transform, Publisher<'_>),
    original: &Arc<Message>,
) -> Option<Gone> {
    let mut changed: Option<Arc<Message>> = None;
    for (at, place) in matched.iter().enumerate() {
        let Some(place) = table.entry(*place) else {
            continue;
        };
        let chain = &place.chain;
        let message = changed.as_ref().unwrap_or(original);
        if !place.is_direct(message.received_ms) {
            way.begin(at, message);
            return None;
        }
        let is_moved = changed.is_some() && message.topic != original.topic;
        if is_moved && !place.takes(chain, &message.topic, false) {
            continue;
        }
        match way.straight(chain, steps, publisher, message) {
            Came::Same => {}
            Came::Changed(after) => {
                if chain.mode == Mode::Transform && !Arc::ptr_eq(message, &after) {
                    changed = Some(after);
                }
            }
            Came::Elsewhere(went) => {
                way.begin(at, message);
                way.is_within(went.fared, went.took);
                return way.ran(place, (publisher, went.failed), went.ran);
            }
        }
    }
    if changed.is_none() && way.emissions.is_empty() {
        return Some(Gone::Same);
    }
    let outcome = changed.map_or(ChainOutcome::Untouched, ChainOutcome::Replaced);
    Some(Gone::Done(way.end(outcome)))
}

impl Way {
    /// A message that came as it is through one chain.
    fn straight(
        &mut self,
        chain: &Chain,
        steps: &mut dyn Transform,
        publisher: Publisher<'_>,
        message: &Arc<Message>,
    ) -> Came {
        let mut sinks = Sinks {
            emissions: &mut self.emissions,
            trace: None,
            failed: None,
            fared: Fared::Well,
        };
        let came = (self.running).straight(chain, steps, publisher, message, &mut sinks);
        let (failed, mut fared) = (sinks.failed, sinks.fared);
        let took = self.running.took();
        let came = match came {
            Straight::Ran(ran) => {
                return Came::Elsewhere(Elsewhere {
                    ran,
                    failed,
                    fared,
                    took,
                });
            }
            Straight::Same => Came::Same,
            Straight::Changed(message) => Came::Changed(message),
        };
        if took > Duration::ZERO && chain.breaker.is_too_long(took) {
            fared = Fared::Overran;
        }
        if fared != Fared::Well {
            chain.fares(Entry::Open, fared, message.received_ms);
        }
        came
    }
}
