//! Numbers of a chain's steps, and how they lead to one another. Must not: change anything.

use super::path;
use crate::cli::look::moment;
use crate::cli::plugin::{items, text};
use crate::cli::remote::Remote;
use crate::cli::{CliError, print, table};
use serde_json::{Value, json};

pub(super) fn stats(name: &str, remote: &Remote) -> Result<(), CliError> {
    let info = remote.read(&path(name, ""))?;
    let numbers = ["matched", "filtered", "failed", "limited"];
    let numbers = numbers.map(|key| format!("{key} {}", info[key]));
    let revision = &info["revision"];
    print(&format!(
        "{name}: revision {revision}; {}",
        numbers.join(", ")
    ));
    if let Some(why) = info["resting"]["why"].as_str() {
        let until = moment(&info["resting"]["until_ms"]);
        print(&format!("   rests until {until}: {why}"));
    }
    if info["rests"].as_u64() > Some(0) {
        let (rests, rested) = (&info["rests"], &info["rested"]);
        print(&format!(
            "   rested {rests} times, {rested} messages came meanwhile"
        ));
    }
    steps_of(&info);
    let trial = &info["trial"];
    if trial.is_null() {
        return Ok(());
    }
    let own = &trial["rule"];
    let numbers = ["matched", "filtered", "failed", "limited"];
    let numbers = numbers.map(|key| format!("{key} {}", own[key])).join(", ");
    let what = match trial["percent"].as_f64() {
        Some(percent) => format!("canary, {percent}% of the clients"),
        None => format!(
            "shadow, same {}, different {}, failed alone {}",
            trial["same"], trial["different"], trial["failed_alone"]
        ),
    };
    print(&format!(
        "{name}: revision {}; {what}; {numbers}",
        own["revision"]
    ));
    if let Some(why) = own["resting"]["why"].as_str() {
        let until = moment(&own["resting"]["until_ms"]);
        print(&format!("   rests until {until}: {why}"));
    }
    steps_of(own);
    items(&trial["differences"]).for_each(|line| print(&format!("   {}", text(line))));
    Ok(())
}

/// A line for each step.
fn steps_of(info: &Value) {
    let micros = |value: &Value| format!("{:.1}", value.as_f64().unwrap_or(0.0));
    let rows: Vec<Vec<String>> = items(&info["steps"])
        .map(|step| {
            let errors = step["errors"].as_object().into_iter().flatten();
            let errors: Vec<String> = errors
                .map(|(kind, count)| format!("{kind} {count}"))
                .collect();
            vec![
                text(&step["index"]),
                label(step),
                text(&step["passed"]),
                text(&step["ended"]),
                text(&step["failed"]),
                micros(&step["p50_us"]),
                micros(&step["p99_us"]),
                errors.join("; "),
            ]
        })
        .collect();
    let head = [
        "STEP", "WHAT", "PASSED", "ENDED", "FAILED", "P50 µs", "P99 µs", "ERRORS",
    ];
    table(&head, &rows);
}

/// A step in a word or two.
fn label(step: &Value) -> String {
    let kind = text(&step["kind"]);
    let kind = match step["plugin"].as_str() {
        Some(plugin) => format!("{kind} {plugin}"),
        None => kind,
    };
    match step["chain"].as_str() {
        Some(chain) => format!("{kind} ({chain})"),
        None => kind,
    }
}

pub(super) fn graph(name: &str, json: bool, remote: &Remote) -> Result<(), CliError> {
    let info = remote.read(&path(name, ""))?;
    if json {
        print(&serde_json::to_string_pretty(&nodes_and_edges(&info)).unwrap_or_default());
    } else {
        drawn(&info).iter().for_each(|line| print(line));
    }
    Ok(())
}

/// Steps, and which leads to which: `end` is behind the last.
fn nodes_and_edges(info: &Value) -> Value {
    let mut edges = vec![json!({ "from": "from", "to": 1 })];
    for step in items(&info["steps"]) {
        if !step["then"].is_null() {
            edges.push(json!({ "from": step["index"], "to": step["then"], "when": true }));
        }
        let next = match &step["next"] {
            Value::Null => json!("end"),
            next => next.clone(),
        };
        edges.push(json!({ "from": step["index"], "to": next }));
    }
    let nodes = items(&info["steps"]).map(|step| {
        json!({
            "step": step["index"], "kind": step["kind"], "plugin": step["plugin"], "chain": step["chain"],
            "passed": step["passed"], "ended": step["ended"], "failed": step["failed"],
        })
    });
    json!({ "from": info["from"], "nodes": nodes.collect::<Vec<_>>(), "edges": edges })
}

/// One line for each step, with where it leads if that is not the next line.
fn drawn(info: &Value) -> Vec<String> {
    let mut lines = vec![format!("from {}", text(&info["from"]))];
    for step in items(&info["steps"]) {
        let mut line = format!("{:>3}  {}", text(&step["index"]), label(step));
        if let Some(then) = step["then"].as_u64() {
            line.push_str(&format!("  true -> {then}"));
        }
        let behind = step["index"].as_u64().map(|index| index + 1);
        match step["next"].as_u64() {
            None => line.push_str("  -> end"),
            next if next != behind => {
                line.push_str(&format!("  -> {}", text(&step["next"])));
            }
            _ => {}
        }
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_graph_has_an_edge_for_each_way() {
        let info = json!({ "from": "a/{b}", "steps": [
            { "index": 1, "kind": "when", "then": 3, "next": 2, "chain": null },
            { "index": 2, "kind": "sink", "plugin": "store", "next": null },
            { "index": 3, "kind": "publish", "chain": "page", "next": null },
        ] });
        let expected = [
            "from a/{b}",
            "  1  when  true -> 3",
            "  2  sink store  -> end",
            "  3  publish (page)  -> end",
        ];
        assert_eq!(drawn(&info), expected);
        let graph = nodes_and_edges(&info);
        let edges: Vec<(String, String)> = items(&graph["edges"])
            .map(|edge| (text(&edge["from"]), text(&edge["to"])))
            .collect();
        let expected = [
            ("from", "1"),
            ("1", "3"),
            ("1", "2"),
            ("2", "end"),
            ("3", "end"),
        ];
        let expected = expected.map(|(from, to)| (from.to_owned(), to.to_owned()));
        assert_eq!(edges, expected);
        assert_eq!(items(&graph["nodes"]).count(), 3);
    }
}
