//! `witmq delayed …`.

use super::args::DelayedCommand;
use super::remote::{Remote, encode};
use super::{CliError, print, table};
use serde_json::Value;

/// Entries asked for at a time.
const PAGE: u64 = 1000;

pub(crate) fn run(command: DelayedCommand) -> Result<(), CliError> {
    match command {
        DelayedCommand::Ls { count, json, admin } => {
            let remote = Remote::new(&admin)?;
            let shown = list(&remote, count)?;
            if json {
                print(&serde_json::to_string_pretty(&shown).unwrap_or_default());
            } else {
                show(&shown);
            }
            Ok(())
        }
        DelayedCommand::Rm { ids, admin } => {
            let remote = Remote::new(&admin)?;
            ids.iter().try_for_each(|id| {
                remote.delete(&format!("delayed/{}", encode(id)))?;
                print(&format!("{id}: taken back"));
                Ok(())
            })
        }
    }
}

/// The first `count` of them, page by page.
fn list(remote: &Remote, count: u64) -> Result<Value, CliError> {
    let mut all = Vec::new();
    let mut after = String::new();
    loop {
        let left = count.saturating_sub(u64::try_from(all.len()).unwrap_or(u64::MAX));
        let limit = left.min(PAGE);
        let mut page = remote.read(&format!("delayed?limit={limit}{after}"))?;
        if let Some(entries) = page["delayed"].as_array_mut() {
            all.append(entries);
        }
        let next = page["next"].as_str().map(str::to_owned);
        match next.filter(|_| left > limit) {
            Some(next) => after = format!("&after={}", encode(&next)),
            None => {
                page["delayed"] = all.into();
                return Ok(page);
            }
        }
    }
}

fn show(page: &Value) {
    let text = |entry: &Value, key: &str| entry[key].as_str().unwrap_or("").to_owned();
    let entries = page["delayed"].as_array().map_or(&[][..], Vec::as_slice);
    let rows: Vec<Vec<String>> = entries
        .iter()
        .map(|entry| {
            vec![
                text(entry, "id"),
                due(entry["due_ms"].as_u64().unwrap_or(0)),
                text(entry, "topic"),
                text(entry, "publisher"),
                entry["qos"].to_string(),
                entry["retain"].to_string(),
                entry["payload_bytes"].to_string(),
            ]
        })
        .collect();
    let headings = [
        "ID",
        "DUE IN",
        "TOPIC",
        "PUBLISHER",
        "QOS",
        "RETAIN",
        "BYTES",
    ];
    table(&headings, &rows);
    let shown = u64::try_from(rows.len()).unwrap_or(u64::MAX);
    let more = page["messages"].as_u64().unwrap_or(0).saturating_sub(shown);
    if more > 0 {
        print(&format!("and {more} more (--count)"));
    }
}

/// How long it is until then, by this machine's clock.
fn due(due_ms: u64) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now_ms = now.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(0));
    let seconds = due_ms.saturating_sub(now_ms).div_ceil(1000);
    let (days, hours) = (seconds / 86_400, seconds / 3_600 % 24);
    let (minutes, seconds) = (seconds / 60 % 60, seconds % 60);
    if days > 0 {
        format!("{days}d {hours:02}:{minutes:02}:{seconds:02}")
    } else {
        format!("{hours:02}:{minutes:02}:{seconds:02}")
    }
}
