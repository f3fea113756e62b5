//! The sinks there are: applied, kept on disk, paused, removed.
//!
//! Owns: [`Sinks`] and the folder `sinks` of the data folder: `NAME.toml` as applied, `NAME/` with its queue.

use crate::hooks::{Connected, Intake, Table};
use crate::kinds::Means;
use crate::queue::Queue;
use crate::secret::Secret;
use crate::settings::{Settings, is_name};
use crate::state::State;
use crate::worker::{Running, Work};
use arc_swap::ArcSwap;
use bytes::BytesMut;
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use witmq_broker::ports::SinkInfo;
use witmq_broker::ports::{ControlError, Inject, SinkControl, Take};

/// Bytes of one file.
const FILE_BYTES: usize = 64 * 1024;

/// What sinks are given.
#[derive(Clone)]
pub struct SinksConfig {
    /// The data folder: `sinks` and `exports` are below it.
    pub data_dir: PathBuf,
    /// Sinks there may be (64); each has a thread.
    pub sinks: usize,
    /// Into the broker; false while it is busy.
    pub publish: Inject,
    /// The same, answered when it is kept.
    pub take: Take,
    /// Secrets of the operator.
    pub secrets: Secret,
    /// Whether a plugin with a sink has this name.
    pub is_plugin: Arc<dyn Fn(&str) -> bool + Send + Sync>,
}

impl std::fmt::Debug for SinksConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SinksConfig")
            .field("data_dir", &self.data_dir)
            .finish_non_exhaustive()
    }
}

/// One that is there.
struct Deployed {
    settings: Settings,
    source: String,
    intake: Arc<Intake>,
    /// `None`: its thread could not be started.
    running: Option<Running>,
}

struct Inner {
    config: SinksConfig,
    folder: PathBuf,
    means: Means,
    table: Arc<ArcSwap<Table>>,
    deployed: Mutex<BTreeMap<String, Deployed>>,
}

/// All sinks. Cheap to clone.
#[derive(Clone)]
pub struct Sinks {
    inner: Arc<Inner>,
}

impl std::fmt::Debug for Sinks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sinks").finish_non_exhaustive()
    }
}

impl Sinks {
    /// Restores what was applied. What cannot be restored is given back in words; its queue stays on disk.
    #[must_use]
    pub fn new(config: SinksConfig) -> (Self, Vec<String>) {
        let folder = config.data_dir.join("sinks");
        let inner = Inner {
            means: Means {
                origin: origin(&folder),
                take: config.take.clone(),
                secrets: config.secrets.clone(),
                exports: config.data_dir.join("exports"),
            },
            folder,
            config,
            table: Arc::default(),
            deployed: Mutex::default(),
        };
        let problems = inner.restore();
        let inner = Arc::new(inner);
        (Self { inner }, problems)
    }

    /// The hooks of one shard, with sinks before its plugins.
    #[must_use]
    pub fn shard_hooks<H>(&self, hooks: H) -> Connected<H> {
        Connected {
            hooks,
            table: self.inner.table.clone(),
            buffer: BytesMut::new(),
        }
    }

    /// Whether there is one of this name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.inner.table.load().contains_key(name)
    }

    /// Ends all threads; what waits stays on disk.
    pub fn stop(&self) {
        let deployed = self.inner.deployed();
        let running = || deployed.values().filter_map(|sink| sink.running.as_ref());
        running().for_each(Running::stop);
        for running in running() {
            if !running.wait() {
                tracing::warn!("the thread of a sink does not end");
            }
        }
    }
}

/// What tells this broker from others, made once. A folder that cannot be written has another one each time.
fn origin(folder: &Path) -> String {
    let path = folder.join("origin");
    let kept = fs::read_to_string(&path).unwrap_or_default();
    if kept.len() == 16 {
        return kept;
    }
    let made = format!("{:016x}", rand::random::<u64>());
    let written = fs::create_dir_all(folder).and_then(|()| write(&path, made.as_bytes()));
    if let Err(error) = written {
        tracing::warn!(%error, "what tells this broker from others cannot be kept");
    }
    made
}

fn internal(what: &str, error: &io::Error) -> ControlError {
    ControlError::Internal(format!("{what}: {error}"))
}

/// Replaces a file as a whole.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let staged = path.with_extension("new");
    let mut file = fs::File::create(&staged)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&staged, path)
}

