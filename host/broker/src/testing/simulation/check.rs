//! What the node owed, compared with what it gave.

use super::mortal::Verdict;
use super::publisher::{Kind, Owed, Publisher, Sent, kind};
use super::{FICKLE, GROUP, PUBLISHERS, RECEIVE_MAXIMUM, SUBSCRIBERS, TIGHT, WITNESS, World};
use crate::testing::MAIL;
use std::collections::{BTreeMap, BTreeSet};
use witmq_proto::packet::QoS;

impl World {
    /// Numbers of one publisher in one room that a subscriber was given, in order.
    fn numbers(&self, subscriber: usize, room: &str, publisher: usize) -> Vec<u64> {
        let topic = format!("{room}/{publisher}");
        let given = self.subscribers[subscriber].received.iter();
        let given = given.filter(|((of, _), _)| **of == *topic);
        given
            .map(|((_, payload), _)| {
                let number = payload.split_once(':').map(|(_, number)| number);
                let number = number.and_then(|number| number.parse().ok());
                number.unwrap_or_else(|| panic!("{payload} was never published"))
            })
            .collect()
    }

    /// Whether a message has to be at those who were subscribed all the time.
    fn must_arrive(&self, number: u64, sent: &Sent) -> bool {
        let is_ordinary = kind(number) == (Kind::Ordinary { expires: false });
        is_ordinary && sent.is_acknowledged && !sent.is_refused && !self.is_tight
    }

    /// Whether it takes its place in the order. What was refused or dropped here may come again behind later
    /// ones, if its publisher repeats it; what expired, if the node forgot that and may have begun it.
    fn is_steady(&self, publisher: usize, number: u64) -> bool {
        let place = usize::try_from(number).unwrap_or(usize::MAX);
        let is_repeated = Publisher::qos(publisher) < QoS::ExactlyOnce;
        let expires = kind(number) == (Kind::Ordinary { expires: true });
        let met_refusal = self.publishers[publisher].sent[place].met_refusal;
        !(met_refusal || expires || is_repeated && self.is_tight)
    }

    fn must(&self, publisher: usize, from: usize) -> BTreeSet<u64> {
        let sent = (0..).zip(&self.publishers[publisher].sent).skip(from);
        let must = sent.filter(|(number, sent)| self.must_arrive(*number, sent));
        must.map(|(number, _)| number).collect()
    }

    pub(super) fn check_messages(&self) {
        for publisher in 0..PUBLISHERS {
            assert!(
                self.publishers[publisher].is_idle(),
                "publisher {publisher} waits"
            );
            let must = self.must(publisher, 0);
            let alone = SUBSCRIBERS.iter().enumerate().take(GROUP.start);
            for (subscriber, (who, ..)) in alone {
                let given = self.check_order(subscriber, publisher);
                let missing: Vec<_> = must.difference(&given).collect();
                assert!(
                    missing.is_empty(),
                    "{who} misses {missing:?} of {publisher}"
                );
            }
            self.check_group(publisher, &must);
            self.check_fickle(publisher);
            for mortal in &self.mortals {
                let Some(from) = &mortal.owed_from else {
                    continue;
                };
                let must = self.must(publisher, from[publisher]);
                let given = self.numbers(mortal.subscriber(), "t", publisher);
                let given: BTreeSet<u64> = given.into_iter().collect();
                let missing: Vec<_> = must.difference(&given).collect();
                let who = &self.subscribers[mortal.subscriber()].client_id;
                assert!(
                    missing.is_empty(),
                    "{who} misses {missing:?} of {publisher}"
                );
            }
        }
    }

    /// In order [MQTT-4.6.0-6], and QoS 2 not twice; what was given.
    fn check_order(&self, subscriber: usize, publisher: usize) -> BTreeSet<u64> {
        let (who, _, qos) = SUBSCRIBERS[subscriber];
        let mut numbers = self.numbers(subscriber, "t", publisher);
        let mut seen = BTreeSet::new();
        if qos < QoS::ExactlyOnce || Publisher::qos(publisher) < QoS::ExactlyOnce {
            numbers.retain(|number| seen.insert(*number));
        }
        let given = numbers.iter().copied().collect();
        numbers.retain(|number| self.is_steady(publisher, *number));
        let is_sorted = numbers.is_sorted_by(|a, b| a < b);
        assert!(is_sorted, "{who}: order of {publisher}: {numbers:?}");
        given
    }

