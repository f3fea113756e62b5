//! The chains of one shard, and a message's way through them.
//!
//! Owns: [`ShardChains`]. Must not: change what is deployed.

use super::found::Found;
use super::trial::{Apart, Came, Noting, Shaded};
use super::{Entry as Place, Inner, Table};
use crate::breaker::{Entry, Fared};
use crate::chain::Chain;
use crate::check::describe;
use crate::events;
use crate::file::Mode;
use crate::run::{End, Ran, Running, Sinks, due, rested};
use crate::state::WINDOWS_AT_ONCE;
use crate::tap::Look;
use crate::trace::Tracing;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use witmq_broker::ports::raised::{Raised, Wanted};
use witmq_broker::ports::{
    ChainOutcome, ChainProgress, ChainRun, Chains, Named, Publisher, Rest, StepAnswer, StepFailure,
    StepOutcome, Transform,
};
use witmq_proto::Message;

/// The chains of one shard: a copy of the table that is exchanged when it changed.
pub struct ShardChains {
    pub(super) inner: Arc<Inner>,
    pub(super) table: Arc<Table>,
    pub(super) seen: u64,
    pub(super) noted: Arc<AtomicU64>,
    /// Which chains match.
    pub(super) found: Found,
    /// What was said of the topic of the next message, and of which version of the table.
    pub(super) expected: Option<(u64, Named)>,
    /// Reused, so that nothing is allocated for a message.
    pub(super) way: Way,
}

impl std::fmt::Debug for ShardChains {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ShardChains")
            .field("chains", &self.table.chains.len())
            .finish_non_exhaustive()
    }
}

impl ShardChains {
    /// Places of the chains that listen on `topic`, in running order; whether there are any.
    fn find(&mut self, topic: &str) -> bool {
        let index = &self.table.index;
        !index.is_empty() && self.found.find(topic, index, self.seen)
    }

    /// The same where it was said before, of the chains as they are now.
    fn find_expected(&mut self, topic: &str) -> bool {
        match self.expected.take() {
            Some((version, named)) if version == self.seen => match named.single() {
                Some(place) => {
                    self.found.only(place);
                    true
                }
                None => named.is_some() && self.find(topic),
            },
            _ => self.find(topic),
        }
    }
}

/// A message on its way through the chains that match it.
#[derive(Default)]
pub(super) struct Way {
    /// Which of the matching chains.
    at: usize,
    /// What the message became before this chain, and which of it is next.
    messages: Vec<Arc<Message>>,
    next: usize,
    /// Whether that one is in the middle of this chain.
    is_running: bool,
    pub(super) running: Running,
    /// What came out of this chain so far.
    after: Vec<Arc<Message>>,
    pub(super) emissions: Vec<Arc<Message>>,
    /// Who looks at it in this chain.
    look: Look,
    tracing: Option<Box<Tracing>>,
    /// How it was let in, how it fares in this chain, and the time it took so far.
    entry: Entry,
    fared: Fared,
    took: Duration,
    /// What is noted for a shadow.
    shaded: Option<Box<Shaded>>,
}

/// A way that was interrupted, with the chains as they were.
struct Interrupted {
    way: Way,
    original: Arc<Message>,
    table: Arc<Table>,
    matched: Vec<u32>,
}

pub(super) enum Gone {
    /// As it came, and nothing was published. What nearly always happens has nothing in it that would have to be moved.
    Same,
    Done(ChainRun),
    Waits(StepAnswer),
}

impl Way {
    /// Into the chain at this place of those that match.
    pub(super) fn begin(&mut self, at: usize, message: &Arc<Message>) {
        (self.at, self.next, self.is_running) = (at, 0, false);
        self.messages.clear();
        self.after.clear();
        self.messages.push(message.clone());
    }

