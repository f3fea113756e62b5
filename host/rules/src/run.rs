//! A message through the steps of a chain.

mod letter;
mod since;
mod straight;
mod work;

use crate::breaker::{Entry, Fared};
use crate::chain::{Chain, Count};
use crate::expression::{Expression, Parts, Value};
use crate::file::{Mode, OnError};
use crate::step::{self, Step};
use crate::tally::Came;
use crate::trace::{self, Before, Mark, Tracing};
pub(crate) use letter::letter;
use since::Since;
use std::sync::Arc;
use std::time::{Duration, Instant};
pub(crate) use straight::Straight;
use witmq_broker::ports::{Publisher, StepAnswer, StepFailure, StepOutcome, Transform};
use witmq_proto::{Message, ReasonCode};
pub(crate) use work::{Held, Sure, Work, glance, to_payload};

/// Messages one message may become, emissions included.
pub(crate) const MESSAGES: usize = 64;

/// Times that one message may go on to a named chain: a plugin that jumps might go in a circle.
pub(crate) const JUMPS: usize = 64;

/// What a step says that would make more of them.
pub(crate) fn too_many() -> String {
    format!("more than {MESSAGES} messages out of one")
}

/// The steps of one message in so many are timed.
const TIMED: u32 = 64;

/// With at most so many bytes of payload, 64 steps that call nothing and wait for nothing are far from taking too long, ...
const QUICK_BYTES: usize = 64 * 1024;
/// ... unless this is too long already.
const QUICK: Duration = Duration::from_millis(50);

/// What a chain made of a message.
pub(crate) enum End {
    /// These go on, in this order; the first chain's original among them if nothing changed.
    On(Vec<Arc<Message>>),
    Refused {
        reason: ReasonCode,
        text: Option<String>,
    },
    Consumed,
    Withheld,
}

/// Where a chain's emissions and its trace go.
pub(crate) struct Sinks<'a> {
    pub(crate) emissions: &'a mut Vec<Arc<Message>>,
    /// What happens, if somebody looks.
    pub(crate) trace: Option<&'a mut Tracing>,
    /// The last step that failed, and why.
    pub(crate) failed: Option<(usize, String)>,
    /// The worst that happened.
    pub(crate) fared: Fared,
}

impl Before {
    /// How things stand, if somebody looks.
    fn of(work: &mut Work, sinks: &Sinks<'_>) -> Option<Self> {
        let trace = sinks.trace.as_ref();
        trace.map(|_| Self::new(work.shown(), sinks.emissions.len()))
    }
}

impl Sinks<'_> {
    /// A step has run.
    fn stepped(
        &mut self,
        (at, step): (usize, &Step),
        outcome: &Result<Next, String>,
        before: Option<Before>,
        work: &mut Work,
    ) {
        let (Some(trace), Some(before)) = (&mut self.trace, before) else {
            return;
        };
        let mark = match outcome {
            Ok(Next::Go | Next::To(_) | Next::Split(_)) => Mark::Passed,
            Ok(Next::Stop | Next::Drop | Next::Leave(_) | Next::Bury(_)) => Mark::Ended,
            Ok(Next::Waits(_)) => Mark::Waits,
            Err(_) => Mark::Failed,
        };
        if let Ok(Next::Split(parts)) = outcome {
            let topics = parts.iter().map(|part| part.head().topic.to_string());
            trace.note(format!("into {}", topics.collect::<Vec<_>>().join(", ")));
        }
        let after = (work.shown(), &self.emissions[..]);
        trace.step((at, step.word, step.kind.plugin()), mark, &before, after);
    }
}

/// What a step works with.
pub(crate) struct Around<'a, 's> {
    pub(crate) chain: &'a Chain,
    pub(crate) steps: &'a mut dyn Transform,
    pub(crate) publisher: Publisher<'a>,
    pub(crate) work: &'a mut Work,
    pub(crate) sinks: &'a mut Sinks<'s>,
}

