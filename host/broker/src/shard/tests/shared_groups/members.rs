//! Members that come, go and fill up, with every strategy: each message goes to one of them.

use super::*;
use crate::router::groups::Pick;
use crate::router::interest::GroupKey;
use crate::shard::Mail;
use proptest::prelude::{ProptestConfig, any, prop_assert_eq, prop_oneof, proptest};
use proptest::strategy::Strategy as _;
use std::sync::Arc;
use witmq_proto::{Message, TopicFilter, TopicName};

#[test]
fn members_that_are_away_are_passed_over_and_keep_only_what_nobody_else_takes() {
    for strategy in ALL {
        let mut town = Town::new(strategy, 1000);
        let names: Vec<_> = (0..SHARDS).map(|shard| name("m", shard, 0)).collect();
        for member in &names {
            town.settle(member);
        }
        town.leave(&names[0]);
        town.leave(&names[1]);
        for number in 0..9 {
            assert_eq!(town.whose(&publisher(number), "t/x"), names[2]);
        }
        town.leave(&names[2]);
        town.received.clear();
        for number in 0..9 {
            town.publish(&publisher(number), "t/x");
        }
        assert!(town.received.is_empty());
        for member in &names {
            town.settle(member);
        }
        assert_eq!(town.received.len(), 9, "{strategy:?}: each once, kept");
        assert_eq!(town.rig.counters().dropped_offline, 0);
    }
}

#[test]
fn a_member_taken_over_by_its_own_client_gets_every_message_once() {
    for strategy in ALL {
        let mut town = Town::new(strategy, 1000);
        let member = name("m", 1, 0);
        town.settle(&member);
        town.acks = false;
        town.publish("p", "t/x");
        town.open.clear();
        town.acks = true;
        town.settle(&member);
        town.publish("p", "t/x");
        let payloads: Vec<_> = town.received.iter().map(|(payload, _)| payload).collect();
        assert_eq!(
            payloads,
            ["1", "1", "2"],
            "{strategy:?}: unacknowledged, again"
        );
    }
}

#[test]
fn a_full_member_is_passed_over_on_every_shard() {
    for strategy in ALL {
        let mut town = Town::new(strategy, 3);
        let names: Vec<_> = (0..SHARDS).map(|shard| name("m", shard, 0)).collect();
        for member in &names {
            town.join(member);
        }
        town.rig.stick(town.members[&names[0]], true);
        town.rig.stick(town.members[&names[1]], true);
        for number in 0..60 {
            town.publish(&publisher(number % 12), &format!("t/{number}"));
        }
        let counters = town.rig.counters();
        assert_eq!(counters.dropped_full, 0, "{strategy:?}");
        town.rig.stick(town.members[&names[0]], false);
        town.rig.stick(town.members[&names[1]], false);
        town.collect();
        assert_eq!(town.received.len(), 60, "{strategy:?}");
        assert!(town.counts()[names[2].as_str()] >= 54);
    }
}

#[test]
fn with_no_room_anywhere_the_policy_of_the_member_counts() {
    for strategy in ALL {
        let mut town = Town::new(strategy, 2);
        for shard in 0..SHARDS {
            let member = name("m", shard, 0);
            town.join(&member);
            town.rig.stick(town.members[&member], true);
        }
        for number in 0..10 {
            town.publish(&publisher(number), "t/x");
        }
        assert_eq!(town.rig.counters().dropped_full, 4, "{strategy:?}");
    }
}

#[test]
fn what_a_member_did_not_acknowledge_goes_to_another_when_its_session_ends() {
    for strategy in ALL {
        let mut town = Town::new(strategy, 1000);
        let names: Vec<_> = (0..SHARDS).map(|shard| name("m", shard, 0)).collect();
        for member in &names {
            town.join(member);
        }
        town.acks = false;
        for number in 0..12 {
            town.publish(&publisher(number), &format!("t/{number}"));
        }
        town.acks = true;
        town.open.clear();
        let first = town.received.clone();
        let unacknowledged = |member: &String| first.iter().filter(|(_, m)| m == member).count();
        town.received.clear();
        town.leave(&names[0]);
        assert_eq!(
            town.received.len(),
            unacknowledged(&names[0]),
            "{strategy:?}"
        );
        assert!(town.received.iter().all(|(_, member)| *member != names[0]));
        town.received.clear();
        town.leave(&names[1]);
        assert!(town.received.len() >= unacknowledged(&names[1]));
        assert!(town.received.iter().all(|(_, member)| *member == names[2]));
    }
}

#[test]
fn a_qos_2_message_begun_with_a_member_goes_to_no_other() {
    let mut rig = rig();
    let names = [name("m", 0, 0), name("m", 1, 0)];
    let members = names.map(|name| {
        let peer = join(&mut rig, Version::V5, &name);
        subscribed(&mut rig, peer, "$share/g/t", Q2);
        peer
    });
    let publisher = join(&mut rig, Version::V5, "p");
    let message = publish("t", "x", Q2, 1);
    rig.send(publisher, &Packet::Publish(Box::new(message)));
    let mut begun = members
        .into_iter()
        .filter(|peer| !publishes(rig.received(*peer)).is_empty());
    let (Some(first), None) = (begun.next(), begun.next()) else {
        panic!("not with one member")
    };
    rig.cut(first);
    for peer in members {
        assert!(rig.received(peer).is_empty()); // [MQTT-4.8.2-5]
    }
}

