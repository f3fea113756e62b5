//! Kinds of values: tests and conversions.

use super::{ANY, Call, Function, Group};
use crate::expression::{Done, Value, whole};

pub(super) const GROUP: Group = Group {
    name: "Kinds and choices",
    words: "`x ? y : z` chooses, `has(payload.x)` tells whether a field is there.",
    functions: FUNCTIONS,
};

/// A test of the kind of a value.
macro_rules! is {
    ($name:literal, $words:literal, $example:literal, $pattern:pat) => {
        Function::new(
            $name,
            (1, 1),
            concat!($name, "(x) -> bool"),
            $words,
            ($example, "true"),
            |c| Ok(matches!(c.value(0), $pattern).into()),
        )
    };
}

const FUNCTIONS: &[Function] = &[
    Function::new(
        "default",
        (2, ANY),
        "default(x, y, …) -> any",
        "The first that is there and not null; the others are not computed.",
        ("default(payload.absent.field, 7)", "7"),
        |c| Ok(c.value(0).clone()),
    ),
    Function::new(
        "coalesce",
        (1, ANY),
        "coalesce(x, …) -> any",
        "The first that is there and not null; the others are not computed.",
        ("coalesce(null, payload.absent, 'x')", r#""x""#),
        |c| Ok(c.value(0).clone()),
    ),
    Function::new(
        "nonEmpty",
        (1, ANY),
        "nonEmpty(x, …) -> any",
        "The first that is neither null nor empty; null without one.",
        ("nonEmpty('', [], 'x')", r#""x""#),
        |c| {
            Ok(c.arguments
                .iter()
                .find(|one| !is_empty(one))
                .cloned()
                .unwrap_or(Value::Null))
        },
    )
    .also("coalesce_ne"),
    Function::new(
        "isEmpty",
        (1, 1),
        "isEmpty(x) -> bool",
        "Whether it is null, or a text, bytes, list or map with nothing in it.",
        ("isEmpty({})", "true"),
        |c| Ok(is_empty(c.value(0)).into()),
    )
    .also("is_empty"),
    Function::new(
        "type",
        (1, 1),
        "type(x) -> string",
        "`null`, `bool`, `number`, `string`, `bytes`, `list` or `map`.",
        ("type([])", r#""list""#),
        |c| c.built(c.value(0).kind().to_owned()),
    ),
    is!("isNull", "Whether it is null.", "isNull(null)", Value::Null).also("is_null"),
    is!(
        "isBool",
        "Whether it is true or false.",
        "isBool(false)",
        Value::Bool(_)
    )
    .also("is_bool"),
    is!(
        "isNumber",
        "Whether it is a number.",
        "isNumber(1)",
        Value::Int(_) | Value::Float(_)
    )
    .also("is_num is_int is_float"),
    is!(
        "isString",
        "Whether it is a text.",
        "isString('a')",
        Value::String(_)
    )
    .also("is_str"),
    is!(
        "isBytes",
        "Whether it is bytes.",
        "isBytes(b'a')",
        Value::Bytes(_)
    ),
    is!(
        "isList",
        "Whether it is a list.",
        "isList([1])",
        Value::List(_)
    )
    .also("is_array"),
    is!(
        "isMap",
        "Whether it is a map.",
        "isMap({'a': 1})",
        Value::Map(_)
    )
    .also("is_map"),
    Function::new(
        "number",
        (1, 2),
        "number(x[, default]) -> number",
        "The number a text spells, 1 or 0 of truth; the default if it is none.",
        ("number('n/a', -1)", "-1"),
        number,
    ),
    Function::new(
        "double",
        (1, 2),
        "double(x[, default]) -> number",
        "As `number`, written with a point.",
        ("double('20')", "20.0"),
        |c| {
            Ok(match number(c)? {
                Value::Int(number) => Value::Float(number as f64),
                other => other,
            })
        },
    )
    .also("float"),
    Function::new(
        "int",
        (1, 2),
        "int(x[, default]) -> number",
        "As `number`, without what is behind the point.",
        ("int('20.7')", "20"),
        int,
    ),
    Function::new(
        "uint",
        (1, 2),
        "uint(x[, default]) -> number",
        "As `int`, from 0 on.",
        ("uint(7.9)", "7"),
        |c| match int(c)? {
            Value::Int(number) if number >= 0 => Ok(Value::Int(number)),
            _ => Err(c.not(0, "a number from 0 on")),
        },
    ),
    Function::new(
        "string",
        (1, 1),
        "string(x) -> string",
        "As text: numbers as they are written, UTF-8 bytes as their text, lists and maps as JSON.",
        ("string(20.0)", r#""20""#),
        string,
    )
    .also("str str_utf8"),
    Function::new(
        "bool",
        (1, 2),
        "bool(x[, default]) -> bool",
        "Of `'true'`, `'false'`, `'1'`, `'0'`, 1 and 0; the default of everything else.",
        ("bool('true')", "true"),
        boolean,
    ),
    Function::new(
        "bytes",
        (1, 1),
        "bytes(x) -> bytes",
        "The UTF-8 bytes of a text, or a list of numbers from 0 to 255.",
        ("hexEncode(bytes([1, 255]))", r#""01ff""#),
        bytes,
    ),
    Function::new(
        "dyn",
        (1, 1),
        "dyn(x) -> any",
        "The value itself, as CEL has it.",
        ("dyn(1)", "1"),
        |c| Ok(c.value(0).clone()),
    ),
];

fn is_empty(value: &Value<'_>) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Bytes(bytes) => bytes.is_empty(),
        Value::List(list) => list.len() == 0,
        Value::Map(map) => map.len() == 0,
        Value::Bool(_) | Value::Int(_) | Value::Float(_) => false,
    }
}

/// The number that a text spells.
fn spelled<'a>(text: &str) -> Option<Value<'a>> {
    let text = text.trim();
    let hex = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    if let Some(hex) = hex {
        return i64::from_str_radix(hex, 16).ok().map(Value::Int);
    }
    let is_plain = |c: char| c.is_ascii_digit() || "+-.eE".contains(c);
    if !text.chars().all(is_plain) {
        return None;
    }
    match text.parse() {
        Ok(whole) => Some(Value::Int(whole)),
        Err(_) => text.parse().ok().map(Value::Float),
    }
}

fn number<'a>(c: &Call<'_, 'a>) -> Done<Value<'a>> {
    let found = match c.value(0) {
        Value::Int(_) | Value::Float(_) => Some(c.value(0).clone()),
        Value::Bool(value) => Some(Value::Int(i64::from(*value))),
        Value::String(_) => spelled(c.text(0)?),
        _ => None,
    };
    match (found, c.get(1)) {
        (Some(number), _) => Ok(number),
        (None, Some(default)) => Ok(default.clone()),
        (None, None) => Err(c.not(0, "a number, or a text that spells one,")),
    }
}

fn int<'a>(c: &Call<'_, 'a>) -> Done<Value<'a>> {
    match number(c)? {
        Value::Float(number) => match whole(number.trunc()) {
            Some(number) => Ok(Value::Int(number)),
            None => Err(c.not(0, "a number within 64 bits")),
        },
        other => Ok(other),
    }
}

fn string<'a>(c: &Call<'_, 'a>) -> Done<Value<'a>> {
    match c.value(0) {
        Value::String(text) => Ok(Value::String(text.clone())),
        Value::Bytes(_) => match std::str::from_utf8(c.bytes(0)?) {
            Ok(text) => c.built(text.to_owned()),
            Err(_) => Err(c.not(0, "UTF-8")),
        },
        value => match value.to_text() {
            Some(text) => c.built(text),
            None => super::encode::json_text(c, value),
        },
    }
}

fn boolean<'a>(c: &Call<'_, 'a>) -> Done<Value<'a>> {
    let found = match c.value(0) {
        Value::Bool(value) => Some(*value),
        Value::String(text) => match &**text {
            "true" | "1" => Some(true),
            "false" | "0" => Some(false),
            _ => None,
        },
        other => match other.number() {
            Some(1.0) => Some(true),
            Some(0.0) => Some(false),
            _ => None,
        },
    };
    match (found, c.get(1)) {
        (Some(value), _) => Ok(Value::Bool(value)),
        (None, Some(default)) => Ok(default.clone()),
        (None, None) => Err(c.not(0, "'true', 'false', 1 or 0")),
    }
}

fn bytes<'a>(c: &Call<'_, 'a>) -> Done<Value<'a>> {
    match c.value(0) {
        Value::Bytes(bytes) => Ok(Value::Bytes(bytes.clone())),
        Value::List(_) => {
            let byte = |value: Value<'a>| {
                let number = value.number().and_then(whole);
                number.and_then(|number| u8::try_from(number).ok())
            };
            let list = c.list(0)?;
            c.budget.build(list.len())?;
            let bytes: Option<Vec<u8>> = list.iter().map(byte).collect();
            bytes
                .map(super::bytes::owned)
                .ok_or_else(|| c.not(0, "a list of numbers from 0 to 255"))
        }
        _ => {
            let bytes = c.bytes(0)?;
            c.budget.build(bytes.len())?;
            Ok(super::bytes::owned(bytes.to_vec()))
        }
    }
}
