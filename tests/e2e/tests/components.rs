//! The bundled components, each installed into a real broker and met by real clients.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, PubAckReason};
use serde_json::{Value, json};
use witmq_e2e::client::{Client, connect, options};
use witmq_e2e::{Broker, component};

/// A broker with a component in a chain over every topic below `in`.
fn broker(plugin: &str, config: &Value) -> Broker {
    let broker = Broker::dev(&["--no-demo"]);
    let wasm = component(&plugin.replace('-', "_"));
    let config = config.to_string();
    let words = [
        "plugin",
        "install",
        wasm.to_str().unwrap(),
        "--config",
        &config,
    ];
    drop(broker.ok(&words, ""));
    let chain = format!(
        "mode = \"transform\"\nfrom = \"in/{{rest...}}\"\n[[step]]\nplugin = \"{plugin}\"\n"
    );
    broker.chain("component", &chain);
    broker
}

/// A client that hears everything.
async fn client(broker: &Broker) -> Client {
    let mut client = connect(options(broker.address("tcp"), "c")).await.unwrap();
    client.subscribe("#", QoS::AtLeastOnce).await;
    client
}

async fn publish(client: &Client, topic: &str, payload: impl Into<Vec<u8>>) {
    let sent = client
        .sender
        .publish(topic, QoS::AtLeastOnce, false, payload.into());
    sent.await.unwrap();
}

/// The next refusal: its reason, and the words.
async fn refusal(client: &mut Client) -> (PubAckReason, String) {
    let is_good = |reason| {
        matches!(
            reason,
            PubAckReason::Success | PubAckReason::NoMatchingSubscribers
        )
    };
    let refusal = |packet| match packet {
        Packet::PubAck(ack) if !is_good(ack.reason) => {
            let words = ack
                .properties
                .and_then(|properties| properties.reason_string);
            Some((ack.reason, words.unwrap_or_default()))
        }
        _ => None,
    };
    client.wait(refusal).await
}

#[tokio::test]
async fn deadband_lets_changes_pass_and_forgets_nothing_at_a_swap() {
    let config = json!({"absolute": 0.5, "not_a_number": "refuse"});
    let broker = broker("deadband", &config);
    let mut client = client(&broker).await;
    for value in ["20", "20.5", "21"] {
        publish(&client, "in/temp", value).await;
    }
    assert_eq!([client.text().await, client.text().await], ["20", "21"]);
    // Another configuration is another instance, which was handed what passed.
    let config = json!({"absolute": 2, "not_a_number": "refuse"}).to_string();
    drop(broker.ok(&["plugin", "config", "deadband", &config], ""));
    for value in ["23", "19", "23.5"] {
        publish(&client, "in/temp", value).await;
    }
    assert_eq!(client.text().await, "23.5");
    publish(&client, "in/temp", "warm").await;
    assert_eq!(
        refusal(&mut client).await.0,
        PubAckReason::PayloadFormatInvalid
    );
}

