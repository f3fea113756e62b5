//! Names, sequences, deaths, and what is forgotten.

use super::*;

const NBIRTH: &str = "spBv1.0/plant/NBIRTH/press";
const NDEATH: &str = "spBv1.0/plant/NDEATH/press";
const NCMD: &str = "spBv1.0/plant/NCMD/press";
const DBIRTH: &str = "spBv1.0/plant/DBIRTH/press/motor";
const DDEATH: &str = "spBv1.0/plant/DDEATH/press/motor";
const DDATA: &str = "spBv1.0/plant/DDATA/press/motor";

fn bd_seq(value: u64) -> encode::Encoder {
    metric("bdSeq", 4).varint(LONG, value)
}

fn node_birth(seq: u64) -> Vec<u8> {
    payload(
        seq,
        [bd_seq(7), metric("temp", 1).varint(2, 1).varint(INT, 20)],
    )
}

fn device_birth(seq: u64) -> Vec<u8> {
    payload(
        seq,
        [
            metric("rpm", 2).varint(2, 2).varint(INT, 900),
            metric("on", 11).varint(encode::BOOLEAN, 1),
        ],
    )
}

fn death(value: u64) -> Vec<u8> {
    message().message(2, bd_seq(value)).0
}

fn born(config: Value) -> Broker {
    let mut broker = replacing(config);
    said(&mut broker, NBIRTH, node_birth(0));
    said(&mut broker, DBIRTH, device_birth(1));
    broker
}

#[test]
fn data_gets_the_names_and_datatypes_of_its_birth() {
    let mut broker = born(json!({}));
    // 0xFF is -1 only for who knows that it is an Int8.
    let json = said(&mut broker, DATA, payload(2, [alias(1).varint(INT, 0xFF)]));
    assert_eq!(
        json["metrics"],
        json!([{"name": "temp", "alias": 1, "datatype": "Int8", "value": -1}])
    );
    let by_name = message().bytes(1, "rpm").varint(INT, 0xFFFF);
    let json = said(
        &mut broker,
        DDATA,
        payload(3, [alias(2).varint(INT, 5), by_name]),
    );
    assert_eq!(
        json["metrics"],
        json!([{"name": "rpm", "alias": 2, "datatype": "Int16", "value": 5}, {"name": "rpm", "datatype": "Int16", "value": -1}])
    );
    // A command may come from anybody, and has no place in the sequence.
    let json = said(
        &mut broker,
        NCMD,
        message().message(2, alias(1).varint(INT, 3)).0,
    );
    assert_eq!(json["metrics"][0]["name"], "temp");
    // The datatype that is said is the one that counts.
    let json = said(
        &mut broker,
        DATA,
        payload(4, [alias(1).varint(4, 5).varint(INT, 0xFF)]),
    );
    assert_eq!(json["metrics"][0]["value"], 255);
    // Another node, another device.
    for topic in [
        "spBv1.0/plant/NDATA/other",
        "spBv1.0/x/NDATA/press",
        "spBv1.0/plant/DDATA/press/other",
    ] {
        let (json, problems) = told(&mut broker, topic, payload(5, [alias(1).varint(INT, 0xFF)]));
        assert_eq!(
            json["metrics"],
            json!([{"alias": 1, "value": 255}]),
            "{topic}"
        );
        assert!(
            problems[0].contains("BIRTH of it is known"),
            "{topic}: {problems:?}"
        );
    }
}

#[test]
fn a_missing_birth_is_told_or_refused() {
    let data = || payload(0, [alias(1).varint(INT, 5)]);
    let mut tagging = replacing(json!({}));
    let mut refusing = replacing(json!({"on_missing_birth": "refuse"}));
    for (topic, words) in [
        (DATA, "no NBIRTH of it is known"),
        (DDATA, "no DBIRTH of it is known"),
        (DBIRTH, "no NBIRTH of it is known"),
        (DDEATH, "no DBIRTH of it is known"),
    ] {
        let bytes = if topic == DBIRTH {
            device_birth(0)
        } else {
            data()
        };
        assert_eq!(
            told(&mut tagging, topic, bytes.clone()).1,
            [words],
            "{topic}"
        );
        refused(&mut refusing, topic, bytes, 0x83, words);
        tagging = replacing(json!({}));
        refusing = replacing(json!({"on_missing_birth": "refuse"}));
    }
    let mut refusing = born(json!({"on_missing_birth": "refuse"}));
    refused(
        &mut refusing,
        DATA,
        payload(2, [alias(9).varint(INT, 1)]),
        0x83,
        "the alias 9 is in no birth",
    );
    assert_eq!(refusing.counter("missing_births"), 1);
    said(&mut refusing, DATA, payload(3, [alias(1).varint(INT, 1)]));
    // A command's aliases may be those of another shard.
    let unknown = message().message(2, alias(9).varint(INT, 3)).0;
    refused(
        &mut refusing,
        NCMD,
        unknown,
        0x83,
        "the alias 9 is in no birth",
    );
}

