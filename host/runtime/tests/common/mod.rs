//! What the tests of the plugin host share: a component that misbehaves as it is told, and a host around it.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    dead_code,
    reason = "tests; each file uses a part of it"
)]

pub(crate) mod service;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};
use witmq_broker::kv::{KvBounds, Spaces};
use witmq_broker::ports::clients::{Answered, ClientInfo, Clients};
use witmq_broker::ports::control::{InstallOptions, PluginInfo};
use witmq_broker::ports::kv::PluginKv as _;
use witmq_broker::ports::{
    ControlError, PluginControl, Publisher, StepFailure, StepOutcome, Transform,
};
use witmq_proto::packet::{PublishProperties, QoS};
use witmq_proto::{ByteString, Bytes, Message, ReasonCode, TopicFilter, TopicName};
use witmq_runtime::{Grants, Outside, Runtime, RuntimeConfig, ShardPlugins};

/// The component, built once.
pub(crate) fn guest() -> Vec<u8> {
    static WASM: OnceLock<Vec<u8>> = OnceLock::new();
    WASM.get_or_init(|| built("witmq-test-guests")).clone()
}

/// The component that sends requests, with tests of its own, built once.
pub(crate) fn tested_guest() -> Vec<u8> {
    static WASM: OnceLock<Vec<u8>> = OnceLock::new();
    WASM.get_or_init(|| built("witmq-test-guests-http")).clone()
}

/// The same without tests: hosts with narrow bounds would refuse it for them.
pub(crate) fn http_guest() -> Vec<u8> {
    let tests = include_str!("../../../../tests/guests/http/tests.json");
    let tests = format!(",\"tests\":{tests}");
    exchanged(tested_guest(), &tests, &" ".repeat(tests.len()))
}

/// A component with something else of the same length in its manifest.
pub(crate) fn exchanged(mut wasm: Vec<u8>, from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len(), "the section keeps its length");
    let from = from.as_bytes();
    let places: Vec<usize> = (0..=wasm.len() - from.len())
        .filter(|at| wasm[*at..].starts_with(from))
        .collect();
    assert!(!places.is_empty(), "there is no place for {to}");
    for at in places {
        wasm[at..at + from.len()].copy_from_slice(to.as_bytes());
    }
    wasm
}

/// The component of a package.
pub(crate) fn built(package: &str) -> Vec<u8> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let target = root.join("target/guests");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(&root).args([
        "build",
        "--quiet",
        "--profile",
        "guest",
        "--target",
        "wasm32-wasip2",
    ]);
    cargo
        .args(["--package", package, "--target-dir"])
        .arg(&target);
    for name in [
        "RUSTFLAGS",
        "CARGO_ENCODED_RUSTFLAGS",
        "RUSTC_WRAPPER",
        "RUSTC_WORKSPACE_WRAPPER",
    ] {
        cargo.env_remove(name);
    }
    assert!(
        cargo.status().unwrap().success(),
        "is the target there? rustup target add wasm32-wasip2"
    );
    let file = format!("wasm32-wasip2/guest/{}.wasm", package.replace('-', "_"));
    std::fs::read(target.join(file)).unwrap()
}

pub(crate) fn mode(mode: &str) -> Option<String> {
    Some(format!("{{\"mode\":\"{mode}\"}}"))
}

pub(crate) fn stamp(stamp: &str) -> Option<String> {
    Some(format!("{{\"mode\":\"stamp\",\"stamp\":\"{stamp}\"}}"))
}

pub(crate) fn config() -> RuntimeConfig {
    RuntimeConfig {
        shards: 2,
        authenticators: vec!["g".to_owned()],
        grants: BTreeMap::from([("g".to_owned(), granted())]),
        probation: Duration::ZERO,
        deadline: Duration::from_millis(50),
        authenticate_deadline: Duration::from_millis(50),
        breaker_failures: 1000,
        memory_bytes: 8 * 1024 * 1024,
        ..RuntimeConfig::default()
    }
}

/// Everything that the manifest of the guest asks for.
pub(crate) fn granted() -> Grants {
    Grants {
        publish: vec![TopicFilter::new("made/by/#").unwrap()],
        secrets: ["token".to_owned()].into(),
        http: Vec::new(),
        clients: false,
    }
}

/// The same, and requests to a host.
pub(crate) fn reaching(host: &str) -> Grants {
    Grants {
        http: vec![host.parse().unwrap()],
        ..granted()
    }
}

/// What plugins reach.
#[derive(Clone, Default)]
pub(crate) struct Around {
    pub(crate) published: Arc<Mutex<Vec<Message>>>,
    pub(crate) kv: Arc<Spaces>,
}

