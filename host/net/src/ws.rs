//! MQTT over WebSocket (section 6): binary messages as a stream of bytes.
//!
//! Packets may span or share messages [MQTT-6.0.0-2]; anything but binary ends the connection [MQTT-6.0.0-1].
//! Owns: [`WsStream`]. Frames that come are the library's work, and so are control frames; the ten bytes before a binary
//! frame that goes are made here, so that its body is written from where it lies.

mod carrier;
mod upgrade;

use bytes::{Buf, Bytes};
use carrier::{Carrier, Head};
use futures_util::{Sink, Stream as _};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error as WsError, Message};
pub(crate) use upgrade::handshake;

/// The library's own buffer, which every connection keeps, and which stays as large as the largest frame that came. More
/// that is there is read ahead by the [`Carrier`].
const BUFFER_BYTES: usize = 256;
/// What a message may hold beyond one packet of the largest size.
const SLACK_BYTES: usize = 64 * 1024;

/// A WebSocket as a stream of bytes. What [`AsyncWrite::poll_write`] did not take has to be offered again before
/// anything else: its frame has begun.
#[derive(Debug)]
pub(crate) struct WsStream<S> {
    socket: WebSocketStream<Carrier<S>>,
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
        let carrier = Carrier::new(carrier);
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
        self.socket.get_mut().inner()
    }

    fn refuse(&mut self, cx: &mut Context<'_>, code: CloseCode, reason: &'static str) -> io::Error {
        // Within a frame of ours no other can be sent.
        if !self.is_closing && !self.socket.get_ref().is_within_frame() {
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
        if self.rest.is_empty() {
            self.rest = Bytes::new(); // or the library could not use its buffer again
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for WsStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        if !self.socket.get_ref().is_within_frame() {
            // Control frames of the library that wait go out first.
            ready!(Pin::new(&mut self.socket).poll_flush(cx)).map_err(broken)?;
            self.socket.get_mut().begin(Head::binary(buf.len()));
        }
        self.socket.get_mut().poll_body(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.socket.get_ref().is_within_frame() {
            true => Pin::new(self.carrier()).poll_flush(cx),
            false => Pin::new(&mut self.socket).poll_flush(cx).map_err(broken),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.socket.get_ref().is_within_frame() {
            return Pin::new(self.carrier()).poll_shutdown(cx);
        }
        match ready!(Pin::new(&mut self.socket).poll_close(cx)) {
            Ok(()) | Err(WsError::ConnectionClosed | WsError::AlreadyClosed) => Poll::Ready(Ok(())),
            Err(error) => Poll::Ready(Err(broken(error))),
        }
    }
}
