//! Bytes, and numbers within them.

use super::{Call, Function, Group};
use crate::expression::{Blob, Done, Value, whole};

pub(super) const GROUP: Group = Group {
    name: "Bytes",
    words: "`raw` is the payload as it came, `b'…'` a literal; `size`, `slice`, `reverse`, `+` and `==` take bytes too. A byte order is `'big'` (the default) or `'little'`.",
    functions: FUNCTIONS,
};

const FUNCTIONS: &[Function] = &[
    Function::new(
        "byteAt",
        (2, 2),
        "bytes.byteAt(position) -> number",
        "The byte there, from 0 to 255; from 0, below 0 from the end.",
        (r"b'\x01\xff'.byteAt(-1)", "255"),
        byte_at,
    ),
    Function::new(
        "toInt",
        (1, 2),
        "bytes.toInt([order]) -> number",
        "Up to 8 bytes as a number from 0 on.",
        (r"b'\x01\x00'.toInt()", "256"),
        |c| integer(c, false),
    ),
    Function::new(
        "toSignedInt",
        (1, 2),
        "bytes.toSignedInt([order]) -> number",
        "Up to 8 bytes as a number with a sign.",
        (r"b'\xfe\xff'.toSignedInt('little')", "-2"),
        |c| integer(c, true),
    ),
    Function::new(
        "toFloat",
        (1, 2),
        "bytes.toFloat([order]) -> number",
        "4 or 8 bytes as an IEEE 754 number.",
        (r"b'\x41\xa4\x00\x00'.toFloat()", "20.5"),
        float,
    ),
    Function::new(
        "fromInt",
        (2, 3),
        "fromInt(number, bytes[, order]) -> bytes",
        "A whole number in so many bytes, up to 8.",
        ("hexEncode(fromInt(258, 4, 'little'))", r#""02010000""#),
        from_int,
    ),
    Function::new(
        "fromFloat",
        (2, 3),
        "fromFloat(number, bytes[, order]) -> bytes",
        "A number in 4 or 8 bytes as IEEE 754.",
        ("hexEncode(fromFloat(20.5, 4))", r#""41a40000""#),
        from_float,
    ),
    Function::new(
        "byteList",
        (1, 1),
        "bytes.byteList() -> list",
        "Its bytes as numbers.",
        (r"b'\x01\xff'.byteList()", "[1,255]"),
        |c| {
            let bytes = c.bytes(0)?;
            c.budget.build_list(bytes.len())?;
            Ok(Value::from_items(
                bytes
                    .iter()
                    .map(|byte| Value::Int(i64::from(*byte)))
                    .collect(),
            ))
        },
    ),
];

pub(super) fn owned<'a>(bytes: Vec<u8>) -> Value<'a> {
    Value::Bytes(Blob::Own(bytes.into()))
}

/// Whether the byte order is the little one.
pub(super) fn is_little(c: &Call<'_, '_>, at: usize) -> Done<bool> {
    match c.text_or(at, "big")? {
        "big" => Ok(false),
        "little" => Ok(true),
        _ => Err(c.not(at, "'big' or 'little'")),
    }
}

fn byte_at<'a>(c: &Call<'_, 'a>) -> Done<Value<'a>> {
    let (bytes, at) = (c.bytes(0)?, c.whole(1)?);
    let count = usize::try_from(at.unsigned_abs()).unwrap_or(usize::MAX);
    let at = if at < 0 {
        bytes.len().checked_sub(count)
    } else {
        Some(count)
    };
    match at.and_then(|at| bytes.get(at)) {
        Some(byte) => Ok(Value::Int(i64::from(*byte))),
        None => Err(c.not(1, &format!("a position among {} bytes", bytes.len()))),
    }
}

/// Bytes in an order, the most significant first.
fn ordered(c: &Call<'_, '_>, most: usize) -> Done<Vec<u8>> {
    let bytes = c.bytes(0)?;
    if bytes.is_empty() || bytes.len() > most {
        return Err(c.not(0, &format!("1 to {most} bytes")));
    }
    let mut bytes = bytes.to_vec();
    if is_little(c, 1)? {
        bytes.reverse();
    }
    Ok(bytes)
}

fn integer<'a>(c: &Call<'_, 'a>, is_signed: bool) -> Done<Value<'a>> {
    let bytes = ordered(c, 8)?;
    Ok(number(
        bytes
            .iter()
            .fold(0, |all, byte| all << 8 | u64::from(*byte)),
        bytes.len() * 8,
        is_signed,
    ))
}

/// The lowest bits of a word as a number.
pub(super) fn number<'a>(word: u64, bits: usize, is_signed: bool) -> Value<'a> {
    let unused = 64usize.saturating_sub(bits);
    if is_signed {
        return Value::Int((word << unused).cast_signed() >> unused);
    }
    i64::try_from(word).map_or(Value::Float(word as f64), Value::Int)
}

fn float<'a>(c: &Call<'_, 'a>) -> Done<Value<'a>> {
    let bytes = ordered(c, 8)?;
    if let Ok(bytes) = bytes.as_slice().try_into() {
        return Ok(Value::Float(f64::from_be_bytes(bytes)));
    }
    if let Ok(bytes) = bytes.as_slice().try_into() {
        return Ok(Value::Float(f64::from(f32::from_be_bytes(bytes))));
    }
    Err(c.not(0, "4 or 8 bytes"))
}

fn in_order<'a>(c: &Call<'_, '_>, mut bytes: Vec<u8>) -> Done<Value<'a>> {
    if is_little(c, 2)? {
        bytes.reverse();
    }
    Ok(owned(bytes))
}

fn from_int<'a>(c: &Call<'_, 'a>) -> Done<Value<'a>> {
    let (number, width) = (c.whole(0)?, c.count(1)?);
    if !(1..=8).contains(&width) {
        return Err(c.not(1, "1 to 8 bytes"));
    }
    let bits = width * 8;
    let fits = bits == 64 || (number >= -(1i64 << (bits - 1)) && number < 1i64 << bits);
    if !fits {
        return Err(c.not(0, &format!("a number that fits into {width} bytes")));
    }
    let all = number.to_be_bytes();
    in_order(c, all.get(8 - width..).unwrap_or_default().to_vec())
}

fn from_float<'a>(c: &Call<'_, 'a>) -> Done<Value<'a>> {
    let (number, width) = (c.number(0)?, c.whole(1)?);
    match width {
        8 => in_order(c, number.to_be_bytes().to_vec()),
        4 => in_order(c, single(number).to_be_bytes().to_vec()),
        _ => Err(c.not(1, "4 or 8 bytes")),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a number in 4 bytes is rounded, as its author asks"
)]
fn single(number: f64) -> f32 {
    number as f32
}

/// A whole number as bits.
pub(super) fn word(c: &Call<'_, '_>, at: usize) -> Done<u64> {
    match c.value(at) {
        Value::Int(number) => Ok(number.cast_unsigned()),
        // As hexadecimal texts of 64 bits give it, above 2^63.
        Value::Float(number) if *number >= 9_223_372_036_854_775_808.0 => {
            let half = whole(number / 2.0).filter(|_| *number < 18_446_744_073_709_551_616.0);
            let half = half.ok_or_else(|| c.not(at, "a whole number of 64 bits"))?;
            Ok(half.cast_unsigned() << 1)
        }
        _ => c.whole(at).map(i64::cast_unsigned),
    }
}
