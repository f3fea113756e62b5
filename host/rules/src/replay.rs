//! What a file makes of recorded messages, and where it differs from another one.
//!
//! Owns: [`replay`], [`Replayed`]. Must not: reach anything: plugins are passed by, sinks and publishes are counted, tables are
//! empty. Time is that of the messages, and chance is the same for both files.

use crate::breaker::Fared;
use crate::chain::Chain;
use crate::check::{compile, with_large_stack};
use crate::file::Mode;
use crate::place::{RuleError, Source};
use crate::record::Recorded;
use crate::rules::trial::{Apart, Came};
use crate::run::{Sinks, due, run};
use crate::state::{Bounds, WINDOWS_AT_ONCE};
use crate::tables::Tables;
use crate::trace::shown;
use std::sync::Arc;
use witmq_broker::ports::Publisher;
use witmq_proto::Message;

/// Failures and differences that are told.
const TOLD: usize = 10;

/// What became of recorded messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Messages of the recording.
    pub messages: u64,
    /// Those that the chain is for.
    pub matched: u64,
    /// Of these: out of which nothing came.
    pub without: u64,
    /// Those that a transform chain consumed, refused or withheld.
    pub dropped: u64,
    /// Those that a step failed for.
    pub failed: u64,
    /// Messages that were published, and handed to sinks, those of windows that end by themselves among them.
    pub published: u64,
    /// See `published`.
    pub handed: u64,
    /// Of which the other file makes something else.
    pub different: u64,
    /// The first failures and differences in words, with the line of the recording.
    pub first: Vec<String>,
}

/// A file at work.
struct Player {
    chain: Chain,
}

impl Player {
    fn new((file, text): (&str, &str)) -> Result<Self, RuleError> {
        let mut chain = compile(file, text)?;
        chain.forget(&Bounds::default());
        chain.attach(&Tables::default());
        Ok(Self { chain })
    }

    /// Windows that are over by then end.
    fn time_passes(&self, now_ms: u64) -> Came {
        let (mut published, mut apart) = (Vec::new(), Apart::alone());
        while due(
            &self.chain,
            &mut apart,
            (now_ms, WINDOWS_AT_ONCE),
            &mut published,
        ) > 0
        {}
        Came {
            published,
            handed: apart.handed,
            ..Came::default()
        }
    }

    /// One message; `None`: the chain is not for it.
    fn play(&self, recorded: &Recorded, message: &Arc<Message>, chance: u64) -> Option<Came> {
        if !self.chain.from.matches(&message.topic) {
            return None;
        }
        crate::functions::seed(chance);
        let publisher = Publisher {
            client_id: &recorded.client,
            username: recorded.username.as_deref(),
            attributes: &[],
            session: 0,
        };
        let (mut emissions, mut apart) = (Vec::new(), Apart::alone());
        let mut sinks = Sinks {
            emissions: &mut emissions,
            trace: None,
            failed: None,
            fared: Fared::Well,
        };
        let end = run(&self.chain, &mut apart, publisher, message, &mut sinks);
        let failed = sinks.failed.map(|(_, error)| error);
        let mut came = Came::new(&self.chain, &end, &emissions, failed);
        came.handed = apart.handed;
        Some(came)
    }
}

impl Replayed {
    fn tell(&mut self, place: &str, text: &str) {
        if self.first.len() < TOLD {
            self.first.push(format!("{place}: {text}"));
        }
    }

    fn count(&mut self, came: &Came) {
        let count = |list: usize| u64::try_from(list).unwrap_or(u64::MAX);
        self.published += count(came.published.len());
        self.handed += count(came.handed.len());
    }

    /// One message of the recording, in words beside its line.
    fn take(&mut self, (place, message): (&str, &Message), mode: Mode, came: Option<&Came>) {
        self.messages += 1;
        let Some(came) = came else { return };
        self.matched += 1;
        self.count(came);
        let is_nothing = came.published.is_empty() && came.handed.is_empty();
        match mode {
            Mode::Transform if came.on.is_empty() => self.dropped += 1,
            Mode::Rule if is_nothing => self.without += 1,
            _ => {}
        }
        if let Some(error) = &came.failed {
            self.failed += 1;
            let payload = shown(&message.payload);
            self.tell(place, &format!("{} {payload}: {error}", message.topic));
        }
    }

