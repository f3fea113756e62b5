//! The plugin as the broker calls it.

use super::*;
use argon2::password_hash::{PasswordHasher, SaltString};
use serde_json::json;
use witmq_sdk::testing::TestBroker;
use witmq_users::testing;

type Broker = TestBroker<AuthFile>;

fn entry(password: &str, salt: &[u8], iterations: u32) -> serde_json::Value {
    testing::entry(METHOD, password, salt, iterations)
}

fn answer(password: &str, header: &str, bare: &str, server_first: &str) -> (String, String) {
    testing::answer(METHOD, password, header, bare, server_first)
}

fn hash(password: &str) -> String {
    let salt = SaltString::encode_b64(b"0123456789abcdef").unwrap();
    Argon2::default()
        .hash_password(password.as_bytes(), &salt)
        .unwrap()
        .to_string()
}

fn attempt(name: Option<&str>, password: &str) -> Attempt {
    Attempt {
        username: name.map(str::to_owned),
        password: Some(password.as_bytes().to_vec()),
        ..Attempt::default()
    }
}

fn code(step: &Step) -> u8 {
    match step {
        Step::Allow(_) => 0,
        Step::Deny(denial) => denial.reason_code,
        Step::Challenge { .. } | Step::Ignore => 0xFF,
    }
}

