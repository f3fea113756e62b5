//! From every form to every other, there and back, and what cannot go.

mod protobuf;

use super::*;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use proptest::prelude::*;
use prost_reflect::prost::{self, Message as _};
use prost_reflect::prost_types::field_descriptor_proto::{Label, Type};
use prost_reflect::prost_types::{
    DescriptorProto, EnumDescriptorProto, EnumValueDescriptorProto, FieldDescriptorProto,
    FileDescriptorProto, FileDescriptorSet, MessageOptions, OneofDescriptorProto,
};
use serde_json::json;
use witmq_sdk::assert_outcome;
use witmq_sdk::testing::TestBroker;

type Broker = TestBroker<Codec>;

fn field(name: &str, number: i32, kind: Type) -> FieldDescriptorProto {
    FieldDescriptorProto {
        name: Some(name.to_owned()),
        number: Some(number),
        label: Some(Label::Optional.into()),
        r#type: Some(kind.into()),
        ..FieldDescriptorProto::default()
    }
}

fn list(mut field: FieldDescriptorProto) -> FieldDescriptorProto {
    field.label = Some(Label::Repeated.into());
    field
}

fn of(mut field: FieldDescriptorProto, name: &str) -> FieldDescriptorProto {
    field.type_name = Some(name.to_owned());
    field
}

/// A field of each kind.
fn reading() -> DescriptorProto {
    let one_of = |mut field: FieldDescriptorProto| {
        field.oneof_index = Some(0);
        field
    };
    let entry = DescriptorProto {
        name: Some("TagsEntry".to_owned()),
        field: vec![
            field("key", 1, Type::Int32),
            field("value", 2, Type::String),
        ],
        options: Some(MessageOptions {
            map_entry: Some(true),
            ..MessageOptions::default()
        }),
        ..DescriptorProto::default()
    };
    DescriptorProto {
        name: Some("Reading".to_owned()),
        field: vec![
            field("outside_temp", 1, Type::Double),
            field("count", 2, Type::Int64),
            field("total", 3, Type::Uint64),
            field("is_on", 4, Type::Bool),
            field("raw", 5, Type::Bytes),
            of(field("mode", 6, Type::Enum), ".plant.v1.Mode"),
            list(field("samples", 7, Type::Sint32)),
            list(of(
                field("tags", 8, Type::Message),
                ".plant.v1.Reading.TagsEntry",
            )),
            of(field("inner", 9, Type::Message), ".plant.v1.Reading"),
            one_of(field("left", 10, Type::String)),
            one_of(field("right", 11, Type::String)),
            field("small", 12, Type::Float),
            field("name", 13, Type::String),
        ],
        nested_type: vec![entry],
        oneof_decl: vec![OneofDescriptorProto {
            name: Some("side".to_owned()),
            ..OneofDescriptorProto::default()
        }],
        ..DescriptorProto::default()
    }
}

fn descriptor() -> String {
    let value = |name: &str, number| EnumValueDescriptorProto {
        name: Some(name.to_owned()),
        number: Some(number),
        ..EnumValueDescriptorProto::default()
    };
    let strict = DescriptorProto {
        name: Some("Strict".to_owned()),
        field: vec![FieldDescriptorProto {
            label: Some(Label::Required.into()),
            ..field("id", 1, Type::Uint32)
        }],
        ..DescriptorProto::default()
    };
    let readings = DescriptorProto {
        name: Some("Readings".to_owned()),
        field: vec![list(of(
            field("all", 1, Type::Message),
            ".plant.v1.Reading",
        ))],
        ..DescriptorProto::default()
    };
    let file = |name: &str, syntax: &str| FileDescriptorProto {
        name: Some(name.to_owned()),
        package: Some("plant.v1".to_owned()),
        syntax: Some(syntax.to_owned()),
        ..FileDescriptorProto::default()
    };
    let set = FileDescriptorSet {
        file: vec![
            FileDescriptorProto {
                message_type: vec![reading(), readings],
                enum_type: vec![EnumDescriptorProto {
                    name: Some("Mode".to_owned()),
                    value: vec![value("OFF", 0), value("ON", 1)],
                    ..EnumDescriptorProto::default()
                }],
                ..file("plant.proto", "proto3")
            },
            FileDescriptorProto {
                message_type: vec![strict],
                ..file("strict.proto", "proto2")
            },
        ],
    };
    BASE64_STANDARD.encode(set.encode_to_vec())
}

