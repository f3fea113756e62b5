//! A plugin with everything: what the attribute and the derive write, and what the test broker does with it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
#![allow(dead_code, reason = "a configuration that is only read from JSON")]

use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use witmq_sdk::host::kv::{self, KvError};
use witmq_sdk::host::{self, PublishError, payload, secrets, timers};
use witmq_sdk::register::Registered;
use witmq_sdk::testing::TestBroker;
use witmq_sdk::{
    Applied, Delivered, Emit, Event, Events, Failure, Health, Message, Outcome, Place, Plugin,
    Sink, Timer, Transform, assert_outcome,
};

/// How it is done.
#[derive(Deserialize, witmq_sdk::Config)]
#[serde(rename_all = "kebab-case")]
enum Way {
    UpTo,
    DownTo,
}

#[derive(Deserialize, witmq_sdk::Config)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
enum Target {
    /// Nowhere.
    None,
    Topic {
        name: String,
        #[serde(default)]
        retain: bool,
    },
}

#[derive(Deserialize, witmq_sdk::Config)]
struct Open(#[serde(default)] BTreeMap<String, u8>);

/// All shapes.
///
/// Not in the schema.
#[derive(Deserialize, witmq_sdk::Config)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
struct Config {
    /// A "number".
    #[config(minimum = -1.5, maximum = 9)]
    max_size: f64,
    #[config(min_length = 1, max_length = 8, pattern = "^[a-z\\d]+$", secret)]
    word: String,
    #[config(max_items = 2)]
    list: Vec<Way>,
    #[serde(rename = "else")]
    other: Option<Target>,
    open: Open,
    any: Value,
    /// The mode; `sick` is one.
    mode: String,
    #[serde(skip)]
    not: std::time::Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_size: 1.0,
            word: "w".to_owned(),
            list: Vec::new(),
            other: None,
            open: Open(BTreeMap::new()),
            any: Value::Null,
            mode: String::new(),
            not: std::time::Duration::ZERO,
        }
    }
}

/// Does "everything",
/// on two lines.
///
/// And more.
#[witmq_sdk::plugin(
    transform,
    sink,
    events,
    timer,
    needs(client),
    capabilities("publish:out/#", "secret:token"),
    limits(memory_bytes = 8_388_608, deadline_ms = 5),
    tests = "tests/vectors.json",
    name = "everything"
)]
struct Everything {
    mode: String,
    seen: u64,
}

impl Plugin for Everything {
    type Config = Config;

    fn new(config: Config, place: &Place) -> Result<Self, String> {
        witmq_sdk::debug!("instance {} of {}", place.instance, place.instances);
        Ok(Self {
            mode: config.mode,
            seen: 0,
        })
    }
    fn adopt(&mut self, state: &[u8]) -> Result<(), String> {
        self.seen = u64::from(*state.first().ok_or("it is empty")?);
        Ok(())
    }
    fn reconfigure(&mut self, config: Config) -> Result<Applied, String> {
        match &*config.mode {
            "" => Ok(Applied::Restart),
            _ => {
                self.mode = config.mode;
                Ok(Applied::InPlace)
            }
        }
    }
    fn check(&mut self) -> Health {
        match &*self.mode {
            "sick" => Health::Failed("it is sick".to_owned()),
            _ => Health::Ok,
        }
    }
    fn shut_down(&mut self) -> Option<Vec<u8>> {
        Some(vec![u8::try_from(self.seen).unwrap_or(u8::MAX)])
    }
}

