//! Every bound of the plugin host, with its name and default.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;
use witmq_proto::TopicFilter;

/// Settings of the plugin host.
#[derive(Clone, Debug)]
pub struct RuntimeConfig {
    /// Where installed plugins are kept; `None` keeps them in memory only.
    pub data_dir: Option<PathBuf>,
    /// Shards that run hooks.
    pub shards: u16,
    /// Name of the plugin that authenticates.
    pub authenticator: String,
    /// Threads that run `authenticate` (default 2).
    pub authenticator_threads: u16,
    /// Attempts waiting for them; beyond it clients hear "server busy" (default 1024).
    pub authenticator_queue: usize,
    /// Time one `authenticate` call may take (default 2 s).
    pub authenticate_deadline: Duration,
    /// Time one `transform` or `authorize` call may take (default 20 ms).
    pub deadline: Duration,
    /// Time `init` may take (default 1 s).
    pub init_deadline: Duration,
    /// Memory and tables of one instance, bytes (default 64 MiB).
    pub memory_bytes: usize,
    /// Bytes that may cross the border in one call (default 4 MiB).
    pub transfer_bytes: usize,
    /// Calls of host functions in one call of a hook (default 1000).
    pub host_calls: u32,
    /// Messages a plugin may publish in one call (default 16).
    pub publishes: u32,
    /// Messages one `split` may make (default 64).
    pub split_messages: usize,
    /// Log lines of one plugin in a second (default 100).
    pub log_lines: u32,
    /// Bytes of a component (default 64 MiB).
    pub component_bytes: usize,
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
    /// What plugins may publish, by plugin name; none by default.
    pub publish: BTreeMap<String, Vec<TopicFilter>>,
}

impl Default for RuntimeConfig {
    fn default() -> Self {
        Self {
            data_dir: None,
            shards: 1,
            authenticator: "auth-file".to_owned(),
            authenticator_threads: 2,
            authenticator_queue: 1024,
            authenticate_deadline: Duration::from_secs(2),
            deadline: Duration::from_millis(20),
            init_deadline: Duration::from_secs(1),
            memory_bytes: 64 * 1024 * 1024,
            transfer_bytes: 4 * 1024 * 1024,
            host_calls: 1000,
            publishes: 16,
            split_messages: 64,
            log_lines: 100,
            component_bytes: 64 * 1024 * 1024,
            plugins: 100,
            versions: 20,
            breaker_failures: 5,
            breaker_window: Duration::from_secs(10),
            breaker_rest: Duration::from_secs(1),
            breaker_longest: Duration::from_secs(30),
            publish: BTreeMap::new(),
        }
    }
}
