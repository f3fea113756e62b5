//! What is shown of plugins: numbers, history, logs, shadows.
//!
//! Must not: change anything but by `shadow --stop`.

use super::plugin::{items, path, text};
use super::remote::Remote;
use super::{CliError, Exit, print, table};
use serde_json::Value;

/// How often new lines are asked for.
const LOG_PAUSE: std::time::Duration = std::time::Duration::from_millis(500);

pub(super) fn history(name: &str, remote: &Remote) -> Result<(), CliError> {
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

pub(super) fn logs(name: &str, follow: bool, remote: &Remote) -> Result<(), CliError> {
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
pub(super) fn moment(ms: &Value) -> String {
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

pub(super) fn stats(name: Option<&str>, remote: &Remote) -> Result<(), CliError> {
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
                format!("{:.1} %", p["shard_share"].as_f64().unwrap_or(0.0) * 100.0),
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
        "SHARDS",
        "RESTARTS",
        "FAILURES",
    ];
    table(&head, &rows);
    for plugin in items(&list).filter(|_| name.is_some()) {
        by_hook(plugin);
        for (limit, count) in plugin["limited"].as_object().into_iter().flatten() {
            print(&format!("  limited {limit} {count}"));
        }
        for (key, value) in plugin["numbers"].as_object().into_iter().flatten() {
            print(&format!("  {key} {value}"));
        }
    }
    Ok(())
}

/// The calls of each hook, and what they came to.
fn by_hook(plugin: &Value) {
    let micros = |value: &Value| format!("{:.1}", value.as_f64().unwrap_or(0.0));
    let hooks = plugin["by_hook"].as_object().into_iter().flatten();
    let rows: Vec<Vec<String>> = hooks
        .map(|(hook, numbers)| {
            let outcomes = numbers["outcomes"].as_object().into_iter().flatten();
            let outcomes: Vec<String> = outcomes
                .filter(|(_, count)| count.as_u64() != Some(0))
                .map(|(outcome, count)| format!("{outcome} {count}"))
                .collect();
            vec![
                hook.clone(),
                text(&numbers["calls"]),
                micros(&numbers["p50_us"]),
                micros(&numbers["p99_us"]),
                outcomes.join(", "),
            ]
        })
        .collect();
    print("");
    table(&["HOOK", "CALLS", "P50 µs", "P99 µs", "OUTCOMES"], &rows);
}

pub(super) fn show(list: &Value) {
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

pub(super) fn shadow(name: &str, stop: bool, remote: &Remote) -> Result<(), CliError> {
    if stop {
        remote.delete(&path(name, "/shadow"))?;
        print(&format!("{name}: its shadow ended"));
        return Ok(());
    }
    let info = remote.read(&path(name, ""))?;
    let shadow = &info["shadow"];
    if shadow.is_null() {
        let error = CliError::new(Exit::Refused, format!("plugin `{name}` has no shadow"));
        return Err(error.hint(format!(
            "begin one: witmq plugin install FILE --name {name} --shadow"
        )));
    }
    let state = match shadow["over"].as_bool() {
        Some(true) => "ended: it trapped too often",
        _ => "sees the traffic",
    };
    let took = |who: &Value| format!("{} / {}", text(&who["p50_us"]), text(&who["p99_us"]));
    let rows = [
        ("state", state.to_owned()),
        ("since (UTC)", moment(&shadow["began_ms"])),
        ("digest", text(&shadow["digest"])),
        ("same", text(&shadow["same"])),
        ("different", text(&shadow["different"])),
        ("failed", text(&shadow["failed"])),
        ("µs p50 / p99", took(shadow)),
        ("µs p50 / p99 of what serves", took(&info)),
        (
            "last error",
            shadow["last_error"].as_str().unwrap_or("-").to_owned(),
        ),
    ];
    let rows = rows.map(|(key, value)| vec![key.to_owned(), value]);
    table(&["SHADOW", name], &rows);
    for difference in items(&shadow["differences"]) {
        print(&text(difference));
    }
    Ok(())
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
