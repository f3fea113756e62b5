//! Sends messages to an HTTP service: one a request, or an array of them. A message is done when the service said 2xx;
//! until then it comes again, before those behind it, or becomes a dead letter if the service refuses it for good.
//!
//! ```json
//! { "endpoint": { "url": "https://example.com/in/{1}", "authorization": { "secret": "webhook-token" } } }
//! ```
//!
//! What a request holds is in `README.md`. The broker's pump owns the queue, the pauses and the dead letters. Made with
//! the SDK like anyone else's plugin.

use config::{Body, Form, Method};
use std::num::NonZeroUsize;
use template::Template;
use verdict::Verdict;
use witmq_sdk::host::clock;
use witmq_sdk::host::http::Endpoint;
use witmq_sdk::{Delivered, Failure, Health, Message, Place, Plugin, Sink};

mod config;
mod envelope;
mod template;
#[cfg(test)]
mod tests;
mod verdict;

pub use config::Config;

/// Requests of one call of the broker; it allows 100 (`limits.plugin_http_requests`).
const REQUESTS: usize = 100;
/// Bytes of an answer that are read.
const ANSWER_BYTES: usize = 1024;
/// Pause in milliseconds of messages that only wait for another call; 0 would be the broker's own, longer one.
const AT_ONCE_MS: u32 = 1;

/// Sends messages to an HTTP service, in order and until it took them.
#[witmq_sdk::plugin(
    sink,
    needs(payload, properties, client),
    name = "webhook",
    tests = "tests.json"
)]
#[derive(Debug)]
pub struct Webhook {
    endpoint: Endpoint,
    template: Template,
    method: Method,
    form: Form,
    /// Messages of one request, if they go as an array.
    batch: Option<NonZeroUsize>,
    body_bytes: usize,
    retry_after_ms: u32,
    call_ms: u64,
    /// So many go one by one: the service refused them together.
    alone: usize,
}

/// What one request holds.
struct Group {
    url: String,
    body: Vec<u8>,
    count: usize,
}

impl Plugin for Webhook {
    type Config = Config;

    fn new(config: Config, _place: &Place) -> Result<Self, String> {
        let endpoint = config.endpoint;
        endpoint
            .check()
            .map_err(|text| format!("endpoint: {text}"))?;
        let template =
            Template::parse(&endpoint.url).map_err(|text| format!("endpoint: {text}"))?;
        if endpoint.timeout_ms > config.call_ms {
            return Err(format!(
                "endpoint: timeout_ms is {}, more than the {} of call_ms",
                endpoint.timeout_ms, config.call_ms
            ));
        }
        Ok(Self {
            endpoint,
            template,
            method: config.method,
            form: config.payload,
            batch: match config.body {
                Body::Message => None,
                Body::Batch => NonZeroUsize::new(config.batch_messages),
            },
            body_bytes: config.body_bytes,
            retry_after_ms: config.retry_after_ms,
            call_ms: config.call_ms,
            alone: 0,
        })
    }

    fn check(&mut self) -> Health {
        self.endpoint.health()
    }
}

impl Webhook {
    /// The first messages that go together: to the same URL, in a body that is not too large.
    fn group(&self, messages: &[Message]) -> Result<Group, String> {
        let words = |failure: Failure| failure.to_string();
        let first = messages.first().ok_or("there is no message")?;
        let url = self.template.fill(first)?;
        let mut body = envelope::write(first, self.form).map_err(words)?;
        let brackets = if self.batch.is_some() { 2 } else { 0 };
        if body.len() + brackets > self.body_bytes {
            let (bytes, limit) = (body.len() + brackets, self.body_bytes);
            return Err(format!(
                "its request would have {bytes} bytes, body_bytes allows {limit}"
            ));
        }
        let Some(most) = self.batch.map(NonZeroUsize::get) else {
            return Ok(Group {
                url,
                body,
                count: 1,
            });
        };
        body.insert(0, b'[');
        let mut count = 1;
        let most = if self.alone > 0 { 1 } else { most };
        for message in messages.iter().take(most).skip(1) {
            if self.template.fill(message).as_ref() != Ok(&url) {
                break;
            }
            let next = envelope::write(message, self.form).map_err(words)?;
            if body.len() + next.len() + 2 > self.body_bytes {
                break;
            }
            body.push(b',');
            body.extend(next);
            count += 1;
        }
        body.push(b']');
        Ok(Group { url, body, count })
    }

    fn send(&self, group: Group) -> Verdict {
        let request = match self.endpoint.request_to(self.method.name(), group.url) {
            Ok(request) => request,
            Err(failure) => return Verdict::Again(0, failure.to_string()),
        };
        let answer = request
            .header("content-type", "application/json")
            .body(group.body)
            .beginning(ANSWER_BYTES)
            .send();
        verdict::read(answer, clock::now_ms(), self.retry_after_ms)
    }

    /// What becomes of the first of these messages, and of how many. `None`: this call has no time for them.
    fn next(&mut self, messages: &[Message], may_send: bool) -> Option<(usize, Delivered)> {
        let group = match self.group(messages) {
            Ok(_) if !may_send => return None,
            Ok(group) => group,
            Err(text) => return Some((1, Delivered::Never(text))),
        };
        let count = group.count;
        Some(match self.send(group) {
            Verdict::Done => (count, Delivered::Done),
            Verdict::Again(after_ms, text) => {
                witmq_sdk::warn!("{count} messages come again: {text}");
                (messages.len(), Delivered::Again { after_ms })
            }
            Verdict::Never { is_content, .. } if is_content && count > 1 => {
                self.alone = count;
                (0, Delivered::Done)
            }
            Verdict::Never { text, .. } => (count, Delivered::Never(text)),
        })
    }
}

impl Sink for Webhook {
    fn deliver(&mut self, batch: &[Message]) -> Result<Vec<Delivered>, Failure> {
        let began = clock::monotonic_ns();
        let mut answers = Vec::with_capacity(batch.len());
        let mut requests = 0;
        while let Some(rest) = batch.get(answers.len()..).filter(|rest| !rest.is_empty()) {
            let took_ms = clock::monotonic_ns().saturating_sub(began) / 1_000_000;
            let is_time = took_ms.saturating_add(self.endpoint.timeout_ms) <= self.call_ms;
            let may_send = requests < REQUESTS && is_time;
            let Some((count, answer)) = self.next(rest, may_send) else {
                let after_ms = AT_ONCE_MS;
                answers.resize(batch.len(), Delivered::Again { after_ms });
                break;
            };
            requests += 1;
            // Those that come again are not settled.
            if !matches!(answer, Delivered::Again { .. }) {
                self.alone = self.alone.saturating_sub(count);
            }
            answers.resize(answers.len() + count, answer);
        }
        Ok(answers)
    }
}
