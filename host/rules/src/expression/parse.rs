//! From text to the parser's tree, with its errors in place.
//! Must not: know functions.

use super::{Flaw, flaw, shorten};
use cel::{Env, Program};
use std::panic::catch_unwind;

pub(super) fn parse(source: &str) -> Result<Program, Flaw> {
    // No macros: they are compiled here, where their places are known. The library promises no freedom from panics.
    let parsed = catch_unwind(|| Env::default().with_optional_support(false).compile(source));
    let errors = match parsed {
        Ok(Ok(program)) => return Ok(program),
        Ok(Err(errors)) => errors,
        Err(_) => return Err(flaw(0, "the expression cannot be parsed")),
    };
    let Some(first) = errors.errors.first() else {
        return Err(flaw(0, "the expression cannot be parsed"));
    };
    let line = usize::try_from(first.pos.0).unwrap_or(1).max(1);
    let column = usize::try_from(first.pos.1).unwrap_or(1).max(1);
    let start: usize = source
        .split_inclusive('\n')
        .take(line - 1)
        .map(str::len)
        .sum();
    let message = words(first.msg.lines().next().unwrap_or("it cannot be parsed"));
    // Columns are characters, unlike the offsets of what was parsed.
    let behind = source.get(start..).unwrap_or_default();
    let found = behind.char_indices().nth(column - 1);
    let at = found.map_or(source.len(), |(byte, _)| start + byte);
    Err(flaw(at, shorten(&message)))
}

/// The library's message for an author, not for a grammar.
fn words(message: &str) -> String {
    let text = message.trim_start_matches("Syntax error: ");
    let quoted = |from: &str| {
        let rest = text.strip_prefix(from)?.strip_prefix('\'')?;
        let end = rest.find("' expecting").unwrap_or(rest.len());
        Some(rest.get(..end)?.trim_end_matches('\'').to_owned())
    };
    let misplaced = [
        "mismatched input ",
        "extraneous input ",
        "no viable alternative at input ",
    ];
    if let Some(token) = misplaced.into_iter().find_map(quoted) {
        return match token.as_str() {
            "<EOF>" => "the expression ends too early".to_owned(),
            token => format!("`{token}` cannot stand here"),
        };
    }
    if let Some(token) = quoted("token recognition error at: ") {
        return match token.starts_with(['\'', '"']) {
            true => format!("`{token}` is a text without an end, or with an unknown escape"),
            false => format!("`{token}` means nothing"),
        };
    }
    let missing = text
        .strip_prefix("missing '")
        .and_then(|rest| rest.split_once("' at "));
    match missing {
        Some((token, _)) => format!("`{token}` is missing"),
        None => text.to_owned(),
    }
}
