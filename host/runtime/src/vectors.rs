//! The tests that a component brings with it, run before it serves: each on an instance of its own, cut off from
//! everything. What it publishes goes nowhere, its keys are thrown away, nobody is connected, and other services answer
//! what the test says.
//!
//! Owns: how a test is run and for how long. What is expected is in `expect`.

use crate::config::Outside;
use crate::expect::Came;
use crate::http::Canned;
use crate::instance::{Failed, Instance, at_once};
use crate::lane::Publication;
use crate::limited::Bound;
use crate::manifest::{self, Given, Tested, Vector};
use crate::offline::TestRun;
use crate::plugin::Shared;
use crate::template::{Post, Template};
use crate::timers::Timers;
use bytes::Bytes;
use std::sync::Arc;
use std::time::{Duration, Instant};
use witmq_broker::kv::{KvBounds, Spaces};
use witmq_broker::ports::clients::{Answered, ClientInfo, Clients};
use witmq_broker::ports::hooks::{Attempt, AuthRequest};
use witmq_broker::ports::{ControlError, Publisher, Transport};
use witmq_proto::packet::{MessageProperties, PublishProperties, QoS, Version};
use witmq_proto::{ByteString, Message, ReasonCode, TopicName};

/// Runs the tests of the manifest.
///
/// # Errors
/// The first that fails; or they take too long together, or one of them alone.
pub(crate) fn run(template: &Template) -> Result<(), ControlError> {
    let package = &template.package;
    let name = &template.plugin.name;
    let (start, limit) = (Instant::now(), template.limits.tests);
    for vector in &package.manifest.tests {
        if vector.hook == Tested::Transform && package.transform.is_none() {
            continue; // as brokers did before there were others
        }
        let left = limit.saturating_sub(start.elapsed());
        if left.is_zero() {
            template.plugin.limited.hit(Bound::Tests);
            let text = format!(
                "the own tests of plugin `{name}` take longer than {limit:?} together: `{}` was not begun",
                vector.name
            );
            let hint = "fewer or quicker tests; the operator's bound is limits.plugin_tests_ms";
            return Err(refusal("tests-too-slow", text, hint));
        }
        let run = run_one(template, vector, left).map_err(|error| {
            ControlError::Internal(format!("the tests of `{name}` cannot be run: {error}"))
        })?;
        if run.result.is_err() && run.took >= left {
            template.plugin.limited.hit(Bound::Tests);
        }
        run.result.map_err(|cause| {
            let text = format!(
                "plugin `{name}` fails its own test `{}`: {cause}",
                vector.name
            );
            refusal(
                "test-failed",
                text,
                "`witmq plugin test` runs the tests of a plugin's folder",
            )
        })?;
    }
    Ok(())
}

fn refusal(code: &'static str, message: String, hint: &str) -> ControlError {
    ControlError::Invalid {
        code,
        message,
        hint: Some(hint.to_owned()),
    }
}

