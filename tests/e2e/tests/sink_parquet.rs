//! The kind `file` with `format = "parquet"`: read by DuckDB, and a broker that is killed while files become Parquet.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;
use witmq_e2e::client::{Client, connect, options};
use witmq_e2e::sinks::{apply, sink, wait_for_sink};
use witmq_e2e::{Broker, PATIENCE, python, root};

const CHAIN: &str = "from = \"out/#\"\n[[step]]\nsink = \"out\"\n";

/// Files of the sink whose names end so.
fn files(broker: &Broker, end: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(broker.folder().join(".witmq/exports/out"));
    let paths = entries
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> = paths
        .filter(|path| path.to_str().unwrap().ends_with(end))
        .collect();
    paths.sort();
    paths
}

fn wait_for(is_so: impl Fn() -> bool, what: &str) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "{what}");
        std::thread::yield_now();
    }
}

/// What DuckDB reads in all files.
fn read(broker: &Broker) -> Value {
    let mut command = Command::new(python());
    command.arg(root().join("tests/e2e/clients/parquet_read.py"));
    let output = command.args(files(broker, ".parquet")).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "DuckDB reads it: {said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

async fn say(client: &mut Client, payloads: impl Iterator<Item = Vec<u8>>) {
    let mut waiting = 0;
    for payload in payloads {
        let sent = client
            .sender
            .publish("out/a", QoS::AtLeastOnce, false, payload);
        sent.await.unwrap();
        waiting += 1;
    }
    for _ in 0..waiting {
        let is_ack = |packet| matches!(packet, Packet::PubAck(_)).then_some(());
        client.wait(is_ack).await;
    }
}

#[tokio::test]
async fn a_broker_that_is_killed_while_files_become_parquet_loses_and_doubles_nothing() {
    let mut broker = Broker::serve_open("");
    let text = "kind = \"file\"\nformat = \"parquet\"\nrotate_s = 1\n\
        columns = { n = \"integer\", fill = \"text\" }\n";
    drop(apply(&broker, "out", text));
    broker.chain("out", CHAIN);
    let fill = "x".repeat(10_000);
    let mut in_the_middle = 0;
    for round in 0..4 {
        let before = files(&broker, ".parquet").len();
        let mut p = connect(options(broker.address("tcp"), "p")).await.unwrap();
        let payload = |number: u64| {
            json!({ "n": number, "fill": fill })
                .to_string()
                .into_bytes()
        };
        say(&mut p, (round * 400..(round + 1) * 400).map(payload)).await;
        wait_for_sink(&broker, "out", |sink| sink["queued_messages"] == 0);
        let is_finished = || {
            !files(&broker, ".jsonl.wait").is_empty() || files(&broker, ".parquet").len() > before
        };
        wait_for(is_finished, "a file is finished");
        broker.kill_9();
        in_the_middle += files(&broker, ".jsonl.wait").len();
        broker.start_again();
    }
    assert!(in_the_middle > 0, "it was killed in the middle");
    // One look at the folder: a file that gets another name in between must not be missed.
    let is_parquet = |path: &PathBuf| path.extension().is_some_and(|end| end == "parquet");
    let is_over = || files(&broker, "").iter().all(is_parquet);
    wait_for(is_over, "all files are Parquet");
    let rows = read(&broker)["rows"].as_array().unwrap().clone();
    let mut numbers: Vec<u64> = rows.iter().map(|row| row[0].as_u64().unwrap()).collect();
    numbers.sort_unstable();
    assert!(
        numbers.iter().copied().eq(0..1600),
        "{} rows, {:?} to {:?}",
        numbers.len(),
        numbers.first(),
        numbers.last()
    );
    assert!(rows.iter().all(|row| row[1].as_str() == Some(&fill)));
}

/// What DuckDB reads has the columns of the file, and what fits of the messages.
fn has_columns(read: &Value) {
    let kinds: Vec<_> = read["columns"].as_array().unwrap().iter().collect();
    let wanted = [
        json!(["received_ms", "TIMESTAMP WITH TIME ZONE"]),
        json!(["topic", "VARCHAR"]),
        json!(["c", "DOUBLE"]),
        json!(["n", "BIGINT"]),
        json!(["ok", "BOOLEAN"]),
        json!(["more", "JSON"]),
    ];
    assert_eq!(kinds, wanted.iter().collect::<Vec<_>>());
    let rows: Vec<&[Value]> = read["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| &row.as_array().unwrap()[1..])
        .collect();
    let wanted = [
        [
            json!("out/a"),
            json!(1.5),
            json!(20),
            json!(true),
            json!("{\"a\":[1]}"),
        ],
        [
            json!("out/a"),
            json!(2.0),
            json!(null),
            json!(null),
            json!(null),
        ],
    ];
    assert_eq!(rows, [&wanted[0][..], &wanted[1][..]]);
}

#[tokio::test]
async fn columns_have_types_and_what_does_not_fit_is_null_or_a_dead_letter() {
    let broker = Broker::serve_open("");
    let open = r##"{"anonymous":"allow","acl":[{"allow":true,"topics":["#","$dead-letter/#"]}]}"##;
    drop(broker.ok(&["plugin", "config", "auth-file", open], ""));
    let file = broker.folder().join("out.toml");
    let wrong = "kind = \"file\"\nformat = \"parquet\"\n[columns]\nc = \"flaot\"\n";
    std::fs::write(&file, wrong).unwrap();
    let said = broker.fails(&["sink", "check", file.to_str().unwrap()], 4);
    assert!(
        said.contains("out.toml:4:1: `columns.c` is one of text, "),
        "{said}"
    );
    let text = "kind = \"file\"\nformat = \"parquet\"\nrotate_s = 1\n[columns]\n\
        received_ms = { type = \"timestamp\", required = true }\ntopic = \"text\"\n\
        c = { type = \"float\", required = true }\nn = \"integer\"\nok = \"boolean\"\nmore = \"json\"\n";
    drop(apply(&broker, "out", text));
    broker.chain("out", CHAIN);
    let mut p = connect(options(broker.address("tcp"), "p")).await.unwrap();
    p.subscribe("$dead-letter/#", QoS::AtLeastOnce).await;
    let messages = [
        json!({"c": 1.5, "n": 20.0, "ok": true, "more": {"a": [1]}}),
        json!({"c": "hot"}),
        json!({"c": 2, "n": 20.5, "ok": 1}),
    ];
    let payloads = messages.map(|message| message.to_string().into_bytes());
    for payload in payloads {
        let sent = p.sender.publish("out/a", QoS::AtLeastOnce, false, payload);
        sent.await.unwrap();
    }
    let letter = p.message().await;
    assert_eq!(&letter.payload[..], b"{\"c\":\"hot\"}");
    let user = letter.properties.unwrap().user_properties;
    let reason = "the column `c` is required, and \"hot\" is no float for it";
    assert!(
        user.contains(&("reason".to_owned(), reason.to_owned())),
        "{user:?}"
    );
    wait_for_sink(&broker, "out", |sink| {
        sink["delivered"] == 2 && sink["dead"] == 1
    });
    wait_for(
        || files(&broker, "").len() == 1 && files(&broker, ".parquet").len() == 1,
        "the file became Parquet, and nothing else is left",
    );
    has_columns(&read(&broker));
    assert_eq!(sink(&broker, "out")["state"], "healthy");

    // JSON Lines again: what was not Parquet yet stays as it is.
    drop(apply(&broker, "out", "kind = \"file\"\nrotate_s = 1\n"));
    let mut q = connect(options(broker.address("tcp"), "q")).await.unwrap();
    say(&mut q, std::iter::once(b"1".to_vec())).await;
    wait_for(|| !files(&broker, ".jsonl").is_empty(), "a file of lines");
}
