//! The grammar of the command line.

mod rule;

use super::new::{Hook, Lang};
use super::sink::SinkCommand;
use super::user::UserCommand;
use clap::{Args, Parser, Subcommand};
pub(crate) use rule::{ApplyArgs, ImportCommand, RecordArgs, RevisionArgs, RuleCommand};
use std::path::PathBuf;

/// An MQTT broker whose decisions are WebAssembly components, replaced while it runs.
#[derive(Debug, Parser)]
#[command(
    name = "witmq",
    version,
    propagate_version = true,
    disable_help_subcommand = true
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a broker for development: loopback only, anonymous allowed, folders watched, demo traffic
    Dev(DevArgs),
    /// Run a broker from a configuration file
    Serve(ServeArgs),
    /// Publish a message
    Pub(PubArgs),
    /// Subscribe and print what comes
    Sub(SubArgs),
    /// Write, install, list and roll back plugins
    #[command(subcommand)]
    Plugin(PluginCommand),
    /// Deploy, list, try and remove chains
    #[command(subcommand)]
    Rule(RuleCommand),
    /// Connect chains to other services: webhooks, databases, files, brokers
    #[command(subcommand)]
    Sink(SinkCommand),
    /// Manage users of the bundled authenticator
    #[command(subcommand)]
    User(UserCommand),
    /// Fill, read and empty the tables that chains look up
    #[command(subcommand)]
    Table(TableCommand),
    /// List delayed messages and take them back
    #[command(subcommand)]
    Delayed(DelayedCommand),
    /// Send clients to another server, or show whether they are
    Drain(DrainArgs),
    /// Look at the files of a broker that does not run
    #[command(subcommand)]
    Storage(StorageCommand),
    /// Look whether this machine is fit for what the configuration allows; exit code 1 if a check fails
    Doctor(DoctorArgs),
    /// Show numbers about a running broker
    Status(AdminArgs),
    /// Print the version
    Version,
    /// Print a completion script
    Completion { shell: clap_complete::Shell },
}

