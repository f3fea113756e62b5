//! Expressions from text to outcome: numbers, errors and their places, limits from both sides.

use super::*;
use crate::payload::{Doc, Format};
use crate::template::{Template, Templates};
use bytes::Bytes;
use bytestring::ByteString;
use proptest::prelude::*;
use serde_json::{Value as Json, json};
use std::cell::Cell;
use witmq_broker::ports::Publisher;
use witmq_proto::packet::{PublishProperties, QoS};
use witmq_proto::{Message, TopicName};

fn evaluate(source: &str, payload: &[u8], limits: Limits) -> Result<Json, String> {
    let template = Templates::from(Template::parse("home/{room}").unwrap());
    let mut expression =
        Expression::compile(source, &["room"], &[]).map_err(|flaw| flaw.message)?;
    expression.limit(limits);
    let message = Message {
        topic: TopicName::new("home/kitchen").unwrap(),
        payload: Bytes::copy_from_slice(payload),
        qos: QoS::AtLeastOnce,
        retain: true,
        properties: PublishProperties::default(),
        expires_at: None,
        publisher: ByteString::from_static("c"),
        received_ms: 1_764_237_600_000,
        hops: 0,
    };
    let attributes = [("site".to_owned(), "ams".to_owned())];
    let publisher = Publisher {
        client_id: "c",
        username: Some("u"),
        attributes: &attributes,
        session: 1,
    };
    let run = |doc: Option<&Doc>| {
        let scope = Scope::new(&expression, &template, publisher, &message, doc);
        let limited = Cell::new(0);
        let outcome = expression.run(&scope, || limited.set(limited.get() + 1));
        let is_limited = outcome
            .as_ref()
            .is_err_and(|error| error.contains("(expression_"));
        assert_eq!(limited.get(), u64::from(is_limited));
        outcome?.to_json()
    };
    // Whether it is read as a whole or as far as it is asked for.
    let tree: Option<Json> = serde_json::from_slice(payload).ok();
    let outcome = run(tree.map(Doc::Tree).as_ref());
    if !source.contains("random") && !source.contains("uuid") {
        let doc = Format::Auto.open(&message.payload).unwrap();
        assert_eq!(run(doc.as_ref()), outcome, "{source}");
    }
    outcome
}

pub(crate) fn eval(source: &str, payload: &str) -> Result<Json, String> {
    evaluate(source, payload.as_bytes(), Limits::default())
}