impl Transform for Everything {
    fn on_message(&mut self, message: &Message) -> Result<Outcome, Failure> {
        self.seen += 1;
        Ok(match &*message.topic {
            "seen" => Outcome::payload(self.seen.to_string()),
            "given" => Outcome::payload(format!(
                "{:?} {} {} {}",
                message.payload,
                message.payload_len,
                message.client_id,
                payload::len()
            )),
            "peek" => Outcome::payload(payload::read(1, 2)),
            "bad" => Outcome::topic("a/#"),
            "refuse" => Outcome::refuse(1, "no"),
            "secret" => Outcome::payload(secrets::text("token")?.unwrap_or_default()),
            "other-secret" => Outcome::payload(secrets::text("other").unwrap_err().to_string()),
            "publish" => {
                let count = (0..20).take_while(|_| host::publish(&Emit::new("out/a", "")).is_ok());
                Outcome::payload(count.count().to_string())
            }
            "denied" => {
                host::publish(&Emit::new("else", ""))?;
                Outcome::Pass
            }
            "number" => Outcome::payload(message.username.parse::<i32>()?.to_string()),
            "timer" => {
                timers::after(7, 100)?;
                Outcome::Consume
            }
            _ => Outcome::Pass,
        })
    }
}

impl Sink for Everything {
    fn deliver_one(&mut self, message: &Message) -> Result<Delivered, Failure> {
        match &*message.topic {
            "again" => Ok(Delivered::Again { after_ms: 5 }),
            "bad" => Err(Failure::bad_input("bad")),
            "down" => Err(Failure::failed("down")),
            _ => Ok(Delivered::Done),
        }
    }
}

impl Events for Everything {
    fn observe_one(&mut self, event: &Event) -> Result<(), Failure> {
        kv::increment(&event.name, 1)?;
        match event.reason_code {
            0 => Ok(()),
            code => Err(Failure::failed(code.to_string())),
        }
    }
}

impl Timer for Everything {
    fn fire(&mut self, token: u64, due_ms: u64) -> Result<(), Failure> {
        host::publish(&Emit::new("out/timer", format!("{token} {due_ms}")))?;
        Ok(timers::after(token, 100)?)
    }
}

type Broker = TestBroker<Everything>;

fn started() -> Broker {
    Broker::setup()
        .now_ms(1000)
        .secret("token", "secret\n")
        .secret("other", "x")
        .start("{}")
        .unwrap()
}

#[test]
fn the_manifest_says_what_the_attribute_and_the_configuration_say() {
    let manifest: Value = serde_json::from_str(Everything::MANIFEST).unwrap();
    let tagged = |name: &str| json!({ "const": name });
    let byte = json!({ "type": "integer", "minimum": 0, "maximum": 255 });
    assert_eq!(
        manifest["config"],
        json!({
            "type": "object",
            "description": "All shapes.",
            "additionalProperties": false,
            "properties": {
                "maxSize": { "type": "number", "minimum": -1.5, "maximum": 9, "description": "A \"number\"." },
                "word": {
                    "type": "string", "minLength": 1, "maxLength": 8, "pattern": "^[a-z\\d]+$", "writeOnly": true
                },
                "list": {
                    "type": "array", "maxItems": 2,
                    "items": { "enum": ["up-to", "down-to"], "description": "How it is done." }
                },
                "else": { "oneOf": [
                    { "type": "object", "properties": { "type": tagged("none") }, "required": ["type"],
                      "additionalProperties": false, "description": "Nowhere." },
                    { "type": "object",
                      "properties": {
                          "type": tagged("topic"), "name": { "type": "string" }, "retain": { "type": "boolean" }
                      },
                      "required": ["type", "name"], "additionalProperties": false },
                ] },
                "open": { "type": "object", "additionalProperties": byte },
                "any": {},
                "mode": { "type": "string", "description": "The mode; `sick` is one." },
            },
        })
    );
    assert_eq!(manifest["name"], "everything");
    assert_eq!(
        manifest["description"],
        "Does \"everything\", on two lines."
    );
    assert_eq!(manifest["needs"], json!(["client"]));
    assert_eq!(
        manifest["capabilities"],
        json!(["publish:out/#", "secret:token"])
    );
    assert_eq!(
        manifest["limits"],
        json!({ "memory_bytes": 8_388_608, "deadline_ms": 5 })
    );
    assert_eq!(Everything::HOOKS, ["transform", "sink", "events", "timer"]);
    assert_eq!(Broker::run_vectors(), 2);
}

