//! The plugin as the broker calls it.

use super::*;
use serde_json::{Value, json};
use witmq_sdk::host::http::Response;
use witmq_sdk::testing::TestBroker;

type Broker = TestBroker<Webhook>;

const URL: &str = "https://example.com/in";
const AGAIN: Delivered = Delivered::Again { after_ms: 0 };
const LATER: Delivered = Delivered::Again { after_ms: 1 };

fn broker(config: &Value, status: u16) -> Broker {
    let setup = Broker::setup().grant("http:example.com");
    let setup = setup.answers("POST", URL, Response::new(status, "because"));
    setup.start(config).unwrap()
}

fn single() -> Value {
    json!({ "endpoint": { "url": URL } })
}

fn batch(more: Value) -> Value {
    let mut config = json!({ "endpoint": { "url": URL }, "body": "batch" });
    let more = more.as_object().unwrap().clone();
    config.as_object_mut().unwrap().extend(more);
    config
}

fn messages(count: usize) -> Vec<Message> {
    (0..count)
        .map(|number| Message::new("t", number.to_string()))
        .collect()
}

/// The payloads of each request.
fn sent(broker: &mut Broker) -> Vec<Vec<Value>> {
    let requests = broker.requests().into_iter();
    let bodies = requests.map(|request| serde_json::from_slice::<Value>(&request.body).unwrap());
    let payloads = |body: Value| match body {
        Value::Array(all) => all.iter().map(|one| one["payload"].clone()).collect(),
        one => vec![one["payload"].clone()],
    };
    bodies.map(payloads).collect()
}

#[test]
fn the_tests_of_the_manifest_hold() {
    assert_eq!(Broker::run_vectors(), 5);
}

#[test]
fn one_message_is_one_request() {
    let config = json!({
        "endpoint": { "url": URL, "headers": { "x-one": "1" }, "timeout_ms": 50,
                      "authorization": { "secret": "token" } },
        "method": "PUT"
    });
    let setup = Broker::setup()
        .grant("http:example.com")
        .grant("secret:token");
    let setup = setup
        .secret("token", "abc\n")
        .answers("PUT", URL, Response::new(204, ""));
    let mut broker = setup.start(config).unwrap();
    assert_eq!(
        broker.deliver(messages(2)).unwrap(),
        [Delivered::Done, Delivered::Done]
    );
    let requests = broker.requests();
    let header = |name: &str| {
        let mut all = requests[0].headers.iter();
        all.find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    };
    assert_eq!(requests.len(), 2);
    assert_eq!(
        (requests[0].method.as_str(), requests[0].timeout_ms),
        ("PUT", 50)
    );
    assert_eq!(header("authorization"), Some("Bearer abc"));
    assert_eq!(header("content-type"), Some("application/json"));
    assert_eq!(header("x-one"), Some("1"));
    let body: Value = serde_json::from_slice(&requests[1].body).unwrap();
    assert_eq!(
        (body["topic"].as_str(), body["payload"].as_i64()),
        (Some("t"), Some(1))
    );
}

#[test]
fn what_fails_for_now_holds_up_what_is_behind_it() {
    let mut broker = broker(&single(), 503);
    assert_eq!(broker.deliver(messages(3)).unwrap(), [AGAIN, AGAIN, AGAIN]);
    assert_eq!(sent(&mut broker), [[json!(0)]]);
    assert!(broker.logged()[0].text.contains("503: because"));
    let mut slow = Response::new(429, "");
    slow.headers = vec![("retry-after".to_owned(), "7".to_owned())];
    broker.set_answer("POST", URL, slow);
    let expected = Delivered::Again { after_ms: 7000 };
    assert_eq!(broker.deliver(messages(1)).unwrap(), [expected]);
    broker.set_answer("POST", URL, Response::new(200, "x".repeat(10_000)));
    assert_eq!(broker.deliver(messages(1)).unwrap(), [Delivered::Done]);
}

