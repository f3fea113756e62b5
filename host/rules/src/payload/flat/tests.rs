//! What is read as far as it is asked for comes to the same as what is read as a whole.

use super::*;
use crate::payload::{Doc, Format};
use bytes::Bytes;
use proptest::prelude::*;

fn flat(text: &str) -> Option<Flat> {
    Flat::read(ByteString::from(text))
}

/// As the tree is, in all that can be asked of it.
fn assert_same(flat: &Flat, tree: &Json) {
    let fields = tree.as_object().unwrap();
    assert_eq!(flat.len(), fields.len());
    let written = String::from_utf8(flat.write().unwrap()).unwrap();
    assert_eq!(written, tree.to_string());
    assert_eq!(flat.to_json().to_string(), tree.to_string());
    let names: Vec<&str> = flat.iter().map(|(name, _)| name).collect();
    assert!(names.iter().copied().eq(fields.keys()), "{names:?}");
    for ((_, value), (name, expected)) in flat.iter().zip(fields) {
        // Not the JSON itself: of a whole number beyond 64 bits with a sign, a value is a float.
        let expected = Value::from(expected);
        for value in [value, flat.get(name).unwrap()] {
            assert_eq!(format!("{value:?}"), format!("{expected:?}"));
            assert_eq!(value.to_json().unwrap(), expected.to_json().unwrap());
        }
    }
    let written = String::from_utf8(flat.write().unwrap()).unwrap();
    assert_eq!(written, tree.to_string(), "also when all was asked for");
}

#[test]
fn what_is_common_is_read_in_place_and_what_is_rare_is_left_to_the_tree() {
    let deep = |levels| format!(r#"{{"a":{}1{}}}"#, "[".repeat(levels), "]".repeat(levels));
    for text in [
        "{}",
        " {\n} ",
        r#"{"a":9223372036854775807,"b":10000000000000000000,"c":18446744073709551615}"#,
        r#"{"a":1,"b":-2,"c":2.5,"d":"x","e":true,"f":false,"g":null,"h":[1,{"i":2}]}"#,
        r#" { "b" : 1 , "a" : [ 1 , 2.50 ] , "b" : { "z" : 1 , "y" : 2 } } "#,
        r#"{"n":[0,-0,0.0,-0.0,0.001,0.0001,0.00001,1e3,1E-7,1.50,20.0,123456789012345678,18446744073709551615,18446744073709551616,0.1234567890123456789,999999999999999.0,1e15,1e16,1e17]}"#,
        r#"{"a":-0,"b":0.0,"c":-0.0,"d":0.001,"e":0.0001,"f":1e3,"g":1.50,"h":123456789012345678,"i":18446744073709551616,"j":12345678901234.5,"k":1234567890123456.5}"#,
        r#"{"e":"\"\\\/\b\f\n\r\t\u00e9é\u0000","plain":"\u007f é","":""}"#,
        r#"{"abcdefgh":1,"abcdefg":2,"abcdefghi":3,"abcdefgh":4,"é":5}"#,
        &deep(64),
    ] {
        let tree: Json = serde_json::from_str(text).unwrap();
        assert_same(&flat(text).expect(text), &tree);
    }
    for text in [
        "",
        "{",
        "[]",
        "1",
        r#"{"a":1"#,
        r#"{"a":1}x"#,
        r#"{"a":1,}"#,
        r#"{"a" 1}"#,
        r#"{"a":tru}"#,
        r#"{"a":nullx}"#,
        r#"{"a":01}"#,
        r#"{"a":-}"#,
        r#"{"a":1.}"#,
        r#"{"a":.5}"#,
        r#"{"a":1e}"#,
        r#"{"a":1-2}"#,
        r#"{"a":1e999}"#,
        r#"{"a":[1e999]}"#,
        r#"{"a":"\x"}"#,
        r#"{"a":"\u12g4"}"#,
        r#"{"a":"\u+123"}"#,
        r#"{"a":"\u12"}"#,
        r#"{"a":"\ud834"}"#,
        "{\"a\":\"\t\"}",
        "{\"a\":\"1234567\u{1}\"}",
        "{\"a\":\"x}",
        r#"{"\u0061":1}"#,
        r#"{"a":[1,]}"#,
        r#"{"a":{"b"}}"#,
        r#"{'a':1}"#,
        &deep(65),
        &deep(100_000),
    ] {
        assert!(flat(text).is_none(), "{text}");
        let payload = Bytes::copy_from_slice(text.as_bytes());
        let (opened, read) = (Format::Json.open(&payload), Format::Json.read(&payload));
        match (opened, read) {
            (Ok(Some(Doc::Tree(one))), Ok(Some(other))) => assert_eq!(one, other),
            (Err(one), Err(other)) => assert_eq!(one, other),
            (opened, read) => panic!("{text}: {opened:?} and {read:?}"),
        }
    }
}

fn space() -> impl Strategy<Value = &'static str> {
    prop_oneof![6 => Just(""), 1 => Just(" "), 1 => Just("\n\t")]
}

