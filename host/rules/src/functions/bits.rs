//! Bits of whole numbers, and of bytes.

use super::bytes::{is_little, number, word};
use super::{Call, Function, Group};
use crate::expression::{Done, Value};

pub(super) const GROUP: Group = Group {
    name: "Bits",
    words: "Of whole numbers, taken as 64 bits with a sign. A number that was computed is a double: only 53 of its bits are exact.",
    functions: FUNCTIONS,
};

const FUNCTIONS: &[Function] = &[
    Function::new(
        "bitAnd",
        (2, 2),
        "bitAnd(x, y) -> number",
        "Bits that both have.",
        ("bitAnd(12, 10)", "8"),
        |c| signed(word(c, 0)? & word(c, 1)?),
    )
    .also("bitand"),
    Function::new(
        "bitOr",
        (2, 2),
        "bitOr(x, y) -> number",
        "Bits that one has.",
        ("bitOr(12, 10)", "14"),
        |c| signed(word(c, 0)? | word(c, 1)?),
    )
    .also("bitor"),
    Function::new(
        "bitXor",
        (2, 2),
        "bitXor(x, y) -> number",
        "Bits that only one has.",
        ("bitXor(12, 10)", "6"),
        |c| signed(word(c, 0)? ^ word(c, 1)?),
    )
    .also("bitxor"),
    Function::new(
        "bitNot",
        (1, 1),
        "bitNot(x) -> number",
        "All the others.",
        ("bitNot(0)", "-1"),
        |c| signed(!word(c, 0)?),
    )
    .also("bitnot"),
    Function::new(
        "shiftLeft",
        (2, 2),
        "shiftLeft(x, n) -> number",
        "Moved up by n bits, 0 to 63.",
        ("shiftLeft(1, 4)", "16"),
        |c| signed(word(c, 0)? << count(c)?),
    )
    .also("bitsl"),
    Function::new(
        "shiftRight",
        (2, 2),
        "shiftRight(x, n) -> number",
        "Moved down by n bits, keeping the sign.",
        ("shiftRight(16, 4)", "1"),
        |c| Ok(Value::Int(word(c, 0)?.cast_signed() >> count(c)?)),
    )
    .also("bitsr"),
    Function::new(
        "bitSet",
        (2, 2),
        "bitSet(x, n) -> bool",
        "Whether bit n is set, the lowest is 0.",
        ("bitSet(5, 2)", "true"),
        |c| Ok((word(c, 0)? >> count(c)? & 1 == 1).into()),
    ),
    Function::new(
        "bitCount",
        (1, 1),
        "bitCount(x) -> number",
        "How many bits are set.",
        ("bitCount(255)", "8"),
        |c| Ok(Value::Int(i64::from(word(c, 0)?.count_ones()))),
    ),
    Function::new(
        "bitSize",
        (1, 1),
        "bitSize(bytes) -> number",
        "How many bits there are.",
        ("bitSize(b'ab')", "16"),
        |c| Ok(Value::count(c.bytes(0)?.len() * 8)),
    )
    .also("bitsize"),
    Function::new(
        "subbits",
        (2, 6),
        "subbits(bytes[, from], bits[, type[, sign[, order]]]) -> number or bytes",
        "Bits as a number: from a bit on (the first is 1), so many (up to 64); type `'integer'`, `'float'` (32 or 64 bits) or `'bits'` (whole bytes), sign `'unsigned'` or `'signed'`, order `'big'` or `'little'` (whole bytes).",
        (r"subbits(b'\x12\x34', 5, 8)", "35"),
        subbits,
    ),
];

fn signed<'a>(word: u64) -> Done<Value<'a>> {
    Ok(Value::Int(word.cast_signed()))
}

fn count(c: &Call<'_, '_>) -> Done<u32> {
    let count = u32::try_from(c.whole(1)?).ok();
    count
        .filter(|count| *count < 64)
        .ok_or_else(|| c.not(1, "0 to 63"))
}

fn subbits<'a>(c: &Call<'_, 'a>) -> Done<Value<'a>> {
    let bytes = c.bytes(0)?;
    let (from, bits) = match c.arguments.len() {
        2 => (1, c.count(1)?),
        _ => (c.count(1)?, c.count(2)?),
    };
    let at = c.arguments.len().min(2);
    if !(1..=64).contains(&bits) {
        return Err(c.not(at, "1 to 64 bits"));
    }
    let Some(from) = from.checked_sub(1) else {
        return Err(c.not(1, "a bit from 1 on"));
    };
    let is_there = |end: usize| end <= bytes.len().saturating_mul(8);
    if !from.checked_add(bits).is_some_and(is_there) {
        let text = format!("a part of {} bits", bytes.len() * 8);
        return Err(c.not(at, &text));
    }
    let bit = |at: usize| {
        let byte = bytes.get(at / 8).copied().unwrap_or(0);
        u64::from(byte >> (7 - at % 8) & 1)
    };
    let mut word = (from..from + bits).fold(0, |word, at| word << 1 | bit(at));
    if is_little(c, 5)? {
        if !bits.is_multiple_of(8) {
            return Err(c.not(at, "whole bytes for the little order"));
        }
        word = word.swap_bytes() >> (64 - bits);
    }
    let is_signed = match c.text_or(4, "unsigned")? {
        "unsigned" => false,
        "signed" => true,
        _ => return Err(c.not(4, "'unsigned' or 'signed'")),
    };
    match (c.text_or(3, "integer")?, bits, u32::try_from(word)) {
        ("integer", ..) => Ok(number(word, bits, is_signed)),
        ("float", 64, _) => Ok(Value::Float(f64::from_bits(word))),
        ("float", 32, Ok(word)) => Ok(Value::Float(f64::from(f32::from_bits(word)))),
        ("bits", ..) if bits.is_multiple_of(8) => {
            let all = word.to_be_bytes();
            let part = all.get(8 - bits / 8..).unwrap_or_default();
            Ok(super::bytes::owned(part.to_vec()))
        }
        ("bits", ..) => Err(c.not(at, "whole bytes")),
        ("float", ..) => Err(c.not(at, "32 or 64 bits")),
        _ => Err(c.not(3, "'integer', 'float' or 'bits'")),
    }
}
