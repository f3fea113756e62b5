//! Steps: each kind is compiled, bounded and run in a file of its own under `step/`.
//!
//! A new kind is one file there, a variant of [`Kind`] with its arms here, an entry of [`WORDS`], and its keys in
//! `file::Step`.
//! Must not: know which step comes next, or what a failure does; that is `run`.

mod changed;
mod compile;
mod decode;
mod dedup;
mod each;
mod filled;
mod filter;
mod lookup;
mod path;
mod plugin;
mod publish;
mod rate;
mod remember;
mod set;
mod sink;
mod store;
mod when;
mod window;

use crate::expression::Limits as ExpressionLimits;
use crate::file::{OnError, Step as Written};
use crate::place::RuleError;
use crate::run::{Around, Next, Work};
use crate::state::Bounds;
use crate::tables::Tables;
pub(crate) use changed::Changed;
pub(crate) use compile::{Compiling, Names, compile, on_error};
pub(crate) use decode::Decode;
pub(crate) use dedup::Dedup;
pub(crate) use each::ForEach;
pub(crate) use filter::Filter;
pub(crate) use lookup::Lookup;
pub(crate) use plugin::{Plugin, outcome, word};
pub(crate) use publish::Publish;
pub(crate) use rate::Rate;
pub(crate) use set::Set;
pub(crate) use sink::Sink;
pub(crate) use store::Store;
pub(crate) use when::When;
pub(crate) use window::Window;

/// One step.
#[derive(Debug)]
pub(crate) struct Step {
    /// What it is called in files.
    pub(crate) word: &'static str,
    pub(crate) kind: Kind,
    pub(crate) on_error: OnError,
    /// Place of the step behind it in its chain.
    pub(crate) next: usize,
    /// It calls nothing, looks at no list and waits for no lock: nobody has to look at the clock for it.
    pub(crate) is_quick: bool,
}

/// What a step does.
#[derive(Debug)]
pub(crate) enum Kind {
    /// The first of a chain that says `decode`.
    Decode(Decode),
    Filter(Filter),
    Set(Set),
    When(When),
    ForEach(ForEach),
    Plugin(Plugin),
    Publish(Box<Publish>),
    Sink(Sink),
    Dedup(Box<Dedup>),
    Rate(Box<Rate>),
    Changed(Box<Changed>),
    Window(Box<Window>),
    Lookup(Box<Lookup>),
    Store(Box<Store>),
}

/// A word that makes a step what it is.
pub(crate) struct Word {
    pub(crate) word: &'static str,
    /// Whether a step says it.
    is_said: fn(&Written) -> bool,
    /// Further keys that a step of this kind may have.
    pub(crate) keys: &'static [&'static str],
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
        keys: &["delete"],
        compile: |step, around| Set::compile(step, around).map(Kind::Set),
    },
    Word {
        word: "delete",
        is_said: |step| step.delete.is_some() && step.set.is_none(),
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
        keys: &[
            "payload",
            "qos",
            "retain",
            "expiry",
            "content_type",
            "response_topic",
            "user",
        ],
        compile: |step, around| {
            Publish::compile(step, around).map(|step| Kind::Publish(Box::new(step)))
        },
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
    Word {
        word: "window",
        is_said: |step| step.window.is_some(),
        keys: &[],
        compile: |step, around| Ok(Kind::Window(Box::new(Window::compile(step, around)?))),
    },
    Word {
        word: "lookup",
        is_said: |step| step.lookup.is_some(),
        keys: &[],
        compile: |step, around| Ok(Kind::Lookup(Box::new(Lookup::compile(step, around)?))),
    },
    Word {
        word: "store",
        is_said: |step| step.store.is_some(),
        keys: &[],
        compile: |step, around| Ok(Kind::Store(Box::new(Store::compile(step, around)?))),
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
            Self::Decode(step) => step.run(around),
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
            Self::Window(step) => step.run(around),
            Self::Lookup(step) => step.run(around),
            Self::Store(step) => step.run(around),
        }
    }

    /// Whether what it does for one message is little, whatever the message is.
    pub(crate) fn is_quick(&self) -> bool {
        match self {
            Self::Decode(_) => true,
            Self::Filter(step) => step.is_quick(),
            Self::Set(step) => step.is_quick(),
            Self::When(step) => step.is_quick(),
            Self::Publish(step) => step.is_quick(),
            _ => false,
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
            Self::Window(step) => step.limit(limits),
            Self::Lookup(step) => step.limit(limits),
            Self::Store(step) => step.limit(limits),
            Self::Decode(_) | Self::Plugin(_) | Self::Sink(_) => {}
        }
    }

    /// Whether it has something of its own: what it remembers, or its tables.
    pub(crate) fn remembers(&self) -> bool {
        match self {
            Self::Decode(_)
            | Self::Filter(_)
            | Self::Set(_)
            | Self::When(_)
            | Self::ForEach(_)
            | Self::Plugin(_)
            | Self::Publish(_)
            | Self::Sink(_) => false,
            Self::Dedup(_)
            | Self::Rate(_)
            | Self::Changed(_)
            | Self::Window(_)
            | Self::Lookup(_)
            | Self::Store(_) => true,
        }
    }

    /// Begins anew with what it remembers, within these bounds.
    pub(crate) fn forget(&mut self, bounds: &Bounds) {
        match self {
            Self::Dedup(step) => step.forget(bounds),
            Self::Rate(step) => step.forget(bounds),
            Self::Changed(step) => step.forget(bounds),
            Self::Window(step) => step.forget(bounds),
            _ => {}
        }
    }

    /// Goes on with what a step of an earlier revision remembers; whether it is the same step.
    pub(crate) fn adopt(&mut self, old: &Self) -> bool {
        match (self, old) {
            (Self::Dedup(step), Self::Dedup(old)) => step.adopt(old),
            (Self::Rate(step), Self::Rate(old)) => step.adopt(old),
            (Self::Changed(step), Self::Changed(old)) => step.adopt(old),
            (Self::Window(step), Self::Window(old)) => step.adopt(old),
            _ => false,
        }
    }

    /// Entries and bytes of what it remembers.
    pub(crate) fn size(&self) -> (usize, usize) {
        match self {
            Self::Dedup(step) => step.size(),
            Self::Rate(step) => step.size(),
            Self::Changed(step) => step.size(),
            Self::Window(step) => step.size(),
            _ => (0, 0),
        }
    }

    /// Its tables are among these.
    pub(crate) fn attach(&mut self, tables: &Tables) {
        match self {
            Self::Lookup(step) => step.attach(tables),
            Self::Store(step) => step.attach(tables),
            _ => {}
        }
    }

    /// It changes no table.
    pub(crate) fn only_read(&mut self) {
        if let Self::Store(step) = self {
            step.only_read();
        }
    }

    /// Whether messages come out of it by themselves, at a time.
    pub(crate) fn is_timed(&self) -> bool {
        matches!(self, Self::Window(step) if step.is_timed())
    }

    /// What comes out of it by itself, for at most `most` keys, and for how many.
    pub(crate) fn due(&self, now_ms: u64, most: usize) -> (Vec<Work>, usize) {
        match self {
            Self::Window(step) => step.due(now_ms, most),
            _ => (Vec::new(), 0),
        }
    }

    /// When something comes out of it by itself.
    pub(crate) fn next_due(&self) -> Option<u64> {
        match self {
            Self::Window(step) => step.next_due(),
            _ => None,
        }
    }

    /// Where it leads besides the next step.
    pub(crate) fn then(&self) -> Option<usize> {
        match self {
            Self::When(step) => Some(step.place),
            _ => None,
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
