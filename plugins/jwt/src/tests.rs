//! Tokens made by another implementation, and everything that is none.

use crate::*;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ring::rand::SystemRandom;
use ring::signature::{self as sign, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RsaKeyPair};
use serde_json::{Value, json};
use witmq_sdk::{Attempt, Grant, Rule, Step};

mod examples;

const RSA: &str = include_str!("../testdata/rsa.pem");
const RSA_PUBLIC: &str = include_str!("../testdata/rsa.pub.pem");
const RSA_PKCS1: &str = include_str!("../testdata/rsa.pkcs1.pem");
const RSA_1024: &str = include_str!("../testdata/rsa1024.pub.pem");
/// Of the key that made [`ES512`] (`openssl ecparam -name secp521r1 -genkey`).
const P521: &str = include_str!("../testdata/p521.pub.pem");
/// On a curve that is not known here.
const ED448: &str = include_str!("../testdata/ed448.pub.pem");
/// Made by OpenSSL, for ring does not know the curve.
const ES512: &str = "eyJhbGciOiJFUzUxMiJ9.eyJzdWIiOiJhZGEifQ.AbrAzNLqAzhOFiTm1ocG9PfB9_ynldQ2ygBs761dA4KMvf3XjgfurjBuul6qXEskib-dw4yMAk2nFRa9J79R3x3hAdP-G9ZwIQAWM83Ji1Y_UVXaGWPkTVvc47TKL8T7UNtbgDkfANxPecxGnqz7ItqyAiuCPX_e1JIyXepUd1xe3Aw7";
/// Milliseconds; the same time in seconds is 2,000,000.
const NOW: u64 = 2_000_000_000;

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_BASE64.encode(bytes)
}

fn rsa_sign(algorithm: &str, signed: &[u8]) -> Vec<u8> {
    let body: String = RSA.lines().filter(|line| !line.starts_with('-')).collect();
    let pair = RsaKeyPair::from_pkcs8(&BASE64_STANDARD.decode(body).unwrap()).unwrap();
    let padding: &dyn sign::RsaEncoding = match algorithm {
        "RS256" => &sign::RSA_PKCS1_SHA256,
        "RS384" => &sign::RSA_PKCS1_SHA384,
        "RS512" => &sign::RSA_PKCS1_SHA512,
        "PS256" => &sign::RSA_PSS_SHA256,
        "PS384" => &sign::RSA_PSS_SHA384,
        _ => &sign::RSA_PSS_SHA512,
    };
    let mut signature = vec![0; pair.public().modulus_len()];
    pair.sign(padding, &SystemRandom::new(), signed, &mut signature)
        .unwrap();
    signature
}

/// A key pair of ring on a curve, and its public half as a JWK.
fn curve(name: &str) -> (EcdsaKeyPair, Value) {
    let (algorithm, size) = match name {
        "P-256" => (&sign::ECDSA_P256_SHA256_FIXED_SIGNING, 32),
        _ => (&sign::ECDSA_P384_SHA384_FIXED_SIGNING, 48),
    };
    let random = SystemRandom::new();
    let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random).unwrap();
    let point = pair.public_key().as_ref().to_vec();
    let (x, y) = point[1..].split_at(size);
    let jwk = json!({ "kty": "EC", "crv": name, "x": encode(x), "y": encode(y) });
    (pair, jwk)
}

/// A key pair of ring for Ed25519, and its public half as a JWK.
fn edwards() -> (Ed25519KeyPair, Value) {
    let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    let pair = Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap();
    let x = encode(pair.public_key().as_ref());
    (pair, json!({ "kty": "OKP", "crv": "Ed25519", "x": x }))
}

/// The public half as PEM: RFC 8410 puts these bytes before it.
fn edwards_pem(pair: &Ed25519KeyPair) -> String {
    let head = [
        0x30, 0x2A, 0x30, 0x05, 0x06, 0x03, 0x2B, 0x65, 0x70, 0x03, 0x21, 0x00,
    ];
    let body = BASE64_STANDARD.encode([&head[..], pair.public_key().as_ref()].concat());
    format!("-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n")
}

fn token(header: &Value, claims: &Value, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let signed = format!(
        "{}.{}",
        encode(header.to_string()),
        encode(claims.to_string())
    );
    let signature = encode(sign(signed.as_bytes()));
    format!("{signed}.{signature}")
}

fn ec_token(pair: &EcdsaKeyPair, header: &Value, claims: &Value) -> String {
    token(header, claims, |signed| {
        pair.sign(&SystemRandom::new(), signed)
            .unwrap()
            .as_ref()
            .to_vec()
    })
}

