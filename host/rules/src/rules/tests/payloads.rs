//! `decode` and `encode`, and what `set` and `delete` do to payloads.

use super::{deployed, message, text, through};
use crate::check::check;
use crate::rules::ShardChains;
use bytes::Bytes;
use serde_json::{Value as Json, json};
use std::sync::Arc;
use witmq_broker::ports::{ChainOutcome, RuleControl};
use witmq_proto::Message;

fn chain(head: &str, steps: &str) -> String {
    format!("mode = 'transform'\nfrom = 't'\n{head}\n{steps}")
}

fn given(payload: &[u8]) -> Arc<Message> {
    let mut message = message("t", "");
    Arc::make_mut(&mut message).payload = Bytes::copy_from_slice(payload);
    message
}

fn cbor(json: &Json) -> Vec<u8> {
    let mut out = Vec::new();
    ciborium::into_writer(json, &mut out).unwrap();
    out
}

fn out(chains: &mut ShardChains, payload: &[u8]) -> Result<Bytes, String> {
    match through(chains, &given(payload)).outcome {
        ChainOutcome::Replaced(message) => Ok(message.payload.clone()),
        ChainOutcome::Untouched => Ok(Bytes::copy_from_slice(payload)),
        ChainOutcome::Refused { text, .. } => Err(text.unwrap_or_default()),
        other => panic!("{other:?}"),
    }
}

const FAHRENHEIT: &str = "[[step]]\nset = { f = 'payload.c * 2' }\n";

#[test]
fn a_payload_is_read_and_written_as_the_chain_says() {
    let reading = json!({"c": 20});
    let doubled = json!({"c": 20, "f": 40.0});
    let (json, cbor_) = (reading.to_string().into_bytes(), cbor(&reading));
    let msgpack = |json: &Json| rmp_serde::to_vec(json).unwrap();
    for (head, given, expected) in [
        ("", json.clone(), doubled.to_string().into_bytes()),
        (
            "decode = 'json'",
            json.clone(),
            doubled.to_string().into_bytes(),
        ),
        (
            "decode = 'cbor'",
            cbor_.clone(),
            doubled.to_string().into_bytes(),
        ),
        ("decode = 'cbor'\nencode = 'cbor'", cbor_, cbor(&doubled)),
        ("encode = 'cbor'", json.clone(), cbor(&doubled)),
        (
            "decode = 'msgpack'\nencode = 'msgpack'",
            msgpack(&reading),
            msgpack(&doubled),
        ),
    ] {
        let (_, mut chains) = deployed(&[("c", &chain(head, FAHRENHEIT))]);
        assert_eq!(out(&mut chains, &given).unwrap(), expected, "{head}");
    }
    let untouched = chain("encode = 'cbor'", "[[step]]\nfilter = 'payload.c > 1'\n");
    let (_, mut chains) = deployed(&[("c", &untouched)]);
    let run = through(&mut chains, &given(&json));
    assert!(
        matches!(run.outcome, ChainOutcome::Untouched),
        "not written"
    );
}

#[test]
fn a_payload_that_cannot_be_read_fails_as_the_chain_says() {
    let step = "[[step]]\nset = { '$payload' = 'payload + \"!\"' }\n";
    for (format, bad) in [
        ("json", &b"x"[..]),
        ("cbor", b"\xff"),
        ("msgpack", b"\xc1"),
        ("text", b"\xff"),
    ] {
        let file = |policy: &str| {
            let head = format!("decode = '{format}'\n{policy}\n");
            chain(&head, "[[step]]\nset = { '$retain' = 'true' }\n")
        };
        let (rules, mut chains) = deployed(&[("c", &file(""))]);
        let error = out(&mut chains, bad).unwrap_err();
        let expected = format!("chain c: decode: the payload is no {format}: ");
        assert!(error.starts_with(&expected), "{error}");
        assert_eq!(rules.list()[0].failed, 1);
        let (_, mut chains) = deployed(&[("c", &file("on_error = 'stop'"))]);
        let run = through(&mut chains, &given(bad));
        assert!(matches!(run.outcome, ChainOutcome::Untouched), "{format}");
        let (_, mut chains) = deployed(&[("c", &file("on_error = 'continue'"))]);
        let run = through(&mut chains, &given(bad));
        let ChainOutcome::Replaced(message) = run.outcome else {
            panic!("{:?}", run.outcome)
        };
        assert!(message.retain && message.payload == bad, "{format}");
    }
    let (_, mut chains) =
        deployed(&[("c", &chain("decode = 'json'\non_error = 'continue'", step))]);
    assert_eq!(
        out(&mut chains, b"x").unwrap(),
        "x!",
        "as if nothing were said"
    );
}

