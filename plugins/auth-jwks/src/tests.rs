//! The plugin as the broker calls it.

use super::*;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::{Value, json};
use witmq_sdk::host::http::Response;
use witmq_sdk::testing::TestBroker;

type Broker = TestBroker<AuthJwks>;

const URL: &str = "https://id.example.com/keys";

/// A key pair, made by another implementation.
struct Issuer {
    kid: &'static str,
    pair: EcdsaKeyPair,
}

impl Issuer {
    fn new(kid: &'static str) -> Self {
        let (algorithm, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
        let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random).unwrap();
        Self { kid, pair }
    }

    fn jwk(&self) -> Value {
        let (x, y) = self.pair.public_key().as_ref()[1..].split_at(32);
        let encode = |bytes| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        json!({ "kty": "EC", "crv": "P-256", "kid": self.kid, "x": encode(x), "y": encode(y) })
    }

    fn attempt(&self) -> Attempt {
        let part = |value: Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        let claims = part(json!({ "sub": "ada", "exp": 4_000_000_000_u64 }));
        let signed = format!(
            "{}.{claims}",
            part(json!({ "alg": "ES256", "kid": self.kid }))
        );
        let signature = self
            .pair
            .sign(&SystemRandom::new(), signed.as_bytes())
            .unwrap();
        Attempt {
            method: Some("JWT".to_owned()),
            data: format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature)).into_bytes(),
            ..Attempt::default()
        }
    }
}

fn publish(broker: &mut Broker, issuers: &[&Issuer]) {
    let keys: Vec<Value> = issuers.iter().map(|issuer| issuer.jwk()).collect();
    broker.set_answer(
        "GET",
        URL,
        Response::new(200, json!({ "keys": keys }).to_string()),
    );
}

fn start(more: Value) -> Broker {
    let mut config = json!({ "jwks": { "url": URL } });
    config
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    Broker::setup()
        .grant("http:id.example.com")
        .start(config)
        .unwrap()
}

fn is_in(broker: &mut Broker, issuer: &Issuer) -> bool {
    matches!(broker.authenticate(&issuer.attempt()), Ok(Step::Allow(_)))
}

#[test]
fn keys_are_fetched_once_and_again_when_they_are_old() {
    let one = Issuer::new("one");
    let mut broker = start(json!({ "refresh_s": 300 }));
    assert!(matches!(broker.check(), Health::Degraded(text) if text.contains(URL)));
    assert!(
        broker.authenticate(&one.attempt()).is_err(),
        "nothing is known of the token"
    );
    publish(&mut broker, &[&one]);
    broker.advance_ms(10_000).unwrap();
    drop(broker.requests());
    for _ in 0..3 {
        assert!(is_in(&mut broker, &one));
    }
    assert_eq!(broker.check(), Health::Ok);
    assert_eq!(broker.requests().len(), 1);
    broker.advance_ms(299_999).unwrap();
    assert!(is_in(&mut broker, &one));
    assert_eq!(broker.requests().len(), 0);
    broker.advance_ms(1).unwrap();
    assert!(is_in(&mut broker, &one));
    assert_eq!(broker.requests().len(), 1);
}

#[test]
fn an_unknown_key_asks_once_in_a_while() {
    let (one, two, stranger) = (Issuer::new("one"), Issuer::new("two"), Issuer::new("three"));
    let mut broker = start(json!({ "pause_s": 10 }));
    broker.advance_ms(10_000).unwrap();
    publish(&mut broker, &[&one]);
    assert!(is_in(&mut broker, &one));
    broker.advance_ms(10_000).unwrap();
    drop(broker.requests());
    for _ in 0..5 {
        assert!(!is_in(&mut broker, &stranger));
    }
    assert_eq!(broker.requests().len(), 1);
    publish(&mut broker, &[&two]);
    broker.advance_ms(9999).unwrap();
    assert!(!is_in(&mut broker, &two) && is_in(&mut broker, &one));
    broker.advance_ms(1).unwrap();
    assert!(is_in(&mut broker, &two), "the key was changed");
    assert!(!is_in(&mut broker, &one), "the old one is gone");
    // A forged token of a known key asks for nothing.
    broker.advance_ms(10_000).unwrap();
    drop(broker.requests());
    assert!(!is_in(&mut broker, &Issuer::new("two")));
    assert_eq!(broker.requests().len(), 0);
}

#[test]
fn old_keys_serve_while_there_are_no_new_ones_and_no_longer() {
    let one = Issuer::new("one");
    let mut broker = start(json!({ "refresh_s": 60, "stale_s": 600 }));
    broker.advance_ms(10_000).unwrap();
    publish(&mut broker, &[&one]);
    assert!(is_in(&mut broker, &one));
    for bad in [
        Response::new(503, ""),
        Response::new(200, "{}"),
        Response::new(200, " ".repeat(256 * 1024 + 1)),
        Response::new(302, ""),
    ] {
        broker.advance_ms(100_000).unwrap();
        broker.set_answer("GET", URL, bad);
        assert!(is_in(&mut broker, &one));
    }
    assert_eq!(broker.counter("jwks_failures"), 5);
    broker.advance_ms(199_999).unwrap();
    assert!(is_in(&mut broker, &one));
    broker.advance_ms(1).unwrap();
    assert!(
        broker.authenticate(&one.attempt()).is_err(),
        "they are too old"
    );
    publish(&mut broker, &[&one]);
    broker.advance_ms(10_000).unwrap();
    assert!(is_in(&mut broker, &one));
}

#[test]
fn another_instance_and_the_next_start_find_the_keys() {
    let one = Issuer::new("one");
    let mut broker = start(json!({}));
    broker.advance_ms(10_000).unwrap();
    publish(&mut broker, &[&one]);
    assert!(is_in(&mut broker, &one));
    broker.set_answer("GET", URL, Response::new(503, ""));
    drop(broker.requests());
    broker.swap(json!({ "jwks": { "url": URL } })).unwrap();
    assert!(is_in(&mut broker, &one));
    assert_eq!(broker.requests().len(), 0);
    // Those of another address are others.
    broker
        .swap(json!({ "jwks": { "url": format!("{URL}/2") } }))
        .unwrap();
    assert!(!is_in(&mut broker, &one));
}

#[test]
fn own_keys_need_nobody() {
    let (one, own) = (Issuer::new("one"), Issuer::new("own"));
    let mut broker =
        start(json!({ "keys": [{ "kind": "jwks", "jwks": { "keys": [own.jwk()] } }] }));
    assert!(is_in(&mut broker, &own));
    assert!(!is_in(&mut broker, &one));
}

#[test]
fn bad_configurations_are_refused_with_the_place() {
    for (config, expected) in [
        (json!({}), "jwks"),
        (
            json!({ "jwks": { "url": "http://id.example.com" } }),
            "not encrypted",
        ),
        (json!({ "jwks": { "url": URL }, "pause_s": 0 }), "pause_s"),
        (
            json!({ "jwks": { "url": URL }, "stale_s": 2_592_001 }),
            "stale_s",
        ),
        (
            json!({ "jwks": { "url": URL }, "stale_s": 299 }),
            "less than the 300",
        ),
        (
            json!({ "jwks": { "url": URL }, "keys": [{ "kind": "pem", "pem": "x" }] }),
            "number 1",
        ),
    ] {
        let error = Broker::start(&config).err().unwrap();
        assert!(error.contains(expected), "{error}");
    }
}
