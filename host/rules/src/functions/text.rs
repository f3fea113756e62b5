//! Functions of texts. Positions and lengths are counted in characters (code points), from 0.

use super::{ANY, Call, Function, Group};
use crate::expression::{Done, Fail, Value, contains, joined};

pub(super) const GROUP: Group = Group {
    name: "Texts",
    words: "Positions and lengths count characters (code points); the first is 0.",
    functions: FUNCTIONS,
};

const FUNCTIONS: &[Function] = &[
    Function::new("size", (1, 1), "size(x) -> number", "Characters of a text, bytes, elements of a list, entries of a map.", ("size('zwölf')", "5"), size).also("strlen length bytesize"),
    Function::new("lower", (1, 1), "text.lower() -> string", "In small letters.", ("'ABC'.lower()", r#""abc""#), |c| c.built(c.text(0)?.to_lowercase())).also("lowerAscii"),
    Function::new("upper", (1, 1), "text.upper() -> string", "In capital letters.", ("'abc'.upper()", r#""ABC""#), |c| c.built(c.text(0)?.to_uppercase())).also("upperAscii"),
    Function::new("trim", (1, 2), "text.trim([characters]) -> string", "Without white space, or without these characters, at both ends.", ("'  a b '.trim()", r#""a b""#), |c| trim(c, true, true)),
    Function::new("trimStart", (1, 2), "text.trimStart([characters]) -> string", "Without white space, or without these characters, at the beginning.", ("'007'.trimStart('0')", r#""7""#), |c| trim(c, true, false)).also("ltrim"),
    Function::new("trimEnd", (1, 2), "text.trimEnd([characters]) -> string", "Without white space, or without these characters, at the end.", ("'7.100'.trimEnd('0')", r#""7.1""#), |c| trim(c, false, true)).also("rtrim"),
    Function::new("split", (1, 3), "text.split([separator[, parts]]) -> list", "Its parts between separators, or between white space; at most so many parts, the last one with the rest.", ("'a,b,c'.split(',', 2)", r#"["a","b,c"]"#), split).also("tokens"),
    Function::new("join", (1, 2), "list.join([separator]) -> string", "Texts, numbers and truth, one behind the other.", ("['a', 1, true].join('-')", r#""a-1-true""#), join).also("join_to_string"),
    Function::new("concat", (1, ANY), "concat(x, …) -> string, bytes or list", "All of them as one; among texts, numbers and truth become texts.", ("concat('room ', 12, '/', 1.5)", r#""room 12/1.5""#), concat),
    Function::new("replace", (3, 4), "text.replace(old, new[, times]) -> string", "With each `old`, or the first ones, replaced.", ("'a-b-c'.replace('-', '+', 1)", r#""a+b-c""#), replace),
    Function::new("substring", (2, 3), "text.substring(from[, to]) -> string", "From a position up to before another one; a position below 0 counts from the end.", ("'temperature'.substring(0, 4)", r#""temp""#), substring).also("substr"),
    Function::new("indexOf", (2, 3), "text.indexOf(part[, from]) -> number", "Position of the first `part`, -1 without one; in a list that of an element.", ("'a/b/c'.indexOf('/', 2)", "3"), index_of),
    Function::new("lastIndexOf", (2, 2), "text.lastIndexOf(part) -> number", "Position of the last `part`, -1 without one.", ("'a/b/c'.lastIndexOf('/')", "3"), |c| { let (text, part) = (c.text(0)?, c.text(1)?); Ok(position(text, text.rfind(part))) }),
    Function::new("before", (2, 2), "text.before(part) -> string", "What is in front of the first `part`; everything without one.", ("'key=value'.before('=')", r#""key""#), |c| { let (text, part) = (c.text(0)?, c.text(1)?); c.built(text.split_once(part).map_or(text, |(before, _)| before).to_owned()) }),
    Function::new("after", (2, 2), "text.after(part) -> string", "What is behind the first `part`; nothing without one.", ("'key=value'.after('=')", r#""value""#), |c| { let (text, part) = (c.text(0)?, c.text(1)?); c.built(text.split_once(part).map_or("", |(_, after)| after).to_owned()) }),
    Function::new("withoutPrefix", (2, 2), "text.withoutPrefix(part) -> string", "Without `part` in front, if it is there.", ("'dev/1'.withoutPrefix('dev/')", r#""1""#), |c| { let (text, part) = (c.text(0)?, c.text(1)?); c.built(text.strip_prefix(part).unwrap_or(text).to_owned()) }).also("rm_prefix"),
    Function::new("withoutSuffix", (2, 2), "text.withoutSuffix(part) -> string", "Without `part` at the end, if it is there.", ("'7 C'.withoutSuffix(' C')", r#""7""#), |c| { let (text, part) = (c.text(0)?, c.text(1)?); c.built(text.strip_suffix(part).unwrap_or(text).to_owned()) }),
    Function::new("charAt", (2, 2), "text.charAt(position) -> string", "The character there, or nothing.", ("'abc'.charAt(1)", r#""b""#), |c| { let at = c.count(1)?; c.built(c.text(0)?.chars().nth(at).map(String::from).unwrap_or_default()) }),
    Function::new("padStart", (2, 3), "text.padStart(length[, character]) -> string", "Filled in front to a length, with spaces or another character; numbers are written first.", ("padStart(7, 3, '0')", r#""007""#), |c| pad(c, true)).also("pad"),
    Function::new("padEnd", (2, 3), "text.padEnd(length[, character]) -> string", "Filled behind to a length, with spaces or another character; numbers are written first.", ("'ab'.padEnd(4, '.')", r#""ab..""#), |c| pad(c, false)),
    Function::new("repeat", (2, 2), "text.repeat(times) -> string", "So many times.", ("'ab'.repeat(3)", r#""ababab""#), repeat),
    Function::new("reverse", (1, 1), "x.reverse() -> string, bytes or list", "From its end to its beginning.", ("'abc'.reverse()", r#""cba""#), reverse),
    Function::new("startsWith", (2, 2), "text.startsWith(part) -> bool", "Whether it begins so.", ("'sensor-1'.startsWith('sensor-')", "true"), |c| Ok(c.text(0)?.starts_with(c.text(1)?).into())),
    Function::new("endsWith", (2, 2), "text.endsWith(part) -> bool", "Whether it ends so.", ("'a.json'.endsWith('.json')", "true"), |c| Ok(c.text(0)?.ends_with(c.text(1)?).into())),
    Function::new("contains", (2, 2), "x.contains(y) -> bool", "Whether a text has a part, a list an element, a map a key.", ("'alarm: hot'.contains('hot')", "true"), has_part),
    Function::new("equalsIgnoreCase", (2, 2), "text.equalsIgnoreCase(other) -> bool", "Whether they are the same but for capitals.", ("'On'.equalsIgnoreCase('ON')", "true"), same_letters),
    Function::new("format", (1, ANY), "text.format(x, …) -> string", "The text with `%s` (anything), `%d` (a whole number), `%f`, `%.2f`, `%e`, `%x`, `%X`, `%b`, `%o`, `%%`; `%5d`, `%-5s` and `%05d` give a width.", ("'%s: %.1f of %03d'.format('a', 2.25, 7)", r#""a: 2.2 of 007""#), super::format::format).also("sprintf sprintf_s"),
    Function::new("ascii", (1, 1), "ascii(text) -> number", "The code point of its first character.", ("ascii('A')", "65"), |c| match c.text(0)?.chars().next() { Some(first) => Ok(Value::Int(i64::from(u32::from(first)))), None => Err(c.not(0, "a text with a character")) }),
    Function::new("char", (1, 1), "char(number) -> string", "The character of a code point.", ("char(8364)", r#""€""#), |c| match u32::try_from(c.whole(0)?).ok().and_then(char::from_u32) { Some(found) => c.built(found.to_string()), None => Err(c.not(0, "a code point")) }),
    Function::new("lines", (1, 1), "text.lines() -> list", "Its lines.", (r"'a\nb'.lines()", r#"["a","b"]"#), |c| { let text = c.text(0)?; parts(c, text.lines().map(str::len).sum(), text.lines()) }),
    Function::new("isBlank", (1, 1), "text.isBlank() -> bool", "Whether it is nothing but white space.", ("' '.isBlank()", "true"), |c| Ok(c.text(0)?.trim().is_empty().into())),
];

fn same_letters<'a>(c: &Call<'_, 'a>) -> Done<Value<'a>> {
    let (one, other) = (c.text(0)?, c.text(1)?);
    c.budget.spend(one.len().min(other.len()) / 16)?;
    let other = other.chars().flat_map(char::to_lowercase);
    Ok(one.chars().flat_map(char::to_lowercase).eq(other).into())
}

fn size<'a>(c: &Call<'_, 'a>) -> Done<Value<'a>> {
    Ok(Value::count(match c.value(0) {
        Value::String(_) => c.text(0)?.chars().count(),
        Value::Bytes(bytes) => bytes.len(),
        Value::List(list) => list.len(),
        Value::Map(map) => map.len(),
        _ => return Err(c.not(0, "a text, bytes, a list or a map")),
    }))
}

fn trim<'a>(c: &Call<'_, 'a>, at_start: bool, at_end: bool) -> Done<Value<'a>> {
    let (text, set) = (c.text(0)?, c.text_or(1, "")?);
    let is_whitespace = c.get(1).is_none();
    c.budget.spend(text.len() * set.len() / 64)?;
    let goes = |found: char| {
        if is_whitespace {
            found.is_whitespace()
        } else {
            set.contains(found)
        }
    };
    let mut rest = text;
    if at_start {
        rest = rest.trim_start_matches(goes);
    }
    if at_end {
        rest = rest.trim_end_matches(goes);
    }
    c.built(rest.to_owned())
}

/// A list of texts, asked for before it is built.
pub(super) fn parts<'a, 't>(
    c: &Call<'_, 'a>,
    bytes: usize,
    parts: impl Iterator<Item = &'t str>,
) -> Done<Value<'a>> {
    c.budget.build(bytes)?;
    let mut items = Vec::new();
    for part in parts {
        c.budget.spend(1)?;
        items.push(Value::text(part));
    }
    c.built_list(items)
}

fn split<'a>(c: &Call<'_, 'a>) -> Done<Value<'a>> {
    let text = c.text(0)?;
    let most = c.count_or(2, usize::MAX)?;
    match c.get(1) {
        None => parts(c, text.len(), text.split_whitespace()),
        Some(_) => match c.text(1)? {
            "" => Err(c.not(1, "a separator")),
            separator => parts(c, text.len(), text.splitn(most, separator)),
        },
    }
}

fn join<'a>(c: &Call<'_, 'a>) -> Done<Value<'a>> {
    let (list, separator) = (c.list(0)?, c.text_or(1, "")?);
    let mut out = String::new();
    for (at, item) in list.iter().enumerate() {
        let Some(text) = item.to_text() else {
            return Err(Fail::operands("join", "texts, numbers and truth", &[&item]));
        };
        if at > 0 {
            out.push_str(separator);
        }
        out.push_str(&text);
        c.budget.fits(out.len())?;
        c.budget.read(separator.len() + text.len())?;
    }
    c.built(out)
}

fn concat<'a>(c: &Call<'_, 'a>) -> Done<Value<'a>> {
    let is_text = c
        .arguments
        .iter()
        .any(|one| matches!(one, Value::String(_)));
    let as_text = |value: &Value<'a>| match value.to_text() {
        Some(text) if is_text => Value::text(text),
        _ => value.clone(),
    };
    let mut all = as_text(c.value(0));
    for next in c.arguments.iter().skip(1) {
        all = joined(&all, &as_text(next), c.budget)?;
    }
    Ok(all)
}

fn replace<'a>(c: &Call<'_, 'a>) -> Done<Value<'a>> {
    let (text, old, new) = (c.text(0)?, c.text(1)?, c.text(2)?);
    let times = c.count_or(3, usize::MAX)?;
    if old.is_empty() {
        return Err(c.not(1, "a text with a character"));
    }
    let found = text.matches(old).take(times).count();
    c.budget
        .build((text.len() - found * old.len()).saturating_add(found.saturating_mul(new.len())))?;
    c.built(text.replacen(old, new, times))
}

/// Byte of a position that may count from the end; the end for one behind it.
fn byte_at(text: &str, position: i64) -> usize {
    let at = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
    if position >= 0 {
        let found = text.char_indices().nth(at(position.unsigned_abs()));
        return found.map_or(text.len(), |(byte, _)| byte);
    }
    let mut from_end = text.char_indices().rev();
    from_end
        .nth(at(position.unsigned_abs()) - 1)
        .map_or(0, |(byte, _)| byte)
}

fn substring<'a>(c: &Call<'_, 'a>) -> Done<Value<'a>> {
    let text = c.text(0)?;
    let from = byte_at(text, c.whole(1)?);
    let to = byte_at(text, c.whole_or(2, i64::MAX)?);
    c.built(text.get(from..to).unwrap_or_default().to_owned())
}

/// A position in characters of a byte.
fn position<'a>(text: &str, byte: Option<usize>) -> Value<'a> {
    match byte {
        Some(byte) => Value::count(text.get(..byte).unwrap_or_default().chars().count()),
        None => Value::Int(-1),
    }
}

fn index_of<'a>(c: &Call<'_, 'a>) -> Done<Value<'a>> {
    if let Value::List(list) = c.value(0) {
        for (at, item) in list.iter().enumerate().skip(c.count_or(2, 0)?) {
            if item.equals(c.value(1), c.budget)? {
                return Ok(Value::count(at));
            }
        }
        return Ok(Value::Int(-1));
    }
    let (text, part) = (c.text(0)?, c.text(1)?);
    let from = byte_at(text, c.whole_or(2, 0)?);
    let rest = text.get(from..).unwrap_or_default();
    Ok(position(text, rest.find(part).map(|at| from + at)))
}

fn pad<'a>(c: &Call<'_, 'a>, in_front: bool) -> Done<Value<'a>> {
    let written = c.value(0).to_text();
    let text = written.ok_or_else(|| c.not(0, "a text or a number"))?;
    let fill = c.text_or(2, " ")?;
    let mut characters = fill.chars();
    let (Some(fill), None) = (characters.next(), characters.next()) else {
        return Err(c.not(2, "one character"));
    };
    let missing = c.count(1)?.saturating_sub(text.chars().count());
    c.budget.build(
        text.len()
            .saturating_add(missing.saturating_mul(fill.len_utf8())),
    )?;
    let filled: String = std::iter::repeat_n(fill, missing).collect();
    c.built(if in_front {
        filled + &text
    } else {
        text + &filled
    })
}

fn repeat<'a>(c: &Call<'_, 'a>) -> Done<Value<'a>> {
    let (text, times) = (c.text(0)?, c.count(1)?);
    c.budget.build(text.len().saturating_mul(times))?;
    // Nothing, however often, is nothing.
    c.built(if text.is_empty() {
        String::new()
    } else {
        text.repeat(times)
    })
}

fn reverse<'a>(c: &Call<'_, 'a>) -> Done<Value<'a>> {
    match c.value(0) {
        Value::List(list) => c.built_list(list.iter().rev().collect()),
        Value::Bytes(bytes) => {
            c.budget.build(bytes.len())?;
            Ok(super::bytes::owned(bytes.iter().rev().copied().collect()))
        }
        _ => c.built(c.text(0)?.chars().rev().collect()),
    }
}

fn has_part<'a>(c: &Call<'_, 'a>) -> Done<Value<'a>> {
    if let Value::String(_) = c.value(0) {
        return Ok(c.text(0)?.contains(c.text(1)?).into());
    }
    match contains(c.value(0), c.value(1), c.budget)? {
        Some(found) => Ok(found.into()),
        None => Err(c.not(0, "a text, a list or a map")),
    }
}
