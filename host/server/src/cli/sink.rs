//! `witmq sink …`.

use super::args::AdminArgs;
use super::remote::{Remote, encode};
use super::{CliError, Exit, print, table};
use clap::Subcommand;
use serde_json::Value;
use std::path::{Path, PathBuf};

#[derive(Debug, Subcommand)]
pub(crate) enum SinkCommand {
    /// Start or change sinks; what waits for them stays
    Apply {
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// Check on the broker, change nothing
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Let the broker connect as a file says, without applying it
    Check {
        #[arg(required = true)]
        files: Vec<PathBuf>,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// List sinks and how they fare
    Ls {
        /// As JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Show one with its file
    Get {
        name: String,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Send nothing until it is resumed; what comes waits
    Pause {
        name: String,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Send again
    Resume {
        name: String,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Take a sink out
    Rm {
        name: String,
        /// Even if messages wait for it: they are lost
        #[arg(long)]
        discard: bool,
        #[command(flatten)]
        admin: AdminArgs,
    },
}

pub(crate) fn run(command: SinkCommand) -> Result<(), CliError> {
    match command {
        SinkCommand::Apply {
            files,
            dry_run,
            admin,
        } => {
            let remote = Remote::new(&admin)?;
            let apply = |file| apply(&remote, file, dry_run);
            files.iter().map(PathBuf::as_path).try_for_each(apply)
        }
        SinkCommand::Check { files, admin } => {
            let remote = Remote::new(&admin)?;
            files.iter().try_for_each(|file| check(&remote, file))
        }
        SinkCommand::Ls { json, admin } => {
            let list = Remote::new(&admin)?.read("sinks")?;
            if json {
                print(&serde_json::to_string_pretty(&list).unwrap_or_default());
            } else {
                show(&list);
            }
            Ok(())
        }
        SinkCommand::Get { name, admin } => {
            let sink = Remote::new(&admin)?.read(&format!("sinks/{}", encode(&name)))?;
            print(&serde_json::to_string_pretty(&sink).unwrap_or_default());
            Ok(())
        }
        SinkCommand::Pause { name, admin } => {
            Remote::new(&admin)?.post(&format!("sinks/{}/pause", encode(&name)))?;
            print(&format!("{name}: paused; what comes waits"));
            Ok(())
        }
        SinkCommand::Resume { name, admin } => {
            Remote::new(&admin)?.post(&format!("sinks/{}/resume", encode(&name)))?;
            print(&format!("{name}: sends again"));
            Ok(())
        }
        SinkCommand::Rm {
            name,
            discard,
            admin,
        } => {
            let path = format!("sinks/{}?discard={discard}", encode(&name));
            Remote::new(&admin)?.delete(&path)?;
            print(&format!("{name}: removed"));
            Ok(())
        }
    }
}

/// A file's text, the name of its sink, and the query that tells the broker of the file.
fn read(file: &Path) -> Result<(String, String, String), CliError> {
    let text = std::fs::read_to_string(file)
        .map_err(|e| CliError::failed(format!("cannot read {}: {e}", file.display())))?;
    let name = file.file_stem().and_then(|s| s.to_str()).ok_or_else(|| {
        let text = format!("{} has no usable name", file.display());
        CliError::new(Exit::Usage, text)
    })?;
    let query = format!("file={}", encode(&file.display().to_string()));
    Ok((text, name.to_owned(), query))
}

fn apply(remote: &Remote, file: &Path, dry_run: bool) -> Result<(), CliError> {
    let (text, name, query) = read(file)?;
    let path = format!("sinks/{}?{query}&dry_run={dry_run}", encode(&name));
    let info = remote.put(&path, "application/toml", text.as_bytes())?;
    let kind = info["kind"].as_str().unwrap_or_default();
    if dry_run {
        print(&format!("{name}: would be applied ({kind})"));
        return Ok(());
    }
    let state = info["state"].as_str().unwrap_or_default();
    print(&format!("{name}: applied ({kind}), {state}"));
    Ok(())
}

fn check(remote: &Remote, file: &Path) -> Result<(), CliError> {
    let (text, name, query) = read(file)?;
    let path = format!("sinks/{}/check?{query}", encode(&name));
    let said = remote.post_text(&path, &text)?;
    let said = said["said"].as_str().unwrap_or_default();
    print(&format!("{}: fine: {said}", file.display()));
    Ok(())
}

fn show(list: &Value) {
    let rows: Vec<Vec<String>> = list
        .as_array()
        .into_iter()
        .flatten()
        .map(|sink| {
            let text = |key: &str| sink[key].as_str().unwrap_or("").to_owned();
            let number = |key: &str| sink[key].to_string();
            vec![
                text("name"),
                text("kind"),
                text("state"),
                number("queued_messages"),
                number("delivered"),
                number("retried"),
                number("dropped"),
                number("dead"),
                number("received"),
                number("crowded"),
                number("looped"),
                text("last_error"),
            ]
        })
        .collect();
    let headings = [
        "NAME",
        "KIND",
        "STATE",
        "QUEUED",
        "DELIVERED",
        "RETRIED",
        "DROPPED",
        "DEAD",
        "RECEIVED",
        "CROWDED",
        "LOOPED",
        "LAST ERROR",
    ];
    table(&headings, &rows);
}
