//! The bundled `scram` in a broker: keys that `witmq user keys` made, in the configuration and in a secret, both mechanisms,
//! re-authentication, the rules of a user, others left to `auth-file`, and keys that a chain puts into its store.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use serde_json::{Value, json};
use witmq_e2e::client::{Client, connect, options};
use witmq_e2e::one_by_one::wait_until;
use witmq_e2e::scram::{Hash, answer_by};
use witmq_e2e::wire::{
    AGAIN, AUTH, BAD_CREDENTIALS, BAD_METHOD, CONNACK, CONNECT, CONTINUE, DISCONNECT,
    NOT_AUTHORIZED, SUCCESS, Wire, field,
};
use witmq_e2e::{Broker, component};

const METHODS: [(&str, Hash); 2] = [
    ("SCRAM-SHA-256", Hash::Sha256),
    ("SCRAM-SHA-512", Hash::Sha512),
];

/// A secret's file, which the folder keeps.
fn secret(folder: &tempfile::TempDir, name: &str, text: &str) -> String {
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    format!("{name} = {:?}\n", path.to_str().unwrap())
}

/// What `witmq user keys` prints.
fn keys(broker: &Broker, words: &[&str]) -> String {
    let all = [
        &["user", "keys", "--password-stdin", "--iterations", "4096"],
        words,
    ]
    .concat();
    broker.ok(&all, "pencil")
}

/// Ada has keys of both mechanisms in the configuration; bob has some in a secret, which is written later.
fn broker(folder: &tempfile::TempDir) -> Broker {
    let decoys = secret(
        folder,
        "decoys",
        "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n",
    );
    let bob = secret(folder, "bob", "");
    let extra = format!("[auth]\nplugins = [\"scram\", \"auth-file\"]\n[secrets]\n{decoys}{bob}");
    let broker = Broker::serve(&extra);
    let ada: Value = serde_json::from_str(&keys(&broker, &["ada", "--pub", "{user}/#"])).unwrap();
    let users = [ada, json!({ "name": "bob", "secrets": ["bob"] })];
    let config = json!({ "decoy_secret": "decoys", "decoy_iterations": 4096, "users": users });
    let (config, wasm) = (config.to_string(), component("scram"));
    let install = [
        "plugin",
        "install",
        wasm.to_str().unwrap(),
        "--config",
        &config,
    ];
    let grants = ["--grant", "secret:decoys", "--grant", "secret:bob"];
    drop(broker.ok(&[&install[..], &grants].concat(), ""));
    broker
}

/// Both rounds of a CONNECT; the second is not read yet. What the server must say then.
fn rounds(broker: &Broker, (method, hash): (&str, Hash), name: &str) -> (Wire, String) {
    let mut wire = Wire::connect(broker, "scram-1", method, &format!("n,,n={name},r=first"));
    let challenge = wire.said_with(AUTH, CONTINUE).data.unwrap();
    let (last, expected) = answer_by(hash, name, "first", "pencil", &challenge);
    wire.auth(CONTINUE, method, &last);
    (wire, expected)
}

#[test]
fn clients_log_in_by_both_mechanisms_and_do_it_again() {
    let folder = tempfile::tempdir().unwrap();
    let broker = broker(&folder);
    for (method, hash) in METHODS {
        let (mut wire, expected) = rounds(&broker, (method, hash), "ada");
        assert_eq!(wire.said_with(CONNACK, SUCCESS).data, Some(expected));
        for (nonce, password) in [("second", "pencil"), ("third", "pencils")] {
            wire.auth(AGAIN, method, &format!("n,,n=ada,r={nonce}"));
            let challenge = wire.said_with(AUTH, CONTINUE).data.unwrap();
            let (last, expected) = answer_by(hash, "ada", nonce, password, &challenge);
            wire.auth(CONTINUE, method, &last);
            match password {
                "pencil" => assert_eq!(wire.said_with(AUTH, SUCCESS).data, Some(expected)),
                _ => drop(wire.said_with(DISCONNECT, NOT_AUTHORIZED)),
            }
        }
        assert!(wire.is_over(), "{method}"); // [MQTT-4.12.1-2]
    }
}

#[test]
fn a_secret_with_keys_lets_in_as_soon_as_it_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let broker = broker(&folder);
    let (mut wire, _) = rounds(&broker, METHODS[1], "bob");
    assert_eq!(wire.said().code, BAD_CREDENTIALS, "no keys yet");
    let line = keys(&broker, &["bob", "--line", "--mechanism", "SCRAM-SHA-512"]);
    drop(secret(&folder, "bob", &line));
    let (mut wire, expected) = rounds(&broker, METHODS[1], "bob");
    assert_eq!(wire.said_with(CONNACK, SUCCESS).data, Some(expected));
    let (mut wire, _) = rounds(&broker, METHODS[0], "bob");
    assert_eq!(
        wire.said().code,
        BAD_CREDENTIALS,
        "those of the other mechanism"
    );
}

