//! A TCP socket that can leave one runtime's reactor and enter another's, beneath TLS and WebSocket.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// In a reactor, or between two.
#[derive(Debug)]
pub(crate) enum Socket {
    Attached(TcpStream),
    Detached(std::net::TcpStream),
    /// A move between the two failed.
    Broken,
}

impl Socket {
    /// Leaves this thread's reactor.
    pub(crate) fn detach(&mut self) -> io::Result<()> {
        *self = match std::mem::replace(self, Self::Broken) {
            Self::Attached(stream) => Self::Detached(stream.into_std()?),
            other => other,
        };
        Ok(())
    }

    /// Enters this thread's reactor.
    pub(crate) fn attach(&mut self) -> io::Result<()> {
        *self = match std::mem::replace(self, Self::Broken) {
            Self::Detached(stream) => Self::Attached(TcpStream::from_std(stream)?),
            other => other,
        };
        Ok(())
    }

    /// Once something has come: whether it is the end of what the peer sends. Takes nothing.
    pub(crate) fn poll_is_over(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let mut byte = [0];
        let mut peeked = ReadBuf::new(&mut byte);
        let count = ready!(self.stream()?.poll_peek(cx, &mut peeked))?;
        Poll::Ready(Ok(count == 0))
    }

    fn stream(&mut self) -> io::Result<Pin<&mut TcpStream>> {
        match self {
            Self::Attached(stream) => Ok(Pin::new(stream)),
            Self::Detached(_) | Self::Broken => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.stream()?.poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.stream()?.poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stream()?.poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_shutdown(cx)
    }
}
