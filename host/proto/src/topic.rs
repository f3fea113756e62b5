//! Topic names and filters, parsed once and trusted afterwards (section 4.7).
//!
//! Owns: [`TopicName`], [`TopicFilter`], [`SharedFilter`], [`Filter`] and naive matching.
//! Must not: store subscriptions (that is the broker's router).

use bytestring::ByteString;
use std::ops::Deref;

/// Why a text is no topic name or filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    /// At least one character is needed.
    #[error("a topic is at least one character long [MQTT-4.7.3-1]")]
    Empty,
    /// U+0000 is never allowed.
    #[error("a topic must not contain U+0000 [MQTT-4.7.3-2]")]
    Nul,
    /// More bytes than a length field can say.
    #[error("a topic is at most 65,535 bytes long [MQTT-4.7.3-3]")]
    TooLong,
    /// A wildcard in a topic name.
    #[error("a topic name must not contain a wildcard [MQTT-4.7.1-1]")]
    Wildcard,
    /// `#` not alone in the last level.
    #[error("`#` must be the whole last level of a filter [MQTT-4.7.1-1]")]
    MultiLevel,
    /// `+` not alone in its level.
    #[error("`+` must be a whole level of a filter [MQTT-4.7.1-2]")]
    SingleLevel,
    /// `$exclusive/` in front of what one client cannot have alone.
    #[error(
        "an exclusive subscription is $exclusive/FILTER, the filter without wildcards and no $share/"
    )]
    Exclusive,
    /// `$share/` without a valid group or without a filter.
    #[error("a shared subscription is $share/GROUP/FILTER, the group without / + # [MQTT-4.8.2-1]")]
    Shared,
}

fn check_text(text: &str) -> Result<(), TopicError> {
    if text.is_empty() {
        return Err(TopicError::Empty);
    }
    if text.len() > usize::from(u16::MAX) {
        return Err(TopicError::TooLong);
    }
    if text.contains('\0') {
        return Err(TopicError::Nul);
    }
    Ok(())
}

/// A topic name: no wildcard, not empty, at most 65,535 bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicName(ByteString);

impl TopicName {
    /// Parses a topic name.
    ///
    /// # Errors
    /// Empty, too long, U+0000 or a wildcard.
    pub fn new(text: impl Into<ByteString>) -> Result<Self, TopicError> {
        let text = text.into();
        check_text(&text)?;
        if text.contains(['+', '#']) {
            return Err(TopicError::Wildcard);
        }
        Ok(Self(text))
    }

    /// The topic of a PUBLISH that an endpoint reported: decoding it has judged it, and once is enough.
    #[must_use]
    pub fn judged(text: ByteString) -> Self {
        debug_assert!(Self::new(text.clone()).is_ok(), "nobody judged {text:?}");
        Self(text)
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text as shared bytes.
    #[must_use]
    #[inline]
    pub fn as_byte_string(&self) -> &ByteString {
        &self.0
    }

    /// Whether wildcards in the first level must not match it [MQTT-4.7.2-1].
    #[must_use]
    pub fn is_dollar(&self) -> bool {
        self.0.starts_with('$')
    }
}

impl std::fmt::Display for TopicName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl Deref for TopicName {
    type Target = str;
    #[inline]
    fn deref(&self) -> &str {
        &self.0
    }
}

/// A topic filter with its wildcards in legal places.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicFilter(ByteString);

impl TopicFilter {
    /// Parses a topic filter (not a `$share/` one, see [`Filter::parse`]).
    ///
    /// # Errors
    /// Empty, too long, U+0000 or a misplaced wildcard.
    pub fn new(text: impl Into<ByteString>) -> Result<Self, TopicError> {
        let text = text.into();
        check_text(&text)?;
        let mut levels = text.split('/').peekable();
        while let Some(level) = levels.next() {
            if level.contains('#') && (level.len() > 1 || levels.peek().is_some()) {
                return Err(TopicError::MultiLevel);
            }
            if level.contains('+') && level.len() > 1 {
                return Err(TopicError::SingleLevel);
            }
        }
        Ok(Self(text))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text as shared bytes.
    #[must_use]
    pub fn as_byte_string(&self) -> &ByteString {
        &self.0
    }

    /// Whether it contains `+` or `#`.
    #[must_use]
    pub fn has_wildcard(&self) -> bool {
        self.0.contains(['+', '#'])
    }

    /// Whether `topic` matches (section 4.7): the plain definition, level by level.
    #[must_use]
    pub fn matches(&self, topic: &str) -> bool {
        if topic.starts_with('$') && self.0.starts_with(['+', '#']) {
            return false; // [MQTT-4.7.2-1]
        }
        let mut names = topic.split('/');
        for level in self.0.split('/') {
            if level == "#" {
                return true; // the parent level too (section 4.7.1.2)
            }
            match names.next() {
                Some(name) if level == "+" || level == name => {}
                _ => return false,
            }
        }
        names.next().is_none()
    }
}

impl std::fmt::Display for TopicFilter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl Deref for TopicFilter {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

/// `$share/GROUP/FILTER` (MQTT 5 section 4.8.2).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SharedFilter {
    /// ShareName.
    pub group: ByteString,
    /// The filter that members share.
    pub filter: TopicFilter,
}

/// A filter as a client subscribes to it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Filter {
    /// An ordinary subscription.
    Plain(TopicFilter),
    /// A shared subscription.
    Shared(SharedFilter),
    /// An ordinary subscription that no other client may have at the same time: `$exclusive/FILTER`.
    Exclusive(TopicFilter),
}

/// What exclusive filters begin with.
pub const EXCLUSIVE: &str = "$exclusive/";

impl Filter {
    /// Parses what a SUBSCRIBE or UNSUBSCRIBE names.
    ///
    /// # Errors
    /// As [`TopicFilter::new`], a bad share name, or an exclusive filter that overlaps others.
    pub fn parse(text: &ByteString) -> Result<Self, TopicError> {
        if let Some(rest) = text.strip_prefix(EXCLUSIVE) {
            let filter = TopicFilter::new(ByteString::from(rest))?;
            // With wildcards two different filters could match one topic: none of them would be alone.
            if filter.has_wildcard() || rest.starts_with("$share/") || rest.starts_with(EXCLUSIVE) {
                return Err(TopicError::Exclusive);
            }
            return Ok(Self::Exclusive(filter));
        }
        let Some(rest) = text.strip_prefix("$share/") else {
            return TopicFilter::new(text.clone()).map(Self::Plain);
        };
        let (group, filter) = rest.split_once('/').ok_or(TopicError::Shared)?;
        if group.is_empty() || group.contains(['+', '#']) || filter.is_empty() {
            return Err(TopicError::Shared); // [MQTT-4.8.2-1] [MQTT-4.8.2-2]
        }
        let filter = TopicFilter::new(ByteString::from(filter))?;
        Ok(Self::Shared(SharedFilter {
            group: ByteString::from(group),
            filter,
        }))
    }

    /// The filter without its share.
    #[must_use]
    pub fn topic_filter(&self) -> &TopicFilter {
        match self {
            Self::Plain(filter) | Self::Exclusive(filter) => filter,
            Self::Shared(shared) => &shared.filter,
        }
    }
}
