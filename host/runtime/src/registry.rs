//! What is installed: install, configure, roll back, remove, restore. The control side of the plugin host.
//!
//! Any failure leaves the serving version where it is. One change at a time; shards never wait for one.

mod control;
mod info;
mod shadow;
mod switch;

use crate::authenticator::Authenticator;
use crate::compiled::Compiled;
use crate::config::{Outside, RuntimeConfig};
use crate::directory::{Directory, Observers};
use crate::engine;
use crate::files::{Files, Record};
use crate::imports::State;
use crate::instance::Instance;
use crate::lane::Workers;
use crate::limited::Limited;
use crate::mailbox::Mailbox;
use crate::package::Package;
use crate::plugin::{Alarm, Shared};
use crate::pool::Pool;
use crate::pulse;
use crate::seat::{Seat, ShardPlugins};
use crate::shadow::Shadow;
use crate::template::Post;
use crate::timers::Clock;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
use wasmtime::Engine;
use wasmtime::component::Linker;

/// The plugin host could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// wasmtime does not run on this machine.
    #[error("the WebAssembly engine cannot start on this machine: {0}")]
    Engine(String),
    /// A thread could not be started.
    #[error("a thread of the plugin host could not be started: {0}")]
    Thread(#[from] io::Error),
}

/// Old instances that wait to be dropped.
const DYING: usize = 1024;
/// How often it is looked for them.
const LOOK: Duration = Duration::from_millis(20);
/// Versions that wait to be taken back, and worn instances.
const ALARMS: usize = 256;

/// Called with the name of a plugin.
type Changed = Box<dyn Fn(&str) + Send + Sync>;

/// One installed plugin.
struct Installed {
    shared: Arc<Shared>,
    record: Record,
    /// Components of kept versions, where no folder keeps them.
    components: HashMap<u64, Vec<u8>>,
    /// `None`: it could not be restored.
    package: Option<Arc<Package>>,
    generation: u64,
    /// Version and configuration that served before, to go back to if this one does not prove itself.
    before: Option<(u64, String)>,
    /// Sees its traffic; ends with the next change.
    shadow: Option<Arc<Shadow>>,
}

struct Inner {
    config: Arc<RuntimeConfig>,
    engine: Engine,
    linker: Linker<State>,
    files: Option<Files>,
    outside: Arc<Outside>,
    directory: Arc<Directory>,
    clock: Clock,
    workers: Workers,
    observers: Observers,
    mailboxes: Vec<Arc<Mailbox>>,
    reaper: SyncSender<Box<Instance>>,
    installed: Mutex<BTreeMap<String, Installed>>,
    /// Grants of plugins that are not installed yet.
    promised: Mutex<BTreeMap<String, Vec<String>>>,
    alarm: SyncSender<Alarm>,
    /// Bounds hit by the host as a whole.
    limited: Limited,
    /// Memory of all instances.
    pool: Arc<Pool>,
    /// Compiled components by digest: a roll back compiles nothing, a restart neither.
    compiled: Compiled,
    authenticator: Authenticator,
    /// Told what serves anew.
    changed: OnceLock<Changed>,
}

/// The plugin host. Cheap to clone.
#[derive(Clone)]
pub struct Runtime {
    inner: Arc<Inner>,
}

impl std::fmt::Debug for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runtime").finish_non_exhaustive()
    }
}

/// Drops what comes, until nobody sends any more. It looks instead of waiting: a thread that is woken by a shard takes the
/// shard's place on the processor, just when that has the first message of a new version.
fn drop_all(dying: &Receiver<Box<Instance>>) {
    loop {
        match dying.try_recv() {
            Ok(instance) => drop(instance),
            Err(TryRecvError::Empty) => pulse::pause(LOOK),
            Err(TryRecvError::Disconnected) => return,
        }
    }
}

