//! Evaluation of a compiled expression, every step of it counted.
//! Must not: parse, look names up, or read a clock.

use super::limits::{Budget, Done, Fail, FailKind};
use super::node::{Binary, Each, Kind, Macro, Node};
use super::scope::Scope;
use super::value::{Blob, List, Text, Value, whole};
use crate::functions::Call;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Evaluates `node`.
pub(crate) fn evaluate<'a>(
    node: &'a Node,
    scope: &'a Scope<'a>,
    budget: &Budget,
) -> Done<Value<'a>> {
    let mut machine = Machine {
        scope,
        budget,
        locals: Vec::new(),
    };
    machine.eval(node)
}

struct Machine<'b, 'a> {
    scope: &'a Scope<'a>,
    budget: &'b Budget,
    /// Elements of the macros around, the outermost first.
    locals: Vec<Value<'a>>,
}

impl<'a> Machine<'_, 'a> {
    fn eval(&mut self, node: &'a Node) -> Done<Value<'a>> {
        let done = self.budget.spend(1).and_then(|()| self.eval_kind(node));
        done.map_err(|fail| fail.within(node.span))
    }

    fn eval_kind(&mut self, node: &'a Node) -> Done<Value<'a>> {
        match &node.kind {
            Kind::Literal(value) => Ok(value.clone()),
            Kind::Variable(variable) => Ok(self.scope.get(*variable)),
            Kind::Local(at) => self
                .locals
                .get(*at)
                .cloned()
                .ok_or_else(|| Fail::wrong("there is no such element")),
            Kind::Field(of, name) => field(&self.eval(of)?, name),
            Kind::Has(of, name) => self.has(of, name),
            Kind::Index(parts) => {
                let [of, at] = &**parts;
                let (of, at) = (self.eval(of)?, self.eval(at)?);
                index(&of, &at)
            }
            Kind::Not(of) => self.truth(of, "!").map(|value| Value::Bool(!value)),
            Kind::Negate(of) => {
                let value = self.eval(of)?;
                match (&value, value.number()) {
                    (Value::Int(number), _) if *number != i64::MIN => Ok(Value::Int(-number)),
                    (_, Some(number)) => Ok(Value::Float(-number)),
                    _ => Err(Fail::operands("`-`", "a number", &[&value])),
                }
            }
            Kind::And(sides) => self.junction(sides, "&&", false),
            Kind::Or(sides) => self.junction(sides, "||", true),
            Kind::Choose(parts) => {
                let [condition, yes, no] = &**parts;
                let is_so = self.truth(condition, "?")?;
                self.eval(if is_so { yes } else { no })
            }
            Kind::Binary(operator, sides) => {
                let [one, other] = &**sides;
                let (one, other) = (self.eval(one)?, self.eval(other)?);
                binary(*operator, &one, &other, self.budget)
            }
            Kind::List(items) => {
                self.budget.build_list(items.len())?;
                let items = items.iter().map(|item| self.eval(item));
                Ok(Value::from_items(items.collect::<Done<_>>()?))
            }
            Kind::Map(entries) => self.map(entries),
            Kind::Default(choices) => self.default(choices),
            Kind::Call {
                function,
                arguments,
                pattern,
            } => {
                let arguments = arguments.iter().map(|argument| self.eval(argument));
                let arguments = arguments.collect::<Done<Vec<_>>>()?;
                (function.run)(&Call {
                    arguments: &arguments,
                    budget: self.budget,
                    pattern: pattern.as_ref(),
                    now_ms: self.scope.received_ms(),
                })
            }
            Kind::Each(each) => self.each(each),
        }
    }

    fn truth(&mut self, node: &'a Node, what: &str) -> Done<bool> {
        match self.eval(node)? {
            Value::Bool(value) => Ok(value),
            other => Err(Fail::operands(
                &format!("`{what}`"),
                "true or false",
                &[&other],
            )),
        }
    }

    /// One side decides, whatever the other is; also when that other one fails.
    fn junction(&mut self, sides: &'a [Node; 2], what: &str, deciding: bool) -> Done<Value<'a>> {
        let [one, other] = sides;
        match self.truth(one, what) {
            Ok(value) if value == deciding => Ok(Value::Bool(deciding)),
            Ok(_) => self.truth(other, what).map(Value::Bool),
            Err(fail) if fail.kind() == FailKind::Limit => Err(fail),
            Err(fail) => match self.truth(other, what) {
                Ok(value) if value == deciding => Ok(Value::Bool(deciding)),
                Err(limit) if limit.kind() == FailKind::Limit => Err(limit),
                _ => Err(fail),
            },
        }
    }

    fn has(&mut self, of: &'a Node, name: &str) -> Done<Value<'a>> {
        match self.eval(of) {
            Ok(Value::Map(map)) => Ok(Value::Bool(map.get(name).is_some())),
            Ok(_) => Ok(Value::Bool(false)),
            Err(fail) if fail.kind() == FailKind::Missing => Ok(Value::Bool(false)),
            Err(fail) => Err(fail),
        }
    }

    fn default(&mut self, choices: &'a [Node]) -> Done<Value<'a>> {
        let Some((last, choices)) = choices.split_last() else {
            return Ok(Value::Null);
        };
        for choice in choices {
            match self.eval(choice) {
                Ok(Value::Null) => {}
                Err(fail) if fail.kind() == FailKind::Missing => {}
                done => return done,
            }
        }
        self.eval(last)
    }

    fn map(&mut self, entries: &'a [(Node, Node)]) -> Done<Value<'a>> {
        self.budget.build_map(entries.len())?;
        let mut map = BTreeMap::new();
        for (key, value) in entries {
            let key = self.eval(key)?;
            let Some(name) = key.key() else {
                return Err(Fail::operands(
                    "a map",
                    "texts, numbers and truth as keys",
                    &[&key],
                ));
            };
            if map.insert(name, self.eval(value)?).is_some() {
                return Err(Fail::wrong(format!(
                    "the key {} is there twice",
                    key.shown()
                )));
            }
        }
        Ok(Value::from_entries(map))
    }

    fn each(&mut self, each: &'a Each) -> Done<Value<'a>> {
        let items = match self.eval(&each.list)? {
            Value::List(list) => list,
            Value::Map(map) => {
                self.budget.build_list(map.len())?;
                let names = map.entries().into_iter();
                List::Own(Arc::new(
                    names.map(|(name, _)| Value::String(name)).collect(),
                ))
            }
            other => return Err(Fail::operands("it", "a list or a map", &[&other])),
        };
        let mut found = Found::default();
        for item in items.iter() {
            self.budget.iterate()?;
            // Also what an element that failed has left behind goes.
            self.locals.truncate(each.depth);
            self.locals.push(item);
            if !self.one(each, &mut found)? {
                break;
            }
        }
        found.end(each.what, self.budget)
    }

    /// One element; whether the next one matters.
    fn one(&mut self, each: &'a Each, found: &mut Found<'a>) -> Done<bool> {
        if let Some(condition) = &each.condition {
            let is_so = match self.truth(condition, "the condition") {
                // As with && and ||: a later element may decide.
                Err(fail)
                    if fail.kind() != FailKind::Limit
                        && matches!(each.what, Macro::All | Macro::Exists) =>
                {
                    found.pending = Some(fail);
                    return Ok(true);
                }
                done => done?,
            };
            match each.what {
                Macro::All | Macro::Exists if is_so == (each.what == Macro::Exists) => {
                    found.is_decided = true;
                    return Ok(false);
                }
                Macro::ExistsOne => found.count += usize::from(is_so),
                _ => {}
            }
            if !is_so {
                return Ok(true);
            }
        }
        let item = self.locals.last().cloned().unwrap_or(Value::Null);
        match (each.what, &each.body) {
            (Macro::Filter, _) => found.items.push(item),
            (Macro::Map, Some(body)) => {
                let value = self.eval(body)?;
                found.items.push(value);
            }
            (Macro::SortBy, Some(body)) => {
                let key = self.eval(body)?;
                found.keys.push(key);
                found.items.push(item);
            }
            _ => {}
        }
        Ok(true)
    }
}

/// What a macro has found so far.
#[derive(Default)]
struct Found<'a> {
    is_decided: bool,
    pending: Option<Fail>,
    count: usize,
    items: Vec<Value<'a>>,
    keys: Vec<Value<'a>>,
}

impl<'a> Found<'a> {
    fn end(self, what: Macro, budget: &Budget) -> Done<Value<'a>> {
        match (what, self.pending) {
            (Macro::All | Macro::Exists, _) if self.is_decided => {
                Ok(Value::Bool(what == Macro::Exists))
            }
            (_, Some(fail)) => Err(fail),
            (Macro::All | Macro::Exists, None) => Ok(Value::Bool(what == Macro::All)),
            (Macro::ExistsOne, None) => Ok(Value::Bool(self.count == 1)),
            (Macro::Map | Macro::Filter, None) => {
                budget.build_list(self.items.len())?;
                Ok(Value::from_items(self.items))
            }
            (Macro::SortBy, None) => sorted(self.items, self.keys, budget),
        }
    }
}

/// `items` in the order of their `keys`; the same keys stay as they are.
pub(crate) fn sorted<'a>(
    items: Vec<Value<'a>>,
    keys: Vec<Value<'a>>,
    budget: &Budget,
) -> Done<Value<'a>> {
    budget.build_list(items.len())?;
    let mut failed = None;
    let mut pairs: Vec<_> = keys.into_iter().zip(items).collect();
    pairs.sort_by(|(one, _), (other, _)| {
        if failed.is_some() {
            return Ordering::Equal;
        }
        let order = budget.spend(1).and_then(|()| one.order(other, budget));
        match order {
            Ok(Some(order)) => order,
            Ok(None) => {
                let text = "values of one kind that have an order";
                failed = Some(Fail::operands("a sort", text, &[one, other]));
                Ordering::Equal
            }
            Err(fail) => {
                failed = Some(fail);
                Ordering::Equal
            }
        }
    });
    match failed {
        Some(fail) => Err(fail),
        None => Ok(Value::from_items(
            pairs.into_iter().map(|(_, item)| item).collect(),
        )),
    }
}

fn field<'a>(of: &Value<'a>, name: &str) -> Done<Value<'a>> {
    match of {
        Value::Map(map) => map.get(name).ok_or_else(|| missing_field(map, name)),
        Value::Null => Err(Fail::missing(format!("null has no field `{name}`"))),
        other => Err(Fail::missing(format!(
            "{} is no map and has no field `{name}`",
            other.shown()
        ))),
    }
}

