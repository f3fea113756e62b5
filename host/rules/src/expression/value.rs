//! A value of an expression: lent from the message where it can be, shared where it was made.
//!
//! There is one kind of number. `Int` and `Float` differ only in how they are written as JSON (`20`, `20.0`) and in
//! that an `Int` nobody computes with keeps all its digits; every operation takes both, and computes with doubles.
//! Must not: know expressions or functions.

use super::limits::{Budget, Done, Fail};
use crate::payload::Flat;
use serde_json::Value as Json;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::ops::Deref;
use std::sync::Arc;

/// Bytes of a value in an error.
const SHOWN: usize = 60;

/// Lent by the message, or made by an expression.
pub(crate) enum Held<'a, T: ?Sized> {
    Lent(&'a T),
    Own(Arc<T>),
}

impl<T: ?Sized> Clone for Held<'_, T> {
    fn clone(&self) -> Self {
        match self {
            Self::Lent(value) => Self::Lent(value),
            Self::Own(value) => Self::Own(value.clone()),
        }
    }
}

impl<T: ?Sized> Deref for Held<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        match self {
            Self::Lent(value) => value,
            Self::Own(value) => value,
        }
    }
}

pub(crate) type Text<'a> = Held<'a, str>;
pub(crate) type Blob<'a> = Held<'a, [u8]>;

impl PartialEq for Text<'_> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}
impl Eq for Text<'_> {}
impl PartialOrd for Text<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Text<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        (**self).cmp(&**other)
    }
}
impl std::borrow::Borrow<str> for Text<'_> {
    fn borrow(&self) -> &str {
        self
    }
}

#[derive(Clone)]
pub(crate) enum List<'a> {
    Json(&'a [Json]),
    Own(Arc<Vec<Value<'a>>>),
}

impl<'a> List<'a> {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Json(items) => items.len(),
            Self::Own(items) => items.len(),
        }
    }

    pub(crate) fn get(&self, at: usize) -> Option<Value<'a>> {
        match self {
            Self::Json(items) => items.get(at).map(Value::from),
            Self::Own(items) => items.get(at).cloned(),
        }
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = Value<'a>> + '_ {
        (0..self.len()).filter_map(|at| self.get(at))
    }
}

#[derive(Clone)]
pub(crate) enum Map<'a> {
    Json(&'a serde_json::Map<String, Json>),
    Flat(&'a Flat),
    Own(Arc<BTreeMap<Text<'a>, Value<'a>>>),
}

impl<'a> Map<'a> {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Json(fields) => fields.len(),
            Self::Flat(fields) => fields.len(),
            Self::Own(fields) => fields.len(),
        }
    }

    pub(crate) fn get(&self, name: &str) -> Option<Value<'a>> {
        match self {
            Self::Json(fields) => fields.get(name).map(Value::from),
            Self::Flat(fields) => fields.get(name),
            Self::Own(fields) => fields.get(name).cloned(),
        }
    }

    /// Names and values, by name.
    pub(crate) fn iter(&self) -> Box<dyn Iterator<Item = (Text<'a>, Value<'a>)> + '_> {
        match self {
            Self::Json(fields) => Box::new(
                fields
                    .iter()
                    .map(|(name, value)| (Held::Lent(name.as_str()), Value::from(value))),
            ),
            Self::Flat(fields) => {
                let fields = fields.iter();
                Box::new(fields.map(|(name, value)| (Held::Lent(name), value)))
            }
            Self::Own(fields) => Box::new(
                fields
                    .iter()
                    .map(|(name, value)| (name.clone(), value.clone())),
            ),
        }
    }
}

