//! From the threads that make instances to the seats that call them.
//!
//! Owns: [`Mailbox`]. A seat that is not called takes nothing, so what a later hand-over makes idle is thrown away here,
//! by the thread that brings it: a mailbox holds a few hand-overs of each plugin, however often that was changed.

use crate::instance::Instance;
use crate::plugin::Shared;
use crate::pump::Pump;
use crate::shadow::Shadow;
use crate::template::Template;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a control thread hands to a seat.
pub(crate) enum Handover {
    /// This generation serves from now on.
    Serve {
        template: Arc<Template>,
        instance: Box<Instance>,
    },
    /// In place of a worn instance of the same generation.
    Renew(Box<Instance>),
    /// Its sink takes messages here, or (`None`) it has none.
    Sink(String, Option<Arc<Pump>>),
    /// Its `transform` waits and is asked, or (`None`) it is not.
    Waits(String, Option<Arc<Shared>>),
    /// A shadow sees what the plugin sees from now on, or (`None`) none does.
    Shadow(String, Option<(Arc<Shadow>, Box<Instance>)>),
    /// The plugin is gone.
    Remove(String),
}

impl Handover {
    fn plugin(&self) -> &str {
        match self {
            Self::Serve { template, .. } => &template.plugin.name,
            Self::Renew(instance) => &instance.template().plugin.name,
            Self::Sink(name, _)
            | Self::Waits(name, _)
            | Self::Shadow(name, _)
            | Self::Remove(name) => name,
        }
    }

    /// Whether an earlier one of the same plugin means nothing any more.
    fn outdates(&self, earlier: &Self) -> bool {
        match (self, earlier) {
            (Self::Remove(_), _) => true,
            // A removal stays: no state of what was removed goes over.
            (Self::Serve { .. }, Self::Serve { .. } | Self::Renew(_) | Self::Shadow(..))
            | (Self::Renew(_), Self::Renew(_))
            | (Self::Sink(..), Self::Sink(..))
            | (Self::Waits(..), Self::Waits(..))
            | (Self::Shadow(..), Self::Shadow(..)) => true,
            _ => false,
        }
    }
}

/// Where control threads put what a seat takes.
#[derive(Default)]
pub(crate) struct Mailbox {
    /// Counts hand-overs.
    version: AtomicU64,
    waiting: Mutex<Vec<Handover>>,
}

impl Mailbox {
    fn waiting(&self) -> MutexGuard<'_, Vec<Handover>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn put(&self, handover: Handover) {
        let mut waiting = self.waiting();
        let is_outdated = |earlier: &mut Handover| {
            earlier.plugin() == handover.plugin() && handover.outdates(earlier)
        };
        let outdated: Vec<Handover> = waiting.extract_if(.., is_outdated).collect();
        waiting.push(handover);
        self.version.fetch_add(1, Ordering::Release);
        drop(waiting);
        drop(outdated); // without the lock: the seat may want it
    }

    /// How many hand-overs there have been.
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// What waits, in its order.
    pub(crate) fn take(&self) -> Vec<Handover> {
        std::mem::take(&mut *self.waiting())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(mailbox: &Mailbox) -> Vec<String> {
        let all = mailbox.take().into_iter();
        let kind = |handover: Handover| match handover {
            Handover::Sink(name, _) => format!("sink {name}"),
            Handover::Waits(name, _) => format!("waits {name}"),
            Handover::Remove(name) => format!("remove {name}"),
            _ => "other".to_owned(),
        };
        all.map(kind).collect()
    }

    #[test]
    fn a_seat_that_takes_nothing_is_owed_little() {
        let mailbox = Mailbox::default();
        for _ in 0..100 {
            mailbox.put(Handover::Sink("a".to_owned(), None));
            mailbox.put(Handover::Waits("a".to_owned(), None));
            mailbox.put(Handover::Sink("b".to_owned(), None));
        }
        assert_eq!(mailbox.version(), 300);
        assert_eq!(kinds(&mailbox), ["sink a", "waits a", "sink b"]);
        mailbox.put(Handover::Sink("a".to_owned(), None));
        mailbox.put(Handover::Sink("b".to_owned(), None));
        mailbox.put(Handover::Remove("a".to_owned()));
        mailbox.put(Handover::Waits("a".to_owned(), None));
        assert_eq!(kinds(&mailbox), ["sink b", "remove a", "waits a"]);
    }
}
