//! The plugin as the broker calls it.

use super::*;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::{Value, json};
use witmq_sdk::testing::{Setup, TestBroker};
use witmq_users::testing::{answer, entry};

type Broker = TestBroker<Scram>;

const BAD_CREDENTIALS: u8 = 0x86;
const NOT_AUTHORIZED: u8 = 0x87;
const BAD_METHOD: u8 = 0x8C;
const SALT: &[u8] = b"salt of sixteen!";

fn keys(mechanism: Mechanism, password: &str) -> Value {
    let mut keys = entry(mechanism, password, SALT, 4096);
    keys["mechanism"] = mechanism.name().into();
    keys
}

fn line(mechanism: Mechanism, password: &str) -> String {
    let keys = entry(mechanism, password, SALT, 4096);
    let text = |name: &str| keys[name].as_str().unwrap().to_owned();
    let (salt, stored, server) = (text("salt"), text("stored_key"), text("server_key"));
    format!("{}$4096:{salt}${stored}:{server}\n", mechanism.name())
}

/// With the secrets `decoys` and `bob`.
fn setup() -> Setup<Scram> {
    let decoys = BASE64_STANDARD.encode([7; 32]);
    let setup = Broker::setup()
        .secret("decoys", decoys)
        .grant("secret:decoys");
    let setup = setup.secret("bob", line(Mechanism::Sha512, "pen"));
    let setup = setup.grant("secret:bob").grant("secret:cleo");
    setup.grant("publish:$dead-letter/test")
}

fn config(users: Value) -> Value {
    json!({ "decoy_secret": "decoys", "decoy_iterations": 4096, "users": users })
}

/// Ada has keys of both mechanisms in the configuration, bob one in a secret, and cleo a secret that is not there.
fn broker() -> Broker {
    let mut config = config(json!([
        { "name": "ada", "attributes": { "site": "north" },
          "keys": Mechanism::ALL.map(|mechanism| keys(mechanism, "pencil")),
          "acl": [{ "allow": true, "topics": ["home/{user}/#"] }] },
        { "name": "bob", "secrets": ["bob"], "superuser": true },
        { "name": "cleo", "secrets": ["cleo"] },
    ]));
    config["acl"] = json!([{ "allow": false, "actions": ["publish"], "topics": ["news"] }]);
    config["default"] = "allow".into();
    setup().start(&config).unwrap()
}

fn attempt(method: &str, data: &str) -> Attempt {
    Attempt {
        method: Some(method.to_owned()),
        data: data.as_bytes().to_vec(),
        ..Attempt::default()
    }
}

fn code(step: &Step) -> u8 {
    match step {
        Step::Allow(_) => 0,
        Step::Deny(denial) => denial.reason_code,
        Step::Challenge { .. } => 0x18,
        Step::Ignore => 0xFF,
    }
}

/// The first round: the server's message and the state.
fn challenged(broker: &mut Broker, mechanism: Mechanism, name: &str) -> (String, Vec<u8>) {
    let first = format!("n,,n={name},r=abc");
    match broker
        .authenticate(&attempt(mechanism.name(), &first))
        .unwrap()
    {
        Step::Challenge { data, state } => (String::from_utf8(data).unwrap(), state),
        other => panic!("{other:?}"),
    }
}

/// Both rounds; what the server should say at the end.
fn login(broker: &mut Broker, mechanism: Mechanism, name: &str, password: &str) -> (Step, String) {
    let (server_first, state) = challenged(broker, mechanism, name);
    let bare = format!("n={name},r=abc");
    let (last, expected) = answer(mechanism, password, "n,,", &bare, &server_first);
    let again = attempt(mechanism.name(), "");
    let step = broker.proceed(&again, &state, last.as_bytes());
    (step.unwrap(), expected)
}

#[test]
fn the_tests_of_the_manifest_hold() {
    assert_eq!(Broker::run_vectors(), 6);
}

#[test]
fn each_mechanism_lets_in_by_the_right_password_and_proves_itself() {
    let mut broker = broker();
    for mechanism in Mechanism::ALL {
        // The second time is a re-authentication: the same exchange with another nonce.
        for _ in 0..2 {
            let (step, expected) = login(&mut broker, mechanism, "ada", "pencil");
            let Step::Allow(grant) = step else {
                panic!("{step:?}")
            };
            assert_eq!(grant.username.as_deref(), Some("ada"));
            assert_eq!(grant.data, Some(expected.into_bytes()));
            assert_eq!(grant.attributes, [("site".to_owned(), "north".to_owned())]);
            let rules: Vec<_> = grant
                .acl
                .iter()
                .map(|rule| (rule.allow, &*rule.filter))
                .collect();
            let rest = [(false, "news"), (true, "#"), (true, "$SYS/#")];
            assert_eq!(rules, [&[(true, "home/{user}/#")][..], &rest].concat());
            assert!(grant.acl_complete && !grant.superuser);
        }
        let wrong = login(&mut broker, mechanism, "ada", "pencils").0;
        assert_eq!(code(&wrong), BAD_CREDENTIALS);
    }
}

