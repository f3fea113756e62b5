//! Numbers about the running node, as JSON and in the Prometheus text format.

use crate::kernel;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use witmq_admin::NodeStatus;
use witmq_broker::kv::Spaces;
use witmq_broker::ports::SinkInfo;
use witmq_broker::ports::control::{PluginInfo, RuleInfo, TrialInfo};
use witmq_broker::ports::{PluginControl, RuleControl, SinkControl};
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
    pub(crate) sinks: Arc<dyn SinkControl>,
    /// `None` without a storage.
    pub(crate) storage: Option<Arc<witmq_storage::Metrics>>,
    pub(crate) kv: Arc<Spaces>,
    /// Canaries that were not taken back at once: too many waited for that.
    pub(crate) canaries_left: Arc<AtomicU64>,
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
        let mut page = Page::default();
        let kind = |is_gauge| if is_gauge { "gauge" } else { "counter" };
        for (name, is_gauge, value) in self.counters().entries() {
            page.put(name, kind(is_gauge), "", float(value));
        }
        for (name, value) in self.node.counters().entries() {
            page.put(name, "counter", "", float(value));
        }
        let storage = self.storage.iter().flat_map(|storage| storage.entries());
        for (name, is_gauge, value) in storage.chain(self.kv.entries()) {
            page.put(name, kind(is_gauge), "", float(value));
        }
        for (name, value) in [
            ("sockets", self.node.open_sockets() as f64),
            ("delayed_messages", self.shared.delayed.messages() as f64),
            ("delayed_bytes", self.shared.delayed.bytes() as f64),
            ("retained_messages", self.shared.retained.len() as f64),
            ("retained_bytes", self.shared.retained.bytes() as f64),
            ("uptime_seconds", self.started.elapsed().as_secs_f64()),
        ] {
            page.put(name, "gauge", "", value);
        }
        if let Some(count) = kernel::listen_overflows() {
            page.put("kernel_listen_overflows_total", "counter", "", float(count));
        }
        for (name, value) in self.plugins.counters() {
            page.put(name, "counter", "", float(value));
        }
        let memory = float(self.plugins.memory_bytes());
        page.put("plugin_memory_total_bytes", "gauge", "", memory);
        page.put_limited("", &self.plugins.limited());
        for plugin in self.plugins.list() {
            page.put_plugin(&plugin);
        }
        for (name, is_gauge, value) in self.rules.numbers() {
            page.put(name, kind(is_gauge), "", float(value));
        }
        let left = self.canaries_left.load(Ordering::Relaxed);
        page.put("canaries_left_total", "counter", "", float(left));
        for rule in self.rules.list() {
            page.put_rule(&rule);
        }
        for sink in self.sinks.list() {
            page.put_sink(&sink);
        }
        page.text()
    }
}

/// A page of metrics: the lines of one metric stand together, as the format wants them.
#[derive(Default)]
struct Page {
    metrics: Vec<(String, String)>,
    places: HashMap<String, usize>,
}

impl Page {
    fn put(&mut self, name: &str, kind: &str, labels: &str, value: f64) {
        let place = *self.places.entry(name.to_owned()).or_insert_with(|| {
            let head = format!("# TYPE witmq_{name} {kind}\n");
            self.metrics.push((name.to_owned(), head));
            self.metrics.len() - 1
        });
        if let Some((_, lines)) = self.metrics.get_mut(place) {
            lines.push_str(&format!("witmq_{name}{labels} {value}\n"));
        }
    }

    fn put_rule(&mut self, rule: &RuleInfo) {
        let labels = format!("{{chain=\"{}\"}}", rule.name);
        for (name, count) in [
            ("chain_matched_total", rule.matched),
            ("chain_filtered_total", rule.filtered),
            ("chain_failed_total", rule.failed),
            ("chain_limited_total", rule.limited),
            ("chain_evicted_total", rule.evicted),
            ("chain_rests_total", rule.rests),
            ("chain_rested_total", rule.rested),
        ] {
            self.put(name, "counter", &labels, float(count));
        }
        for (name, value) in [
            ("chain_state_entries", rule.state_entries as f64),
            ("chain_state_bytes", rule.state_bytes as f64),
            ("chain_resting", f64::from(u8::from(rule.resting.is_some()))),
        ] {
            self.put(name, "gauge", &labels, value);
        }
        if let Some(trial) = &rule.trial {
            self.put_trial(&rule.name, trial);
        }
        for step in &rule.steps {
            let place = format!(
                "chain=\"{}\",step=\"{}\",kind=\"{}\"",
                rule.name, step.index, step.kind
            );
            for (outcome, count) in [
                ("passed", step.passed),
                ("ended", step.ended),
                ("failed", step.failed),
            ] {
                let labels = format!("{{{place},outcome=\"{outcome}\"}}");
                self.put("chain_step_total", "counter", &labels, float(count));
            }
            let labels = format!("{{{place}}}");
            let [p50, p99] = step.quantiles_us;
            self.put("chain_step_p50_us", "gauge", &labels, p50);
            self.put("chain_step_p99_us", "gauge", &labels, p99);
        }
    }

