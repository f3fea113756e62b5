//! What shards, committer and reader share: the queue of turns, watermarks, questions and answers.
//!
//! Owns: [`Inner`] and its locks; none is held while something is written or read.

use crate::StorageConfig;
use crate::inspect::{self, Damage};
use crate::tables::Tables;
use crate::turn::Turn;
use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::Notify;
use witmq_broker::kv::Spaces;
use witmq_broker::ports::store::{Fetch, Fetched, Health};
use witmq_broker::shard::ClockBase;

/// The log is tended at least this often.
const TEND_INTERVAL: Duration = Duration::from_secs(10);
/// Keys of plugins that no acknowledgement waits for are committed within this.
const KV_INTERVAL: Duration = Duration::from_millis(100);
/// Bytes of turns one commit takes, about.
const COMMIT_BYTES: usize = 16 * 1024 * 1024;

/// Numbers about the storage.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Commits done.
    pub commits: AtomicU64,
    /// Operations in them.
    pub operations: AtomicU64,
    /// Commits that failed and were tried again.
    pub failures: AtomicU64,
    /// Slices of the log given up because of its bound in bytes or age.
    pub slices_given_up: AtomicU64,
    /// Slices of the log now.
    pub slices: AtomicU64,
    /// Bytes of the log now.
    pub log_bytes: AtomicU64,
    /// Bytes waiting to be committed.
    pub pending_bytes: AtomicU64,
    /// Entries that could not be read.
    pub damaged: AtomicU64,
    /// Bytes of torn tails cut when it was opened.
    pub cut_bytes: AtomicU64,
    /// Whether commits fail at present.
    pub refusing: AtomicU64,
}

impl Metrics {
    /// Every number as `(name, is a gauge, value)`.
    #[must_use]
    pub fn entries(&self) -> [(&'static str, bool, u64); 10] {
        let load = |number: &AtomicU64| number.load(Ordering::Relaxed);
        [
            ("storage_commits_total", false, load(&self.commits)),
            ("storage_operations_total", false, load(&self.operations)),
            ("storage_failures_total", false, load(&self.failures)),
            (
                "storage_slices_given_up_total",
                false,
                load(&self.slices_given_up),
            ),
            ("storage_cut_bytes_total", false, load(&self.cut_bytes)),
            ("storage_damaged_total", false, load(&self.damaged)),
            ("storage_slices", true, load(&self.slices)),
            ("storage_log_bytes", true, load(&self.log_bytes)),
            ("storage_pending_bytes", true, load(&self.pending_bytes)),
            ("storage_refusing", true, load(&self.refusing)),
        ]
    }
}

/// One shard's side.
struct PerShard {
    stored: AtomicU64,
    news: Arc<Notify>,
    has_answers: AtomicBool,
    answers: Mutex<VecDeque<Fetched>>,
}

#[derive(Default)]
struct Queues {
    turns: VecDeque<Turn>,
    /// At most one question per session waits.
    fetches: VecDeque<(u16, Fetch)>,
    is_closing: bool,
}

pub(crate) struct Inner {
    pub(crate) config: StorageConfig,
    pub(crate) clock: ClockBase,
    pub(crate) metrics: Arc<Metrics>,
    shards: Vec<PerShard>,
    queues: Mutex<Queues>,
    for_committer: Condvar,
    for_reader: Condvar,
    pending: AtomicUsize,
    health: AtomicU8,
    sessions: AtomicU64,
    pub(crate) kv: Arc<Spaces>,
    /// By folder of a table: what is damaged in its files.
    whereabouts: Mutex<BTreeMap<PathBuf, String>>,
    tables: RwLock<Option<Arc<Tables>>>,
}

const WELL: u8 = 0;
const REFUSING: u8 = 1;

impl Inner {
    pub(crate) fn new(
        config: StorageConfig,
        shards: u16,
        clock: ClockBase,
        news: Vec<Arc<Notify>>,
        tables: Tables,
        sessions: u64,
        kv: Spaces,
    ) -> Self {
        let mut news = news.into_iter();
        let per_shard = |_| PerShard {
            stored: AtomicU64::new(0),
            news: news.next().unwrap_or_default(),
            has_answers: AtomicBool::new(false),
            answers: Mutex::default(),
        };
        Self {
            config,
            clock,
            metrics: Arc::default(),
            shards: (0..shards).map(per_shard).collect(),
            queues: Mutex::default(),
            for_committer: Condvar::new(),
            for_reader: Condvar::new(),
            pending: AtomicUsize::new(0),
            health: AtomicU8::new(WELL),
            sessions: AtomicU64::new(sessions),
            kv: Arc::new(kv),
            whereabouts: Mutex::default(),
            tables: RwLock::new(Some(Arc::new(tables))),
        }
    }