#[test]
fn keys_come_from_secrets_and_are_for_their_mechanism() {
    let mut broker = broker();
    let (step, _) = login(&mut broker, Mechanism::Sha512, "bob", "pen");
    assert!(matches!(step, Step::Allow(grant) if grant.superuser));
    let both = Mechanism::ALL
        .map(|mechanism| line(mechanism, "pen"))
        .concat();
    let config = config(json!([{ "name": "bob", "secrets": ["bob"] }]));
    let mut two = setup().secret("bob", both).start(&config).unwrap();
    for mechanism in Mechanism::ALL {
        assert_eq!(code(&login(&mut two, mechanism, "bob", "pen").0), 0);
    }
    // No keys for this mechanism.
    let (step, _) = login(&mut broker, Mechanism::Sha256, "bob", "pen");
    assert_eq!(code(&step), BAD_CREDENTIALS);
}

#[test]
fn nobody_learns_who_is_there() {
    let mut broker = broker();
    for mechanism in Mechanism::ALL {
        let mut form = |name: &str| {
            let (one, _) = challenged(&mut broker, mechanism, name);
            let (two, _) = challenged(&mut broker, mechanism, name);
            let rest = |message: &str| message.split_once(',').unwrap().1.to_owned();
            assert_ne!(one, two, "nonces differ");
            assert_eq!(rest(&one), rest(&two), "salts stay");
            let iterations = rest(&one).split_once(",i=").unwrap().1.to_owned();
            let step = login(&mut broker, mechanism, name, "wrong").0;
            (one.len(), iterations, step)
        };
        let known = form("ada");
        assert_eq!(code(&known.2), BAD_CREDENTIALS);
        for name in ["eve", "cleo", "bob"] {
            assert_eq!(form(name), known, "{name}");
        }
    }
}

#[test]
fn names_that_are_not_there_look_like_those_that_the_broker_makes_keys_for() {
    let config = json!({ "decoy_secret": "decoys" });
    let mut broker = setup().start(&config).unwrap();
    let (first, _) = challenged(&mut broker, Mechanism::Sha256, "eve");
    assert!(first.ends_with("==,i=20000"), "{first}");
}

#[test]
fn what_is_not_offered_is_left_to_others_and_channel_binding_is_refused() {
    let mut broker = broker();
    for method in ["SCRAM-SHA-1", "SCRAM-SHA-256-PLUS", "scram-sha-256", ""] {
        let step = broker.authenticate(&attempt(method, "n,,n=ada,r=abc"));
        assert_eq!(step.unwrap(), Step::Ignore, "{method}");
    }
    assert_eq!(
        broker.authenticate(&Attempt::default()).unwrap(),
        Step::Ignore
    );
    for (data, expected) in [
        ("y,,n=ada,r=abc", 0x18),
        ("p=tls-exporter,,n=ada,r=abc", BAD_METHOD),
        ("", NOT_AUTHORIZED),
        ("ada", NOT_AUTHORIZED),
    ] {
        let step = broker.authenticate(&attempt("SCRAM-SHA-512", data));
        assert_eq!(code(&step.unwrap()), expected, "{data}");
    }
    let step = broker.proceed(&attempt("SCRAM-SHA-512", ""), b"", b"c=biws");
    assert_eq!(code(&step.unwrap()), NOT_AUTHORIZED);
    let step = broker.proceed(&attempt("SCRAM-SHA-1", ""), b"", b"c=biws");
    assert_eq!(code(&step.unwrap()), NOT_AUTHORIZED);

    let mut config = config(json!([]));
    config["mechanisms"] = json!(["SCRAM-SHA-512"]);
    let mut one = setup().start(&config).unwrap();
    let step = one.authenticate(&attempt("SCRAM-SHA-256", "n,,n=ada,r=abc"));
    assert_eq!(step.unwrap(), Step::Ignore);
    drop(challenged(&mut one, Mechanism::Sha512, "ada"));
}

