//! What changes the chains of a broker, and what would.

use super::diff::diff as lines_of;
use super::{files_of, path, stem, text_of};
use crate::cli::args::{ApplyArgs, RevisionArgs};
use crate::cli::plugin::{items, text};
use crate::cli::remote::{Remote, encode};
use crate::cli::{CliError, Exit, print};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::PathBuf;

pub(super) fn apply(args: &ApplyArgs, remote: &Remote) -> Result<(), CliError> {
    let mut files = Vec::new();
    for file in files_of(&args.paths)? {
        files.push(json!({ "file": file.display().to_string(), "source": text_of(&file)? }));
    }
    let mut query = format!("rules?dry_run={}&wait={}", args.dry_run, args.wait);
    match &args.canary {
        Some(share) => query.push_str(&format!("&canary={}", encode(share))),
        None => query.push_str(&format!("&shadow={}", args.shadow)),
    }
    let done = remote.post_json(&query, &json!({ "files": files }))?;
    if items(&done["rules"]).count() > 1 {
        print("in running order:");
    }
    for rule in items(&done["rules"]) {
        let is_same = items(&done["unchanged"]).any(|name| name == &rule["name"]);
        print(&said(rule, is_same, args.dry_run));
        absent(rule);
    }
    settled(&done, args.wait)
}

/// What became, or would become, of one chain.
fn said(rule: &Value, is_same: bool, is_dry_run: bool) -> String {
    let (name, revision) = (text(&rule["name"]), &rule["revision"]);
    if !rule["trial"].is_null() && !is_same {
        return tried(rule, is_dry_run);
    }
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

/// What a chain calls that is not there.
fn absent(rule: &Value) {
    let name = text(&rule["name"]);
    for called in items(&rule["absent"]).map(text) {
        print(&format!(
            "{name}: calls `{called}`, and no plugin or sink has that name; until one has, its step fails and `on_error` decides"
        ));
    }
}

/// What became, or would become, of a revision beside the one that runs.
fn tried(rule: &Value, is_dry_run: bool) -> String {
    let (name, runs, trial) = (text(&rule["name"]), &rule["revision"], &rule["trial"]);
    let revision = &trial["rule"]["revision"];
    let would = if is_dry_run { "would be " } else { "is " };
    match trial["percent"].as_f64() {
        Some(percent) => format!(
            "{name}: revision {revision} {would}a canary for {percent}% of the clients, {runs} runs for the others; \
             `witmq rule promote {name}` or `rule rollback {name}` ends that"
        ),
        None => format!(
            "{name}: revision {revision} {would}a shadow of revision {runs}; `witmq rule stats {name}` compares them, \
             `witmq rule promote {name}` or `rule rollback {name}` ends that"
        ),
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

/// The broker, told what has to run there.
fn remote(args: &RevisionArgs) -> Result<Remote, CliError> {
    Ok(Remote::new(&args.admin)?.only_if(args.condition.if_match))
}

pub(super) fn promote(args: &RevisionArgs) -> Result<(), CliError> {
    let query = query(args.revision, args.dry_run);
    let info = remote(args)?.post(&path(&args.name, &format!("/promote{query}")))?;
    print(&said(&info, false, args.dry_run));
    absent(&info);
    Ok(())
}

fn query(revision: Option<u64>, is_dry_run: bool) -> String {
    let revision = revision.map(|revision| format!("&revision={revision}"));
    format!("?dry_run={is_dry_run}{}", revision.unwrap_or_default())
}

pub(super) fn rollback(args: &RevisionArgs) -> Result<(), CliError> {
    let (name, query) = (&args.name, query(args.revision, args.dry_run));
    let info = remote(args)?.post(&path(name, &format!("/rollback{query}")))?;
    if info["unchanged"] == Value::Bool(true) {
        let text = format!(
            "{name}: revision {} has that text already, nothing changed",
            info["revision"]
        );
        return Err(CliError::new(Exit::Refused, text));
    }
    print(&said(&info, false, args.dry_run));
    absent(&info);
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
