//! Steps: each kind is compiled, bounded and run in a file of its own under `step/`.
//!
//! A new kind is one file there, a variant of [`Kind`] with its arms here, an entry of [`WORDS`], and its keys in
//! `file::Step`.
//! Must not: know which step comes next, or what a failure does; that is `run`.

mod changed;
mod compile;
mod dedup;
mod each;
mod filter;
mod plugin;
mod publish;
mod rate;
mod remember;
mod set;
mod sink;
mod topic;
mod when;

use crate::expression::Limits as ExpressionLimits;
use crate::file::{OnError, Step as Written};
use crate::place::RuleError;
use crate::run::{Around, Next};
use crate::state::Bounds;
pub(crate) use changed::Changed;
pub(crate) use compile::{Compiling, Names, compile};
pub(crate) use dedup::Dedup;
pub(crate) use each::ForEach;
pub(crate) use filter::Filter;
pub(crate) use plugin::{Plugin, outcome};
pub(crate) use publish::Publish;
pub(crate) use rate::Rate;
pub(crate) use set::Set;
pub(crate) use sink::Sink;
pub(crate) use when::When;

/// One step.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) kind: Kind,
    pub(crate) on_error: OnError,
    /// Place of the step behind it in its chain.
    pub(crate) next: usize,
}

/// What a step does.
#[derive(Debug)]
pub(crate) enum Kind {
    Filter(Filter),
    Set(Set),
    When(When),
    ForEach(ForEach),
    Plugin(Plugin),
    Publish(Publish),
    Sink(Sink),
    Dedup(Box<Dedup>),
    Rate(Box<Rate>),
    Changed(Box<Changed>),
}

/// A word that makes a step what it is.
pub(crate) struct Word {
    pub(crate) word: &'static str,
    /// Whether a step says it.
    is_said: fn(&Written) -> bool,
    /// Further keys that a step of this kind may have.
    keys: &'static [&'static str],
    compile: fn(&Written, &Compiling<'_>) -> Result<Kind, RuleError>,
}

/// Every kind of step there is, in the order in which messages name them.
pub(crate) const WORDS: &[Word] = &[
    Word {
        word: "filter",
        is_said: |step| step.filter.is_some(),
        keys: &[],
        compile: |step, around| Filter::compile(step, around).map(Kind::Filter),
    },
    Word {
        word: "set",
        is_said: |step| step.set.is_some(),
        keys: &[],
        compile: |step, around| Set::compile(step, around).map(Kind::Set),
    },
    Word {
        word: "when",
        is_said: |step| step.when.is_some(),
        keys: &["then"],
        compile: |step, around| When::compile(step, around).map(Kind::When),
    },
    Word {
        word: "foreach",
        is_said: |step| step.foreach.is_some(),
        keys: &["as"],
        compile: |step, around| ForEach::compile(step, around).map(Kind::ForEach),
    },
    Word {
        word: "plugin",
        is_said: |step| step.plugin.is_some(),
        keys: &[],
        compile: |step, around| Plugin::compile(step, around).map(Kind::Plugin),
    },
    Word {
        word: "publish",
        is_said: |step| step.publish.is_some(),
        keys: &["payload", "qos", "retain"],
        compile: |step, around| Publish::compile(step, around).map(Kind::Publish),
    },
    Word {
        word: "sink",
        is_said: |step| step.sink.is_some(),
        keys: &[],
        compile: |step, around| Sink::compile(step, around).map(Kind::Sink),
    },
    Word {
        word: "dedup",
        is_said: |step| step.dedup.is_some(),
        keys: &[],
        compile: |step, around| Ok(Kind::Dedup(Box::new(Dedup::compile(step, around)?))),
    },
    Word {
        word: "rate",
        is_said: |step| step.rate.is_some(),
        keys: &[],
        compile: |step, around| Ok(Kind::Rate(Box::new(Rate::compile(step, around)?))),
    },
    Word {
        word: "changed",
        is_said: |step| step.changed.is_some(),
        keys: &[],
        compile: |step, around| Ok(Kind::Changed(Box::new(Changed::compile(step, around)?))),
    },
];

/// `filter, set, … and sink`, for messages.
pub(crate) fn words() -> String {
    listed(WORDS.iter().map(|word| word.word))
}

/// `a, b and c`.
pub(crate) fn listed<'a>(words: impl Iterator<Item = &'a str>) -> String {
    let mut words: Vec<&str> = words.collect();
    match (words.pop(), words.is_empty()) {
        (None, _) => String::new(),
        (Some(last), true) => last.to_owned(),
        (Some(last), false) => format!("{} and {last}", words.join(", ")),
    }
}

impl Kind {
    /// One message through it.
    pub(crate) fn run(&self, around: &mut Around<'_, '_>) -> Result<Next, String> {
        match self {
            Self::Filter(step) => step.run(around),
            Self::Set(step) => step.run(around),
            Self::When(step) => step.run(around),
            Self::ForEach(step) => step.run(around),
            Self::Plugin(step) => step.run(around),
            Self::Publish(step) => step.run(around),
            Self::Sink(step) => step.run(around),
            Self::Dedup(step) => step.run(around),
            Self::Rate(step) => step.run(around),
            Self::Changed(step) => step.run(around),
        }
    }

    /// What an evaluation of its expressions may cost.
    pub(crate) fn limit(&mut self, limits: ExpressionLimits) {
        match self {
            Self::Filter(step) => step.limit(limits),
            Self::Set(step) => step.limit(limits),
            Self::When(step) => step.limit(limits),
            Self::ForEach(step) => step.limit(limits),
            Self::Publish(step) => step.limit(limits),
            Self::Dedup(step) => step.limit(limits),
            Self::Rate(step) => step.limit(limits),
            Self::Changed(step) => step.limit(limits),
            Self::Plugin(_) | Self::Sink(_) => {}
        }
    }

    /// Begins anew with what it remembers, within these bounds.
    pub(crate) fn forget(&mut self, bounds: Bounds) {
        match self {
            Self::Dedup(step) => step.forget(bounds),
            Self::Rate(step) => step.forget(bounds),
            Self::Changed(step) => step.forget(bounds),
            _ => {}
        }
    }

    /// Goes on with what a step of an earlier revision remembers; whether it is the same step.
    pub(crate) fn adopt(&mut self, old: &Self) -> bool {
        match (self, old) {
            (Self::Dedup(step), Self::Dedup(old)) => step.adopt(old),
            (Self::Rate(step), Self::Rate(old)) => step.adopt(old),
            (Self::Changed(step), Self::Changed(old)) => step.adopt(old),
            _ => false,
        }
    }

    /// Entries and bytes of what it remembers.
    pub(crate) fn size(&self) -> (usize, usize) {
        match self {
            Self::Dedup(step) => step.size(),
            Self::Rate(step) => step.size(),
            Self::Changed(step) => step.size(),
            _ => (0, 0),
        }
    }

    /// The plugin it calls.
    pub(crate) fn plugin(&self) -> Option<&str> {
        match self {
            Self::Plugin(Plugin { name }) | Self::Sink(Sink { name }) => Some(name),
            _ => None,
        }
    }
}
