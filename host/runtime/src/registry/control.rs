//! What operators do with plugins: install, configure, grant, roll back, enable, remove, look.

use super::info::info;
use super::switch::Change;
use super::{Inner, Installed, Runtime};
use crate::capability::{self, Capability};
use crate::config::Grants;
use crate::convert;
use crate::files::{Record, Version};
use crate::imports::now_ms;
use crate::instance::InstanceError;
use crate::limited::Bound;
use crate::mailbox::Handover;
use crate::signature;
use crate::vetting;
use std::collections::BTreeMap;
use std::io;
use std::sync::PoisonError;
use witmq_broker::ports::control::{
    InstallOptions, PluginChange, PluginGrants, PluginInfo, PluginLine,
};
use witmq_broker::ports::{ControlError, PluginControl};

pub(super) fn internal(what: &str, error: &io::Error) -> ControlError {
    ControlError::Internal(format!(
        "the broker cannot {what}: {error}; the old version goes on"
    ))
}

pub(super) fn refused(name: &str, error: &InstanceError) -> ControlError {
    let (code, hint) = match error {
        InstanceError::Refused(_) => (
            "init-refused",
            "correct its configuration: witmq plugin install --config FILE",
        ),
        InstanceError::Failed(_) => (
            "trap-in-init",
            "its log has what it printed; the version that served goes on",
        ),
        InstanceError::Crowded(_) => (
            "no-memory",
            "raise limits.plugin_memory_total_bytes, or remove or disable plugins; the version that served goes on",
        ),
    };
    let message = format!("plugin `{name}` cannot serve: {error}");
    ControlError::Invalid {
        code,
        message,
        hint: Some(hint.to_owned()),
    }
}

