//! What becomes of messages, on both sides of each bound.

mod births;
mod encode;
mod values;

use super::*;
use encode::{INT, LONG, TEXT, alias, message, metric, payload};
use proptest::prelude::*;
use serde_json::{Value, json};
use witmq_sdk::testing::TestBroker;

type Broker = TestBroker<SparkplugB>;

const DATA: &str = "spBv1.0/plant/NDATA/press";

fn start(config: Value) -> Broker {
    Broker::start(config).unwrap()
}

fn replacing(more: Value) -> Broker {
    let mut config = json!({"mode": "replace"});
    for (name, value) in more.as_object().unwrap() {
        config[name] = value.clone();
    }
    start(config)
}

/// What a message is replaced by, and its problems.
#[track_caller]
fn told(broker: &mut Broker, topic: &str, payload: impl Into<Vec<u8>>) -> (Value, Vec<String>) {
    let outcome = broker.send((topic, payload)).unwrap();
    let Outcome::Modify(patch) = outcome else {
        panic!("{outcome:?}")
    };
    let json = serde_json::from_slice(&patch.payload.unwrap()).unwrap();
    let user = patch.properties.unwrap().user.into_iter();
    assert_eq!(patch.topic, None);
    (json, user.map(|(_, problem)| problem).collect())
}

/// The same where nothing is wrong.
#[track_caller]
fn said(broker: &mut Broker, topic: &str, payload: impl Into<Vec<u8>>) -> Value {
    let (json, problems) = told(broker, topic, payload);
    assert_eq!(problems, [""; 0]);
    json
}

#[track_caller]
fn refused(broker: &mut Broker, topic: &str, payload: impl Into<Vec<u8>>, code: u8, words: &str) {
    let outcome = broker.send((topic, payload)).unwrap();
    let Outcome::Refuse { reason_code, text } = outcome else {
        panic!("{outcome:?}")
    };
    let text = text.unwrap();
    let is_as_expected = reason_code == code && text.contains(words);
    assert!(is_as_expected, "{reason_code:#x} {text}");
    assert!(
        text.starts_with(&format!("sparkplug b on {topic}: ")),
        "{text}"
    );
}

#[test]
fn the_vectors_of_the_manifest_hold() {
    assert_eq!(Broker::run_vectors(), 4);
}

#[test]
fn topics_are_told_apart() {
    let mut broker = replacing(json!({}));
    for topic in [
        "t",
        "spBv1",
        "spAv1.0/g/NDATA/n",
        "STATE/h",
        "x/spBv1.0/g/NDATA/n",
    ] {
        assert_eq!(broker.send((topic, "x")), Ok(Outcome::Pass), "{topic}");
    }
    for topic in [
        "spBv1.0",
        "spBv1.0/g",
        "spBv1.0/g/NDATA",
        "spBv1.0/g/NDATA/",
        "spBv1.0//NDATA/n",
        "spBv1.0/g/NDATA/n/d",
        "spBv1.0/g/DDATA/n",
        "spBv1.0/g/ndata/n",
        "spBv1.0/g/XDATA/n",
        "spBv1.0/g/DDATA/n/d/e",
        "spBv1.0/STATE/h/i",
        "spBv1.0/g/STATE/h",
    ] {
        refused(&mut broker, topic, payload(0, []), 0x99, "the topic ");
    }
    for topic in [
        "NBIRTH/n",
        "NDEATH/n",
        "NDATA/n",
        "NCMD/n",
        "DBIRTH/n/d",
        "DDEATH/n/d",
        "DDATA/n/d",
        "DCMD/n/d",
    ] {
        let topic = format!("spBv1.0/g/{topic}");
        assert!(matches!(
            broker.send((topic, payload(0, []))),
            Ok(Outcome::Modify(_))
        ));
    }
    let empty = Message {
        retain: true,
        ..Message::new("spBv1.0/STATE/h", "")
    };
    assert_eq!(broker.send(empty), Ok(Outcome::Pass));
}

