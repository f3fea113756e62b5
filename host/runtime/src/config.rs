//! Every bound of the plugin host, with its name and default.

use crate::http::HttpGrant;
use crate::signature::SigningKey;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use witmq_broker::ports::clients::Clients;
use witmq_broker::ports::kv::PluginKv;
use witmq_broker::ports::raised::PluginAlarm;
use witmq_proto::{Message, TopicFilter};

/// Takes messages of plugins into the broker; false if its queue is full.
pub type Publish = Arc<dyn Fn(Message) -> bool + Send + Sync>;
/// The bytes of a secret by its name; `None` if there is none.
pub type Secret = Arc<dyn Fn(&str) -> Option<Vec<u8>> + Send + Sync>;

/// Takes what there is to tell of a plugin.
pub type Tell = Arc<dyn Fn(PluginAlarm) + Send + Sync>;

/// What plugins reach beyond themselves, where it is granted.
#[derive(Clone)]
pub struct Outside {
    /// Into the broker.
    pub publish: Publish,
    /// Secrets of the operator. May read a file; called from any thread.
    pub secret: Secret,
    /// Clients of the node.
    pub clients: Arc<dyn Clients>,
    /// Where their keys are kept.
    pub kv: Arc<dyn PluginKv>,
    /// Told what the operator should know of a plugin. Called from shards: it may not wait.
    pub alarm: Tell,
    /// Whether something else that `sink` steps name is called so.
    pub is_sink: Arc<dyn Fn(&str) -> bool + Send + Sync>,
}

/// What the operator lets one plugin do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    /// Where it may publish.
    pub publish: Vec<TopicFilter>,
    /// Secrets that it may read.
    pub secrets: BTreeSet<String>,
    /// Hosts that it may send requests to.
    pub http: Vec<HttpGrant>,
    /// Whether it may ask about clients and disconnect them.
    pub clients: bool,
}

/// Bounds of the requests that plugins send to other services.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpLimits {
    /// Time until there is a connection: name, TCP and TLS together (default 2 s).
    pub connect: Duration,
    /// Bytes of the body of an answer (default 4 MiB).
    pub response_bytes: u64,
    /// Bytes of the body of a request (default 4 MiB).
    pub request_bytes: u64,
    /// Requests in one call of a hook (default 100).
    pub requests: u32,
    /// Requests of one plugin under way at once (default 64).
    pub concurrent: usize,
    /// Bytes of the head of an answer (default 64 KiB; at least 8 KiB).
    pub head_bytes: usize,
    /// Connections of one plugin that wait for its next request; 0: none (default 16).
    pub idle: usize,
    /// How long one waits (default 4 s).
    pub idle_longest: Duration,
    /// PEM file with certificates that are trusted besides those of the machine.
    pub ca: Option<PathBuf>,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(2),
            response_bytes: 4 * 1024 * 1024,
            request_bytes: 4 * 1024 * 1024,
            requests: 100,
            concurrent: 64,
            head_bytes: 64 * 1024,
            idle: 16,
            idle_longest: Duration::from_secs(4),
            ca: None,
        }
    }
}