fn config(from: &str, to: &str, more: serde_json::Value) -> serde_json::Value {
    let mut config = json!({"from": from, "to": to});
    if [from, to].contains(&"protobuf") {
        config["protobuf"] = json!({"descriptor": descriptor(), "message": "plant.v1.Reading"});
    }
    for (name, value) in more.as_object().unwrap() {
        match value.as_object() {
            Some(members) => members
                .iter()
                .for_each(|(inner, value)| config[name][inner] = value.clone()),
            None => config[name] = value.clone(),
        }
    }
    config
}

fn start(from: &str, to: &str, more: serde_json::Value) -> Broker {
    Broker::start(config(from, to, more)).unwrap()
}

fn send(broker: &mut Broker, payload: impl Into<Vec<u8>>) -> Result<Vec<u8>, String> {
    match broker.send(("t", payload)).unwrap() {
        Outcome::Modify(patch) => Ok(patch.payload.unwrap()),
        Outcome::Refuse {
            reason_code: 0x99,
            text,
        } => Err(text.unwrap()),
        other => panic!("{other:?}"),
    }
}

fn convert(from: &str, to: &str, payload: impl Into<Vec<u8>>) -> Result<Vec<u8>, String> {
    send(&mut start(from, to, json!({})), payload)
}

#[track_caller]
fn fails(from: &str, to: &str, payload: impl Into<Vec<u8>>, expected: &str) {
    let error = convert(from, to, payload).unwrap_err();
    assert!(
        error.starts_with("payload on t: ") && error.contains(expected),
        "{error}"
    );
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<char> = text.chars().filter(|c| !c.is_whitespace()).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap())
        .collect()
}

#[test]
fn the_vectors_of_the_manifest_hold() {
    assert_eq!(Broker::run_vectors(), 5);
}

#[test]
fn the_same_value_in_every_form() {
    let json = r#"{"a":[1,-5,300,70000,-200,4294967296],"b":null,"c":true,"d":1.5,"e":"ü"}"#;
    let cbor = hex(
        "a5 6161 86 01 24 19012c 1a00011170 38c7 1b0000000100000000 6162 f6 6163 f5 6164 f93e00 6165 62c3bc",
    );
    let msgpack = hex(
        "85 a161 96 01 fb cd012c ce00011170 d1ff38 cf0000000100000000 a162 c0 a163 c3 a164 cb3ff8000000000000 a165 a2c3bc",
    );
    for (from, to, given, expected) in [
        ("json", "cbor", json.as_bytes(), &*cbor),
        ("cbor", "json", &*cbor, json.as_bytes()),
        ("json", "msgpack", json.as_bytes(), &*msgpack),
        ("msgpack", "json", &*msgpack, json.as_bytes()),
        ("cbor", "msgpack", &*cbor, &*msgpack),
        ("msgpack", "cbor", &*msgpack, &*cbor),
    ] {
        assert_eq!(convert(from, to, given).unwrap(), expected, "{from} {to}");
    }
}

#[test]
fn bytes_are_base64_in_json_and_names_become_texts() {
    assert_eq!(
        convert("cbor", "json", hex("43 0102ff")).unwrap(),
        br#""AQL/""#
    );
    assert_eq!(
        convert("msgpack", "json", hex("c403 0102ff")).unwrap(),
        br#""AQL/""#
    );
    assert_eq!(
        convert("cbor", "json", hex("a3 01 02 f5 03 20 04")).unwrap(),
        br#"{"1":2,"true":3,"-1":4}"#
    );
    // Tags are left out: here that of a date, and one of a name.
    assert_eq!(
        convert("cbor", "json", hex("c1 1a514b67b0")).unwrap(),
        b"1363896240"
    );
    assert_eq!(
        convert("cbor", "json", hex("a1 c0 6161 01")).unwrap(),
        br#"{"a":1}"#
    );
    assert_eq!(
        convert("cbor", "msgpack", hex("c1 1a514b67b0")).unwrap(),
        hex("ce514b67b0")
    );
}

