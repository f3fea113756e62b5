//! Every keyword on both sides: what fits and what does not.

use crate::check;
use crate::config::Draft;
use crate::schema::Schema;
use serde_json::{Value, json};

fn fits(schema: &Value, draft: Draft, value: &Value) -> bool {
    let compiled =
        Schema::compile(schema, draft, true).unwrap_or_else(|error| panic!("{schema}: {error}"));
    let errors = check::errors(&compiled, value, 3);
    // Whether all errors are looked for or the first one makes no difference.
    assert_eq!(
        errors.is_empty(),
        check::errors(&compiled, value, 1).is_empty(),
        "{schema} {value}"
    );
    errors.is_empty()
}

/// Rows of a schema, what fits it, and what does not.
fn check_all(draft: Draft, rows: &[(Value, Value, Value)]) {
    for (schema, fitting, others) in rows {
        for value in fitting.as_array().unwrap() {
            assert!(fits(schema, draft, value), "{schema} has to allow {value}");
        }
        for value in others.as_array().unwrap() {
            assert!(
                !fits(schema, draft, value),
                "{schema} has to refuse {value}"
            );
        }
    }
}

#[test]
fn keywords_of_single_values() {
    check_all(
        Draft::Draft202012,
        &[
            (
                json!({"type": "integer"}),
                json!([1, -1, 1.0, 18_446_744_073_709_551_615_u64]),
                json!([1.5, "1", null]),
            ),
            (
                json!({"type": ["null", "boolean"]}),
                json!([null, true]),
                json!([0, "", [], {}]),
            ),
            (
                json!({"enum": [1, "a", [1.0], {"x": 2}]}),
                json!([1.0, "a", [1], {"x": 2.0}]),
                json!([2, "b", [], {}]),
            ),
            (
                json!({"const": {"a": [false]}}),
                json!([{"a": [false]}]),
                json!([{"a": [0]}, {"a": [false], "b": 1}]),
            ),
            (
                json!({"const": 9_007_199_254_740_993_i64}),
                json!([9_007_199_254_740_993_i64]),
                json!([9_007_199_254_740_992_i64]),
            ),
            (
                json!({"multipleOf": 0.01}),
                json!([0.07, 19.99, 4, "x"]),
                json!([0.075, 1e-4]),
            ),
            (
                json!({"multipleOf": 3}),
                json!([0, 9, -3, 9.0]),
                json!([10, 1.5]),
            ),
            (
                json!({"minimum": 1.5, "maximum": 3}),
                json!([1.5, 3, 3.0, "0"]),
                json!([1.4, 3.1]),
            ),
            (
                json!({"exclusiveMinimum": 1, "exclusiveMaximum": 3}),
                json!([1.1, 2]),
                json!([1, 3, 1.0]),
            ),
            (
                json!({"minLength": 2, "maxLength": 3.0}),
                json!(["äö", "abc", 1]),
                json!(["ä", "abcd", ""]),
            ),
            (
                json!({"pattern": "^\\d{2}-[a-z]+$"}),
                json!(["12-ab", 5]),
                json!(["1-ab", "12-", "x12-ab"]),
            ),
            (json!({"pattern": "b"}), json!(["abc"]), json!(["ac"])),
            (json!({"format": "unheard-of"}), json!(["x"]), json!([])),
            (json!(true), json!([1, null]), json!([])),
            (json!(false), json!([]), json!([1, null])),
            (
                json!({"title": "x", "default": 1, "examples": [], "$comment": "", "x-own": {}}),
                json!([1, null]),
                json!([]),
            ),
        ],
    );
}

