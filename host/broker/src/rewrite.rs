//! Topics and filters that the operator moves elsewhere: `old/{a}/{rest...}` becomes `new/{a}/{rest}`.
//!
//! Owns: the rules and their matching. Must not: decide who may do what: rights are asked for with what a rule
//! made of a topic, so no rule takes anybody where it may not go.

use bytestring::ByteString;
use std::collections::{BTreeSet, HashMap};
use witmq_proto::topic::TopicError;
use witmq_proto::{TopicFilter, TopicName};

/// Rules of one node.
pub const RULES: usize = 1024;
/// Prefixes that are taken off before a rule sees a filter or topic, and the broker's own topics.
const RESERVED: [&str; 5] = ["$share/", "$exclusive/", "$delayed/", "$SYS/", "$events/"];

/// A rule that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RewriteError {
    /// A name that is none.
    #[error("`{{{0}}}` is no name here: use letters, digits and _, but not `client` or `user`")]
    Name(String),
    /// A name for part of a level, or a brace too many.
    #[error("`{0}`: a name takes a whole level, as in old/{{room}}/temp")]
    Level(String),
    /// The same name for two levels.
    #[error("`{{{0}}}` is there twice")]
    Twice(String),
    /// Under a prefix that rules do not see.
    #[error(
        "`{0}` is taken off before rules are looked at, or is the broker's own: write what comes behind it"
    )]
    Reserved(&'static str),
    /// `to` uses a name that `from` has not.
    #[error("`{{{name}}}` in `to` is no name of `from`, which has {known}")]
    Unknown {
        /// As used.
        name: String,
        /// What there is.
        known: String,
    },
    /// `{` without `}`.
    #[error("`{{` without `}}` in {0}")]
    Open(String),
    /// `to` begins with `$`.
    #[error("topics that begin with $ are the broker's own")]
    Dollar,
    /// No filter, or no topic.
    #[error("{0}")]
    Topic(#[from] TopicError),
    /// More than [`RULES`].
    #[error("{0} rules, at most {RULES} are allowed")]
    TooMany(usize),
}

/// The name of a client or user would change the shape of the topic, or `$` would come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the topic would be rewritten to one that cannot be used")]
pub struct Unusable;

/// What a rule is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// PUBLISH and the Will.
    Publish,
    /// SUBSCRIBE and UNSUBSCRIBE.
    Subscribe,
    /// Both.
    All,
}

/// What `{client}` and `{user}` stand for.
#[derive(Clone, Copy, Debug)]
pub struct Names<'a> {
    /// Client id.
    pub client: &'a str,
    /// User name, if there is one.
    pub user: Option<&'a str>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Level {
    Text(String),
    /// `{name}` or `+`.
    One(Option<String>),
    /// `{name...}` or `#`.
    Rest(Option<String>),
}

impl Level {
    fn name(&self) -> Option<&str> {
        match self {
            Self::One(name) | Self::Rest(name) => name.as_deref(),
            Self::Text(_) => None,
        }
    }
}

/// What a rule looks for: a topic filter whose wildcards may have names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    levels: Vec<Level>,
}

fn is_name(name: &str) -> bool {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(is_word)
        && name != "client"
        && name != "user"
}

impl Pattern {
    /// Parses `old/{a}/+/{rest...}`.
    ///
    /// # Errors
    /// No filter, or names where they cannot be.
    pub fn parse(text: &str) -> Result<Self, RewriteError> {
        if let Some(reserved) = RESERVED.iter().find(|prefix| text.starts_with(**prefix)) {
            return Err(RewriteError::Reserved(reserved));
        }
        let mut seen = BTreeSet::new();
        let mut levels = Vec::new();
        for level in text.split('/') {
            let level = parse_level(level)?;
            if let Some(name) = level.name()
                && !seen.insert(name.to_owned())
            {
                return Err(RewriteError::Twice(name.to_owned()));
            }
            levels.push(level);
        }
        let shown = levels.iter().map(|level| match level {
            Level::Text(text) => text.as_str(),
            Level::One(_) => "+",
            Level::Rest(_) => "#",
        });
        TopicFilter::new(shown.collect::<Vec<_>>().join("/"))?;
        Ok(Self { levels })
    }

