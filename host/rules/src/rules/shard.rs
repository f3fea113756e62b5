//! The chains of one shard, and a message's way through them.
//!
//! Owns: [`ShardChains`]. Must not: change what is deployed.

use super::{Inner, Table};
use crate::chain::Chain;
use crate::file::Mode;
use crate::run::{End, Ran, Running, Sinks};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use witmq_broker::ports::{
    ChainOutcome, ChainProgress, ChainRun, Chains, Publisher, Rest, StepAnswer, StepFailure,
    StepOutcome, Transform,
};
use witmq_broker::router::trie::Walk;
use witmq_proto::Message;

/// The chains of one shard: a copy of the table that is exchanged when it changed.
pub struct ShardChains {
    pub(super) inner: Arc<Inner>,
    pub(super) table: Arc<Table>,
    pub(super) seen: u64,
    pub(super) walk: Walk,
    /// Places of the chains that match, reused.
    pub(super) matched: Vec<u32>,
}

impl std::fmt::Debug for ShardChains {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ShardChains")
            .field("chains", &self.table.chains.len())
            .finish_non_exhaustive()
    }
}

impl ShardChains {
    /// Places of the chains that listen on `topic`, in running order.
    fn find(&mut self, topic: &str) -> bool {
        self.matched.clear();
        let matched = &mut self.matched;
        self.table
            .index
            .for_each_match(topic, &mut self.walk, |place, ()| matched.push(place));
        self.matched.sort_unstable();
        !self.matched.is_empty()
    }
}

/// A message on its way through the chains that match it.
struct Way {
    original: Arc<Message>,
    /// Which of the matching chains.
    at: usize,
    /// What the message became before this chain, and which of it is next.
    messages: Vec<Arc<Message>>,
    next: usize,
    /// That one in the middle of this chain.
    running: Option<Running>,
    /// What came out of this chain so far.
    after: Vec<Arc<Message>>,
    emissions: Vec<Arc<Message>>,
}

/// A way that was interrupted, with the chains as they were.
struct Interrupted {
    way: Way,
    table: Arc<Table>,
    matched: Vec<u32>,
}

enum Gone {
    Done(ChainRun),
    Waits(StepAnswer),
}

impl Way {
    fn new(message: &Arc<Message>) -> Self {
        Self {
            original: message.clone(),
            at: 0,
            messages: vec![message.clone()],
            next: 0,
            running: None,
            after: Vec::new(),
            emissions: Vec::new(),
        }
    }

    /// On through the chains.
    fn go(
        &mut self,
        table: &Table,
        matched: &[u32],
        steps: &mut dyn Transform,
        publisher: Publisher<'_>,
    ) -> Gone {
        while let Some(place) = matched.get(self.at) {
            if let Some(chain) = table.chain(*place) {
                if let Some(gone) = self.through(chain, steps, publisher) {
                    return gone;
                }
                self.messages = std::mem::take(&mut self.after);
                self.next = 0;
                if self.messages.is_empty() {
                    return Gone::Done(self.end(ChainOutcome::Consumed));
                }
            }
            self.at += 1;
        }
        let outcome = match &self.messages[..] {
            [one] if Arc::ptr_eq(one, &self.original) => ChainOutcome::Untouched,
            [one] => ChainOutcome::Replaced(one.clone()),
            _ => ChainOutcome::Split(std::mem::take(&mut self.messages)),
        };
        Gone::Done(self.end(outcome))
    }

    fn end(&mut self, outcome: ChainOutcome) -> ChainRun {
        ChainRun {
            outcome,
            emissions: std::mem::take(&mut self.emissions),
        }
    }

    /// One chain for all that the message became; `Some`: no further.
    fn through(
        &mut self,
        chain: &Chain,
        steps: &mut dyn Transform,
        publisher: Publisher<'_>,
    ) -> Option<Gone> {
        while let Some(message) = self.messages.get(self.next) {
            if self.running.is_none() && !chain.from.filter.matches(&message.topic) {
                self.after.push(message.clone()); // an earlier chain moved it to another topic
                self.next += 1;
                continue;
            }
            let running = (self.running).get_or_insert_with(|| Running::new(chain, message));
            let mut sinks = Sinks {
                emissions: &mut self.emissions,
                trace: None,
            };
            match running.go(chain, steps, publisher, &mut sinks) {
                Ran::Waits(answer) => return Some(Gone::Waits(answer)),
                Ran::Ended(end) => {
                    if let Some(run) = self.ended(chain, end) {
                        return Some(Gone::Done(run));
                    }
                }
            }
        }
        None
    }

    /// The step that waited has its answer; `Some`: that ends the way.
    fn answered(
        &mut self,
        chain: &Chain,
        answer: Result<StepOutcome, StepFailure>,
    ) -> Option<ChainRun> {
        let mut sinks = Sinks {
            emissions: &mut self.emissions,
            trace: None,
        };
        let running = self.running.as_mut()?;
        let end = running.answered(chain, answer, &mut sinks)?;
        self.ended(chain, end)
    }

    /// The chain ended for one message; `Some`: it ends the way.
    fn ended(&mut self, chain: &Chain, end: End) -> Option<ChainRun> {
        self.running = None;
        let message = self.messages.get(self.next).cloned();
        self.next += 1;
        let outcome = match end {
            End::On(_) if chain.mode == Mode::Rule => {
                self.after.extend(message);
                return None;
            }
            End::On(parts) => {
                self.after.extend(parts);
                return None;
            }
            End::Consumed => return None,
            End::Refused { reason, text } => ChainOutcome::Refused { reason, text },
            End::Withheld => ChainOutcome::Withheld,
        };
        self.emissions.clear(); // nothing happened
        Some(self.end(outcome))
    }
}

impl Chains for ShardChains {
    fn run(
        &mut self,
        steps: &mut dyn Transform,
        publisher: Publisher<'_>,
        message: &Arc<Message>,
    ) -> ChainProgress {
        let version = self.inner.version.load(Ordering::Acquire);
        if version != self.seen {
            self.seen = version;
            self.table = self.inner.table.load_full();
        }
        if self.table.index.is_empty() || !self.find(&message.topic) {
            return ChainProgress::Done(ChainRun::untouched());
        }
        let mut way = Way::new(message);
        match way.go(&self.table, &self.matched, steps, publisher) {
            Gone::Done(run) => ChainProgress::Done(run),
            Gone::Waits(answer) => ChainProgress::Waits {
                answer,
                rest: Box::new(Interrupted {
                    way,
                    table: self.table.clone(),
                    matched: self.matched.clone(),
                }),
            },
        }
    }

    fn resume(
        &mut self,
        steps: &mut dyn Transform,
        publisher: Publisher<'_>,
        rest: Rest,
        answer: Result<StepOutcome, StepFailure>,
    ) -> ChainProgress {
        let Ok(mut rest) = rest.downcast::<Interrupted>() else {
            unreachable!("what is resumed was given by `run`");
        };
        let Interrupted {
            way,
            table,
            matched,
        } = &mut *rest;
        let chain = matched.get(way.at).and_then(|place| table.chain(*place));
        if let Some(chain) = chain
            && let Some(run) = way.answered(chain, answer)
        {
            return ChainProgress::Done(run);
        }
        match way.go(table, matched, steps, publisher) {
            Gone::Done(run) => ChainProgress::Done(run),
            Gone::Waits(answer) => ChainProgress::Waits { answer, rest },
        }
    }
}
