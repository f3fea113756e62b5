//! The functions of expressions: one table from which they are called, checked, documented and tried.
//!
//! Must not: know how expressions are parsed or evaluated. A function reads no clock, and everything that it builds or
//! reads it asks its [`Budget`](crate::expression::Budget) for.

mod bits;
mod bytes;
mod convert;
mod date;
mod encode;
mod format;
mod hash;
mod list;
mod macros;
mod map;
mod math;
mod page;
mod pattern;
mod random;
mod text;
mod time;
mod topic;

use crate::expression::{Budget, Done, Fail, List, Map, Value, whole};

pub use page::{describe, page};
pub(crate) use pattern::Pattern;
pub(crate) use random::seed;
pub(crate) use time::milliseconds;

/// No upper bound of the number of arguments.
pub(crate) const ANY: usize = usize::MAX;

/// One function; called as `f(x, …)` or as `x.f(…)`.
pub(crate) struct Function {
    pub(crate) name: &'static str,
    /// As an author writes it, with what comes out.
    pub(crate) signature: &'static str,
    /// What it does.
    pub(crate) words: &'static str,
    pub(crate) example: &'static str,
    /// What comes out of the example, as JSON.
    pub(crate) result: &'static str,
    /// Names of the same in EMQX, or in CEL's extensions.
    pub(crate) also: &'static str,
    /// How many arguments, at least and at most.
    pub(crate) arguments: (usize, usize),
    /// Which argument is a regular expression.
    pub(crate) pattern: Option<usize>,
    /// It is compiled and never called.
    is_macro: bool,
    pub(crate) run: Run,
}

type Run = for<'c, 'a> fn(&Call<'c, 'a>) -> Done<Value<'a>>;

impl Function {
    const fn new(
        name: &'static str,
        arguments: (usize, usize),
        signature: &'static str,
        words: &'static str,
        (example, result): (&'static str, &'static str),
        run: Run,
    ) -> Self {
        Self {
            name,
            signature,
            words,
            example,
            result,
            also: "",
            arguments,
            pattern: None,
            is_macro: false,
            run,
        }
    }

    /// Known by these names elsewhere.
    const fn also(mut self, names: &'static str) -> Self {
        self.also = names;
        self
    }

    const fn with_pattern(mut self, at: usize) -> Self {
        self.pattern = Some(at);
        self
    }
}

/// What belongs together, with its words.
struct Group {
    name: &'static str,
    words: &'static str,
    functions: &'static [Function],
}

const GROUPS: [&Group; 15] = [
    &macros::GROUP,
    &text::GROUP,
    &pattern::GROUP,
    &math::GROUP,
    &time::GROUP,
    &date::GROUP,
    &convert::GROUP,
    &list::GROUP,
    &map::GROUP,
    &topic::GROUP,
    &encode::GROUP,
    &hash::GROUP,
    &bytes::GROUP,
    &bits::GROUP,
    &random::GROUP,
];

/// Every function, in the order of the documentation.
pub(crate) fn all() -> impl Iterator<Item = &'static Function> {
    GROUPS.into_iter().flat_map(|group| group.functions)
}

pub(crate) fn find(name: &str) -> Option<&'static Function> {
    all().find(|function| function.name == name && !function.is_macro)
}

/// How a macro is used.
pub(crate) fn usage(name: &str) -> Option<&'static str> {
    let found = all()
        .find(|function| function.is_macro && (function.name == name || function.also == name));
    found.map(|function| function.signature)
}

/// The function that has this name elsewhere.
pub(crate) fn elsewhere(name: &str) -> Option<&'static Function> {
    all().find(|function| function.also.split(' ').any(|also| also == name))
}

/// A call of a function.
pub(crate) struct Call<'c, 'a> {
    pub(crate) arguments: &'c [Value<'a>],
    pub(crate) budget: &'c Budget,
    /// Its pattern, if that is a literal.
    pub(crate) pattern: Option<&'c Pattern>,
    /// When the message was received.
    pub(crate) now_ms: u64,
}

impl<'a> Call<'_, 'a> {
    fn get(&self, at: usize) -> Option<&Value<'a>> {
        self.arguments.get(at)
    }

    fn value(&self, at: usize) -> &Value<'a> {
        self.get(at).unwrap_or(&Value::Null)
    }

    /// An argument is something else than is needed.
    fn not(&self, at: usize, needed: &str) -> Fail {
        Fail::wrong(format!(
            "argument {} is {}, {needed} is needed",
            at + 1,
            self.value(at).shown()
        ))
    }

    fn text(&self, at: usize) -> Done<&str> {
        match self.value(at) {
            Value::String(text) => {
                self.budget.read(text.len())?;
                Ok(text)
            }
            _ => Err(self.not(at, "a text")),
        }
    }

    fn text_or<'t>(&'t self, at: usize, default: &'t str) -> Done<&'t str> {
        match self.get(at) {
            Some(_) => self.text(at),
            None => Ok(default),
        }
    }

    /// Bytes, or the bytes of a text.
    fn bytes(&self, at: usize) -> Done<&[u8]> {
        match self.value(at) {
            Value::Bytes(bytes) => {
                self.budget.read(bytes.len())?;
                Ok(bytes)
            }
            Value::String(_) => self.text(at).map(str::as_bytes),
            _ => Err(self.not(at, "bytes or a text")),
        }
    }

    fn number(&self, at: usize) -> Done<f64> {
        self.value(at)
            .number()
            .ok_or_else(|| self.not(at, "a number"))
    }

    fn number_or(&self, at: usize, default: f64) -> Done<f64> {
        match self.get(at) {
            Some(_) => self.number(at),
            None => Ok(default),
        }
    }

    fn whole(&self, at: usize) -> Done<i64> {
        match self.value(at) {
            Value::Int(number) => Ok(*number),
            Value::Float(number) => {
                whole(*number).ok_or_else(|| self.not(at, "a whole number below 2^63"))
            }
            _ => Err(self.not(at, "a whole number")),
        }
    }

    fn whole_or(&self, at: usize, default: i64) -> Done<i64> {
        match self.get(at) {
            Some(_) => self.whole(at),
            None => Ok(default),
        }
    }

    /// A whole number from 0 on.
    fn count(&self, at: usize) -> Done<usize> {
        usize::try_from(self.whole(at)?).map_err(|_| self.not(at, "a whole number from 0 on"))
    }

    fn count_or(&self, at: usize, default: usize) -> Done<usize> {
        match self.get(at) {
            Some(_) => self.count(at),
            None => Ok(default),
        }
    }

    fn list(&self, at: usize) -> Done<&List<'a>> {
        match self.value(at) {
            Value::List(list) => {
                self.budget.spend(list.len())?;
                Ok(list)
            }
            _ => Err(self.not(at, "a list")),
        }
    }

    fn map(&self, at: usize) -> Done<&Map<'a>> {
        match self.value(at) {
            Value::Map(map) => {
                self.budget.spend(map.len())?;
                Ok(map)
            }
            _ => Err(self.not(at, "a map")),
        }
    }

    /// A text that was built; its making was paid for by whoever made it.
    fn built(&self, text: String) -> Done<Value<'a>> {
        self.budget.build(text.len())?;
        Ok(Value::text(text))
    }

    fn built_list(&self, items: Vec<Value<'a>>) -> Done<Value<'a>> {
        self.budget.build_list(items.len())?;
        Ok(Value::from_items(items))
    }
}

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod tests;
