//! Words, numbers, texts and signs of a statement.
//! Must not: know what they mean together.

use super::Wrong;

/// A part of a statement, and the byte where it begins.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    Word(String),
    Number(String),
    /// In single quotes.
    Text(String),
    /// In double quotes.
    Quoted(String),
    Sign(&'static str),
    End,
}

/// Longer ones first.
const SIGNS: [&str; 19] = [
    "<>", "!=", "=~", "<=", ">=", "..", "=", "<", ">", "+", "-", "*", "/", "(", ")", "[", "]", ",",
    ".",
];

/// All tokens with their places; the last one is [`Token::End`].
pub(super) fn tokens(text: &str) -> Result<Vec<(Token, usize)>, Wrong> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(first) = text.get(at..).and_then(|rest| rest.chars().next()) {
        let rest = text.get(at..).unwrap_or_default();
        if first.is_whitespace() {
            at += first.len_utf8();
        } else if rest.starts_with("--") {
            at += rest.find('\n').unwrap_or(rest.len());
        } else if first.is_ascii_alphabetic() || first == '_' {
            let length = length_of(rest, |c| c.is_ascii_alphanumeric() || c == '_');
            found.push((Token::Word(part(rest, length)), at));
            at += length;
        } else if first.is_ascii_digit() {
            let length = number_length(rest);
            found.push((Token::Number(part(rest, length)), at));
            at += length;
        } else if first == '\'' || first == '"' {
            let (value, length) = quoted(rest, first, at)?;
            let token = match first {
                '"' => Token::Quoted(value),
                _ => Token::Text(value),
            };
            found.push((token, at));
            at += length;
        } else if let Some(sign) = SIGNS.into_iter().find(|sign| rest.starts_with(sign)) {
            found.push((Token::Sign(sign), at));
            at += sign.len();
        } else {
            let end = rest.trim_end();
            if end == ";" {
                break;
            }
            return Err(Wrong::new(at, format!("`{first}` means nothing here")));
        }
    }
    found.push((Token::End, text.len()));
    Ok(found)
}

fn part(text: &str, length: usize) -> String {
    text.get(..length).unwrap_or_default().to_owned()
}

fn length_of(text: &str, is_inside: impl Fn(char) -> bool) -> usize {
    text.find(|c| !is_inside(c)).unwrap_or(text.len())
}

/// `12`, `1.5`, `1e9`; not the `1..` of a range.
fn number_length(text: &str) -> usize {
    let digits = |from: usize| {
        let rest = text.get(from..).unwrap_or_default();
        length_of(rest, |c| c.is_ascii_digit())
    };
    let mut length = digits(0);
    if text.get(length..).is_some_and(|rest| rest.starts_with('.')) && digits(length + 1) > 0 {
        length += 1 + digits(length + 1);
    }
    if text
        .get(length..)
        .is_some_and(|rest| rest.starts_with(['e', 'E']))
    {
        let sign = text
            .get(length + 1..)
            .is_some_and(|rest| rest.starts_with(['+', '-']));
        let from = length + 1 + usize::from(sign);
        if digits(from) > 0 {
            length = from + digits(from);
        }
    }
    length
}

/// What is between quotes, and how long it is with them. A quote within is doubled or has a backslash before it.
fn quoted(text: &str, quote: char, at: usize) -> Result<(String, usize), Wrong> {
    let mut value = String::new();
    let mut rest = text.char_indices().skip(1).peekable();
    while let Some((place, c)) = rest.next() {
        let next = rest.peek().map(|(_, next)| *next);
        match (c, next) {
            ('\\', Some(next)) if next == quote => {
                value.push(next);
                rest.next();
            }
            (c, next) if c == quote && next == Some(quote) => {
                value.push(c);
                rest.next();
            }
            (c, _) if c == quote => return Ok((value, place + 1)),
            (c, _) => value.push(c),
        }
    }
    Err(Wrong::new(at, "a text without an end"))
}