#[test]
fn a_configuration_is_checked_against_the_schema_with_the_place() {
    for (config, expected) in [
        (
            json!({ "maxSize": -1.5, "list": ["up-to"], "else": { "type": "none" }, "open": { "a": 255 } }),
            "",
        ),
        (
            json!({ "maxSize": -1.6 }),
            "maxSize: -1.6 is less than -1.5",
        ),
        (json!({ "maxSize": 10 }), "maxSize: 10 is more than 9"),
        (json!({ "maxSize": "1" }), "maxSize: expected number"),
        (json!({ "word": "" }), "word: has 0 characters"),
        (json!({ "word": "123456789" }), "word: has 9 characters"),
        (
            json!({ "list": ["up-to", "sideways"] }),
            "list[1]: expected one of",
        ),
        (
            json!({ "list": ["up-to", "up-to", "up-to"] }),
            "list: has 3 items",
        ),
        (
            json!({ "else": { "type": "topic" } }),
            "else.name: is missing",
        ),
        (
            json!({ "else": { "type": "none", "x": 1 } }),
            "else.x: unknown field",
        ),
        (
            json!({ "open": { "a": 256 } }),
            "open.a: 256 is more than 255",
        ),
        (json!({ "max_size": 1 }), "max_size: unknown field"),
        (json!([]), "it: expected object"),
        (json!({ "mode": "sick" }), "it is sick"),
    ] {
        match (Broker::start(&config), expected) {
            (Ok(_), "") => {}
            (Ok(_), expected) => panic!("{config} was taken, without `{expected}`"),
            (Err(error), expected) => {
                assert!(
                    !expected.is_empty() && error.contains(expected),
                    "{config}: {error}"
                );
            }
        }
    }
    assert!(
        Broker::start("no json")
            .unwrap_err()
            .contains("configuration")
    );
}

#[test]
fn a_message_is_filled_as_asked_for_and_an_outcome_is_checked() {
    let mut broker = started();
    let mut message = Message::new("given", "abc");
    message.client_id = "me".to_owned();
    assert_outcome!(broker,
        message => Outcome::payload("[] 3 me 3"),
        ("peek", "abcd") => Outcome::payload("bc"),
        ("bad", "") => Err("answered badly: `a/#` is no topic name"),
        ("refuse", "") => Outcome::refuse(0x83, "no"),
        ("number", "") => Err("bad input"),
        ("x", "") => Outcome::Pass,
    );
}

#[test]
#[should_panic(expected = "of the message `x ")]
fn an_outcome_that_was_not_expected_is_shown() {
    assert_outcome!(started(), ("x", "") => Outcome::Stop);
}

#[test]
fn capabilities_are_those_of_the_manifest() {
    let mut broker = started();
    assert_outcome!(broker,
        ("secret", "") => Outcome::payload("secret"),
        ("other-secret", "") => Outcome::payload("the secret is denied: `secret:other` is not granted"),
        ("denied", "") => Err("`publish:else` is not granted"),
        ("publish", "") => Outcome::payload("16"),
        ("publish", "") => Outcome::payload("16"),
    );
    assert_eq!(broker.published().len(), 32);
    broker.set_secret("token", "new");
    assert_outcome!(broker, ("secret", "") => Outcome::payload("new"));
}

#[test]
fn timers_fire_when_the_clock_is_moved() {
    let mut broker = started();
    assert_outcome!(broker, ("timer", "") => Outcome::Consume);
    broker.advance_ms(99).unwrap();
    assert_eq!(broker.published(), []);
    broker.advance_ms(101).unwrap();
    let beats = ["7 1100", "7 1200"].map(|text| Emit::new("out/timer", text));
    assert_eq!(broker.published(), beats);
    assert_eq!(broker.now_ms(), 1200);
}

