//! Installed plugins on disk: `plugins/NAME/plugin.json` and one `VERSION.wasm` per kept version.
//!
//! A file is written beside its place, synced, then renamed: after a crash there is the old one or the new one.

use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// One kept version.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Version {
    pub(crate) version: u64,
    pub(crate) digest: String,
    pub(crate) installed_ms: u64,
    #[serde(default)]
    pub(crate) origin: String,
}

/// Changes remembered.
const CHANGES: usize = 50;

/// Something that happened to a plugin.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Change {
    pub(crate) at_ms: u64,
    pub(crate) what: String,
    pub(crate) version: u64,
    pub(crate) text: String,
}

/// What is known of an installed plugin.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) config: String,
    pub(crate) active: u64,
    pub(crate) versions: Vec<Version>,
    /// Capabilities granted while the broker ran.
    #[serde(default)]
    pub(crate) grants: Vec<String>,
    #[serde(default)]
    pub(crate) is_disabled: bool,
    #[serde(default)]
    pub(crate) changes: Vec<Change>,
}

impl Record {
    /// Remembers a change, at its end.
    pub(crate) fn note(&mut self, what: &str, text: String) {
        if self.changes.len() >= CHANGES {
            self.changes.remove(0);
        }
        self.changes.push(Change {
            at_ms: crate::imports::now_ms(),
            what: what.to_owned(),
            version: self.active,
            text,
        });
    }
}

/// The folder of all plugins.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    root: PathBuf,
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = File::create(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

impl Files {
    pub(crate) fn new(data_dir: &Path) -> Self {
        Self {
            root: data_dir.join("plugins"),
        }
    }

    fn component(&self, name: &str, version: u64) -> PathBuf {
        self.root.join(name).join(format!("{version}.wasm"))
    }

    /// Keeps a component; it counts once a record names it.
    pub(crate) fn write_component(&self, name: &str, version: u64, wasm: &[u8]) -> io::Result<()> {
        fs::create_dir_all(self.root.join(name))?;
        write(&self.component(name, version), wasm)
    }

    pub(crate) fn read_component(&self, name: &str, version: u64) -> io::Result<Vec<u8>> {
        fs::read(self.component(name, version))
    }

    pub(crate) fn write_record(&self, name: &str, record: &Record) -> io::Result<()> {
        fs::create_dir_all(self.root.join(name))?;
        write(
            &self.root.join(name).join("plugin.json"),
            &serde_json::to_vec_pretty(record)?,
        )
    }

    /// Removes a version that no record names any more.
    pub(crate) fn forget_component(&self, name: &str, version: u64) {
        if let Err(error) = fs::remove_file(self.component(name, version)) {
            tracing::warn!(plugin = name, version, %error, "an old component stays on disk");
        }
    }

    pub(crate) fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_dir_all(self.root.join(name))
    }

    /// Everything installed, and what could not be read, by name.
    pub(crate) fn read_all(&self) -> Vec<(String, io::Result<Record>)> {
        let Ok(folders) = fs::read_dir(&self.root) else {
            return Vec::new();
        };
        let mut all: Vec<_> = folders
            .filter_map(Result::ok)
            .filter(|entry| entry.path().join("plugin.json").is_file())
            .filter_map(|entry| entry.file_name().into_string().ok())
            .map(|name| {
                let path = self.root.join(&name).join("plugin.json");
                let record = fs::read(path).and_then(|bytes| Ok(serde_json::from_slice(&bytes)?));
                (name, record)
            })
            .collect();
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        all
    }
}
