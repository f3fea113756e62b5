//! Values of every datatype.

use super::encode::{BOOLEAN, BYTES, DATA_SET, DOUBLE, Encoder, FLOAT, TEMPLATE};
use super::*;

/// The value of a metric, and the name of its datatype.
fn value(metric: Encoder) -> (Value, String) {
    let json = told(&mut replacing(json!({})), DATA, payload(0, [metric])).0;
    let metric = &json["metrics"][0];
    (
        metric["value"].clone(),
        metric["datatype"].as_str().unwrap_or_default().to_owned(),
    )
}

#[track_caller]
fn fails(metric: Encoder, words: &str) {
    refused(
        &mut replacing(json!({})),
        DATA,
        payload(0, [metric]),
        0x99,
        words,
    );
}

fn packed<const N: usize>(items: &[[u8; N]]) -> Vec<u8> {
    items.concat()
}

#[test]
fn every_simple_datatype() {
    for (datatype, name, field, wire, expected) in [
        (1, "Int8", INT, 0xFFFF_FFFE, json!(-2)),
        (1, "Int8", INT, 0xFE, json!(-2)),
        (1, "Int8", LONG, u64::MAX, json!(-1)),
        (1, "Int8", INT, 127, json!(127)),
        (2, "Int16", INT, 0xFFFF_8000, json!(-32_768)),
        (3, "Int32", INT, 0x8000_0000, json!(-2_147_483_648_i64)),
        // The wire extends what is negative to ten bytes.
        (3, "Int32", INT, u64::MAX, json!(-1)),
        (4, "Int64", LONG, 1 << 63, json!(i64::MIN)),
        (5, "UInt8", INT, 255, json!(255)),
        (6, "UInt16", INT, 65_535, json!(65_535)),
        (7, "UInt32", INT, 0xFFFF_FFFF, json!(4_294_967_295_u64)),
        (7, "UInt32", LONG, 0xFFFF_FFFF, json!(4_294_967_295_u64)),
        (8, "UInt64", LONG, u64::MAX, json!(u64::MAX)),
        (11, "Boolean", BOOLEAN, 1, json!(true)),
        (11, "Boolean", BOOLEAN, 0, json!(false)),
        (
            13,
            "DateTime",
            LONG,
            1_486_144_502_122,
            json!(1_486_144_502_122_u64),
        ),
    ] {
        let found = value(metric("m", datatype).varint(field, wire));
        assert_eq!(found, (expected, name.to_owned()), "{wire}");
    }
    for (datatype, name, text) in [
        (12, "String", "ü"),
        (14, "Text", ""),
        (15, "UUID", "e8a2-1"),
    ] {
        let found = value(metric("m", datatype).bytes(TEXT, text));
        assert_eq!(found, (json!(text), name.to_owned()));
    }
    for (datatype, name) in [(17, "Bytes"), (18, "File")] {
        let found = value(metric("m", datatype).bytes(BYTES, [1, 2, 255]));
        assert_eq!(found, (json!("AQL/"), name.to_owned()));
    }
    for (metric, expected) in [
        (metric("m", 9).float(FLOAT, 0.1), json!(0.1)),
        (
            metric("m", 9).float(FLOAT, f32::NEG_INFINITY),
            json!("-Infinity"),
        ),
        (metric("m", 10).double(DOUBLE, 1e300), json!(1e300)),
        (metric("m", 10).double(DOUBLE, f64::NAN), json!("NaN")),
        (
            metric("m", 10).double(DOUBLE, f64::INFINITY),
            json!("Infinity"),
        ),
        (metric("m", 3).varint(7, 1), json!(null)),
        (metric("m", 3).varint(7, 1).varint(INT, 5), json!(null)),
        (metric("m", 3), json!(null)),
        (message().bytes(1, "m").varint(INT, 5), json!(5)),
        (message().bytes(1, "m").bytes(TEXT, "x"), json!("x")),
    ] {
        assert_eq!(value(metric).0, expected);
    }
}

