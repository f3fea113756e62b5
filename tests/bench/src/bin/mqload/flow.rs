//! Fan-in, fan-out and pairs: a window of unanswered messages, or a fixed rate.
//!
//! Owns: who sends what when. Must not: send late without saying so: with a rate, message i is due at i/rate and is
//! stamped with that time, so a generator or broker that falls behind shows as latency (no coordinated omission).

use crate::load::{Load, Role, as_u64};
use crate::options::{Scenario, nanoseconds};
use crate::report::Report;
use anyhow::{Result, bail};
use std::ops::Range;
use witmq_bench::probe::{Snapshot, now_ns};
use witmq_bench::wire::{Stamp, Template};

/// Nothing delivered for so long: lost at QoS 0, a failure beyond.
const STALL_NS: u64 = 1_000_000_000;
/// Sent to each of those who do not read: the kernel keeps some 4 MB for a connection on loopback.
const FILL_BYTES: usize = 8 << 20;
/// Messages sent before the sockets are looked at again.
const BURST: u64 = 4096;

/// The publishers.
struct Flow {
    scenario: Scenario,
    /// Index of the first one's connection.
    first: usize,
    templates: Vec<Template>,
    sent: Vec<u64>,
    /// Given up after a stall, so that the window opens again.
    written_off: Vec<u64>,
    total: u64,
    /// Deliveries of each message.
    copies: u64,
    started_ns: u64,
    late_ns: u64,
    stalls: u64,
    /// Deliveries so far, and when that was.
    progress: (u64, u64),
}

/// Counts at the beginning or end of what is measured.
#[derive(Clone, Copy)]
struct Mark {
    at: Snapshot,
    delivered: u64,
    calls: u64,
}

pub(crate) fn run(load: &mut Load, report: &mut Report) -> Result<bool> {
    let mut flow = set_up(load)?;
    load.settle(200)?;
    let (before, after) = flow.play(load)?;
    load.tally.records = false;
    let (total, wanted) = (flow.total, flow.total * flow.copies);
    let needs_acks = load.options.qos > 0;
    load.wait(|tally| tally.delivered >= wanted && (!needs_acks || tally.acked >= total))?;
    let lost = wanted.saturating_sub(load.tally.delivered);
    flow.describe(load, report, lost);
    let count = after.delivered - before.delivered;
    report.cpu(&before.at, &after.at, count);
    let calls = (after.calls - before.calls) as f64;
    report.number(
        "generator_calls_per_1k_msg",
        calls * 1e3 / count.max(1) as f64,
    );
    Ok(lost == 0 && load.tally.is_clean())
}

/// Connects and subscribes everybody.
fn set_up(load: &mut Load) -> Result<Flow> {
    let scenario = load.options.scenario;
    let (publishers, subscribers) = (load.options.publishers(), load.options.subscribers());
    let run = load.run.clone();
    let group = |number: usize| match scenario {
        Scenario::Fanin => number % subscribers,
        Scenario::Fanout => 0,
        _ => number,
    };
    let topic = |group: usize, name: &str| format!("{run}/{group}/{name}/temperature");
    let qos = load.options.qos;
    let slow = match scenario {
        Scenario::Fanout => load.options.slow,
        _ => 0,
    };
    let is_clean = !load.options.persistent;
    let first = load.open(Role::Subscriber, subscribers + slow, is_clean, group)?;
    load.subscribe(first, subscribers + slow, qos, |number| match scenario {
        Scenario::Fanin => topic(group(number), "+"),
        _ => topic(group(number), "device"),
    })?;
    let deaf = first + subscribers..first + subscribers + slow;
    let first = load.open(Role::Publisher, publishers, true, group)?;
    if slow > 0 {
        fill(load, deaf, first)?;
    }
    let is_fanout = scenario == Scenario::Fanout;
    load.tally
        .expect(publishers, subscribers, is_fanout && publishers == 1);
    if !is_fanout || publishers == 1 {
        load.tally.check_order();
    }
    let payload = load.options.payload();
    let template = |number: usize| {
        let topic = match scenario {
            Scenario::Fanin => topic(group(number), &format!("device{number}")),
            _ => topic(group(number), "device"),
        };
        Template::new(&topic, qos, payload, false)
    };
    Ok(Flow {
        scenario,
        first,
        templates: (0..publishers).map(template).collect(),
        sent: vec![0; publishers],
        written_off: vec![0; publishers],
        total: 0,
        copies: if is_fanout { as_u64(subscribers) } else { 1 },
        started_ns: 0,
        late_ns: 0,
        stalls: 0,
        progress: (0, 0),
    })
}

/// Sends those who will not read more than the kernel keeps for them, so that the rest waits in the broker.
fn fill(load: &mut Load, mut deaf: Range<usize>, publisher: usize) -> Result<()> {
    let topic = format!("{}/fill", load.run);
    load.subscribe(deaf.start, deaf.len(), 0, |_| topic.clone())?;
    deaf.try_for_each(|index| load.io.deafen(index))?;
    let count = (FILL_BYTES / load.options.payload()).max(1);
    load.publish_all(publisher, as_u64(count), false, |_| topic.clone())?;
    load.tally.acked = 0; // what follows is counted
    Ok(())
}

