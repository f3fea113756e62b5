//! How a change takes place: compiled, tried on every seat, written down, then handed over. Restoring too.

use super::control::{internal, refused};
use super::{Inner, Installed};
use crate::abi::lifecycle::Health;
use crate::breaker::Probation;
use crate::files::Record;
use crate::instance::{Instance, InstanceError, at_once};
use crate::lane::Lane;
use crate::limited::Bound;
use crate::mailbox::Handover;
use crate::package::{self, Package};
use crate::plugin::Shared;
use crate::pump::Pump;
use crate::template::{Post, Template};
use crate::{vectors, vetting};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, MutexGuard, PoisonError};
use witmq_broker::ports::ControlError;

/// What is to serve from now on.
pub(super) struct Change {
    pub(super) record: Record,
    pub(super) components: HashMap<u64, Vec<u8>>,
    pub(super) package: Arc<Package>,
    /// A new version or configuration: it is taken back by itself if it does not prove itself.
    pub(super) is_new: bool,
}

/// Instances that were made and tried.
#[derive(Default)]
struct Ready {
    seats: Vec<Option<Box<Instance>>>,
    beside: Vec<Instance>,
}

impl Inner {
    pub(super) fn installed(&self) -> MutexGuard<'_, BTreeMap<String, Installed>> {
        self.installed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn compile(&self, wasm: &[u8]) -> Result<Arc<Package>, ControlError> {
        if let Some(package) = self.compiled.package(&package::digest(wasm)) {
            return Ok(package);
        }
        if wasm.len() > self.config.component_bytes {
            self.limited.hit(Bound::ComponentBytes);
        }
        let loaded = package::load(
            &self.engine,
            &self.linker,
            wasm,
            &self.config,
            &self.compiled,
        );
        let package = Arc::new(loaded?);
        self.compiled.remember(&package);
        Ok(package)
    }

    pub(super) fn restore(&self) {
        let Some(files) = &self.files else { return };
        for (name, record) in files.read_all() {
            let restored = record
                .map_err(|error| error.to_string())
                .and_then(|record| self.restore_one(&name, record));
            match restored {
                Ok(()) => tracing::info!(plugin = name, "restored"),
                Err(error) => tracing::error!(
                    plugin = name,
                    error,
                    "cannot be restored; the broker goes on without it"
                ),
            }
        }
    }

    /// The version that was active; if that cannot serve any more, the last one before it that can.
    fn restore_one(&self, name: &str, record: Record) -> Result<(), String> {
        let shared = Arc::new(self.shared(name, &record));
        let failed = Installed {
            shared: shared.clone(),
            record: record.clone(),
            components: HashMap::new(),
            package: None,
            generation: 0,
            before: None,
            shadow: None,
        };
        self.installed().insert(name.to_owned(), failed);
        let Err(error) = self.restore_version(name, record.clone()) else {
            return Ok(());
        };
        let wanted = record.active;
        let older = record.versions.iter().rev().map(|kept| kept.version);
        for version in older.filter(|version| *version < wanted) {
            let mut record = record.clone();
            record.active = version;
            record.note(
                "fell-back",
                format!("version {wanted} cannot serve: {error}"),
            );
            if self.restore_version(name, record).is_ok() {
                tracing::error!(plugin = name, wanted, version, %error, "the active version cannot serve: an older one does");
                shared.note_error(format!("version {wanted}: {error}"));
                return Ok(());
            }
        }
        shared.note_error(error.to_string());
        Err(error.to_string())
    }

    fn restore_version(&self, name: &str, record: Record) -> Result<(), ControlError> {
        let wasm = self.component(name, record.active, &HashMap::new())?;
        let change = Change {
            package: self.compile(&wasm)?,
            record,
            components: HashMap::new(),
            is_new: false,
        };
        self.switch(&mut self.installed(), name, change)
    }

