//! The kind `nats` against a real one: streams and plain subjects, both ways, servers and brokers that are killed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, PublishProperties};
use serde_json::json;
use std::collections::BTreeSet;
use witmq_e2e::client::{Client, connect, options};
use witmq_e2e::nats::{Nats, NatsServer};
use witmq_e2e::nkeys;
use witmq_e2e::sinks::{apply, publish, sink, wait_for_sink};
use witmq_e2e::{Broker, PATIENCE, certificates};

const CHAIN: &str = "from = \"out/#\"\n[[step]]\nsink = \"far\"\n";
const RETRY: &str = "retry = { first_ms = 20, longest_ms = 100 }\n";

/// A sink file: `more` are its other lines.
fn text(server: &NatsServer, more: &str) -> String {
    format!(
        "kind = \"nats\"\nurl = \"nats://{}\"\n{more}\n{RETRY}",
        server.address
    )
}

/// What `sink check` says of a file, which is refused.
fn refused(broker: &Broker, text: &str) -> String {
    let path = broker.folder().join("far.toml");
    std::fs::write(&path, text).unwrap();
    broker.fails(&["sink", "check", path.to_str().unwrap()], 4)
}

/// What `sink check` says of a file that is fine.
fn checked(broker: &Broker, text: &str) -> String {
    let path = broker.folder().join("far.toml");
    std::fs::write(&path, text).unwrap();
    broker.ok(&["sink", "check", path.to_str().unwrap()], "")
}

/// Everything in a stream: payloads in order.
fn stream(client: &mut Nats, name: &str) -> Vec<String> {
    let last = client.ask(&format!("STREAM.INFO.{name}"), &json!({}))["state"]["last_seq"]
        .as_u64()
        .unwrap();
    let kept = (1..=last).map(|number| {
        let said = client.ask(&format!("STREAM.MSG.GET.{name}"), &json!({ "seq": number }));
        let bytes = STANDARD.decode(said["message"]["data"].as_str().unwrap());
        String::from_utf8(bytes.unwrap()).unwrap()
    });
    kept.collect()
}

/// Waits until all of these numbers came; some may come twice.
async fn all(client: &mut Client, end: u64) {
    let mut missing: BTreeSet<String> = (0..end).map(|number| number.to_string()).collect();
    while !missing.is_empty() {
        let text = client.text().await;
        missing.remove(&text);
    }
}

#[tokio::test]
async fn a_stream_has_every_message_whoever_is_killed() {
    let mut server = NatsServer::with_streams("");
    let mut broker = Broker::serve_open("");
    let file = text(
        &server,
        "out = { subject = \"mqtt.{topic}\", strip = \"out/\", jetstream = true }",
    );
    let said = refused(&broker, &file);
    assert!(said.contains("there is no stream for `mqtt.>`"), "{said}");
    let made = json!({ "name": "MQTT", "subjects": ["mqtt.>"], "storage": "file" });
    drop(server.client().ask("STREAM.CREATE.MQTT", &made));
    let said = checked(&broker, &file);
    assert!(said.contains("`mqtt.>` goes to MQTT"), "{said}");
    drop(apply(&broker, "far", &file));
    broker.chain("out", CHAIN);

    let mut client = connect(options(broker.address("tcp"), "p")).await.unwrap();
    publish(&mut client, "out/a", 0..200).await;
    server.kill_9();
    publish(&mut client, "out/a", 200..300).await;
    wait_for_sink(&broker, "far", |sink| sink["state"] == "failing");
    broker.kill_9_and_start_again();
    server.start_again();
    let mut client = connect(options(broker.address("tcp"), "p")).await.unwrap();
    publish(&mut client, "out/a", 300..400).await;
    wait_for_sink(&broker, "far", |sink| {
        sink["queued_messages"] == 0 && sink["state"] == "healthy"
    });
    assert_eq!(sink(&broker, "far")["dead"], 0);
    let mut seen = BTreeSet::new();
    let mut first = stream(&mut server.client(), "MQTT");
    first.retain(|number| seen.insert(number.clone()));
    let wanted: Vec<String> = (0..400).map(|number| number.to_string()).collect();
    assert_eq!(first, wanted, "all of them, in order");
}