#[test]
fn a_host_application_speaks_json_already() {
    let mut broker = replacing(json!({}));
    let state = r#"{"online":true,"timestamp":1700000000000}"#;
    assert_eq!(
        said(&mut broker, "spBv1.0/STATE/h", state),
        serde_json::from_str::<Value>(state).unwrap()
    );
    for state in [
        "ONLINE",
        "{}",
        r#"{"online":1,"timestamp":1}"#,
        r#"{"online":true}"#,
    ] {
        refused(
            &mut broker,
            "spBv1.0/STATE/h",
            state,
            0x99,
            "no state of a host application",
        );
    }
    let mut copying = start(json!({}));
    let message = Message {
        retain: true,
        ..Message::new("spBv1.0/STATE/h", state)
    };
    let Ok(Outcome::Split(parts)) = copying.send(message) else {
        panic!()
    };
    let topics: Vec<_> = parts
        .iter()
        .map(|part| (&*part.topic, part.retain))
        .collect();
    assert_eq!(
        topics,
        [("spBv1.0/STATE/h", true), ("sparkplug/STATE/h", true)]
    );
}

#[test]
fn what_was_decoded_goes_where_the_mode_says() {
    let bytes = payload(0, [metric("t", 3).varint(INT, 20)]);
    let decoded = json!({"timestamp": 1_700_000_000_000_u64, "seq": 0, "metrics": [{"name": "t", "datatype": "Int32", "value": 20}]});
    let birth = || {
        let mut message = Message::new("spBv1.0/plant/NBIRTH/press", bytes.clone());
        message.properties.content_type = Some("application/x-protobuf".to_owned());
        message.properties.user = vec![
            ("a".to_owned(), "1".to_owned()),
            (TAG.to_owned(), "forged".to_owned()),
        ];
        message.qos = witmq_sdk::QoS::AtLeastOnce;
        message
    };
    let own = ("a".to_owned(), "1".to_owned());
    let Ok(Outcome::Split(parts)) = start(json!({"topic_prefix": "a/b"})).send(birth()) else {
        panic!()
    };
    let [original, copy] = &*parts else { panic!() };
    assert_eq!(
        (&*original.topic, &original.payload),
        ("spBv1.0/plant/NBIRTH/press", &bytes)
    );
    assert_eq!(
        original.properties.content_type.as_deref(),
        Some("application/x-protobuf")
    );
    assert_eq!(original.properties.user, std::slice::from_ref(&own));
    assert_eq!(copy.topic, "a/b/plant/NBIRTH/press");
    assert_eq!(
        serde_json::from_slice::<Value>(&copy.payload).unwrap(),
        decoded
    );
    assert_eq!(
        copy.properties.content_type.as_deref(),
        Some("application/json")
    );
    assert_eq!(copy.properties.payload_format, Some(1));
    assert_eq!(copy.properties.user, [own]);
    assert_eq!(copy.qos, witmq_sdk::QoS::AtLeastOnce);

    for (config, topic) in [
        (
            json!({"mode": "move"}),
            Some("sparkplug/plant/NBIRTH/press".to_owned()),
        ),
        (json!({"mode": "replace"}), None),
    ] {
        let Ok(Outcome::Modify(patch)) = start(config).send(birth()) else {
            panic!()
        };
        assert_eq!(patch.topic, topic);
        assert_eq!(
            serde_json::from_slice::<Value>(&patch.payload.unwrap()).unwrap(),
            decoded
        );
    }
    let mut broker = start(json!({}));
    let node = |bytes: usize| format!("spBv1.0/g/NCMD/{}", "n".repeat(bytes));
    let most = 65_535 - "sparkplug/g/NCMD/".len();
    assert!(matches!(
        broker.send((node(most), payload(0, []))),
        Ok(Outcome::Split(_))
    ));
    let beyond = broker.send((node(most + 1), payload(0, []))).unwrap();
    assert!(
        matches!(beyond, Outcome::Refuse { text: Some(text), .. } if text.ends_with("no room for the prefix"))
    );
}

