//! `witmq rule …`.

use super::args::RuleCommand;
use super::remote::{Remote, encode};
use super::{CliError, Exit, print, table};
use serde_json::Value;
use std::path::Path;

pub(crate) fn run(command: RuleCommand) -> Result<(), CliError> {
    match command {
        RuleCommand::Check { files } => files.iter().try_for_each(|file| {
            check(file)?;
            print(&format!("{}: fine", file.display()));
            Ok(())
        }),
        RuleCommand::Run { file, msg } => trace(&file, &msg),
        RuleCommand::Functions { name } => {
            let text = witmq_rules::describe_functions(name.as_deref());
            print(&text.map_err(CliError::failed)?);
            Ok(())
        }
        RuleCommand::Apply {
            files,
            dry_run,
            admin,
        } => {
            let remote = Remote::new(&admin)?;
            files
                .iter()
                .try_for_each(|file| apply(&remote, file, dry_run))
        }
        RuleCommand::Ls { json, admin } => {
            let list = Remote::new(&admin)?.read("rules")?;
            if json {
                print(&serde_json::to_string_pretty(&list).unwrap_or_default());
            } else {
                show(&list);
            }
            Ok(())
        }
        RuleCommand::Rm { name, admin } => {
            Remote::new(&admin)?.delete(&format!("rules/{}", encode(&name)))?;
            print(&format!("{name}: removed"));
            Ok(())
        }
    }
}

fn check(file: &Path) -> Result<(), CliError> {
    witmq_rules::check(&file.display().to_string(), &text_of(file)?).map_err(|error| wrong(&error))
}

fn trace(file: &Path, msg: &str) -> Result<(), CliError> {
    let lines = witmq_rules::trace(&file.display().to_string(), &text_of(file)?, msg)
        .map_err(|error| wrong(&error))?;
    lines.iter().for_each(|line| print(line));
    Ok(())
}

fn wrong(error: &witmq_rules::RuleError) -> CliError {
    let failed = CliError::failed(error.to_string());
    match &error.hint {
        Some(hint) => failed.hint(hint.clone()),
        None => failed,
    }
}

fn text_of(file: &Path) -> Result<String, CliError> {
    std::fs::read_to_string(file)
        .map_err(|e| CliError::failed(format!("cannot read {}: {e}", file.display())))
}

fn apply(remote: &Remote, file: &Path, dry_run: bool) -> Result<(), CliError> {
    let text = text_of(file)?;
    let name = file.file_stem().and_then(|s| s.to_str()).ok_or_else(|| {
        CliError::new(
            Exit::Usage,
            format!("{} has no usable name", file.display()),
        )
    })?;
    let path = format!(
        "rules/{}?file={}&dry_run={dry_run}",
        encode(name),
        encode(&file.display().to_string())
    );
    let info = remote.put(&path, "application/toml", text.as_bytes())?;
    if dry_run {
        print(&format!("{name}: would deploy"));
    } else {
        print(&format!(
            "{name}: revision {} runs on every shard",
            info["revision"]
        ));
    }
    Ok(())
}

fn show(list: &Value) {
    let rows: Vec<Vec<String>> = list
        .as_array()
        .into_iter()
        .flatten()
        .map(|r| {
            let text = |key: &str| r[key].as_str().unwrap_or("").to_owned();
            let number = |key: &str| r[key].to_string();
            vec![
                text("name"),
                text("mode"),
                text("from"),
                number("order"),
                number("revision"),
                number("matched"),
                number("filtered"),
                number("failed"),
                text("last_error"),
            ]
        })
        .collect();
    table(
        &[
            "NAME",
            "MODE",
            "FROM",
            "ORDER",
            "REVISION",
            "MATCHED",
            "FILTERED",
            "FAILED",
            "LAST ERROR",
        ],
        &rows,
    );
}
