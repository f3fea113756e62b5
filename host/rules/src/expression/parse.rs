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
    let message = first.msg.lines().next().unwrap_or("it cannot be parsed");
    let at = (start + column - 1).min(source.len());
    Err(flaw(source.floor_char_boundary(at), shorten(message)))
}
