//! What is deployed, on disk: texts by revision, and one file that says which of them run.
//!
//! Owns: [`Kept`], `deployed.json` and `revisions/NAME/N.toml`. Must not: compile. `deployed.json` is replaced in one go,
//! so that chains deployed together run together after a crash, or none of them does.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

const INDEX: &str = "deployed.json";
/// A `deployed.json` that cannot be read is put here.
const DAMAGED: &str = "deployed.damaged.json";

/// A chain that is deployed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) revision: u64,
    #[serde(default)]
    pub(super) is_paused: bool,
    /// A revision beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) trial: Option<TrialRecord>,
    /// Revisions that never ran for everybody: nothing goes back to them unless they are named.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(super) tried: BTreeSet<u64>,
    /// Oldest first; as many as revisions are kept.
    #[serde(default)]
    pub(super) changes: VecDeque<Change>,
}

/// A canary or a shadow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TrialRecord {
    pub(super) revision: u64,
    /// Clients of ten thousand; none: a shadow.
    pub(super) share: Option<u16>,
    pub(super) began_ms: u64,
}

/// Something that happened to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Change {
    pub(super) at_ms: u64,
    pub(super) what: String,
    pub(super) revision: u64,
    pub(super) text: String,
}

impl Record {
    /// The same with one more change, and the oldest forgotten if there are more than `most`.
    pub(super) fn note(&mut self, what: &str, text: impl Into<String>, most: u64) {
        self.note_of(self.revision, what, text, most);
    }

    /// Nothing runs beside it any more.
    pub(super) fn end_trial(&mut self) {
        self.trial = None;
    }

    /// The same about another revision than the one that runs.
    pub(super) fn note_of(
        &mut self,
        revision: u64,
        what: &str,
        text: impl Into<String>,
        most: u64,
    ) {
        self.changes.push_back(Change {
            at_ms: now_ms(),
            what: what.to_owned(),
            revision,
            text: text.into(),
        });
        while u64::try_from(self.changes.len()).unwrap_or(u64::MAX) > most.max(1) {
            self.changes.pop_front();
        }
    }
}

/// Milliseconds since 1970.
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

/// Texts and records, in a folder, or in memory without one.
pub(super) struct Kept {
    dir: Option<PathBuf>,
    memory: Mutex<BTreeMap<String, BTreeMap<u64, String>>>,
}

/// Makes a file of `bytes`, all of it or nothing, and stays so over a loss of power.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = fs::File::create(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    match path.parent() {
        Some(folder) => fs::File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

impl Kept {
    pub(super) fn new(dir: Option<PathBuf>) -> Self {
        Self {
            dir,
            memory: Mutex::default(),
        }
    }

