//! What an answer means for the messages of its request.
//!
//! Owns: the reading of status and `Retry-After`. Must not: know messages.

use std::time::UNIX_EPOCH;
use witmq_sdk::host::http::{HttpError, Response};

/// Characters of an answer that are told to people.
const WORDS: usize = 200;

/// What becomes of the messages.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Done,
    /// Once more; after so many milliseconds, or 0 for the broker's own pauses. Why, for the log.
    Again(u32, String),
    /// Not these messages; why, for the dead letters.
    Never {
        text: String,
        /// Whether it may be one of them only.
        is_content: bool,
    },
}

/// Reads an answer. `now_ms` since 1970; `longest_ms` bounds what the service may ask for.
pub(crate) fn read(answer: Result<Response, HttpError>, now_ms: u64, longest_ms: u32) -> Verdict {
    let never = |text, is_content| Verdict::Never { text, is_content };
    let answer = match answer {
        Ok(answer) => answer,
        Err(error @ HttpError::BadRequest(_)) => return never(error.to_string(), false),
        Err(error) => return Verdict::Again(0, error.to_string()),
    };
    let text = format!("the service said {}{}", answer.status, words(&answer.body));
    match answer.status {
        200..=299 => Verdict::Done,
        408 | 425 | 429 | 500.. => {
            let after = answer.header("retry-after");
            let after = after.and_then(|after| pause_ms(after, now_ms)).unwrap_or(0);
            let after = u32::try_from(after).unwrap_or(u32::MAX);
            Verdict::Again(after.min(longest_ms), text)
        }
        // Not the messages' fault: the configuration names another place than the service.
        ..=399 => Verdict::Again(0, text),
        status => never(text, matches!(status, 400 | 413 | 422)),
    }
}

/// `Retry-After`: seconds, or a date (RFC 9110 section 10.2.3).
fn pause_ms(value: &str, now_ms: u64) -> Option<u64> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|digit| digit.is_ascii_digit()) {
        return Some(
            value
                .parse()
                .map_or(u64::MAX, |s: u64| s.saturating_mul(1000)),
        );
    }
    let date = httpdate::parse_http_date(value).ok()?;
    let date = date.duration_since(UNIX_EPOCH).ok()?.as_millis();
    Some(
        u64::try_from(date)
            .unwrap_or(u64::MAX)
            .saturating_sub(now_ms),
    )
}

/// The beginning of an answer, on one line.
fn words(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    let text: String = text.trim().chars().map(plain).take(WORDS).collect();
    match text.is_empty() {
        true => text,
        false => format!(": {text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_767_225_600_000;

    fn status(status: u16) -> Verdict {
        read(Ok(Response::new(status, "why\nnot")), NOW, 1000)
    }

    #[test]
    fn each_status_has_its_outcome() {
        for done in [200, 201, 204, 299] {
            assert_eq!(status(done), Verdict::Done);
        }
        for again in [301, 302, 304, 308, 408, 425, 429, 500, 503, 599] {
            let text = format!("the service said {again}: why not");
            assert_eq!(status(again), Verdict::Again(0, text));
        }
        for (never, is_content) in [
            (400, true),
            (401, false),
            (404, false),
            (413, true),
            (422, true),
            (499, false),
        ] {
            let text = format!("the service said {never}: why not");
            assert_eq!(status(never), Verdict::Never { text, is_content });
        }
    }

    #[test]
    fn without_an_answer_it_comes_again() {
        for error in [
            HttpError::Denied,
            HttpError::Timeout,
            HttpError::Failed("x".to_owned()),
        ] {
            assert!(matches!(read(Err(error), NOW, 1000), Verdict::Again(0, _)));
        }
        let bad = HttpError::BadRequest("x".to_owned());
        assert!(matches!(read(Err(bad), NOW, 1000), Verdict::Never { .. }));
    }

    #[test]
    fn retry_after_is_honoured_and_bounded() {
        let asked = |value: &str| {
            let mut answer = Response::new(503, "");
            answer.headers = vec![("retry-after".to_owned(), value.to_owned())];
            match read(Ok(answer), NOW, 3_600_000) {
                Verdict::Again(ms, _) => ms,
                other => panic!("{other:?}"),
            }
        };
        for (value, expected) in [
            ("0", 0),
            ("7", 7000),
            (" 3600 ", 3_600_000),
            ("3601", 3_600_000),
            ("99999999999999999999999", 3_600_000),
            ("Thu, 01 Jan 2026 00:00:09 GMT", 9000),
            ("Thu, 01 Jan 2026 00:00:00 GMT", 0),
            ("Wed, 31 Dec 2025 23:59:59 GMT", 0),
            ("Fri, 01 Jan 2027 00:00:00 GMT", 3_600_000),
            ("", 0),
            ("-1", 0),
            ("soon", 0),
            ("1.5", 0),
        ] {
            assert_eq!(asked(value), expected, "{value:?}");
        }
    }

    #[test]
    fn what_is_told_of_an_answer_is_short_and_plain() {
        assert_eq!(words(b"  "), "");
        let said = words(&[b'a'; 1000]);
        assert_eq!(said.len(), 2 + WORDS);
        assert_eq!(words(b"a\x1b[31m\xFF"), ": a [31m\u{FFFD}");
    }
}
