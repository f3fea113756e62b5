//! Each function's example is run, and the page of all of them is the one that is committed.

use super::*;
use crate::expression::tests::eval;
use serde_json::Value as Json;
use std::collections::HashSet;
use std::path::Path;

#[test]
fn every_example_gives_what_it_says() {
    let mut wrong = Vec::new();
    for function in all() {
        let expected: Json = serde_json::from_str(function.result).expect(function.name);
        let got = eval(function.example, "{}");
        // As text: 1 and 1.0 differ.
        let same = got.as_ref().map(Json::to_string) == Ok(expected.to_string());
        if !same {
            wrong.push(format!("{}: {got:?}, not {expected}", function.example));
        }
        let named = format!("{}(", function.name);
        assert!(
            function.signature.contains(&named),
            "{}",
            function.signature
        );
        assert!(
            function.example.contains(function.name),
            "the example of {} is of another function",
            function.name
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn names_are_unique() {
    let mut names = HashSet::new();
    for function in all() {
        assert!(
            names.insert(function.name),
            "{} is there twice",
            function.name
        );
    }
    for function in all() {
        for also in function.also.split_whitespace() {
            assert!(!names.contains(also), "{also} is a function of its own");
        }
    }
}

#[test]
fn the_page_is_the_committed_one() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/functions.md");
    if std::env::var_os("WITMQ_WRITE_DOCS").is_some() {
        std::fs::write(&path, page()).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == page(),
        "host/docs/functions.md is not what the table says; write it with \
         WITMQ_WRITE_DOCS=1 cargo test --package witmq-rules functions"
    );
}

#[test]
fn wrong_arguments_are_told() {
    for (example, expected) in [
        (
            "'a'.repeat(-1)",
            "argument 2 is -1, a whole number from 0 on is needed",
        ),
        ("'a'.split('')", "a separator is needed"),
        ("'a'.replace('', 'b')", "is needed"),
        ("[1, 'a'].sort()", r#"not 1 and "a""#),
        ("[{}].join()", "not {}"),
        ("'%d'.format('a')", r#"`%d` cannot write "a""#),
        ("'%q'.format(1)", "`%q` cannot write 1"),
        ("'%s'.format(1, 2)", "more arguments"),
        ("'%s %s'.format(1)", "no argument for `%s`"),
        ("'%9999s'.format(1)", "is no conversion"),
        ("number('1,5')", "spells one"),
        ("int('9e99')", "within 64 bits"),
        ("uint(-1)", "from 0 on"),
        ("shiftLeft(1, 64)", "0 to 63"),
        ("subbits(b'a', 2, 8)", "a part of 8 bits"),
        ("subbits(b'a', 0, 8)", "a bit from 1 on"),
        ("b''.toInt()", "1 to 8 bytes"),
        ("fromInt(256, 1)", "fits into 1 bytes"),
        ("hexDecode('abc')", "pairs of hexadecimal digits"),
        ("base64Decode('*')", "base64 is needed"),
        ("urlDecode('%zz')", "behind each %"),
        ("jsonDecode('{')", "is no JSON"),
        ("timestamp('yesterday')", "RFC 3339"),
        ("parseTime('x', '%Y')", "is no time of that format"),
        ("formatTime(0, '%')", "the format cannot be used"),
        ("rfc3339(0, 'Mars/Olympus')", "a zone"),
        ("rfc3339(1e20)", "is no time in milliseconds"),
        ("addTime(0, 1e15, 'year')", "there is no such time"),
        ("duration('1 hour')", "a duration"),
        ("hmac('crc32', 'k', 'x')", "'sha256'"),
        ("randomInt(2, 1)", "not below the first"),
        ("clamp(1, 2, 1)", "least number"),
        ("level('a/b', 0)", "a level from 1 on"),
        ("matchesFilter('a', 'a/#/b')", "a topic filter"),
        ("char(-1)", "a code point"),
        ("range(1, 0, 0)", "step that is not 0"),
        ("0 / 0", "JSON cannot say"),
        ("bytes('a')", "bytes have no JSON form"),
        ("'a'.matches(string(payload.p))", "is no regular expression"),
    ] {
        let error = eval(example, r#"{"p":"("}"#).expect_err(example);
        assert!(error.contains(expected), "{example}: {error}");
    }
}

#[test]
fn ends_of_ranges() {
    for (example, expected) in [
        ("'abc'.substring(-2)", r#""bc""#),
        ("'abc'.substring(5)", r#""""#),
        ("'abc'.substring(2, 1)", r#""""#),
        ("'äöü'.substring(1, 2)", r#""ö""#),
        ("'äöü'.indexOf('ü')", "2"),
        ("'abc'.slice(-9, 9)", r#""abc""#),
        ("[1, 2].slice(2)", "[]"),
        ("''.repeat(1000000000000)", r#""""#),
        ("round(-2.5)", "-3"),
        ("round(1234.5, -2)", "1200"),
        ("round(1e300, 15)", "1e+300"),
        ("int(-9223372036854775808.0)", "-9223372036854775808"),
        ("abs(-9223372036854775807)", "9223372036854775807"),
        ("shiftRight(-1, 63)", "-1"),
        (
            "b'\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xff'.toInt() > 1.8e19",
            "true",
        ),
        (
            "b'\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xff'.toSignedInt()",
            "-1",
        ),
        ("hexEncode(fromInt(-1, 8))", r#""ffffffffffffffff""#),
        (
            "subbits(b'\\x34\\x12', 1, 16, 'integer', 'unsigned', 'little')",
            "4660",
        ),
        ("subbits(b'\\x41\\xa4\\x00\\x00', 1, 32, 'float')", "20.5"),
        ("mod(7, -3)", "1"),
        ("[].sum()", "0.0"),
        ("hexEncode(subbits(b'abc', 9, 16, 'bits'))", r#""6263""#),
        (
            "format('%5.1f|%-5s|%05d|%x', 2.25, 'a', -7, 255)",
            r#""  2.2|a    |-0007|ff""#,
        ),
        ("[].first()", "null"),
        ("[].first(1)", "1"),
        ("[].avg()", "null"),
        ("[].min()", "null"),
        ("[1, 2, 3, 10].median()", "2.5"),
        ("number('0x1F')", "31"),
        ("number(' 1e3 ')", "1000.0"),
        ("bool('x', false)", "false"),
        ("jsonDecode('{', 0)", "0"),
        ("timestamp('2026-11-27T11:00:00.5+01:00')", "1795773600500"),
        (
            "truncateTime(1795773600000, 'day', 'America/New_York')",
            "1795755600000",
        ),
        ("parseTime('2026-11-27', '%Y-%m-%d')", "1795737600000"),
        (
            "addTime(timestamp('2026-03-28T12:00:00Z'), 1, 'day', 'Europe/Berlin') - timestamp('2026-03-28T12:00:00Z')",
            "82800000.0",
        ),
        ("duration('-1.5s')", "-1500"),
        ("zoneOffset('-03:30')", "-12600"),
        ("levels('')", r#"[""]"#),
        ("level('a', 2, 'none')", r#""none""#),
        ("{'a': null}.get('a.b', 1)", "1"),
        ("[[1, 2]].get('0.1')", "2"),
        ("'a,b'.split(',', 0)", "[]"),
    ] {
        let got = eval(example, "{}").map(|json| json.to_string());
        assert_eq!(got.as_deref(), Ok(expected), "{example}");
    }
}

#[test]
fn what_is_random_is_the_same_with_the_same_seed() {
    let three = || ["random()", "uuid()", "uuidV7()"].map(|source| eval(source, "{}").unwrap());
    seed(7);
    let first = three();
    let other = three();
    seed(7);
    assert_eq!(first, three());
    assert_ne!(first, other);
    let text = first[2].as_str().unwrap().to_owned();
    // Its time is that of the message.
    assert!(text.starts_with("019ac4c1-6500-7"), "{text}");
}

#[test]
fn patterns_of_messages_are_kept_and_bounded() {
    for turn in 0..3 {
        for at in 0..40 {
            let payload = format!(r#"{{"p":"^a{{{at}}}$","t":"{}"}}"#, "a".repeat(at));
            let got = eval("payload.t.matches(payload.p)", &payload);
            assert_eq!(got, Ok(Json::Bool(true)), "{turn} {at}");
        }
    }
    let long = format!(r#"{{"p":"{}"}}"#, "a".repeat(2000));
    assert!(
        eval("'a'.matches(payload.p)", &long)
            .unwrap_err()
            .contains("1024 bytes")
    );
}

#[test]
fn bounds_of_patterns_and_formats_hold_on_both_sides() {
    let class = |count: usize| format!("[ab]{{{count}}}");
    let nested = |count: usize| format!("{}a{}", "(".repeat(count), ")".repeat(count));
    for (within, beyond, expected) in [
        ("a".repeat(1000), "a".repeat(1001), "1001 positions"),
        (class(1000), class(1001), "1001 positions"),
        (
            r"\w{20}".to_owned(),
            r"\w{200}".to_owned(),
            "larger than 1048576 bytes",
        ),
        (nested(32), nested(33), "maximum number of nested"),
        (
            format!("a{}", "|".repeat(900)),
            format!("a{}", "|".repeat(1024)),
            "1024 bytes",
        ),
    ] {
        assert!(Pattern::new(&within).is_ok(), "{within}");
        let error = Pattern::new(&beyond).err().unwrap();
        assert!(error.contains(expected), "{beyond}: {error}");
    }
    let width = |width: usize| format!("size('%{width}s'.format(1))");
    assert_eq!(eval(&width(1024), "{}"), Ok(Json::from(1024)));
    assert!(
        eval(&width(1025), "{}")
            .unwrap_err()
            .contains("is no conversion")
    );
    let time = |length: usize| format!("size(formatTime(0, '{}'))", "x".repeat(length));
    assert_eq!(eval(&time(256), "{}"), Ok(Json::from(256)));
    assert!(
        eval(&time(257), "{}")
            .unwrap_err()
            .contains("at most 256 bytes")
    );
}

#[test]
fn a_chain_test_fixes_time_and_randomness() {
    seed(7);
    let number = eval("randomInt(1, 1000000)", "{}").unwrap();
    let file = |received_ms: u64, seed: u64| {
        format!(
            r#"from = "a"
mode = "transform"
[[step]]
set = {{ at = "now('s')", number = "randomInt(1, 1000000)" }}
[[test]]
name = "repeatable"
given = {{ topic = "a", payload = {{}}, received_ms = {received_ms}, seed = {seed} }}
expect = [{{ payload = {{ at = 1764237600, number = {number} }} }}]
"#
        )
    };
    for _ in 0..2 {
        crate::check("a.toml", &file(1_764_237_600_999, 7)).unwrap();
    }
    assert!(crate::check("a.toml", &file(1_764_237_601_000, 7)).is_err());
    assert!(crate::check("a.toml", &file(1_764_237_600_999, 8)).is_err());
}

#[test]
fn the_command_line_explains_one_and_lists_all() {
    let one = describe(Some("json_decode")).unwrap();
    assert!(
        one.starts_with("jsonDecode(text[, default]) -> any\n"),
        "{one}"
    );
    assert!(one.contains("elsewhere: json_decode"), "{one}");
    let list = describe(None).unwrap();
    assert!(all().all(|function| list.contains(function.signature)));
    let error = describe(Some("regexFnd")).unwrap_err();
    assert_eq!(
        error,
        "there is no function `regexFnd`; did you mean `regexFind`?"
    );
}