#[derive(Clone)]
pub(crate) enum Value<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    String(Text<'a>),
    Bytes(Blob<'a>),
    List(List<'a>),
    Map(Map<'a>),
}

impl From<bool> for Value<'_> {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<f64> for Value<'_> {
    fn from(number: f64) -> Self {
        Self::Float(number)
    }
}

impl<'a> Value<'a> {
    pub(crate) fn lent(text: &'a str) -> Self {
        Self::String(Held::Lent(text))
    }

    pub(crate) fn text(text: impl Into<Arc<str>>) -> Self {
        Self::String(Held::Own(text.into()))
    }

    pub(crate) fn count(count: usize) -> Self {
        Self::Int(i64::try_from(count).unwrap_or(i64::MAX))
    }

    /// A computed number that is meant as a whole one.
    pub(crate) fn whole(number: f64) -> Self {
        whole(number).map_or(Self::Float(number), Self::Int)
    }

    pub(crate) fn number(&self) -> Option<f64> {
        match self {
            // Doubles are what expressions compute with: a whole number beyond 2^53 is rounded.
            Self::Int(number) => Some(*number as f64),
            Self::Float(number) => Some(*number),
            _ => None,
        }
    }

    /// The kind, as `type` says it.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "bool",
            Self::Int(_) | Self::Float(_) => "number",
            Self::String(_) => "string",
            Self::Bytes(_) => "bytes",
            Self::List(_) => "list",
            Self::Map(_) => "map",
        }
    }

    /// As the key of a map: keys are texts, numbers and truth are written as such.
    pub(crate) fn key(&self) -> Option<Text<'a>> {
        match self {
            Self::String(text) => Some(text.clone()),
            Self::Bool(_) | Self::Int(_) | Self::Float(_) => {
                Some(Held::Own(self.to_text()?.into()))
            }
            _ => None,
        }
    }

    /// As text, where that is the same for everyone.
    pub(crate) fn to_text(&self) -> Option<String> {
        match self {
            Self::Null => Some("null".to_owned()),
            Self::Bool(value) => Some(value.to_string()),
            Self::Int(number) => Some(number.to_string()),
            Self::Float(number) => Some(number.to_string()),
            Self::String(text) => Some(text.to_string()),
            Self::Bytes(_) | Self::List(_) | Self::Map(_) => None,
        }
    }

    /// As JSON, more or less; texts up to so many bytes.
    fn write(&self, out: &mut dyn Write, most: usize) -> fmt::Result {
        match self {
            Self::Null => out.write_str("null"),
            Self::Bool(value) => write!(out, "{value}"),
            Self::Int(number) => write!(out, "{number}"),
            Self::Float(number) => write!(out, "{number:?}"),
            Self::String(text) => {
                let end = text.floor_char_boundary(most);
                write!(out, "{:?}", text.get(..end).unwrap_or_default())
            }
            Self::Bytes(bytes) => {
                out.write_str("0x")?;
                bytes.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
            }
            Self::List(list) => {
                out.write_char('[')?;
                for (at, value) in list.iter().enumerate() {
                    out.write_str(if at == 0 { "" } else { ", " })?;
                    value.write(out, most)?;
                }
                out.write_char(']')
            }
            Self::Map(map) => {
                out.write_char('{')?;
                for (at, (name, value)) in map.iter().enumerate() {
                    out.write_str(if at == 0 { "" } else { ", " })?;
                    Self::String(name).write(out, most)?;
                    out.write_str(": ")?;
                    value.write(out, most)?;
                }
                out.write_char('}')
            }
        }
    }

    /// For an error: cut, also if it is large.
    pub(crate) fn shown(&self) -> String {
        let mut out = Cut(String::new());
        // An error of the writer means that it is full.
        let is_whole = self.write(&mut out, SHOWN).is_ok();
        if !is_whole {
            out.0.push('…');
        }
        out.0
    }

    /// Equal by value; numbers of both kinds alike.
    pub(crate) fn equals(&self, other: &Self, budget: &Budget) -> Done<bool> {
        budget.spend(1)?;
        Ok(match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(one), Self::Bool(other)) => one == other,
            (Self::Int(one), Self::Int(other)) => one == other,
            (Self::String(one), Self::String(other)) => {
                budget.read(one.len().min(other.len()))?;
                one == other
            }
            (Self::Bytes(one), Self::Bytes(other)) => {
                budget.read(one.len().min(other.len()))?;
                **one == **other
            }
            (Self::List(one), Self::List(other)) => {
                if one.len() != other.len() {
                    return Ok(false);
                }
                for (one, other) in one.iter().zip(other.iter()) {
                    if !one.equals(&other, budget)? {
                        return Ok(false);
                    }
                }
                true
            }
            (Self::Map(one), Self::Map(other)) => {
                if one.len() != other.len() {
                    return Ok(false);
                }
                budget.spend(one.len())?;
                for (name, value) in one.iter() {
                    match other.get(&name) {
                        Some(found) if value.equals(&found, budget)? => {}
                        _ => return Ok(false),
                    }
                }
                true
            }
            _ => match (self.number(), other.number()) {
                (Some(one), Some(other)) => one == other,
                _ => false,
            },
        })
    }

    /// Their order, where they have one.
    pub(crate) fn order(&self, other: &Self, budget: &Budget) -> Done<Option<Ordering>> {
        Ok(match (self, other) {
            (Self::Int(one), Self::Int(other)) => Some(one.cmp(other)),
            (Self::String(one), Self::String(other)) => {
                budget.read(one.len().min(other.len()))?;
                Some(one.cmp(other))
            }
            (Self::Bytes(one), Self::Bytes(other)) => {
                budget.read(one.len().min(other.len()))?;
                Some((**one).cmp(&**other))
            }
            (Self::Bool(one), Self::Bool(other)) => Some(one.cmp(other)),
            _ => match (self.number(), other.number()) {
                (Some(one), Some(other)) => one.partial_cmp(&other),
                _ => None,
            },
        })
    }

    /// A copy that owns everything.
    pub(crate) fn into_owned(self) -> Value<'static> {
        let text = |text: Text<'a>| match text {
            Held::Lent(text) => Held::Own(text.into()),
            Held::Own(text) => Held::Own(text),
        };
        match self {
            Self::Null => Value::Null,
            Self::Bool(value) => Value::Bool(value),
            Self::Int(number) => Value::Int(number),
            Self::Float(number) => Value::Float(number),
            Self::String(value) => Value::String(text(value)),
            Self::Bytes(Held::Lent(bytes)) => Value::Bytes(Held::Own(bytes.into())),
            Self::Bytes(Held::Own(bytes)) => Value::Bytes(Held::Own(bytes)),
            Self::List(list) => Value::from_items(list.iter().map(Value::into_owned).collect()),
            Self::Map(map) => Value::from_entries(
                map.iter()
                    .map(|(name, value)| (text(name), value.into_owned()))
                    .collect(),
            ),
        }
    }

    pub(crate) fn from_items(items: Vec<Self>) -> Self {
        Self::List(List::Own(Arc::new(items)))
    }

    /// A map of values that own everything.
    pub(crate) fn named(fields: impl IntoIterator<Item = (String, Self)>) -> Self {
        let entry = |(name, value): (String, Self)| (Held::Own(name.into()), value);
        Self::from_entries(fields.into_iter().map(entry).collect())
    }

    pub(crate) fn from_entries(entries: BTreeMap<Text<'a>, Self>) -> Self {
        Self::Map(Map::Own(Arc::new(entries)))
    }
}