impl Inner {
    fn deployed(&self) -> MutexGuard<'_, BTreeMap<String, Deployed>> {
        self.deployed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.toml"))
    }

    /// A file that is there while a sink is paused.
    fn mark(&self, name: &str) -> PathBuf {
        self.folder.join(name).join("paused")
    }

    fn restore(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(&self.folder) else {
            return Vec::new();
        };
        let mut problems = Vec::new();
        let mut deployed = self.deployed();
        for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
            if path.extension().is_none_or(|extension| extension != "toml") {
                continue;
            }
            let file = path.display().to_string();
            let read = fs::read_to_string(&path).map_err(|error| error.to_string());
            let restored = read.and_then(|text| {
                let mut settings =
                    Settings::parse(&file, &text).map_err(|error| error.to_string())?;
                settings.is_paused = self.mark(&settings.name).exists();
                let deployed = self
                    .begin(settings, text)
                    .map_err(|error| error.to_string());
                let (deployed, notes) = deployed?;
                problems.extend(notes);
                Ok(deployed)
            });
            match restored {
                Ok(sink) => drop(deployed.insert(sink.settings.name.clone(), sink)),
                Err(error) => problems.push(format!("the sink of {file} is left out: {error}")),
            }
        }
        self.show(&deployed);
        problems
    }

    /// A sink that was not there, with its queue.
    fn begin(&self, settings: Settings, source: String) -> io::Result<(Deployed, Vec<String>)> {
        let (queue, notes) = Queue::open(&self.folder.join(&settings.name), settings.queue)?;
        let state = Arc::new(State::default());
        state.is_paused.store(settings.is_paused, Ordering::Relaxed);
        let intake = Arc::new(Intake {
            queue: Arc::new(queue),
            state,
            takes: settings.kind.takes().into(),
        });
        let running = Some(self.run(&settings, &intake)?);
        let deployed = Deployed {
            settings,
            source,
            intake,
            running,
        };
        Ok((deployed, notes))
    }

    fn run(&self, settings: &Settings, intake: &Intake) -> io::Result<Running> {
        let work = Work {
            settings: settings.clone(),
            queue: intake.queue.clone(),
            state: intake.state.clone(),
            publish: self.config.publish.clone(),
        };
        let means = self.means.clone();
        if settings.kind.gives() {
            intake.state.begin_inward();
        }
        let (outward, inward) = (settings.clone(), settings.clone());
        let (state, ways) = (intake.state.clone(), self.means.clone());
        Running::start(
            work,
            move || outward.kind.outlet(&outward, &means),
            move || inward.kind.source(&inward, &ways, &state),
        )
    }

    /// From here on every shard's next message sees these sinks.
    fn show(&self, deployed: &BTreeMap<String, Deployed>) {
        let entries = deployed.iter();
        let table = entries.map(|(name, sink)| (name.clone(), sink.intake.clone()));
        self.table.store(Arc::new(table.collect()));
    }

    fn mark_paused(&self, name: &str, is_paused: bool) -> io::Result<()> {
        let mark = self.mark(name);
        match is_paused {
            true => write(&mark, b""),
            false => match fs::remove_file(mark) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            },
        }
    }

    fn keep(&self, settings: &Settings, source: &str) -> io::Result<()> {
        fs::create_dir_all(self.folder.join(&settings.name))?;
        self.mark_paused(&settings.name, settings.is_paused)?;
        write(&self.file(&settings.name), source.as_bytes())
    }

    /// What may be applied.
    fn admit(&self, file: &str, source: &str) -> Result<Settings, ControlError> {
        if source.len() > FILE_BYTES {
            let text = format!(
                "{file}: {} bytes, a sink file has at most {FILE_BYTES}",
                source.len()
            );
            return Err(ControlError::LimitReached(text));
        }
        let settings = Settings::parse(file, source)?;
        if (self.config.is_plugin)(&settings.name) {
            return Err(ControlError::Invalid {
                code: "name-taken",
                message: format!("a plugin with a sink is called `{}`", settings.name),
                hint: Some("give the file another name, or remove the plugin".to_owned()),
            });
        }
        Ok(settings)
    }

    /// Other settings for a sink that is there. Its queue and its numbers go on.
    fn replace(
        &self,
        sink: &mut Deployed,
        settings: Settings,
        source: String,
    ) -> Result<(), ControlError> {
        if let Some(running) = &sink.running {
            running.stop();
            if !running.wait() {
                let text =
                    "the thread of the sink does not end; the new settings serve after a restart";
                return Err(ControlError::Internal(text.to_owned()));
            }
        }
        sink.intake.queue.bound(settings.queue);
        let takes = settings.kind.takes();
        sink.intake.takes.store(takes, Ordering::Relaxed);
        let state = &sink.intake.state;
        state.is_paused.store(settings.is_paused, Ordering::Relaxed);
        state.recover();
        state.recover_inward();
        sink.running = None;
        let running = self.run(&settings, &sink.intake);
        (sink.settings, sink.source) = (settings, source);
        sink.running = Some(running.map_err(|error| internal("its thread cannot start", &error))?);
        Ok(())
    }
}

fn info(sink: &Deployed) -> SinkInfo {
    let Intake { queue, state, .. } = &*sink.intake;
    let number = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    SinkInfo {
        name: sink.settings.name.clone(),
        kind: sink.settings.kind.name(),
        state: match sink.running {
            Some(_) => state.word(),
            None => "failing",
        },
        last_error: state.last_error(),
        queued_messages: queue.messages(),
        queued_bytes: queue.bytes(),
        delivered: number(&state.delivered),
        retried: number(&state.retried),
        failed: number(&state.failed),
        dropped: number(&state.dropped),
        dead: number(&state.dead),
        received: number(&state.received),
        held: number(&state.held),
        crowded: number(&state.crowded),
        looped: number(&state.looped),
        expired: number(&state.expired),
    }
}