#[test]
fn what_json_has_no_form_for_is_refused() {
    for (payload, expected) in [
        ("f97e00", "NaN is no number"),
        ("f97c00", "inf is no number"),
        ("a1 f6 01", "neither text, integer nor boolean"),
        ("a1 80 01", "neither text"),
        ("a2 01 02 6131 03", "`1` is there twice"),
        ("c2 49 010000000000000000", "64 bits"),
        ("3b ffffffffffffffff", "64 bits"),
    ] {
        fails("cbor", "json", hex(payload), expected);
    }
    fails("cbor", "msgpack", hex("3b ffffffffffffffff"), "64 bits");
}

#[test]
fn integers_beyond_2_to_53_follow_their_rule() {
    let beyond = [
        9_007_199_254_740_993_i128,
        -9_007_199_254_740_993,
        18_446_744_073_709_551_615,
    ];
    let exact = [9_007_199_254_740_992_i128, -9_007_199_254_740_992];
    for (rule, is_text, is_refused) in [
        ("number", false, false),
        ("text", true, false),
        ("refuse", false, true),
    ] {
        let mut broker = start("cbor", "json", json!({"integers": rule}));
        let mut said = |number: i128| {
            let mut payload = Vec::new();
            let value = Value::Integer(number.try_into().unwrap());
            ciborium::into_writer(&value, &mut payload).unwrap();
            send(&mut broker, payload).map(|payload| String::from_utf8(payload).unwrap())
        };
        for number in exact {
            assert_eq!(said(number), Ok(number.to_string()));
        }
        for number in beyond {
            let expected = if is_text {
                format!("\"{number}\"")
            } else {
                number.to_string()
            };
            match said(number) {
                Ok(said) => assert!(!is_refused && said == expected, "{said}"),
                Err(error) => assert!(is_refused && error.contains("beyond 2^53"), "{error}"),
            }
        }
    }
    // All digits of 64 bits survive the other way; beyond that JSON's reader has doubles.
    assert_eq!(
        convert("json", "cbor", "18446744073709551615").unwrap(),
        hex("1b ffffffffffffffff")
    );
    assert_eq!(
        convert("json", "cbor", "18446744073709551616").unwrap(),
        hex("fa 5f800000")
    );
}

#[test]
fn what_is_malformed_is_refused_in_words() {
    for (from, payload, expected) in [
        ("cbor", "", "too early"),
        ("cbor", "82 01", "too early"),
        ("cbor", "01 01", "1 bytes are left"),
        ("cbor", "1c", "no cbor at byte 0"),
        ("cbor", "9b ffffffffffffffff", "too early"),
        ("cbor", "5b 7fffffffffffffff 00", "too early"),
        ("cbor", "a2 6161 01 6161 02", "`a` is there twice"),
        ("msgpack", "", "too early"),
        ("msgpack", "c1", "never used"),
        ("msgpack", "92 01", "too early"),
        ("msgpack", "01 01", "1 bytes are left"),
        ("msgpack", "dd ffffffff", "too early"),
        ("msgpack", "df ffffffff c0", "too early"),
        ("msgpack", "c6 ffffffff 00", "too early"),
        ("msgpack", "a1 ff", "utf-8"),
        ("msgpack", "d4 01 00", "extension"),
        ("msgpack", "c7 01 05 00", "extension"),
        ("msgpack", "82 a161 01 a161 02", "`a` is there twice"),
        ("msgpack", "82 01 01 01 02", "`1` is there twice"),
        ("cbor", "a2 c0 6161 01 6161 02", "`a` is there twice"),
        (
            "cbor",
            "a2 8101 01 8101 02",
            "that is no text is there twice",
        ),
    ] {
        fails(from, "json", hex(payload), expected);
    }
    for payload in ["", "{", "nul", "1 2", "{\"a\":1,\"a\":2}"] {
        assert!(convert("json", "cbor", payload).is_err(), "{payload}");
    }
    assert!(convert("cbor", "json", hex("61 ff")).is_err());
}

