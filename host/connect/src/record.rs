//! A message as it lies in a queue: length, checksum, body.
//!
//! Owns: the format of a record. Must not: know files.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use bytestring::ByteString;
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use witmq_broker::ports::Publisher;
use witmq_proto::Message;

use witmq_proto::codec::{Limits, decode_properties, encode_properties};
use witmq_proto::packet::{PublishProperties, QoS};

/// Length and checksum before each body.
pub(crate) const HEAD_BYTES: usize = 8;
/// First byte of a body.
const FORMAT: u8 = 1;
/// Length of a user name that is not there.
const ABSENT: u16 = u16::MAX;

/// A message on its way to a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) topic: ByteString,
    pub(crate) payload: Bytes,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) client: ByteString,
    pub(crate) username: Option<ByteString>,
    pub(crate) received_ms: u64,
    /// Milliseconds since 1970.
    pub(crate) expires_ms: Option<u64>,
    pub(crate) properties: PublishProperties,
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

fn put_text(out: &mut BytesMut, text: &str) {
    // Longer ones do not exist in MQTT; cut where one would.
    let length = u16::try_from(text.len())
        .unwrap_or(ABSENT - 1)
        .min(ABSENT - 1);
    out.put_u16_le(length);
    out.extend_from_slice(
        text.as_bytes()
            .get(..usize::from(length))
            .unwrap_or_default(),
    );
}

/// Writes a message with its head; `out` is empty before. False: it is too long for a record.
pub(crate) fn encode(publisher: Publisher<'_>, message: &Message, out: &mut BytesMut) -> bool {
    out.put_bytes(0, HEAD_BYTES);
    out.put_u8(FORMAT);
    out.put_u8(message.qos as u8 | u8::from(message.retain) << 2);
    out.put_u64_le(message.received_ms);
    let expires_ms = message.expires_at.map_or(0, |at| {
        let left = at.saturating_duration_since(Instant::now()).as_millis();
        now_ms().saturating_add(u64::try_from(left).unwrap_or(u64::MAX))
    });
    out.put_u64_le(expires_ms);
    put_text(out, &message.topic);
    put_text(out, publisher.client_id);
    match publisher.username {
        Some(name) => put_text(out, name),
        None => out.put_u16_le(ABSENT),
    }
    let before = out.len();
    out.put_u32_le(0);
    encode_properties(&message.properties, out);
    let length = u32::try_from(out.len() - before - 4).unwrap_or(0);
    if let Some(place) = out.get_mut(before..before + 4) {
        place.copy_from_slice(&length.to_le_bytes());
    }
    out.extend_from_slice(&message.payload);
    let body = out.get(HEAD_BYTES..).unwrap_or_default();
    let Ok(length) = u32::try_from(body.len()) else {
        return false;
    };
    let sum = crc32fast::hash(body);
    if let Some(head) = out.get_mut(..HEAD_BYTES) {
        let (first, second) = head.split_at_mut(4);
        first.copy_from_slice(&length.to_le_bytes());
        second.copy_from_slice(&sum.to_le_bytes());
    }
    true
}

/// What stands at the beginning of some bytes of a queue.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// A record of so many bytes with its head.
    Whole(usize),
    /// There have to be so many bytes to tell.
    Short(usize),
    /// The checksum is another one.
    Damaged,
}

/// Looks at the first record.
pub(crate) fn frame(bytes: &[u8]) -> Frame {
    let Some((head, rest)) = bytes.split_at_checked(HEAD_BYTES) else {
        return Frame::Short(HEAD_BYTES);
    };
    let (mut length, mut sum) = head.split_at(4);
    let (length, sum) = (length.get_u32_le(), sum.get_u32_le());
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    match rest.get(..length) {
        // A record is never empty: zeros are what a file system leaves of one.
        _ if length == 0 => Frame::Damaged,
        Some(body) if crc32fast::hash(body) == sum => Frame::Whole(HEAD_BYTES + length),
        Some(_) => Frame::Damaged,
        None => Frame::Short(HEAD_BYTES.saturating_add(length)),
    }
}

