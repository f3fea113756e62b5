//! What the operators of expressions do with values.
//! Must not: know nodes.

use super::limits::{Budget, Done, Fail};
use super::node::Binary;
use super::value::{Blob, Map, Text, Value, cut, whole};
use std::cmp::Ordering;

/// Fields that an error names.
const NAMED: usize = 8;

pub(super) fn field<'a>(of: &Value<'a>, name: &str) -> Done<Value<'a>> {
    match of {
        Value::Map(map) => map.get(name).ok_or_else(|| missing_field(map, name)),
        Value::Null => Err(Fail::missing(format!("null has no field `{name}`"))),
        other => Err(Fail::missing(format!(
            "{} is no map and has no field `{name}`",
            other.shown()
        ))),
    }
}

fn missing_field(map: &Map<'_>, name: &str) -> Fail {
    let known: Vec<_> = map.iter().map(|(name, _)| name).take(NAMED).collect();
    let known: Vec<String> = known.iter().map(|name| cut(name)).collect();
    let more = if map.len() > known.len() { ", …" } else { "" };
    let there = if known.is_empty() {
        "it is empty".to_owned()
    } else {
        format!("it has {}{more}", known.join(", "))
    };
    Fail::missing(format!("there is no field `{}`: {there}", cut(name)))
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

pub(super) fn binary<'a>(
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
