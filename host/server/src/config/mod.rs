//! `witmq.toml`: its shape, its defaults, and how it is read.
//!
//! Owns: the one order of precedence: defaults < file < `WITMQ_SECTION__KEY` < flags. An unknown key is an
//! error with a suggestion. Must not: start anything, write the file (it is the operator's).

mod error;
mod limits;
mod mqtt;
mod read;
mod topics;

pub(crate) use error::ConfigError;
pub(crate) use limits::{Limits, Overflow};
pub(crate) use mqtt::{Mqtt, Redirect, Shared, Strategy};
pub(crate) use read::read;
pub(crate) use topics::{AutoSubscription, Rewrite};

use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

/// The whole file.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// Where users, plugins, chains and keys are kept.
    pub(crate) data_dir: PathBuf,
    /// Shard threads; 0 means one per core.
    pub(crate) shards: u16,
    /// Name of this node in `$SYS` and logs.
    pub(crate) node: String,
    /// MQTT listeners.
    #[serde(rename = "listener")]
    pub(crate) listeners: Vec<Listener>,
    pub(crate) http: Http,
    pub(crate) auth: Auth,
    pub(crate) limits: Limits,
    /// Topics that mean others; the first that matches counts.
    #[serde(rename = "rewrite")]
    pub(crate) rewrites: Vec<Rewrite>,
    /// Subscriptions made for every client.
    pub(crate) auto_subscribe: Vec<AutoSubscription>,
    pub(crate) mqtt: Mqtt,
    pub(crate) redirect: Redirect,
    pub(crate) shared: Shared,
    pub(crate) storage: Storage,
    /// Public keys (PEM files) of those who may sign plugins; empty: plugins need no signature.
    pub(crate) signing_keys: Vec<PathBuf>,
    /// Files of secrets, by the name plugins ask for.
    pub(crate) secrets: BTreeMap<String, PathBuf>,
    /// PEM file with certificates that requests of plugins trust besides those of the machine.
    pub(crate) plugin_ca: Option<PathBuf>,
    /// Settings of installed plugins, by name.
    pub(crate) plugins: BTreeMap<String, Plugin>,
    pub(crate) log: Log,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("witmq-data"),
            shards: 0,
            node: "witmq".into(),
            listeners: vec![Listener::local("tcp", ListenerKind::Tcp, 1883)],
            http: Http::default(),
            auth: Auth::default(),
            limits: Limits::default(),
            rewrites: Vec::new(),
            auto_subscribe: Vec::new(),
            mqtt: Mqtt::default(),
            redirect: Redirect::default(),
            shared: Shared::default(),
            storage: Storage::default(),
            signing_keys: Vec::new(),
            secrets: BTreeMap::new(),
            plugins: BTreeMap::new(),
            plugin_ca: None,
            log: Log::default(),
        }
    }
}

/// What a listener speaks.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ListenerKind {
    Tcp,
    Tls,
    Ws,
    Wss,
}

impl ListenerKind {
    pub(crate) fn is_tls(self) -> bool {
        matches!(self, Self::Tls | Self::Wss)
    }
}

/// Whether a client has to show a certificate.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ClientCert {
    Required,
    Optional,
}

/// One `[[listener]]`.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub(crate) struct Listener {
    /// For logs, metrics and the `authenticate` hook.
    pub(crate) name: String,
    pub(crate) kind: ListenerKind,
    pub(crate) bind: SocketAddr,
    /// WebSocket path.
    #[serde(default = "mqtt_path")]
    pub(crate) path: String,
    /// PEM file with the certificate chain (tls, wss).
    pub(crate) cert: Option<PathBuf>,
    /// PEM file with the private key (tls, wss).
    pub(crate) key: Option<PathBuf>,
    /// PEM file with the authorities whose certificates clients show (tls, wss).
    pub(crate) client_ca: Option<PathBuf>,
    /// Whether they have to; they do if `client_ca` is there and this is not.
    pub(crate) client_cert: Option<ClientCert>,
    /// Files with lists of revoked certificates of clients, PEM or DER (tls, wss).
    #[serde(default)]
    pub(crate) crl: Vec<PathBuf>,
    /// Connections beyond this are closed at once.
    #[serde(default = "listener_connections")]
    pub(crate) max_connections: u32,
    /// Passwords in clear text beyond loopback: only when asked for.
    #[serde(default)]
    pub(crate) allow_plaintext: bool,
}

fn mqtt_path() -> String {
    "/mqtt".into()
}

fn listener_connections() -> u32 {
    100_000
}

impl Listener {
    /// A listener on 127.0.0.1.
    pub(crate) fn local(name: &str, kind: ListenerKind, port: u16) -> Self {
        Self {
            name: name.into(),
            kind,
            bind: SocketAddr::from(([127, 0, 0, 1], port)),
            path: mqtt_path(),
            cert: None,
            key: None,
            client_ca: None,
            client_cert: None,
            crl: Vec::new(),
            max_connections: listener_connections(),
            allow_plaintext: false,
        }
    }
}

/// The HTTP origin: admin API, metrics, and MQTT at `/mqtt`.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Http {
    pub(crate) enabled: bool,
    pub(crate) bind: SocketAddr,
    /// The admin token travels in clear text: beyond loopback only when asked for.
    pub(crate) allow_plaintext: bool,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            enabled: true,
            bind: SocketAddr::from(([127, 0, 0, 1], 8080)),
            allow_plaintext: false,
        }
    }
}