fn missing_field(map: &super::value::Map<'_>, name: &str) -> Fail {
    let entries = map.entries();
    let known: Vec<&str> = entries.iter().map(|(name, _)| &**name).take(8).collect();
    let more = if entries.len() > known.len() {
        ", …"
    } else {
        ""
    };
    let there = if known.is_empty() {
        "it is empty".to_owned()
    } else {
        format!("it has {}{more}", known.join(", "))
    };
    Fail::missing(format!("there is no field `{name}`: {there}"))
}

/// `of[at]`.
pub(crate) fn index<'a>(of: &Value<'a>, at: &Value<'a>) -> Done<Value<'a>> {
    match of {
        Value::List(list) => {
            let position = at.number().and_then(whole);
            let Some(position) = position else {
                return Err(Fail::operands(
                    "the index of a list",
                    "a whole number",
                    &[at],
                ));
            };
            let found = usize::try_from(position).ok().and_then(|at| list.get(at));
            found.ok_or_else(|| {
                Fail::missing(format!(
                    "there is no element {position}: the list has {}, the first is 0",
                    list.len()
                ))
            })
        }
        Value::Map(map) => match at.key() {
            Some(name) => map.get(&name).ok_or_else(|| missing_field(map, &name)),
            None => Err(Fail::operands("the index of a map", "a text", &[at])),
        },
        other => Err(Fail::missing(format!(
            "{} is no list or map and has no elements",
            other.shown()
        ))),
    }
}

