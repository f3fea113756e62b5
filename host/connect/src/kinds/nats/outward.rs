//! What chains hand over is published at a NATS server. Without JetStream it is done when the server answered a PING
//! behind it; with JetStream when the stream said that it has it.
//!
//! Owns: headers, and which answer belongs to which message of a batch.

use super::link::Link;
use super::wire::{Message, Op, header_bytes, publish, subscribe};
use super::{Bridge, Out};
use crate::kinds::via::mark;
use crate::outlet::{Answer, Later, Outlet, Trouble};
use crate::record::Record;
use bytes::BytesMut;
use futures_util::FutureExt as _;
use serde_json::{Value, json};
use std::fmt::Write as _;

/// What servers understand themselves, deleting a stream's messages among it: not for clients of this broker to say.
const RESERVED: &str = "nats-";
/// A stream that a message is too large for.
const TOO_LARGE: u64 = 10_054;

/// A connection, and where answers of streams come.
struct Line {
    link: Link,
    inbox: String,
    /// Messages that were numbered so far.
    numbers: u64,
}

pub(crate) struct Outward {
    bridge: Bridge,
    /// Taken while it is used: one that was given up in its middle is not used again.
    line: Option<Line>,
}

/// What became of a message that went to a stream.
enum Verdict {
    Settled(Answer),
    /// Not yet, with words.
    Away(String),
}

impl Line {
    async fn open(bridge: &Bridge, way: &str) -> Result<Self, String> {
        let mut link = Link::open(bridge, way).await?;
        let inbox = format!("_INBOX.{:016x}", rand::random::<u64>());
        if bridge
            .settings
            .out
            .as_ref()
            .is_some_and(|out| out.is_stream)
        {
            let mut hello = BytesMut::new();
            subscribe(&mut hello, &format!("{inbox}.*"), None, 1);
            link.write(&hello).await?;
        }
        Ok(Self {
            link,
            inbox,
            numbers: 0,
        })
    }

    /// Asks JetStream itself.
    async fn ask(&mut self, subject: &str, question: &Value) -> Result<Value, String> {
        let mut out = BytesMut::new();
        let reply = format!("{}.check", self.inbox);
        publish(
            &mut out,
            subject,
            Some(&reply),
            &[],
            question.to_string().as_bytes(),
        );
        let mut said = None;
        let hear = |op| match op {
            Op::Message(message) if message.subject == reply => {
                said = Some(message);
                Ok(true)
            }
            Op::Wrong(text) => Err(format!("the server said: {text}")),
            _ => Ok(false),
        };
        self.link.exchange(&out, hear).await?;
        let said = said.unwrap_or_default();
        if said.status == Some(503) {
            return Err("there is no JetStream at this server, or not for this user".to_owned());
        }
        serde_json::from_slice(&said.payload)
            .map_err(|error| format!("what JetStream says cannot be read: {error}"))
    }
}

