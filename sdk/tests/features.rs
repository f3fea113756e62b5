//! What the features `http` and `cbor` add.
#![allow(clippy::unwrap_used, reason = "tests")]

use witmq_sdk::host::clients::{self, Client, ClientsError};
use witmq_sdk::host::http::{self, HttpError, Response};
use witmq_sdk::testing::TestBroker;
use witmq_sdk::{
    Delivered, Failure, Message, NoConfig, Outcome, Place, Plugin, Sink, Transform, assert_outcome,
};

/// Tells another service of numbers in CBOR; who sends none is disconnected.
#[witmq_sdk::plugin(
    sink,
    needs(payload, client),
    capabilities("http:api.example", "clients")
)]
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
        let answer = http::post(format!("https://{}/numbers", message.topic))
            .header("accept", "application/json")
            .json(&number)?
            .body_bytes(8)
            .send()?
            .success()?;
        match answer.json::<String>()?.as_str() {
            "later" => Ok(Delivered::Again { after_ms: 100 }),
            _ => Ok(Delivered::Done),
        }
    }
}

const URL: &str = "https://api.example/numbers";
/// The number 7.
const SEVEN: [u8; 1] = [0x07];

/// What comes of a number, and what is logged, if the service answers so.
fn delivered(topic: &str, answer: Response) -> (Delivered, String) {
    let setup = TestBroker::<Numbers>::setup().answers("POST", URL, answer);
    let mut broker = setup.start("{}").unwrap();
    let answers = broker.deliver([(topic, SEVEN).into()]).unwrap();
    let lines = broker.logged().into_iter().map(|line| line.text);
    (answers[0].clone(), lines.collect())
}

#[test]
fn a_request_goes_out_as_it_was_made_and_its_answer_comes_back() {
    let setup = TestBroker::<Numbers>::setup().answers("POST", URL, Response::new(200, r#""ok""#));
    let mut broker = setup.start("{}").unwrap();
    let message = Message::new("api.example", SEVEN);
    assert_eq!(broker.deliver([message.clone()]), Ok(vec![Delivered::Done]));
    let request = &broker.requests()[0];
    let sent = (&*request.method, &*request.url, &*request.body);
    assert_eq!(sent, ("POST", URL, &b"7"[..]));
    let headers = request
        .headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}"));
    let expected = ["accept: application/json", "content-type: application/json"];
    assert_eq!(headers.collect::<Vec<_>>(), expected);
    broker.set_answer("POST", URL, Response::new(200, r#""later""#));
    let again = Delivered::Again { after_ms: 100 };
    assert_eq!(broker.deliver([message]), Ok(vec![again]));
}

#[test]
fn what_is_no_answer_comes_again_and_the_cause_is_logged() {
    let long = Response::new(200, r#""0123456""#);
    for (topic, answer, words) in [
        ("api.example", Response::new(503, ""), "status 503"),
        (
            "api.example",
            Response::new(200, "ok"),
            "not what it should be",
        ),
        ("api.example", long, "too large"),
        ("elsewhere.example", Response::new(200, ""), "not granted"),
        (
            "api.example/x",
            Response::new(200, ""),
            "the test has no answer",
        ),
        ("u@api.example", Response::new(200, ""), "user name"),
    ] {
        let (delivered, logged) = delivered(topic, answer);
        assert_eq!(delivered, Delivered::Again { after_ms: 0 }, "{topic}");
        assert!(logged.contains(words), "{logged}");
    }
    let longest = Response::new(200, r#""012345""#);
    assert_eq!(delivered("api.example", longest).0, Delivered::Done);
    assert_eq!(
        Failure::from(HttpError::Timeout),
        Failure::failed("the request took too long")
    );
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
        Err(ClientsError::Denied("`clients` is not granted".to_owned()))
    );
}
