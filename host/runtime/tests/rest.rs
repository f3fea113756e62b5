//! The clock of the plugin host rests while nobody is called, and deadlines hold all the same. A file of its own: the clock is one
//! for the process.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{call, config, guest, install, mode, start, wait_until};
use std::path::Path;
use std::time::Duration;
use witmq_broker::ports::StepFailure;
use witmq_runtime::RuntimeConfig;

/// How often the clock of this process went to sleep.
fn sleeps() -> u64 {
    let tasks = Path::new("/proc/self/task").read_dir().unwrap();
    let status = tasks
        .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("status")).ok())
        .find(|status| status.starts_with("Name:\tplugin-clock\n"))
        .unwrap();
    let mut lines = status.lines();
    let count = lines.find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    count.unwrap().trim().parse().unwrap()
}

/// Sleeps within a fifth of a second; forty where it goes.
fn pace() -> u64 {
    let before = sleeps();
    std::thread::sleep(Duration::from_millis(200));
    sleeps() - before
}

#[test]
fn the_clock_rests_when_nobody_is_called_and_a_deadline_holds_behind_it() {
    let runtime = start(RuntimeConfig {
        timeout: Duration::from_millis(100),
        ..config()
    });
    install(&runtime, "g", guest(), mode("loop")).unwrap();
    let mut hooks = runtime.shard_hooks(0);
    for _ in 0..2 {
        wait_until("its rest", || pace() < 4);
        assert_eq!(
            call(&mut hooks, "x"),
            Err(StepFailure::Deadline("g".into()))
        );
        wait_until("its beat", || pace() > 10);
    }
}
