//! The compiled access rules of one client's grant: the first rule that matches decides.
//!
//! Owns: [`Acl`], and the two questions about filters: does one cover another whole, do two overlap.

use crate::ports::hooks::Grant;
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
    /// Compiles a grant for one client. `{client}` and `{user}` stand for its names; a rule whose name would
    /// bring a wildcard, a `/` or nothing in is left out: a client must not choose its own rights.
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
            let Some(text) = substitute(&rule.filter, client_id, user) else {
                continue;
            };
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

/// Puts the names of a client into a filter; `None` if that would change the shape of the filter, or make it one
/// of the broker's own topics.
pub(crate) fn substitute(filter: &str, client_id: &str, user: &str) -> Option<String> {
    let is_safe = |name: &str| !name.is_empty() && !name.contains(['+', '#', '/']);
    let wants_client = filter.contains("{client}");
    let wants_user = filter.contains("{user}");
    if wants_client && !is_safe(client_id) || wants_user && !is_safe(user) {
        return None;
    }
    let filled = filter
        .split("{client}")
        .map(|part| part.replace("{user}", user))
        .collect::<Vec<_>>()
        .join(client_id);
    let is_own = filled.starts_with('$') && !filter.starts_with('$');
    (!is_own).then_some(filled)
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
}
