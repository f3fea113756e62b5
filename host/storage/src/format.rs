//! What is written where: keys and values of every table.
//!
//! Owns: the format, version [`FORMAT`]. A change that older versions cannot read counts it up; what is read
//! of older ones stays here.
//!
//! ```text
//! meta           "format", "shards", "applied" target source, "slice" id
//! sessions       session                    state
//! subscriptions  session filter             options, identifier
//! queue          session number             pointer to the log, or released
//! received       session packet-id
//! log.ID         shard number               targets, groups, message
//! retained       topic                      message
//! wills          client-id                  will, due
//! delayed        due shard number           message
//! kv             plugin key                 see `kv.rs`
//! ```
//!
//! Version 2 has the tables `delayed` and `kv`.

use crate::wire::{Damaged, Reader, Writer};
use bytestring::ByteString;
use std::time::{Duration, Instant};
use witmq_broker::ShardId;
use witmq_broker::delayed::DelayedId;
use witmq_broker::ports::store::SessionState;
use witmq_broker::shard::ClockBase;
use witmq_proto::packet::{
    MessageProperties, PublishProperties, QoS, RetainHandling, SubscribeOptions, UserProperties,
    Will,
};
use witmq_proto::{LogPlace, Message, TopicName};

/// Version of the format.
pub(crate) const FORMAT: u32 = 2;

/// A deadline as Unix milliseconds, and back; clocks of two lives of a node have nothing else in common.
pub(crate) fn to_unix(clock: &ClockBase, at: Instant) -> u64 {
    match at.checked_duration_since(clock.instant) {
        Some(_) => clock.unix_ms(at),
        None => {
            let before = clock.instant.saturating_duration_since(at).as_millis();
            clock
                .unix_ms
                .saturating_sub(u64::try_from(before).unwrap_or(u64::MAX))
        }
    }
}

pub(crate) fn from_unix(clock: &ClockBase, unix_ms: u64) -> Option<Instant> {
    if unix_ms >= clock.unix_ms {
        let later = Duration::from_millis(unix_ms - clock.unix_ms);
        return clock.instant.checked_add(later);
    }
    let earlier = Duration::from_millis(clock.unix_ms - unix_ms);
    Some(clock.instant.checked_sub(earlier).unwrap_or(clock.instant))
}

fn qos(bits: u8, at: Damaged) -> Result<QoS, Damaged> {
    QoS::from_bits(bits & 3).ok_or(at)
}

fn write_user(out: &mut Writer, user: &UserProperties) {
    out.count(user.len());
    for (name, value) in user {
        out.bytes(name.as_bytes()).bytes(value.as_bytes());
    }
}

fn write_properties(out: &mut Writer, properties: &PublishProperties) {
    out.option(properties.payload_format, |out, value| {
        out.u8(value);
    });
    out.option(properties.message_expiry, |out, value| {
        out.u32(value);
    });
    out.option(properties.response_topic.as_ref(), |out, value| {
        out.bytes(value.as_bytes());
    });
    out.option(properties.correlation_data.as_ref(), |out, value| {
        out.bytes(value);
    });
    out.option(properties.content_type.as_ref(), |out, value| {
        out.bytes(value.as_bytes());
    });
    write_user(out, &properties.user);
}

fn read_properties(input: &mut Reader<'_>) -> Result<PublishProperties, Damaged> {
    Ok(PublishProperties::from(MessageProperties {
        payload_format: input.option(Reader::u8)?,
        message_expiry: input.option(Reader::u32)?,
        response_topic: input.option(Reader::text)?,
        correlation_data: input.option(Reader::bytes)?,
        subscription_ids: Vec::new(),
        content_type: input.option(Reader::text)?,
        user: input.list(|input| Ok((input.text()?, input.text()?)))?,
    }))
}

pub(crate) fn write_message(out: &mut Writer, message: &Message, clock: &ClockBase) {
    out.u8(message.qos as u8 | u8::from(message.retain) << 2)
        .u8(message.hops)
        .u64(message.received_ms)
        .u64(message.expires_at.map_or(0, |at| to_unix(clock, at)))
        .bytes(message.topic.as_bytes())
        .bytes(message.publisher.as_bytes());
    write_properties(out, &message.properties);
    out.bytes(&message.payload);
}

pub(crate) fn read_message(input: &mut Reader<'_>, clock: &ClockBase) -> Result<Message, Damaged> {
    let at = input.damaged();
    let flags = input.u8()?;
    let hops = input.u8()?;
    let received_ms = input.u64()?;
    let expires = input.u64()?;
    Ok(Message {
        qos: qos(flags, at)?,
        retain: flags & 4 != 0,
        hops,
        received_ms,
        expires_at: if expires == 0 {
            None
        } else {
            from_unix(clock, expires)
        },
        topic: TopicName::new(input.text()?).map_err(|_| at)?,
        publisher: input.text()?,
        properties: read_properties(input)?,
        payload: input.bytes()?,
    })
}

/// Picks of shared groups among the shards a message is for: shard, group, filter.
pub(crate) type Picks = Vec<(u16, ByteString, ByteString)>;

