//! `witmq plugin …`.

use super::args::{InstallArgs, PluginCommand, WatchArgs};
use super::remote::{Remote, encode};
use super::source::{self, Fetched, Terms};
use super::{CliError, Exit, author, print, project, table};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::path::Path;

pub(crate) fn run(command: PluginCommand) -> Result<(), CliError> {
    match command {
        PluginCommand::New { name, sdk } => super::new::new(&name, sdk.as_deref()),
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
    let mut query = format!("&disabled={}", args.disabled);
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
    print(&match args.disabled {
        true => {
            format!("{name}: version {version} is kept; `witmq plugin enable {name}` lets it serve")
        }
        false => format!("{name}: version {version} serves on every shard"),
    });
    Ok(())
}

/// Gives the broker a component; its version there.
fn upload(
    fetched: &Fetched,
    name: &str,
    grants: &[String],
    more: &str,
    remote: &Remote,
) -> Result<Value, CliError> {
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

fn path(name: &str, rest: &str) -> String {
    format!("plugins/{}{rest}", encode(name))
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> String {
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

fn history(name: &str, remote: &Remote) -> Result<(), CliError> {
    let list = remote.read(&path(name, "/history"))?;
    let rows: Vec<Vec<String>> = items(&list)
        .map(|change| {
            vec![
                moment(&change["at_ms"]),
                text(&change["what"]),
                text(&change["version"]),
                text(&change["text"]),
            ]
        })
        .collect();
    table(&["WHEN (UTC)", "WHAT", "VERSION", "WHY"], &rows);
    Ok(())
}

/// How often new lines are asked for.
const LOG_PAUSE: std::time::Duration = std::time::Duration::from_millis(500);

fn logs(name: &str, follow: bool, remote: &Remote) -> Result<(), CliError> {
    let mut after = 0;
    loop {
        let lines = remote.read(&path(name, &format!("/log?after={after}")))?;
        for line in items(&lines) {
            after = line["number"].as_u64().unwrap_or(after);
            let level = text(&line["level"]).to_uppercase();
            print(&format!(
                "{} {level:5} {}",
                moment(&line["at_ms"]),
                text(&line["text"])
            ));
        }
        if !follow {
            return Ok(());
        }
        std::thread::sleep(LOG_PAUSE);
    }
}

/// Milliseconds since 1970 as date and time.
fn moment(ms: &Value) -> String {
    let ms = ms.as_u64().unwrap_or(0);
    let (days, rest) = (ms / 86_400_000, ms % 86_400_000);
    let (hour, minute, second) = (rest / 3_600_000, rest / 60_000 % 60, rest / 1000 % 60);
    // Civil date from days, counted from 0000-03-01 in eras of 400 years.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    let year = era * 400 + year_of_era + carry;
    format!(
        "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{:03}",
        ms % 1000
    )
}

fn stats(name: Option<&str>, remote: &Remote) -> Result<(), CliError> {
    let list = match name {
        Some(name) => Value::Array(vec![remote.read(&path(name, ""))?]),
        None => remote.read("plugins")?,
    };
    let micros = |value: &Value| format!("{:.1}", value.as_f64().unwrap_or(0.0));
    let rows: Vec<Vec<String>> = items(&list)
        .map(|p| {
            let failures = p["failures"].as_object().into_iter().flatten();
            let failures: Vec<String> = failures
                .filter(|(_, count)| count.as_u64() != Some(0))
                .map(|(kind, count)| format!("{kind} {count}"))
                .collect();
            vec![
                text(&p["name"]),
                text(&p["state"]),
                text(&p["calls"]),
                micros(&p["mean_us"]),
                micros(&p["p50_us"]),
                micros(&p["p99_us"]),
                format!(
                    "{:.1}",
                    p["memory_bytes"].as_f64().unwrap_or(0.0) / 1024.0 / 1024.0
                ),
                text(&p["restarts"]),
                failures.join(", "),
            ]
        })
        .collect();
    let head = [
        "NAME",
        "STATE",
        "CALLS",
        "MEAN µs",
        "P50 µs",
        "P99 µs",
        "MEMORY MiB",
        "RESTARTS",
        "FAILURES",
    ];
    table(&head, &rows);
    for plugin in items(&list).filter(|_| name.is_some()) {
        for (key, value) in plugin["numbers"].as_object().into_iter().flatten() {
            print(&format!("  {key} {value}"));
        }
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::moment;
    use serde_json::json;

    #[test]
    fn moments_are_dates() {
        for (ms, expected) in [
            (0u64, "1970-01-01 00:00:00.000"),
            (951_782_399_999, "2000-02-28 23:59:59.999"),
            (951_782_400_000, "2000-02-29 00:00:00.000"),
            (1_709_251_200_000, "2024-03-01 00:00:00.000"),
            (1_795_582_800_001, "2026-11-25 05:00:00.001"),
        ] {
            assert_eq!(moment(&json!(ms)), expected);
        }
    }
}
