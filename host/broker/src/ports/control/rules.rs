//! The rule engine's control side: what is deployed, what ran before, and what is to run.
//!
//! Owns: [`RuleControl`] and what it is asked and answers. Must not: know files of chains.

use super::ControlError;

/// A chain as `witmq rule ls` shows it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RuleInfo {
    /// Name: the file's stem.
    pub name: String,
    /// `transform` or `rule`.
    pub mode: &'static str,
    /// Topic template.
    pub from: String,
    /// Revision that runs.
    pub revision: u64,
    /// `running`, `resting` (it failed too often), `paused` (by `rule pause`) or `disabled` (by `enabled = false` in its file).
    pub state: &'static str,
    /// Order among chains.
    pub order: i64,
    /// Messages that matched.
    pub matched: u64,
    /// Messages a filter ended.
    pub filtered: u64,
    /// Step failures.
    pub failed: u64,
    /// Evaluations of expressions that cost more than they may, since the revision runs.
    pub limited: u64,
    /// Keys and values that steps gave up because they remember as much as they may.
    pub evicted: u64,
    /// Times that it was given a rest because it failed or cost too much.
    pub rests: u64,
    /// Messages that came meanwhile; `on_error` of the chain said what became of them.
    pub rested: u64,
    /// Until when it rests, milliseconds since 1970, and why.
    pub resting: Option<(u64, String)>,
    /// Keys that its steps remember.
    pub state_entries: usize,
    /// Bytes of what its steps remember.
    pub state_bytes: usize,
    /// The last failure in words.
    pub last_error: Option<String>,
    /// Its steps, those of named chains behind the others.
    pub steps: Vec<StepInfo>,
    /// A new revision beside it.
    pub trial: Option<TrialInfo>,
}

/// A new revision beside the one that runs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TrialInfo {
    /// `canary` or `shadow`.
    pub kind: &'static str,
    /// Percent of the clients that run it, if it is a canary.
    pub percent: Option<f64>,
    /// When it began, milliseconds since 1970.
    pub began_ms: u64,
    /// Its own numbers.
    pub rule: Box<RuleInfo>,
    /// Messages of which a shadow made the same as the revision that runs, since the broker started.
    pub same: u64,
    /// Something else.
    pub different: u64,
    /// It failed where the revision that runs did not.
    pub failed_alone: u64,
    /// The last differences in words, oldest first.
    pub differences: Vec<String>,
}

/// How a new revision is tried beside the one that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrialKind {
    /// It runs for so many of ten thousand clients, always the same ones.
    Canary(u16),
    /// It sees every message, is compared, and nothing of it is applied.
    Shadow,
}

impl TrialKind {
    /// A share as people write it: `5%`, `0.25%`.
    #[must_use]
    pub fn canary(text: &str) -> Option<Self> {
        let number = text.trim().strip_suffix('%')?.trim();
        let (whole, part) = number.split_once('.').unwrap_or((number, ""));
        let is_number = |text: &str| text.chars().all(|c| c.is_ascii_digit());
        if whole.is_empty() || part.len() > 2 || !is_number(whole) || !is_number(part) {
            return None;
        }
        let share: u16 = format!("{whole}{part:0<2}").parse().ok()?;
        (1..=10_000).contains(&share).then_some(Self::Canary(share))
    }
}

/// A step of a chain; numbers since its revision runs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StepInfo {
    /// From 1, in the order of the file.
    pub index: usize,
    /// The named chain it belongs to.
    pub chain: Option<String>,
    /// Its word, for example `filter`.
    pub kind: &'static str,
    /// The plugin it calls.
    pub plugin: Option<String>,
    /// The step behind it.
    pub next: Option<usize>,
    /// Where it leads besides.
    pub then: Option<usize>,
    /// Messages that went on.
    pub passed: u64,
    /// Messages whose way it ended.
    pub ended: u64,
    /// Messages it failed for.
    pub failed: u64,
    /// Microseconds that half of the times measured (one message in 64), and 99 of 100, did not exceed; to within a half.
    pub quantiles_us: [f64; 2],
    /// Failures by kind.
    pub errors: Vec<(String, u64)>,
    /// The last failure in words.
    pub last_error: Option<String>,
}

/// The source text of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainFile {
    /// For messages; the chain's name is its stem.
    pub file: String,
    /// The text.
    pub source: String,
}

/// What has to be there for a change to be made: nobody overwrites what they have not seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// This revision.
    Revision(u64),
    /// Any revision.
    Any,
    /// No chain of that name.
    Absent,
}

/// How files are deployed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeployOptions {
    /// Everything but the switch.
    pub is_dry_run: bool,
    /// Of every chain that is deployed.
    pub expected: Option<Expected>,
    /// Until every shard has taken the new table.
    pub waits: bool,
    /// Beside what runs, instead of in its place.
    pub trial: Option<TrialKind>,
}

/// What a deployment came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Deployment {
    /// The chains of the files, in running order.
    pub rules: Vec<RuleInfo>,
    /// Names of those whose text is what runs already: they keep their revision.
    pub unchanged: Vec<String>,
    /// Shards that have not said in time that they took the new table, if this was waited for.
    pub behind: Option<usize>,
}

/// Something that happened to a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleChange {
    /// Milliseconds since 1970.
    pub at_ms: u64,
    /// `applied`, `rolled-back`, `paused`, `resumed`, `canary`, `shadow`, `promoted` or `ended`.
    pub what: String,
    /// The revision that ran afterwards.
    pub revision: u64,
    /// Its text is still there to go back to.
    pub is_kept: bool,
    /// More in words; may be empty.
    pub text: String,
}

