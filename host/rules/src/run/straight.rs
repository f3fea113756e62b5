//! The short way through a chain: a message that no step has changed needs nothing but itself, and one that is alone no lists.
//!
//! Owns: [`Straight`]. Must not: make of a message anything else than [`Running::go`] would, which goes on wherever there is
//! more than one message, a step that waits, or an end before the last step.

use super::work::Work;
use super::{Around, Next, Ran, Running, Sinks, passed, tally};
use crate::chain::Chain;
use crate::step::{Kind, Step};
use std::sync::Arc;
use witmq_broker::ports::{Publisher, StepOutcome, Transform};
use witmq_proto::Message;

/// How far a message came by the short way.
pub(crate) enum Straight {
    /// Through the chain, as it was.
    Same,
    /// Through the chain, changed.
    Changed(Arc<Message>),
    /// As far as the general way took it.
    Ran(Ran),
}

impl Running {
    /// A message comes into a chain that nobody looks at, and through it.
    pub(crate) fn straight(
        &mut self,
        chain: &Chain,
        steps: &mut dyn Transform,
        publisher: Publisher<'_>,
        message: &Arc<Message>,
        sinks: &mut Sinks<'_>,
    ) -> Straight {
        self.enter(chain);
        self.expects_long(chain, message);
        let mut changed: Option<Work> = None;
        let mut at = chain.start;
        while let Some(step) = chain.steps.get(at) {
            if !step.is_quick {
                self.looks_at_the_clock(chain);
            }
            let steps: &mut dyn Transform = &mut *steps;
            let outcome = match (&mut changed, &step.kind) {
                (None, Kind::Plugin(plugin)) => {
                    let began = self.time();
                    let said = steps.transform(&plugin.name, publisher, message);
                    if let Ok(StepOutcome::Pass) = said {
                        passed(chain, at, began);
                        at = step.next;
                        continue;
                    }
                    let outcome = plugin.said(
                        said,
                        &mut Around {
                            chain,
                            steps,
                            publisher,
                            work: changed.insert(Work::new(message.clone(), chain)),
                            sinks,
                        },
                    );
                    tally(chain, at, &outcome, began);
                    outcome
                }
                (None, Kind::Filter(filter)) if filter.is_bare() => {
                    let began = self.time();
                    let outcome = filter.glance((chain, publisher), message, sinks);
                    if let Ok(Next::Go) = outcome {
                        passed(chain, at, began);
                        at = step.next;
                        continue;
                    }
                    tally(chain, at, &outcome, began);
                    outcome
                }
                (changed, _) => {
                    let work = changed.get_or_insert_with(|| Work::new(message.clone(), chain));
                    self.step(chain, (at, step), (steps, publisher), work, sinks)
                }
            };
            match outcome {
                Ok(Next::Go) => at = step.next,
                Ok(Next::Stop) => break,
                other => {
                    let work = changed.unwrap_or_else(|| Work::new(message.clone(), chain));
                    self.original = chain.buries.then(|| message.clone());
                    let ran = match self.turn(chain, (at, step), work, other, sinks) {
                        Some(ran) => ran,
                        None => self.go(chain, steps, publisher, sinks),
                    };
                    return Straight::Ran(ran);
                }
            }
        }
        match changed {
            None => Straight::Same,
            Some(work) => Straight::Changed(work.finished(chain)),
        }
    }

    /// A step that was not just passed; `None`: the message is under way in the general way.
    fn turn(
        &mut self,
        chain: &Chain,
        (at, step): (usize, &Step),
        work: Work,
        outcome: Result<Next, String>,
        sinks: &mut Sinks<'_>,
    ) -> Option<Ran> {
        if let Ok(Next::Waits(answer)) = outcome {
            self.under_way.push((at, work));
            return Some(Ran::Waits(answer));
        }
        let end = self.settle(chain, step, work, outcome, sinks);
        end.map(Ran::Ended)
    }
}
