//! `rule import`: chain files of other brokers' rules.

use super::offline::wrong;
use super::text_of;
use crate::cli::args::ImportCommand;
use crate::cli::{CliError, print};
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Bytes of a rule on standard input.
const RULE_BYTES: u64 = 1024 * 1024;

pub(super) fn import(command: ImportCommand) -> Result<(), CliError> {
    let ImportCommand::EmqxSql {
        file,
        sql,
        name,
        output,
        strict,
    } = command;
    let (file, text) = rule_source(file, sql)?;
    let imported =
        witmq_rules::import_emqx(name.as_deref(), &file, &text).map_err(|error| wrong(&error))?;
    for remark in &imported.remarks {
        let (line, column) = (remark.line, remark.column);
        eprintln!("{file}:{line}:{column}: not carried over: {}", remark.text);
    }
    let count = imported.remarks.len();
    if strict && count > 0 {
        return Err(CliError::failed(format!(
            "{count} parts of the rule are not carried over, so nothing is written"
        )));
    }
    match &output {
        Some(path) => std::fs::write(path, &imported.text)
            .map_err(|error| CliError::failed(format!("cannot write {}: {error}", path.display()))),
        None => {
            print(imported.text.trim_end());
            Ok(())
        }
    }
}

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
