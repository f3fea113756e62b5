//! The plugin host against a component that misbehaves as it is told.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod common;

use common::{call, code, config, guest, install, installed, mode, stamp, start};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use witmq_broker::ports::hooks::{Attempt, AuthRequest};
use witmq_broker::ports::{
    AuthStep, Authenticate, ControlError, PluginControl, StepFailure, Transport,
};
use witmq_proto::packet::Version;
use witmq_proto::{Bytes, ReasonCode};
use witmq_runtime::{Runtime, RuntimeConfig};

#[test]
fn every_misdeed_is_named_contained_and_the_next_call_works() {
    for (wanted, kind) in [
        ("trap", "trapped"),
        ("loop", "deadline"),
        ("eat", "memory"),
        ("garbage-topic", "answered badly"),
        ("huge", "answered badly"),
        ("sleep", "trapped"),
        ("fail", "failed"),
    ] {
        let (runtime, mut hooks) = installed(config(), wanted);
        for payload in ["x", "xy", "xyz"] {
            let start = Instant::now();
            let failure = call(&mut hooks, payload).unwrap_err();
            assert!(failure.to_string().contains(kind), "{wanted}: {failure}");
            assert!(
                start.elapsed() < Duration::from_secs(2),
                "{wanted}: {:?}",
                start.elapsed()
            );
        }
        let info = &runtime.list()[0];
        assert_eq!(
            info.failures.iter().map(|(_, count)| count).sum::<u64>(),
            3,
            "{wanted}"
        );
        runtime.configure("g", mode("pass").unwrap()).unwrap();
        assert_eq!(call(&mut hooks, "x").unwrap(), "Pass", "after {wanted}");
    }
}

#[test]
fn a_loop_ends_at_its_deadline() {
    let (_runtime, mut hooks) = installed(config(), "loop");
    let start = Instant::now();
    assert_eq!(
        call(&mut hooks, "x").unwrap_err(),
        StepFailure::Deadline("g".to_owned())
    );
    let took = start.elapsed();
    assert!(
        took >= Duration::from_millis(45) && took < Duration::from_millis(500),
        "{took:?}"
    );
}

#[test]
fn splitting_is_bounded_on_both_sides() {
    let (_runtime, mut hooks) = installed(
        RuntimeConfig {
            split_messages: 3,
            ..config()
        },
        "split",
    );
    assert!(call(&mut hooks, "123").unwrap().contains("part/2"));
    assert!(
        call(&mut hooks, "1234")
            .unwrap_err()
            .to_string()
            .contains("at most 3")
    );
}

#[test]
fn printing_and_logging_without_end_pass() {
    let patient = RuntimeConfig {
        deadline: Duration::from_secs(5), // of the clock, on a machine that may have other things to do
        ..config()
    };
    let (runtime, mut hooks) = installed(patient, "print");
    assert_eq!(call(&mut hooks, "x").unwrap(), "Pass");
    runtime.configure("g", mode("log").unwrap()).unwrap();
    assert_eq!(call(&mut hooks, "x").unwrap(), "Pass");
}

#[test]
fn what_is_no_plugin_is_refused_and_the_old_version_serves_on() {
    let runtime = start(config());
    install(&runtime, "g", guest(), stamp("old")).unwrap();
    let mut hooks = runtime.shard_hooks(0);
    let component = |text: &str| wat::parse_str(text).unwrap();
    for (wasm, settings, expected) in [
        (b"nonsense".to_vec(), None, "not-a-component"),
        (component("(module)"), None, "not-a-component"),
        (component("(component)"), None, "unknown-abi"),
        (
            component("(component (import \"other:thing/api\" (instance)))"),
            None,
            "missing-import",
        ),
        (
            component("(component (import \"witmq:plugin/host-log@2.0.0\" (instance)))"),
            None,
            "missing-import",
        ),
        (guest(), Some("{".to_owned()), "bad-config"),
        (
            guest(),
            Some("{\"mode\":\"unheard-of\"}".to_owned()),
            "bad-config",
        ),
        (guest(), mode("refuse-init"), "init-refused"),
        (guest(), mode("trap-init"), "trap-in-init"),
    ] {
        assert_eq!(code(install(&runtime, "g", wasm, settings)), expected);
        assert_eq!(call(&mut hooks, "x").unwrap(), "old x");
    }
    let refused = install(&runtime, "g", guest(), mode("trap-init"));
    let Err(ControlError::Invalid { message, .. }) = refused else {
        panic!("{refused:?}");
    };
    assert!(message.contains("unreachable"), "its panic: {message}");
    assert_eq!(
        code(install(&runtime, "Bad Name", guest(), None)),
        "bad-name"
    );
    let large = RuntimeConfig {
        component_bytes: 8,
        ..config()
    };
    assert_eq!(
        code(install(&start(large), "g", guest(), mode("pass"))),
        "too-large"
    );
}