    /// On through the chains.
    pub(super) fn go(
        &mut self,
        table: &Table,
        (original, matched): (&Arc<Message>, &[u32]),
        steps: &mut dyn Transform,
        publisher: Publisher<'_>,
    ) -> Gone {
        while let Some(place) = matched.get(self.at) {
            if let Some(place) = table.entry(*place) {
                if let Some(gone) = self.through(place, original, steps, publisher) {
                    return gone;
                }
                std::mem::swap(&mut self.messages, &mut self.after);
                self.after.clear();
                self.next = 0;
                if self.messages.is_empty() {
                    return Gone::Done(self.end(ChainOutcome::Consumed));
                }
            }
            self.at += 1;
        }
        let outcome = match &self.messages[..] {
            [one] if Arc::ptr_eq(one, original) => ChainOutcome::Untouched,
            [one] => ChainOutcome::Replaced(one.clone()),
            _ => ChainOutcome::Split(std::mem::take(&mut self.messages)),
        };
        Gone::Done(self.end(outcome))
    }

    pub(super) fn end(&mut self, outcome: ChainOutcome) -> ChainRun {
        ChainRun {
            outcome,
            emissions: std::mem::take(&mut self.emissions),
        }
    }

    /// One chain for all that the message became; `Some`: no further.
    fn through(
        &mut self,
        place: &Place,
        original: &Arc<Message>,
        steps: &mut dyn Transform,
        publisher: Publisher<'_>,
    ) -> Option<Gone> {
        let chain = place.chain_for(publisher.client_id);
        while let Some(message) = self.messages.get(self.next) {
            if !self.is_running {
                let is_original = message.topic == original.topic;
                if !place.takes(chain, &message.topic, is_original) {
                    self.passes_by(place, publisher);
                    continue;
                }
                self.entry = chain.breaker.enter(message.received_ms);
                if self.entry == Entry::Rests {
                    let end = rested(chain, message, &mut self.emissions);
                    if let Some(run) = self.ended(chain, end) {
                        return Some(Gone::Done(run));
                    }
                    continue;
                }
                self.running.begin(chain, message);
                self.is_running = true;
                (self.fared, self.took) = (Fared::Well, Duration::ZERO);
                self.look = chain.stats.tap.look(message.received_ms);
                self.shaded = place
                    .shadow()
                    .map(|_| Box::new(Shaded::begun(self.emissions.len())));
                self.tracing = (self.look == Look::Whole).then(|| {
                    let who = (&*chain.name, chain.revision);
                    Box::new(Tracing::new(who, publisher.client_id, message))
                });
            }
            let mut sinks = Sinks {
                emissions: &mut self.emissions,
                trace: self.tracing.as_deref_mut(),
                failed: None,
                fared: self.fared,
            };
            let ran = match &mut self.shaded {
                None => self.running.go(chain, steps, publisher, &mut sinks),
                Some(shaded) => {
                    let noting = &mut Noting { steps, shaded };
                    self.running.go(chain, noting, publisher, &mut sinks)
                }
            };
            let failed = sinks.failed;
            self.fared = sinks.fared;
            self.took += self.running.took();
            if let Some(gone) = self.ran(place, (publisher, failed), ran) {
                return Some(gone);
            }
        }
        None
    }

