//! The line of JSON that a run prints.
//!
//! Owns: [`Report`] and the figures that every scenario has in common.

use crate::options::Options;
use serde_json::{Map, Value};
use std::fmt;
use witmq_bench::histogram::Histogram;
use witmq_bench::probe::Snapshot;

/// Names and values.
#[derive(Debug, Default)]
pub(crate) struct Report(Map<String, Value>);

impl Report {
    /// What was asked for.
    pub(crate) fn new(options: &Options) -> Self {
        let mut report = Self::default();
        let scenario = format!("{:?}", options.scenario).to_lowercase();
        report.set("scenario", scenario);
        report.set("label", options.label.clone());
        report.set("case", options.case.clone());
        report.set("qos", options.qos);
        report.set("payload", options.payload());
        report
    }

    /// Sets a value.
    pub(crate) fn set(&mut self, name: &str, value: impl Into<Value>) {
        self.0.insert(name.to_owned(), value.into());
    }

    /// Sets a number, to three digits behind the point.
    pub(crate) fn number(&mut self, name: &str, value: f64) {
        self.set(name, (value * 1000.0).round() / 1000.0);
    }

    /// CPU time and rate of `count` messages between two snapshots.
    pub(crate) fn cpu(&mut self, before: &Snapshot, after: &Snapshot, count: u64) {
        let messages = count.max(1) as f64;
        let seconds = after.seconds_since(before);
        let cpu = after.cpu_s_since(before);
        self.number("secs", seconds);
        self.number("msg_per_s", count as f64 / seconds.max(1e-9));
        self.number("cpu_s", cpu);
        self.number("cpu_us_per_msg", cpu * 1e6 / messages);
        self.number(
            "user_us_per_msg",
            (after.user_s - before.user_s) * 1e6 / messages,
        );
        let own = after.own_ns.saturating_sub(before.own_ns) as f64 / 1e3;
        self.number("generator_us_per_msg", own / messages);
        let switches = after.switches.saturating_sub(before.switches) as f64;
        self.number("switches_per_1k_msg", switches * 1e3 / messages);
        self.memory(after);
    }

    /// Percentiles, of values in nanoseconds.
    pub(crate) fn latency(&mut self, latency: &Histogram) {
        for (name, permille) in [
            ("p50_us", 500),
            ("p90_us", 900),
            ("p99_us", 990),
            ("p999_us", 999),
        ] {
            self.number(name, latency.permille(permille) as f64 / 1e3);
        }
        self.number("max_us", latency.max() as f64 / 1e3);
    }

    /// Threads and memory.
    pub(crate) fn memory(&mut self, at: &Snapshot) {
        self.set("threads", at.threads);
        self.set("rss_kb", at.resident_kb);
        self.set("peak_rss_kb", at.peak_kb);
    }

    /// Bytes that each of `count` takes, by what the memory grew.
    pub(crate) fn growth(&mut self, name: &str, before: &Snapshot, after: &Snapshot, count: u64) {
        let grown = after.resident_kb.saturating_sub(before.resident_kb) * 1024;
        self.number(name, grown as f64 / count.max(1) as f64);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = serde_json::to_string(&self.0).map_err(|_| fmt::Error)?;
        f.write_str(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::Report;
    use witmq_bench::probe::Snapshot;

    #[test]
    fn figures_are_for_one_message() {
        let before = Snapshot::default();
        let after = Snapshot {
            at_ns: 2_000_000_000,
            ran_ns: 1_000_000_000,
            user_s: 0.6,
            system_s: 0.4,
            own_ns: 500_000_000,
            switches: 10,
            ..before
        };
        let mut report = Report::default();
        report.cpu(&before, &after, 1_000_000);
        for (name, value) in [
            ("cpu_us_per_msg", 1.0),
            ("user_us_per_msg", 0.6),
            ("generator_us_per_msg", 0.5),
            ("msg_per_s", 500_000.0),
            ("switches_per_1k_msg", 0.01),
        ] {
            assert_eq!(report.0[name].as_f64(), Some(value), "{name}");
        }
    }

    #[test]
    fn memory_that_shrank_is_no_growth() {
        let (small, large) = (
            Snapshot {
                resident_kb: 1,
                ..Snapshot::default()
            },
            Snapshot {
                resident_kb: 3,
                ..Snapshot::default()
            },
        );
        let mut report = Report::default();
        report.growth("up", &small, &large, 2);
        report.growth("down", &large, &small, 2);
        assert_eq!(report.0["up"].as_f64(), Some(1024.0));
        assert_eq!(report.0["down"].as_f64(), Some(0.0));
    }
}
