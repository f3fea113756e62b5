//! `file`: JSON Lines below the data folder, in files that are finished by size and by time, and become Parquet files
//! then if that is asked for.
//!
//! Owns: names and ends of files. The one that is written ends in `.part`; it gets its name when it is finished, and
//! is not touched afterwards. A batch is on disk, synced, before it is done.

mod columns;
mod convert;
mod converter;

use self::columns::Column;
use self::convert::WAITING;
use self::converter::{Converter, waiting};
use super::Means;
use crate::keys::Keys;
use crate::outlet::{Answer, Later, Outlet, Trouble, envelope};
use crate::place::SinkError;
use crate::record::{Record, now_ms};
use std::fs;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

const MIB: u64 = 1024 * 1024;

#[derive(Clone, Debug)]
pub(crate) struct Settings {
    folder: PathBuf,
    prefix: String,
    rotate_bytes: u64,
    rotate: Duration,
    /// Of Parquet files; none: files stay what they are.
    columns: Option<Arc<[Column]>>,
}

impl Settings {
    pub(super) fn parse(name: &str, keys: &mut Keys<'_>) -> Result<Self, SinkError> {
        let (folder, at) = keys.text("folder")?.unwrap_or_else(|| (name.to_owned(), 0));
        let folder = PathBuf::from(folder);
        let is_below = |part: Component<'_>| matches!(part, Component::Normal(_));
        if !folder.components().all(is_below) || folder.as_os_str().is_empty() {
            let text = "`folder` is a folder below `exports` of the data folder, without `..`";
            return Err(keys.error_at(at, text));
        }
        let (prefix, at) = keys.text("prefix")?.unwrap_or_else(|| (name.to_owned(), 0));
        if !crate::settings::is_name(&prefix) {
            return Err(keys.error_at(at, "`prefix` has up to 64 letters, digits, `-` and `_`"));
        }
        let is_parquet = keys.word("format", &["jsonl", "parquet"])? == Some("parquet");
        let columns = columns::parse(keys)?;
        if columns.is_some() && !is_parquet {
            let error = keys.error("`columns` are of Parquet files");
            return Err(error.hint("`format = \"parquet\"`"));
        }
        Ok(Self {
            columns: is_parquet.then(|| columns.unwrap_or_else(columns::all).into()),
            folder,
            prefix,
            rotate_bytes: keys.number("rotate_bytes", 64 * MIB, 1..=1024 * 1024 * MIB)?,
            rotate: Duration::from_secs(keys.number("rotate_s", 3600, 1..=31_536_000)?),
        })
    }
}

impl Settings {
    /// Below `exports`.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }
}

/// The file that is written.
struct Part {
    file: fs::File,
    bytes: u64,
    since: Instant,
}

pub(crate) struct File {
    settings: Settings,
    folder: PathBuf,
    part: Option<Part>,
    converter: Option<Converter>,
    /// Whether what an earlier run left was looked at.
    is_begun: bool,
}

impl File {
    pub(super) fn new(settings: Settings, means: &Means) -> Self {
        let folder = means.exports.join(&settings.folder);
        let columns = settings.columns.as_ref();
        let converter = columns.map(|columns| {
            let prefix = format!("{}-", settings.prefix);
            Converter::new(folder.clone(), prefix, columns.clone())
        });
        Self {
            folder,
            settings,
            part: None,
            converter,
            is_begun: false,
        }
    }

    /// Goes on with what an earlier run left: a file that is not finished is older from now on, and one that waits to
    /// become Parquet, which it shall no more, is finished.
    fn begin(&mut self) -> io::Result<()> {
        if self.is_begun {
            return Ok(());
        }
        if self.path().exists() {
            self.part()?;
        }
        if self.converter.is_none() {
            let prefix = format!("{}-", self.settings.prefix);
            for path in waiting(&self.folder, &prefix)? {
                fs::rename(&path, path.with_extension(""))?;
            }
        }
        self.is_begun = true;
        Ok(())
    }

    fn convert(&mut self) -> io::Result<()> {
        self.converter.as_mut().map_or(Ok(()), Converter::turn)
    }

    fn path(&self) -> PathBuf {
        self.folder
            .join(format!("{}.jsonl.part", self.settings.prefix))
    }

