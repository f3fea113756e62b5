//! The page about functions, and the words of the command line.

use super::{Function, GROUPS};
use crate::place::suggest;
use std::fmt::Write;

/// `host/docs/functions.md`.
#[must_use]
pub fn page() -> String {
    let mut out = String::from(
        "# Functions of expressions\n\n\
         <!-- Generated from host/rules/src/functions: WITMQ_WRITE_DOCS=1 cargo test --package witmq-rules functions -->\n\n\
         What [chains](chains.md) may use in their expressions. `f(x, y)` and `x.f(y)` are the same. Every example here is run by\n\
         a test. The numbers of arguments, and regular expressions that are written down, are checked when a chain is deployed.\n\
         `witmq rule functions [NAME]` prints this. Names in italics are those of EMQX's rule engine or of\nCEL's extensions.\n",
    );
    for group in GROUPS {
        let words = group.words.replace('|', "\\|");
        let _written = write!(out, "\n## {}\n\n{words}\n\n", group.name);
        out.push_str("| function | | example | gives |\n|---|---|---|---|\n");
        for function in group.functions {
            let cell = |text: &str| text.replace('|', "\\|");
            let also: String = function
                .also
                .split_whitespace()
                .map(|name| format!(" *{name}*"))
                .collect();
            let _written = writeln!(
                out,
                "| `{}` | {}{also} | `{}` | `{}` |",
                cell(function.signature),
                cell(function.words),
                cell(function.example),
                cell(function.result),
            );
        }
    }
    out
}

/// One function, or all of them with a line each.
///
/// # Errors
/// There is no function of that name; the text names the one most like it.
pub fn describe(name: Option<&str>) -> Result<String, String> {
    let Some(name) = name else {
        let mut out = String::new();
        for group in GROUPS {
            let _written = writeln!(out, "{}", group.name);
            for function in group.functions {
                let _written = writeln!(out, "  {:<52} {}", function.signature, function.words);
            }
        }
        return Ok(out.trim_end().to_owned());
    };
    let found = super::all().find(|function| function.name == name);
    match found.or_else(|| super::elsewhere(name)) {
        Some(function) => Ok(one(function)),
        None => {
            let like = suggest(name, super::all().map(|function| function.name));
            let hint = like.map(|like| format!("; did you mean `{like}`?"));
            Err(format!(
                "there is no function `{name}`{}",
                hint.unwrap_or_default()
            ))
        }
    }
}

fn one(function: &Function) -> String {
    let also = if function.also.is_empty() {
        String::new()
    } else {
        format!("\nelsewhere: {}", function.also)
    };
    format!(
        "{}\n{}\n\n  {}\n  -> {}{also}",
        function.signature, function.words, function.example, function.result
    )
}