/// Who decides who connects.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Auth {
    /// Names of the plugins bound as authenticators, in the order they are asked.
    pub(crate) plugins: Vec<String>,
}

impl Default for Auth {
    fn default() -> Self {
        Self {
            plugins: vec![AUTH_FILE.into()],
        }
    }
}

/// Name of the bundled authenticator.
pub(crate) const AUTH_FILE: &str = "auth-file";

/// What outlives the process.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Storage {
    /// What an acknowledgement promises.
    pub(crate) durability: Durability,
    /// Bytes of messages kept for sessions; beyond this the oldest are given up.
    pub(crate) log_bytes: u64,
    /// Messages older than this are given up, seconds.
    pub(crate) log_age_s: u64,
}

/// What an acknowledgement promises.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Durability {
    /// It is on the disk.
    Fsync,
    /// The operating system has it.
    Os,
    /// Nothing: everything is in memory.
    None,
}

impl Default for Storage {
    fn default() -> Self {
        Self {
            durability: Durability::Fsync,
            log_bytes: 8 * 1024 * 1024 * 1024,
            log_age_s: 7 * 24 * 3600,
        }
    }
}

/// `[plugins.NAME]`: what the operator grants and wants of a plugin.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Plugin {
    /// Topic filters the plugin may publish to.
    pub(crate) publish: Vec<String>,
    /// Secrets it may read, by their names in `[secrets]`.
    pub(crate) secrets: Vec<String>,
    /// Hosts it may send requests to.
    pub(crate) http: Vec<String>,
    /// Whether it may ask about clients and disconnect them.
    pub(crate) clients: bool,
}

/// Logging.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Log {
    /// error, warn, info, debug or trace; or a `tracing` filter.
    pub(crate) level: String,
    pub(crate) format: LogFormat,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            level: "info".into(),
            format: LogFormat::Auto,
        }
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// For people on a terminal, JSON otherwise.
    Auto,
    Human,
    Json,
}

impl Config {
    /// Rules that a type cannot say.
    ///
    /// # Errors
    /// Plaintext beyond loopback without consent, TLS without files, doubled names.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let mut names = std::collections::BTreeSet::new();
        for listener in &self.listeners {
            if !names.insert(&listener.name) {
                return Err(ConfigError::rule(format!(
                    "two listeners are named `{}`; give each a name of its own",
                    listener.name
                )));
            }
            if listener.kind.is_tls() && (listener.cert.is_none() || listener.key.is_none()) {
                return Err(ConfigError::rule(format!(
                    "listener `{}` speaks TLS: set both `cert` and `key` to PEM files",
                    listener.name
                )));
            }
            if listener.client_ca.is_some() && !listener.kind.is_tls() {
                return Err(ConfigError::rule(format!(
                    "listener `{}` has `client_ca` and speaks no TLS: use kind \"tls\" or \"wss\"",
                    listener.name
                )));
            }
            if listener.client_cert.is_some() && listener.client_ca.is_none() {
                return Err(ConfigError::rule(format!(
                    "listener `{}` has `client_cert` and no `client_ca`: set it to a PEM file with the authorities \
                     whose certificates clients show",
                    listener.name
                )));
            }
            if !listener.crl.is_empty() && listener.client_ca.is_none() {
                return Err(ConfigError::rule(format!(
                    "listener `{}` has `crl` and no `client_ca`: set it to a PEM file with the authorities whose \
                     certificates the lists revoke",
                    listener.name
                )));
            }
            let open = !listener.bind.ip().is_loopback() && !listener.kind.is_tls();
            if open && !listener.allow_plaintext {
                return Err(ConfigError::rule(format!(
                    "listener `{}` on {} would carry passwords in clear text beyond this machine; use kind \
                     \"tls\" or \"wss\", or set `allow_plaintext = true` on it",
                    listener.name, listener.bind
                )));
            }
        }
        if self.http.enabled && !self.http.bind.ip().is_loopback() && !self.http.allow_plaintext {
            return Err(ConfigError::rule(format!(
                "http.bind = {} would carry the admin token in clear text beyond this machine; put a TLS \
                 proxy in front of a loopback address, or set `http.allow_plaintext = true`",
                self.http.bind
            )));
        }
        self.limits.check()?;
        self.mqtt.check()?;
        self.redirect.check()?;
        if self.auth.plugins.is_empty() || self.auth.plugins.len() > 16 {
            return Err(ConfigError::rule(
                "`auth.plugins` names 1 to 16 plugins: without one nobody could connect".into(),
            ));
        }
        for (name, plugin) in &self.plugins {
            let unknown = |secret: &&String| !self.secrets.contains_key(*secret);
            if let Some(secret) = plugin.secrets.iter().find(unknown) {
                return Err(ConfigError::rule(format!(
                    "plugins.{name}.secrets names `{secret}`, which [secrets] does not have; add `{secret} = \"FILE\"` there"
                )));
            }
        }
        if self.shards > 64 {
            return Err(ConfigError::rule("`shards` is at most 64".into()));
        }
        Ok(())
    }
}
