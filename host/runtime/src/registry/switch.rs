//! How a change takes place: compiled, tried on every seat, written down, then handed over. Restoring too.

use super::{Inner, Installed, internal, refused};
use crate::files::Record;
use crate::instance::{Instance, Template};
use crate::package::{self, Package};
use crate::plugin::Shared;
use crate::seat::Handover;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, MutexGuard, PoisonError};
use witmq_broker::ports::ControlError;

/// What is to serve from now on.
pub(super) struct Change {
    pub(super) record: Record,
    pub(super) components: HashMap<u64, Vec<u8>>,
    pub(super) package: Arc<Package>,
}

impl Inner {
    pub(super) fn installed(&self) -> MutexGuard<'_, BTreeMap<String, Installed>> {
        self.installed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn compile(&self, wasm: &[u8]) -> Result<Arc<Package>, ControlError> {
        let digest = package::digest(wasm);
        let known = self
            .compiled
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&digest)
            .cloned();
        if let Some(package) = known {
            return Ok(package);
        }
        let package = Arc::new(package::load(
            &self.engine,
            &self.linker,
            wasm,
            &self.config,
        )?);
        self.compiled
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(digest, package.clone());
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
        self.forget_keys();
    }

    /// Keys of plugins that are gone: the broker ended before that was stored.
    fn forget_keys(&self) {
        let installed = self.installed();
        for plugin in self.kv.plugins() {
            if !installed.contains_key(&*plugin) {
                self.kv.delete_all(&plugin);
            }
        }
    }

    fn new_shared(&self, name: &str) -> Arc<Shared> {
        let publish = self.publish.clone();
        Arc::new(Shared::new(name, &self.config, publish, &*self.kv))
    }

    fn restore_one(&self, name: &str, record: Record) -> Result<(), String> {
        let shared = self.new_shared(name);
        let active = record.active;
        let failed = Installed {
            shared: shared.clone(),
            record: record.clone(),
            components: HashMap::new(),
            package: None,
            generation: 0,
        };
        self.installed().insert(name.to_owned(), failed);
        let restore = || {
            let wasm = self.component(name, active, &HashMap::new())?;
            let package = self.compile(&wasm)?;
            let change = Change {
                record,
                components: HashMap::new(),
                package,
            };
            self.switch(&mut self.installed(), name, change)
        };
        restore().map_err(|error: ControlError| {
            shared.note_error(error.to_string());
            error.to_string()
        })
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
        let (shared, generation) = match installed.get(name) {
            Some(old) => (old.shared.clone(), old.generation + 1),
            None => (self.new_shared(name), 1),
        };
        let Change {
            record,
            components,
            package,
        } = change;
        let template = Arc::new(Template {
            plugin: shared.clone(),
            package: package.clone(),
            config: record.config.clone(),
            generation,
            limits: self.config.clone(),
            engine: self.engine.clone(),
        });
        let ready = self.instances(&template)?;
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
        shared.forgive();
        let package = Some(package);
        let plugin = Installed {
            shared,
            record,
            components,
            package,
            generation,
        };
        installed.insert(name.to_owned(), plugin);
        for (mailbox, instance) in self.mailboxes.iter().zip(ready) {
            mailbox.put(match instance {
                Some(instance) => Handover::Serve {
                    template: template.clone(),
                    instance,
                },
                None => Handover::Remove(name.to_owned()),
            });
        }
        if let Some(files) = &self.files {
            stale
                .iter()
                .for_each(|version| files.forget_component(name, *version));
        }
        Ok(())
    }

    /// A new instance for every seat that calls this plugin, in the order of seats.
    fn instances(
        &self,
        template: &Arc<Template>,
    ) -> Result<Vec<Option<Box<Instance>>>, ControlError> {
        let shards = u32::from(self.config.shards);
        let package = &template.package;
        (0u32..)
            .zip(&self.mailboxes)
            .map(|(seat, _)| {
                let is_needed = match seat < shards {
                    true => package.runs_on_shards(),
                    false => package.authenticate.is_some(),
                };
                let make = || Instance::new(template, seat).map(Box::new);
                let instance = is_needed.then(make).transpose();
                instance.map_err(|error| refused(&template.plugin.name, &error))
            })
            .collect()
    }
}
