//! Revisions that are tried beside the one that runs: begun, promoted, ended (ADR 0019).
//!
//! Owns: what a canary or a shadow means for what is deployed and kept. Must not: run a message; that is `trial`.

use super::control::{Candidate, Reason, absent, compare, unkept};
use super::kept::{TrialRecord, now_ms};
use super::trial::{Role, Share, Trial};
use super::{Deployed, Inner, Rules, State, tried};
use crate::chain::Chain;
use std::sync::Arc;
use witmq_broker::ports::control::{ChainFile, DeployOptions, Deployment, TrialKind};
use witmq_broker::ports::{ControlError, RuleControl as _};

/// What is promoted is still what is tried.
pub(super) fn is_beside(
    name: &str,
    old: Option<&Deployed>,
    promoted: u64,
) -> Result<(), ControlError> {
    let trial = old.and_then(|old| old.trial.as_ref());
    if trial.is_some_and(|trial| trial.chain.revision == promoted) {
        return Ok(());
    }
    let text = format!("revision {promoted} is no longer tried beside chain `{name}`");
    Err(ControlError::Changed(text))
}

/// What a revision is tried beside.
fn running_beside<'a>(
    chain: &Chain,
    old: Option<&'a Deployed>,
) -> Result<&'a Deployed, ControlError> {
    let name = &chain.name;
    let refused = |code, message: String, hint: &str| ControlError::Invalid {
        code,
        message,
        hint: Some(hint.to_owned()),
    };
    let Some(old) = old else {
        let text = format!("chain `{name}` is new: there is nothing that it could be tried beside");
        return Err(refused(
            "nothing-runs",
            text,
            "apply it without --canary and --shadow",
        ));
    };
    if (chain.mode, chain.order) != (old.chain.mode, old.chain.order) {
        let text = format!("chain `{name}` has another mode or order than the revision that runs");
        let hint = "try it with the same mode and order, or apply it without --canary and --shadow";
        return Err(refused("other-place", text, hint));
    }
    Ok(old)
}

/// What ran beside a chain and does no more leaves its numbers to it.
pub(super) fn over(old: Option<&Deployed>, new: &Deployed) {
    let Some(trial) = old.and_then(|old| old.trial.as_ref()) else {
        return;
    };
    let goes_on = new
        .trial
        .as_ref()
        .is_some_and(|new| Arc::ptr_eq(&new.chain, &trial.chain));
    if trial.is_canary() && !goes_on {
        new.chain.stats.absorb(&trial.chain.stats);
    }
}

impl Inner {
    /// Nothing is tried beside this chain any more, and its history says so of a revision.
    fn without_trial(
        &self,
        state: &mut State,
        old: &Deployed,
        (revision, what, text): (u64, &str, String),
    ) -> Result<Deployed, ControlError> {
        let name = &old.chain.name;
        let mut ended = old.clone();
        ended.trial = None;
        ended.record.end_trial();
        (ended.record).note_of(revision, what, text, self.config.revisions);
        let mut records = state.records();
        records.insert(name, &ended.record);
        self.kept.commit(&records).map_err(|error| unkept(&error))?;
        state.deployed.insert(name.clone(), ended.clone());
        over(Some(old), &ended);
        self.publish(&state.deployed);
        Ok(ended)
    }
}