#[tokio::test]
async fn what_waited_for_a_server_arrives_with_its_properties() {
    let mut server = NatsServer::start("");
    let broker = Broker::serve_open("");
    let file = text(&server, "out = { subject = \"{level.1}.{client}\" }");
    let said = checked(&broker, &file);
    assert!(said.contains("lets this broker in"), "{said}");
    drop(apply(&broker, "far", &file));
    broker.chain("out", CHAIN);
    let mut there = server.client();
    there.subscribe(">");
    let mut client = connect(options(broker.address("tcp"), "p.1"))
        .await
        .unwrap();
    let properties = PublishProperties {
        content_type: Some("text/plain".to_owned()),
        user_properties: vec![
            ("site".to_owned(), "7".to_owned()),
            ("Nats-Rollup".to_owned(), "all".to_owned()),
        ],
        ..PublishProperties::default()
    };
    let sent = client.sender.publish_with_properties(
        "out/a b",
        QoS::AtLeastOnce,
        false,
        "first",
        properties,
    );
    sent.await.unwrap();
    let is_ack = |packet| matches!(packet, Packet::PubAck(_)).then_some(());
    client.wait(is_ack).await;
    let got = there.message();
    assert_eq!((&*got.subject, &*got.payload), ("a%20b.p%2E1", "first"));
    let headers = "Mqtt-Topic: out/a b\r\nContent-Type: text/plain\r\nsite: 7\r\nwitmq-via: ";
    assert!(got.headers.starts_with(headers), "{got:?}");

    server.kill_9();
    publish(&mut client, "out/a", 0..100).await;
    wait_for_sink(&broker, "far", |sink| sink["state"] == "failing");
    drop(broker.ok(&["sink", "pause", "far"], ""));
    server.start_again();
    let mut there = server.client();
    there.subscribe("a.>");
    drop(broker.ok(&["sink", "resume", "far"], ""));
    for number in 0..100 {
        assert_eq!(there.message().payload, number.to_string());
    }
    wait_for_sink(&broker, "far", |sink| {
        sink["state"] == "healthy" && sink["delivered"] == 101
    });
}

