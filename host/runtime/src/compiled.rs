//! Compiled components: in memory, and on disk so that a restart compiles nothing.
//!
//! Owns: the folder `plugins/.compiled`, private to the broker, and the key that its files are sealed with. Compiled code
//! is native code: nothing is loaded that this broker did not write (ADR 0009). Must not: fail an installation; what cannot
//! be read or written is compiled again.

use crate::package::Package;
use crate::relay::{self, relayed};
use hmac::{Hmac, Mac};
use rand::RngCore;
use sha2::Sha256;
use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;
use wasmtime::Engine;
use wasmtime::component::Component;

const SEAL_BYTES: usize = 32;
/// Packages kept in memory beside those that serve.
const PACKAGES: usize = 64;

/// What was compiled.
pub(crate) struct Compiled {
    /// The last ones, in the order of their use.
    memory: Mutex<VecDeque<Arc<Package>>>,
    disk: Option<Disk>,
    compiled: AtomicU64,
    read: AtomicU64,
    /// Files for which there was no room.
    given_up: AtomicU64,
}

/// The folder.
struct Disk {
    folder: PathBuf,
    key: [u8; 32],
    /// Of the engine: its version, settings and processor.
    engine: String,
    maximum: u64,
}

impl Compiled {
    /// Keeps files below `data_dir`, at most so many bytes; nothing where that cannot be made private.
    pub(crate) fn new(engine: &Engine, data_dir: Option<&Path>, maximum: u64) -> Self {
        let open = |data_dir: &Path| match Disk::open(engine, data_dir, maximum) {
            Ok(disk) => Some(disk),
            Err(error) => {
                tracing::warn!(%error, "compiled components are not kept: each start compiles them");
                None
            }
        };
        Self {
            memory: Mutex::default(),
            disk: data_dir.filter(|_| maximum > 0).and_then(open),
            compiled: AtomicU64::new(0),
            read: AtomicU64::new(0),
            given_up: AtomicU64::new(0),
        }
    }

    fn memory(&self) -> MutexGuard<'_, VecDeque<Arc<Package>>> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was loaded before, if it is not long ago.
    pub(crate) fn package(&self, digest: &str) -> Option<Arc<Package>> {
        let mut memory = self.memory();
        let place = memory.iter().position(|package| package.digest == digest)?;
        let package = memory.remove(place)?;
        memory.push_back(package.clone());
        Some(package)
    }

    pub(crate) fn remember(&self, package: &Arc<Package>) {
        let mut memory = self.memory();
        if memory.len() >= PACKAGES {
            memory.pop_front();
        }
        memory.push_back(package.clone());
    }

    /// The component of this digest: read, or compiled and kept.
    ///
    /// # Errors
    /// `wasm` is no valid component.
    pub(crate) fn component(
        &self,
        engine: &Engine,
        digest: &str,
        wasm: &[u8],
    ) -> wasmtime::Result<Component> {
        if let Some(component) = self
            .disk
            .as_ref()
            .and_then(|disk| disk.read(engine, digest))
        {
            self.read.fetch_add(1, Ordering::Relaxed);
            return Ok(component);
        }
        let component = fresh(engine, wasm)?;
        self.compiled.fetch_add(1, Ordering::Relaxed);
        match self
            .disk
            .as_ref()
            .map(|disk| disk.write(digest, &component))
        {
            None => {}
            Some(Ok(given_up)) => {
                self.given_up.fetch_add(given_up, Ordering::Relaxed);
            }
            Some(Err(error)) => {
                tracing::warn!(%error, digest, "a compiled component is not kept: the next start compiles it again")
            }
        }
        Ok(component)
    }

    /// How many components were compiled, and how many were read instead.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (load(&self.compiled), load(&self.read))
    }

    /// Files that there was no room for on disk.
    pub(crate) fn given_up(&self) -> u64 {
        self.given_up.load(Ordering::Relaxed)
    }
}

/// Compiles, with a relay if the engine takes it so.
fn fresh(engine: &Engine, wasm: &[u8]) -> wasmtime::Result<Component> {
    let relayed = relayed(wasm).and_then(|wasm| Component::new(engine, wasm).ok());
    match relayed {
        Some(component) => Ok(component),
        None => Component::new(engine, wasm),
    }
}

impl Disk {
    fn open(engine: &Engine, data_dir: &Path, maximum: u64) -> io::Result<Self> {
        let plugins = data_dir.join("plugins");
        fs::create_dir_all(&plugins)?;
        let folder = plugins.join(".compiled");
        let made = fs::DirBuilder::new().mode(0o700).create(&folder);
        if let Err(error) = made
            && error.kind() != io::ErrorKind::AlreadyExists
        {
            return Err(error);
        }
        let about = fs::symlink_metadata(&folder)?;
        if !about.is_dir() || about.mode() & 0o077 != 0 {
            return Err(io::Error::other(format!(
                "{} is not private: it has to be a folder of mode 0700; remove it",
                folder.display()
            )));
        }
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        relay::VERSION.hash(&mut hasher);
        Ok(Self {
            key: key(&folder.join("key"))?,
            engine: format!("{:016x}", hasher.finish()),
            folder,
            maximum,
        })
    }

