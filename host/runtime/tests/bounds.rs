//! Each bound of the plugin host from both sides: at it everything works and nothing is counted; one beyond is refused,
//! counted under the name of its setting, and hurts neither the plugin's next call nor another plugin.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use common::{
    Around, NOBODY, call, code, config, granted, guest, http_guest, install, limited, message,
    mode, reaching, start, start_around, start_with, wait_until,
};
use std::sync::Arc;
use std::time::Duration;
use witmq_broker::kv::KvBounds;
use witmq_broker::ports::{ControlError, PluginControl, StepFailure, Transform};
use witmq_runtime::{Runtime, RuntimeConfig, ShardPlugins};

fn much(much: &str) -> String {
    format!("{{\"mode\":\"so-many\",\"much\":\"{much}\"}}")
}

/// Bounds that have nothing to do with the time that a call takes on a busy machine.
fn patient() -> RuntimeConfig {
    RuntimeConfig {
        deadline: Duration::from_secs(10),
        init_deadline: Duration::from_secs(10),
        ..config()
    }
}

/// A bound that one call of a plugin runs into.
struct Case {
    limit: &'static str,
    /// What there is too much of.
    much: &'static str,
    /// The bound set to this number.
    set: fn(&mut RuntimeConfig, usize),
    at: usize,
    /// Said of one too many; `None`: the call fails.
    beyond: Option<&'static str>,
}

const CASES: [Case; 7] = [
    Case {
        limit: "plugin_host_calls",
        much: "calls",
        set: |config, n| config.host_calls = u32::try_from(n).unwrap(),
        at: 9,
        beyond: Some("9"),
    },
    Case {
        limit: "plugin_publishes",
        much: "publishes",
        set: |config, n| config.publishes = u32::try_from(n).unwrap(),
        at: 3,
        beyond: Some("3"),
    },
    Case {
        limit: "plugin_timers",
        much: "timers",
        set: |config, n| config.timers = n,
        at: 4,
        beyond: Some("4"),
    },
    Case {
        limit: "plugin_metrics",
        much: "metrics",
        set: |config, n| config.metrics = n,
        at: 5,
        beyond: Some("6"), // a guest is not told
    },
    Case {
        limit: "plugin_transfer_bytes",
        much: "bytes",
        set: |config, n| config.transfer_bytes = n,
        at: 5000,
        beyond: None,
    },
    Case {
        limit: "plugin_handles",
        much: "handles",
        set: |config, n| config.handles = n,
        at: 6,
        beyond: None,
    },
    Case {
        limit: "plugin_kv_keys",
        much: "keys",
        set: |_, _| {},
        at: 7,
        beyond: Some("7"),
    },
];

#[test]
fn what_one_call_may_is_bounded_on_both_sides() {
    for case in CASES {
        let Case { limit, at, .. } = case;
        let mut settings = patient();
        (case.set)(&mut settings, at);
        (settings.grants).insert("other".to_owned(), granted());
        let bounds = KvBounds {
            keys: 7,
            ..KvBounds::default()
        };
        let runtime = start_around(settings, &Around::with(bounds));
        install(&runtime, "g", guest(), Some(much(case.much))).unwrap();
        install(&runtime, "other", guest(), mode("pass")).unwrap();
        let mut hooks = runtime.shard_hooks(0);
        let fits = call(&mut hooks, &at.to_string()).unwrap();
        let expected = match case.much {
            "bytes" => "x".repeat(at),
            _ => at.to_string(),
        };
        assert_eq!(fits, expected, "{limit}");
        assert_eq!(limited(&runtime, "g"), [], "{limit}: at the bound");
        if case.much == "handles" {
            assert_eq!(call(&mut hooks, "close").unwrap(), "close");
            assert_eq!(call(&mut hooks, &at.to_string()).unwrap(), expected);
            assert_eq!(limited(&runtime, "g"), [], "what was closed is free again");
            call(&mut hooks, "close").unwrap();
        }
        let beyond = call(&mut hooks, &(at + 1).to_string());
        match case.beyond {
            Some(said) => assert_eq!(beyond.as_deref(), Ok(said), "{limit}"),
            None => assert!(beyond.is_err(), "{limit}: {beyond:?}"),
        }
        assert_eq!(limited(&runtime, "g"), [(limit, 1)], "beyond it");
        assert_eq!(call(&mut hooks, "0").unwrap(), expected_of_none(case.much));
        let other = hooks.transform("other", NOBODY, &message("x"));
        assert!(other.is_ok(), "{limit}: {other:?}");
        assert_eq!(limited(&runtime, "other"), [], "{limit}");
    }
}