#[test]
fn passwords_names_and_anonymous_clients_get_the_code_they_deserve() {
    let config = json!({ "users": [{ "name": "ada", "hash": hash("right") }] }).to_string();
    let mut plugin = Broker::start(&config).unwrap();
    for (name, password, expected) in [
        (Some("ada"), "right", 0),
        (Some("ada"), "wrong", 0x86),
        (Some("eve"), "right", 0x86),
        (None, "", 0x87),
    ] {
        let step = plugin.authenticate(&attempt(name, password)).unwrap();
        assert_eq!(code(&step), expected, "{name:?} {password}");
    }
    let mut open = Broker::start(r#"{"anonymous":"allow","default":"allow"}"#).unwrap();
    let Step::Allow(grant) = open.authenticate(&attempt(None, "")).unwrap() else {
        panic!("denied")
    };
    assert_eq!(
        grant
            .acl
            .iter()
            .map(|rule| &*rule.filter)
            .collect::<Vec<_>>(),
        ["#", "$SYS/#"]
    );
}

#[test]
fn own_rules_come_before_general_ones_and_the_rest_is_denied() {
    let config = json!({
        "acl": [{ "allow": true, "topics": ["open/#"] }],
        "users": [{ "name": "ada", "hash": hash("p"), "acl": [
            { "allow": false, "actions": ["publish"], "topics": ["open/no"] },
            { "allow": true, "actions": ["subscribe"], "topics": ["own/{user}/#", "x"] } ] }]
    });
    let mut plugin = Broker::start(&config).unwrap();
    let Step::Allow(grant) = plugin.authenticate(&attempt(Some("ada"), "p")).unwrap() else {
        panic!("denied")
    };
    let rule = |allow, publish, subscribe, filter: &str| Rule {
        allow,
        publish,
        subscribe,
        filter: filter.into(),
    };
    assert_eq!(
        grant.acl,
        [
            rule(false, true, false, "open/no"),
            rule(true, false, true, "own/{user}/#"),
            rule(true, false, true, "x"),
            rule(true, true, true, "open/#"),
        ]
    );
    assert!(grant.acl_complete && !grant.superuser);
}

#[test]
fn bad_configurations_are_refused_with_the_place() {
    let user = |hash: &str| json!({ "users": [{ "name": "ada", "hash": hash }] }).to_string();
    for (config, expected) in [
        (r#"{"anonymus":"allow"}"#.to_owned(), "anonymus"),
        (r#"{"anonymous":"maybe"}"#.to_owned(), "maybe"),
        (user("plain text"), "`ada`: hash is no argon2 hash"),
        (
            user("$argon2i$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA"),
            "argon2i,",
        ),
    ] {
        let error = Broker::start(&config).err().unwrap();
        assert!(error.contains(expected), "{error}");
    }
}

const SECRET: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

fn with_scram() -> Broker {
    let users = json!([
        { "name": "ada", "scram": entry("pencil", b"salt of sixteen!", 20_000),
          "acl": [{ "allow": true, "topics": ["home/{user}/#"] }] },
        { "name": "bob", "hash": hash("pencil") },
    ]);
    let config = json!({ "scram_secret": SECRET, "users": users });
    Broker::start(&config).unwrap()
}

fn scram(data: &str) -> Attempt {
    Attempt {
        method: Some("SCRAM-SHA-256".to_owned()),
        data: data.as_bytes().to_vec(),
        ..Attempt::default()
    }
}

/// The first round: the server's message and the state.
fn challenged(plugin: &mut Broker, name: &str) -> (String, Vec<u8>) {
    let step = plugin
        .authenticate(&scram(&format!("n,,n={name},r=abc")))
        .unwrap();
    let Step::Challenge { data, state } = step else {
        panic!("{step:?}")
    };
    (String::from_utf8(data).unwrap(), state)
}

#[test]
fn scram_lets_in_by_the_right_password_and_proves_itself() {
    let mut plugin = with_scram();
    // The second time is a re-authentication: the same exchange with another nonce.
    for _ in 0..2 {
        let (server_first, state) = challenged(&mut plugin, "ada");
        let (last, expected) = answer("pencil", "n,,", "n=ada,r=abc", &server_first);
        let step = plugin.proceed(&scram(""), &state, last.as_bytes()).unwrap();
        let Step::Allow(grant) = step else {
            panic!("{step:?}")
        };
        assert_eq!(grant.username.as_deref(), Some("ada"));
        assert_eq!(grant.data, Some(expected.into_bytes()));
        assert_eq!(grant.acl[0].filter, "home/{user}/#");
        // The same last message in another exchange.
        let (_, state) = challenged(&mut plugin, "ada");
        let step = plugin.proceed(&scram(""), &state, last.as_bytes()).unwrap();
        assert_eq!(code(&step), NOT_AUTHORIZED);
    }
}

#[test]
fn scram_answers_unknown_names_like_known_ones() {
    let mut plugin = with_scram();
    let mut form = |name: &str| {
        let (one, state) = challenged(&mut plugin, name);
        let (two, _) = challenged(&mut plugin, name);
        let rest = |message: &str| message.split_once(',').unwrap().1.to_owned();
        assert_ne!(one, two, "nonces differ");
        assert_eq!(rest(&one), rest(&two), "salts stay");
        let (last, _) = answer("wrong", "n,,", &format!("n={name},r=abc"), &one);
        let step = plugin.proceed(&scram(""), &state, last.as_bytes()).unwrap();
        let salt = rest(&one).len();
        (
            one.len(),
            salt,
            rest(&one).split_once(",i=").unwrap().1.to_owned(),
            step,
        )
    };
    let known = form("ada");
    assert_eq!(code(&known.3), BAD_CREDENTIALS);
    assert_eq!(form("eve"), known);
    assert_eq!(form("bob"), known, "bob has no keys");
}

#[test]
fn scram_and_passwords_are_apart() {
    let mut plugin = with_scram();
    for (name, password, expected) in [("bob", "pencil", 0), ("ada", "pencil", BAD_CREDENTIALS)] {
        let step = plugin.authenticate(&attempt(Some(name), password)).unwrap();
        assert_eq!(code(&step), expected, "{name}");
    }
}

#[test]
fn methods_and_messages_that_are_not_offered_get_their_code() {
    let mut plugin = with_scram();
    let other = |method: &str| Attempt {
        method: Some(method.to_owned()),
        ..scram("n,,n=ada,r=abc")
    };
    for method in ["SCRAM-SHA-1", "SCRAM-SHA-256-PLUS", "scram-sha-256", ""] {
        assert_eq!(
            code(&plugin.authenticate(&other(method)).unwrap()),
            BAD_METHOD
        );
        let step = plugin.proceed(&other(method), b"", b"").unwrap();
        assert_eq!(code(&step), BAD_METHOD);
    }
    for (data, expected) in [
        ("", NOT_AUTHORIZED),
        ("ada", NOT_AUTHORIZED),
        ("p=tls-unique,,n=ada,r=abc", BAD_METHOD),
    ] {
        assert_eq!(code(&plugin.authenticate(&scram(data)).unwrap()), expected);
    }
    let (_, state) = challenged(&mut plugin, "ada");
    let step = plugin.proceed(&scram(""), &state, b"").unwrap();
    assert_eq!(code(&step), NOT_AUTHORIZED);
    let step = plugin.proceed(&scram(""), b"", b"c=biws").unwrap();
    assert_eq!(code(&step), NOT_AUTHORIZED);
    let mut without = Broker::start(r#"{"anonymous":"allow"}"#).unwrap();
    let step = without.authenticate(&scram("n,,n=ada,r=abc")).unwrap();
    assert_eq!(code(&step), BAD_METHOD);
}

#[test]
fn bad_scram_keys_are_refused_with_the_place() {
    let good = entry("pencil", b"salt of sixteen!", 20_000);
    let with = |field: &str, value: serde_json::Value| {
        let mut scram = good.clone();
        scram[field] = value;
        json!({ "scram_secret": SECRET, "users": [{ "name": "ada", "scram": scram }] })
    };
    for (config, expected) in [
        (
            with("iterations", 4095.into()),
            "`ada`: scram: 4095 iterations, allowed are 4096 to 1000000",
        ),
        (
            with("iterations", 1_000_001.into()),
            "`ada`: scram: 1000001",
        ),
        (with("salt", "!".into()), "`ada`: scram: `salt`"),
        (with("salt", "AAAA".into()), "`ada`: scram: `salt`"),
        (
            with("stored_key", "AAAA".into()),
            "`ada`: scram: `stored_key`",
        ),
        (
            with("server_key", "AAAA".into()),
            "`ada`: scram: `server_key`",
        ),
        (with("key", "AAAA".into()), "unknown field `key`"),
        (
            json!({ "users": [{ "name": "ada", "scram": good }] }),
            "`ada`: scram needs `scram_secret`",
        ),
        (
            json!({ "users": [{ "name": "ada" }] }),
            "`ada`: needs `hash` or `scram`",
        ),
        (
            json!({ "scram_secret": "short" }),
            "scram_secret: this is not 32 bytes",
        ),
    ] {
        let error = Broker::start(&config).err().unwrap();
        assert!(error.contains(expected), "{error}");
    }
}
