//! Topics the operator moves elsewhere and subscriptions it makes, as clients see them.

use super::{Q0, Q1, Q2, id, join, join_with, options, payloads, persistent, publish, publishes};
use super::{subscribe, subscribed};
use crate::auto_subscribe::AutoSubscribe;
use crate::limits::Limits;
use crate::memory::Memory;
use crate::ports::AclRule;
use crate::ports::hooks::{AuthStep, Grant};
use crate::rewrite::{Action, Pattern, Rewrite, Rewrites, Target};
use crate::shared::Shared;
use crate::testing::{Rig, connect};
use std::time::Duration;
use witmq_proto::packet::{
    Packet, PublishProperties, RetainHandling, SubscribeOptions, Unsubscribe, Version, Will,
};
use witmq_proto::{Bytes, ReasonCode, TopicName};

fn rig(limits: Limits, configure: impl FnOnce(&mut Shared)) -> Rig {
    let limits = Limits {
        sys_interval: Duration::ZERO,
        ..limits
    };
    Rig::with_shared(3, limits, || Box::new(Memory::default()), configure)
}

fn rewriting(rules: &[(Action, &str, &str)]) -> Rig {
    let rule = |(action, from, to): &(Action, &str, &str)| {
        Rewrite::new(
            *action,
            Pattern::parse(from).unwrap(),
            Target::parse(to).unwrap(),
        )
        .unwrap()
    };
    let rules = Rewrites::new(rules.iter().map(rule).collect()).unwrap();
    rig(Limits::default(), |shared| shared.rewrites = rules)
}

/// Everybody may do what these filters say, as user `ada`.
fn allow(rig: &mut Rig, filters: &'static [&'static str]) {
    rig.authenticator = Box::new(move |_| {
        let rule = |filter: &&str| AclRule {
            allow: true,
            publish: true,
            subscribe: true,
            filter: (*filter).to_owned(),
        };
        AuthStep::Allow(Box::new(Grant {
            username: Some("ada".into()),
            acl: filters.iter().map(rule).collect(),
            acl_complete: true,
            ..Grant::default()
        }))
    });
}

fn suback(rig: &mut Rig, peer: usize, filter: &str) -> ReasonCode {
    rig.send(peer, &subscribe(&[(filter, options(Q1))], None));
    let received = rig.received(peer);
    let [Packet::Suback(suback), ..] = &received[..] else {
        panic!("{received:?}")
    };
    suback.reasons[0]
}

fn unsuback(rig: &mut Rig, peer: usize, filter: &str) -> ReasonCode {
    let packet = Unsubscribe {
        packet_id: id(5),
        user: Vec::new(),
        filters: vec![filter.into()],
    };
    rig.send(peer, &Packet::Unsubscribe(Box::new(packet)));
    let received = rig.received(peer);
    let [Packet::Unsuback(unsuback)] = &received[..] else {
        panic!("{received:?}")
    };
    unsuback.reasons[0]
}

fn puback(rig: &mut Rig, peer: usize, topic: &str) -> ReasonCode {
    rig.send(
        peer,
        &Packet::Publish(Box::new(publish(topic, topic, Q1, 3))),
    );
    let acks = rig
        .received(peer)
        .into_iter()
        .find_map(|packet| match packet {
            Packet::Puback(ack) => Some(ack.reason),
            _ => None,
        });
    acks.unwrap()
}

fn will(topic: &str) -> Will {
    Will {
        topic: TopicName::new(topic.to_owned()).unwrap(),
        payload: Bytes::from_static(b"gone"),
        qos: Q0,
        retain: true,
        delay: 0,
        properties: PublishProperties::default(),
    }
}

#[test]
fn publish_will_retained_and_delayed_messages_go_where_the_rule_says() {
    let mut rig = rewriting(&[(
        Action::Publish,
        "old/{a}/{rest...}",
        "new/{user}/{client}/{a}/{rest}",
    )]);
    allow(&mut rig, &["new/#", "#"]);
    let watcher = join(&mut rig, Version::V5, "w");
    subscribed(&mut rig, watcher, "#", Q0);
    let mut wanted = connect(Version::V5, "c");
    wanted.will = Some(will("$delayed/2/old/will"));
    let (client, _) = join_with(&mut rig, wanted);
    for topic in ["old/1/x", "other", "$delayed/1/old/2"] {
        let mut packet = publish(topic, "x", Q0, 0);
        packet.retain = true;
        rig.send(client, &Packet::Publish(Box::new(packet)));
    }
    rig.cut(client);
    rig.advance(Duration::from_secs(3));
    let topics: Vec<_> = publishes(rig.received(watcher))
        .into_iter()
        .map(|p| p.topic)
        .collect();
    assert_eq!(
        topics,
        ["new/ada/c/1/x", "other", "new/ada/c/2", "new/ada/c/will"]
    );
    let late = join(&mut rig, Version::V5, "late");
    rig.send(late, &subscribe(&[("#", options(Q0))], None));
    let retained: Vec<_> = publishes(rig.received(late))
        .into_iter()
        .map(|p| p.topic)
        .collect();
    assert_eq!(
        retained,
        ["new/ada/c/1/x", "new/ada/c/2", "new/ada/c/will", "other"]
    );
}

