//! What is deployed: applied atomically on all shards, kept on disk with its revisions.

use crate::ExpressionLimits;
use crate::breaker::{BreakerLimits, Teller, Turn};
use crate::chain::{Chain, Shapes};
use crate::check;
use crate::events;
use crate::file::Mode;
use crate::record::Recorder;
use crate::state::{Alarm, Bounds, POOL_BYTES, Pool};
use crate::tables::Tables;
use crate::tap;
use arc_swap::ArcSwap;
use kept::{Kept, Record};
use noted::Noted;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use trial::{Compared, Role, Share, Trial};
use witmq_broker::ports::control::{RuleInfo, TrialKind};
use witmq_broker::ports::raised::Wanted;
use witmq_broker::router::trie::Trie;
use witmq_proto::TopicName;

mod control;
mod direct;
mod found;
mod kept;
mod noted;
mod shard;
pub(crate) mod trial;
mod trying;
pub use shard::ShardChains;

/// Settings of the rule engine.
#[derive(Clone, Debug)]
pub struct RulesConfig {
    /// Where deployed chains are kept; `None` keeps them in memory only.
    pub dir: Option<PathBuf>,
    /// Revisions kept of each chain (default 20).
    pub revisions: u64,
    /// Chains deployed (default 1000).
    pub chains: usize,
    /// Bytes of one file (default 256 KiB).
    pub file_bytes: usize,
    /// What one evaluation of an expression may cost.
    pub expression: ExpressionLimits,
    /// Name of this node, `node` in expressions (default `local`).
    pub node: Arc<str>,
    /// Keys that one step remembers (default 100,000).
    pub state_entries: usize,
    /// Bytes of what one step remembers (default 16 MiB).
    pub state_bytes: usize,
    /// Bytes of what all steps remember together (default 256 MiB).
    pub state_total_bytes: usize,
    /// When a chain rests.
    pub breaker: BreakerLimits,
    /// Milliseconds of a clock that costs a load, never goes back and is a few of them late, for the time that a message takes in
    /// a chain; `None`: the system's, which costs more than a step.
    pub coarse_ms: Option<fn() -> u64>,
    /// Where tables are kept (default in memory).
    pub tables: Tables,
}

impl RulesConfig {
    fn bounds(&self) -> Bounds {
        Bounds {
            entries: self.state_entries,
            bytes: self.state_bytes,
            pool: Arc::new(Pool::new(self.state_total_bytes)),
        }
    }
}

impl Default for RulesConfig {
    fn default() -> Self {
        Self {
            dir: None,
            revisions: 20,
            chains: 1000,
            file_bytes: 256 * 1024,
            expression: ExpressionLimits::default(),
            node: Arc::from("local"),
            state_entries: Bounds::default().entries,
            state_bytes: Bounds::default().bytes,
            state_total_bytes: POOL_BYTES,
            breaker: BreakerLimits::default(),
            coarse_ms: None,
            tables: Tables::default(),
        }
    }
}

/// A chain of the table.
struct Entry {
    chain: Arc<Chain>,
    is_paused: bool,
    trial: Option<Trial>,
}

/// All chains at one moment, in running order.
#[derive(Default)]
struct Table {
    chains: Vec<Entry>,
    /// Places in `chains`.
    index: Trie<()>,
    /// Those that messages come out of by themselves, and whether that is a shadow.
    timed: Vec<(Arc<Chain>, bool)>,
    /// Events that some of them begin with.
    wanted: Wanted,
}

impl Table {
    fn new<'a>(deployed: impl IntoIterator<Item = &'a Deployed>) -> Self {
        let mut chains: Vec<Entry> = (deployed.into_iter())
            .map(|deployed| Entry {
                chain: deployed.chain.clone(),
                is_paused: deployed.record.is_paused,
                trial: deployed.trial.clone(),
            })
            .collect();
        chains.sort_by(|one, other| {
            let key = |chain: &Chain| (chain.mode == Mode::Rule, chain.order);
            key(&one.chain)
                .cmp(&key(&other.chain))
                .then_with(|| one.chain.name.cmp(&other.chain.name))
        });
        let mut index = Trie::new();
        let mut timed = Vec::new();
        for (place, entry) in (0u32..).zip(&chains) {
            if entry.is_paused {
                continue;
            }
            let trial = entry.trial.iter();
            let trial = trial.map(|trial| (&trial.chain, !trial.is_canary()));
            let both = [(&entry.chain, false)].into_iter().chain(trial);
            for (chain, is_shadow) in both.filter(|(chain, _)| chain.is_enabled) {
                for filter in chain.from.filters() {
                    index.insert(filter, place, ());
                }
                if chain.is_timed() {
                    timed.push((chain.clone(), is_shadow));
                }
            }
        }
        let serving = chains.iter().filter(|entry| !entry.is_paused);
        let serving = serving.flat_map(|entry| {
            let trial = entry.trial.as_ref().map(|trial| &trial.chain);
            [Some(&entry.chain), trial].into_iter().flatten()
        });
        let serving = serving.filter(|chain| chain.is_enabled);
        let wanted = events::all_wanted(serving.map(|chain| &chain.from));
        Self {
            chains,
            index,
            timed,
            wanted,
        }
    }

    /// What is at a place of the index.
    fn entry(&self, place: u32) -> Option<&Entry> {
        let place = usize::try_from(place).ok()?;
        self.chains.get(place)
    }

    fn infos(&self) -> Vec<RuleInfo> {
        self.chains.iter().map(Entry::info).collect()
    }
}