impl Flow {
    /// Warms up and measures.
    fn play(&mut self, load: &mut Load) -> Result<(Mark, Mark)> {
        let mark = |load: &Load| Mark {
            at: load.snapshot(),
            delivered: load.tally.delivered,
            calls: load.io.calls,
        };
        self.started_ns = now_ns();
        self.progress = (0, self.started_ns);
        let warm_ns = self.started_ns + nanoseconds(load.options.warm);
        let end_ns = warm_ns + nanoseconds(load.options.secs);
        let mut before = None;
        loop {
            let now = now_ns();
            if before.is_none() && now >= warm_ns {
                load.tally.records = true;
                before = Some(mark(load));
            }
            if let Some(before) = before.filter(|_| now >= end_ns) {
                return Ok((before, mark(load)));
            }
            let timeout_ns = match load.options.rate {
                Some(rate) => self.send_due(load, rate, now),
                None => {
                    self.refill(load, now);
                    self.watch(load, now)?;
                    50_000_000
                }
            };
            load.poll(timeout_ns)?;
        }
    }

    fn due_ns(&self, rate: u64) -> u64 {
        let passed = u128::from(self.total) * 1_000_000_000 / u128::from(rate.max(1));
        self.started_ns + u64::try_from(passed).unwrap_or(u64::MAX)
    }

    /// Sends what is due, the publishers taking turns; how long until the next is.
    fn send_due(&mut self, load: &mut Load, rate: u64, now: u64) -> u64 {
        let publishers = as_u64(self.templates.len());
        self.late_ns = self.late_ns.max(now.saturating_sub(self.due_ns(rate)));
        for _ in 0..BURST {
            let due = self.due_ns(rate);
            if due > now {
                break;
            }
            let publisher = usize::try_from(self.total % publishers).unwrap_or(0);
            self.emit(load, publisher, 1, due);
            load.io.flush(self.first + publisher);
        }
        self.due_ns(rate).saturating_sub(now_ns())
    }

    /// Fills the windows that are half empty, or as empty as asked for.
    fn refill(&mut self, load: &mut Load, now: u64) {
        let (window, batch) = (load.options.window(), load.options.batch());
        for publisher in load.tally.take_touched() {
            let index = self.first + publisher;
            let open = self.unanswered(load, publisher);
            if load.io.is_blocked(index) {
                load.tally.touch(publisher);
            } else if open + batch <= window {
                self.emit(load, publisher, window - open, now);
                load.io.flush(index);
            }
        }
    }

    fn unanswered(&self, load: &Load, publisher: usize) -> u64 {
        let of = |counts: &[u64]| counts.get(publisher).copied().unwrap_or(0);
        let mut done = of(&load.tally.received_by) / self.copies + of(&self.written_off);
        if load.options.qos > 0 {
            done = done.min(of(&load.tally.acked_by));
        }
        of(&self.sent).saturating_sub(done)
    }

    fn emit(&mut self, load: &mut Load, publisher: usize, count: u64, due_ns: u64) {
        let (Some(template), Some(sent), Some(connection)) = (
            self.templates.get(publisher),
            self.sent.get_mut(publisher),
            load.io.connection(self.first + publisher),
        ) else {
            return;
        };
        for _ in 0..count {
            let stamp = Stamp {
                due_ns,
                publisher: u32::try_from(publisher).unwrap_or(u32::MAX),
                sequence: u32::try_from(*sent).unwrap_or(u32::MAX),
            };
            template.emit(&mut connection.out, stamp);
            *sent += 1;
        }
        self.total += count;
    }

    /// Notices when nothing comes any more.
    fn watch(&mut self, load: &mut Load, now: u64) -> Result<()> {
        if load.tally.delivered != self.progress.0 {
            self.progress = (load.tally.delivered, now);
        } else if now.saturating_sub(self.progress.1) > STALL_NS {
            if load.options.qos > 0 {
                bail!("nothing was delivered for 1 s");
            }
            self.stalls += 1;
            let counts = self.sent.iter().zip(&load.tally.received_by);
            self.written_off = counts
                .map(|(sent, received)| sent.saturating_sub(received / self.copies))
                .collect();
            (0..self.sent.len()).for_each(|publisher| load.tally.touch(publisher));
            self.progress.1 = now;
        }
        Ok(())
    }

    fn describe(&self, load: &Load, report: &mut Report, lost: u64) {
        report.set("pubs", self.templates.len());
        report.set("subs", load.options.subscribers());
        report.set("slow", load.options.slow);
        report.set("persistent", load.options.persistent);
        report.set("copies", self.copies);
        report.set("fanout", self.scenario == Scenario::Fanout);
        match load.options.rate {
            Some(rate) => report.set("rate", rate),
            None => report.set("window", load.options.window()),
        }
        report.set("sent", self.total);
        report.set("lost", lost);
        report.set("stalls", self.stalls);
        report.latency(&load.tally.latency);
        report.number("generator_late_max_us", self.late_ns as f64 / 1e3);
    }
}