fn expected_of_none(much: &str) -> &'static str {
    match much {
        "bytes" => "",
        _ => "0",
    }
}

#[test]
fn bytes_of_keys_are_bounded_on_both_sides() {
    let bounds = KvBounds {
        bytes: 2 * (1 + 100 + 64),
        keys: 100,
        ..KvBounds::default()
    };
    let runtime = start_around(patient(), &Around::with(bounds));
    install(&runtime, "g", guest(), Some(much("values"))).unwrap();
    let mut hooks = runtime.shard_hooks(0);
    assert_eq!(call(&mut hooks, "100").unwrap(), "2");
    assert_eq!(limited(&runtime, "g"), []);
    assert_eq!(call(&mut hooks, "101").unwrap(), "0");
    assert_eq!(limited(&runtime, "g"), [("plugin_kv_bytes", 2)]);
}

#[test]
fn parts_of_a_message_are_bounded_on_both_sides() {
    let runtime = start(RuntimeConfig {
        split_messages: 3,
        ..patient()
    });
    install(&runtime, "g", guest(), mode("split")).unwrap();
    let mut hooks = runtime.shard_hooks(0);
    assert!(call(&mut hooks, "123").is_ok());
    assert_eq!(limited(&runtime, "g"), []);
    assert!(call(&mut hooks, "1234").is_err());
    assert_eq!(limited(&runtime, "g"), [("plugin_split_messages", 1)]);
    assert!(call(&mut hooks, "123").is_ok());
}

#[test]
fn lines_of_a_second_are_bounded_on_both_sides() {
    let runtime = start(RuntimeConfig {
        log_lines: 5,
        ..patient()
    });
    install(&runtime, "g", guest(), Some(much("lines"))).unwrap();
    let mut hooks = runtime.shard_hooks(0);
    call(&mut hooks, "5").unwrap();
    assert_eq!(limited(&runtime, "g"), []);
    assert_eq!(runtime.log("g", 0).unwrap().len(), 5);
    // A second that ends in the middle of a call gives it more.
    wait_until("a line too many", || {
        call(&mut hooks, "6").unwrap();
        !limited(&runtime, "g").is_empty()
    });
    assert_eq!(limited(&runtime, "g")[0].0, "plugin_log_lines");
}

#[test]
fn time_is_bounded_for_each_kind_of_call() {
    let runtime = start(RuntimeConfig {
        timeout: Duration::from_millis(100),
        init_deadline: Duration::from_millis(100),
        ..config()
    });
    install(&runtime, "g", guest(), mode("pass")).unwrap();
    let mut hooks = runtime.shard_hooks(0);
    call(&mut hooks, "x").unwrap();
    let refused = install(&runtime, "g", guest(), mode("loop-init"));
    assert_eq!(code(refused), "trap-in-init");
    assert_eq!(limited(&runtime, "g"), [("plugin_init_deadline_ms", 1)]);
    assert_eq!(call(&mut hooks, "x").unwrap(), "Pass", "the old one serves");
    runtime.configure("g", mode("loop").unwrap()).unwrap();
    call(&mut hooks, "x").unwrap_err();
    let all = limited(&runtime, "g");
    assert!(all.contains(&("plugin_deadline_ms", 1)), "{all:?}");
    hooks.deliver("g", NOBODY, &Arc::new(message("x"))).unwrap();
    wait_until("the timeout", || {
        let all = limited(&runtime, "g");
        all.iter().any(|(limit, _)| *limit == "plugin_timeout_ms")
    });
}

