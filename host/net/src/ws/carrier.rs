//! What lies beneath the library's WebSocket: bytes that are read ahead, and a frame of ours that is being written.
//!
//! Owns: [`Carrier`], [`Head`]. An idle one owns no buffer. Must not: read a frame.

use bytes::{Buf, BytesMut};
use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes read at once where the library asks for few: as many as a connection without frames reads.
const AHEAD_BYTES: usize = 64 * 1024;

thread_local! {
    /// Where they are read to, so that only what came is copied.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; AHEAD_BYTES].into_boxed_slice());
}

/// A binary frame that is being written, whole and not masked (RFC 6455 section 5.2).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Head {
    bytes: [u8; 10],
    written: u8,
    length: u8,
    /// Bytes of the body that are to follow.
    body: usize,
}

impl Head {
    /// Before a body of so many bytes.
    pub(super) fn binary(body: usize) -> Self {
        const FINAL_BINARY: u8 = 0x82;
        let long = u64::try_from(body).unwrap_or(u64::MAX);
        let [a, b, c, d, e, f, g, h] = long.to_be_bytes();
        let (bytes, length) = match body {
            0..=125 => ([FINAL_BINARY, h, 0, 0, 0, 0, 0, 0, 0, 0], 2),
            126..=0xFFFF => ([FINAL_BINARY, 126, g, h, 0, 0, 0, 0, 0, 0], 4),
            _ => ([FINAL_BINARY, 127, a, b, c, d, e, f, g, h], 10),
        };
        Self {
            bytes,
            written: 0,
            length,
            body,
        }
    }

    fn left(&self) -> &[u8] {
        let (from, to) = (usize::from(self.written), usize::from(self.length));
        self.bytes.get(from..to).unwrap_or_default()
    }

    /// So many bytes went out; those of the body among them.
    fn advance(&mut self, count: usize) -> usize {
        let of_head = count.min(self.left().len());
        self.written += u8::try_from(of_head).unwrap_or(0);
        let of_body = (count - of_head).min(self.body);
        self.body -= of_body;
        of_body
    }

    fn is_over(&self) -> bool {
        self.body == 0 && self.left().is_empty()
    }
}

/// A stream with what was read of it too early.
#[derive(Debug)]
pub(super) struct Carrier<S> {
    inner: S,
    ahead: BytesMut,
    head: Head,
}

impl<S> Carrier<S> {
    pub(super) fn new(inner: S) -> Self {
        Self {
            inner,
            ahead: BytesMut::new(),
            head: Head::default(),
        }
    }

    pub(super) fn inner(&mut self) -> &mut S {
        &mut self.inner
    }

    /// Whether a frame of ours has begun and not ended: nothing else may be written.
    pub(super) fn is_within_frame(&self) -> bool {
        !self.head.is_over()
    }

    /// The next bytes of the body follow.
    pub(super) fn begin(&mut self, head: Head) {
        self.head = head;
    }
}

impl<S: AsyncWrite + Unpin> Carrier<S> {
    /// Writes what is left of the head, and of the body what the stream takes: so many bytes of `body`.
    pub(super) fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        body: &[u8],
    ) -> Poll<io::Result<usize>> {
        let body = body.get(..self.head.body).unwrap_or(body);
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

impl<S: AsyncRead + Unpin> AsyncRead for Carrier<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.ahead.is_empty() {
            if buf.remaining() >= AHEAD_BYTES {
                return Pin::new(&mut this.inner).poll_read(cx, buf);
            }
            return SCRATCH.with_borrow_mut(|scratch| {
                let mut read = ReadBuf::new(scratch);
                ready!(Pin::new(&mut this.inner).poll_read(cx, &mut read))?;
                let read = read.filled();
                let now = read.len().min(buf.remaining());
                let (now, later) = read.split_at_checked(now).unwrap_or((read, &[]));
                buf.put_slice(now);
                this.ahead.extend_from_slice(later);
                Poll::Ready(Ok(()))
            });
        }
        let count = this.ahead.len().min(buf.remaining());
        buf.put_slice(this.ahead.get(..count).unwrap_or_default());
        this.ahead.advance(count);
        if this.ahead.is_empty() {
            this.ahead = BytesMut::new(); // an idle connection owns no buffer
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Carrier<S> {
    /// Of the library: control frames, which wait for the end of ours. Whoever writes that end flushes them.
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.is_within_frame() {
            return Poll::Pending;
        }
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::{Carrier, Head};
    use std::io;
    use std::pin::{Pin, pin};
    use std::task::{Context, Poll, Waker};
    use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

    /// Takes and gives so many bytes at a time.
    struct Narrow {
        width: usize,
        taken: Vec<u8>,
        given: Vec<u8>,
    }

    impl AsyncWrite for Narrow {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &[u8],
        ) -> Poll<io::Result<usize>> {
            let count = buf.len().min(self.width);
            self.taken.extend_from_slice(&buf[..count]);
            Poll::Ready(Ok(count))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncRead for Narrow {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            let count = self.given.len().min(self.width).min(buf.remaining());
            buf.put_slice(&self.given.drain(..count).collect::<Vec<_>>());
            Poll::Ready(Ok(()))
        }
    }

    fn carrier(width: usize, given: &[u8]) -> Carrier<Narrow> {
        Carrier::new(Narrow {
            width,
            taken: Vec::new(),
            given: given.to_vec(),
        })
    }

    #[test]
    fn a_frame_is_what_the_standard_says_however_little_is_taken_at_once() {
        for (length, head) in [
            (1, vec![0x82, 1]),
            (125, vec![0x82, 125]),
            (126, vec![0x82, 126, 0, 126]),
            (0xFFFF, vec![0x82, 126, 0xFF, 0xFF]),
            (0x1_0000, vec![0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            for width in [1, 3, 11, 1 << 20] {
                let body: Vec<u8> = (0..length).map(|at: usize| at.to_le_bytes()[0]).collect();
                let mut carrier = carrier(width, &[]);
                let cx = &mut Context::from_waker(Waker::noop());
                carrier.begin(Head::binary(length));
                let mut at = 0;
                while carrier.is_within_frame() {
                    let Poll::Ready(Ok(count)) = carrier.poll_body(cx, &body[at..]) else {
                        panic!("{length} {width} {at}");
                    };
                    at += count;
                    let control = pin!(&mut carrier).poll_write(cx, b"control");
                    assert_eq!(control.is_pending(), at < length, "{length} {width} {at}");
                    if at == length {
                        let taken = &mut carrier.inner().taken;
                        taken.truncate(taken.len() - b"control".len().min(width));
                    }
                }
                assert_eq!(carrier.inner().taken, [&head[..], &body].concat());
            }
        }
    }

    #[test]
    fn what_is_read_ahead_is_given_out_in_order_and_nothing_is_kept() {
        let all: Vec<u8> = (0..40_000_u32).map(|at| at.to_le_bytes()[0]).collect();
        for step in [1, 6, 1000, 20_000] {
            let mut carrier = carrier(usize::MAX, &all);
            let cx = &mut Context::from_waker(Waker::noop());
            let (mut got, mut place) = (Vec::new(), vec![0; step]);
            loop {
                let mut buf = ReadBuf::new(&mut place);
                assert!(pin!(&mut carrier).poll_read(cx, &mut buf).is_ready());
                if buf.filled().is_empty() {
                    break;
                }
                got.extend_from_slice(buf.filled());
            }
            assert!(got == all, "{step}");
            assert_eq!(carrier.ahead.capacity(), 0);
        }
    }
}
