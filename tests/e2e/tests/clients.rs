//! Clients nobody here wrote, over every transport and version.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use rumqttc::v5::mqttbytes::QoS;
use std::process::Command;
use witmq_e2e::client::{connect, options};
use witmq_e2e::{Broker, component, python, root, run, text};

fn client(name: &str) -> String {
    root()
        .join("tests/e2e/clients")
        .join(name)
        .to_str()
        .unwrap()
        .to_owned()
}

fn paho(
    broker: &Broker,
    transport: &str,
    version: &str,
    qos: &str,
    user: &str,
    password: &str,
) -> String {
    let address = broker.address(transport);
    let mut command = Command::new(python());
    command
        .arg(client("paho_client.py"))
        .args([address.ip().to_string(), address.port().to_string()]);
    command
        .args([transport, version, qos])
        .arg(broker.ca())
        .args([user, password]);
    text(&run(command, "").unwrap()).trim().to_owned()
}

fn mqttjs(
    broker: &Broker,
    url: &str,
    version: &str,
    qos: &str,
    user: &str,
    password: &str,
) -> String {
    let mut command = Command::new("node");
    command
        .arg(client("mqttjs_client.js"))
        .args([url, version, qos]);
    command.arg(broker.ca()).args([user, password]);
    text(&run(command, "").unwrap()).trim().to_owned()
}

#[test]
fn paho_speaks_over_every_transport_in_every_version() {
    let broker = Broker::dev(&["--no-demo"]);
    for transport in ["tcp", "ws", "tls", "wss"] {
        for (version, qos) in [("3", "1"), ("4", "0"), ("4", "2"), ("5", "1"), ("5", "2")] {
            let said = paho(&broker, transport, version, qos, "", "");
            assert_eq!(
                said,
                format!("got from paho qos {qos}"),
                "{transport} {version}"
            );
        }
    }
}

#[test]
fn mqttjs_speaks_over_every_transport_and_the_http_origin() {
    let broker = Broker::dev(&["--no-demo"]);
    let (ws, wss) = (broker.address("ws"), broker.address("wss"));
    let urls = [
        format!("mqtt://{}", broker.address("tcp")),
        format!("mqtts://localhost:{}", broker.address("tls").port()),
        format!("ws://{ws}/mqtt"),
        format!("wss://localhost:{}/mqtt", wss.port()),
        format!("ws://{}/mqtt", broker.address("http")),
    ];
    for url in &urls {
        for (version, qos) in [("3", "1"), ("4", "2"), ("5", "1")] {
            let said = mqttjs(&broker, url, version, qos, "", "");
            assert_eq!(
                said,
                format!("got from mqtt.js qos {qos}"),
                "{url} {version}"
            );
        }
    }
}

#[test]
fn a_wrong_password_is_told_in_the_form_of_each_version() {
    let broker = Broker::dev(&["--no-demo", "--no-anonymous"]);
    drop(broker.ok(&["user", "add", "ada", "--password-stdin"], "right"));
    let url = format!("mqtt://{}", broker.address("tcp"));
    assert_eq!(
        mqttjs(&broker, &url, "5", "1", "ada", "wrong"),
        "refused 134"
    ); // 0x86
    assert_eq!(mqttjs(&broker, &url, "4", "1", "ada", "wrong"), "refused 4");
    assert_eq!(
        paho(&broker, "tcp", "5", "1", "ada", "wrong"),
        "refused 134"
    );
    assert_eq!(paho(&broker, "ws", "4", "1", "ada", "wrong"), "refused 134");
    assert_eq!(
        paho(&broker, "tcp", "4", "1", "ada", "right"),
        "got from paho qos 1"
    );
    let mut command = Command::new("mosquitto_pub");
    let port = broker.address("tcp").port().to_string();
    command.args([
        "-p", &port, "-V", "mqttv311", "-u", "ada", "-P", "wrong", "-t", "x", "-m", "y",
    ]);
    let said = text(&run(command, "").unwrap());
    assert!(said.contains("bad user name or password"), "{said}");
}

