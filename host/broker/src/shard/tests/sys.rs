//! `$SYS/broker/…` against what happened, and against its page.

use super::{
    Q0, Q1, join, join_with, options, persistent, publish, publishes, subscribe, subscribed,
};
use crate::limits::Limits;
use crate::testing::Rig;
use std::collections::BTreeMap;
use std::time::Duration;
use witmq_proto::packet::{Packet, Version};

fn rig() -> Rig {
    let limits = Limits {
        sys_interval: Duration::from_secs(10),
        session_expiry: 30,
        ..Limits::default()
    };
    Rig::new(2, limits)
}

/// What is published now, by name.
fn topics(rig: &mut Rig, peer: usize) -> BTreeMap<String, String> {
    rig.received(peer);
    rig.advance(Duration::from_secs(10));
    let messages = publishes(rig.received(peer)).into_iter();
    messages
        .map(|message| {
            let name = message
                .topic
                .strip_prefix("$SYS/broker/")
                .unwrap()
                .to_owned();
            (name, String::from_utf8(message.payload.to_vec()).unwrap())
        })
        .collect()
}

#[test]
fn the_numbers_are_those_of_the_node() {
    let mut rig = rig();
    let watcher = join(&mut rig, Version::V5, "watcher");
    rig.send(watcher, &subscribe(&[("$SYS/#", options(Q0))], None));
    let client = join(&mut rig, Version::V5, "client");
    subscribed(&mut rig, client, "a", Q1);
    let (away, _) = join_with(&mut rig, persistent(Version::V5, "away"));
    rig.advance(Duration::from_secs(1));
    rig.cut(away);
    let quiet = topics(&mut rig, watcher);
    for (name, payload) in [
        ("a", "12345"),
        ("$delayed/3600/a", "later"),
        ("b", "nobody"),
    ] {
        let mut packet = publish(name, payload, Q0, 0);
        packet.retain = true;
        rig.send(client, &Packet::Publish(Box::new(packet)));
    }
    let now = topics(&mut rig, watcher);
    let is = |name: &str, value: &str| assert_eq!(now[name], value, "{name}");
    is("clients/connected", "2");
    is("clients/disconnected", "1");
    is("clients/total", "3");
    is("clients/maximum", "3");
    is("clients/expired", "0");
    is("subscriptions/count", "2");
    is("messages/received", "3");
    is("publish/messages/received", "3");
    is("publish/bytes/received", "16");
    is("publish/messages/dropped", "0");
    is("delayed messages/count", "1");
    is("version", concat!("WitMQ ", env!("CARGO_PKG_VERSION")));
    assert!(now["uptime"].ends_with(" seconds"), "{}", now["uptime"]);
    let grew = |name: &str| {
        let number = |topics: &BTreeMap<String, String>| topics[name].parse::<u64>().unwrap();
        number(&now) - number(&quiet)
    };
    // To the client "12345"; to the watcher one whole round of these topics.
    assert_eq!(grew("messages/sent"), 1 + u64::try_from(now.len()).unwrap());
    assert_eq!(grew("retained messages/count"), 2);
    // Fixed header, topic and its length, MQTT 5's empty properties, payload.
    let (a, delayed, b) = (2 + 3 + 1 + 5, 2 + 17 + 1 + 5, 2 + 3 + 1 + 6);
    assert_eq!(grew("bytes/received"), a + delayed + b);
    assert!(grew("bytes/sent") > grew("publish/bytes/sent"));
    rig.advance(Duration::from_secs(30));
    assert_eq!(topics(&mut rig, watcher)["clients/expired"], "1");
}

#[test]
fn loads_follow_what_happens_by_their_minutes() {
    let mut rig = rig();
    let watcher = join(&mut rig, Version::V5, "watcher");
    rig.send(
        watcher,
        &subscribe(&[("$SYS/broker/load/#", options(Q0))], None),
    );
    let publisher = join(&mut rig, Version::V5, "publisher");
    // Two messages of three bytes a second.
    let mut busy = BTreeMap::new();
    for second in 0..180 {
        for _ in 0..2 {
            rig.send(
                publisher,
                &Packet::Publish(Box::new(publish("a", "xyz", Q0, 0))),
            );
        }
        if second % 10 == 9 {
            rig.advance(Duration::from_millis(100));
            busy = topics(&mut rig, watcher);
        } else {
            rig.advance(Duration::from_secs(1));
        }
    }
    let load = |topics: &BTreeMap<String, String>, minutes| -> f64 {
        topics[&format!("load/messages/received/{minutes}min")]
            .parse()
            .unwrap()
    };
    let (one, five, fifteen) = (load(&busy, 1), load(&busy, 5), load(&busy, 15));
    assert!(
        one > five && five > fifteen && fifteen > 0.0,
        "{one} {five} {fifteen}"
    );
    // 360 messages in 180 × 1.9 s are 63 a minute.
    assert!((50.0..75.0).contains(&one), "{one}");
    for _ in 0..6 {
        topics(&mut rig, watcher);
    }
    let quiet = topics(&mut rig, watcher);
    let fell = load(&quiet, 1) / one;
    // After 70 quiet seconds e^(-70/60) of it is left.
    assert!((0.25..0.40).contains(&fell), "{fell}");
    assert!(
        load(&quiet, 15) / fifteen > 0.9,
        "the longer average is slower"
    );
}

#[test]
fn the_page_names_every_topic_and_no_other() {
    let mut rig = rig();
    let watcher = join(&mut rig, Version::V5, "watcher");
    rig.send(watcher, &subscribe(&[("$SYS/#", options(Q0))], None));
    let page = include_str!("../../../../docs/sys-topics.md");
    let named: Vec<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `$SYS/broker/")?.split('`').next())
        .collect();
    let published = topics(&mut rig, watcher);
    for name in published.keys() {
        let load = name
            .strip_prefix("load/")
            .and_then(|load| load.rsplit_once('/'));
        let is_named = match load {
            Some((load, minutes)) => page.contains(load) && page.contains(minutes),
            None => named.contains(&name.as_str()),
        };
        assert!(is_named, "{name} is not on the page");
    }
    for name in named {
        assert!(published.contains_key(name), "{name} is on the page only");
    }
}
