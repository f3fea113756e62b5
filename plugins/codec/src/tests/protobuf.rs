//! Protocol Buffers by descriptor: fields, names, defaults, what does not fit.

use super::*;

#[test]
fn every_kind_of_field_goes_there_and_back() {
    let text = concat!(
        r#"{"outsideTemp":-1.5,"count":-9007199254740993,"total":18446744073709551615,"isOn":true,"raw":"AQL/","#,
        r#""mode":"ON","samples":[-1,0,7],"tags":{"-1":"a","2":"b"},"inner":{"name":"x"},"right":"","small":0.5}"#,
    );
    let bytes = convert("json", "protobuf", text).unwrap();
    assert_eq!(
        String::from_utf8(convert("protobuf", "json", &*bytes).unwrap()).unwrap(),
        text
    );
    for other in ["cbor", "msgpack"] {
        let there = convert("protobuf", other, &*bytes).unwrap();
        let back = convert(other, "protobuf", there).unwrap(); // entries of a map have no order on the wire
        assert_eq!(
            convert("protobuf", "json", back).unwrap(),
            text.as_bytes(),
            "{other}"
        );
    }
    // What the specification of the wire gives as an example: field 2 with 150.
    assert_eq!(
        convert("protobuf", "json", hex("10 9601")).unwrap(),
        br#"{"count":150}"#
    );
    assert_eq!(
        convert("json", "protobuf", r#"{"count":150}"#).unwrap(),
        hex("10 9601")
    );
}

#[test]
fn fields_are_taken_in_the_usual_ways() {
    for (one, other) in [
        (r#"{"count":"150"}"#, r#"{"count":150.0}"#),
        (r#"{"outside_temp":1}"#, r#"{"outsideTemp":"1.0"}"#),
        (r#"{"raw":"AQ"}"#, r#"{"raw":"AQ=="}"#),
        (r#"{"mode":1,"name":null}"#, r#"{"mode":"ON"}"#),
        (
            r#"{"outside_temp":"-Infinity"}"#,
            r#"{"outsideTemp":"-Infinity","unheard":1}"#,
        ),
    ] {
        let (one, other) = (
            convert("json", "protobuf", one),
            convert("json", "protobuf", other),
        );
        assert!(one.is_ok() && one == other, "{one:?} {other:?}");
    }
    // A number that the enumeration does not have stays one.
    assert_eq!(
        convert("protobuf", "json", hex("30 07")).unwrap(),
        br#"{"mode":7}"#
    );
}

#[test]
fn names_and_defaults_are_as_told() {
    let names = json!({"protobuf": {"field_names": "proto"}});
    assert_eq!(
        send(&mut start("protobuf", "json", names), hex("20 01")).unwrap(),
        br#"{"is_on":true}"#
    );
    let mut broker = start("protobuf", "json", json!({"protobuf": {"defaults": true}}));
    let said = String::from_utf8(send(&mut broker, hex("20 01")).unwrap()).unwrap();
    assert!(said.starts_with(r#"{"outsideTemp":0.0,"count":0,"total":0,"isOn":true,"raw":"","mode":"OFF","samples":[]"#), "{said}");
    // Fields with presence are there or not.
    assert!(!said.contains("inner") && !said.contains("left"), "{said}");
}

#[test]
fn unknown_fields_follow_their_rule() {
    let (wire, text) = (hex("10 01 c00c 05"), r#"{"count":1,"other":5}"#);
    assert_eq!(
        convert("protobuf", "json", &*wire).unwrap(),
        br#"{"count":1}"#
    );
    assert_eq!(convert("json", "protobuf", text).unwrap(), hex("10 01"));
    let strict = json!({"protobuf": {"unknown_fields": "refuse"}});
    let error = send(&mut start("protobuf", "json", strict.clone()), wire).unwrap_err();
    assert!(
        error.contains("plant.v1.Reading has no field 200"),
        "{error}"
    );
    let error = send(&mut start("json", "protobuf", strict), text).unwrap_err();
    assert!(
        error.contains("plant.v1.Reading has no field `other`"),
        "{error}"
    );
}

#[test]
fn what_does_not_fit_a_field_is_refused_with_its_path() {
    for (payload, expected) in [
        ("[]", "has to be a map"),
        (
            r#"{"inner":{"count":"x"}}"#,
            "plant.v1.Reading.inner: plant.v1.Reading.count: it has to be an integer",
        ),
        (r#"{"count":1.5}"#, "an integer"),
        (r#"{"count":9223372036854775808}"#, "out of its range"),
        (r#"{"total":-1}"#, "out of its range"),
        (r#"{"samples":[2147483648]}"#, "out of its range"),
        (r#"{"samples":5}"#, "a list"),
        (r#"{"tags":[]}"#, "a map"),
        (r#"{"tags":{"x":"a"}}"#, "an integer"),
        (r#"{"isOn":1}"#, "true or false"),
        (r#"{"raw":"%"}"#, "no base64"),
        (r#"{"raw":7}"#, "bytes, or base64"),
        (r#"{"mode":"SLOW"}"#, "has no `SLOW`"),
        (r#"{"small":1e300}"#, "range of a float"),
        (r#"{"outsideTemp":"warm"}"#, "a number"),
        (r#"{"name":1}"#, "a text"),
        (
            r#"{"left":"a","right":"b"}"#,
            "more than one field of `side`",
        ),
        (
            r#"{"isOn":true,"is_on":false}"#,
            "the field `is_on` is there twice",
        ),
        (r#"{"tags":{"1":"a","+1":"b"}}"#, "a name is there twice"),
    ] {
        fails("json", "protobuf", payload, expected);
    }
    for payload in ["ff", "10", "0a 05 00", "6a 01 ff", "12 01 00"] {
        assert!(
            convert("protobuf", "json", hex(payload)).is_err(),
            "{payload}"
        );
    }
    let strict = json!({"protobuf": {"message": "plant.v1.Strict"}});
    let error = send(&mut start("json", "protobuf", strict), "{}").unwrap_err();
    assert!(error.contains("the field `id` is missing"), "{error}");
}

#[test]
fn names_of_fields_do_not_make_it_endless() {
    // Twelve names and values of each two bytes.
    let mut broker = start(
        "protobuf",
        "json",
        json!({"protobuf": {"defaults": true, "message": "plant.v1.Readings"}}),
    );
    let empty = |count: usize| [0x0A, 0x00].repeat(count);
    assert!(send(&mut broker, empty(1000)).is_ok());
    let error = send(&mut broker, empty(30_000)).unwrap_err();
    assert!(error.contains("would become more than"), "{error}");
}