/// Mail that was on its way while the member it names left, or filled up.
#[test]
fn mail_for_a_member_that_cannot_take_it_any_more_is_passed_on_once() {
    for strategy in ALL {
        let mut town = Town::new(strategy, 2);
        let (here, there) = (name("m", 0, 0), name("m", 1, 0));
        town.join(&here);
        town.join(&there);
        let mail = |to: &str, payload: &'static str| {
            let (message, pick) = late(to, payload);
            Mail::Publish {
                message,
                picks: vec![pick],
                plain: false,
                kept: None,
            }
        };
        town.rig.stick(town.members[&here], true);
        for payload in ["1", "2", "3"] {
            let now = town.rig.now;
            town.rig.shards[0].handle_mail(now, mail(&here, payload));
            town.rig.run();
        }
        town.collect();
        assert_eq!(
            town.received,
            [("3".to_owned(), there.clone())],
            "{strategy:?}"
        );
        town.leave(&here);
        assert_eq!(town.received.len(), 3, "its session ended");
        let now = town.rig.now;
        town.rig.shards[0].handle_mail(now, mail(&here, "4"));
        town.rig.run();
        town.collect();
        assert_eq!(town.received.last(), Some(&("4".to_owned(), there.clone())));
        town.leave(&there);
        let now = town.rig.now;
        town.rig.shards[1].handle_mail(now, mail(&there, "5"));
        assert_eq!(town.rig.counters().dropped_offline, 1, "nobody is left");
    }
}

/// A message on its way to a client of the group.
fn late(to: &str, payload: &'static str) -> (Arc<Message>, Pick) {
    let topic = TopicName::new("t/x").unwrap();
    let message = publish("t/x", payload, Q1, 1);
    let now = std::time::Instant::now();
    let message = Message::from_publish(message, topic, "p".into(), now, 0);
    let key = GroupKey {
        group: "g".into(),
        filter: TopicFilter::new("t/#").unwrap(),
    };
    let pick = Pick {
        key: Arc::new(key),
        client_id: to.into(),
        shard: shard_of(to, SHARDS),
        has_room: true,
        is_durable: false,
        is_passed_on: false,
    };
    (Arc::new(message), pick)
}

#[test]
fn messages_of_a_publisher_reach_each_member_in_order() {
    for strategy in ALL {
        let mut town = Town::with_members(strategy);
        for number in 0..90 {
            town.publish(&publisher(number % 3), &format!("t/{}", number % 5));
        }
        let mut last: BTreeMap<&str, u32> = BTreeMap::new();
        for (payload, member) in &town.received {
            let number = payload.parse().unwrap();
            assert!(last.insert(member, number).is_none_or(|last| last < number));
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Join(usize),
    Settle(usize),
    Leave(usize),
    Stick(usize, bool),
    Publish(usize),
}

fn step() -> impl proptest::strategy::Strategy<Value = Step> {
    prop_oneof![
        (0..6usize).prop_map(Step::Join),
        (0..6usize).prop_map(Step::Settle),
        (0..6usize).prop_map(Step::Leave),
        (0..6usize, any::<bool>()).prop_map(|(member, is)| Step::Stick(member, is)),
        (0..4usize).prop_map(Step::Publish),
        (0..4usize).prop_map(Step::Publish),
        (0..4usize).prop_map(Step::Publish),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever members do, a message is given to one of them, or counted as dropped where none could take it.
    #[test]
    fn each_message_goes_to_exactly_one_member(
        which in 0..ALL.len(),
        steps in proptest::collection::vec(step(), 1..60),
    ) {
        let mut town = Town::new(ALL[which], 4);
        for step in steps {
            match step {
                Step::Join(n) if !town.is_present(n) => town.join(&member(n)),
                Step::Settle(n) if !town.is_present(n) => town.settle(&member(n)),
                Step::Leave(n) if town.is_present(n) => town.leave(&member(n)),
                Step::Stick(n, is_stuck) if town.is_present(n) => {
                    town.rig.stick(town.members[&member(n)], is_stuck);
                    town.collect();
                }
                Step::Publish(n) => {
                    town.publish(&publisher(n), &format!("t/{n}"));
                }
                _ => {}
            }
        }
        for n in 0..6 {
            if town.is_present(n) {
                town.rig.stick(town.members[&member(n)], false);
                town.collect();
            } else if town.members.contains_key(&member(n)) {
                town.settle(&member(n));
            }
        }
        let mut seen: Vec<_> = town.received.iter().map(|(payload, _)| payload).collect();
        let count = seen.len();
        seen.sort();
        seen.dedup();
        prop_assert_eq!(seen.len(), count, "a message reached two members: {:?}", town.received);
        let counters = town.rig.counters();
        let dropped = counters.dropped_full + counters.dropped_offline;
        prop_assert_eq!(count as u64 + dropped + u64::from(town.unwanted), u64::from(town.published));
    }
}