#[test]
fn a_sequence_goes_round_and_a_gap_is_told_or_refused() {
    let mut broker = born(json!({}));
    let none = || {
        payload(0, [])
            .split_last()
            .map(|(_, rest)| rest[..rest.len() - 1].to_vec())
            .unwrap()
    };
    for seq in (2..=255).chain(0..=3) {
        said(
            &mut broker,
            if seq % 2 == 0 { DATA } else { DDATA },
            payload(seq, []),
        );
    }
    for (topic, bytes, words) in [
        (DATA, payload(5, []), "seq is 5, expected was 4"),
        (DDATA, payload(5, []), "seq is 5, expected was 6"),
        (DDATA, none(), "it has no seq"),
        (DATA, payload(256, []), "seq is 256, which is beyond 255"),
    ] {
        assert_eq!(told(&mut broker, topic, bytes).1, [words]);
    }
    // After one without a number any is taken.
    said(&mut broker, DATA, payload(77, []));
    said(&mut broker, DBIRTH, device_birth(78));
    said(&mut broker, DDEATH, payload(79, []));
    assert_eq!(told(&mut broker, NBIRTH, none()).1, ["it has no seq"]);
    assert_eq!(broker.counter("gaps"), 5);

    let mut broker = born(json!({"on_gap": "refuse"}));
    refused(
        &mut broker,
        DATA,
        payload(4, []),
        0x83,
        "seq is 4, expected was 2",
    );
    said(&mut broker, DATA, payload(5, []));
    // A birth begins anew, with any number.
    said(&mut broker, NBIRTH, node_birth(200));
    said(&mut broker, DATA, payload(201, []));
}

#[test]
fn who_died_has_to_be_born_again() {
    let mut broker = born(json!({}));
    said(&mut broker, DDEATH, payload(2, []));
    assert_eq!(
        told(&mut broker, DDATA, payload(3, [])).1,
        ["no DBIRTH of it is known"]
    );
    said(&mut broker, DATA, payload(4, []));
    // The will of a session before this one comes late.
    let (json, problems) = told(&mut broker, NDEATH, death(6));
    assert_eq!(json["metrics"][0]["value"], 6);
    assert_eq!(
        problems,
        ["bdSeq is 6, that of the birth was 7: the death of an earlier session"]
    );
    said(&mut broker, DATA, payload(5, []));
    said(&mut broker, NDEATH, death(7));
    assert_eq!(broker.gauge("nodes"), Some(0.0));
    assert_eq!(
        told(&mut broker, DATA, payload(6, [])).1,
        ["no NBIRTH of it is known"]
    );
    said(&mut broker, NDEATH, death(7));
    // A node that is born takes its devices away.
    let mut broker = born(json!({}));
    said(&mut broker, NBIRTH, node_birth(0));
    assert_eq!(
        told(&mut broker, DDATA, payload(1, [])).1,
        ["no DBIRTH of it is known"]
    );
}

#[test]
fn births_that_cannot_be_are_refused_and_change_nothing() {
    let mut broker = born(json!({}));
    let one = metric("a", 3).varint(2, 5).varint(INT, 1);
    let same_alias = metric("b", 3).varint(2, 5).varint(INT, 1);
    let nameless = alias(5).varint(INT, 1);
    for (metrics, words) in [
        (
            vec![one.clone(), same_alias],
            "the alias 5 stands for two metrics",
        ),
        (
            vec![one.clone(), nameless],
            "a metric of a birth has no name",
        ),
        (
            vec![one.clone(), metric("c", 99).varint(INT, 1)],
            "datatype 99",
        ),
    ] {
        refused(&mut broker, NBIRTH, payload(0, metrics), 0x99, words);
    }
    said(&mut broker, DATA, payload(2, [alias(1).varint(INT, 1)]));
    // Of metrics with one name the last one counts.
    said(
        &mut broker,
        NBIRTH,
        payload(0, [one, metric("a", 1).varint(2, 6).varint(INT, 1)]),
    );
    let json = said(&mut broker, DATA, payload(1, [alias(6).varint(INT, 0xFF)]));
    assert_eq!(json["metrics"][0]["value"], -1);
    assert_eq!(
        told(&mut broker, DATA, payload(2, [alias(5).varint(INT, 1)]))
            .1
            .len(),
        1
    );
}

