//! Encodings: JSON, base64, hexadecimal, URL.

use super::{Call, Function, Group};
use crate::expression::{Done, ENTRY_BYTES, Fail, Value};
use base64::Engine;
use base64::engine::general_purpose::{GeneralPurpose, STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// Bytes of a value that a byte of JSON may become, at most: `[0,0,…]`.
const GROWTH: usize = ENTRY_BYTES / 2;

pub(super) const GROUP: Group = Group {
    name: "Encodings",
    words: "Encoders take bytes or a text. Decoders give bytes; `string(…)` makes a text of them.",
    functions: FUNCTIONS,
};

const FUNCTIONS: &[Function] = &[
    Function::new(
        "jsonEncode",
        (1, 1),
        "jsonEncode(x) -> string",
        "The value as JSON text.",
        ("jsonEncode({'a': [1, 2.5]})", r#""{\"a\":[1,2.5]}""#),
        |c| json_text(c, c.value(0)),
    )
    .also("json_encode"),
    Function::new(
        "jsonDecode",
        (1, 2),
        "jsonDecode(text[, default]) -> any",
        "What JSON says; the default if it is none.",
        (r#"jsonDecode('{"a":[1,2]}').a[1]"#, "2"),
        json_decode,
    )
    .also("json_decode"),
    Function::new(
        "base64Encode",
        (1, 1),
        "base64Encode(x) -> string",
        "Base64 with padding.",
        ("base64Encode('hello?')", r#""aGVsbG8/""#),
        |c| encode(c, &STANDARD),
    )
    .also("base64_encode"),
    Function::new(
        "base64Decode",
        (1, 1),
        "base64Decode(text) -> bytes",
        "The bytes that Base64 stands for, with padding or without.",
        ("string(base64Decode('aGVsbG8/'))", r#""hello?""#),
        |c| decode(c, &STANDARD_NO_PAD),
    )
    .also("base64_decode"),
    Function::new(
        "base64UrlEncode",
        (1, 1),
        "base64UrlEncode(x) -> string",
        "Base64 for URLs, without padding.",
        ("base64UrlEncode('hello?')", r#""aGVsbG8_""#),
        |c| encode(c, &URL_SAFE_NO_PAD),
    ),
    Function::new(
        "base64UrlDecode",
        (1, 1),
        "base64UrlDecode(text) -> bytes",
        "The bytes that Base64 for URLs stands for.",
        ("string(base64UrlDecode('aGVsbG8_'))", r#""hello?""#),
        |c| decode(c, &URL_SAFE_NO_PAD),
    ),
    Function::new(
        "hexEncode",
        (1, 1),
        "hexEncode(x) -> string",
        "Two hexadecimal digits a byte, small letters.",
        ("hexEncode('AZ')", r#""415a""#),
        |c| {
            let bytes = c.bytes(0)?;
            c.budget.build(bytes.len() * 2)?;
            Ok(Value::text(hex(bytes)))
        },
    )
    .also("bin2hexstr"),
    Function::new(
        "hexDecode",
        (1, 1),
        "hexDecode(text) -> bytes",
        "The bytes that hexadecimal digits stand for.",
        ("string(hexDecode('415A'))", r#""AZ""#),
        |c| {
            from_hex(c.text(0)?)
                .map(super::bytes::owned)
                .ok_or_else(|| c.not(0, "pairs of hexadecimal digits"))
        },
    )
    .also("hexstr2bin"),
    Function::new(
        "urlEncode",
        (1, 1),
        "urlEncode(text) -> string",
        "Percent signs for everything but letters, digits, `-`, `.`, `_` and `~`.",
        ("urlEncode('a b/ü')", r#""a%20b%2F%C3%BC""#),
        url_encode,
    ),
    Function::new(
        "urlDecode",
        (1, 1),
        "urlDecode(text) -> string",
        "The text that `urlEncode` has encoded.",
        ("urlDecode('a%20b%2F%C3%BC')", r#""a b/ü""#),
        url_decode,
    ),
];

/// A value as JSON text.
pub(super) fn json_text<'a>(c: &Call<'_, 'a>, value: &Value<'a>) -> Done<Value<'a>> {
    value.weigh(c.budget)?;
    let json = value.to_json().map_err(Fail::wrong)?;
    c.built(json.to_string())
}

fn json_decode<'a>(c: &Call<'_, 'a>) -> Done<Value<'a>> {
    let text = match c.bytes(0) {
        Ok(text) => text,
        Err(fail) => return c.get(1).cloned().ok_or(fail),
    };
    // Before it is read: what is read takes more room than its text.
    let elements = text.iter().filter(|byte| b",{[:".contains(byte)).count();
    c.budget
        .build(text.len() + elements.saturating_mul(GROWTH))?;
    match (serde_json::from_slice(text), c.get(1)) {
        (Ok(json), _) => Ok(Value::from_json(json)),
        (Err(_), Some(default)) => Ok(default.clone()),
        (Err(error), None) => Err(Fail::wrong(format!(
            "{} is no JSON: {error}",
            c.value(0).shown()
        ))),
    }
}

fn encode<'a>(c: &Call<'_, 'a>, engine: &GeneralPurpose) -> Done<Value<'a>> {
    let bytes = c.bytes(0)?;
    c.budget.build(bytes.len().div_ceil(3) * 4)?;
    Ok(Value::text(engine.encode(bytes)))
}

fn decode<'a>(c: &Call<'_, 'a>, engine: &GeneralPurpose) -> Done<Value<'a>> {
    let text = c.text(0)?.trim_end_matches('=');
    c.budget.build(text.len())?;
    let bytes = engine.decode(text);
    bytes
        .map(super::bytes::owned)
        .map_err(|_| c.not(0, "base64"))
}

fn digit(bits: u8) -> char {
    char::from_digit(u32::from(bits), 16).unwrap_or('0')
}

pub(super) fn hex(bytes: &[u8]) -> String {
    let pair = |byte: &u8| [digit(byte >> 4), digit(byte & 15)];
    bytes.iter().flat_map(pair).collect()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text
        .chars()
        .map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect();
    let digits = digits.filter(|digits| digits.len().is_multiple_of(2))?;
    let pair = |pair: &[u8]| pair.iter().fold(0, |byte, digit| byte << 4 | digit);
    Some(digits.chunks(2).map(pair).collect())
}

fn url_encode<'a>(c: &Call<'_, 'a>) -> Done<Value<'a>> {
    let bytes = c.bytes(0)?;
    c.budget.build(bytes.len() * 3)?;
    let mut out = String::with_capacity(bytes.len());
    for byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) {
            out.push(char::from(*byte));
        } else {
            out.extend([
                '%',
                digit(byte >> 4).to_ascii_uppercase(),
                digit(byte & 15).to_ascii_uppercase(),
            ]);
        }
    }
    Ok(Value::text(out))
}

fn url_decode<'a>(c: &Call<'_, 'a>) -> Done<Value<'a>> {
    let mut rest = c.bytes(0)?;
    c.budget.build(rest.len())?;
    let mut out = Vec::with_capacity(rest.len());
    while let Some((byte, behind)) = rest.split_first() {
        let escaped = behind
            .get(..2)
            .and_then(|pair| std::str::from_utf8(pair).ok());
        match (byte, escaped.and_then(from_hex)) {
            (b'%', Some(found)) => {
                out.extend(found);
                rest = behind.get(2..).unwrap_or_default();
            }
            (b'%', None) => return Err(c.not(0, "two hexadecimal digits behind each %")),
            _ => {
                out.push(*byte);
                rest = behind;
            }
        }
    }
    String::from_utf8(out)
        .map(Value::text)
        .map_err(|_| c.not(0, "UTF-8 when decoded"))
}