impl Around<'_, '_> {
    /// An expression over the message as it is now.
    pub(crate) fn evaluate(&mut self, expression: &Expression) -> Result<Value<'static>, String> {
        self.evaluate_as(expression, |value| value.into_owned())
    }

    /// What `keep` takes from the outcome of an expression over the message as it is now.
    pub(crate) fn evaluate_as<T>(
        &mut self,
        expression: &Expression,
        keep: impl FnOnce(Value<'_>) -> T,
    ) -> Result<T, String> {
        let around = (self.chain, self.publisher);
        let fared = &mut self.sinks.fared;
        let Some(trace) = &mut self.sinks.trace else {
            return work::evaluate(around, expression, (self.work, None), fared, keep);
        };
        let parts = Parts::default();
        let mut text = String::new();
        let keep = |value: Value<'_>| {
            text = value.shown();
            keep(value)
        };
        let kept = work::evaluate(around, expression, (self.work, Some(&parts)), fared, keep);
        if let Err(error) = &kept {
            text.clone_from(error);
        }
        trace.evaluated(&expression.source, text, &parts);
        kept
    }

    /// A condition over the message as it is now; in words if it is neither true nor false.
    pub(crate) fn truth(&mut self, condition: &Expression) -> Result<Result<bool, String>, String> {
        self.evaluate_as(condition, truth)
    }

    /// So much of what a step remembers was given up for its bounds.
    pub(crate) fn given_up(&self, count: usize) {
        self.chain.stats.add(Count::Evicted, count);
    }

    /// More for the trace of this step, in words.
    pub(crate) fn note(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.sinks.trace {
            trace.note(line());
        }
    }

    /// A condition was false. Some of the last such messages are kept with the reason.
    pub(crate) fn missed(&mut self, condition: &Expression) {
        if (self.chain.stats.misses).wants(self.work.head().received_ms) {
            keep_missed((self.chain, self.publisher), condition, self.work);
        }
    }
}

/// True, false, or what it is instead.
pub(crate) fn truth(value: Value<'_>) -> Result<bool, String> {
    match value {
        Value::Bool(truth) => Ok(truth),
        other => Err(format!("{other:?}")),
    }
}

/// A message for which a condition was false, with the reason.
pub(crate) fn keep_missed(
    (chain, publisher): (&Chain, Publisher<'_>),
    condition: &Expression,
    work: &mut Work,
) {
    let message = work.shown().clone();
    let parts = Parts::default();
    let fared = &mut Fared::Well;
    let is_false = |value: Value<'_>| matches!(value, Value::Bool(false));
    let looked_at = (work, Some(&parts));
    let again = work::evaluate((chain, publisher), condition, looked_at, fared, is_false);
    if again == Ok(true) {
        let why = trace::evaluated(&condition.source, "false".to_owned(), &parts);
        let client = publisher.client_id;
        (chain.stats.misses).put(chain.revision, client, &message, why);
    }
}

/// How a step ended for one message.
pub(crate) enum Next {
    Go,
    /// The chain ends for this message.
    Stop,
    /// On at another place.
    To(usize),
    /// The message goes no further at all.
    Drop,
    Split(Vec<Work>),
    Leave(End),
    /// The chain ends, and the message becomes a dead letter for this reason.
    Bury(String),
    /// When this is there.
    Waits(StepAnswer),
}

/// How far a message came in one chain.
pub(crate) enum Ran {
    Ended(End),
    /// [`Running::answered`] takes the answer.
    Waits(StepAnswer),
}

/// A message in the middle of a chain, or none: what it had is used again for the next.
#[derive(Default)]
pub(crate) struct Running {
    /// Parts and the places of their next steps, the next one last.
    under_way: Vec<(usize, Work)>,
    done: Vec<Arc<Message>>,
    /// The message as it came into the chain, if a step may bury it.
    original: Option<Arc<Message>>,
    /// Messages so far: every so many the steps of one are timed.
    begun: u32,
    /// When the present message came to the first step that may take long.
    since: Option<Since>,
}

/// Runs a chain on one message, where no step can wait.
pub(crate) fn run(
    chain: &Chain,
    steps: &mut dyn Transform,
    publisher: Publisher<'_>,
    message: &Arc<Message>,
    sinks: &mut Sinks<'_>,
) -> End {
    let mut running = Running::default();
    running.begin(chain, message);
    running.finish(chain, steps, publisher, sinks)
}

/// What comes out of a chain by itself, for at most `most` keys; for how many.
pub(crate) fn due(
    chain: &Chain,
    steps: &mut dyn Transform,
    (now_ms, most): (u64, usize),
    emissions: &mut Vec<Arc<Message>>,
) -> usize {
    let mut seen = 0;
    for step in chain.steps.iter().filter(|step| step.kind.is_timed()) {
        let (due, looked_at) = step.kind.due(now_ms, most.saturating_sub(seen));
        seen += looked_at;
        for work in due {
            let mut own = Vec::new();
            let mut sinks = Sinks {
                emissions: &mut own,
                trace: None,
                failed: None,
                fared: Fared::Well,
            };
            let mut running = Running {
                under_way: vec![(step.next, work)],
                ..Running::default()
            };
            // A window that ends by time is in a rule chain: what is left of the message is nobody's.
            running.finish(chain, steps, NOBODY, &mut sinks);
            chain.fares(Entry::Open, sinks.fared, now_ms);
            emissions.append(&mut own);
        }
        if let Some(next) = step.kind.next_due() {
            chain.alarm.at(next);
        }
    }
    seen
}

/// Who published what no client did.
const NOBODY: Publisher<'_> = Publisher {
    client_id: "",
    username: None,
    attributes: &[],
    session: 0,
};

