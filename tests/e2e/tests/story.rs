//! The main job: who may connect, and what a component makes of messages.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{ConnectReturnCode, Packet, PubAckReason};
use witmq_e2e::client::{connect, options};
use witmq_e2e::{Broker, component};

#[tokio::test]
async fn users_rights_and_a_json_transformation() {
    let broker = Broker::dev(&["--no-demo", "--no-anonymous"]);
    let tcp = broker.address("tcp");
    drop(broker.ok(
        &[
            "user",
            "add",
            "ada",
            "--password-stdin",
            "--pub",
            "room/#",
            "--sub",
            "room/#",
        ],
        "right",
    ));
    for (user, password, expected) in [
        (Some("ada"), "wrong", ConnectReturnCode::BadUserNamePassword), // 0x86
        (Some("eve"), "right", ConnectReturnCode::BadUserNamePassword),
        (None, "", ConnectReturnCode::NotAuthorized), // 0x87
    ] {
        let mut wanted = options(tcp, "c");
        if let Some(user) = user {
            wanted.set_credentials(user, password);
        }
        assert_eq!(
            connect(wanted).await.err(),
            Some(expected),
            "{user:?} {password}"
        );
    }
    let mut wanted = options(tcp, "ada-1");
    wanted.set_credentials("ada", "right");
    let mut ada = connect(wanted).await.unwrap();
    let wasm = component("celsius_to_fahrenheit");
    drop(broker.ok(&["plugin", "install", wasm.to_str().unwrap()], ""));
    broker.chain(
        "convert",
        "mode = \"transform\"\nfrom = \"room/{room}/temp\"\n[[step]]\nplugin = \"celsius-to-fahrenheit\"\n\
         [[step]]\nset = { room = \"topic.room\", \"$user.by\" = \"'convert'\" }\n",
    );
    ada.subscribe("room/#", QoS::AtLeastOnce).await;
    ada.sender
        .publish("room/7/temp", QoS::AtLeastOnce, false, r#"{"c":41.5}"#)
        .await
        .unwrap();
    let message = ada.message().await;
    assert_eq!(message.payload, r#"{"c":41.5,"f":106.7,"room":"7"}"#);
    let user = message.properties.unwrap().user_properties;
    assert_eq!(user, [("by".to_owned(), "convert".to_owned())]);
    // Not JSON: the step's failure policy refuses it and says so.
    ada.sender
        .publish("room/7/temp", QoS::AtLeastOnce, false, "warm")
        .await
        .unwrap();
    let reason = ada.wait(puback_failure).await;
    assert_eq!(reason, PubAckReason::ImplementationSpecificError);
    // dev allows what no rule says, so a denial needs a rule of its own.
    let words = ["plugin", "config", "auth-file"];
    let mut config: serde_json::Value = serde_json::from_str(&broker.ok(&words, "")).unwrap();
    config["default"] = "deny".into();
    drop(broker.ok(&["plugin", "config", "auth-file", &config.to_string()], ""));
    let mut wanted = options(tcp, "ada-2");
    wanted.set_credentials("ada", "right");
    let mut ada = connect(wanted).await.unwrap();
    ada.sender
        .publish("elsewhere", QoS::AtLeastOnce, false, "x")
        .await
        .unwrap();
    assert_eq!(ada.wait(puback_failure).await, PubAckReason::NotAuthorized); // 0x87
}

fn puback_failure(packet: Packet) -> Option<PubAckReason> {
    match packet {
        Packet::PubAck(ack) if ack.reason as u8 >= 0x80 || !is_good(ack.reason) => Some(ack.reason),
        _ => None,
    }
}

fn is_good(reason: PubAckReason) -> bool {
    matches!(
        reason,
        PubAckReason::Success | PubAckReason::NoMatchingSubscribers
    )
}