#[test]
fn without_a_grant_an_answer_or_the_secret_it_comes_again() {
    let mut broker = Broker::start(single()).unwrap();
    assert_eq!(broker.deliver(messages(1)).unwrap(), [AGAIN]);
    assert!(broker.logged()[0].text.contains("not granted"));
    let mut broker = Broker::setup()
        .grant("http:example.com")
        .start(single())
        .unwrap();
    assert_eq!(broker.deliver(messages(1)).unwrap(), [AGAIN]);
    let config =
        json!({ "endpoint": { "url": URL, "authorization": { "secret": "token", "scheme": "" } } });
    let setup = Broker::setup()
        .grant("http:example.com")
        .grant("secret:token");
    let mut broker = setup
        .answers("POST", URL, Response::new(200, ""))
        .start(config)
        .unwrap();
    assert!(matches!(broker.check(), Health::Degraded(text) if text.contains("`token`")));
    assert_eq!(broker.deliver(messages(1)).unwrap(), [AGAIN]);
    broker.set_secret("token", "a\nb");
    assert_eq!(broker.deliver(messages(1)).unwrap(), [AGAIN]);
    assert!(broker.requests().is_empty(), "nothing was sent");
    broker.set_secret("token", "abc");
    assert_eq!(broker.check(), Health::Ok);
    assert_eq!(broker.deliver(messages(1)).unwrap(), [Delivered::Done]);
    let headers = broker.requests().remove(0).headers;
    assert!(headers.contains(&("authorization".to_owned(), "abc".to_owned())));
}

#[test]
fn what_is_refused_for_good_becomes_a_dead_letter_and_the_rest_goes_on() {
    let mut broker = broker(&single(), 422);
    let never = Delivered::Never("the service said 422: because".to_owned());
    assert_eq!(broker.deliver(messages(2)).unwrap(), [never.clone(), never]);
    let config = json!({ "endpoint": { "url": "https://example.com/{topic}" } });
    let mut broker = self::broker(&config, 200);
    broker.set_answer("POST", "https://example.com/a", Response::new(200, ""));
    let mixed = ["..", "a"].map(|topic| Message::new(topic, "x"));
    let answers = broker.deliver(mixed).unwrap();
    assert!(matches!(&answers[0], Delivered::Never(text) if text.contains("another path")));
    assert_eq!(answers[1], Delivered::Done);
}

#[test]
fn a_batch_is_an_array_up_to_its_bounds() {
    let mut broker = broker(&batch(json!({ "batch_messages": 2 })), 200);
    assert_eq!(
        broker.deliver(messages(5)).unwrap(),
        vec![Delivered::Done; 5]
    );
    let sizes: Vec<usize> = sent(&mut broker).iter().map(Vec::len).collect();
    assert_eq!(sizes, [2, 2, 1]);
    // Two of 1,000 bytes have room in 2 KiB and some; three do not.
    let large = |bytes: usize| vec![Message::new("t", "x".repeat(bytes)); 3];
    let mut broker = self::broker(&batch(json!({ "body_bytes": 2300 })), 200);
    assert_eq!(
        broker.deliver(large(1000)).unwrap(),
        vec![Delivered::Done; 3]
    );
    let requests = broker.requests();
    assert_eq!(requests.len(), 2);
    assert!(requests.iter().all(|request| request.body.len() <= 2300));
}

#[test]
fn a_message_beyond_the_bytes_of_a_request_is_a_dead_letter() {
    for config in [json!({}), json!({ "body": "message" })] {
        let overhead = envelope::write(&Message::new("t", ""), Form::Auto)
            .unwrap()
            .len();
        let mut config = batch(config);
        config["body_bytes"] = 1024.into();
        // The test broker's clock has 13 digits.
        let brackets = if config["body"] == "batch" { 2 } else { 0 };
        let room = 1024 - overhead - 12 - brackets;
        let mut broker = broker(&config, 200);
        let message = |bytes: usize| Message::new("t", "x".repeat(bytes));
        assert_eq!(broker.deliver([message(room)]).unwrap(), [Delivered::Done]);
        let answers = broker.deliver([message(room + 1)]).unwrap();
        assert!(
            matches!(&answers[0], Delivered::Never(text) if text.contains("1025 bytes")),
            "{answers:?}"
        );
    }
}

