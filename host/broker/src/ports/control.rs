//! What the admin API and the watched folders ask of the plugin runtime and the rule engine.
//!
//! Blocking calls: run them on a thread that may block, never on a shard.

mod rules;
pub use rules::{
    ChainFile, DeployOptions, Deployment, Expected, RuleChange, RuleControl, RuleInfo, StepInfo,
    TrialInfo, TrialKind,
};

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
    /// Something else is there than the caller expects.
    #[error("{0}")]
    Changed(String),
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
    /// Where it came from; may be empty.
    pub origin: String,
}

/// A plugin as `witmq plugin ls` and `get` show it.
#[derive(Clone, Debug, PartialEq)]
pub struct PluginInfo {
    /// Name.
    pub name: String,
    /// The version that serves.
    pub active: PluginVersion,
    /// All kept versions, oldest first.
    pub versions: Vec<PluginVersion>,
    /// Name and version that the component gives itself, and what it says it does; empty without a manifest.
    pub about: [String; 3],
    /// Exported hooks, e.g. `["transform"]`.
    pub hooks: Vec<String>,
    /// Imported capabilities, e.g. `["kv", "log"]`.
    pub capabilities: Vec<String>,
    /// JSON Schema of the configuration, as JSON text.
    pub schema: Option<String>,
    /// It waits, so it runs beside the shards.
    pub is_effectful: bool,
    /// `serving`, `resting` (breaker open), `disabled` or `failed`.
    pub state: &'static str,
    /// New: it is taken back by itself if it fails.
    pub is_proving: bool,
    /// Calls so far.
    pub calls: u64,
    /// Failures so far by kind: trap, deadline, memory, answer, failed.
    pub failures: Vec<(&'static str, u64)>,
    /// The last failure in words.
    pub last_error: Option<String>,
    /// Mean microseconds per call.
    pub mean_us: f64,
    /// Microseconds that half of the calls, and 99 of 100, did not exceed; to within a half.
    pub quantiles_us: [f64; 2],
    /// Most memory that one instance had, bytes.
    pub memory_bytes: u64,
    /// Instances made in place of one that failed.
    pub restarts: u64,
    /// Further numbers by name: of its sink, and those that the plugin counts itself (`own_NAME`).
    pub numbers: Vec<(String, f64)>,
    /// The bounds that it ran into, by their settings, and how often.
    pub limited: Vec<(&'static str, u64)>,
    /// The hooks that were called.
    pub by_hook: Vec<HookInfo>,
    /// Part of the time of all shards that went into its calls there lately, 0.0 to 1.0.
    pub shard_share: f64,
    /// A version that sees its traffic and is compared with it.
    pub shadow: Option<ShadowInfo>,
}

/// The calls of one hook.
#[derive(Clone, Debug, PartialEq)]
pub struct HookInfo {
    /// Its name.
    pub hook: &'static str,
    /// Calls so far.
    pub calls: u64,
    /// How long they took, all together.
    pub seconds: f64,
    /// Microseconds that half of them, and 99 of 100, did not exceed; to within a half.
    pub quantiles_us: [f64; 2],
    /// What they came to, by name; of a sink, what each message did. A call without an outcome failed.
    pub outcomes: Vec<(&'static str, u64)>,
}

/// A version that sees what the one that serves sees; nothing that it does is applied.
#[derive(Clone, Debug, PartialEq)]
pub struct ShadowInfo {
    /// sha256 of the component, hex.
    pub digest: String,
    /// What it calls its version; may be empty.
    pub version: String,
    /// Milliseconds since 1970.
    pub began_ms: u64,
    /// It trapped too often and is not called any more.
    pub is_over: bool,
    /// Outcomes that were the same.
    pub same: u64,
    /// Outcomes that were not.
    pub different: u64,
    /// Failures of the shadow where the other did not fail.
    pub failed: u64,
    /// Microseconds that half of its calls, and 99 of 100, did not exceed; to within a half.
    pub quantiles_us: [f64; 2],
    /// Its last failure in words.
    pub last_error: Option<String>,
    /// The last differences in words, oldest first.
    pub differences: Vec<String>,
}

/// What an installation may bring besides the component.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InstallOptions {
    /// Configuration (JSON); `None` keeps the present one, or `{}`.
    pub config: Option<String>,
    /// Capabilities granted with it, e.g. `publish:alerts/#`.
    pub grants: Vec<String>,
    /// Keep it without letting it serve.
    pub is_disabled: bool,
    /// Where it came from, for people: a file, a URL, an artefact of a registry.
    pub origin: Option<String>,
    /// Ed25519 signature over its bytes.
    pub signature: Option<Vec<u8>>,
    /// It is part of this broker and needs no signature.
    pub is_bundled: bool,
    /// It does not serve: it sees the traffic of the version that does, and is compared with it.
    pub is_shadow: bool,
}

/// What a plugin asks for and has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PluginGrants {
    /// What its manifest asks for, and whether it is granted.
    pub asked: Vec<(String, bool)>,
    /// Granted by the configuration of the broker; not changed here.
    pub configured: Vec<String>,
    /// Granted while the broker ran.
    pub approved: Vec<String>,
}

/// Something that happened to a plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginChange {
    /// Milliseconds since 1970.
    pub at_ms: u64,
    /// `installed`, `configured`, `rolled-back`, `reverted` (by itself), `granted`, `enabled` or `disabled`.
    pub what: String,
    /// The version that served afterwards.
    pub version: u64,
    /// Why, in words; may be empty.
    pub text: String,
}