    /// What both files make of the same thing.
    fn compare(&mut self, place: &str, what: &str, (new, old): (&Option<Came>, &Option<Came>)) {
        let same = match (new, old) {
            (None, None) => true,
            (Some(new), Some(old)) => {
                new.failed.is_some() == old.failed.is_some() && new.is_same(old)
            }
            _ => false,
        };
        if same {
            return;
        }
        self.different += 1;
        let words = |came: &Option<Came>| match came {
            Some(came) => came.words(),
            None => "is not for it".to_owned(),
        };
        let text = format!("{what}: this {}, the other {}", words(new), words(old));
        self.tell(place, &text);
    }
}

/// Lines of a recording: messages, without what is said around them.
fn messages<'a>(
    source: Source<'a>,
) -> impl Iterator<Item = Result<(usize, Recorded, Arc<Message>), RuleError>> + 'a {
    let numbered = (1..).zip(source.text.lines());
    let lines = numbered.filter(|(_, line)| !line.trim().is_empty());
    let messages = lines.filter(|(_, line)| !line.starts_with(r#"{"witmq_recording""#));
    messages.map(move |(number, line)| {
        let wrong = |column: usize, cause: String| RuleError {
            file: source.file.to_owned(),
            line: number,
            column,
            code: "bad-recording",
            message: format!("no recorded message: {cause}"),
            hint: Some(
                "`witmq rule record` writes such lines; chains.md says what is in them".to_owned(),
            ),
        };
        let recorded = serde_json::from_str::<Recorded>(line);
        let recorded = recorded.map_err(|error| {
            let text = error.to_string();
            let cause = text.split(" at line 1 ").next().unwrap_or_default();
            wrong(error.column().max(1), cause.to_owned())
        })?;
        let message = recorded.message().map_err(|cause| wrong(1, cause))?;
        Ok((number, recorded, message))
    })
}

/// Runs recorded messages (`recording`: name and text) through a file without a broker, and through another one to compare.
///
/// # Errors
/// A file is wrong, or a line of the recording; with its place.
pub fn replay(
    file: (&str, &str),
    against: Option<(&str, &str)>,
    recording: (&str, &str),
) -> Result<Replayed, RuleError> {
    let source = Source {
        file: recording.0,
        text: recording.1,
    };
    let (new, old) = (Player::new(file)?, against.map(Player::new).transpose()?);
    let work = || {
        let mut replayed = Replayed::default();
        let mut end_ms = 0;
        let passes = |replayed: &mut Replayed, place: &str, now_ms: u64| {
            let late = new.time_passes(now_ms);
            replayed.count(&late);
            if let Some(old) = &old {
                let other = Some(old.time_passes(now_ms));
                replayed.compare(place, "windows that ended", (&Some(late), &other));
            }
        };
        for line in messages(source) {
            let (number, recorded, message) = line?;
            let place = format!("{}:{number}", source.file);
            end_ms = recorded.at_ms.max(end_ms);
            passes(&mut replayed, &place, end_ms);
            let chance = u64::try_from(number).unwrap_or(0);
            let came = new.play(&recorded, &message, chance);
            replayed.take((&place, &message), new.chain.mode, came.as_ref());
            if let Some(old) = &old {
                let other = old.play(&recorded, &message, chance);
                let what = format!("{} {}", message.topic, shown(&message.payload));
                replayed.compare(&place, &what, (&came, &other));
            }
        }
        // What is still open ends as if nothing more came.
        let place = format!("{} (behind its end)", source.file);
        passes(&mut replayed, &place, u64::MAX / 2);
        Ok(replayed)
    };
    with_large_stack(work, |cause| Err(source.error(0, "internal", cause)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOT: &str =
        "from = 'a/{n}'\n[[step]]\nfilter = 'payload.c > 40'\n[[step]]\npublish = 'hot/{n}'\n";

    const LINES: &str = r#"{"witmq_recording":1,"filter":"a/#"}
{"at_ms":1000,"client":"x","topic":"a/1","payload":"{\"c\":50}"}
{"at_ms":1001,"client":"x","topic":"a/2","payload":"{\"c\":20}"}

{"at_ms":1002,"client":"x","topic":"b","payload":"{\"c\":50}"}
{"at_ms":1003,"client":"y","topic":"a/3","payload_base64":"/w=="}
"#;

    #[test]
    fn recorded_messages_go_through_a_file() {
        let replayed = replay(("hot.toml", HOT), None, ("r.jsonl", LINES)).unwrap();
        let counts = (replayed.messages, replayed.matched, replayed.without);
        assert_eq!(counts, (4, 3, 2));
        let counts = (replayed.published, replayed.failed, replayed.different);
        assert_eq!(counts, (1, 1, 0));
        let [first] = &replayed.first[..] else {
            panic!()
        };
        assert!(first.starts_with("r.jsonl:6: a/3 "), "{first}");
        assert!(first.contains("3:11: `payload.c`"), "{first}");
        let transform = HOT.replace("from =", "mode = 'transform'\nfrom =");
        let refuses = replay(("hot.toml", &transform), None, ("r.jsonl", LINES)).unwrap();
        assert_eq!(
            (refuses.dropped, refuses.failed, refuses.without),
            (1, 1, 0)
        );
    }

    #[test]
    fn two_files_are_compared_message_by_message() {
        let against = |other: &str| {
            let other = Some(("old.toml", other));
            replay(("hot.toml", HOT), other, ("r.jsonl", LINES)).unwrap()
        };
        assert_eq!(against(HOT).different, 0);
        let lower = against(&HOT.replace("> 40", "> 10"));
        assert_eq!(lower.different, 1);
        let told =
            "r.jsonl:3: a/2 {\"c\":20}: this does nothing, the other publishes hot/2 {\"c\":20}";
        assert_eq!(lower.first[0], told);
        let wider = against(&HOT.replace("'a/{n}'", "'{n}'").replace("hot/{n}", "hot/b"));
        assert_eq!(wider.different, 4, "it is for other topics");
        let chance = "from = 'a/#'\n[[step]]\npublish = 'u'\npayload = 'uuid()'\n";
        let same = Some(("old.toml", chance));
        let same = replay(("new.toml", chance), same, ("r.jsonl", LINES)).unwrap();
        assert_eq!(
            (same.published, same.different),
            (3, 0),
            "chance is the same for both"
        );
    }

    #[test]
    fn time_is_that_of_the_messages_and_open_windows_end_behind_them() {
        let window = "from = 'a/#'\n[[step]]\nwindow = { time = '1s' }\n[[step]]\npublish = 'w'\n";
        let counts = |times: &[u64]| {
            let line =
                |ms: &u64| format!("{{\"at_ms\":{ms},\"topic\":\"a/1\",\"payload\":\"1\"}}\n");
            let lines: String = times.iter().map(line).collect();
            let other = Some(("w.toml", window));
            let replayed = replay(("w.toml", window), other, ("r.jsonl", &lines)).unwrap();
            assert_eq!(replayed.different, 0);
            replayed.published
        };
        assert_eq!(counts(&[100, 900]), 1);
        assert_eq!(counts(&[100, 1000]), 2);
        assert_eq!(counts(&[100, 1000, 5000]), 3);
    }

    #[test]
    fn a_line_that_is_none_is_named_with_its_place() {
        for (line, place) in [
            (
                "{\"at_ms\":1,\"topic\":\"a/+\"}",
                "r.jsonl:2:1: no recorded message",
            ),
            (
                "{\"at_ms\":1,\"topic\":\"a\",\"qos\":3}",
                "r.jsonl:2:1: no recorded message: `qos` is 3",
            ),
            (
                "{\"at_ms\":1,\"topic\":\"a\",\"x\":3}",
                "r.jsonl:2:26: no recorded message: unknown field `x`",
            ),
            ("{\"at_ms\":1,", "r.jsonl:2:11: no recorded message: EOF"),
            (
                "{\"at_ms\":1,\"topic\":\"a\",\"payload_base64\":\"?\"}",
                "r.jsonl:2:1: no recorded message: `?` is no base64",
            ),
        ] {
            let text = format!("{{\"witmq_recording\":1}}\n{line}\n");
            let error = replay(("hot.toml", HOT), None, ("r.jsonl", &text)).unwrap_err();
            assert!(error.to_string().starts_with(place), "{error}");
            assert!(error.hint.is_some());
        }
    }
}