#[test]
fn state_goes_from_instance_to_instance() {
    let mut broker = started();
    assert_outcome!(broker, ("seen", "") => Outcome::payload("1"));
    assert_eq!(
        broker.reconfigure(json!({ "mode": "x" })),
        Ok(Applied::InPlace)
    );
    assert_eq!(broker.reconfigure("{}"), Ok(Applied::Restart));
    assert_outcome!(broker, ("seen", "") => Outcome::payload("2"));
    assert!(broker.reconfigure(json!({ "nope": 1 })).is_err());
    broker.swap("{}").unwrap();
    assert_outcome!(broker, ("seen", "") => Outcome::payload("3"));
}

#[test]
fn a_batch_keeps_its_order_when_one_message_has_to_come_again() {
    let mut broker = started();
    let mut deliver = |topics: &[&str]| {
        broker
            .deliver(topics.iter().map(|topic| Message::new(*topic, "")))
            .unwrap()
    };
    let again = |after_ms| Delivered::Again { after_ms };
    let never = Delivered::Never("bad".to_owned());
    assert_eq!(
        deliver(&["a", "bad", "b"]),
        [Delivered::Done, never, Delivered::Done]
    );
    assert_eq!(
        deliver(&["a", "again", "b"]),
        [Delivered::Done, again(5), again(5)]
    );
    assert_eq!(deliver(&["down", "b"]), [again(0), again(0)]);
}

#[test]
fn a_batch_of_events_is_seen_to_its_end() {
    let mut broker = started();
    let mut refused = Event::new("refused");
    refused.reason_code = 0x87;
    let failure = broker
        .observe([refused, Event::new("connected")])
        .unwrap_err();
    assert_eq!(failure, Failure::failed("135"));
    let count = broker.with(|_| kv::get("connected")).unwrap();
    assert_eq!(count, Some(1_i64.to_le_bytes().to_vec()));
}

#[test]
fn the_store_has_versions_ends_of_life_and_bounds() {
    let mut broker = started();
    broker.with(|_| {
        let first = kv::put("a", b"1").unwrap();
        assert_eq!(
            kv::write("a", b"2").if_absent().put(),
            Err(KvError::Conflict { version: first })
        );
        let second = kv::write("a", b"2").if_version(first).put().unwrap();
        assert!(second > first);
        assert_eq!(
            kv::remove_version("a", first),
            Err(KvError::Conflict { version: second })
        );
        kv::write("b", b"").ttl_ms(10).put().unwrap();
        kv::increment("b", 1).unwrap();
        assert_eq!(kv::keys("", "", 10).unwrap(), ["a", "b"]);
        assert_eq!(kv::keys("", "a", 10).unwrap(), ["b"]);
        assert_eq!(kv::put("", b""), Err(KvError::TooLarge));
        assert!(kv::put(&"k".repeat(512), &[0; 65_536]).is_ok());
        assert_eq!(kv::put(&"k".repeat(513), b""), Err(KvError::TooLarge));
        assert_eq!(kv::put("c", &[0; 65_537]), Err(KvError::TooLarge));
        let full = (0..).find_map(|n| kv::put(&format!("f{n:03}"), &[0; 65_536]).err());
        assert_eq!(full, Some(KvError::Quota));
        assert!(kv::remove("a").unwrap() && !kv::remove("a").unwrap());
    });
    broker.advance_ms(9).unwrap();
    assert!(broker.with(|_| kv::get("b")).unwrap().is_some());
    broker.advance_ms(1).unwrap();
    assert!(broker.with(|_| kv::get("b")).unwrap().is_none());
}

#[test]
fn each_broker_has_a_world_of_its_own() {
    let (mut one, mut other) = (started(), started());
    one.with(|_| kv::put("a", b"1").unwrap());
    assert_eq!(other.with(|_| kv::get("a")), Ok(None));
    assert_eq!(kv::get("a"), Ok(None));
    let denied = one.with(|_| host::publish(&Emit::new("else", "")));
    assert!(matches!(denied, Err(PublishError::Denied(_))));
    assert_eq!(one.logged()[0].text, "instance 0 of 1");
}