    /// A revision beside one that runs.
    fn put_trial(&mut self, chain: &str, trial: &TrialInfo) {
        let (kind, own) = (trial.kind, &trial.rule);
        let labels = format!("{{chain=\"{chain}\",kind=\"{kind}\"}}");
        for (name, count) in [
            ("chain_trial_matched_total", own.matched),
            ("chain_trial_failed_total", own.failed),
            ("chain_trial_rests_total", own.rests),
            ("chain_trial_same_total", trial.same),
            ("chain_trial_different_total", trial.different),
            ("chain_trial_failed_alone_total", trial.failed_alone),
        ] {
            self.put(name, "counter", &labels, float(count));
        }
        let revision = float(own.revision);
        self.put("chain_trial_revision", "gauge", &labels, revision);
    }

    fn put_sink(&mut self, sink: &SinkInfo) {
        let labels = format!("{{sink=\"{}\",kind=\"{}\"}}", sink.name, sink.kind);
        for (name, kind, value) in [
            ("sink_healthy", "gauge", u64::from(sink.state == "healthy")),
            ("sink_queued_messages", "gauge", sink.queued_messages),
            ("sink_queued_bytes", "gauge", sink.queued_bytes),
            ("sink_delivered_total", "counter", sink.delivered),
            ("sink_retried_total", "counter", sink.retried),
            ("sink_failed_total", "counter", sink.failed),
            ("sink_dropped_total", "counter", sink.dropped),
            ("sink_dead_total", "counter", sink.dead),
            ("sink_received_total", "counter", sink.received),
            ("sink_held_total", "counter", sink.held),
            ("sink_crowded_total", "counter", sink.crowded),
            ("sink_looped_total", "counter", sink.looped),
            ("sink_expired_total", "counter", sink.expired),
        ] {
            self.put(name, kind, &labels, float(value));
        }
    }

    fn put_plugin(&mut self, plugin: &PluginInfo) {
        let labels = format!("{{plugin=\"{}\"}}", plugin.name);
        let [p50, p99] = plugin.quantiles_us;
        for (name, kind, value) in [
            ("plugin_calls_total", "counter", float(plugin.calls)),
            ("plugin_restarts_total", "counter", float(plugin.restarts)),
            ("plugin_memory_bytes", "gauge", float(plugin.memory_bytes)),
            ("plugin_p50_us", "gauge", p50),
            ("plugin_p99_us", "gauge", p99),
            ("plugin_shard_share", "gauge", plugin.shard_share),
        ] {
            self.put(name, kind, &labels, value);
        }
        for (kind, count) in &plugin.failures {
            let labels = format!("{{plugin=\"{}\",kind=\"{kind}\"}}", plugin.name);
            self.put("plugin_failures_total", "counter", &labels, float(*count));
        }
        self.put_limited(&plugin.name, &plugin.limited);
        for hook in &plugin.by_hook {
            let labels = format!("plugin=\"{}\",hook=\"{}\"", plugin.name, hook.hook);
            let within = format!("{{{labels}}}");
            let [p50, p99] = hook.quantiles_us;
            self.put(
                "plugin_hook_calls_total",
                "counter",
                &within,
                float(hook.calls),
            );
            self.put(
                "plugin_hook_seconds_total",
                "counter",
                &within,
                hook.seconds,
            );
            self.put("plugin_hook_p50_us", "gauge", &within, p50);
            self.put("plugin_hook_p99_us", "gauge", &within, p99);
            for (outcome, count) in &hook.outcomes {
                let labels = format!("{{{labels},outcome=\"{outcome}\"}}");
                self.put("plugin_outcomes_total", "counter", &labels, float(*count));
            }
        }
        if let Some(shadow) = &plugin.shadow {
            for (outcome, count) in [
                ("same", shadow.same),
                ("different", shadow.different),
                ("failed", shadow.failed),
            ] {
                let labels = format!("{{plugin=\"{}\",outcome=\"{outcome}\"}}", plugin.name);
                self.put("plugin_shadow_total", "gauge", &labels, float(count));
            }
        }
        for (name, value) in &plugin.numbers {
            self.put(&format!("plugin_{name}"), "gauge", &labels, *value);
        }
    }

    /// Bounds that were hit; those of the host as a whole name no plugin.
    fn put_limited(&mut self, plugin: &str, limited: &[(&'static str, u64)]) {
        for (limit, count) in limited {
            let labels = format!("{{plugin=\"{plugin}\",limit=\"{limit}\"}}");
            self.put("plugin_limited_total", "counter", &labels, float(*count));
        }
    }

    fn text(self) -> String {
        self.metrics.into_iter().map(|(_, lines)| lines).collect()
    }
}

/// Prometheus knows one kind of number; beyond 2^53 the last digits are lost.
fn float(value: u64) -> f64 {
    value as f64
}
