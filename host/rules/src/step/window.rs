//! `window`: what came lately, put together, for the steps behind.

use super::{Compiling, remember};
use crate::expression::{Expression, Limits, Value};
use crate::file::{self, Excess, Mode};
use crate::place::RuleError;
use crate::run::{Around, Held, Next, Work};
use crate::state::{self, Bounds, Closed, Sum, Summary, WindowKind};
use crate::template::is_name;
use serde_spanned::Spanned;
use std::sync::Arc;

/// The name of what it puts together.
const NAME: &str = "window";
/// What is said of every window, and so no name for values.
const OWN: [&str; 3] = ["count", "start_ms", "end_ms"];

/// What makes one step the same as another.
#[derive(Clone, Debug, PartialEq)]
struct Definition {
    kind: WindowKind,
    key: Option<String>,
    /// Names and expressions of values.
    values: Vec<(String, String)>,
}

#[derive(Debug)]
pub(crate) struct Window {
    key: Option<Expression>,
    /// Their names; one without a name is `value`.
    values: Vec<(String, Expression)>,
    definition: Definition,
    excess: Excess,
    slot: u8,
    memory: Arc<state::Window<Held>>,
}

impl Window {
    pub(super) fn compile(raw: &file::Step, around: &Compiling<'_>) -> Result<Self, RuleError> {
        let Some(raw) = &raw.window else {
            return Err(around.error(around.at, "a window step needs `window`"));
        };
        let kind = kind(raw, around)?;
        let key = raw.key.as_ref().map(|text| around.expression(text));
        let (key, values) = (key.transpose()?, values(raw, around)?);
        let source = |(name, value): &(String, Expression)| (name.clone(), value.source.clone());
        let definition = Definition {
            kind,
            key: key.as_ref().map(|key| key.source.clone()),
            values: values.iter().map(source).collect(),
        };
        Ok(Self {
            key,
            values,
            definition,
            excess: remember::excess(around, raw.excess.as_ref(), false)?,
            slot: around.bind(NAME, around.at)?,
            memory: Arc::new(state::Window::new(Bounds::default(), kind)),
        })
    }

    pub(super) fn limit(&mut self, limits: Limits) {
        self.key.iter_mut().for_each(|key| key.limit(limits));
        (self.values.iter_mut()).for_each(|(_, value)| value.limit(limits));
    }

    pub(super) fn forget(&mut self, bounds: &Bounds) {
        self.memory = Arc::new(state::Window::new(bounds.clone(), self.definition.kind));
    }

    /// Goes on with what `old` remembers, if it is the same step. What the last messages were named is kept by slot.
    pub(super) fn adopt(&mut self, old: &Self) -> bool {
        let is_same = self.definition == old.definition && self.slot == old.slot;
        if is_same {
            self.memory = old.memory.clone();
        }
        is_same
    }

    pub(super) fn size(&self) -> (usize, usize) {
        self.memory.size()
    }

    pub(super) fn run(&self, around: &mut Around<'_, '_>) -> Result<Next, String> {
        let key = remember::key(around, self.key.as_ref())?;
        let mut values = Vec::with_capacity(self.values.len());
        for (_, expression) in &self.values {
            let value = around.evaluate(expression)?;
            let number = value.number().filter(|number| number.is_finite());
            values.push(number.ok_or_else(|| {
                let source = &expression.source;
                format!("window: `{source}` gives {}, not a number", value.shown())
            })?);
        }
        let now_ms = around.work.message()?.received_ms;
        let work = &*around.work;
        let took = (self.memory).add(&key, now_ms, &values, || work.hold());
        around.given_up(took.given_up);
        if let WindowKind::Parts { part_ms, .. } = self.definition.kind {
            let end_ms = (now_ms / part_ms + 1).saturating_mul(part_ms);
            around.chain.alarm.at(end_ms);
            around.note(|| {
                let closed = took.closed.len();
                format!("{key:?} -> until {end_ms}, {closed} ended before")
            });
            return Ok(match took.closed.is_empty() {
                true => Next::Stop,
                false => Next::Split(took.closed.into_iter().map(|one| self.ended(one)).collect()),
            });
        }
        let Some(summary) = took.now else {
            around.note(|| format!("{key:?} -> not full yet"));
            return Ok(remember::held_back(around, self.excess));
        };
        let value = self.value(&summary);
        around.note(|| format!("{key:?} -> {value:?}"));
        around.work.bind(self.slot, value);
        Ok(Next::Go)
    }

    /// The last message of a window that is over, with what the window comes to.
    fn ended(&self, closed: Closed<Held>) -> Work {
        let mut work = closed.last.into_work();
        work.bind(self.slot, self.value(&closed.summary));
        work
    }

    /// Windows that end by themselves, of at most `most` keys; how many keys that were.
    pub(super) fn due(&self, now_ms: u64, most: usize) -> (Vec<Work>, usize) {
        let (closed, seen) = self.memory.close_due(now_ms, most);
        (
            closed.into_iter().map(|one| self.ended(one)).collect(),
            seen,
        )
    }