fn string() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        8 => "[a-z]{1,9}",
        1 => Just("é€😀".to_owned()),
        1 => Just(r"\n".to_owned()),
        1 => Just(r"\u00e9\/".to_owned()),
        1 => Just(r"\ud83d\ude00".to_owned()),
        1 => Just("\u{7f}".to_owned()),
    ];
    prop::collection::vec(piece, 0..3).prop_map(|pieces| format!("\"{}\"", pieces.concat()))
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "\"[abc]{0,2}\"",
        2 => "\"abcdefgh[ij]{0,2}\"",
        1 => string(),
    ]
}

/// The text of some JSON, as people and programs write it.
fn text() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|it| it.to_string()),
        "-?(0|[1-9][0-9]{0,20})",
        "-?(0|[1-9][0-9]{0,9})\\.[0-9]{1,9}",
        "-?0\\.0{0,7}[0-9]{1,3}",
        "-?[1-9](\\.[0-9]{1,3})?[eE][+-]?[0-9]{1,2}",
        any::<f64>()
            .prop_filter("finite", |it| it.is_finite())
            .prop_map(|it| format!("{it:?}")),
        string(),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        let list = prop::collection::vec((space(), inner.clone(), space()), 0..4);
        let list = list.prop_map(|items| {
            let items: Vec<String> = items
                .iter()
                .map(|(one, item, other)| format!("{one}{item}{other}"))
                .collect();
            format!("[{}]", items.join(","))
        });
        prop_oneof![list, object(inner)]
    })
}

fn object(inner: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    let field = (space(), name(), space(), inner, space());
    prop::collection::vec(field, 0..7).prop_map(|fields| {
        let fields: Vec<String> = (fields.iter())
            .map(|(one, name, two, value, three)| format!("{one}{name}{two}:{two}{value}{three}"))
            .collect();
        format!("{{{}}}", fields.join(","))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn it_says_and_writes_what_the_tree_does(text in object(text())) {
        let tree: Json = serde_json::from_str(&text).unwrap();
        if let Some(flat) = flat(&text) {
            assert_same(&flat, &tree);
        }
        let payload = Bytes::from(text);
        let doc = Format::Auto.open(&payload).unwrap().unwrap();
        prop_assert_eq!(Format::Json.close(&doc).unwrap(), tree.to_string());
        prop_assert_eq!(Format::Cbor.close(&doc), Format::Cbor.write(&tree));
    }

    #[test]
    fn it_is_changed_as_the_tree_is(
        text in object(text()),
        changes in prop::collection::vec(("[abc]{0,2}", any::<Option<u8>>()), 0..6),
    ) {
        let Some(mut flat) = flat(&text) else { return Ok(()) };
        let mut tree: Json = serde_json::from_str(&text).unwrap();
        let fields = tree.as_object_mut().unwrap();
        for (name, value) in changes {
            prop_assert_eq!(flat.get_mut(&name), fields.get_mut(&name));
            match value {
                Some(value) => {
                    flat.set(&name, Json::from(value));
                    fields.insert(name, Json::from(value));
                }
                None => {
                    flat.remove(&name);
                    fields.remove(&name);
                }
            }
        }
        assert_same(&flat, &tree);
    }

    /// What is broken is no object of fields, or it is one for the tree too.
    #[test]
    fn it_takes_nothing_that_the_tree_does_not(
        text in object(text()),
        at in any::<prop::sample::Index>(),
        put in prop_oneof![Just(String::new()), "[\\[\\]{}\",:0-9eE.+\\\\ tn-]"],
    ) {
        let mut chars: Vec<String> = text.chars().map(String::from).collect();
        let at = at.index(chars.len());
        chars[at] = put;
        let text = chars.concat();
        let tree = serde_json::from_str::<Json>(&text);
        match (flat(&text), &tree) {
            (Some(flat), Ok(tree)) => assert_same(&flat, tree),
            (Some(_), Err(error)) => prop_assert!(false, "{} is wrong: {}", text, error),
            (None, _) => {}
        }
        let payload = Bytes::from(text);
        let opened = Format::Json.open(&payload).map(|_| ());
        prop_assert_eq!(opened, Format::Json.read(&payload).map(|_| ()));
    }
}