#[test]
fn every_kind_of_array() {
    let floats = packed(&[1.5_f32, -0.1].map(f32::to_le_bytes));
    let doubles = packed(&[1.5_f64, -0.1].map(f64::to_le_bytes));
    let longs = packed(&[-1_i64, 5].map(i64::to_le_bytes));
    for (datatype, name, bytes, expected) in [
        (22, "Int8Array", vec![0xEF, 0x7B], json!([-17, 123])),
        (
            23,
            "Int16Array",
            vec![0x30, 0x8A, 0x30, 0x75],
            json!([-30_160, 30_000]),
        ),
        (
            24,
            "Int32Array",
            packed(&[-1_i32, 315_338_746].map(i32::to_le_bytes)),
            json!([-1, 315_338_746]),
        ),
        (25, "Int64Array", longs, json!([-1, 5])),
        (26, "UInt8Array", vec![0x17, 0xFA], json!([23, 250])),
        (
            27,
            "UInt16Array",
            vec![0x1E, 0x00, 0xFF, 0xFF],
            json!([30, 65_535]),
        ),
        (
            28,
            "UInt32Array",
            packed(&[52_u32, u32::MAX].map(u32::to_le_bytes)),
            json!([52, u32::MAX]),
        ),
        (
            29,
            "UInt64Array",
            packed(&[52_u64, u64::MAX].map(u64::to_le_bytes)),
            json!([52, u64::MAX]),
        ),
        (30, "FloatArray", floats, json!([1.5, -0.1])),
        (31, "DoubleArray", doubles, json!([1.5, -0.1])),
        (
            32,
            "BooleanArray",
            vec![12, 0, 0, 0, 0b0011_0100, 0b1101_0000],
            json!([
                false, false, true, true, false, true, false, false, true, true, false, true
            ]),
        ),
        (
            33,
            "StringArray",
            b"ABC\0\0hello\0".to_vec(),
            json!(["ABC", "", "hello"]),
        ),
        (
            34,
            "DateTimeArray",
            packed(&[1_256_102_875_335_u64].map(u64::to_le_bytes)),
            json!([1_256_102_875_335_u64]),
        ),
        (22, "Int8Array", vec![], json!([])),
        (32, "BooleanArray", vec![0, 0, 0, 0], json!([])),
        (33, "StringArray", vec![], json!([])),
    ] {
        let found = value(metric("m", datatype).bytes(BYTES, bytes));
        assert_eq!(found, (expected, name.to_owned()));
    }
}

#[test]
fn what_is_no_array_of_its_datatype_is_refused() {
    for (datatype, bytes, words) in [
        (23, &[1, 2, 3][..], "an array of 3 bytes has items of 2"),
        (32, &[1, 0, 0], "too early"),
        (32, &[9, 0, 0, 0, 1], "too early"),
        (32, &[0xFF, 0xFF, 0xFF, 0xFF, 1], "too early"),
        (32, &[1, 0, 0, 0, 1, 2], "has bytes left"),
        (33, b"ABC", "has no end"),
        (33, b"\xFF\0", "it is no text"),
    ] {
        fails(metric("m", datatype).bytes(BYTES, bytes), words);
    }
}

#[test]
fn what_does_not_fit_its_datatype_is_refused() {
    for (metric, words) in [
        (
            metric("m", 1).varint(INT, 256),
            "metric `m`: 256 has more than 8 bits",
        ),
        (metric("m", 5).varint(INT, 256), "256 has more than 8 bits"),
        (metric("m", 7).varint(LONG, 1 << 32), "more than 32 bits"),
        (metric("m", 3).varint(LONG, 1 << 32), "more than 32 bits"),
        (metric("m", 3).bytes(TEXT, "5"), "wrong field"),
        (
            metric("m", 12).varint(INT, 5),
            "datatype String is in the wrong field",
        ),
        (
            metric("m", 20).bytes(BYTES, []),
            "datatype PropertySet is in the wrong field",
        ),
        (
            metric("m", 35).varint(INT, 5),
            "the datatype 35 is not known",
        ),
        (metric("m", 3).bytes(19, []), "extension"),
        (
            metric("m", 12).bytes(TEXT, [0xFF]),
            "field 15: it is no text",
        ),
        (
            metric("m", 9).varint(FLOAT, 1),
            "field 12: it has to be a float",
        ),
    ] {
        fails(metric, words);
    }
}

#[test]
fn integers_beyond_2_to_53_are_texts_if_told_so() {
    let mut broker = replacing(json!({"integers": "text"}));
    let metrics = [1_u64 << 53, (1 << 53) + 1].map(|value| metric("m", 8).varint(LONG, value));
    let json = told(&mut broker, DATA, payload(0, metrics)).0;
    assert_eq!(
        (&json["metrics"][0]["value"], &json["metrics"][1]["value"]),
        (
            &json!(9_007_199_254_740_992_u64),
            &json!("9007199254740993")
        )
    );
}

