//! The bytes of MQTT, whatever carries them.

use crate::socket::Socket;
use crate::ws::WsStream;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::server::TlsStream;

/// A connection of any transport. TLS and WebSocket state is boxed: most connections are idle, and plain
/// ones should be small.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(Socket),
    Tls(Box<TlsStream<Socket>>),
    Ws(Box<WsStream<Socket>>),
    Wss(Box<WsStream<TlsStream<Socket>>>),
}

impl Stream {
    /// The socket at the bottom.
    pub(crate) fn socket(&mut self) -> &mut Socket {
        match self {
            Self::Tcp(socket) => socket,
            Self::Tls(tls) => tls.get_mut().0,
            Self::Ws(ws) => ws.carrier(),
            Self::Wss(ws) => ws.carrier().get_mut().0,
        }
    }
}

macro_rules! forward {
    ($self:ident, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Stream::Tcp(stream) => {
                let $stream = Pin::new(stream);
                $call
            }
            Stream::Tls(stream) => {
                let $stream = Pin::new(&mut **stream);
                $call
            }
            Stream::Ws(stream) => {
                let $stream = Pin::new(&mut **stream);
                $call
            }
            Stream::Wss(stream) => {
                let $stream = Pin::new(&mut **stream);
                $call
            }
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        forward!(self, stream => stream.poll_read(cx, buf))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        forward!(self, stream => stream.poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        forward!(self, stream => stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        forward!(self, stream => stream.poll_shutdown(cx))
    }
}