    fn path(&self, digest: &str) -> PathBuf {
        self.folder.join(format!("{digest}.{}", self.engine))
    }

    fn seal(&self, digest: &str, code: &[u8]) -> Option<Hmac<Sha256>> {
        let mut seal = Hmac::<Sha256>::new_from_slice(&self.key).ok()?;
        for part in [digest.as_bytes(), self.engine.as_bytes(), code] {
            seal.update(part);
        }
        Some(seal)
    }

    /// `None`: it is not there, not ours, or for another engine.
    #[allow(
        unsafe_code,
        reason = "native code can only be loaded on trust: the seal says that this broker wrote it (ADR 0009)"
    )]
    fn read(&self, engine: &Engine, digest: &str) -> Option<Component> {
        let path = self.path(digest);
        let file = fs::read(&path).ok()?;
        let (seal, code) = file.split_at_checked(SEAL_BYTES)?;
        if self.seal(digest, code)?.verify_slice(seal).is_err() {
            tracing::warn!(path = %path.display(), "a compiled component was changed: it is compiled again");
            return None;
        }
        let now = File::options().append(true).open(&path);
        // Only the order in which files are given up suffers.
        let _is_stale = now
            .and_then(|file| file.set_modified(SystemTime::now()))
            .is_err();
        // SAFETY: the seal holds, so the bytes are what `Component::serialize` gave this broker for this engine.
        let component = unsafe { Component::deserialize(engine, code) };
        match component {
            Ok(component) => Some(component),
            Err(error) => {
                tracing::info!(%error, digest, "compiled for another engine or processor: compiled again");
                None
            }
        }
    }

    /// How many files were given up for it, or 1 if it is too large itself.
    fn write(&self, digest: &str, component: &Component) -> io::Result<u64> {
        let code = component.serialize().map_err(io::Error::other)?;
        let bytes = u64::try_from(code.len()).unwrap_or(u64::MAX);
        if bytes > self.maximum {
            return Ok(1);
        }
        let given_up = self.make_room(self.maximum - bytes)?;
        let seal = self
            .seal(digest, &code)
            .ok_or_else(|| io::Error::other("no seal"))?;
        // Of this process: an author's tools share a folder.
        let beside = self.folder.join(format!("new.{}", std::process::id()));
        let mut file = private(&beside)?;
        file.write_all(&seal.finalize().into_bytes())?;
        file.write_all(&code)?;
        file.sync_all()?;
        fs::rename(&beside, self.path(digest))?;
        Ok(given_up)
    }

    /// Gives up what was longest not used, and what is of another engine, until the rest is small enough; how many
    /// files.
    fn make_room(&self, maximum: u64) -> io::Result<u64> {
        let mut kept = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let name = entry.file_name();
            if name == "key" {
                continue;
            }
            let about = entry.metadata()?;
            let is_ours = entry
                .path()
                .extension()
                .is_some_and(|engine| *engine == *self.engine);
            kept.push((is_ours, about.modified()?, about.len(), entry.path()));
        }
        kept.sort();
        let mut sum: u64 = kept.iter().map(|(_, _, bytes, _)| bytes).sum();
        let mut given_up = 0;
        for (_, _, bytes, path) in kept {
            if sum <= maximum {
                break;
            }
            fs::remove_file(path)?;
            (sum, given_up) = (sum - bytes, given_up + 1);
        }
        Ok(given_up)
    }
}

/// A file that nobody else can read.
fn private(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
}

