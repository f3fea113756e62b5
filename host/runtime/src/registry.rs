//! What is installed: install, configure, roll back, remove, restore. The control side of the plugin host.
//!
//! Any failure leaves the serving version where it is. One change at a time; shards never wait for one.

mod switch;

use crate::authenticator::Authenticator;
use crate::config::RuntimeConfig;
use crate::engine;
use crate::files::{Files, Record, Version};
use crate::imports::{State, now_ms};
use crate::instance::{Instance, InstanceError};
use crate::package::Package;
use crate::plugin::{PublishSink, Shared};
use crate::seat::{Handover, Mailbox, Seat, ShardPlugins};
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use switch::Change;
use wasmtime::Engine;
use wasmtime::component::Linker;
use witmq_broker::ports::control::{PluginInfo, PluginVersion};
use witmq_broker::ports::{ControlError, PluginControl, PluginKv};
use witmq_proto::Message;

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

/// One installed plugin.
struct Installed {
    shared: Arc<Shared>,
    record: Record,
    /// Components of kept versions, where no folder keeps them.
    components: HashMap<u64, Vec<u8>>,
    /// `None`: it could not be restored.
    package: Option<Arc<Package>>,
    generation: u64,
}

struct Inner {
    config: Arc<RuntimeConfig>,
    engine: Engine,
    linker: Linker<State>,
    files: Option<Files>,
    publish: PublishSink,
    kv: Arc<dyn PluginKv>,
    mailboxes: Vec<Arc<Mailbox>>,
    reaper: SyncSender<Box<Instance>>,
    installed: Mutex<BTreeMap<String, Installed>>,
    /// Compiled components by digest: a roll back compiles nothing.
    compiled: Mutex<HashMap<String, Arc<Package>>>,
    authenticator: Authenticator,
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

impl Runtime {
    /// Starts the engine, its clock and the authenticator threads, and restores what is installed. A plugin that
    /// cannot be restored is logged and shown as failed; the others serve.
    ///
    /// # Errors
    /// The engine or a thread cannot start.
    pub fn start(
        config: RuntimeConfig,
        publish: Arc<dyn Fn(Message) -> bool + Send + Sync>,
        kv: Arc<dyn PluginKv>,
    ) -> Result<Self, StartError> {
        let unusable = |error: wasmtime::Error| StartError::Engine(format!("{error:#}"));
        let engine = engine::engine().map_err(unusable)?;
        let linker = engine::linker(&engine).map_err(unusable)?;
        engine::start_ticker(&engine)?;
        let (reaper, dying) = sync_channel::<Box<Instance>>(DYING);
        std::thread::Builder::new()
            .name("plugin-reaper".to_owned())
            .spawn(move || dying.into_iter().for_each(|instance| instance.shut_down()))?;
        let seats = config.shards + config.authenticator_threads;
        let mailboxes: Vec<Arc<Mailbox>> = (0..seats).map(|_| Arc::default()).collect();
        let workers = (config.shards..)
            .zip(mailboxes.iter().skip(usize::from(config.shards)))
            .map(|(number, mailbox)| Seat::new(u32::from(number), mailbox.clone(), reaper.clone()))
            .collect();
        let authenticator =
            Authenticator::start(workers, &config.authenticator, config.authenticator_queue)?;
        let files = config.data_dir.as_deref().map(Files::new);
        let inner = Inner {
            config: Arc::new(config),
            engine,
            linker,
            files,
            publish,
            kv,
            mailboxes,
            reaper,
            installed: Mutex::default(),
            compiled: Mutex::default(),
            authenticator,
        };
        inner.restore();
        Ok(Self {
            inner: Arc::new(inner),
        })
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
            seat: Seat::new(u32::from(shard), mailbox, self.inner.reaper.clone()),
        }
    }

    /// Who decides about CONNECT.
    #[must_use]
    pub fn authenticator(&self) -> Authenticator {
        self.inner.authenticator.clone()
    }
}

fn internal(what: &str, error: &io::Error) -> ControlError {
    ControlError::Internal(format!(
        "the broker cannot {what}: {error}; the old version goes on"
    ))
}

