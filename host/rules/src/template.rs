//! Topics with names in them: `sensors/{site}/{room}/temp` matches and captures.
//!
//! Owns: [`Template`]. Of a message only the names are looked at, which lie in half a cache line each: thousands of chains that are one text
//! have a template each.

mod several;

pub(crate) use several::Templates;
use witmq_broker::short::Short;
use witmq_proto::TopicFilter;

/// A name, and which levels of a topic it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Capture {
    name: Short<22>,
    /// Levels before it.
    at: u16,
    /// All from there on.
    is_rest: bool,
}

/// Names of one template, in its order. Two lie in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Captures {
    here: [Option<Capture>; 2],
    more: Vec<Capture>,
}

impl Captures {
    fn push(&mut self, capture: Capture) {
        match self.here.iter_mut().find(|slot| slot.is_none()) {
            Some(slot) => *slot = Some(capture),
            None => self.more.push(capture),
        }
    }

    fn iter(&self) -> impl Iterator<Item = &Capture> {
        self.here.iter().flatten().chain(&self.more)
    }
}

/// What a chain listens on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[repr(C)] // what is looked at comes first
pub(crate) struct Template {
    captures: Captures,
    pub(crate) filter: TopicFilter,
    pub(crate) text: String,
}

impl Capture {
    fn of<'t>(&self, topic: &'t str) -> &'t str {
        let mut rest = topic;
        for _ in 0..self.at {
            rest = rest.split_once('/').map_or("", |(_, behind)| behind);
        }
        match self.is_rest {
            true => rest,
            false => rest.split_once('/').map_or(rest, |(level, _)| level),
        }
    }
}

/// Whether it can be the name of a value.
pub(crate) fn is_name(name: &str) -> bool {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && name.chars().all(is_word)
}

impl Template {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (mut captures, mut parts) = (Captures::default(), Vec::new());
        for (at, level) in text.split('/').enumerate() {
            let inner = level
                .strip_prefix('{')
                .and_then(|rest| rest.strip_suffix('}'));
            let Some(inner) = inner else {
                if !matches!(level, "+" | "#") && level.contains(['{', '}']) {
                    return Err(format!(
                        "`{level}`: a name takes a whole level, as in sensors/{{room}}/temp"
                    ));
                }
                parts.push(level);
                continue;
            };
            let (name, is_rest) = inner
                .strip_suffix("...")
                .map_or((inner, false), |name| (name, true));
            if !is_name(name) || name == "name" {
                return Err(format!(
                    "`{{{inner}}}` is no name: use letters, digits and _ (but not `name`)"
                ));
            }
            if captures
                .iter()
                .any(|known| known.name.as_bytes() == name.as_bytes())
            {
                return Err(format!("`{{{name}}}` is there twice"));
            }
            let at = u16::try_from(at).unwrap_or(u16::MAX); // a longer one is no filter
            captures.push(Capture {
                name: Short::new(name.as_bytes()),
                at,
                is_rest,
            });
            parts.push(if is_rest { "#" } else { "+" });
        }
        let filter = TopicFilter::new(parts.join("/")).map_err(|error| error.to_string())?;
        Ok(Self {
            captures,
            filter,
            text: text.to_owned(),
        })
    }

    /// Names it captures.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.captures.iter().map(|capture| capture.name.as_str())
    }

    /// What one of the names stands for in a topic that matches.
    pub(crate) fn captured<'t>(&self, wanted: &str, topic: &'t str) -> Option<&'t str> {
        let mut captures = self.captures.iter();
        let capture = captures.find(|capture| capture.name.as_bytes() == wanted.as_bytes());
        capture.map(|capture| capture.of(topic))
    }

    /// What the names stand for in a topic that matches.
    pub(crate) fn capture<'t>(&self, topic: &'t str) -> Vec<(&str, &'t str)> {
        let captures = self.captures.iter();
        captures
            .map(|capture| (capture.name.as_str(), capture.of(topic)))
            .collect()
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
            ("{a}/{b}/{c}/{d}/{e}", "1/2/3/4/5"),
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