    /// The first level, if it is a text.
    fn head(&self) -> Option<&str> {
        match self.levels.first() {
            Some(Level::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// Whether every topic that `subject` (a topic or a filter) stands for matches.
    fn covers(&self, subject: &str) -> bool {
        if subject.starts_with('$') && self.head().is_none() {
            return false; // [MQTT-4.7.2-1]
        }
        let mut parts = subject.split('/');
        for level in &self.levels {
            match (level, parts.next()) {
                (Level::Rest(_), _) => return true,
                (Level::One(_), Some(part)) if part != "#" => {}
                (Level::Text(text), Some(part)) if text == part => {}
                _ => return false,
            }
        }
        parts.next().is_none()
    }

    /// What a name stands for in a subject that matches; `None`: its levels are not there.
    fn value<'t>(&self, name: &str, subject: &'t str) -> Option<&'t str> {
        let mut rest = Some(subject);
        for level in &self.levels {
            let here = rest?;
            let (part, tail) = here
                .split_once('/')
                .map_or((here, None), |(part, tail)| (part, Some(tail)));
            if level.name() == Some(name) {
                let is_rest = matches!(level, Level::Rest(_));
                return Some(if is_rest { here } else { part });
            }
            rest = tail;
        }
        None
    }
}

fn parse_level(level: &str) -> Result<Level, RewriteError> {
    let inner = level
        .strip_prefix('{')
        .and_then(|rest| rest.strip_suffix('}'));
    match (level, inner) {
        ("+", _) => Ok(Level::One(None)),
        ("#", _) => Ok(Level::Rest(None)),
        (_, Some(inner)) => {
            let (name, is_rest) = inner
                .strip_suffix("...")
                .map_or((inner, false), |name| (name, true));
            if !is_name(name) {
                return Err(RewriteError::Name(inner.to_owned()));
            }
            let name = Some(name.to_owned());
            Ok(if is_rest {
                Level::Rest(name)
            } else {
                Level::One(name)
            })
        }
        (text, None) if text.contains(['{', '}']) => Err(RewriteError::Level(text.to_owned())),
        (text, None) => Ok(Level::Text(text.to_owned())),
    }
}

/// What a rule makes of what it found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Name(String),
    Client,
    User,
}

impl Target {
    /// Parses `new/{a}/{client}/{rest}`.
    ///
    /// # Errors
    /// No topic, or one that begins with `$`.
    pub fn parse(text: &str) -> Result<Self, RewriteError> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (name, tail) = after
                .split_once('}')
                .ok_or_else(|| RewriteError::Open(text.to_owned()))?;
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            parts.push(match name {
                "client" => Part::Client,
                "user" => Part::User,
                name if is_name(name) => Part::Name(name.to_owned()),
                name => return Err(RewriteError::Name(name.to_owned())),
            });
            rest = tail;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        let target = Self { parts };
        let sample = target.fill(
            |_| Some("x"),
            &Names {
                client: "x",
                user: Some("x"),
            },
        );
        let sample = sample.map_err(|Unusable| RewriteError::Dollar)?;
        TopicName::new(sample)?;
        Ok(target)
    }

    fn fill<'t>(
        &self,
        value: impl Fn(&str) -> Option<&'t str>,
        names: &Names<'_>,
    ) -> Result<String, Unusable> {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Text(part) => text.push_str(part),
                Part::Name(name) => match value(name) {
                    Some(value) => text.push_str(value),
                    // `old/{rest...}` found `old`: the level goes with its separator.
                    None if text.ends_with('/') => drop(text.pop()),
                    None => {}
                },
                Part::Client => text.push_str(safe(names.client)?),
                Part::User => text.push_str(safe(names.user.unwrap_or_default())?),
            }
        }
        if text.starts_with('$') {
            return Err(Unusable); // nobody gets at the broker's own topics by a name
        }
        Ok(text)
    }
}

