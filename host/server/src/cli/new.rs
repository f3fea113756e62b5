//! `witmq plugin new`: a folder to begin with, in one of three languages.
//!
//! Owns: putting a template together from its files and from the parts of the hooks that are chosen; `sdk/template/` has
//! them. Must not: write over anything.

use super::args::NewArgs;
use super::{CliError, Exit, print};
use std::path::{Path, PathBuf};

/// What a plugin may be written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Lang {
    /// The SDK
    Rust,
    /// CPython in the component
    Python,
    /// QuickJS in the component
    Js,
}

/// What a plugin may be called for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Hook {
    /// Decides who connects
    Authenticate,
    /// Decides what clients may do
    Authorize,
    /// A step of a chain: one message, one outcome
    Transform,
    /// Takes messages out of the broker
    Sink,
    /// Looks on
    Events,
    /// Is called later
    Timer,
}

/// Files with the place that they go to, or parts of hooks in the order of [`Hook`].
macro_rules! template {
    ($($to:literal: $from:literal),+ $(,)?) => {
        &[$(($to, include_str!(concat!("../../../../sdk/template/", $from)))),+]
    };
    (hooks of $folder:literal) => {
        [
            include_str!(concat!("../../../../sdk/template/", $folder, "/hooks/authenticate.in")),
            include_str!(concat!("../../../../sdk/template/", $folder, "/hooks/authorize.in")),
            include_str!(concat!("../../../../sdk/template/", $folder, "/hooks/transform.in")),
            include_str!(concat!("../../../../sdk/template/", $folder, "/hooks/sink.in")),
            include_str!(concat!("../../../../sdk/template/", $folder, "/hooks/events.in")),
            include_str!(concat!("../../../../sdk/template/", $folder, "/hooks/timer.in")),
        ]
    };
}

