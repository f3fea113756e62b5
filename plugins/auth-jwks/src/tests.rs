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
const PROVIDER: &str = "https://id.example.com/realm";
const DOCUMENT: &str = "https://id.example.com/realm/.well-known/openid-configuration";

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
        let claims = part(json!({ "sub": "ada", "exp": 4_000_000_000_u64, "iss": PROVIDER }));
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

/// A provider that says that its keys are there.
fn describe(broker: &mut Broker, issuer: &str, jwks_uri: &str) {
    let document =
        json!({ "issuer": issuer, "jwks_uri": jwks_uri, "scopes_supported": ["openid"] });
    broker.set_answer("GET", DOCUMENT, Response::new(200, document.to_string()));
}

/// With the provider's address instead of that of its keys.
fn start_with_issuer(more: Value) -> Broker {
    let mut config = json!({ "issuer": {
        "url": PROVIDER, "headers": { "x-key": "1" }, "authorization": { "secret": "token" } } });
    let config_map = config.as_object_mut().unwrap();
    config_map.extend(more.as_object().unwrap().clone());
    let setup = Broker::setup()
        .grant("http:id.example.com")
        .grant("http:cdn.example.com");
    let setup = setup.grant("secret:token").secret("token", "t");
    setup.start(config).unwrap()
}

fn urls(broker: &mut Broker) -> Vec<String> {
    let all = broker.requests();
    all.into_iter().map(|request| request.url).collect()
}

#[test]
fn a_provider_is_asked_where_its_keys_are_and_now_and_then_again() {
    let one = Issuer::new("one");
    let mut broker = start_with_issuer(json!({ "refresh_s": 60, "discovery_s": 600 }));
    broker.advance_ms(10_000).unwrap();
    describe(&mut broker, PROVIDER, URL);
    publish(&mut broker, &[&one]);
    drop(broker.requests());
    assert!(is_in(&mut broker, &one));
    let asked = broker.requests();
    let secret = ("authorization".to_owned(), "Bearer t".to_owned());
    for (request, url) in asked.iter().zip([DOCUMENT, URL]) {
        assert_eq!(request.url, url);
        assert!(request.headers.contains(&secret), "{url} is the provider's");
    }
    assert_eq!(asked.len(), 2);
    // The address is known for longer than the keys.
    broker.advance_ms(60_000).unwrap();
    assert!(is_in(&mut broker, &one));
    assert_eq!(urls(&mut broker), [URL]);
    broker.advance_ms(540_000).unwrap();
    assert!(is_in(&mut broker, &one));
    assert_eq!(urls(&mut broker), [DOCUMENT, URL]);
    assert_eq!(
        broker.counter("jwks_discoveries"),
        2 + 1,
        "one at the start, in vain"
    );
    // Another instance knows it too.
    broker
        .swap(json!({ "issuer": { "url": PROVIDER }, "refresh_s": 60 }))
        .unwrap();
    broker.advance_ms(60_000).unwrap();
    assert!(is_in(&mut broker, &one));
    assert_eq!(urls(&mut broker), [URL]);
}

#[test]
fn keys_that_moved_are_found_and_strangers_get_no_secret() {
    const MOVED: &str = "https://cdn.example.com/keys";
    let one = Issuer::new("one");
    let mut broker = start_with_issuer(json!({ "refresh_s": 60 }));
    broker.advance_ms(10_000).unwrap();
    describe(&mut broker, PROVIDER, URL);
    publish(&mut broker, &[&one]);
    assert!(is_in(&mut broker, &one));
    describe(&mut broker, PROVIDER, MOVED);
    broker.set_answer("GET", URL, Response::new(404, ""));
    let set = json!({ "keys": [one.jwk()] }).to_string();
    broker.set_answer("GET", MOVED, Response::new(200, set));
    drop(broker.requests());
    broker.advance_ms(60_000).unwrap();
    assert!(is_in(&mut broker, &one), "those at hand still hold");
    assert_eq!(urls(&mut broker), [URL]);
    broker.advance_ms(10_000).unwrap();
    assert!(is_in(&mut broker, &one));
    let asked = broker.requests();
    let asked: Vec<_> = asked
        .iter()
        .map(|one| (&*one.url, one.headers.len()))
        .collect();
    assert_eq!(asked, [(DOCUMENT, 2), (MOVED, 0)]);
}

#[test]
fn what_a_provider_says_is_not_believed_blindly() {
    let one = Issuer::new("one");
    for (issuer, jwks_uri, expected) in [
        (
            "https://id.example.com/realm/",
            URL,
            "calls itself `https://id.example.com/realm/`",
        ),
        ("https://evil.example.com", URL, "calls itself"),
        (PROVIDER, "http://id.example.com/keys", "not encrypted"),
        (PROVIDER, "https://user@id.example.com/keys", "jwks_uri"),
        (PROVIDER, "keys", "jwks_uri"),
        (PROVIDER, "https://other.example.com/keys", ""), // not granted
    ] {
        let mut broker = start_with_issuer(json!({}));
        broker.advance_ms(10_000).unwrap();
        describe(&mut broker, issuer, jwks_uri);
        publish(&mut broker, &[&one]);
        assert!(
            broker.authenticate(&one.attempt()).is_err(),
            "{issuer} {jwks_uri}"
        );
        let mut lines = broker.logged().into_iter();
        let logged = lines.any(|line| line.text.contains(expected));
        assert!(logged, "{expected}");
    }
    for bad in ["", "{}", "[]"] {
        let mut broker = start_with_issuer(json!({}));
        broker.advance_ms(10_000).unwrap();
        broker.set_answer("GET", DOCUMENT, Response::new(200, bad));
        assert!(broker.authenticate(&one.attempt()).is_err(), "{bad}");
    }
}

#[test]
fn tokens_of_a_provider_have_its_address() {
    let one = Issuer::new("one");
    let started = |tokens: Value| {
        let mut broker = start_with_issuer(json!({ "tokens": tokens }));
        broker.advance_ms(10_000).unwrap();
        describe(&mut broker, PROVIDER, URL);
        publish(&mut broker, &[&one]);
        is_in(&mut broker, &one)
    };
    assert!(started(json!({})));
    assert!(started(json!({ "issuers": [PROVIDER] })));
    assert!(!started(
        json!({ "issuers": ["https://another.example.com"] })
    ));
    let config = json!({ "issuer": { "url": "https://id.example.com" } });
    let setup = Broker::setup().grant("http:id.example.com");
    let mut other = setup.start(config).unwrap();
    other.advance_ms(10_000).unwrap();
    let document = json!({ "issuer": "https://id.example.com", "jwks_uri": URL }).to_string();
    let at = "https://id.example.com/.well-known/openid-configuration";
    other.set_answer("GET", at, Response::new(200, document));
    publish(&mut other, &[&one]);
    assert!(!is_in(&mut other, &one), "`iss` is another");
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
        (json!({}), "neither `jwks` nor `issuer`"),
        (
            json!({ "jwks": { "url": URL }, "issuer": { "url": PROVIDER } }),
            "not both",
        ),
        (
            json!({ "issuer": { "url": "http://id.example.com" } }),
            "issuer: url: `http://id.example.com` is not encrypted",
        ),
        (
            json!({ "issuer": { "url": PROVIDER }, "discovery_s": 0 }),
            "discovery_s",
        ),
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
