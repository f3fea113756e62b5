//! What the admin API and the watched folders ask of the plugin runtime and the rule engine.
//!
//! Blocking calls: run them on a thread that may block, never on a shard.

/// Something asked for could not be done; nothing changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// The input is wrong: what, where and what to do.
    #[error("{message}")]
    Invalid {
        /// Short machine word, e.g. `not-a-component`, `missing-import`, `cel-error`.
        code: &'static str,
        /// One or two sentences with file, line, column where they apply.
        message: String,
        /// What to do about it.
        hint: Option<String>,
    },
    /// No such plugin, version or chain.
    #[error("{0}")]
    NotFound(String),
    /// A bound was hit.
    #[error("{0}")]
    LimitReached(String),
    /// The broker's own trouble (disk, thread).
    #[error("{0}")]
    Internal(String),
}

/// One installed version of a plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginVersion {
    /// Counts up from 1 per plugin.
    pub version: u64,
    /// sha256 of the component, hex.
    pub digest: String,
    /// Milliseconds since 1970.
    pub installed_ms: u64,
}

/// A plugin as `witmq plugin ls` shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct PluginInfo {
    /// Name.
    pub name: String,
    /// The version that serves.
    pub active: PluginVersion,
    /// All kept versions, oldest first.
    pub versions: Vec<PluginVersion>,
    /// Exported hooks, e.g. `["transform"]`.
    pub hooks: Vec<String>,
    /// Imported capabilities, e.g. `["kv", "log"]`.
    pub capabilities: Vec<String>,
    /// `serving`, `resting` (breaker open) or `failed`.
    pub state: &'static str,
    /// Calls so far.
    pub calls: u64,
    /// Failures so far by kind: trap, deadline, memory, answer, failed.
    pub failures: Vec<(&'static str, u64)>,
    /// The last failure in words.
    pub last_error: Option<String>,
    /// Mean microseconds per call.
    pub mean_us: f64,
}

/// The plugin runtime's control side.
pub trait PluginControl: Send + Sync {
    /// Checks, compiles, tries and switches to a new version of `name`; the old one serves until then and stays on
    /// error. `config` of `None` keeps the present one (or `{}`).
    ///
    /// # Errors
    /// Not a component, missing import, unknown ABI, init refused, bad config.
    fn install(
        &self,
        name: &str,
        wasm: Vec<u8>,
        config: Option<String>,
    ) -> Result<PluginInfo, ControlError>;
    /// Same component, new configuration.
    ///
    /// # Errors
    /// As `install`, or no such plugin.
    fn configure(&self, name: &str, config: String) -> Result<PluginInfo, ControlError>;
    /// The present configuration (JSON).
    ///
    /// # Errors
    /// No such plugin.
    fn config(&self, name: &str) -> Result<String, ControlError>;
    /// Back to `version`, or to the one before the active one.
    ///
    /// # Errors
    /// No such plugin or version.
    fn rollback(&self, name: &str, version: Option<u64>) -> Result<PluginInfo, ControlError>;
    /// Everything installed.
    fn list(&self) -> Vec<PluginInfo>;
    /// Removes a plugin and its versions.
    ///
    /// # Errors
    /// No such plugin, or it is the bound authenticator.
    fn remove(&self, name: &str) -> Result<(), ControlError>;
}

/// A chain as `witmq rule ls` shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleInfo {
    /// Name: the file's stem.
    pub name: String,
    /// `transform` or `rule`.
    pub mode: &'static str,
    /// Topic template.
    pub from: String,
    /// Revision that runs.
    pub revision: u64,
    /// Order among chains.
    pub order: i64,
    /// Messages that matched.
    pub matched: u64,
    /// Messages a filter ended.
    pub filtered: u64,
    /// Step failures.
    pub failed: u64,
    /// The last failure in words.
    pub last_error: Option<String>,
}

/// The rule engine's control side.
pub trait RuleControl: Send + Sync {
    /// Parses, checks, compiles, runs the file's own tests and switches atomically on all shards. The previous
    /// revision runs on if anything fails. `file` is for messages; the chain's name is its stem. `dry_run` stops
    /// before the switch.
    ///
    /// # Errors
    /// `Invalid` with `file:line:column: …` in the message.
    fn apply(&self, file: &str, source: &str, dry_run: bool) -> Result<RuleInfo, ControlError>;
    /// Everything deployed, in running order.
    fn list(&self) -> Vec<RuleInfo>;
    /// Takes a chain out.
    ///
    /// # Errors
    /// No such chain.
    fn remove(&self, name: &str) -> Result<(), ControlError>;
}
