//! A version beside the one that serves: begun, looked at, ended.

use super::control::{bad_capability, unknown};
use super::{Inner, Installed};
use crate::capability;
use crate::imports::now_ms;
use crate::mailbox::Handover;
use crate::package::Package;
use crate::shadow::{self, Shadow};
use crate::template::Template;
use crate::{vectors, vetting};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use witmq_broker::ports::ControlError;
use witmq_broker::ports::control::{InstallOptions, ShadowInfo};

fn refused(message: String, hint: &str) -> ControlError {
    ControlError::Invalid {
        code: "no-shadow",
        message,
        hint: Some(hint.to_owned()),
    }
}

impl Inner {
    /// The package sees what the plugin sees on every shard from now on, in place of an earlier shadow. It is vetted
    /// like a version that is to serve.
    pub(super) fn begin_shadow(
        &self,
        installed: &mut BTreeMap<String, Installed>,
        name: &str,
        package: Arc<Package>,
        options: &InstallOptions,
    ) -> Result<(), ControlError> {
        let plugin = installed.get_mut(name).ok_or_else(|| unknown(name))?;
        if plugin.record.is_disabled || plugin.package.is_none() {
            return Err(refused(
                format!("plugin `{name}` does not serve, so there is nothing to compare with"),
                "install the component without --shadow",
            ));
        }
        if package.is_effectful || (package.transform.is_none() && package.authorize.is_none()) {
            return Err(refused(
                "only a component with the hook `transform` or `authorize` that waits for nothing can be a shadow: what \
                 the others do cannot be undone"
                    .to_owned(),
                "install it without --shadow; it is taken back by itself if it fails at once",
            ));
        }
        let mut record = plugin.record.clone();
        let approved =
            capability::parse(&options.grants).map_err(|error| bad_capability(&error))?;
        (record.grants).extend(approved.iter().map(ToString::to_string));
        let grants = self.granted(name, &record);
        let config = options.config.clone().unwrap_or(record.config);
        vetting::check_grants(name, &package, &grants)?;
        vetting::check_config(name, &package.manifest, &config)?;
        let template = |shared| {
            Arc::new(Template::new(
                shared,
                package.clone(),
                config.clone(),
                plugin.generation + 1,
                self.config.clone(),
                self.engine.clone(),
            ))
        };
        let serving = template(plugin.shared.clone());
        let alone = shadow::alone(&plugin.shared, &serving, grants);
        let template = template(Arc::new(alone));
        vectors::run(&template)?;
        let instances = self.instances(&template)?;
        let shadow = Arc::new(Shadow::new(template, now_ms()));
        plugin.shadow = Some(shadow.clone());
        let shards = self.mailboxes.iter().take(usize::from(self.config.shards));
        for (mailbox, instance) in shards.zip(instances) {
            let begun = instance.map(|instance| (shadow.clone(), instance));
            mailbox.put(Handover::Shadow(name.to_owned(), begun));
        }
        tracing::info!(plugin = name, digest = %package.digest, "a shadow sees its traffic");
        Ok(())
    }

    /// No shadow any more; what it counted is forgotten.
    pub(super) fn end_shadow(
        &self,
        installed: &mut BTreeMap<String, Installed>,
        name: &str,
    ) -> Result<(), ControlError> {
        let plugin = installed.get_mut(name).ok_or_else(|| unknown(name))?;
        if plugin.shadow.take().is_none() {
            return Err(ControlError::NotFound(format!(
                "plugin `{name}` has no shadow; `witmq plugin install FILE --name {name} --shadow` begins one"
            )));
        }
        for mailbox in self.mailboxes.iter().take(usize::from(self.config.shards)) {
            mailbox.put(Handover::Shadow(name.to_owned(), None));
        }
        Ok(())
    }
}

/// What is said of a shadow.
pub(super) fn info(shadow: &Shadow) -> ShadowInfo {
    let (template, shared) = (&shadow.template, &shadow.template.plugin);
    let times = shared.tally.times();
    let micros = |per_mille| Duration::as_secs_f64(&times.quantile(per_mille)) * 1e6;
    ShadowInfo {
        digest: template.package.digest.clone(),
        version: template.package.manifest.version.clone(),
        began_ms: shadow.began_ms,
        is_over: shadow.is_over(),
        same: shadow.same.load(Ordering::Relaxed),
        different: shadow.different.load(Ordering::Relaxed),
        failed: shadow.failed.load(Ordering::Relaxed),
        quantiles_us: [micros(500), micros(990)],
        last_error: shared.last_error(),
        differences: shadow.differences(),
    }
}