#[test]
fn whole_and_broken_numbers_give_the_same() {
    for payload in [r#"{"c":20}"#, r#"{"c":20.0}"#] {
        for (source, expected) in [
            ("payload.c * 9 / 5 + 32", json!(68.0)),
            ("payload.c > 10 && payload.c == 20", json!(true)),
            ("payload.c in [20]", json!(true)),
            ("string(payload.c)", json!("20")),
            ("{20: 'x'}[payload.c]", json!("x")),
            ("[1, 2, 3][payload.c - 19]", json!(2)),
            ("payload.c % 3", json!(2.0)),
            ("-payload.c < -19", json!(true)),
            ("bitAnd(payload.c, 4)", json!(4)),
        ] {
            assert_eq!(eval(source, payload), Ok(expected), "{source} {payload}");
        }
    }
    assert_eq!(eval("'20 + 1'", "{}"), Ok(json!("20 + 1")));
    // Nobody computes with it: it keeps its digits.
    assert_eq!(
        eval("payload.id", r#"{"id":9007199254740993}"#),
        Ok(json!(9_007_199_254_740_993i64))
    );
}

#[test]
fn names_stand_for_the_message() {
    for (source, expected) in [
        (
            "topic.room + '@' + topic.name",
            json!("kitchen@home/kitchen"),
        ),
        (
            "client.id + client.username + client.attributes.site",
            json!("cuams"),
        ),
        ("qos == 1 && retain && received_ms == now()", json!(true)),
        ("size(raw)", json!(2)),
        ("has(payload.x)", json!(false)),
        ("has(payload.x.y.z)", json!(false)),
        ("default(payload.x.y, 3)", json!(3)),
        ("size('äö') > 1", json!(true)),
    ] {
        assert_eq!(eval(source, "{}"), Ok(expected), "{source}");
    }
    let limits = Limits::default();
    assert_eq!(evaluate("payload", b"text", limits), Ok(json!("text")));
    assert_eq!(
        evaluate("subbits(raw, 5, 8) + size(payload)", b"\x12\xff", limits),
        Ok(json!(49.0))
    );
}

#[test]
fn macros_see_each_element() {
    let payload = r#"{"l":[{"v":1},{"v":5},{"v":3}],"m":{"b":1,"a":2}}"#;
    for (source, expected) in [
        ("payload.l.map(x, x.v * 2)", json!([2.0, 10.0, 6.0])),
        ("payload.l.filter(x, x.v > 2).map(y, y.v)", json!([5, 3])),
        ("payload.l.map(x, x.v > 2, x.v)", json!([5, 3])),
        ("payload.l.all(x, x.v > 0)", json!(true)),
        ("payload.l.exists(x, x.v == 3)", json!(true)),
        ("payload.l.exists_one(x, x.v > 2)", json!(false)),
        ("payload.l.existsOne(x, x.v > 4)", json!(true)),
        ("payload.l.sortBy(x, -x.v).map(x, x.v)", json!([5, 3, 1])),
        (
            "payload.m.map(k, k + string(payload.m[k]))",
            json!(["a2", "b1"]),
        ),
        (
            "payload.l.map(x, payload.l.filter(y, y.v < x.v).map(y, x.v - y.v))",
            json!([[], [4.0, 2.0], [2.0]]),
        ),
        // One element that cannot be judged does not hide another that decides.
        ("payload.l.exists(x, x.v == 5 || x.w > 1)", json!(true)),
        (
            "payload.l.map(x, default(payload.l.map(y, y.none), [x.v])[0])",
            json!([1, 5, 3]),
        ),
        (
            "payload.l.filter(x, [9].exists(y, y > x.v)).map(x, x.v)",
            json!([1, 5, 3]),
        ),
        ("[].all(x, x.none) && ![].exists(x, x.none)", json!(true)),
    ] {
        assert_eq!(eval(source, payload), Ok(expected), "{source}");
    }
}

#[test]
fn what_is_wrong_is_found_before_any_message_comes() {
    for (source, expected, at) in [
        ("paylod.c > 1", "did you mean `payload`", 0),
        ("room == 'x'", "`topic.room`", 0),
        (
            "payload.c > 1 && topic.rom == 'x'",
            "did you mean `topic.room`",
            17,
        ),
        ("client.idd == 'x'", "did you mean `client.id`", 0),
        (
            "sze(payload) > 1",
            "no function `sze`; did you mean `size`?",
            0,
        ),
        (
            "1 + payload.x.lowr()",
            "no function `lowr`; did you mean `lower`?",
            14,
        ),
        (
            "1 + json_decode('1')",
            "here it is `jsonDecode`: jsonDecode(text[, default])",
            4,
        ),
        ("1 + substr('abc', 1)", "here it is `substring`", 4),
        ("1 + lower()", "`lower` takes 1 argument, not 0", 4),
        ("'a'.lower('b', 'c')", "`lower` takes 1 argument, not 3", 0),
        ("pi(1)", "takes no argument, not 1", 0),
        ("default(1)", "takes 2 or more arguments, not 1", 0),
        ("round(1, 2, 3)", "takes 1 to 2 arguments, not 3", 0),
        ("'a'.matches('(')", "is no regular expression", 12),
        (
            "'a'.matches('a{1000}{1000}')",
            "is no regular expression",
            12,
        ),
        (
            "1 + filter(payload.l)",
            "filter is used as list.filter(x, condition)",
            4,
        ),
        ("has(payload)", "has(…) takes one field", 0),
        (
            "payload.map(1)",
            "map is used as list.map(x[, condition], expression)",
            0,
        ),
        ("lower == 'a'", "is called as `lower(…)`", 0),
        ("payload.c >", "the expression ends too early", 11),
        ("'ü' + 'b", "`'b` is a text without an end", 7),
        (r"'\d+'", "with an unknown escape", 0),
        ("1 + # 2", "`#` means nothing", 4),
        ("(1 + 2", "`)` is missing", 6),
        ("1 + * 2", "`*` cannot stand here", 4),
        ("payload.a b", "`b` cannot stand here", 10),
        ("payload..a", "cannot stand here", 8),
        ("A{b: 1}", "{'key': value, …}", 1),
    ] {
        let flaw = Expression::compile(source, &["room"], &[]).err().unwrap();
        let message = &flaw.message;
        assert!(message.contains(expected), "{source}: {message}");
        let is_there = expected.is_empty() && flaw.at <= source.len() || flaw.at == at;
        assert!(is_there, "{source}: at {}", flaw.at);
    }
}

#[test]
fn an_error_names_its_place_its_part_and_its_values() {
    let payload = r#"{"s":"abc","n":1,"l":[1,{"a":2}]}"#;
    for (source, expected) in [
        (
            "1 + payload.s * 9",
            r#"1:5: `payload.s * 9`: `*` takes two numbers, not "abc" and 9"#,
        ),
        (
            "payload.n > 0 &&\n  payload.s > 2",
            r#"2:3: `payload.s > 2`: `>` takes two numbers, two texts or two of bytes, not "abc" and 2"#,
        ),
        (
            "(payload.n + 1) * (2 - payload.s)",
            r#"1:20: `2 - payload.s`: `-` takes two numbers, not 2 and "abc""#,
        ),
        (
            "((payload.n + 1) * 2).lower()",
            "1:1: `((payload.n + 1) * 2).lower()`: argument 1 is 4.0, a text is needed",
        ),
        (
            "upper( round(payload.s, 1) )",
            r#"1:8: `round(payload.s, 1)`: argument 1 is "abc", a number is needed"#,
        ),
        (
            "payload.l[7]",
            "1:1: `payload.l[7]`: there is no element 7: the list has 2, the first is 0",
        ),
        (
            "payload.x + 1",
            "1:1: `payload.x`: there is no field `x`: it has l, n, s",
        ),
        (
            "'a' + payload.n",
            r#"1:1: `'a' + payload.n`: `+` takes two numbers, two texts, two of bytes or two lists, not "a" and 1; string(…) makes a text of a number"#,
        ),
        (
            "payload.l.map(x, x.a)",
            "1:18: `x.a`: 1 is no map and has no field `a`",
        ),
        (
            "payload.n ? 1 : 2",
            "1:1: `payload.n ? 1 : 2`: `?` takes true or false, not 1",
        ),
        (
            "!payload.s",
            r#"1:1: `!payload.s`: `!` takes true or false, not "abc""#,
        ),
        (
            "-(payload.s)",
            r#"1:1: `-(payload.s)`: `-` takes a number, not "abc""#,
        ),
        (
            "{'a': -1}.b",
            "1:1: `{'a': -1}.b`: there is no field `b`: it has a",
        ),
        (
            "[')', (-1)][-1]",
            "1:1: `[')', (-1)][-1]`: there is no element -1: the list has 2, the first is 0",
        ),
    ] {
        assert_eq!(eval(source, payload), Err(expected.to_owned()), "{source}");
    }
    let long = format!("'{}' * 2", "x".repeat(1000));
    assert!(eval(&long, "{}").unwrap_err().len() <= ERROR_BYTES);
}

#[test]
fn an_error_is_placed_in_its_file() {
    let text = "from = 'a'\n[[step]]\nset = { x = \"\"\"\n1 +\n  payload.s * 2\"\"\" }\n";
    let timed = "from = 'a'\n[[step]]\nfilter = 'now() == 7'\n";
    let lines = crate::trace("a.toml", timed, r#"{"topic":"a","received_ms":7}"#).unwrap();
    assert!(lines[0].contains("-> true"), "{lines:?}");
    let lines = crate::trace("a.toml", text, r#"{"topic":"a","payload":{"s":"b"}}"#).unwrap();
    let expected = r#"5:3: `payload.s * 2`: `*` takes two numbers, not "b" and 2"#;
    assert!(
        lines.iter().any(|line| line.contains(expected)),
        "{lines:?}"
    );
}

fn limits() -> Limits {
    Limits {
        output_bytes: 640,
        iterations: 12,
        work: 500,
    }
}

#[test]
fn each_limit_holds_from_its_first_unit_on_and_not_before() {
    let list = |length: usize| json!({"l": vec![0; length], "t": "x".repeat(length)}).to_string();
    for (source, within, beyond, named) in [
        // Elements, also of nested lists together: 3 + 9, 4 + 16.
        ("size(payload.l.map(x, 1))", 12, 13, "iterations"),
        ("payload.l.all(x, true)", 12, 13, "iterations"),
        ("payload.l.exists(x, false)", 12, 13, "iterations"),
        ("size(payload.l.filter(x, false))", 12, 13, "iterations"),
        (
            "payload.l.all(x, payload.l.all(y, true))",
            3,
            4,
            "iterations",
        ),
        // Not hidden by what hides other errors.
        ("payload.l.exists(x, false) || true", 12, 13, "iterations"),
        (
            "default(payload.l.map(x, payload.none), payload.l.all(x, true))",
            11,
            12,
            "iterations",
        ),
        // Bytes built: of texts, of lists at 32, of what is written down at the end.
        ("size(payload.t + payload.t)", 320, 321, "output_bytes"),
        ("size(payload.t.repeat(2))", 320, 321, "output_bytes"),
        ("size(payload.l + payload.l)", 10, 11, "output_bytes"),
        ("size(range(size(payload.l)))", 20, 21, "output_bytes"),
        (
            "size([payload.t, payload.t].join(''))",
            320,
            321,
            "output_bytes",
        ),
        (
            "size(payload.t.replace('x', 'yy'))",
            320,
            321,
            "output_bytes",
        ),
        ("size(hexEncode(payload.t))", 320, 321, "output_bytes"),
        (
            "size(padStart('', size(payload.t)))",
            640,
            641,
            "output_bytes",
        ),
        (
            "size(payload.t.regexReplace('x+', '$0$0'))",
            318,
            320,
            "output_bytes",
        ),
        ("payload.t", 640, 641, "output_bytes"),
        ("[payload.t, payload.t]", 288, 289, "output_bytes"),
        // Work, of whatever kind.
        (
            "range(10).map(x, payload.t.matches('[xy]*z'))",
            100,
            300,
            "work",
        ),
        ("payload.t.matches('^x*$')", 640, 2000, "work"),
        ("payload.l == payload.l", 400, 510, "work"),
    ] {
        let inside = evaluate(source, list(within).as_bytes(), limits());
        assert!(inside.is_ok(), "{source} with {within}: {inside:?}");
        let outside = evaluate(source, list(beyond).as_bytes(), limits());
        let named = format!("(expression_{named})");
        let is_named = outside.as_ref().is_err_and(|error| error.contains(&named));
        assert!(is_named, "{source} with {beyond}: {outside:?}");
    }
}

#[test]
fn small_values_that_are_large_when_written_down_are_refused() {
    // 90 elements hold the same list of 90, which holds the same text each time.
    let payload = json!({"l": vec![0; 90], "t": "x".repeat(1000)}).to_string();
    for source in [
        "payload.l.map(x, payload.l.map(y, payload.t))",
        "jsonEncode(payload.l.map(x, payload.l.map(y, payload.t)))",
        "string(payload.l.map(x, payload.l.map(y, payload.t)))",
        "'%s'.format(payload.l.map(x, payload.l.map(y, payload.t)))",
    ] {
        let error = eval(source, &payload).unwrap_err();
        assert!(
            error.contains("expression_output_bytes"),
            "{source}: {error}"
        );
    }
}

#[test]
fn hostile_depth_is_refused() {
    let sum = |count: usize| format!("1{}", "+1".repeat(count));
    let deep = |count: usize| format!("{}1{}", "(".repeat(count), ")".repeat(count));
    for source in [sum(OPERATORS), deep(32)] {
        // As the engine does it: compiled on a large stack, run on a shard's.
        let compile = move || eval(&source, "{}").is_ok();
        let done = std::thread::Builder::new()
            .stack_size(crate::check::STACK_BYTES)
            .spawn(compile);
        assert!(done.unwrap().join().unwrap());
    }
    for source in [
        sum(OPERATORS + 1),
        deep(OPERATORS + 1),
        "-".repeat(2000),
        format!("'{}'", "x".repeat(SOURCE_BYTES - 1)),
    ] {
        assert!(Expression::compile(&source, &[], &[]).is_err());
    }
    let longest = format!("'{}'", "x".repeat(SOURCE_BYTES - 2));
    assert!(Expression::compile(&longest, &[], &[]).is_ok());
}

/// Expressions of every shape; `x` stands for a macro's element.
fn sources() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec![
        "payload.c",
        "payload.l",
        "payload.l[0]",
        "payload.m",
        "payload.none",
        "payload.none.x",
        "topic.room",
        "raw",
        "client.attributes",
        "x",
        "0",
        "1",
        "-2.5",
        "''",
        "'aä'",
        "b'\\xff'",
        "[]",
        "[1, 'a']",
        "{}",
        "{1: 'a', 'b': []}",
        "null",
        "true",
        "false",
        "has(payload.m.a)",
        "9223372036854775807",
        "1e300",
    ])
    .prop_map(str::to_owned);
    leaf.prop_recursive(4, 24, 3, |inner| {
        let operators = vec![
            "+", "-", "*", "/", "%", "==", "!=", "<", "<=", ">", ">=", "&&", "||", "in",
        ];
        let macros = vec!["all", "exists", "exists_one", "map", "filter", "sortBy"];
        let names: Vec<_> = crate::functions::all()
            .filter(|function| function.arguments.0 <= 2 && function.arguments.1 >= 2)
            .map(|function| function.name)
            .collect();
        let pair = (inner.clone(), inner.clone());
        prop_oneof![
            (pair.clone(), prop::sample::select(operators))
                .prop_map(|((one, other), operator)| format!("({one}) {operator} ({other})")),
            (pair.clone(), prop::sample::select(names))
                .prop_map(|((one, other), name)| format!("{name}({one}, {other})")),
            (pair.clone(), prop::sample::select(macros))
                .prop_map(|((one, other), name)| format!("({one}).{name}(x, {other})")),
            pair.clone()
                .prop_map(|(one, other)| format!("({one})[{other}]")),
            pair.clone()
                .prop_map(|(one, other)| format!("[{one}, {other}]")),
            (pair, inner.clone())
                .prop_map(|((one, other), third)| format!("({one}) ? {other} : {third}")),
            inner.clone().prop_map(|one| format!("!({one})")),
            inner.prop_map(|one| format!("-({one})")),
        ]
    })
}

/// A length that no integer holds; [`evaluate`] holds the words against the counter.
#[test]
fn a_range_without_end_is_ended_by_a_limit_that_has_a_name() {
    let error = eval("range(-9223372036854775807.0, payload.c)", r#"{"c":20}"#).unwrap_err();
    assert!(error.contains("(expression_output_bytes)"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn every_expression_ends_with_a_value_or_words(source in sources()) {
        let payload = r#"{"c":20,"l":[1,{"a":2},[3]],"m":{"a":1}}"#;
        let source = format!("[7].map(x, {source})");
        crate::functions::seed(1);
        let outcome = eval(&source, payload);
        if let Err(error) = &outcome {
            prop_assert!(!error.is_empty() && error.len() <= ERROR_BYTES, "{error}");
        }
        // The same for the same message, whatever it is.
        crate::functions::seed(1);
        prop_assert_eq!(outcome, eval(&source, payload));
    }
}

proptest! {
    #[test]
    fn no_text_panics(source in "[a-z0-9.+*/()\\[\\]{}\"' ?:!<>=&|-]{0,40}") {
        let _result = eval(&source, "{}");
    }
}