/// The key of this data folder, made the first time.
fn key(path: &Path) -> io::Result<[u8; 32]> {
    let mut key = [0; 32];
    if let Ok(mut file) = File::open(path)
        && file.read_exact(&mut key).is_ok()
    {
        return Ok(key);
    }
    rand::rng().fill_bytes(&mut key);
    let mut file = private(path)?;
    file.write_all(&key)?;
    file.sync_all()?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine;
    use std::os::unix::fs::PermissionsExt;

    fn component(number: u32) -> Vec<u8> {
        wat::parse_str(format!(
            "(component (core module (func (export \"f\") (result i32) i32.const {number})))"
        ))
        .unwrap()
    }

    /// Loads `wasm` with a cache that was just opened: what it counted.
    fn load(folder: &Path, maximum: u64, wasm: &[u8]) -> (u64, u64) {
        let engine = engine::engine().unwrap();
        let compiled = Compiled::new(&engine, Some(folder), maximum);
        let digest = crate::package::digest(wasm);
        drop(compiled.component(&engine, &digest, wasm).unwrap());
        compiled.counts()
    }

    fn kept(folder: &Path) -> Vec<PathBuf> {
        let files = fs::read_dir(folder.join("plugins/.compiled")).unwrap();
        let paths = files.map(|entry| entry.unwrap().path());
        paths.filter(|path| path.extension().is_some()).collect()
    }

    const MUCH: u64 = 1 << 30;

    #[test]
    fn it_is_compiled_once_and_read_after_that() {
        let folder = tempfile::tempdir().unwrap();
        let wasm = component(1);
        assert_eq!(load(folder.path(), MUCH, &wasm), (1, 0));
        assert_eq!(load(folder.path(), MUCH, &wasm), (0, 1));
        assert_eq!(load(folder.path(), 0, &wasm), (1, 0), "switched off");
    }

    #[test]
    fn what_was_changed_or_is_anothers_is_compiled_again() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (component(1), component(2));
        load(folder.path(), MUCH, &one);
        let path = kept(folder.path()).pop().unwrap();
        let whole = fs::read(&path).unwrap();
        for place in [0, SEAL_BYTES, whole.len() - 1] {
            let mut bytes = whole.clone();
            bytes[place] ^= 1;
            fs::write(&path, bytes).unwrap();
            assert_eq!(load(folder.path(), MUCH, &one), (1, 0), "byte {place}");
            assert_eq!(load(folder.path(), MUCH, &one), (0, 1), "mended");
        }
        fs::write(&path, &whole[..10]).unwrap();
        assert_eq!(load(folder.path(), MUCH, &one), (1, 0), "cut");
        // Sealed, but for another component.
        load(folder.path(), MUCH, &other);
        let other_path = kept(folder.path())
            .into_iter()
            .find(|kept| *kept != path)
            .unwrap();
        fs::copy(&other_path, &path).unwrap();
        assert_eq!(load(folder.path(), MUCH, &one), (1, 0));
        // Sealed with another key.
        fs::write(folder.path().join("plugins/.compiled/key"), [7; 32]).unwrap();
        assert_eq!(load(folder.path(), MUCH, &one), (1, 0));
    }

    #[test]
    fn a_folder_that_others_may_touch_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let wasm = component(1);
        load(folder.path(), MUCH, &wasm);
        let compiled = folder.path().join("plugins/.compiled");
        fs::set_permissions(&compiled, fs::Permissions::from_mode(0o770)).unwrap();
        assert_eq!(load(folder.path(), MUCH, &wasm), (1, 0));
        fs::set_permissions(&compiled, fs::Permissions::from_mode(0o700)).unwrap();
        assert_eq!(load(folder.path(), MUCH, &wasm), (0, 1));
    }

    #[test]
    fn what_there_is_no_room_for_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let engine = engine::engine().unwrap();
        let given_up = |maximum: u64, number: u32| {
            let compiled = Compiled::new(&engine, Some(folder.path()), maximum);
            let wasm = component(number);
            let digest = crate::package::digest(&wasm);
            drop(compiled.component(&engine, &digest, &wasm).unwrap());
            compiled.given_up()
        };
        assert_eq!(given_up(MUCH, 1), 0);
        let one = fs::metadata(&kept(folder.path())[0]).unwrap().len();
        // Both fit, and the seal besides.
        assert_eq!(given_up(2 * one, 2), 0);
        assert_eq!(given_up(2 * one, 3), 1, "the first");
        assert_eq!(given_up(one / 2, 4), 1, "too large by itself");
    }

    #[test]
    fn its_size_is_bounded_and_the_oldest_goes_first() {
        let folder = tempfile::tempdir().unwrap();
        load(folder.path(), MUCH, &component(1));
        let one = fs::metadata(&kept(folder.path())[0]).unwrap().len();
        let room = one * 2 + one / 2;
        load(folder.path(), room, &component(2));
        assert_eq!(kept(folder.path()).len(), 2);
        assert_eq!(
            load(folder.path(), room, &component(1)),
            (0, 1),
            "used again"
        );
        load(folder.path(), room, &component(3));
        assert_eq!(kept(folder.path()).len(), 2);
        assert_eq!(load(folder.path(), room, &component(1)), (0, 1));
        assert_eq!(load(folder.path(), room, &component(2)), (1, 0), "given up");
        assert_eq!(load(folder.path(), one / 2, &component(4)), (1, 0));
        assert_eq!(
            load(folder.path(), room, &component(4)),
            (1, 0),
            "too large, not kept"
        );
    }
}