/// The head of a log entry: which shards owe it to their subscribers, and which groups were picked there.
pub(crate) fn write_targets<'a>(
    out: &mut Writer,
    targets: u64,
    groups: impl ExactSizeIterator<Item = (ShardId, &'a str, &'a str)>,
) {
    out.u64(targets).count(groups.len());
    for (shard, group, filter) in groups {
        out.u16(shard.0)
            .bytes(group.as_bytes())
            .bytes(filter.as_bytes());
    }
}

pub(crate) fn read_targets(input: &mut Reader<'_>) -> Result<(u64, Picks), Damaged> {
    let targets = input.u64()?;
    let picks = input.list(|input| Ok((input.u16()?, input.text()?, input.text()?)))?;
    Ok((targets, picks))
}

/// A place in the log as a key; of one shard in order.
pub(crate) fn log_key(place: LogPlace) -> Vec<u8> {
    Writer::default()
        .u16(place.shard)
        .u64(place.number)
        .finish()
}

pub(crate) fn read_log_key(key: &[u8]) -> Result<LogPlace, Damaged> {
    let mut input = Reader::new(key);
    Ok(LogPlace {
        shard: input.u16()?,
        number: input.u64()?,
    })
}

/// A delayed message as a key; in the order in which they fall due.
pub(crate) fn delayed_key(id: DelayedId) -> Vec<u8> {
    Writer::default()
        .u64(id.due_ms)
        .u16(id.shard)
        .u64(id.number)
        .finish()
}

pub(crate) fn read_delayed_key(key: &[u8]) -> Result<DelayedId, Damaged> {
    let mut input = Reader::new(key);
    let id = DelayedId {
        due_ms: input.u64()?,
        shard: input.u16()?,
        number: input.u64()?,
    };
    input.end()?;
    Ok(id)
}

/// An entry of a queue as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pointer {
    pub(crate) kept: LogPlace,
    /// PUBREC came: only PUBCOMP is outstanding, the rest is of no use.
    pub(crate) is_released: bool,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) subscription_ids: Vec<u32>,
    pub(crate) group: Option<(ByteString, ByteString)>,
    /// Bytes of topic and payload, for the bounds of the queue.
    pub(crate) size: u32,
}

impl Pointer {
    pub(crate) fn write(&self) -> Vec<u8> {
        let mut out = Writer::default();
        out.u8(u8::from(self.is_released))
            .u8(self.qos as u8 | u8::from(self.retain) << 2)
            .u16(self.kept.shard)
            .u64(self.kept.number)
            .u32(self.size)
            .count(self.subscription_ids.len());
        for id in &self.subscription_ids {
            out.u32(*id);
        }
        out.option(self.group.as_ref(), |out, (group, filter)| {
            out.bytes(group.as_bytes()).bytes(filter.as_bytes());
        });
        out.finish()
    }

    pub(crate) fn read(value: &[u8]) -> Result<Self, Damaged> {
        let mut input = Reader::new(value);
        let is_released = input.u8()? != 0;
        let at = input.damaged();
        let flags = input.u8()?;
        let pointer = Self {
            is_released,
            qos: qos(flags, at)?,
            retain: flags & 4 != 0,
            kept: LogPlace {
                shard: input.u16()?,
                number: input.u64()?,
            },
            size: input.u32()?,
            subscription_ids: input.list(Reader::u32)?,
            group: input.option(|input| Ok((input.text()?, input.text()?)))?,
        };
        input.end()?;
        Ok(pointer)
    }
}

/// `session` and `number` as a key; a session's entries lie together, in order.
pub(crate) fn queue_key(session: u64, number: u64) -> Vec<u8> {
    Writer::default().u64(session).u64(number).finish()
}

pub(crate) fn read_queue_key(key: &[u8]) -> Result<(u64, u64), Damaged> {
    let mut input = Reader::new(key);
    Ok((input.u64()?, input.u64()?))
}

pub(crate) fn write_session(state: &SessionState) -> Vec<u8> {
    let mut out = Writer::default();
    out.bytes(state.client_id.as_bytes()).u32(state.expiry);
    out.option(state.absent_since, |out, value| {
        out.u64(value);
    });
    out.option(state.next_number, |out, value| {
        out.u64(value);
    });
    out.finish()
}

pub(crate) fn read_session(value: &[u8]) -> Result<SessionState, Damaged> {
    let mut input = Reader::new(value);
    let state = SessionState {
        client_id: input.text()?,
        expiry: input.u32()?,
        absent_since: input.option(Reader::u64)?,
        next_number: input.option(Reader::u64)?,
    };
    input.end()?;
    Ok(state)
}

pub(crate) fn write_subscription(options: SubscribeOptions, id: Option<u32>) -> Vec<u8> {
    let handling = match options.retain_handling {
        RetainHandling::Send => 0,
        RetainHandling::SendIfNew => 1,
        RetainHandling::DoNotSend => 2,
    };
    let mut out = Writer::default();
    out.u8(options.qos as u8)
        .u8(u8::from(options.no_local))
        .u8(u8::from(options.retain_as_published))
        .u8(handling);
    out.option(id, |out, id| {
        out.u32(id);
    });
    out.finish()
}