#[tokio::test]
async fn json_schema_says_where_a_payload_does_not_fit_and_diverts_it_if_told_to() {
    let schema = json!({"required": ["c"], "properties": {"c": {"type": "number", "maximum": 85}}});
    let mut config = json!({"schemas": [{"topics": ["in/+/temp"], "schema": schema}]});
    let broker = broker("json-schema", &config);
    let mut client = client(&broker).await;
    publish(&client, "in/7/temp", r#"{"c":20}"#).await;
    assert_eq!(client.text().await, r#"{"c":20}"#);
    publish(&client, "in/7/temp", r#"{"c":"warm"}"#).await;
    let (reason, text) = refusal(&mut client).await;
    assert_eq!(reason, PubAckReason::PayloadFormatInvalid);
    assert_eq!(text, "payload on in/7/temp: /c: has to be of type number");

    config["on_invalid"] = json!("dead-letter");
    drop(broker.ok(
        &["plugin", "config", "json-schema", &config.to_string()],
        "",
    ));
    publish(&client, "in/7/temp", r#"{"c":86}"#).await;
    let message = client.message().await;
    assert_eq!(
        (&*message.topic, &*message.payload),
        (&b"invalid/in/7/temp"[..], &br#"{"c":86}"#[..])
    );
    let tags = message.properties.unwrap().user_properties;
    assert_eq!(
        tags,
        [(
            "schema-error".to_owned(),
            "/c: has to be at most 85".to_owned()
        )]
    );
}

#[tokio::test]
async fn codec_makes_json_of_protobuf_and_cbor_of_json() {
    // `message M { int32 n = 1; }` of the package `demo`.
    let protobuf = json!({
        "descriptor": "CicKB20ucHJvdG8SBGRlbW8iDgoBTRIJCgFuGAEgASgFYgZwcm90bzM=",
        "message": "demo.M",
    });
    let config = json!({"from": "protobuf", "to": "json", "protobuf": protobuf});
    let broker = broker("codec", &config);
    let mut client = client(&broker).await;
    publish(&client, "in/m", [0x08, 0x96, 0x01]).await;
    let message = client.message().await;
    assert_eq!(message.payload, r#"{"n":150}"#);
    let properties = message.properties.unwrap();
    assert_eq!(properties.content_type.as_deref(), Some("application/json"));
    assert_eq!(properties.payload_format_indicator, Some(1));
    publish(&client, "in/m", [0x08]).await;
    assert_eq!(
        refusal(&mut client).await.0,
        PubAckReason::PayloadFormatInvalid
    );

    let config = json!({"from": "json", "to": "cbor"}).to_string();
    drop(broker.ok(&["plugin", "config", "codec", &config], ""));
    publish(&client, "in/m", r#"{"n":150}"#).await;
    assert_eq!(
        &*client.message().await.payload,
        [0xA1, 0x61, b'n', 0x18, 0x96]
    );
}

/// Field numbers and values of protobuf, each behind its key; all of them are short.
fn field(number: u8, value: impl AsRef<[u8]>) -> Vec<u8> {
    let value = value.as_ref();
    [
        &[number << 3 | 2, u8::try_from(value.len()).unwrap()],
        value,
    ]
    .concat()
}

#[tokio::test]
async fn sparkplug_b_names_aliases_after_their_birth_also_across_a_swap() {
    let broker = Broker::dev(&["--no-demo"]);
    let wasm = component("sparkplug_b");
    let config = r#"{"form":"values"}"#;
    let wasm = wasm.to_str().unwrap();
    drop(broker.ok(&["plugin", "install", wasm, "--config", config], ""));
    let chain =
        "mode = \"transform\"\nfrom = \"spBv1.0/{rest...}\"\n[[step]]\nplugin = \"sparkplug-b\"\n";
    broker.chain("component", chain);
    let mut client = connect(options(broker.address("tcp"), "c")).await.unwrap();
    client.subscribe("sparkplug/#", QoS::AtLeastOnce).await;
    let payload = |seq: u8, metric: &[u8]| [field(2, metric), vec![0x18, seq]].concat();
    // `temp` has the alias 1 and is an Int8.
    let birth = [&field(1, "temp")[..], &[0x10, 1, 0x20, 1, 0x50, 20]].concat();
    let data = [0x10, 1, 0x50, 0xFE, 1];
    publish(&client, "spBv1.0/plant/NBIRTH/press", payload(0, &birth)).await;
    let message = client.message().await;
    assert_eq!(message.topic, "sparkplug/plant/NBIRTH/press");
    assert_eq!(message.payload, r#"{"seq":0,"metrics":{"temp":20}}"#);
    publish(&client, "spBv1.0/plant/NDATA/press", payload(1, &data)).await;
    assert_eq!(client.text().await, r#"{"seq":1,"metrics":{"temp":-2}}"#);
    // Another configuration is another instance, which was handed the birth.
    let config = r#"{"form":"full"}"#;
    drop(broker.ok(&["plugin", "config", "sparkplug-b", config], ""));
    publish(&client, "spBv1.0/plant/NDATA/press", payload(3, &data)).await;
    let message = client.message().await;
    let metric = r#"{"name":"temp","alias":1,"datatype":"Int8","value":-2}"#;
    assert_eq!(
        message.payload,
        format!(r#"{{"seq":3,"metrics":[{metric}]}}"#)
    );
    let problem = (
        "sparkplug-problem".to_owned(),
        "seq is 3, expected was 2".to_owned(),
    );
    assert_eq!(message.properties.unwrap().user_properties, [problem]);
    publish(&client, "spBv1.0/plant/NDATA/press", [0x08]).await;
    assert_eq!(
        refusal(&mut client).await.0,
        PubAckReason::PayloadFormatInvalid
    );
}
