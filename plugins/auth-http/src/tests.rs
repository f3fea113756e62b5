//! The plugin as the broker calls it.

use super::*;
use serde_json::{Value, json};
use witmq_sdk::host::http::Response;
use witmq_sdk::testing::TestBroker;

type Broker = TestBroker<AuthHttp>;

const URL: &str = "https://id.example.com/mqtt";

fn broker(more: Value) -> Broker {
    let mut config = json!({ "endpoint": { "url": URL } });
    config
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    Broker::setup()
        .grant("http:id.example.com")
        .start(config)
        .unwrap()
}

fn says(broker: &mut Broker, status: u16, body: &Value) {
    broker.set_answer("POST", URL, Response::new(status, body.to_string()));
}

fn attempt(name: &str, password: &str) -> Attempt {
    Attempt {
        client_id: "c".to_owned(),
        username: Some(name.to_owned()),
        password: Some(password.as_bytes().to_vec()),
        ..Attempt::default()
    }
}

fn code(broker: &mut Broker, attempt: &Attempt) -> u8 {
    match broker.authenticate(attempt).unwrap() {
        Step::Allow(_) => 0,
        Step::Deny(denial) => denial.reason_code,
        Step::Challenge { .. } | Step::Ignore => 0xFF,
    }
}

fn grant(broker: &mut Broker, attempt: &Attempt) -> Grant {
    match broker.authenticate(attempt).unwrap() {
        Step::Allow(grant) => grant,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_answer_becomes_a_grant() {
    let general = json!([{ "allow": true, "actions": ["subscribe"], "topics": ["news/#"] }]);
    let mut broker = broker(json!({ "acl": general }));
    let body = json!({
        "result": "allow", "username": "ada", "expires_s": 60, "attributes": { "tenant": "x" },
        "acl": [{ "allow": false, "topics": ["a/b"] }, { "allow": true, "topics": ["a/#"] }]
    });
    says(&mut broker, 200, &body);
    let grant = grant(&mut broker, &attempt("a", "p"));
    let news = Rule {
        publish: false,
        ..Rule::allow("news/#")
    };
    assert_eq!(grant.acl, [Rule::deny("a/b"), Rule::allow("a/#"), news]);
    assert_eq!(grant.username.as_deref(), Some("ada"));
    assert_eq!(grant.expires_ms, Some(60_000));
    assert_eq!(grant.attributes, [("tenant".to_owned(), "x".to_owned())]);
    assert!(grant.acl_complete && !grant.superuser);
}

#[test]
fn a_service_that_fails_lets_nobody_in() {
    for (on_failure, expected) in [("deny", UNAVAILABLE), ("ignore", 0xFF)] {
        let mut broker = broker(json!({ "on_failure": on_failure }));
        assert_eq!(code(&mut broker, &attempt("a", "p")), expected, "no answer");
        for status in [200, 302, 404, 500] {
            says(&mut broker, status, &json!({}));
            broker.advance_ms(REST_MS).unwrap();
            assert_eq!(code(&mut broker, &attempt("a", "p")), expected, "{status}");
        }
        broker.advance_ms(REST_MS).unwrap();
        broker.set_answer(
            "POST",
            URL,
            Response::new(200, "x".repeat(ANSWER_BYTES + 1)),
        );
        assert_eq!(code(&mut broker, &attempt("a", "p")), expected, "too large");
        broker.advance_ms(REST_MS).unwrap();
        says(&mut broker, 204, &json!({}));
        broker.set_http_takes_ms(3001);
        assert_eq!(code(&mut broker, &attempt("a", "p")), expected, "too late");
    }
    let mut denied = Broker::start(json!({ "endpoint": { "url": URL } })).unwrap();
    assert_eq!(
        code(&mut denied, &attempt("a", "p")),
        UNAVAILABLE,
        "not granted"
    );
}

#[test]
fn what_fails_again_and_again_rests_and_is_tried_again() {
    let mut broker = broker(json!({}));
    says(&mut broker, 503, &json!({}));
    for _ in 0..5 {
        assert_eq!(code(&mut broker, &attempt("a", "p")), UNAVAILABLE);
    }
    assert_eq!(broker.requests().len(), 3);
    assert_eq!(broker.counter("service_not_asked"), 2);
    broker.advance_ms(REST_MS).unwrap();
    says(&mut broker, 204, &json!({}));
    assert_eq!(code(&mut broker, &attempt("a", "p")), 0);
    assert_eq!(code(&mut broker, &attempt("b", "p")), 0);
}

#[test]
fn answers_are_remembered_for_their_time_and_no_longer() {
    let mut broker = broker(json!({ "cache_allow_s": 60, "cache_deny_s": 5 }));
    says(&mut broker, 204, &json!({}));
    assert_eq!(code(&mut broker, &attempt("a", "p")), 0);
    says(&mut broker, 401, &json!({}));
    broker.advance_ms(59_999).unwrap();
    assert_eq!(code(&mut broker, &attempt("a", "p")), 0);
    assert_eq!(broker.requests().len(), 1);
    assert_eq!(
        code(&mut broker, &attempt("a", "q")),
        0x86,
        "another password"
    );
    assert_eq!(broker.requests().len(), 1);
    broker.advance_ms(1).unwrap();
    assert_eq!(
        code(&mut broker, &attempt("a", "p")),
        0x86,
        "its time is over"
    );
    says(&mut broker, 204, &json!({}));
    broker.advance_ms(4999).unwrap();
    assert_eq!(code(&mut broker, &attempt("a", "p")), 0x86);
    broker.advance_ms(1).unwrap();
    assert_eq!(code(&mut broker, &attempt("a", "p")), 0);
}

#[test]
fn a_grant_is_not_remembered_beyond_its_end() {
    let mut broker = broker(json!({}));
    says(
        &mut broker,
        200,
        &json!({ "result": "allow", "expires_s": 10 }),
    );
    assert_eq!(
        grant(&mut broker, &attempt("a", "p")).expires_ms,
        Some(10_000)
    );
    broker.advance_ms(9000).unwrap();
    assert_eq!(
        grant(&mut broker, &attempt("a", "p")).expires_ms,
        Some(1000)
    );
    says(&mut broker, 401, &json!({}));
    broker.advance_ms(1000).unwrap();
    assert_eq!(code(&mut broker, &attempt("a", "p")), 0x86);
}

#[test]
fn the_memory_is_bounded_and_denials_push_no_grant_out() {
    let mut broker = broker(json!({ "cache_entries": 2 }));
    says(&mut broker, 204, &json!({}));
    assert_eq!(code(&mut broker, &attempt("a", "p")), 0);
    says(&mut broker, 401, &json!({}));
    for number in 0..10 {
        assert_eq!(code(&mut broker, &attempt("a", &number.to_string())), 0x86);
    }
    assert_eq!(broker.counter("cache_evicted"), 8);
    drop(broker.requests());
    assert_eq!(code(&mut broker, &attempt("a", "p")), 0);
    assert!(broker.requests().is_empty());
    let mut none = self::broker(json!({ "cache_entries": 0 }));
    says(&mut none, 204, &json!({}));
    for _ in 0..2 {
        assert_eq!(code(&mut none, &attempt("a", "p")), 0);
    }
    assert_eq!(none.requests().len(), 2);
}

#[test]
fn an_exchange_of_several_rounds_is_for_another_plugin() {
    let mut broker = broker(json!({}));
    let scram = Attempt {
        method: Some("SCRAM-SHA-256".to_owned()),
        ..attempt("a", "p")
    };
    assert_eq!(broker.authenticate(&scram).unwrap(), Step::Ignore);
    assert!(broker.requests().is_empty());
}

#[test]
fn bad_configurations_are_refused_with_the_place() {
    for (config, expected) in [
        (json!({}), "endpoint"),
        (
            json!({ "endpoint": { "url": "http://id.example.com" } }),
            "not encrypted",
        ),
        (
            json!({ "endpoint": { "url": URL }, "on_failure": "allow" }),
            "on_failure",
        ),
        (
            json!({ "endpoint": { "url": URL }, "cache_entries": 100_001 }),
            "cache_entries",
        ),
        (
            json!({ "endpoint": { "url": URL }, "cache_allow_s": 86_401 }),
            "cache_allow_s",
        ),
        (
            json!({ "endpoint": { "url": URL }, "cache_deny_s": 3601 }),
            "cache_deny_s",
        ),
        (json!({ "endpoint": { "url": URL }, "ttl": 1 }), "ttl"),
    ] {
        let error = Broker::start(&config).err().unwrap();
        assert!(error.contains(expected), "{error}");
    }
}
