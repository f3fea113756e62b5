//! The exchange itself: the example of RFC 7677, and everything that must end it.

use super::*;
use serde_json::{Value, json};

const FIRST: &[u8] = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
const NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
const SERVER_FIRST: &str =
    "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
const LAST: &str = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                    p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
const SERVER_LAST: &str = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

fn salted(password: &str, salt: &[u8], iterations: u32) -> Key {
    pbkdf2::pbkdf2_hmac_array::<Sha256, KEY_BYTES>(password.as_bytes(), salt, iterations)
}

/// `scram` of a user of the configuration.
pub(crate) fn entry(password: &str, salt: &[u8], iterations: u32) -> Value {
    let salted = salted(password, salt, iterations);
    let stored_key = Sha256::digest(hmac(&salted, &[b"Client Key"]));
    json!({
        "salt": BASE64_STANDARD.encode(salt),
        "iterations": iterations,
        "stored_key": BASE64_STANDARD.encode(stored_key),
        "server_key": BASE64_STANDARD.encode(hmac(&salted, &[b"Server Key"])),
    })
}

/// What a client answers: its last message, and the server's last message that it then waits for.
pub(crate) fn answer(
    password: &str,
    header: &str,
    bare: &str,
    server_first: &str,
) -> (String, String) {
    let mut attributes = server_first.split(',');
    let mut next = |name| attributes.next().unwrap().strip_prefix(name).unwrap();
    let (nonce, salt, iterations) = (next("r="), next("s="), next("i="));
    let salt = BASE64_STANDARD.decode(salt).unwrap();
    let salted = salted(password, &salt, iterations.parse().unwrap());
    let client_key = hmac(&salted, &[b"Client Key"]);
    let stored_key: Key = Sha256::digest(client_key).into();
    let without_proof = format!("c={},r={nonce}", BASE64_STANDARD.encode(header));
    let said = format!("{bare},{server_first},{without_proof}");
    let signature = hmac(&stored_key, &[said.as_bytes()]);
    let proof: Vec<u8> = (client_key.iter().zip(signature))
        .map(|(a, b)| a ^ b)
        .collect();
    let server_key = hmac(&salted, &[b"Server Key"]);
    let expected = BASE64_STANDARD.encode(hmac(&server_key, &[said.as_bytes()]));
    (
        format!("{without_proof},p={}", BASE64_STANDARD.encode(proof)),
        format!("v={expected}"),
    )
}

fn keys(password: &str) -> Keys {
    let salt = BASE64_STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
    let entry: Entry = serde_json::from_value(entry(password, &salt, 4096)).unwrap();
    Keys::try_from(&entry).unwrap()
}

fn finish(last: &str) -> Result<String, ScramError> {
    let keys = keys("pencil");
    let exchange = Exchange::begin(ClientFirst::parse(FIRST).unwrap(), NONCE, &keys);
    let state = exchange.state();
    Exchange::resume(&state)?.finish(&ClientFinal::parse(last.as_bytes())?, &keys)
}

#[test]
fn the_example_of_rfc_7677() {
    let keys = keys("pencil");
    let first = ClientFirst::parse(FIRST).unwrap();
    assert_eq!((&*first.name, first.header), ("user", "n,,"));
    let exchange = Exchange::begin(first, NONCE, &keys);
    assert_eq!(exchange.server_first(), SERVER_FIRST);
    assert_eq!(finish(LAST).unwrap(), SERVER_LAST);
    let ours = answer(
        "pencil",
        "n,,",
        "n=user,r=rOprNGfwEbeRWgbNEkqO",
        SERVER_FIRST,
    );
    assert_eq!(ours, (LAST.to_owned(), SERVER_LAST.to_owned()));
}

#[test]
fn a_last_message_that_is_not_of_this_exchange_and_password_ends_it() {
    let bare = "n=user,r=rOprNGfwEbeRWgbNEkqO";
    let wrong = answer("pencils", "n,,", bare, SERVER_FIRST).0;
    let replayed = answer("pencil", "n,,", bare, &SERVER_FIRST.replace("$k0", "$k1")).0;
    let header = answer("pencil", "y,,", bare, SERVER_FIRST).0;
    let cut = LAST.replace("hNlF$k0", "hNlF$k");
    let theirs_only = LAST.replace(NONCE, "");
    let (_, proof) = LAST.split_once(",p=").unwrap();
    for (last, expected) in [
        (&*wrong, ScramError::Proof),
        (&replayed, ScramError::AnotherExchange),
        (&header, ScramError::AnotherExchange),
        (&cut, ScramError::AnotherExchange),
        (&theirs_only, ScramError::AnotherExchange),
        (&LAST.replace(",p=dH", ",x=y,p=dH"), ScramError::Proof),
        (&LAST.replace(",p=dH", ",m=y,p=dH"), ScramError::Extension),
    ] {
        assert_eq!(finish(last), Err(expected), "{last}");
    }
    let nonce = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    for last in [
        String::new(),
        "e=other-error".to_owned(),
        format!("c=biws,{nonce}"),
        format!("c=biws,{nonce},p="),
        format!("c=biws,{nonce},p=AAAA"),
        format!("c=biws,{nonce},p=!{proof}"),
        format!("c=biws,{nonce},p={proof},x=y"),
        format!("c=biws,p={proof}"),
        format!("{nonce},p={proof}"),
        format!("{nonce},c=biws,p={proof}"),
        format!("c=,{nonce},p={proof}"),
        format!("c=biws,{nonce},x,p={proof}"),
        format!("c=biws,{nonce},p={proof}\0"),
    ] {
        let error = finish(&last).unwrap_err();
        assert!(matches!(error, ScramError::Malformed(_)), "{last}: {error}");
    }
}