/// A line of a plugin's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginLine {
    /// Counts up from 1.
    pub number: u64,
    /// Milliseconds since 1970.
    pub at_ms: u64,
    /// `trace`, `debug`, `info`, `warn` or `error`.
    pub level: &'static str,
    /// The line.
    pub text: String,
}

/// The plugin runtime's control side.
pub trait PluginControl: Send + Sync {
    /// Counters of the host itself, as metrics name them.
    fn counters(&self) -> Vec<(&'static str, u64)>;
    /// Memory of all instances of all plugins now, bytes.
    fn memory_bytes(&self) -> u64;
    /// The bounds that were hit by the host as a whole, by their settings, and how often. Those of plugins are in
    /// [`PluginInfo::limited`].
    fn limited(&self) -> Vec<(&'static str, u64)>;

    /// Checks, compiles, tries and switches to a new version of `name`; the old one serves until then and stays on
    /// error.
    ///
    /// # Errors
    /// Not a component, missing import, unknown ABI, something not granted, bad config, its own tests fail, init
    /// refused.
    fn install(
        &self,
        name: &str,
        wasm: Vec<u8>,
        options: InstallOptions,
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
    /// Ends its shadow.
    ///
    /// # Errors
    /// No such plugin, or it has no shadow.
    fn end_shadow(&self, name: &str) -> Result<PluginInfo, ControlError>;
    /// Back to `version`, or to the one before the active one.
    ///
    /// # Errors
    /// No such plugin or version.
    fn rollback(&self, name: &str, version: Option<u64>) -> Result<PluginInfo, ControlError>;
    /// Lets it serve, or keeps it without.
    ///
    /// # Errors
    /// As `install`, or no such plugin.
    fn set_enabled(&self, name: &str, is_enabled: bool) -> Result<PluginInfo, ControlError>;
    /// What it asks for and has.
    ///
    /// # Errors
    /// No such plugin.
    fn grants(&self, name: &str) -> Result<PluginGrants, ControlError>;
    /// Grants capabilities and takes others back, at once. A plugin that is not installed yet may be granted some.
    ///
    /// # Errors
    /// No capability, or one taken back that the configuration grants.
    fn change_grants(
        &self,
        name: &str,
        add: &[String],
        remove: &[String],
    ) -> Result<PluginGrants, ControlError>;
    /// What happened to it, oldest first.
    ///
    /// # Errors
    /// No such plugin.
    fn history(&self, name: &str) -> Result<Vec<PluginChange>, ControlError>;
    /// Lines of its log behind number `after`, oldest first: what is still remembered of them.
    ///
    /// # Errors
    /// No such plugin.
    fn log(&self, name: &str, after: u64) -> Result<Vec<PluginLine>, ControlError>;
    /// Everything installed.
    fn list(&self) -> Vec<PluginInfo>;
    /// Removes a plugin and its versions.
    ///
    /// # Errors
    /// No such plugin, or it is the bound authenticator.
    fn remove(&self, name: &str) -> Result<(), ControlError>;
}