#[test]
fn keywords_of_lists() {
    check_all(
        Draft::Draft202012,
        &[
            (
                json!({"minItems": 1, "maxItems": 2}),
                json!([[1], [1, 2], "x"]),
                json!([[], [1, 2, 3]]),
            ),
            (
                json!({"uniqueItems": true}),
                json!([[1, 2, "1", [1], true], []]),
                json!([[1, 1.0], [{"a": 1, "b": 2}, {"b": 2, "a": 1}]]),
            ),
            (json!({"uniqueItems": false}), json!([[1, 1]]), json!([])),
            (
                json!({"items": {"type": "number"}}),
                json!([[], [1, 2]]),
                json!([[1, "2"]]),
            ),
            (
                json!({"prefixItems": [{"type": "number"}], "items": false}),
                json!([[], [1]]),
                json!([["1"], [1, 2]]),
            ),
            (
                json!({"contains": {"const": 5}}),
                json!([[5], [1, 5, 5]]),
                json!([[], [1]]),
            ),
            (
                json!({"contains": {"const": 5}, "minContains": 2, "maxContains": 3}),
                json!([[5, 5], [5, 5, 5]]),
                json!([[5], [5, 5, 5, 5]]),
            ),
            (
                json!({"contains": {"const": 5}, "minContains": 0}),
                json!([[], [1], [5]]),
                json!([]),
            ),
            (
                json!({"prefixItems": [true], "anyOf": [{"prefixItems": [true, {"const": 2}]}, true], "unevaluatedItems": false}),
                json!([[1], [1, 2]]),
                json!([[1, 3], [1, 2, 3]]),
            ),
            (
                json!({"contains": {"type": "string"}, "unevaluatedItems": {"type": "number"}}),
                json!([["a", 1, "b"]]),
                json!([["a", null]]),
            ),
        ],
    );
}

#[test]
fn keywords_of_objects() {
    check_all(
        Draft::Draft202012,
        &[
            (
                json!({"minProperties": 1, "maxProperties": 1}),
                json!([{"a": 1}, []]),
                json!([{}, {"a": 1, "b": 2}]),
            ),
            (
                json!({"required": ["a", "b"]}),
                json!([{"a": 1, "b": null}, "x"]),
                json!([{"a": 1}, {}]),
            ),
            (
                json!({"properties": {"a": {"type": "number"}}, "patternProperties": {"^x": {"type": "string"}}, "additionalProperties": {"type": "null"}}),
                json!([{"a": 1, "x1": "s", "other": null}, {}]),
                json!([{"a": "1"}, {"x1": 1}, {"other": 1}]),
            ),
            (
                json!({"patternProperties": {"a": true}, "additionalProperties": false}),
                json!([{"bab": 1}]),
                json!([{"b": 1}]),
            ),
            (
                json!({"propertyNames": {"maxLength": 2}}),
                json!([{"ab": 1}, 7]),
                json!([{"abc": 1}]),
            ),
            (
                json!({"dependentRequired": {"a": ["b"]}}),
                json!([{"b": 1}, {"a": 1, "b": 1}]),
                json!([{"a": 1}]),
            ),
            (
                json!({"dependentSchemas": {"a": {"maxProperties": 1}}}),
                json!([{"a": 1}, {"b": 1, "c": 1}]),
                json!([{"a": 1, "b": 1}]),
            ),
            (
                json!({"properties": {"a": true}, "allOf": [{"properties": {"b": true}}], "unevaluatedProperties": false}),
                json!([{"a": 1, "b": 1}]),
                json!([{"c": 1}]),
            ),
            (
                json!({"if": {"properties": {"k": {"const": 1}}, "required": ["k"]}, "then": {"properties": {"x": true}}, "else": {"properties": {"y": true}}, "unevaluatedProperties": false}),
                json!([{"k": 1, "x": 1}, {"y": 1}]),
                json!([{"k": 1, "y": 1}, {"x": 1}]),
            ),
            (
                json!({"if": {"required": ["a"], "properties": {"a": true}}, "unevaluatedProperties": false}),
                json!([{"a": 1}]),
                json!([{"a": 1, "b": 1}, {"b": 1}]),
            ),
            (
                json!({"$ref": "#/$defs/a", "unevaluatedProperties": {"type": "number"}, "$defs": {"a": {"properties": {"p": true}}}}),
                json!([{"p": "x", "q": 1}]),
                json!([{"q": "x"}]),
            ),
            (
                json!({"allOf": [{"unevaluatedProperties": true}], "unevaluatedProperties": false}),
                json!([{"a": 1}]),
                json!([]),
            ),
        ],
    );
}