/// The rule engine's control side.
pub trait RuleControl: Send + Sync {
    /// Parses, checks, compiles all files, runs their own tests and switches atomically on all shards: either every
    /// chain of them runs its new revision for a message, or none does. What ran before runs on if anything fails.
    ///
    /// # Errors
    /// `Invalid` with `file:line:column: …` in the message; `Changed` if something else runs than is expected.
    fn deploy(
        &self,
        files: &[ChainFile],
        options: &DeployOptions,
    ) -> Result<Deployment, ControlError>;
    /// [`RuleControl::deploy`] of one file, whatever runs.
    ///
    /// # Errors
    /// As `deploy`.
    fn apply(&self, file: &str, source: &str, dry_run: bool) -> Result<RuleInfo, ControlError> {
        let files = [ChainFile {
            file: file.to_owned(),
            source: source.to_owned(),
        }];
        let options = DeployOptions {
            is_dry_run: dry_run,
            ..DeployOptions::default()
        };
        let deployment = self.deploy(&files, &options)?;
        let info = deployment.rules.into_iter().next();
        info.ok_or_else(|| ControlError::Internal("nothing was deployed".to_owned()))
    }
    /// Everything deployed, in running order.
    fn list(&self) -> Vec<RuleInfo>;
    /// One of them.
    ///
    /// # Errors
    /// No such chain.
    fn info(&self, name: &str) -> Result<RuleInfo, ControlError>;
    /// The text of a revision as it was deployed; of the one that runs, if none is named.
    ///
    /// # Errors
    /// No such chain or revision.
    fn source(&self, name: &str, revision: Option<u64>) -> Result<String, ControlError>;
    /// What happened to it, oldest first.
    ///
    /// # Errors
    /// No such chain.
    fn history(&self, name: &str) -> Result<Vec<RuleChange>, ControlError>;
    /// Ends a canary or shadow, if there is one and no revision is named; otherwise a new revision with the text of
    /// `revision`, or of the one that ran before. Its tests have to pass.
    ///
    /// # Errors
    /// As `deploy`; no such chain or revision.
    fn rollback(
        &self,
        name: &str,
        revision: Option<u64>,
        options: &DeployOptions,
    ) -> Result<Deployment, ControlError>;
    /// The canary or shadow of a chain runs for everybody from now on; it has to be `revision`, if that is named.
    ///
    /// # Errors
    /// As `deploy`; no such chain; `Changed` if it is another revision; `NotFound` if there is none.
    fn promote(
        &self,
        name: &str,
        revision: Option<u64>,
        options: &DeployOptions,
    ) -> Result<Deployment, ControlError>;
    /// Keeps it deployed and idle, or lets it run again. It stays so over new revisions and a restart.
    ///
    /// # Errors
    /// No such chain.
    fn set_paused(&self, name: &str, is_paused: bool) -> Result<RuleInfo, ControlError>;
    /// Numbers of all chains together, as `(name, is a gauge, value)`.
    fn numbers(&self) -> Vec<(&'static str, bool, u64)> {
        Vec::new()
    }
    /// Begins to record messages whose topic matches, as they come in, before any chain: for so long, so many at most. As
    /// JSON: `{"id", "is_over", "recorded", "skipped_messages", "skipped_bytes", "last", "messages"}`.
    ///
    /// # Errors
    /// A filter that is none, or too much; `LimitReached` while another recording goes on.
    fn record(&self, filter: &str, time_ms: u64, messages: usize) -> Result<String, ControlError>;
    /// What a recording has behind message `after`, some of it if that is much; what is before is forgotten. A recording that
    /// nobody asks for is given up.
    ///
    /// # Errors
    /// There is no such recording.
    fn recorded(&self, id: u64, after: u64) -> Result<String, ControlError>;
    /// Ends it.
    ///
    /// # Errors
    /// There is no such recording.
    fn end_recording(&self, id: u64) -> Result<(), ControlError>;
    /// Traces of its messages behind number `after`, or from now on, as JSON: `{"last", "shown", "skipped", "missed",
    /// "traces"}`. Messages are traced while this is asked at least every ten seconds; so many a second, failures always.
    ///
    /// # Errors
    /// No such chain.
    fn tap(&self, name: &str, after: Option<u64>) -> Result<String, ControlError>;
    /// The last messages that a condition of it ended, some of each second, with the part that was false, as JSON.
    ///
    /// # Errors
    /// No such chain.
    fn misses(&self, name: &str) -> Result<String, ControlError>;
    /// Takes a chain out.
    ///
    /// # Errors
    /// No such chain; `Changed` if something else runs than is expected.
    fn remove_expected(&self, name: &str, expected: Option<Expected>) -> Result<(), ControlError>;
    /// [`RuleControl::remove_expected`], whatever runs.
    ///
    /// # Errors
    /// No such chain.
    fn remove(&self, name: &str) -> Result<(), ControlError> {
        self.remove_expected(name, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_a_hundredth_of_a_percent_to_all() {
        for (text, share) in [("5%", 500), ("0.01%", 1), ("100%", 10_000), (" 2.5 %", 250)] {
            assert_eq!(
                TrialKind::canary(text),
                Some(TrialKind::Canary(share)),
                "{text}"
            );
        }
        for text in [
            "5", "", "%", "0%", "0.00%", "100.01%", "1.234%", "-1%", "1e2%", "9999999%",
        ] {
            assert_eq!(TrialKind::canary(text), None, "{text}");
        }
    }
}