impl Running {
    /// The plugin that a message waits for, and that message.
    pub(crate) fn waits_for<'a>(&'a self, chain: &'a Chain) -> Option<(&'a str, &'a Message)> {
        let (at, work) = self.under_way.last()?;
        Some((chain.steps.get(*at)?.kind.plugin()?, work.head()))
    }

    /// To the end, where no step can wait.
    fn finish(
        &mut self,
        chain: &Chain,
        steps: &mut dyn Transform,
        publisher: Publisher<'_>,
        sinks: &mut Sinks<'_>,
    ) -> End {
        loop {
            let refused = match self.go(chain, steps, publisher, sinks) {
                Ran::Ended(end) => return end,
                Ran::Waits(_) => Err(StepFailure::Waits(chain.name.clone())),
            };
            if let Some(end) = self.answered(chain, refused, sinks) {
                return end;
            }
        }
    }

    /// A message comes into a chain.
    pub(crate) fn begin(&mut self, chain: &Chain, message: &Arc<Message>) {
        self.enter(chain);
        self.original = chain.buries.then(|| message.clone());
        let work = Work::new(message.clone(), chain);
        self.under_way.push((chain.start, work));
    }

    /// Nothing is left of the message before.
    fn enter(&mut self, chain: &Chain) {
        chain.stats.count(Count::Matched);
        self.under_way.clear();
        self.done.clear();
        self.since = None;
        self.begun = self.begun.wrapping_add(1);
    }

    /// The present time, if the steps of this message are timed.
    fn time(&self) -> Option<Instant> {
        self.begun.is_multiple_of(TIMED).then(Instant::now)
    }

    /// What is empty, to be filled again.
    pub(crate) fn reuse(&mut self, empty: Vec<Arc<Message>>) {
        debug_assert!(empty.is_empty());
        self.under_way.clear();
        self.done = empty;
    }

    /// Step by step to the end, or to one that waits.
    pub(crate) fn go(
        &mut self,
        chain: &Chain,
        steps: &mut dyn Transform,
        publisher: Publisher<'_>,
        sinks: &mut Sinks<'_>,
    ) -> Ran {
        while let Some((mut at, mut work)) = self.under_way.pop() {
            self.expects_long(chain, work.head());
            loop {
                let Some(step) = chain.steps.get(at) else {
                    self.done.push(work.finished(chain));
                    break;
                };
                if !step.is_quick {
                    self.looks_at_the_clock(chain);
                }
                let steps: &mut dyn Transform = &mut *steps;
                let around = (steps, publisher);
                let outcome = self.step(chain, (at, step), around, &mut work, sinks);
                match outcome {
                    Ok(Next::Go) => at = step.next,
                    Ok(Next::Waits(answer)) => {
                        self.under_way.push((at, work));
                        return Ran::Waits(answer);
                    }
                    other => {
                        if let Some(end) = self.settle(chain, step, work, other, sinks) {
                            return Ran::Ended(end);
                        }
                        break;
                    }
                }
            }
        }
        Ran::Ended(End::On(std::mem::take(&mut self.done)))
    }

    /// A message for which even steps that are quick may take long.
    fn expects_long(&mut self, chain: &Chain, message: &Message) {
        if message.payload.len() > QUICK_BYTES || chain.breaker.is_too_long(QUICK) {
            self.looks_at_the_clock(chain);
        }
    }

    /// From here on the time of the present message counts.
    fn looks_at_the_clock(&mut self, chain: &Chain) {
        if self.since.is_none() {
            let is_exact = chain.breaker.is_too_long(QUICK);
            let coarse_ms = chain.coarse_ms.filter(|_| !is_exact);
            self.since = Some(Since::now(coarse_ms));
        }
    }

    /// The time that it took since it was asked last, of what may take long.
    pub(crate) fn took(&mut self) -> Duration {
        (self.since.take()).map_or(Duration::ZERO, Since::elapsed)
    }

    /// One step of one message.
    fn step(
        &self,
        chain: &Chain,
        (at, step): (usize, &Step),
        (steps, publisher): (&mut dyn Transform, Publisher<'_>),
        work: &mut Work,
        sinks: &mut Sinks<'_>,
    ) -> Result<Next, String> {
        let held = work.is_late.then(|| work.head().publisher.clone());
        let publisher = match &held {
            Some(client_id) => Publisher {
                client_id,
                ..NOBODY
            },
            None => publisher,
        };
        let (before, began) = (Before::of(work, sinks), self.time());
        let outcome = step.kind.run(&mut Around {
            chain,
            steps,
            publisher,
            work,
            sinks,
        });
        tally(chain, at, &outcome, began);
        sinks.stepped((at, step), &outcome, before, work);
        outcome
    }

    /// What the step that waited came to; `Some`: the chain ends with it.
    pub(crate) fn answered(
        &mut self,
        chain: &Chain,
        answer: Result<StepOutcome, StepFailure>,
        sinks: &mut Sinks<'_>,
    ) -> Option<End> {
        let (at, mut work) = self.under_way.pop()?;
        let current = chain.steps.get(at)?;
        let before = Before::of(&mut work, sinks);
        let outcome = answer.map_err(|error| error.to_string());
        let outcome = outcome.and_then(|outcome| {
            if let Some(trace) = &mut sinks.trace {
                trace.note(format!("waited for: {}", step::word(&outcome)));
            }
            step::outcome(chain, outcome, &mut work)
        });
        tally(chain, at, &outcome, None);
        sinks.stepped((at, current), &outcome, before, &mut work);
        self.settle(chain, current, work, outcome, sinks)
    }

    /// Where the message goes after a step; `Some`: out of the chain.
    fn settle(
        &mut self,
        chain: &Chain,
        step: &Step,
        mut work: Work,
        outcome: Result<Next, String>,
        sinks: &mut Sinks<'_>,
    ) -> Option<End> {
        let mut next = outcome.unwrap_or_else(|error| failed(chain, step, &error, sinks));
        if let Next::Split(parts) = &next
            && self.done.len() + self.under_way.len() + parts.len() > MESSAGES
        {
            next = failed(chain, step, &too_many(), sinks);
        }
        if matches!(next, Next::To(_)) && work.jumps >= JUMPS {
            let error = format!("more than {JUMPS} times on to a named chain");
            next = failed(chain, step, &error, sinks);
        }
        match next {
            Next::Go => self.under_way.push((step.next, work)),
            Next::To(place) => {
                work.jumps += 1;
                self.under_way.push((place, work));
            }
            Next::Stop | Next::Waits(_) => self.done.push(work.finished(chain)),
            Next::Drop => {}
            // Last in, first out: the parts go in backwards to come out in order.
            Next::Split(parts) => {
                let parts = parts.into_iter().rev();
                (self.under_way).extend(parts.map(|part| (step.next, part)));
            }
            Next::Leave(end) => return Some(end),
            Next::Bury(reason) => {
                // What a window held came in before this message.
                let original = match work.is_late {
                    true => Some(work.into_message(chain)),
                    false => self.original.take(),
                };
                let letter = original.and_then(|it| letter(&chain.name, &it, &reason));
                if let Some(trace) = &mut sinks.trace {
                    trace.note(format!("dead letter: {reason}"));
                }
                sinks.emissions.extend(letter.map(Arc::new));
                return Some(match chain.mode {
                    Mode::Transform => End::Consumed,
                    Mode::Rule => End::On(Vec::new()),
                });
            }
        }
        None
    }
}

