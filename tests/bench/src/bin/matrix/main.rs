//! `cargo xtask bench`: WitMQ, other brokers and the floors side by side, and what a message costs in instructions.
//!
//! Owns: the order of the runs (all peers before the next round, a fresh process for each run), the table, the goals.
//! Must not: measure anything itself (`mqload` does), or leave a process behind.

mod calls;
mod cases;
mod elsewhere;
mod growth;
mod instructions;
mod peers;
mod play;
mod plot;
mod splice;
mod table;

use anyhow::{Context as _, Result, bail};
use cases::{CASES, Case};
use clap::Parser;
use peers::Peer;
use play::{Play, Run};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

/// Measures WitMQ beside other brokers and the floors, all on loopback.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench")]
struct Options {
    /// How often everything is measured
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Only these cases; `--list` names them
    #[arg(long, value_delimiter = ',', value_name = "A,B")]
    cases: Vec<String>,
    /// Another broker: a command in which {port} stands for a free port and {folder} for an empty folder;
    /// NAME@PORT=COMMAND when its port is fixed
    #[arg(long, value_name = "NAME=COMMAND")]
    peer: Vec<String>,
    /// One round of half a second without the cases about memory: to see whether it works
    #[arg(long)]
    quick: bool,
    /// Seconds that each run is measured
    #[arg(long)]
    secs: Option<f64>,
    /// The tokio floors too
    #[arg(long)]
    all_floors: bool,
    /// Markdown file whose part between the two markers is replaced; with --quick nothing is written without it
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// All runs, one line of JSON each [default: target/bench.jsonl]
    #[arg(long, value_name = "FILE")]
    runs: Option<PathBuf>,
    /// The broker measured [default: witmq beside this program]
    #[arg(long, value_name = "FILE")]
    broker: Option<PathBuf>,
    /// The broker measured is the one that is published: `cargo xtask build --dist` makes it
    #[arg(long, conflicts_with = "broker")]
    dist: bool,
    /// Measure how costs grow with connections, subscriptions, payload, fan-out and shards instead, and write
    /// host/docs/growth.md with its plots
    #[arg(long, conflicts_with_all = ["cases", "quick", "out"])]
    growth: bool,
    /// Name the cases and end
    #[arg(long)]
    list: bool,
    /// Count instructions for each message with callgrind instead, and compare them with tests/bench/instructions.toml
    #[arg(long)]
    instructions: bool,
    /// With --instructions: none that call a component
    #[arg(long, requires = "instructions")]
    short: bool,
    /// With --instructions: write the file anew
    #[arg(long, requires = "instructions", conflicts_with = "short")]
    accept: bool,
    /// With --instructions: the functions that most of them are in, for one workload
    #[arg(long, requires = "instructions", value_name = "WORKLOAD")]
    profile: Option<String>,
}

/// Where the table goes.
const DOCUMENT: &str = "host/docs/performance.md";

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<bool> {
    if options.list {
        CASES
            .iter()
            .for_each(|case| println!("{:16} {}", case.name, case.words));
        return Ok(true);
    }
    let here = std::env::current_exe().context("cannot tell where this program is")?;
    let tools = here.parent().context("this program is in no folder")?;
    if options.instructions {
        return match &options.profile {
            Some(workload) => instructions::profile(tools, workload),
            None => instructions::compare(tools, options.short, options.accept),
        };
    }
    let beside = match options.dist {
        true => tools.with_file_name("dist"),
        false => tools.to_owned(),
    };
    let broker = options.broker.clone();
    let broker = broker.unwrap_or_else(|| beside.join("witmq"));
    let peers = peers::all(tools, &broker, &options.peer, options.all_floors)?;
    let cases = chosen(options)?;
    let file = tools.parent().unwrap_or(tools).join("bench.jsonl");
    let mut play = Play::new(
        tools.join("mqload"),
        options.runs.clone().unwrap_or(file),
        options
            .secs
            .unwrap_or(if options.quick { 0.5 } else { 2.0 }),
    )?;
    let rounds = if options.quick {
        1
    } else {
        options.rounds.max(1)
    };
    if options.growth {
        return growth::measure(&mut play, &peers, rounds);
    }
    let runs = measure(&mut play, &peers, &cases, rounds)?;
    let text = table::render(&cases, &peers, &runs, (rounds, options.dist));
    println!("\n{text}");
    let out = options.out.clone();
    let out = out.or_else(|| (!options.quick).then(|| DOCUMENT.into()));
    if let Some(file) = out {
        splice::replace(&file, &text)?;
        println!(
            "written: {} (all runs: {})",
            file.display(),
            play.runs().display()
        );
    }
    Ok(runs
        .iter()
        .all(|run| !run.peer.starts_with("WitMQ") || run.failure().is_none()))
}

/// The cases asked for.
fn chosen(options: &Options) -> Result<Vec<&'static Case>> {
    for name in &options.cases {
        if !CASES.iter().any(|case| case.name == name) {
            bail!("no case is called {name}: `cargo xtask bench --list` names them");
        }
    }
    let is_wanted = |case: &&Case| match options.cases.as_slice() {
        [] => !options.quick || !case.is_state(),
        names => names.iter().any(|name| name == case.name),
    };
    Ok(CASES.iter().filter(is_wanted).collect())
}

/// All rounds, every peer before the next case, every case before the next round.
fn measure(play: &mut Play, peers: &[Peer], cases: &[&Case], rounds: usize) -> Result<Vec<Run>> {
    let turns = (1..=rounds).flat_map(|round| {
        let pairs = cases
            .iter()
            .flat_map(|case| peers.iter().map(move |peer| (*case, peer)));
        pairs.map(move |(case, peer)| (round, case, peer))
    });
    let turns: Vec<_> = turns.filter(|(_, case, peer)| peer.plays(case)).collect();
    let (begin, mut runs) = (Instant::now(), Vec::new());
    for (done, (round, case, peer)) in turns.iter().enumerate() {
        let run = play.run(peer, case, *round)?;
        let left =
            begin.elapsed() / u32::try_from(done + 1)? * u32::try_from(turns.len() - done - 1)?;
        println!(
            "{} of {}: round {round}, {} · {}: {} ({} min {:02} s left)",
            done + 1,
            turns.len(),
            case.name,
            peer.name,
            run.line(case),
            left.as_secs() / 60,
            left.as_secs() % 60,
        );
        runs.push(run);
    }
    Ok(runs)
}

#[cfg(test)]
mod tests {
    use super::{Options, chosen};
    use clap::{CommandFactory as _, Parser as _};

    fn options(words: &[&str]) -> Options {
        Options::try_parse_from([&["bench"], words].concat()).unwrap()
    }

    #[test]
    fn the_options_are_well_formed() {
        Options::command().debug_assert();
    }

    #[test]
    fn cases_are_chosen_by_name_and_an_unknown_one_is_named() {
        let names = |words: &[&str]| -> Vec<&str> {
            let cases = chosen(&options(words)).unwrap();
            cases.iter().map(|case| case.name).collect()
        };
        assert_eq!(
            names(&["--cases", "pair-q1,fanin-16"]),
            ["fanin-16", "pair-q1"]
        );
        assert!(names(&[]).contains(&"subs-100k"));
        assert!(!names(&["--quick"]).contains(&"subs-100k"));
        let error = chosen(&options(&["--cases", "pear"]))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("pear") && error.contains("--list"),
            "{error}"
        );
    }
}
