//! The life of a plugin: grants, schema, health, hand-over of state, probation, and the hooks beside the shards.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use common::{
    Around, NOBODY, call, code, config, guest, install, installed, message, mode, stamp, start,
    start_with, wait_until,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;
use witmq_broker::ports::control::InstallOptions;
use witmq_broker::ports::hooks::{Attempt, AuthRequest};
use witmq_broker::ports::kv::PluginKv as _;
use witmq_broker::ports::{
    AuthStep, Authenticate, BrokerEvent, ControlError, PluginControl, StepFailure, Transform,
    Transport,
};
use witmq_proto::packet::{QoS, Version};
use witmq_proto::{Bytes, ReasonCode};
use witmq_runtime::{Runtime, RuntimeConfig, ShardPlugins};

fn around(wanted: &str) -> (Runtime, ShardPlugins, Around) {
    let (runtime, around) = start_with(config());
    install(&runtime, "g", guest(), mode(wanted)).unwrap();
    let hooks = runtime.shard_hooks(0);
    (runtime, hooks, around)
}

fn ungranted() -> RuntimeConfig {
    RuntimeConfig {
        grants: BTreeMap::new(),
        ..config()
    }
}

#[test]
fn what_a_manifest_asks_for_has_to_be_granted() {
    let runtime = start(ungranted());
    let Err(ControlError::Invalid {
        code,
        message,
        hint,
    }) = install(&runtime, "g", guest(), mode("publish"))
    else {
        panic!("installed without grants");
    };
    assert_eq!(code, "not-granted");
    assert!(
        message.contains("publish:made/by/#") && message.contains("secret:token"),
        "{message}"
    );
    assert!(
        hint.unwrap()
            .contains("witmq plugin grants g --add publish:made/by/#")
    );
    let options = InstallOptions {
        config: mode("publish"),
        grants: vec!["publish:made/#".to_owned(), "secret:token".to_owned()],
        ..InstallOptions::default()
    };
    runtime.install("g", guest(), options).unwrap();
    let mut hooks = runtime.shard_hooks(0);
    assert_eq!(call(&mut hooks, "x").unwrap(), "published");
    let taken = ["publish:made/#".to_owned()];
    let left = runtime.change_grants("g", &[], &taken).unwrap();
    assert_eq!(left.asked[0], ("publish:made/by/#".to_owned(), false));
    assert!(call(&mut hooks, "x").unwrap().contains("Denied"), "at once");
    let bad = runtime.change_grants("g", &["files".to_owned()], &[]);
    assert!(matches!(
        bad,
        Err(ControlError::Invalid {
            code: "bad-capability",
            ..
        })
    ));
}

#[test]
fn grants_may_come_before_the_plugin_and_those_of_the_configuration_are_pinned() {
    let runtime = start(ungranted());
    let wanted = ["publish:made/by/#".to_owned(), "secret:token".to_owned()];
    runtime.change_grants("g", &wanted, &[]).unwrap();
    install(&runtime, "g", guest(), mode("pass")).unwrap();
    assert_eq!(runtime.grants("g").unwrap().approved, wanted);
    let pinned = start(config());
    install(&pinned, "g", guest(), mode("pass")).unwrap();
    let kept = pinned.change_grants("g", &[], &wanted);
    assert!(matches!(
        kept,
        Err(ControlError::Invalid { code: "pinned", .. })
    ));
}

#[test]
fn a_configuration_that_does_not_fit_is_refused_with_its_place() {
    let (runtime, mut hooks, _) = around("pass");
    for (settings, place) in [
        ("{\"mode\":\"pass\",\"stamp\":5}", "/stamp"),
        ("{\"mode\":\"unheard-of\"}", "/mode"),
        ("{\"mode\":\"pass\",\"colour\":1}", "colour"),
        ("[]", "/"),
    ] {
        let error = runtime.configure("g", settings.to_owned()).unwrap_err();
        assert!(error.to_string().contains(place), "{settings}: {error}");
        assert!(matches!(
            error,
            ControlError::Invalid {
                code: "bad-config",
                ..
            }
        ));
        assert_eq!(call(&mut hooks, "x").unwrap(), "Pass", "the old one serves");
    }
}

