//! The plugin as the broker calls it.

use super::*;
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use ring::hmac;
use serde_json::{Value, json};
use witmq_sdk::testing::TestBroker;

type Broker = TestBroker<AuthJwt>;

fn secret() -> Vec<u8> {
    vec![b'k'; 32]
}

fn config() -> Value {
    json!({ "keys": [{ "kind": "secret", "secret": "jwt" }] })
}

fn broker(config: &Value) -> Broker {
    let setup = Broker::setup().grant("secret:jwt").secret("jwt", secret());
    setup.now_ms(1_000_000).start(config).unwrap()
}

/// A token that ends 1100 s after 1970, signed with the secret by another implementation.
fn token(algorithm: &str, secret: &[u8]) -> String {
    let hash = match algorithm {
        "HS256" => hmac::HMAC_SHA256,
        "HS384" => hmac::HMAC_SHA384,
        _ => hmac::HMAC_SHA512,
    };
    let part = |value: Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let claims = part(json!({ "sub": "ada", "exp": 1100 }));
    let signed = format!("{}.{claims}", part(json!({ "alg": algorithm })));
    let signature = hmac::sign(&hmac::Key::new(hash, secret), signed.as_bytes());
    format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
}

fn password(token: &str) -> Attempt {
    Attempt {
        client_id: "c".to_owned(),
        username: Some("x".to_owned()),
        password: Some(token.as_bytes().to_vec()),
        ..Attempt::default()
    }
}

fn method(name: &str, token: &str) -> Attempt {
    Attempt {
        method: Some(name.to_owned()),
        data: token.as_bytes().to_vec(),
        ..password("not looked at")
    }
}

/// 0: in; 1: ignored; otherwise the reason code.
fn code(broker: &mut Broker, attempt: &Attempt) -> u8 {
    match broker.authenticate(attempt).unwrap() {
        Step::Allow(_) => 0,
        Step::Ignore => 1,
        Step::Deny(denial) => denial.reason_code,
        other @ Step::Challenge { .. } => panic!("{other:?}"),
    }
}

#[test]
fn a_token_is_taken_from_where_it_belongs() {
    let good = token("HS256", &secret());
    let bad = token("HS256", &[b'x'; 32]);
    let mut broker = broker(&config());
    let in_name = Attempt {
        username: Some(good.clone()),
        password: None,
        ..Attempt::default()
    };
    for (attempt, expected) in [
        (password(&good), 0),
        (password(&bad), 0x86),
        (password("pencil"), 1),
        (password(""), 1),
        (in_name.clone(), 1),
        (method("JWT", &good), 0),
        (method("JWT", &bad), 0x87),
        (method("JWT", "pencil"), 0x87),
        (method("JWT", ""), 0x87),
        (method("SCRAM-SHA-256", &good), 1),
        (method("jwt", &good), 1),
    ] {
        assert_eq!(code(&mut broker, &attempt), expected, "{attempt:?}");
    }
    let mut config = config();
    config["tokens"] = json!({ "field": "username", "method": "" });
    let mut broker = self::broker(&config);
    assert_eq!(code(&mut broker, &in_name), 0);
    assert_eq!(code(&mut broker, &password(&good)), 1);
    assert_eq!(code(&mut broker, &method("JWT", &good)), 1);
    assert_eq!(code(&mut broker, &method("", &good)), 1);
}

#[test]
fn a_grant_ends_with_its_token() {
    let mut broker = broker(&config());
    let attempt = method("JWT", &token("HS256", &secret()));
    let Step::Allow(grant) = broker.authenticate(&attempt).unwrap() else {
        panic!("denied")
    };
    assert_eq!(grant.username.as_deref(), Some("ada"));
    assert_eq!(grant.expires_ms, Some(130_000));
    broker.advance_ms(129_999).unwrap();
    assert_eq!(code(&mut broker, &attempt), 0);
    broker.advance_ms(1).unwrap();
    assert_eq!(code(&mut broker, &attempt), 0x87);
}

#[test]
fn a_secret_has_to_be_long_enough_and_is_read_anew() {
    for (algorithm, least) in [("HS256", 32), ("HS384", 48), ("HS512", 64)] {
        let config =
            json!({ "keys": [{ "kind": "secret", "secret": "jwt", "algorithms": [algorithm] }] });
        let mut broker = broker(&config);
        for bytes in [least, least - 1] {
            let secret = vec![b's'; bytes];
            broker.set_secret("jwt", secret.clone());
            let expected = if bytes == least { 0 } else { 0x86 };
            assert_eq!(
                code(&mut broker, &password(&token(algorithm, &secret))),
                expected
            );
            let is_well = broker.check() == Health::Ok;
            assert_eq!(is_well, bytes == least, "{algorithm} {bytes}");
        }
    }
    let mut broker =
        broker(&json!({ "keys": [{ "kind": "secret", "secret": "jwt", "encoding": "base64" }] }));
    assert_eq!(
        code(&mut broker, &password(&token("HS256", &secret()))),
        0x86
    );
    broker.set_secret("jwt", BASE64_STANDARD.encode(secret()) + "\n");
    assert_eq!(code(&mut broker, &password(&token("HS256", &secret()))), 0);
    let mut without = Broker::start(config()).unwrap();
    assert!(matches!(without.check(), Health::Degraded(text) if text.contains("not granted")));
    assert_eq!(code(&mut without, &password(&token("HS256", b""))), 0x86);
}

#[test]
fn bad_configurations_are_refused_with_the_place() {
    let key = |key: Value| json!({ "keys": [key] });
    let tokens = |tokens: Value| {
        let mut config = config();
        config["tokens"] = tokens;
        config
    };
    for (config, expected) in [
        (json!({}), "keys"),
        (json!({ "keys": [] }), "keys"),
        (key(json!({ "kind": "pem", "pem": "x" })), "number 1: pem"),
        (key(json!({ "kind": "jwks", "jwks": {} })), "number 1: jwks"),
        (
            key(json!({ "kind": "secret", "secret": "a", "algorithms": ["RS256"] })),
            "RS256",
        ),
        (
            key(json!({ "kind": "secret", "secret": "a", "algorithms": ["none"] })),
            "none",
        ),
        (tokens(json!({ "leeway_s": 3601 })), "leeway_s"),
        (tokens(json!({ "username_claim": "" })), "username_claim"),
        (tokens(json!({ "issuer": "x" })), "issuer"),
    ] {
        let error = Broker::start(&config).err().unwrap();
        assert!(
            error.to_lowercase().contains(&expected.to_lowercase()),
            "{expected}: {error}"
        );
    }
}
