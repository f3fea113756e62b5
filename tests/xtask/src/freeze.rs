//! `cargo xtask freeze`: the present plugin interface becomes a released one.
//!
//! Owns: what is copied where, the components that are made for it, and refusing to touch what was released before.
//! Must not: judge whether the interface may be released; `tests/tidy` does.

use crate::step::{Call, Run};
use crate::tools;
use anyhow::{Context as _, Result, bail, ensure};
use sha2::{Digest as _, Sha256};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Components that are kept for each release: packages `witmq-fixture-NAME` in `tests/guests/fixtures`.
const FIXTURES: [&str; 3] = ["one", "pure", "waits"];
/// Digests of everything frozen.
const LIST: &str = "wit/frozen.sha256";
/// Where the components come from.
const README: &str = "tests/guests/released/README.md";

/// Copies the package, builds the components, writes their digests down.
pub(crate) fn freeze(run: &mut Run<'_>) -> Result<()> {
    let root = run.tree().root().to_path_buf();
    let sources = sources(&root.join("wit"))?;
    let texts = sources.iter().map(std::fs::read_to_string);
    let texts: Vec<String> = texts.collect::<Result<_, _>>().context("cannot read wit")?;
    let version = version(&texts)?;
    let (major_minor, _) = version
        .rsplit_once('.')
        .context("a version has three parts")?;
    let package = format!("wit/since-{major_minor}");
    let components = format!("tests/guests/released/{version}");
    for folder in [&package, &components] {
        ensure!(
            !root.join(folder).exists(),
            "{folder} is there: {version} is released, and a released version never changes. Raise the version in wit/types.wit, and mark what is new with @since"
        );
    }
    let commit = commit(&root)?;
    tools::wasm(run)?;
    let target = run.tree().guests();
    let names = FIXTURES.map(|name| format!("--package=witmq-fixture-{name}"));
    let call = Call::cargo("build --profile fixture --target wasm32-wasip2 --target-dir");
    let call = call.words([&target]).words(names);
    run.step("components", &call.set("RUSTFLAGS", no_paths(&root)?))?;
    let mut list = std::fs::read_to_string(root.join(LIST)).unwrap_or_default();
    let mut put = |from: &Path, to: String| -> Result<()> {
        let bytes = std::fs::read(from).with_context(|| from.display().to_string())?;
        let path = root.join(&to);
        let folder = path.parent().context("a file lies in a folder")?;
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        std::fs::write(&path, &bytes).with_context(|| to.clone())?;
        let digest = Sha256::digest(&bytes);
        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        list.push_str(&format!("{digest}  {to}\n"));
        println!("    {to}");
        Ok(())
    };
    for source in &sources {
        let name = source.file_name().unwrap_or_default().to_string_lossy();
        put(source, format!("{package}/{name}"))?;
    }
    for name in FIXTURES {
        let built = format!("wasm32-wasip2/fixture/witmq_fixture_{name}.wasm");
        put(&target.join(built), format!("{components}/{name}.wasm"))?;
    }
    std::fs::write(root.join(LIST), list).context(LIST)?;
    let readme = std::fs::read_to_string(root.join(README)).context(README)?;
    let line = format!("| {version} | `{commit}` |\n");
    std::fs::write(root.join(README), readme + &line).context(README)
}

/// The files of the present package.
fn sources(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = folder.read_dir().context("cannot list wit")?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path()));
    let mut paths: Vec<PathBuf> = paths.collect::<Result<_, _>>().context("cannot list wit")?;
    paths.retain(|path| path.extension().is_some_and(|end| end == "wit"));
    paths.sort();
    Ok(paths)
}

/// The version of the package, which one of its files says.
fn version(texts: &[String]) -> Result<String> {
    let lines = texts.iter().flat_map(|text| text.lines());
    let version = lines
        .filter_map(|line| line.strip_prefix("package witmq:plugin@"))
        .find_map(|rest| rest.strip_suffix(';'))
        .context("no file in wit says `package witmq:plugin@X;`")?;
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|c| c.is_ascii_digit());
    let parts: Vec<&str> = version.split('.').collect();
    match parts.as_slice() {
        [major, minor, "0"] if is_number(major) && is_number(minor) => Ok(version.to_owned()),
        _ => bail!("{version} cannot be released: a version of the interface is X.Y.0"),
    }
}

/// Paths of this machine, which panics would name, are left out of the components.
fn no_paths(root: &Path) -> Result<OsString> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::home_dir().map(|home| home.join(".cargo")));
    let home = home.context("neither CARGO_HOME nor a home is known")?;
    let mut paths = vec![(home.clone(), "cargo"), (root.to_path_buf(), "witmq")];
    // The last one that fits counts.
    if let Ok(registries) = home.join("registry/src").read_dir() {
        let folders = registries.filter_map(|entry| Some((entry.ok()?.path(), "crates")));
        paths.extend(folders);
    }
    let mut flags = OsString::new();
    for (path, name) in paths {
        flags.push("--remap-path-prefix=");
        flags.push(path);
        flags.push(format!("={name} "));
    }
    Ok(flags)
}

/// What the components are made from: nothing that is not committed.
fn commit(root: &Path) -> Result<String> {
    let git = |words: &[&str]| -> Result<String> {
        let output = Command::new("git").args(words).current_dir(root).output();
        let output = output.context("cannot start git")?;
        ensure!(
            output.status.success(),
            "git {}: {}",
            words.join(" "),
            output.status
        );
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let changed = git(&["status", "--porcelain"])?;
    ensure!(
        changed.is_empty(),
        "commit first: the components are to be made from what a commit names\n{changed}"
    );
    git(&["rev-parse", "--short=12", "HEAD"])
}

#[cfg(test)]
mod tests {
    use super::version;

    #[test]
    fn a_version_is_read_and_has_to_be_one_of_a_release() {
        let text = |version: &str| {
            vec![
                "// x".to_owned(),
                format!("/// Docs.\npackage witmq:plugin@{version};\n"),
            ]
        };
        assert_eq!(version(&text("1.10.0")).unwrap(), "1.10.0");
        for wrong in ["1.0.1", "1.0.0-draft", "1.0", "", "1.x.0"] {
            assert!(version(&text(wrong)).is_err(), "{wrong}");
        }
        assert!(
            version(&[])
                .unwrap_err()
                .to_string()
                .contains("no file in wit")
        );
    }
}
