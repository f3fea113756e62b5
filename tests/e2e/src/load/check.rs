//! What the broker owed, compared with what it gave.

use super::{Board, Entry, MEMBERS, Member, PUBLISHERS, TOPICS, wait_until};
use crate::PATIENCE;
use crate::raw::{Incoming, Raw};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;

/// What was checked.
#[derive(Debug)]
pub struct Report {
    /// Messages acknowledged, each given to every session and to one of the shared group.
    pub messages: u64,
    /// Deliveries of QoS 1 that came again.
    pub again: u64,
    /// Sessions taken over by their own client.
    pub takeovers: u64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            messages,
            again,
            takeovers,
        } = self;
        let sessions = MEMBERS.iter().filter(|member| !member.is_shared).count();
        write!(
            f,
            "{messages} messages acknowledged and delivered to each of {sessions} sessions and to one of a \
             shared group of {}; QoS 1 repeated {again} times; {takeovers} takeovers",
            MEMBERS.len() - sessions
        )
    }
}

/// Ordinary subscribers one by one, the shared group as one.
fn audiences() -> Vec<Vec<Member>> {
    let (group, alone): (Vec<_>, Vec<_>) = MEMBERS.iter().partition(|member| member.is_shared);
    let mut all: Vec<Vec<Member>> = alone.into_iter().map(|member| vec![member]).collect();
    all.push(group);
    all
}

pub(super) fn wait_for_everything(board: &Board, published: &BTreeMap<u64, u64>) {
    let all: u64 = published.values().sum();
    for audience in audiences() {
        let mut seen = BTreeSet::new();
        let mut arrived = || {
            let lists = board.received.lock().unwrap();
            let given = audience.iter().filter_map(|member| lists.get(member.name));
            seen.extend(given.flatten().copied());
            seen.len() as u64 >= all
        };
        let names: Vec<_> = audience.iter().map(|member| member.name).collect();
        wait_until(&format!("every message at {names:?}"), &mut arrived);
    }
}

/// QoS 2 end to end exactly once; everything in order; identifiers kept.
pub(super) fn report(board: &Board, published: &BTreeMap<u64, u64>) -> Report {
    let violations = board.violations.lock().unwrap();
    assert!(violations.is_empty(), "{violations:#?}");
    let lists = board.received.lock().unwrap();
    let mut again = 0;
    for audience in audiences() {
        for publisher in 0..PUBLISHERS {
            for topic in 0..TOPICS {
                let all = (0..published[&publisher]).filter(|number| number % TOPICS == topic);
                let expected: Vec<u64> = all.collect();
                let is_exact = audience[0].qos == 2 && publisher % 2 == 1;
                again += one_topic(&lists, &audience, (publisher, topic), (&expected, is_exact));
            }
        }
    }
    Report {
        messages: published.values().sum(),
        again,
        takeovers: board.takeovers.load(Ordering::Relaxed),
    }
}

/// One publisher and topic at one audience; how often something came again.
fn one_topic(
    lists: &BTreeMap<&'static str, Vec<Entry>>,
    audience: &[Member],
    (publisher, topic): (u64, u64),
    (expected, is_exact): (&[u64], bool),
) -> u64 {
    let mut all = Vec::new();
    for member in audience {
        let of = lists.get(member.name).into_iter().flatten();
        let of = of.filter(|entry| (entry.0, entry.1) == (publisher, topic));
        let numbers: Vec<u64> = of.map(|entry| entry.2).collect();
        let mut firsts = numbers.clone();
        let mut seen = BTreeSet::new();
        firsts.retain(|number| seen.insert(*number));
        // Order is promised to subscriptions that are not shared.
        if !member.is_shared {
            let what = format!("{}: publisher {publisher}, topic {topic}", member.name);
            let sorted: Vec<u64> = seen.into_iter().collect();
            same(&firsts, &sorted, &format!("{what}, order")); // [MQTT-4.6.0-6]
        }
        all.extend(numbers);
    }
    let given = all.len();
    all.sort_unstable();
    if !is_exact {
        all.dedup();
    }
    let names: Vec<_> = audience.iter().map(|member| member.name).collect();
    let what = format!("{names:?}: publisher {publisher}, topic {topic}");
    same(&all, expected, &what);
    (given - expected.len()) as u64
}

/// Says where two lists part, not all of them.
fn same(found: &[u64], expected: &[u64], what: &str) {
    let parted =
        (0..found.len().max(expected.len())).find(|at| found.get(*at) != expected.get(*at));
    if let Some(at) = parted {
        let near = |list: &[u64]| -> Vec<u64> {
            let from = at.saturating_sub(3);
            list.iter().skip(from).take(8).copied().collect()
        };
        panic!(
            "{what}, at {at}: {:?} where {:?} was expected",
            near(found),
            near(expected)
        );
    }
}

/// The retained message of a topic is the last one acknowledged.
pub(super) fn retained(broker: SocketAddr, published: &BTreeMap<u64, u64>) {
    let (mut raw, _) = Raw::connect(broker, "looks", true, None).unwrap();
    raw.subscribe(&format!("c/+/{}", TOPICS - 1), 0, 1).unwrap();
    let mut found = BTreeMap::new();
    while found.len() < published.len() {
        let next = raw.next(PATIENCE).unwrap().expect("a retained message");
        if let Incoming::Publish {
            payload,
            retain: true,
            ..
        } = next
        {
            let text = String::from_utf8(payload).unwrap();
            let numbers: Vec<u64> = text.split(':').map(|part| part.parse().unwrap()).collect();
            found.insert(numbers[0], numbers[2]);
        }
    }
    for (publisher, count) in published {
        let last = (0..*count)
            .rev()
            .find(|number| number % TOPICS == TOPICS - 1);
        assert_eq!(found.get(publisher).copied(), last, "publisher {publisher}");
    }
}