#[test]
fn plugins_and_their_size_are_bounded_on_both_sides() {
    let bytes = guest().len();
    let (mut settings, other) = (patient(), granted());
    (settings.plugins, settings.component_bytes) = (2, bytes);
    (settings.grants).extend(["a", "b", "c"].map(|name| (name.to_owned(), other.clone())));
    let runtime = start(settings.clone());
    install(&runtime, "a", guest(), mode("pass")).unwrap();
    install(&runtime, "b", guest(), mode("pass")).unwrap();
    install(&runtime, "b", guest(), mode("pass")).unwrap();
    assert_eq!(runtime.limited(), []);
    let refused = install(&runtime, "c", guest(), mode("pass"));
    assert!(matches!(refused, Err(ControlError::LimitReached(_))));
    assert_eq!(runtime.limited(), [("max_plugins", 1)]);
    assert_eq!(runtime.list().len(), 2);
    runtime.remove("a").unwrap();
    install(&runtime, "c", guest(), mode("pass")).unwrap();
    settings.component_bytes = bytes - 1;
    let runtime = start(settings);
    let refused = install(&runtime, "a", guest(), mode("pass"));
    assert_eq!(code(refused), "too-large");
    assert_eq!(runtime.limited(), [("plugin_component_bytes", 1)]);
}

#[test]
fn versions_are_bounded_on_both_sides() {
    let runtime = start(RuntimeConfig {
        versions: 2,
        ..patient()
    });
    for expected in [[].as_slice(), &[], &[("plugin_versions", 1)]] {
        install(&runtime, "g", guest(), mode("pass")).unwrap();
        assert_eq!(limited(&runtime, "g"), expected);
    }
    assert_eq!(runtime.list()[0].versions.len(), 2);
}

#[test]
fn state_that_is_handed_over_is_bounded_on_both_sides() {
    let runtime = start(RuntimeConfig {
        carried_bytes: 100,
        ..patient()
    });
    let leave = |bytes: usize| Some(format!("{{\"mode\":\"leave-bytes\",\"nth\":{bytes}}}"));
    install(&runtime, "g", guest(), leave(100)).unwrap();
    let mut hooks = runtime.shard_hooks(0);
    assert_eq!(call(&mut hooks, "x").unwrap(), "0");
    install(&runtime, "g", guest(), leave(101)).unwrap();
    assert_eq!(call(&mut hooks, "x").unwrap(), "100");
    assert_eq!(limited(&runtime, "g"), []);
    install(&runtime, "g", guest(), leave(0)).unwrap();
    assert_eq!(call(&mut hooks, "x").unwrap(), "0", "dropped");
    wait_until("one of each instance that was ended", || {
        limited(&runtime, "g")
            .first()
            .is_some_and(|(limit, count)| *limit == "plugin_carried_bytes" && *count >= 1)
    });
}

const PAGE: usize = 64 * 1024;

fn in_use(runtime: &Runtime) -> usize {
    usize::try_from(runtime.memory_bytes()).unwrap()
}

/// A plugin that takes pages, with one instance for each of two shards and each other thread.
fn takes_pages(config: RuntimeConfig) -> (Runtime, ShardPlugins, ShardPlugins) {
    let runtime = start(config);
    install(&runtime, "g", guest(), Some(much("pages"))).unwrap();
    let (mut one, mut two) = (runtime.shard_hooks(0), runtime.shard_hooks(1));
    for hooks in [&mut one, &mut two] {
        assert_eq!(call(hooks, "0").unwrap(), "true");
    }
    (runtime, one, two)
}

/// Two shards, two threads that authenticate, and one beside them.
const INSTANCES: usize = 5;

/// What the instances have once each was called, and the allocators had what they want.
fn at_rest() -> usize {
    let (runtime, _one, _two) = takes_pages(patient());
    in_use(&runtime)
}