#[test]
fn a_swap_under_calls_mixes_nothing_and_is_seen_by_the_next_call() {
    let runtime = start(config());
    install(&runtime, "g", guest(), stamp("0")).unwrap();
    let (stop, done) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let workers: Vec<_> = (0..2)
        .map(|shard| {
            let (mut hooks, stop, done) = (runtime.shard_hooks(shard), stop.clone(), done.clone());
            std::thread::spawn(move || {
                let mut calls = 0u64;
                let mut last = 0;
                while !stop.load(Ordering::Relaxed) {
                    // Read before the call: this version, or a newer one, must answer.
                    let expected = done.load(Ordering::Acquire);
                    let said = call(&mut hooks, "x").unwrap();
                    let number: usize = said.strip_suffix(" x").unwrap().parse().unwrap();
                    assert!(
                        number >= expected && number >= last,
                        "{number} after {last}, {expected} is installed"
                    );
                    last = number;
                    calls += 1;
                }
                calls
            })
        })
        .collect();
    for number in 1..=50 {
        runtime
            .configure("g", stamp(&number.to_string()).unwrap())
            .unwrap();
        done.store(number, Ordering::Release);
    }
    stop.store(true, Ordering::Relaxed);
    let calls: Vec<u64> = workers
        .into_iter()
        .map(|worker| worker.join().unwrap())
        .collect();
    assert!(calls.iter().all(|calls| *calls > 50), "{calls:?}");
}

#[test]
fn versions_are_kept_rolled_back_bounded_and_restored() {
    let folder = tempfile::tempdir().unwrap();
    let config = || RuntimeConfig {
        data_dir: Some(folder.path().to_owned()),
        versions: 3,
        ..config()
    };
    let runtime = start(config());
    for number in 1..=4 {
        let mut wasm = guest();
        wasm.extend([0, 3, 1, b'v', number]); // a custom section: another version of the same code
        assert_eq!(
            install(&runtime, "g", wasm, stamp("s"))
                .unwrap()
                .active
                .version,
            u64::from(number)
        );
    }
    let versions = |runtime: &Runtime| -> Vec<u64> {
        runtime.list()[0]
            .versions
            .iter()
            .map(|version| version.version)
            .collect()
    };
    assert_eq!(versions(&runtime), [2, 3, 4]);
    assert_eq!(runtime.rollback("g", None).unwrap().active.version, 3);
    assert_eq!(runtime.rollback("g", Some(2)).unwrap().active.version, 2);
    assert!(matches!(
        runtime.rollback("g", None),
        Err(ControlError::NotFound(_))
    ));
    drop(runtime);
    let again = start(config());
    assert_eq!(
        (versions(&again), again.list()[0].active.version),
        (vec![2, 3, 4], 2)
    );
    assert_eq!(call(&mut again.shard_hooks(0), "x").unwrap(), "s x");
    assert_eq!(again.counters()[0], ("plugin_compiled_total", 0));
    assert_eq!(again.rollback("g", Some(4)).unwrap().active.version, 4);
    drop(again);
    for gone in [3, 4] {
        std::fs::remove_file(folder.path().join(format!("plugins/g/{gone}.wasm"))).unwrap();
    }
    let older = start(config());
    assert_eq!(older.list()[0].active.version, 2, "the last one that can");
    assert_eq!(call(&mut older.shard_hooks(0), "x").unwrap(), "s x");
    assert!(
        older.list()[0]
            .last_error
            .as_ref()
            .unwrap()
            .contains("version 4")
    );
    assert_eq!(
        older.history("g").unwrap().last().unwrap().what,
        "fell-back"
    );
    drop(older);
    let damaged: PathBuf = folder.path().join("plugins/g/2.wasm");
    std::fs::write(damaged, "damaged").unwrap();
    let bad = start(config());
    assert_eq!(bad.list()[0].state, "failed");
    assert_eq!(
        call(&mut bad.shard_hooks(0), "x"),
        Err(StepFailure::Unknown("g".to_owned()))
    );
}

