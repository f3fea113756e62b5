//! Messages at a fixed rate past many subscriptions, while clients subscribe and unsubscribe as fast as they are answered: how
//! long a message may have to wait.

use crate::load::{Load, Role};
use crate::options::nanoseconds;
use crate::report::Report;
use crate::subs::{FILTERS, Random, filter, subscribe};
use anyhow::Result;
use witmq_bench::probe::{Snapshot, now_ns};
use witmq_bench::wire::{self, Stamp, Template};

/// Messages a second when the command line says nothing.
const RATE: u64 = 1000;

pub(crate) fn run(load: &mut Load, report: &mut Report) -> Result<bool> {
    let (n, standing) = (load.options.count(), load.options.conns.max(1));
    let storm = load.options.storm;
    let first = load.open(Role::Subscriber, standing + 1 + storm, true, |_| 0)?;
    let publisher = load.open(Role::Publisher, 1, true, |_| 0)?;
    load.tally.expect(1, 1, false);
    load.tally.check_order();
    subscribe(load, first, standing, n)?;
    let topic = format!("{}/probe", load.run);
    load.subscribe(first + standing, 1, 0, |_| topic.clone())?;
    load.settle(500)?;
    load.tally.subscribed.clear();
    let mut churn = Churn {
        publisher,
        template: Template::new(&topic, 0, load.options.payload(), false),
        sent: 0,
        late_ns: 0,
        storm: Storm::new(first + standing + 1, storm),
    };
    let (before, after) = churn.play(load, n)?;
    load.tally.records = false;
    let sent = churn.sent;
    load.wait(|tally| tally.delivered >= sent)?;
    report.set("subscriptions", n);
    report.set("sent", sent);
    report.set("lost", sent.saturating_sub(load.tally.delivered));
    report.cpu(&before.0, &after.0, after.1 - before.1);
    let changes = (after.2 - before.2) as f64;
    let (seconds, cpu) = (
        after.0.seconds_since(&before.0),
        after.0.cpu_s_since(&before.0),
    );
    report.number("changes_per_s", changes / seconds.max(1e-9));
    // The messages are few: their share of the CPU is left in.
    report.number("cpu_us_per_change", cpu * 1e6 / changes.max(1.0));
    report.latency(&load.tally.latency);
    report.number("generator_late_max_us", churn.late_ns as f64 / 1e3);
    Ok(load.tally.delivered == sent && load.tally.is_clean())
}

/// The broker, messages delivered and subscriptions changed so far.
type Mark = (Snapshot, u64, u64);

/// The probe and the storm around it.
struct Churn {
    publisher: usize,
    template: Template,
    sent: u64,
    late_ns: u64,
    storm: Storm,
}

impl Churn {
    fn play(&mut self, load: &mut Load, n: u64) -> Result<(Mark, Mark)> {
        let rate = load.options.rate.unwrap_or(RATE).max(1);
        let started = now_ns();
        let warm_ns = started + nanoseconds(load.options.warm);
        let end_ns = warm_ns + nanoseconds(load.options.secs);
        self.storm.begin(load, n);
        let mut before = None;
        loop {
            let now = now_ns();
            let mark = |load: &Load, storm: &Storm| -> Mark {
                (load.snapshot(), load.tally.delivered, storm.changes)
            };
            if before.is_none() && now >= warm_ns {
                load.tally.records = true;
                before = Some(mark(load, &self.storm));
            }
            if let Some(before) = before.filter(|_| now >= end_ns) {
                return Ok((before, mark(load, &self.storm)));
            }
            let due = started + self.sent * 1_000_000_000 / rate;
            if due <= now {
                self.late_ns = self.late_ns.max(now - due);
                self.publish(load, due);
                continue;
            }
            load.poll((due - now).min(20_000_000))?;
            self.storm.go_on(load, n);
        }
    }

    fn publish(&mut self, load: &mut Load, due_ns: u64) {
        let stamp = Stamp {
            due_ns,
            publisher: 0,
            sequence: u32::try_from(self.sent).unwrap_or(u32::MAX),
        };
        let mut bytes = Vec::new();
        self.template.emit(&mut bytes, stamp);
        load.io.send(self.publisher, &bytes);
        self.sent += 1;
    }
}

/// Connections that subscribe and unsubscribe by turns.
struct Storm {
    first: usize,
    /// What each has subscribed to; empty: it has unsubscribed.
    held: Vec<Vec<String>>,
    random: Random,
    /// Filters that were subscribed or unsubscribed and acknowledged.
    changes: u64,
}

impl Storm {
    fn new(first: usize, count: usize) -> Self {
        Self {
            first,
            held: vec![Vec::new(); count],
            random: Random::default(),
            changes: 0,
        }
    }

    fn begin(&mut self, load: &mut Load, n: u64) {
        (0..self.held.len()).for_each(|at| self.turn(load, at, n));
    }

    /// Whoever was answered takes its next turn.
    fn go_on(&mut self, load: &mut Load, n: u64) {
        for index in std::mem::take(&mut load.tally.subscribed) {
            let at = index.wrapping_sub(self.first);
            if at < self.held.len() {
                self.changes += FILTERS;
                self.turn(load, at, n);
            }
        }
    }

    fn turn(&mut self, load: &mut Load, at: usize, n: u64) {
        let Some(held) = self.held.get_mut(at) else {
            return;
        };
        let bytes = if held.is_empty() {
            let random = &mut self.random;
            held.extend((0..FILTERS).map(|_| filter(&load.run, random.below(n))));
            wire::subscribe(1, held.iter().map(String::as_str), 0)
        } else {
            let filters = std::mem::take(held);
            wire::unsubscribe(2, filters.iter().map(String::as_str))
        };
        load.io.send(self.first + at, &bytes);
    }
}