#[test]
fn a_rule_takes_nobody_where_it_may_not_go() {
    let mut rig = rewriting(&[
        (Action::All, "open/{rest...}", "secret/{rest}"),
        (Action::All, "closed/{rest...}", "open2/{rest}"),
    ]);
    allow(&mut rig, &["open/#", "open2/#"]);
    let client = join(&mut rig, Version::V5, "c");
    // It may use the name it says, but not the topic that means.
    assert_eq!(
        suback(&mut rig, client, "open/x"),
        ReasonCode::NotAuthorized
    );
    assert_eq!(
        puback(&mut rig, client, "open/x"),
        ReasonCode::NotAuthorized
    );
    assert_eq!(
        puback(&mut rig, client, "$delayed/1/open/x"),
        ReasonCode::NotAuthorized
    );
    // And the other way round: the real topic counts.
    assert_eq!(
        suback(&mut rig, client, "closed/x"),
        ReasonCode::GrantedQos1
    );
    assert_eq!(puback(&mut rig, client, "closed/x"), ReasonCode::Success);
    let mut wanted = connect(Version::V5, "c2");
    wanted.will = Some(will("open/x"));
    let (other, _) = join_with(&mut rig, wanted);
    rig.cut(other);
    assert_eq!(rig.counters().denied, 4);
}

#[test]
fn subscriptions_move_with_their_share_and_unsubscribe_finds_them() {
    for share in ["", "$share/g/"] {
        let mut rig = rewriting(&[(Action::Subscribe, "old/{rest...}", "new/{rest}")]);
        let client = join(&mut rig, Version::V5, "c");
        let filter = format!("{share}old/+/x");
        assert_eq!(suback(&mut rig, client, &filter), ReasonCode::GrantedQos1);
        rig.send(
            client,
            &Packet::Publish(Box::new(publish("new/1/x", "1", Q0, 0))),
        );
        rig.send(
            client,
            &Packet::Publish(Box::new(publish("old/1/x", "2", Q0, 0))),
        );
        assert_eq!(payloads(&mut rig, client), ["1"]);
        assert_eq!(unsuback(&mut rig, client, &filter), ReasonCode::Success);
        let again = unsuback(&mut rig, client, &filter);
        assert_eq!(again, ReasonCode::NoSubscriptionExisted);
        assert_eq!(rig.counters().subscriptions, 0);
    }
}

#[test]
fn a_subscription_older_than_the_rule_can_still_be_removed() {
    let mut rig = rewriting(&[(Action::Subscribe, "old/{rest...}", "new/{rest}")]);
    let client = join(&mut rig, Version::V5, "c");
    // `new/#` is what the rule makes of `old/#`, and what a client may have asked for itself.
    assert_eq!(suback(&mut rig, client, "new/#"), ReasonCode::GrantedQos1);
    assert_eq!(unsuback(&mut rig, client, "new/#"), ReasonCode::Success);
    assert_eq!(suback(&mut rig, client, "old/#"), ReasonCode::GrantedQos1);
    assert_eq!(unsuback(&mut rig, client, "old/#"), ReasonCode::Success);
}

#[test]
fn a_client_whose_name_does_not_fit_is_refused_not_moved() {
    let mut rig = rewriting(&[(Action::All, "mine/{rest...}", "of/{client}/{rest}")]);
    let client = join(&mut rig, Version::V5, "a/+");
    assert_eq!(
        suback(&mut rig, client, "mine/#"),
        ReasonCode::TopicFilterInvalid
    );
    assert_eq!(
        puback(&mut rig, client, "mine/x"),
        ReasonCode::TopicNameInvalid
    );
    let mut wanted = connect(Version::V5, "b/+");
    wanted.will = Some(will("mine/x"));
    let (_, connack) = join_with(&mut rig, wanted);
    assert_eq!(connack.reason, ReasonCode::TopicNameInvalid);
    assert_eq!(rig.counters().topics_invalid, 2);
}

fn subscribing(limits: Limits, filters: &[(&str, SubscribeOptions)]) -> Rig {
    let entry = |(filter, options): &(&str, SubscribeOptions)| {
        AutoSubscribe::new(filter, *options).unwrap()
    };
    let entries = filters.iter().map(entry).collect();
    rig(limits, |shared| shared.auto_subscribe = entries)
}

