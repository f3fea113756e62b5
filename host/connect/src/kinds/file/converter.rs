//! The thread on which finished files of JSON Lines become Parquet files, at the lowest priority that there is.
//!
//! Owns: [`Converter`]: when it runs, and that it ends with its sink. Must not: know what is in the files.

use super::columns::Column;
use super::convert::{Conversion, WAITING};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// After a failure it rests so long.
const REST: Duration = Duration::from_secs(30);
/// The niceness of its thread: everybody else comes first.
const NICE: i32 = 19;

/// At most one thread.
pub(super) struct Converter {
    folder: PathBuf,
    prefix: String,
    columns: Arc<[Column]>,
    stop: Arc<AtomicBool>,
    running: Option<JoinHandle<io::Result<()>>>,
    /// There may be something for it to do.
    is_wanted: bool,
    rests_until: Option<Instant>,
}

/// Files that wait, oldest first.
pub(super) fn waiting(folder: &Path, prefix: &str) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let name = name.to_string_lossy();
        let stem = name.strip_suffix(WAITING);
        if stem.is_some_and(|stem| stem.starts_with(prefix)) {
            found.push(folder.join(&*name));
        }
    }
    found.sort();
    Ok(found)
}

fn convert_all(
    folder: &Path,
    prefix: &str,
    columns: &Arc<[Column]>,
    stop: &AtomicBool,
) -> io::Result<()> {
    loop {
        let files = waiting(folder, prefix)?;
        if files.is_empty() {
            return Ok(());
        }
        for file in files {
            let mut conversion = Conversion::begin(&file, columns.clone())?;
            loop {
                if stop.load(Ordering::Relaxed) {
                    return Ok(());
                }
                if !conversion.go_on()? {
                    break;
                }
            }
        }
    }
}

impl Converter {
    /// Looks at what an earlier run left when it is first called.
    pub(super) fn new(folder: PathBuf, prefix: String, columns: Arc<[Column]>) -> Self {
        Self {
            folder,
            prefix,
            columns,
            stop: Arc::default(),
            running: None,
            is_wanted: true,
            rests_until: None,
        }
    }

    /// There is a file more.
    pub(super) fn want(&mut self) {
        self.is_wanted = true;
    }

    /// Runs if it should.
    ///
    /// # Errors
    /// A conversion failed. It is tried again after a while.
    pub(super) fn turn(&mut self) -> io::Result<()> {
        if let Some(running) = self.running.take_if(|running| running.is_finished()) {
            let ended = running.join();
            let ended = ended.unwrap_or_else(|_| Err(io::Error::other("its thread ended")));
            if let Err(error) = ended {
                self.is_wanted = true;
                self.rests_until = Some(Instant::now() + REST);
                return Err(io::Error::new(
                    error.kind(),
                    format!("a finished file cannot become Parquet: {error}"),
                ));
            }
        }
        let rests = self.rests_until.is_some_and(|until| Instant::now() < until);
        if self.running.is_some() || !self.is_wanted || rests {
            return Ok(());
        }
        let (folder, prefix) = (self.folder.clone(), self.prefix.clone());
        let (columns, stop) = (self.columns.clone(), self.stop.clone());
        let thread = std::thread::Builder::new().name("parquet".to_owned());
        self.running = Some(thread.spawn(move || {
            let _as_others = rustix::process::nice(NICE).is_err();
            convert_all(&folder, &prefix, &columns, &stop)
        })?);
        self.is_wanted = false;
        Ok(())
    }
}

/// It ends behind the step that it is at; what is not done is begun anew by the next one.
impl Drop for Converter {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(running) = self.running.take() {
            let _has_failed = running.join().is_err();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::file::columns::all;

    fn end(converter: &mut Converter) -> io::Result<()> {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            converter.turn()?;
            if converter.running.is_none() {
                return Ok(());
            }
            assert!(Instant::now() < end, "it ends");
            std::thread::yield_now();
        }
    }

    #[test]
    fn what_waits_is_found_and_what_is_another_sinks_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = |name: &str| folder.path().join(name);
        for name in [
            "a-1.jsonl.wait",
            "a-2.jsonl.wait",
            "b-1.jsonl.wait",
            "a-3.jsonl",
        ] {
            fs::write(place(name), "").expect("written");
        }
        let (at, all) = (folder.path().to_owned(), all().into());
        let mut converter = Converter::new(at, "a-".to_owned(), all);
        end(&mut converter).expect("converted");
        for name in ["a-1.parquet", "a-2.parquet", "b-1.jsonl.wait", "a-3.jsonl"] {
            assert!(place(name).exists(), "{name}");
        }
        assert!(!place("a-1.jsonl.wait").exists());
        fs::write(place("a-4.jsonl.wait"), "").expect("written");
        end(&mut converter).expect("nothing to do");
        assert!(place("a-4.jsonl.wait").exists(), "nobody said so");
        converter.want();
        end(&mut converter).expect("converted");
        assert!(place("a-4.parquet").exists());
    }

    #[test]
    fn a_failure_is_said_once_and_tried_again_later() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = |name: &str| folder.path().join(name);
        fs::write(place("a-1.jsonl.wait"), "").expect("written");
        fs::create_dir(place("a-1.parquet.part")).expect("in the way");
        let (at, all) = (folder.path().to_owned(), all().into());
        let mut converter = Converter::new(at, "a-".to_owned(), all);
        let said = end(&mut converter).expect_err("in the way").to_string();
        assert!(
            said.starts_with("a finished file cannot become Parquet: "),
            "{said}"
        );
        end(&mut converter).expect("it rests");
        assert!(place("a-1.jsonl.wait").exists());
        fs::remove_dir(place("a-1.parquet.part")).expect("removed");
        converter.rests_until = None; // the rest is over
        end(&mut converter).expect("converted");
        assert!(place("a-1.parquet").exists());
    }
}
