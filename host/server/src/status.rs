//! Numbers about the running node, as JSON and in the Prometheus text format.

use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Instant;
use witmq_admin::NodeStatus;
use witmq_broker::kv::Spaces;
use witmq_broker::ports::{PluginControl, RuleControl};
use witmq_broker::shard::Counters;
use witmq_broker::{ShardId, Shared};
use witmq_net::Node;

/// Answers from shards and counters.
pub(crate) struct Status {
    pub(crate) name: String,
    pub(crate) node: Arc<Node>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) plugins: Arc<dyn PluginControl>,
    pub(crate) rules: Arc<dyn RuleControl>,
    /// `None` without a storage.
    pub(crate) storage: Option<Arc<witmq_storage::Metrics>>,
    pub(crate) kv: Arc<Spaces>,
    pub(crate) started: Instant,
}

impl Status {
    fn counters(&self) -> Counters {
        let mut sum = Counters::default();
        for shard in (0..self.node.shards()).map(ShardId) {
            match self.node.inspect(shard, |shard, _| shard.counters()) {
                Some(counters) => sum.add(&counters),
                None => return self.shared.counters(), // a second old, but there
            }
        }
        sum
    }
}

impl NodeStatus for Status {
    fn status(&self) -> Value {
        let counters: serde_json::Map<String, Value> = self
            .counters()
            .entries()
            .into_iter()
            .map(|(name, _, value)| (name.to_owned(), value.into()))
            .collect();
        let listeners: serde_json::Map<String, Value> = self
            .node
            .addresses()
            .iter()
            .map(|(name, address)| (name.to_string(), address.to_string().into()))
            .collect();
        json!({
            "name": self.name,
            "version": env!("CARGO_PKG_VERSION"),
            "uptime_s": self.started.elapsed().as_secs(),
            "shards": self.node.shards(),
            "sockets": self.node.open_sockets(),
            "retained": { "messages": self.shared.retained.len(), "bytes": self.shared.retained.bytes() },
            "delayed": { "messages": self.shared.delayed.messages(), "bytes": self.shared.delayed.bytes() },
            "listeners": listeners,
            "counters": counters,
        })
    }

    fn metrics(&self) -> String {
        let mut text = String::new();
        let mut put = |name: &str, kind: &str, labels: &str, value: f64| {
            if !text.contains(&format!("# TYPE witmq_{name} {kind}\n")) {
                text.push_str(&format!("# TYPE witmq_{name} {kind}\n"));
            }
            text.push_str(&format!("witmq_{name}{labels} {value}\n"));
        };
        for (name, is_gauge, value) in self.counters().entries() {
            put(
                name,
                if is_gauge { "gauge" } else { "counter" },
                "",
                float(value),
            );
        }
        for (name, value) in self.node.counters().entries() {
            put(name, "counter", "", float(value));
        }
        let storage = self.storage.iter().flat_map(|storage| storage.entries());
        for (name, is_gauge, value) in storage.chain(self.kv.entries()) {
            let kind = if is_gauge { "gauge" } else { "counter" };
            put(name, kind, "", float(value));
        }
        for (name, value) in [
            ("sockets", self.node.open_sockets() as f64),
            ("delayed_messages", self.shared.delayed.messages() as f64),
            ("delayed_bytes", self.shared.delayed.bytes() as f64),
            ("retained_messages", self.shared.retained.len() as f64),
            ("retained_bytes", self.shared.retained.bytes() as f64),
            ("uptime_seconds", self.started.elapsed().as_secs_f64()),
        ] {
            put(name, "gauge", "", value);
        }
        let plugins = self.plugins.list();
        for plugin in &plugins {
            put(
                "plugin_calls_total",
                "counter",
                &format!("{{plugin=\"{}\"}}", plugin.name),
                float(plugin.calls),
            );
        }
        for plugin in &plugins {
            for (kind, count) in &plugin.failures {
                let labels = format!("{{plugin=\"{}\",kind=\"{kind}\"}}", plugin.name);
                put("plugin_failures_total", "counter", &labels, float(*count));
            }
        }
        let rules = self.rules.list();
        for (name, value) in [("matched", 0), ("filtered", 1), ("failed", 2)] {
            for rule in &rules {
                let count = [rule.matched, rule.filtered, rule.failed]
                    .get(value)
                    .copied()
                    .unwrap_or(0);
                let labels = format!("{{chain=\"{}\"}}", rule.name);
                put(
                    &format!("chain_{name}_total"),
                    "counter",
                    &labels,
                    float(count),
                );
            }
        }
        text
    }
}

/// Prometheus knows one kind of number; beyond 2^53 the last digits are lost.
fn float(value: u64) -> f64 {
    value as f64
}
