//! What a sink file says: the keys that every kind has, and those of its kind.
//!
//! Owns: [`Settings`] with the bounds and defaults of the common keys. Must not: connect to anything.

use crate::keys::Keys;
use crate::kinds::Kind;
use crate::place::{SinkError, Source};
use crate::queue::Bounds;
use std::path::Path;
use std::time::Duration;

/// Letters of a name.
const NAME_BYTES: usize = 64;
const MIB: u64 = 1024 * 1024;

/// A sink.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) queue: Bounds,
    /// What waits for a loss of power at most so long.
    pub(crate) sync: Duration,
    pub(crate) batch: Batch,
    pub(crate) retry: Retry,
    /// Of one batch.
    pub(crate) timeout: Duration,
    /// Age at which a message that fails is given up; `None`: never.
    pub(crate) give_up: Option<Duration>,
    pub(crate) is_paused: bool,
}

/// How much is sent at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Batch {
    pub(crate) messages: usize,
    pub(crate) bytes: u64,
    /// How long a batch that is not full waits for more.
    pub(crate) wait: Duration,
}

/// Pauses after failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Retry {
    pub(crate) first: Duration,
    pub(crate) longest: Duration,
    /// Each pause is longer by up to so much.
    pub(crate) jitter_percent: u64,
}

impl Retry {
    /// A pause, longer by chance: many that failed at once do not come back at once.
    pub(crate) fn with_jitter(&self, pause: Duration) -> Duration {
        let jitter = rand::random_range(0..=self.jitter_percent);
        pause + pause * u32::try_from(jitter).unwrap_or(0) / 100
    }
}

impl Settings {
    /// Reads a file; the sink's name is its stem.
    pub(crate) fn parse(file: &str, text: &str) -> Result<Self, SinkError> {
        let source = Source { file, text };
        let name = name_of(file).map_err(|message| source.error(0, message))?;
        let mut keys = Keys::parse(source)?;
        let queue = Bounds {
            messages: keys.number("queue_messages", 1_000_000, 1..=1_000_000_000)?,
            bytes: keys.number("queue_bytes", 256 * MIB, 1..=1024 * 1024 * MIB)?,
        };
        let sync = keys.millis("sync_ms", 1000, 1..=60_000)?;
        let mut table = keys.table("batch")?;
        let messages = table.number("messages", 100, 1..=10_000)?;
        let batch = Batch {
            messages: usize::try_from(messages).unwrap_or(usize::MAX),
            bytes: table.number("bytes", MIB, 1..=64 * MIB)?,
            wait: table.millis("wait_ms", 0, 0..=60_000)?,
        };
        table.finish()?;
        let mut table = keys.table("retry")?;
        let retry = Retry {
            first: table.millis("first_ms", 1000, 1..=3_600_000)?,
            longest: table.millis("longest_ms", 30_000, 1..=86_400_000)?,
            jitter_percent: table.number("jitter_percent", 20, 0..=100)?,
        };
        if retry.longest < retry.first {
            return Err(table.error("`retry.longest_ms` is less than `retry.first_ms`"));
        }
        table.finish()?;
        let timeout = keys.millis("timeout_ms", 10_000, 10..=600_000)?;
        let give_up_s = keys.number("give_up_s", 86_400, 0..=31_536_000)?;
        let is_paused = keys.flag("paused", false)?;
        let _for_people = keys.text("description")?;
        let kind = Kind::parse(&name, &mut keys)?;
        keys.finish()?;
        Ok(Self {
            name,
            kind,
            queue,
            sync,
            batch,
            retry,
            timeout,
            give_up: (give_up_s > 0).then(|| Duration::from_secs(give_up_s)),
            is_paused,
        })
    }
}

/// The stem of a file, which has to be a name.
pub(crate) fn name_of(file: &str) -> Result<String, String> {
    let stem = Path::new(file).file_stem().and_then(|stem| stem.to_str());
    let name = stem.unwrap_or_default();
    if is_name(name) {
        return Ok(name.to_owned());
    }
    Err(format!(
        "a sink is called as its file, and `{name}` is no name: up to {NAME_BYTES} letters, digits, `-` and `_`"
    ))
}

/// Names are parts of paths and topics.
pub(crate) fn is_name(name: &str) -> bool {
    let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=NAME_BYTES).contains(&name.len()) && name.bytes().all(is_fine)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> (String, Option<String>) {
        let error = Settings::parse("dir/out.toml", text).expect_err("wrong");
        (error.to_string(), error.hint)
    }

    #[test]
    fn what_is_not_said_has_a_default() {
        let settings = Settings::parse("dir/out.toml", "kind = \"file\"").expect("right");
        assert_eq!((&*settings.name, settings.queue.bytes), ("out", 256 * MIB));
        assert_eq!((settings.batch.messages, settings.is_paused), (100, false));
        assert_eq!(settings.give_up, Some(Duration::from_secs(86_400)));
    }

    #[test]
    fn mistakes_are_named_with_their_place() {
        let (message, hint) = error("kind = \"file\"\nque_bytes = 5");
        assert_eq!(message, "dir/out.toml:2:1: unknown key `que_bytes`");
        assert_eq!(hint.as_deref(), Some("did you mean `queue_bytes`?"));
        let (message, hint) = error("kind = \"flie\"");
        assert!(
            message.starts_with("dir/out.toml:1:8: `kind` is one of "),
            "{message}"
        );
        assert_eq!(hint.as_deref(), Some("did you mean `file`?"));
        let (message, _) = error("kind = \"file\"\nretry = { first_ms = 9, longest_ms = 8 }");
        assert_eq!(
            message,
            "dir/out.toml:2:9: `retry.longest_ms` is less than `retry.first_ms`"
        );
        assert_eq!(error("a = ").0.split(": ").next(), Some("dir/out.toml:1:5"));
    }

    #[test]
    fn a_name_is_part_of_a_path_and_cannot_leave_it() {
        let long = "x".repeat(NAME_BYTES);
        for (name, is_fine) in [
            ("a-b_1", true),
            (&*long, true),
            ("", false),
            ("a b", false),
            ("..", false),
            ("a/b", false),
        ] {
            assert_eq!(is_name(name), is_fine, "{name:?}");
        }
        assert!(!is_name(&format!("{long}x")));
    }
}
