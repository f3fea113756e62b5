//! Single parts of a message's way: decode, encode, match, look up who is interested, choose in a group; and what the machine itself takes.

use super::Play;
use crate::wire::{Stamp, Template};
use anyhow::{Context as _, Result};
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;
use witmq_broker::router::ShardId;
use witmq_broker::router::groups::{Member, Picker, Presence, Strategies};
use witmq_broker::router::interest::{GroupKey, Interest};
use witmq_broker::router::known::Known;
use witmq_broker::router::trie::{Trie, Walk};
use witmq_proto::codec::{self, PublishHead};
use witmq_proto::packet::{Publish, PublishProperties, QoS, Version};
use witmq_proto::{BytesMut, Message, Packet, TopicFilter, TopicName};

/// Packets in one buffer.
const BATCH: u32 = 32;
/// Topics that are asked for: enough that the seeds of hash tables, which differ from run to run, make no difference.
const TOPICS: u32 = 2_000;
/// Filters of the trie and of the index.
const FILTERS: u32 = 10_000;
/// Members of the group.
const MEMBERS: u32 = 10_000;

/// What the C library does for every message, and no line of ours: copies, comparisons, memory taken and given back.
pub(super) fn machine() -> Play {
    let (short, long) = (vec![7_u8; 16], vec![7_u8; 300]);
    let mut buffer = Vec::with_capacity(1024);
    Box::new(move |count| {
        for _ in 0..count {
            buffer.clear();
            buffer.extend_from_slice(black_box(&short));
            buffer.extend_from_slice(black_box(&long));
            let copy: Box<[u8]> = black_box(buffer.as_slice()).into();
            black_box(copy.starts_with(black_box(&short)) && *copy == *buffer.as_slice());
        }
        Ok(count)
    })
}

/// PUBLISH packets of 16 bytes, 32 in a buffer.
pub(super) fn decode() -> Play {
    let template = Template::new("bench/7/temperature", 0, 16, false);
    let stamp = Stamp {
        due_ns: 0,
        publisher: 0,
        sequence: 0,
    };
    let mut batch = Vec::new();
    (0..BATCH).for_each(|_| template.emit(&mut batch, stamp));
    let limits = codec::Limits::default();
    let mut input = BytesMut::new();
    Box::new(move |count| {
        let mut done = 0;
        while done < count {
            input.extend_from_slice(&batch);
            while let Some(packet) = codec::decode(&mut input, Version::V311, &limits)? {
                done += u32::from(matches!(black_box(packet), Packet::Publish(_)));
            }
        }
        Ok(done)
    })
}

/// The same packets the other way.
pub(super) fn encode() -> Play {
    let (mut out, properties) = (BytesMut::new(), PublishProperties::default());
    Box::new(move |count| {
        let head = PublishHead {
            dup: false,
            qos: QoS::AtMostOnce,
            retain: false,
            topic: "bench/7/temperature",
            packet_id: None,
            topic_alias: None,
            message_expiry: None,
            subscription_ids: &[],
            properties: &properties,
            payload: &[0; 16],
        };
        let mut done = 0;
        while done < count {
            out.clear();
            for _ in 0..BATCH {
                codec::encode_publish(black_box(&head), Version::V311, &mut out);
                done += 1;
            }
            black_box(&out);
        }
        Ok(done)
    })
}

/// Topics with one match each among 10,000 filters of four shapes.
pub(super) fn find() -> Result<Play> {
    let (mut trie, mut walk) = (Trie::new(), Walk::default());
    for number in 0..FILTERS {
        trie.insert(&filter(number)?, number, ());
    }
    let mut topics = topics().into_iter().cycle();
    Ok(Box::new(move |count| {
        let mut found = 0;
        while found < count {
            let topic = topics.next().context("no topic")?;
            trie.for_each_match(black_box(&topic), &mut walk, |_, ()| found += 1);
        }
        Ok(found)
    }))
}

/// The same question to the index that all shards share, whose answers are remembered by topic.
pub(super) fn route() -> Result<Play> {
    let interest = Interest::new(2, Strategies::default());
    for number in 0..FILTERS {
        interest.subscribe(ShardId(0), &filter(number)?, false);
    }
    let mut known = Known::<()>::new(usize::try_from(2 * TOPICS)?);
    let topics = topics();
    Ok(Box::new(move |count| {
        let mut done = 0;
        for topic in topics.iter().cycle() {
            if done == count {
                break;
            }
            let at = known.place(black_box(topic));
            black_box(known.wanted(&interest, at));
            done += 1;
        }
        Ok(done)
    }))
}

/// Messages to a large shared group, before each of which a member comes or goes.
pub(super) fn group() -> Result<Play> {
    let interest = Interest::new(2, Strategies::default());
    let key = Arc::new(GroupKey {
        group: "g".into(),
        filter: TopicFilter::new("bench/#")?,
    });
    let presences: Vec<Arc<Presence>> = (0..MEMBERS).map(|_| Arc::default()).collect();
    let member = |number: u32, presence: &Arc<Presence>| {
        presence.set(true, false, 0);
        let shard = ShardId(u16::from(number.is_multiple_of(2)));
        Member::new(name(number).into(), shard, presence.clone(), false)
    };
    for (number, presence) in (0..).zip(&presences) {
        interest.join(&key, member(number, presence));
    }
    let topic = TopicName::judged("bench/t".into());
    let publish = Publish::default();
    let message = Message::from_publish(publish, topic, "p".into(), Instant::now(), 0);
    let (mut known, mut picker) = (Known::<()>::new(16), Picker::new(16));
    let mut pick = move |interest: &Interest| {
        let at = known.place(black_box(&message.topic));
        let group = known.wanted(interest, at).groups.first();
        group.and_then(|group| picker.pick(group, &message))
    };
    let mut numbers = (0..MEMBERS).cycle();
    Ok(Box::new(move |count| {
        let mut given = 0;
        while given < count {
            let number = numbers.next().context("no number")?;
            let presence = presences.get(usize::try_from(number)?);
            let presence = presence.context("no presence")?;
            interest.leave(&key, &name(number), presence);
            given += u32::from(pick(&interest).is_some());
            interest.join(&key, member(number, presence));
            given += u32::from(pick(&interest).is_some());
        }
        Ok(given)
    }))
}

fn name(number: u32) -> String {
    format!("client-{number}")
}

fn filter(number: u32) -> Result<TopicFilter> {
    let text = match number % 4 {
        0 => format!("bench/d/{number}/temp"),
        1 => format!("bench/d/{number}/+"),
        2 => format!("bench/d/{number}/#"),
        _ => format!("bench/+/{number}/temp"),
    };
    Ok(TopicFilter::new(text)?)
}

/// Some of the topics, spread over the shapes.
fn topics() -> Vec<String> {
    let numbers = (0..TOPICS).map(|number| number * 97 % FILTERS);
    numbers
        .map(|number| format!("bench/d/{number}/temp"))
        .collect()
}
