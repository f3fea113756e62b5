//! Dead letters of chains, in the shape of those of plugins: the message with the topic it had, and why.

use witmq_proto::{ByteString, Message, TopicName};

/// Bytes of a reason.
const REASON_BYTES: usize = 1024;

/// What is published to `$dead-letter/chain/NAME`.
pub(crate) fn letter(chain: &str, message: &Message, reason: &str) -> Option<Message> {
    // Names of chains are plain and short: it is a topic.
    let topic = TopicName::new(format!("$dead-letter/chain/{chain}")).ok()?;
    let end = reason.floor_char_boundary(REASON_BYTES);
    let reason = reason.get(..end).unwrap_or_default().replace('\0', "");
    let mut letter = message.clone();
    let user = &mut letter.properties.user;
    user.push(("topic".into(), message.topic.as_byte_string().clone()));
    user.push(("reason".into(), ByteString::from(reason)));
    (letter.topic, letter.retain, letter.expires_at) = (topic, false, None);
    letter.hops = message.hops.saturating_add(1);
    Some(letter)
}