/// Settings of the plugin host.
#[derive(Clone, Debug)]
pub struct RuntimeConfig {
    /// Where installed plugins are kept; `None` keeps them in memory only.
    pub data_dir: Option<PathBuf>,
    /// Shards that run hooks.
    pub shards: u16,
    /// Names of the plugins that authenticate, in the order they are asked.
    pub authenticators: Vec<String>,
    /// Threads that run `authenticate` (default 2).
    pub authenticator_threads: u16,
    /// Attempts waiting for them; beyond it clients hear "server busy" (default 16,384).
    pub authenticator_queue: usize,
    /// Time one `authenticate` call may take (default 2 s).
    pub authenticate_deadline: Duration,
    /// Time one `transform` or `authorize` call may take (default 20 ms).
    pub deadline: Duration,
    /// Time `init` may take (default 1 s).
    pub init_deadline: Duration,
    /// Time the tests that a component brings with it may take together (default 10 s).
    pub tests: Duration,
    /// Time one call beside the shards may take, waiting included: `sink`, `events`, `timer`, and every hook of a
    /// component that waits (default 5 s).
    pub timeout: Duration,
    /// Threads that run instances beside the shards (default 2).
    pub worker_threads: u16,
    /// Instances of one plugin beside the shards, if it waits (default 16); one if it does not.
    pub lane_instances: u16,
    /// Jobs waiting for one of them (default 256).
    pub lane_queue: usize,
    /// Events or messages of one batch (default 256).
    pub batch: usize,
    /// Messages waiting for one sink; beyond it a chain's sink step fails (default 10,000).
    pub sink_queue: usize,
    /// A sink's message that waited this long goes to the dead-letter topic (default one hour).
    pub sink_give_up: Duration,
    /// Events waiting for plugins; beyond it they are dropped (default 8192).
    pub events_queue: usize,
    /// Bytes that an instance may hand to the one that takes its place (default 1 MiB).
    pub carried_bytes: usize,
    /// Memory and tables of one instance, bytes (default 64 MiB).
    pub memory_bytes: usize,
    /// The same of all instances of all plugins together (default 1 GiB).
    pub memory_total_bytes: usize,
    /// An instance that was called so often makes room for a new one; 0: never (default 0).
    pub retire_calls: u64,
    /// So does one whose memory has grown beyond this, in percent of what it may have; 100: never (default 90).
    pub retire_memory_percent: u8,
    /// An instance retires for its memory at the earliest after this long (default 10 s).
    pub retire_pause: Duration,
    /// Bytes that may cross the border in one call (default 4 MiB).
    pub transfer_bytes: usize,
    /// Bytes that an instance is asked to lend for messages; 0: it is asked for memory for each (default 16 KiB).
    pub desk_bytes: u32,
    /// Calls of host functions in one call of a hook (default 1000).
    pub host_calls: u32,
    /// Messages a plugin may publish in one call (default 16).
    pub publishes: u32,
    /// Timers of one plugin (default 1000).
    pub timers: usize,
    /// Metrics that one plugin counts itself (default 64).
    pub metrics: usize,
    /// Handles that one instance has open (default 1024).
    pub handles: usize,
    /// Bounds of requests to other services.
    pub http: HttpLimits,
    /// Messages one `split` may make (default 64).
    pub split_messages: usize,
    /// Log lines of one plugin in a second (default 100).
    pub log_lines: u32,
    /// Bytes of a component (default 64 MiB).
    pub component_bytes: usize,
    /// Who may sign components; empty: they need no signature.
    pub signing_keys: Vec<SigningKey>,
    /// Bytes of compiled components kept on disk; 0: none (default 2 GiB).
    pub compiled_bytes: u64,
    /// Plugins installed (default 100).
    pub plugins: usize,
    /// Versions kept of each (default 20).
    pub versions: usize,
    /// So many failures within `breaker_window` make a plugin rest (default 5).
    pub breaker_failures: usize,
    /// See `breaker_failures` (default 10 s).
    pub breaker_window: Duration,
    /// The first rest; each one after it is twice as long, up to `breaker_longest` (default 1 s).
    pub breaker_rest: Duration,
    /// The longest rest (default 30 s).
    pub breaker_longest: Duration,
    /// So long a new version has to prove itself (default 30 s).
    pub probation: Duration,
    /// So many failures in that time, at the rate below, bring the old version back (default 2).
    pub probation_failures: u64,
    /// See `probation_failures`: failures per thousand calls beyond the rate before
    /// (default 100).
    pub probation_per_mille: u64,
    /// What plugins may do, by name; nothing by default.
    pub grants: BTreeMap<String, Grants>,
}

impl Default for RuntimeConfig {
    fn default() -> Self {
        Self {
            data_dir: None,
            shards: 1,
            authenticators: vec!["auth-file".to_owned()],
            authenticator_threads: 2,
            authenticator_queue: 16_384,
            authenticate_deadline: Duration::from_secs(2),
            deadline: Duration::from_millis(20),
            init_deadline: Duration::from_secs(1),
            tests: Duration::from_secs(10),
            timeout: Duration::from_secs(5),
            worker_threads: 2,
            lane_instances: 16,
            lane_queue: 256,
            batch: 256,
            sink_queue: 10_000,
            sink_give_up: Duration::from_secs(3600),
            events_queue: 8192,
            carried_bytes: 1024 * 1024,
            memory_bytes: 64 * 1024 * 1024,
            memory_total_bytes: 1024 * 1024 * 1024,
            retire_calls: 0,
            retire_memory_percent: 90,
            retire_pause: Duration::from_secs(10),
            transfer_bytes: 4 * 1024 * 1024,
            desk_bytes: 16 * 1024,
            host_calls: 1000,
            publishes: 16,
            timers: 1000,
            metrics: 64,
            handles: 1024,
            http: HttpLimits::default(),
            split_messages: 64,
            log_lines: 100,
            component_bytes: 64 * 1024 * 1024,
            signing_keys: Vec::new(),
            compiled_bytes: 2 << 30,
            plugins: 100,
            versions: 20,
            breaker_failures: 5,
            breaker_window: Duration::from_secs(10),
            breaker_rest: Duration::from_secs(1),
            breaker_longest: Duration::from_secs(30),
            probation: Duration::from_secs(30),
            probation_failures: 2,
            probation_per_mille: 100,
            grants: BTreeMap::new(),
        }
    }
}