impl Entry {
    /// The revision that runs for a client.
    fn chain_for(&self, client: &str) -> &Chain {
        match &self.trial {
            Some(trial) if trial.takes(client) => &trial.chain,
            _ => &self.chain,
        }
    }

    /// Whether a message comes in: its topic may be one of the other revision's, or one that an earlier chain gave it.
    fn takes(&self, chain: &Chain, topic: &TopicName, is_original: bool) -> bool {
        match (&self.trial, is_original) {
            (None, true) => true,
            (None, false) => chain.from.matches(topic),
            (Some(_), _) => chain.is_enabled && chain.from.matches(topic),
        }
    }

    /// Whether a message that is received at `now_ms` goes through it with nobody looking on, held up by nothing.
    fn is_direct(&self, now_ms: u64) -> bool {
        let chain = &self.chain;
        let is_tapped = tap::is_any_open(now_ms) && chain.stats.tap.is_open(now_ms);
        self.trial.is_none() && chain.breaker.is_open() && !is_tapped
    }

    /// A revision that sees what this one sees.
    fn shadow(&self) -> Option<&Trial> {
        self.trial.as_ref().filter(|trial| !trial.is_canary())
    }

    fn info(&self) -> RuleInfo {
        let info = self.chain.info();
        let state = match (self.chain.is_enabled, self.is_paused, &info.resting) {
            (_, true, _) => "paused",
            (false, ..) => "disabled",
            (.., Some(_)) => "resting",
            _ => "running",
        };
        let trial = self.trial.as_ref().map(Trial::info);
        RuleInfo {
            state,
            trial,
            ..info
        }
    }
}

/// A chain with what is kept of it.
#[derive(Clone)]
struct Deployed {
    chain: Arc<Chain>,
    record: Record,
    trial: Option<Trial>,
}

impl Deployed {
    /// The revision whose text is to be kept with it: the one beside it, if there is one.
    fn newest(&self) -> u64 {
        let trial = self.trial.as_ref();
        trial.map_or(self.chain.revision, |trial| trial.chain.revision)
    }

    fn info(&self) -> RuleInfo {
        let entry = Entry {
            chain: self.chain.clone(),
            is_paused: self.record.is_paused,
            trial: self.trial.clone(),
        };
        entry.info()
    }
}

/// What is deployed, by name.
#[derive(Default)]
struct State {
    deployed: BTreeMap<String, Deployed>,
    /// Those whose text does not compile any more: they stay as they are until they are deployed anew or removed.
    left_out: BTreeMap<String, Record>,
}

struct Inner {
    config: RulesConfig,
    bounds: Bounds,
    table: ArcSwap<Table>,
    version: AtomicU64,
    alarm: Arc<Alarm>,
    teller: Arc<Teller>,
    noted: Noted,
    recorder: Recorder,
    kept: Kept,
    shapes: Shapes,
    state: Mutex<State>,
}

/// The rule engine. Cheap to clone.
#[derive(Clone)]
pub struct Rules {
    inner: Arc<Inner>,
}

impl std::fmt::Debug for Rules {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rules").finish_non_exhaustive()
    }
}

impl Rules {
    /// Restores what was deployed. A file that no longer compiles is left out and given back in words.
    #[must_use]
    pub fn new(config: RulesConfig) -> (Self, Vec<String>) {
        let inner = Inner {
            table: ArcSwap::default(),
            version: AtomicU64::new(1),
            alarm: Arc::default(),
            teller: Arc::default(),
            noted: Noted::default(),
            recorder: Recorder::default(),
            kept: Kept::new(config.dir.clone()),
            bounds: config.bounds(),
            shapes: Shapes::default(),
            state: Mutex::default(),
            config,
        };
        let problems = inner.restore();
        (
            Self {
                inner: Arc::new(inner),
            },
            problems,
        )
    }

    /// The chains of one shard.
    #[must_use]
    pub fn shard_chains(&self) -> ShardChains {
        ShardChains {
            inner: self.inner.clone(),
            table: self.inner.table.load_full(),
            seen: 0,
            noted: self.inner.noted.shard(),
            found: found::Found::default(),
            expected: None,
            way: shard::Way::default(),
        }
    }

    /// Says how shards are asked to take the present table, which they otherwise do with their next message.
    pub fn wake_with(&self, wake: impl Fn() + Send + Sync + 'static) {
        self.inner.noted.wake_with(Box::new(wake));
    }

    /// `tell` is called when a chain is given a rest and when it runs again: with its name and revision, on a shard's thread or on that
    /// of [`Rules::plugin_changed`].
    pub fn on_rest(&self, tell: impl Fn(&str, u64, &Turn) + Send + Sync + 'static) {
        self.inner.teller.tells(Box::new(tell));
    }