#[test]
fn sizes_and_depths_are_bounded() {
    let bounds = json!({"max_bytes": 8, "max_depth": 3});
    for (from, to, deep) in [
        (
            "json",
            "cbor",
            ["[[[1]]]", "[[[[]]]]"].map(|text| text.as_bytes().to_vec()),
        ),
        ("cbor", "json", [hex("81 81 81 01"), hex("81 81 81 80")]),
        ("msgpack", "json", [hex("91 91 91 01"), hex("91 91 91 90")]),
    ] {
        let mut broker = start(from, to, bounds.clone());
        assert!(send(&mut broker, &*deep[0]).is_ok(), "{from}");
        let error = send(&mut broker, &*deep[1]).unwrap_err();
        assert!(error.contains("levels"), "{from}: {error}");
    }
    let mut broker = start("json", "cbor", bounds);
    assert!(send(&mut broker, "[1     ]").is_ok());
    assert!(
        send(&mut broker, "[1      ]")
            .unwrap_err()
            .contains("9 bytes, allowed are 8")
    );
    for (from, open) in [
        ("json", b'['),
        ("cbor", 0x81),
        ("msgpack", 0x91),
        ("cbor", 0xC1),
    ] {
        let mut broker = start(
            from,
            if from == "json" { "cbor" } else { "json" },
            json!({"max_depth": 64}),
        );
        assert!(send(&mut broker, vec![open; 65_000]).is_err());
    }
    // Messages within messages, each of two bytes more.
    let mut payload = Vec::new();
    for _ in 0..200 {
        let mut outer = vec![0x4A];
        prost::encoding::encode_varint(payload.len().try_into().unwrap(), &mut outer);
        outer.append(&mut payload);
        payload = outer;
    }
    fails("protobuf", "json", payload, "");
}

#[test]
fn what_goes_on_is_bounded() {
    // Each control character of one byte takes six in JSON.
    let text = |count: usize| {
        let length = u32::try_from(count).unwrap().to_be_bytes();
        [&[0x7A][..], &length, &vec![1; count]].concat()
    };
    let mut broker = start("cbor", "json", json!({"max_bytes": 131_072}));
    let most = (OUTPUT_BYTES - 2) / 6;
    assert!(send(&mut broker, text(most)).is_ok());
    let error = send(&mut broker, text(most + 1)).unwrap_err();
    assert!(
        error.contains("would become more than 524288 bytes"),
        "{error}"
    );
}

#[test]
fn a_reason_is_a_text_of_mqtt() {
    fails("cbor", "json", hex("a2 6100 01 6100 02"), "` ` is there");
}

#[test]
fn a_message_says_what_its_payload_is() {
    let mut message = Message::new("t", hex("f5"));
    message.properties.content_type = Some("application/cbor".to_owned());
    message.properties.user = vec![
        ("a".to_owned(), "1".to_owned()),
        (TAG.to_owned(), "forged".to_owned()),
    ];
    let properties = |to: &str, more| {
        let Ok(Outcome::Modify(patch)) = start("cbor", to, more).send(message.clone()) else {
            panic!()
        };
        patch.properties.unwrap()
    };
    let json = properties("json", json!({}));
    assert_eq!(
        (json.content_type.as_deref(), json.payload_format),
        (Some("application/json"), Some(1))
    );
    assert_eq!(json.user, [("a".to_owned(), "1".to_owned())]);
    let msgpack = properties("msgpack", json!({"content_type": "application/x-msgpack"}));
    assert_eq!(
        (msgpack.content_type.as_deref(), msgpack.payload_format),
        (Some("application/x-msgpack"), None)
    );
}

#[test]
fn what_cannot_be_converted_goes_on_with_a_tag_if_told_to() {
    let mut broker = start("cbor", "json", json!({"on_error": "tag"}));
    let Ok(Outcome::Modify(patch)) = broker.send(("t", hex("82 01"))) else {
        panic!()
    };
    assert_eq!(patch.payload, None);
    assert_eq!(
        patch.properties.unwrap().user,
        [(TAG.to_owned(), "it ends too early".to_owned())]
    );
    assert_eq!(
        (broker.counter("converted"), broker.counter("not_converted")),
        (0, 1)
    );
    let empty = Message {
        retain: true,
        ..Message::new("t", "")
    };
    assert_outcome!(broker, empty => Outcome::Pass);
}