#[test]
fn a_batch_ends_where_the_url_changes() {
    let mut config = batch(json!({}));
    config["endpoint"]["url"] = "https://example.com/{1}".into();
    let mut broker = broker(&config, 200);
    for level in ["a", "b"] {
        broker.set_answer(
            "POST",
            &format!("https://example.com/{level}"),
            Response::new(200, ""),
        );
    }
    let topics = ["a/1", "a/2", "b/3", "a/4"].map(|topic| Message::new(topic, topic));
    assert_eq!(broker.deliver(topics).unwrap(), vec![Delivered::Done; 4]);
    assert_eq!(
        sent(&mut broker),
        [
            vec![json!("a/1"), json!("a/2")],
            vec![json!("b/3")],
            vec![json!("a/4")]
        ]
    );
}

#[test]
fn a_refused_batch_is_sent_again_one_by_one() {
    let mut broker = broker(&batch(json!({})), 413);
    let answers = broker.deliver(messages(3)).unwrap();
    assert!(
        answers
            .iter()
            .all(|answer| matches!(answer, Delivered::Never(_)))
    );
    let sizes: Vec<usize> = sent(&mut broker).iter().map(Vec::len).collect();
    assert_eq!(sizes, [3, 1, 1, 1]);
    broker.set_answer("POST", URL, Response::new(200, ""));
    assert_eq!(
        broker.deliver(messages(3)).unwrap(),
        vec![Delivered::Done; 3]
    );
    assert_eq!(sent(&mut broker).len(), 1, "together again");
    // It is not about one of them.
    broker.set_answer("POST", URL, Response::new(404, ""));
    drop(broker.deliver(messages(3)).unwrap());
    assert_eq!(sent(&mut broker).len(), 1);
}

#[test]
fn a_call_stays_within_its_requests_and_its_time() {
    let mut broker = broker(&single(), 200);
    let answers = broker.deliver(messages(102)).unwrap();
    assert_eq!(answers[REQUESTS - 1..], [Delivered::Done, LATER, LATER]);
    assert_eq!(broker.requests().len(), REQUESTS);
    // 4500 for the call, 3000 for a request: one may begin after 1500, none later.
    broker.set_http_takes_ms(1500);
    let answers = broker.deliver(messages(4)).unwrap();
    assert_eq!(answers, [Delivered::Done, Delivered::Done, LATER, LATER]);
    broker.set_http_takes_ms(1501);
    assert_eq!(
        broker.deliver(messages(2)).unwrap(),
        [Delivered::Done, LATER]
    );
    broker.set_http_takes_ms(3000);
    assert_eq!(broker.deliver(messages(1)).unwrap(), [Delivered::Done]);
    broker.set_http_takes_ms(3001);
    assert_eq!(broker.deliver(messages(1)).unwrap(), [AGAIN]);
}

#[test]
fn bad_configurations_are_refused_with_the_place() {
    let with = |key: &str, value: Value| {
        let mut config = single();
        config[key] = value;
        config
    };
    for (config, expected) in [
        (json!({}), "endpoint"),
        (json!({ "endpoint": {} }), "url"),
        (
            json!({ "endpoint": { "url": "http://example.com" } }),
            "not encrypted",
        ),
        (
            json!({ "endpoint": { "url": "https://{topic}/" } }),
            "no host",
        ),
        (json!({ "endpoint": { "url": "https://a/{x}" } }), "{x}"),
        (
            json!({ "endpoint": { "url": URL, "timeout_ms": 4501 } }),
            "call_ms",
        ),
        (with("method", json!("GET")), "method"),
        (with("batch_messages", json!(0)), "batch_messages"),
        (with("batch_messages", json!(257)), "batch_messages"),
        (with("body_bytes", json!(1023)), "body_bytes"),
        (with("retry_after_ms", json!(3_600_001)), "retry_after_ms"),
        (with("urls", json!("x")), "urls"),
    ] {
        let error = Broker::start(&config).err().unwrap();
        assert!(error.contains(expected), "{error}");
    }
}
