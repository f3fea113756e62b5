//! `witmq plugin …`.

use super::args::PluginCommand;
use super::remote::{Remote, encode};
use super::{CliError, Exit, print, table};
use serde_json::Value;
use std::path::{Path, PathBuf};

pub(crate) fn run(command: PluginCommand) -> Result<(), CliError> {
    match command {
        PluginCommand::New { name, sdk } => new(&name, sdk.as_deref()),
        PluginCommand::Install {
            file,
            name,
            config,
            admin,
        } => {
            let name = name.map_or_else(|| stem(&file), Ok)?;
            let wasm = read(&file)?;
            let query = match config {
                Some(config) => format!("?config={}", encode(&text_or_file(&config)?)),
                None => String::new(),
            };
            let path = format!("plugins/{}{query}", encode(&name));
            let info = Remote::new(&admin)?.put(&path, "application/wasm", &wasm)?;
            print(&format!(
                "{name}: version {} serves on every shard",
                info["active"]["version"]
            ));
            Ok(())
        }
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
        } => {
            let remote = Remote::new(&admin)?;
            let path = format!("plugins/{}/config", encode(&name));
            match config {
                None => {
                    print(&serde_json::to_string_pretty(&remote.read(&path)?).unwrap_or_default())
                }
                Some(config) => {
                    let text = text_or_file(&config)?;
                    remote.put(&path, "application/json", text.as_bytes())?;
                    print(&format!("{name}: new configuration serves"));
                }
            }
            Ok(())
        }
        PluginCommand::Rollback {
            name,
            version,
            admin,
        } => {
            let query = version.map_or_else(String::new, |v| format!("?version={v}"));
            let path = format!("plugins/{}/rollback{query}", encode(&name));
            let info = Remote::new(&admin)?.post(&path)?;
            print(&format!(
                "{name}: back to version {}",
                info["active"]["version"]
            ));
            Ok(())
        }
        PluginCommand::Rm { name, admin } => {
            Remote::new(&admin)?.delete(&format!("plugins/{}", encode(&name)))?;
            print(&format!("{name}: removed"));
            Ok(())
        }
    }
}

fn show(list: &Value) {
    let rows: Vec<Vec<String>> = list
        .as_array()
        .into_iter()
        .flatten()
        .map(|p| {
            let words = |key: &str| {
                let items = p[key].as_array().into_iter().flatten();
                items
                    .filter_map(Value::as_str)
                    .collect::<Vec<_>>()
                    .join(",")
            };
            let failures = p["failures"].as_object().into_iter().flatten();
            let failures: u64 = failures.filter_map(|(_, n)| n.as_u64()).sum();
            vec![
                p["name"].as_str().unwrap_or("?").to_owned(),
                p["active"]["version"].to_string(),
                p["active"]["digest"]
                    .as_str()
                    .unwrap_or("")
                    .chars()
                    .take(12)
                    .collect(),
                p["state"].as_str().unwrap_or("?").to_owned(),
                words("hooks"),
                words("capabilities"),
                p["calls"].to_string(),
                failures.to_string(),
                format!("{:.1}", p["mean_us"].as_f64().unwrap_or(0.0)),
                p["last_error"].as_str().unwrap_or("").to_owned(),
            ]
        })
        .collect();
    table(
        &[
            "NAME",
            "VERSION",
            "DIGEST",
            "STATE",
            "HOOKS",
            "CAPABILITIES",
            "CALLS",
            "FAILED",
            "MEAN µs",
            "LAST ERROR",
        ],
        &rows,
    );
}

/// The files of a new plugin: where they go and what is in them.
const TEMPLATE: [(&str, &str); 3] = [
    (
        "Cargo.toml",
        include_str!("../../../../sdk/template/Cargo.toml.in"),
    ),
    (
        "src/lib.rs",
        include_str!("../../../../sdk/template/src/lib.rs.in"),
    ),
    (
        "README.md",
        include_str!("../../../../sdk/template/README.md.in"),
    ),
];

fn new(name: &str, sdk: Option<&Path>) -> Result<(), CliError> {
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.is_empty()
        || !name.chars().all(legal)
        || !name.starts_with(|c: char| c.is_ascii_lowercase())
    {
        return Err(CliError::new(
            Exit::Usage,
            format!(
                "`{name}` cannot be a plugin name: use lower case letters, digits and -, a letter first"
            ),
        ));
    }
    let folder = PathBuf::from(name);
    if folder.exists() {
        return Err(CliError::new(
            Exit::Refused,
            format!("{name} exists already; nothing was written"),
        ));
    }
    let sdk = match sdk {
        Some(path) => path.join("sdk"),
        None => find_sdk()?,
    };
    let sdk = sdk
        .canonicalize()
        .map_err(|e| CliError::failed(format!("{}: {e}", sdk.display())))?;
    let dependency = format!("witmq-sdk = {{ path = {:?} }}", sdk.display().to_string());
    for (path, text) in TEMPLATE {
        let path = folder.join(path);
        let write = || {
            std::fs::create_dir_all(path.parent().unwrap_or(&folder))?;
            std::fs::write(
                &path,
                text.replace("{{name}}", name)
                    .replace("{{sdk}}", &dependency),
            )
        };
        write().map_err(|e| CliError::failed(format!("{}: {e}", path.display())))?;
    }
    print(&format!(
        "{name}/ written. Next:\n  cd {name}\n  cargo test\n  cargo build --release --target wasm32-wasip2\n  witmq plugin \
         install target/wasm32-wasip2/release/{}.wasm --name {name}",
        name.replace('-', "_")
    ));
    Ok(())
}

/// The SDK of the checkout this is run in.
fn find_sdk() -> Result<PathBuf, CliError> {
    let here = std::env::current_dir().map_err(|e| CliError::failed(e.to_string()))?;
    here.ancestors()
        .map(|dir| dir.join("sdk"))
        .find(|sdk| sdk.join("Cargo.toml").is_file() && sdk.join("template").is_dir())
        .ok_or_else(|| {
            CliError::new(Exit::Usage, "the SDK is not in this folder or above it")
                .hint("give the path of a checkout of WitMQ: --sdk PATH")
        })
}

fn stem(file: &Path) -> Result<String, CliError> {
    let stem = file.file_stem().and_then(|s| s.to_str());
    stem.map(|s| s.replace('_', "-")).ok_or_else(|| {
        CliError::new(
            Exit::Usage,
            format!("{} has no usable name; give --name", file.display()),
        )
    })
}

pub(crate) fn read(file: &Path) -> Result<Vec<u8>, CliError> {
    std::fs::read(file)
        .map_err(|e| CliError::failed(format!("cannot read {}: {e}", file.display())))
}

/// The text itself, or with a leading `@` the content of that file.
fn text_or_file(text: &str) -> Result<String, CliError> {
    match text.strip_prefix('@') {
        None => Ok(text.to_owned()),
        Some(path) => std::fs::read_to_string(path)
            .map_err(|e| CliError::failed(format!("cannot read {path}: {e}"))),
    }
}