/// Counts how a step ended; one that waits is counted when it has its answer.
fn tally(chain: &Chain, at: usize, outcome: &Result<Next, String>, began: Option<Instant>) {
    let tallies = &chain.tallies;
    if let Some(began) = began {
        tallies.took(at, began.elapsed());
    }
    match outcome {
        Ok(Next::Go | Next::To(_) | Next::Split(_)) => tallies.count(at, Came::On),
        Ok(Next::Stop | Next::Drop | Next::Leave(_) | Next::Bury(_)) => {
            tallies.count(at, Came::Ended)
        }
        Ok(Next::Waits(_)) => {}
        Err(error) => {
            tallies.count(at, Came::Failed);
            tallies.fail(at, error);
        }
    }
}

/// As [`tally`] of a step that lets pass, whose outcome need not be moved about.
fn passed(chain: &Chain, at: usize, began: Option<Instant>) {
    if let Some(began) = began {
        chain.tallies.took(at, began.elapsed());
    }
    chain.tallies.count(at, Came::On);
}

/// What becomes of a message while the chain rests.
pub(crate) fn rested(
    chain: &Chain,
    message: &Arc<Message>,
    emissions: &mut Vec<Arc<Message>>,
) -> End {
    chain.rested();
    match chain.on_error {
        OnError::Continue | OnError::Stop => End::On(vec![message.clone()]),
        OnError::DeadLetter => {
            let letter = letter(&chain.name, message, "the chain rests");
            emissions.extend(letter.map(Arc::new));
            match chain.mode {
                Mode::Transform => End::Consumed,
                Mode::Rule => End::On(Vec::new()),
            }
        }
        OnError::Refuse => End::Refused {
            reason: ReasonCode::ImplementationSpecific,
            text: Some(format!("chain {} rests after failures", chain.name)),
        },
    }
}

fn failed(chain: &Chain, step: &Step, error: &str, sinks: &mut Sinks<'_>) -> Next {
    chain.stats.fail(error);
    if let Some(trace) = &mut sinks.trace {
        trace.failed(error);
    }
    let mut steps = chain.steps.iter();
    let place = steps.position(|one| std::ptr::eq(one, step));
    sinks.failed = Some((place.unwrap_or_default(), error.to_owned()));
    if step.on_error != OnError::Continue {
        sinks.fared = sinks.fared.max(Fared::Failed);
    }
    match step.on_error {
        OnError::Continue => Next::Go,
        OnError::Stop => Next::Stop,
        OnError::DeadLetter => Next::Bury(error.to_owned()),
        OnError::Refuse => {
            let text = Some(format!("chain {}: {error}", chain.name));
            Next::Leave(End::Refused {
                reason: ReasonCode::ImplementationSpecific,
                text,
            })
        }
    }
}

#[cfg(test)]
mod bench;
