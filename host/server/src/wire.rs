//! The only place that knows all parts: builds them from the configuration and joins them by their ports.

use crate::config::{ClientCert, Config, ListenerKind};
use crate::delayed::Delayed;
use crate::drain::Drain;
use crate::logging::LogEvents;
use crate::plugins::{self, LateNode, LateSinks};
use crate::resting::Resting;
use crate::status::Status;
use crate::store::{Opened, Part, Parts};
use crate::sys::{self, Topics};
use crate::tables::KeptTables;
use crate::users::Users;
use crate::watch::Targets;
use crate::windows::Windows;
use crate::{bounds, pages, resting, secret, windows};
use anyhow::{Context as _, Result};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use witmq_admin::{Admin, AdminConfig, Token};
use witmq_broker::ports::{PluginControl, RuleControl, SinkControl, Transport};
use witmq_broker::rewrite::Rewrites;
use witmq_broker::shard::{ClockBase, Shard, ShardPorts};
use witmq_broker::{ShardId, Shared};
use witmq_connect::Sinks;
use witmq_net::{
    ClientCertificates, HandedIn, ListenerConfig, MakeShard, Node, NodeConfig, TlsFiles, TlsSlot,
};
use witmq_rules::{Rules, RulesConfig, Tables};
use witmq_runtime::Runtime;

/// What a shutdown waits for clients to take their DISCONNECT.
const GRACE: Duration = Duration::from_secs(2);
/// HTTP connections at a time.
const HTTP_CONNECTIONS: usize = 256;

/// Who may connect before the operator says anything.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Access {
    /// Users only.
    Serve,
    /// Decided by the flags of `witmq dev` at every start.
    Dev { anonymous: bool },
}

impl Access {
    pub(crate) fn dev(no_anonymous: bool) -> Self {
        Self::Dev {
            anonymous: !no_anonymous,
        }
    }
}

/// Where the broker listens.
#[derive(Clone, Debug)]
pub(crate) struct Addresses {
    listeners: Vec<(Arc<str>, SocketAddr)>,
    http: Option<SocketAddr>,
}

impl Addresses {
    /// Writes that of the HTTP origin down for the command line.
    fn of(node: &Node, admin: Option<&Admin>, data_dir: &Path) -> Self {
        let http = admin.map(Admin::local_addr);
        if let Err(error) = secret::write_address(data_dir, http) {
            // The broker serves all the same.
            tracing::warn!("the command line will need --admin: {error:#}");
        }
        Self {
            listeners: node.addresses().to_vec(),
            http,
        }
    }

    pub(crate) fn address(&self, name: &str) -> Option<SocketAddr> {
        self.listeners
            .iter()
            .find(|(known, _)| **known == *name)
            .map(|(_, address)| *address)
    }

    pub(crate) fn listener(&self, name: &str) -> String {
        self.address(name)
            .map_or_else(|| "off".to_owned(), |address| address.to_string())
    }