#[test]
fn mosquitto_clients_meet_over_tcp_and_tls() {
    let broker = Broker::dev(&["--no-demo"]);
    for (transport, version) in [
        ("tcp", "mqttv31"),
        ("tcp", "mqttv311"),
        ("tcp", "mqttv5"),
        ("tls", "mqttv5"),
    ] {
        let mut common = vec!["-h".to_owned(), "localhost".to_owned()];
        common.extend([
            "-p".to_owned(),
            broker.address(transport).port().to_string(),
        ]);
        common.extend(["-V".to_owned(), version.to_owned()]);
        if transport == "tls" {
            common.extend([
                "--cafile".to_owned(),
                broker.ca().to_str().unwrap().to_owned(),
            ]);
        }
        let topic = format!("mosquitto/{transport}/{version}");
        let mut publish = Command::new("mosquitto_pub");
        publish
            .args(&common)
            .args(["-t", &topic, "-m", "kept", "-r", "-q", "2"]);
        let output = run(publish, "").unwrap();
        assert!(output.status.success(), "{}", text(&output));
        let mut subscribe = Command::new("mosquitto_sub");
        subscribe
            .args(&common)
            .args(["-t", &topic, "-C", "1", "-W", "15", "-q", "1", "-v"]);
        assert_eq!(
            text(&run(subscribe, "").unwrap()).trim(),
            format!("{topic} kept")
        );
    }
}

/// Where Chromium is: playwright wants the whole path.
fn chromium() -> String {
    let path = std::env::var("PATH").unwrap();
    let places = path
        .split(':')
        .flat_map(|folder| ["chromium", "chromium-browser"].map(|name| format!("{folder}/{name}")));
    let found = places
        .into_iter()
        .find(|place| std::path::Path::new(place).is_file());
    found.expect("Chromium is installed (Debian: chromium)")
}

/// The page in Chromium, with a TCP client on the other side.
async fn page(broker: &Broker, mode: &'static str, user: Option<(&str, &str)>) -> String {
    let mut wanted = options(broker.address("tcp"), "other-side");
    if let Some((name, password)) = user {
        wanted.set_credentials(name, password);
    }
    let mut other = connect(wanted).await.unwrap();
    other.subscribe("browser/out", QoS::AtLeastOnce).await;
    let mut command = Command::new("node");
    let url = format!("http://{}/", broker.address("http"));
    command
        .arg(client("browser.js"))
        .args([chromium(), url, mode.to_owned()]);
    let mut running = tokio::task::spawn_blocking(move || text(&run(command, "").unwrap()));
    let mut ticks = tokio::time::interval(std::time::Duration::from_millis(300));
    let mut payload = r#"{"c":20}"#;
    loop {
        tokio::select! {
            said = &mut running => return said.unwrap(),
            message = other.message() => {
                assert_eq!(message.payload, "hello from Chromium");
                payload = r#"{"c":0,"note":"seen"}"#;
            }
            // The page subscribes when it is ready: it is told again until it shows something.
            _ = ticks.tick() => other.sender.publish("browser/in/1", QoS::AtLeastOnce, false, payload).await.unwrap(),
        }
    }
}

#[tokio::test]
async fn chromium_sees_what_went_through_a_chain_and_a_component() {
    let broker = Broker::dev(&["--no-demo"]);
    let wasm = component("celsius_to_fahrenheit");
    drop(broker.ok(&["plugin", "install", wasm.to_str().unwrap()], ""));
    broker.chain("b", "mode = \"transform\"\nfrom = \"browser/in/{n}\"\n[[step]]\nplugin = \"celsius-to-fahrenheit\"\n");
    let said = page(&broker, "open", None).await;
    assert!(
        said.contains("connected\n") && said.contains(r#"{"c":20,"f":68.0}"#),
        "{said}"
    );
    assert!(said.trim_end().ends_with("done"), "{said}");
}

#[tokio::test]
async fn chromium_shows_the_reason_when_the_password_is_wrong() {
    let broker = Broker::dev(&["--no-demo", "--no-anonymous"]);
    drop(broker.ok(&["user", "add", "ada", "--password-stdin"], "right"));
    let said = page(&broker, "denied", Some(("ada", "right"))).await;
    assert!(said.contains("bad user name or password (0x86)"), "{said}");
    assert!(said.trim_end().ends_with("done"), "{said}");
}
