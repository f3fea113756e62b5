//! What was found, as text, JSON and JUnit.

use crate::manifest::{Statement, Status};
use crate::run::Outcome;
use serde_json::json;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// The verdict over one statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Finding {
    /// Every case of it passed.
    Passed,
    /// A case of it failed.
    Failed,
    /// Its cases were not run.
    NotRun,
    /// It does not bind a server.
    NotApplicable,
    /// Argued in the manifest.
    NotMet,
}

/// The name of a version.
#[must_use]
pub fn version(level: u8) -> &'static str {
    match level {
        ..=3 => "3.1",
        4 => "3.1.1",
        _ => "5.0",
    }
}

/// The finding of a statement.
#[must_use]
pub fn finding(statement: &Statement, outcomes: &[Outcome]) -> Finding {
    let cases = match &statement.status {
        Status::NotApplicable => return Finding::NotApplicable,
        Status::NotMet => return Finding::NotMet,
        Status::Tested(cases) => cases,
    };
    let of = |outcome: &&Outcome| {
        outcome.level == statement.level
            && !outcome.is_skipped
            && cases.iter().any(|case| case == outcome.case)
    };
    let mut ran = outcomes.iter().filter(of).peekable();
    if ran.peek().is_none() {
        return Finding::NotRun;
    }
    if ran.all(|outcome| outcome.failure.is_none()) {
        Finding::Passed
    } else {
        Finding::Failed
    }
}

/// How many statements of each version have each finding.
#[must_use]
pub fn totals(statements: &[Statement], outcomes: &[Outcome]) -> BTreeMap<(u8, Finding), usize> {
    let mut totals = BTreeMap::new();
    for statement in statements {
        let key = (statement.level, finding(statement, outcomes));
        *totals.entry(key).or_default() += 1;
    }
    totals
}

/// For people.
#[must_use]
pub fn text(statements: &[Statement], outcomes: &[Outcome]) -> String {
    let mut text = String::new();
    for outcome in outcomes {
        if let Some(failure) = &outcome.failure {
            let _is_written = writeln!(
                text,
                "FAILED {} (MQTT {}, {}): {failure}",
                outcome.case,
                version(outcome.level),
                outcome.transport
            );
        }
    }
    for statement in statements {
        let found = finding(statement, outcomes);
        if matches!(found, Finding::Failed | Finding::NotRun | Finding::NotMet) {
            let _is_written = writeln!(
                text,
                "[{}] MQTT {}: {found:?}: {}",
                statement.id,
                version(statement.level),
                statement.summary
            );
        }
    }
    let failed = outcomes
        .iter()
        .filter(|outcome| outcome.failure.is_some())
        .count();
    let skipped = outcomes.iter().filter(|outcome| outcome.is_skipped).count();
    let _is_written = writeln!(
        text,
        "{} cases run, {failed} failed, {skipped} skipped",
        outcomes.len() - skipped
    );
    for ((level, found), count) in totals(statements, outcomes) {
        let _is_written = writeln!(
            text,
            "MQTT {}: {count} statements {found:?}",
            version(level)
        );
    }
    text
}

/// For programs.
#[must_use]
pub fn json(statements: &[Statement], outcomes: &[Outcome]) -> String {
    let statements: Vec<_> = statements
        .iter()
        .map(|statement| {
            json!({
                "id": statement.id,
                "version": version(statement.level),
                "finding": format!("{:?}", finding(statement, outcomes)),
                "cases": match &statement.status { Status::Tested(cases) => cases.clone(), _ => Vec::new() },
                "summary": statement.summary,
            })
        })
        .collect();
    let cases: Vec<_> = outcomes
        .iter()
        .map(|outcome| {
            json!({
                "case": outcome.case,
                "version": version(outcome.level),
                "transport": outcome.transport,
                "failure": outcome.failure,
                "skipped": outcome.is_skipped,
                "seconds": outcome.took.as_secs_f64(),
            })
        })
        .collect();
    format!(
        "{:#}\n",
        json!({ "statements": statements, "cases": cases })
    )
}

/// For build servers.
#[must_use]
pub fn junit(outcomes: &[Outcome]) -> String {
    let failed = outcomes
        .iter()
        .filter(|outcome| outcome.failure.is_some())
        .count();
    let skipped = outcomes.iter().filter(|outcome| outcome.is_skipped).count();
    let mut text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"mqtt-conformance\" tests=\"{}\" failures=\"{failed}\" skipped=\"{skipped}\">\n",
        outcomes.len()
    );
    for outcome in outcomes {
        let _is_written = write!(
            text,
            "  <testcase classname=\"mqtt-{}.{}\" name=\"{}\" time=\"{:.3}\"",
            version(outcome.level),
            outcome.transport,
            outcome.case,
            outcome.took.as_secs_f64()
        );
        match &outcome.failure {
            None if outcome.is_skipped => text.push_str("><skipped/></testcase>\n"),
            None => text.push_str("/>\n"),
            Some(failure) => {
                let _is_written =
                    writeln!(text, "><failure>{}</failure></testcase>", escape(failure));
            }
        }
    }
    text.push_str("</testsuite>\n");
    text
}

fn escape(text: &str) -> String {
    let text: String = text.chars().filter(|c| !c.is_control()).collect();
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
