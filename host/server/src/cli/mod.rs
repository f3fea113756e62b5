//! The command line: verbs, flags, exit codes.
//!
//! Owns: what `witmq` prints and how it exits. Verbs that change a running broker speak to its admin API.
//! Must not: hold broker logic.

mod args;
mod author;
mod credentials;
mod delayed;
mod doctor;
mod drain;
mod exit;
mod look;
mod messages;
mod new;
mod oci;
mod plugin;
mod project;
mod remote;
mod rule;
mod sink;
mod source;
mod storage;
mod tables;
mod tls;
mod user;
mod watch;

pub(crate) use args::{Cli, Command, DevArgs, ServeArgs};
pub(crate) use exit::{CliError, Exit};

use clap::CommandFactory as _;

/// Runs every verb except `dev` and `serve`.
///
/// # Errors
/// What went wrong, with the exit code to leave with.
pub(crate) fn run(command: Command) -> Result<(), CliError> {
    match command {
        Command::Dev(_) | Command::Serve(_) => Ok(()), // the binary starts these itself
        Command::Pub(args) => messages::publish(&args),
        Command::Sub(args) => messages::subscribe(&args),
        Command::Plugin(command) => plugin::run(command),
        Command::Rule(command) => rule::run(command),
        Command::Sink(command) => sink::run(command),
        Command::User(command) => user::run(command),
        Command::Table(command) => tables::run(command),
        Command::Storage(command) => storage::run(command),
        Command::Delayed(command) => delayed::run(command),
        Command::Drain(args) => drain::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Status(args) => {
            let status = remote::Remote::new(&args)?.read("status")?;
            print(&serde_json::to_string_pretty(&status).unwrap_or_default());
            Ok(())
        }
        Command::Version => {
            print(&version());
            Ok(())
        }
        Command::Completion { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "witmq", &mut std::io::stdout());
            Ok(())
        }
    }
}

fn version() -> String {
    format!(
        "witmq {} (MQTT 3.1, 3.1.1, 5.0; plugin interface witmq:plugin@1.0.0)",
        env!("CARGO_PKG_VERSION")
    )
}

/// A line on standard output; a closed pipe is not an error worth a word.
pub(crate) fn print(line: &str) {
    use std::io::Write as _;
    drop(writeln!(std::io::stdout().lock(), "{line}"));
}

/// Rows under headings, columns aligned.
pub(crate) fn table(headings: &[&str], rows: &[Vec<String>]) {
    let mut widths: Vec<usize> = headings.iter().map(|h| h.len()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: Vec<&str>| {
        let mut text = String::new();
        for (cell, width) in cells.iter().zip(&widths) {
            text.push_str(&format!("{cell:<width$}  "));
        }
        print(text.trim_end());
    };
    line(headings.to_vec());
    for row in rows {
        line(row.iter().map(String::as_str).collect());
    }
}
