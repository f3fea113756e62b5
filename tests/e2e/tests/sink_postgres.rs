//! The kind `postgres` against a real one: rows by the examples' recipe, what it refuses, and a crash in mid-stream.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use std::path::Path;
use witmq_e2e::Broker;
use witmq_e2e::client::{connect, options};
use witmq_e2e::postgres::{PASSWORD, Postgres};
use witmq_e2e::sinks::{apply, publish, sink, wait_for_sink};

/// A broker that knows the password and the authority, and the folder with certificates.
fn start() -> (Broker, Postgres, tempfile::TempDir) {
    let maker = Broker::dev(&["--no-demo"]);
    let certificates = maker.folder().join(".witmq");
    let postgres = Postgres::start(&certificates);
    let secrets = tempfile::tempdir().unwrap();
    std::fs::copy(certificates.join("ca.pem"), secrets.path().join("ca")).unwrap();
    std::fs::write(secrets.path().join("password"), PASSWORD).unwrap();
    let place = |name: &str| secrets.path().join(name);
    let broker = Broker::serve_open(&format!(
        "[secrets]\nhistory-password = {:?}\nhistory-ca = {:?}\n",
        place("password"),
        place("ca")
    ));
    (broker, postgres, secrets)
}

fn example(folder: &str) -> String {
    let path = witmq_e2e::root().join("examples").join(folder);
    std::fs::read_to_string(Path::new(&path)).unwrap()
}

/// The example of the sink, for this server.
fn history(postgres: &Postgres) -> String {
    let text = example("sinks/history.toml");
    assert!(text.contains("port = 5432\n"), "{text}");
    let text = text.replace("port = 5432\n", &format!("port = {}\n", postgres.port));
    let text = text.replace("first_ms = 500", "first_ms = 20");
    text.replace("longest_ms = 60000", "longest_ms = 100")
}