#[test]
fn values_alone_by_their_names() {
    let mut broker = replacing(json!({"form": "values", "on_missing_birth": "tag"}));
    let birth = [
        metric("b", 3).varint(2, 1).varint(INT, 1),
        metric("a", 12).varint(2, 2).bytes(TEXT, "x"),
    ];
    assert_eq!(
        said(&mut broker, "spBv1.0/plant/NBIRTH/press", payload(0, birth)),
        json!({"timestamp": 1_700_000_000_000_u64, "seq": 0, "metrics": {"a": "x", "b": 1}})
    );
    let data = [
        alias(1).varint(INT, 2),
        alias(1).varint(INT, 3),
        alias(2).varint(7, 1),
    ];
    assert_eq!(
        said(&mut broker, DATA, payload(1, data))["metrics"],
        json!({"a": null, "b": 3})
    );
    let (json, problems) = told(&mut broker, DATA, payload(2, [alias(9).varint(INT, 5)]));
    assert_eq!(
        (&json["metrics"], &json["aliases"]),
        (&json!({}), &json!({"9": 5}))
    );
    assert_eq!(problems, ["the alias 9 is in no birth that is known"]);
}

#[test]
fn what_is_malformed_is_refused_in_words_or_tagged() {
    let nameless = message().message(2, message().varint(INT, 1)).0;
    let cases: [(&[u8], &str); 8] = [
        (&[0x08], "too early"),
        (&[0x12, 0x05, 0x00], "too early"),
        (
            &[
                0x08, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x02,
            ],
            "more than 64 bits",
        ),
        (&[0x0B], "wire type 3"),
        (&[0x00, 0x00], "no valid number"),
        (&[0x0A, 0x00], "field 1: it has to be an integer"),
        (&[0x22, 0x01, 0xFF], "field 4: it is no text"),
        (&nameless, "metric 0 has neither name nor alias"),
    ];
    let mut refusing = replacing(json!({}));
    let mut tagging = start(json!({"on_malformed": "tag"}));
    for (bytes, words) in cases {
        refused(&mut refusing, DATA, bytes, 0x99, words);
        let Ok(Outcome::Modify(patch)) = tagging.send((DATA, bytes)) else {
            panic!("{words}")
        };
        assert_eq!((patch.topic, patch.payload), (None, None));
        let user = patch.properties.unwrap().user;
        assert!(
            matches!(&*user, [(name, text)] if name == TAG && text.contains(words)),
            "{user:?}"
        );
    }
    assert_eq!(
        (refusing.counter("malformed"), refusing.counter("decoded")),
        (8, 0)
    );
    // Fields that a later schema adds are passed over.
    let later = message()
        .varint(1, 5)
        .bytes(9, "x")
        .double(10, 1.0)
        .float(11, 1.0)
        .0;
    assert_eq!(
        told(&mut refusing, DATA, later).0,
        json!({"timestamp": 5, "metrics": []})
    );
}

#[test]
fn sizes_are_bounded() {
    let mut broker = replacing(json!({"max_bytes": 20}));
    let bytes = |count: usize| message().bytes(5, vec![1; count - 2]).0;
    let command = "spBv1.0/g/NCMD/n";
    assert_eq!(bytes(20).len(), 20);
    assert!(matches!(
        broker.send((command, bytes(20))),
        Ok(Outcome::Modify(_))
    ));
    refused(
        &mut broker,
        command,
        bytes(21),
        0x99,
        "it has 21 bytes, allowed are 20",
    );

    let mut broker = replacing(json!({"max_bytes": 524_288}));
    let metrics = |count: usize| [0x12, 0x02, 0x10, 0x01].repeat(count);
    assert!(matches!(
        broker.send((command, metrics(payload::METRICS))),
        Ok(Outcome::Modify(_))
    ));
    refused(
        &mut broker,
        command,
        metrics(payload::METRICS + 1),
        0x99,
        "more than 20000 metrics",
    );

    // Bits that become words.
    let bits = |count: u32| {
        let bytes = vec![0xFF; usize::try_from(count.div_ceil(8)).unwrap()];
        let packed = [&count.to_le_bytes()[..], &bytes].concat();
        payload(0, [metric("b", 32).bytes(encode::BYTES, packed)])
    };
    assert!(matches!(
        broker.send((command, bits(400_000))),
        Ok(Outcome::Modify(_))
    ));
    refused(
        &mut broker,
        command,
        bits(500_000),
        0x99,
        "more than 2097152 bytes",
    );
}

