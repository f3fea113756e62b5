//! JSON from values that may have no form in it.
//!
//! Owns: what becomes of bytes, tags, large integers and names that are no texts. Must not: lose anything in silence.

use crate::config::Integers;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use ciborium::Value;
use serde::ser::{Error as _, SerializeMap as _, SerializeSeq as _};
use serde::{Serialize, Serializer};
use std::collections::BTreeSet;

/// From here on a double no longer tells integers apart.
const EXACT: i128 = 1 << 53;

pub(crate) fn write(value: &Value, integers: Integers) -> Result<Vec<u8>, String> {
    serde_json::to_vec(&Json { value, integers }).map_err(|error| error.to_string())
}

struct Json<'v> {
    value: &'v Value,
    integers: Integers,
}

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        let integers = self.integers;
        match self.value {
            Value::Null => out.serialize_unit(),
            Value::Bool(value) => out.serialize_bool(*value),
            Value::Integer(value) => integer(i128::from(*value), integers, out),
            Value::Float(value) if value.is_finite() => out.serialize_f64(*value),
            Value::Float(value) => Err(S::Error::custom(format!("{value} is no number of json"))),
            Value::Text(text) => out.serialize_str(text),
            Value::Bytes(bytes) => out.serialize_str(&BASE64_STANDARD.encode(bytes)),
            Value::Tag(2 | 3, _) => Err(S::Error::custom("an integer has more than 64 bits")),
            Value::Tag(_, value) => Json { value, integers }.serialize(out),
            Value::Array(items) => {
                let mut list = out.serialize_seq(Some(items.len()))?;
                for value in items {
                    list.serialize_element(&Json { value, integers })?;
                }
                list.end()
            }
            Value::Map(members) => {
                let mut map = out.serialize_map(Some(members.len()))?;
                let mut names = BTreeSet::new();
                for (name, value) in members {
                    let name = text(name).map_err(S::Error::custom)?;
                    map.serialize_entry(&name, &Json { value, integers })?;
                    if let Some(name) = names.replace(name) {
                        return Err(S::Error::custom(format!(
                            "the name `{name}` is there twice"
                        )));
                    }
                }
                map.end()
            }
            other => Err(S::Error::custom(format!("{other:?} has no form in json"))),
        }
    }
}

fn integer<S: Serializer>(value: i128, integers: Integers, out: S) -> Result<S::Ok, S::Error> {
    let is_exact = (-EXACT..=EXACT).contains(&value);
    match (integers, i64::try_from(value), u64::try_from(value)) {
        (Integers::Refuse, ..) if !is_exact => {
            Err(S::Error::custom(format!("{value} is beyond 2^53")))
        }
        (Integers::Text, ..) if !is_exact => out.serialize_str(&value.to_string()),
        (_, Ok(value), _) => out.serialize_i64(value),
        (_, _, Ok(value)) => out.serialize_u64(value),
        _ => Err(S::Error::custom(format!("{value} has more than 64 bits"))),
    }
}

/// A name as JSON has them.
pub(crate) fn text(name: &Value) -> Result<String, String> {
    match name {
        Value::Text(text) => Ok(text.clone()),
        Value::Integer(number) => Ok(i128::from(*number).to_string()),
        Value::Bool(value) => Ok(value.to_string()),
        Value::Tag(_, name) => text(name),
        _ => Err("a name is neither text, integer nor boolean".to_owned()),
    }
}