#[test]
fn unknown_names_look_like_known_ones_and_binding_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let broker = broker(&folder);
    for (method, hash) in METHODS {
        let (mut wire, _) = rounds(&broker, (method, hash), "eve");
        assert_eq!(wire.said_with(CONNACK, BAD_CREDENTIALS).data, None);
        let salt = |name: &str| {
            let mut wire = Wire::connect(&broker, "c", method, &format!("n,,n={name},r=abc"));
            let said = wire.said_with(AUTH, CONTINUE).data.unwrap();
            said.split_once(',').unwrap().1.to_owned()
        };
        assert_eq!(salt("eve"), salt("eve"));
        assert_ne!(salt("eve"), salt("eva"));
        assert_eq!(salt("eve").len(), salt("ada").len());
        let mut wire = Wire::connect(&broker, "c", method, "p=tls-exporter,,n=ada,r=abc");
        assert_eq!(wire.said().code, BAD_METHOD);
    }
}

#[test]
fn rules_hold_and_passwords_are_left_to_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let broker = broker(&folder);
    let (mut wire, _) = rounds(&broker, METHODS[1], "ada");
    drop(wire.said_with(CONNACK, SUCCESS));
    for (topic, reason) in [("ada/x", 0x10), ("other/x", NOT_AUTHORIZED)] {
        let body = [&field(topic.as_bytes())[..], &[0, 1, 0]].concat();
        wire.send(0x32, &body); // PUBLISH with QoS 1; nobody is subscribed
        assert_eq!(wire.acknowledged(), reason, "{topic}");
    }
    drop(broker.ok(&["user", "add", "cleo", "--password-stdin"], "pen"));
    let mut wire = Wire::open(&broker);
    let head = b"\0\x04MQTT\x05\xC2\0\x3C\0"; // user name, password, clean start; no properties
    let strings = [field(b"c"), field(b"cleo"), field(b"pen")].concat();
    wire.send(CONNECT, &[&head[..], &strings].concat());
    drop(wire.said_with(CONNACK, SUCCESS));
}

/// Publishes keys, or what should be some.
async fn hand_over(client: &mut Client, text: String) {
    let sent = client
        .sender
        .publish("accounts/keys", QoS::AtLeastOnce, false, text);
    sent.await.unwrap();
    let is_ack = |packet| matches!(packet, Packet::PubAck(_)).then_some(());
    client.wait(is_ack).await;
}

/// Whether cleo gets in by her password.
fn is_let_in(broker: &Broker) -> bool {
    let (mut wire, expected) = rounds(broker, METHODS[0], "cleo");
    let said = wire.said();
    match said.code {
        SUCCESS => {
            assert_eq!(said.data, Some(expected));
            true
        }
        code => {
            assert_eq!(code, BAD_CREDENTIALS);
            false
        }
    }
}

/// Keys come by a chain, hold from the next exchange on, and are in no dead letter if they cannot be used.
#[tokio::test]
async fn keys_that_a_chain_hands_over_let_in_and_refused_ones_are_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    let random = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n";
    let decoys = secret(&folder, "decoys", random);
    let plugins = "[auth]\nplugins = [\"scram\", \"auth-file\"]\n";
    let broker = Broker::serve(&format!("{plugins}[secrets]\n{decoys}"));
    let open = r##"{"anonymous":"allow","acl":[{"allow":true,"topics":["#","$dead-letter/#"]}]}"##;
    drop(broker.ok(&["plugin", "config", "auth-file", open], ""));
    let users = json!([{ "name": "cleo", "stored": true }]);
    let config = json!({ "decoy_secret": "decoys", "decoy_iterations": 4096, "users": users });
    let (config, wasm) = (config.to_string(), component("scram"));
    let install = ["plugin", "install", wasm.to_str().unwrap()];
    let grants = ["secret:decoys", "publish:$dead-letter/scram"];
    let grants = grants.map(|grant| ["--grant", grant]).concat();
    let words = [&install[..], &["--config", &config], &grants].concat();
    drop(broker.ok(&words, ""));
    broker.chain(
        "keys",
        "from = \"accounts/keys\"\n[[step]]\nsink = \"scram\"\n",
    );
    let mut client = connect(options(broker.address("tcp"), "admin"))
        .await
        .unwrap();
    client.subscribe("$dead-letter/#", QoS::AtLeastOnce).await;

    assert!(!is_let_in(&broker), "nobody has put keys");
    let words = ["cleo", "--line", "--mechanism", "SCRAM-SHA-256"];
    let line = keys(&broker, &words).trim().to_owned();
    hand_over(&mut client, format!("cleo\n{line}")).await;
    wait_until("cleo is let in", || is_let_in(&broker));

    for (text, name, wanted) in [
        (format!("cleo\n{line}\n{line}"), "cleo", "twice"),
        (line.clone(), "", "has to be the name of a user"),
    ] {
        hand_over(&mut client, text).await;
        let letter = client.message().await;
        assert_eq!(&letter.topic[..], b"$dead-letter/scram");
        assert_eq!(&letter.payload[..], name.as_bytes(), "and no keys");
        let user = letter.properties.unwrap().user_properties;
        let said = |name: &str| user.iter().find(|(key, _)| key == name).unwrap().1.clone();
        assert_eq!(said("topic"), "accounts/keys");
        assert!(said("reason").contains(wanted), "{user:?}");
    }
    assert!(is_let_in(&broker), "what was there before stays");
    hand_over(&mut client, "cleo".to_owned()).await;
    wait_until("cleo is not let in any more", || !is_let_in(&broker));
    let stored_key = line.rsplit(':').next().unwrap();
    for said in broker.log.try_iter() {
        assert!(!said.contains(stored_key), "{said}");
    }
}