fn pem(text: &str, algorithms: Option<&[Algorithm]>) -> Result<Vec<Key>, String> {
    let algorithms = algorithms.map(<[_]>::to_vec);
    KeyConfig::Pem {
        pem: text.to_owned(),
        algorithms,
        kid: None,
    }
    .keys()
}

fn set(keys: &Value) -> Vec<Key> {
    from_jwks(json!({ "keys": keys }).to_string().as_bytes())
        .unwrap()
        .0
}

fn verified(keys: &[Key], token: &str) -> Result<(), Rejection> {
    verify(keys, &Token::parse(token.as_bytes())?)
}

#[test]
fn the_example_of_the_standard_is_verified() {
    // RFC 7515, appendix A.3.
    let keys = set(&json!([{ "kty": "EC", "crv": "P-256",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0" }]));
    let example = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19y\
        b290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
    assert_eq!(verified(&keys, example), Ok(()));
}

#[test]
fn tokens_of_another_implementation_are_verified_and_changed_ones_are_not() {
    let claims = json!({ "sub": "ada" });
    let mut all = Vec::new();
    for name in ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"] {
        let made = token(&json!({ "alg": name }), &claims, |signed| {
            rsa_sign(name, signed)
        });
        all.push((made.clone(), pem(RSA_PUBLIC, None).unwrap()));
        all.push((made, pem(RSA_PKCS1, None).unwrap()));
    }
    for (name, curve_name) in [("ES256", "P-256"), ("ES384", "P-384")] {
        let (pair, jwk) = curve(curve_name);
        let made = ec_token(&pair, &json!({ "alg": name }), &claims);
        all.push((made, set(&json!([jwk]))));
    }
    for name in ["EdDSA", "Ed25519"] {
        let (pair, jwk) = edwards();
        let header = json!({ "alg": name });
        let made = token(&header, &claims, |signed| {
            pair.sign(signed).as_ref().to_vec()
        });
        all.push((made.clone(), set(&json!([jwk]))));
        all.push((made, pem(&edwards_pem(&pair), None).unwrap()));
    }
    all.push((ES512.to_owned(), pem(P521, None).unwrap()));
    for (made, keys) in &all {
        assert_eq!(verified(keys, made), Ok(()), "{made}");
        for place in [made.len() / 3, made.len() - 20] {
            let other = if made.as_bytes()[place] == b'A' {
                "B"
            } else {
                "A"
            };
            let mut changed = made.clone();
            changed.replace_range(place..=place, other);
            assert!(verified(keys, &changed).is_err(), "{changed}");
        }
        let shorter = &made[..made.len() - 4];
        assert!(verified(keys, shorter).is_err());
        let (unsigned, _) = made.rsplit_once('.').unwrap();
        assert!(verified(keys, &format!("{unsigned}.")).is_err());
    }
}

#[test]
fn a_key_is_used_with_its_own_algorithms_only() {
    let claims = json!({ "sub": "ada" });
    let keys = pem(RSA_PUBLIC, None).unwrap();
    let none = token(&json!({ "alg": "none" }), &claims, |_| Vec::new());
    assert_eq!(verified(&keys, &none), Err(Rejection::Algorithm));
    for name in ["None", "NONE", "", "hs256", "ES256K", "EDDSA", "RS256 "] {
        let made = token(&json!({ "alg": name }), &claims, |signed| {
            rsa_sign("RS256", signed)
        });
        assert_eq!(verified(&keys, &made), Err(Rejection::Algorithm), "{name}");
    }
    for name in ["ES512", "EdDSA", "Ed25519"] {
        let made = token(&json!({ "alg": name }), &claims, |signed| {
            rsa_sign("RS256", signed)
        });
        assert_eq!(verified(&keys, &made), Err(Rejection::NoKey), "{name}");
    }
    // The public key as if it were a secret.
    let hmac_key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, RSA_PUBLIC.as_bytes());
    let forged = token(&json!({ "alg": "HS256" }), &claims, |signed| {
        ring::hmac::sign(&hmac_key, signed).as_ref().to_vec()
    });
    assert_eq!(verified(&keys, &forged), Err(Rejection::NoKey));
    // What it says is not what it is.
    let lies = token(&json!({ "alg": "RS512", "kid": "a" }), &claims, |signed| {
        rsa_sign("RS256", signed)
    });
    assert_eq!(verified(&keys, &lies), Err(Rejection::Signature));
    let only = pem(RSA_PUBLIC, Some(&[Algorithm::Ps256])).unwrap();
    let made = token(&json!({ "alg": "RS256" }), &claims, |signed| {
        rsa_sign("RS256", signed)
    });
    assert_eq!(verified(&only, &made), Err(Rejection::NoKey));
    let said = pem(RSA_PUBLIC, Some(&[Algorithm::Hs256])).unwrap_err();
    assert!(said.contains("not for this type"), "{said}");
    assert!(pem(RSA_PUBLIC, Some(&[])).is_err());
}

#[test]
fn a_key_is_chosen_by_its_name() {
    let (one, mut first) = curve("P-256");
    let (two, mut second) = curve("P-256");
    (first["kid"], second["kid"]) = ("one".into(), "two".into());
    let keys = set(&json!([first, second]));
    let made = |pair, kid: Option<&str>| {
        let mut header = json!({ "alg": "ES256" });
        if let Some(kid) = kid {
            header["kid"] = kid.into();
        }
        ec_token(pair, &header, &json!({}))
    };
    assert_eq!(verified(&keys, &made(&two, Some("two"))), Ok(()));
    assert_eq!(verified(&keys, &made(&two, None)), Ok(()), "each is tried");
    assert_eq!(
        verified(&keys, &made(&two, Some("one"))),
        Err(Rejection::Signature)
    );
    assert_eq!(
        verified(&keys, &made(&one, Some("three"))),
        Err(Rejection::NoKey)
    );
    let (other, _) = curve("P-256");
    assert_eq!(verified(&keys, &made(&other, None)), Err(Rejection::NoKey));
}

#[test]
fn keys_that_do_not_do_are_refused_with_words() {
    for (text, expected) in [
        (RSA, "private key"),
        (RSA_1024, "1024 bits"),
        (ED448, "no public key"),
        ("-----BEGIN CERTIFICATE-----", "certificate"),
        ("", "no public key"),
    ] {
        let said = pem(text, None).unwrap_err();
        assert!(said.contains(expected), "{said}");
    }
    let (_, good) = curve("P-256");
    let with = |name: &str, value: Value| {
        let mut jwk = good.clone();
        jwk[name] = value;
        json!({ "keys": [jwk] }).to_string()
    };
    let okp =
        |x: Value| json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "x": x }] }).to_string();
    for (text, expected) in [
        ("{}".to_owned(), "keys"),
        (r#"{"keys":[]}"#.to_owned(), "no key"),
        (with("use", json!("enc")), "not for signatures"),
        (with("key_ops", json!(["sign"])), "not for verifying"),
        (with("alg", json!("RS256")), "not for this type"),
        (with("alg", json!("none")), "not for tokens"),
        (with("kty", json!("oct")), "use `secret`"),
        (with("kty", json!("OKP")), "not known"),
        (with("crv", json!("secp256k1")), "not known"),
        (with("crv", json!("P-521")), "no point of P-521"),
        (okp(json!("AAAA")), "not 32 bytes"),
        (okp(Value::Null), "no `x`"),
        // A point of small order: everything is signed by it.
        (okp(json!(encode([0; 32]))), "no key of Ed25519"),
        (with("x", json!("AAAA")), "no point"),
        (with("x", json!("!")), "base64url"),
        (with("x", Value::Null), "no `x`"),
        (with("x", good["y"].clone()), "no point"),
        (
            json!({ "keys": vec![good.clone(); 65] }).to_string(),
            "65 keys",
        ),
    ] {
        let said = from_jwks(text.as_bytes()).unwrap_err();
        assert!(said.contains(expected), "{expected}: {said}");
    }
    let mixed = json!({ "keys": [{ "kty": "OKP" }, good] }).to_string();
    let (keys, others) = from_jwks(mixed.as_bytes()).unwrap();
    assert_eq!((keys.len(), others.len()), (1, 1));
    assert_eq!(set(&json!(vec![good; 64])).len(), 64);
}

