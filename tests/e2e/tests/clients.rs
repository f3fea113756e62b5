//! Clients nobody here wrote: refusals in their words, and the page in a browser. What they can do is in `matrix`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use rumqttc::v5::mqttbytes::QoS;
use std::process::Command;
use witmq_e2e::client::{connect, options};
use witmq_e2e::{Broker, chromium, component, python, root, run, text};

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
fn the_http_origin_takes_mqtt_at_its_path() {
    let broker = Broker::dev(&["--no-demo"]);
    let url = format!("ws://{}/mqtt", broker.address("http"));
    for (version, qos) in [("3", "1"), ("4", "2"), ("5", "1")] {
        let said = mqttjs(&broker, &url, version, qos, "", "");
        assert_eq!(said, format!("got from mqtt.js qos {qos}"), "{version}");
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