fn refused(name: &str, error: &InstanceError) -> ControlError {
    let (code, hint) = match error {
        InstanceError::Refused(_) => (
            "init-refused",
            "correct its configuration: witmq plugin install --config FILE",
        ),
        InstanceError::Failed(_) => (
            "trap-in-init",
            "its log has what it printed; the version that served goes on",
        ),
    };
    let message = format!("plugin `{name}` cannot serve: {error}");
    ControlError::Invalid {
        code,
        message,
        hint: Some(hint.to_owned()),
    }
}

fn unknown(name: &str) -> ControlError {
    ControlError::NotFound(format!(
        "no plugin `{name}` is installed; `witmq plugin ls` shows what is"
    ))
}

fn check_name(name: &str) -> Result<(), ControlError> {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    if !name.is_empty() && name.len() <= 64 && name.chars().all(is_plain) && !name.starts_with('-')
    {
        return Ok(());
    }
    Err(ControlError::Invalid {
        code: "bad-name",
        message: format!("`{name}` is no name for a plugin"),
        hint: Some("use 1 to 64 of the characters a-z, 0-9, - and _".to_owned()),
    })
}

fn check_config(config: &str) -> Result<(), ControlError> {
    serde_json::from_str::<serde::de::IgnoredAny>(config)
        .map(drop)
        .map_err(|error| ControlError::Invalid {
            code: "bad-config",
            message: format!("its configuration is no JSON: {error}"),
            hint: Some(
                "the configuration of a plugin is one JSON value, for example {}".to_owned(),
            ),
        })
}

fn info(name: &str, plugin: &Installed) -> PluginInfo {
    let version = |version: &Version| PluginVersion {
        version: version.version,
        digest: version.digest.clone(),
        installed_ms: version.installed_ms,
    };
    let versions: Vec<_> = plugin.record.versions.iter().map(version).collect();
    let active = versions
        .iter()
        .find(|version| version.version == plugin.record.active)
        .or_else(|| versions.last());
    let none = PluginVersion {
        version: plugin.record.active,
        digest: String::new(),
        installed_ms: 0,
    };
    PluginInfo {
        name: name.to_owned(),
        active: active.cloned().unwrap_or(none),
        hooks: plugin
            .package
            .as_ref()
            .map(|package| package.hooks())
            .unwrap_or_default(),
        capabilities: plugin
            .package
            .as_ref()
            .map(|package| package.capabilities.clone())
            .unwrap_or_default(),
        state: match &plugin.package {
            None => "failed",
            Some(_) if plugin.shared.is_resting() => "resting",
            Some(_) => "serving",
        },
        calls: plugin.shared.calls(),
        failures: plugin.shared.failures(),
        last_error: plugin.shared.last_error(),
        mean_us: plugin.shared.mean_us(),
        versions,
    }
}

impl PluginControl for Runtime {
    fn install(
        &self,
        name: &str,
        wasm: Vec<u8>,
        config: Option<String>,
    ) -> Result<PluginInfo, ControlError> {
        check_name(name)?;
        if let Some(config) = &config {
            check_config(config)?;
        }
        let inner = &self.inner;
        let package = inner.compile(&wasm)?; // outside the lock: it takes its time
        let mut installed = inner.installed();
        if !installed.contains_key(name) && installed.len() >= inner.config.plugins {
            return Err(ControlError::LimitReached(format!(
                "{} plugins are installed, which is the limit; remove one first",
                installed.len()
            )));
        }
        let old = installed.get(name);
        let mut record = old.map_or_else(
            || Record {
                config: "{}".to_owned(),
                active: 0,
                versions: Vec::new(),
            },
            |old| old.record.clone(),
        );
        let mut components = old.map(|old| old.components.clone()).unwrap_or_default();
        record.config = config.unwrap_or(record.config);
        let version = record.versions.last().map_or(1, |last| last.version + 1);
        record.active = version;
        record.versions.push(Version {
            version,
            digest: package.digest.clone(),
            installed_ms: now_ms(),
        });
        let surplus = record
            .versions
            .len()
            .saturating_sub(inner.config.versions.max(1));
        for gone in record.versions.drain(..surplus) {
            components.remove(&gone.version);
        }
        match &inner.files {
            Some(files) => files
                .write_component(name, version, &wasm)
                .map_err(|error| internal("keep its component", &error))?,
            None => drop(components.insert(version, wasm)),
        }
        let switched = inner.switch(
            &mut installed,
            name,
            Change {
                record,
                components,
                package,
            },
        );
        if let (Err(_), Some(files)) = (&switched, &inner.files) {
            files.forget_component(name, version);
        }
        switched?;
        installed
            .get(name)
            .map(|plugin| info(name, plugin))
            .ok_or_else(|| unknown(name))
    }

