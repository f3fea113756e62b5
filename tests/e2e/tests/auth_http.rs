//! The bundled `auth-http` in a broker: a service decides who connects, and what it says of rights is enforced.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use rumqttc::v5::MqttOptions;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{ConnectReturnCode, Packet, PubAckReason};
use serde_json::json;
use witmq_e2e::client::{Client, connect, options};
use witmq_e2e::site::{Asked, Said, Site, ok, status};
use witmq_e2e::{Broker, component};

/// Knows ada, and whom another authenticator may know.
fn service(asked: &Asked) -> Said {
    let question = asked.json();
    assert_eq!(asked.header("authorization"), "Bearer let me ask");
    assert_eq!(
        (&question["listener"], &question["peer_ip"]),
        (&json!("tcp"), &json!("127.0.0.1"))
    );
    match (question["username"].as_str(), question["password"].as_str()) {
        (Some("ada"), Some("pencil")) => {
            let acl = json!([{ "allow": true, "topics": ["home/{user}/#"] }]);
            ok(json!({ "result": "allow", "acl": acl, "expires_s": 600 }).to_string())
        }
        (Some("guest"), _) => ok(json!({ "result": "ignore" }).to_string()),
        (Some("broken"), _) => ok("<html>welcome</html>"),
        _ => status(401, ""),
    }
}

fn login(broker: &Broker, name: &str, password: &str) -> MqttOptions {
    let mut options = options(broker.address("tcp"), name);
    options.set_credentials(name, password);
    options
}

/// Whether a publish is taken.
async fn publishes(client: &mut Client, topic: &str) -> bool {
    let publish = client.sender.publish(topic, QoS::AtLeastOnce, false, "x");
    publish.await.unwrap();
    let reason = client.wait(|packet| match packet {
        Packet::PubAck(ack) => Some(ack.reason),
        _ => None,
    });
    reason.await != PubAckReason::NotAuthorized
}

#[tokio::test]
async fn a_service_lets_in_keeps_out_and_says_what_is_allowed() {
    let site = Site::start(service);
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), "let me ask\n").unwrap();
    let extra = format!(
        "[auth]\nplugins = [\"auth-http\", \"auth-file\"]\n[secrets]\nask = {:?}\n",
        secret.path()
    );
    let broker = Broker::serve(&extra);
    let endpoint =
        json!({ "url": format!("{}/mqtt", site.url()), "authorization": { "secret": "ask" } });
    let config = json!({ "endpoint": endpoint }).to_string();
    let wasm = component("auth_http");
    let words = [
        "plugin",
        "install",
        wasm.to_str().unwrap(),
        "--name",
        "auth-http",
        "--config",
        &config,
        "--grant",
        "http:127.0.0.1",
        "--grant",
        "secret:ask",
    ];
    drop(broker.ok(&words, ""));

    let mut ada = connect(login(&broker, "ada", "pencil")).await.unwrap();
    assert!(publishes(&mut ada, "home/ada/lamp").await);
    assert!(!publishes(&mut ada, "home/bob/lamp").await);
    drop(ada);
    drop(connect(login(&broker, "ada", "pencil")).await.unwrap());
    let asked = site.asked.try_iter().count();
    assert_eq!(asked, 1, "the answer is remembered");

    let refused = connect(login(&broker, "ada", "pen")).await.err().unwrap();
    assert_eq!(refused, ConnectReturnCode::BadUserNamePassword);
    let refused = connect(login(&broker, "guest", "x")).await.err().unwrap();
    assert_eq!(
        refused,
        ConnectReturnCode::BadUserNamePassword,
        "auth-file says so"
    );
    let refused = connect(login(&broker, "broken", "x")).await.err().unwrap();
    assert_eq!(refused, ConnectReturnCode::ServerUnavailable);

    // Whom it remembers gets in, nobody else.
    drop(site);
    drop(connect(login(&broker, "ada", "pencil")).await.unwrap());
    let refused = connect(login(&broker, "eve", "x")).await.err().unwrap();
    assert_eq!(refused, ConnectReturnCode::ServerUnavailable);
}