#[test]
fn secrets_that_do_not_do_are_shown_and_without_decoys_nobody_comes_in() {
    let fault = |broker: &mut Broker| match broker.check() {
        Health::Ok => String::new(),
        other => format!("{other:?}"),
    };
    let bob = || config(json!([{ "name": "bob", "secrets": ["bob"] }]));
    assert_eq!(fault(&mut setup().start(bob()).unwrap()), "");
    let bad = setup().secret("bob", "pen");
    let said = fault(&mut bad.start(bob()).unwrap());
    assert!(
        said.contains("the secret `bob`, line 1: it is not `SCRAM-SHA-256$"),
        "{said}"
    );
    let empty = setup().secret("bob", " \n");
    let said = fault(&mut empty.start(bob()).unwrap());
    assert!(said.contains("the secret `bob` is empty"), "{said}");
    let said = fault(&mut broker());
    assert!(said.contains("the secret `cleo` is not there"), "{said}");

    for (secret, expected) in [
        ("short", "`decoys` is not 32 bytes"),
        ("", "`decoys` is not 32"),
    ] {
        let mut broker = setup().secret("decoys", secret).start(bob()).unwrap();
        let said = fault(&mut broker);
        assert!(said.contains(expected), "{said}");
        let first = attempt("SCRAM-SHA-512", "n,,n=bob,r=abc");
        let failure = broker.authenticate(&first).unwrap_err().to_string();
        assert!(failure.contains(expected), "{failure}");
    }
}

#[test]
fn bad_configurations_are_refused_with_the_place() {
    let good = keys(Mechanism::Sha256, "pencil");
    let with = |field: &str, value: Value| {
        let mut keys = good.clone();
        keys[field] = value;
        config(json!([{ "name": "ada", "keys": [keys] }]))
    };
    let ada = json!({ "name": "ada", "keys": [good] });
    for (config, expected) in [
        (with("iterations", 4095.into()), "4095"),
        (with("iterations", 1_000_001.into()), "1000001"),
        (with("salt", "AAAA".into()), "`ada`: SCRAM-SHA-256: `salt`"),
        (
            with("stored_key", "AAAA".into()),
            "`ada`: SCRAM-SHA-256: `stored_key`",
        ),
        (
            with("server_key", "!".into()),
            "`ada`: SCRAM-SHA-256: `server_key`",
        ),
        (
            with("mechanism", "SCRAM-SHA-512".into()),
            "`ada`: SCRAM-SHA-512: `stored_key`",
        ),
        (with("mechanism", "SCRAM-SHA-1".into()), "SCRAM-SHA-1"),
        (with("password", "pencil".into()), "password"),
        (
            config(json!([{ "name": "ada" }])),
            "`ada`: needs `keys` or `secrets`",
        ),
        (config(json!([{ "name": "", "secrets": ["bob"] }])), "name"),
        (
            config(json!([{ "name": "a".repeat(1025), "secrets": ["bob"] }])),
            "name",
        ),
        (config(json!([ada, ada])), "`ada`: is there twice"),
        (
            config(json!([{ "name": "ada", "keys": [good, good] }])),
            "SCRAM-SHA-256 twice",
        ),
        (json!({ "users": [] }), "decoy_secret"),
        (
            json!({ "decoy_secret": "decoys", "mechanisms": [] }),
            "mechanisms",
        ),
    ] {
        let error = setup().start(&config).err().unwrap();
        assert!(error.contains(expected), "{expected}: {error}");
    }
    let longest = config(json!([{ "name": "a".repeat(1024), "secrets": ["bob"] }]));
    assert!(setup().start(&longest).is_ok());
}

/// Ada's keys are where a chain puts them.
fn stored() -> Broker {
    let users = json!([{ "name": "ada", "stored": true }, { "name": "bob", "secrets": ["bob"] }]);
    setup().start(config(users)).unwrap()
}

fn put(broker: &mut Broker, payload: &str) -> Delivered {
    let message = Message::new("accounts/keys", payload);
    let mut answers = broker.deliver([message]).unwrap();
    answers.remove(0)
}

