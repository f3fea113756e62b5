//! The grammar of `witmq rule …`.

use super::AdminArgs;
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// A chain of a running broker.
#[derive(Debug, Args)]
pub(crate) struct ChainArgs {
    /// Name of the chain
    pub(crate) name: String,
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
    },
    /// Run a chain file on one message without a broker and show every step
    Run {
        file: PathBuf,
        /// The message: {"topic": …, "payload": …, "received_ms": …}; it is received now without the last
        #[arg(long)]
        msg: String,
    },
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
    /// Show what happened to a chain
    History(ChainArgs),
    /// Deploy the text of the revision before, or of REV, as a new revision
    Rollback {
        /// Name of the chain
        name: String,
        /// As `history` shows it
        #[arg(value_name = "REV")]
        revision: Option<u64>,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Keep a chain deployed and idle, also after a restart
    Pause(ChainArgs),
    /// Let a paused chain run again
    Resume(ChainArgs),
    /// Take a chain out
    Rm(ChainArgs),
}