#[test]
fn schemas_in_schemas() {
    check_all(
        Draft::Draft202012,
        &[
            (
                json!({"allOf": [{"minimum": 1}, {"maximum": 2}]}),
                json!([1, 2]),
                json!([0, 3]),
            ),
            (
                json!({"anyOf": [{"minimum": 5}, {"type": "string"}]}),
                json!([5, "x"]),
                json!([4]),
            ),
            (
                json!({"oneOf": [{"minimum": 1}, {"maximum": 2}]}),
                json!([0, 3]),
                json!([1, 2]),
            ),
            (json!({"not": {"type": "string"}}), json!([1]), json!(["x"])),
            (
                json!({"if": {"minimum": 10}, "then": {"multipleOf": 10}, "else": {"maximum": 5}}),
                json!([20, 5]),
                json!([15, 6]),
            ),
            (json!({"if": false}), json!([1]), json!([])),
            (json!({"then": false, "else": false}), json!([1]), json!([])),
        ],
    );
}

#[test]
fn references_within_the_document() {
    check_all(
        Draft::Draft202012,
        &[
            (
                json!({"$defs": {"n": {"type": "number"}}, "$ref": "#/$defs/n", "minimum": 1}),
                json!([1]),
                json!(["x", 0]),
            ),
            (
                json!({"$defs": {"n": {"$anchor": "num", "type": "number"}}, "$ref": "#num"}),
                json!([1]),
                json!(["x"]),
            ),
            (
                json!({"$defs": {"a/b~c%": {"type": "number"}}, "$ref": "#/$defs/a~1b~0c%25"}),
                json!([1]),
                json!(["x"]),
            ),
            (
                json!({"$id": "http://x/root", "$defs": {"in": {"$id": "inner", "$defs": {"t": {"type": "null"}}, "$ref": "#/$defs/t"}}, "$ref": "inner"}),
                json!([null]),
                json!([1]),
            ),
            (
                json!({"$id": "http://x/root", "items": {"$ref": "http://x/root#/$defs/n"}, "$defs": {"n": {"type": "number"}}}),
                json!([[1]]),
                json!([["x"]]),
            ),
            (
                json!({"properties": {"$ref": {"type": "string"}}}),
                json!([{"$ref": "x"}]),
                json!([{"$ref": 1}]),
            ),
            (
                json!({"properties": {"v": {"type": "number"}, "kids": {"items": {"$ref": "#"}}}, "required": ["v"]}),
                json!([{"v": 1, "kids": [{"v": 2, "kids": []}]}]),
                json!([{"v": 1, "kids": [{"kids": []}]}]),
            ),
        ],
    );
}

#[test]
fn draft_7_as_it_is() {
    check_all(
        Draft::Draft7,
        &[
            (
                json!({"definitions": {"n": {"type": "number"}}, "$ref": "#/definitions/n", "minimum": 1}),
                json!([1, 0]),
                json!(["x"]),
            ),
            (
                json!({"definitions": {"n": {"$id": "#num", "type": "number"}}, "$ref": "#num"}),
                json!([1]),
                json!(["x"]),
            ),
            (
                json!({"items": [{"type": "number"}], "additionalItems": {"type": "string"}}),
                json!([[1, "x"], [1]]),
                json!([["x"], [1, 2]]),
            ),
            (
                json!({"items": {"type": "number"}, "additionalItems": false}),
                json!([[1, 2]]),
                json!([["x"]]),
            ),
            (json!({"additionalItems": false}), json!([[1]]), json!([])),
            (
                json!({"dependencies": {"a": ["b"], "c": {"maxProperties": 1}}}),
                json!([{"a": 1, "b": 1}, {"c": 1}]),
                json!([{"a": 1}, {"c": 1, "d": 1}]),
            ),
            (
                json!({"contains": {"const": 5}, "minContains": 2}),
                json!([[5]]),
                json!([[]]),
            ),
            (
                json!({"if": {"const": 1}, "then": false}),
                json!([2]),
                json!([1]),
            ),
            (
                json!({"prefixItems": [false], "unevaluatedProperties": false, "dependentRequired": {}}),
                json!([[1], {"a": 1}]),
                json!([]),
            ),
        ],
    );
}

/// A format, texts that have it, and texts that have not.
type Row = (
    &'static str,
    &'static [&'static str],
    &'static [&'static str],
);

