//! Chains offline: a file's own tests, and one message traced step by step.

mod tested;

use crate::breaker::Fared;
use crate::chain::Chain;
use crate::file::{self, Mode};
use crate::payload::Format;
use crate::place::{RuleError, Source};
use crate::run::{End, Sinks, run};
use crate::tables::Tables;
use crate::trace::{Trace, Tracing};
use bytes::Bytes;
use bytestring::ByteString;
use serde_json::Value as Json;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
pub(crate) use tested::run_tests;
pub use tested::{Tested, test};
use witmq_broker::ports::{Publisher, StepFailure, StepOutcome, Transform};
use witmq_proto::packet::{PublishProperties, QoS};
use witmq_proto::{Message, TopicName};

/// The expression parser recurses deeply; hostile files must not reach the end of a stack.
pub(crate) const STACK_BYTES: usize = 64 * 1024 * 1024;

/// Runs `work` on a thread with a large stack.
pub(crate) fn with_large_stack<R: Send>(
    work: impl FnOnce() -> R + Send,
    failed: impl FnOnce(&str) -> R,
) -> R {
    std::thread::scope(|scope| {
        let builder = std::thread::Builder::new()
            .name("chain-compiler".to_owned())
            .stack_size(STACK_BYTES);
        match builder
            .spawn_scoped(scope, work)
            .map(std::thread::ScopedJoinHandle::join)
        {
            Ok(Ok(done)) => done,
            Ok(Err(_)) => failed("the compiler of chains failed"),
            Err(error) => failed(&format!("no thread for the compiler of chains: {error}")),
        }
    })
}

/// Parses and compiles a file; the chain's name is its stem.
pub(crate) fn compile(file: &str, text: &str) -> Result<Chain, RuleError> {
    let source = Source { file, text };
    with_large_stack(
        || compile_here(file, text),
        |cause| Err(source.error(0, "internal", cause)),
    )
}

pub(crate) fn compile_here(file: &str, text: &str) -> Result<Chain, RuleError> {
    let source = Source { file, text };
    let name = Path::new(file)
        .file_stem()
        .and_then(|stem| stem.to_str())
        .unwrap_or_default();
    if !file::is_plain(name) {
        let text = format!(
            "`{name}` is no name for a chain: use 1 to 64 letters, digits, - and _ as the file's name"
        );
        return Err(source.error(0, "bad-name", text));
    }
    let parsed = file::parse(source)?;
    Chain::compile(name, &parsed, source)
}

/// Checks a file and runs its own tests, without a broker.
///
/// # Errors
/// The first thing that is wrong, with its place.
pub fn check(file: &str, text: &str) -> Result<(), RuleError> {
    let mut chain = compile(file, text)?;
    run_tests(&mut chain, file, text)
}

/// What a test or a trace gives, in the chain's format.
fn given_payload(chain: &Chain, payload: Json) -> Result<Bytes, String> {
    match (&chain.decode, payload) {
        (Format::Auto | Format::Text | Format::Bytes, Json::String(text)) => Ok(text.into()),
        (Format::Auto | Format::Text | Format::Bytes, other) => Ok(other.to_string().into()),
        (format, payload) => format.write(&payload),
    }
}

fn message(topic: TopicName, payload: Bytes, qos: u8, retain: bool) -> Arc<Message> {
    Arc::new(Message {
        topic,
        payload,
        qos: QoS::from_bits(qos).unwrap_or_default(),
        retain,
        properties: PublishProperties::default(),
        expires_at: None,
        publisher: ByteString::from_static("test"),
        received_ms: 0,
        hops: 0,
    })
}

const NOBODY: Publisher<'_> = Publisher {
    client_id: "test",
    username: None,
    attributes: &[],
    session: 0,
};

fn list<'a>(messages: impl IntoIterator<Item = &'a Arc<Message>>) -> String {
    let one = |message: &Arc<Message>| {
        format!(
            " [{} {}]",
            message.topic,
            String::from_utf8_lossy(&message.payload)
        )
    };
    messages.into_iter().map(one).collect()
}

/// Plugins are not there offline.
struct Absent;

impl Transform for Absent {
    fn transform(
        &mut self,
        _: &str,
        _: Publisher<'_>,
        _: &Message,
    ) -> Result<StepOutcome, StepFailure> {
        Ok(StepOutcome::Pass)
    }

    fn deliver(&mut self, _: &str, _: Publisher<'_>, _: &Arc<Message>) -> Result<(), StepFailure> {
        Ok(())
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

/// [`run_message`], in lines: one per step.
///
/// # Errors
/// As [`run_message`].
pub fn trace(file: &str, text: &str, msg: &str) -> Result<Vec<String>, RuleError> {
    let trace = run_message(file, text, msg)?;
    Ok(trace.to_string().lines().map(str::to_owned).collect())
}

/// Runs one message (`{"topic": …, "payload": …}`) through a file without a broker. Plugins are passed by. It is received
/// now, or at its `received_ms`.
///
/// # Errors
/// The file is wrong; a message that is none is an error at the file's first line.
pub fn run_message(file: &str, text: &str, msg: &str) -> Result<Trace, RuleError> {
    let mut chain = compile(file, text)?;
    chain.attach(&Tables::default());
    let source = Source { file, text };
    let given = given(&chain, msg).map_err(|cause| {
        source
            .error(0, "bad-message", format!("the message is none: {cause}"))
            .hint(r#"give it as --msg '{"topic":"sensors/a/temp","payload":{"c":20}}'"#)
    })?;
    let mut tracing = Tracing::new((&chain.name, 0), NOBODY.client_id, &given);
    if !chain.from.matches(&given.topic) {
        let text = format!("{} does not match {}", given.topic, chain.from.text());
        return Ok(tracing.end(text));
    }
    let mut emissions = Vec::new();
    let mut sinks = Sinks {
        emissions: &mut emissions,
        trace: Some(&mut tracing),
        failed: None,
        fared: Fared::Well,
    };
    let end = run(&chain, &mut Absent, NOBODY, &given, &mut sinks);
    let published = emissions.len();
    Ok(tracing.end(match chain.mode {
        Mode::Transform => format!("{}; {published} published (not sent)", describe(&end)),
        Mode::Rule => format!("{published} published (not sent)"),
    }))
}

/// What became of a message in a transform chain.
pub(crate) fn describe(end: &End) -> String {
    match end {
        End::On(messages) => format!("goes on:{}", list(messages)),
        End::Refused { reason, text } => {
            format!("refused: {reason} {}", text.as_deref().unwrap_or_default())
        }
        End::Consumed => "consumed".to_owned(),
        End::Withheld => "withheld".to_owned(),
    }
}

/// A message from JSON.
pub(crate) fn given(chain: &Chain, msg: &str) -> Result<Arc<Message>, String> {
    let given: Json = serde_json::from_str(msg).map_err(|error| error.to_string())?;
    let topic = given.get("topic").and_then(Json::as_str);
    let topic = TopicName::new(topic.ok_or("it has no `topic`")?);
    let topic = topic.map_err(|error| error.to_string())?;
    let payload = match given.get("payload") {
        Some(payload) => given_payload(chain, payload.clone())?,
        None => Bytes::new(),
    };
    let received_ms = given.get("received_ms").and_then(Json::as_u64);
    let mut message = message(topic, payload, 0, false);
    Arc::make_mut(&mut message).received_ms = received_ms.unwrap_or_else(now_ms);
    Ok(message)
}
