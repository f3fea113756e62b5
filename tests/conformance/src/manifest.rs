//! Every normative statement with its status.
//!
//! Owns: the form of `manifest/*.txt`: `ID | status | what it asks, in our words`, where status is
//! `by CASE …`, `n/a` (it binds the other side; the words say why) or `unmet` (the words say why).

/// What became of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// These cases prove it.
    Tested(Vec<String>),
    /// It does not bind a server, or nothing of it can be seen on the wire.
    NotApplicable,
    /// It is not met, and the summary argues why.
    NotMet,
}

/// One statement.
#[derive(Clone, Debug)]
pub struct Statement {
    /// For example `MQTT-3.1.0-1`.
    pub id: String,
    /// 4 for MQTT 3.1.1, 5 for MQTT 5.0.
    pub level: u8,
    /// What became of it.
    pub status: Status,
    /// What it asks, or why it has no case.
    pub summary: String,
}

const V311: &str = include_str!("../manifest/v311.txt");
const V5: &str = include_str!("../manifest/v5.txt");

/// Every statement of both versions.
///
/// # Errors
/// A line of the manifest is not of its form.
pub fn read() -> anyhow::Result<Vec<Statement>> {
    let mut statements = Vec::new();
    for (level, text) in [(4, V311), (5, V5)] {
        for line in text
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
        {
            statements.push(parse(level, line)?);
        }
    }
    Ok(statements)
}

fn parse(level: u8, line: &str) -> anyhow::Result<Statement> {
    let parts: Vec<&str> = line.splitn(3, '|').map(str::trim).collect();
    let &[id, status, summary] = &parts[..] else {
        anyhow::bail!("{line:?} is not `ID | status | words`");
    };
    let status = match status.split_whitespace().collect::<Vec<_>>()[..] {
        ["by", ref cases @ ..] if !cases.is_empty() => {
            Status::Tested(cases.iter().map(|case| (*case).to_owned()).collect())
        }
        ["n/a"] => Status::NotApplicable,
        ["unmet"] => Status::NotMet,
        _ => anyhow::bail!("{line:?}: the status is `by CASE …`, `n/a` or `unmet`"),
    };
    anyhow::ensure!(!summary.is_empty(), "{line:?} has no words");
    Ok(Statement {
        id: format!("MQTT-{id}"),
        level,
        status,
        summary: summary.to_owned(),
    })
}
