//! Evaluation of a compiled expression, every step of it counted.
//! Must not: parse, look names up, or read a clock.

use super::limits::{Budget, Done, Fail, FailKind};
use super::node::{Each, Kind, Macro, Node, Variable};
use super::operate::{binary, field, index};
use super::parts::Parts;
use super::scope::Scope;
use super::sort::sorted;
use super::value::{List, Value};
use crate::functions::Call;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Steps that writing an error counts.
const ABSORBED: usize = 50;

/// Evaluates `node`.
pub(crate) fn evaluate<'a>(
    node: &'a Node,
    scope: &'a Scope<'a>,
    budget: &Budget,
    parts: Option<&Parts>,
) -> Done<Value<'a>> {
    let mut machine = Machine {
        scope,
        budget,
        parts,
        macros: 0,
        locals: Vec::new(),
    };
    machine.eval(node)
}

struct Machine<'b, 'a> {
    scope: &'a Scope<'a>,
    budget: &'b Budget,
    /// Where values of parts are noted, if somebody looks.
    parts: Option<&'b Parts>,
    /// Macros around: what is within them is evaluated for each element, and not noted.
    macros: u32,
    /// Elements of the macros around, the outermost first.
    locals: Vec<Value<'a>>,
}

impl<'a> Machine<'_, 'a> {
    fn eval(&mut self, node: &'a Node) -> Done<Value<'a>> {
        if let Err(fail) = self.budget.spend(1) {
            return Err(fail.within(node.span));
        }
        let mut done = self.eval_kind(node);
        if let (Some(parts), 0) = (self.parts, self.macros) {
            parts.note(node, &done);
        }
        if let Err(fail) = &mut done {
            fail.locate(node.span);
        }
        done
    }

    /// As [`Self::eval`], without a copy of what is written in the expression, which no part is noted of.
    fn operand(&mut self, node: &'a Node) -> Done<Operand<'a>> {
        match &node.kind {
            Kind::Literal(value) => match self.budget.spend(1) {
                Ok(()) => Ok(Operand::Written(value)),
                Err(fail) => Err(fail.within(node.span)),
            },
            _ => self.eval(node).map(Operand::Made),
        }
    }

    fn eval_kind(&mut self, node: &'a Node) -> Done<Value<'a>> {
        match &node.kind {
            Kind::Literal(value) => Ok(value.clone()),
            Kind::Variable(Variable::Bound(slot)) => (self.scope.bound(*slot))
                .ok_or_else(|| Fail::wrong("nothing has that name on this way through the chain")),
            Kind::Variable(variable) => Ok(self.scope.get(*variable)),
            Kind::Local(at) => self
                .locals
                .get(*at)
                .cloned()
                .ok_or_else(|| Fail::wrong("there is no such element")),
            Kind::Field(of, name) => match self.at_hand(of, name) {
                Some(value) => value,
                None => field(&self.eval(of)?, name),
            },
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
                let (one, other) = (self.operand(one)?, self.operand(other)?);
                binary(*operator, one.value(), other.value(), self.budget)
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
            Kind::Each(each) => {
                self.macros += 1;
                let done = self.each(each);
                self.macros -= 1;
                done
            }
        }
    }

    /// A field of a variable, without the variable.
    fn at_hand(&self, of: &Node, name: &str) -> Option<Done<Value<'a>>> {
        let Kind::Variable(variable) = of.kind else {
            return None;
        };
        // Somebody may want to see a payload that is no map.
        if self.parts.is_some() && !variable.has_at_hand(name) {
            return None;
        }
        let value = self.scope.field(variable, name)?;
        let spent = self.budget.spend(1).map_err(|fail| fail.within(of.span));
        Some(spent.map(|()| value))
    }

    /// An error that nobody will read was written.
    fn absorbed(&self) -> Done<()> {
        self.budget.spend(ABSORBED)
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
            Err(fail) => match self.absorbed().and_then(|()| self.truth(other, what)) {
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
            Err(fail) if fail.kind() == FailKind::Missing => {
                self.absorbed().map(|()| Value::Bool(false))
            }
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
                Err(fail) if fail.kind() == FailKind::Missing => self.absorbed()?,
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
                let names = map.iter();
                List::Own(Arc::new(
                    names.map(|(name, _)| Value::String(name)).collect(),
                ))
            }
            other => return Err(Fail::operands("it", "a list or a map", &[&other])),
        };
        let mut found = Found::default();
        for item in items.iter() {
            self.budget.iterate()?;
            // Also what macros within have left behind goes.
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
                    return self.absorbed().map(|()| true);
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
        // Not the last one: that may be what a macro within the condition has left behind.
        let item = self.locals.get(each.depth).cloned();
        let item = item.unwrap_or(Value::Null);
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

/// One side of an operator.
enum Operand<'a> {
    Written(&'a Value<'a>),
    Made(Value<'a>),
}

impl<'a> Operand<'a> {
    fn value(&self) -> &Value<'a> {
        match self {
            Self::Written(value) => value,
            Self::Made(value) => value,
        }
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
            (Macro::SortBy, None) => sorted(&self.items, &self.keys, budget),
        }
    }
}