impl Rules {
    /// A chain with a revision beside it.
    pub(super) fn beside(
        &self,
        candidate: Candidate<'_>,
        old: Option<&Deployed>,
        kind: TrialKind,
    ) -> Result<Deployed, ControlError> {
        let inner = &self.inner;
        let (mut chain, file) = (candidate.chain, candidate.file);
        let old = running_beside(&chain, old)?;
        let mut deployed = old.clone();
        let chain_name = chain.name.clone();
        let last = inner.kept.last(&chain_name);
        let began_ms = now_ms();
        let known = old.trial.as_ref().filter(|trial| {
            let text = inner.kept.text(&chain.name, trial.chain.revision);
            trial.is_canary() && text.is_ok_and(|text| text == file.source)
        });
        let trial = match (known, kind) {
            // Another share of the same: it goes on.
            (Some(known), TrialKind::Canary(share)) => Trial {
                role: Role::Canary(Share(share)),
                ..known.clone()
            },
            _ => {
                chain.revision = last.max(old.chain.revision) + 1;
                tried(chain, &old.chain, kind, began_ms)
            }
        };
        let revision = trial.chain.revision;
        let (what, share) = match kind {
            TrialKind::Canary(share) => ("canary", Some(share)),
            TrialKind::Shadow => ("shadow", None),
        };
        let text = match share {
            Some(share) => format!(
                "for {}% of the clients: {}",
                Share(share).percent(),
                file.file
            ),
            None => file.file.clone(),
        };
        deployed.record.end_trial();
        let kept = inner.kept.revisions(&chain_name);
        deployed.record.tried.retain(|number| kept.contains(number));
        deployed.record.tried.insert(revision);
        deployed.record.trial = Some(TrialRecord {
            revision,
            share,
            began_ms: trial.began_ms,
        });
        let most = inner.config.revisions;
        deployed.record.note_of(revision, what, text, most);
        deployed.trial = Some(trial);
        Ok(deployed)
    }

    /// Ends what is tried beside a chain.
    pub(super) fn end_trial(
        &self,
        name: &str,
        options: &DeployOptions,
    ) -> Result<Option<Deployment>, ControlError> {
        let inner = &self.inner;
        let mut state = inner.state();
        let old = state.deployed.get(name).ok_or_else(|| absent(name))?;
        let Some(trial) = &old.trial else {
            return Ok(None);
        };
        compare(name, options.expected, Some(old.chain.revision))?;
        let text = format!("revision {} is gone", trial.chain.revision);
        let (what, mut ended) = ((old.chain.revision, "ended", text), old.clone());
        if options.is_dry_run {
            ended.trial = None;
        } else {
            ended = inner.without_trial(&mut state, &ended, what)?;
        }
        drop(state);
        let behind = (options.waits && !options.is_dry_run).then(|| inner.wait_for_shards());
        Ok(Some(Deployment {
            rules: vec![ended.info()],
            unchanged: Vec::new(),
            behind,
        }))
    }

    /// Ends the canary of a chain because it rests, so that everybody gets the revision that runs; whether `revision` was one. What
    /// `why` says is in its history. Writes to disk: not for the thread of a shard.
    ///
    /// # Errors
    ///
    /// [`ControlError::Internal`]: it cannot be kept that it ended, so it goes on.
    pub fn take_back(&self, name: &str, revision: u64, why: &str) -> Result<bool, ControlError> {
        let mut state = self.inner.state();
        let is_it = |trial: &Trial| trial.is_canary() && trial.chain.revision == revision;
        let beside = state.deployed.get(name);
        let beside = beside.filter(|old| old.trial.as_ref().is_some_and(is_it));
        let Some(old) = beside.cloned() else {
            return Ok(false);
        };
        let what = (revision, "taken-back", why.to_owned());
        (self.inner).without_trial(&mut state, &old, what)?;
        Ok(true)
    }

    /// What is tried runs for everybody.
    pub(super) fn promoted(
        &self,
        name: &str,
        revision: Option<u64>,
        options: &DeployOptions,
    ) -> Result<Deployment, ControlError> {
        let trial = self.info(name)?.trial.map(|trial| trial.rule.revision);
        let Some(trial) = trial else {
            let text = format!("chain `{name}` has no canary and no shadow");
            return Err(ControlError::NotFound(text));
        };
        if revision.is_some_and(|wanted| wanted != trial) {
            let text = format!("revision {trial} is tried beside chain `{name}`, no other");
            return Err(ControlError::Changed(text));
        }
        let source = self.source(name, Some(trial))?;
        let reason = Reason {
            what: "promoted",
            text: Some(String::new()),
            promotes: Some(trial),
        };
        let file = ChainFile {
            file: format!("{name}.toml"),
            source,
        };
        self.put(&[file], options, &reason)
    }
}
