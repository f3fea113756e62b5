//! Retained messages: what one costs to store, to keep and to retrieve.

use crate::load::{Load, Role};
use crate::report::Report;
use anyhow::Result;
use witmq_bench::wire;

pub(crate) fn run(load: &mut Load, report: &mut Report) -> Result<bool> {
    let n = load.options.count();
    let (rounds, qos) = (load.options.rounds, load.options.qos);
    let run = load.run.clone();
    let publisher = load.open(Role::Publisher, 1, true, |_| 0)?;
    load.tally.expect(1, 1, false);
    load.settle(300)?;
    let before = load.snapshot();
    load.publish_all(publisher, n, true, |i| {
        format!("{run}/site{}/dev{}/state", i % 100, i / 100)
    })?;
    let after = load.snapshot();
    report.set("retained", n);
    report.number("store_per_s", n as f64 / after.seconds_since(&before));
    report.number(
        "cpu_us_per_store",
        after.cpu_s_since(&before) * 1e6 / n as f64,
    );
    load.settle(500)?;
    report.growth("rss_bytes_per_retained", &before, &load.snapshot(), n);

    let (mut seconds, mut cpu, mut got) = (0.0, 0.0, 0);
    for round in 0..rounds {
        load.run = format!("{run}r{round}");
        let subscriber = load.open(Role::Subscriber, 1, true, |_| 0)?;
        load.settle(200)?;
        let (start, before) = (load.tally.delivered, load.snapshot());
        let all = format!("{run}/#");
        load.io
            .send(subscriber, &wire::subscribe(1, [all.as_str()], qos));
        let last = load.wait(|tally| tally.delivered - start >= n)?;
        let after = load.snapshot();
        seconds += last.saturating_sub(before.at_ns) as f64 / 1e9;
        cpu += after.cpu_s_since(&before);
        got += load.tally.delivered - start;
        load.io.close(subscriber);
        load.settle(200)?;
    }
    let end = load.snapshot();
    report.set("rounds", rounds);
    report.set("lost", (n * rounds).saturating_sub(got));
    report.number("msg_per_s", got as f64 / f64::max(seconds, 1e-9));
    report.number("cpu_us_per_msg", cpu * 1e6 / got.max(1) as f64);
    report.memory(&end);
    Ok(got == n * rounds && load.tally.is_clean())
}
