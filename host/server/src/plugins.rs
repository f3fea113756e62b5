//! Plugins as this node has them: their limits and grants from the configuration, what they reach beyond themselves,
//! and the bundled authenticator.
//!
//! Owns: [`start`], which gives the plugin host. Must not: know shards beyond questions to them.

use crate::bounds;
use crate::config::{AUTH_FILE, Config};
use crate::wire::Access;
use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use tokio::sync::oneshot;
use witmq_broker::ShardId;
use witmq_broker::ports::clients::{Answered, Busy, ClientInfo, Clients};
use witmq_broker::ports::control::InstallOptions;
use witmq_broker::ports::kv::PluginKv;
use witmq_broker::ports::raised::PluginAlarm;
use witmq_broker::ports::{Kept, NotTaken, PluginControl, Taking};
use witmq_broker::shard::{Shard, shard_of};
use witmq_connect::{Sinks, SinksConfig};
use witmq_net::Node;
use witmq_proto::{Message, ReasonCode, TopicFilter};
use witmq_runtime::{Grants, HttpGrant, HttpLimits, Outside, Runtime, RuntimeConfig, SigningKey};

/// The bundled authenticator, built by `build.rs`.
const AUTH_FILE_WASM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/auth-file.wasm"));
/// Connectors, each of which has a thread.
const SINKS: usize = 64;
/// Bytes of a secret.
const SECRET_BYTES: u64 = 64 * 1024;

/// The node, for plugins that start before it.
#[derive(Clone, Default)]
pub(crate) struct LateNode(Arc<OnceLock<(Arc<Node>, Publish)>>);

/// Puts a message into the broker from any thread; false while it is busy.
type Publish = Box<dyn Fn(Message) -> bool + Send + Sync>;

impl LateNode {
    /// The node is there.
    pub(crate) fn set(&self, node: &Arc<Node>) {
        let publish: Publish = Box::new(node.publisher());
        let is_first = self.0.set((node.clone(), publish)).is_ok();
        debug_assert!(is_first, "the node is set once");
    }

    fn publish(&self, message: Message) -> bool {
        (self.0.get()).is_some_and(|(_, publish)| publish(message))
    }

    /// Chains hear of it, on the first shard.
    fn tell(&self, alarm: PluginAlarm) {
        let Some((node, _)) = self.0.get() else {
            return;
        };
        let plugin = alarm.plugin.clone();
        let is_asked = node.ask(ShardId(0), move |shard, _| shard.raise_alarm(alarm));
        if !is_asked {
            tracing::warn!(
                plugin,
                "no chain hears of this alarm: the first shard is busy"
            );
        }
    }

    /// Puts a message into the broker, whose shard says when it is kept.
    fn take(&self, message: Message) -> Taking {
        let node = self.0.get().map(|(node, _)| node.clone());
        Box::pin(async move {
            let node = node.ok_or(NotTaken::Busy)?;
            let at = shard_of(&message.topic, node.shards());
            let (answer, answered) = oneshot::channel();
            let (keep, kept) = oneshot::channel();
            let is_asked = node.ask(at, move |shard, now| {
                let waiter = Box::new(move || {
                    let _is_gone = keep.send(()).is_err();
                });
                let _is_gone = answer.send(shard.bring_in(now, message, waiter)).is_err();
            });
            match is_asked {
                true => answered.await.map_err(|_| NotTaken::Busy)??,
                false => return Err(NotTaken::Busy),
            }
            let kept: Kept = Box::pin(async { kept.await.is_ok() });
            Ok(kept)
        })
    }