#[test]
fn a_data_set_is_a_table() {
    let cell = |field, value| message().varint(field, value);
    let row = |cells: [Encoder; 3]| {
        cells
            .into_iter()
            .fold(message(), |row, cell| row.message(1, cell))
    };
    let head = |columns: u64| {
        message()
            .varint(1, columns)
            .bytes(2, "a")
            .bytes(2, "b")
            .bytes(2, "c")
    };
    let rows = |set: Encoder| {
        set.message(
            4,
            row([cell(1, 0xFFFF_FFFF), cell(5, 1), message().bytes(6, "x")]),
        )
        .message(4, row([cell(1, 7), message(), message().bytes(6, "")]))
    };
    let unpacked = head(3).varint(3, 1).varint(3, 11).varint(3, 12);
    let packed = head(3).bytes(3, [1, 11, 12]);
    for set in [unpacked, packed] {
        assert_eq!(
            value(metric("m", 16).message(DATA_SET, rows(set))).0,
            json!({"columns": ["a", "b", "c"], "types": ["Int8", "Boolean", "String"], "rows": [[-1, true, "x"], [7, null, ""]]})
        );
    }
    for (set, words) in [
        (
            head(2).bytes(3, [1, 11, 12]),
            "a data set of 2 columns has 3 names and 3 types",
        ),
        (head(3).bytes(3, [1, 11]), "3 names and 2 types"),
        (
            head(3)
                .bytes(3, [1, 11, 12])
                .message(4, message().message(1, message())),
            "1 cells, and 3 columns",
        ),
        (
            rows(head(3).bytes(3, [12, 11, 12])),
            "datatype String is in the wrong field",
        ),
    ] {
        fails(metric("m", 16).message(DATA_SET, set), words);
    }
}

#[test]
fn templates_hold_metrics_and_parameters() {
    let inner = message()
        .bytes(1, "v1")
        .message(2, metric("x", 3).varint(INT, 1))
        .message(3, message().bytes(1, "p").varint(2, 12).bytes(8, "on"))
        .bytes(4, "Pump")
        .varint(5, 0);
    let outer = message()
        .message(2, metric("in", 19).message(TEMPLATE, inner))
        .varint(5, 1);
    assert_eq!(
        value(metric("m", 19).message(TEMPLATE, outer)).0,
        json!({"is_definition": true, "metrics": [{"name": "in", "datatype": "Template", "value": {
            "version": "v1", "template_ref": "Pump", "is_definition": false,
            "metrics": [{"name": "x", "datatype": "Int32", "value": 1}],
            "parameters": [{"name": "p", "type": "String", "value": "on"}],
        }}]})
    );
    let nested = |levels: usize| {
        let wrap =
            |inner: Encoder, _| message().message(2, metric("m", 19).message(TEMPLATE, inner));
        metric("m", 19).message(TEMPLATE, (1..levels).fold(message(), wrap))
    };
    assert!(value(nested(json::LEVELS)).0.is_object());
    fails(nested(json::LEVELS + 1), "more than 16 levels");
}

#[test]
fn properties_and_metadata_stand_beside_the_value() {
    let unit = message().varint(1, 12).bytes(8, "°C");
    let low = message().varint(1, 1).varint(3, 0xFFFF_FFFF);
    let none = message().varint(1, 3).varint(2, 1);
    let set = message().bytes(1, "unit").bytes(1, "low").bytes(1, "none");
    let set = set.message(2, unit).message(2, low).message(2, none);
    let within = |field, set| message().varint(1, field + 11).message(field, set);
    let all = message().bytes(1, "set").bytes(1, "sets");
    let all = all
        .message(2, within(9, set.clone()))
        .message(2, within(10, message().message(1, set)));
    let metadata = message()
        .varint(1, 1)
        .bytes(2, "text/csv")
        .varint(3, 5)
        .varint(4, 0)
        .bytes(5, "a.csv")
        .bytes(7, "00");
    let metric = metric("m", 3)
        .varint(INT, 1)
        .varint(3, 7)
        .varint(5, 1)
        .varint(6, 1);
    let metric = metric.message(8, metadata).message(9, all);
    let json = told(&mut replacing(json!({})), DATA, payload(0, [metric])).0;
    let set = json!({"unit": {"type": "String", "value": "°C"}, "low": {"type": "Int8", "value": -1}, "none": {"type": "Int32", "value": null}});
    assert_eq!(
        json["metrics"][0],
        json!({
            "name": "m", "timestamp": 7, "datatype": "Int32", "value": 1, "is_historical": true, "is_transient": true,
            "metadata": {"is_multi_part": true, "content_type": "text/csv", "size": 5, "seq": 0, "file_name": "a.csv", "md5": "00"},
            "properties": {"set": {"type": "PropertySet", "value": set}, "sets": {"type": "PropertySetList", "value": [set]}},
        })
    );
    for (set, words) in [
        (
            message().bytes(1, "a"),
            "it has 1 keys of properties, and 0 values",
        ),
        (
            message()
                .bytes(1, "a")
                .bytes(1, "a")
                .message(2, message())
                .message(2, message()),
            "the property `a` is there twice",
        ),
    ] {
        fails(super::metric("m", 3).message(9, set), words);
    }
    let nested = |levels: usize| {
        let wrap = |inner, _| message().bytes(1, "s").message(2, within(9, inner));
        super::metric("m", 3).message(9, (1..levels).fold(message(), wrap))
    };
    assert_eq!(value(nested(json::LEVELS)).0, json!(null));
    fails(nested(json::LEVELS + 1), "more than 16 levels");
}
