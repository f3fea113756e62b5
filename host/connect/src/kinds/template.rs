//! Texts that name parts of a message: `{topic}`, `{level.0}`, `{client}`, `{username}`.
//!
//! Owns: [`Template`]. Must not: know what the text is for.

use crate::record::Record;

/// Parts of a template.
pub(super) const PARTS: usize = 64;

/// A text with gaps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Text(String),
    Topic,
    Client,
    Username,
    /// A level of the topic, from 0.
    Level(usize),
}

impl Template {
    /// Reads `mqtt.{topic}`.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (name, after) = after.split_once('}').ok_or("has a `{` without a `}`")?;
            let level = name.strip_prefix("level.").map(str::parse);
            let part = match (name, level) {
                ("topic", _) => Part::Topic,
                ("client", _) => Part::Client,
                ("username", _) => Part::Username,
                (_, Some(Ok(level))) => Part::Level(level),
                _ => {
                    return Err(format!(
                        "names `{{{name}}}`; there are {{topic}}, {{level.0}}, {{level.1}} …, {{client}}, {{username}}"
                    ));
                }
            };
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            parts.push(part);
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        if parts.len() > PARTS {
            return Err(format!("has more than {PARTS} parts"));
        }
        Ok(Self(parts))
    }

    /// The text, if there is no gap in it.
    pub(super) fn fixed(&self) -> Option<String> {
        self.with(|_| Err(String::new())).ok()
    }

    /// The text with this in place of each gap.
    ///
    /// # Errors
    /// Those of `value`.
    pub(super) fn with(
        &self,
        value: impl Fn(&Part) -> Result<String, String>,
    ) -> Result<String, String> {
        let parts = self.0.iter().map(|part| match part {
            Part::Text(text) => Ok(text.clone()),
            part => value(part),
        });
        parts.collect()
    }

    /// What a message makes of it whose topic, as far as it is told, is `topic`. Levels and names are written by
    /// `written`, and the levels of a topic have `joint` in between.
    ///
    /// # Errors
    /// Something that it names is not there, in words.
    pub(super) fn fill(
        &self,
        record: &Record,
        topic: &str,
        joint: &str,
        written: impl Fn(&str) -> String,
    ) -> Result<String, String> {
        self.with(|part| match part {
            Part::Topic => Ok(topic
                .split('/')
                .map(&written)
                .collect::<Vec<_>>()
                .join(joint)),
            Part::Client => Ok(written(&record.client)),
            Part::Username => match &record.username {
                Some(name) => Ok(written(name)),
                None => Err("its client has no user name".to_owned()),
            },
            Part::Level(number) => match topic.split('/').nth(*number) {
                Some(level) => Ok(written(level)),
                None => Err(format!("`{topic}` has no level {number}")),
            },
            Part::Text(text) => Ok(text.clone()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_template_says_why() {
        for (text, wanted) in [
            ("{tpoic}", "names `{tpoic}`; there are "),
            ("a{topic", "has a `{` without a `}`"),
            ("{level.x}", "names `{level.x}`; there are "),
        ] {
            let said = Template::parse(text).expect_err("none");
            assert!(said.starts_with(wanted), "{said}");
        }
        let many = "{client}".repeat(PARTS);
        assert!(Template::parse(&many).is_ok());
        assert!(Template::parse(&format!("{many}x")).is_err());
    }

    #[test]
    fn a_text_without_gaps_is_fixed() {
        let fixed = |text| Template::parse(text).expect("a template").fixed();
        assert_eq!(fixed("a.b"), Some("a.b".to_owned()));
        assert_eq!(fixed("a.{client}"), None);
    }
}
