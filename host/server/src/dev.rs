//! `witmq dev`: the configuration, folders, certificates and demo traffic of the first five minutes.

use crate::cli::DevArgs;
use crate::config::{self, Config, Listener, ListenerKind};
use anyhow::{Context as _, Result};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// Files of the local certificate authority.
pub(crate) struct Certificates {
    pub(crate) ca: PathBuf,
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

/// The configuration `witmq dev` runs with: the defaults with what the environment says (`WITMQ_LIMITS__…`), its own
/// listeners and folders. Makes the folders and, once, the certificates.
///
/// # Errors
/// The environment says what is no configuration; the folders or certificates cannot be written.
pub(crate) fn config(args: &DevArgs) -> Result<(Config, Certificates)> {
    let data_dir = args.dir.join(".witmq");
    let watched = crate::watch::FOLDERS.map(|folder| args.dir.join(folder));
    for folder in watched.iter().chain([&data_dir]) {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let certificates = certificates(&data_dir)?;
    let tls = |name, kind, port| Listener {
        cert: Some(certificates.cert.clone()),
        key: Some(certificates.key.clone()),
        ..Listener::local(name, kind, port)
    };
    let listeners = vec![
        Listener::local("tcp", ListenerKind::Tcp, args.port),
        tls("tls", ListenerKind::Tls, args.tls_port),
        Listener::local("ws", ListenerKind::Ws, args.ws_port),
        tls("wss", ListenerKind::Wss, args.wss_port),
    ];
    let mut config = Config {
        data_dir,
        listeners,
        ..config::read(None, std::env::vars())?
    };
    if args.shards > 0 {
        config.shards = args.shards;
    }
    config.http.bind = SocketAddr::from((Ipv4Addr::LOCALHOST, args.http_port));
    if let Ok(level) = std::env::var("WITMQ_LOG") {
        config.log.level = level;
    }
    Ok((config, certificates))
}

/// A certificate authority of this folder's own and a certificate for this machine; made once and kept.
fn certificates(data_dir: &Path) -> Result<Certificates> {
    let files = Certificates {
        ca: data_dir.join("ca.pem"),
        cert: data_dir.join("cert.pem"),
        key: data_dir.join("key.pem"),
    };
    if files.ca.is_file() && files.cert.is_file() && files.key.is_file() {
        return Ok(files);
    }
    let ca_key = rcgen::KeyPair::generate()?;
    let mut ca = rcgen::CertificateParams::new(Vec::<String>::new())?;
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
    ca.distinguished_name.push(
        rcgen::DnType::CommonName,
        "WitMQ development CA (this folder only)",
    );
    ca.key_usages = vec![
        rcgen::KeyUsagePurpose::KeyCertSign,
        rcgen::KeyUsagePurpose::CrlSign,
    ];
    let ca_cert = ca.self_signed(&ca_key)?;
    let issuer = rcgen::Issuer::new(ca, ca_key); // its key is dropped here: nothing else is ever signed
    let key = rcgen::KeyPair::generate()?;
    let mut leaf = rcgen::CertificateParams::new(vec![
        "localhost".to_owned(),
        "127.0.0.1".to_owned(),
        "::1".to_owned(),
    ])?;
    leaf.distinguished_name
        .push(rcgen::DnType::CommonName, "localhost");
    leaf.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    let cert = leaf.signed_by(&key, &issuer)?;
    std::fs::write(&files.ca, ca_cert.pem()).with_context(|| files.ca.display().to_string())?;
    std::fs::write(&files.cert, cert.pem()).with_context(|| files.cert.display().to_string())?;
    crate::secret::write(&files.key, key.serialize_pem().as_bytes())?;
    Ok(files)
}

/// What `witmq dev` says when it is ready.
pub(crate) fn banner(
    args: &DevArgs,
    addrs: &crate::wire::Addresses,
    certificates: &Certificates,
) -> String {
    let who = if args.no_anonymous {
        "users only: `witmq user add NAME`"
    } else {
        "anonymous allowed: dev mode, loopback only"
    };
    let demo = if args.no_demo {
        "off (--no-demo)"
    } else {
        "demo/room/1/temp every second (--no-demo)"
    };
    let at = |name: &str| addrs.listener(name);
    format!(
        "witmq {version} · dev mode · data {data} · loopback only\n\
         \x20 Page       http://{http}/\n\
         \x20 MQTT       mqtt://{tcp}      {who}\n\
         \x20 TLS        mqtts://{tls}     CA {ca}\n\
         \x20 WebSocket  ws://{http}/mqtt  ws://{ws}/mqtt  wss://{wss}/mqtt\n\
         \x20 Watching   {rules}/*.toml  {sinks}/*.toml  {plugins}/*.wasm\n\
         \x20 Demo       {demo}\n\
         \x20 Try        witmq sub 'demo/#'    witmq pub demo/room/2/temp '{{\"c\":41.5}}'\n\
         Ctrl-C stops.",
        version = env!("CARGO_PKG_VERSION"),
        data = args.dir.join(".witmq").display(),
        http = addrs.http_text(),
        tcp = at("tcp"),
        tls = at("tls"),
        ws = at("ws"),
        wss = at("wss"),
        ca = certificates.ca.display(),
        rules = args.dir.join("rules").display(),
        sinks = args.dir.join("sinks").display(),
        plugins = args.dir.join("plugins").display(),
    )
}
