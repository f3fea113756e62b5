//! The bytes of NATS: what the server says, read as far as it is there, and what is written to it.
//!
//! Owns: [`read`] and the writers. Must not: know sockets. The protocol is lines of words; a payload follows by its length.

use bytes::{Buf as _, Bytes, BytesMut};
use serde_json::Value;

/// Bytes of a line: a server that is one of many names all of them in one.
const LINE_BYTES: usize = 64 * 1024;
/// Bytes of a message with its headers: no server takes more.
const MESSAGE_BYTES: usize = 64 * 1024 * 1024 + LINE_BYTES;
/// First line of headers.
const HEAD: &str = "NATS/1.0";

/// What the server says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Op {
    Info(Box<Info>),
    Message(Box<Message>),
    Ping,
    Pong,
    Fine,
    /// In its words.
    Wrong(String),
}

/// What the server is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Info {
    pub(super) version: String,
    /// Bytes of headers and payload.
    pub(super) max_payload: usize,
    pub(super) wants_tls: bool,
    pub(super) takes_headers: bool,
    /// To be signed by who has a key.
    pub(super) nonce: Option<String>,
}

/// A message for a subscription of ours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) subject: String,
    pub(super) reply: Option<String>,
    /// Of the server: 503, nobody listens to what was asked.
    pub(super) status: Option<u16>,
    pub(super) headers: Vec<(String, String)>,
    pub(super) payload: Bytes,
}

/// Takes the next thing from the buffer; `None`: there is not enough of it yet.
///
/// # Errors
/// This is not NATS, in words.
pub(super) fn read(buffer: &mut BytesMut) -> Result<Option<Op>, String> {
    let Some(end) = buffer.windows(2).position(|two| two == b"\r\n") else {
        return match buffer.len() > LINE_BYTES {
            true => Err("the server says too long a line".to_owned()),
            false => Ok(None),
        };
    };
    let line = String::from_utf8_lossy(buffer.get(..end).unwrap_or_default()).into_owned();
    let (verb, rest) = line.split_once([' ', '\t']).unwrap_or((&line, ""));
    let op = match verb.to_ascii_uppercase().as_str() {
        "MSG" => return message(buffer, end + 2, rest, false),
        "HMSG" => return message(buffer, end + 2, rest, true),
        "INFO" => Op::Info(Box::new(info(rest)?)),
        "PING" => Op::Ping,
        "PONG" => Op::Pong,
        "+OK" => Op::Fine,
        "-ERR" => Op::Wrong(rest.trim().trim_matches('\'').to_owned()),
        _ => {
            let shown: String = line.chars().take(40).collect();
            return Err(format!("the server does not speak NATS: `{shown}`"));
        }
    };
    buffer.advance(end + 2);
    Ok(Some(op))
}

fn info(text: &str) -> Result<Info, String> {
    let value: Value = serde_json::from_str(text.trim())
        .map_err(|error| format!("what the server says of itself is no JSON: {error}"))?;
    let flag = |key: &str| value[key].as_bool() == Some(true);
    let max_payload = value["max_payload"].as_u64().unwrap_or(1024 * 1024);
    Ok(Info {
        version: value["version"].as_str().unwrap_or("?").to_owned(),
        max_payload: usize::try_from(max_payload).unwrap_or(usize::MAX),
        wants_tls: flag("tls_required"),
        takes_headers: flag("headers"),
        nonce: value["nonce"].as_str().map(str::to_owned),
    })
}

/// `SUBJECT SID [REPLY] [HEADER BYTES] BYTES`, and the bytes.
fn message(
    buffer: &mut BytesMut,
    begin: usize,
    words: &str,
    has_headers: bool,
) -> Result<Option<Op>, String> {
    let wrong = || format!("a message of the server cannot be read: `{words}`");
    let words: Vec<&str> = words.split_ascii_whitespace().collect();
    let lengths = if has_headers { 2 } else { 1 };
    let named = words.len().checked_sub(lengths).ok_or_else(wrong)?;
    let (names, lengths) = words.split_at_checked(named).ok_or_else(wrong)?;
    let (subject, reply) = match names {
        [subject, _sid] => (*subject, None),
        [subject, _sid, reply] => (*subject, Some((*reply).to_owned())),
        _ => return Err(wrong()),
    };
    let mut numbers = lengths.iter().map(|word| word.parse::<usize>().ok());
    let head = match has_headers {
        true => numbers.next().flatten().ok_or_else(wrong)?,
        false => 0,
    };
    let whole = numbers.next().flatten().ok_or_else(wrong)?;
    if head > whole || whole > MESSAGE_BYTES {
        return Err(wrong());
    }
    if buffer.len() < begin + whole + 2 {
        buffer.reserve(begin + whole + 2 - buffer.len());
        return Ok(None);
    }
    if buffer.get(begin + whole..begin + whole + 2) != Some(b"\r\n") {
        return Err("a message of the server has another length than it says".to_owned());
    }
    let (subject, mut message) = (subject.to_owned(), Message::default());
    buffer.advance(begin);
    let mut body = buffer.split_to(whole).freeze();
    buffer.advance(2);
    let headers = body.split_to(head);
    (message.status, message.headers) = headers_of(&headers);
    (message.subject, message.reply, message.payload) = (subject, reply, body);
    Ok(Some(Op::Message(Box::new(message))))
}