#[test]
fn configurations_that_cannot_work_are_refused_in_words() {
    for (config, expected) in [
        (
            json!({"mode": "replace", "topic_prefix": "a"}),
            "leave it out",
        ),
        (json!({"topic_prefix": "a/+"}), "no topic name"),
        (json!({"topic_prefix": "$SYS"}), "no topic name"),
        (json!({"topic_prefix": "a/"}), "ends with a slash"),
        (
            json!({"topic_prefix": "spBv1.0/x"}),
            "the namespace of Sparkplug itself",
        ),
        (json!({"mode": "both"}), "expected one of"),
        (json!({"max_nodes": 0}), "less than"),
        (json!({"max_nodes": 50_001}), "more than"),
        (json!({"max_bytes": 524_289}), "more than"),
        (json!({"max_birth_bytes": 65_535}), "less than"),
        (json!({"prefix": "a"}), "prefix"),
    ] {
        let error = Broker::start(&config).unwrap_err();
        assert!(error.contains(expected), "{config}: {error}");
    }
}

proptest! {
    #[test]
    fn nothing_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), at in 0_usize..8) {
        let kinds = ["NBIRTH/n", "NDEATH/n", "NDATA/n", "NCMD/n", "DBIRTH/n/d", "DDEATH/n/d", "DDATA/n/d", "STATE"];
        let mut broker = replacing(json!({}));
        drop(broker.send((format!("spBv1.0/g/{}", kinds[at]), bytes.clone())));
        // As the parts of a metric, where most of the branches are.
        for field in 8..=18 {
            for datatype in [0, 16, 19, 20, 32, 33] {
                let metric = metric("m", datatype).bytes(field, &bytes);
                drop(broker.send((DATA, payload(0, [metric]))));
            }
        }
    }

    #[test]
    fn integers_come_out_as_they_went_in(value in any::<i64>(), at in 0_usize..4) {
        let bits = [8_u32, 16, 32, 64][at];
        let value = value << (64 - bits) >> (64 - bits);
        let mut broker = replacing(json!({}));
        let signed = u64::try_from(at + 1).unwrap();
        let low = value.cast_unsigned() << (64 - bits) >> (64 - bits);
        // Bits of its size alone, extended to 32, extended to 64.
        for (field, form) in [(LONG, low), (INT, value.cast_unsigned() & 0xFFFF_FFFF), (LONG, value.cast_unsigned())] {
            if bits == 64 && field == INT {
                continue;
            }
            let json = told(&mut broker, DATA, payload(0, [metric("m", signed).varint(field, form)])).0;
            prop_assert_eq!(&json["metrics"][0]["value"], &json!(value));
        }
        let json = told(&mut broker, DATA, payload(0, [metric("m", signed + 4).varint(LONG, low)])).0;
        prop_assert_eq!(&json["metrics"][0]["value"], &json!(low));
    }

    #[test]
    fn floats_come_out_as_they_went_in(float in any::<f32>(), double in any::<f64>()) {
        let mut broker = replacing(json!({}));
        let metrics = [metric("f", 9).float(encode::FLOAT, float), metric("d", 10).double(encode::DOUBLE, double)];
        let json = told(&mut broker, DATA, payload(0, metrics)).0;
        let read = |at: usize| {
            let value = &json["metrics"][at]["value"];
            value.as_str().map_or_else(|| value.to_string(), str::to_owned)
        };
        let same = |one: f64, other: f64| one == other || one.is_nan() && other.is_nan();
        prop_assert!(same(read(0).replace("Infinity", "inf").parse::<f32>().unwrap().into(), float.into()));
        prop_assert!(same(read(1).replace("Infinity", "inf").parse().unwrap(), double));
    }
}