    /// What was deployed, and what cannot be read of it in words.
    pub(super) fn records(&self) -> (BTreeMap<String, Record>, Vec<String>) {
        let Some(dir) = &self.dir else {
            return (BTreeMap::new(), Vec::new());
        };
        let index = dir.join(INDEX);
        let bytes = match fs::read(&index) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return self.adopt(dir),
            Err(error) => {
                let text = format!("{} cannot be read: {error}", index.display());
                return (BTreeMap::new(), vec![text]);
            }
        };
        match serde_json::from_slice(&bytes) {
            Ok(records) => (records, Vec::new()),
            Err(error) => {
                let aside = dir.join(DAMAGED);
                let moved = fs::rename(&index, &aside).map_or_else(
                    |error| format!("it cannot be put aside: {error}"),
                    |()| format!("it is now {}", aside.display()),
                );
                let text = format!(
                    "{} is damaged ({error}), no chain runs; {moved}; the texts are in revisions/",
                    index.display()
                );
                (BTreeMap::new(), vec![text])
            }
        }
    }

    /// Folders without an index have `NAME.toml` of each chain that runs.
    fn adopt(&self, dir: &Path) -> (BTreeMap<String, Record>, Vec<String>) {
        let (mut records, mut problems) = (BTreeMap::new(), Vec::new());
        let entries = fs::read_dir(dir).into_iter().flatten();
        for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
            let stem = path.file_stem().and_then(|stem| stem.to_str());
            let (Some(name), Some("toml")) = (stem, path.extension().and_then(|e| e.to_str()))
            else {
                continue;
            };
            let revision = self.last(name).max(1);
            let adopted =
                fs::read_to_string(&path).and_then(|text| self.put(name, revision, &text));
            match adopted {
                Ok(()) => {
                    let record = Record {
                        revision,
                        ..Record::default()
                    };
                    records.insert(name.to_owned(), record);
                }
                Err(error) => problems.push(format!("chain `{name}` is left out: {error}")),
            }
        }
        (records, problems)
    }

    fn folder(&self, name: &str) -> Option<PathBuf> {
        let dir = self.dir.as_ref()?;
        Some(dir.join("revisions").join(name))
    }

    /// Where the text of a revision is, for people.
    pub(super) fn place(&self, name: &str, revision: u64) -> String {
        let file = format!("{revision}.toml");
        self.folder(name)
            .map_or(file.clone(), |dir| dir.join(file).display().to_string())
    }

    /// Numbers of the texts that are there, lowest first.
    pub(super) fn revisions(&self, name: &str) -> Vec<u64> {
        let Some(folder) = self.folder(name) else {
            let memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
            let texts = memory.get(name);
            return texts.map_or(Vec::new(), |texts| texts.keys().copied().collect());
        };
        let number = |entry: fs::DirEntry| -> Option<u64> {
            let path = entry.path();
            let is_text = path.extension().is_some_and(|ending| ending == "toml");
            path.file_stem()?.to_str()?.parse().ok().filter(|_| is_text)
        };
        let entries = fs::read_dir(folder).into_iter().flatten();
        let mut numbers: Vec<u64> = entries.filter_map(Result::ok).filter_map(number).collect();
        numbers.sort_unstable();
        numbers
    }

    /// The highest number that was ever used, or 0.
    pub(super) fn last(&self, name: &str) -> u64 {
        self.revisions(name).last().copied().unwrap_or(0)
    }

    /// The text of a revision.
    pub(super) fn text(&self, name: &str, revision: u64) -> io::Result<String> {
        match self.folder(name) {
            Some(folder) => fs::read_to_string(folder.join(format!("{revision}.toml"))),
            None => {
                let memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
                let text = memory.get(name).and_then(|texts| texts.get(&revision));
                text.cloned()
                    .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
            }
        }
    }

    /// A text; it does not run before [`Kept::commit`] says so.
    pub(super) fn put(&self, name: &str, revision: u64, text: &str) -> io::Result<()> {
        match self.folder(name) {
            Some(folder) => {
                fs::create_dir_all(&folder)?;
                write(&folder.join(format!("{revision}.toml")), text.as_bytes())
            }
            None => {
                let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
                let texts = memory.entry(name.to_owned()).or_default();
                texts.insert(revision, text.to_owned());
                Ok(())
            }
        }
    }

    /// Takes a text away. One that cannot be removed is in nobody's way.
    pub(super) fn drop(&self, name: &str, revision: u64) {
        match self.folder(name) {
            Some(folder) => {
                let _stays = fs::remove_file(folder.join(format!("{revision}.toml"))).is_err();
            }
            None => {
                let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
                memory.get_mut(name).map(|texts| texts.remove(&revision));
            }
        }
    }

    /// Forgets texts until `most` are left; those in use stay.
    pub(super) fn prune(&self, name: &str, in_use: &[u64], most: u64) {
        let all = self.revisions(name);
        let most = usize::try_from(most.max(1)).unwrap_or(usize::MAX);
        let gone = all.len().saturating_sub(most);
        for revision in all
            .iter()
            .take(gone)
            .filter(|number| !in_use.contains(number))
        {
            self.drop(name, *revision);
        }
    }

    /// From here on these are deployed, also after a restart.
    pub(super) fn commit(&self, records: &BTreeMap<&str, &Record>) -> io::Result<()> {
        let Some(dir) = &self.dir else {
            return Ok(());
        };
        fs::create_dir_all(dir)?;
        write(&dir.join(INDEX), &serde_json::to_vec_pretty(records)?)
    }
}
