//! Messages written down as they come, and files that are tried on them.

use super::offline::wrong;
use super::text_of;
use crate::cli::args::RecordArgs;
use crate::cli::remote::Remote;
use crate::cli::{CliError, Exit, print};
use serde_json::json;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use witmq_rules::Recording;

/// How often new messages are fetched.
const PAUSE: Duration = Duration::from_millis(500);

/// Where a recording goes.
enum Out {
    File(std::fs::File, PathBuf),
    Screen,
}

impl Out {
    fn new(path: Option<&Path>) -> Result<Self, CliError> {
        let Some(path) = path else {
            return Ok(Self::Screen);
        };
        let file = std::fs::File::create_new(path).map_err(|error| {
            let text = format!("cannot write {}: {error}", path.display());
            CliError::new(Exit::Refused, text).hint("name a file that is not there yet")
        })?;
        Ok(Self::File(file, path.to_owned()))
    }

    fn line(&mut self, line: &str) -> Result<(), CliError> {
        match self {
            Self::Screen => {
                print(line);
                Ok(())
            }
            Self::File(file, path) => writeln!(file, "{line}").map_err(|error| {
                CliError::failed(format!("cannot write {}: {error}", path.display()))
            }),
        }
    }
}

fn unknown(error: serde_json::Error) -> CliError {
    let text = format!("the broker's answer is of another version: {error}");
    CliError::failed(text)
}

pub(super) fn record(args: &RecordArgs) -> Result<(), CliError> {
    let (filter, max, out) = (&args.filter, args.max, args.out.as_deref());
    let remote = &Remote::new(&args.admin)?;
    let for_ms = u64::try_from(args.time.as_millis()).unwrap_or(u64::MAX);
    let wanted = json!({ "filter": filter, "for_ms": for_ms, "messages": max });
    let begun = remote.post_json("recordings", &wanted)?;
    let mut recording: Recording = serde_json::from_value(begun).map_err(unknown)?;
    let path = format!("recordings/{}", recording.id);
    let written = fetch(&mut recording, (filter, out), &path, remote);
    remote.delete(&path)?;
    written?;
    let skipped = recording.skipped_messages + recording.skipped_bytes;
    let why = match (recording.skipped_messages, recording.skipped_bytes) {
        (0, 0) => String::new(),
        (0, _) => ": they are too large together".to_owned(),
        _ => format!(": more than --max {max}"),
    };
    eprintln!("{} recorded, {skipped} skipped{why}", recording.recorded);
    Ok(())
}

/// Page by page until it is over.
fn fetch(
    recording: &mut Recording,
    (filter, out): (&str, Option<&Path>),
    path: &str,
    remote: &Remote,
) -> Result<(), CliError> {
    let mut out = Out::new(out)?;
    // In this order: by the first word the line is known.
    out.line(&format!(
        r#"{{"witmq_recording":1,"filter":{}}}"#,
        json!(filter)
    ))?;
    loop {
        let page = remote.read(&format!("{path}?after={}", recording.last))?;
        *recording = serde_json::from_value(page).map_err(unknown)?;
        for message in &recording.messages {
            out.line(&serde_json::to_string(message).unwrap_or_default())?;
        }
        match (recording.messages.is_empty(), recording.is_over) {
            (true, true) => return Ok(()),
            (true, false) => std::thread::sleep(PAUSE),
            (false, _) => {}
        }
    }
}

pub(super) fn replay(
    files: &[PathBuf],
    against: Option<&Path>,
    recording: &Path,
) -> Result<(), CliError> {
    let [file] = files else {
        let text = format!(
            "a recording is replayed through one file, these are {}",
            files.len()
        );
        return Err(CliError::new(Exit::Usage, text));
    };
    let named = |path: &Path| Ok((path.display().to_string(), text_of(path)?));
    let (new, old, lines) = (
        named(file)?,
        against.map(named).transpose()?,
        named(recording)?,
    );
    fn pair((name, text): &(String, String)) -> (&str, &str) {
        (name, text)
    }
    let replayed = witmq_rules::replay(pair(&new), old.as_ref().map(pair), pair(&lines));
    let replayed = replayed.map_err(|error| wrong(&error))?;
    print(&format!(
        "{} messages, {} matched: {} published, {} handed to sinks, {} without either, {} dropped, {} failed",
        replayed.messages,
        replayed.matched,
        replayed.published,
        replayed.handed,
        replayed.without,
        replayed.dropped,
        replayed.failed
    ));
    if let Some(against) = against {
        let (shown, different) = (against.display(), replayed.different);
        print(&format!("{different} differ from {shown}"));
    }
    replayed
        .first
        .iter()
        .for_each(|line| print(&format!("  {line}")));
    match (replayed.failed, replayed.different) {
        (0, 0) => Ok(()),
        (0, different) => Err(CliError::failed(format!("{different} differ"))),
        (failed, _) => Err(CliError::failed(format!("{failed} messages failed"))),
    }
}