impl Runtime {
    /// Starts the engine, its clock and the authenticator threads, and restores what is installed. A plugin that
    /// cannot be restored is logged and shown as failed; the others serve.
    ///
    /// # Errors
    /// The engine or a thread cannot start.
    pub fn start(config: RuntimeConfig, outside: Outside) -> Result<Self, StartError> {
        let unusable = |error: wasmtime::Error| StartError::Engine(format!("{error:#}"));
        let engine = engine::engine().map_err(unusable)?;
        let linker = engine::linker(&engine).map_err(unusable)?;
        engine::start_ticker(&engine)?;
        let (reaper, dying) = sync_channel::<Box<Instance>>(DYING);
        std::thread::Builder::new()
            .name("plugin-reaper".to_owned())
            .spawn(move || drop_all(&dying))?;
        let seats = config.shards + config.authenticator_threads;
        let mailboxes: Vec<Arc<Mailbox>> = (0..seats).map(|_| Arc::default()).collect();
        let seats = (0u32..)
            .zip(mailboxes.iter().skip(usize::from(config.shards)))
            .map(|(number, mailbox)| {
                let post = Post::Authenticator(number);
                Seat::new(post, mailbox.clone(), reaper.clone())
            })
            .collect();
        let directory: Arc<Directory> = Arc::default();
        let authenticator = Authenticator::start(
            seats,
            &config.authenticators,
            config.authenticator_queue,
            directory.clone(),
        )?;
        let firing = directory.clone();
        let clock = Clock::start(Box::new(move |plugin, token, due| {
            firing.fire(plugin, token, due)
        }))?;
        let workers = Workers::start(config.worker_threads)?;
        let observers = Observers::start(directory.clone(), config.events_queue, config.batch)?;
        let files = config.data_dir.as_deref().map(Files::new);
        let compiled = Compiled::new(&engine, config.data_dir.as_deref(), config.compiled_bytes);
        let (alarm, alarms) = sync_channel::<Alarm>(ALARMS);
        let inner = Inner {
            pool: Arc::new(Pool::new(config.memory_total_bytes)),
            limited: Limited::default(),
            config: Arc::new(config),
            engine,
            linker,
            files,
            outside: Arc::new(outside),
            directory,
            clock,
            workers,
            observers,
            mailboxes,
            reaper,
            installed: Mutex::default(),
            promised: Mutex::default(),
            alarm,
            compiled,
            authenticator,
            changed: OnceLock::new(),
        };
        inner.restore();
        let inner = Arc::new(inner);
        let weak = Arc::downgrade(&inner);
        std::thread::Builder::new()
            .name("plugin-control".to_owned())
            .spawn(move || {
                for alarm in alarms {
                    match (alarm, weak.upgrade()) {
                        (Alarm::Revert(name), Some(inner)) => inner.revert(&name),
                        (Alarm::Renew(renewal), Some(_)) => renewal.make(),
                        (_, None) => return,
                    }
                }
            })?;
        Ok(Self { inner })
    }

    /// The hooks of one shard, for its thread.
    ///
    /// # Panics
    /// `shard` is not below `RuntimeConfig::shards`.
    #[must_use]
    pub fn shard_hooks(&self, shard: u16) -> ShardPlugins {
        assert!(
            shard < self.inner.config.shards,
            "shard {shard} is none of this node"
        );
        let mailbox = self
            .inner
            .mailboxes
            .get(usize::from(shard))
            .cloned()
            .unwrap_or_default();
        ShardPlugins {
            seat: Seat::new(
                Post::Shard(u32::from(shard)),
                mailbox,
                self.inner.reaper.clone(),
            ),
        }
    }

    /// `tell` is called with the name of a plugin when another version or configuration of it serves every shard, on the thread of
    /// whoever changed it. It must not change plugins itself.
    pub fn on_change(&self, tell: impl Fn(&str) + Send + Sync + 'static) {
        let is_first = self.inner.changed.set(Box::new(tell)).is_ok();
        debug_assert!(is_first, "one part of the broker is told");
    }

    /// Where shards tell what happens.
    #[must_use]
    pub fn observers(&self) -> Observers {
        self.inner.observers.clone()
    }

    /// Who decides about CONNECT.
    #[must_use]
    pub fn authenticator(&self) -> Authenticator {
        self.inner.authenticator.clone()
    }
}