    /// The file to write to: what an earlier run left goes on behind its last whole line.
    fn part(&mut self) -> io::Result<&mut Part> {
        let part = match self.part.take() {
            Some(part) => part,
            None => {
                fs::create_dir_all(&self.folder)?;
                let mut options = fs::OpenOptions::new();
                let options = options.read(true).append(true).create(true).mode(0o640);
                let mut file = options.open(self.path())?;
                let bytes = whole_lines(&mut file)?;
                file.set_len(bytes)?;
                fs::File::open(&self.folder)?.sync_all()?;
                Part {
                    file,
                    bytes,
                    since: Instant::now(),
                }
            }
        };
        Ok(self.part.insert(part))
    }

    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        let limit = self.settings.rotate_bytes;
        let added = u64::try_from(lines.len()).unwrap_or(u64::MAX);
        let part = self.part()?;
        if part.bytes > 0 && part.bytes.saturating_add(added) > limit {
            self.finish()?;
        }
        let part = self.part()?;
        let written = part
            .file
            .write_all(lines)
            .and_then(|()| part.file.sync_data());
        match written {
            Ok(()) => part.bytes += added,
            // Whatever of it is there comes again: it is cut off when the file is opened again.
            Err(_) => self.undo()?,
        }
        written
    }

    fn undo(&mut self) -> io::Result<()> {
        match self.part.take() {
            Some(part) => part.file.set_len(part.bytes),
            None => Ok(()),
        }
    }

    /// The file gets its name.
    fn finish(&mut self) -> io::Result<()> {
        let Some(part) = self.part.take() else {
            return Ok(());
        };
        if part.bytes == 0 {
            return Ok(());
        }
        let stem = format!("{}-{}", self.settings.prefix, stamp(now_ms()));
        for number in 0..1_000_000 {
            let stem = match number {
                0 => stem.clone(),
                number => format!("{stem}-{number}"),
            };
            let path = |end: &str| self.folder.join(format!("{stem}{end}"));
            if [".jsonl", WAITING, ".parquet"]
                .iter()
                .all(|end| !path(end).exists())
            {
                let end = self.converter.as_ref().map_or(".jsonl", |_| WAITING);
                fs::rename(self.path(), path(end))?;
                if let Some(converter) = &mut self.converter {
                    converter.want();
                }
                return fs::File::open(&self.folder)?.sync_all();
            }
        }
        Err(io::Error::other(format!(
            "too many files are called {stem}"
        )))
    }

    fn finish_old(&mut self) -> io::Result<()> {
        let limit = self.settings.rotate;
        match self
            .part
            .as_ref()
            .is_some_and(|part| part.since.elapsed() >= limit)
        {
            true => self.finish(),
            false => Ok(()),
        }
    }

    fn named(&self, error: &io::Error) -> String {
        format!("{}: {error}", self.folder.display())
    }
}

/// Bytes up to the end of the last line.
fn whole_lines(file: &mut fs::File) -> io::Result<u64> {
    let mut end = file.seek(io::SeekFrom::End(0))?;
    let mut block = [0; 4096];
    while end > 0 {
        let start = end.saturating_sub(4096);
        let size = usize::try_from(end - start).unwrap_or(4096);
        let place = block.get_mut(..size).unwrap_or_default();
        file.seek(io::SeekFrom::Start(start))?;
        file.read_exact(place)?;
        if let Some(at) = place.iter().rposition(|byte| *byte == b'\n') {
            return Ok(start + u64::try_from(at).unwrap_or(0) + 1);
        }
        end = start;
    }
    Ok(0)
}

/// `20261128T114512Z`.
fn stamp(ms: u64) -> String {
    let seconds = ms / 1000;
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Days to a date of the Gregorian calendar, in eras of 400 years that begin on 1 March.
    let shifted = days + 719_468;
    let (era, day) = (shifted / 146_097, shifted % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let date = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}{month:02}{date:02}T{hour:02}{minute:02}{second:02}Z")
}

impl Outlet for File {
    fn check(&mut self) -> Later<'_, Result<String, String>> {
        Box::pin(async {
            let probe = self.folder.join(".check");
            let check = |probe: &Path| {
                fs::create_dir_all(&self.folder)?;
                fs::write(probe, b"")?;
                fs::remove_file(probe)
            };
            check(&probe).map_err(|error| self.named(&error))?;
            Ok(format!("{} can be written", self.folder.display()))
        })
    }

    fn send<'a>(&'a mut self, batch: &'a [Record]) -> Later<'a, Result<Vec<Answer>, Trouble>> {
        Box::pin(async move {
            let mut lines = String::new();
            let mut answers = Vec::new();
            for record in batch {
                let message = envelope(record);
                let columns = self.settings.columns.as_deref().unwrap_or_default();
                answers.push(match columns::row(columns, &message) {
                    Ok(_) => {
                        lines.push_str(&message.to_string());
                        lines.push('\n');
                        Answer::Done
                    }
                    Err(text) => Answer::Never(text),
                });
            }
            // A conversion that failed keeps its lines, and these here have nothing to do with it.
            if let Err(error) = self.convert() {
                tracing::warn!("{}", self.named(&error));
            }
            let written = self
                .begin()
                .and_then(|()| self.finish_old())
                .and_then(|()| self.write(lines.as_bytes()));
            written.map_err(|error| Trouble::away(self.named(&error)))?;
            Ok(answers)
        })
    }

    fn idle(&mut self) -> Later<'_, Result<(), String>> {
        Box::pin(async {
            let done = self
                .begin()
                .and_then(|()| self.finish_old())
                .and_then(|()| self.convert());
            done.map_err(|error| self.named(&error))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_named_in_utc() {
        for (ms, name) in [
            (0, "19700101T000000Z"),
            (951_782_400_000, "20000229T000000Z"),
            (951_868_800_000, "20000301T000000Z"),
            (1_798_761_599_999, "20261231T235959Z"),
            (4_107_542_400_000, "21000301T000000Z"),
        ] {
            assert_eq!(stamp(ms), name);
        }
    }

    #[test]
    fn the_end_of_the_last_line_is_found() {
        let long = "x".repeat(9000);
        for (text, end) in [
            ("", 0),
            ("a", 0),
            ("a\n", 2),
            ("a\nb", 2),
            (&format!("a\n{long}"), 2),
            (&format!("{long}\n{long}"), 9001),
        ] {
            let mut file = tempfile::tempfile().expect("file");
            file.write_all(text.as_bytes()).expect("written");
            assert_eq!(whole_lines(&mut file).expect("read"), end);
        }
    }
}
