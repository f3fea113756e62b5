//! Connections that do nothing: what one costs to make and to keep.

use crate::load::{Load, Role};
use crate::options::nanoseconds;
use crate::report::Report;
use anyhow::Result;

pub(crate) fn run(load: &mut Load, report: &mut Report) -> Result<bool> {
    let n = load.options.count();
    let count = usize::try_from(n)?;
    let start = load.snapshot();
    let first = load.open(Role::Subscriber, count, true, |_| 0)?;
    let connected = load.snapshot();
    report.set("conns", n);
    report.number("connect_per_s", n as f64 / connected.seconds_since(&start));
    report.number(
        "cpu_us_per_connect",
        connected.cpu_s_since(&start) * 1e6 / n as f64,
    );
    load.settle(1000)?;
    report.growth("rss_bytes_per_conn", &start, &load.snapshot(), n);
    if load.options.subscribe {
        let run = load.run.clone();
        load.subscribe(first, count, 0, |number| {
            format!("{run}/device/{number}/cmd")
        })?;
        load.settle(500)?;
        report.growth("rss_bytes_per_conn_sub", &start, &load.snapshot(), n);
    }
    let before = load.snapshot();
    load.settle(nanoseconds(load.options.hold) / 1_000_000)?;
    let after = load.snapshot();
    let idle = after.ran_ns.saturating_sub(before.ran_ns) as f64 / 1e6;
    report.number(
        "idle_cpu_ms_per_s",
        idle / after.seconds_since(&before).max(1e-9),
    );
    report.set("rss_base_kb", start.resident_kb);
    report.memory(&after);
    Ok(true)
}
