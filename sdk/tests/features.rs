//! Clients, and what the feature `cbor` adds.
#![allow(clippy::unwrap_used, reason = "tests")]

use witmq_sdk::host::clients::{self, Client, ClientsError};
use witmq_sdk::testing::TestBroker;
use witmq_sdk::{
    Delivered, Failure, Message, NoConfig, Outcome, Place, Plugin, Sink, Transform, assert_outcome,
};

/// Takes numbers in CBOR; who sends none is disconnected.
#[witmq_sdk::plugin(sink, needs(payload, client), capabilities("clients"))]
struct Numbers;

impl Plugin for Numbers {
    type Config = NoConfig;
    fn new(_config: NoConfig, _place: &Place) -> Result<Self, String> {
        Ok(Self)
    }
}

impl Sink for Numbers {
    fn deliver_one(&mut self, message: &Message) -> Result<Delivered, Failure> {
        let number: u32 = message.cbor().inspect_err(|_| {
            let disconnected = clients::disconnect(&message.client_id, 0x99);
            witmq_sdk::info!("{}: {disconnected:?}", message.client_id);
        })?;
        witmq_sdk::info!("{number}");
        Ok(Delivered::Done)
    }
}

/// The number 7.
const SEVEN: [u8; 1] = [0x07];

#[test]
fn numbers_are_taken() {
    let mut broker = TestBroker::<Numbers>::start("{}").unwrap();
    let message = Message::new("n", SEVEN);
    assert_eq!(broker.deliver([message]), Ok(vec![Delivered::Done]));
    assert_eq!(broker.logged()[0].text, "7");
}

#[test]
fn clients_are_found_and_disconnected() {
    let client = Client {
        connected: true,
        ..Client::default()
    };
    let mut broker = TestBroker::<Numbers>::setup()
        .client("c", client)
        .start("{}")
        .unwrap();
    let mut message = Message::new("api.example", [0xFF]);
    message.client_id = "c".to_owned();
    let answers = broker.deliver([message.clone(), message]).unwrap();
    assert!(matches!(
        &answers[..],
        [Delivered::Never(_), Delivered::Never(_)]
    ));
    assert_eq!(broker.disconnected(), [("c".to_owned(), 0x99)]);
    let texts: Vec<_> = broker.logged().into_iter().map(|line| line.text).collect();
    assert_eq!(texts, ["c: Ok(true)", "c: Ok(false)"]);
    let found = broker.with(|_| clients::find("c")).unwrap();
    assert!(found.is_some_and(|client| !client.connected));
    assert_eq!(broker.with(|_| clients::find("d")), Ok(None));
}

/// Doubles a number in CBOR, and has no grant for anything.
#[witmq_sdk::plugin(transform)]
struct Double;

impl Plugin for Double {
    type Config = NoConfig;
    fn new(_config: NoConfig, _place: &Place) -> Result<Self, String> {
        Ok(Self)
    }
}

impl Transform for Double {
    fn on_message(&mut self, message: &Message) -> Result<Outcome, Failure> {
        Outcome::cbor(&(message.cbor::<u32>()? * 2))
    }
}

#[test]
fn cbor_is_read_and_written_and_what_is_none_is_bad_input() {
    let mut broker = TestBroker::<Double>::start("{}").unwrap();
    assert_outcome!(broker,
        ("t", SEVEN) => Outcome::payload([0x0E]),
        ("t", [0x18, 100]) => Outcome::payload([0x18, 200]),
        ("t", [0xFF]) => Err("bad input: payload on t"),
    );
    assert_eq!(
        broker.with(|_| clients::find("c")),
        Err(ClientsError::Denied)
    );
}