impl Around {
    /// Plugins have so many keys and bytes of them.
    pub(crate) fn with(bounds: KvBounds) -> Self {
        Self {
            kv: Arc::new(Spaces::new(bounds)),
            ..Self::default()
        }
    }

    /// A counter of plugin `g`.
    pub(crate) fn count(&self, key: &str) -> i64 {
        let kept = self.kv.space("g").get(key, 0);
        let bytes = kept.and_then(|kept| <[u8; 8]>::try_from(&kept.value[..]).ok());
        bytes.map_or(0, i64::from_le_bytes)
    }

    /// Payloads published to a topic so far.
    pub(crate) fn on(&self, topic: &str) -> Vec<String> {
        let published = self.published.lock().unwrap();
        let there = published.iter().filter(|message| *message.topic == *topic);
        there
            .map(|message| String::from_utf8_lossy(&message.payload).into_owned())
            .collect()
    }
}

/// One client, `here`.
struct Here;

impl Clients for Here {
    fn find(&self, client_id: &str) -> Answered<Option<ClientInfo>> {
        let found = (client_id == "here").then(|| ClientInfo {
            username: Some("ada".to_owned()),
            peer: Some(([192, 0, 2, 1], 5000).into()),
            protocol: 5,
            queued: 2,
            subscriptions: vec!["a/+".to_owned()],
        });
        Box::pin(async { Ok(found) })
    }

    fn disconnect(&self, client_id: &str, _: ReasonCode) -> Answered<bool> {
        let is_here = client_id == "here";
        Box::pin(async move { Ok(is_here) })
    }
}

pub(crate) fn start(config: RuntimeConfig) -> Runtime {
    start_with(config).0
}

pub(crate) fn start_with(config: RuntimeConfig) -> (Runtime, Around) {
    let around = Around::default();
    (start_around(config, &around), around)
}

pub(crate) fn start_around(config: RuntimeConfig, around: &Around) -> Runtime {
    let into = around.published.clone();
    let outside = Outside {
        publish: Arc::new(move |message| {
            into.lock().unwrap().push(message);
            true
        }),
        secret: Arc::new(|name| (name == "token").then(|| b"s3cret".to_vec())),
        clients: Arc::new(Here),
        kv: around.kv.clone(),
        alarm: Arc::new(|_| {}),
        is_sink: Arc::new(|name| name == "connector"),
    };
    Runtime::start(config, outside).unwrap()
}

pub(crate) fn install(
    runtime: &Runtime,
    name: &str,
    wasm: Vec<u8>,
    config: Option<String>,
) -> Result<PluginInfo, ControlError> {
    let options = InstallOptions {
        config,
        ..InstallOptions::default()
    };
    runtime.install(name, wasm, options)
}

pub(crate) fn installed(config: RuntimeConfig, wanted: &str) -> (Runtime, ShardPlugins) {
    let runtime = start(config);
    install(&runtime, "g", guest(), mode(wanted)).unwrap();
    let hooks = runtime.shard_hooks(0);
    (runtime, hooks)
}

/// The bounds that a plugin ran into, by their settings.
pub(crate) fn limited(runtime: &Runtime, name: &str) -> Vec<(&'static str, u64)> {
    let mut all = runtime.list().into_iter();
    all.find(|plugin| plugin.name == name).unwrap().limited
}

/// Asks again until it is so.
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < end, "{what} did not happen in time");
        std::thread::yield_now();
    }
}

pub(crate) fn message(payload: &str) -> Message {
    Message {
        topic: TopicName::new("t").unwrap(),
        payload: Bytes::copy_from_slice(payload.as_bytes()),
        qos: QoS::AtLeastOnce,
        retain: false,
        properties: PublishProperties::default(),
        expires_at: None,
        publisher: ByteString::from_static("c"),
        received_ms: 1,
        hops: 0,
    }
}

pub(crate) const NOBODY: Publisher<'_> = Publisher {
    client_id: "c",
    username: None,
    attributes: &[],
    session: 1,
};

pub(crate) fn call(hooks: &mut ShardPlugins, payload: &str) -> Result<String, StepFailure> {
    match hooks.transform("g", NOBODY, &message(payload))? {
        StepOutcome::Modify(patch) => {
            Ok(String::from_utf8(patch.payload.unwrap().to_vec()).unwrap())
        }
        other => Ok(format!("{other:?}")),
    }
}

pub(crate) fn code(result: Result<impl std::fmt::Debug, ControlError>) -> String {
    match result.unwrap_err() {
        ControlError::Invalid { code, .. } => code.to_owned(),
        other => format!("{other:?}"),
    }
}
