//! What is shown of deployed chains. Must not: change anything.

use super::path;
use crate::cli::look::moment;
use crate::cli::plugin::{items, text};
use crate::cli::remote::Remote;
use crate::cli::{CliError, print, table};
use serde_json::Value;
use std::time::{Duration, Instant};
use witmq_rules::{Miss, Tapped};

/// How often new traces are asked for.
const TAP_PAUSE: Duration = Duration::from_millis(500);

fn pretty(value: &Value) {
    print(&serde_json::to_string_pretty(value).unwrap_or_default());
}

pub(super) fn ls(json: bool, remote: &Remote) -> Result<(), CliError> {
    let list = remote.read("rules")?;
    if json {
        pretty(&list);
        return Ok(());
    }
    let columns = [
        ("NAME", "name"),
        ("MODE", "mode"),
        ("FROM", "from"),
        ("ORDER", "order"),
        ("REVISION", "revision"),
        ("STATE", "state"),
        ("MATCHED", "matched"),
        ("FILTERED", "filtered"),
        ("FAILED", "failed"),
        ("LAST ERROR", "last_error"),
    ];
    let row = |rule: &Value| {
        let cells = columns.iter().map(|(_, key)| match &rule[key] {
            Value::Null => String::new(),
            value => text(value),
        });
        cells.collect::<Vec<String>>()
    };
    let trial = |rule: &Value| {
        let trial = &rule["trial"];
        let revision = text(&trial["rule"]["revision"]);
        match (trial.is_null(), trial["percent"].as_f64()) {
            (true, _) => String::new(),
            (_, Some(percent)) => format!("{revision}: canary {percent}%"),
            (_, None) => format!("{revision}: shadow"),
        }
    };
    let rows = items(&list).map(|rule| {
        let mut cells = row(rule);
        cells.insert(cells.len() - 1, trial(rule));
        cells
    });
    let rows: Vec<Vec<String>> = rows.collect();
    let mut heads: Vec<&str> = columns.iter().map(|(head, _)| *head).collect();
    heads.insert(heads.len() - 1, "TRIAL");
    table(&heads, &rows);
    Ok(())
}

pub(super) fn get(
    name: &str,
    revision: Option<u64>,
    json: bool,
    remote: &Remote,
) -> Result<(), CliError> {
    if json {
        pretty(&remote.read(&path(name, ""))?);
        return Ok(());
    }
    let query = revision.map_or_else(String::new, |revision| format!("?revision={revision}"));
    let source = remote.read_text(&path(name, &format!("/source{query}")))?;
    print(source.trim_end_matches('\n'));
    Ok(())
}

pub(super) fn history(name: &str, remote: &Remote) -> Result<(), CliError> {
    let list = remote.read(&path(name, "/history"))?;
    let rows: Vec<Vec<String>> = items(&list)
        .map(|change| {
            let kept = change["kept"] == Value::Bool(true);
            vec![
                moment(&change["at_ms"]),
                text(&change["what"]),
                text(&change["revision"]),
                if kept { "yes" } else { "no" }.to_owned(),
                text(&change["text"]),
            ]
        })
        .collect();
    table(&["WHEN (UTC)", "WHAT", "REVISION", "KEPT", "WHY"], &rows);
    Ok(())
}

/// An answer that this version did not understand.
fn unknown(error: serde_json::Error) -> CliError {
    CliError::failed(format!(
        "the broker's answer is of another version: {error}"
    ))
}

pub(super) fn tap(name: &str, time: Duration, json: bool, remote: &Remote) -> Result<(), CliError> {
    let end = Instant::now() + time;
    let mut after = String::new();
    let mut skipped = None;
    loop {
        let tapped = remote.read(&path(name, &format!("/tap{after}")))?;
        let tapped: Tapped = serde_json::from_value(tapped).map_err(unknown)?;
        after = format!("?after={}", tapped.last);
        for trace in &tapped.traces {
            if json {
                print(&serde_json::to_string(trace).unwrap_or_default());
                continue;
            }
            let (at, client) = (moment(&trace.at_ms.into()), &trace.client);
            print(&format!("{at} {client} {} {}", trace.topic, trace.payload));
            print(&trace.to_string());
        }
        let began = *skipped.get_or_insert((tapped.shown, tapped.skipped));
        if Instant::now() >= end {
            let (shown, skipped) = (tapped.shown - began.0, tapped.skipped - began.1);
            eprintln!("{shown} shown, {skipped} skipped");
            return Ok(());
        }
        std::thread::sleep(TAP_PAUSE);
    }
}

pub(super) fn why(name: &str, json: bool, remote: &Remote) -> Result<(), CliError> {
    let misses = remote.read(&path(name, "/misses"))?;
    if json {
        pretty(&misses);
        return Ok(());
    }
    let misses: Vec<Miss> = serde_json::from_value(misses).map_err(unknown)?;
    let info = remote.read(&path(name, ""))?;
    for difference in items(&info["trial"]["differences"]) {
        print(&format!("shadow: {}", text(difference)));
    }
    if misses.is_empty() {
        print("no condition of it was false lately");
    }
    for miss in &misses {
        let (at, client) = (moment(&miss.at_ms.into()), &miss.client);
        print(&format!("{at} {client} {} {}", miss.topic, miss.payload));
        print(&format!("   {}", miss.why));
        if let Some(part) = &miss.why.first_false {
            print(&format!("   false: {part}"));
        }
    }
    Ok(())
}
