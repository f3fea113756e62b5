//! What is seen of plugins while they work: a shadow compared, numbers by hook, topics below `$SYS`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use rumqttc::v5::mqttbytes::QoS;
use witmq_e2e::client::{Client, connect, options};
use witmq_e2e::{Broker, component};

fn install(broker: &Broker, stamp: &str, more: &[&str]) {
    let guest = component("witmq_test_guests");
    let config = format!(r#"{{"mode":"stamp","stamp":"{stamp}"}}"#);
    let words = [
        "plugin",
        "install",
        guest.to_str().unwrap(),
        "--name",
        "g",
        "--config",
        &config,
    ];
    let grants = ["--grant", "publish:made/by/#", "--grant", "secret:token"];
    drop(broker.ok(&[&words[..], &grants, more].concat(), ""));
}

async fn send(client: &mut Client, count: usize) {
    for _ in 0..count {
        let sent = client.sender.publish("t", QoS::AtMostOnce, false, "x");
        sent.await.unwrap();
        assert_eq!(
            client.text().await,
            "a x",
            "the version that serves decides"
        );
    }
}

#[tokio::test]
async fn a_shadow_and_the_numbers_of_a_plugin_are_shown() {
    let broker = Broker::serve_open("shards = 2\n[limits]\nsys_interval_s = 1\n");
    install(&broker, "a", &[]);
    broker.chain(
        "t",
        "mode = \"transform\"\nfrom = \"t\"\n[[step]]\nplugin = \"g\"\n",
    );
    let mut client = connect(options(broker.address("tcp"), "c")).await.unwrap();
    client.subscribe("t", QoS::AtMostOnce).await;
    send(&mut client, 3).await;

    install(&broker, "b", &["--shadow"]);
    send(&mut client, 2).await;
    let shown = broker.ok(&["plugin", "shadow", "g"], "");
    for line in ["different", "sees the traffic", "a x", "b x"] {
        assert!(shown.contains(line), "{line}: {shown}");
    }
    let info: serde_json::Value =
        serde_json::from_str(&broker.ok(&["plugin", "get", "g"], "")).unwrap();
    assert_eq!(info["shadow"]["different"], 2);
    assert_eq!(info["active"]["version"], 1);
    assert_eq!(info["by_hook"]["transform"]["outcomes"]["modify"], 5);
    let stats = broker.ok(&["plugin", "stats", "g"], "");
    assert!(stats.contains("modify 5"), "{stats}");
    assert!(
        broker
            .ok(&["plugin", "shadow", "g", "--stop"], "")
            .contains("ended")
    );

    let mut watcher = connect(options(broker.address("tcp"), "w")).await.unwrap();
    watcher
        .subscribe("$SYS/broker/plugins/g/state", QoS::AtMostOnce)
        .await;
    assert_eq!(watcher.text().await, "serving");
    drop(broker.ok(&["rule", "rm", "t"], ""));
    drop(broker.ok(&["plugin", "rm", "g"], ""));
    // Its topics go with it.
    while !watcher.text().await.is_empty() {}
}