#[test]
fn first_messages_are_taken_apart_or_refused_in_words() {
    let parse = |message: &str| ClientFirst::parse(message.as_bytes()).map(|first| first.name);
    for (message, name) in [
        ("n,,n=user,r=abc", "user"),
        ("y,,n=user,r=abc", "user"),
        ("n,a=user,n=user,r=abc", "user"),
        ("n,,n=user,r=abc,x=later", "user"),
        ("n,,n=a=2Cb=3Dc,r=abc", "a,b=c"),
        ("n,,n=Grüße,r=abc", "Grüße"),
    ] {
        assert_eq!(parse(message).as_deref(), Ok(name), "{message}");
    }
    for (message, expected) in [
        ("p=tls-unique,,n=user,r=abc", ScramError::ChannelBinding),
        (
            "p=tls-exporter,a=user,n=user,r=abc",
            ScramError::ChannelBinding,
        ),
        ("n,a=root,n=user,r=abc", ScramError::AnotherIdentity),
        ("n,,m=ext,n=user,r=abc", ScramError::Extension),
        ("n,,n=user,r=abc,m=ext", ScramError::Extension),
    ] {
        assert_eq!(parse(message), Err(expected), "{message}");
    }
    for message in [
        "",
        "n",
        "n,",
        "n,,",
        "q,,n=user,r=abc",
        "n,b=user,n=user,r=abc",
        "n,,n=user",
        "n,,r=abc",
        "n,,n=,r=abc",
        "n,,n=user,r=",
        "n,,r=abc,n=user",
        "n,,n=user,r=a c",
        "n,,n=user,r=ä",
        "n,,n=us=er,r=abc",
        "n,,n=us=2cer,r=abc",
        "n,,n=us=,r=abc",
        "n,,n=user,r=abc,x",
        "n,,n=user,r=abc,x=",
        "n,,n=user,r=abc,1=x",
        "n,,n=us\0er,r=abc",
    ] {
        let error = parse(message).unwrap_err();
        assert!(
            matches!(error, ScramError::Malformed(_)),
            "{message}: {error}"
        );
    }
    assert!(ClientFirst::parse(b"n,,n=\xFF,r=abc").is_err());
}

#[test]
fn lengths_are_bounded() {
    let first = |name: usize, nonce: usize| {
        let message = format!("n,,n={},r={}", "u".repeat(name), "r".repeat(nonce));
        ClientFirst::parse(message.as_bytes()).map(|_| ())
    };
    assert_eq!(first(1000, CLIENT_NONCE_BYTES), Ok(()));
    assert!(matches!(
        first(4, CLIENT_NONCE_BYTES + 1),
        Err(ScramError::Malformed(_))
    ));
    assert_eq!(first(MESSAGE_BYTES - 11, 3), Ok(()));
    assert_eq!(first(MESSAGE_BYTES - 10, 3), Err(ScramError::TooLong));
    let last = LAST.replace(",p=", &format!(",x={},p=", "x".repeat(MESSAGE_BYTES)));
    assert_eq!(finish(&last), Err(ScramError::TooLong));
}

#[test]
fn names_that_are_not_there_have_salts_that_stay() {
    let decoys = Decoys::new(&BASE64_STANDARD.encode([7; KEY_BYTES])).unwrap();
    let others = Decoys::new(&BASE64_STANDARD.encode([8; KEY_BYTES])).unwrap();
    let salt = |decoys: &Decoys, name| decoys.keys(name).salt;
    assert_eq!(salt(&decoys, "eve"), salt(&decoys, "eve"));
    assert_ne!(salt(&decoys, "eve"), salt(&decoys, "eva"));
    assert_ne!(salt(&decoys, "eve"), salt(&others, "eve"));
    assert!(Decoys::new("").is_none() && Decoys::new("AAAA").is_none());
}

#[test]
fn nonces_are_long_printable_and_never_the_same() {
    let (a, b) = (nonce().unwrap(), nonce().unwrap());
    assert!(a != b && a.len() == 32);
    assert!(
        a.bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b',')
    );
}
