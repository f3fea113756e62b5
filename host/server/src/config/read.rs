//! Reads the file and lays the environment over it.

use super::{Config, ConfigError};
use std::path::Path;

/// Environment variables of this prefix override keys of the file.
const PREFIX: &str = "WITMQ_";
/// Variables of the prefix that the command line reads itself.
const NOT_CONFIG: [&str; 8] = [
    "WITMQ_URL",
    "WITMQ_MQTT_URL",
    "WITMQ_TOKEN",
    "WITMQ_CONFIG",
    "WITMQ_DATA_DIR",
    "WITMQ_USERNAME",
    "WITMQ_PASSWORD",
    "WITMQ_LOG",
];

/// Reads `path` (or only defaults) and `env`, and checks the result.
///
/// `WITMQ_HTTP__BIND=…` sets `http.bind`; with the suffix `_FILE` the value is read from that file.
///
/// # Errors
/// File missing, not TOML, unknown key, wrong kind of value, a rule broken.
pub(crate) fn read(
    path: Option<&Path>,
    env: impl Iterator<Item = (String, String)>,
) -> Result<Config, ConfigError> {
    let (origin, text) = match path {
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
                path: path.to_owned(),
                source,
            })?;
            (path.display().to_string(), text)
        }
        None => ("defaults".to_owned(), String::new()),
    };
    // Parsed on its own first: errors then carry line and column of the operator's file.
    let config: Config =
        toml::from_str(&text).map_err(|e| ConfigError::parse(&origin, &text, &e))?;
    let mut table: toml::Table =
        toml::from_str(&text).map_err(|e| ConfigError::parse(&origin, &text, &e))?;
    let overrides = overlay(&mut table, env)?;
    let config = if overrides.is_empty() {
        config
    } else {
        let origin = format!("environment ({})", overrides.join(", "));
        table
            .try_into()
            .map_err(|e| ConfigError::parse(&origin, "", &e))?
    };
    if let Some(stray) = config.limits.stray() {
        return Err(ConfigError::stray(&origin, &text, stray, &overrides));
    }
    config.check()?;
    Ok(config)
}

/// Writes the variables into the table; returns their names.
fn overlay(
    table: &mut toml::Table,
    env: impl Iterator<Item = (String, String)>,
) -> Result<Vec<String>, ConfigError> {
    let mut names = Vec::new();
    for (name, value) in env {
        let Some(key) = name.strip_prefix(PREFIX) else {
            continue;
        };
        if NOT_CONFIG.contains(&name.as_str()) || name.starts_with("WITMQ_TEST_") {
            continue;
        }
        let (key, value) = match key.strip_suffix("_FILE") {
            Some(key) => {
                let path = std::path::PathBuf::from(&value);
                let text = std::fs::read_to_string(&path)
                    .map_err(|source| ConfigError::Read { path, source })?;
                (key, text.trim_end_matches(['\r', '\n']).to_owned())
            }
            None => (key, value),
        };
        let path: Vec<String> = key.split("__").map(str::to_lowercase).collect();
        put(table, &path, scalar(&value), &name)?;
        names.push(name);
    }
    names.sort();
    Ok(names)
}

fn put(
    table: &mut toml::Table,
    path: &[String],
    value: toml::Value,
    name: &str,
) -> Result<(), ConfigError> {
    match path {
        [] => Ok(()),
        [last] => {
            table.insert(last.clone(), value);
            Ok(())
        }
        [first, rest @ ..] => {
            let inner = table
                .entry(first.clone())
                .or_insert_with(|| toml::Value::Table(toml::Table::new()));
            match inner {
                toml::Value::Table(inner) => put(inner, rest, value, name),
                _ => Err(ConfigError::rule(format!(
                    "{name}: `{first}` is not a section; only keys of sections can be set by the environment"
                ))),
            }
        }
    }
}

