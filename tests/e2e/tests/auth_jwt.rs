//! The bundled `auth-jwt` in a broker: every algorithm, as the component that clients meet computes it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{self as sign, EcdsaKeyPair, KeyPair as _, RsaKeyPair};
use rumqttc::v5::MqttOptions;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{ConnectReturnCode, Packet, PubAckReason};
use serde_json::{Value, json};
use std::time::Instant;
use witmq_e2e::client::{Client, connect, options};
use witmq_e2e::{Broker, component, root};

/// Makes a signature.
type Signs = Box<dyn Fn(&[u8]) -> Vec<u8>>;

fn rsa(padding: &'static dyn sign::RsaEncoding) -> Signs {
    let pem = std::fs::read_to_string(root().join("plugins/jwt/testdata/rsa.pem")).unwrap();
    let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let pair = RsaKeyPair::from_pkcs8(&BASE64_STANDARD.decode(body).unwrap()).unwrap();
    Box::new(move |signed| {
        let mut signature = vec![0; pair.public().modulus_len()];
        let random = SystemRandom::new();
        pair.sign(padding, &random, signed, &mut signature).unwrap();
        signature
    })
}

/// Signs on a curve; the public half as a JWK.
fn curve(name: &str, algorithm: &'static sign::EcdsaSigningAlgorithm) -> (Signs, Value) {
    let random = SystemRandom::new();
    let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random).unwrap();
    let point = &pair.public_key().as_ref()[1..];
    let (x, y) = point.split_at(point.len() / 2);
    let encode = |bytes| BASE64_URL_SAFE_NO_PAD.encode(bytes);
    let jwk = json!({ "kty": "EC", "crv": name, "x": encode(x), "y": encode(y) });
    let signs = move |signed: &[u8]| pair.sign(&random, signed).unwrap().as_ref().to_vec();
    (Box::new(signs), jwk)
}

fn secret(algorithm: hmac::Algorithm, secret: &str) -> Signs {
    let key = hmac::Key::new(algorithm, secret.as_bytes());
    Box::new(move |signed| hmac::sign(&key, signed).as_ref().to_vec())
}

/// Says the same of everything.
fn fixed(signature: Vec<u8>) -> Signs {
    Box::new(move |_: &[u8]| signature.clone())
}

fn token(algorithm: &str, signs: &Signs) -> String {
    let part = |value: Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let acl = json!({ "publish": ["out/{client}"], "deny": { "all": ["out/secret"] } });
    let claims = json!({ "sub": "ada", "cid": "c1", "exp": 4_000_000_000_u64, "acl": acl });
    let signed = format!("{}.{}", part(json!({ "alg": algorithm })), part(claims));
    let signature = BASE64_URL_SAFE_NO_PAD.encode(signs(signed.as_bytes()));
    format!("{signed}.{signature}")
}

fn login(broker: &Broker, client_id: &str, token: &str) -> MqttOptions {
    let mut options = options(broker.address("tcp"), client_id);
    options.set_credentials("anybody", token);
    options
}

async fn publish(client: &mut Client, topic: &str) -> PubAckReason {
    let publish = client.sender.publish(topic, QoS::AtLeastOnce, false, "x");
    publish.await.unwrap();
    let reason = client.wait(|packet| match packet {
        Packet::PubAck(ack) => Some(ack.reason),
        _ => None,
    });
    reason.await
}

/// Each algorithm with what signs by it, and a broker that knows their keys.
fn broker() -> (Broker, Vec<(&'static str, Signs)>, tempfile::NamedTempFile) {
    let key = "0123456789abcdef".repeat(4);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &key).unwrap();
    let (es256, p256) = curve("P-256", &sign::ECDSA_P256_SHA256_FIXED_SIGNING);
    let (es384, p384) = curve("P-384", &sign::ECDSA_P384_SHA384_FIXED_SIGNING);
    let all = vec![
        ("HS256", secret(hmac::HMAC_SHA256, &key)),
        ("HS384", secret(hmac::HMAC_SHA384, &key)),
        ("HS512", secret(hmac::HMAC_SHA512, &key)),
        ("RS256", rsa(&sign::RSA_PKCS1_SHA256)),
        ("RS384", rsa(&sign::RSA_PKCS1_SHA384)),
        ("RS512", rsa(&sign::RSA_PKCS1_SHA512)),
        ("PS256", rsa(&sign::RSA_PSS_SHA256)),
        ("PS384", rsa(&sign::RSA_PSS_SHA384)),
        ("PS512", rsa(&sign::RSA_PSS_SHA512)),
        ("ES256", es256),
        ("ES384", es384),
    ];
    let pem = std::fs::read_to_string(root().join("plugins/jwt/testdata/rsa.pub.pem")).unwrap();
    let config = json!({
        "keys": [
            { "kind": "secret", "secret": "jwt" },
            { "kind": "pem", "pem": pem },
            { "kind": "jwks", "jwks": { "keys": [p256, p384] } },
        ],
        "tokens": { "require": { "cid": "{client}" } }
    });
    let extra = format!(
        "[auth]\nplugins = [\"auth-jwt\"]\n[secrets]\njwt = {:?}\n",
        file.path()
    );
    let broker = Broker::serve(&extra);
    let (wasm, config) = (component("auth_jwt"), config.to_string());
    let path = wasm.to_str().unwrap();
    let words = [
        "plugin",
        "install",
        path,
        "--config",
        &config,
        "--grant",
        "secret:jwt",
    ];
    drop(broker.ok(&words, ""));
    (broker, all, file)
}

#[tokio::test]
async fn tokens_of_every_algorithm_let_in_and_forged_ones_do_not() {
    let (broker, all, _secret) = broker();
    for (name, signs) in &all {
        let good = token(name, signs);
        let began = Instant::now();
        let mut client = connect(login(&broker, "c1", &good)).await.unwrap();
        println!("{name}: connected after {:?}", began.elapsed());
        assert_eq!(
            publish(&mut client, "out/c1").await,
            PubAckReason::NoMatchingSubscribers
        );
        for denied in ["out/secret", "out/c2", "x"] {
            assert_eq!(
                publish(&mut client, denied).await,
                PubAckReason::NotAuthorized
            );
        }
        let forged = token(name, &fixed(vec![1; 256]));
        for (client_id, token) in [("c1", &forged), ("c2", &good)] {
            let refused = connect(login(&broker, client_id, token)).await.err();
            assert_eq!(
                refused,
                Some(ConnectReturnCode::BadUserNamePassword),
                "{name}"
            );
        }
    }
    let none = token("none", &fixed(Vec::new()));
    let refused = connect(login(&broker, "c1", &none)).await.err();
    assert_eq!(refused, Some(ConnectReturnCode::BadUserNamePassword));
    let refused = connect(login(&broker, "c1", "pencil")).await.err();
    assert_eq!(
        refused,
        Some(ConnectReturnCode::NotAuthorized),
        "it is for nobody"
    );
}