    /// Each message at one member, or at another after its publisher repeated it. Order is promised to
    /// subscriptions that are not shared [MQTT-4.6.0-6].
    fn check_group(&self, publisher: usize, must: &BTreeSet<u64>) {
        let members = GROUP.map(|member| self.numbers(member, "t", publisher));
        let all: Vec<u64> = members.flatten().collect();
        let given: BTreeSet<u64> = all.iter().copied().collect();
        if Publisher::qos(publisher) == QoS::ExactlyOnce {
            assert_eq!(
                all.len(),
                given.len(),
                "the group got one of {publisher} twice"
            );
        }
        let missing: Vec<_> = must.difference(&given).collect();
        assert!(
            missing.is_empty(),
            "the group misses {missing:?} of {publisher}"
        );
    }

    fn check_fickle(&self, publisher: usize) {
        let given = self.numbers(FICKLE, "u", publisher);
        let given: BTreeSet<u64> = given.into_iter().collect();
        for (number, sent) in (0..).zip(&self.publishers[publisher].sent) {
            if kind(number) != Kind::Fickle {
                continue;
            }
            let has = given.contains(&number);
            let is_lost = sent.is_acknowledged && !sent.is_refused && !self.is_tight && !has;
            match sent.fickle {
                Owed::Must => assert!(!is_lost, "fickle misses {publisher}:{number}"),
                Owed::Never => assert!(!has, "fickle got {publisher}:{number} unsubscribed"),
                Owed::May => {}
            }
        }
    }

    /// The retained message is the last acknowledged, or one begun since then.
    pub(super) fn check_retained(&self) {
        for publisher in &self.publishers {
            let name = publisher.name;
            let found = self.rig.retained(&format!("r/{name}"));
            let found = found.map(|message| String::from_utf8_lossy(&message.payload).into_owned());
            let mut allowed = vec![None];
            for (number, sent) in (0..).zip(&publisher.sent) {
                let Kind::Retained { clears } = kind(number) else {
                    continue;
                };
                if sent.is_acknowledged && !sent.is_refused {
                    allowed.clear();
                }
                allowed.push((!clears).then(|| format!("{name}:{number}")));
            }
            assert!(
                allowed.contains(&found),
                "retained of {name} is {found:?}, not one of {allowed:?}"
            );
        }
    }

    pub(super) fn check_wills(&self) {
        let mut came = BTreeMap::new();
        for ((_, payload), at) in &self.subscribers[WITNESS].received {
            let earlier = came.insert(payload.as_str(), *at);
            assert!(earlier.is_none(), "will {payload} was published twice");
        }
        for will in self.mortals.iter().flat_map(|mortal| &mortal.wills) {
            let at = came.get(will.payload.as_str());
            match will.verdict {
                Verdict::Must => assert!(at.is_some() || self.is_tight, "{will:?} is missing"),
                Verdict::Never(_) => assert!(at.is_none(), "{will:?} was published"),
                Verdict::May => {}
            }
            if let Some(at) = at {
                assert!(*at >= will.not_before, "{will:?} was published too early");
            }
        }
    }

    /// No more waits for a client than its bound, and what it has in flight.
    pub(super) fn check_bounds(&self) {
        if self.is_tight {
            let longest = self
                .rig
                .shards
                .iter()
                .map(|shard| shard.longest_queue())
                .max();
            // What was on its way to the shard when the node ended is queued whatever the bound.
            let late = usize::try_from(self.crashes).unwrap_or(1) * (2 * MAIL + PUBLISHERS);
            let bound = TIGHT + usize::from(RECEIVE_MAXIMUM) + late;
            assert!(
                longest <= Some(bound),
                "{longest:?} messages wait for one client"
            );
        }
    }
}