/// A number or boolean if it reads as one, else text.
fn scalar(value: &str) -> toml::Value {
    if let Ok(number) = value.parse::<i64>() {
        return toml::Value::Integer(number);
    }
    match value {
        "true" => toml::Value::Boolean(true),
        "false" => toml::Value::Boolean(false),
        text => toml::Value::String(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(text: &str, env: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("witmq.toml");
        std::fs::write(&path, text).expect("write");
        read(
            Some(&path),
            env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())),
        )
    }

    #[test]
    fn an_unknown_key_names_place_and_suggestion() {
        let error = from("[limits]\nmax_packet_byte = 3\n", &[])
            .expect_err("unknown")
            .to_string();
        assert!(error.contains("witmq.toml:2:1"), "{error}");
        assert!(
            error.contains("did you mean `max_packet_bytes`?"),
            "{error}"
        );
    }

    #[test]
    fn the_environment_wins_over_the_file_and_is_named_in_errors() {
        let config = from(
            "[http]\nbind = \"127.0.0.1:1\"\n",
            &[("WITMQ_HTTP__BIND", "127.0.0.1:2")],
        );
        assert_eq!(config.expect("config").http.bind.port(), 2);
        let error = from("", &[("WITMQ_HTTP__BINT", "x")])
            .expect_err("unknown")
            .to_string();
        assert!(
            error.contains("WITMQ_HTTP__BINT") && error.contains("`bind`"),
            "{error}"
        );
    }

    #[test]
    fn a_value_can_come_from_a_file() {
        let dir = tempfile::tempdir().expect("temp dir");
        let file = dir.path().join("node");
        std::fs::write(&file, "north\n").expect("write");
        let env = [("WITMQ_NODE_FILE", file.to_str().expect("utf-8"))];
        assert_eq!(from("", &env).expect("config").node, "north");
    }

    #[test]
    fn plaintext_beyond_loopback_needs_consent() {
        let text = "[[listener]]\nname = \"a\"\nkind = \"tcp\"\nbind = \"0.0.0.0:1883\"\n";
        let error = from(text, &[]).expect_err("refused").to_string();
        assert!(error.contains("allow_plaintext"), "{error}");
        from(&format!("{text}allow_plaintext = true\n"), &[]).expect("consented");
    }

    #[test]
    fn tls_needs_both_files() {
        let text =
            "[[listener]]\nname = \"a\"\nkind = \"tls\"\nbind = \"127.0.0.1:8883\"\ncert = \"x\"\n";
        assert!(
            from(text, &[])
                .expect_err("refused")
                .to_string()
                .contains("`key`")
        );
    }

    /// Keys serde expects in a section, from its complaint about one it does not know.
    fn keys_of(section: &str) -> Vec<String> {
        let text = format!("{section}\nno_such_key = 1\n");
        let error = from(&text, &[]).expect_err("unknown key").to_string();
        let (_, expected) = error.split_once("expected").expect("a list of keys");
        let expected = expected.split("; did you").next().unwrap_or_default();
        let keys = expected.split('`').skip(1).step_by(2);
        keys.map(str::to_owned).collect()
    }

    #[test]
    fn every_range_is_kept_on_both_sides_and_named_with_its_place() {
        // Rules between keys speak of others: these ends need company.
        let company = [
            (
                "plugin_memory_bytes",
                "plugin_memory_total_bytes = 4294967296\n",
            ),
            ("plugin_memory_total_bytes", "plugin_memory_bytes = 65536\n"),
            (
                "plugin_breaker_rest_ms",
                "plugin_breaker_longest_ms = 86400000\n",
            ),
            ("plugin_breaker_longest_ms", "plugin_breaker_rest_ms = 1\n"),
            (
                "chain_breaker_rest_ms",
                "chain_breaker_longest_ms = 86400000\n",
            ),
            ("chain_breaker_longest_ms", "chain_breaker_rest_ms = 1\n"),
        ];
        let ranges = super::super::Limits::ranges();
        assert!(ranges.len() > 40, "{ranges:?}");
        for (key, least, most) in ranges {
            let most: u128 = most.parse().expect("a number");
            let with = |value: u128| {
                let company = company.iter().filter(|(with, _)| *with == key);
                let company: String = company.map(|(_, text)| *text).collect();
                from(&format!("[limits]\n{key} = {value}\n{company}"), &[])
            };
            for inside in [least, most] {
                let read = with(inside);
                assert!(read.is_ok(), "{key} = {inside}: {read:?}");
            }
            let outside = [least.checked_sub(1), Some(most + 1)].into_iter().flatten();
            for outside in outside {
                let error = with(outside).expect_err(key).to_string();
                assert!(error.contains("witmq.toml:2:"), "{error}");
                if !error.contains("invalid value") {
                    assert!(error.contains(&format!("to {most}")), "{error}");
                    assert!(
                        error.contains(&format!("`limits.{key}` is {outside}")),
                        "{error}"
                    );
                }
            }
        }
        let env = [("WITMQ_LIMITS__AUTH_THREADS", "0")];
        let error = from("[limits]\nauth_threads = 3\n", &env).expect_err("0");
        assert_eq!(
            error.to_string(),
            "environment (WITMQ_LIMITS__AUTH_THREADS): `limits.auth_threads` is 0; it has to be 1 to 256"
        );
    }

    #[test]
    fn bounds_of_plugins_fit_each_other() {
        for (text, named) in [
            (
                "plugin_memory_bytes = 1073741825",
                "plugin_memory_total_bytes",
            ),
            (
                "plugin_breaker_rest_ms = 30001",
                "plugin_breaker_longest_ms",
            ),
            ("chain_breaker_rest_ms = 60001", "chain_breaker_longest_ms"),
            ("plugin_transfer_bytes = 1048575", "max_packet_bytes"),
        ] {
            let error = from(&format!("[limits]\n{text}\n"), &[]).expect_err(text);
            assert!(error.to_string().contains(named), "{error}");
        }
        for text in [
            "plugin_memory_bytes = 1073741824",
            "plugin_breaker_rest_ms = 30000",
            "chain_breaker_rest_ms = 60000",
            "plugin_transfer_bytes = 1048576",
        ] {
            from(&format!("[limits]\n{text}\n"), &[]).expect(text);
        }
    }

    /// Keys of `[limits]` that are about plugins.
    fn about_plugins() -> Vec<String> {
        let is_one = |key: &String| {
            key.starts_with("plugin_") || key.starts_with("auth_") || key == "max_plugins"
        };
        keys_of("[limits]").into_iter().filter(is_one).collect()
    }

    #[test]
    fn the_page_about_plugins_lists_every_bound_of_theirs_and_how_it_is_counted() {
        let page = include_str!("../../../docs/plugins.md");
        let (_, rest) = page.split_once("## Bounds\n").expect("a section");
        let (section, _) = rest.split_once("\n## ").expect("its end");
        let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
        let rows: Vec<(&str, &str)> = rows.filter_map(|row| row.split_once('`')).collect();
        let keys = about_plugins();
        let listed: Vec<&str> = rows.iter().map(|(key, _)| *key).collect();
        let mut sorted = listed.clone();
        sorted.sort_unstable();
        let mut expected = keys.clone();
        expected.sort();
        assert_eq!(sorted, expected, "each key once");
        for bound in witmq_runtime::BOUNDS {
            assert!(
                keys.iter().any(|key| key == bound),
                "`{bound}` is no setting"
            );
        }
        for (key, rest) in rows {
            let is_counted = witmq_runtime::BOUNDS.contains(&key);
            let says = rest.contains("| counted");
            assert_eq!(is_counted, says, "`{key}`: {rest}");
        }
    }

    #[test]
    fn the_page_about_the_configuration_has_every_key_with_its_default() {
        let page = include_str!("../../../docs/configuration.md");
        let (_, rest) = page.split_once("```toml\n").expect("a block");
        let (block, _) = rest.split_once("```").expect("its end");
        assert_eq!(from(block, &[]).expect("reads"), Config::default());
        for section in [
            "",
            "[[listener]]",
            "[http]",
            "[auth]",
            "[limits]",
            "[[rewrite]]",
            "[[auto_subscribe]]",
            "[mqtt]",
            "[redirect]",
            "[shared]",
            "[storage]",
            "[log]",
        ] {
            let keys = keys_of(section);
            assert!(!keys.is_empty());
            for key in keys {
                let is_there = block.lines().any(|line| {
                    let line = line.trim_start_matches("# ");
                    line.starts_with(&format!("{key} =")) || line.contains(&format!("[{key}]"))
                });
                assert!(is_there, "`{key}` of {section} is not on the page");
            }
        }
    }
}
