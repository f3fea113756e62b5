//! Subscriptions that the operator makes for every client when it connects.
//!
//! Owns: their list and the names in it. Must not: make them (that is `shard/subscribe.rs`).

use crate::acl::substitute;
use bytestring::ByteString;
use witmq_proto::packet::{SubscribeFilter, SubscribeOptions};
use witmq_proto::topic::{Filter, TopicError};

/// A subscription that cannot be made for anybody.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AutoSubscribeError {
    /// A name that nothing is known about.
    #[error("`{{{0}}}` is no name here: there are {{client}} and {{user}}")]
    Name(String),
    /// Not a filter.
    #[error("{0}")]
    Filter(#[from] TopicError),
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AutoSubscribe {
    filter: String,
    options: SubscribeOptions,
}

impl AutoSubscribe {
    /// A filter with `{client}` and `{user}` in it, and the options of the subscription.
    ///
    /// # Errors
    /// Not a filter, or another name.
    pub fn new(filter: &str, options: SubscribeOptions) -> Result<Self, AutoSubscribeError> {
        let plain = filter.replace("{client}", "x").replace("{user}", "x");
        if let Some(at) = plain.find(['{', '}']) {
            let inner = plain.get(at..).unwrap_or_default();
            let inner = inner.trim_start_matches(['{', '}']).split('}').next();
            return Err(AutoSubscribeError::Name(
                inner.unwrap_or_default().to_owned(),
            ));
        }
        Filter::parse(&ByteString::from(plain))?;
        Ok(Self {
            filter: filter.to_owned(),
            options,
        })
    }

    /// The subscription of one client; `None` if a name of its would bring a wildcard, a `/` or nothing in, or
    /// put `$` first: a client must not choose what it is subscribed to.
    #[must_use]
    pub fn of(&self, client_id: &str, user: Option<&str>) -> Option<SubscribeFilter> {
        let filter = substitute(&self.filter, client_id, user.unwrap_or_default())?;
        Some(SubscribeFilter {
            filter: filter.into(),
            options: self.options,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_within_their_level() {
        let inbox = AutoSubscribe::new("{client}/{user}/in", SubscribeOptions::default()).unwrap();
        let of = |client, user| {
            inbox
                .of(client, user)
                .map(|wanted| wanted.filter.to_string())
        };
        assert_eq!(of("c", Some("ada")).as_deref(), Some("c/ada/in"));
        assert_eq!(of("c", None), None, "no user name");
        for hostile in ["", "+", "#", "a/b", "$SYS", "$share"] {
            assert_eq!(of(hostile, Some("ada")), None, "{hostile}");
        }
        let group = AutoSubscribe::new("$share/{user}/x", SubscribeOptions::default()).unwrap();
        assert!(group.of("c", Some("ada")).is_some());
        for bad in ["", "a/#/b", "{clint}/x", "a/{", "$share/x"] {
            assert!(
                AutoSubscribe::new(bad, SubscribeOptions::default()).is_err(),
                "{bad}"
            );
        }
    }
}
