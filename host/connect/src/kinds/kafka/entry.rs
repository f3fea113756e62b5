//! A message as a record of Kafka: its topic there, its key, its headers, and the partition that a key belongs to.
//!
//! Owns: what a name of a topic may be, and the hash. Must not: know who leads what.

use super::{Settings, What};
use crate::outlet::envelope;
use crate::record::Record;
use bytes::Bytes;
use rskafka::protocol::record::{
    ControlBatchOrRecords, Record as Written, RecordBatch, RecordBatchCompression,
    RecordBatchTimestampType, RecordHeader,
};

/// Bytes of a topic's name.
const NAME_BYTES: usize = 249;
/// What a record takes beside its key, value and headers, at most; and each header.
const FRAME_BYTES: usize = 64;

/// A record before it has a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) topic: String,
    pub(super) key: Option<String>,
    value: Bytes,
    headers: Vec<(String, String)>,
    stamp_ms: i64,
}

/// Whether Kafka can have a topic of this name.
pub(super) fn is_name(name: &str) -> bool {
    (1..=NAME_BYTES).contains(&name.len())
        && name != "."
        && name != ".."
        && name.bytes().all(is_sign)
}

fn is_sign(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')
}

/// A level as a part of a name: what it may not hold is `_`, and so is an empty one.
fn named(level: &str) -> String {
    if level.is_empty() {
        return "_".to_owned();
    }
    let sign = |sign: char| match u8::try_from(sign) {
        // A dot would look like the joint of two levels.
        Ok(byte) if is_sign(byte) && byte != b'.' => sign,
        _ => '_',
    };
    level.chars().map(sign).collect()
}

impl Entry {
    /// # Errors
    /// It can never be one, in words.
    pub(super) fn of(record: &Record, settings: &Settings) -> Result<Self, String> {
        let topic = &*record.topic;
        let told = topic.strip_prefix(&settings.strip).unwrap_or(topic);
        let name = settings.topic.fill(record, told, ".", named)?;
        if !is_name(&name) {
            let text = format!("`{name}` is no name of a topic there: up to {NAME_BYTES} bytes");
            return Err(text);
        }
        let plain = |text: &str| text.to_owned();
        let key = settings.key.as_ref();
        let key = key.map(|key| key.fill(record, told, "/", plain));
        let mut headers = vec![("mqtt-topic".to_owned(), topic.to_owned())];
        if let Some(kind) = &record.properties.content_type {
            headers.push(("content-type".to_owned(), kind.to_string()));
        }
        for (name, text) in &settings.headers {
            headers.push((name.clone(), text.fill(record, told, "/", plain)?));
        }
        let user = record.properties.user.iter();
        headers.extend(user.map(|(name, text)| (name.to_string(), text.to_string())));
        Ok(Self {
            topic: name,
            key: key.transpose()?,
            value: match settings.value {
                What::Payload => record.payload.clone(),
                What::Message => envelope(record).to_string().into(),
            },
            headers,
            stamp_ms: i64::try_from(record.received_ms).unwrap_or(i64::MAX),
        })
    }

    /// At most.
    pub(super) fn bytes(&self) -> usize {
        let headers = self.headers.iter();
        let headers: usize = headers
            .map(|(name, text)| name.len() + text.len() + FRAME_BYTES / 4)
            .sum();
        let key = self.key.as_ref().map_or(0, String::len);
        FRAME_BYTES + key + self.value.len() + headers
    }

    fn written(&self, number: i32, first_ms: i64) -> Written {
        let headers = self.headers.iter().map(|(name, text)| RecordHeader {
            key: name.clone(),
            value: text.clone().into_bytes(),
        });
        Written {
            timestamp_delta: self.stamp_ms - first_ms,
            offset_delta: number,
            key: self.key.clone().map(String::into_bytes),
            value: Some(self.value.to_vec()),
            headers: headers.collect(),
        }
    }
}

/// Records of one partition, in order.
pub(super) fn batch<'a>(entries: impl Iterator<Item = &'a Entry> + Clone) -> RecordBatch {
    let stamps = entries.clone().map(|entry| entry.stamp_ms);
    let first_ms = stamps.clone().next().unwrap_or_default();
    let written = (0..).zip(entries);
    let records: Vec<Written> = written
        .map(|(number, entry)| entry.written(number, first_ms))
        .collect();
    RecordBatch {
        base_offset: 0,
        partition_leader_epoch: 0,
        last_offset_delta: i32::try_from(records.len()).unwrap_or(i32::MAX) - 1,
        first_timestamp: first_ms,
        max_timestamp: stamps.max().unwrap_or_default(),
        producer_id: -1,
        producer_epoch: -1,
        base_sequence: -1,
        records: ControlBatchOrRecords::Records(records),
        compression: RecordBatchCompression::NoCompression,
        is_transactional: false,
        timestamp_type: RecordBatchTimestampType::CreateTime,
    }
}

