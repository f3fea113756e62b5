//! JSON values as JSON Schema sees them: 1 and 1.0 are the same number.
//!
//! Owns: types, equality, order, places. Must not: know a schema.

use crate::schema::Type;
use serde_json::Value;
use std::cmp::Ordering;

/// Bytes of the words of one error; the rest is cut.
pub(crate) const ERROR_BYTES: usize = 200;

/// Where a value is within a payload.
pub(crate) enum Place<'p> {
    Root,
    Item(&'p Self, usize),
    Member(&'p Self, &'p str),
}

impl Place<'_> {
    /// As a JSON Pointer, `/` for the whole.
    pub(crate) fn pointer(&self) -> String {
        let mut names = Vec::new();
        let mut place = self;
        loop {
            place = match place {
                Place::Root => break,
                Place::Item(around, index) => {
                    names.push(index.to_string());
                    around
                }
                Place::Member(around, name) => {
                    names.push(name.replace('~', "~0").replace('/', "~1"));
                    around
                }
            };
        }
        names.reverse();
        format!("/{}", names.join("/"))
    }
}

pub(crate) fn cut(mut text: String) -> String {
    if text.len() > ERROR_BYTES {
        text.truncate(text.floor_char_boundary(ERROR_BYTES));
        text.push('…');
    }
    text
}

pub(crate) fn is_of(value: &Value, wanted: Type) -> bool {
    match wanted {
        Type::Null => value.is_null(),
        Type::Boolean => value.is_boolean(),
        Type::Number => value.is_number(),
        Type::Integer => {
            integer(value).is_some() || value.as_f64().is_some_and(|number| number.fract() == 0.0)
        }
        Type::String => value.is_string(),
        Type::Array => value.is_array(),
        Type::Object => value.is_object(),
    }
}

fn integer(value: &Value) -> Option<i128> {
    value
        .as_i64()
        .map(i128::from)
        .or_else(|| value.as_u64().map(i128::from))
}

/// How two numbers compare; integers exactly.
pub(crate) fn order(one: &Value, other: &Value) -> Option<Ordering> {
    match (integer(one), integer(other)) {
        (Some(one), Some(other)) => Some(one.cmp(&other)),
        _ => one.as_f64()?.partial_cmp(&other.as_f64()?),
    }
}

/// Whether one number is a multiple of another; broken ones as far as doubles can tell.
pub(crate) fn is_multiple(number: &Value, by: &Value) -> bool {
    if let (Some(number), Some(by)) = (integer(number), integer(by)) {
        return number % by == 0;
    }
    let (Some(number), Some(by)) = (number.as_f64(), by.as_f64()) else {
        return false;
    };
    let rest = (number % by).abs();
    let error = (by * 1e-9).max(number.abs() * f64::EPSILON);
    rest <= error || by - rest <= error
}

/// Whether two values are the same.
pub(crate) fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(_), Value::Number(_)) => order(one, other) == Some(Ordering::Equal),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            let is_same = |(name, value)| other.get(name).is_some_and(|other| same(value, other));
            one.len() == other.len() && one.iter().all(is_same)
        }
        _ => one == other,
    }
}

/// A text that is the same for the same values.
pub(crate) fn canonical(value: &Value) -> String {
    match value {
        // Whole numbers without a fraction, however they were written.
        Value::Number(_) if integer(value).is_none() => value
            .as_f64()
            .map_or_else(String::new, |number| number.to_string()),
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(canonical).collect();
            format!("[{}]", items.join(","))
        }
        Value::Object(members) => {
            let mut members: Vec<_> = members
                .iter()
                .map(|(name, value)| format!("{}:{}", Value::from(name.as_str()), canonical(value)))
                .collect();
            members.sort_unstable();
            format!("{{{}}}", members.join(","))
        }
        _ => value.to_string(),
    }
}
