//! Chains that begin with an event: which are asked for, and what they are shown.

use super::{NOBODY, Plugins};
use crate::rules::{Rules, RulesConfig};
use serde_json::{Value as Json, json};
use std::sync::Arc;
use witmq_broker::ports::raised::{Detail, EventKind, Raised};
use witmq_broker::ports::{ChainProgress, Chains, Publisher, RuleControl};
use witmq_proto::ReasonCode;

const GONE: &str = r#"
from = "$events/client/{what}"
[[step]]
filter = "topic.what == 'disconnected' && payload.code != 0"
[[step]]
publish = "gone/{payload.client}"
payload = "{'why': payload.reason, 'user': client.username, 'at': received_ms}"
[[test]]
name = "a client that was not heard of"
given = { topic = "$events/client/disconnected", payload = { client = "c", code = 141, reason = "keep alive timeout" } }
expect = [{ topic = "gone/c", payload = { why = "keep alive timeout" } }]
[[test]]
name = "a client that is in"
given = { topic = "$events/client/connected", payload = { client = "c" } }
expect = []
"#;

fn raised(kind: EventKind, detail: Detail) -> Raised {
    Raised {
        kind,
        client_id: "c".into(),
        username: Some("u".into()),
        detail,
    }
}

#[test]
fn an_event_begins_the_chains_that_ask_for_it_and_no_others() {
    let (rules, _) = Rules::new(RulesConfig::default());
    rules
        .apply("all.toml", "from = '#'\n[[step]]\npublish = 'x'\n", false)
        .unwrap();
    let mut chains = rules.shard_chains();
    let end = Detail::End {
        reason: ReasonCode::KeepAliveTimeout,
        text: "nothing was heard".to_owned(),
    };
    let gone = raised(EventKind::Disconnected, end);
    assert!(
        EventKind::ALL
            .iter()
            .all(|kind| !chains.wanted().has(*kind))
    );
    assert_eq!(chains.present(&gone, 7), None);
    rules.apply("gone.toml", GONE, false).unwrap();
    let wanted = chains.wanted();
    assert!(wanted.has(EventKind::Connected) && wanted.has(EventKind::Disconnected));
    assert!(!wanted.has(EventKind::Delivered) && !wanted.has(EventKind::Subscribed));
    let delivered = raised(EventKind::Delivered, Detail::Nothing);
    assert_eq!(chains.present(&delivered, 7), None);

    let event = chains.present(&gone, 7).unwrap();
    let who = Publisher {
        username: gone.username.as_deref(),
        ..NOBODY
    };
    let ChainProgress::Done(run) = chains.run(&mut Plugins, who, &Arc::new(event)) else {
        panic!("nothing waits");
    };
    let said: Vec<_> = run
        .emissions
        .iter()
        .map(|message| {
            let payload: Json = serde_json::from_slice(&message.payload).unwrap();
            (message.topic.to_string(), payload)
        })
        .collect();
    let payload = json!({"why": "keep alive timeout", "user": "u", "at": 7});
    assert_eq!(said, [("gone/c".to_owned(), payload)]);

    rules.set_paused("gone", true).unwrap();
    assert_eq!(chains.wanted(), Default::default());
}