/// Where records with this key belong: the same as for the clients that Kafka comes with.
pub(super) fn partition(key: &[u8], partitions: usize) -> usize {
    let hash = murmur2(key) & 0x7fff_ffff;
    usize::try_from(hash)
        .unwrap_or(0)
        .checked_rem(partitions)
        .unwrap_or(0)
}

fn murmur2(bytes: &[u8]) -> u32 {
    const MIX: u32 = 0x5bd1_e995;
    let (words, rest) = bytes.as_chunks::<4>();
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let mut hash = 0x9747_b28c ^ length;
    for word in words {
        let word = u32::from_le_bytes(*word).wrapping_mul(MIX);
        let word = (word ^ (word >> 24)).wrapping_mul(MIX);
        hash = hash.wrapping_mul(MIX) ^ word;
    }
    if !rest.is_empty() {
        let rest = rest.iter().rev();
        hash ^= rest.fold(0, |word, byte| word << 8 | u32::from(*byte));
        hash = hash.wrapping_mul(MIX);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(MIX);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::kafka::tests::settings;
    use crate::record::tests::{message, publisher};
    use crate::record::{HEAD_BYTES, decode, encode};
    use bytes::BytesMut;

    fn record(topic: &str) -> Record {
        let mut out = BytesMut::new();
        assert!(encode(publisher(), &message(topic, "p"), &mut out));
        decode(out.freeze().slice(HEAD_BYTES..)).expect("readable")
    }

    #[test]
    fn a_key_has_the_hash_of_the_makers_of_kafka() {
        for (key, wanted) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            (
                "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8",
                -58_897_971,
            ),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(key.as_bytes()).cast_signed(), wanted, "{key}");
        }
        assert_eq!(partition(b"foobar", 1), 0);
        assert_eq!(partition(b"foobar", 0), 0, "there is none");
    }

    #[test]
    fn a_message_has_a_topic_a_key_and_headers() {
        let settings = settings(
            "topic = \"plant.{topic}\"\nstrip = \"out/\"\nkey = \"{level.0}/{client}\"\nheaders = { site = \"{level.1}\" }",
        );
        let entry = Entry::of(&record("out/a b/ü.x//"), &settings).expect("an entry");
        assert_eq!(entry.topic, "plant.a_b.__x._._");
        assert_eq!(entry.key.as_deref(), Some("a b/c"));
        let wanted = [
            ("mqtt-topic", "out/a b/ü.x//"),
            ("content-type", "text/plain"),
            ("site", "ü.x"),
            ("a", "b"),
        ];
        let wanted = wanted.map(|(name, text)| (name.to_owned(), text.to_owned()));
        assert_eq!(entry.headers, wanted);
        assert_eq!(&*entry.value, b"p");
    }

    #[test]
    fn what_has_no_place_there_says_why() {
        let deep = settings("topic = \"t\"\nkey = \"{level.2}\"");
        let said = Entry::of(&record("a/b"), &deep).expect_err("no key");
        assert_eq!(said, "`a/b` has no level 2");
        let long = settings("topic = \"{topic}\"");
        assert!(Entry::of(&record(&"x".repeat(NAME_BYTES)), &long).is_ok());
        let said = Entry::of(&record(&"x".repeat(NAME_BYTES + 1)), &long).expect_err("too long");
        assert!(said.contains("is no name of a topic there"), "{said}");
        for (name, is_fine) in [
            ("a.b-C_9", true),
            ("", false),
            ("..", false),
            ("a/b", false),
        ] {
            assert_eq!(is_name(name), is_fine, "{name}");
        }
    }

    #[test]
    fn a_batch_counts_its_records_and_their_times() {
        let settings = settings("topic = \"t\"\nvalue = \"message\"");
        let mut late = Entry::of(&record("a"), &settings).expect("an entry");
        assert!(late.value.starts_with(b"{"));
        let first = late.clone();
        late.stamp_ms += 5;
        let entries = [late, first];
        let made = batch(entries.iter());
        assert_eq!((made.first_timestamp, made.max_timestamp), (22, 22));
        assert_eq!(made.last_offset_delta, 1);
        let ControlBatchOrRecords::Records(records) = made.records else {
            panic!("no records");
        };
        let deltas: Vec<_> = records
            .iter()
            .map(|record| (record.offset_delta, record.timestamp_delta))
            .collect();
        assert_eq!(deltas, [(0, 0), (1, -5)]);
    }
}
