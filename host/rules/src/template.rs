//! Topics with names in them: `sensors/{site}/{room}/temp` matches and captures.

mod several;

pub(crate) use several::Templates;
use witmq_proto::TopicFilter;

/// One level of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Level {
    Text(String),
    /// `{name}` or `+`.
    One(Option<String>),
    /// `{name...}` or `#`.
    Rest(Option<String>),
}

/// What a chain listens on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Template {
    pub(crate) text: String,
    pub(crate) filter: TopicFilter,
    levels: Vec<Level>,
}

/// Whether it can be the name of a value.
pub(crate) fn is_name(name: &str) -> bool {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && name.chars().all(is_word)
}

impl Template {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut levels = Vec::new();
        for level in text.split('/') {
            let inner = level
                .strip_prefix('{')
                .and_then(|rest| rest.strip_suffix('}'));
            levels.push(match (level, inner) {
                ("+", _) => Level::One(None),
                ("#", _) => Level::Rest(None),
                (_, Some(inner)) => {
                    let (name, is_rest) = inner.strip_suffix("...").map_or((inner, false), |name| (name, true));
                    if !is_name(name) || name == "name" {
                        return Err(format!("`{{{inner}}}` is no name: use letters, digits and _ (but not `name`)"));
                    }
                    let known = |level: &Level| matches!(level, Level::One(Some(n)) | Level::Rest(Some(n)) if n == name);
                    if levels.iter().any(known) {
                        return Err(format!("`{{{name}}}` is there twice"));
                    }
                    if is_rest { Level::Rest(Some(name.to_owned())) } else { Level::One(Some(name.to_owned())) }
                }
                (text, None) if text.contains(['{', '}']) => {
                    return Err(format!("`{text}`: a name takes a whole level, as in sensors/{{room}}/temp"));
                }
                (text, None) => Level::Text(text.to_owned()),
            });
        }
        let parts: Vec<&str> = levels
            .iter()
            .map(|level| match level {
                Level::Text(text) => text.as_str(),
                Level::One(_) => "+",
                Level::Rest(_) => "#",
            })
            .collect();
        let filter = TopicFilter::new(parts.join("/")).map_err(|error| error.to_string())?;
        Ok(Self {
            text: text.to_owned(),
            filter,
            levels,
        })
    }

    /// Names it captures.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.levels.iter().filter_map(|level| match level {
            Level::One(name) | Level::Rest(name) => name.as_deref(),
            Level::Text(_) => None,
        })
    }

    /// What one of the names stands for in a topic that matches.
    pub(crate) fn captured<'t>(&self, wanted: &str, topic: &'t str) -> Option<&'t str> {
        let mut rest = topic;
        for level in &self.levels {
            let (head, tail) = rest.split_once('/').unwrap_or((rest, ""));
            match level {
                Level::One(Some(name)) if name == wanted => return Some(head),
                Level::Rest(Some(name)) if name == wanted => return Some(rest),
                _ => rest = tail,
            }
        }
        None
    }

    /// What the names stand for in a topic that matches.
    pub(crate) fn capture<'t>(&self, topic: &'t str) -> Vec<(&str, &'t str)> {
        let mut captured = Vec::new();
        let mut rest = Some(topic);
        for level in &self.levels {
            let here = rest.unwrap_or_default();
            let (head, tail) = here
                .split_once('/')
                .map_or((here, None), |(head, tail)| (head, Some(tail)));
            match level {
                Level::One(Some(name)) => captured.push((name.as_str(), head)),
                Level::Rest(Some(name)) => captured.push((name.as_str(), here)),
                Level::Text(_) | Level::One(None) | Level::Rest(None) => {}
            }
            rest = tail;
        }
        captured
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_captured_from_matching_topics() {
        let template = Template::parse("sensors/{site}/{room}/temp").unwrap();
        assert_eq!(template.filter.as_str(), "sensors/+/+/temp");
        assert_eq!(
            template.capture("sensors/ams/12/temp"),
            [("site", "ams"), ("room", "12")]
        );
        let template = Template::parse("a/+/{rest...}").unwrap();
        assert_eq!(template.filter.as_str(), "a/+/#");
        assert_eq!(template.capture("a/b/c/d"), [("rest", "c/d")]);
        for (template, topic) in [
            ("{a}", "x"),
            ("a/{b}/+/{c}/{d...}", "a//2/3/4/5"),
            ("a/{b}/{c...}", "a/1"),
        ] {
            let template = Template::parse(template).unwrap();
            for (name, value) in template.capture(topic) {
                assert_eq!(template.captured(name, topic), Some(value));
            }
            assert_eq!(template.captured("none", topic), None);
        }
        for bad in [
            "a/{x", "a/{x}y", "{1}", "{a}/{a}", "{a...}/b", "", "a/#/b", "{name}",
        ] {
            assert!(Template::parse(bad).is_err(), "{bad}");
        }
    }
}