#[test]
fn state_goes_over_and_a_counter_is_exact() {
    let (runtime, mut hooks, _) = around("carry");
    let count = |hooks: &mut ShardPlugins| call(hooks, "x").unwrap();
    assert_eq!(
        (count(&mut hooks), count(&mut hooks)),
        ("1".to_owned(), "2".to_owned())
    );
    install(&runtime, "g", guest(), mode("carry")).unwrap();
    assert_eq!(count(&mut hooks), "3", "a new version");
    runtime.rollback("g", None).unwrap();
    assert_eq!(count(&mut hooks), "4", "the version before");
    for (wanted, expected) in [
        ("refuse-adopt", "1"),
        ("trap-adopt", "1"),
        ("trap-shutdown", "2"),
    ] {
        runtime.configure("g", mode(wanted).unwrap()).unwrap();
        assert_eq!(count(&mut hooks), expected, "{wanted}");
    }
    runtime.configure("g", mode("huge-state").unwrap()).unwrap();
    assert_eq!(count(&mut hooks), "Pass");
    runtime.configure("g", mode("carry").unwrap()).unwrap();
    assert_eq!(
        count(&mut hooks),
        "1",
        "more than 1 MiB of state is dropped"
    );
}

#[test]
fn a_new_configuration_is_taken_in_place_where_the_plugin_can() {
    let (runtime, mut hooks) = installed(config(), "pass");
    runtime.configure("g", stamp("one").unwrap()).unwrap();
    assert_eq!(call(&mut hooks, "x").unwrap(), "one x");
    runtime.configure("g", stamp("two").unwrap()).unwrap();
    assert_eq!(call(&mut hooks, "x").unwrap(), "two x");
    runtime.configure("g", stamp("unwilling").unwrap()).unwrap();
    assert_eq!(call(&mut hooks, "x").unwrap(), "unwilling x");
    let error = runtime.list().remove(0).last_error;
    assert_eq!(error.as_deref(), Some("reconfigure: it does not want to"));
    let what: Vec<String> = runtime
        .history("g")
        .unwrap()
        .into_iter()
        .map(|c| c.what)
        .collect();
    assert_eq!(
        what,
        ["installed", "configured", "configured", "configured"]
    );
}

#[test]
fn who_says_it_is_not_well_does_not_serve() {
    let (runtime, mut hooks, _) = around("pass");
    for wanted in ["sick", "trap-check"] {
        assert!(
            install(&runtime, "g", guest(), mode(wanted)).is_err(),
            "{wanted}"
        );
        assert_eq!(call(&mut hooks, "x").unwrap(), "Pass");
    }
    install(&runtime, "g", guest(), mode("unwell")).unwrap();
    assert_eq!(
        runtime.list()[0].last_error.as_deref(),
        Some("it is unwell")
    );
}

#[test]
fn a_version_that_traps_is_taken_back_by_itself() {
    let runtime = start(RuntimeConfig {
        authenticators: Vec::new(),
        probation: Duration::from_secs(60),
        ..config()
    });
    let (changes, changed) = sync_channel(8);
    runtime.on_change(move |name| changes.send(name.to_owned()).unwrap());
    install(&runtime, "g", guest(), stamp("good")).unwrap();
    let mut hooks = runtime.shard_hooks(0);
    assert_eq!(call(&mut hooks, "a").unwrap(), "good a");
    install(&runtime, "g", guest(), mode("trap")).unwrap();
    assert_eq!(changed.try_iter().collect::<Vec<_>>(), ["g", "g"]);
    wait_until("the version before", || {
        call(&mut hooks, "b").is_ok_and(|said| said == "good b")
    });
    let last = runtime.history("g").unwrap().pop().unwrap();
    assert_eq!((last.what.as_str(), last.version), ("reverted", 1));
    assert!(
        last.text.contains("version 2 failed too often"),
        "{}",
        last.text
    );
    assert_eq!(changed.recv().as_deref(), Ok("g"), "the one before serves");
    runtime.set_enabled("g", false).unwrap();
    assert!(changed.try_recv().is_err(), "nothing serves");
    // The first version of all has nothing to go back to: it rests as any other.
    let alone = start(RuntimeConfig {
        probation: Duration::from_secs(60),
        ..config()
    });
    install(&alone, "g", guest(), mode("trap")).unwrap();
    let mut hooks = alone.shard_hooks(0);
    for number in 0..10 {
        assert!(call(&mut hooks, &number.to_string()).is_err());
    }
    assert_eq!(alone.list()[0].active.version, 1);
}

