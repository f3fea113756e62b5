//! `cargo xtask VERB`: every verb of this repository, so that a newcomer and the landing gate type the same words.
//!
//! Owns: the order of the steps, their headers and times, and stopping at the first failure.
//! Must not: depend on a crate of the host (it has to build in seconds on a fresh clone), or hide a command:
//! each step prints the line that repeats it.
//! Called by: people, and `.ci/run`.

mod freeze;
mod plan;
mod step;
mod tools;
mod tree;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// The verbs of this repository.
#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    disable_help_subcommand = true
)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Build components and broker, then run `witmq dev` with the words that follow
    Dev {
        /// Passed to `witmq dev` as they are
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
    /// Build components and the release binary
    Build {
        /// The binary that is published instead, target/dist/witmq: linked as a whole, for some minutes more
        #[arg(long)]
        dist: bool,
    },
    /// Build every component (plugins, examples, test guests) for wasm32-wasip2
    Guests,
    /// Everything the landing gate asks for; installs what the tests need
    Test {
        /// Without the end-to-end tests and what only they need
        #[arg(long)]
        fast: bool,
    },
    /// Formatting, clippy with warnings as errors, the house rules
    Lint,
    /// Run one fuzz target (needs a nightly toolchain and cargo-fuzz)
    Fuzz {
        /// Name of the target in tests/fuzz
        target: String,
        /// How long to look, in seconds
        #[arg(long, default_value_t = 60)]
        seconds: u32,
    },
    /// Measure WitMQ beside other brokers; with --instructions, count what a message takes, with --micro time it
    Bench {
        /// Passed on as they are: --quick, --dist, --cases A,B, --peer NAME=COMMAND, --instructions, --help …
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
    /// Kill the broker at random moments under load, and check that nothing acknowledged is lost
    Crash {
        /// How often
        #[arg(long, default_value_t = 120)]
        kills: u64,
        /// Makes the choices of an earlier run again
        #[arg(long)]
        seed: Option<u64>,
    },
    /// Simulate shards, sessions and storage on a virtual clock and network, one run for each seed
    Simulate {
        /// How many
        #[arg(long, default_value_t = 100_000)]
        seeds: u64,
        /// The first one
        #[arg(long, default_value_t = 0)]
        from: u64,
    },
    /// Judge a broker by every statement of MQTT 3.1.1 and 5.0; without --target, the one built here
    Conformance {
        /// Passed to the runner as they are: --target HOST:PORT, --format text|json|junit, --out FILE …
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
    /// Licences, bans, sources and advisories of all dependencies; installs cargo-deny if it is missing
    Deny {
        /// Which of them: advisories (asks the network), bans, licenses, sources; all if absent
        words: Vec<String>,
    },
    /// Release the plugin interface as it is in wit/: a copy, its digests, and components made for it
    Freeze,
    /// Build the API documentation, broken links as errors
    Doc,
}

fn main() -> ExitCode {
    match run(Arguments::parse().verb) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(verb: Verb) -> anyhow::Result<()> {
    let tree = tree::Tree::find()?;
    let mut run = step::Run::new(&tree);
    match verb {
        Verb::Dev { words } => plan::dev(&mut run, &words),
        Verb::Build { dist: false } => plan::build(&mut run),
        Verb::Build { dist: true } => plan::dist(&mut run),
        Verb::Guests => plan::guests(&mut run),
        Verb::Test { fast } => plan::test(&mut run, fast),
        Verb::Lint => plan::lint(&mut run),
        Verb::Fuzz { target, seconds } => plan::fuzz(&mut run, &target, seconds),
        Verb::Bench { words } => plan::bench(&mut run, &words),
        Verb::Crash { kills, seed } => plan::crash(&mut run, kills, seed),
        Verb::Simulate { seeds, from } => plan::simulate(&mut run, seeds, from),
        Verb::Conformance { words } => plan::conformance(&mut run, &words),
        Verb::Deny { words } => plan::deny(&mut run, &words),
        Verb::Freeze => freeze::freeze(&mut run),
        Verb::Doc => plan::doc(&mut run),
    }
}

#[cfg(test)]
mod tests {
    use super::Arguments;
    use clap::{CommandFactory as _, Parser as _};

    #[test]
    fn the_verbs_are_well_formed() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn dev_passes_words_with_dashes_on() {
        let parsed = Arguments::try_parse_from(["xtask", "dev", "--no-demo", "--data", "x"]);
        let words = match parsed.map(|arguments| arguments.verb) {
            Ok(super::Verb::Dev { words }) => words,
            other => panic!("{other:?}"),
        };
        assert_eq!(words, ["--no-demo", "--data", "x"]);
    }
}
