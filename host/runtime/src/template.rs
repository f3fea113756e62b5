//! What instances of one generation of a plugin are made of, and where each of them runs.
//!
//! Owns: [`Template`], [`Post`]. Must not: make or call an instance.

use crate::abi::lifecycle::Place;
use crate::config::RuntimeConfig;
use crate::convert::Fill;
use crate::http::Beyond;
use crate::package::{PAYLOAD, Package};
use crate::plugin::Shared;
use crate::state::State;
use std::sync::Arc;
use std::time::Duration;
use wasmtime::Engine;

/// Everything needed to make instances of one generation of a plugin.
pub(crate) struct Template {
    pub(crate) plugin: Arc<Shared>,
    pub(crate) package: Arc<Package>,
    pub(crate) config: String,
    pub(crate) generation: u64,
    pub(crate) limits: Arc<RuntimeConfig>,
    pub(crate) engine: Engine,
    pub(crate) fill: Fill,
    /// It may read the payload in parts while it is called.
    pub(crate) reads_payload: bool,
    /// Time of one call on a shard.
    pub(crate) deadline: Duration,
    /// Time of one call beside the shards.
    pub(crate) timeout: Duration,
    pub(crate) memory_bytes: usize,
    /// Memory at which an instance retires.
    pub(crate) retire_bytes: usize,
}

impl Template {
    /// The plugin's own limits count where they are tighter than the operator's.
    pub(crate) fn new(
        plugin: Arc<Shared>,
        package: Arc<Package>,
        config: String,
        generation: u64,
        limits: Arc<RuntimeConfig>,
        engine: Engine,
    ) -> Self {
        let asked = package.manifest.limits;
        let tighter = |asked: Option<u64>, ours: Duration| {
            asked.map_or(ours, |asked| Duration::from_millis(asked).min(ours))
        };
        let memory_bytes = (asked.memory_bytes)
            .map_or(limits.memory_bytes, |asked| asked.min(limits.memory_bytes));
        let retire_bytes = match limits.retire_memory_percent {
            100.. => usize::MAX,
            percent => memory_bytes / 100 * usize::from(percent),
        };
        Self {
            retire_bytes,
            memory_bytes,
            fill: Fill::of(&package.manifest),
            reads_payload: package.capabilities.iter().any(|name| name == PAYLOAD),
            deadline: tighter(asked.deadline_ms, limits.deadline),
            timeout: tighter(asked.timeout_ms, limits.timeout),
            plugin,
            package,
            config,
            generation,
            limits,
            engine,
        }
    }

    /// How many instances serve beside the shards.
    pub(crate) fn beside(&self) -> u32 {
        match (self.package.has_lane(), self.package.is_effectful) {
            (false, _) => 0,
            (true, false) => 1,
            (true, true) => u32::from(self.limits.lane_instances.max(1)),
        }
    }

    /// Where a guest hears that it is: its number among all instances of the generation, whatever they do.
    pub(crate) fn place(&self, post: Post) -> Place {
        let count = |is_needed: bool, count: u16| u32::from(if is_needed { count } else { 0 });
        let shards = count(self.package.runs_on_shards(), self.limits.shards);
        let threads = self.limits.authenticator_threads;
        let threads = count(self.package.runs_on_authenticators(), threads);
        let (instance, instances) = match post {
            Post::Shard(number) => (number, shards + threads + self.beside()),
            Post::Authenticator(number) => (shards + number, shards + threads + self.beside()),
            Post::Beside(number) => (shards + threads + number, shards + threads + self.beside()),
            Post::Alone => (0, 1),
        };
        Place {
            plugin: self.plugin.name.clone(),
            generation: self.generation,
            instance,
            instances,
        }
    }

    /// What a store carries at first.
    pub(crate) fn state(&self) -> State {
        let transfer_bytes = self.limits.transfer_bytes;
        let mut state = State::new(self.plugin.clone(), self.memory_bytes, transfer_bytes);
        state.handles = self.limits.handles;
        state.has_timer = self.package.timer.is_some();
        state.beyond = self
            .package
            .trusted
            .as_ref()
            .map(|trusted| Box::new(Beyond::new(&self.plugin, &self.limits, trusted.clone())));
        state
    }
}

/// Where an instance runs. On a lane it lets others run while it computes or waits, and is given up at its timeout;
/// elsewhere it waits for nothing, and is ended by a trap at its deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Post {
    /// On this shard.
    Shard(u32),
    /// On this thread that authenticates.
    Authenticator(u32),
    /// In this place of a lane.
    Beside(u32),
    /// In a test of its component; on a lane if it waits.
    Alone,
}