    /// When the first window ends by itself.
    pub(super) fn next_due(&self) -> Option<u64> {
        self.memory.next_due()
    }

    /// Whether its windows end by themselves.
    pub(super) fn is_timed(&self) -> bool {
        matches!(self.definition.kind, WindowKind::Parts { .. })
    }

    fn value(&self, summary: &Summary) -> Value<'static> {
        let count = summary.sums.count;
        let whole = |number: u64| Value::Int(i64::try_from(number).unwrap_or(i64::MAX));
        let mut fields = vec![
            ("count".to_owned(), whole(count)),
            ("start_ms".to_owned(), whole(summary.start_ms)),
            ("end_ms".to_owned(), whole(summary.end_ms)),
        ];
        for ((name, _), sum) in self.values.iter().zip(&*summary.sums.names) {
            if name.is_empty() {
                fields.extend(of(sum, count));
            } else {
                fields.push((name.clone(), Value::named(of(sum, count))));
            }
        }
        Value::named(fields)
    }
}

fn of(sum: &Sum, count: u64) -> impl Iterator<Item = (String, Value<'static>)> {
    let entries = [
        ("avg", Value::Float(sum.sum / count as f64)),
        ("sum", Value::Float(sum.sum)),
        ("min", Value::whole(sum.min)),
        ("max", Value::whole(sum.max)),
        ("first", Value::whole(sum.first)),
        ("last", Value::whole(sum.last)),
    ];
    entries
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
}

fn kind(raw: &file::Window, around: &Compiling<'_>) -> Result<WindowKind, RuleError> {
    let every = raw.every.as_ref();
    let one_of = "a window has either `count` or `time`";
    let kind = match (&raw.count, &raw.time, every) {
        (Some(count), None, None) => {
            let at = count.span().start;
            let count = *count.get_ref();
            if !(1..=state::WINDOW_VALUES).contains(&count) {
                let text = format!("count is 1 to {}, not {count}", state::WINDOW_VALUES);
                return Err(around.error(at, text));
            }
            match raw.sliding {
                true => WindowKind::LastCount(count),
                false => WindowKind::Count(count),
            }
        }
        (None, Some(time), every) => timed(raw, time, every, around)?,
        (_, _, Some(every)) => {
            let text = "every belongs to a sliding window of time";
            return Err(around.error(around.source.content(&every.span()), text));
        }
        _ => return Err(around.error(around.at, one_of)),
    };
    if around.mode == Mode::Transform && matches!(kind, WindowKind::Parts { .. }) {
        let text = "a window that ends by time works in a rule chain only: its last message went on long ago";
        return Err(around
            .error(around.at, text)
            .hint("use mode = \"rule\" and publish what the window comes to, or sliding = true without every"));
    }
    Ok(kind)
}

fn timed(
    raw: &file::Window,
    time: &Spanned<String>,
    every: Option<&Spanned<String>>,
    around: &Compiling<'_>,
) -> Result<WindowKind, RuleError> {
    let time_ms = remember::time(around, "time", time)?;
    let Some(every) = every else {
        return Ok(match raw.sliding {
            true => WindowKind::LastTime(time_ms),
            false => WindowKind::Parts {
                part_ms: time_ms,
                parts: 1,
            },
        });
    };
    let at = around.source.content(&every.span());
    if !raw.sliding {
        let text = "every belongs to a sliding window of time";
        return Err(around.error(at, text).hint("add sliding = true"));
    }
    let part_ms = remember::time(around, "every", every)?;
    let parts = time_ms / part_ms;
    if time_ms % part_ms != 0 || !(1..=state::WINDOW_PARTS).contains(&parts) {
        let most = state::WINDOW_PARTS;
        let text = format!("time is 1 to {most} times every, and nothing left over");
        return Err(around.error(at, text));
    }
    Ok(WindowKind::Parts { part_ms, parts })
}

fn values(
    raw: &file::Window,
    around: &Compiling<'_>,
) -> Result<Vec<(String, Expression)>, RuleError> {
    let named = match (&raw.value, &raw.values) {
        (None, None) => return Ok(Vec::new()),
        (Some(value), None) => return Ok(vec![(String::new(), around.expression(value)?)]),
        (Some(value), Some(_)) => {
            let at = value.span().start;
            return Err(around.error(at, "a window has either `value` or `values`"));
        }
        (None, Some(named)) => named,
    };
    let most = state::WINDOW_NAMES;
    if !(1..=most).contains(&named.get_ref().len()) {
        let text = format!("values are 1 to {most}, not {}", named.get_ref().len());
        return Err(around.error(named.span().start, text));
    }
    let one = |(name, text): (&String, &Spanned<String>)| {
        if !is_name(name) || OWN.contains(&name.as_str()) {
            let cause = format!("`{name}` cannot name a value");
            return Err(around
                .error(text.span().start, cause)
                .hint("use letters, digits and _, but not count, start_ms or end_ms"));
        }
        Ok((name.clone(), around.expression(text)?))
    };
    named.get_ref().iter().map(one).collect()
}