#[test]
fn a_message_that_ends_calls_is_not_tried_for_ever() {
    let (_runtime, mut hooks, around) = around("trap");
    for _ in 0..2 {
        assert!(matches!(
            call(&mut hooks, "poison"),
            Err(StepFailure::Trap { .. })
        ));
    }
    for _ in 0..3 {
        assert_eq!(
            call(&mut hooks, "poison"),
            Err(StepFailure::Poison("g".to_owned()))
        );
    }
    assert_eq!(around.on("$dead-letter/g"), ["poison"]);
    assert!(matches!(
        call(&mut hooks, "other"),
        Err(StepFailure::Trap { .. })
    ));
}

#[test]
fn a_disabled_plugin_does_not_serve_and_comes_back() {
    let (runtime, mut hooks, _) = around("pass");
    assert_eq!(
        code(runtime.set_enabled("g", false)),
        "in-use",
        "it is the bound authenticator"
    );
    let runtime_h = start(RuntimeConfig {
        authenticators: vec!["another".to_owned()],
        ..config()
    });
    install(&runtime_h, "g", guest(), mode("pass")).unwrap();
    let mut other = runtime_h.shard_hooks(0);
    assert_eq!(runtime_h.set_enabled("g", false).unwrap().state, "disabled");
    assert_eq!(
        call(&mut other, "x"),
        Err(StepFailure::Unknown("g".to_owned()))
    );
    assert_eq!(runtime_h.set_enabled("g", true).unwrap().state, "serving");
    assert_eq!(call(&mut other, "x").unwrap(), "Pass");
    assert_eq!(call(&mut hooks, "x").unwrap(), "Pass");
}

#[test]
fn a_sink_takes_batches_in_order_retries_and_gives_up() {
    let (runtime, mut hooks, around) = around("pass");
    let mut send = |payload: &str| {
        hooks
            .deliver("g", NOBODY, &Arc::new(message(payload)))
            .unwrap();
    };
    for number in 0..1000 {
        send(&number.to_string());
    }
    wait_until("all messages", || around.count("delivered") == 1000);
    send("never");
    wait_until("the dead letter", || {
        around.on("$dead-letter/g") == ["never"]
    });
    let letter = around.published.lock().unwrap().last().cloned().unwrap();
    let user = |name: &str| {
        letter
            .properties
            .user
            .iter()
            .find(|(known, _)| *known == *name)
            .cloned()
    };
    assert_eq!(&*user("reason").unwrap().1, "it was told so");
    assert_eq!(&*user("topic").unwrap().1, "t");
    send("again 1");
    send("behind it");
    let retried = |runtime: &Runtime| {
        let numbers = runtime.list()[0].numbers.clone();
        numbers
            .iter()
            .any(|(name, value)| name == "sink_retried" && *value >= 3.0)
    };
    wait_until("retries", || retried(&runtime));
    runtime.configure("g", mode("trap").unwrap()).unwrap();
    wait_until("the two that trap", || {
        around.on("$dead-letter/g").len() >= 2
    });
}

#[test]
fn a_full_sink_and_an_unknown_one_are_failures_of_the_step() {
    let runtime = start(RuntimeConfig {
        sink_queue: 4,
        ..config()
    });
    install(&runtime, "g", guest(), mode("loop")).unwrap();
    let mut hooks = runtime.shard_hooks(0);
    let mut push = |to: &str| hooks.deliver(to, NOBODY, &Arc::new(message("x")));
    let full = (0..20).find_map(|_| push("g").err());
    assert_eq!(full, Some(StepFailure::Full("g".to_owned())));
    assert_eq!(push("h"), Err(StepFailure::Unknown("h".to_owned())));
}

#[test]
fn each_instance_has_a_number_of_its_own() {
    let (runtime, _hooks, around) = around("place");
    // Two shards, two threads that authenticate, one beside them for sink, events and timer.
    for number in 0..5 {
        assert_eq!(around.count(&format!("place/{number} of 5")), 1, "{number}");
    }
    assert_eq!(around.kv.space("g").scan("place/", None, 10, 0).len(), 5);
    drop(runtime);
}

