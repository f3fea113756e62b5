//! A topic to publish to: names of `from` in braces, or expressions.
//! Must not: publish.

use super::Compiling;
use crate::expression::{Expression, Limits, Value, position};
use crate::place::RuleError;
use crate::run::Around;
use crate::template::{TopicTemplate, is_name};
use serde_spanned::Spanned;
use witmq_proto::TopicName;

#[derive(Debug)]
pub(crate) enum Topic {
    /// Names only.
    Template(TopicTemplate),
    Computed(Vec<Part>),
}

#[derive(Debug)]
pub(crate) enum Part {
    Text(String),
    Expression(Expression),
}

/// What stands in the braces of a text, each with its place; `None` if they do not pair.
fn braced(text: &str) -> Option<Vec<(usize, &str)>> {
    let (mut found, mut at) = (Vec::new(), 0);
    while let Some(open) = text.get(at..)?.find('{') {
        let start = at + open + 1;
        let inner = text.get(start..)?.split_once('}')?.0;
        found.push((start, inner));
        at = start + inner.len() + 1;
    }
    Some(found)
}

impl Topic {
    /// `key` is what it is given as.
    pub(super) fn compile(
        key: &str,
        text: &Spanned<String>,
        around: &Compiling<'_>,
    ) -> Result<Self, RuleError> {
        let written = text.get_ref().as_str();
        let braced = braced(written).unwrap_or_default();
        if braced.iter().all(|(_, inner)| is_name(inner)) {
            return around.topic(key, text).map(Self::Template);
        }
        let begin = around.source.content(&text.span());
        let bad = |at: usize, cause: &str| {
            let text = format!("{key}: {cause}");
            around.source.error(begin + at, "bad-template", text)
        };
        let (mut parts, mut at) = (Vec::new(), 0);
        let mut sample = String::new();
        let mut plain = |parts: &mut Vec<Part>, from: usize, to: usize| {
            let text = written.get(from..to).unwrap_or_default();
            sample.push_str(text);
            parts.push(Part::Text(text.to_owned()));
        };
        for (start, inner) in braced {
            plain(&mut parts, at, start - 1);
            let source = match around.names.topic.contains(&inner) {
                true => format!("topic.{inner}"),
                false => inner.to_owned(),
            };
            let bound = around.names.bound.borrow();
            let compiled = Expression::compile(&source, around.names.topic, &bound);
            let compiled = compiled.map_err(|flaw| bad(start + flaw.at, &flaw.message))?;
            let (line, column) = position(around.source.text, begin + start);
            parts.push(Part::Expression(compiled.placed(line, column)));
            at = start + inner.len() + 1;
        }
        plain(&mut parts, at, written.len());
        sample.push('x');
        let checked = TopicName::new(sample).map_err(|error| bad(0, &error.to_string()))?;
        match checked.is_dollar() {
            true => Err(bad(0, OWN)),
            false => Ok(Self::Computed(parts)),
        }
    }

    pub(super) fn limit(&mut self, limits: Limits) {
        if let Self::Computed(parts) = self {
            for part in parts {
                if let Part::Expression(expression) = part {
                    expression.limit(limits);
                }
            }
        }
    }

    /// For the message as it is now.
    pub(super) fn fill(&self, around: &mut Around<'_, '_>) -> Result<String, String> {
        let parts = match self {
            Self::Template(template) => {
                let captured = (around.chain.from).capture(&around.work.message.topic);
                let value = |name: &str| {
                    let found = captured.iter().find(|(known, _)| *known == name);
                    found.map_or("", |(_, value)| *value)
                };
                return Ok(template.fill(&value));
            }
            Self::Computed(parts) => parts,
        };
        let mut topic = String::new();
        for part in parts {
            match part {
                Part::Text(text) => topic.push_str(text),
                Part::Expression(expression) => match around.evaluate(expression)? {
                    Value::String(text) => topic.push_str(&text),
                    value @ (Value::Int(_) | Value::Float(_) | Value::Bool(_)) => {
                        let written = value.key();
                        topic.push_str(written.as_deref().unwrap_or_default());
                    }
                    other => {
                        let source = &expression.source;
                        return Err(format!(
                            "publish: `{source}` gives {other:?}, not a text or number"
                        ));
                    }
                },
            }
        }
        match topic.starts_with('$') {
            true => Err(format!("publish: {OWN}")),
            false => Ok(topic),
        }
    }
}

const OWN: &str = "topics that begin with $ are the broker's own";

#[cfg(test)]
mod tests {
    use crate::check::check;

    #[test]
    fn what_is_wrong_in_braces_is_said_with_its_place() {
        let chain = |topic: &str| {
            let text = format!("from = \"a/{{site}}\"\n[[step]]\npublish = \"{topic}\"\n");
            check("c.toml", &text).map_err(|error| error.to_string())
        };
        for fine in [
            "b/{site}",
            "b/{client.id}",
            "{site}/{payload.x}",
            "b/{topic.site}",
        ] {
            assert_eq!(chain(fine), Ok(()), "{fine}");
        }
        let unknown = chain("b/{client.nam}").unwrap_err();
        assert!(
            unknown.starts_with("c.toml:3:15: publish: `client.nam`"),
            "{unknown}"
        );
        for bad in [
            "b/{client.id",
            "+/{client.id}",
            "$SYS/{client.id}",
            "b/{1 +}",
            "b/{side}",
        ] {
            assert!(chain(bad).is_err(), "{bad}");
        }
    }
}
