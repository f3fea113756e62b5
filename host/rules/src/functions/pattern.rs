//! Regular expressions, in time linear in the text: no look-around, no back-references.
//!
//! A pattern that is written down is built when its chain is deployed. One that comes from a message is built then,
//! and the last few are kept.

use super::{Call, Function, Group};
use crate::expression::{Budget, Done, Fail, Value};
use regex::{Captures, Regex, RegexBuilder};
use regex_syntax::ParserBuilder;
use regex_syntax::hir::{Hir, HirKind};
use std::cell::RefCell;
use std::collections::VecDeque;

/// Bytes of a pattern.
const PATTERN_BYTES: usize = 1024;
/// Characters, classes and looks of a pattern with its repetitions written out: `a{3}[bc]` has 4. The time of a match
/// is at worst their number times the length of the text.
const POSITIONS: usize = 1000;
/// Positions that a class beyond ASCII counts: it is several bytes.
const WIDE: usize = 4;
/// Bytes of a built pattern.
const BUILT_BYTES: usize = 1024 * 1024;
/// Bytes of its tables while it matches.
const TABLE_BYTES: usize = 512 * 1024;
/// Brackets within brackets.
const NESTING: u32 = 32;
/// Patterns from messages that a shard keeps.
const KEPT: usize = 16;
/// Steps that building a pattern counts, and each of its positions.
const BUILDING: (usize, usize) = (5000, 250);
/// Positions times bytes that are one step while a match is looked for.
const SEARCHED: usize = 10;
/// The same where a search looks further than its match ends.
const LOOKED_AHEAD: usize = 64;

/// A regular expression, built.
#[derive(Clone)]
pub(crate) struct Pattern {
    regex: Regex,
    positions: usize,
    /// It may look far beyond the end of a match for a better one, and the next match looks there again.
    looks_ahead: bool,
}

impl Pattern {
    /// Builds; the error is in words.
    pub(crate) fn new(text: &str) -> Result<Self, String> {
        Self::build(text, |_| Ok(())).map_err(|fail| fail.message().to_owned())
    }

    /// Builds, after it asked for so many positions.
    fn build(text: &str, ask: impl FnOnce(usize) -> Done<()>) -> Done<Self> {
        let wrong =
            |cause: String| Fail::wrong(format!("`{text}` is no regular expression: {cause}"));
        if text.len() > PATTERN_BYTES {
            let text = format!("a pattern is at most {PATTERN_BYTES} bytes long");
            return Err(Fail::wrong(text));
        }
        let last_line = |error: String| {
            let last = error.lines().last().unwrap_or_default();
            wrong(last.trim_start_matches("error: ").to_owned())
        };
        let hir = ParserBuilder::new()
            .nest_limit(NESTING)
            .build()
            .parse(text)
            .map_err(|error| last_line(error.to_string()))?;
        let positions = positions(&hir);
        if positions > POSITIONS {
            return Err(wrong(format!(
                "it has {positions} positions with its repetitions written out, {POSITIONS} are allowed"
            )));
        }
        ask(positions)?;
        let regex = RegexBuilder::new(text)
            .size_limit(BUILT_BYTES)
            .dfa_size_limit(TABLE_BYTES)
            .nest_limit(NESTING)
            .build()
            .map_err(|error| match error {
                regex::Error::CompiledTooBig(bytes) => wrong(format!(
                    "it is larger than {bytes} bytes when built: repeat less in it, or use ASCII classes as [0-9]"
                )),
                other => last_line(other.to_string()),
            })?;
        Ok(Self {
            regex,
            positions,
            looks_ahead: looks_ahead(&hir, true),
        })
    }

    /// Asks for a search through so many bytes.
    fn search(&self, budget: &Budget, bytes: usize) -> Done<()> {
        budget.spend(bytes.saturating_mul(self.positions) / SEARCHED)
    }

    /// Asks for one more match, which ends here.
    fn again(&self, budget: &Budget, bytes_behind: usize) -> Done<()> {
        let ahead = if self.looks_ahead { bytes_behind } else { 0 };
        budget.spend(ahead.saturating_mul(self.positions) / LOOKED_AHEAD + 1)
    }
}

