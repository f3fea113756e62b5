//! The compiled access rules of one client's grant: the first rule that matches decides.
//!
//! Owns: [`Acl`], and the two questions about filters: does one cover another whole, do two overlap.

use crate::ports::hooks::{AclRule, Grant};
use std::sync::Arc;
use witmq_proto::TopicFilter;
use witmq_proto::topic::TopicError;

/// Rules of one grant.
pub const RULES: usize = 1024;

/// A grant that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AclError {
    /// More than [`RULES`].
    #[error("{0} access rules, at most {RULES} are allowed")]
    TooMany(usize),
    /// A filter that is none.
    #[error("access rule {place}: `{filter}` is no topic filter: {cause}")]
    Filter {
        /// From 1.
        place: usize,
        /// As given.
        filter: String,
        /// What is wrong.
        cause: TopicError,
    },
}

#[derive(Debug)]
struct Rule {
    allow: bool,
    publish: bool,
    subscribe: bool,
    filter: TopicFilter,
}

/// What a client may do. The default is nothing.
#[derive(Debug, Default)]
pub struct Acl {
    superuser: bool,
    complete: bool,
    rules: Vec<Rule>,
}

impl Acl {
    /// Compiles a grant for one client. `{client}` and `{user}` stand for its names. Where a name would bring a wildcard, a
    /// `/` or nothing in, a rule that allows is left out, and one that denies holds for whatever name could stand there: a
    /// client must not choose its own rights.
    ///
    /// # Errors
    /// Too many rules, or a filter that is none.
    pub fn compile(grant: &Grant, client_id: &str) -> Result<Self, AclError> {
        if grant.acl.len() > RULES {
            return Err(AclError::TooMany(grant.acl.len()));
        }
        let mut rules = Vec::with_capacity(grant.acl.len());
        for (place, rule) in (1..).zip(&grant.acl) {
            let user = grant.username.as_deref().unwrap_or_default();
            let texts = match (substitute(&rule.filter, client_id, user), rule.allow) {
                (Some(text), _) => vec![text],
                (None, true) => continue,
                (None, false) => shapes(&rule.filter, client_id, user),
            };
            for text in texts {
                let filter = TopicFilter::new(text).map_err(|cause| AclError::Filter {
                    place,
                    filter: rule.filter.clone(),
                    cause,
                })?;
                rules.push(Rule {
                    allow: rule.allow,
                    publish: rule.publish,
                    subscribe: rule.subscribe,
                    filter,
                });
            }
        }
        Ok(Self {
            superuser: grant.superuser,
            complete: grant.acl_complete,
            rules,
        })
    }

    fn without_match(&self) -> Option<bool> {
        self.complete.then_some(false)
    }

    /// May it publish there? `None`: the rules leave it open.
    #[must_use]
    pub fn check_publish(&self, topic: &str) -> Option<bool> {
        if self.superuser {
            return Some(true);
        }
        let rule = self
            .rules
            .iter()
            .find(|rule| rule.publish && rule.filter.matches(topic));
        rule.map(|rule| rule.allow).or_else(|| self.without_match())
    }

    /// May it subscribe to that filter? An allowing rule must cover it whole; a denying one need only
    /// overlap. `None`: the rules leave it open.
    #[must_use]
    pub fn check_subscribe(&self, filter: &TopicFilter) -> Option<bool> {
        if self.superuser {
            return Some(true);
        }
        let decides = |rule: &&Rule| {
            rule.subscribe
                && if rule.allow {
                    covers(&rule.filter, filter)
                } else {
                    overlaps(&rule.filter, filter)
                }
        };
        self.rules
            .iter()
            .find(decides)
            .map(|rule| rule.allow)
            .or_else(|| self.without_match())
    }
}

/// What was compiled last. Most clients of a node have the same rules, which need not be there for each.
#[derive(Debug, Default)]
pub(crate) struct LastAcl(Option<Box<(Rules, Arc<Acl>)>>);

/// What an [`Acl`] without names of its client was compiled from.
#[derive(Debug)]
struct Rules {
    superuser: bool,
    complete: bool,
    rules: Vec<AclRule>,
}