    fn configure(&self, name: &str, config: String) -> Result<PluginInfo, ControlError> {
        check_config(&config)?;
        self.change(name, |_| Ok(()), Some(config))
    }

    fn config(&self, name: &str) -> Result<String, ControlError> {
        let installed = self.inner.installed();
        installed
            .get(name)
            .map(|plugin| plugin.record.config.clone())
            .ok_or_else(|| unknown(name))
    }

    fn rollback(&self, name: &str, version: Option<u64>) -> Result<PluginInfo, ControlError> {
        let choose = |record: &mut Record| {
            let kept = || record.versions.iter().map(|kept| kept.version);
            let wanted = match version {
                Some(version) => kept().find(|kept| *kept == version),
                None => kept().filter(|kept| *kept < record.active).max(),
            };
            record.active = wanted.ok_or_else(|| {
                let list: Vec<String> = kept().map(|version| version.to_string()).collect();
                let list = list.join(", ");
                ControlError::NotFound(match version {
                    Some(version) => {
                        format!("plugin `{name}` keeps no version {version}; it keeps {list}")
                    }
                    None => format!(
                        "plugin `{name}` has no version before {}; it keeps {list}",
                        record.active
                    ),
                })
            })?;
            Ok(())
        };
        self.change(name, choose, None)
    }

    fn list(&self) -> Vec<PluginInfo> {
        self.inner
            .installed()
            .iter()
            .map(|(name, plugin)| info(name, plugin))
            .collect()
    }

    fn remove(&self, name: &str) -> Result<(), ControlError> {
        if name == self.inner.config.authenticator {
            return Err(ControlError::Invalid {
                code: "in-use",
                message: format!(
                    "plugin `{name}` is the bound authenticator: without it nobody could connect"
                ),
                hint: Some("bind another one first: [auth] plugin = \"NAME\"".to_owned()),
            });
        }
        let mut installed = self.inner.installed();
        if !installed.contains_key(name) {
            return Err(unknown(name));
        }
        if let Some(files) = &self.inner.files {
            files
                .remove(name)
                .map_err(|error| internal("remove its folder", &error))?;
        }
        installed.remove(name);
        self.inner.kv.delete_all(name);
        self.inner
            .mailboxes
            .iter()
            .for_each(|mailbox| mailbox.put(Handover::Remove(name.to_owned())));
        Ok(())
    }
}

impl Runtime {
    /// Changes the record of an installed plugin and switches to it.
    fn change(
        &self,
        name: &str,
        choose: impl FnOnce(&mut Record) -> Result<(), ControlError>,
        config: Option<String>,
    ) -> Result<PluginInfo, ControlError> {
        let mut installed = self.inner.installed();
        let old = installed.get(name).ok_or_else(|| unknown(name))?;
        let mut record = old.record.clone();
        let components = old.components.clone();
        choose(&mut record)?;
        record.config = config.unwrap_or(record.config);
        let wasm = self.inner.component(name, record.active, &components)?;
        let package = self.inner.compile(&wasm)?;
        self.inner.switch(
            &mut installed,
            name,
            Change {
                record,
                components,
                package,
            },
        )?;
        installed
            .get(name)
            .map(|plugin| info(name, plugin))
            .ok_or_else(|| unknown(name))
    }
}