/// A name that stays within its level.
fn safe(name: &str) -> Result<&str, Unusable> {
    if name.is_empty() || name.contains(['+', '#', '/']) {
        return Err(Unusable);
    }
    Ok(name)
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewrite {
    action: Action,
    from: Pattern,
    to: Target,
}

impl Rewrite {
    /// A rule out of its parts.
    ///
    /// # Errors
    /// `to` uses a name that `from` has not.
    pub fn new(action: Action, from: Pattern, to: Target) -> Result<Self, RewriteError> {
        let known: Vec<&str> = from.levels.iter().filter_map(Level::name).collect();
        let used = to.parts.iter().filter_map(|part| match part {
            Part::Name(name) => Some(name),
            _ => None,
        });
        for name in used {
            if !known.contains(&name.as_str()) {
                let none = "none".to_owned();
                return Err(RewriteError::Unknown {
                    name: name.clone(),
                    known: if known.is_empty() {
                        none
                    } else {
                        known.join(", ")
                    },
                });
            }
        }
        Ok(Self { action, from, to })
    }
}

/// The rules of one action, found by the first level of a topic.
#[derive(Debug, Default)]
struct Table {
    rules: Vec<Rewrite>,
    /// First level to places in `rules`, in order; rules that begin with a wildcard are in every list.
    heads: HashMap<String, Vec<usize>>,
    /// Rules that begin with a wildcard: for every other topic.
    others: Vec<usize>,
}

impl Table {
    fn new(rules: Vec<Rewrite>) -> Self {
        let heads = rules.iter().filter_map(|rule| rule.from.head());
        let heads: BTreeSet<String> = heads.map(str::to_owned).collect();
        let places = |head: Option<&str>| {
            let fits = |(_, rule): &(usize, &Rewrite)| {
                rule.from.head().is_none() || rule.from.head() == head
            };
            let fitting = rules.iter().enumerate().filter(fits);
            fitting.map(|(place, _)| place).collect::<Vec<_>>()
        };
        let heads = heads
            .into_iter()
            .map(|head| (head.clone(), places(Some(&head))))
            .collect();
        Self {
            heads,
            others: places(None),
            rules,
        }
    }

    /// The first rule that covers the subject.
    fn find(&self, subject: &str) -> Option<&Rewrite> {
        if self.rules.is_empty() {
            return None;
        }
        let head = subject.split('/').next().unwrap_or_default();
        let places = self.heads.get(head).unwrap_or(&self.others);
        let mut rules = places.iter().filter_map(|place| self.rules.get(*place));
        rules.find(|rule| rule.from.covers(subject))
    }

    fn rewrite(&self, subject: &str, names: &Names<'_>) -> Option<Result<String, Unusable>> {
        let rule = self.find(subject)?;
        Some(rule.to.fill(|name| rule.from.value(name, subject), names))
    }
}

/// All rules of a node.
#[derive(Debug, Default)]
pub struct Rewrites {
    publish: Table,
    subscribe: Table,
}

impl Rewrites {
    /// In the order in which they are tried; the first that matches decides, and what it makes is not looked at
    /// again.
    ///
    /// # Errors
    /// Too many.
    pub fn new(rules: Vec<Rewrite>) -> Result<Self, RewriteError> {
        if rules.len() > RULES {
            return Err(RewriteError::TooMany(rules.len()));
        }
        let of = |other: Action| {
            let rules = rules.iter().filter(|rule| rule.action != other);
            Table::new(rules.cloned().collect())
        };
        Ok(Self {
            publish: of(Action::Subscribe),
            subscribe: of(Action::Publish),
        })
    }

    /// Where a publish to `topic` goes; `None`: where it says.
    #[must_use]
    pub fn topic(&self, topic: &str, names: &Names<'_>) -> Option<Result<TopicName, Unusable>> {
        let rewritten = self.publish.rewrite(topic, names)?;
        Some(rewritten.and_then(|text| TopicName::new(text).map_err(|_| Unusable)))
    }

    /// What a subscription to `filter` becomes, `$share/GROUP/` in front of it kept; `None`: what it says.
    #[must_use]
    pub fn filter(&self, filter: &str, names: &Names<'_>) -> Option<Result<ByteString, Unusable>> {
        if self.subscribe.rules.is_empty() {
            return None;
        }
        let (prefix, inner) = split_prefix(filter);
        let rewritten = self.subscribe.rewrite(inner, names)?;
        Some(rewritten.and_then(|text| {
            let text = TopicFilter::new(text).map_err(|_| Unusable)?;
            Ok(ByteString::from(format!("{prefix}{text}")))
        }))
    }
}

/// `$share/GROUP/` or `$exclusive/` in front of a filter, and the filter.
fn split_prefix(filter: &str) -> (&str, &str) {
    let length = if let Some(rest) = filter.strip_prefix("$share/") {
        let group = rest.find('/').map(|at| at + 1);
        group.map(|group| "$share/".len() + group)
    } else {
        filter
            .starts_with("$exclusive/")
            .then_some("$exclusive/".len())
    };
    filter
        .split_at_checked(length.unwrap_or(0))
        .unwrap_or(("", filter))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: Names<'static> = Names {
        client: "c1",
        user: Some("ada"),
    };

    fn rule(action: Action, from: &str, to: &str) -> Result<Rewrite, RewriteError> {
        Rewrite::new(action, Pattern::parse(from)?, Target::parse(to)?)
    }

    fn rules(all: &[(&str, &str)]) -> Rewrites {
        let rules = all
            .iter()
            .map(|(from, to)| rule(Action::All, from, to).unwrap());
        Rewrites::new(rules.collect()).unwrap()
    }

    #[test]
    fn topics_move_with_what_their_levels_were() {
        let rules = rules(&[
            ("old/{a}/x/{rest...}", "new/{rest}/of-{a}"),
            ("old/{rest...}", "kept/{user}/{client}/{rest}"),
            ("{any}/same", "wild/{any}"),
            ("$aws/{rest...}", "cloud/{rest}"),
        ]);
        let moved = |topic| {
            let moved = rules.topic(topic, &NAMES)?;
            Some(moved.map(|topic| topic.to_string()))
        };
        let to = |text: &str| Some(Ok(text.to_owned()));
        assert_eq!(moved("old/1/x/y/z"), to("new/y/z/of-1"));
        assert_eq!(moved("old/1/x"), to("new/of-1"), "the rest is not there");
        assert_eq!(moved("old/2/y"), to("kept/ada/c1/2/y"));
        assert_eq!(moved("old"), to("kept/ada/c1"));
        assert_eq!(moved("old/"), to("kept/ada/c1/"));
        assert_eq!(moved("x/same"), to("wild/x"));
        assert_eq!(moved("$aws/things/1"), to("cloud/things/1"));
        for untouched in ["older", "other/1", "x/same/y", "$SYS/same", "/same/x"] {
            assert_eq!(moved(untouched), None, "{untouched}");
        }
    }

    #[test]
    fn filters_move_if_a_rule_covers_them_whole() {
        let rules = rules(&[
            ("old/{a}/{rest...}", "new/{a}/{rest}"),
            ("a/{x}", "b/{x}-y"),
        ]);
        let moved = |filter| {
            let moved = rules.filter(filter, &NAMES)?;
            Some(moved.map(|filter| filter.to_string()))
        };
        let to = |text: &str| Some(Ok(text.to_owned()));
        assert_eq!(moved("old/+/t/#"), to("new/+/t/#"));
        assert_eq!(moved("$share/g/old/1/#"), to("$share/g/new/1/#"));
        assert_eq!(moved("$exclusive/old/1/x"), to("$exclusive/new/1/x"));
        for untouched in ["old/#", "#", "+/1/x", "$share/old/1/x", "$share/g"] {
            assert_eq!(moved(untouched), None, "{untouched}");
        }
        assert_eq!(moved("a/1"), to("b/1-y"));
        assert_eq!(moved("a/+"), Some(Err(Unusable)), "b/+-y is no filter");
    }

    #[test]
    fn names_stay_within_their_level_and_nothing_becomes_the_brokers_own() {
        let rules = rules(&[("a/{x}", "{x}/{client}"), ("u", "of/{user}")]);
        let with = |client: &'static str, user| rules.topic("a/b", &Names { client, user });
        assert!(matches!(with("c", None), Some(Ok(_))));
        for hostile in ["", "+", "#", "a/b", "x+"] {
            assert_eq!(with(hostile, None), Some(Err(Unusable)), "{hostile}");
        }
        assert_eq!(rules.topic("a/$SYS", &NAMES), Some(Err(Unusable)));
        let nobody = Names {
            client: "c",
            user: None,
        };
        assert_eq!(rules.topic("u", &nobody), Some(Err(Unusable)));
        let long = format!("a/{}", "x".repeat(65_533));
        let fits = rules.topic(&long, &NAMES);
        assert_eq!(fits, Some(Err(Unusable)), "longer than a topic can be");
    }

    #[test]
    fn an_action_has_its_own_rules() {
        let all = vec![
            rule(Action::Publish, "a", "p").unwrap(),
            rule(Action::Subscribe, "a", "s").unwrap(),
        ];
        let rules = Rewrites::new(all).unwrap();
        assert_eq!(&*rules.topic("a", &NAMES).unwrap().unwrap(), "p");
        assert_eq!(&*rules.filter("a", &NAMES).unwrap().unwrap(), "s");
        assert!(Rewrites::default().topic("a", &NAMES).is_none());
        let many = |count| Rewrites::new(vec![rule(Action::All, "a", "b").unwrap(); count]);
        assert!(many(RULES).is_ok());
        assert!(matches!(many(RULES + 1), Err(RewriteError::TooMany(_))));
    }

    #[test]
    fn rules_that_cannot_be_are_refused() {
        for (from, to) in [
            ("a/{x", "b"),
            ("a/{x}y", "b"),
            ("{1}", "b"),
            ("{a}/{a}", "b"),
            ("{a...}/b", "b"),
            ("", "b"),
            ("a/#/b", "b"),
            ("{client}/a", "b"),
            ("$share/g/a", "b"),
            ("$delayed/5/a", "b"),
            ("$SYS/a", "b"),
            ("a", ""),
            ("a", "b/+"),
            ("a", "b/#"),
            ("a", "$SYS/b"),
            ("a", "b/{x}"),
            ("a/{x}", "b/{y}"),
            ("a/{x...}", "b/{x...}"),
            ("a", "b/{x"),
        ] {
            assert!(rule(Action::All, from, to).is_err(), "{from} {to}");
        }
    }
}
