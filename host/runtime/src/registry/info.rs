//! What is said of an installed plugin.

use super::Installed;
use crate::files::Version;
use crate::limited::Bound;
use crate::numbers::Number;
use crate::plugin::Shared;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use witmq_broker::ports::control::{PluginInfo, PluginVersion};

fn version(version: &Version) -> PluginVersion {
    PluginVersion {
        version: version.version,
        digest: version.digest.clone(),
        installed_ms: version.installed_ms,
        origin: version.origin.clone(),
    }
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

/// Everything that `witmq plugin get` shows.
pub(super) fn info(name: &str, plugin: &Installed, shards: u16) -> PluginInfo {
    let (record, shared) = (&plugin.record, &plugin.shared);
    let versions: Vec<_> = record.versions.iter().map(version).collect();
    let active = versions
        .iter()
        .find(|version| version.version == record.active);
    let none = PluginVersion {
        version: record.active,
        digest: String::new(),
        installed_ms: 0,
        origin: String::new(),
    };
    let package = plugin.package.as_ref();
    let manifest = package
        .map(|package| package.manifest.clone())
        .unwrap_or_default();
    let times = shared.tally.times();
    let calls = u32::try_from(times.count()).unwrap_or(u32::MAX);
    let mean = times.sum().checked_div(calls).unwrap_or_default();
    PluginInfo {
        name: name.to_owned(),
        active: active.or_else(|| versions.last()).cloned().unwrap_or(none),
        about: [manifest.name, manifest.version, manifest.description],
        hooks: package.map(|package| package.hooks()).unwrap_or_default(),
        capabilities: package
            .map(|package| package.capabilities.clone())
            .unwrap_or_default(),
        schema: manifest.config.map(|schema| schema.to_string()),
        is_effectful: package.is_some_and(|package| package.is_effectful),
        state: match package {
            _ if record.is_disabled => "disabled",
            None => "failed",
            Some(_) if shared.is_resting() => "resting",
            Some(_) => "serving",
        },
        is_proving: shared.is_proving(),
        calls: shared.tally.calls(),
        failures: shared.failures(),
        last_error: shared.last_error(),
        mean_us: micros(mean),
        quantiles_us: [500, 990].map(|per_mille| micros(times.quantile(per_mille))),
        memory_bytes: shared.memory_bytes(),
        restarts: shared.restarts(),
        limited: shared.limited(),
        numbers: numbers(shared),
        by_hook: shared.tally.info(),
        shard_share: match package.is_some_and(|package| package.is_effectful) {
            true => 0.0, // it runs beside them
            false => shared.tally.share(shards),
        },
        shadow: plugin.shadow.as_deref().map(super::shadow::info),
        versions,
    }
}

#[allow(clippy::cast_precision_loss, reason = "for people and metrics")]
fn numbers(shared: &Shared) -> Vec<(String, f64)> {
    let value = |number: u64| number as f64;
    let mut all = vec![
        (
            "metrics_refused".to_owned(),
            value(shared.numbers.refused()),
        ),
        ("retired".to_owned(), value(shared.retired())),
        (
            "lane_full".to_owned(),
            value(shared.limited.of(Bound::LaneQueue)),
        ),
    ];
    let requests = &shared.requests;
    let http = [
        ("requests", &requests.sent),
        ("denied", &requests.denied),
        ("too_many", &requests.too_many),
        ("connect_timeouts", &requests.connect_timeouts),
        ("too_large", &requests.too_large),
        ("reused", &requests.reused),
    ];
    let http = http.map(|(name, count)| (name, count.load(Ordering::Relaxed)));
    // Only of those that send some.
    if http.iter().any(|(_, count)| *count > 0) {
        all.extend(http.map(|(name, count)| (format!("http_{name}"), value(count))));
    }
    if let Some(pump) = shared.pump.get() {
        let counts = &pump.counts;
        let mut add = |name: &str, count: &AtomicU64| {
            all.push((format!("sink_{name}"), value(count.load(Ordering::Relaxed))));
        };
        add("delivered", &counts.delivered);
        add("retried", &counts.retried);
        add("dead", &counts.dead);
        add("refused", &counts.refused);
        add("waiting", &counts.waiting);
    }
    let own = shared.numbers.all().into_iter();
    all.extend(own.map(|(name, number)| {
        let value = match number {
            Number::Counter(count) => value(count),
            Number::Gauge(gauge) => gauge,
        };
        (format!("own_{name}"), value)
    }));
    all
}
