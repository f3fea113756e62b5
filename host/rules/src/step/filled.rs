//! Texts with values in them: `alerts/{site}/{payload.kind}`.

use super::Compiling;
use crate::expression::{Expression, Limits, is_variable};
use crate::place::RuleError;
use crate::run::Around;
use crate::template::is_name;
use serde_spanned::Spanned;
use witmq_proto::TopicName;

/// A text to fill in.
#[derive(Debug)]
pub(crate) struct Filled {
    parts: Vec<Part>,
    is_topic: bool,
}

/// The expression that is not filled in as a value is.
const TOPIC: &str = "topic.name";

#[derive(Debug)]
enum Part {
    Text(String),
    /// What the chain's `from` captured.
    Name(String),
    /// The message's topic. It is a topic already, so its levels stay levels; every other value is one level.
    Topic,
    Value(Expression),
}

impl Filled {
    /// Compiles the text of `key`.
    pub(crate) fn text(
        key: &str,
        text: &Spanned<String>,
        around: &Compiling<'_>,
    ) -> Result<Self, RuleError> {
        Ok(Self {
            parts: parts(key, text, around)?,
            is_topic: false,
        })
    }

    /// Compiles the topic of `key`. Values in it cannot make levels or wildcards.
    pub(crate) fn topic(
        key: &str,
        text: &Spanned<String>,
        around: &Compiling<'_>,
    ) -> Result<Self, RuleError> {
        let parts = parts(key, text, around)?;
        let sample = parts.iter().map(|part| match part {
            Part::Text(text) => text.as_str(),
            Part::Name(_) | Part::Topic | Part::Value(_) => "x",
        });
        check_topic(sample.collect()).map_err(|cause| wrong(key, text, 0, cause, around))?;
        Ok(Self {
            parts,
            is_topic: true,
        })
    }

    pub(crate) fn limit(&mut self, limits: Limits) {
        for part in &mut self.parts {
            if let Part::Value(expression) = part {
                expression.limit(limits);
            }
        }
    }

    pub(crate) fn is_quick(&self) -> bool {
        let mut parts = self.parts.iter();
        parts.all(|part| match part {
            Part::Text(_) | Part::Name(_) | Part::Topic => true,
            Part::Value(expression) => expression.is_quick(),
        })
    }

    pub(crate) fn fill(&self, around: &mut Around<'_, '_>) -> Result<String, String> {
        let mut out = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Name(name) => {
                    let topic = &around.work.head().topic;
                    let captured = around.chain.from.captured(name, topic);
                    out.push_str(captured.unwrap_or_default());
                }
                Part::Topic => out.push_str(&around.work.head().topic),
                Part::Value(expression) => {
                    let value = around.evaluate(expression)?;
                    let text = value.key();
                    let source = &expression.source;
                    let text = text.ok_or_else(|| {
                        format!("`{{{source}}}` gives {}, which is no text", value.shown())
                    })?;
                    match self.is_topic {
                        true if text.is_empty() => {
                            return Err(format!("`{{{source}}}` is empty"));
                        }
                        true => escape(&text, &mut out),
                        false => out.push_str(&text),
                    }
                }
            }
        }
        Ok(out)
    }
}

/// A topic that was filled in.
pub(crate) fn check_topic(topic: String) -> Result<TopicName, String> {
    let topic = TopicName::new(topic).map_err(|error| error.to_string())?;
    match topic.is_dollar() {
        true => Err("topics that begin with $ are the broker's own".to_owned()),
        false => Ok(topic),
    }
}

/// One level of a topic, whatever it says: what has a meaning in topics is percent-encoded.
fn escape(text: &str, out: &mut String) {
    for c in text.chars() {
        let is_first = out.is_empty();
        match c {
            '/' | '+' | '#' | '%' | '\0'..='\u{1F}' | '\u{7F}' => percent(c, out),
            '$' if is_first => percent(c, out),
            c => out.push(c),
        }
    }
}

/// A character of one byte.
fn percent(c: char, out: &mut String) {
    let digit = |bits: u32| char::from_digit(bits & 15, 16).map(|c| c.to_ascii_uppercase());
    let code = u32::from(c);
    out.push('%');
    out.extend(digit(code >> 4));
    out.extend(digit(code));
}

fn wrong(
    key: &str,
    text: &Spanned<String>,
    at: usize,
    cause: String,
    around: &Compiling<'_>,
) -> RuleError {
    let at = around.source.content(&text.span()) + at;
    (around.source).error(at, "bad-template", format!("{key}: {cause}"))
}

fn parts(
    key: &str,
    text: &Spanned<String>,
    around: &Compiling<'_>,
) -> Result<Vec<Part>, RuleError> {
    let source = text.get_ref();
    let mut parts = Vec::new();
    let mut rest = source.as_str();
    while let Some((before, behind)) = rest.split_once('{') {
        let at = source.len() - behind.len();
        let Some((inner, tail)) = closed(behind) else {
            let cause = format!("`{{` without `}}` in {source}");
            return Err(wrong(key, text, at - 1, cause, around));
        };
        if !before.is_empty() {
            parts.push(Part::Text(before.to_owned()));
        }
        let names = around.names.topic;
        parts.push(if names.contains(&inner) {
            Part::Name(inner.to_owned())
        } else if inner.trim() == TOPIC && !around.is_bound("topic") {
            Part::Topic
        } else if is_name(inner) && !is_variable(inner) && !around.is_bound(inner) {
            let known = match names {
                [] => "it has none".to_owned(),
                names => format!("it has {}", names.join(", ")),
            };
            let cause = format!("`{{{inner}}}` is no name of this chain's `from`: {known}");
            return Err(wrong(key, text, 0, cause, around));
        } else {
            Part::Value(around.expression_at(inner, around.source.content(&text.span()) + at)?)
        });
        rest = tail;
    }
    if !rest.is_empty() || parts.is_empty() {
        parts.push(Part::Text(rest.to_owned()));
    }
    Ok(parts)
}

/// What is before the brace that closes, and what is behind it; braces in texts do not count.
fn closed(text: &str) -> Option<(&str, &str)> {
    let mut depth = 0usize;
    let mut quote = None;
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match (quote, c) {
            (Some(_), '\\') => drop(chars.next()),
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '{') => depth += 1,
            (None, '}') if depth == 0 => {
                return Some((text.get(..at)?, text.get(at + 1..)?));
            }
            (None, '}') => depth -= 1,
            (None, _) => {}
        }
    }
    None
}