/// A text without line breaks and NUL: they are written as `%XX`, and what else `is_fine` does not like.
fn line(text: &str, is_fine: impl Fn(u8) -> bool) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'\r' | b'\n' | 0 => bytes.extend_from_slice(format!("%{byte:02X}").as_bytes()),
            byte if is_fine(byte) => bytes.push(byte),
            byte => {
                let mut code = String::new();
                let _never = write!(code, "%{byte:02X}").is_err();
                bytes.extend_from_slice(code.as_bytes());
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The topic, the content type and the user properties; `None`: the message runs in a circle.
fn headers(record: &Record, origin: &str) -> Option<Vec<(String, String)>> {
    let mut user = record.properties.user.clone();
    if !mark(&mut user, origin) {
        return None;
    }
    let value = |text: &str| line(text, |_| true);
    let mut headers = vec![("Mqtt-Topic".to_owned(), value(&record.topic))];
    if let Some(kind) = &record.properties.content_type {
        headers.push(("Content-Type".to_owned(), value(kind)));
    }
    for (name, text) in user.iter() {
        let is_reserved =
            (name.get(..RESERVED.len())).is_some_and(|start| start.eq_ignore_ascii_case(RESERVED));
        if !is_reserved && !name.is_empty() {
            let is_fine = |byte: u8| byte.is_ascii_graphic() && byte != b':';
            headers.push((line(name, is_fine), value(text)));
        }
    }
    Some(headers)
}

/// Writes a message; the answer if it is not to be written.
fn write(
    bridge: &Bridge,
    out: &Out,
    most: usize,
    record: &Record,
    reply: Option<&str>,
    bytes: &mut BytesMut,
) -> Option<Answer> {
    let Some(headers) = headers(record, &bridge.means.origin) else {
        return Some(Answer::Looped);
    };
    let topic = &*record.topic;
    let told = topic.strip_prefix(&out.strip).unwrap_or(topic);
    let subject = match out.subject.subject(record, told) {
        Ok(subject) => subject,
        Err(text) => return Some(Answer::Never(text)),
    };
    let size = header_bytes(&headers) + record.payload.len();
    if size > most {
        return Some(Answer::Never(format!(
            "it takes {size} bytes with its headers, and the server takes {most}"
        )));
    }
    publish(bytes, &subject, reply, &headers, &record.payload);
    None
}

/// What a stream said of a message.
fn judged(message: &Message) -> Verdict {
    if message.status == Some(503) {
        return Verdict::Away("no stream takes its subject".to_owned());
    }
    let said: Value = serde_json::from_slice(&message.payload).unwrap_or_default();
    let error = &said["error"];
    let text = error["description"].as_str().unwrap_or("no reason");
    match (error["err_code"].as_u64(), said["seq"].as_u64()) {
        (Some(TOO_LARGE), _) => Verdict::Settled(Answer::Never(format!("the stream said: {text}"))),
        (None, Some(_)) if error.is_null() => Verdict::Settled(Answer::Done),
        _ => Verdict::Away(format!("the stream said: {text}")),
    }
}

/// Some of a batch wait for somebody to mend something. One by one, those that do not are sent once more only.
fn held_up(size: usize, text: String) -> Trouble {
    match size {
        1 => Trouble::away(text),
        _ => Trouble::Refused(text),
    }
}

/// The answers as far as they are settled from the first on.
fn settled(verdicts: Vec<Option<Verdict>>) -> Result<Vec<Answer>, Trouble> {
    let size = verdicts.len();
    let is_away = |verdict: &Option<Verdict>| !matches!(verdict, Some(Verdict::Settled(_)));
    let are_all_away = verdicts.iter().all(is_away);
    let mut answers = Vec::new();
    for verdict in verdicts {
        match verdict {
            Some(Verdict::Settled(answer)) => answers.push(answer),
            Some(Verdict::Away(text)) if answers.is_empty() => {
                return Err(match are_all_away {
                    true => Trouble::away(text),
                    false => held_up(size, text),
                });
            }
            _ => break,
        }
    }
    Ok(answers)
}

impl Outward {
    pub(in crate::kinds) fn new(bridge: Bridge) -> Self {
        Self { bridge, line: None }
    }

    /// PING, and what the server says before PONG is about this batch.
    async fn send_plain(
        &self,
        line: &mut Line,
        out: &Out,
        batch: &[Record],
    ) -> Result<Vec<Answer>, Trouble> {
        let most = line.link.info.max_payload;
        let mut bytes = BytesMut::new();
        let answers = batch.iter().map(|record| {
            let answer = write(&self.bridge, out, most, record, None, &mut bytes);
            answer.unwrap_or(Answer::Done)
        });
        let answers: Vec<Answer> = answers.collect();
        bytes.extend_from_slice(b"PING\r\n");
        let mut denied = None;
        let hear = |op| match op {
            Op::Pong => Ok(true),
            Op::Wrong(text) if is_denied(&text) => {
                denied = Some(text);
                Ok(false)
            }
            Op::Wrong(text) => Err(format!("the server said: {text}")),
            _ => Ok(false),
        };
        let heard = line.link.exchange(&bytes, hear).await;
        heard.map_err(Trouble::away)?;
        match denied {
            Some(text) => Err(held_up(batch.len(), format!("the server said: {text}"))),
            None => Ok(answers),
        }
    }

    async fn send_to_stream(
        &self,
        line: &mut Line,
        out: &Out,
        batch: &[Record],
    ) -> Result<Vec<Answer>, Trouble> {
        let most = line.link.info.max_payload;
        let (first, inbox) = (line.numbers, line.inbox.clone());
        let mut bytes = BytesMut::new();
        let mut verdicts = Vec::new();
        for record in batch {
            let reply = format!("{inbox}.{}", line.numbers);
            line.numbers += 1;
            let answer = write(&self.bridge, out, most, record, Some(&reply), &mut bytes);
            verdicts.push(answer.map(Verdict::Settled));
        }
        let mut missing = verdicts.iter().filter(|verdict| verdict.is_none()).count();
        if missing == 0 {
            return settled(verdicts);
        }
        let mut denied = None;
        let hear = |op| match op {
            Op::Message(message) => {
                let number = (message.subject.strip_prefix(&inbox))
                    .and_then(|rest| rest.strip_prefix('.')?.parse::<u64>().ok())
                    .and_then(|number| usize::try_from(number.checked_sub(first)?).ok());
                if let Some(place) = number.and_then(|number| verdicts.get_mut(number))
                    && place.is_none()
                {
                    *place = Some(judged(&message));
                    missing -= 1;
                }
                Ok(missing == 0)
            }
            Op::Wrong(text) if is_denied(&text) => {
                denied = Some(text); // and there will be no answer
                Ok(true)
            }
            Op::Wrong(text) => Err(format!("the server said: {text}")),
            _ => Ok(false),
        };
        let heard = line.link.exchange(&bytes, hear).await;
        heard.map_err(Trouble::away)?;
        match denied {
            Some(text) => Err(held_up(batch.len(), format!("the server said: {text}"))),
            None => settled(verdicts),
        }
    }
}

/// The connection stays; the message is gone.
fn is_denied(text: &str) -> bool {
    text.to_ascii_lowercase()
        .starts_with("permissions violation")
}

impl Outlet for Outward {
    fn check(&mut self) -> Later<'_, Result<String, String>> {
        Box::pin(async {
            let mut line = Line::open(&self.bridge, "check").await?;
            let place = line.link.place.clone();
            let version = line.link.info.version.clone();
            let Some(out) = self
                .bridge
                .settings
                .out
                .as_ref()
                .filter(|out| out.is_stream)
            else {
                return Ok(format!("{place} (NATS {version}) lets this broker in"));
            };
            let subject = out.subject.all();
            let said = line
                .ask("$JS.API.STREAM.NAMES", &json!({ "subject": subject }))
                .await?;
            if let Some(text) = said["error"]["description"].as_str() {
                return Err(format!("JetStream said: {text}"));
            }
            let names = said["streams"].as_array().into_iter().flatten();
            let names: Vec<&str> = names.filter_map(Value::as_str).collect();
            match names.is_empty() {
                true => Err(format!(
                    "there is no stream for `{subject}` at {place}: make one"
                )),
                false => Ok(format!(
                    "{place} (NATS {version}) lets this broker in; `{subject}` goes to {}",
                    names.join(", ")
                )),
            }
        })
    }

    fn send<'a>(&'a mut self, batch: &'a [Record]) -> Later<'a, Result<Vec<Answer>, Trouble>> {
        Box::pin(async move {
            let Some(out) = &self.bridge.settings.out else {
                let text = "this bridge has no `out`".to_owned();
                return Ok(vec![Answer::Never(text); batch.len()]);
            };
            let mut line = match self.line.take() {
                Some(line) => line,
                None => Line::open(&self.bridge, "out")
                    .await
                    .map_err(Trouble::away)?,
            };
            let sent = match out.is_stream {
                true => self.send_to_stream(&mut line, out, batch).await,
                false => self.send_plain(&mut line, out, batch).await,
            };
            if sent.is_ok() {
                self.line = Some(line);
            }
            sent
        })
    }

    fn idle(&mut self) -> Later<'_, Result<(), String>> {
        Box::pin(async {
            while let Some(mut line) = self.line.take() {
                let Some(said) = line.link.next().now_or_never() else {
                    self.line = Some(line);
                    return Ok(());
                };
                let said = match said {
                    Ok(Op::Ping) => line.link.write(b"PONG\r\n").await,
                    Ok(Op::Wrong(text)) => Err(text),
                    said => said.map(drop),
                };
                match said {
                    Ok(()) => self.line = Some(line),
                    // Made anew when there is something to send.
                    Err(text) => tracing::debug!(
                        sink = self.bridge.name,
                        "the connection to the server ended: {text}"
                    ),
                }
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::{message, publisher};
    use crate::record::{HEAD_BYTES, decode, encode};

    fn record(user: &[(&str, &str)]) -> Record {
        let mut given = message("a/b", "");
        given.properties.user = user
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into()))
            .collect();
        let mut out = BytesMut::new();
        assert!(encode(publisher(), &given, &mut out));
        decode(out.freeze().slice(HEAD_BYTES..)).expect("readable")
    }

    #[test]
    fn properties_become_headers_and_cannot_speak_to_the_server() {
        let given = record(&[
            ("site", "50% of ü"),
            ("Nats-Rollup", "all"),
            ("nats-msg-id", "1"),
            ("a: b", "c\r\nNats-Rollup: all"),
            ("", "x"),
        ]);
        let headers = headers(&given, "o").expect("no circle");
        let wanted = [
            ("Mqtt-Topic", "a/b"),
            ("Content-Type", "text/plain"),
            ("site", "50% of ü"),
            ("a%3A%20b", "c%0D%0ANats-Rollup: all"),
            ("witmq-via", "o"),
        ];
        let wanted = wanted.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(headers, wanted);
        assert_eq!(super::headers(&record(&[("witmq-via", "o")]), "o"), None);
    }

    #[test]
    fn what_a_stream_says_is_done_or_comes_again_or_never() {
        let said = |status, text: &str| {
            let payload = text.to_owned().into();
            judged(&Message {
                status,
                payload,
                ..Message::default()
            })
        };
        assert!(matches!(
            said(None, "{\"stream\":\"S\",\"seq\":7}"),
            Verdict::Settled(Answer::Done)
        ));
        let error =
            |code| format!("{{\"error\":{{\"err_code\":{code},\"description\":\"d\"}},\"seq\":0}}");
        assert!(matches!(
            said(None, &error(TOO_LARGE)),
            Verdict::Settled(Answer::Never(text)) if text == "the stream said: d"
        ));
        for away in [
            said(None, &error(10_077)),
            said(Some(503), ""),
            said(None, "x"),
        ] {
            assert!(matches!(away, Verdict::Away(_)));
        }
    }

    #[test]
    fn a_batch_is_settled_up_to_the_first_that_waits() {
        let done = || Some(Verdict::Settled(Answer::Done));
        let away = || Some(Verdict::Away("t".to_owned()));
        let answers = settled(vec![done(), done(), away(), done()]);
        assert_eq!(answers, Ok(vec![Answer::Done; 2]));
        let refused = Trouble::Refused("t".to_owned());
        assert_eq!(settled(vec![away(), done()]), Err(refused));
        assert_eq!(settled(vec![away(), away()]), Err(Trouble::away("t")));
        assert_eq!(settled(vec![away()]), Err(Trouble::away("t")));
    }
}
