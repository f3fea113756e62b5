//! Functions of topics.

use super::{Call, Function, Group};
use crate::expression::{Done, Value};
use witmq_proto::{TopicFilter, TopicName};

pub(super) const GROUP: Group = Group {
    name: "Topics",
    words: "`topic.name` is the whole topic; the names of `from` are the better way to its levels.",
    functions: FUNCTIONS,
};

const FUNCTIONS: &[Function] = &[
    Function::new(
        "level",
        (2, 3),
        "level(topic, n[, default]) -> string",
        "The n-th level, from 1; below 0 from the end; the default, or nothing, if there is none.",
        ("level('sensors/7/temp', -1)", r#""temp""#),
        level,
    ),
    Function::new(
        "levels",
        (1, 1),
        "levels(topic) -> list",
        "All levels.",
        ("levels('a/b')", r#"["a","b"]"#),
        |c| {
            let text = c.text(0)?;
            super::text::parts(c, text.len(), text.split('/'))
        },
    ),
    Function::new(
        "matchesFilter",
        (2, 2),
        "matchesFilter(topic, filter) -> bool",
        "Whether a topic filter with `+` and `#` takes the topic.",
        ("matchesFilter('a/b/c', 'a/+/#')", "true"),
        matches_filter,
    ),
];

fn level<'a>(c: &Call<'_, 'a>) -> Done<Value<'a>> {
    let (topic, n) = (c.text(0)?, c.whole(1)?);
    let at = usize::try_from(n.unsigned_abs()).unwrap_or(usize::MAX);
    let found = match at.checked_sub(1) {
        None => return Err(c.not(1, "a level from 1 on, or below 0")),
        Some(at) if n > 0 => topic.split('/').nth(at),
        Some(at) => topic.rsplit('/').nth(at),
    };
    match (found, c.get(2)) {
        (Some(found), _) => c.built(found.to_owned()),
        (None, Some(default)) => Ok(default.clone()),
        (None, None) => c.built(String::new()),
    }
}

fn matches_filter<'a>(c: &Call<'_, 'a>) -> Done<Value<'a>> {
    let topic = TopicName::new(c.text(0)?).map_err(|_| c.not(0, "a topic"))?;
    let filter = TopicFilter::new(c.text(1)?).map_err(|_| c.not(1, "a topic filter"))?;
    Ok(filter.matches(&topic).into())
}