/// How many places of a pattern a match can be in at once, at most.
fn positions(hir: &Hir) -> usize {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => 1,
        HirKind::Literal(literal) => literal.0.len(),
        HirKind::Class(class) if class.is_utf8() && class.maximum_len() > Some(1) => WIDE,
        HirKind::Class(_) => 1,
        HirKind::Capture(capture) => positions(&capture.sub),
        HirKind::Repetition(repetition) => {
            let times = repetition.max.unwrap_or(repetition.min).max(1);
            let times = usize::try_from(times).unwrap_or(usize::MAX);
            positions(&repetition.sub).saturating_mul(times)
        }
        HirKind::Concat(parts) | HirKind::Alternation(parts) => parts
            .iter()
            .fold(0, |all, part| all.saturating_add(positions(part))),
    }
}

/// Whether something without an end has something behind it.
fn looks_ahead(hir: &Hir, is_last: bool) -> bool {
    match hir.kind() {
        HirKind::Capture(capture) => looks_ahead(&capture.sub, is_last),
        HirKind::Repetition(repetition) => {
            let is_endless = repetition.max.is_none();
            (is_endless && !is_last) || looks_ahead(&repetition.sub, false)
        }
        HirKind::Concat(parts) => {
            let last = parts.len().saturating_sub(1);
            let mut parts = parts.iter().enumerate();
            parts.any(|(at, part)| looks_ahead(part, is_last && at == last))
        }
        HirKind::Alternation(parts) => parts.iter().any(|part| looks_ahead(part, is_last)),
        HirKind::Empty | HirKind::Look(_) | HirKind::Literal(_) | HirKind::Class(_) => false,
    }
}

thread_local! {
    static BUILT: RefCell<VecDeque<(String, Pattern)>> = const { RefCell::new(VecDeque::new()) };
}

pub(super) const GROUP: Group = Group {
    name: "Regular expressions",
    words: "Of the [regex](https://docs.rs/regex/latest/regex/#syntax) kind: time is linear in the text, there is no look-around and no back-reference. A pattern has up to 1024 bytes, and 1000 characters and classes with its repetitions written out; one that is written down is checked at deploy. Write `r'\\d'` or `'\\\\d'`.",
    functions: FUNCTIONS,
};

