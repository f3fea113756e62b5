//! Many subscriptions: what one costs to add and to keep, and a message to find its own among them.

use crate::load::{Load, Role};
use crate::options::nanoseconds;
use crate::report::Report;
use anyhow::{Result, bail};
use witmq_bench::probe::{Snapshot, now_ns};
use witmq_bench::wire::{self, Stamp, Template};

/// Filters of one SUBSCRIBE.
pub(crate) const FILTERS: u64 = 50;

pub(crate) fn run(load: &mut Load, report: &mut Report) -> Result<bool> {
    let n = load.options.count();
    let (subscribers, publishers) = (load.options.conns.max(1), load.options.publishers());
    let first = load.open(Role::Subscriber, subscribers, true, |_| 0)?;
    let publisher = load.open(Role::Publisher, publishers, true, |_| 0)?;
    load.tally.expect(publishers, subscribers, false);
    load.settle(300)?;
    let before = load.snapshot();
    subscribe(load, first, subscribers, n)?;
    let after = load.snapshot();
    report.set("subscriptions", n);
    report.number("subscribe_per_s", n as f64 / after.seconds_since(&before));
    report.number(
        "cpu_us_per_subscribe",
        after.cpu_s_since(&before) * 1e6 / n as f64,
    );
    load.settle(500)?;
    report.growth("rss_bytes_per_sub", &before, &load.snapshot(), n);

    let mut walk = Walk {
        random: Random::default(),
        first: publisher,
        sent: vec![0; publishers],
    };
    let (before, after) = walk.play(load, n)?;
    let total = walk.sent.iter().sum::<u64>();
    load.wait(|tally| tally.delivered >= total)?;
    report.set("sent", total);
    report.set("lost", total.saturating_sub(load.tally.delivered));
    report.set("extra", load.tally.delivered.saturating_sub(total));
    report.cpu(&before.0, &after.0, after.1 - before.1);
    Ok(load.tally.delivered == total && load.tally.is_clean())
}

/// A quarter each: exact, one level at the end, all levels at the end, one level in front.
pub(crate) fn filter(run: &str, i: u64) -> String {
    match i % 4 {
        0 => format!("{run}/d/{i}/temp"),
        1 => format!("{run}/d/{i}/+"),
        2 => format!("{run}/d/{i}/#"),
        _ => format!("{run}/+/{i}/temp"),
    }
}

/// Spreads `n` subscriptions over the connections, one SUBSCRIBE of each under way.
pub(crate) fn subscribe(load: &mut Load, first: usize, connections: usize, n: u64) -> Result<()> {
    let run = load.run.clone();
    let before = load.tally.subacks;
    let (mut next, mut asked, mut id) = (0, 0, 0_u16);
    let mut ready: Vec<usize> = (first..first + connections).collect();
    while next < n || load.tally.subacks - before < asked {
        for index in ready {
            let end = n.min(next + FILTERS);
            if next == end {
                break;
            }
            let filters: Vec<String> = (next..end).map(|i| filter(&run, i)).collect();
            id = id.checked_add(1).unwrap_or(1);
            let bytes = wire::subscribe(id, filters.iter().map(String::as_str), 0);
            load.io.send(index, &bytes);
            (next, asked) = (end, asked + 1);
        }
        load.poll(100_000_000)?;
        ready = std::mem::take(&mut load.tally.subscribed);
    }
    if load.tally.refused_filters > 0 {
        bail!("the broker refused {} filters", load.tally.refused_filters);
    }
    Ok(())
}

/// Numbers drawn at random, the same ones in every run.
pub(crate) struct Random(u64);

impl Default for Random {
    fn default() -> Self {
        Self(0x9E37_79B9_7F4A_7C15)
    }
}

impl Random {
    /// One less than `n`.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n.max(1)
    }
}

/// Publishers of topics drawn at random.
struct Walk {
    random: Random,
    first: usize,
    sent: Vec<u64>,
}

impl Walk {
    fn play(&mut self, load: &mut Load, n: u64) -> Result<((Snapshot, u64), (Snapshot, u64))> {
        let warm_ns = now_ns() + nanoseconds(load.options.warm);
        let end_ns = warm_ns + nanoseconds(load.options.secs);
        let (mut before, mut progress) = (None, (0, now_ns()));
        loop {
            let now = now_ns();
            if before.is_none() && now >= warm_ns {
                before = Some((load.snapshot(), load.tally.delivered));
            }
            if let Some(before) = before.filter(|_| now >= end_ns) {
                return Ok((before, (load.snapshot(), load.tally.delivered)));
            }
            for publisher in load.tally.take_touched() {
                self.refill(load, publisher, n);
            }
            load.poll(20_000_000)?;
            if load.tally.delivered != progress.0 {
                progress = (load.tally.delivered, now);
            } else if now - progress.1 > 5_000_000_000 {
                bail!("nothing was delivered for 5 s");
            }
        }
    }

    fn refill(&mut self, load: &mut Load, publisher: usize, n: u64) {
        let index = self.first + publisher;
        let (window, payload) = (load.options.window(), load.options.payload());
        let received = load.tally.received_by.get(publisher).copied().unwrap_or(0);
        let Some(sent) = self.sent.get_mut(publisher) else {
            return;
        };
        let open = sent.saturating_sub(received);
        if load.io.is_blocked(index) {
            load.tally.touch(publisher);
            return;
        }
        if open + load.options.batch() > window {
            return;
        }
        let mut bytes = Vec::new();
        for _ in open..window {
            let topic = format!("{}/d/{}/temp", load.run, self.random.below(n));
            let stamp = Stamp {
                due_ns: now_ns(),
                publisher: u32::try_from(publisher).unwrap_or(u32::MAX),
                sequence: u32::try_from(*sent).unwrap_or(u32::MAX),
            };
            Template::new(&topic, 0, payload, false).emit(&mut bytes, stamp);
            *sent += 1;
        }
        load.io.send(index, &bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::filter;

    #[test]
    fn the_four_shapes_match_their_topic_only() {
        let filters: Vec<String> = (0..4).map(|i| filter("r", i)).collect();
        assert_eq!(filters, ["r/d/0/temp", "r/d/1/+", "r/d/2/#", "r/+/3/temp"]);
    }
}