fn binary<'a>(
    operator: Binary,
    one: &Value<'a>,
    other: &Value<'a>,
    budget: &Budget,
) -> Done<Value<'a>> {
    let compared = |is_so: fn(Ordering) -> bool| match one.order(other, budget)? {
        Some(order) => Ok(Value::Bool(is_so(order))),
        None => {
            let is_number = one.number().is_some() && other.number().is_some();
            // NaN is neither less nor greater.
            if is_number {
                return Ok(Value::Bool(false));
            }
            let text = "two numbers, two texts or two of bytes";
            let what = format!("`{}`", operator.written());
            Err(Fail::operands(&what, text, &[one, other]))
        }
    };
    match operator {
        Binary::Equal => one.equals(other, budget).map(Value::Bool),
        Binary::NotEqual => one.equals(other, budget).map(|same| Value::Bool(!same)),
        Binary::Less => compared(Ordering::is_lt),
        Binary::LessEqual => compared(Ordering::is_le),
        Binary::Greater => compared(Ordering::is_gt),
        Binary::GreaterEqual => compared(Ordering::is_ge),
        Binary::In => contains(other, one, budget)?
            .map(Value::Bool)
            .ok_or_else(|| Fail::operands("`in`", "a list or a map on its right", &[one, other])),
        _ => match (one.number(), other.number()) {
            (Some(one), Some(other)) => Ok(Value::Float(match operator {
                Binary::Subtract => one - other,
                Binary::Multiply => one * other,
                Binary::Divide => one / other,
                Binary::Modulo => one % other,
                _ => one + other,
            })),
            _ if operator == Binary::Add => joined(one, other, budget),
            _ => {
                let what = format!("`{}`", operator.written());
                Err(Fail::operands(&what, "two numbers", &[one, other]))
            }
        },
    }
}

