//! `witmq doctor`: what of this machine and this configuration does not go together.
//!
//! Owns: the verb and its output. What the machine is, is read in `machine`; what is thought of it in `checks`.
//! Must not: change anything but one file in the data folder, which it writes to measure and takes away again.

mod checks;
mod machine;
#[cfg(test)]
mod tests;
mod time;

use super::args::DoctorArgs;
use super::{CliError, print};
use crate::config;
use serde_json::json;
use std::path::Path;

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    Ok,
    /// It works, and will not up to the configured bounds.
    Warn,
    /// It does not work.
    Fail,
}

impl Level {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) check: &'static str,
    pub(super) level: Level,
    pub(super) found: String,
    /// What to do, where something is to be done.
    pub(super) advice: Option<String>,
    /// The command that does it or shows more.
    pub(super) command: Option<String>,
}

/// Checks everything.
///
/// # Errors
/// The configuration cannot be read, or a check failed.
pub(crate) fn run(args: &DoctorArgs) -> Result<(), CliError> {
    let config = config::read(args.config.as_deref(), std::env::vars())
        .map_err(|error| CliError::failed(error.to_string()))?;
    let machine = machine::look(Path::new("/"), &config.data_dir);
    let findings = checks::all(&machine, &config);
    match args.json {
        true => print(&as_json(&findings)),
        false => findings.iter().for_each(show),
    }
    let failed = findings
        .iter()
        .filter(|finding| finding.level == Level::Fail);
    match failed.count() {
        0 => Ok(()),
        count => Err(CliError::failed(format!(
            "{count} of {} checks failed",
            findings.len()
        ))),
    }
}

fn show(finding: &Finding) {
    let (level, check, found) = (finding.level.word(), finding.check, &finding.found);
    print(&format!("{level:<5} {check:<14} {found}"));
    if let Some(advice) = &finding.advice {
        print(&format!("{:20} {advice}", ""));
    }
    if let Some(command) = &finding.command {
        print(&format!("{:20} $ {command}", ""));
    }
}

fn as_json(findings: &[Finding]) -> String {
    let all = findings.iter().map(|finding| {
        json!({
            "check": finding.check,
            "level": finding.level.word(),
            "found": finding.found,
            "advice": finding.advice,
            "command": finding.command,
        })
    });
    let all: Vec<_> = all.collect();
    serde_json::to_string_pretty(&all).unwrap_or_default()
}