#[test]
fn what_is_no_token_is_told_from_a_bad_one() {
    for text in [
        "",
        "password",
        "a.b",
        "a.b.c.d",
        "ey.b.c.d",
        "x.b.c",
        "ey!.b.c",
        "ey.b c.d",
        "ey\u{e9}.b.c",
    ] {
        assert_eq!(
            Token::parse(text.as_bytes()).unwrap_err(),
            Rejection::NotAToken,
            "{text}"
        );
    }
    assert_eq!(
        Token::parse(b"ey.\xFF.c").unwrap_err(),
        Rejection::NotAToken
    );
    let good = token(&json!({ "alg": "ES256" }), &json!({}), |_| vec![0; 64]);
    let (header, rest) = good.split_once('.').unwrap();
    let (claims, signature) = rest.split_once('.').unwrap();
    let critical = encode(json!({ "alg": "ES256", "crit": ["b64"] }).to_string());
    let twice = encode(r#"{"alg":"ES256","alg":"none"}"#);
    for (text, expected) in [
        (format!("{header}.{claims}.AAA="), Rejection::NotAToken),
        (
            format!("{header}.{claims}.AAB"),
            Rejection::Malformed("signature"),
        ),
        (
            format!("{header}..{signature}"),
            Rejection::Malformed("claims"),
        ),
        (
            format!("{header}.{}.{signature}", encode("[]")),
            Rejection::Malformed("claims"),
        ),
        (
            format!("ey.{claims}.{signature}"),
            Rejection::Malformed("header"),
        ),
        (
            format!("{twice}.{claims}.{signature}"),
            Rejection::Malformed("header"),
        ),
        (
            format!("{critical}.{claims}.{signature}"),
            Rejection::Critical,
        ),
    ] {
        assert_eq!(
            Token::parse(text.as_bytes()).unwrap_err(),
            expected,
            "{text}"
        );
    }
    let of = |bytes: usize| format!("{good}{}", "A".repeat(bytes - good.len()));
    let most = token::TOKEN_BYTES;
    assert_ne!(
        Token::parse(of(most).as_bytes()).err(),
        Some(Rejection::TooLong(most))
    );
    let long = Token::parse(of(most + 1).as_bytes()).err();
    assert_eq!(long, Some(Rejection::TooLong(most + 1)));
}

/// What a token with these claims grants, its signature being right.
fn judged(tokens: &Value, claims: &Value) -> Result<Grant, String> {
    let tokens: Tokens = serde_json::from_value(tokens.clone()).unwrap();
    let made = token(&json!({ "alg": "ES256" }), claims, |_| vec![0; 64]);
    let attempt = Attempt {
        client_id: "c1".to_owned(),
        username: Some("ada".to_owned()),
        password: Some(made.into_bytes()),
        ..Attempt::default()
    };
    match Judge::new(tokens)
        .decide(&attempt, NOW, |_| Ok(Ok(())))
        .unwrap()
    {
        Step::Allow(grant) => Ok(grant),
        Step::Deny(denial) => Err(denial.text.unwrap()),
        other => Err(format!("{other:?}")),
    }
}

fn with(more: Value) -> Value {
    let mut claims = json!({ "sub": "ada", "exp": 2_000_100 });
    claims
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    claims
}

#[test]
fn times_count_with_their_leeway() {
    let tokens = json!({ "leeway_s": 10 });
    for (claims, left) in [
        (json!({ "exp": 2_000_100 }), Some(110_000)),
        (json!({ "exp": 1_999_991 }), Some(1000)),
        (json!({ "exp": 1_999_990.5 }), Some(500)),
        (json!({ "exp": 1_999_990 }), None),
        (json!({ "exp": 0 }), None),
        (json!({ "exp": -1 }), None),
        (json!({ "exp": "2000100" }), None),
        (json!({ "exp": null }), None),
        (json!({ "exp": 1e300 }), None),
        (json!({ "exp": u64::MAX }), Some(u64::MAX - NOW)),
        (json!({ "nbf": 2_000_010 }), Some(110_000)),
        (json!({ "nbf": 2_000_011 }), None),
        (json!({ "iat": 2_000_010 }), Some(110_000)),
        (json!({ "iat": 2_000_011 }), None),
        (json!({ "iat": "now" }), None),
    ] {
        let grant = judged(&tokens, &with(claims.clone()));
        assert_eq!(
            grant.ok().map(|grant| grant.expires_ms.unwrap()),
            left,
            "{claims}"
        );
    }
    let without = json!({ "sub": "ada" });
    assert!(judged(&json!({}), &without).unwrap_err().contains("`exp`"));
    let grant = judged(&json!({ "exp_required": false }), &without).unwrap();
    assert_eq!(grant.expires_ms, None);
}

#[test]
fn who_it_is_by_and_for_has_to_be_right() {
    for (tokens, claims, is_taken) in [
        (
            json!({ "issuers": ["a", "b"] }),
            json!({ "iss": "b" }),
            true,
        ),
        (json!({ "issuers": ["a"] }), json!({ "iss": "b" }), false),
        (json!({ "issuers": ["a"] }), json!({ "iss": ["a"] }), false),
        (json!({ "issuers": ["a"] }), json!({}), false),
        (json!({}), json!({ "iss": "x" }), true),
        (json!({ "audiences": ["m"] }), json!({ "aud": "m" }), true),
        (
            json!({ "audiences": ["m"] }),
            json!({ "aud": ["x", "m"] }),
            true,
        ),
        (
            json!({ "audiences": ["m"] }),
            json!({ "aud": ["x"] }),
            false,
        ),
        (json!({ "audiences": ["m"] }), json!({ "aud": {} }), false),
        (json!({ "audiences": ["m"] }), json!({}), false),
        (json!({}), json!({ "aud": "x" }), false),
        (
            json!({ "require": { "cid": "{client}" } }),
            json!({ "cid": "c1" }),
            true,
        ),
        (
            json!({ "require": { "cid": "{client}" } }),
            json!({ "cid": "c2" }),
            false,
        ),
        (
            json!({ "require": { "cid": "{client}" } }),
            json!({}),
            false,
        ),
        (
            json!({ "require": { "n": "x-{user}-{client}" } }),
            json!({ "n": ["x-ada-c1"] }),
            true,
        ),
        (
            json!({ "require": { "mqtt": "true", "v": "2" } }),
            json!({ "mqtt": true, "v": 2 }),
            true,
        ),
        (
            json!({ "require": { "mqtt": "true" } }),
            json!({ "mqtt": { "true": 1 } }),
            false,
        ),
    ] {
        let result = judged(&tokens, &with(claims.clone()));
        assert_eq!(result.is_ok(), is_taken, "{tokens} {claims}: {result:?}");
    }
    // A client id that looks like a place stays what it is.
    assert_eq!(judge::fill("{client}-{user}", "{user}", "u"), "{user}-u");
}

#[test]
fn names_rules_and_attributes_are_those_of_the_claims() {
    let tokens = json!({
        "acl": [{ "allow": true, "actions": ["subscribe"], "topics": ["news/#"] }],
        "superuser_claim": "root", "attributes": { "tenant": "org", "level": "lvl" }
    });
    let news = || Rule {
        publish: false,
        ..Rule::allow("news/#")
    };
    let publish = |rule: Rule| Rule {
        subscribe: false,
        ..rule
    };
    let acl = json!({ "publish": ["p"], "subscribe": [], "all": ["x/#"], "deny": { "publish": ["x/no"] } });
    let claims = with(json!({ "acl": acl, "org": "acme", "lvl": 3, "root": true }));
    let grant = judged(&tokens, &claims).unwrap();
    let expected = [
        publish(Rule::deny("x/no")),
        publish(Rule::allow("p")),
        Rule::allow("x/#"),
        news(),
    ];
    assert_eq!(grant.acl, expected);
    assert!(grant.superuser && grant.acl_complete);
    assert_eq!(grant.username.as_deref(), Some("ada"));
    let attribute = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(
        grant.attributes,
        [attribute("level", "3"), attribute("tenant", "acme")]
    );
    let list = json!([{ "allow": true, "topics": ["a"] }, { "allow": false, "topics": ["b"] }]);
    let grant = judged(&json!({}), &with(json!({ "acl": list, "root": true }))).unwrap();
    assert_eq!(grant.acl, [Rule::allow("a"), Rule::deny("b")]);
    assert!(
        !grant.superuser,
        "no claim makes one unless it is configured"
    );
    let grant = judged(&tokens, &with(json!({ "root": "true" }))).unwrap();
    assert!(!grant.superuser);
    for acl in [
        json!("#"),
        json!({ "pub": ["a"] }),
        json!({ "all": "a" }),
        json!([{ "allow": true }]),
        json!(null),
    ] {
        assert!(
            judged(&json!({}), &with(json!({ "acl": acl }))).is_err(),
            "{acl}"
        );
    }
    let many = |count: usize| {
        judged(
            &json!({}),
            &with(json!({ "acl": { "all": vec!["a"; count] } })),
        )
    };
    assert!(many(256).is_ok() && many(257).is_err());
    for sub in [json!(7), json!(""), json!(null)] {
        assert!(judged(&json!({}), &with(json!({ "sub": sub }))).is_err());
    }
    let grant = judged(
        &json!({ "username_claim": "name" }),
        &with(json!({ "name": "bob" })),
    );
    assert_eq!(grant.unwrap().username.as_deref(), Some("bob"));
}
