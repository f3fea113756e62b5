//! `witmq plugin …`.

use super::args::{InstallArgs, PluginCommand, WatchArgs};
use super::look::{history, logs, shadow, show, stats};
use super::remote::{Remote, encode};
use super::source::{self, Fetched, Terms};
use super::{CliError, Exit, author, print, project, table};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::path::Path;

pub(crate) fn run(command: PluginCommand) -> Result<(), CliError> {
    match command {
        PluginCommand::New(args) => super::new::new(&args),
        PluginCommand::Build { folder } => author::build(&folder),
        PluginCommand::Check(args) => author::check(&args),
        PluginCommand::Test(args) => author::test(&args),
        PluginCommand::Bench(args) => author::bench(&args),
        PluginCommand::Watch(args) => super::watch::watch(&args),
        PluginCommand::Install(args) => install(&args),
        PluginCommand::Get { name, admin } => {
            let info = Remote::new(&admin)?.read(&path(&name, ""))?;
            print(&serde_json::to_string_pretty(&info).unwrap_or_default());
            Ok(())
        }
        PluginCommand::Stats { name, admin } => stats(name.as_deref(), &Remote::new(&admin)?),
        PluginCommand::Enable { name, admin } => enable(&name, true, &Remote::new(&admin)?),
        PluginCommand::Disable { name, admin } => enable(&name, false, &Remote::new(&admin)?),
        PluginCommand::Grants {
            name,
            add,
            rm,
            admin,
        } => grants(&name, &add, &rm, &Remote::new(&admin)?),
        PluginCommand::History { name, admin } => history(&name, &Remote::new(&admin)?),
        PluginCommand::Logs {
            name,
            follow,
            admin,
        } => logs(&name, follow, &Remote::new(&admin)?),
        PluginCommand::Ls { json, admin } => {
            let list = Remote::new(&admin)?.read("plugins")?;
            if json {
                print(&serde_json::to_string_pretty(&list).unwrap_or_default());
            } else {
                show(&list);
            }
            Ok(())
        }
        PluginCommand::Config {
            name,
            config,
            admin,
        } => configure(&name, config.as_deref(), &Remote::new(&admin)?),
        PluginCommand::Rollback {
            name,
            version,
            admin,
        } => rollback(&name, version, &Remote::new(&admin)?),
        PluginCommand::Shadow { name, stop, admin } => shadow(&name, stop, &Remote::new(&admin)?),
        PluginCommand::Rm { name, admin } => {
            Remote::new(&admin)?.delete(&path(&name, ""))?;
            print(&format!("{name}: removed"));
            Ok(())
        }
    }
}

fn install(args: &InstallArgs) -> Result<(), CliError> {
    let folder = Path::new(&args.source).canonicalize();
    let folder = folder.ok().filter(|path| path.is_dir());
    let name = match (&args.name, &folder) {
        (Some(name), _) => name.clone(),
        (None, Some(folder)) => stem(&folder.display().to_string())?,
        (None, None) => stem(&args.source)?,
    };
    let remote = Remote::new(&args.admin)?;
    let terms = Terms {
        ca: args.ca.as_deref(),
        digest: args.digest.as_deref(),
    };
    let source = match &folder {
        Some(folder) => project::build(folder)?.display().to_string(),
        None => args.source.clone(),
    };
    let fetched = source::fetch(&source, &terms)?;
    let mut query = format!("&disabled={}&shadow={}", args.disabled, args.shadow);
    let beside = Path::new(&source).with_extension("wasm.sig");
    let signature = args.signature.as_deref();
    if let Some(path) = signature.or_else(|| beside.is_file().then_some(&*beside)) {
        let signature = STANDARD.encode(read(path)?);
        query.push_str(&format!("&signature={}", encode(&signature)));
    }
    if let Some(config) = &args.config {
        query.push_str(&format!("&config={}", encode(&text_or_file(config)?)));
    }
    let version = upload(&fetched, &name, &args.grants, &query, &remote)?;
    print(&match (args.disabled, args.shadow) {
        (true, _) => {
            format!("{name}: version {version} is kept; `witmq plugin enable {name}` lets it serve")
        }
        (_, true) => format!(
            "{name}: version {version} serves on, its shadow sees the same; `witmq plugin shadow {name}` compares them"
        ),
        _ => format!("{name}: version {version} serves on every shard"),
    });
    Ok(())
}

/// Components from this size on take the broker seconds to compile: a second for each two MiB, about.
const LONG_BYTES: usize = 1024 * 1024;

fn say_if_long(name: &str, bytes: usize) {
    let mib = bytes.div_ceil(1024 * 1024);
    if bytes >= LONG_BYTES {
        let seconds = mib.div_ceil(2);
        eprintln!(
            "{name}: the broker compiles {mib} MiB, which takes about {seconds} s; the version before serves on"
        );
    }
}

