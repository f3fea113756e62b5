//! What is deployed: applied atomically on all shards, kept on disk with its revisions.

use crate::ExpressionLimits;
use crate::chain::Chain;
use crate::check;
use crate::file::Mode;
use crate::state::Bounds;
use arc_swap::ArcSwap;
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use witmq_broker::ports::control::RuleInfo;
use witmq_broker::ports::{ControlError, RuleControl};
use witmq_broker::router::trie::{Trie, Walk};

mod shard;
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
}

impl RulesConfig {
    fn bounds(&self) -> Bounds {
        Bounds {
            entries: self.state_entries,
            bytes: self.state_bytes,
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
        }
    }
}

/// All chains at one moment, in running order.
#[derive(Default)]
struct Table {
    chains: Vec<Arc<Chain>>,
    /// Places in `chains`.
    index: Trie<()>,
}

impl Table {
    fn new(mut chains: Vec<Arc<Chain>>) -> Self {
        chains.sort_by(|one, other| {
            let key = |chain: &Chain| (chain.mode == Mode::Rule, chain.order);
            key(one)
                .cmp(&key(other))
                .then_with(|| one.name.cmp(&other.name))
        });
        let mut index = Trie::new();
        for (place, chain) in (0u32..).zip(&chains) {
            if chain.is_enabled {
                for filter in chain.from.filters() {
                    index.insert(filter, place, ());
                }
            }
        }
        Self { chains, index }
    }

    /// The chain at a place of the index.
    fn chain(&self, place: u32) -> Option<&Chain> {
        let place = usize::try_from(place).ok()?;
        self.chains.get(place).map(|chain| &**chain)
    }
}

struct Inner {
    config: RulesConfig,
    table: ArcSwap<Table>,
    version: AtomicU64,
    deployed: Mutex<BTreeMap<String, Arc<Chain>>>,
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
            deployed: Mutex::default(),
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
            walk: Walk::default(),
            matched: Vec::new(),
            way: shard::Way::default(),
        }
    }

    /// Names of plugins that deployed chains call.
    #[must_use]
    pub fn plugins(&self) -> Vec<String> {
        let table = self.inner.table.load();
        let mut names: Vec<String> = table
            .chains
            .iter()
            .flat_map(|chain| chain.plugins())
            .map(str::to_owned)
            .collect();
        names.sort();
        names.dedup();
        names
    }
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = fs::File::create(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)
}

impl Inner {
    fn restore(&self) -> Vec<String> {
        let Some(dir) = &self.config.dir else {
            return Vec::new();
        };
        let Ok(entries) = fs::read_dir(dir) else {
            return Vec::new();
        };
        let mut problems = Vec::new();
        let mut deployed = self.deployed.lock().unwrap_or_else(PoisonError::into_inner);
        for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
            let name = path
                .file_stem()
                .and_then(|stem| stem.to_str())
                .map(str::to_owned);
            let (Some(name), Some("toml")) = (name, path.extension().and_then(|e| e.to_str()))
            else {
                continue;
            };
            let file = path.display().to_string();
            let restored = fs::read_to_string(&path)
                .map_err(|error| error.to_string())
                .and_then(|text| check::compile(&file, &text).map_err(|error| error.to_string()));
            match restored {
                Ok(mut chain) => {
                    chain.limit(self.config.expression);
                    chain.node = self.config.node.clone();
                    chain.forget(self.config.bounds());
                    chain.revision = self.last_revision(&name).max(1);
                    deployed.insert(name, Arc::new(chain));
                }
                Err(error) => problems.push(format!("chain `{name}` is left out: {error}")),
            }
        }
        self.publish(&deployed);
        problems
    }

    fn history(&self, name: &str) -> Option<PathBuf> {
        self.config
            .dir
            .as_ref()
            .map(|dir| dir.join("revisions").join(name))
    }

    fn last_revision(&self, name: &str) -> u64 {
        let Some(entries) = self.history(name).and_then(|dir| fs::read_dir(dir).ok()) else {
            return 0;
        };
        let number = |entry: fs::DirEntry| entry.path().file_stem()?.to_str()?.parse().ok();
        entries
            .filter_map(Result::ok)
            .filter_map(number)
            .max()
            .unwrap_or(0)
    }

    fn keep(&self, name: &str, revision: u64, text: &str) -> io::Result<()> {
        let (Some(dir), Some(history)) = (&self.config.dir, self.history(name)) else {
            return Ok(());
        };
        fs::create_dir_all(&history)?;
        write(&history.join(format!("{revision}.toml")), text.as_bytes())?;
        write(&dir.join(format!("{name}.toml")), text.as_bytes())?;
        if let Some(gone) = revision
            .checked_sub(self.config.revisions.max(1))
            .filter(|gone| *gone > 0)
        {
            match fs::remove_file(history.join(format!("{gone}.toml"))) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// From here on every shard's next message sees these chains, all of them or none.
    fn publish(&self, deployed: &BTreeMap<String, Arc<Chain>>) {
        self.table
            .store(Arc::new(Table::new(deployed.values().cloned().collect())));
        self.version.fetch_add(1, Ordering::Release);
    }
}

impl RuleControl for Rules {
    fn apply(&self, file: &str, source: &str, dry_run: bool) -> Result<RuleInfo, ControlError> {
        let inner = &self.inner;
        if source.len() > inner.config.file_bytes {
            let text = format!(
                "{file}: {} bytes, a chain file has at most {}",
                source.len(),
                inner.config.file_bytes
            );
            return Err(ControlError::LimitReached(text));
        }
        let mut chain = check::compile(file, source)?;
        chain.limit(inner.config.expression);
        check::run_tests(&mut chain, file, source)?;
        chain.node = inner.config.node.clone();
        chain.forget(inner.config.bounds());
        let mut deployed = inner
            .deployed
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let old = deployed.get(&chain.name);
        if old.is_none() && deployed.len() >= inner.config.chains {
            let text = format!(
                "{} chains are deployed, which is the limit; remove one first",
                deployed.len()
            );
            return Err(ControlError::LimitReached(text));
        }
        let last = old
            .map_or(0, |old| old.revision)
            .max(inner.last_revision(&chain.name));
        chain.revision = last + 1;
        // The numbers go on over revisions; what the file's tests counted is nobody's.
        chain.stats = old.map(|old| old.stats.clone()).unwrap_or_default();
        if let Some(old) = old {
            chain.adopt(old);
        }
        let info = chain.info();
        if dry_run {
            return Ok(info);
        }
        inner
            .keep(&chain.name, chain.revision, source)
            .map_err(|error| {
                ControlError::Internal(format!(
                    "the chain cannot be kept on disk: {error}; the old revision runs on"
                ))
            })?;
        deployed.insert(chain.name.clone(), Arc::new(chain));
        inner.publish(&deployed);
        Ok(info)
    }

    fn list(&self) -> Vec<RuleInfo> {
        self.inner
            .table
            .load()
            .chains
            .iter()
            .map(|chain| chain.info())
            .collect()
    }

    fn remove(&self, name: &str) -> Result<(), ControlError> {
        let mut deployed = self
            .inner
            .deployed
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if !deployed.contains_key(name) {
            let text = format!("no chain `{name}` is deployed; `witmq rule ls` shows what is");
            return Err(ControlError::NotFound(text));
        }
        if let Some(dir) = &self.inner.config.dir {
            match fs::remove_file(dir.join(format!("{name}.toml"))) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(ControlError::Internal(format!(
                        "its file cannot be removed: {error}"
                    )));
                }
                _ => {}
            }
        }
        deployed.remove(name);
        self.inner.publish(&deployed);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