    /// Another version or configuration of a plugin serves: chains that call it are judged by that. A rest ends, failures until now
    /// do not count. Looks through all chains: not for the thread of a shard.
    pub fn plugin_changed(&self, name: &str) {
        for entry in &self.inner.table.load().chains {
            let trial = entry.trial.iter().map(|trial| &trial.chain);
            for chain in trial.chain([&entry.chain]) {
                if chain.plugins().any(|plugin| plugin == name) {
                    chain.forgive();
                }
            }
        }
    }

    /// When windows end by themselves: then a shard is to be asked for what is due.
    #[must_use]
    pub fn next_due_ms(&self) -> Option<u64> {
        self.inner.alarm.next_ms()
    }

    /// `tell` is called, on any thread, when that is earlier than it was.
    pub fn on_earlier(&self, tell: Box<dyn Fn() + Send + Sync>) {
        self.inner.alarm.on_earlier(tell);
    }

    /// Names of plugins that deployed chains call.
    #[must_use]
    pub fn plugins(&self) -> Vec<String> {
        let table = self.inner.table.load();
        let mut names: Vec<String> = table
            .chains
            .iter()
            .flat_map(|entry| {
                let trial = entry.trial.iter();
                let trial = trial.flat_map(|trial| trial.chain.plugins());
                entry.chain.plugins().chain(trial)
            })
            .map(str::to_owned)
            .collect();
        names.sort();
        names.dedup();
        names
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a chain what it needs to serve.
    fn ready(&self, chain: &mut Chain) {
        chain.limit(self.config.expression);
        chain.node = self.config.node.clone();
        chain.coarse_ms = self.config.coarse_ms;
        chain.alarm = self.alarm.clone();
        chain.teller = self.teller.clone();
        chain.rest_by(self.config.breaker);
        chain.forget(&self.bounds);
        chain.attach(&self.config.tables);
        chain.share(&self.shapes);
    }

    fn restore(&self) -> Vec<String> {
        let (records, mut problems) = self.kept.records();
        let mut state = self.state();
        for (name, record) in records {
            let place = self.kept.place(&name, record.revision);
            match self.recompiled(&name, record.revision) {
                Ok(chain) => {
                    let (chain, mut record) = (Arc::new(chain), record);
                    let trial = self.restore_trial(&chain, &mut record, &mut problems);
                    let deployed = Deployed {
                        chain,
                        record,
                        trial,
                    };
                    state.deployed.insert(name, deployed);
                }
                Err(error) => {
                    problems.push(format!("chain `{name}` is left out: {place}: {error}"));
                    state.left_out.insert(name, record);
                }
            }
        }
        self.publish(&state.deployed);
        problems
    }

    /// A revision from its text.
    fn recompiled(&self, name: &str, revision: u64) -> Result<Chain, String> {
        let text = self.kept.text(name, revision);
        let text = text.map_err(|error| error.to_string())?;
        let compiled = check::compile(&format!("{name}.toml"), &text);
        let mut chain = compiled.map_err(|error| error.to_string())?;
        self.ready(&mut chain);
        chain.revision = revision;
        Ok(chain)
    }

    /// What ran beside a chain; if it does not compile any more the chain runs for everybody.
    fn restore_trial(
        &self,
        chain: &Chain,
        record: &mut Record,
        problems: &mut Vec<String>,
    ) -> Option<Trial> {
        let kept = record.trial.take()?;
        let name = &chain.name;
        match self.recompiled(name, kept.revision) {
            Ok(beside) => {
                let kind = kept.share.map_or(TrialKind::Shadow, TrialKind::Canary);
                let trial = tried(beside, chain, kind, kept.began_ms);
                record.trial = Some(kept);
                Some(trial)
            }
            Err(error) => {
                let place = self.kept.place(name, kept.revision);
                problems.push(format!(
                    "what was tried beside chain `{name}` ended: {place}: {error}"
                ));
                None
            }
        }
    }

    /// From here on every shard's next message sees these chains, all of them or none.
    fn publish(&self, deployed: &BTreeMap<String, Deployed>) {
        self.table.store(Arc::new(Table::new(deployed.values())));
        self.version.fetch_add(1, Ordering::Release);
        // Windows of a chain that was paused may be due already.
        let table = self.table.load();
        let steps = table.timed.iter().flat_map(|(chain, _)| &*chain.steps);
        let next = steps.filter_map(|step| step.kind.next_due()).min();
        next.into_iter().for_each(|next| self.alarm.at(next));
    }
}

/// A revision as it is beside `running`.
fn tried(mut chain: Chain, running: &Chain, kind: TrialKind, began_ms: u64) -> Trial {
    let role = match kind {
        TrialKind::Canary(share) => {
            chain.stats = Arc::new(running.stats.beside());
            chain.adopt(running, true);
            Role::Canary(Share(share))
        }
        TrialKind::Shadow => {
            chain.only_read();
            Role::Shadow(Arc::new(Compared::default()))
        }
    };
    Trial {
        chain: Arc::new(chain),
        role,
        began_ms,
    }
}

#[cfg(test)]
mod tests;
