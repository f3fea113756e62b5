//! MQTT over WebSocket (section 6): binary messages as a stream of bytes.
//!
//! Packets may span or share messages [MQTT-6.0.0-2]; anything but binary ends the connection [MQTT-6.0.0-1].
//! Owns: [`WsStream`]. What is read is stripped of its frames where it lies, and a body that goes is written from where it lies.

mod frames;
mod head;
#[cfg(test)]
mod tests;
mod upgrade;

use bytes::{Buf, Bytes};
use frames::{End, Frames, code};
use head::{CLOSE, Head, PONG};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
pub(crate) use upgrade::handshake;

/// What a message may hold beyond one packet of the largest size.
const SLACK_BYTES: u64 = 64 * 1024;

/// A WebSocket as a stream of bytes. What [`AsyncWrite::poll_write`] did not take has to be offered again before
/// anything else: its frame has begun.
#[derive(Debug)]
pub(crate) struct WsStream<S> {
    inner: S,
    /// Read behind the handshake.
    leftover: Bytes,
    frames: Frames,
    /// Nothing more is read.
    end: Option<End>,
    /// Of the frame that is being written.
    head: Head,
    /// Control frames that are being written: an answer to a ping, a close. They go between two frames.
    control: Vec<u8>,
    /// The stream beneath has some of them that it may have kept.
    is_unflushed: bool,
    /// A close frame is on its way: the last one.
    is_closing: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> WsStream<S> {
    /// Behind a handshake that is done; `leftover` was read after it already.
    pub(crate) fn new(inner: S, leftover: Vec<u8>, maximum_packet_size: u32) -> Self {
        Self {
            inner,
            leftover: leftover.into(),
            frames: Frames::new(u64::from(maximum_packet_size) + SLACK_BYTES),
            end: None,
            head: Head::default(),
            control: Vec::new(),
            is_unflushed: false,
            is_closing: false,
        }
    }

    /// What carries it.
    pub(crate) fn carrier(&mut self) -> &mut S {
        &mut self.inner
    }

    /// Whether a frame of ours has begun and not ended: nothing else may be written.
    fn is_within_frame(&self) -> bool {
        !self.head.is_over()
    }

    /// Writes the control frames that wait, the answer to the last ping among them; not within a frame of ours.
    fn poll_control(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            while !self.control.is_empty() {
                let count = ready!(Pin::new(&mut self.inner).poll_write(cx, &self.control))?;
                if count == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                self.control.drain(..count.min(self.control.len()));
                self.is_unflushed = true;
            }
            match self.frames.take_ping() {
                Some(ping) if !self.is_closing => {
                    head::control(PONG, ping.bytes(), &mut self.control);
                }
                _ => break,
            }
        }
        self.control = Vec::new(); // an idle connection owns no buffer
        if self.is_unflushed {
            ready!(Pin::new(&mut self.inner).poll_flush(cx))?;
            self.is_unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Answers pings now if that can be; else whoever reads or writes next does.
    fn answer(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let has_some = self.frames.has_ping() || !self.control.is_empty() || self.is_unflushed;
        if !has_some || self.is_within_frame() {
            return Ok(());
        }
        match self.poll_control(cx) {
            Poll::Ready(written) => written,
            Poll::Pending => Ok(()),
        }
    }

    /// Says why it is over, once.
    fn close(&mut self, status: Option<u16>, reason: &str) {
        if !std::mem::replace(&mut self.is_closing, true) {
            let mut payload = Vec::new();
            if let Some(status) = status {
                payload.extend_from_slice(&status.to_be_bytes());
                payload.extend_from_slice(reason.as_bytes());
            }
            head::control(CLOSE, &payload, &mut self.control);
        }
    }

    /// Nothing more is read: the peer is told, and so is whoever reads.
    fn finish(&mut self, cx: &mut Context<'_>, end: End) {
        self.end = Some(end);
        match end {
            End::Closed(status) => self.close(status.map(answerable), ""),
            End::Fault(status, rule) => self.close(Some(status), rule),
        }
        let _is_told = self.answer(cx).is_ok(); // as far as it takes anything
    }

    /// Writes what is left of the head, and of the body what the stream takes: so many bytes of `body`.
    fn poll_body(&mut self, cx: &mut Context<'_>, body: &[u8]) -> Poll<io::Result<usize>> {
        let body = body.get(..self.head.body()).unwrap_or(body);
        loop {
            let stream = Pin::new(&mut self.inner);
            let written = match self.head.left() {
                [] => ready!(stream.poll_write(cx, body))?,
                head => {
                    let both = [IoSlice::new(head), IoSlice::new(body)];
                    ready!(stream.poll_write_vectored(cx, &both))?
                }
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let of_body = self.head.advance(written);
            if of_body > 0 {
                return Poll::Ready(Ok(of_body));
            }
        }
    }
}

/// The status code that answers one: those that may not be sent are answered by a rule that they break (section 7.4).
fn answerable(status: u16) -> u16 {
    match status {
        1000..=1003 | 1007..=1014 | 3000..=4999 => status,
        _ => code::PROTOCOL,
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for WsStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let start = buf.filled().len();
        loop {
            match this.end {
                None => {}
                Some(End::Closed(_)) => return Poll::Ready(Ok(())),
                Some(End::Fault(_, rule)) => {
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, rule)));
                }
            }
            this.answer(cx)?;
            if this.leftover.is_empty() {
                ready!(Pin::new(&mut this.inner).poll_read(cx, buf))?;
            } else {
                let count = this.leftover.len().min(buf.remaining());
                buf.put_slice(this.leftover.get(..count).unwrap_or_default());
                this.leftover.advance(count);
            }
            let raw = buf.filled_mut().get_mut(start..).unwrap_or_default();
            if raw.is_empty() {
                return Poll::Ready(Ok(())); // the end of the stream
            }
            let (kept, end) = this.frames.strip(raw);
            buf.set_filled(start + kept);
            if let Some(end) = end {
                this.finish(cx, end);
            }
            if kept > 0 {
                this.answer(cx)?;
                return Poll::Ready(Ok(()));
            }
        }
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
        if !self.is_within_frame() {
            ready!(self.poll_control(cx))?;
            if self.is_closing {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            self.head = Head::binary(buf.len());
        }
        self.poll_body(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.is_within_frame() {
            ready!(self.poll_control(cx))?;
        }
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_within_frame() {
            return Pin::new(&mut self.inner).poll_shutdown(cx);
        }
        self.close(None, "");
        self.poll_control(cx)
    }
}
