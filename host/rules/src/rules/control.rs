//! What the admin API and watched folders do: deploy, roll back, pause, remove, look.

use super::kept::{Record, now_ms};
use super::trying::{is_beside, over};
use super::{Deployed, Rules, State, Table};
use crate::chain::Chain;
use crate::check;
use crate::record::{self, Wanted};
use crate::template::{Template, Templates};
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, MutexGuard};
use witmq_broker::ports::control::{
    ChainFile, DeployOptions, Deployment, Expected, RuleChange, RuleInfo,
};
use witmq_broker::ports::{ControlError, RuleControl};

/// A file that is fit to run.
pub(super) struct Candidate<'a> {
    pub(super) chain: Chain,
    pub(super) file: &'a ChainFile,
}

/// Why a change is noted in the history.
pub(super) struct Reason<'a> {
    pub(super) what: &'a str,
    pub(super) text: Option<String>,
    /// The revision beside what runs that takes its place.
    pub(super) promotes: Option<u64>,
}

pub(super) fn absent(name: &str) -> ControlError {
    let text = format!("no chain `{name}` is deployed; `witmq rule ls` shows what is");
    ControlError::NotFound(text)
}

/// What is expected against the revision that runs.
pub(super) fn compare(
    name: &str,
    expected: Option<Expected>,
    running: Option<u64>,
) -> Result<(), ControlError> {
    let text = match (expected, running) {
        (Some(Expected::Revision(wanted)), Some(running)) if wanted != running => {
            format!("chain `{name}` runs revision {running}, not {wanted}")
        }
        (Some(Expected::Revision(_) | Expected::Any), None) => {
            format!("no chain `{name}` is deployed")
        }
        (Some(Expected::Absent), Some(running)) => {
            format!("chain `{name}` is there already, with revision {running}")
        }
        _ => return Ok(()),
    };
    Err(ControlError::Changed(text))
}

fn json<T: serde::Serialize>(value: &T) -> Result<String, ControlError> {
    serde_json::to_string(value).map_err(|error| ControlError::Internal(error.to_string()))
}

fn no_recording(id: u64) -> ControlError {
    ControlError::NotFound(format!(
        "there is no recording {id}; one that nobody asks for is given up after half a minute"
    ))
}

pub(super) fn unkept(error: &io::Error) -> ControlError {
    ControlError::Internal(format!(
        "it cannot be kept on disk: {error}; what ran before runs on"
    ))
}

