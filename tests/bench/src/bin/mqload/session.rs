//! A persistent session: what a message costs to queue, to keep and to drain.

use crate::load::{Load, Role};
use crate::report::Report;
use anyhow::Result;
use witmq_bench::wire;

/// DISCONNECT.
const DISCONNECT: [u8; 2] = [0xE0, 0];

pub(crate) fn run(load: &mut Load, report: &mut Report) -> Result<bool> {
    let n = load.options.count();
    let run = load.run.clone();
    let subscriber = load.open(Role::Subscriber, 1, false, |_| 0)?;
    load.subscribe(subscriber, 1, 1, |_| format!("{run}/q/#"))?;
    load.io.send(subscriber, &DISCONNECT);
    // The broker closes it then, which is right here and nowhere else.
    load.io.close(subscriber);
    let publisher = load.open(Role::Publisher, 1, true, |_| 0)?;
    load.tally.expect(1, 1, false);
    load.settle(500)?;
    let before = load.snapshot();
    load.publish_all(publisher, n, false, |_| format!("{run}/q/temperature"))?;
    let after = load.snapshot();
    report.set("queued", n);
    report.number("enqueue_per_s", n as f64 / after.seconds_since(&before));
    report.number(
        "cpu_us_per_enqueue",
        after.cpu_s_since(&before) * 1e6 / n as f64,
    );
    load.settle(500)?;
    report.growth("rss_bytes_per_queued", &before, &load.snapshot(), n);

    load.tally.check_order();
    let (start, before) = (load.tally.delivered, load.snapshot());
    let login = load.options.login();
    let connect = wire::connect(&format!("{run}s0"), false, login.as_ref());
    load.io.open(0, &connect, false)?;
    let last = load.wait(|tally| tally.delivered - start >= n)?;
    // The acknowledgements belong to it.
    load.settle(300)?;
    let after = load.snapshot();
    let got = load.tally.delivered - start;
    let seconds = last.saturating_sub(before.at_ns) as f64 / 1e9;
    report.set("lost", n.saturating_sub(got));
    report.number("msg_per_s", got as f64 / seconds.max(1e-9));
    report.number(
        "cpu_us_per_msg",
        after.cpu_s_since(&before) * 1e6 / got.max(1) as f64,
    );
    report.memory(&after);
    Ok(got == n && load.tally.is_clean())
}
