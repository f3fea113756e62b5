//! The exchange itself: published examples, and everything that must end it.

use super::exchange::{Exchange, nonce};
use super::message::{ClientFinal, ClientFirst};
use super::*;
use crate::testing;
use base64::prelude::{BASE64_STANDARD, Engine as _};

const FIRST: &[u8] = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
const NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
const SERVER_FIRST: &str =
    "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
const LAST: &str = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                    p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
const SERVER_LAST: &str = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

fn keys(password: &str) -> Keys {
    keys_of(Mechanism::Sha256, password, "W22ZaJ0SNY7soEsUEjb6gQ==")
}

fn keys_of(mechanism: Mechanism, password: &str, salt: &str) -> Keys {
    let bytes = BASE64_STANDARD.decode(salt).unwrap();
    let entry = testing::entry(mechanism, password, &bytes, 4096);
    let text = |name: &str| entry[name].as_str().unwrap().to_owned();
    Keys::new(
        mechanism,
        salt,
        4096,
        &text("stored_key"),
        &text("server_key"),
    )
    .unwrap()
}

/// A client of SCRAM-SHA-256.
fn answer(password: &str, header: &str, bare: &str, server_first: &str) -> (String, String) {
    testing::answer(Mechanism::Sha256, password, header, bare, server_first)
}

fn finish(last: &str) -> Result<String, ScramError> {
    let keys = keys("pencil");
    let exchange = Exchange::begin(ClientFirst::parse(FIRST).unwrap(), NONCE, &keys);
    let state = exchange.state();
    let last = ClientFinal::parse(last.as_bytes(), Mechanism::Sha256)?;
    Exchange::resume(&state)?.finish(&last, &keys)
}

#[test]
fn the_example_of_rfc_7677() {
    let keys = keys("pencil");
    let first = ClientFirst::parse(FIRST).unwrap();
    assert_eq!((&*first.name, first.header), ("user", "n,,"));
    let exchange = Exchange::begin(first, NONCE, &keys);
    assert_eq!(exchange.server_first, SERVER_FIRST);
    assert_eq!(finish(LAST).unwrap(), SERVER_LAST);
    let ours = answer(
        "pencil",
        "n,,",
        "n=user,r=rOprNGfwEbeRWgbNEkqO",
        SERVER_FIRST,
    );
    assert_eq!(ours, (LAST.to_owned(), SERVER_LAST.to_owned()));
}

/// What other implementations hold each other to: the user and the password of RFC 7677, another nonce and salt.
#[test]
fn the_example_with_the_longer_hash() {
    let salt = "Yin2FuHTt/M0kJWb0t9OI32n2VmOGi3m+JfjOvuDF88=";
    let keys = keys_of(Mechanism::Sha512, "pencil", salt);
    let nonce = "02431b08-2f89-4bad-a4e6-80c0564ec865";
    let exchange = Exchange::begin(ClientFirst::parse(FIRST).unwrap(), nonce, &keys);
    let both = format!("r=rOprNGfwEbeRWgbNEkqO{nonce}");
    assert_eq!(exchange.server_first, format!("{both},s={salt},i=4096"));
    let last = format!(
        "c=biws,{both},p=Hc5yec3NmCD7t+kFRw4/3yD6/F3SQHc7AVYschRja+Bc3sbdjlA0eH1OjJc0DD4ghn1tnXN5/Wr6qm9xmaHt4A=="
    );
    let said = ClientFinal::parse(last.as_bytes(), Mechanism::Sha512).unwrap();
    assert_eq!(
        exchange.finish(&said, &keys).unwrap(),
        "v=BQuhnKHqYDwQWS5jAw4sZed+C9KFUALsbrq81bB0mh+bcUUbbMPNNmBIupnS2AmyyDnG5CTBQtkjJ9kyY4kzmw=="
    );
    // The shorter proof of the other mechanism is none.
    let error = ClientFinal::parse(LAST.as_bytes(), Mechanism::Sha512);
    assert!(matches!(error, Err(ScramError::Malformed(_))));
}

#[test]
fn keys_are_read_in_one_line_too() {
    let salt = "W22ZaJ0SNY7soEsUEjb6gQ==";
    // As PostgreSQL prints it for the password `pencil`.
    let line = format!(
        "SCRAM-SHA-256$4096:{salt}$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
    );
    let read = Keys::from_line(&line).unwrap();
    let made = keys("pencil");
    assert_eq!(read.mechanism(), Mechanism::Sha256);
    assert_eq!((&read.salt, read.iterations), (&made.salt, made.iterations));
    assert_eq!(read.stored_key, made.stored_key);
    assert_eq!(read.server_key, made.server_key);
    for (from, to, expected) in [
        ("SHA-256", "SHA-1", KeysError::Line),
        ("SHA-256", "SHA-512", KeysError::Base64("stored_key")),
        ("$4096:", "$4095:", KeysError::Iterations(4095)),
        ("$4096:", "$1000001:", KeysError::Iterations(1_000_001)),
        ("$4096:", "$-1:", KeysError::Line),
        ("$4096:", "$4096", KeysError::Line),
        (salt, "AAAA", KeysError::Base64("salt")),
        ("=:wf", "=wf", KeysError::Line),
        ("=:wf", "=:f", KeysError::Base64("server_key")),
    ] {
        assert!(line.contains(from), "{from}");
        let error = Keys::from_line(&line.replacen(from, to, 1)).err();
        assert_eq!(error, Some(expected), "{from} {to}");
    }
    assert_eq!(Keys::from_line("").err(), Some(KeysError::Line));
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
    let secret = |byte: u8| BASE64_STANDARD.encode([byte; 32]);
    let decoys = Decoys::new("secret", &secret(7), 4096).unwrap();
    let others = Decoys::new("secret", &secret(8), 4096).unwrap();
    for mechanism in Mechanism::ALL {
        let keys = |decoys: &Decoys, name| decoys.keys(mechanism, name);
        let salt = |decoys: &Decoys, name| keys(decoys, name).salt;
        assert_eq!(salt(&decoys, "eve"), salt(&decoys, "eve"));
        assert_ne!(salt(&decoys, "eve"), salt(&decoys, "eva"));
        assert_ne!(salt(&decoys, "eve"), salt(&others, "eve"));
        let keys = keys(&decoys, "eve");
        assert_eq!((keys.salt.len(), keys.iterations), (16, 4096));
        assert_eq!(keys.stored_key.len(), mechanism.key_bytes());
        assert_ne!(keys.stored_key, keys.server_key);
    }
    let [short, long] = Mechanism::ALL.map(|mechanism| decoys.keys(mechanism, "eve").salt);
    assert_ne!(short, long);
    for bad in ["", "AAAA", "!"] {
        let error = Decoys::new("secret", bad, 4096).err();
        assert_eq!(error, Some(KeysError::Base64("secret")), "{bad}");
    }
    for iterations in [4095, 1_000_001] {
        let error = Decoys::new("secret", &secret(7), iterations).err();
        assert_eq!(error, Some(KeysError::Iterations(iterations)));
    }
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