impl Rules {
    /// All files, each fit to run; the first that is not is the error.
    fn candidates<'a>(&self, files: &'a [ChainFile]) -> Result<Vec<Candidate<'a>>, ControlError> {
        let config = &self.inner.config;
        let mut all: Vec<Candidate<'a>> = Vec::with_capacity(files.len());
        for file in files {
            let (name, bytes) = (&file.file, file.source.len());
            if bytes > config.file_bytes {
                let most = config.file_bytes;
                let text = format!("{name}: {bytes} bytes, a chain file has at most {most}");
                return Err(ControlError::LimitReached(text));
            }
            let mut chain = check::compile(name, &file.source)?;
            chain.limit(config.expression);
            check::run_tests(&mut chain, name, &file.source)?;
            self.inner.ready(&mut chain);
            chain.recount();
            if let Some(other) = all.iter().find(|other| other.chain.name == chain.name) {
                return Err(ControlError::Invalid {
                    code: "named-twice",
                    message: format!(
                        "{name}:1:1: chain `{}` is in {} already",
                        chain.name, other.file.file
                    ),
                    hint: Some("a chain's name is its file's stem: rename one".to_owned()),
                });
            }
            all.push(Candidate { chain, file });
        }
        Ok(all)
    }

    pub(super) fn put(
        &self,
        files: &[ChainFile],
        options: &DeployOptions,
        reason: &Reason<'_>,
    ) -> Result<Deployment, ControlError> {
        let inner = &self.inner;
        let candidates = self.candidates(files)?;
        let mut state = inner.state();
        let new = (candidates.iter())
            .filter(|candidate| !state.deployed.contains_key(&candidate.chain.name))
            .count();
        if new > 0 && state.deployed.len() + new > inner.config.chains {
            let text = format!(
                "{} chains are deployed and {new} are new, the limit is {}; remove some first",
                state.deployed.len(),
                inner.config.chains
            );
            return Err(ControlError::LimitReached(text));
        }
        let (mut next, mut unchanged, mut written) = (Vec::new(), Vec::new(), Vec::new());
        for candidate in candidates {
            let (name, file) = (&candidate.chain.name.clone(), candidate.file);
            let old = state.deployed.get(name);
            compare(name, options.expected, old.map(|old| old.chain.revision))?;
            let is_same = old.is_some_and(|old| {
                let text = inner.kept.text(name, old.chain.revision);
                text.is_ok_and(|text| text == candidate.file.source)
            });
            if let (true, Some(old)) = (is_same, old) {
                unchanged.push(name.clone());
                next.push(old.clone());
                continue;
            }
            if let Some(promoted) = reason.promotes {
                is_beside(name, old, promoted)?;
            }
            let deployed = match options.trial {
                None => self.revise(candidate.chain, old, &candidate.file.file, reason),
                Some(kind) => self.beside(candidate, old, kind)?,
            };
            written.push((deployed.clone(), file));
            next.push(deployed);
        }
        let running = Table::new(&next);
        let mut deployment = Deployment {
            rules: running.infos(),
            unchanged,
            behind: None,
        };
        if !options.is_dry_run && !written.is_empty() {
            self.switch(&mut state, &written)?;
        }
        drop(state);
        if options.waits && !options.is_dry_run {
            deployment.behind = Some(inner.wait_for_shards());
        }
        Ok(deployment)
    }

    fn begin_recording(
        &self,
        filter: &str,
        time_ms: u64,
        messages: usize,
    ) -> Result<String, ControlError> {
        let invalid = |code, message: String, hint: &str| ControlError::Invalid {
            code,
            message,
            hint: Some(hint.to_owned()),
        };
        let template = Template::parse(filter).map_err(|cause| {
            let text = format!("`{filter}` is no filter: {cause}");
            invalid(
                "bad-filter",
                text,
                "write it as a subscription's: sensors/+/temp, sensors/#",
            )
        })?;
        let is_within = (1..=record::TIME_MS).contains(&time_ms);
        if !is_within || !(1..=record::MESSAGES).contains(&messages) {
            let text = format!("{messages} messages in {time_ms} ms cannot be recorded");
            let most = (record::MESSAGES, record::TIME_MS / 3_600_000);
            let hint = format!("at most {} messages, and {} hours", most.0, most.1);
            return Err(invalid("bad-recording", text, &hint));
        }
        let wanted = Wanted {
            from: Templates::from(template),
            time_ms,
            messages,
            bytes: record::BYTES,
        };
        let begun = self.inner.recorder.begin(wanted, now_ms());
        json(&begun.ok_or_else(|| {
            let text = "messages are being recorded already, and it is one recording at a time";
            ControlError::LimitReached(text.to_owned())
        })?)
    }

    fn chain(&self, name: &str) -> Result<Arc<Chain>, ControlError> {
        let state = self.inner.state();
        let found = state.deployed.get(name);
        found
            .map(|deployed| deployed.chain.clone())
            .ok_or_else(|| absent(name))
    }

    /// The next revision of a chain, or its first.
    fn revise(
        &self,
        mut chain: Chain,
        old: Option<&Deployed>,
        file: &str,
        reason: &Reason<'_>,
    ) -> Deployed {
        let inner = &self.inner;
        let last = inner.kept.last(&chain.name);
        let next = last.max(old.map_or(0, |old| old.chain.revision)) + 1;
        chain.revision = reason.promotes.unwrap_or(next);
        if let Some(old) = old {
            chain.stats = old.chain.stats.clone(); // its numbers go on over revisions, those of its steps begin anew
            chain.adopt(&old.chain, false);
        }
        let mut record = old.map(|old| old.record.clone()).unwrap_or_default();
        record.revision = chain.revision;
        record.end_trial();
        record.tried.remove(&chain.revision);
        let text = reason.text.clone().unwrap_or_else(|| file.to_owned());
        record.note(reason.what, text, inner.config.revisions);
        Deployed {
            chain: Arc::new(chain),
            record,
            trial: None,
        }
    }

    /// Keeps texts, then says that they run, on disk and to the shards: all of them or none.
    fn switch(
        &self,
        state: &mut MutexGuard<'_, State>,
        written: &[(Deployed, &ChainFile)],
    ) -> Result<(), ControlError> {
        let inner = &self.inner;
        let mut records = state.records();
        let kept = written.iter().try_for_each(|(deployed, file)| {
            let chain = &deployed.chain;
            inner.kept.put(&chain.name, deployed.newest(), &file.source)
        });
        for (deployed, _) in written {
            records.insert(&deployed.chain.name, &deployed.record);
        }
        if let Err(error) = kept.and_then(|()| inner.kept.commit(&records)) {
            for (deployed, _) in written {
                let is_promoted = state
                    .deployed
                    .get(&deployed.chain.name)
                    .is_some_and(|old| old.trial.is_some() && old.newest() == deployed.newest());
                if !is_promoted {
                    (inner.kept).drop(&deployed.chain.name, deployed.newest());
                }
            }
            return Err(unkept(&error));
        }
        for (deployed, _) in written {
            let chain = &deployed.chain;
            let in_use = [chain.revision, deployed.newest()];
            (inner.kept).prune(&chain.name, &in_use, inner.config.revisions);
            state.left_out.remove(&chain.name);
            let old = state.deployed.insert(chain.name.clone(), deployed.clone());
            over(old.as_ref(), deployed);
        }
        inner.publish(&state.deployed);
        Ok(())
    }

    /// The revision to go back to: the one before `running` that is still there, unless one is named.
    fn earlier(&self, name: &str, running: u64, wanted: Option<u64>) -> Result<u64, ControlError> {
        let kept = self.inner.kept.revisions(name);
        let state = self.inner.state();
        let tried = state
            .deployed
            .get(name)
            .map(|deployed| &deployed.record.tried);
        let tried = tried.cloned().unwrap_or_default();
        drop(state);
        let found = match wanted {
            Some(wanted) => kept.iter().find(|number| **number == wanted),
            None => {
                let ran = |number: &&u64| **number < running && !tried.contains(number);
                kept.iter().rev().find(ran)
            }
        };
        found.copied().ok_or_else(|| {
            let list: Vec<String> = kept.iter().map(u64::to_string).collect();
            let what = wanted.map_or("no revision before it".to_owned(), |wanted| {
                format!("no revision {wanted}")
            });
            ControlError::NotFound(format!(
                "chain `{name}` runs revision {running} and has {what}; there are {}",
                list.join(", ")
            ))
        })
    }
}

