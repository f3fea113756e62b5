//! Numbers of plugins below `$SYS/broker/plugins/NAME/`, beside those that the shards publish of the node.
//!
//! Owns: a thread that looks at them as often as `$SYS` is published. Must not: be a shard, because what is asked may
//! wait for an installation.

use bytes::Bytes;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use witmq_broker::ports::PluginControl;
use witmq_broker::ports::control::PluginInfo;
use witmq_net::Node;
use witmq_proto::packet::{PublishProperties, QoS};
use witmq_proto::{ByteString, Message, TopicName};

/// Ends the thread when dropped.
pub(crate) struct PluginTopics {
    _stop: SyncSender<()>,
}

/// What is published of each plugin; `host/docs/sys-topics.md` lists it.
const NAMES: [&str; 9] = [
    "version",
    "state",
    "calls",
    "failures",
    "p50_us",
    "p99_us",
    "memory_bytes",
    "restarts",
    "shard_share",
];

/// The texts in the order of [`NAMES`].
fn texts(plugin: &PluginInfo) -> [String; NAMES.len()] {
    let failures: u64 = plugin.failures.iter().map(|(_, count)| count).sum();
    let [p50, p99] = plugin.quantiles_us;
    [
        plugin.active.version.to_string(),
        plugin.state.to_owned(),
        plugin.calls.to_string(),
        failures.to_string(),
        format!("{p50:.1}"),
        format!("{p99:.1}"),
        plugin.memory_bytes.to_string(),
        plugin.restarts.to_string(),
        format!("{:.4}", plugin.shard_share),
    ]
}

fn message(plugin: &str, name: &str, text: String) -> Option<Message> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Some(Message {
        topic: TopicName::new(format!("$SYS/broker/plugins/{plugin}/{name}")).ok()?,
        payload: Bytes::from(text),
        qos: QoS::AtMostOnce,
        retain: true,
        properties: PublishProperties::default(),
        expires_at: None,
        publisher: ByteString::new(),
        received_ms: u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
        hops: 0,
    })
}

/// Publishes once: what is installed, and nothing any more for what was `known` and is gone.
fn publish(list: &[PluginInfo], known: &mut BTreeSet<String>, mut put: impl FnMut(Message)) {
    for plugin in list {
        let messages = NAMES.into_iter().zip(texts(plugin));
        messages
            .filter_map(|(name, text)| message(&plugin.name, name, text))
            .for_each(&mut put);
        known.insert(plugin.name.clone());
    }
    let is_there = |name: &String| list.iter().any(|plugin| plugin.name == *name);
    let gone: Vec<String> = known
        .iter()
        .filter(|name| !is_there(name))
        .cloned()
        .collect();
    for plugin in gone {
        // An empty payload ends a retained message [MQTT-3.3.1-6].
        let names = NAMES.into_iter();
        names
            .filter_map(|name| message(&plugin, name, String::new()))
            .for_each(&mut put);
        known.remove(&plugin);
    }
}

/// Starts the thread; `None` where `$SYS` is off.
pub(crate) fn start(
    plugins: &Arc<dyn PluginControl>,
    node: &Arc<Node>,
    interval: Duration,
) -> std::io::Result<Option<PluginTopics>> {
    if interval.is_zero() {
        return Ok(None);
    }
    let (stop, stopped) = sync_channel::<()>(0);
    let (plugins, into) = (plugins.clone(), node.publisher());
    std::thread::Builder::new()
        .name("plugin-topics".to_owned())
        .spawn(move || {
            let mut known = BTreeSet::new();
            while stopped.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
                // A shard that is busy gets the next ones.
                publish(&plugins.list(), &mut known, |message| {
                    let _is_busy = !into(message);
                });
            }
        })?;
    Ok(Some(PluginTopics { _stop: stop }))
}
