//! What needs no broker: new files, checks, tests, one message step by step.

use super::{files_of, stem, text_of};
use crate::cli::{CliError, Exit, print};
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// What `rule new` writes.
const SKELETON: &str = include_str!("new.toml");

pub(super) fn new(name: &Path) -> Result<(), CliError> {
    let file = match name.extension() {
        Some(ending) if ending == "toml" => name.to_owned(),
        _ => name.with_added_extension("toml"),
    };
    let shown = file.display().to_string();
    // Says what is wrong with the name before anything is written.
    witmq_rules::check(&shown, SKELETON).map_err(|error| wrong(&error))?;
    let written = std::fs::File::create_new(&file)
        .and_then(|mut created| created.write_all(SKELETON.as_bytes()));
    written.map_err(|error| {
        let exists = error.kind() == std::io::ErrorKind::AlreadyExists;
        let exit = if exists { Exit::Refused } else { Exit::Failed };
        CliError::new(exit, format!("cannot write {shown}: {error}"))
    })?;
    print(&format!("{shown}: written"));
    print(&format!(
        "  witmq rule test {shown}     runs its tests\n  witmq rule apply {shown}    deploys it"
    ));
    Ok(())
}

pub(super) fn check(paths: &[PathBuf]) -> Result<(), CliError> {
    files_of(paths)?.iter().try_for_each(|file| {
        let shown = file.display().to_string();
        witmq_rules::check(&shown, &text_of(file)?).map_err(|error| wrong(&error))?;
        print(&format!("{shown}: fine"));
        Ok(())
    })
}

/// Every test of every file, whatever the others come to.
pub(super) fn test(paths: &[PathBuf]) -> Result<(), CliError> {
    let (mut passed, mut failed) = (0, 0);
    for file in files_of(paths)? {
        let shown = file.display().to_string();
        stem(&file)?;
        let tests = match witmq_rules::test(&shown, &text_of(&file)?) {
            Ok(tests) => tests,
            Err(error) => {
                failed += 1;
                print(&format!("FAIL  {error}"));
                continue;
            }
        };
        if tests.is_empty() {
            print(&format!("      {shown}: no tests"));
        }
        for test in tests {
            match test.failure {
                None => {
                    passed += 1;
                    print(&format!("ok    {shown}: {}", test.name));
                }
                Some(error) => {
                    failed += 1;
                    print(&format!("FAIL  {error}"));
                }
            }
        }
    }
    print(&format!("{passed} passed, {failed} failed"));
    match failed {
        0 => Ok(()),
        1 => Err(CliError::failed("1 test failed")),
        many => Err(CliError::failed(format!("{many} tests failed"))),
    }
}

pub(super) fn trace(file: &Path, msg: &str, json: bool) -> Result<(), CliError> {
    let trace = witmq_rules::run_message(&file.display().to_string(), &text_of(file)?, msg)
        .map_err(|error| wrong(&error))?;
    print(&match json {
        true => serde_json::to_string_pretty(&trace).unwrap_or_default(),
        false => trace.to_string(),
    });
    Ok(())
}

pub(super) fn wrong(error: &witmq_rules::RuleError) -> CliError {
    let failed = CliError::failed(error.to_string());
    match &error.hint {
        Some(hint) => failed.hint(hint.clone()),
        None => failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_file_passes_its_tests_and_is_not_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("hot-room");
        new(&file).unwrap();
        let written = dir.path().join("hot-room.toml");
        let tests = witmq_rules::test("hot-room.toml", &text_of(&written).unwrap()).unwrap();
        assert!(tests.len() >= 2 && tests.iter().all(|test| test.failure.is_none()));
        assert_eq!(new(&written).unwrap_err().exit, Exit::Refused);
        assert!(new(&dir.path().join("no name")).is_err());
        test(&[dir.path().to_owned()]).unwrap();
        let failing = SKELETON.replace("payload = { c = 41.5 }", "payload = { c = 1 }");
        std::fs::write(dir.path().join("failing.toml"), failing).unwrap();
        let error = test(&[dir.path().to_owned()]).unwrap_err();
        assert_eq!(
            (error.exit, &*error.message),
            (Exit::Failed, "1 test failed")
        );
    }
}