#[test]
fn every_client_gets_its_subscriptions_and_may_give_them_up() {
    let no_local = SubscribeOptions {
        no_local: true,
        ..options(Q2)
    };
    let mut rig = subscribing(
        Limits::default(),
        &[
            ("inbox/{client}", options(Q1)),
            ("of/{user}/#", no_local),
            ("$share/g/jobs", options(Q1)),
        ],
    );
    allow(&mut rig, &["inbox/#", "of/#"]); // to publish; no right to `jobs` is needed
    let (one, two) = (
        join(&mut rig, Version::V5, "one"),
        join(&mut rig, Version::V311, "two"),
    );
    assert_eq!(rig.counters().subscriptions, 6);
    for topic in ["inbox/one", "inbox/two", "of/ada/x"] {
        rig.send(
            one,
            &Packet::Publish(Box::new(publish(topic, topic, Q2, 7))),
        );
        rig.send(
            one,
            &Packet::Pubrel(witmq_proto::packet::Ack::new(id(7), ReasonCode::Success)),
        );
    }
    assert_eq!(payloads(&mut rig, one), ["inbox/one"], "no local");
    let came = publishes(rig.received(two));
    let came: Vec<_> = came.iter().map(|p| (&*p.topic, p.qos)).collect();
    assert_eq!(came, [("inbox/two", Q1), ("of/ada/x", Q2)]);
    assert_eq!(unsuback(&mut rig, one, "inbox/one"), ReasonCode::Success);
    assert_eq!(
        unsuback(&mut rig, one, "inbox/one"),
        ReasonCode::NoSubscriptionExisted
    );
}

#[test]
fn a_resumed_session_is_not_subscribed_twice_nor_sent_retained_again() {
    let mut rig = subscribing(Limits::default(), &[("news", options(Q1))]);
    let publisher = join(&mut rig, Version::V5, "p");
    let mut news = publish("news", "old", Q1, 1);
    news.retain = true;
    rig.send(publisher, &Packet::Publish(Box::new(news)));
    rig.received(publisher);
    let first = rig.connect(persistent(Version::V5, "s"));
    let came = publishes(rig.received(first));
    assert_eq!(came.len(), 1, "retained, as with SUBSCRIBE");
    let ack = witmq_proto::packet::Ack::new(came[0].packet_id.unwrap(), ReasonCode::Success);
    rig.send(first, &Packet::Puback(ack));
    rig.cut(first);
    let again = rig.connect(persistent(Version::V5, "s"));
    assert!(publishes(rig.received(again)).is_empty());
    assert_eq!(rig.counters().subscriptions, 2);
    // Given up, it is made again with the next connection.
    assert_eq!(unsuback(&mut rig, again, "news"), ReasonCode::Success);
    rig.cut(again);
    let third = rig.connect(persistent(Version::V5, "s"));
    assert_eq!(publishes(rig.received(third)).len(), 1);
    assert_eq!(rig.counters().subscriptions, 2);
}

#[test]
fn retain_handling_is_that_of_the_configuration() {
    let quiet = SubscribeOptions {
        retain_handling: RetainHandling::DoNotSend,
        ..options(Q1)
    };
    let mut rig = subscribing(Limits::default(), &[("news", quiet)]);
    let publisher = join(&mut rig, Version::V5, "p");
    let mut news = publish("news", "old", Q1, 1);
    news.retain = true;
    rig.send(publisher, &Packet::Publish(Box::new(news)));
    let client = rig.connect(connect(Version::V5, "c"));
    assert!(publishes(rig.received(client)).is_empty());
}

#[test]
fn what_does_not_fit_is_left_out_and_counted() {
    let one = Limits {
        subscriptions: 1,
        ..Limits::default()
    };
    let mut rig = subscribing(
        one,
        &[("inbox/{client}", options(Q1)), ("all", options(Q1))],
    );
    join(&mut rig, Version::V5, "c");
    let counters = rig.counters();
    assert_eq!(
        (counters.subscriptions, counters.auto_subscriptions_refused),
        (1, 1)
    );
    // A name that would reach further is left out; the client is served.
    let hostile = join(&mut rig, Version::V5, "+");
    let counters = rig.counters();
    assert_eq!(
        (counters.subscriptions, counters.auto_subscriptions_refused),
        (2, 2)
    );
    rig.send(
        hostile,
        &Packet::Publish(Box::new(publish("inbox/c", "x", Q0, 0))),
    );
    assert!(payloads(&mut rig, hostile).is_empty());
}