fn headers_of(bytes: &[u8]) -> (Option<u16>, Vec<(String, String)>) {
    let text = String::from_utf8_lossy(bytes);
    let mut lines = text.split("\r\n");
    let first = lines.next().unwrap_or_default();
    let status = first.strip_prefix(HEAD).map(str::trim_start);
    let status = status.and_then(|rest| rest.get(..3)?.parse().ok());
    let headers = lines.filter_map(|line| line.split_once(':'));
    let headers = headers.map(|(name, value)| (name.to_owned(), value.trim().to_owned()));
    (status, headers.collect())
}

/// A message to the server. Neither names nor values have line breaks.
pub(super) fn publish(
    out: &mut BytesMut,
    subject: &str,
    reply: Option<&str>,
    headers: &[(String, String)],
    payload: &[u8],
) {
    let mut head = String::new();
    if !headers.is_empty() {
        head = format!("{HEAD}\r\n");
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
    }
    let verb = if headers.is_empty() { "PUB" } else { "HPUB" };
    let reply = reply.map(|reply| format!(" {reply}")).unwrap_or_default();
    let lengths = match headers.is_empty() {
        true => payload.len().to_string(),
        false => format!("{} {}", head.len(), head.len() + payload.len()),
    };
    out.extend_from_slice(format!("{verb} {subject}{reply} {lengths}\r\n{head}").as_bytes());
    out.extend_from_slice(payload);
    out.extend_from_slice(b"\r\n");
}

/// Bytes that headers take of what the server allows for a message.
pub(super) fn header_bytes(headers: &[(String, String)]) -> usize {
    let lines = headers
        .iter()
        .map(|(name, value)| name.len() + value.len() + 4);
    match headers.is_empty() {
        true => 0,
        false => HEAD.len() + 4 + lines.sum::<usize>(),
    }
}

/// A subscription, of a group if there is one.
pub(super) fn subscribe(out: &mut BytesMut, subject: &str, queue: Option<&str>, number: usize) {
    let queue = queue.map(|queue| format!(" {queue}")).unwrap_or_default();
    out.extend_from_slice(format!("SUB {subject}{queue} {number}\r\n").as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything that is said, given in pieces of `size` bytes.
    fn heard(text: &[u8], size: usize) -> Result<Vec<Op>, String> {
        let (mut buffer, mut ops) = (BytesMut::new(), Vec::new());
        for piece in text.chunks(size) {
            buffer.extend_from_slice(piece);
            while let Some(op) = read(&mut buffer)? {
                ops.push(op);
            }
        }
        assert!(buffer.is_empty(), "{buffer:?}");
        Ok(ops)
    }

    #[test]
    fn what_comes_in_pieces_is_read_as_what_comes_at_once() {
        let text = b"INFO {\"version\":\"2.9.10\",\"max_payload\":99,\"headers\":true,\"nonce\":\"n\"}\r\n\
            PING\r\n+OK\r\n-ERR 'Stale Connection'\r\nMSG a.b 1 4\r\n\r\nxy\r\nmsg a 1 r.1 0\r\n\r\n\
            HMSG a 2 r 22 24\r\nNATS/1.0\r\nA:  b: c\r\n\r\nhi\r\nHMSG _I 9 16 16\r\nNATS/1.0 503\r\n\r\n\r\nPONG\r\n";
        let whole = heard(text, text.len()).expect("readable");
        for size in [1, 2, 7] {
            assert_eq!(heard(text, size).as_ref(), Ok(&whole));
        }
        let [info, _, _, wrong, plain, asked, headed, refused, _] = &whole[..] else {
            panic!("{whole:?}")
        };
        let Op::Info(info) = info else {
            panic!("{info:?}")
        };
        assert_eq!((info.max_payload, info.takes_headers), (99, true));
        assert_eq!(wrong, &Op::Wrong("Stale Connection".to_owned()));
        let message = |op: &Op| match op {
            Op::Message(message) => message.clone(),
            other => panic!("{other:?}"),
        };
        assert_eq!(&message(plain).payload[..], b"\r\nxy");
        assert_eq!(message(asked).reply.as_deref(), Some("r.1"));
        let headed = message(headed);
        assert_eq!(headed.headers, [("A".to_owned(), "b: c".to_owned())]);
        assert_eq!(&headed.payload[..], b"hi");
        assert_eq!(message(refused).status, Some(503));
    }

    #[test]
    fn what_is_no_nats_is_an_error_and_no_panic() {
        for text in [
            "HTTP/1.1 400 Bad Request\r\n",
            "MSG a\r\n",
            "MSG a 1 x\r\n",
            "MSG a 1 r s 4\r\n",
            "HMSG a 1 5 4\r\nabcd\r\n",
            "MSG a 1 99999999999\r\n",
            "INFO {\r\n",
            "MSG a 1 1\r\nab\r\n",
        ] {
            assert!(heard(text.as_bytes(), 3).is_err(), "{text}");
        }
        let mut long = BytesMut::from(&vec![b'x'; LINE_BYTES][..]);
        assert_eq!(read(&mut long), Ok(None));
        long.extend_from_slice(b"x");
        assert!(read(&mut long).is_err());
    }

    #[test]
    fn what_is_written_is_what_servers_read() {
        let mut out = BytesMut::new();
        publish(&mut out, "a.b", None, &[], b"hi");
        let headers = [("A".to_owned(), "b".to_owned())];
        publish(&mut out, "a", Some("r.1"), &headers, b"hi");
        subscribe(&mut out, "a.>", Some("g"), 2);
        let wanted =
            b"PUB a.b 2\r\nhi\r\nHPUB a r.1 18 20\r\nNATS/1.0\r\nA: b\r\n\r\nhi\r\nSUB a.> g 2\r\n";
        assert_eq!(&out[..], wanted);
        assert_eq!((header_bytes(&headers), header_bytes(&[])), (18, 0));
    }
}