    pub(crate) fn http_text(&self) -> String {
        self.http
            .map_or_else(|| "off".to_owned(), |address| address.to_string())
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = (&str, SocketAddr)> {
        let http = self.http.map(|address| ("http", address));
        self.listeners
            .iter()
            .map(|(name, address)| (&**name, *address))
            .chain(http)
    }
}

/// A running broker.
pub(crate) struct Broker {
    node: Arc<Node>,
    opened: Opened,
    admin: Option<Admin>,
    plugins: Arc<dyn PluginControl>,
    rules: Arc<dyn RuleControl>,
    sinks: Sinks,
    addresses: Addresses,
    certificates: Vec<TlsSlot>,
    _topics: Option<Topics>,
    _windows: Windows,
    _resting: Resting,
}

/// Starts everything: plugins and chains first, listeners last, so that nobody connects to half a broker.
pub(crate) fn start(config: &Config, access: Access) -> Result<Broker> {
    let shards = shard_count(config);
    let clock = clock();
    let started = clock.instant;
    let late = LateNode::default();
    let limits = Arc::new(bounds::broker_limits(config, shards));
    let shared = Arc::new(shared(config, shards, &limits, started)?);
    let opened = Opened::open(config, shards, clock, &shared)?;
    let late_sinks = LateSinks::default();
    let kv = opened.kv.clone();
    let runtime = plugins::start(config, shards, access, &late, kv, &late_sinks)?;
    let sinks = late_sinks.start(config, &runtime, &late);
    let tables = Tables::new(opened.kv.clone());
    let rules = rules(config, &tables);
    let resting = resting::start(&rules, &runtime, config.limits.canary_queue)
        .context("cannot start a thread")?;
    let (listeners, certificates) = listeners(config)?;
    let node_config = node_config(config, listeners, shards)?;
    let make_shard = make_shard(
        (shards, clock),
        (limits, shared.clone()),
        (runtime.clone(), rules.clone(), sinks.clone()),
        opened.parts.clone(),
    );
    let node = Arc::new(Node::start(
        node_config,
        make_shard,
        Arc::new(runtime.authenticator()),
    )?);
    late.set(&node);
    wake_shards(&rules, &node);
    let windows = windows::start(&rules, &node, clock).context("cannot start a thread")?;
    let plugins: Arc<dyn PluginControl> = Arc::new(runtime);
    let rules: Arc<dyn RuleControl> = Arc::new(rules);
    let status = Status {
        name: config.node.clone(),
        node: node.clone(),
        shared,
        plugins: plugins.clone(),
        rules: rules.clone(),
        sinks: Arc::new(sinks.clone()),
        storage: opened.metrics(),
        kv: opened.kv.clone(),
        canaries_left: resting.left(),
        started,
    };
    let admin = match start_admin(config, &node, (&plugins, &rules, tables), status) {
        Ok(admin) => admin,
        Err(error) => {
            node.shutdown(Duration::ZERO);
            return Err(error);
        }
    };
    let addresses = Addresses::of(&node, admin.as_ref(), &config.data_dir);
    let interval = Duration::from_secs(config.limits.sys_interval_s);
    let control: Arc<dyn SinkControl> = Arc::new(sinks.clone());
    let topics = sys::start((&plugins, &rules), &control, &node, interval)
        .context("cannot start a thread")?;
    Ok(Broker {
        node,
        opened,
        admin,
        plugins,
        rules,
        sinks,
        addresses,
        certificates,
        _topics: topics,
        _windows: windows,
        _resting: resting,
    })
}

/// The chains that are deployed; what is wrong with one is said and it is left out.
fn rules(config: &Config, tables: &Tables) -> Rules {
    let (rules, problems) = Rules::new(RulesConfig {
        tables: tables.clone(),
        dir: Some(config.data_dir.join("rules")),
        expression: bounds::expression_limits(config),
        node: config.node.as_str().into(),
        breaker: bounds::breaker_limits(config),
        coarse_ms: Some(witmq_runtime::coarse_ms),
        state_entries: config.limits.state_entries,
        state_bytes: config.limits.state_bytes,
        state_total_bytes: config.limits.state_total_bytes,
        ..RulesConfig::default()
    });
    problems
        .iter()
        .for_each(|problem| tracing::error!("{problem}"));
    rules
}

/// What all shards read, with what the operator says about topics.
fn shared(
    config: &Config,
    shards: u16,
    limits: &witmq_broker::Limits,
    started: Instant,
) -> Result<Shared> {
    let mut shared = Shared::new(shards, limits, started);
    let rules = config.rewrites.iter().map(|rule| rule.0.clone());
    shared.rewrites = Rewrites::new(rules.collect()).context("configuration: rewrite")?;
    let subscriptions = config.auto_subscribe.iter().map(|entry| entry.0.clone());
    shared.auto_subscribe = subscriptions.collect();
    shared.redirect.set(config.redirect.referral().ok());
    Ok(shared)
}

/// Shard threads: as configured, else one per core.
fn shard_count(config: &Config) -> u16 {
    if config.shards > 0 {
        return config.shards;
    }
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    u16::try_from(cores).unwrap_or(64).min(64)
}

fn node_config(config: &Config, listeners: Vec<ListenerConfig>, shards: u16) -> Result<NodeConfig> {
    Ok(NodeConfig {
        listeners,
        shards,
        max_connections: usize::try_from(config.limits.max_connections)?,
        backlog: config.limits.listen_backlog,
        connect_timeout: Duration::from_millis(config.limits.connect_timeout_ms),
        maximum_packet_size: config.limits.max_packet_bytes,
        ..NodeConfig::default()
    })
}

fn make_shard(
    (shards, clock): (u16, ClockBase),
    (limits, shared): (Arc<witmq_broker::Limits>, Arc<Shared>),
    (runtime, rules, sinks): (Runtime, Rules, Sinks),
    parts: Arc<Parts>,
) -> MakeShard {
    Arc::new(move |id: ShardId| {
        let Part { store, past, news } = parts.take(id);
        let ports = ShardPorts {
            hooks: Box::new(sinks.shard_hooks(runtime.shard_hooks(id.0))),
            chains: Box::new(rules.shard_chains()),
            store,
            events: Box::new(LogEvents::new(runtime.observers())),
        };
        let (limits, shared) = (limits.clone(), shared.clone());
        let mut shard = Shard::new(id, shards, limits, shared, ports, clock);
        shard.restore(Instant::now(), past);
        (shard, news)
    })
}

/// Shards take the chains that are deployed when somebody waits for it; one whose queue is full does so with its next
/// message.
fn wake_shards(rules: &Rules, node: &Arc<Node>) {
    let node = Arc::downgrade(node);
    rules.wake_with(move || {
        let Some(node) = node.upgrade() else { return };
        for shard in (0..node.shards()).map(ShardId) {
            let _is_asked = node.ask(shard, |shard, _| shard.refresh_chains());
        }
    });
}

/// Both clocks at the same moment: what ran out while the node was down is counted from their distance.
fn clock() -> ClockBase {
    let instant = Instant::now();
    let unix = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    ClockBase {
        instant,
        unix_ms: u64::try_from(unix.as_millis()).unwrap_or(0),
    }
}

fn start_admin(
    config: &Config,
    node: &Arc<Node>,
    (plugins, rules, tables): (&Arc<dyn PluginControl>, &Arc<dyn RuleControl>, Tables),
    status: Status,
) -> Result<Option<Admin>> {
    if !config.http.enabled {
        return Ok(None);
    }
    let token = secret::admin_token(&config.data_dir)?;
    let way_in = node.clone();
    let listener: Arc<str> = "http".into();
    let ports = witmq_admin::Ports {
        plugins: plugins.clone(),
        rules: rules.clone(),
        sinks: status.sinks.clone(),
        users: Arc::new(Users::new(plugins.clone())),
        drain: Arc::new(Drain {
            node: node.clone(),
            shared: status.shared.clone(),
            is_configured: config.redirect.referral().is_ok(),
        }),
        delayed: Arc::new(Delayed {
            node: node.clone(),
            shared: status.shared.clone(),
        }),
        tables: Arc::new(KeptTables {
            tables,
            node: node.clone(),
        }),
        node: Arc::new(status),
        mqtt: Arc::new(move |upgrade| {
            let handed = HandedIn {
                socket: upgrade.socket,
                leftover: upgrade.leftover,
                peer: upgrade.peer,
                listener: listener.clone(),
            };
            if !way_in.hand_in(handed) {
                tracing::warn!(peer = %upgrade.peer, "a WebSocket connection was refused: the node is full");
            }
        }),
    };
    let settings = AdminConfig {
        bind: config.http.bind,
        token: Token::new(&token),
        pages: pages::all(),
        max_connections: HTTP_CONNECTIONS,
    };
    Ok(Some(Admin::start(settings, ports)?))
}

fn listeners(config: &Config) -> Result<(Vec<ListenerConfig>, Vec<TlsSlot>)> {
    let mut certificates = Vec::new();
    let mut listeners = Vec::new();
    for listener in &config.listeners {
        let tls = match (&listener.cert, &listener.key) {
            (Some(cert), Some(key)) if listener.kind.is_tls() => {
                let clients = listener.client_ca.clone().map(|ca| ClientCertificates {
                    ca,
                    is_required: listener.client_cert != Some(ClientCert::Optional),
                    revoked: listener.crl.clone(),
                });
                let files = TlsFiles {
                    cert: cert.clone(),
                    key: key.clone(),
                    clients,
                };
                let slot = TlsSlot::load(files)
                    .with_context(|| format!("listener `{}`", listener.name))?;
                certificates.push(slot.clone());
                Some(slot)
            }
            _ => None,
        };
        listeners.push(ListenerConfig {
            name: listener.name.as_str().into(),
            transport: match listener.kind {
                ListenerKind::Tcp => Transport::Tcp,
                ListenerKind::Tls => Transport::Tls,
                ListenerKind::Ws => Transport::Ws,
                ListenerKind::Wss => Transport::Wss,
            },
            bind: listener.bind,
            path: listener.path.clone(),
            tls,
            max_connections: usize::try_from(listener.max_connections)?,
        });
    }
    Ok((listeners, certificates))
}

impl Broker {
    pub(crate) fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// What the watched folders deploy to.
    pub(crate) fn watched(&self) -> Targets {
        Targets {
            rules: self.rules.clone(),
            plugins: self.plugins.clone(),
            sinks: Arc::new(self.sinks.clone()),
        }
    }

    /// Blocks until Ctrl-C or SIGTERM; SIGHUP reads certificates again.
    pub(crate) fn run_until_signal(&self) -> Result<()> {
        use tokio::signal::unix::{SignalKind, signal};
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async {
            let mut interrupt = signal(SignalKind::interrupt())?;
            let mut terminate = signal(SignalKind::terminate())?;
            let mut hangup = signal(SignalKind::hangup())?;
            loop {
                tokio::select! {
                    _ = interrupt.recv() => return Ok(()),
                    _ = terminate.recv() => return Ok(()),
                    _ = hangup.recv() => self.reload_certificates(),
                }
            }
        })
    }

    fn reload_certificates(&self) {
        for slot in &self.certificates {
            let cert = &slot.files().cert;
            match slot.reload() {
                Ok(()) => tracing::info!(cert = %cert.display(), "certificate read again"),
                Err(error) => tracing::error!(%error, "the present certificate stays"),
            }
        }
    }

    /// Says DISCONNECT to every client, then ends.
    pub(crate) fn shutdown(self) {
        tracing::info!("shutting down");
        if let Some(admin) = self.admin {
            admin.stop();
        }
        self.node.shutdown(GRACE);
        self.sinks.stop();
        self.opened.close();
    }
}
