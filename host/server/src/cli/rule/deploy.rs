//! What changes the chains of a broker, and what would.

use super::diff::diff as lines_of;
use super::{files_of, path, stem, text_of};
use crate::cli::args::ApplyArgs;
use crate::cli::plugin::{items, text};
use crate::cli::remote::Remote;
use crate::cli::{CliError, Exit, print};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::PathBuf;

pub(super) fn apply(args: &ApplyArgs, remote: &Remote) -> Result<(), CliError> {
    let mut files = Vec::new();
    for file in files_of(&args.paths)? {
        files.push(json!({ "file": file.display().to_string(), "source": text_of(&file)? }));
    }
    let query = format!("rules?dry_run={}&wait={}", args.dry_run, args.wait);
    let done = remote.post_json(&query, &json!({ "files": files }))?;
    if items(&done["rules"]).count() > 1 {
        print("in running order:");
    }
    for rule in items(&done["rules"]) {
        let is_same = items(&done["unchanged"]).any(|name| name == &rule["name"]);
        print(&said(rule, is_same, args.dry_run));
    }
    settled(&done, args.wait)
}

/// What became, or would become, of one chain.
fn said(rule: &Value, is_same: bool, is_dry_run: bool) -> String {
    let (name, revision) = (text(&rule["name"]), &rule["revision"]);
    let end = match (is_dry_run, is_same) {
        (true, true) => return format!("{name}: would stay as it is, revision {revision}"),
        (true, false) => return format!("{name}: would deploy revision {revision}"),
        (false, true) => ", unchanged",
        (false, false) => "",
    };
    match rule["state"].as_str() {
        Some("paused") => format!(
            "{name}: revision {revision} is kept{end}; it is paused: `witmq rule resume {name}` lets it run"
        ),
        Some("disabled") => {
            format!("{name}: revision {revision} is kept{end}; its file says `enabled = false`")
        }
        _ => format!("{name}: revision {revision} runs on every shard{end}"),
    }
}

/// Whether all shards answered, if they were asked.
fn settled(done: &Value, is_asked: bool) -> Result<(), CliError> {
    match done["behind"].as_u64() {
        Some(behind) if behind > 0 => Err(CliError::failed(format!(
            "it is deployed, but {behind} shards have not said that they took it; they do with their next message"
        ))),
        Some(_) if is_asked => {
            print("every shard has taken it");
            Ok(())
        }
        _ => Ok(()),
    }
}

pub(super) fn diff(paths: &[PathBuf], remote: &Remote) -> Result<(), CliError> {
    let deployed = remote.read("rules")?;
    let mut others: BTreeSet<String> = items(&deployed).map(|rule| text(&rule["name"])).collect();
    let is_folder = paths.iter().any(|path| path.is_dir());
    for file in files_of(paths)? {
        let (name, shown) = (stem(&file)?, file.display());
        let new = text_of(&file)?;
        let old = match others.remove(name) {
            true => remote.read_text(&path(name, "/source"))?,
            false => String::new(),
        };
        let lines = lines_of(&old, &new);
        print(&match (old.is_empty(), lines.is_empty()) {
            (true, _) => format!("{shown}: new"),
            (_, true) => format!("{shown}: as it runs"),
            _ => format!("{shown}: changed"),
        });
        lines.iter().for_each(|line| print(line));
    }
    for name in others.iter().filter(|_| is_folder) {
        print(&format!("{name}: runs and has no file here; it stays"));
    }
    Ok(())
}

pub(super) fn rollback(name: &str, revision: Option<u64>, remote: &Remote) -> Result<(), CliError> {
    let query = revision.map_or_else(String::new, |revision| format!("?revision={revision}"));
    let info = remote.post(&path(name, &format!("/rollback{query}")))?;
    if info["unchanged"] == Value::Bool(true) {
        let text = format!(
            "{name}: revision {} has that text already, nothing changed",
            info["revision"]
        );
        return Err(CliError::new(Exit::Refused, text));
    }
    print(&said(&info, false, false));
    Ok(())
}

pub(super) fn pause(name: &str, is_paused: bool, remote: &Remote) -> Result<(), CliError> {
    let verb = if is_paused { "/pause" } else { "/resume" };
    let info = remote.post(&path(name, verb))?;
    print(&match info["state"].as_str() {
        Some("paused") => format!("{name}: paused; messages pass it by"),
        Some("disabled") => format!("{name}: not paused, but its file says `enabled = false`"),
        _ => format!("{name}: revision {} runs", info["revision"]),
    });
    Ok(())
}