    /// Asks the shard of a client.
    fn ask<R: Send + 'static>(
        &self,
        client_id: &str,
        question: impl FnOnce(&mut Shard, std::time::Instant, &str) -> R + Send + 'static,
    ) -> Answered<R> {
        let (answer, answered) = oneshot::channel();
        let is_asked = self.0.get().is_some_and(|(node, _)| {
            let shard = shard_of(client_id, node.shards());
            let client_id = client_id.to_owned();
            node.ask(shard, move |shard, now| {
                let _is_gone = answer.send(question(shard, now, &client_id)).is_err();
            })
        });
        Box::pin(async move {
            match is_asked {
                true => answered.await.map_err(|_| Busy),
                false => Err(Busy),
            }
        })
    }
}

impl Clients for LateNode {
    fn find(&self, client_id: &str) -> Answered<Option<ClientInfo>> {
        self.ask(client_id, |shard, _, client_id| {
            shard.client_info(client_id)
        })
    }

    fn disconnect(&self, client_id: &str, reason: ReasonCode) -> Answered<bool> {
        self.ask(client_id, move |shard, now, client_id| {
            shard.disconnect_client(now, client_id, reason)
        })
    }
}

/// Starts the plugin host with what is installed, and puts the bundled authenticator in place.
pub(crate) fn start(
    config: &Config,
    shards: u16,
    access: Access,
    node: &LateNode,
    kv: Arc<dyn PluginKv>,
    sinks: &LateSinks,
) -> Result<Runtime> {
    let (late, telling) = (node.clone(), node.clone());
    let outside = Outside {
        publish: Arc::new(move |message| late.publish(message)),
        secret: secrets(config.secrets.clone()),
        clients: Arc::new(node.clone()),
        kv,
        alarm: Arc::new(move |alarm| telling.tell(alarm)),
        is_sink: sinks.names(),
    };
    let runtime = Runtime::start(runtime_config(config, shards)?, outside)?;
    bind_authenticator(&runtime, config, access)?;
    Ok(runtime)
}

/// The connectors, for plugins that start before them.
#[derive(Clone, Default)]
pub(crate) struct LateSinks(Arc<OnceLock<Sinks>>);

impl LateSinks {
    /// Whether there is one of a name.
    fn names(&self) -> Arc<dyn Fn(&str) -> bool + Send + Sync> {
        let late = self.0.clone();
        Arc::new(move |name| late.get().is_some_and(|sinks| sinks.has(name)))
    }

    /// Restores the connectors: what they need, plugins have already.
    pub(crate) fn start(&self, config: &Config, runtime: &Runtime, node: &LateNode) -> Sinks {
        let (plugins, late, taking) = (runtime.clone(), node.clone(), node.clone());
        let has_sink = |plugin: &witmq_broker::ports::control::PluginInfo| {
            plugin.hooks.iter().any(|hook| hook == "sink")
        };
        let (sinks, problems) = Sinks::new(SinksConfig {
            data_dir: config.data_dir.clone(),
            sinks: SINKS,
            publish: Arc::new(move |message| late.publish(message)),
            take: Arc::new(move |message| taking.take(message)),
            secrets: secrets(config.secrets.clone()),
            is_plugin: Arc::new(move |name| {
                let installed = plugins.list();
                installed
                    .iter()
                    .any(|plugin| plugin.name == name && has_sink(plugin))
            }),
        });
        problems
            .iter()
            .for_each(|problem| tracing::error!("{problem}"));
        let is_first = self.0.set(sinks.clone()).is_ok();
        debug_assert!(is_first, "the connectors are started once");
        sinks
    }
}

/// Reads a secret's file each time it is asked for.
fn secrets(files: BTreeMap<String, PathBuf>) -> witmq_runtime::Secret {
    Arc::new(move |name| {
        let path = files.get(name)?;
        let read = || -> Result<Vec<u8>> {
            let length = std::fs::metadata(path)?.len();
            anyhow::ensure!(
                length <= SECRET_BYTES,
                "it is {length} bytes long, at most {SECRET_BYTES} are allowed"
            );
            let mut bytes = std::fs::read(path)?;
            if bytes.ends_with(b"\n") {
                bytes.pop(); // as editors and `echo` leave it
            }
            Ok(bytes)
        };
        read()
            .inspect_err(|error| {
                tracing::warn!(secret = name, path = %path.display(), "a secret cannot be read: {error:#}");
            })
            .ok()
    })
}