const FORMATS: [Row; 10] = [
    (
        "date",
        &["2024-02-29", "0000-01-01"],
        &[
            "2023-02-29",
            "2024-13-01",
            "24-01-01",
            "2024-1-01",
            "2024-01-01x",
        ],
    ),
    (
        "time",
        &[
            "08:30:06Z",
            "08:30:06.283185+01:00",
            "23:59:60Z",
            "01:29:60+01:30",
        ],
        &[
            "24:00:00Z",
            "08:30:06",
            "8:30:06Z",
            "08:30:06.Z",
            "22:59:60Z",
        ],
    ),
    (
        "date-time",
        &["1963-06-19T08:30:06.283185Z"],
        &["1963-06-19 08:30:06Z", "1963-06-19T08:30:06"],
    ),
    (
        "email",
        &["joe.bloggs@example.com"],
        &["2962", "@example.com", "joe@", "joe bloggs@x.de"],
    ),
    (
        "hostname",
        &["www.example.com", "a-b.c1"],
        &["-a.b", "a_b", "", "a..b"],
    ),
    (
        "ipv4",
        &["192.168.0.1"],
        &["127.0.0.0.1", "256.0.0.1", "127.1"],
    ),
    (
        "ipv6",
        &["::1", "2001:db8::ff00:42:8329"],
        &["12345::", "::1/64", "1.2.3.4"],
    ),
    (
        "json-pointer",
        &["", "/foo/bar~0~1"],
        &["foo", "/foo~2", "/~"],
    ),
    (
        "uri",
        &["http://foo.bar/?q=%20", "urn:oasis:names"],
        &["//foo.bar", "\\\\WINDOWS", "http://a b", "http://x/%2"],
    ),
    (
        "uuid",
        &["2EB8AA08-AA98-11EA-B4AA-73B441D16380"],
        &[
            "2eb8aa08-aa98-11ea-b4aa-73b441d1638",
            "2eb8aa08aa9811eab4aa73b441d16380",
        ],
    ),
];

#[test]
fn formats_on_both_sides() {
    let row = |(format, fitting, others): Row| {
        (json!({ "format": format }), json!(fitting), json!(others))
    };
    check_all(Draft::Draft202012, &FORMATS.map(row));
}

#[test]
fn the_work_is_bounded_and_said_to_be() {
    // Two alternatives on every level of 30: a thousand million ways.
    let way =
        |name: &str| json!({"allOf": [{"properties": {"n": {"$ref": "#"}}}], "required": [name]});
    let schema = json!({"anyOf": [way("x"), way("y")]});
    let nested = |levels: u32| (0..levels).fold(json!({}), |inner, _| json!({ "n": inner }));
    let compiled = Schema::compile(&schema, Draft::Draft202012, false).unwrap();
    assert_eq!(
        check::errors(&compiled, &nested(3), 1),
        ["/: fits none of the schemas of `anyOf`"]
    );
    let errors = check::errors(&compiled, &nested(30), 1);
    assert!(errors[0].contains("steps"), "{errors:?}");
    // `not` makes no right answer of one that is missing.
    let compiled = Schema::compile(&json!({"not": schema}), Draft::Draft202012, false).unwrap();
    let errors = check::errors(&compiled, &nested(30), 1);
    assert!(errors[0].contains("steps"), "{errors:?}");
}

#[test]
fn keywords_of_a_wrong_form_are_refused_with_their_place() {
    for (schema, expected) in [
        (
            json!({"properties": {"a/b": {"minimum": "1"}}}),
            "/properties/a~1b/minimum: it has to be a number",
        ),
        (json!({"multipleOf": 0}), "above 0"),
        (json!({"minLength": -1}), "whole number"),
        (json!({"minItems": 1.5}), "whole number"),
        (json!({"required": "a"}), "list of texts"),
        (json!({"dependentRequired": {"a": [1]}}), "list of texts"),
        (json!({"enum": 1}), "list"),
        (json!({"type": []}), "or a list of them"),
        (json!({"allOf": []}), "not empty"),
        (json!({"anyOf": {}}), "list of schemas"),
        (json!({"properties": []}), "object of schemas"),
        (json!({"items": 1}), "object or a boolean"),
        (json!({"uniqueItems": 1}), "true or false"),
        (json!({"$ref": 1}), "text"),
        (json!({"$dynamicRef": "#x"}), "not supported"),
        (
            json!({"patternProperties": {"(": true}}),
            "matched in linear time",
        ),
    ] {
        let error = Schema::compile(&schema, Draft::Draft202012, false)
            .err()
            .unwrap_or_default();
        assert!(error.contains(expected), "{schema}: {error}");
    }
}
