//! The kind `kafka` against the cluster that librdkafka comes with: keys and partitions, leaders that move, brokers that
//! are away, errors of every sort, and a WitMQ that is killed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, PublishProperties};
use std::collections::BTreeSet;
use witmq_e2e::client::{Client, connect, options};
use witmq_e2e::kafka::{Entry, Got, Guard, Kafka, USER, code};
use witmq_e2e::sinks::{apply, publish, sink, wait_for_sink};
use witmq_e2e::{Broker, certificates};

const CHAIN: &str = "from = \"out/#\"\n[[step]]\nsink = \"far\"\n";
const RETRY: &str = "retry = { first_ms = 20, longest_ms = 100 }\n";

/// A sink file: `more` are its other lines.
fn text(kafka: &Kafka, more: &str) -> String {
    format!(
        "kind = \"kafka\"\nbrokers = {:?}\n{more}\n{RETRY}",
        kafka.places
    )
}

/// What `sink check` says of a file, and whether it is fine.
fn check(broker: &Broker, text: &str, is_fine: bool) -> String {
    let path = broker.folder().join("far.toml");
    std::fs::write(&path, text).unwrap();
    let words = ["sink", "check", path.to_str().unwrap()];
    match is_fine {
        true => broker.ok(&words, ""),
        false => broker.fails(&words, 4),
    }
}

async fn client(broker: &Broker, name: &str) -> Client {
    connect(options(broker.address("tcp"), name)).await.unwrap()
}

async fn say(client: &mut Client, topic: &str, payload: impl Into<Vec<u8>>) {
    let sent = client
        .sender
        .publish(topic, QoS::AtLeastOnce, false, payload.into());
    sent.await.unwrap();
    let is_ack = |packet| matches!(packet, Packet::PubAck(_)).then_some(());
    client.wait(is_ack).await;
}

fn is_idle(broker: &Broker, name: &str) {
    wait_for_sink(broker, name, |sink| {
        sink["queued_messages"] == 0 && sink["state"] == "healthy"
    });
}

/// What came first of each value, in order: some may come twice.
fn first(read: Vec<Got>) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let values = read.into_iter().map(|got| got.value);
    values.filter(|value| seen.insert(value.clone())).collect()
}

fn numbers(end: u64) -> Vec<String> {
    (0..end).map(|number| number.to_string()).collect()
}