#[derive(Debug, Subcommand)]
pub(crate) enum StorageCommand {
    /// Print what is kept and what is damaged, by file and offset; exit code 1 if anything is
    Check {
        /// The data folder
        #[arg(env = "WITMQ_DATA_DIR", default_value = "witmq-data")]
        data_dir: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(crate) struct DevArgs {
    /// Folder with `rules/` and `plugins/` to watch; data goes to its `.witmq/`
    #[arg(default_value = ".")]
    pub(crate) dir: PathBuf,
    /// Port of MQTT over TCP (TLS is on 8883, WebSocket on 8083, secure WebSocket on 8084)
    #[arg(long, default_value_t = 1883)]
    pub(crate) port: u16,
    /// Port of MQTT over TLS
    #[arg(long, default_value_t = 8883)]
    pub(crate) tls_port: u16,
    /// Port of MQTT over WebSocket
    #[arg(long, default_value_t = 8083)]
    pub(crate) ws_port: u16,
    /// Port of MQTT over secure WebSocket
    #[arg(long, default_value_t = 8084)]
    pub(crate) wss_port: u16,
    /// Port of the HTTP origin
    #[arg(long, default_value_t = 8080)]
    pub(crate) http_port: u16,
    /// Shard threads; 0 means one per core
    #[arg(long, default_value_t = 0)]
    pub(crate) shards: u16,
    /// No demo traffic on demo/#
    #[arg(long)]
    pub(crate) no_demo: bool,
    /// Ask for user and password, as in production
    #[arg(long)]
    pub(crate) no_anonymous: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Configuration file; defaults apply without one
    #[arg(short, long, env = "WITMQ_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Check the configuration and exit
    #[arg(long)]
    pub(crate) check: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Configuration file; defaults apply without one
    #[arg(short, long, env = "WITMQ_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// A list of all checks in JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// How to reach the MQTT side.
#[derive(Debug, Args)]
pub(crate) struct MqttArgs {
    /// mqtt://, mqtts://, ws:// or wss:// address of the broker
    #[arg(long, env = "WITMQ_MQTT_URL", default_value = "mqtt://127.0.0.1:1883")]
    pub(crate) url: String,
    /// User name
    #[arg(short, long, env = "WITMQ_USERNAME")]
    pub(crate) username: Option<String>,
    /// Password
    #[arg(short = 'P', long, env = "WITMQ_PASSWORD", hide_env_values = true)]
    pub(crate) password: Option<String>,
    /// Client id; a random one if absent
    #[arg(short = 'i', long)]
    pub(crate) client_id: Option<String>,
    /// PEM file with the certificates to trust (mqtts, wss); the system's if absent
    #[arg(long)]
    pub(crate) ca: Option<PathBuf>,
    /// Quality of service
    #[arg(short, long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=2))]
    pub(crate) qos: u8,
    /// Keep-alive in seconds
    #[arg(long, default_value_t = 60)]
    pub(crate) keep_alive: u16,
    /// Seconds the session outlives the connection
    #[arg(long)]
    pub(crate) session_expiry: Option<u32>,
    /// Give up after this many seconds without an answer
    #[arg(long, default_value_t = 10)]
    pub(crate) timeout: u64,
}

#[derive(Debug, Args)]
pub(crate) struct PubArgs {
    #[command(flatten)]
    pub(crate) mqtt: MqttArgs,
    /// Topic name
    pub(crate) topic: String,
    /// The payload; standard input if neither this nor --file is given
    pub(crate) message: Option<String>,
    /// Payload from a file
    #[arg(short, long, conflicts_with = "message")]
    pub(crate) file: Option<PathBuf>,
    /// Set the RETAIN flag
    #[arg(short, long)]
    pub(crate) retain: bool,
    /// Message expiry in seconds
    #[arg(long)]
    pub(crate) expiry: Option<u32>,
    /// Content type
    #[arg(long)]
    pub(crate) content_type: Option<String>,
    /// Response topic
    #[arg(long)]
    pub(crate) response_topic: Option<String>,
    /// Correlation data
    #[arg(long)]
    pub(crate) correlation: Option<String>,
    /// User property, KEY=VALUE; may be repeated
    #[arg(long = "property", value_name = "KEY=VALUE", value_parser = key_value)]
    pub(crate) properties: Vec<(String, String)>,
}

#[derive(Debug, Args)]
pub(crate) struct SubArgs {
    #[command(flatten)]
    pub(crate) mqtt: MqttArgs,
    /// Topic filters
    #[arg(required = true)]
    pub(crate) filters: Vec<String>,
    /// Leave after this many messages
    #[arg(short = 'C', long)]
    pub(crate) count: Option<u64>,
    /// One JSON object a line, properties included
    #[arg(long)]
    pub(crate) json: bool,
    /// Payload bytes only, without topic or line end
    #[arg(long, conflicts_with = "json")]
    pub(crate) raw: bool,
    /// Keep an existing session (with --client-id and --session-expiry)
    #[arg(long)]
    pub(crate) resume: bool,
    /// Do not send back what this client publishes
    #[arg(long)]
    pub(crate) no_local: bool,
    /// Keep the RETAIN flag as published
    #[arg(long)]
    pub(crate) retain_as_published: bool,
}

/// How to reach the admin API.
#[derive(Clone, Debug, Args)]
pub(crate) struct AdminArgs {
    /// Address of the broker's HTTP origin; read from `http.address` of the data folder if absent
    #[arg(long, env = "WITMQ_URL")]
    pub(crate) admin: Option<String>,
    /// Admin token; read from `admin.token` of the data folder if absent
    #[arg(long, env = "WITMQ_TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
    /// Data folder of the broker, for its address and its token
    #[arg(long, env = "WITMQ_DATA_DIR")]
    pub(crate) data_dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct NewArgs {
    /// Name of the plugin and of its folder
    pub(crate) name: String,
    /// What it is written in
    #[arg(long, value_enum, default_value_t = Lang::Rust)]
    pub(crate) lang: Lang,
    /// A hook that it has; may be repeated
    #[arg(
        long = "hook",
        value_enum,
        value_name = "HOOK",
        default_value = "transform"
    )]
    pub(crate) hooks: Vec<Hook>,
    /// Path of a checkout of this repository, whose `sdk/` a plugin in Rust uses
    #[arg(long)]
    pub(crate) sdk: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct InstallArgs {
    /// A .wasm file, the folder of a plugin, https://…, or oci://REGISTRY/REPOSITORY:TAG (or @sha256:…)
    pub(crate) source: String,
    /// Name; the last part of the source if absent
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// What the component has to be: sha256, in hex
    #[arg(long)]
    pub(crate) digest: Option<String>,
    /// Its Ed25519 signature; SOURCE.sig beside a file if absent
    #[arg(long, value_name = "FILE")]
    pub(crate) signature: Option<PathBuf>,
    /// Trust only the certificates in this file when it is fetched
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// Configuration as JSON text, or @FILE; the present one is kept if absent
    #[arg(long)]
    pub(crate) config: Option<String>,
    /// Grant a capability with it, e.g. publish:alerts/#; may be repeated
    #[arg(long = "grant", value_name = "CAPABILITY")]
    pub(crate) grants: Vec<String>,
    /// Keep it without letting it serve
    #[arg(long)]
    pub(crate) disabled: bool,
    /// Let it see the traffic of the version that serves and compare what both make of it; nothing that it does is applied
    #[arg(long, conflicts_with = "disabled")]
    pub(crate) shadow: bool,
    #[command(flatten)]
    pub(crate) admin: AdminArgs,
}

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// A .wasm file, or the folder of a plugin, which is built first
    #[arg(default_value = ".")]
    pub(crate) path: PathBuf,
    /// Configuration to check too: JSON text, or @FILE
    #[arg(long)]
    pub(crate) config: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct TestArgs {
    /// A .wasm file, or the folder of a plugin, whose own tests run first
    #[arg(default_value = ".")]
    pub(crate) path: PathBuf,
    /// More tests: a JSON list in the form of the manifest's
    #[arg(long, value_name = "FILE")]
    pub(crate) cases: Option<PathBuf>,
    /// Configuration of tests that bring none: JSON text, or @FILE
    #[arg(long)]
    pub(crate) config: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    /// The folder of a plugin
    #[arg(default_value = ".")]
    pub(crate) folder: PathBuf,
    /// Name it is installed under; that of the folder if absent
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Grant a capability with it; may be repeated
    #[arg(long = "grant", value_name = "CAPABILITY")]
    pub(crate) grants: Vec<String>,
    #[command(flatten)]
    pub(crate) admin: AdminArgs,
}

#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// A .wasm file, or the folder of a plugin, which is built first
    #[arg(default_value = ".")]
    pub(crate) path: PathBuf,
    /// Topic of the message
    #[arg(long, default_value = "bench/topic")]
    pub(crate) topic: String,
    /// Its payload: text, or @FILE
    #[arg(long)]
    pub(crate) payload: Option<String>,
    /// Bytes of its payload, if none is given
    #[arg(long, default_value_t = 256)]
    pub(crate) size: usize,
    /// Calls
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(crate) count: u32,
    /// Configuration: JSON text, or @FILE
    #[arg(long)]
    pub(crate) config: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PluginCommand {
    /// Write a new plugin from a template, with an example of each of its hooks
    New(NewArgs),
    /// Build the component of a folder
    Build {
        /// The folder
        #[arg(default_value = ".")]
        folder: PathBuf,
    },
    /// Say whether a broker would take a component, and what it could do there
    Check(CheckArgs),
    /// Run a plugin's tests, those of its language and those of the component under a broker's limits
    Test(TestArgs),
    /// Measure calls of a component
    Bench(BenchArgs),
    /// Build, test and swap a plugin into a running broker each time one of its files is saved
    Watch(WatchArgs),
    /// Install a component, or switch a running plugin to it
    Install(InstallArgs),
    /// Show everything about a plugin, as JSON
    Get {
        name: String,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Numbers of one plugin, or of all
    Stats {
        name: Option<String>,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Let a plugin serve again
    Enable {
        name: String,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Keep a plugin without letting it serve
    Disable {
        name: String,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Show, give or take back what a plugin may do
    Grants {
        name: String,
        /// Grant a capability: publish:FILTER, secret:NAME or clients; may be repeated
        #[arg(long, value_name = "CAPABILITY")]
        add: Vec<String>,
        /// Take one back; may be repeated
        #[arg(long, value_name = "CAPABILITY")]
        rm: Vec<String>,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Show what happened to a plugin
    History {
        name: String,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Show the last lines of a plugin's log
    Logs {
        name: String,
        /// Go on as they come
        #[arg(short, long)]
        follow: bool,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// List plugins
    Ls {
        /// As JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Show or replace the configuration of a plugin
    Config {
        name: String,
        /// JSON text, or @FILE; shows the present one if absent
        config: Option<String>,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Go back to the version before, or to VERSION
    Rollback {
        name: String,
        version: Option<u64>,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Compare a shadow (`install --shadow`) with the version that serves, or end it
    Shadow {
        name: String,
        /// End it
        #[arg(long)]
        stop: bool,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Remove a plugin and its versions
    Rm {
        name: String,
        #[command(flatten)]
        admin: AdminArgs,
    },
}

#[derive(Debug, Args)]
pub(crate) struct DrainArgs {
    /// Refuse who connects and disconnect who is connected, with this HOST:PORT as the server to use
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "stop")]
    pub(crate) to: Option<String>,
    /// For good (0x9D), not only for now (0x9C)
    #[arg(long, requires = "to")]
    pub(crate) permanent: bool,
    /// Connected clients leave at this pace
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(crate) per_second: u32,
    /// Serve clients again
    #[arg(long)]
    pub(crate) stop: bool,
    #[command(flatten)]
    pub(crate) admin: AdminArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TableCommand {
    /// List the tables, or the entries of one as JSON
    Ls {
        table: Option<String>,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Print the value of a key
    Get {
        table: String,
        key: String,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Set a key
    Put {
        table: String,
        key: String,
        /// JSON: a text stands in double quotes
        value: String,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Remove a key, or with --all every key
    Rm {
        table: String,
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        key: Option<String>,
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Set the keys of a file: .json (an object, or a list of objects) or .csv (with a line of headings)
    Load {
        table: String,
        file: PathBuf,
        /// The field or column that is the key; without one the first column
        #[arg(long)]
        key: Option<String>,
        #[command(flatten)]
        admin: AdminArgs,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum DelayedCommand {
    /// List what waits, in the order in which it falls due
    Ls {
        /// So many at most
        #[arg(long, default_value_t = 100)]
        count: u64,
        /// As JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Take delayed messages back before they are published
    Rm {
        /// As `ls` shows them
        #[arg(required = true)]
        ids: Vec<String>,
        #[command(flatten)]
        admin: AdminArgs,
    },
}

fn key_value(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .ok_or_else(|| format!("`{text}` is not KEY=VALUE"))
}
