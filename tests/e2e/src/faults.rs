//! A disk that fails when a test says so: `tests/faults` preloaded into the broker.
//!
//! Owns: building it, the page through which it is told what to do, and what it saw. The table of the page's words
//! is in `tests/faults/src/lib.rs`.

use crate::root;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

const WORD: u64 = 8;
const PAGE_BYTES: u64 = 4096;

/// Kinds of call; they can be added up.
pub mod calls {
    /// Writes to files.
    pub const WRITE: i64 = 1;
    /// fsync, fdatasync.
    pub const SYNC: i64 = 2;
    /// Reads of files.
    pub const READ: i64 = 4;
    /// Opening for writing, and making files.
    pub const OPEN: i64 = 8;
    /// Renaming.
    pub const RENAME: i64 = 16;
    /// Setting the length.
    pub const TRUNCATE: i64 = 32;
    /// Removing.
    pub const UNLINK: i64 = 64;
    /// Everything that changes the disk.
    pub const CHANGE: i64 = WRITE | SYNC | OPEN | RENAME | TRUNCATE | UNLINK;
}

/// What happens to a call.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// It fails with this errno.
    Fails(i32),
    /// Only so many bytes are done; negative: so many fewer than asked for.
    Short(i64),
    /// The same, and the process is killed.
    Torn(i64),
}

/// No space left.
pub const ENOSPC: i32 = 28;
/// Input/output error.
pub const EIO: i32 = 5;
/// Read-only file system.
pub const EROFS: i32 = 30;

/// A broker's disk.
#[derive(Debug)]
pub struct Faults {
    page: File,
    path: PathBuf,
    _folder: tempfile::TempDir,
}

/// The library, built once.
fn library() -> PathBuf {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    let build = || {
        let target = root().join("target/faults");
        let status = Command::new(env!("CARGO"))
            .current_dir(root())
            .args(["build", "--quiet", "--release", "--package", "witmq-faults"])
            .arg("--target-dir")
            .arg(&target)
            .status();
        assert!(status.unwrap().success(), "tests/faults is built");
        target.join("release/libwitmq_faults.so")
    };
    LIBRARY.get_or_init(build).clone()
}

impl Default for Faults {
    fn default() -> Self {
        Self::new()
    }
}

impl Faults {
    /// A disk without faults so far.
    #[must_use]
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("page");
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create_new(true);
        let page = options.open(&path).unwrap();
        page.set_len(PAGE_BYTES).unwrap();
        Self {
            page,
            path,
            _folder: folder,
        }
    }

    /// What the broker has to be started with, so that calls for files below `folder` obey.
    #[must_use]
    pub fn environment(&self, folder: &Path) -> Vec<(String, String)> {
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        vec![
            ("LD_PRELOAD".to_owned(), text(&library())),
            ("FAULTS_PAGE".to_owned(), text(&self.path)),
            ("FAULTS_DIR".to_owned(), text(folder)),
        ]
    }

    fn set(&self, word: u64, value: i64) {
        self.page
            .write_all_at(&value.to_ne_bytes(), word * WORD)
            .unwrap();
    }

    fn word(&self, word: u64) -> i64 {
        let mut bytes = [0; 8];
        self.page.read_exact_at(&mut bytes, word * WORD).unwrap();
        i64::from_ne_bytes(bytes)
    }

    /// From now on the calls of these kinds from number `first` (1 is the next) on fail, `count` of them.
    pub fn arm(&self, kinds: i64, fault: Fault, first: i64, count: i64) {
        self.disarm();
        let (kind, errno, bytes) = match fault {
            Fault::Fails(errno) => (1, i64::from(errno), 0),
            Fault::Short(bytes) => (2, 0, bytes),
            Fault::Torn(bytes) => (3, 0, bytes),
        };
        let words = [kinds, kind, errno, first, count, bytes, 0, 0];
        (1..)
            .zip(words)
            .for_each(|(word, value)| self.set(word, value));
        self.set(0, 1);
    }

    /// Nothing fails any more.
    pub fn disarm(&self) {
        self.set(0, 0);
    }

    /// Calls of the armed kinds since.
    #[must_use]
    pub fn seen(&self) -> i64 {
        self.word(7)
    }

    /// How many of them failed.
    #[must_use]
    pub fn hits(&self) -> i64 {
        self.word(8)
    }
}