impl LastAcl {
    /// As [`Acl::compile`].
    pub(crate) fn compile(&mut self, grant: &Grant, client_id: &str) -> Result<Arc<Acl>, AclError> {
        if let Some((rules, acl)) = self.0.as_deref() {
            let is_same =
                rules.superuser == grant.superuser && rules.complete == grant.acl_complete;
            if is_same && rules.rules == grant.acl {
                return Ok(acl.clone());
            }
        }
        let acl = Arc::new(Acl::compile(grant, client_id)?);
        if grant.acl.iter().all(|rule| !rule.filter.contains('{')) {
            let rules = Rules {
                superuser: grant.superuser,
                complete: grant.acl_complete,
                rules: grant.acl.clone(),
            };
            self.0 = Some(Box::new((rules, acl.clone())));
        }
        Ok(acl)
    }
}

/// Whether a name leaves a filter's shape as it is.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && !name.contains(['+', '#', '/'])
}

fn fill(text: &str, client_id: &str, user: &str) -> String {
    // A client id may read `{user}`, so the user comes first.
    let parts: Vec<String> = text
        .split("{client}")
        .map(|part| part.replace("{user}", user))
        .collect();
    parts.join(client_id)
}

/// Puts the names of a client into a filter; `None` if that would change the shape of the filter, or make it one
/// of the broker's own topics.
pub(crate) fn substitute(filter: &str, client_id: &str, user: &str) -> Option<String> {
    let wants_client = filter.contains("{client}");
    let wants_user = filter.contains("{user}");
    if wants_client && !is_plain(client_id) || wants_user && !is_plain(user) {
        return None;
    }
    let filled = fill(filter, client_id, user);
    let is_own = filled.starts_with('$') && !filter.starts_with('$');
    (!is_own).then_some(filled)
}

/// What a denying rule is about if [`substitute`] cannot say it: any name at the place of one that is not plain, and as many
/// levels as that name would have. Names that are plain stand there as they are, `$` at the beginning included: a rule that
/// denies gives nobody a right.
fn shapes(filter: &str, client_id: &str, user: &str) -> Vec<String> {
    let shape = |all_levels: bool| {
        let level = |level: &str| {
            let names = [("{client}", client_id), ("{user}", user)];
            let odd = names
                .iter()
                .filter(|(mark, name)| level.contains(mark) && !is_plain(name));
            let slashes: Vec<usize> = odd
                .map(|(mark, name)| level.matches(mark).count() * name.matches('/').count())
                .collect();
            match (slashes.is_empty(), all_levels) {
                (true, _) => fill(level, client_id, user),
                (false, false) => "+".to_owned(),
                (false, true) => vec!["+"; 1 + slashes.iter().sum::<usize>()].join("/"),
            }
        };
        let levels: Vec<String> = filter.split('/').map(level).collect();
        levels.join("/")
    };
    let mut all = vec![shape(false), shape(true)];
    all.dedup();
    all
}

/// Whether every topic that matches `narrow` matches `wide`.
#[must_use]
pub fn covers(wide: &TopicFilter, narrow: &TopicFilter) -> bool {
    let hides_dollar = |filter: &str| filter.starts_with(['+', '#']);
    if narrow.starts_with('$') && hides_dollar(wide) {
        return false; // [MQTT-4.7.2-1]
    }
    let mut asked = narrow.split('/');
    for level in wide.split('/') {
        if level == "#" {
            return true;
        }
        match asked.next() {
            Some("#") | None => return false,
            Some(name) if level == "+" || level == name => {}
            Some(_) => return false,
        }
    }
    asked.next().is_none()
}

