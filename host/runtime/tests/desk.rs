//! What a message has reaches a component whether it lies on the desk that it lends or is allocated for, and is given back once.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use common::{config, guest, install, limited, message, mode, start};
use std::time::Duration;
use witmq_broker::ports::{PluginControl as _, Publisher, StepOutcome, Transform as _};
use witmq_proto::{ByteString, Bytes, Message};
use witmq_runtime::{RuntimeConfig, ShardPlugins};

/// As many bytes as a desk has.
const DESK: usize = 16 * 1024;
const PUBLISHER: Publisher<'_> = Publisher {
    client_id: "client",
    username: Some("user"),
    attributes: &[],
    session: 1,
};

fn echo(hooks: &mut ShardPlugins, message: &Message) -> String {
    let outcome = hooks.transform("g", PUBLISHER, message).unwrap();
    let StepOutcome::Modify(patch) = outcome else {
        panic!("{outcome:?}")
    };
    String::from_utf8(patch.payload.unwrap().to_vec()).unwrap()
}

/// A message with a payload of so many bytes, and a property of so many, or none.
fn of(payload: usize, property: Option<usize>) -> (Message, String) {
    let mut message = message("");
    let text = "p".repeat(payload);
    let value = property.map(|bytes| "v".repeat(bytes));
    message.payload = Bytes::from(text.clone());
    let user = value.iter();
    let user = user.map(|value| ("k".into(), ByteString::from(value.as_str())));
    message.properties.user.extend(user);
    let value = value.unwrap_or_else(|| "none".to_owned());
    let expected = format!("{}|client|user|{value}|{text}", message.topic);
    (message, expected)
}

#[test]
fn messages_of_every_size_arrive_whole_and_leave_nothing_behind() {
    let runtime = start(RuntimeConfig {
        deadline: Duration::from_secs(10),
        ..config()
    });
    install(&runtime, "g", guest(), mode("echo")).unwrap();
    let mut hooks = runtime.shard_hooks(0);
    let around = 64; // topic, names and what a property takes
    let mut cases = vec![of(0, None), of(1, Some(0)), of(DESK * 3, Some(60_000))];
    // From what fits with everything else to what does not fit by itself.
    for payload in DESK - around..=DESK + 1 {
        cases.push(of(payload, None));
    }
    cases.extend([
        of(10, Some(DESK)),
        of(DESK, Some(10)),
        of(DESK / 2, Some(DESK / 2)),
    ]);
    let cases = cases.iter().cycle().take(20 * cases.len());
    let mut bytes = 0;
    for (message, expected) in cases {
        let said = echo(&mut hooks, message);
        assert!(said == *expected, "payload of {}", message.payload.len());
        bytes += said.len();
    }
    // Were it kept, there would be no memory left.
    assert!(bytes > 2 * config().memory_bytes);
    let info = runtime.list().pop().unwrap();
    assert_eq!(
        (
            info.restarts,
            info.failures.iter().map(|(_, n)| n).sum::<u64>()
        ),
        (0, 0)
    );
}

#[test]
fn what_has_no_room_on_the_desk_is_counted_and_arrives_all_the_same() {
    let names = "client".len() + "user".len();
    let (within, expected) = of(100, None);
    let exact = within.topic.len() + names + within.payload.len();
    let asked = |desk_bytes: usize| {
        let runtime = start(RuntimeConfig {
            desk_bytes: u32::try_from(desk_bytes).unwrap(),
            deadline: Duration::from_secs(10),
            ..config()
        });
        install(&runtime, "g", guest(), mode("echo")).unwrap();
        let mut hooks = runtime.shard_hooks(0);
        assert_eq!(echo(&mut hooks, &within), expected);
        limited(&runtime, "g")
    };
    assert_eq!(asked(exact), []);
    assert_eq!(asked(exact - 1), [("plugin_desk_bytes", 1)]);
    assert_eq!(asked(0), [], "without a desk none is too small");
}
