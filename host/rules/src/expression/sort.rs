//! Sorting: the keys are made comparable first, so that their order is a total one, and what it costs is known.
//! Must not: compare what has no order.

use super::limits::{Budget, Done, Fail};
use super::value::{Blob, Text, Value};
use std::cmp::Ordering;

/// Keys of one kind.
enum Keys<'a> {
    Numbers(Vec<f64>),
    Texts(Vec<Text<'a>>),
    Bytes(Vec<Blob<'a>>),
    Truths(Vec<bool>),
}

/// `pick` of every key, or the first that has none.
fn each<'a, 'k, T>(
    keys: &'k [Value<'a>],
    pick: impl Fn(&Value<'a>) -> Option<T>,
) -> Result<Vec<T>, &'k Value<'a>> {
    keys.iter().map(|key| pick(key).ok_or(key)).collect()
}

impl<'a> Keys<'a> {
    fn of(keys: &[Value<'a>]) -> Done<Self> {
        let Some(first) = keys.first() else {
            return Ok(Self::Numbers(Vec::new()));
        };
        let made = match first {
            Value::String(_) => each(keys, |key| match key {
                Value::String(text) => Some(text.clone()),
                _ => None,
            })
            .map(Self::Texts),
            Value::Bytes(_) => each(keys, |key| match key {
                Value::Bytes(bytes) => Some(bytes.clone()),
                _ => None,
            })
            .map(Self::Bytes),
            Value::Bool(_) => each(keys, |key| match key {
                Value::Bool(truth) => Some(*truth),
                _ => None,
            })
            .map(Self::Truths),
            _ => {
                each(keys, |key| key.number().filter(|number| !number.is_nan())).map(Self::Numbers)
            }
        };
        made.map_err(|other| {
            let needed = "values of one kind that have an order";
            Fail::operands("a sort", needed, &[first, other])
        })
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Texts(all) => all.iter().map(|text| text.len()).sum(),
            Self::Bytes(all) => all.iter().map(|bytes| bytes.len()).sum(),
            Self::Numbers(_) | Self::Truths(_) => 0,
        }
    }

    fn order(&self, one: usize, other: usize) -> Ordering {
        match self {
            Self::Numbers(all) => {
                let at = |at: usize| all.get(at).copied().unwrap_or_default();
                at(one).total_cmp(&at(other))
            }
            Self::Texts(all) => all.get(one).cmp(&all.get(other)),
            Self::Bytes(all) => {
                let at = |at: usize| all.get(at).map(|bytes| &**bytes);
                at(one).cmp(&at(other))
            }
            Self::Truths(all) => all.get(one).cmp(&all.get(other)),
        }
    }
}

/// `items` in the order of their `keys`; those with the same key stay as they are.
pub(crate) fn sorted<'a>(
    items: &[Value<'a>],
    keys: &[Value<'a>],
    budget: &Budget,
) -> Done<Value<'a>> {
    budget.build_list(items.len())?;
    let keys = Keys::of(keys)?;
    let turns = usize::try_from(items.len().max(1).ilog2()).unwrap_or(64) + 1;
    budget.spend(items.len().saturating_mul(turns) / 4)?;
    budget.read(keys.bytes().saturating_mul(turns))?;
    let mut places: Vec<usize> = (0..items.len()).collect();
    places.sort_by(|one, other| keys.order(*one, *other));
    let items = places.into_iter().filter_map(|at| items.get(at).cloned());
    Ok(Value::from_items(items.collect()))
}