    /// So far a message came in a chain; `Some`: no further.
    pub(super) fn ran(
        &mut self,
        place: &Place,
        (publisher, failed): (Publisher<'_>, Option<(usize, String)>),
        ran: Ran,
    ) -> Option<Gone> {
        let chain = place.chain_for(publisher.client_id);
        match ran {
            Ran::Waits(answer) => Some(Gone::Waits(answer)),
            Ran::Ended(end) => {
                self.compare(place, publisher, &failed, &end);
                self.fares(chain);
                self.looked(chain, publisher, failed, &end);
                self.ended(chain, end).map(Gone::Done)
            }
        }
    }

    /// The step that waited has its answer; `Some`: that ends the way.
    fn answered(
        &mut self,
        place: &Place,
        publisher: Publisher<'_>,
        answer: Result<StepOutcome, StepFailure>,
    ) -> Option<ChainRun> {
        let chain = place.chain_for(publisher.client_id);
        if let (Some(shaded), Some(asked)) = (&mut self.shaded, self.running.waits_for(chain)) {
            shaded.answered(asked, &answer);
        }
        let mut sinks = Sinks {
            emissions: &mut self.emissions,
            trace: self.tracing.as_deref_mut(),
            failed: None,
            fared: self.fared,
        };
        let end = self.running.answered(chain, answer, &mut sinks);
        let failed = sinks.failed;
        self.fared = sinks.fared;
        let end = end?;
        self.compare(place, publisher, &failed, &end);
        self.fares(chain);
        self.looked(chain, publisher, failed, &end);
        self.ended(chain, end)
    }

    /// A message is in the middle of the chain that it came into, which nobody looks at.
    pub(super) fn is_within(&mut self, fared: Fared, took: Duration) {
        (self.is_running, self.entry, self.look) = (true, Entry::Open, Look::Away);
        (self.fared, self.took) = (fared, took);
        (self.tracing, self.shaded) = (None, None);
    }

    /// The way is over: nothing of the message stays.
    pub(super) fn leave(&mut self) {
        self.messages.clear();
    }

    /// A message that an earlier chain moved to another topic, or that is none of this revision's.
    fn passes_by(&mut self, place: &Place, publisher: Publisher<'_>) {
        let Some(message) = self.messages.get(self.next).cloned() else {
            return;
        };
        if place.shadow().is_some() {
            self.shaded = Some(Box::default());
            let end = End::On(vec![message.clone()]);
            self.compare_with(place, publisher, &end, (&[], None));
        }
        self.after.push(message);
        self.next += 1;
    }

    /// The shadow's turn, if there is one.
    fn compare(
        &mut self,
        place: &Place,
        publisher: Publisher<'_>,
        failed: &Option<(usize, String)>,
        end: &End,
    ) {
        let Some(shaded) = &self.shaded else { return };
        let published = self.emissions.get(shaded.published_before..);
        let published = published.unwrap_or_default().to_vec();
        let failed = failed.as_ref().map(|(_, error)| error.clone());
        self.compare_with(place, publisher, end, (&published, failed));
    }

    fn compare_with(
        &mut self,
        place: &Place,
        publisher: Publisher<'_>,
        end: &End,
        (published, failed): (&[Arc<Message>], Option<String>),
    ) {
        let message = self.messages.get(self.next);
        if let (Some(shaded), Some(trial), Some(message)) =
            (self.shaded.take(), place.shadow(), message)
        {
            let came = Came::new(&place.chain, end, published, failed);
            shaded.compare(trial, (publisher, message), came);
        }
    }

    /// The chain ended for a message: whether it is to rest.
    fn fares(&mut self, chain: &Chain) {
        if chain.breaker.is_too_long(self.took) {
            self.fared = Fared::Overran;
        }
        let now_ms = self.messages.get(self.next).map_or(0, |it| it.received_ms);
        chain.fares(self.entry, self.fared, now_ms);
    }

    /// The chain ended for a message that somebody may look at.
    fn looked(
        &mut self,
        chain: &Chain,
        publisher: Publisher<'_>,
        failed: Option<(usize, String)>,
        end: &End,
    ) {
        let tracing = match (self.look, self.tracing.take(), failed) {
            (Look::Whole, Some(tracing), _) => *tracing,
            (Look::Failures, _, Some((place, error))) => {
                let Some(message) = self.messages.get(self.next) else {
                    return;
                };
                let who = (&*chain.name, chain.revision);
                let mut tracing = Tracing::new(who, publisher.client_id, message);
                let kind = chain.steps.get(place).map_or("", |step| step.word);
                tracing.only_failed(place, kind, &error);
                tracing
            }
            _ => return,
        };
        let end = match chain.mode {
            Mode::Transform => describe(end),
            Mode::Rule => "the message goes on as it was".to_owned(),
        };
        chain.stats.tap.put(tracing.end(end));
    }

    /// The chain ended for one message; `Some`: it ends the way.
    fn ended(&mut self, chain: &Chain, end: End) -> Option<ChainRun> {
        let at = self.next;
        (self.next, self.is_running) = (at + 1, false);
        let outcome = match end {
            End::On(mut parts) => {
                match chain.mode {
                    Mode::Rule => self.after.extend(self.messages.get(at).cloned()),
                    Mode::Transform => self.after.append(&mut parts),
                }
                parts.clear();
                self.running.reuse(parts);
                return None;
            }
            End::Consumed => {
                self.running.reuse(Vec::new());
                return None;
            }
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
        self.refresh();
        self.inner.recorder.see(publisher, message);
        if !self.find_expected(&message.topic) {
            return ChainProgress::Done(ChainRun::untouched());
        }
        match self.direct(steps, publisher, message) {
            Gone::Same => ChainProgress::Done(ChainRun::untouched()),
            Gone::Done(run) => ChainProgress::Done(run),
            Gone::Waits(answer) => ChainProgress::Waits {
                answer,
                rest: Box::new(Interrupted {
                    way: std::mem::take(&mut self.way),
                    original: message.clone(),
                    table: self.table.clone(),
                    matched: self.found.last().to_vec(),
                }),
            },
        }
    }

    fn refresh(&mut self) {
        let version = self.inner.version.load(Ordering::Acquire);
        if version != self.seen {
            self.seen = version;
            self.table = self.inner.table.load_full();
            self.inner.noted.note(&self.noted, version);
        }
    }

    fn version(&mut self) -> Option<u64> {
        self.refresh();
        (!self.inner.recorder.is_on()).then_some(self.seen)
    }

    fn names(&mut self, topic: &str) -> Named {
        self.refresh();
        match (self.find(topic), self.found.last()) {
            (false, _) => Named::NONE,
            (true, [place]) => Named::only(*place),
            (true, _) => Named::SOME,
        }
    }

    fn expect(&mut self, version: u64, named: Named) {
        self.expected = Some((version, named));
    }

    fn wanted(&mut self) -> Wanted {
        self.refresh();
        self.table.wanted
    }

    fn present(&mut self, raised: &Raised, now_ms: u64) -> Option<Message> {
        let is_wanted = self.wanted().has(raised.kind);
        is_wanted.then(|| events::message(raised, now_ms)).flatten()
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
            original,
            table,
            matched,
        } = &mut *rest;
        let place = matched.get(way.at).and_then(|place| table.entry(*place));
        if let Some(place) = place
            && let Some(run) = way.answered(place, publisher, answer)
        {
            return ChainProgress::Done(run);
        }
        match way.go(table, (original, matched), steps, publisher) {
            Gone::Same => ChainProgress::Done(ChainRun::untouched()),
            Gone::Done(run) => ChainProgress::Done(run),
            Gone::Waits(answer) => ChainProgress::Waits { answer, rest },
        }
    }

    fn due(&mut self, steps: &mut dyn Transform, now_ms: u64) -> Vec<Arc<Message>> {
        let mut emissions = Vec::new();
        if !self.inner.alarm.rings(now_ms) {
            return emissions;
        }
        self.refresh();
        let mut left = WINDOWS_AT_ONCE;
        for (chain, is_shadow) in &self.table.timed {
            // Nothing comes of what a shadow does by itself, and it is compared with nothing.
            let (mut nowhere, mut apart) = (Vec::new(), Apart::alone());
            let (into, steps): (_, &mut dyn Transform) = match is_shadow {
                true => (&mut nowhere, &mut apart),
                false => (&mut emissions, &mut *steps),
            };
            left -= due(chain, steps, (now_ms, left), into).min(left);
        }
        emissions
    }
}