/// Whether some topic matches both.
#[must_use]
pub fn overlaps(one: &TopicFilter, other: &TopicFilter) -> bool {
    let (mut left, mut right) = (one.split('/'), other.split('/'));
    let is_wild = |level: &str| level == "+" || level == "#";
    for depth in 0usize.. {
        match (left.next(), right.next()) {
            (None, None) => return true,
            (Some("#"), None) | (None, Some("#")) => return true, // the parent level
            (None, _) | (_, None) => return false,
            (Some(a), Some(b)) => {
                let dollar =
                    |name: &str, wild: &str| depth == 0 && is_wild(wild) && name.starts_with('$');
                if dollar(a, b) || dollar(b, a) {
                    return false; // [MQTT-4.7.2-1]
                }
                if a == "#" || b == "#" {
                    return true;
                }
                if a != b && a != "+" && b != "+" {
                    return false;
                }
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::AclRule;
    use proptest::prelude::*;

    fn filter(text: &str) -> TopicFilter {
        TopicFilter::new(text).unwrap()
    }

    fn rule(allow: bool, text: &str) -> AclRule {
        AclRule {
            allow,
            publish: true,
            subscribe: true,
            filter: text.into(),
        }
    }

    fn acl(rules: Vec<AclRule>, complete: bool) -> Acl {
        let grant = Grant {
            username: Some("ada".into()),
            acl: rules,
            acl_complete: complete,
            ..Grant::default()
        };
        Acl::compile(&grant, "c1").unwrap()
    }

    #[test]
    fn the_first_match_decides_and_the_rest_is_open_or_denied() {
        let rules = || vec![rule(false, "a/secret/#"), rule(true, "a/#")];
        for (complete, rest) in [(true, Some(false)), (false, None)] {
            let acl = acl(rules(), complete);
            assert_eq!(acl.check_publish("a/secret/x"), Some(false));
            assert_eq!(acl.check_publish("a/b"), Some(true));
            assert_eq!(acl.check_publish("b"), rest);
            assert_eq!(acl.check_subscribe(&filter("a/b")), Some(true));
            assert_eq!(
                acl.check_subscribe(&filter("a/#")),
                Some(false),
                "it overlaps what is denied"
            );
            assert_eq!(acl.check_subscribe(&filter("#")), Some(false));
        }
    }

    #[test]
    fn names_are_substituted_but_never_bring_wildcards_in() {
        let acl_of = |client: &str| {
            let grant = Grant {
                username: Some("ada".into()),
                acl: vec![rule(true, "own/{user}/{client}/#")],
                acl_complete: true,
                ..Grant::default()
            };
            Acl::compile(&grant, client).unwrap()
        };
        assert_eq!(acl_of("c1").check_publish("own/ada/c1/x"), Some(true));
        assert_eq!(acl_of("c1").check_publish("own/ada/c2/x"), Some(false));
        for hostile in ["+", "#", "a/b", "x+"] {
            assert_eq!(
                acl_of(hostile).check_publish("own/ada/c2/x"),
                Some(false),
                "{hostile}"
            );
        }
        assert_eq!(substitute("{client}/#", "$SYS", ""), None);
    }

    #[test]
    fn a_name_that_does_not_fit_into_a_denial_does_not_lift_it() {
        let acl_of = |client: &str, user: Option<&str>, denied: &str| {
            let grant = Grant {
                username: user.map(Into::into),
                acl: vec![rule(false, denied), rule(true, "#"), rule(true, "$SYS/#")],
                acl_complete: true,
                ..Grant::default()
            };
            Acl::compile(&grant, client).unwrap()
        };
        let denied = "dev/{client}/config";
        for (client, topics) in [
            ("c1", &["dev/c1/config"][..]),
            ("+", &["dev/+/config", "dev/c2/config"]),
            ("#", &["dev/c2/config"]),
            ("a/b", &["dev/a/b/config", "dev/a/config", "dev/c/d/config"]),
            ("/", &["dev///config", "dev/x/config"]),
            ("", &["dev//config", "dev/x/config"]),
        ] {
            let acl = acl_of(client, None, denied);
            for topic in topics {
                assert_eq!(acl.check_publish(topic), Some(false), "{client} {topic}");
                let wanted = topic.replace('+', "x");
                let wanted = filter(&wanted);
                assert_eq!(
                    acl.check_subscribe(&wanted),
                    Some(false),
                    "{client} {topic}"
                );
            }
            // What the rule is not about stays allowed.
            for topic in ["dev/c1/state", "dev/config", "other/c1/config"] {
                assert_eq!(acl.check_publish(topic), Some(true), "{client} {topic}");
            }
        }
        let both = acl_of("a/b", Some("ada"), "{user}/{client}-x/{user}/#");
        assert_eq!(both.check_publish("ada/a/b-x/ada"), Some(false));
        assert_eq!(both.check_publish("ada/q/ada/z"), Some(false));
        assert_eq!(both.check_publish("bob/a/b-x/ada"), Some(true), "not ada's");
        // A client id that reads like a mark is none.
        let mark = acl_of("{user}", Some("a/b"), "x/{client}/y");
        assert_eq!(mark.check_publish("x/{user}/y"), Some(false));
        assert_eq!(mark.check_publish("x/z/y"), Some(true));
        // A plain name that begins a topic with `$` is denied as it stands.
        let own = acl_of("$SYS", None, "{client}/#");
        assert_eq!(own.check_publish("$SYS/broker"), Some(false));
        assert_eq!(own.check_publish("x"), Some(true));
    }

    #[test]
    fn a_denial_that_cannot_be_said_denies_the_client() {
        let grant = Grant {
            acl: vec![rule(false, "{client}")],
            ..Grant::default()
        };
        let long = "/".repeat(40_000);
        assert!(matches!(
            Acl::compile(&grant, &long),
            Err(AclError::Filter { place: 1, .. })
        ));
    }

    #[test]
    fn rules_are_bounded_and_checked() {
        let grant = |count| Grant {
            acl: vec![rule(true, "a"); count],
            ..Grant::default()
        };
        assert!(Acl::compile(&grant(RULES), "c").is_ok());
        assert_eq!(
            Acl::compile(&grant(RULES + 1), "c").unwrap_err(),
            AclError::TooMany(RULES + 1)
        );
        let bad = Grant {
            acl: vec![rule(true, "a/#/b")],
            ..Grant::default()
        };
        assert!(matches!(
            Acl::compile(&bad, "c"),
            Err(AclError::Filter { place: 1, .. })
        ));
    }

    fn any_filter() -> impl Strategy<Value = String> {
        let level = prop_oneof![Just("a"), Just("b"), Just("+"), Just(""), Just("$s")];
        (proptest::collection::vec(level, 1..4), any::<bool>()).prop_map(|(levels, hash)| {
            let text = levels.join("/");
            match (hash, text.is_empty()) {
                (_, true) => "#".to_owned(),
                (true, _) => format!("{text}/#"),
                (false, _) => text,
            }
        })
    }

    fn any_topic() -> impl Strategy<Value = String> {
        let level = prop_oneof![Just("a"), Just("b"), Just("c"), Just(""), Just("$s")];
        proptest::collection::vec(level, 1..5)
            .prop_map(|levels| levels.join("/"))
            .prop_filter("empty", |text| !text.is_empty())
    }

    proptest! {
        #[test]
        fn covering_and_overlapping_agree_with_matching(one in any_filter(), other in any_filter(), topic in any_topic()) {
            let (one, other) = (filter(&one), filter(&other));
            if covers(&one, &other) && other.matches(&topic) {
                prop_assert!(one.matches(&topic), "{one:?} covers {other:?}");
            }
            if one.matches(&topic) && other.matches(&topic) {
                prop_assert!(overlaps(&one, &other), "{one:?} {other:?} {topic}");
            }
        }
    }

    #[test]
    fn rules_without_names_are_compiled_once_and_others_for_each_client() {
        let rule = |filter: &str| AclRule {
            allow: true,
            publish: true,
            subscribe: false,
            filter: filter.to_owned(),
        };
        let grant = |filter: &str, superuser, acl_complete| Grant {
            superuser,
            acl_complete,
            acl: vec![rule(filter)],
            ..Grant::default()
        };
        let mut last = LastAcl::default();
        let first = last.compile(&grant("a/#", false, true), "one").unwrap();
        let again = last.compile(&grant("a/#", false, true), "two").unwrap();
        assert!(Arc::ptr_eq(&first, &again));
        let own = last
            .compile(&grant("{client}/#", false, true), "one")
            .unwrap();
        assert_eq!(own.check_publish("one/x"), Some(true));
        let own = last
            .compile(&grant("{client}/#", false, true), "two")
            .unwrap();
        assert_eq!(own.check_publish("one/x"), Some(false));
        assert_eq!(own.check_publish("two/x"), Some(true));
        for other in [
            grant("b/#", false, true),
            grant("a/#", true, true),
            grant("a/#", false, false),
        ] {
            let acl = last.compile(&other, "one").unwrap();
            assert!(!Arc::ptr_eq(&first, &acl));
            assert_eq!(
                acl.check_publish("b/x"),
                Acl::compile(&other, "one").unwrap().check_publish("b/x")
            );
        }
    }
}
