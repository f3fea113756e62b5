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