/// Whether this one writes where no other does.
fn keep_apart(
    deployed: &BTreeMap<String, Deployed>,
    file: &str,
    settings: &Settings,
) -> Result<(), ControlError> {
    let Some(folder) = settings.kind.folder() else {
        return Ok(());
    };
    let others = deployed.values().map(|sink| &sink.settings);
    let taken = others
        .filter(|other| other.name != settings.name)
        .find(|other| other.kind.folder() == Some(folder));
    let Some(other) = taken else { return Ok(()) };
    Err(ControlError::Invalid {
        code: "folder-taken",
        message: format!(
            "{file}: the sink `{}` writes to the folder `{}`",
            other.name,
            folder.display()
        ),
        hint: Some("give each sink a `folder` of its own".to_owned()),
    })
}

fn unknown(name: &str) -> ControlError {
    ControlError::NotFound(format!(
        "there is no sink `{name}`; `witmq sink ls` shows what is"
    ))
}

impl SinkControl for Sinks {
    fn apply(&self, file: &str, source: &str, dry_run: bool) -> Result<SinkInfo, ControlError> {
        let inner = &self.inner;
        let settings = inner.admit(file, source)?;
        let mut deployed = inner.deployed();
        keep_apart(&deployed, file, &settings)?;
        let count = deployed.len();
        let present = deployed.get_mut(&settings.name);
        if present.is_none() && count >= inner.config.sinks {
            let text = format!("there are {count} sinks, which is the limit; remove one first");
            return Err(ControlError::LimitReached(text));
        }
        if dry_run {
            return Ok(SinkInfo {
                name: settings.name,
                kind: settings.kind.name(),
                ..present.map(|sink| info(sink)).unwrap_or_default()
            });
        }
        let kept = inner.keep(&settings, source);
        kept.map_err(|error| internal("the sink cannot be kept on disk, nothing changed", &error))?;
        let name = settings.name.clone();
        match present {
            Some(sink) => inner.replace(sink, settings, source.to_owned())?,
            None => {
                let begun = inner.begin(settings, source.to_owned());
                let (sink, notes) =
                    begun.map_err(|error| internal("the sink cannot start", &error))?;
                notes.iter().for_each(|note| tracing::warn!("{note}"));
                deployed.insert(name.clone(), sink);
                inner.show(&deployed);
            }
        }
        deployed.get(&name).map(info).ok_or_else(|| unknown(&name))
    }

    fn check(&self, file: &str, source: &str) -> Result<String, ControlError> {
        let settings = self.inner.admit(file, source)?;
        keep_apart(&self.inner.deployed(), file, &settings)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| internal("cannot start a runtime", &error))?;
        let mut outlet = settings.kind.outlet(&settings, &self.inner.means);
        let checked = runtime.block_on(async {
            let checked = tokio::time::timeout(settings.timeout, outlet.check()).await;
            outlet.close().await;
            checked.unwrap_or_else(|_| Err(format!("no answer within {:?}", settings.timeout)))
        });
        checked.map_err(|message| ControlError::Invalid {
            code: "not-reached",
            message: format!("{file}: {message}"),
            hint: None,
        })
    }

    fn list(&self) -> Vec<SinkInfo> {
        self.inner.deployed().values().map(info).collect()
    }

    fn source(&self, name: &str) -> Result<String, ControlError> {
        let deployed = self.inner.deployed();
        let sink = deployed.get(name).ok_or_else(|| unknown(name))?;
        Ok(sink.source.clone())
    }

    fn pause(&self, name: &str, is_paused: bool) -> Result<SinkInfo, ControlError> {
        let deployed = self.inner.deployed();
        let sink = deployed.get(name).ok_or_else(|| unknown(name))?;
        let marked = self.inner.mark_paused(name, is_paused);
        marked.map_err(|error| internal("this cannot be kept on disk", &error))?;
        sink.intake
            .state
            .is_paused
            .store(is_paused, Ordering::Relaxed);
        if let Some(running) = &sink.running {
            running.pause(is_paused);
        }
        Ok(info(sink))
    }

    fn remove(&self, name: &str, discard: bool) -> Result<(), ControlError> {
        let inner = &self.inner;
        let mut deployed = inner.deployed();
        let sink = deployed
            .get(name)
            .filter(|_| is_name(name))
            .ok_or_else(|| unknown(name))?;
        let waiting = sink.intake.queue.messages();
        if waiting > 0 && !discard {
            return Err(ControlError::Invalid {
                code: "not-empty",
                message: format!("{waiting} messages wait for `{name}` and would be lost"),
                hint: Some(
                    "wait until they are delivered, or discard them: `--discard`".to_owned(),
                ),
            });
        }
        if let Some(running) = &sink.running {
            running.stop();
            running.wait();
        }
        deployed.remove(name);
        inner.show(&deployed);
        let gone = fs::remove_file(inner.file(name))
            .and_then(|()| fs::remove_dir_all(inner.folder.join(name)));
        gone.map_err(|error| internal("its files cannot be removed", &error))
    }
}

#[cfg(test)]
mod tests;
