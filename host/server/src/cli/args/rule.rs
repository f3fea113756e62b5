//! The grammar of `witmq rule …`.

use super::AdminArgs;
use clap::{Args, Subcommand};
use std::path::PathBuf;
use std::time::Duration;

/// Seconds, minutes or hours.
fn time(text: &str) -> Result<Duration, String> {
    let seconds = match text.chars().last() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 3600,
        _ => 0,
    };
    let number = text.get(..text.len().saturating_sub(1)).unwrap_or_default();
    let number: u32 = number.parse().unwrap_or(0);
    match u64::from(number) * seconds {
        0 => Err(format!("`{text}` is no time; say 90s, 15m or 2h")),
        all => Ok(Duration::from_secs(all)),
    }
}

/// A chain of a running broker.
#[derive(Debug, Args)]
pub(crate) struct ChainArgs {
    /// Name of the chain
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) admin: AdminArgs,
}

/// What has to run for a change to be made.
#[derive(Debug, Args)]
pub(crate) struct ConditionArgs {
    /// Only if this revision runs
    #[arg(long, value_name = "REV")]
    pub(crate) if_match: Option<u64>,
}

/// A revision of a chain that is to run.
#[derive(Debug, Args)]
pub(crate) struct RevisionArgs {
    /// Name of the chain
    pub(crate) name: String,
    /// As `history` shows it
    #[arg(value_name = "REV")]
    pub(crate) revision: Option<u64>,
    /// Check on the broker, change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) condition: ConditionArgs,
    #[command(flatten)]
    pub(crate) admin: AdminArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RecordArgs {
    /// Topics, as a subscription's: sensors/+/temp, sensors/#
    pub(crate) filter: String,
    /// For how long: 90s, 15m, 2h
    #[arg(long = "for", value_name = "TIME", default_value = "1m", value_parser = time)]
    pub(crate) time: Duration,
    /// File to write; without, the messages are printed
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Messages at most
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub(crate) max: usize,
    #[command(flatten)]
    pub(crate) admin: AdminArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ApplyArgs {
    /// Chain files, or folders of them
    #[arg(required = true)]
    pub(crate) paths: Vec<PathBuf>,
    /// Check on the broker, change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Come back when every shard has taken the chains
    #[arg(long)]
    pub(crate) wait: bool,
    /// Beside what runs, for a share of the clients, always the same ones: 5%, 0.25%
    #[arg(long, value_name = "SHARE", conflicts_with = "shadow")]
    pub(crate) canary: Option<String>,
    /// Beside what runs: it sees every message, is compared, and nothing of it is applied
    #[arg(long)]
    pub(crate) shadow: bool,
    #[command(flatten)]
    pub(crate) condition: ConditionArgs,
    #[command(flatten)]
    pub(crate) admin: AdminArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RuleCommand {
    /// Write a chain file to begin with, with a test that passes
    New {
        /// Name of the chain, or the path of its file
        name: PathBuf,
    },
    /// Check chain files without a broker
    Check {
        /// Chain files, or folders of them
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Run the tests of chain files without a broker and show each; exit code 1 if one fails
    Test {
        /// Chain files, or folders of them
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// Run recorded messages through the file instead; exit code 1 if a step fails or, with --against, something differs
        #[arg(long, value_name = "RECORDING")]
        replay: Option<PathBuf>,
        /// A file that is to make the same of them
        #[arg(long, value_name = "OLD", requires = "replay")]
        against: Option<PathBuf>,
    },
    /// Write messages down as they come to the broker, for `rule test --replay`
    Record(RecordArgs),
    /// Run a chain file on one message without a broker and show every step
    Run {
        file: PathBuf,
        /// The message: {"topic": …, "payload": …, "received_ms": …}; it is received now without the last
        #[arg(long)]
        msg: String,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Make a chain file of a rule of another broker
    Import {
        #[command(subcommand)]
        from: ImportCommand,
    },
    /// The JSON Schema of chain files, for editors
    Schema,
    /// What expressions may call: all functions, or one with its example
    Functions { name: Option<String> },
    /// What `apply` would change against what runs, line by line
    Diff {
        /// Chain files, or folders of them
        #[arg(required = true)]
        paths: Vec<PathBuf>,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Deploy chain files, all of them or none; what runs stays if anything is wrong
    Apply(ApplyArgs),
    /// List chains in running order
    Ls {
        /// As JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Show the text of a chain as it was deployed
    Get {
        /// The text of another revision than the one that runs
        #[arg(long, value_name = "REV", conflicts_with = "json")]
        revision: Option<u64>,
        /// What is known about it, as JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        chain: ChainArgs,
    },
    /// Show what happens to messages in a chain, step by step, as they come: some of each second, failures always
    Tap {
        /// Name of the chain
        name: String,
        /// For how long: 90s, 15m, 2h
        #[arg(long = "for", value_name = "TIME", default_value = "15m", value_parser = time)]
        time: Duration,
        /// One JSON object a line
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Show messages that conditions of a chain ended lately, and the part that was false
    Why {
        /// As JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        chain: ChainArgs,
    },
    /// Numbers of a chain and of each of its steps
    Stats(ChainArgs),
    /// Show how the steps of a chain lead to one another
    Graph {
        /// Nodes and edges, as JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        chain: ChainArgs,
    },
    /// Show what happened to a chain
    History(ChainArgs),
    /// Let the canary or shadow of a chain run for everybody; it has to be REV, if that is named
    Promote(RevisionArgs),
    /// End a canary or shadow; without one, deploy the text of the revision before, or of REV, as a new revision
    Rollback(RevisionArgs),
    /// Keep a chain deployed and idle, also after a restart
    Pause(ChainArgs),
    /// Let a paused chain run again
    Resume(ChainArgs),
    /// Take a chain out
    Rm {
        #[command(flatten)]
        condition: ConditionArgs,
        #[command(flatten)]
        chain: ChainArgs,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ImportCommand {
    /// A statement of EMQX's rule SQL, or a rule exported as JSON; what cannot be carried over is said
    EmqxSql {
        /// The statement or the exported rule; `-` reads standard input
        #[arg(required_unless_present = "sql")]
        file: Option<PathBuf>,
        /// The statement itself
        #[arg(long, conflicts_with = "file")]
        sql: Option<String>,
        /// Name of the chain; without, that of the exported rule
        #[arg(long)]
        name: Option<String>,
        /// File to write; without, the chain is printed
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
        /// Fail if anything cannot be carried over
        #[arg(long)]
        strict: bool,
    },
}
