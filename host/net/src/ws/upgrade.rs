//! The server's side of the handshake (RFC 6455 section 4.2), with answers that help whoever came to the wrong place.
//!
//! Owns: the request and the answer. Must not: read a frame.

use bytes::BytesMut;
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// Bytes of a handshake request.
const REQUEST_BYTES: usize = 8 * 1024;

/// Does the handshake and gives the bytes read behind it.
pub(crate) async fn handshake<S>(carrier: &mut S, path: &str) -> io::Result<Vec<u8>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut input = BytesMut::with_capacity(1024);
    let end = loop {
        if let Some(end) = input.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        if input.len() > REQUEST_BYTES {
            return respond(
                carrier,
                "431 Request Header Fields Too Large",
                "The request head is too large.\n",
            )
            .await;
        }
        if carrier.read_buf(&mut input).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    };
    let head = String::from_utf8_lossy(input.get(..end).unwrap_or_default()).into_owned();
    match Request::parse(&head, path) {
        Ok(request) => {
            let answer = format!(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Accept: {}\r\nSec-WebSocket-Protocol: {}\r\n\r\n",
                derive_accept_key(request.key.as_bytes()),
                request.protocol,
            );
            carrier.write_all(answer.as_bytes()).await?;
            carrier.flush().await?;
            Ok(input.get(end + 4..).unwrap_or_default().to_vec())
        }
        Err((status, text)) => respond(carrier, status, &text).await,
    }
}

async fn respond<S: AsyncWrite + Unpin>(
    carrier: &mut S,
    status: &str,
    text: &str,
) -> io::Result<Vec<u8>> {
    let answer = format!(
        "HTTP/1.1 {status}\r\nUpgrade: websocket\r\nConnection: close\r\nContent-Type: text/plain; \
         charset=utf-8\r\nContent-Length: {}\r\n\r\n{text}",
        text.len(),
    );
    carrier.write_all(answer.as_bytes()).await?;
    carrier.shutdown().await?;
    Err(io::Error::new(
        io::ErrorKind::InvalidData,
        format!("refused with {status}"),
    ))
}

/// What matters of an upgrade request.
#[derive(Debug, PartialEq, Eq)]
struct Request<'a> {
    key: &'a str,
    protocol: &'static str,
}

const EXPLANATION: &str = "This port speaks MQTT over WebSocket. Connect an MQTT client to it with the \
    subprotocol \"mqtt\", for example mqtt.js: mqtt.connect(\"ws://HOST:PORT/mqtt\").\n";

impl<'a> Request<'a> {
    fn parse(head: &'a str, path: &str) -> Result<Self, (&'static str, String)> {
        let mut lines = head.split("\r\n");
        let mut first = lines.next().unwrap_or_default().split(' ');
        let (method, target) = (
            first.next().unwrap_or_default(),
            first.next().unwrap_or_default(),
        );
        let headers: Vec<(&str, &str)> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name, value.trim()))
            .collect();
        let all = |wanted: &'static str| {
            headers
                .iter()
                .filter(move |(name, _)| name.eq_ignore_ascii_case(wanted))
                .map(|(_, value)| *value)
        };
        let names = |wanted, token: &str| {
            all(wanted)
                .flat_map(|value| value.split(','))
                .any(|part| part.trim().eq_ignore_ascii_case(token))
        };
        if method != "GET" || !names("upgrade", "websocket") {
            return Err(("426 Upgrade Required", EXPLANATION.to_owned()));
        }
        if target.split('?').next() != Some(path) {
            return Err((
                "404 Not Found",
                format!("MQTT over WebSocket is at {path} here.\n"),
            ));
        }
        let key = all("sec-websocket-key")
            .next()
            .filter(|_| all("sec-websocket-version").any(|v| v == "13"));
        let Some(key) = key else {
            return Err((
                "400 Bad Request",
                "A WebSocket of version 13 needs a Sec-WebSocket-Key.\n".to_owned(),
            ));
        };
        // [MQTT-6.0.0-3]: the client names the subprotocol, [MQTT-6.0.0-4]: the server echoes it.
        let offered = |protocol: &str| {
            all("sec-websocket-protocol")
                .flat_map(|value| value.split(','))
                .any(|part| part.trim() == protocol)
        };
        match ["mqtt", "mqttv3.1"]
            .into_iter()
            .find(|protocol| offered(protocol))
        {
            Some(protocol) => Ok(Self { key, protocol }),
            None => {
                let text = format!(
                    "Offer the WebSocket subprotocol \"mqtt\" [MQTT-6.0.0-3]. {EXPLANATION}"
                );
                Err(("400 Bad Request", text))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(extra: &str) -> String {
        format!(
            "GET /mqtt HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUPGRADE: WebSocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{extra}"
        )
    }

    #[test]
    fn subprotocols_are_found_in_lists_and_missing_ones_explained() {
        for (offer, expected) in [
            ("mqtt", "mqtt"),
            ("mqttv3.1", "mqttv3.1"),
            ("x, mqttv3.1,mqtt", "mqtt"),
        ] {
            let head = head(&format!("Sec-WebSocket-Protocol: {offer}"));
            assert_eq!(Request::parse(&head, "/mqtt").unwrap().protocol, expected);
        }
        let (status, text) = Request::parse(&head(""), "/mqtt").unwrap_err();
        assert!(status.starts_with("400") && text.contains("subprotocol"));
        let (status, _) =
            Request::parse(&head("Sec-WebSocket-Protocol: mqtt"), "/other").unwrap_err();
        assert!(status.starts_with("404"));
    }

    #[test]
    fn a_plain_get_is_told_what_this_is() {
        let (status, text) = Request::parse("GET / HTTP/1.1\r\nHost: x", "/mqtt").unwrap_err();
        assert!(status.starts_with("426") && text.contains("MQTT over WebSocket"));
    }
}
