//! The bundled `auth-jwks` in a broker: keys of a provider that change, a client that is disconnected when its token ends,
//! and one that brought a new token in time.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use witmq_e2e::site::{Site, ok, status};
use witmq_e2e::wire::{AGAIN, AUTH, CONNACK, DISCONNECT, NOT_AUTHORIZED, SUCCESS, Wire};
use witmq_e2e::{Broker, PATIENCE, component};

const METHOD: &str = "JWT";

/// Makes tokens.
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

    /// What the provider publishes.
    fn set(&self) -> String {
        let (x, y) = self.pair.public_key().as_ref()[1..].split_at(32);
        let encode = |bytes| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        let key =
            json!({ "kty": "EC", "crv": "P-256", "kid": self.kid, "x": encode(x), "y": encode(y) });
        json!({ "keys": [key] }).to_string()
    }

    /// A token for ada that ends at this second since 1970.
    fn token(&self, exp: u64) -> String {
        self.token_of("test", exp)
    }

    /// The same of another provider.
    fn token_of(&self, iss: &str, exp: u64) -> String {
        let part = |value: Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        let claims = json!({ "sub": "ada", "iss": iss, "aud": "mqtt", "exp": exp });
        let header = json!({ "alg": "ES256", "kid": self.kid });
        let signed = format!("{}.{}", part(header), part(claims));
        let signature = self
            .pair
            .sign(&SystemRandom::new(), signed.as_bytes())
            .unwrap();
        format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
    }
}

/// Seconds since 1970, and some more.
fn in_seconds(seconds: u64) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    now.as_secs() + seconds
}

/// A broker that asks this provider.
fn broker(site: &Site) -> Broker {
    broker_with(&json!({
        "jwks": { "url": format!("{}/keys", site.url()) },
        "pause_s": 1,
        "tokens": { "leeway_s": 0, "issuers": ["test"], "audiences": ["mqtt"] }
    }))
}

fn broker_with(config: &Value) -> Broker {
    let broker = Broker::serve("[auth]\nplugins = [\"auth-jwks\"]\n");
    let config = config.to_string();
    let wasm = component("auth_jwks");
    let words = [
        "plugin",
        "install",
        wasm.to_str().unwrap(),
        "--name",
        "auth-jwks",
        "--config",
        &config,
        "--grant",
        "http:127.0.0.1",
    ];
    drop(broker.ok(&words, ""));
    broker
}

fn login(broker: &Broker, client_id: &str, token: &str) -> (Wire, u8) {
    let mut wire = Wire::connect(broker, client_id, METHOD, token);
    let said = wire.said();
    assert_eq!(said.packet, CONNACK);
    (wire, said.code)
}

#[test]
fn a_key_that_is_changed_is_found_and_the_old_one_ends() {
    let (old, new) = (Issuer::new("old"), Issuer::new("new"));
    let keys = Arc::new(Mutex::new(old.set()));
    let published = keys.clone();
    let site = Site::start(move |_| ok(published.lock().unwrap().clone()));
    let broker = broker(&site);
    let exp = in_seconds(3600);
    assert_eq!(login(&broker, "c", &old.token(exp)).1, SUCCESS);
    assert_eq!(
        login(&broker, "c", &Issuer::new("old").token(exp)).1,
        NOT_AUTHORIZED
    );
    *keys.lock().unwrap() = new.set();
    // At most a second, while it may not ask again.
    let end = Instant::now() + PATIENCE;
    while login(&broker, "c", &new.token(exp)).1 != SUCCESS {
        assert!(Instant::now() < end, "the new key is not found");
    }
    assert_eq!(login(&broker, "c", &old.token(exp)).1, NOT_AUTHORIZED);
    drop(site);
    assert_eq!(
        login(&broker, "c", &new.token(exp)).1,
        SUCCESS,
        "they are remembered"
    );
}

#[test]
fn a_client_goes_with_its_token_and_stays_with_a_new_one() {
    let issuer = Issuer::new("a");
    let set = issuer.set();
    let site = Site::start(move |_| ok(set.clone()));
    let broker = broker(&site);
    let (began, exp) = (Instant::now(), in_seconds(3));
    let (mut renewed, code) = login(&broker, "renewed", &issuer.token(exp));
    assert_eq!(code, SUCCESS);
    let (mut ended, code) = login(&broker, "ended", &issuer.token(exp));
    assert_eq!(code, SUCCESS);
    renewed.auth(AGAIN, METHOD, &issuer.token(in_seconds(3600)));
    let said = renewed.said_with(AUTH, SUCCESS);
    assert_eq!(said.method.as_deref(), Some(METHOD));
    assert!(ended.is_alive());

    assert_eq!(ended.said().packet, DISCONNECT);
    let took = began.elapsed();
    assert!(
        (Duration::from_secs(2)..Duration::from_secs(5)).contains(&took),
        "{took:?}"
    );
    assert!(ended.is_over());
    assert!(renewed.is_alive());

    // A token that is over does not renew anything.
    renewed.auth(AGAIN, METHOD, &issuer.token(in_seconds(0)));
    assert_eq!(renewed.said_with(DISCONNECT, NOT_AUTHORIZED).data, None);
    assert!(renewed.is_over());
}

#[test]
fn a_provider_that_is_named_by_its_address_says_where_its_keys_are_now() {
    let (old, new) = (Issuer::new("old"), Issuer::new("new"));
    let sets = [("/one", old.set()), ("/two", new.set())];
    let place = Arc::new(Mutex::new("/one"));
    let present = place.clone();
    let site = Site::start(move |asked| {
        let (here, now) = (
            format!("http://{}", asked.header("host")),
            *present.lock().unwrap(),
        );
        if asked.path == "/.well-known/openid-configuration" {
            let document = json!({ "issuer": here, "jwks_uri": format!("{here}{now}") });
            return ok(document.to_string());
        }
        let mut sets = sets.iter();
        let set = sets.find(|(path, _)| *path == asked.path && *path == now);
        set.map_or_else(|| status(404, ""), |(_, set)| ok(set.clone()))
    });
    let broker = broker_with(&json!({
        "issuer": { "url": site.url() },
        "pause_s": 1,
        "tokens": { "leeway_s": 0, "audiences": ["mqtt"] }
    }));
    let exp = in_seconds(3600);
    let good = old.token_of(&site.url(), exp);
    assert_eq!(login(&broker, "c", &good).1, SUCCESS);
    let other = old.token_of("http://127.0.0.1:1", exp);
    assert_eq!(login(&broker, "c", &other).1, NOT_AUTHORIZED);
    *place.lock().unwrap() = "/two";
    let end = Instant::now() + PATIENCE;
    while login(&broker, "c", &new.token_of(&site.url(), exp)).1 != SUCCESS {
        assert!(Instant::now() < end, "the new place is not found");
    }
}
