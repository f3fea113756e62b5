//! What is shown of deployed chains. Must not: change anything.

use super::path;
use crate::cli::look::moment;
use crate::cli::plugin::{items, text};
use crate::cli::remote::Remote;
use crate::cli::{CliError, print, table};
use serde_json::Value;

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
    let rows: Vec<Vec<String>> = items(&list).map(row).collect();
    table(&columns.map(|(head, _)| head), &rows);
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
