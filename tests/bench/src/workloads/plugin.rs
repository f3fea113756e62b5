//! One `transform` of a component, called as a shard calls it.
//!
//! Owns: what the components are and how they are installed. What is compiled is kept in `target/plugin-load`, so that only the
//! first run of them pays for it.

use super::Play;
use anyhow::{Context as _, Result, bail};
use std::sync::Arc;
use witmq_broker::kv::{KvBounds, Spaces};
use witmq_broker::ports::clients::{Answered, Busy, ClientInfo, Clients};
use witmq_broker::ports::control::InstallOptions;
use witmq_broker::ports::{PluginControl as _, Publisher, StepOutcome, Transform as _};
use witmq_proto::packet::{PublishProperties, QoS};
use witmq_proto::{ByteString, Bytes, Message, ReasonCode, TopicName};
use witmq_runtime::{Outside, Runtime, RuntimeConfig};

/// Where components are built to.
const GUESTS: &str = "target/guests/wasm32-wasip2/guest";
/// Where compiled ones are kept.
const KEPT: &str = "target/plugin-load";
const PAYLOAD_BYTES: usize = 256;

struct Nobody;

impl Clients for Nobody {
    fn find(&self, _: &str) -> Answered<Option<ClientInfo>> {
        Box::pin(async { Err(Busy) })
    }

    fn disconnect(&self, _: &str, _: ReasonCode) -> Answered<bool> {
        Box::pin(async { Err(Busy) })
    }
}

/// The component of a workload, its configuration, and whether it puts another payload in place.
fn component(workload: &str) -> Result<(&'static str, &'static str, bool)> {
    Ok(match workload {
        "plugin-topic" => ("witmq_test_guests_topic", "{}", false),
        "plugin-payload" => ("witmq_test_guests_bench", "{}", false),
        "plugin-patch" => ("witmq_test_guests_bench", r#"{"patch":true}"#, true),
        _ => bail!("no workload is called {workload}"),
    })
}

fn start() -> Result<Runtime> {
    let config = RuntimeConfig {
        data_dir: Some(KEPT.into()),
        authenticators: Vec::new(),
        ..RuntimeConfig::default()
    };
    let outside = Outside {
        publish: Arc::new(|_| true),
        secret: Arc::new(|_| None),
        clients: Arc::new(Nobody),
        kv: Arc::new(Spaces::new(KvBounds::default())),
        alarm: Arc::new(|_| {}),
        is_sink: Arc::new(|_| false),
    };
    Ok(Runtime::start(config, outside)?)
}

/// Messages of 256 bytes through the component of a workload.
pub(super) fn play(workload: &str) -> Result<Play> {
    let workload = workload.to_owned();
    let (name, config, is_patch) = component(&workload)?;
    let file = format!("{GUESTS}/{name}.wasm");
    let wasm = std::fs::read(&file)
        .with_context(|| format!("cannot read {file}: cargo xtask guests builds it"))?;
    let runtime = start()?;
    let options = InstallOptions {
        config: Some(config.to_owned()),
        ..InstallOptions::default()
    };
    runtime.install(&workload, wasm, options)?;
    let mut hooks = runtime.shard_hooks(0);
    let message = Message {
        topic: TopicName::new("bench/1")?,
        payload: Bytes::from(vec![b'x'; PAYLOAD_BYTES]),
        qos: QoS::AtMostOnce,
        retain: false,
        properties: PublishProperties::default(),
        expires_at: None,
        publisher: ByteString::from_static("publisher-1"),
        received_ms: 1,
        hops: 0,
    };
    Ok(Box::new(move |count| {
        let _stays = &runtime;
        let publisher = Publisher {
            client_id: "publisher-1",
            username: None,
            attributes: &[],
            session: 1,
        };
        let mut done = 0;
        for _ in 0..count {
            let is_right = match hooks.transform(&workload, publisher, &message)? {
                StepOutcome::Pass => !is_patch,
                StepOutcome::Modify(patch) => {
                    is_patch && patch.payload == Some(message.payload.clone())
                }
                _ => false,
            };
            done += u32::from(is_right);
        }
        Ok(done)
    }))
}
