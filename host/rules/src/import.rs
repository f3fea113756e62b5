//! Rules of EMQX as chains: its SQL statements and exported rules.
//!
//! Owns: [`import_emqx`], text in, text and remarks out. What comes out compiles; what cannot be carried over is left
//! out and said, in the text and beside it.
//! Must not: read files or print.
//!
//! | module | owns |
//! |---|---|
//! | `token`, `parse` | the statement as a tree |
//! | `calls` | functions there and here |
//! | `cel` | expressions as CEL |
//! | `output` | what a statement selects |
//! | `action` | `republish`, its templates, and actions that are not there |
//! | `chain` | the statement and its actions as a file |

mod action;
mod calls;
mod cel;
mod chain;
mod output;
mod parse;
mod token;

use crate::check::{check, with_large_stack};
use crate::file::is_plain;
use crate::place::{RuleError, Source};
use serde_json::Value as Json;

/// Bytes of a statement or an exported rule.
const BYTES: usize = 64 * 1024;

/// Something that cannot be carried over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// In the statement, from 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// What, and what stands there instead.
    pub text: String,
}

/// A chain made of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// A name for it, and for its file.
    pub name: String,
    /// The chain file.
    pub text: String,
    /// What is missing in it, in the order of the statement.
    pub remarks: Vec<Remark>,
}

/// What is wrong, at which byte of the statement.
#[derive(Debug)]
struct Wrong {
    at: usize,
    text: String,
}

impl Wrong {
    fn new(at: usize, text: impl Into<String>) -> Self {
        let text = text.into();
        Self { at, text }
    }
}

/// A rule: the statement, its actions, and what else an export says.
struct Rule {
    sql: String,
    actions: Vec<Json>,
    is_enabled: bool,
    description: String,
}

/// Makes a chain of a statement of EMQX's rule SQL, or of a rule exported as JSON. `name` is its name where the export
/// has none; `file` is named in errors.
///
/// # Errors
/// The statement cannot be read or has nothing that a chain could begin with; with its place.
pub fn import_emqx(name: Option<&str>, file: &str, text: &str) -> Result<Imported, RuleError> {
    let source = Source { file, text };
    if text.len() > BYTES {
        let text = format!("{} bytes, a rule has at most {BYTES}", text.len());
        return Err(source.error(0, "bad-rule", text));
    }
    let (rule, named) = match text.trim_start().starts_with('{') {
        true => exported(source)?,
        false => (bare(text), None),
    };
    let name = name.map(str::to_owned).or(named);
    let name = name.unwrap_or_else(|| "imported".to_owned());
    if !is_plain(&name) {
        let text = format!("`{name}` is no name for a chain");
        let error = source.error(0, "bad-name", text);
        return Err(error.hint("use 1 to 64 letters, digits, - and _, given with --name"));
    }
    let in_sql = match rule.sql == text {
        true => file.to_owned(),
        false => format!("{file} (sql)"),
    };
    let source = Source {
        file: &in_sql,
        text: &rule.sql,
    };
    let made = with_large_stack(
        || {
            let made = chain::make(&name, &rule, source);
            made.map_err(|wrong| source.error(wrong.at, "bad-rule", wrong.text))
        },
        |cause| Err(source.error(0, "internal", cause)),
    )?;
    // Every step was tried; this is the promise.
    check(&format!("{name}.toml"), &made.text).map_err(|error| {
        let text = format!("no chain can be made of it: {}", error.message);
        source.error(0, "bad-rule", text)
    })?;
    Ok(made)
}

fn bare(text: &str) -> Rule {
    Rule {
        sql: text.to_owned(),
        actions: Vec::new(),
        is_enabled: true,
        description: String::new(),
    }
}

/// A rule as EMQX's API gives it.
fn exported(source: Source<'_>) -> Result<(Rule, Option<String>), RuleError> {
    let json: Json = serde_json::from_str(source.text).map_err(|error| {
        let before = source.text.lines().take(error.line().saturating_sub(1));
        let start: usize = before.map(|line| line.len() + 1).sum();
        let at = start + error.column().saturating_sub(1);
        source.error(at, "bad-rule", format!("this is no JSON: {error}"))
    })?;
    let Some(sql) = json.get("sql").and_then(Json::as_str) else {
        let error = source.error(0, "bad-rule", "an exported rule has its statement as `sql`");
        return Err(error.hint("give one rule, as GET /api/v5/rules/ID answers"));
    };
    let actions = json.get("actions").or(json.get("outputs"));
    let text = |key: &str| json.get(key).and_then(Json::as_str).unwrap_or_default();
    let named = ["name", "id"].into_iter().map(text);
    let named = named.map(plain).find(|name| !name.is_empty());
    let rule = Rule {
        sql: sql.to_owned(),
        actions: actions
            .and_then(Json::as_array)
            .cloned()
            .unwrap_or_default(),
        is_enabled: json.get("enable").and_then(Json::as_bool).unwrap_or(true),
        description: text("description").to_owned(),
    };
    Ok((rule, named))
}

/// A name of a rule as that of a chain.
fn plain(name: &str) -> String {
    let letter = |c: char| match c.is_ascii_alphanumeric() || c == '_' {
        true => c,
        false => '-',
    };
    let name: String = name.chars().take(64).map(letter).collect();
    name.trim_matches('-').to_owned()
}

#[cfg(test)]
mod tests;