#[tokio::test]
async fn what_the_server_cannot_take_is_a_dead_letter_and_what_it_denies_waits() {
    let server = NatsServer::start(
        "max_payload: 2000\nauthorization { users = [ { user: a, password: secret,\n\
         permissions: { publish: { deny: \"closed.>\" } } }, { user: all, password: all } ] }\n",
    );
    let broker = Broker::serve_open("");
    let open = r##"{"anonymous":"allow","acl":[{"allow":true,"topics":["#","$dead-letter/#"]}]}"##;
    drop(broker.ok(&["plugin", "config", "auth-file", open], ""));
    let file = text(&server, "out = { subject = \"{topic}\", strip = \"out/\" }");
    let said = refused(&broker, &file);
    assert!(said.contains("Authorization Violation"), "{said}");
    let file = format!("username = \"a\"\npassword = \"secret\"\n{file}");
    drop(apply(&broker, "far", &format!("paused = true\n{file}")));
    broker.chain("out", CHAIN);
    let mut there = Nats::connect(server.address, r#"{"user":"all","pass":"all"}"#);
    there.subscribe(">");
    let mut client = connect(options(broker.address("tcp"), "p")).await.unwrap();
    client.subscribe("$dead-letter/#", QoS::AtLeastOnce).await;
    let large = "x".repeat(2000);
    for (topic, payload) in [
        ("out/a", "1"),
        ("out/a", &large),
        ("out/closed/x", "2"),
        ("out/a", "3"),
    ] {
        let sent = client
            .sender
            .publish(topic, QoS::AtLeastOnce, false, payload.to_owned());
        sent.await.unwrap();
        let is_ack = |packet| matches!(packet, Packet::PubAck(_)).then_some(());
        client.wait(is_ack).await;
    }
    wait_for_sink(&broker, "far", |sink| sink["queued_messages"] == 4);
    drop(broker.ok(&["sink", "resume", "far"], ""));
    let letter = client.message().await;
    let user = letter.properties.unwrap().user_properties;
    let is_said = |(name, value): &(String, String)| {
        name == "reason" && value.contains("the server takes 2000")
    };
    assert!(user.iter().any(is_said), "{user:?}");
    wait_for_sink(&broker, "far", |sink| {
        let said = sink["last_error"].as_str().unwrap_or_default();
        sink["state"] == "failing" && said.contains("Permissions Violation")
    });
    let fares = sink(&broker, "far");
    assert_eq!(
        (&fares["queued_messages"], &fares["dead"]),
        (&2.into(), &1.into())
    );
    // The operator mends it: another user.
    let mended = file
        .replace("\"a\"", "\"all\"")
        .replace("\"secret\"", "\"all\"");
    drop(apply(&broker, "far", &mended));
    wait_for_sink(&broker, "far", |sink| {
        sink["state"] == "healthy" && sink["queued_messages"] == 0
    });
    let mut seen = Vec::new();
    while seen.len() < 3 {
        let got = there.message().payload;
        if !seen.contains(&got) {
            seen.push(got);
        }
    }
    seen.sort_unstable();
    assert_eq!(seen, ["1", "2", "3"]);
}

#[tokio::test]
async fn what_comes_from_subjects_has_topics_and_runs_in_no_circle() {
    let mut server = NatsServer::start("");
    let broker = Broker::serve_open("");
    let both = "out = { subject = \"{topic}\" }\n\
        in = { subjects = [\"out.>\", \"far.*\"], queue = \"g\", strip = \"far/\", add = \"near/\" }";
    drop(apply(&broker, "far", &text(&server, both)));
    broker.chain("out", CHAIN);
    wait_for_sink(&broker, "far", |sink| sink["state"] == "healthy");
    let mut here = connect(options(broker.address("tcp"), "here"))
        .await
        .unwrap();
    here.subscribe("near/#", QoS::AtLeastOnce).await;
    let mut there = server.client();
    there.publish("far.a", "Content-Type: text/plain\r\nsite: 7\r\n", "hello");
    let message = here.message().await;
    assert_eq!(&message.topic[..], b"near/a");
    let properties = message.properties.unwrap();
    assert_eq!(properties.content_type.as_deref(), Some("text/plain"));
    assert_eq!(
        properties.user_properties[0],
        ("site".to_owned(), "7".to_owned())
    );

    // What goes out is what comes in: once.
    publish(&mut here, "out/x", 0..50).await;
    wait_for_sink(&broker, "far", |sink| {
        sink["delivered"] == 50 && sink["looped"] == 50 && sink["received"] == 1
    });
    let metrics = broker.metrics();
    for line in [
        "received_total{sink=\"far\",kind=\"nats\"} 1\n",
        "looped_total{sink=\"far\",kind=\"nats\"} 50\n",
    ] {
        assert!(metrics.contains(&format!("witmq_sink_{line}")), "{metrics}");
    }

    server.kill_9();
    wait_for_sink(&broker, "far", |sink| sink["state"] == "failing");
    server.start_again();
    wait_for_sink(&broker, "far", |sink| sink["state"] == "healthy");
    server.client().publish("far.b", "", "again");
    assert_eq!(here.text().await, "again");
}

/// Messages that came from there so far.
fn received(broker: &Broker) -> u64 {
    sink(broker, "far")["received"].as_u64().unwrap()
}

/// Two servers that know nothing of each other: whichever is there is spoken to, both ways.
#[tokio::test]
async fn of_several_servers_one_that_is_there_is_used() {
    let mut servers = [NatsServer::start(""), NatsServer::start("")];
    let broker = Broker::serve_open("");
    let both = "out = { subject = \"there.{topic}\" }\nin = { subjects = [\"here.>\"] }";
    let [one, two] = [0, 1].map(|at: usize| servers[at].address);
    let file = format!("kind = \"nats\"\nurl = \"nats://{one},nats://{two}\"\n{both}\n{RETRY}");
    servers[0].kill_9();
    let said = checked(&broker, &file);
    assert!(said.contains(&format!("{two} (NATS ")), "{said}");
    drop(apply(&broker, "far", &file));
    broker.chain("out", CHAIN);
    let mut client = connect(options(broker.address("tcp"), "c")).await.unwrap();
    client.subscribe("here/#", QoS::AtLeastOnce).await;
    for (sent, there) in [(0_u64, 1), (10, 0), (20, 1)] {
        // The other one comes first: it is there before the one that is used goes.
        servers[there].start_again_if_gone();
        let away = 1 - there;
        servers[away].kill_9();
        let mut witness = servers[there].client();
        witness.subscribe("there.>");
        witness.flush();
        publish(&mut client, "out/a", sent..sent + 10).await;
        let mut missing: BTreeSet<String> = (sent..sent + 10).map(|n| n.to_string()).collect();
        while !missing.is_empty() {
            missing.remove(&witness.message().payload);
        }
        // NATS keeps nothing for who is not there yet.
        let (end, before) = (std::time::Instant::now() + PATIENCE, received(&broker));
        while received(&broker) == before {
            assert!(std::time::Instant::now() < end, "{}", sink(&broker, "far"));
            witness.publish("here.b", "", &format!("from {there}"));
            witness.flush();
        }
        while client.text().await != format!("from {there}") {}
    }
    servers[1].kill_9();
    wait_for_sink(&broker, "far", |sink| {
        let said = sink["last_error"].as_str().unwrap_or_default();
        let names_both = [one, two]
            .iter()
            .all(|place| said.contains(&place.to_string()));
        sink["state"] == "failing" && names_both
    });
}

#[tokio::test]
async fn a_consumer_of_a_stream_gives_everything_whoever_is_killed() {
    let mut server = NatsServer::with_streams("");
    let mut broker = Broker::serve_open("");
    let mut there = server.client();
    let made = json!({ "name": "DOWN", "subjects": ["down.>"], "storage": "file" });
    drop(there.ask("STREAM.CREATE.DOWN", &made));
    let consumer = json!({ "stream_name": "DOWN", "config": {
        "durable_name": "witmq", "deliver_subject": "to.witmq", "deliver_group": "g", "ack_policy": "explicit",
        "ack_wait": 1_000_000_000, "max_ack_pending": 1000, "deliver_policy": "all",
    }});
    drop(there.ask("CONSUMER.DURABLE.CREATE.DOWN.witmq", &consumer));
    let inward = "in = { subjects = [\"to.witmq\"], queue = \"g\", add = \"far/\" }";
    drop(apply(&broker, "far", &text(&server, inward)));
    let lasting = |broker: &Broker| {
        let mut options = options(broker.address("tcp"), "l");
        options.set_clean_start(false);
        options.set_session_expiry_interval(Some(3600));
        options
    };
    let mut listener = connect(lasting(&broker)).await.unwrap();
    listener.subscribe("far/#", QoS::AtLeastOnce).await;
    drop(listener);

    let put = |there: &mut Nats, numbers: std::ops::Range<u64>| {
        for number in numbers {
            there.publish("down.a", "", &number.to_string());
        }
        there.flush();
    };
    put(&mut there, 0..200);
    broker.kill_9();
    put(&mut there, 200..300);
    broker.start_again();
    drop(there);
    server.kill_9();
    server.start_again();
    put(&mut server.client(), 300..400);
    let mut listener = connect(lasting(&broker)).await.unwrap();
    all(&mut listener, 400).await;
    wait_for_sink(&broker, "far", |sink| sink["state"] == "healthy");
    let asked = || {
        let said = server.client().ask("CONSUMER.INFO.DOWN.witmq", &json!({}));
        (said["num_ack_pending"].clone(), said["num_pending"].clone())
    };
    let end = std::time::Instant::now() + PATIENCE;
    while asked() != (0.into(), 0.into()) {
        assert!(std::time::Instant::now() < end, "{:?}", asked());
    }
}

#[tokio::test]
async fn a_server_that_is_not_trusted_or_that_wants_tls_gets_nothing() {
    let (own, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    certificates::make(own.path(), "localhost");
    certificates::make(other.path(), "localhost");
    let place = |name: &str| own.path().join(name).display().to_string();
    let server = NatsServer::start(&format!(
        "tls {{ cert_file: \"{}\", key_file: \"{}\" }}\nauthorization {{ token: \"t0ken\" }}\n",
        place("cert.pem"),
        place("key.pem")
    ));
    std::fs::write(place("token"), "t0ken\n").unwrap();
    let broker = Broker::serve_open(&format!(
        "[secrets]\nca = {:?}\ntoken = {:?}\nother = {:?}\n",
        place("ca.pem"),
        place("token"),
        other.path().join("ca.pem")
    ));
    let file = format!(
        "kind = \"nats\"\nurl = \"tls://localhost:{}\"\nca = {{ secret = \"ca\" }}\n\
         token = {{ secret = \"token\" }}\nout = {{ subject = \"{{topic}}\" }}\n{RETRY}",
        server.address.port()
    );
    let signed = "nobody who is trusted signed its certificate";
    for (text, wanted) in [
        (file.replace("\"ca\" }", "\"other\" }"), signed),
        (file.replace("ca = { secret = \"ca\" }\n", ""), signed),
        (
            file.replace("localhost", "127.0.0.1"),
            "its certificate is for another name",
        ),
        (file.replace("tls://", "nats://"), "the server wants TLS"),
        (
            file.replace("\"token\" }", "\"other\" }"),
            "Authorization Violation",
        ),
    ] {
        let said = refused(&broker, &text);
        assert!(said.contains(wanted), "{wanted}: {said}");
    }
    let said = checked(&broker, &file);
    assert!(said.contains("lets this broker in"), "{said}");
    drop(apply(&broker, "far", &file));
    broker.chain("out", CHAIN);
    let mut client = connect(options(broker.address("tcp"), "p")).await.unwrap();
    publish(&mut client, "out/a", 0..10).await;
    wait_for_sink(&broker, "far", |sink| {
        sink["delivered"] == 10 && sink["state"] == "healthy"
    });
}

/// The pair of the documentation of NATS.
const SEED: &str = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY";
const PUBLIC: &str = "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4";

#[tokio::test]
async fn a_key_lets_this_broker_in() {
    let server = NatsServer::start(&format!(
        "authorization {{ users = [ {{ nkey: {PUBLIC} }} ] }}\n"
    ));
    let broker = Broker::serve_open("");
    let file = text(&server, "out = { subject = \"{topic}\" }");
    let said = refused(&broker, &file);
    assert!(said.contains("Authorization Violation"), "{said}");
    let said = refused(&broker, &format!("nkey = \"{PUBLIC}\"\n{file}"));
    assert!(said.contains("begins with `SU`"), "{said}");
    let said = checked(&broker, &format!("nkey = \"{SEED}\"\n{file}"));
    assert!(said.contains("lets this broker in"), "{said}");
}

#[tokio::test]
async fn credentials_of_an_operator_let_this_broker_in() {
    let (configuration, credentials) = nkeys::operated();
    let server = NatsServer::start(&configuration);
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), &credentials).unwrap();
    let broker = Broker::serve_open(&format!("[secrets]\ncreds = {:?}\n", secret.path()));
    let file = text(&server, "out = { subject = \"{topic}\" }");
    let file = format!("creds = {{ secret = \"creds\" }}\n{file}");
    let said = checked(&broker, &file);
    assert!(said.contains("lets this broker in"), "{said}");
    // Another one's key: the token says who signs.
    let (seed, user) = (
        SEED,
        credentials.lines().find(|line| line.starts_with("SU")),
    );
    std::fs::write(secret.path(), credentials.replace(user.unwrap(), seed)).unwrap();
    let said = refused(&broker, &file);
    assert!(said.contains("Authorization Violation"), "{said}");
}
