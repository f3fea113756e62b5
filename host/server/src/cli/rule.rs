//! `witmq rule …`.

mod deploy;
mod diff;
mod import;
mod look;
mod numbers;
mod offline;
mod record;

use super::args::RuleCommand;
use super::remote::{Remote, encode};
use super::{CliError, Exit, print};
use std::path::{Path, PathBuf};

pub(crate) fn run(command: RuleCommand) -> Result<(), CliError> {
    match command {
        RuleCommand::New { name } => offline::new(&name),
        RuleCommand::Check { files } => offline::check(&files),
        RuleCommand::Test {
            files,
            replay,
            against,
        } => match replay {
            None => offline::test(&files),
            Some(recording) => record::replay(&files, against.as_deref(), &recording),
        },
        RuleCommand::Record(args) => record::record(&args),
        RuleCommand::Import { from } => import::import(from),
        RuleCommand::Run { file, msg, json } => offline::trace(&file, &msg, json),
        RuleCommand::Schema => {
            print(witmq_rules::schema().trim_end());
            Ok(())
        }
        RuleCommand::Functions { name } => {
            let text = witmq_rules::describe_functions(name.as_deref());
            print(&text.map_err(CliError::failed)?);
            Ok(())
        }
        RuleCommand::Diff { paths, admin } => deploy::diff(&paths, &Remote::new(&admin)?),
        RuleCommand::Apply(args) => {
            let remote = Remote::new(&args.admin)?.only_if(args.condition.if_match);
            deploy::apply(&args, &remote)
        }
        RuleCommand::Ls { json, admin } => look::ls(json, &Remote::new(&admin)?),
        RuleCommand::Get {
            revision,
            json,
            chain,
        } => look::get(&chain.name, revision, json, &Remote::new(&chain.admin)?),
        RuleCommand::Tap {
            name,
            time,
            json,
            admin,
        } => look::tap(&name, time, json, &Remote::new(&admin)?),
        RuleCommand::Why { json, chain } => {
            look::why(&chain.name, json, &Remote::new(&chain.admin)?)
        }
        RuleCommand::Stats(chain) => numbers::stats(&chain.name, &Remote::new(&chain.admin)?),
        RuleCommand::Graph { json, chain } => {
            numbers::graph(&chain.name, json, &Remote::new(&chain.admin)?)
        }
        RuleCommand::History(chain) => look::history(&chain.name, &Remote::new(&chain.admin)?),
        RuleCommand::Promote(args) => deploy::promote(&args),
        RuleCommand::Rollback(args) => deploy::rollback(&args),
        RuleCommand::Pause(chain) => deploy::pause(&chain.name, true, &Remote::new(&chain.admin)?),
        RuleCommand::Resume(chain) => {
            deploy::pause(&chain.name, false, &Remote::new(&chain.admin)?)
        }
        RuleCommand::Rm { condition, chain } => {
            let remote = Remote::new(&chain.admin)?.only_if(condition.if_match);
            remote.delete(&path(&chain.name, ""))?;
            print(&format!("{}: removed", chain.name));
            Ok(())
        }
    }
}

/// A chain in the API.
fn path(name: &str, more: &str) -> String {
    format!("rules/{}{more}", encode(name))
}

fn text_of(file: &Path) -> Result<String, CliError> {
    std::fs::read_to_string(file)
        .map_err(|e| CliError::failed(format!("cannot read {}: {e}", file.display())))
}

/// Files as they are, and the chain files of folders, by name.
fn files_of(paths: &[PathBuf]) -> Result<Vec<PathBuf>, CliError> {
    let mut all = Vec::new();
    for path in paths {
        if !path.is_dir() {
            all.push(path.clone());
            continue;
        }
        let entries = std::fs::read_dir(path)
            .map_err(|e| CliError::failed(format!("cannot read {}: {e}", path.display())))?;
        let found = entries.filter_map(Result::ok).map(|entry| entry.path());
        let mut found: Vec<PathBuf> = found
            .filter(|path| path.extension().is_some_and(|ending| ending == "toml"))
            .collect();
        if found.is_empty() {
            let text = format!("{} has no chain files (*.toml)", path.display());
            return Err(CliError::new(Exit::Usage, text));
        }
        found.sort();
        all.append(&mut found);
    }
    Ok(all)
}

/// The name of a file's chain.
fn stem(file: &Path) -> Result<&str, CliError> {
    let stem = file.file_stem().and_then(|stem| stem.to_str());
    stem.ok_or_else(|| {
        let text = format!("{} has no usable name", file.display());
        CliError::new(Exit::Usage, text)
    })
}
