//! `conformance --target 127.0.0.1:1883`: judges a broker, whoever made it.

use anyhow::Context as _;
use clap::{Parser, ValueEnum};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use witmq_conformance::stream::{Target, Transport};
use witmq_conformance::{manifest, own, report, run};

/// How the report looks.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    Text,
    Json,
    Junit,
}

/// Every normative statement of MQTT 3.1.1 and 5.0 against a broker.
#[derive(Debug, Parser)]
struct Arguments {
    /// MQTT over TCP, for example 127.0.0.1:1883
    #[arg(long, value_name = "HOST:PORT")]
    target: Option<SocketAddr>,
    /// MQTT over TLS
    #[arg(long, value_name = "HOST:PORT", requires = "ca")]
    tls: Option<SocketAddr>,
    /// The certificate authority to trust (PEM)
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// MQTT over WebSocket
    #[arg(long, value_name = "HOST:PORT")]
    ws: Option<SocketAddr>,
    /// Path of the WebSocket
    #[arg(long, default_value = "/mqtt")]
    ws_path: String,
    /// Start the broker built in this repository and judge it over all transports
    #[arg(long, conflicts_with_all = ["target", "tls", "ws"])]
    start: bool,
    /// User name of every connection
    #[arg(long, requires = "password")]
    username: Option<String>,
    /// Its password
    #[arg(long)]
    password: Option<String>,
    /// A user who may log in with SCRAM-SHA-256; without one its cases are skipped
    #[arg(long, requires = "scram_password")]
    scram_username: Option<String>,
    /// Its password
    #[arg(long)]
    scram_password: Option<String>,
    /// Only cases whose name contains this
    #[arg(long, default_value = "")]
    filter: String,
    /// Seconds an answer may take
    #[arg(long, default_value_t = 5)]
    patience: u64,
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    /// Where the report goes; standard output without it
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let statements = manifest::read()?;
    let login = arguments.username.zip(arguments.password);
    let scram = arguments.scram_username.zip(arguments.scram_password);
    let target = |address, transport| Target {
        address,
        transport,
        patience: Duration::from_secs(arguments.patience),
        login: login.clone(),
        scram: scram.clone(),
    };
    let mut targets = Vec::new();
    targets.extend(arguments.target.map(|at| target(at, Transport::Tcp)));
    targets.extend(
        arguments
            .tls
            .zip(arguments.ca)
            .map(|(at, ca)| target(at, Transport::Tls(ca))),
    );
    targets.extend(
        arguments
            .ws
            .map(|at| target(at, Transport::Ws(arguments.ws_path.clone()))),
    );
    let broker = arguments.start.then(own::broker);
    if let Some(broker) = &broker {
        targets.extend(own::targets(
            broker,
            Duration::from_secs(arguments.patience),
        ));
    }
    anyhow::ensure!(
        !targets.is_empty(),
        "give at least one of --target, --tls and --ws, or --start"
    );
    let outcomes = run::run(&targets, &arguments.filter, |outcome| {
        let mark = match (&outcome.failure, outcome.is_skipped) {
            (Some(_), _) => "FAILED",
            (None, true) => "skip",
            (None, false) => "ok",
        };
        eprintln!(
            "{mark:6} {} {} level {}",
            outcome.transport, outcome.case, outcome.level
        );
    });
    let text = match arguments.format {
        Format::Text => report::text(&statements, &outcomes),
        Format::Json => report::json(&statements, &outcomes),
        Format::Junit => report::junit(&outcomes),
    };
    match arguments.out {
        Some(path) => std::fs::write(&path, text).with_context(|| path.display().to_string())?,
        None => print!("{text}"),
    }
    let has_failed = outcomes.iter().any(|outcome| outcome.failure.is_some());
    Ok(ExitCode::from(u8::from(has_failed)))
}