impl RuleControl for Rules {
    fn deploy(
        &self,
        files: &[ChainFile],
        options: &DeployOptions,
    ) -> Result<Deployment, ControlError> {
        let reason = Reason {
            what: "applied",
            text: None,
            promotes: None,
        };
        self.put(files, options, &reason)
    }

    fn list(&self) -> Vec<RuleInfo> {
        self.inner.table.load().infos()
    }

    fn info(&self, name: &str) -> Result<RuleInfo, ControlError> {
        let all = self.list().into_iter();
        let found = all.into_iter().find(|info| info.name == name);
        found.ok_or_else(|| absent(name))
    }

    fn source(&self, name: &str, revision: Option<u64>) -> Result<String, ControlError> {
        let running = self.info(name)?.revision;
        let revision = match revision {
            Some(wanted) => self.earlier(name, running, Some(wanted))?,
            None => running,
        };
        let text = self.inner.kept.text(name, revision);
        text.map_err(|error| {
            let place = self.inner.kept.place(name, revision);
            ControlError::Internal(format!("{place} cannot be read: {error}"))
        })
    }

    fn history(&self, name: &str) -> Result<Vec<RuleChange>, ControlError> {
        let state = self.inner.state();
        let deployed = state.deployed.get(name).ok_or_else(|| absent(name))?;
        let kept = self.inner.kept.revisions(name);
        let changes = deployed.record.changes.iter();
        Ok(changes
            .map(|change| RuleChange {
                at_ms: change.at_ms,
                what: change.what.clone(),
                revision: change.revision,
                is_kept: kept.contains(&change.revision),
                text: change.text.clone(),
            })
            .collect())
    }

