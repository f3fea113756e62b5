//! `witmq rule …`.

use super::args::{ImportCommand, RuleCommand};
use super::remote::{Remote, encode};
use super::{CliError, Exit, print, table};
use serde_json::Value;
use std::io::Read;
use std::path::{Path, PathBuf};

pub(crate) fn run(command: RuleCommand) -> Result<(), CliError> {
    match command {
        RuleCommand::Check { files } => files.iter().try_for_each(|file| {
            check(file)?;
            print(&format!("{}: fine", file.display()));
            Ok(())
        }),
        RuleCommand::Run { file, msg } => trace(&file, &msg),
        RuleCommand::Import { from } => {
            let ImportCommand::EmqxSql {
                file,
                sql,
                name,
                output,
                strict,
            } = from;
            let source = rule_source(file, sql)?;
            import(source, name.as_deref(), output.as_deref(), strict)
        }
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

/// Bytes read of a rule: more than any rule may have, so that its own bound says what is wrong.
const RULE_BYTES: u64 = 1024 * 1024;

/// The name of a rule's source, and the rule.
fn rule_source(file: Option<PathBuf>, sql: Option<String>) -> Result<(String, String), CliError> {
    if let Some(sql) = sql {
        return Ok(("--sql".to_owned(), sql));
    }
    let file = file.unwrap_or_else(|| "-".into());
    if file != Path::new("-") {
        return Ok((file.display().to_string(), text_of(&file)?));
    }
    let mut text = String::new();
    std::io::stdin()
        .take(RULE_BYTES)
        .read_to_string(&mut text)
        .map_err(|error| CliError::failed(format!("cannot read standard input: {error}")))?;
    Ok(("standard input".to_owned(), text))
}

fn import(
    (file, text): (String, String),
    name: Option<&str>,
    output: Option<&Path>,
    strict: bool,
) -> Result<(), CliError> {
    let imported = witmq_rules::import_emqx(name, &file, &text).map_err(|error| wrong(&error))?;
    for remark in &imported.remarks {
        let (line, column) = (remark.line, remark.column);
        eprintln!("{file}:{line}:{column}: not carried over: {}", remark.text);
    }
    match output {
        Some(path) => std::fs::write(path, &imported.text).map_err(|error| {
            CliError::failed(format!("cannot write {}: {error}", path.display()))
        })?,
        None => print(imported.text.trim_end()),
    }
    match (strict, imported.remarks.len()) {
        (true, count) if count > 0 => Err(CliError::failed(format!(
            "{count} parts of the rule are not carried over"
        ))),
        _ => Ok(()),
    }
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