const FUNCTIONS: &[Function] = &[
    Function::new("matches", (2, 2), "text.matches(pattern) -> bool", "Whether the pattern is somewhere in it; `^` and `$` bind it to the ends.", (r"'room-12'.matches(r'^room-\d+$')", "true"), |c| { let pattern = pattern(c, 1)?; Ok(pattern.regex.is_match(subject(c, &pattern)?).into()) }).with_pattern(1).also("regex_match"),
    Function::new("regexFind", (2, 2), "text.regexFind(pattern) -> string or null", "The first match.", (r"'a 17 b 4'.regexFind(r'\d+')", r#""17""#), |c| { let pattern = pattern(c, 1)?; match pattern.regex.find(subject(c, &pattern)?) { Some(found) => c.built(found.as_str().to_owned()), None => Ok(Value::Null) } }).with_pattern(1),
    Function::new("regexFindAll", (2, 2), "text.regexFindAll(pattern) -> list", "Every match.", (r"'a 17 b 4'.regexFindAll(r'\d+')", r#"["17","4"]"#), |c| all(c, false)).with_pattern(1),
    Function::new("regexExtract", (2, 2), "text.regexExtract(pattern) -> list", "The groups of the first match, in order; null for one that took no part; nothing without a match.", (r"'12x34'.regexExtract(r'(\d+)x(\d+)')", r#"["12","34"]"#), extract).with_pattern(1).also("regex_extract"),
    Function::new("regexGroups", (2, 2), "text.regexGroups(pattern) -> map", "The named groups of the first match.", (r"'c=20'.regexGroups(r'(?P<k>\w+)=(?P<v>\d+)')", r#"{"k":"c","v":"20"}"#), groups).with_pattern(1),
    Function::new("regexReplace", (3, 3), "text.regexReplace(pattern, new) -> string", "With every match replaced; `$1` and `${name}` are groups, `$$` is a dollar.", (r"'2026-11-27'.regexReplace(r'(\d+)-(\d+)-(\d+)', '$3.$2.$1')", r#""27.11.2026""#), replace).with_pattern(1).also("regex_replace"),
    Function::new("regexSplit", (2, 2), "text.regexSplit(pattern) -> list", "Its parts between matches.", (r"'a1b22c'.regexSplit(r'\d+')", r#"["a","b","c"]"#), |c| all(c, true)).with_pattern(1),
];

/// The text that is searched.
fn subject<'c>(c: &'c Call<'_, '_>, pattern: &Pattern) -> Done<&'c str> {
    let text = c.text(0)?;
    pattern.search(c.budget, text.len())?;
    Ok(text)
}

/// Texts of, or between, all matches.
fn all<'a>(c: &Call<'_, 'a>, is_between: bool) -> Done<Value<'a>> {
    let pattern = pattern(c, 1)?;
    let text = subject(c, &pattern)?;
    c.budget.build(text.len())?;
    let (mut parts, mut at) = (Vec::new(), 0);
    for found in pattern.regex.find_iter(text) {
        pattern.again(c.budget, text.len() - found.end())?;
        let between = text.get(at..found.start()).unwrap_or_default();
        parts.push(Value::text(if is_between {
            between
        } else {
            found.as_str()
        }));
        at = found.end();
    }
    if is_between {
        parts.push(Value::text(text.get(at..).unwrap_or_default()));
    }
    c.built_list(parts)
}

/// The pattern of the call.
fn pattern(c: &Call<'_, '_>, at: usize) -> Done<Pattern> {
    if let Some(pattern) = c.pattern {
        return Ok(pattern.clone());
    }
    let text = c.text(at)?;
    let kept = BUILT.with_borrow(|built| {
        let found = built.iter().find(|(known, _)| known == text);
        found.map(|(_, pattern)| pattern.clone())
    });
    if let Some(pattern) = kept {
        return Ok(pattern);
    }
    let pattern = Pattern::build(text, |positions| {
        c.budget.spend(BUILDING.0 + positions * BUILDING.1)
    })?;
    BUILT.with_borrow_mut(|built| {
        built.truncate(KEPT - 1);
        built.push_front((text.to_owned(), pattern.clone()));
    });
    Ok(pattern)
}

fn extract<'a>(c: &Call<'_, 'a>) -> Done<Value<'a>> {
    let pattern = pattern(c, 1)?;
    let Some(found) = pattern.regex.captures(subject(c, &pattern)?) else {
        return c.built_list(Vec::new());
    };
    c.budget.build(
        found
            .iter()
            .skip(1)
            .flatten()
            .map(|group| group.len())
            .sum(),
    )?;
    let group = |group: Option<regex::Match<'_>>| {
        group.map_or(Value::Null, |group| Value::text(group.as_str()))
    };
    c.built_list(found.iter().skip(1).map(group).collect())
}

fn groups<'a>(c: &Call<'_, 'a>) -> Done<Value<'a>> {
    let pattern = pattern(c, 1)?;
    let Some(found) = pattern.regex.captures(subject(c, &pattern)?) else {
        return Ok(super::map::from_texts(std::iter::empty()));
    };
    c.budget.build(
        found
            .iter()
            .skip(1)
            .flatten()
            .map(|group| group.len())
            .sum(),
    )?;
    let names = pattern.regex.capture_names().flatten();
    let named = names.filter_map(|name| {
        let group = found.name(name)?;
        Some((name.to_owned(), Value::text(group.as_str())))
    });
    Ok(super::map::from_texts(named))
}

fn replace<'a>(c: &Call<'_, 'a>) -> Done<Value<'a>> {
    let pattern = pattern(c, 1)?;
    let (text, new) = (subject(c, &pattern)?, c.text(2)?);
    let dollars = new.matches('$').count();
    let (mut out, mut at, mut fail) = (String::new(), 0, None);
    for found in pattern.regex.captures_iter(text) {
        let Some(whole) = found.get(0) else { continue };
        // Each group that it names may be as long as the match: asked before it is written.
        let most = new.len() + dollars * whole.len();
        let asked = c
            .budget
            .fits(out.len() + most)
            .and_then(|()| c.budget.read(most));
        if let Err(limit) = asked {
            fail = Some(limit);
            break;
        }
        out.push_str(text.get(at..whole.start()).unwrap_or_default());
        Captures::expand(&found, new, &mut out);
        at = whole.end();
    }
    if let Some(fail) = fail {
        return Err(fail);
    }
    out.push_str(text.get(at..).unwrap_or_default());
    c.built(out)
}
