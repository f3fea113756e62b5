//! Values from JSON, lent, and to JSON, weighed before.
//! Must not: know expressions or functions.

use super::limits::{Budget, Done, ELEMENT_BYTES, ENTRY_BYTES};
use super::value::{Held, List, Map, Value};
use crate::payload::Doc;
use serde_json::Value as Json;

/// Levels of a value that become JSON.
const DEPTH: usize = 160;

impl<'a> From<&'a Json> for Value<'a> {
    fn from(json: &'a Json) -> Self {
        match json {
            Json::Null => Self::Null,
            Json::Bool(value) => Self::Bool(*value),
            Json::Number(number) => match number.as_i64() {
                Some(whole) => Self::Int(whole),
                None => Self::Float(number.as_f64().unwrap_or(f64::NAN)),
            },
            Json::String(text) => Self::lent(text),
            Json::Array(items) => Self::List(List::Json(items)),
            Json::Object(fields) => Self::Map(Map::Json(fields)),
        }
    }
}

impl<'a> From<&'a Doc> for Value<'a> {
    fn from(doc: &'a Doc) -> Self {
        match doc {
            Doc::Flat(flat) => Self::Map(Map::Flat(flat)),
            Doc::Tree(json) => Self::from(json),
        }
    }
}

impl<'a> Value<'a> {
    /// Asks whether it may be written down, with every shared part as often as it is there.
    pub(crate) fn weigh(&self, budget: &Budget) -> Done<()> {
        let mut bytes = 0;
        self.weigh_into(&mut bytes, budget)?;
        budget.read(bytes)
    }

    fn weigh_into(&self, bytes: &mut usize, budget: &Budget) -> Done<()> {
        *bytes += match self {
            Self::String(text) => text.len(),
            Self::Bytes(bytes) => bytes.len(),
            Self::List(list) => list.len() * ELEMENT_BYTES,
            Self::Map(map) => map.len() * ENTRY_BYTES,
            _ => return Ok(()),
        };
        budget.fits(*bytes)?;
        match self {
            Self::List(list) => list
                .iter()
                .try_for_each(|item| item.weigh_into(bytes, budget)),
            Self::Map(map) => map.iter().try_for_each(|(name, value)| {
                *bytes += name.len();
                value.weigh_into(bytes, budget)
            }),
            _ => Ok(()),
        }
    }

    /// Bytes of what it holds, more or less.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::String(text) => text.len(),
            Self::Bytes(bytes) => bytes.len(),
            Self::List(list) => list.iter().map(|item| ELEMENT_BYTES + item.bytes()).sum(),
            Self::Map(map) => {
                let entries = map.iter();
                let bytes = entries.map(|(name, value)| ENTRY_BYTES + name.len() + value.bytes());
                bytes.sum()
            }
            _ => 0,
        }
    }

    /// As JSON; whole doubles stay doubles (`68.0`), as they were computed.
    pub(crate) fn to_json(&self) -> Result<Json, String> {
        self.to_json_within(DEPTH)
    }

    fn to_json_within(&self, depth: usize) -> Result<Json, String> {
        let depth = depth
            .checked_sub(1)
            .ok_or("the result is nested too deeply")?;
        Ok(match self {
            Self::Null => Json::Null,
            Self::Bool(value) => Json::Bool(*value),
            Self::Int(number) => Json::from(*number),
            Self::Float(number) => serde_json::Number::from_f64(*number)
                .map(Json::Number)
                .ok_or_else(|| format!("the result is {number}, which JSON cannot say"))?,
            Self::String(text) => Json::String(text.to_string()),
            Self::Bytes(_) => {
                return Err(
                    "bytes have no JSON form; use string(…), hexEncode(…) or base64Encode(…)"
                        .to_owned(),
                );
            }
            Self::List(List::Json(items)) => Json::Array(items.to_vec()),
            Self::Map(Map::Json(fields)) => Json::Object((*fields).clone()),
            Self::Map(Map::Flat(fields)) => fields.to_json(),
            Self::List(List::Own(items)) => Json::Array(
                items
                    .iter()
                    .map(|item| item.to_json_within(depth))
                    .collect::<Result<_, _>>()?,
            ),
            Self::Map(Map::Own(fields)) => Json::Object(
                fields
                    .iter()
                    .map(|(name, value)| Ok((name.to_string(), value.to_json_within(depth)?)))
                    .collect::<Result<_, String>>()?,
            ),
        })
    }

    /// JSON that nobody keeps, taken over.
    pub(crate) fn from_json(json: Json) -> Self {
        match json {
            Json::Array(items) => {
                Self::from_items(items.into_iter().map(Self::from_json).collect())
            }
            Json::Object(fields) => Self::from_entries(
                fields
                    .into_iter()
                    .map(|(name, value)| (Held::Own(name.into()), Self::from_json(value)))
                    .collect(),
            ),
            Json::String(text) => Self::text(text),
            scalar => Value::from(&scalar).into_owned(),
        }
    }
}