#[test]
fn configurations_that_cannot_work_are_refused_in_words() {
    let protobuf = |descriptor: &str, message: &str| json!({"from": "protobuf", "to": "json", "protobuf": {"descriptor": descriptor, "message": message}});
    for (config, expected) in [
        (json!({"from": "json", "to": "json"}), "nothing to convert"),
        (json!({"from": "json", "to": "protobuf"}), "a descriptor"),
        (
            json!({"from": "json", "to": "cbor", "protobuf": {"descriptor": "AA==", "message": "a"}}),
            "leave it out",
        ),
        (protobuf("%", "a"), "no base64"),
        (protobuf("AAAA", "a"), "no FileDescriptorSet"),
        (
            protobuf(&descriptor(), "plant.v1.Nothing"),
            "it has plant.v1.Reading",
        ),
        (json!({"from": "json"}), "to: is missing"),
        (json!({"from": "json", "to": "xml"}), "expected one of"),
        (
            json!({"from": "json", "to": "cbor", "max_bytes": 131_073}),
            "more than",
        ),
        (
            json!({"from": "json", "to": "cbor", "max_depth": 65}),
            "more than",
        ),
        (
            json!({"from": "json", "to": "cbor", "max_depth": 0}),
            "less than",
        ),
    ] {
        let error = Broker::start(&config).unwrap_err();
        assert!(error.contains(expected), "{config}: {error}");
    }
}

/// Any value that all of CBOR, MessagePack and JSON's reader have.
fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>()
            .prop_filter("a number", |number| number.is_finite())
            .prop_map(Value::Float),
        ".{0,40}".prop_map(Value::Text),
    ];
    leaf.prop_recursive(4, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..20).prop_map(Value::Array),
            prop::collection::btree_map(".{0,9}", inner, 0..20).prop_map(|members| {
                Value::Map(
                    members
                        .into_iter()
                        .map(|(name, value)| (Value::Text(name), value))
                        .collect(),
                )
            }),
        ]
    })
}

fn cbor_of(value: &Value) -> Vec<u8> {
    let mut payload = Vec::new();
    ciborium::into_writer(value, &mut payload).unwrap();
    payload
}

proptest! {
    #[test]
    fn whatever_goes_through_msgpack_and_json_comes_back(value in values()) {
        let cbor = cbor_of(&value);
        for other in ["msgpack", "json"] {
            let there = convert("cbor", other, &*cbor).unwrap();
            prop_assert_eq!(&convert(other, "cbor", there).unwrap(), &cbor, "{}", other);
        }
    }

    #[test]
    fn bytes_and_odd_numbers_survive_msgpack(bytes in prop::collection::vec(any::<u8>(), 0..65_600), number in any::<f64>()) {
        let cbor = cbor_of(&Value::Array(vec![Value::Bytes(bytes), Value::Float(number)]));
        let mut there = start("cbor", "msgpack", json!({"max_bytes": 131_072}));
        let mut back = start("msgpack", "cbor", json!({"max_bytes": 131_072}));
        let msgpack = send(&mut there, &*cbor).unwrap();
        prop_assert_eq!(send(&mut back, msgpack).unwrap(), cbor);
    }

    #[test]
    fn readings_survive_protobuf(temp in any::<f64>(), count in any::<i64>(), total in any::<u64>(), raw in any::<Vec<u8>>(),
                                 samples in any::<Vec<i32>>(), tags in any::<std::collections::BTreeMap<i32, String>>()) {
        let text = |name: &str| Value::Text(name.to_owned());
        let samples = samples.into_iter().map(Value::from).collect();
        let tags = tags.into_iter().map(|(key, value)| (Value::from(key), Value::Text(value))).collect();
        let reading = Value::Map(vec![
            (text("outsideTemp"), Value::Float(temp)),
            (text("count"), count.into()),
            (text("total"), total.into()),
            (text("raw"), Value::Bytes(raw)),
            (text("samples"), Value::Array(samples)),
            (text("tags"), Value::Map(tags)),
        ]);
        let wire = convert("cbor", "protobuf", cbor_of(&reading)).unwrap();
        let back = convert("protobuf", "cbor", &*wire).unwrap();
        // Entries of a map have no order on the wire.
        let again = convert("cbor", "protobuf", &*back).unwrap();
        prop_assert_eq!(wire.len(), again.len());
        prop_assert_eq!(convert("protobuf", "cbor", again).unwrap(), back);
    }

    #[test]
    fn nothing_makes_it_panic(payload in prop::collection::vec(any::<u8>(), 0..200)) {
        for (from, to) in [("json", "cbor"), ("cbor", "msgpack"), ("msgpack", "json"), ("protobuf", "json"), ("cbor", "protobuf")] {
            drop(convert(from, to, &*payload));
        }
    }
}