fn birth_of(node: &str) -> (String, Vec<u8>) {
    (format!("spBv1.0/plant/NBIRTH/{node}"), node_birth(0))
}

#[test]
fn the_least_recently_heard_node_makes_room() {
    let mut broker = replacing(json!({"max_nodes": 2}));
    let data = |node: &str| format!("spBv1.0/plant/NDATA/{node}");
    for node in ["a", "b"] {
        let (topic, bytes) = birth_of(node);
        said(&mut broker, &topic, bytes);
    }
    assert_eq!(broker.counter("evicted"), 0);
    said(&mut broker, &data("a"), payload(1, []));
    let (topic, bytes) = birth_of("c");
    said(&mut broker, &topic, bytes);
    assert_eq!(
        (broker.counter("evicted"), broker.gauge("nodes")),
        (1, Some(2.0))
    );
    said(&mut broker, &data("a"), payload(2, []));
    said(&mut broker, &data("c"), payload(1, []));
    assert_eq!(
        told(&mut broker, &data("b"), payload(1, [])).1,
        ["no NBIRTH of it is known"]
    );

    // Bytes: a birth that is alone beyond them is decoded, and not remembered.
    let mut broker = replacing(json!({"max_birth_bytes": 65_536}));
    let large = |bytes: usize| payload(0, [metric(&"x".repeat(bytes), 3).varint(INT, 1)]);
    let rest = "plant/press".len() + 3 * 48;
    said(&mut broker, NBIRTH, large(65_536 - rest));
    assert_eq!(broker.gauge("birth_bytes"), Some(65_536.0));
    said(&mut broker, DATA, payload(1, []));
    said(&mut broker, NBIRTH, large(65_536 - rest + 1));
    assert_eq!(
        (broker.counter("evicted"), broker.gauge("nodes")),
        (1, Some(0.0))
    );
    assert_eq!(
        told(&mut broker, DATA, payload(1, [])).1,
        ["no NBIRTH of it is known"]
    );
}

#[test]
fn a_swap_forgets_nothing() {
    let mut broker = born(json!({}));
    let config = json!({"mode": "replace", "form": "values"});
    broker.swap(&config).unwrap();
    assert_eq!(broker.gauge("nodes"), Some(1.0));
    assert_eq!(
        said(&mut broker, DATA, payload(2, [alias(1).varint(INT, 0xFF)]))["metrics"],
        json!({"temp": -1})
    );
    assert_eq!(
        said(
            &mut broker,
            DDATA,
            payload(3, [alias(2).varint(INT, 0xFFFF)])
        )["metrics"],
        json!({"rpm": -1})
    );
    assert_eq!(told(&mut broker, NDEATH, death(6)).1.len(), 1);
    broker.with(|plugin| {
        let state = plugin.shut_down().unwrap();
        for length in 2..state.len() {
            assert!(plugin.adopt(&state[..length]).is_err(), "{length}");
        }
        assert!(plugin.adopt(&[]).is_err() && plugin.adopt(&[9]).is_err());
        assert!(plugin.adopt(&state).is_ok());
        assert_eq!(plugin.shut_down().unwrap(), state);
    });
}

#[test]
fn a_handover_has_room_for_those_that_were_heard_last() {
    let mut broker = replacing(json!({"max_bytes": 524_288}));
    let birth = || (0..2000).map(|at| metric(&format!("{at:0>200}"), 3).varint(INT, 1));
    let topic = |kind: &str, node: usize| format!("spBv1.0/plant/{kind}/{node}");
    for node in 0..4 {
        said(&mut broker, &topic("NBIRTH", node), payload(0, birth()));
    }
    assert_eq!(broker.counter("evicted"), 0);
    said(&mut broker, &topic("NDATA", 0), payload(1, []));
    broker.swap(json!({"mode": "replace"})).unwrap();
    assert_eq!(
        (broker.counter("evicted"), broker.gauge("nodes")),
        (2, Some(2.0))
    );
    said(&mut broker, &topic("NDATA", 0), payload(2, []));
    said(&mut broker, &topic("NDATA", 3), payload(1, []));
    assert_eq!(
        told(&mut broker, &topic("NDATA", 2), payload(1, []))
            .1
            .len(),
        1
    );
}