    fn queues(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shard(&self, shard: u16) -> Option<&PerShard> {
        self.shards.get(usize::from(shard))
    }

    pub(crate) fn shards(&self) -> u16 {
        u16::try_from(self.shards.len()).unwrap_or(u16::MAX)
    }

    pub(crate) fn new_session(&self) -> u64 {
        self.sessions.fetch_add(1, Ordering::Relaxed)
    }

    /// The open database; `None` while it is being opened again.
    pub(crate) fn tables(&self) -> Option<Arc<Tables>> {
        let tables = self.tables.read().unwrap_or_else(PoisonError::into_inner);
        tables.clone()
    }

    pub(crate) fn set_tables(&self, tables: Option<Arc<Tables>>) {
        *self.tables.write().unwrap_or_else(PoisonError::into_inner) = tables;
    }

    /// Hands a turn to the committer.
    pub(crate) fn submit(&self, turn: Turn) {
        let pending = self.pending.fetch_add(turn.bytes, Ordering::Relaxed) + turn.bytes;
        self.metrics.pending_bytes.store(
            u64::try_from(pending).unwrap_or(u64::MAX),
            Ordering::Relaxed,
        );
        self.queues().turns.push_back(turn);
        self.for_committer.notify_one();
    }

    /// Plugins have changed keys since the last commit.
    pub(crate) fn kv_changed(&self) {
        // Through the lock: a committer that is about to wait has seen it, or is told.
        drop(self.queues());
        self.for_committer.notify_one();
    }

    /// The turns of the next commit, none for a while without any; `None` when closing and nothing is left.
    pub(crate) fn next_turns(&self) -> Option<Vec<Turn>> {
        let mut queues = self.queues();
        let is_idle = |queues: &mut Queues| queues.turns.is_empty() && !queues.is_closing;
        let is_quiet = |queues: &mut Queues| is_idle(queues) && !self.kv.has_changes();
        if is_quiet(&mut queues) {
            let waited = self
                .for_committer
                .wait_timeout_while(queues, TEND_INTERVAL, is_quiet);
            (queues, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
        if self.kv.has_changes() && is_idle(&mut queues) {
            // Nobody waits for keys alone: a sync for each of them would be a waste.
            let waited = self
                .for_committer
                .wait_timeout_while(queues, KV_INTERVAL, |queues| is_idle(queues));
            (queues, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
        if queues.turns.is_empty() && queues.is_closing && !self.kv.has_changes() {
            return None;
        }
        let mut turns = Vec::new();
        let mut bytes = 0;
        while bytes < COMMIT_BYTES {
            let Some(turn) = queues.turns.pop_front() else {
                break;
            };
            bytes += turn.bytes;
            turns.push(turn);
        }
        Some(turns)
    }

    /// These turns are durable.
    pub(crate) fn committed(&self, turns: &[Turn]) {
        let bytes: usize = turns.iter().map(|turn| turn.bytes).sum();
        let pending = self.pending.fetch_sub(bytes, Ordering::Relaxed) - bytes;
        self.metrics.pending_bytes.store(
            u64::try_from(pending).unwrap_or(u64::MAX),
            Ordering::Relaxed,
        );
        for turn in turns {
            if let Some(shard) = self.shard(turn.shard) {
                shard.stored.store(turn.position, Ordering::Release);
            }
        }
        for turn in turns {
            if let Some(shard) = self.shard(turn.shard) {
                shard.news.notify_one();
            }
        }
    }

    pub(crate) fn stored(&self, shard: u16) -> u64 {
        self.shard(shard)
            .map_or(0, |shard| shard.stored.load(Ordering::Acquire))
    }

    pub(crate) fn health(&self) -> Health {
        if self.health.load(Ordering::Relaxed) == REFUSING {
            return Health::Refusing;
        }
        if self.pending.load(Ordering::Relaxed) > self.config.pending_bytes {
            return Health::Congested;
        }
        Health::Well
    }

    /// Commits fail, or work again.
    pub(crate) fn set_refusing(&self, is_refusing: bool) {
        let health = if is_refusing { REFUSING } else { WELL };
        self.health.store(health, Ordering::Relaxed);
        self.metrics
            .refusing
            .store(u64::from(is_refusing), Ordering::Relaxed);
        self.shards.iter().for_each(|shard| shard.news.notify_one());
    }

    pub(crate) fn ask(&self, shard: u16, fetch: Fetch) {
        self.queues().fetches.push_back((shard, fetch));
        self.for_reader.notify_one();
    }

    /// The next question; `None` when closing.
    pub(crate) fn next_fetch(&self) -> Option<(u16, Fetch)> {
        let mut queues = self.queues();
        loop {
            if queues.is_closing {
                return None;
            }
            if let Some(next) = queues.fetches.pop_front() {
                return Some(next);
            }
            queues = self
                .for_reader
                .wait(queues)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub(crate) fn answer(&self, shard: u16, page: Fetched) {
        let Some(shard) = self.shard(shard) else {
            return;
        };
        let mut answers = shard.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.push_back(page);
        shard.has_answers.store(true, Ordering::Release);
        drop(answers);
        shard.news.notify_one();
    }

    pub(crate) fn next_answer(&self, shard: u16) -> Option<Fetched> {
        let shard = self.shard(shard)?;
        if !shard.has_answers.load(Ordering::Acquire) {
            return None;
        }
        let mut answers = shard.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = answers.pop_front();
        shard
            .has_answers
            .store(!answers.is_empty(), Ordering::Release);
        answer
    }

    /// Torn tails were cut.
    pub(crate) fn count_cut(&self, cut: &[Damage]) {
        let bytes = cut.iter().map(|damage| damage.bytes).sum();
        self.metrics.cut_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Where the files of a table are damaged, in words. Looked for once: a block may hold many entries.
    pub(crate) fn whereabouts(&self, table: &fjall::Keyspace) -> String {
        let mut known = self
            .whereabouts
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let text = known.entry(table.path().to_owned()).or_insert_with(|| {
            let found = inspect::tables_of(table.path()).unwrap_or_default();
            found.iter().map(|damage| format!("; {damage}")).collect()
        });
        text.clone()
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.queues().is_closing
    }

    pub(crate) fn close(&self) {
        self.queues().is_closing = true;
        self.for_committer.notify_all();
        self.for_reader.notify_all();
    }
}
