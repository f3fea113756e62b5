//! `mqload SCENARIO`: loads a broker on this machine, checks every message, and prints one line of JSON.
//!
//! Owns: the scenarios. One thread plays all clients, publishers and subscribers, so a window of unanswered messages
//! can be kept and count, order and duplicates are checked of every message.
//! Must not: leave loopback, start or end the broker (the matrix does).

mod churn;
mod conns;
mod flow;
mod load;
mod options;
mod report;
mod retained;
mod session;
mod subs;
mod tally;

use clap::Parser as _;
use load::Load;
use options::{Options, Scenario};
use report::Report;
use std::process::ExitCode;

fn main() -> ExitCode {
    let options = Options::parse();
    let mut report = Report::new(&options);
    let result = Load::new(options).and_then(|mut load| {
        let done = run(&mut load, &mut report);
        load.tally.describe(&mut report);
        done
    });
    let is_ok = match result {
        Ok(is_ok) => is_ok,
        Err(error) => {
            report.set("error", format!("{error:#}"));
            false
        }
    };
    report.set("ok", is_ok);
    println!("{report}");
    if is_ok {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Whether every message came once and in order.
fn run(load: &mut Load, report: &mut Report) -> anyhow::Result<bool> {
    match load.options.scenario {
        Scenario::Fanin | Scenario::Fanout | Scenario::Pair => flow::run(load, report),
        Scenario::Conns => conns::run(load, report),
        Scenario::Subs => subs::run(load, report),
        Scenario::Churn => churn::run(load, report),
        Scenario::Retained => retained::run(load, report),
        Scenario::Session => session::run(load, report),
    }
}