pub(super) fn unknown(name: &str) -> ControlError {
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

pub(super) fn bad_capability(error: &capability::NoCapability) -> ControlError {
    ControlError::Invalid {
        code: "bad-capability",
        message: error.to_string(),
        hint: Some("`witmq plugin grants NAME` shows what a plugin asks for".to_owned()),
    }
}

/// Adds to a list what it does not have yet.
fn merge(list: &mut Vec<String>, more: &[Capability]) {
    for capability in more {
        let text = capability.to_string();
        if !list.contains(&text) {
            list.push(text);
        }
    }
}

impl PluginControl for Runtime {
    fn counters(&self) -> Vec<(&'static str, u64)> {
        let (compiled, reused) = self.inner.compiled.counts();
        vec![
            ("plugin_compiled_total", compiled),
            ("plugin_compiled_reused_total", reused),
            (
                "plugin_events_dropped_total",
                self.inner.observers.dropped(),
            ),
        ]
    }

    fn memory_bytes(&self) -> u64 {
        u64::try_from(self.inner.pool.used()).unwrap_or(u64::MAX)
    }

    fn limited(&self) -> Vec<(&'static str, u64)> {
        let events = (Bound::EventsQueue, self.inner.observers.dropped());
        let compiled = (Bound::CompiledBytes, self.inner.compiled.given_up());
        self.inner.limited.with(&[events, compiled])
    }

    fn install(
        &self,
        name: &str,
        wasm: Vec<u8>,
        options: InstallOptions,
    ) -> Result<PluginInfo, ControlError> {
        check_name(name)?;
        if !options.is_bundled {
            let keys = &self.inner.config.signing_keys;
            signature::check(keys, &wasm, options.signature.as_deref())?;
        }
        let approved =
            capability::parse(&options.grants).map_err(|error| bad_capability(&error))?;
        let inner = &self.inner;
        let package = inner.compile(&wasm)?; // outside the lock: it takes its time
        vetting::check_sink(name, &package, &inner.outside)?;
        let mut installed = inner.installed();
        if options.is_shadow {
            inner.begin_shadow(&mut installed, name, package, &options)?;
            return inner.found(&installed, name);
        }
        if !installed.contains_key(name) && installed.len() >= inner.config.plugins {
            inner.limited.hit(Bound::MaxPlugins);
            return Err(ControlError::LimitReached(format!(
                "{} plugins are installed, which is the limit; remove one first",
                installed.len()
            )));
        }
        let old = installed.get(name);
        let fresh = || Record {
            config: "{}".to_owned(),
            grants: inner.promised(name),
            ..Record::default()
        };
        let mut record = old.map_or_else(fresh, |old| old.record.clone());
        let mut components = old.map(|old| old.components.clone()).unwrap_or_default();
        record.config = options.config.unwrap_or(record.config);
        record.is_disabled = options.is_disabled;
        merge(&mut record.grants, &approved);
        let version = record.versions.last().map_or(1, |last| last.version + 1);
        record.active = version;
        record.versions.push(Version {
            version,
            digest: package.digest.clone(),
            installed_ms: now_ms(),
            origin: convert::words(options.origin.unwrap_or_default()),
        });
        let about = &package.manifest;
        let text = format!("{} {}", about.name, about.version);
        record.note("installed", text.trim().to_owned());
        for gone in inner.surplus(&mut record) {
            components.remove(&gone);
            if let Some(old) = old {
                old.shared.limited.hit(Bound::Versions);
            }
        }
        match &inner.files {
            Some(files) => files
                .write_component(name, version, &wasm)
                .map_err(|error| internal("keep its component", &error))?,
            None => drop(components.insert(version, wasm)),
        }
        let change = Change {
            record,
            components,
            package,
            is_new: true,
        };
        let switched = inner.switch(&mut installed, name, change);
        if let (Err(_), Some(files)) = (&switched, &inner.files) {
            files.forget_component(name, version);
        }
        switched?;
        self.inner.found(&installed, name)
    }

    fn configure(&self, name: &str, config: String) -> Result<PluginInfo, ControlError> {
        self.inner.change(name, true, |record| {
            record.config = config;
            record.note("configured", String::new());
            Ok(())
        })
    }

    fn config(&self, name: &str) -> Result<String, ControlError> {
        self.look(name, |plugin| plugin.record.config.clone())
    }

    fn end_shadow(&self, name: &str) -> Result<PluginInfo, ControlError> {
        let mut installed = self.inner.installed();
        self.inner.end_shadow(&mut installed, name)?;
        self.inner.found(&installed, name)
    }

    fn rollback(&self, name: &str, version: Option<u64>) -> Result<PluginInfo, ControlError> {
        self.inner.change(name, false, |record| {
            let kept = || record.versions.iter().map(|kept| kept.version);
            let wanted = match version {
                Some(version) => kept().find(|kept| *kept == version),
                None => kept().filter(|kept| *kept < record.active).max(),
            };
            let from = record.active;
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
            record.note("rolled-back", format!("from version {from}"));
            Ok(())
        })
    }

    fn set_enabled(&self, name: &str, is_enabled: bool) -> Result<PluginInfo, ControlError> {
        if !is_enabled {
            self.refuse_bound(name, "without it nobody could connect")?;
        }
        self.inner.change(name, false, |record| {
            record.is_disabled = !is_enabled;
            record.note(
                if is_enabled { "enabled" } else { "disabled" },
                String::new(),
            );
            Ok(())
        })
    }

    fn grants(&self, name: &str) -> Result<PluginGrants, ControlError> {
        let configured = self.inner.configured(name);
        let installed = self.inner.installed();
        let Some(plugin) = installed.get(name) else {
            let approved = self.inner.promised(name);
            if approved.is_empty() && configured == Grants::default() {
                return Err(unknown(name));
            }
            return Ok(PluginGrants {
                asked: Vec::new(),
                configured: configured.list(),
                approved,
            });
        };
        let all = plugin.shared.grants();
        let manifest = plugin.package.as_ref().map(|package| &package.manifest);
        let asked = manifest
            .map(|manifest| manifest.capabilities.clone())
            .unwrap_or_default();
        let has = |text: &String| text.parse().is_ok_and(|capability| all.has(&capability));
        Ok(PluginGrants {
            asked: asked
                .into_iter()
                .map(|text| (text.clone(), has(&text)))
                .collect(),
            configured: configured.list(),
            approved: plugin.record.grants.clone(),
        })
    }

    fn change_grants(
        &self,
        name: &str,
        add: &[String],
        remove: &[String],
    ) -> Result<PluginGrants, ControlError> {
        check_name(name)?;
        let added = capability::parse(add).map_err(|error| bad_capability(&error))?;
        let removed = capability::parse(remove).map_err(|error| bad_capability(&error))?;
        let configured = self.inner.configured(name).list();
        let removed: Vec<String> = removed.iter().map(ToString::to_string).collect();
        if let Some(pinned) = removed.iter().find(|text| configured.contains(text)) {
            return Err(ControlError::Invalid {
                code: "pinned",
                message: format!("`{pinned}` is granted by the configuration of the broker"),
                hint: Some(format!("take it out of [plugins.{name}] there and restart")),
            });
        }
        let apply = |list: &mut Vec<String>| {
            list.retain(|text| !removed.contains(text));
            merge(list, &added);
        };
        let mut installed = self.inner.installed();
        match installed.get_mut(name) {
            None => {
                let mut promised = self.inner.promises();
                apply(promised.entry(name.to_owned()).or_default());
            }
            Some(plugin) => {
                let mut record = plugin.record.clone();
                apply(&mut record.grants);
                record.note("granted", record.grants.join(" "));
                if let Some(files) = &self.inner.files {
                    files
                        .write_record(name, &record)
                        .map_err(|error| internal("write its record", &error))?;
                }
                plugin.record = record;
                let grants = self.inner.granted(name, &plugin.record);
                plugin.shared.set_grants(grants);
            }
        }
        drop(installed);
        self.grants(name)
    }

    fn history(&self, name: &str) -> Result<Vec<PluginChange>, ControlError> {
        self.look(name, |plugin| {
            let changes = plugin.record.changes.iter();
            let change = |change: &crate::files::Change| PluginChange {
                at_ms: change.at_ms,
                what: change.what.clone(),
                version: change.version,
                text: change.text.clone(),
            };
            changes.map(change).collect()
        })
    }

    fn log(&self, name: &str, after: u64) -> Result<Vec<PluginLine>, ControlError> {
        self.look(name, |plugin| plugin.shared.log.after(after))
    }

    fn list(&self) -> Vec<PluginInfo> {
        let installed = self.inner.installed();
        let all = installed.iter();
        let shards = self.inner.config.shards;
        all.map(|(name, plugin)| info(name, plugin, shards))
            .collect()
    }

    fn remove(&self, name: &str) -> Result<(), ControlError> {
        self.refuse_bound(name, "without it nobody could connect")?;
        let mut installed = self.inner.installed();
        if !installed.contains_key(name) {
            return Err(unknown(name));
        }
        if let Some(files) = &self.inner.files {
            files
                .remove(name)
                .map_err(|error| internal("remove its folder", &error))?;
        }
        if let Some(gone) = installed.remove(name) {
            gone.shared.set_lane(None);
            gone.shared.timers.clear();
        }
        self.inner.directory.set(name, None);
        self.inner.outside.kv.delete_all(name);
        self.inner
            .mailboxes
            .iter()
            .for_each(|mailbox| mailbox.put(Handover::Remove(name.to_owned())));
        Ok(())
    }
}

impl Runtime {
    fn refuse_bound(&self, name: &str, because: &str) -> Result<(), ControlError> {
        let bound = &self.inner.config.authenticators;
        if bound.len() != 1 || bound.iter().all(|bound| bound != name) {
            return Ok(());
        }
        Err(ControlError::Invalid {
            code: "in-use",
            message: format!("plugin `{name}` is the bound authenticator: {because}"),
            hint: Some("bind another one first: [auth] plugins = [\"NAME\"]".to_owned()),
        })
    }

    fn look<R>(&self, name: &str, look: impl FnOnce(&Installed) -> R) -> Result<R, ControlError> {
        let installed = self.inner.installed();
        installed.get(name).map(look).ok_or_else(|| unknown(name))
    }
}

impl Inner {
    /// Takes out the versions beyond those that are kept, the oldest ones.
    fn surplus(&self, record: &mut Record) -> Vec<u64> {
        let most = self.config.versions.max(1);
        let surplus = record.versions.len().saturating_sub(most);
        let gone = record.versions.drain(..surplus);
        gone.map(|version| version.version).collect()
    }

    fn found(
        &self,
        installed: &BTreeMap<String, Installed>,
        name: &str,
    ) -> Result<PluginInfo, ControlError> {
        let plugin = installed.get(name).ok_or_else(|| unknown(name))?;
        Ok(info(name, plugin, self.config.shards))
    }

    /// Changes the record of an installed plugin and switches to it. `is_new`: it has to prove itself.
    fn change(
        &self,
        name: &str,
        is_new: bool,
        choose: impl FnOnce(&mut Record) -> Result<(), ControlError>,
    ) -> Result<PluginInfo, ControlError> {
        let mut installed = self.installed();
        let old = installed.get(name).ok_or_else(|| unknown(name))?;
        let mut record = old.record.clone();
        let components = old.components.clone();
        choose(&mut record)?;
        let wasm = self.component(name, record.active, &components)?;
        let package = self.compile(&wasm)?;
        let change = Change {
            record,
            components,
            package,
            is_new,
        };
        self.switch(&mut installed, name, change)?;
        self.found(&installed, name)
    }

    /// A version did not prove itself: the one before serves again.
    pub(super) fn revert(&self, name: &str) {
        let before = self
            .installed()
            .get(name)
            .and_then(|plugin| plugin.before.clone());
        let Some((version, config)) = before else {
            return;
        };
        let reverted = self.change(name, false, |record| {
            let bad = record.active;
            (record.active, record.config) = (version, config);
            let text = format!("version {bad} failed too often in its first seconds");
            record.note("reverted", text);
            Ok(())
        });
        let shared = (self.installed().get(name)).map(|plugin| plugin.shared.clone());
        let tell = |kind, text: String| {
            shared
                .iter()
                .for_each(|shared| shared.tell(kind, text.clone()))
        };
        match reverted {
            Ok(_) => {
                let text =
                    format!("the new version failed too often: version {version} serves again");
                tell("rolled-back", text);
                tracing::error!(
                    plugin = name,
                    version,
                    "the new version failed too often: the one before serves again"
                );
            }
            Err(error) => {
                let text = format!(
                    "the new version failed too often, and version {version} cannot serve: {error}"
                );
                tell("not-rolled-back", text);
                tracing::error!(plugin = name, version, %error, "the new version failed too often, and the one before cannot serve");
            }
        }
    }

    fn promises(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Vec<String>>> {
        self.promised.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was granted to a plugin before it was installed.
    fn promised(&self, name: &str) -> Vec<String> {
        self.promises().get(name).cloned().unwrap_or_default()
    }

    /// What the configuration of the broker grants.
    fn configured(&self, name: &str) -> Grants {
        self.config.grants.get(name).cloned().unwrap_or_default()
    }

    /// Everything a plugin may do.
    pub(super) fn granted(&self, name: &str, record: &Record) -> Grants {
        let approved = capability::parse(&record.grants).unwrap_or_default();
        self.configured(name).with(&approved)
    }
}