    fn rollback(
        &self,
        name: &str,
        revision: Option<u64>,
        options: &DeployOptions,
    ) -> Result<Deployment, ControlError> {
        if revision.is_none()
            && let Some(ended) = self.end_trial(name, options)?
        {
            return Ok(ended);
        }
        let running = self.info(name)?.revision;
        let revision = self.earlier(name, running, revision)?;
        let source = self.source(name, Some(revision))?;
        let reason = Reason {
            what: "rolled-back",
            text: Some(format!("to the text of revision {revision}")),
            promotes: None,
        };
        let file = ChainFile {
            file: format!("{name}.toml"),
            source,
        };
        self.put(&[file], options, &reason)
    }

    fn promote(
        &self,
        name: &str,
        revision: Option<u64>,
        options: &DeployOptions,
    ) -> Result<Deployment, ControlError> {
        self.promoted(name, revision, options)
    }

    fn set_paused(&self, name: &str, is_paused: bool) -> Result<RuleInfo, ControlError> {
        let inner = &self.inner;
        let mut state = inner.state();
        let mut changed = state
            .deployed
            .get(name)
            .ok_or_else(|| absent(name))?
            .clone();
        if changed.record.is_paused != is_paused {
            changed.record.is_paused = is_paused;
            if !is_paused {
                changed.chain.breaker.forgive();
                if let Some(trial) = &changed.trial {
                    trial.chain.breaker.forgive();
                }
            }
            let what = if is_paused { "paused" } else { "resumed" };
            changed.record.note(what, "", inner.config.revisions);
            let mut records = state.records();
            records.insert(name, &changed.record);
            inner
                .kept
                .commit(&records)
                .map_err(|error| unkept(&error))?;
            state.deployed.insert(name.to_owned(), changed.clone());
            inner.publish(&state.deployed);
        }
        Ok(changed.info())
    }

    fn numbers(&self) -> Vec<(&'static str, bool, u64)> {
        let (bytes, evicted) = self.inner.bounds.pool.numbers();
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        vec![
            ("chains_state_bytes", true, bytes),
            ("chains_state_evicted_total", false, evicted),
        ]
    }

    fn record(&self, filter: &str, time_ms: u64, messages: usize) -> Result<String, ControlError> {
        self.begin_recording(filter, time_ms, messages)
    }

    fn recorded(&self, id: u64, after: u64) -> Result<String, ControlError> {
        let recording = self.inner.recorder.ask(id, after, now_ms());
        json(&recording.ok_or_else(|| no_recording(id))?)
    }

    fn end_recording(&self, id: u64) -> Result<(), ControlError> {
        let is_ended = self.inner.recorder.end(id);
        is_ended.then_some(()).ok_or_else(|| no_recording(id))
    }

    fn tap(&self, name: &str, after: Option<u64>) -> Result<String, ControlError> {
        let chain = self.chain(name)?;
        let tapped = chain.stats.tap.ask(after, now_ms());
        json(&tapped)
    }

    fn misses(&self, name: &str) -> Result<String, ControlError> {
        json(&self.chain(name)?.stats.misses.list())
    }

    fn remove_expected(&self, name: &str, expected: Option<Expected>) -> Result<(), ControlError> {
        let inner = &self.inner;
        let mut state = inner.state();
        let running = state.deployed.get(name).map(|old| old.chain.revision);
        if running.is_none() && !state.left_out.contains_key(name) {
            return Err(absent(name));
        }
        compare(name, expected, running)?;
        let mut records: BTreeMap<_, _> = state.records();
        records.remove(name);
        inner
            .kept
            .commit(&records)
            .map_err(|error| unkept(&error))?;
        state.deployed.remove(name);
        state.left_out.remove(name);
        inner.publish(&state.deployed);
        Ok(())
    }
}

impl State {
    /// As they are kept on disk, those that do not compile any more among them.
    pub(super) fn records(&self) -> BTreeMap<&str, &Record> {
        let deployed = self.deployed.iter();
        let deployed = deployed.map(|(name, deployed)| (name.as_str(), &deployed.record));
        let left_out = self.left_out.iter();
        deployed
            .chain(left_out.map(|(name, record)| (name.as_str(), record)))
            .collect()
    }
}