    pub(super) fn component(
        &self,
        name: &str,
        version: u64,
        kept: &HashMap<u64, Vec<u8>>,
    ) -> Result<Vec<u8>, ControlError> {
        if let Some(wasm) = kept.get(&version) {
            return Ok(wasm.clone());
        }
        let Some(files) = &self.files else {
            return Err(ControlError::NotFound(format!(
                "version {version} of `{name}` is not kept"
            )));
        };
        let wasm = files
            .read_component(name, version)
            .map_err(|error| internal("read its component", &error))?;
        Ok(wasm)
    }

    /// Tries the change, writes it down, then hands every seat its new instance.
    pub(super) fn switch(
        &self,
        installed: &mut BTreeMap<String, Installed>,
        name: &str,
        change: Change,
    ) -> Result<(), ControlError> {
        let Change {
            record,
            components,
            package,
            is_new,
        } = change;
        let old = installed.get(name);
        let (shared, generation) = match old {
            Some(old) => (old.shared.clone(), old.generation + 1),
            None => (Arc::new(self.shared(name, &record)), 1),
        };
        let before = old
            .filter(|old| is_new && old.package.is_some() && !old.record.is_disabled)
            .map(|old| (old.record.active, old.record.config.clone()));
        let template = Arc::new(Template::new(
            shared.clone(),
            package.clone(),
            record.config.clone(),
            generation,
            self.config.clone(),
            self.engine.clone(),
        ));
        let ready = match record.is_disabled {
            true => Ready::default(),
            false => self.ready(&template, &record)?,
        };
        if let Some(files) = &self.files {
            files
                .write_record(name, &record)
                .map_err(|error| internal("write its record", &error))?;
        }
        // From here on nothing can fail.
        let keeps: Vec<u64> = record
            .versions
            .iter()
            .map(|version| version.version)
            .collect();
        let old = installed.get(name).map(|old| &old.record.versions);
        let old = old.into_iter().flatten().map(|old| old.version);
        let stale: Vec<u64> = old.filter(|old| !keeps.contains(old)).collect();
        shared.set_grants(self.granted(name, &record));
        let failures = shared.failures().iter().map(|(_, count)| count).sum();
        let probation = before
            .as_ref()
            .map(|_| Probation::begin(&self.config, shared.tally.calls(), failures));
        shared.begin(record.active, probation);
        self.hand_over(&template, ready);
        let plugin = Installed {
            shared,
            record,
            components,
            package: Some(package),
            generation,
            before,
            shadow: None,
        };
        installed.insert(name.to_owned(), plugin);
        if let Some(files) = &self.files {
            stale
                .iter()
                .for_each(|version| files.forget_component(name, *version));
        }
        Ok(())
    }

    /// Everything that may fail: grants, configuration, its own tests, instances for everybody, its health.
    fn ready(&self, template: &Arc<Template>, record: &Record) -> Result<Ready, ControlError> {
        let (name, manifest) = (&template.plugin.name, &template.package.manifest);
        vetting::check_grants(name, &template.package, &self.granted(name, record))?;
        vetting::check_config(name, manifest, &template.config)?;
        vectors::run(template)?;
        let mut seats = self.instances(template)?;
        let mut beside = self.instances_beside(template)?;
        let first = seats.iter_mut().flatten().next();
        let health = match (first, beside.first_mut()) {
            (Some(instance), _) => at_once(instance.check()),
            (None, Some(instance)) => self.wait(instance.check())?,
            (None, None) => Ok(Health::Ok),
        };
        match health {
            Ok(Health::Ok) => Ok(Ready { seats, beside }),
            Ok(Health::Degraded(text)) => {
                tracing::warn!(plugin = %name, "it serves, but says: {text}");
                template.plugin.note_error(text);
                Ok(Ready { seats, beside })
            }
            Ok(Health::Failed(text)) => Err(refused(name, &InstanceError::Refused(text))),
            Err(failure) => Err(refused(name, &InstanceError::Failed(failure))),
        }
    }

