//! System calls for each delivered message: those of a longer run less those of a shorter one, so that connecting and
//! subscribing do not count. `perf` counts them, which slows a participant down less than `strace`.
//!
//! Owns: nothing. Must not: report a number where `perf` cannot count; the figure is missing then.

use crate::cases::CALLS;
use crate::play::printed;
use anyhow::{Context as _, Result};
use serde_json::{Map, Value, json};
use std::path::Path;
use std::process::Command;

/// Seconds of the shorter run.
const SHORT_S: f64 = 0.3;

/// Runs `load` twice against the process `pid` and counts the calls of that. What the second run printed, and the figure.
pub(crate) fn count(
    load: &Command,
    pid: u32,
    folder: &Path,
    seconds: f64,
) -> Result<Map<String, Value>> {
    let (before, short) = counted(load, pid, folder, SHORT_S)?;
    let (mut values, long) = counted(load, pid, folder, SHORT_S + seconds)?;
    let delivered = |values: &Map<String, Value>| values.get("delivered").and_then(Value::as_f64);
    let messages = delivered(&values).zip(delivered(&before));
    if let (Some((after, before)), Some(long), Some(short)) = (messages, long, short) {
        let figure = (long - short) / (after - before).max(1.0);
        values.insert(CALLS.to_owned(), json!((figure * 1e4).round() / 1e4));
    }
    Ok(values)
}

fn counted(
    load: &Command,
    pid: u32,
    folder: &Path,
    seconds: f64,
) -> Result<(Map<String, Value>, Option<f64>)> {
    let file = folder.join("calls");
    let event = ["stat", "-x", ",", "-e", "raw_syscalls:sys_enter"];
    let mut perf = Command::new("perf");
    perf.args(event).arg("-o").arg(&file);
    perf.args(["-p", &pid.to_string(), "--"]);
    perf.arg(load.get_program()).args(load.get_args());
    perf.args(["--secs", &seconds.to_string()]);
    let is_there = Command::new("perf").arg("--version").output().is_ok();
    if !is_there {
        let mut plain = Command::new(load.get_program());
        plain.args(load.get_args());
        plain.args(["--secs", &seconds.to_string()]);
        return Ok((printed(&mut plain)?, None));
    }
    let values = printed(&mut perf)?;
    let text = std::fs::read_to_string(&file)
        .with_context(|| format!("perf wrote no {}", file.display()))?;
    Ok((values, number(&text)))
}

/// The count in what `perf stat -x ,` writes; none where it was not counted.
fn number(text: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.contains("sys_enter"))?;
    line.split(',').next()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn a_count_is_read_and_its_absence_too() {
        let text = "# started\n\n4711,,raw_syscalls:sys_enter,10,100.00,,\n";
        assert_eq!(number(text), Some(4711.0));
        assert_eq!(number("<not counted>,,raw_syscalls:sys_enter,0"), None);
        assert_eq!(number(""), None);
    }
}
