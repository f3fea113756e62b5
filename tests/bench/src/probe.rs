//! What the kernel says of a process: CPU time, context switches, memory. And the generator's clock.
//!
//! Owns: [`Snapshot`], [`now_ns`]. Must not: start or stop a process.

use std::path::Path;
use std::sync::OnceLock;
use std::time::Instant;

/// A process at one moment.
#[derive(Debug, Clone, Copy, Default)]
pub struct Snapshot {
    /// The generator's clock.
    pub at_ns: u64,
    /// Time in user mode, in steps of a tick (10 ms).
    pub user_s: f64,
    /// Time in the kernel, the same.
    pub system_s: f64,
    /// Time that its live threads ran, in nanoseconds; misses threads that ended.
    pub ran_ns: u64,
    /// Times a thread left the CPU, wanting to or not.
    pub switches: u64,
    /// Its threads.
    pub threads: u64,
    /// Memory now.
    pub resident_kb: u64,
    /// Memory at most.
    pub peak_kb: u64,
    /// Time that the generator itself ran.
    pub own_ns: u64,
}

/// Nanoseconds since the first call.
#[must_use]
pub fn now_ns() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    let passed = START.get_or_init(Instant::now).elapsed();
    u64::try_from(passed.as_nanos()).unwrap_or(u64::MAX)
}

impl Snapshot {
    /// Of process `pid`; without one, the clock and the generator only.
    #[must_use]
    pub fn of(pid: Option<u32>) -> Self {
        let mut snapshot = Self {
            at_ns: now_ns(),
            own_ns: ran(Path::new("/proc/self/task")).0,
            ..Self::default()
        };
        if let Some(pid) = pid {
            let folder = Path::new("/proc").join(pid.to_string());
            snapshot.read_stat(&read(&folder.join("stat")));
            (snapshot.ran_ns, snapshot.switches) = ran(&folder.join("task"));
            let status = read(&folder.join("status"));
            snapshot.threads = field(&status, "Threads:");
            snapshot.resident_kb = field(&status, "VmRSS:");
            snapshot.peak_kb = field(&status, "VmHWM:");
        }
        snapshot
    }

    fn read_stat(&mut self, stat: &str) {
        // The name in parentheses may hold blanks.
        let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
        let fields: Vec<f64> = fields
            .split_whitespace()
            .map(|field| field.parse().unwrap_or(0.0))
            .collect();
        let ticks = rustix::param::clock_ticks_per_second() as f64;
        let field = |at: usize| fields.get(at).copied().unwrap_or(0.0);
        self.user_s = field(11) / ticks;
        self.system_s = field(12) / ticks;
    }

    /// CPU seconds between an earlier snapshot and this one. The nanosecond figure is taken unless it misses threads
    /// that ended, which the ticks show.
    #[must_use]
    pub fn cpu_s_since(&self, earlier: &Self) -> f64 {
        let ticks = self.user_s + self.system_s - earlier.user_s - earlier.system_s;
        let ran = self.ran_ns.saturating_sub(earlier.ran_ns) as f64 / 1e9;
        if ran > 0.0 && (ran - ticks).abs() < 0.03 + ticks * 0.02 {
            ran
        } else {
            ticks
        }
    }

    /// Seconds between the two.
    #[must_use]
    pub fn seconds_since(&self, earlier: &Self) -> f64 {
        self.at_ns.saturating_sub(earlier.at_ns) as f64 / 1e9
    }
}

fn read(file: &Path) -> String {
    std::fs::read_to_string(file).unwrap_or_default()
}

/// Run time and context switches of all threads of a folder of tasks.
fn ran(tasks: &Path) -> (u64, u64) {
    let folders = std::fs::read_dir(tasks).into_iter().flatten().flatten();
    folders.fold((0, 0), |(ran, switches), task| {
        let schedule = read(&task.path().join("schedstat"));
        let status = read(&task.path().join("status"));
        let first = schedule.split_whitespace().next();
        (
            ran + first.and_then(|text| text.parse().ok()).unwrap_or(0),
            switches
                + field(&status, "voluntary_ctxt_switches:")
                + field(&status, "nonvoluntary_ctxt_switches:"),
        )
    })
}

/// The number after `key` at the start of a line; 0 without one.
fn field(text: &str, key: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    let first = line.and_then(|line| line.split_whitespace().next());
    first.and_then(|text| text.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::{Snapshot, field};

    #[test]
    fn a_busy_process_runs_and_has_memory() {
        let busy = ["-c", "while :; do :; done"];
        let mut child = std::process::Command::new("sh").args(busy).spawn().unwrap();
        let before = Snapshot::of(Some(child.id()));
        let mut after = before;
        while after.cpu_s_since(&before) < 0.02 && child.try_wait().unwrap().is_none() {
            after = Snapshot::of(Some(child.id()));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(after.ran_ns > before.ran_ns && after.own_ns > 0);
        assert!(after.threads == 1 && after.resident_kb > 0);
        assert!(after.peak_kb >= after.resident_kb / 2);
        assert!(after.seconds_since(&before) > 0.0);
    }

    #[test]
    fn a_process_that_is_not_there_is_zero() {
        let snapshot = Snapshot::of(Some(u32::MAX));
        assert_eq!((snapshot.ran_ns, snapshot.resident_kb), (0, 0));
    }

    #[test]
    fn threads_that_ended_are_counted_by_ticks() {
        let earlier = Snapshot::default();
        let mut later = Snapshot {
            user_s: 2.0,
            ran_ns: 2_010_000_000,
            ..earlier
        };
        assert!((later.cpu_s_since(&earlier) - 2.01).abs() < 1e-9);
        later.ran_ns = 500_000_000;
        assert!((later.cpu_s_since(&earlier) - 2.0).abs() < 1e-9);
    }

    #[test]
    fn a_stat_line_with_blanks_in_its_name_is_read() {
        let mut snapshot = Snapshot::default();
        snapshot.read_stat("1 (a b) c) S 1 1 1 0 -1 4 0 0 0 0 250 50 0 0 20 0 1 0");
        let ticks = rustix::param::clock_ticks_per_second() as f64;
        assert!((snapshot.user_s - 250.0 / ticks).abs() < 1e-9);
        assert!((snapshot.system_s - 50.0 / ticks).abs() < 1e-9);
    }

    #[test]
    fn a_field_is_found_by_its_name() {
        assert_eq!(field("A: 1\nVmRSS:\t  12 kB\n", "VmRSS:"), 12);
        assert_eq!(field("A: 1", "B:"), 0);
    }
}
