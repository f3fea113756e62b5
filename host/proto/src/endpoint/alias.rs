//! Topic aliases of one connection, both ways (section 3.3.2.3.4). Never forwarded, never kept.

use super::ProtocolError;
use crate::ByteString;

/// Aliases the client set.
#[derive(Debug, Default)]
pub(super) struct InboundAliases {
    maximum: u16,
    /// A connection that uses none owns nothing.
    known: Option<Box<Topics>>,
}

/// Index is alias - 1; grows as aliases are set.
#[derive(Debug, Default)]
struct Topics(Vec<ByteString>);

impl InboundAliases {
    pub(super) fn new(maximum: u16) -> Self {
        Self {
            maximum,
            known: None,
        }
    }

    /// The highest alias the client may use.
    pub(super) fn maximum(&self) -> u16 {
        self.maximum
    }

    /// Resolves or sets an alias; the topic it stands for.
    pub(super) fn resolve(
        &mut self,
        alias: u16,
        topic: ByteString,
    ) -> Result<ByteString, ProtocolError> {
        if alias == 0 || alias > self.maximum {
            return Err(ProtocolError::TopicAlias {
                alias,
                maximum: self.maximum,
            }); // [MQTT-3.3.2-8] [MQTT-3.3.2-9]
        }
        let index = usize::from(alias) - 1;
        let Topics(topics) = &mut **self.known.get_or_insert_default();
        if topic.is_empty() {
            return match topics.get(index) {
                Some(known) if !known.is_empty() => Ok(known.clone()),
                _ => Err(ProtocolError::UnknownAlias(alias)),
            };
        }
        if topics.len() <= index {
            topics.resize(index + 1, ByteString::new());
        }
        if let Some(slot) = topics.get_mut(index) {
            slot.clone_from(&topic); // a later PUBLISH may replace it [MQTT-3.3.2-12]
        }
        Ok(topic)
    }
}

/// Topics up to this length are cheaper to send than an alias.
const SHORTEST_TOPIC: usize = 6;

/// Aliases the server set: the most recently used topics, at most as many as the client allows.
#[derive(Debug, Default)]
pub(super) struct OutboundAliases {
    maximum: u16,
    used: Option<Box<Used>>,
}

/// Index is alias - 1: each topic with when it was used.
#[derive(Debug, Default)]
struct Used {
    topics: Vec<(ByteString, u64)>,
    tick: u64,
}

/// How to send a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Alias {
    /// In full, without alias.
    None,
    /// In full, and the alias stands for it from now on.
    Set(u16),
    /// The alias alone.
    Known(u16),
}

impl OutboundAliases {
    pub(super) fn new(maximum: u16) -> Self {
        Self {
            maximum,
            used: None,
        }
    }

    /// Whether [`Self::choose`] says that of this topic now and always.
    #[inline]
    pub(super) fn is_none(&self, topic: &str) -> bool {
        self.maximum == 0 || topic.len() < SHORTEST_TOPIC
    }

    /// How to send `topic`; a `Set` counts as sent.
    pub(super) fn choose(&mut self, topic: &ByteString) -> Alias {
        if self.is_none(topic) {
            return Alias::None;
        }
        let maximum = usize::from(self.maximum);
        let Used { topics, tick } = &mut **self.used.get_or_insert_default();
        *tick += 1;
        if let Some(index) = topics.iter().position(|(known, _)| known == topic) {
            if let Some(slot) = topics.get_mut(index) {
                slot.1 = *tick;
            }
            return Alias::Known(number(index));
        }
        if topics.len() < maximum {
            topics.push((topic.clone(), *tick));
            return Alias::Set(number(topics.len() - 1));
        }
        let oldest = topics.iter().enumerate().min_by_key(|(_, (_, tick))| *tick);
        let Some(index) = oldest.map(|(index, _)| index) else {
            return Alias::None;
        };
        if let Some(slot) = topics.get_mut(index) {
            *slot = (topic.clone(), *tick);
        }
        Alias::Set(number(index))
    }
}

fn number(index: usize) -> u16 {
    u16::try_from(index + 1).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn inbound_alias_is_set_used_replaced_and_bounded() {
        let mut aliases = InboundAliases::new(2);
        assert_eq!(aliases.resolve(2, "a/b".into()).unwrap(), "a/b");
        assert_eq!(aliases.resolve(2, ByteString::new()).unwrap(), "a/b");
        assert_eq!(aliases.resolve(2, "c".into()).unwrap(), "c");
        assert_eq!(aliases.resolve(2, ByteString::new()).unwrap(), "c");
        assert_eq!(
            aliases.resolve(1, ByteString::new()),
            Err(ProtocolError::UnknownAlias(1))
        );
        for alias in [0, 3] {
            let error = aliases.resolve(alias, "x".into()).unwrap_err();
            assert_eq!(error.reason(), crate::ReasonCode::TopicAliasInvalid);
        }
    }

    #[test]
    fn outbound_aliases_keep_the_most_recent_topics() {
        let mut aliases = OutboundAliases::new(2);
        let (a, b, c) = ("topic/a".into(), "topic/b".into(), "topic/c".into());
        assert_eq!(aliases.choose(&a), Alias::Set(1));
        assert_eq!(aliases.choose(&b), Alias::Set(2));
        assert_eq!(aliases.choose(&a), Alias::Known(1));
        assert_eq!(aliases.choose(&c), Alias::Set(2));
        assert_eq!(aliases.choose(&b), Alias::Set(1));
        assert_eq!(aliases.choose(&"a".into()), Alias::None);
        assert_eq!(OutboundAliases::new(0).choose(&a), Alias::None);
    }
}
