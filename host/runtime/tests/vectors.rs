//! The tests that a component that waits brings with it: run before it serves, with answers of their own, and for a time
//! that is bounded.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use common::{code, config, exchanged, install, limited, reaching, start, tested_guest};
use std::time::Duration;
use witmq_broker::ports::{ControlError, PluginControl};
use witmq_runtime::{Offline, Runtime, RuntimeConfig};

/// The component with something else of the same length in its tests.
fn with(from: &str, to: &str) -> Vec<u8> {
    exchanged(tested_guest(), from, to)
}

/// A call never ends, for the service says nothing.
fn silent() -> Vec<u8> {
    with("\"silent\": false", "\"silent\": true ")
}

/// A call computes without an end.
fn busy() -> Vec<u8> {
    with("\"times\": 1         ", "\"times\": 4000000000")
}

/// A host with a version that serves.
fn serving(config: RuntimeConfig) -> Runtime {
    let runtime = start(RuntimeConfig {
        grants: [("g".to_owned(), reaching("127.0.0.1"))].into(),
        init_deadline: Duration::from_secs(10),
        ..config
    });
    install(&runtime, "g", tested_guest(), None).unwrap();
    assert_eq!(limited(&runtime, "g"), []);
    runtime
}

/// Refuses a version, and goes on with the one before.
fn refused(runtime: &Runtime, wasm: Vec<u8>) -> (&'static str, String) {
    let error = install(runtime, "g", wasm, None).unwrap_err();
    let info = runtime.list().remove(0);
    assert_eq!((info.state, info.active.version), ("serving", 1));
    match error {
        ControlError::Invalid { code, message, .. } => (code, message),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_does_not_hold_is_refused_with_what_came() {
    let runtime = serving(config());
    for (wasm, words) in [
        (
            with("\"200 fine\"", "\"200 fire\""),
            "its own test `fetches`: {\"modify\":{\"payload\":\"200 fire\"}} is expected, Outcome(Modify",
        ),
        (
            with(
                "\"url\": \"http://service.test/a\", \"body\"",
                "\"url\": \"http://service.test/c\", \"body\"",
            ),
            "it has no answer for `GET http://service.test/a`",
        ),
        (
            with(
                "\"url\": \"http://service.test/a\", \"body\"",
                "\"url\": \"//http:service.test/a\", \"body\"",
            ),
            "answers: `//http:service.test/a` is no URL",
        ),
        (
            with("\"expect\": \"done\"", "\"expect\": \"pass\""),
            "its own test `delivers`: \"pass\" is expected, Delivered(Done) came",
        ),
    ] {
        let (code, message) = refused(&runtime, wasm);
        assert_eq!(code, "test-failed");
        assert!(message.contains(words), "{message}");
    }
    assert_eq!(limited(&runtime, "g"), []);
}

#[test]
fn a_call_that_does_not_end_has_the_time_of_a_call() {
    let runtime = serving(RuntimeConfig {
        timeout: Duration::from_millis(200),
        tests: Duration::from_secs(60),
        ..config()
    });
    for wasm in [silent(), busy()] {
        let (code, message) = refused(&runtime, wasm);
        assert_eq!(code, "test-failed");
        assert!(
            message.contains("a call did not end within 200ms"),
            "{message}"
        );
    }
    assert_eq!(limited(&runtime, "g"), []);
}

#[test]
fn all_of_them_together_have_a_time_too() {
    let runtime = serving(RuntimeConfig {
        tests: Duration::from_secs(2),
        timeout: Duration::from_secs(60),
        ..config()
    });
    for (wasm, count) in [(silent(), 1), (busy(), 2)] {
        let (code, message) = refused(&runtime, wasm);
        assert_eq!(code, "test-failed");
        assert!(message.contains("it did not end within "), "{message}");
        assert_eq!(limited(&runtime, "g"), [("plugin_tests_ms", count)]);
    }
    let runtime = start(RuntimeConfig {
        tests: Duration::ZERO,
        grants: [("g".to_owned(), reaching("127.0.0.1"))].into(),
        ..config()
    });
    assert_eq!(
        code(install(&runtime, "g", tested_guest(), None)),
        "tests-too-slow"
    );
}

#[test]
fn its_author_sees_them_without_a_broker() {
    let offline = Offline::new(config()).unwrap();
    let runs = |wasm: &[u8]| offline.open(wasm).unwrap().run_tests("{}", &[]).unwrap();
    let held: Vec<bool> = (runs(&tested_guest()).iter())
        .map(|run| run.result.is_ok())
        .collect();
    assert_eq!(held, [true, true, true]);
    let runs = runs(&with("\"200 fine\"", "\"200 fire\""));
    assert!(runs[0].result.as_ref().unwrap_err().contains("200 fire"));
    assert!(runs[1].result.is_ok() && runs[0].memory_bytes > 0);
}