#[test]
fn too_many_failures_make_a_plugin_rest_and_it_recovers() {
    let limits = RuntimeConfig {
        breaker_failures: 3,
        breaker_rest: Duration::from_millis(300),
        ..config()
    };
    let (_runtime, mut hooks) = installed(limits, "trap");
    for payload in ["a", "b", "c"] {
        assert!(matches!(
            call(&mut hooks, payload),
            Err(StepFailure::Trap { .. })
        ));
    }
    assert_eq!(
        call(&mut hooks, "x"),
        Err(StepFailure::BreakerOpen("g".to_owned()))
    );
    let end = Instant::now() + Duration::from_secs(5);
    while call(&mut hooks, "x") == Err(StepFailure::BreakerOpen("g".to_owned())) {
        assert!(Instant::now() < end, "it never recovers");
        std::thread::yield_now();
    }
}

#[test]
fn its_store_survives_a_swap_and_is_shared() {
    let (runtime, mut first) = installed(config(), "count");
    let mut second = runtime.shard_hooks(1);
    assert_eq!(call(&mut first, "x").unwrap(), "1");
    assert_eq!(call(&mut second, "x").unwrap(), "2");
    install(&runtime, "g", guest(), mode("count")).unwrap();
    assert_eq!(call(&mut first, "x").unwrap(), "3");
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

fn denied(step: AuthStep) -> Option<ReasonCode> {
    match step {
        AuthStep::Deny { reason, .. } => Some(reason),
        AuthStep::Allow(_) | AuthStep::Challenge { .. } => None,
    }
}

#[test]
fn a_failing_authenticator_denies_always() {
    let wait = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let runtime = start(config());
    let authenticator = runtime.authenticator();
    let ask = || denied(wait.block_on(authenticator.authenticate(attempt())));
    assert_eq!(
        ask(),
        Some(ReasonCode::NotAuthorized),
        "nobody is installed"
    );
    for (wanted, expected) in [
        ("pass", None),
        ("garbage-topic", Some(ReasonCode::BadUserNameOrPassword)),
        ("trap", Some(ReasonCode::ServerUnavailable)),
        ("loop", Some(ReasonCode::ServerUnavailable)),
        ("fail", Some(ReasonCode::ServerUnavailable)),
        ("pass", None),
    ] {
        install(&runtime, "g", guest(), mode(wanted)).unwrap();
        assert_eq!(ask(), expected, "{wanted}");
    }
    assert!(
        runtime.remove("g").is_err(),
        "the bound authenticator stays"
    );
}

#[test]
fn the_queue_of_attempts_is_bounded() {
    let wait = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let limits = RuntimeConfig {
        authenticator_threads: 1,
        authenticator_queue: 2,
        ..config()
    };
    let (runtime, _hooks) = installed(limits, "loop");
    let authenticator = runtime.authenticator();
    let local = tokio::task::LocalSet::new();
    let waiting: Vec<_> = (0..10)
        .map(|_| local.spawn_local(authenticator.authenticate(attempt())))
        .collect();
    let codes: Vec<_> = local.block_on(&wait, async {
        let mut codes = Vec::new();
        for asked in waiting {
            codes.push(denied(asked.await.unwrap()));
        }
        codes
    });
    let busy = codes
        .iter()
        .filter(|code| **code == Some(ReasonCode::ServerBusy))
        .count();
    assert!((7..=8).contains(&busy), "one runs, two wait: {codes:?}");
    let all = common::limited(&runtime, "g");
    let counted = all.iter().find(|(limit, _)| *limit == "auth_queue");
    assert_eq!(counted.unwrap().1, u64::try_from(busy).unwrap());
    assert!(all.iter().any(|(limit, _)| *limit == "auth_timeout_ms"));
}