#[test]
fn events_reach_who_looks_on() {
    let (runtime, _hooks, around) = around("pass");
    let observers = runtime.observers();
    for _ in 0..300 {
        observers.emit(&BrokerEvent::SessionEnded {
            client_id: "c".into(),
        });
    }
    wait_until("300 events", || around.count("event/session-ended") == 300);
    for event in [
        BrokerEvent::Connected {
            client_id: "c".into(),
            username: None,
            peer: "192.0.2.1:5000".parse().unwrap(),
            transport: Transport::Wss,
            version: Version::V5,
            session_present: true,
        },
        BrokerEvent::Subscribed {
            client_id: "c".into(),
            filter: "a/+".into(),
            qos: QoS::AtLeastOnce,
        },
        BrokerEvent::Unsubscribed {
            client_id: "c".into(),
            filter: "a/+".into(),
        },
    ] {
        observers.emit(&event);
    }
    wait_until("the end of the subscription", || {
        around.count("event/unsubscribed") == 1
    });
    for key in [
        "event/connected",
        "event/subscribed",
        "peer/192.0.2.1:5000",
        "transport/wss",
        "protocol/5",
        "session-present/true",
    ] {
        assert_eq!(around.count(key), 1, "{key}");
    }
    assert_eq!(observers.dropped(), 0);
}

#[test]
fn timers_fire_and_metrics_count() {
    let (runtime, mut hooks, around) = around("timer");
    assert_eq!(call(&mut hooks, "20").unwrap(), "Pass");
    wait_until("the timer", || around.on("made/by/timer") == ["1"]);
    runtime.configure("g", mode("metrics").unwrap()).unwrap();
    for _ in 0..3 {
        call(&mut hooks, "four").unwrap();
    }
    let numbers: BTreeMap<String, f64> = runtime.list()[0].numbers.iter().cloned().collect();
    assert_eq!((numbers["own_seen"], numbers["own_size"]), (3.0, 4.0));
}

#[test]
fn what_starts_may_print_and_set_timers() {
    let (runtime, _hooks, around) = around("timer-init");
    wait_until("the timer", || around.on("made/by/timer") == ["9"]);
    let log = runtime.log("g", 0).unwrap();
    assert!(log.iter().any(|line| line.text == "it starts"), "{log:?}");
}

#[test]
fn secrets_payloads_and_the_log_are_there() {
    let (runtime, mut hooks, _) = around("secret");
    assert_eq!(call(&mut hooks, "x").unwrap(), "s3cret");
    runtime.configure("g", mode("peek").unwrap()).unwrap();
    assert_eq!(call(&mut hooks, "abcdef").unwrap(), "6 bcd");
    runtime.configure("g", mode("print").unwrap()).unwrap();
    call(&mut hooks, "x").unwrap();
    let log = runtime.log("g", 0).unwrap();
    let texts: Vec<&str> = log.iter().map(|line| line.text.as_str()).collect();
    assert_eq!(texts, ["printed", "printed as an error"]);
    assert!(runtime.log("g", log[1].number).unwrap().is_empty());
}

fn attempt() -> AuthRequest {
    AuthRequest::Begin(Attempt {
        client_id: "c".into(),
        username: None,
        password: None,
        method: None,
        data: Bytes::new(),
        peer: ([127, 0, 0, 1], 1).into(),
        listener: "tcp".into(),
        transport: Transport::Tcp,
        version: Version::V5,
        certificate: None,
    })
}

#[test]
fn authenticators_are_asked_in_order_until_one_knows_the_client() {
    let wait = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let granted = config().grants["g"].clone();
    let runtime = start(RuntimeConfig {
        authenticators: vec!["first".to_owned(), "g".to_owned()],
        grants: BTreeMap::from([
            ("g".to_owned(), granted.clone()),
            ("first".to_owned(), granted),
        ]),
        ..config()
    });
    let authenticator = runtime.authenticator();
    let ask = || wait.block_on(authenticator.authenticate(attempt()));
    install(&runtime, "first", guest(), mode("ignore")).unwrap();
    install(&runtime, "g", guest(), mode("pass")).unwrap();
    assert!(matches!(ask(), AuthStep::Allow(_)));
    install(&runtime, "g", guest(), mode("ignore")).unwrap();
    assert!(matches!(
        ask(),
        AuthStep::Deny {
            reason: ReasonCode::NotAuthorized,
            ..
        }
    ));
    install(&runtime, "first", guest(), mode("garbage-topic")).unwrap();
    install(&runtime, "g", guest(), mode("pass")).unwrap();
    assert!(
        matches!(
            ask(),
            AuthStep::Deny {
                reason: ReasonCode::BadUserNameOrPassword,
                ..
            }
        ),
        "a denial is a decision"
    );
}
