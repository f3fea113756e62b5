//! Once a second: the shard's counters for the node; on the first shard also `$SYS` (see `sys.rs`) and old
//! retained messages.

use super::{REPORT_INTERVAL, Shard, Timer};
use crate::ports::Record;
use std::time::Instant;

/// Expired retained messages removed at a time.
const SWEEP: usize = 1000;

impl Shard {
    pub(super) fn report(&mut self, now: Instant) {
        self.timers.set(now + REPORT_INTERVAL, Timer::Report);
        self.shared.report(self.id.0, self.counters());
        if self.id.0 != 0 {
            return;
        }
        for (topic, version) in self.shared.retained.sweep(now, SWEEP) {
            self.append(Record::Retained {
                topic: &topic,
                version,
                message: None,
            });
        }
        let interval = self.limits.sys_interval;
        if interval.is_zero() {
            return;
        }
        let counters = self.shared.counters();
        self.sys.note(now, &counters);
        if now >= self.sys.due {
            self.sys.due = now + interval;
            self.publish_sys(now, &counters);
        }
    }
}
