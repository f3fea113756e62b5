//! Instances that retire, and what is told of those that fail.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use common::{call, config, guest, install, mode, start, wait_until};
use std::time::Duration;
use witmq_broker::ports::{PluginControl, StepFailure};
use witmq_runtime::{Runtime, RuntimeConfig, ShardPlugins};

/// Instances that made room for another.
fn retired(runtime: &Runtime) -> f64 {
    let info = runtime.list().remove(0);
    let retired = info.numbers.iter().find(|(name, _)| name == "retired");
    retired.unwrap().1
}

#[test]
fn an_instance_retires_after_so_many_calls_and_loses_no_count() {
    let runtime = start(RuntimeConfig {
        retire_calls: 10,
        ..config()
    });
    install(&runtime, "g", guest(), mode("carry")).unwrap();
    let mut hooks = runtime.shard_hooks(0);
    let mut calls = 0;
    let mut count = || {
        calls += 1;
        assert_eq!(call(&mut hooks, "x").unwrap(), calls.to_string());
    };
    (0..9).for_each(|_| count());
    assert_eq!(retired(&runtime), 0.0, "not before");
    // The tenth asks for another, which takes over between two calls as soon as it is there.
    wait_until("three more instances", || {
        count();
        retired(&runtime) >= 3.0
    });
}

/// A plugin that has 8 MiB, and retires at this share of them.
fn growing(percent: u8) -> (Runtime, ShardPlugins) {
    let runtime = start(RuntimeConfig {
        retire_memory_percent: percent,
        retire_pause: Duration::ZERO,
        ..config()
    });
    install(&runtime, "g", guest(), mode("grow")).unwrap();
    let hooks = runtime.shard_hooks(0);
    (runtime, hooks)
}

#[test]
fn an_instance_retires_before_its_memory_ends() {
    let (runtime, mut hooks) = growing(60);
    let mut calls = 0;
    let mut count = |payload: &str| {
        calls += 1;
        assert_eq!(call(&mut hooks, payload).unwrap(), calls.to_string());
    };
    for turn in 1..=3_u32 {
        (0..4).for_each(|_| count("more")); // 1 MiB more than its first one or two
        assert_eq!(retired(&runtime), f64::from(turn - 1));
        (0..14).for_each(|_| count("more")); // and beyond 60 % of 8 MiB
        wait_until("the next instance", || {
            count("x");
            retired(&runtime) >= f64::from(turn)
        });
        let counted = ("plugin_retire_memory_percent", u64::from(turn));
        assert_eq!(common::limited(&runtime, "g"), [counted]);
    }
}

#[test]
fn an_instance_that_does_not_retire_fails_at_the_end_of_its_memory() {
    let (runtime, mut hooks) = growing(100);
    let failure = (0..32).find_map(|_| call(&mut hooks, "more").err());
    assert_eq!(failure, Some(StepFailure::Memory("g".to_owned())));
    let all = common::limited(&runtime, "g");
    assert_eq!(all.first().unwrap().0, "plugin_memory_bytes");
    assert_eq!(retired(&runtime), 0.0);
}

#[test]
fn what_a_guest_says_to_people_is_cut() {
    let runtime = start(config());
    install(&runtime, "g", guest(), mode("huge-failure")).unwrap();
    let failure = call(&mut runtime.shard_hooks(0), "x").unwrap_err();
    assert_eq!(
        failure,
        StepFailure::Failed {
            plugin: "g".to_owned(),
            cause: "x".repeat(1024)
        }
    );
}

#[test]
fn a_trap_is_reported_with_the_functions_it_was_in() {
    let runtime = start(config());
    install(&runtime, "g", guest(), mode("trap")).unwrap();
    call(&mut runtime.shard_hooks(0), "x").unwrap_err();
    let lines: Vec<String> = (runtime.log("g", 0).unwrap().into_iter())
        .map(|line| line.text)
        .collect();
    assert!(
        lines.iter().any(|line| line.contains("asked to")),
        "{lines:?}"
    );
    let trace = lines.iter().find(|line| line.contains(" < ")).unwrap();
    assert!(trace.contains("unreachable"), "{trace}");
    assert!(trace.contains("Guest"), "{trace}");
    assert!(trace.contains("on_message"), "{trace}");
}