#[test]
fn stored_keys_hold_from_the_next_exchange_on_and_can_be_taken_away() {
    let mut broker = stored();
    let denied = |broker: &mut Broker, mechanism| {
        code(&login(broker, mechanism, "ada", "pencil").0) == BAD_CREDENTIALS
    };
    assert!(denied(&mut broker, Mechanism::Sha256), "nothing is there");
    let one = line(Mechanism::Sha256, "pencil");
    assert_eq!(put(&mut broker, &format!("ada\n{one}")), Delivered::Done);
    let (step, _) = login(&mut broker, Mechanism::Sha256, "ada", "pencil");
    assert_eq!(code(&step), 0);
    assert!(denied(&mut broker, Mechanism::Sha512));
    // Others in their place, of both mechanisms, with the line ends of another system.
    let both = Mechanism::ALL.map(|mechanism| line(mechanism, "pen").replace('\n', "\r\n"));
    let both = format!("ada\r\n{}", both.concat());
    assert_eq!(put(&mut broker, &both), Delivered::Done);
    assert!(denied(&mut broker, Mechanism::Sha256), "the old password");
    for mechanism in Mechanism::ALL {
        let (step, _) = login(&mut broker, mechanism, "ada", "pen");
        assert_eq!(code(&step), 0);
    }
    assert_eq!(put(&mut broker, "ada\n"), Delivered::Done);
    let (step, _) = login(&mut broker, Mechanism::Sha512, "ada", "pen");
    assert_eq!(code(&step), BAD_CREDENTIALS);
}

#[test]
fn what_is_not_for_the_store_is_refused_with_the_reason_and_changes_nothing() {
    let mut broker = stored();
    let good = line(Mechanism::Sha256, "pencil");
    let secret = good.rsplit(':').next().unwrap().trim();
    put(&mut broker, &format!("ada\n{good}"));
    let nobody = "name of a user with `stored`";
    let bad = [
        (format!("eve\n{good}"), "", nobody),
        (format!("bob\n{good}"), "", nobody),
        (good.clone(), "", nobody),
        (String::new(), "", nobody),
        (format!("ada\n{good}pencil"), "ada", "line 3: it is not"),
        (format!("ada\n{good}{good}"), "ada", "SCRAM-SHA-256 twice"),
    ];
    for (payload, name, expected) in &bad {
        assert_eq!(put(&mut broker, payload), Delivered::Done);
        let letter = broker.published().pop().unwrap();
        assert_eq!(letter.topic, "$dead-letter/test");
        assert_eq!(letter.payload, name.as_bytes());
        let said = |name| letter.properties.user_property(name).unwrap();
        assert_eq!(said("topic"), "accounts/keys");
        assert!(said("reason").contains(expected), "{letter:?}");
    }
    assert_eq!(broker.counter("scram_refused_keys"), 6);
    let mut message = Message::new("accounts/keys", "");
    message.payload = vec![b'a', 0xFF];
    assert_eq!(broker.deliver([message]).unwrap(), [Delivered::Done]);
    let letter = broker.published().pop().unwrap();
    let reason = letter.properties.user_property("reason");
    assert_eq!(reason, Some("it is no text"));
    for line in broker.logged() {
        assert!(!line.text.contains(secret), "{}", line.text);
    }
    let (step, _) = login(&mut broker, Mechanism::Sha256, "ada", "pencil");
    assert_eq!(code(&step), 0);
}

/// A call may publish 16 messages: the others come again, and nothing is lost.
#[test]
fn what_has_no_room_for_its_letter_comes_again() {
    let mut broker = stored();
    let batch = (0..18).map(|_| Message::new("accounts/keys", "eve"));
    let answers = broker.deliver(batch).unwrap();
    let (done, again) = answers.split_at(16);
    assert!(done.iter().all(|answer| *answer == Delivered::Done));
    assert_eq!(again, [const { Delivered::Again { after_ms: 0 } }; 2]);
    assert_eq!(broker.published().len(), 16);
    assert_eq!(broker.counter("scram_refused_keys"), 16);
}

#[test]
fn without_the_grant_only_the_log_says_so_and_the_keys_are_nowhere() {
    let decoys = BASE64_STANDARD.encode([7; 32]);
    let setup = Broker::setup().secret("decoys", decoys);
    let users = json!([{ "name": "ada", "stored": true }]);
    let mut broker = setup.grant("secret:decoys").start(config(users)).unwrap();
    let good = line(Mechanism::Sha256, "pencil");
    let payload = format!("ada\n{good}{good}");
    assert_eq!(put(&mut broker, &payload), Delivered::Done);
    assert!(broker.published().is_empty());
    let lines: Vec<String> = (broker.logged().into_iter())
        .map(|line| line.text)
        .collect();
    let said = lines.concat();
    assert!(said.contains("no dead letter says so"), "{said}");
    assert!(said.contains("`ada`") && said.contains("twice"), "{said}");
}

#[test]
fn a_stored_name_has_to_fit_the_store() {
    let start = |bytes: usize| {
        let users = json!([{ "name": "n".repeat(bytes), "stored": true }]);
        setup().start(config(users))
    };
    assert!(start(507).is_ok());
    let error = start(508).err().unwrap();
    assert!(error.contains("too long for `stored`"), "{error}");
}