#[test]
fn memory_of_an_instance_is_bounded_on_both_sides() {
    let most = {
        let (runtime, mut one, _two) = takes_pages(patient());
        let before = in_use(&runtime);
        assert_eq!(call(&mut one, "10").unwrap(), "true");
        assert_eq!(in_use(&runtime) - before, 10 * PAGE);
        before / INSTANCES + 10 * PAGE
    };
    let settings = RuntimeConfig {
        memory_bytes: most,
        retire_memory_percent: 100,
        ..patient()
    };
    let (runtime, mut one, mut two) = takes_pages(settings);
    assert_eq!(call(&mut one, "11").unwrap(), "false");
    assert_eq!(limited(&runtime, "g"), [("plugin_memory_bytes", 1)]);
    assert_eq!(call(&mut one, "9").unwrap(), "true");
    assert_eq!(call(&mut two, "9").unwrap(), "true", "each has its own");
    assert_eq!(limited(&runtime, "g"), [("plugin_memory_bytes", 1)]);
}

#[test]
fn memory_of_all_plugins_is_bounded_on_both_sides_and_comes_back() {
    let rest = at_rest();
    let mut settings = RuntimeConfig {
        memory_total_bytes: rest + 12 * PAGE,
        retire_memory_percent: 100,
        ..patient()
    };
    settings.grants.insert("h".to_owned(), granted());
    let (runtime, mut one, mut two) = takes_pages(settings);
    assert_eq!(in_use(&runtime), rest);
    assert_eq!(call(&mut one, "8").unwrap(), "true");
    assert_eq!(call(&mut two, "5").unwrap(), "false", "one page too many");
    assert_eq!(limited(&runtime, "g"), [("plugin_memory_total_bytes", 1)]);
    assert_eq!(call(&mut two, "4").unwrap(), "true", "it serves on");
    assert_eq!(in_use(&runtime), rest + 12 * PAGE, "exactly at the bound");
    assert_eq!(call(&mut one, "0").unwrap(), "true", "so does the other");
    assert_eq!(call(&mut one, "1").unwrap(), "false");
    // A second plugin finds no room, is told so, and hurts nobody.
    match install(&runtime, "h", guest(), mode("pass")) {
        Err(ControlError::Invalid { code, hint, .. }) => {
            assert_eq!(code, "no-memory");
            assert!(hint.unwrap().contains("plugin_memory_total_bytes"));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(runtime.list().len(), 1);
    assert_eq!(call(&mut two, "0").unwrap(), "true");
    assert_eq!(in_use(&runtime), rest + 12 * PAGE, "nothing leaked");
}

#[test]
fn memory_comes_back_after_a_trap_a_swap_and_a_removal() {
    let (runtime, mut one, mut two) = takes_pages(RuntimeConfig {
        authenticators: vec!["another".to_owned()],
        ..patient()
    });
    let rest = in_use(&runtime);
    assert_eq!(call(&mut one, "20").unwrap(), "true");
    assert_eq!(in_use(&runtime), rest + 20 * PAGE);
    runtime.configure("g", mode("trap").unwrap()).unwrap();
    for hooks in [&mut one, &mut two] {
        call(hooks, "x").unwrap_err();
    }
    runtime.configure("g", much("pages")).unwrap();
    wait_until("the memory of a swap and of a trap", || {
        for hooks in [&mut one, &mut two] {
            call(hooks, "0").unwrap();
        }
        in_use(&runtime) <= rest
    });
    runtime.remove("g").unwrap();
    for hooks in [&mut one, &mut two] {
        let gone = Err(StepFailure::Unknown("g".to_owned()));
        assert_eq!(call(hooks, "0"), gone);
    }
    wait_until("all of it", || in_use(&runtime) == 0);
}

#[test]
fn a_sink_takes_as_many_as_fit_and_gives_up_in_time() {
    let settings = || RuntimeConfig {
        sink_queue: 4,
        batch: 1,
        timeout: Duration::from_secs(60),
        ..patient()
    };
    let runtime = start(settings());
    install(&runtime, "g", guest(), mode("loop")).unwrap();
    let mut hooks = runtime.shard_hooks(0);
    let mut push = || hooks.deliver("g", NOBODY, &Arc::new(message("again 1")));
    push().unwrap();
    let waiting = || {
        let numbers = runtime.list().remove(0).numbers;
        let found = numbers.iter().find(|(name, _)| name == "sink_waiting");
        found.unwrap().1
    };
    // Taken out of the queue, it is in the instance, which never comes back.
    wait_until("the first to be on its way", || waiting() == 0.0);
    for _ in 0..4 {
        push().unwrap();
    }
    assert_eq!(limited(&runtime, "g"), []);
    assert_eq!(push(), Err(StepFailure::Full("g".to_owned())));
    assert_eq!(limited(&runtime, "g"), [("plugin_sink_queue", 1)]);
    assert_eq!(waiting(), 4.0);
    let (runtime, around) = start_with(RuntimeConfig {
        sink_give_up: Duration::from_millis(1),
        ..settings()
    });
    install(&runtime, "g", guest(), mode("pass")).unwrap();
    let mut hooks = runtime.shard_hooks(0);
    let mut push = |text| hooks.deliver("g", NOBODY, &Arc::new(message(text)));
    push("fine").unwrap();
    wait_until("the first", || around.count("delivered") == 1);
    assert_eq!(limited(&runtime, "g"), []);
    push("again 5").unwrap();
    wait_until("the letter", || around.on("$dead-letter/g") == ["again 5"]);
    assert_eq!(limited(&runtime, "g"), [("plugin_sink_give_up_s", 1)]);
}

#[test]
fn a_batch_has_as_many_as_it_may_and_no_more() {
    let (runtime, around) = start_with(RuntimeConfig {
        batch: 3,
        ..patient()
    });
    install(&runtime, "g", guest(), mode("batches")).unwrap();
    let mut hooks = runtime.shard_hooks(0);
    let mut push = |text| hooks.deliver("g", NOBODY, &Arc::new(message(text)));
    for round in 1.. {
        push("again 50").unwrap(); // those behind it gather meanwhile
        for _ in 0..7 {
            push("x").unwrap();
        }
        wait_until("the others", || around.count("delivered") == round * 7);
        if around.count("batch/3") > 0 {
            break;
        }
    }
    for more in 4..=8 {
        assert_eq!(around.count(&format!("batch/{more}")), 0, "{more}");
    }
    let list = runtime.list();
    assert_eq!(list[0].failures.iter().map(|(_, n)| n).sum::<u64>(), 0);
}

#[test]
fn threads_and_instances_are_as_many_as_they_are_set() {
    for (threads, workers) in [(1, 1), (3, 2)] {
        let (_runtime, around) = {
            let (runtime, around) = start_with(RuntimeConfig {
                authenticator_threads: threads,
                worker_threads: workers,
                ..patient()
            });
            install(&runtime, "g", guest(), mode("place")).unwrap();
            (runtime, around)
        };
        let all = 2 + threads + 1;
        for number in 0..all {
            let key = format!("place/{number} of {all}");
            assert_eq!(around.count(&key), 1, "{key}");
        }
        assert_eq!(around.count(&format!("place/{all} of {all}")), 0);
    }
}

#[test]
fn a_plugin_that_waits_has_as_many_instances_as_are_set() {
    for instances in [1, 3] {
        let (runtime, around) = start_with(RuntimeConfig {
            lane_instances: instances,
            grants: [("g".to_owned(), reaching("127.0.0.1"))].into(),
            ..patient()
        });
        install(&runtime, "g", http_guest(), None).unwrap();
        for number in 0..instances {
            let key = format!("place/{number} of {instances}");
            assert_eq!(around.count(&key), 1, "{key}");
        }
        let beyond = format!("place/{instances} of {instances}");
        assert_eq!(around.count(&beyond), 0, "{beyond}");
    }
}

/// What an instance has at first is more than it may have before it retires.
fn full_from_the_beginning(pause: Duration) -> (Runtime, ShardPlugins) {
    let runtime = start(RuntimeConfig {
        retire_memory_percent: 1,
        retire_pause: pause,
        ..patient()
    });
    install(&runtime, "g", guest(), mode("carry")).unwrap();
    let hooks = runtime.shard_hooks(0);
    (runtime, hooks)
}

#[test]
fn a_full_instance_retires_after_the_pause_and_not_before() {
    let (runtime, mut hooks) = full_from_the_beginning(Duration::ZERO);
    wait_until("another instance", || {
        call(&mut hooks, "x").unwrap();
        !limited(&runtime, "g").is_empty()
    });
    assert_eq!(limited(&runtime, "g")[0].0, "plugin_retire_memory_percent");
    let (runtime, mut hooks) = full_from_the_beginning(Duration::from_secs(3600));
    (0..1000).for_each(|_| drop(call(&mut hooks, "x").unwrap()));
    assert_eq!(limited(&runtime, "g"), []);
}

#[test]
fn failures_that_are_further_apart_than_the_window_are_no_reason_to_rest() {
    let with_window = |window| {
        let runtime = start(RuntimeConfig {
            breaker_failures: 2,
            breaker_window: window,
            breaker_rest: Duration::from_secs(600),
            breaker_longest: Duration::from_secs(600),
            ..patient()
        });
        install(&runtime, "g", guest(), mode("trap")).unwrap();
        let mut hooks = runtime.shard_hooks(0);
        (0..5).for_each(|n| drop(call(&mut hooks, &n.to_string()).unwrap_err()));
        limited(&runtime, "g")
    };
    assert_eq!(with_window(Duration::ZERO), []);
    let hour = Duration::from_secs(3600);
    assert_eq!(with_window(hour), [("plugin_breaker_failures", 1)]);
}

#[test]
fn rest_and_return_begin_with_the_failure_that_is_one_too_many() {
    let runtime = start(RuntimeConfig {
        breaker_failures: 3,
        breaker_rest: Duration::from_secs(600),
        breaker_longest: Duration::from_secs(600),
        ..patient()
    });
    install(&runtime, "g", guest(), mode("trap")).unwrap();
    let mut hooks = runtime.shard_hooks(0);
    for text in ["a", "b"] {
        call(&mut hooks, text).unwrap_err();
    }
    assert_eq!(limited(&runtime, "g"), []);
    assert_eq!(runtime.list()[0].state, "serving");
    call(&mut hooks, "c").unwrap_err();
    assert_eq!(limited(&runtime, "g"), [("plugin_breaker_failures", 1)]);
    let rests = Err(StepFailure::BreakerOpen("g".to_owned()));
    assert_eq!(call(&mut hooks, "d"), rests);
    let runtime = start(RuntimeConfig {
        probation: Duration::from_secs(600),
        probation_failures: 2,
        ..patient()
    });
    install(&runtime, "g", guest(), mode("pass")).unwrap();
    let mut hooks = runtime.shard_hooks(0);
    install(&runtime, "g", guest(), mode("fail")).unwrap();
    call(&mut hooks, "a").unwrap_err();
    assert_eq!(limited(&runtime, "g"), []);
    call(&mut hooks, "b").unwrap_err();
    assert_eq!(limited(&runtime, "g"), [("plugin_probation_failures", 1)]);
    wait_until("the version before", || call(&mut hooks, "c").is_ok());
}

#[test]
fn instances_retire_by_the_bound_that_they_reached() {
    let runtime = start(RuntimeConfig {
        retire_calls: 10,
        ..patient()
    });
    install(&runtime, "g", guest(), mode("carry")).unwrap();
    let mut hooks = runtime.shard_hooks(0);
    (0..9).for_each(|_| drop(call(&mut hooks, "x").unwrap()));
    assert_eq!(limited(&runtime, "g"), []);
    wait_until("another instance", || {
        call(&mut hooks, "x").unwrap();
        limited(&runtime, "g")
            .first()
            .is_some_and(|(limit, _)| *limit == "plugin_retire_calls")
    });
}
