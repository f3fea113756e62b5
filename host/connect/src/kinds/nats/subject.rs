//! Topics as subjects and back. A level is a part; what a part may not hold is written as `%XX`, and an empty level `%`.
//!
//! Owns: [`Template`], [`topic`] and what a subject may be.

use crate::kinds::template::{self, Part};
use crate::record::Record;
use std::fmt::Write as _;

/// Bytes of a subject: with the words around it, it has to fit into a line of 4096 bytes at the server.
const SUBJECT_BYTES: usize = 2048;
/// What a subject is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template(template::Template);

impl Template {
    /// Reads `mqtt.{topic}`.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let template = template::Template::parse(text)?;
        let sample = template.with(|_| Ok("x".to_owned()))?;
        match is_subject(&sample, false) {
            true => Ok(Self(template)),
            false => Err(
                "is no subject: parts with a `.` in between, without blanks and wildcards"
                    .to_owned(),
            ),
        }
    }

    /// The subject of a message whose topic, as far as it is told, is `topic`.
    ///
    /// # Errors
    /// It has none, in words.
    pub(super) fn subject(&self, record: &Record, topic: &str) -> Result<String, String> {
        let subject = self.0.fill(record, topic, ".", escaped)?;
        match subject.len() <= SUBJECT_BYTES {
            true => Ok(subject),
            false => Err(format!(
                "its subject has {} bytes, at most {SUBJECT_BYTES} are allowed",
                subject.len()
            )),
        }
    }

    /// Every subject that it makes, as one with wildcards.
    pub(super) fn all(&self) -> String {
        let all = self.0.with(|part| {
            Ok(match part {
                Part::Topic => "\u{1}".to_owned(),
                _ => "\u{2}".to_owned(),
            })
        });
        let all = all.unwrap_or_default();
        let mut parts = Vec::new();
        for part in all.split('.') {
            // A topic may have many levels, so what comes after it is not told apart.
            if part.contains('\u{1}') {
                parts.push(">");
                break;
            }
            parts.push(if part.contains('\u{2}') { "*" } else { part });
        }
        parts.join(".")
    }
}

/// Whether this is one; `wild`: as subscriptions have them.
pub(super) fn is_subject(text: &str, wild: bool) -> bool {
    let is_sign = |sign: char| !sign.is_whitespace() && !sign.is_control();
    let mut parts = text.split('.').peekable();
    text.len() <= SUBJECT_BYTES
        && std::iter::from_fn(|| parts.next().map(|part| (part, parts.peek().is_none()))).all(
            |(part, is_last)| match part {
                "" => false,
                "*" => wild,
                ">" => wild && is_last,
                part => part.chars().all(is_sign) && !part.contains(['*', '>']),
            },
        )
}

/// A level as a part of a subject.
fn escaped(level: &str) -> String {
    if level.is_empty() {
        return "%".to_owned();
    }
    let mut part = String::with_capacity(level.len());
    for sign in level.chars() {
        let is_plain =
            !matches!(sign, '.' | '*' | '>' | '%') && !sign.is_whitespace() && !sign.is_control();
        if is_plain {
            part.push(sign);
            continue;
        }
        for byte in sign.encode_utf8(&mut [0; 4]).bytes() {
            let _never = write!(part, "%{byte:02X}").is_err();
        }
    }
    part
}

/// The topic of a subject. What is no `%XX` stays as it is.
pub(super) fn topic(subject: &str) -> String {
    let levels = subject.split('.').map(|part| match part {
        "%" => String::new(),
        part => plain(part),
    });
    levels.collect::<Vec<_>>().join("/")
}

fn plain(part: &str) -> String {
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.as_bytes();
    while let [first, tail @ ..] = rest {
        let code = tail.get(..2).filter(|_| *first == b'%');
        let code = code.and_then(|code| std::str::from_utf8(code).ok());
        match code.and_then(|code| u8::from_str_radix(code, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = tail.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| part.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::template::PARTS;
    use crate::record::tests::{message, publisher};
    use crate::record::{HEAD_BYTES, decode, encode};
    use bytes::BytesMut;

    fn record(topic: &str) -> Record {
        let mut out = BytesMut::new();
        assert!(encode(publisher(), &message(topic, ""), &mut out));
        decode(out.freeze().slice(HEAD_BYTES..)).expect("readable")
    }

    fn made(template: &str, topic: &str) -> Result<String, String> {
        Template::parse(template)
            .expect("a template")
            .subject(&record(topic), topic)
    }

    #[test]
    fn a_subject_is_made_of_the_topic_and_who_published() {
        let made = |template, topic| made(template, topic).expect("a subject");
        assert_eq!(made("mqtt.{topic}", "a/b"), "mqtt.a.b");
        assert_eq!(made("{level.1}.x-{client}.{username}", "a/b"), "b.x-c.u");
        assert_eq!(made("fixed", "a/b"), "fixed");
    }

    #[test]
    fn every_topic_is_a_subject_and_comes_back() {
        for topic_name in [
            "a/b", "/a//b/", "a.b/c d", "50%/%41", "ü/*x>", "/", "a\u{a0}b",
        ] {
            let subject = made("{topic}", topic_name).expect("a subject");
            assert!(is_subject(&subject, false), "{subject}");
            assert_eq!(topic(&subject), topic_name, "{subject}");
        }
        assert_eq!(topic("a.%zz.%C3"), "a/%zz/%C3", "what nobody here wrote");
    }

    #[test]
    fn what_has_no_subject_says_why() {
        assert_eq!(
            made("{level.2}", "a/b").unwrap_err(),
            "`a/b` has no level 2"
        );
        let topic = "x".repeat(SUBJECT_BYTES);
        assert!(made("{topic}", &topic).is_ok());
        assert!(made("{topic}", &format!("{topic}x")).is_err());
    }

    #[test]
    fn templates_and_subjects_are_checked() {
        for wrong in [
            "",
            "a..b",
            ".a",
            "a b",
            "a.*",
            "a.>",
            "{tpoic}",
            "{topic",
            "{level.x}",
        ] {
            assert!(Template::parse(wrong).is_err(), "{wrong}");
        }
        let many = "{client}".repeat(PARTS);
        assert!(Template::parse(&many).is_ok());
        assert!(Template::parse(&format!("{many}x")).is_err());
        for (subject, is_fine) in [
            ("a.*.b", true),
            ("a.>", true),
            (">", true),
            ("a.>.b", false),
            ("a*", false),
            ("", false),
        ] {
            assert_eq!(is_subject(subject, true), is_fine, "{subject}");
        }
    }

    #[test]
    fn all_subjects_of_a_template_are_one_with_wildcards() {
        for (template, wanted) in [
            ("mqtt.{topic}", "mqtt.>"),
            ("a.{level.0}.b", "a.*.b"),
            ("x-{topic}.b", ">"),
            ("fixed", "fixed"),
        ] {
            assert_eq!(Template::parse(template).expect("one").all(), wanted);
        }
    }
}