#[test]
fn text_and_bytes_are_not_looked_into() {
    let kind = "[[step]]\nset = { '$payload' = 'type(payload)' }\n";
    for (head, given, expected) in [
        ("", "20", "number"),
        ("", "x", "string"),
        ("decode = 'text'", "20", "string"),
        ("decode = 'bytes'", "20", "bytes"),
        ("decode = 'json'\nencode = 'json'", "20", "\"number\""),
    ] {
        let (_, mut chains) = deployed(&[("c", &chain(head, kind))]);
        assert_eq!(
            out(&mut chains, given.as_bytes()).unwrap(),
            expected,
            "{head}"
        );
    }
    for (format, value, expected) in [
        ("text", "20.5", Ok("20.5")),
        ("text", "'x'", Ok("x")),
        (
            "text",
            "[1]",
            Err("encode = \"text\" cannot write a value of the kind list"),
        ),
        ("bytes", "b'x'", Ok("x")),
        (
            "bytes",
            "1",
            Err("encode = \"bytes\" cannot write a value of the kind number"),
        ),
        ("json", "'x'", Ok("\"x\"")),
    ] {
        let steps = format!("[[step]]\nset = {{ '$payload' = \"{value}\" }}\n");
        let head = format!("encode = '{format}'");
        let (_, mut chains) = deployed(&[("c", &chain(&head, &steps))]);
        match (out(&mut chains, b""), expected) {
            (Ok(got), Ok(expected)) => assert_eq!(got, expected, "{format} {value}"),
            (Err(got), Err(expected)) => assert_eq!(got, format!("chain c: {expected}")),
            (got, _) => panic!("{got:?}"),
        }
    }
    let file = chain("encode = 'text'", FAHRENHEIT);
    let error = check("c.toml", &file).unwrap_err();
    let expected = "c.toml:5:9: a payload that is written as text has no fields";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn a_changed_payload_is_what_publishes_sinks_and_raw_see() {
    let steps = "[[step]]\nset = { a = '1' }\n[[step]]\npublish = 'u'\n[[step]]\nset = { n = 'size(raw)' }\n[[step]]\npublish = 'v'\npayload = 'payload.n'\n";
    let (_, mut chains) = deployed(&[("c", &chain("", steps))]);
    let run = through(&mut chains, &message("t", "{}"));
    let texts: Vec<String> = run.emissions.iter().map(|one| text(one)).collect();
    assert_eq!(texts, [r#"u {"a":1}"#, "v 7"]);
    let ChainOutcome::Replaced(message) = run.outcome else {
        panic!("{:?}", run.outcome)
    };
    assert_eq!(text(&message), r#"t {"a":1,"n":7}"#);
}

#[test]
fn elements_and_names_with_dots_are_set_and_fields_deleted() {
    let steps = r#"
[[step]]
set = { "readings[0].c" = "0", "list[-1]" = "'last'", '"a.b".c' = "1" }
delete = ["secret", "readings[1]", "$user.trace", "not.there"]
"#;
    let (rules, mut chains) = deployed(&[("c", &chain("", steps))]);
    let mut given = message(
        "t",
        r#"{"readings":[{"c":1},{"c":2}],"list":[1,2],"secret":"x"}"#,
    );
    Arc::make_mut(&mut given).properties.user = vec![("trace".into(), "1".into())];
    let ChainOutcome::Replaced(changed) = through(&mut chains, &given).outcome else {
        panic!("not changed")
    };
    let payload: Json = serde_json::from_slice(&changed.payload).unwrap();
    let expected = json!({"readings": [{"c": 0}], "list": [1, "last"], "a.b": {"c": 1}});
    assert_eq!(payload, expected);
    assert!(changed.properties.user.is_empty());
    let error = out(&mut chains, br#"{"readings":[],"list":[1]}"#).unwrap_err();
    assert_eq!(error, "chain c: set: there is no [0] in a list of 0");
    assert_eq!(rules.list()[0].failed, 1);
    let alone = chain("", "[[step]]\ndelete = ['a']\n");
    let (_, mut chains) = deployed(&[("c", &alone)]);
    assert_eq!(out(&mut chains, br#"{"a":1,"b":2}"#).unwrap(), r#"{"b":2}"#);
    assert!(out(&mut chains, b"x").unwrap_err().contains("no JSON"));
}

#[test]
fn a_step_that_fails_changes_nothing() {
    let steps = "[[step]]\nset = { a = '1', b = 'payload.none' }\ndelete = ['c']\non_error = 'continue'\n[[step]]\nset = { 'l[5]' = '1', '$qos' = '0' }\non_error = 'continue'\n[[step]]\npublish = 'u'\n";
    let (_, mut chains) = deployed(&[("c", &chain("", steps))]);
    let given = r#"{"c":1,"l":[]}"#;
    let run = through(&mut chains, &message("t", given));
    assert!(matches!(run.outcome, ChainOutcome::Untouched));
    assert_eq!(text(&run.emissions[0]), format!("u {given}"));
}

#[test]
fn tests_of_a_file_give_and_expect_values_in_its_formats() {
    let test = "[[test]]\nname = 'doubled'\ngiven = { topic = 't', payload = { c = 20 } }\nexpect = [{ payload = { f = 40 } }]\n";
    for format in ["auto", "json", "cbor", "msgpack"] {
        let head = format!("decode = '{format}'\nencode = '{format}'");
        let file = chain(&head, &format!("{FAHRENHEIT}{test}"));
        check("c.toml", &file).unwrap();
        check("c.toml", &file.replace("f = 40", "f = 41")).unwrap_err();
    }
}