pub(crate) fn read_subscription(value: &[u8]) -> Result<(SubscribeOptions, Option<u32>), Damaged> {
    let mut input = Reader::new(value);
    let at = input.damaged();
    let options = SubscribeOptions {
        qos: qos(input.u8()?, at)?,
        no_local: input.u8()? != 0,
        retain_as_published: input.u8()? != 0,
        retain_handling: match input.u8()? {
            0 => RetainHandling::Send,
            1 => RetainHandling::SendIfNew,
            2 => RetainHandling::DoNotSend,
            _ => return Err(at),
        },
    };
    let id = input.option(Reader::u32)?;
    input.end()?;
    Ok((options, id))
}

pub(crate) fn write_will(will: &Will, due: Option<u64>) -> Vec<u8> {
    let mut out = Writer::default();
    out.u8(will.qos as u8 | u8::from(will.retain) << 2)
        .u32(will.delay)
        .bytes(will.topic.as_bytes())
        .bytes(&will.payload);
    write_properties(&mut out, &will.properties);
    out.option(due, |out, due| {
        out.u64(due);
    });
    out.finish()
}

pub(crate) fn read_will(value: &[u8]) -> Result<(Will, Option<u64>), Damaged> {
    let mut input = Reader::new(value);
    let at = input.damaged();
    let flags = input.u8()?;
    let will = Will {
        qos: qos(flags, at)?,
        retain: flags & 4 != 0,
        delay: input.u32()?,
        topic: TopicName::new(input.text()?).map_err(|_| at)?,
        payload: input.bytes()?,
        properties: read_properties(&mut input)?,
    };
    let due = input.option(Reader::u64)?;
    input.end()?;
    Ok((will, due))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn clock() -> ClockBase {
        ClockBase {
            instant: Instant::now(),
            unix_ms: 1_800_000_000_000,
        }
    }

    fn message(clock: &ClockBase) -> Message {
        Message {
            topic: TopicName::new("a/b").unwrap(),
            payload: bytes::Bytes::from_static(b"payload"),
            qos: QoS::ExactlyOnce,
            retain: true,
            properties: PublishProperties::from(MessageProperties {
                payload_format: Some(1),
                message_expiry: Some(7),
                response_topic: Some("r".into()),
                correlation_data: Some(bytes::Bytes::from_static(&[0, 1])),
                subscription_ids: Vec::new(),
                content_type: Some("text/plain".into()),
                user: vec![("k".into(), "v".into()), ("k".into(), "".into())],
            }),
            expires_at: Some(clock.instant + Duration::from_secs(7)),
            publisher: "client".into(),
            received_ms: 1_800_000_000_123,
            hops: 3,
        }
    }

    #[test]
    fn a_message_comes_back_and_every_cut_of_it_is_refused() {
        let clock = clock();
        let message = message(&clock);
        let mut out = Writer::default();
        write_message(&mut out, &message, &clock);
        let bytes = out.finish();
        let read = |bytes: &[u8]| read_message(&mut Reader::new(bytes), &clock);
        assert_eq!(read(&bytes).unwrap(), message);
        for cut in 0..bytes.len() {
            assert!(read(&bytes[..cut]).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn a_deadline_survives_another_clock() {
        let (before, after) = (
            clock(),
            ClockBase {
                instant: Instant::now(),
                unix_ms: 1_800_000_010_000, // ten seconds later
            },
        );
        let at = before.instant + Duration::from_secs(30);
        let again = from_unix(&after, to_unix(&before, at)).unwrap();
        assert_eq!(again - after.instant, Duration::from_secs(20));
    }

    #[test]
    fn pointers_sessions_subscriptions_and_wills_come_back() {
        let pointer = Pointer {
            kept: LogPlace {
                shard: 3,
                number: u64::MAX - 1,
            },
            is_released: false,
            qos: QoS::AtLeastOnce,
            retain: true,
            subscription_ids: vec![1, 268_435_455],
            group: Some(("g".into(), "a/#".into())),
            size: 12,
        };
        assert_eq!(Pointer::read(&pointer.write()).unwrap(), pointer);
        let state = SessionState {
            client_id: "c".into(),
            expiry: u32::MAX,
            absent_since: Some(5),
            next_number: None,
        };
        assert_eq!(read_session(&write_session(&state)).unwrap(), state);
        let options = SubscribeOptions {
            qos: QoS::ExactlyOnce,
            no_local: true,
            retain_as_published: false,
            retain_handling: RetainHandling::SendIfNew,
        };
        let value = write_subscription(options, Some(9));
        assert_eq!(read_subscription(&value).unwrap(), (options, Some(9)));
        let will = Will {
            topic: TopicName::new("w").unwrap(),
            payload: bytes::Bytes::from_static(b"gone"),
            qos: QoS::AtLeastOnce,
            retain: true,
            delay: 9,
            properties: message(&clock()).properties,
        };
        let (again, due) = read_will(&write_will(&will, Some(77))).unwrap();
        assert_eq!((again, due), (will, Some(77)));
    }
}