/// Whether a list holds a value or a map a key; nothing for everything else.
pub(crate) fn contains(of: &Value<'_>, value: &Value<'_>, budget: &Budget) -> Done<Option<bool>> {
    match of {
        Value::List(list) => {
            for item in list.iter() {
                if item.equals(value, budget)? {
                    return Ok(Some(true));
                }
            }
            Ok(Some(false))
        }
        Value::Map(map) => Ok(Some(
            value.key().is_some_and(|name| map.get(&name).is_some()),
        )),
        _ => Ok(None),
    }
}

/// Texts, bytes and lists, one behind the other.
pub(crate) fn joined<'a>(one: &Value<'a>, other: &Value<'a>, budget: &Budget) -> Done<Value<'a>> {
    match (one, other) {
        (Value::String(one), Value::String(other)) => {
            budget.build(one.len() + other.len())?;
            let mut text = String::with_capacity(one.len() + other.len());
            text.push_str(one);
            text.push_str(other);
            Ok(Value::String(Text::Own(text.into())))
        }
        (Value::Bytes(one), Value::Bytes(other)) => {
            budget.build(one.len() + other.len())?;
            Ok(Value::Bytes(Blob::Own([&**one, &**other].concat().into())))
        }
        (Value::List(one), Value::List(other)) => {
            budget.build_list(one.len() + other.len())?;
            Ok(Value::from_items(one.iter().chain(other.iter()).collect()))
        }
        _ => {
            let text = "two numbers, two texts, two of bytes or two lists";
            let fail = Fail::operands("`+`", text, &[one, other]);
            let is_text = matches!(one, Value::String(_)) || matches!(other, Value::String(_));
            if is_text {
                return Err(Fail::wrong(format!(
                    "{}; string(…) makes a text of a number",
                    fail.message()
                )));
            }
            Err(fail)
        }
    }
}
