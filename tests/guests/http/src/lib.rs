//! Sends the requests that its messages name and tells what came of them: for the tests of the plugin host.

use serde::Deserialize;
use witmq_sdk::host::{self, http, kv};
use witmq_sdk::{
    Delivered, Emit, Failure, Message, NoConfig, Outcome, Place, Plugin, Sink, Transform,
};

/// Bytes of an answer that this plugin would take: more than the host gives.
const BODY_BYTES: usize = 16 * 1024 * 1024;

/// One message.
#[derive(Debug, Deserialize)]
struct Order {
    url: String,
    /// Bytes of the request's body; 0: a GET.
    #[serde(default)]
    bytes: usize,
    /// How often it is sent.
    #[serde(default = "once")]
    times: u32,
    /// Milliseconds for the request.
    timeout_ms: Option<u64>,
    /// Bytes of the answer, the rest of which is left.
    beginning: Option<usize>,
}

fn once() -> u32 {
    1
}

/// The plugin.
#[witmq_sdk::plugin(
    sink,
    transform,
    capabilities("publish:made/by/#"),
    tests = "tests.json"
)]
#[derive(Debug)]
pub struct Fetch;

impl Plugin for Fetch {
    type Config = NoConfig;

    fn new(_config: NoConfig, place: &Place) -> Result<Self, String> {
        println!("it can print");
        let key = format!("place/{} of {}", place.instance, place.instances);
        kv::increment(&key, 1).map_err(|error| error.to_string())?;
        Ok(Self)
    }
}

fn fetch(order: &Order) -> String {
    let mut request = match order.bytes {
        0 => http::get(&order.url),
        bytes => http::post(&order.url).body(vec![b'x'; bytes]),
    };
    request = match order.beginning {
        Some(bytes) => request.beginning(bytes),
        None => request.body_bytes(BODY_BYTES),
    };
    if let Some(timeout_ms) = order.timeout_ms {
        request = request.timeout_ms(timeout_ms);
    }
    match request.send() {
        Ok(answer) if answer.body.len() > 100 => {
            format!("{} {} bytes", answer.status, answer.body.len())
        }
        Ok(answer) => format!(
            "{} {}",
            answer.status,
            String::from_utf8_lossy(&answer.body)
        ),
        Err(error) => format!("{error:?}"),
    }
}

impl Sink for Fetch {
    fn deliver_one(&mut self, message: &Message) -> Result<Delivered, Failure> {
        let order: Order = message.json()?;
        let mut last = String::new();
        for _ in 0..order.times {
            last = fetch(&order);
        }
        host::publish(&Emit::new("made/by/http", last))?;
        Ok(Delivered::Done)
    }
}

impl Transform for Fetch {
    /// What came of the request is the payload; an order to nowhere ends the instance.
    fn on_message(&mut self, message: &Message) -> Result<Outcome, Failure> {
        let order: Order = message.json()?;
        assert_ne!(order.url, "nowhere", "there is no such place");
        Ok(Outcome::payload(fetch(&order)))
    }
}