type Files = &'static [(&'static str, &'static str)];
type Parts = [&'static str; 6];

const RUST: (Files, Parts) = (
    template!(
        "Cargo.toml": "rust/Cargo.toml.in",
        "src/lib.rs": "rust/lib.rs.in",
        "tests.json": "rust/tests.json.in",
        "README.md": "rust/README.md.in",
        ".gitignore": "rust/gitignore.in",
    ),
    template!(hooks of "rust"),
);
const PYTHON: (Files, Parts) = (
    template!(
        "plugin.py": "python/plugin.py.in",
        "witmq.py": "python/witmq.py.in",
        "requirements.txt": "python/requirements.txt.in",
        "README.md": "python/README.md.in",
        ".gitignore": "python/gitignore.in",
    ),
    template!(hooks of "python"),
);
const JAVASCRIPT: (Files, Parts) = (
    template!(
        "plugin.js": "js/plugin.js.in",
        "witmq.js": "js/witmq.js.in",
        "package.json": "js/package.json.in",
        "README.md": "js/README.md.in",
        ".gitignore": "js/gitignore.in",
    ),
    template!(hooks of "js"),
);
/// What languages without an SDK have besides.
const INTERFACE: Files = template!(
    "witmq.json": "script/witmq.json.in",
    "wit/world.wit": "script/world.wit.in",
    "wit/types.wit": "../../wit/types.wit",
    "wit/hooks.wit": "../../wit/hooks.wit",
    "wit/capabilities.wit": "../../wit/capabilities.wit",
);
/// The manifest's side of each hook.
const MANIFEST: Parts = template!(hooks of "script");

/// Writes a new plugin into a folder of its name.
pub(super) fn new(args: &NewArgs) -> Result<(), CliError> {
    let name = args.name.as_str();
    check_name(name).map_err(|error| CliError::new(Exit::Usage, error))?;
    let folder = PathBuf::from(name);
    if folder.exists() {
        return Err(CliError::new(
            Exit::Refused,
            format!("{name} exists already; nothing was written"),
        ));
    }
    for (path, text) in files(args)? {
        write(&folder.join(path), &text)?;
    }
    print(&format!(
        "{name}/ written. Next:\n  cd {name}\n  witmq plugin test\n  witmq plugin install .\n  witmq plugin watch       # and each time \
         a file is saved"
    ));
    Ok(())
}

/// The files of a new plugin, put together.
fn files(args: &NewArgs) -> Result<Vec<(&'static str, String)>, CliError> {
    let mut hooks = args.hooks.clone();
    hooks.sort_unstable();
    hooks.dedup();
    let (files, parts, more) = match args.lang {
        Lang::Rust => (RUST.0, RUST.1, &[][..]),
        Lang::Python => (PYTHON.0, PYTHON.1, INTERFACE),
        Lang::Js => (JAVASCRIPT.0, JAVASCRIPT.1, INTERFACE),
    };
    let parts = |hook: &Hook| [parts[*hook as usize], MANIFEST[*hook as usize]];
    let chosen: Vec<[&str; 2]> = hooks.iter().map(parts).collect();
    let mut words = vec![("{{name}}", args.name.clone())];
    if args.lang == Lang::Rust {
        words.extend(rust_words(args.sdk.as_deref(), &hooks, &chosen)?);
    }
    let all = files.iter().chain(more);
    let has_tests = hooks.contains(&Hook::Transform);
    Ok(all
        .filter(|(path, _)| *path != "tests.json" || has_tests)
        .map(|(path, text)| (*path, filled(text, &chosen, &words)))
        .collect())
}

/// Whether this can be the name of a plugin; what is wrong with it.
pub(super) fn check_name(name: &str) -> Result<(), String> {
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    match name.chars().all(legal) && name.starts_with(|c: char| c.is_ascii_lowercase()) {
        true => Ok(()),
        false => Err(format!(
            "`{name}` cannot be a plugin name: use lower case letters, digits and -, a letter first"
        )),
    }
}

fn write(path: &Path, text: &str) -> Result<(), CliError> {
    let folder = path.parent().unwrap_or(path);
    std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::write(path, text))
        .map_err(|error| CliError::failed(format!("{}: {error}", path.display())))
}

/// What only the template in Rust has to be told.
fn rust_words(
    sdk: Option<&Path>,
    hooks: &[Hook],
    chosen: &[[&str; 2]],
) -> Result<Vec<(&'static str, String)>, CliError> {
    let sdk = match sdk {
        Some(path) => path.join("sdk"),
        None => find_sdk()?,
    };
    let sdk = sdk
        .canonicalize()
        .map_err(|e| CliError::failed(format!("{}: {e}", sdk.display())))?;
    let mut arguments: Vec<String> = hooks
        .iter()
        .map(|hook| format!("{hook:?}").to_lowercase())
        .collect();
    if hooks.contains(&Hook::Transform) {
        arguments.push("tests = \"tests.json\"".to_owned());
    }
    let is_placed = chosen
        .iter()
        .any(|parts| !section(parts, "start").is_empty());
    Ok(vec![
        (
            "{{sdk}}",
            format!("witmq-sdk = {{ path = {:?} }}", sdk.display().to_string()),
        ),
        ("{{arguments}}", list(&arguments)),
        (
            "{{place}}",
            if is_placed { "place" } else { "_place" }.to_owned(),
        ),
    ])
}