/// Gives the broker a component; its version there.
fn upload(
    fetched: &Fetched,
    name: &str,
    grants: &[String],
    more: &str,
    remote: &Remote,
) -> Result<Value, CliError> {
    say_if_long(name, fetched.wasm.len());
    let (grants, origin) = (encode(&grants.join(" ")), encode(&fetched.origin));
    let query = format!("?grants={grants}&origin={origin}{more}");
    let info = remote.put(&path(name, &query), "application/wasm", &fetched.wasm)?;
    Ok(info["active"]["version"].clone())
}

/// Installs what was built of a folder; what to say about it.
pub(super) fn put(file: &Path, folder: &Path, args: &WatchArgs) -> Result<String, CliError> {
    let name = args
        .name
        .clone()
        .map_or_else(|| stem(&folder.display().to_string()), Ok)?;
    let fetched = Fetched {
        wasm: read(file)?,
        origin: file.display().to_string(),
    };
    let version = upload(
        &fetched,
        &name,
        &args.grants,
        "",
        &Remote::new(&args.admin)?,
    )?;
    Ok(format!("{name}: version {version} serves on every shard"))
}

fn rollback(name: &str, version: Option<u64>, remote: &Remote) -> Result<(), CliError> {
    let query = version.map_or_else(String::new, |v| format!("?version={v}"));
    let info = remote.post(&path(name, &format!("/rollback{query}")))?;
    let version = &info["active"]["version"];
    print(&format!("{name}: back to version {version}"));
    Ok(())
}

fn enable(name: &str, is_enabled: bool, remote: &Remote) -> Result<(), CliError> {
    if is_enabled {
        let info = remote.post(&path(name, "/enable"))?;
        let version = &info["active"]["version"];
        print(&format!("{name}: version {version} serves"));
    } else {
        remote.post(&path(name, "/disable"))?;
        print(&format!(
            "{name}: no longer serves; steps of chains that name it fail"
        ));
    }
    Ok(())
}

fn configure(name: &str, config: Option<&str>, remote: &Remote) -> Result<(), CliError> {
    let path = path(name, "/config");
    match config {
        None => print(&serde_json::to_string_pretty(&remote.read(&path)?).unwrap_or_default()),
        Some(config) => {
            let text = text_or_file(config)?;
            remote.put(&path, "application/json", text.as_bytes())?;
            print(&format!("{name}: new configuration serves"));
        }
    }
    Ok(())
}

pub(super) fn path(name: &str, rest: &str) -> String {
    format!("plugins/{}{rest}", encode(name))
}

pub(super) fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

pub(super) fn text(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

fn grants(name: &str, add: &[String], rm: &[String], remote: &Remote) -> Result<(), CliError> {
    let path = path(name, "/grants");
    let grants = if add.is_empty() && rm.is_empty() {
        remote.read(&path)?
    } else {
        remote.post_json(&path, &json!({ "add": add, "remove": rm }))?
    };
    let asked = items(&grants["asked"]).map(|asked| {
        let state = if asked["granted"] == true {
            "granted"
        } else {
            "NOT GRANTED"
        };
        vec![
            text(&asked["capability"]),
            state.to_owned(),
            "asked for by its manifest".to_owned(),
        ]
    });
    let held = |key: &str, words: &str| {
        let all =
            items(&grants[key]).map(|one| vec![text(one), "granted".to_owned(), words.to_owned()]);
        all.collect::<Vec<_>>()
    };
    let rows: Vec<Vec<String>> = asked
        .chain(held("configured", "by the configuration of the broker"))
        .chain(held(
            "approved",
            "by `witmq plugin grants` or `install --grant`",
        ))
        .collect();
    table(&["CAPABILITY", "STATE", "SAID"], &rows);
    Ok(())
}

/// The name of a plugin from where it comes from: the last part, without tag, digest and ending.
fn stem(source: &str) -> Result<String, CliError> {
    let last = source.rsplit('/').next().unwrap_or_default();
    let bare = last.split(['?', '@', ':']).next().unwrap_or_default();
    let name = bare.strip_suffix(".wasm").unwrap_or(bare).replace('_', "-");
    if name.is_empty() {
        let text = format!("{source} has no usable name; give --name");
        return Err(CliError::new(Exit::Usage, text));
    }
    Ok(name)
}

pub(crate) fn read(file: &Path) -> Result<Vec<u8>, CliError> {
    std::fs::read(file)
        .map_err(|e| CliError::failed(format!("cannot read {}: {e}", file.display())))
}

/// The text itself, or with a leading `@` the content of that file.
pub(super) fn text_or_file(text: &str) -> Result<String, CliError> {
    match text.strip_prefix('@') {
        None => Ok(text.to_owned()),
        Some(path) => std::fs::read_to_string(path)
            .map_err(|e| CliError::failed(format!("cannot read {path}: {e}"))),
    }
}
