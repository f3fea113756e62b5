//! MQTT over WebSocket (section 6): the handshake, and binary messages as a stream of bytes.
//!
//! Packets may span or share messages [MQTT-6.0.0-2]; anything but binary ends the connection [MQTT-6.0.0-1].

use bytes::{Buf, Bytes, BytesMut};
use futures_util::{Sink, Stream as _};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error as WsError, Message};

/// Bytes of a handshake request.
const REQUEST_BYTES: usize = 8 * 1024;
/// An idle connection keeps no larger buffers than these.
const BUFFER_BYTES: usize = 4 * 1024;
/// What a message may hold beyond one packet of the largest size.
const SLACK_BYTES: usize = 64 * 1024;

/// A WebSocket as a stream of bytes.
#[derive(Debug)]
pub(crate) struct WsStream<S> {
    socket: WebSocketStream<S>,
    /// The rest of the message being read.
    rest: Bytes,
    /// A close frame is on its way.
    is_closing: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> WsStream<S> {
    /// Behind a handshake that is done; `leftover` was read after it already.
    pub(crate) async fn new(carrier: S, leftover: Vec<u8>, maximum_packet_size: u32) -> Self {
        let maximum = usize::try_from(maximum_packet_size)
            .unwrap_or(usize::MAX)
            .saturating_add(SLACK_BYTES);
        let config = WebSocketConfig::default()
            .read_buffer_size(BUFFER_BYTES)
            .write_buffer_size(0)
            .max_message_size(Some(maximum))
            .max_frame_size(Some(maximum));
        let socket =
            WebSocketStream::from_partially_read(carrier, leftover, Role::Server, Some(config))
                .await;
        Self {
            socket,
            rest: Bytes::new(),
            is_closing: false,
        }
    }

    pub(crate) fn carrier(&mut self) -> &mut S {
        self.socket.get_mut()
    }

    fn refuse(&mut self, cx: &mut Context<'_>, code: CloseCode, reason: &'static str) -> io::Error {
        if !self.is_closing {
            self.is_closing = true;
            let frame = CloseFrame {
                code,
                reason: reason.into(),
            };
            let mut socket = Pin::new(&mut self.socket);
            if socket.as_mut().poll_ready(cx).is_ready()
                && socket
                    .as_mut()
                    .start_send(Message::Close(Some(frame)))
                    .is_ok()
            {
                let _is_sent = socket.poll_flush(cx).is_ready();
            }
        }
        io::Error::new(io::ErrorKind::InvalidData, reason)
    }
}

fn broken(error: WsError) -> io::Error {
    match error {
        WsError::Io(error) => error,
        other => io::Error::other(other),
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for WsStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.rest.is_empty() {
            match ready!(Pin::new(&mut self.socket).poll_next(cx)) {
                None | Some(Ok(Message::Close(_)) | Err(WsError::ConnectionClosed)) => {
                    return Poll::Ready(Ok(()));
                }
                Some(Ok(Message::Binary(bytes))) => self.rest = bytes,
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {} // answered by the library
                Some(Ok(Message::Text(_) | Message::Frame(_))) => {
                    let text = "MQTT needs binary messages [MQTT-6.0.0-1]";
                    return Poll::Ready(Err(self.refuse(cx, CloseCode::Unsupported, text)));
                }
                Some(Err(WsError::Capacity(_))) => {
                    let text = "the message is larger than the largest packet";
                    return Poll::Ready(Err(self.refuse(cx, CloseCode::Size, text)));
                }
                Some(Err(error)) => return Poll::Ready(Err(broken(error))),
            }
        }
        let count = self.rest.len().min(buf.remaining());
        buf.put_slice(self.rest.get(..count).unwrap_or_default());
        self.rest.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for WsStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut socket = Pin::new(&mut self.socket);
        ready!(socket.as_mut().poll_ready(cx)).map_err(broken)?;
        // At most one message waits: it goes out before the next is taken.
        ready!(socket.as_mut().poll_flush(cx)).map_err(broken)?;
        socket
            .start_send(Message::Binary(Bytes::copy_from_slice(buf)))
            .map_err(broken)?;
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx).map_err(broken)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match ready!(Pin::new(&mut self.socket).poll_close(cx)) {
            Ok(()) | Err(WsError::ConnectionClosed | WsError::AlreadyClosed) => Poll::Ready(Ok(())),
            Err(error) => Poll::Ready(Err(broken(error))),
        }
    }
}

/// Does the server's side of the handshake (RFC 6455 section 4.2) and gives the bytes read behind it.
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