/// One test, on an instance of its own, for at most so long if it waits; one that does not has the deadlines of its calls.
///
/// # Errors
/// There is no executor for it.
pub(crate) fn run_one(
    template: &Template,
    vector: &Vector,
    most: Duration,
) -> std::io::Result<TestRun> {
    let mut run = TestRun {
        name: vector.name.clone(),
        result: Ok(()),
        took: Duration::ZERO,
        memory_bytes: 0,
        output_bytes: 0,
    };
    if !template.package.is_effectful {
        run.result = at_once(attempt(template, vector, &mut run));
        return Ok(run);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let result = runtime
        .block_on(async { tokio::time::timeout(most, attempt(template, vector, &mut run)).await });
    runtime.shutdown_background();
    run.result = result.unwrap_or_else(|_| {
        run.took = most;
        Err(format!("it did not end within {most:?}"))
    });
    Ok(run)
}

/// What may take long in a component that waits, in the time that it has.
async fn within<R>(
    template: &Template,
    limit: Duration,
    called: impl Future<Output = R>,
) -> Result<R, String> {
    if !template.package.is_effectful {
        return Ok(called.await);
    }
    let called = tokio::time::timeout(limit, called).await;
    called.map_err(|_| format!("a call did not end within {limit:?}"))
}

async fn attempt(template: &Template, vector: &Vector, run: &mut TestRun) -> Result<(), String> {
    let config = match &vector.config {
        Some(config) => config.to_string(),
        None => template.config.clone(),
    };
    let canned = Arc::new(Canned::new(&vector.answers)?);
    let apart = Arc::new(Template::new(
        Arc::new(alone(template, vector, canned.clone())),
        template.package.clone(),
        config,
        template.generation,
        template.limits.clone(),
        template.engine.clone(),
    ));
    let making = Instance::new(&apart, Post::Alone);
    let made = within(template, template.limits.init_deadline, making).await?;
    let mut instance = made.map_err(|error| error.to_string())?;
    let start = Instant::now();
    let calling = call(&mut instance, vector);
    let called = within(template, template.timeout, calling).await;
    run.took = start.elapsed();
    let checked = called.flatten().and_then(|came| {
        (run.memory_bytes, run.output_bytes) = (instance.memory_bytes(), came.output_bytes());
        came.check(&vector.expect)
    });
    checked.map_err(|text| match canned.missed() {
        Some(request) => format!("{text}; it has no answer for `{request}`"),
        None => text,
    })
}

async fn call(instance: &mut Instance, vector: &Vector) -> Result<Came, String> {
    let given = &vector.given;
    let failed = |Failed { failure, .. }| Came::Failed(failure);
    Ok(match vector.hook {
        Tested::Transform => {
            let publication = publication(given)?;
            let outcome = match instance.template().package.is_effectful {
                true => instance.transform_beside(&publication).await,
                false => instance.transform(publication.publisher(), &publication.message),
            };
            outcome.map_or_else(failed, Came::Outcome)
        }
        Tested::Sink => {
            let delivered = instance.deliver(&[publication(given)?]).await;
            match delivered.map(|all| all.into_iter().next()) {
                Ok(Some(delivered)) => Came::Delivered(delivered),
                Ok(None) => return Err("it gave no answer".to_owned()),
                Err(error) => failed(error),
            }
        }
        Tested::Authenticate => {
            let step = instance.authenticate(&asked(given)).await;
            step.map_or_else(failed, Came::Step)
        }
    })
}

/// Nobody is connected.
struct Nobody;

impl Clients for Nobody {
    fn find(&self, _: &str) -> Answered<Option<ClientInfo>> {
        Box::pin(async { Ok(None) })
    }

    fn disconnect(&self, _: &str, _: ReasonCode) -> Answered<bool> {
        Box::pin(async { Ok(false) })
    }
}

/// The plugin without anything around it.
fn alone(template: &Template, vector: &Vector, canned: Arc<Canned>) -> Shared {
    let (secrets, others) = (
        vector.secrets.clone(),
        template.plugin.outside.secret.clone(),
    );
    let mut grants = (**template.plugin.grants()).clone();
    grants.secrets.extend(vector.secrets.keys().cloned());
    let outside = Outside {
        publish: Arc::new(|_| true),
        kv: Arc::new(Spaces::new(KvBounds::default())),
        clients: Arc::new(Nobody),
        secret: Arc::new(move |name| match secrets.get(name) {
            Some(text) => Some(text.clone().into_bytes()),
            None => others(name),
        }),
        alarm: Arc::new(|_| {}),
        ..(*template.plugin.outside).clone()
    };
    let (alarm, _) = std::sync::mpsc::sync_channel(1);
    let mut shared = Shared::new(
        &template.plugin.name,
        &template.limits,
        Arc::new(outside),
        Timers::none(),
        grants,
        alarm,
        template.plugin.pool.clone(),
    );
    shared.canned = Some(canned);
    shared
}

fn publication(given: &Given) -> Result<Publication, String> {
    let publisher = Publisher {
        client_id: &given.client_id,
        username: given.username.as_deref(),
        attributes: &[],
        session: 0,
    };
    Ok(Publication::new(publisher, &Arc::new(message(given)?)))
}

fn message(given: &Given) -> Result<Message, String> {
    let payload = match &given.payload_base64 {
        Some(text) => base64(text)?,
        None => manifest::bytes(&given.payload),
    };
    let user = given.user_properties.iter();
    let user = user.map(|(name, value)| (ByteString::from(&**name), ByteString::from(&**value)));
    Ok(Message {
        topic: TopicName::new(given.topic.as_str()).map_err(|error| format!("given: {error}"))?,
        payload,
        qos: QoS::from_bits(given.qos).ok_or_else(|| format!("given: no QoS {}", given.qos))?,
        retain: given.retain,
        properties: PublishProperties::from(MessageProperties {
            user: user.collect(),
            ..MessageProperties::default()
        }),
        expires_at: None,
        publisher: ByteString::from(&*given.client_id),
        received_ms: 0,
        hops: 0,
    })
}

fn base64(text: &str) -> Result<Bytes, String> {
    use base64::Engine as _;
    let decoded = base64::engine::general_purpose::STANDARD.decode(text);
    decoded
        .map(Bytes::from)
        .map_err(|error| format!("given: payload_base64: {error}"))
}

/// An attempt of a client on this machine; with `state`, the next round of an exchange.
fn asked(given: &Given) -> AuthRequest {
    let text = |text: &Option<String>| text.as_deref().map(ByteString::from);
    let bytes = |text: &Option<String>| {
        let text = text.as_deref().unwrap_or_default();
        Bytes::copy_from_slice(text.as_bytes())
    };
    let attempt = Attempt {
        client_id: ByteString::from(&*given.client_id),
        username: text(&given.username),
        password: given.password.as_ref().map(|_| bytes(&given.password)),
        method: text(&given.method),
        data: match given.state {
            Some(_) => Bytes::new(),
            None => bytes(&given.data),
        },
        peer: ([127, 0, 0, 1], 1).into(),
        listener: "test".into(),
        transport: Transport::Tcp,
        version: Version::V5,
        certificate: None,
    };
    match given.state {
        Some(_) => AuthRequest::Proceed {
            attempt,
            state: bytes(&given.state),
            data: bytes(&given.data),
        },
        None => AuthRequest::Begin(attempt),
    }
}