/// The statement in the comment of the example.
fn table() -> String {
    let text = example("sinks/history.toml");
    let lines = text.lines().filter_map(|line| line.strip_prefix("#   "));
    lines.collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn every_reading_becomes_a_row_whoever_crashes() {
    let (mut broker, mut postgres, _secrets) = start();
    let text = history(&postgres);
    let path = broker.folder().join("history.toml");
    std::fs::write(&path, &text).unwrap();
    let said = broker.fails(&["sink", "check", path.to_str().unwrap()], 4);
    assert!(
        said.contains("\"readings\" does not exist (42P01)"),
        "{said}"
    );
    drop(postgres.ask(&table()));
    let said = broker.ok(&["sink", "check", path.to_str().unwrap()], "");
    assert!(said.contains("knows the statement"), "{said}");
    drop(apply(&broker, "history", &text));
    broker.chain("postgres-history", &example("chains/postgres-history.toml"));

    let mut client = connect(options(broker.address("tcp"), "p")).await.unwrap();
    publish(&mut client, "demo/room/7/temp", 0..200).await;
    postgres.crash();
    publish(&mut client, "demo/room/7/temp", 200..300).await;
    wait_for_sink(&broker, "history", |sink| sink["state"] == "failing");
    broker.kill_9_and_start_again();
    postgres.start_again();
    let mut client = connect(options(broker.address("tcp"), "p")).await.unwrap();
    publish(&mut client, "demo/room/7/temp", 300..400).await;
    wait_for_sink(&broker, "history", |sink| {
        sink["queued_messages"] == 0 && sink["state"] == "healthy"
    });
    let rows =
        postgres.ask("SELECT count(DISTINCT c), min(c), max(c) FROM readings WHERE room = '7'");
    assert_eq!(rows, "400|0|399");
    let times = postgres.ask("SELECT count(*) FROM readings WHERE at > now() - interval '1 hour'");
    assert!(times.parse::<u32>().unwrap() >= 400, "{times}");
}

/// A sink into the table `numbers`.
fn numbers(postgres: &Postgres) -> String {
    format!(
        "kind = \"postgres\"\nhost = \"localhost\"\nport = {}\nuser = \"witmq\"\ndatabase = \"postgres\"\n\
         password = {{ secret = \"history-password\" }}\ntls = true\nca = {{ secret = \"history-ca\" }}\n\
         insert = \"INSERT INTO numbers (n, raw) VALUES ($1, $2)\"\nvalues = [\"payload.n\", \"payload.text\"]\n\
         retry = {{ first_ms = 20, longest_ms = 100 }}\n",
        postgres.port
    )
}

#[tokio::test]
async fn a_row_that_is_refused_is_a_dead_letter_and_the_others_are_kept() {
    let (broker, postgres, _secrets) = start();
    let open = r##"{"anonymous":"allow","acl":[{"allow":true,"topics":["#","$dead-letter/#"]}]}"##;
    drop(broker.ok(&["plugin", "config", "auth-file", open], ""));
    drop(postgres.ask("CREATE TABLE numbers (n integer CHECK (n <> 3), raw text)"));
    let text = format!("{}paused = true\n", numbers(&postgres));
    drop(apply(&broker, "numbers", &text));
    broker.chain("numbers", "from = \"n\"\n[[step]]\nsink = \"numbers\"\n");
    let mut client = connect(options(broker.address("tcp"), "p")).await.unwrap();
    client.subscribe("$dead-letter/#", QoS::AtLeastOnce).await;
    let injection = "'); DROP TABLE numbers; --";
    for payload in [
        format!("{{\"n\": 1, \"text\": \"{injection}\"}}"),
        "{\"n\": 2.5}".to_owned(),
        "{\"n\": 3}".to_owned(),
        "{\"n\": 4}".to_owned(),
        "{\"n\": 5, \"text\": \"\\u0000\"}".to_owned(),
        "no json".to_owned(),
    ] {
        let sent = client.sender.publish("n", QoS::AtLeastOnce, false, payload);
        sent.await.unwrap();
    }
    for _ in 0..6 {
        let is_ack = |packet| matches!(packet, Packet::PubAck(_)).then_some(());
        client.wait(is_ack).await;
    }
    wait_for_sink(&broker, "numbers", |sink| sink["queued_messages"] == 6);
    drop(broker.ok(&["sink", "resume", "numbers"], ""));
    wait_for_sink(&broker, "numbers", |sink| sink["queued_messages"] == 0);
    let fares = sink(&broker, "numbers");
    assert_eq!(
        (&fares["dead"], &fares["delivered"]),
        (&3.into(), &3.into())
    );
    let rows = postgres.ask("SELECT coalesce(n::text, '-'), coalesce(raw, '-') FROM numbers");
    assert_eq!(rows, format!("1|{injection}\n4|-\n-|-"));
    for wanted in ["is a int4, and 2.5 is none", "(23514)", "(22021)"] {
        let letter = client.message().await;
        let user = letter.properties.unwrap().user_properties;
        let is_said = |(name, value): &(String, String)| name == "reason" && value.contains(wanted);
        assert!(user.iter().any(is_said), "{wanted}: {user:?}");
    }
}

#[tokio::test]
async fn a_batch_is_one_transaction_and_waits_for_its_table() {
    let (broker, postgres, _secrets) = start();
    drop(postgres.ask("CREATE TABLE numbers (n integer, raw text)"));
    let text = numbers(&postgres).replace("payload.n", "payload");
    drop(apply(&broker, "numbers", &format!("{text}paused = true\n")));
    broker.chain("numbers", "from = \"n\"\n[[step]]\nsink = \"numbers\"\n");
    let mut client = connect(options(broker.address("tcp"), "p")).await.unwrap();
    publish(&mut client, "n", 0..50).await;
    wait_for_sink(&broker, "numbers", |sink| sink["queued_messages"] == 50);
    drop(broker.ok(&["sink", "resume", "numbers"], ""));
    wait_for_sink(&broker, "numbers", |sink| sink["queued_messages"] == 0);
    let seen = postgres.ask("SELECT count(*), count(DISTINCT xmin::text) FROM numbers");
    assert_eq!(seen, "50|1");

    drop(postgres.ask("ALTER TABLE numbers RENAME TO away"));
    publish(&mut client, "n", 50..60).await;
    wait_for_sink(&broker, "numbers", |sink| {
        let error = sink["last_error"].as_str().unwrap_or_default();
        sink["state"] == "failing" && error.contains("(42P01)")
    });
    drop(postgres.ask("ALTER TABLE away RENAME TO numbers"));
    wait_for_sink(&broker, "numbers", |sink| {
        sink["queued_messages"] == 0 && sink["state"] == "healthy"
    });
    assert_eq!(sink(&broker, "numbers")["dead"], 0);
    let seen = postgres.ask("SELECT count(*), count(DISTINCT n), max(n) FROM numbers");
    assert_eq!(seen, "60|60|59");
}

#[test]
fn a_server_that_is_not_trusted_or_that_wants_tls_gets_nothing() {
    let (broker, postgres, _secrets) = start();
    let text = numbers(&postgres);
    let ca = "ca = { secret = \"history-ca\" }\n";
    let path = broker.folder().join("numbers.toml");
    for (text, wanted) in [
        (text.replace(ca, ""), "certificate"),
        (
            text.replace(&format!("tls = true\n{ca}"), ""),
            "no encryption (28000)",
        ),
        (text.replace("\"witmq\"", "\"nobody\""), "(28000)"),
        (text.replace("history-password", "history-ca"), "(28P01)"),
    ] {
        std::fs::write(&path, text).unwrap();
        let said = broker.fails(&["sink", "check", path.to_str().unwrap()], 4);
        assert!(said.contains(wanted), "{wanted}: {said}");
    }
}