fn grants(config: &Config) -> Result<BTreeMap<String, Grants>> {
    let mut grants = BTreeMap::new();
    for (name, plugin) in &config.plugins {
        let filters = plugin.publish.iter().map(|filter| {
            TopicFilter::new(filter.as_str())
                .with_context(|| format!("plugins.{name}.publish: `{filter}`"))
        });
        let hosts = plugin.http.iter().map(|host| {
            let host = host.parse::<HttpGrant>();
            host.with_context(|| format!("plugins.{name}.http"))
        });
        let granted = Grants {
            http: hosts.collect::<Result<Vec<_>>>()?,
            publish: filters.collect::<Result<Vec<_>>>()?,
            secrets: plugin.secrets.iter().cloned().collect(),
            clients: plugin.clients,
        };
        grants.insert(name.clone(), granted);
    }
    Ok(grants)
}

fn signing_keys(paths: &[PathBuf]) -> Result<Vec<SigningKey>> {
    let keys = paths.iter().map(|path| {
        let key = || anyhow::Ok(SigningKey::from_pem(&std::fs::read_to_string(path)?)?);
        key().with_context(|| format!("signing_keys: {}", path.display()))
    });
    keys.collect()
}

fn runtime_config(config: &Config, shards: u16) -> Result<RuntimeConfig> {
    Ok(RuntimeConfig {
        data_dir: Some(config.data_dir.clone()),
        shards,
        authenticators: config.auth.plugins.clone(),
        signing_keys: signing_keys(&config.signing_keys)?,
        http: HttpLimits {
            ca: config.plugin_ca.clone(),
            ..bounds::http_limits(&config.limits)
        },
        grants: grants(config)?,
        ..bounds::plugin_limits(&config.limits)
    })
}

/// Puts the bundled authenticator in place: the first time with the access asked for, later with the operator's
/// configuration, and always in the version this binary brings.
fn bind_authenticator(runtime: &Runtime, config: &Config, access: Access) -> Result<()> {
    let installed = runtime.list();
    for name in config.auth.plugins.iter().filter(|name| *name != AUTH_FILE) {
        if installed.iter().all(|plugin| plugin.name != *name) {
            tracing::warn!(
                plugin = name,
                "the authenticator is not installed: it denies everybody it is asked about until `witmq plugin install` brings it"
            );
        }
    }
    if !config.auth.plugins.iter().any(|name| name == AUTH_FILE) {
        return Ok(());
    }
    let mut settings: Value = match runtime.config(AUTH_FILE) {
        Ok(text) => serde_json::from_str(&text).unwrap_or_else(|_| json!({})),
        Err(_) => json!({}),
    };
    if let (Access::Dev { anonymous }, Some(settings)) = (access, settings.as_object_mut()) {
        let choice = if anonymous { "allow" } else { "deny" };
        settings.insert("anonymous".to_owned(), choice.into());
        settings.insert("default".to_owned(), "allow".into());
    }
    let ours = witmq_runtime::digest(AUTH_FILE_WASM);
    let present = installed.iter().find(|plugin| plugin.name == AUTH_FILE);
    let is_current =
        present.is_some_and(|plugin| plugin.active.digest == ours && plugin.state != "failed");
    let settings = settings.to_string();
    let done = if is_current {
        if runtime
            .config(AUTH_FILE)
            .is_ok_and(|present| present == settings)
        {
            return Ok(());
        }
        runtime.configure(AUTH_FILE, settings)
    } else {
        runtime.install(
            AUTH_FILE,
            AUTH_FILE_WASM.to_vec(),
            InstallOptions {
                config: Some(settings),
                is_bundled: true,
                ..InstallOptions::default()
            },
        )
    };
    done.map(drop)
        .context("the bundled authenticator cannot serve")
}