fn text(body: &mut Bytes, length: u16) -> Option<ByteString> {
    let length = usize::from(length);
    if body.len() < length {
        return None;
    }
    ByteString::try_from(body.split_to(length)).ok()
}

/// Reads a body whose checksum is right; `None` if it is of a format that this version does not know.
pub(crate) fn decode(mut body: Bytes) -> Option<Record> {
    if body.try_get_u8().ok()? != FORMAT {
        return None;
    }
    let flags = body.try_get_u8().ok()?;
    let received_ms = body.try_get_u64_le().ok()?;
    let expires_ms = body.try_get_u64_le().ok()?;
    let length = body.try_get_u16_le().ok()?;
    let topic = text(&mut body, length)?;
    let length = body.try_get_u16_le().ok()?;
    let client = text(&mut body, length)?;
    let username = match body.try_get_u16_le().ok()? {
        ABSENT => None,
        length => Some(text(&mut body, length)?),
    };
    let length = usize::try_from(body.try_get_u32_le().ok()?).ok()?;
    if body.len() < length {
        return None;
    }
    let properties = decode_properties(&body.split_to(length), &Limits::default()).ok()?;
    Some(Record {
        topic,
        payload: body,
        qos: QoS::from_bits(flags & 3)?,
        retain: flags & 4 != 0,
        client,
        username,
        received_ms,
        expires_ms: (expires_ms > 0).then_some(expires_ms),
        properties,
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use witmq_proto::TopicName;
    use witmq_proto::packet::MessageProperties;

    /// A message with everything that travels.
    pub(crate) fn message(topic: &str, payload: &str) -> Message {
        Message {
            topic: TopicName::new(topic).unwrap_or_else(|error| unreachable!("{error}")),
            payload: Bytes::copy_from_slice(payload.as_bytes()),
            qos: QoS::AtLeastOnce,
            retain: true,
            properties: PublishProperties::from(MessageProperties {
                content_type: Some("text/plain".into()),
                correlation_data: Some(Bytes::from_static(b"\0\xff")),
                user: vec![("a".into(), "b".into())],
                ..MessageProperties::default()
            }),
            expires_at: None,
            publisher: "p".into(),
            received_ms: 17,
            hops: 0,
        }
    }

    pub(crate) fn publisher() -> Publisher<'static> {
        Publisher {
            client_id: "c",
            username: Some("u"),
            attributes: &[],
            session: 1,
        }
    }

    #[test]
    fn a_message_comes_back_as_it_was() {
        let mut out = BytesMut::new();
        let given = message("a/b", "hello");
        assert!(encode(publisher(), &given, &mut out));
        assert_eq!(frame(&out), Frame::Whole(out.len()));
        let record = decode(out.freeze().slice(HEAD_BYTES..)).expect("readable");
        assert_eq!((&*record.topic, &record.payload), ("a/b", &given.payload));
        assert_eq!((record.qos, record.retain), (QoS::AtLeastOnce, true));
        assert_eq!(
            (&*record.client, record.username.as_deref()),
            ("c", Some("u"))
        );
        assert_eq!((record.received_ms, record.expires_ms), (17, None));
        assert_eq!(record.properties, given.properties);
    }

    #[test]
    fn every_cut_and_every_changed_byte_is_seen() {
        let mut out = BytesMut::new();
        assert!(encode(publisher(), &message("a/b", "hello"), &mut out));
        for length in 0..out.len() {
            assert!(matches!(frame(&out[..length]), Frame::Short(_)), "{length}");
        }
        for place in 4..out.len() {
            let mut bad = out.to_vec();
            bad[place] ^= 1;
            assert_eq!(frame(&bad), Frame::Damaged, "{place}");
        }
        assert_eq!(frame(&[0; 64]), Frame::Damaged);
    }
}