    fn hand_over(&self, template: &Arc<Template>, ready: Ready) {
        let (shared, name) = (&template.plugin, &template.plugin.name);
        let serves = !ready.beside.is_empty() || ready.seats.iter().any(Option::is_some);
        let has_sink = template.package.sink.is_some() && !ready.beside.is_empty();
        let lane = (!ready.beside.is_empty()).then(|| {
            let before = shared.lane();
            Arc::new(Lane::start(
                &self.workers,
                template,
                ready.beside,
                before.as_deref(),
            ))
        });
        shared.set_lane(lane);
        self.directory.set(name, Some(shared.clone()));
        let pump = has_sink.then(|| self.pump(shared));
        let waits = shared.lane().is_some_and(|lane| lane.transforms());
        let mut seats = ready.seats.into_iter();
        for mailbox in &self.mailboxes {
            mailbox.put(match seats.next().flatten() {
                Some(instance) => Handover::Serve {
                    template: template.clone(),
                    instance,
                },
                None => Handover::Remove(name.to_owned()),
            });
            mailbox.put(Handover::Sink(name.to_owned(), pump.clone()));
            let waiting = waits.then(|| shared.clone());
            mailbox.put(Handover::Waits(name.to_owned(), waiting));
        }
        if let (Some(tell), true) = (self.changed.get(), serves) {
            tell(name);
        }
    }

    /// Waits for something that may wait, as long as an init may.
    fn wait<R>(&self, future: impl Future<Output = R>) -> Result<R, ControlError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| internal("try it", &error))?;
        let limit = self.config.init_deadline;
        let waited = runtime.block_on(async { tokio::time::timeout(limit, future).await });
        // A name that is still being looked up is not waited for.
        runtime.shutdown_background();
        waited.map_err(|_| ControlError::Invalid {
            code: "trap-in-init",
            message: format!("it did not answer within {limit:?}"),
            hint: Some("init and check have to be quick; wait in a hook".to_owned()),
        })
    }

    fn shared(&self, name: &str, record: &Record) -> Shared {
        let timers = self.clock.timers(name, self.config.timers);
        let grants = self.granted(name, record);
        Shared::new(
            name,
            &self.config,
            self.outside.clone(),
            timers,
            grants,
            self.alarm.clone(),
            self.pool.clone(),
        )
    }

    fn pump(&self, shared: &Arc<Shared>) -> Arc<Pump> {
        let start = || {
            let directory = self.directory.clone();
            Arc::new(Pump::start(
                &self.workers,
                directory,
                shared.clone(),
                &self.config,
            ))
        };
        shared.pump.get_or_init(start).clone()
    }

    /// A new instance for every seat that calls this plugin, in the order of seats.
    pub(super) fn instances(
        &self,
        template: &Arc<Template>,
    ) -> Result<Vec<Option<Box<Instance>>>, ControlError> {
        let shards = u32::from(self.config.shards);
        let package = &template.package;
        (0u32..)
            .zip(&self.mailboxes)
            .map(|(seat, _)| {
                let (is_needed, post) = match seat.checked_sub(shards) {
                    None => (package.runs_on_shards(), Post::Shard(seat)),
                    Some(number) => (
                        package.runs_on_authenticators(),
                        Post::Authenticator(number),
                    ),
                };
                let make = || at_once(Instance::new(template, post)).map(Box::new);
                let instance = is_needed.then(make).transpose();
                instance.map_err(|error| refused(&template.plugin.name, &error))
            })
            .collect()
    }

    /// Its instances beside the shards, if it needs any.
    fn instances_beside(&self, template: &Arc<Template>) -> Result<Vec<Instance>, ControlError> {
        let mut made = Vec::new();
        for place in 0..template.beside() {
            let making = Instance::new(template, Post::Beside(place));
            let instance = self.wait(making)?;
            made.push(instance.map_err(|error| refused(&template.plugin.name, &error))?);
        }
        Ok(made)
    }
}