/// A file of a template: a line `{{NAME|how}}` gives way to the sections NAME of the chosen hooks, put together so.
fn filled(text: &str, chosen: &[[&str; 2]], words: &[(&str, String)]) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let Some((name, how)) = line
            .strip_prefix("{{")
            .and_then(|rest| rest.strip_suffix("}}"))
            .and_then(|rest| rest.split_once('|'))
        else {
            out.push_str(line);
            out.push('\n');
            continue;
        };
        let sections = chosen.iter().map(|parts| section(parts, name));
        let joined = joined(sections.filter(|text| !text.is_empty()).collect(), how);
        if !joined.is_empty() {
            out.push_str(&joined);
            out.push('\n');
        }
    }
    for (word, stands_for) in words {
        out = out.replace(word, stands_for);
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

/// Puts sections together: a number of line ends between them, `comma`, their `sorted` lines, or Rust's `use`.
fn joined(sections: Vec<&str>, how: &str) -> String {
    let sorted = |mut all: Vec<&'_ str>| {
        all.sort_unstable();
        all.dedup();
        all.into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    match how {
        "comma" => sections.join(",\n"),
        "sorted" => sorted(sections.iter().flat_map(|text| text.lines()).collect()).join("\n"),
        "use" => use_line(&sorted(
            sections
                .iter()
                .flat_map(|text| text.split_whitespace())
                .collect(),
        )),
        count => sections.join(&"\n".repeat(count.parse().unwrap_or(1))),
    }
}

/// Arguments of an attribute, as rustfmt writes them.
fn list(arguments: &[String]) -> String {
    let line = arguments.join(", ");
    match line.len() {
        ..=70 => line,
        _ => format!("\n    {}\n", arguments.join(",\n    ")),
    }
}

/// As rustfmt writes it.
fn use_line(names: &[String]) -> String {
    let line = format!("use witmq_sdk::{{{}}};", names.join(", "));
    if line.len() <= 100 {
        return line;
    }
    let mut lines = vec!["    ".to_owned()];
    for name in names {
        let is_full = lines
            .last()
            .is_some_and(|line| line.len() + name.len() + 1 > 100);
        if is_full {
            lines.push("    ".to_owned());
        }
        if let Some(line) = lines.last_mut() {
            line.push_str(&format!("{name}, "));
        }
    }
    let lines: Vec<&str> = lines.iter().map(|line| line.trim_end()).collect();
    format!("use witmq_sdk::{{\n{}\n}};", lines.join("\n"))
}

/// What stands under `=== NAME` in one of the parts, without its last line end.
fn section<'a>(parts: &[&'a str; 2], name: &str) -> &'a str {
    let found = parts.iter().find_map(|part| {
        let (_, rest) = part.split_once(&format!("=== {name}\n"))?;
        let end = rest.split_once("\n=== ").map(|(text, _)| text);
        end.or(rest.strip_suffix('\n'))
    });
    found.unwrap_or_default()
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

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum as _;

    fn every_choice() -> impl Iterator<Item = NewArgs> {
        let all = Hook::value_variants();
        let hooks = all.iter().map(|hook| vec![*hook]).chain([all.to_vec()]);
        let choices = hooks.flat_map(|hooks| {
            let lang = |lang: &Lang| (*lang, hooks.clone());
            Lang::value_variants().iter().map(lang).collect::<Vec<_>>()
        });
        choices.map(|(lang, hooks)| NewArgs {
            name: "tried".to_owned(),
            lang,
            hooks,
            sdk: Some(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")),
        })
    }

    #[test]
    fn every_choice_is_put_together_whole() {
        for args in every_choice() {
            for (path, text) in files(&args).unwrap() {
                for rest in ["{{", "|sorted", "\n=== ", "\n\n\n\n"] {
                    let what = (args.lang, &args.hooks, path);
                    assert!(!text.contains(rest), "{what:?}: {rest:?} in {text}");
                }
                if path.ends_with(".json") {
                    let parsed: Result<serde_json::Value, _> = serde_json::from_str(&text);
                    assert!(parsed.is_ok(), "{path}: {parsed:?}: {text}");
                }
            }
        }
    }

    #[test]
    fn a_name_is_lower_case_and_begins_with_a_letter() {
        for (name, is_one) in [
            ("a", true),
            ("a-2", true),
            ("", false),
            ("2a", false),
            ("A", false),
            ("a/b", false),
        ] {
            assert_eq!(check_name(name).is_ok(), is_one, "{name}");
        }
    }
}