/// A whole number that an `i64` holds.
pub(crate) fn whole(number: f64) -> Option<i64> {
    let is_within = number.fract() == 0.0 && (-9.3e18..9.3e18).contains(&number);
    if !is_within || number < i64::MIN as f64 || number >= i64::MAX as f64 {
        return None;
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "it is whole and within the bounds of an i64"
    )]
    Some(number as i64)
}

/// A writer that takes the first bytes and then ends whoever writes.
struct Cut(String);

impl Write for Cut {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = SHOWN.saturating_sub(self.0.len());
        let end = text.floor_char_boundary(room);
        self.0.push_str(text.get(..end).unwrap_or_default());
        if end < text.len() {
            return Err(fmt::Error);
        }
        Ok(())
    }
}

impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, usize::MAX)
    }
}

/// A text for an error, cut.
pub(crate) fn cut(text: &str) -> String {
    let end = text.floor_char_boundary(SHOWN);
    let dots = if end < text.len() { "…" } else { "" };
    format!("{}{dots}", text.get(..end).unwrap_or_default())
}

impl Fail {
    /// `what` takes something else than these.
    pub(crate) fn operands(what: &str, needed: &str, given: &[&Value<'_>]) -> Self {
        let given: Vec<String> = given.iter().map(|value| value.shown()).collect();
        Self::wrong(format!(
            "{what} takes {needed}, not {}",
            given.join(" and ")
        ))
    }
}