#[tokio::test]
async fn a_message_has_its_key_its_headers_and_the_partition_of_its_key() {
    let mut kafka = Kafka::start(3);
    kafka.topic("plant.room", 5);
    for partition in 0..5 {
        kafka.lead("plant.room", partition, partition % 3 + 1);
    }
    let broker = Broker::serve_open("");
    let file = text(
        &kafka,
        "topic = \"plant.{level.0}\"\nstrip = \"out/\"\nkey = \"{level.1}\"\nheaders = { site = \"7-{client}\" }",
    );
    let said = check(&broker, &file, true);
    assert!(said.contains("a cluster of 3 brokers"), "{said}");
    drop(apply(&broker, "far", &file));
    broker.chain("out", CHAIN);
    let mut p = client(&broker, "p").await;
    let properties = PublishProperties {
        content_type: Some("text/plain".to_owned()),
        user_properties: [("a", "1"), ("b", "2"), ("a", "3")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec(),
        ..PublishProperties::default()
    };
    let sent = p.sender.publish_with_properties(
        "out/room/first",
        QoS::AtLeastOnce,
        false,
        "hot",
        properties,
    );
    sent.await.unwrap();
    let is_ack = |packet| matches!(packet, Packet::PubAck(_)).then_some(());
    p.wait(is_ack).await;
    for number in 0..40 {
        say(
            &mut p,
            &format!("out/room/k{}", number % 8),
            number.to_string(),
        )
        .await;
    }
    is_idle(&broker, "far");
    assert_eq!(sink(&broker, "far")["delivered"], 41);

    let place = kafka.partition(5, "first");
    let read = kafka.read("plant.room", place);
    let got = read.iter().find(|got| got.value == "hot").expect("there");
    assert_eq!(got.key.as_deref(), Some("first"));
    let wanted = [
        ("mqtt-topic", "out/room/first"),
        ("content-type", "text/plain"),
        ("site", "7-p"),
        ("a", "1"),
        ("b", "2"),
        ("a", "3"),
    ];
    let wanted = wanted.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(got.headers, wanted);
    assert!(got.time_ms > 1_700_000_000_000, "{got:?}");
    for key in 0..8 {
        let name = format!("k{key}");
        let place = kafka.partition(5, &name);
        let mut read = kafka.read("plant.room", place);
        read.retain(|got| got.key.as_ref() == Some(&name));
        let read: Vec<String> = read.into_iter().map(|got| got.value).collect();
        let wanted = (0..5).map(|round| (round * 8 + key).to_string());
        assert_eq!(read, wanted.collect::<Vec<_>>(), "{name}");
    }
}

#[tokio::test]
async fn a_leader_moves_in_mid_stream() {
    let mut kafka = Kafka::start(3);
    kafka.topic("t", 1);
    kafka.lead("t", 0, 1);
    let broker = Broker::serve_open("");
    let file = text(&kafka, "topic = \"t\"\nbatch = { messages = 7 }");
    drop(apply(&broker, "far", &file));
    broker.chain("out", CHAIN);
    let mut p = client(&broker, "p").await;
    publish(&mut p, "out/a", 0..50).await;
    for round in 1..7_usize {
        kafka.lead("t", 0, round % 3 + 1);
        let start = u64::try_from(round).unwrap() * 50;
        publish(&mut p, "out/a", start..start + 50).await;
    }
    is_idle(&broker, "far");
    assert_eq!(first(kafka.read("t", 0)), numbers(350), "all, in order");
    let fares = sink(&broker, "far");
    assert_eq!(
        (&fares["delivered"], &fares["dead"]),
        (&350.into(), &0.into())
    );
}

#[tokio::test]
async fn brokers_are_away_and_come_back() {
    let mut kafka = Kafka::start(2);
    kafka.topic("t", 2);
    kafka.lead("t", 0, 1);
    kafka.lead("t", 1, 2);
    let broker = Broker::serve_open("");
    let file = text(&kafka, "topic = \"t\"\nkey = \"{level.1}\"");
    drop(apply(&broker, "far", &file));
    broker.chain("out", CHAIN);
    let key = |kafka: &mut Kafka, wanted: usize| {
        let names = (0..).map(|number| format!("k{number}"));
        let mut names = names.skip_while(|name| kafka.partition(2, name) != wanted);
        format!("out/{}", names.next().unwrap())
    };
    let (zero, one) = (key(&mut kafka, 0), key(&mut kafka, 1));
    let mut p = client(&broker, "p").await;
    publish(&mut p, &zero, 0..20).await;
    publish(&mut p, &one, 0..20).await;
    is_idle(&broker, "far");

    // One of two: what is for the other goes on as far as it came first.
    drop(kafka.ask("down 2"));
    publish(&mut p, &zero, 20..40).await;
    publish(&mut p, &one, 20..40).await;
    wait_for_sink(&broker, "far", |sink| sink["state"] == "failing");
    drop(kafka.ask("up 2"));
    is_idle(&broker, "far");

    // Both.
    drop(kafka.ask("down 1"));
    drop(kafka.ask("down 2"));
    publish(&mut p, &zero, 40..60).await;
    publish(&mut p, &one, 40..60).await;
    wait_for_sink(&broker, "far", |sink| {
        let said = sink["last_error"].as_str().unwrap_or_default();
        sink["state"] == "failing" && said.contains("cannot connect to 127.0.0.1:")
    });
    let metrics = broker.metrics();
    for line in [
        "healthy{sink=\"far\",kind=\"kafka\"} 0\n",
        "failed_total{sink=\"far\",kind=\"kafka\"} ",
    ] {
        assert!(metrics.contains(&format!("witmq_sink_{line}")), "{metrics}");
    }
    drop(kafka.ask("up 1"));
    drop(kafka.ask("up 2"));
    is_idle(&broker, "far");
    assert_eq!(first(kafka.read("t", 0)), numbers(60));
    assert_eq!(first(kafka.read("t", 1)), numbers(60));
    assert_eq!(sink(&broker, "far")["dead"], 0);
}

#[tokio::test]
async fn errors_are_tried_again_or_are_dead_letters() {
    let mut kafka = Kafka::start(1);
    kafka.topic("t", 1);
    let broker = Broker::serve_open("");
    let open = r##"{"anonymous":"allow","acl":[{"allow":true,"topics":["#","$dead-letter/#"]}]}"##;
    drop(broker.ok(&["plugin", "config", "auth-file", open], ""));
    drop(apply(&broker, "far", &text(&kafka, "topic = \"t\"")));
    broker.chain("out", CHAIN);
    let mut p = client(&broker, "p").await;
    p.subscribe("$dead-letter/#", QoS::AtLeastOnce).await;
    // More of it than one batch looks for a new leader.
    kafka.fail(&[code::NOT_LEADER; 6]);
    say(&mut p, "out/a", "0").await;
    is_idle(&broker, "far");
    kafka.fail(&[code::TIMED_OUT, code::TIMED_OUT, code::NOT_ALLOWED]);
    say(&mut p, "out/a", "1").await;
    wait_for_sink(&broker, "far", |sink| {
        sink["queued_messages"] == 0 && sink["retried"] == 4
    });

    // A batch of four that is too large is sent in parts, and so is its first half: the first record is the one.
    drop(broker.ok(&["sink", "pause", "far"], ""));
    for payload in ["large", "2", "3", "4"] {
        say(&mut p, "out/a", payload).await;
    }
    kafka.fail(&[code::TOO_LARGE, code::TOO_LARGE, code::TOO_LARGE]);
    drop(broker.ok(&["sink", "resume", "far"], ""));
    let letter = p.message().await;
    assert_eq!(&letter.payload[..], b"large");
    let user = letter.properties.unwrap().user_properties;
    let reason = (
        "reason".to_owned(),
        "the cluster said: MessageTooLarge".to_owned(),
    );
    assert!(user.contains(&reason), "{user:?}");
    is_idle(&broker, "far");
    let values: Vec<String> = kafka
        .read("t", 0)
        .into_iter()
        .map(|got| got.value)
        .collect();
    assert_eq!(values, numbers(5), "each once");
    let fares = sink(&broker, "far");
    assert_eq!(
        (&fares["delivered"], &fares["dead"]),
        (&5.into(), &1.into())
    );
}

#[tokio::test]
async fn a_topic_that_is_missing_waits_or_is_a_dead_letter_as_the_file_says() {
    let mut kafka = Kafka::start(1);
    kafka.topic("t", 3);
    kafka.topic("gone", 1);
    drop(kafka.ask(&format!("lose_topic gone {}", code::UNKNOWN_TOPIC)));
    let broker = Broker::serve_open("");
    let open = r##"{"anonymous":"allow","acl":[{"allow":true,"topics":["#","$dead-letter/#"]}]}"##;
    drop(broker.ok(&["plugin", "config", "auth-file", open], ""));
    let said = check(&broker, &text(&kafka, "topic = \"t\""), true);
    assert!(
        said.contains("1 broker lets this one in; `t` has 3 partitions"),
        "{said}"
    );
    let said = check(&broker, &text(&kafka, "topic = \"gone\""), false);
    assert!(said.contains("there is no topic `gone`: make it"), "{said}");
    drop(kafka.ask("lead t 1 -1"));
    let said = check(&broker, &text(&kafka, "topic = \"t\""), false);
    assert!(
        said.contains("of the 3 partitions of `t` these have no leader: [1]"),
        "{said}"
    );
    let said = check(&broker, &text(&kafka, "topic = \"a b\""), false);
    assert!(
        said.contains("far.toml:3:9: `topic` is no name of a topic"),
        "{said}"
    );

    // What has no key goes to the partitions that have a leader.
    let by_level = "topic = \"{level.1}\"";
    drop(apply(&broker, "far", &text(&kafka, by_level)));
    broker.chain("out", CHAIN);
    let mut p = client(&broker, "p").await;
    p.subscribe("$dead-letter/#", QoS::AtLeastOnce).await;
    for number in 0..6 {
        say(&mut p, "out/t", number.to_string()).await;
        is_idle(&broker, "far");
    }
    let mut all = [0, 2]
        .map(|partition| first(kafka.read("t", partition)))
        .concat();
    all.sort_unstable();
    assert_eq!(all, numbers(6));

    say(&mut p, "out/gone", "6").await;
    wait_for_sink(&broker, "far", |sink| {
        let said = sink["last_error"].as_str().unwrap_or_default();
        sink["state"] == "failing" && said.contains("there is no topic `gone`")
    });
    let buries = format!("{by_level}\nunknown_topic = \"dead-letter\"");
    drop(apply(&broker, "far", &text(&kafka, &buries)));
    let letter = p.message().await;
    assert_eq!(&letter.payload[..], b"6");
    is_idle(&broker, "far");
}

#[tokio::test]
async fn a_broker_that_does_not_answer_is_waited_for_and_nothing_is_lost() {
    let mut kafka = Kafka::start(2);
    kafka.topic("quick", 1);
    kafka.topic("slow", 1);
    kafka.lead("quick", 0, 1);
    kafka.lead("slow", 0, 2);
    let broker = Broker::serve_open("");
    let keys = "topic = \"{level.1}\"\npaused = true\ntimeout_ms = 2000";
    drop(apply(&broker, "far", &text(&kafka, keys)));
    broker.chain("out", CHAIN);
    let mut p = client(&broker, "p").await;
    for number in 0..10 {
        say(&mut p, "out/slow", number.to_string()).await;
        say(&mut p, "out/quick", number.to_string()).await;
    }
    drop(kafka.ask("rtt 2 60000"));
    drop(broker.ok(&["sink", "resume", "far"], ""));
    wait_for_sink(&broker, "far", |sink| sink["state"] == "failing");
    drop(kafka.ask("rtt 2 0"));
    is_idle(&broker, "far");
    assert_eq!(first(kafka.read("slow", 0)), numbers(10));
    assert_eq!(first(kafka.read("quick", 0)), numbers(10));
}

#[tokio::test]
async fn what_was_acknowledged_arrives_though_witmq_was_killed() {
    let mut kafka = Kafka::start(3);
    kafka.topic("t", 1);
    let mut broker = Broker::serve_open("");
    // Slow enough that it is killed in the middle.
    for number in 1..4 {
        drop(kafka.ask(&format!("rtt {number} 50")));
    }
    let file = text(&kafka, "topic = \"t\"\nbatch = { messages = 5 }");
    drop(apply(&broker, "far", &file));
    broker.chain("out", CHAIN);
    for round in 0..3_u64 {
        let mut p = client(&broker, "p").await;
        publish(&mut p, "out/a", round * 200..(round + 1) * 200).await;
        let waits = sink(&broker, "far")["queued_messages"].as_u64();
        assert!(waits > Some(0), "it is in the middle: {waits:?}");
        broker.kill_9_and_start_again();
        kafka.lead("t", 0, usize::try_from(round).unwrap() + 1);
    }
    is_idle(&broker, "far");
    let read = kafka.read("t", 0);
    assert!(read.len() < 700, "most came once: {}", read.len());
    assert_eq!(first(read), numbers(600), "all of them, in order");
    assert_eq!(sink(&broker, "far")["dead"], 0);
}

/// What is shown to those who ask for a certificate.
const SHOWN: &str = "client_cert = { secret = \"cert\" }\nclient_key = { secret = \"key\" }\n";

/// A file for those behind a guard.
fn guarded(guard: &Guard, mechanism: &str) -> String {
    format!(
        "kind = \"kafka\"\nbrokers = {:?}\ntopic = \"t\"\ntls = true\nca = {{ secret = \"ca\" }}\n{SHOWN}\
         sasl = \"{mechanism}\"\nusername = \"{}\"\npassword = {{ secret = \"password\" }}\n{RETRY}",
        guard.places, USER.0
    )
}

/// Who is not trusted, and who is not let in.
fn strangers(broker: &Broker, file: &dyn Fn(&str) -> String) {
    let plain = file("plain");
    let signed = "nobody who is trusted signed its certificate";
    let unknown = "does not know this user with this password";
    for (text, wanted) in [
        (plain.replace("\"ca\" }", "\"other\" }"), signed),
        (
            plain.replace("localhost", "127.0.0.1"),
            "its certificate is for another name",
        ),
        (plain.replace(SHOWN, ""), "localhost:"),
        (plain.replace(USER.0, "nobody"), unknown),
        (
            plain.replace("{ secret = \"password\" }", "\"guess\""),
            unknown,
        ),
        (
            file("scram-sha-256").replace("{ secret = \"password\" }", "\"guess\""),
            unknown,
        ),
        (
            plain.replace("secret = \"key\"", "secret = \"ca\""),
            "`client_key` is no key",
        ),
        (
            plain.replace("secret = \"key\"", "secret = \"lost\""),
            "secret `lost` cannot be read",
        ),
    ] {
        let said = check(broker, &text, false);
        assert!(said.contains(wanted), "{wanted}: {said}");
    }
}

#[tokio::test]
async fn a_cluster_that_is_not_trusted_or_does_not_know_this_user_gets_nothing() {
    let [own, other, clients] = [(); 3].map(|()| tempfile::tempdir().unwrap());
    certificates::make(own.path(), "localhost");
    certificates::make(other.path(), "elsewhere");
    certificates::make(clients.path(), "witmq");
    let mut kafka = Kafka::start(2);
    kafka.topic("t", 4);
    let entry = Entry {
        own: own.path(),
        clients: Some(clients.path()),
        mechanisms: &["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"],
    };
    let guard = Guard::start(&kafka, entry);
    let secret = |folder: &std::path::Path, name: &str| folder.join(name).display().to_string();
    std::fs::write(own.path().join("password"), format!("{}\n", USER.1)).unwrap();
    let broker = Broker::serve_open(&format!(
        "[secrets]\nca = {:?}\nother = {:?}\ncert = {:?}\nkey = {:?}\npassword = {:?}\n",
        secret(own.path(), "ca.pem"),
        secret(other.path(), "ca.pem"),
        secret(clients.path(), "cert.pem"),
        secret(clients.path(), "key.pem"),
        secret(own.path(), "password"),
    ));
    let file = |mechanism: &str| guarded(&guard, mechanism);
    strangers(&broker, &file);
    broker.chain("out", CHAIN);
    let mut p = client(&broker, "p").await;
    let mut sent = 0;
    for mechanism in ["plain", "scram-sha-256", "scram-sha-512"] {
        let said = check(&broker, &file(mechanism), true);
        assert!(
            said.contains("a cluster of 2 brokers lets this one in"),
            "{said}"
        );
        drop(apply(&broker, "far", &file(mechanism)));
        publish(&mut p, "out/a", sent..sent + 10).await;
        sent += 10;
        is_idle(&broker, "far");
    }
    let mut all = [0, 1, 2, 3]
        .map(|partition| first(kafka.read("t", partition)))
        .concat();
    all.sort_unstable_by_key(|number| number.parse::<u64>().unwrap());
    assert_eq!(all, numbers(30));
}
