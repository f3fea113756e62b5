//! Numbers of plugins, chains and sinks below `$SYS/broker/plugins/NAME/`, `…/chains/NAME/` and `…/sinks/NAME/`, beside those
//! that the shards publish of the node.
//!
//! Owns: a thread that looks at them as often as `$SYS` is published. Must not: be a shard, because what is asked may
//! wait for an installation.

use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use witmq_broker::ports::control::{PluginInfo, RuleInfo};
use witmq_broker::ports::{PluginControl, RuleControl, SinkControl, SinkInfo};
use witmq_net::Node;
use witmq_proto::packet::{PublishProperties, QoS};
use witmq_proto::{ByteString, Message, TopicName};

/// Ends the thread when dropped.
pub(crate) struct Topics {
    _stop: SyncSender<()>,
}

/// A number or word, and its name; `host/docs/sys-topics.md` lists them.
type Entry = (&'static str, String);

/// What is published of one plugin.
fn of_plugin(plugin: &PluginInfo) -> Vec<Entry> {
    let failures: u64 = plugin.failures.iter().map(|(_, count)| count).sum();
    let [p50, p99] = plugin.quantiles_us;
    vec![
        ("version", plugin.active.version.to_string()),
        ("state", plugin.state.to_owned()),
        ("calls", plugin.calls.to_string()),
        ("failures", failures.to_string()),
        ("p50_us", format!("{p50:.1}")),
        ("p99_us", format!("{p99:.1}")),
        ("memory_bytes", plugin.memory_bytes.to_string()),
        ("restarts", plugin.restarts.to_string()),
        ("shard_share", format!("{:.4}", plugin.shard_share)),
    ]
}

/// What is published of one chain.
fn of_chain(chain: &RuleInfo) -> Vec<Entry> {
    let mut entries = vec![("state", chain.state.to_owned())];
    let numbers = [
        ("revision", chain.revision),
        ("matched", chain.matched),
        ("filtered", chain.filtered),
        ("failed", chain.failed),
        ("limited", chain.limited),
        ("rests", chain.rests),
        ("rested", chain.rested),
    ];
    entries.extend(numbers.map(|(name, number)| (name, number.to_string())));
    entries
}

/// What is published of one sink.
fn of_sink(sink: &SinkInfo) -> Vec<Entry> {
    let mut entries = vec![("state", sink.state.to_owned())];
    let numbers = [
        ("queued_messages", sink.queued_messages),
        ("queued_bytes", sink.queued_bytes),
        ("delivered", sink.delivered),
        ("retried", sink.retried),
        ("failed", sink.failed),
        ("dropped", sink.dropped),
        ("dead", sink.dead),
        ("expired", sink.expired),
        ("received", sink.received),
        ("held", sink.held),
        ("crowded", sink.crowded),
        ("looped", sink.looped),
    ];
    entries.extend(numbers.map(|(name, number)| (name, number.to_string())));
    entries
}

fn message(topic: &str, text: String) -> Option<Message> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Some(Message {
        topic: TopicName::new(topic).ok()?,
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

/// Publishes once: what is another than what was `known`, and nothing any more for what is gone. What `put` does not take is
/// not known.
fn publish(
    present: impl Iterator<Item = (String, String)>,
    known: &mut BTreeMap<String, String>,
    mut put: impl FnMut(Message) -> bool,
) {
    let mut gone = std::mem::take(known);
    for (topic, text) in present {
        let is_known = gone.remove(&topic).is_some_and(|known| known == text);
        if is_known || message(&topic, text.clone()).is_some_and(&mut put) {
            known.insert(topic, text);
        }
    }
    for (topic, text) in gone {
        // An empty payload ends a retained message [MQTT-3.3.1-6].
        if !message(&topic, String::new()).is_none_or(&mut put) {
            known.insert(topic, text);
        }
    }
}

/// Topics and texts of everything that is there.
fn present(
    plugins: &[PluginInfo],
    chains: &[RuleInfo],
    sinks: &[SinkInfo],
) -> impl Iterator<Item = (String, String)> {
    let plugins = plugins
        .iter()
        .map(|plugin| (format!("plugins/{}", plugin.name), of_plugin(plugin)));
    let chains = chains
        .iter()
        .map(|chain| (format!("chains/{}", chain.name), of_chain(chain)));
    let sinks = sinks
        .iter()
        .map(|sink| (format!("sinks/{}", sink.name), of_sink(sink)));
    plugins
        .chain(chains)
        .chain(sinks)
        .flat_map(|(place, entries)| {
            let entries = entries.into_iter();
            entries.map(move |(name, text)| (format!("$SYS/broker/{place}/{name}"), text))
        })
}

/// Starts the thread; `None` where `$SYS` is off.
pub(crate) fn start(
    (plugins, chains): (&Arc<dyn PluginControl>, &Arc<dyn RuleControl>),
    sinks: &Arc<dyn SinkControl>,
    node: &Arc<Node>,
    interval: Duration,
) -> std::io::Result<Option<Topics>> {
    if interval.is_zero() {
        return Ok(None);
    }
    let (stop, stopped) = sync_channel::<()>(0);
    let (plugins, chains) = (plugins.clone(), chains.clone());
    let (sinks, into) = (sinks.clone(), node.publisher());
    std::thread::Builder::new()
        .name("sys-topics".to_owned())
        .spawn(move || {
            let mut known = BTreeMap::new();
            while stopped.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
                // A shard that is busy gets the next ones.
                let (plugins, chains, sinks) = (plugins.list(), chains.list(), sinks.list());
                publish(present(&plugins, &chains, &sinks), &mut known, &into);
            }
        })?;
    Ok(Some(Topics { _stop: stop }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_gone_is_not_retained_any_more() {
        let mut known = BTreeMap::new();
        let sink = SinkInfo {
            name: "far".to_owned(),
            state: "healthy",
            received: 7,
            looped: 2,
            ..SinkInfo::default()
        };
        let chain = RuleInfo {
            name: "hot".to_owned(),
            state: "resting",
            failed: 3,
            ..RuleInfo::default()
        };
        let mut said = Vec::new();
        let mut put = |message: Message| {
            let text = String::from_utf8_lossy(&message.payload).into_owned();
            said.push((message.topic.to_string(), text, message.retain));
            true
        };
        publish(present(&[], &[chain], &[sink]), &mut known, &mut put);
        publish(present(&[], &[], &[]), &mut known, &mut put);
        for (name, text) in [
            ("sinks/far/state", "healthy"),
            ("sinks/far/received", "7"),
            ("sinks/far/looped", "2"),
            ("chains/hot/state", "resting"),
            ("chains/hot/failed", "3"),
        ] {
            let topic = format!("$SYS/broker/{name}");
            let of_it: Vec<_> = said.iter().filter(|(said, ..)| *said == topic).collect();
            let texts: Vec<_> = of_it
                .iter()
                .map(|(_, text, retain)| (&**text, *retain))
                .collect();
            assert_eq!(texts, [(text, true), ("", true)], "{name}");
        }
        assert!(known.is_empty());
    }

    #[test]
    fn what_has_not_changed_is_not_said_again_and_what_was_not_taken_is() {
        let mut known = BTreeMap::new();
        let sink = |received| SinkInfo {
            name: "far".to_owned(),
            received,
            ..SinkInfo::default()
        };
        let mut count = |received, takes: bool| {
            let mut said = Vec::new();
            publish(
                present(&[], &[], &[sink(received)]),
                &mut known,
                |message| {
                    said.push(message.topic.to_string());
                    takes
                },
            );
            said.len()
        };
        let all = count(1, false);
        assert_eq!((count(1, true), count(1, true)), (all, 0));
        assert_eq!((count(2, false), count(2, true), count(2, true)), (1, 1, 0));
    }
}
