//! A WebSocket over a stream that gives and takes what it likes.

use super::WsStream;
use std::collections::VecDeque;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Takes and gives so many bytes at a time; takes no more than it has room for.
struct Narrow {
    width: usize,
    room: usize,
    taken: Vec<u8>,
    given: VecDeque<u8>,
    is_over: bool,
}

impl AsyncWrite for Narrow {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let count = buf.len().min(self.width).min(self.room);
        if count == 0 {
            return Poll::Pending;
        }
        self.room -= count;
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
        if count == 0 && !self.is_over {
            return Poll::Pending;
        }
        buf.put_slice(&self.given.drain(..count).collect::<Vec<_>>());
        Poll::Ready(Ok(()))
    }
}

const MAXIMUM: u32 = 1000;

fn stream(width: usize, leftover: &[u8], given: &[u8]) -> WsStream<Narrow> {
    let narrow = Narrow {
        width,
        room: usize::MAX,
        taken: Vec::new(),
        given: given.iter().copied().collect(),
        is_over: true,
    };
    WsStream::new(narrow, leftover.to_vec(), MAXIMUM)
}

/// A short frame of a client; its mask is not zero.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x11, 0x22, 0x33, 0x44];
    let length = u8::try_from(payload.len()).unwrap();
    assert!(length <= 125);
    let masked = payload.iter().zip(mask.iter().cycle()).map(|(a, b)| a ^ b);
    [first, 0x80 | length]
        .into_iter()
        .chain(mask)
        .chain(masked)
        .collect()
}

fn read(stream: &mut WsStream<Narrow>, room: usize) -> Poll<io::Result<Vec<u8>>> {
    let cx = &mut Context::from_waker(Waker::noop());
    let mut place = vec![0; room];
    let mut buf = ReadBuf::new(&mut place);
    let polled = pin!(stream).poll_read(cx, &mut buf);
    polled.map_ok(|()| buf.filled().to_vec())
}

/// Reads until the end; the error if that is one.
fn read_all(stream: &mut WsStream<Narrow>, room: usize) -> (Vec<u8>, Option<io::Error>) {
    let mut all = Vec::new();
    loop {
        match read(stream, room) {
            Poll::Ready(Ok(part)) if part.is_empty() => return (all, None),
            Poll::Ready(Ok(part)) => all.extend(part),
            Poll::Ready(Err(error)) => return (all, Some(error)),
            Poll::Pending => panic!("it has an end"),
        }
    }
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
            let mut stream = stream(width, &[], &frame(0x89, b"ping"));
            let cx = &mut Context::from_waker(Waker::noop());
            let mut at = 0;
            while at < length {
                let Poll::Ready(Ok(count)) = pin!(&mut stream).poll_write(cx, &body[at..]) else {
                    panic!("{length} {width} {at}");
                };
                at += count;
                // A ping that is read meanwhile is answered behind the frame.
                assert!(read(&mut stream, 9).is_ready());
            }
            assert!(pin!(&mut stream).poll_flush(cx).is_ready());
            let pong = b"\x8A\x04ping";
            assert_eq!(stream.inner.taken, [&head[..], &body, pong].concat());
        }
    }
}

#[test]
fn all_frames_of_a_read_are_one_row_of_bytes_and_nothing_is_kept() {
    let parts: Vec<Vec<u8>> = (0..100_u8).map(|at| vec![at; usize::from(at)]).collect();
    let raw: Vec<u8> = parts.iter().flat_map(|part| frame(0x82, part)).collect();
    for (room, width, behind) in [
        (1, 1, 0),
        (7, 5, 3),
        (7, 5, 4000),
        (1 << 16, 1 << 16, 0),
        (1 << 16, 1 << 16, 555),
    ] {
        let mut stream = stream(width, &raw[..behind], &raw[behind..]);
        let (all, error) = read_all(&mut stream, room);
        assert!(error.is_none() && all == parts.concat(), "{room} {width}");
        assert_eq!((stream.control.capacity(), stream.leftover.len()), (0, 0));
    }
    let mut stream = stream(1 << 16, &[], &raw);
    let Poll::Ready(Ok(first)) = read(&mut stream, 1 << 16) else {
        panic!("it is there");
    };
    assert!(first == parts.concat(), "one read has all of them");
}

#[test]
fn of_many_pings_the_first_that_can_and_the_last_are_answered() {
    let pings: Vec<u8> = (0..100_u8).flat_map(|at| frame(0x89, &[at])).collect();
    let mut stream = stream(7, &[], &pings);
    stream.inner.room = 1;
    assert!(read_all(&mut stream, 64).1.is_none());
    assert!(stream.control.len() <= 3, "what waits is bounded");
    stream.inner.room = usize::MAX;
    let cx = &mut Context::from_waker(Waker::noop());
    assert!(pin!(&mut stream).poll_flush(cx).is_ready());
    assert_eq!(
        stream.inner.taken,
        [0x8A, 1, 0, 0x8A, 1, 99],
        "the one that had begun, and the last"
    );
}

#[test]
fn a_broken_rule_is_told_behind_what_was_sound() {
    let large = [frame(0x02, &[1; 125]).repeat(1), vec![0x80, 0xFF]].concat();
    let large = [large, u64::MAX.to_be_bytes().to_vec(), vec![0; 4]].concat();
    for (bad, sound, status) in [
        (frame(0x81, b"text"), 0, 1003_u16),
        (large, 125, 1009),
        (frame(0xF2, b"x"), 0, 1002),
    ] {
        for width in [1, 1 << 16] {
            let raw = [frame(0x82, b"sound"), bad.clone(), frame(0x82, b"more")].concat();
            let mut stream = stream(width, &[], &raw);
            let (all, error) = read_all(&mut stream, 1 << 16);
            assert_eq!(all.len(), 5 + sound);
            let error = error.expect("a rule was broken");
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
            let rule = error.to_string();
            let told = &stream.inner.taken;
            assert_eq!(told[..2], [0x88, u8::try_from(rule.len() + 2).unwrap()]);
            assert_eq!(told[2..4], status.to_be_bytes());
            assert_eq!(&told[4..], rule.as_bytes());
            let cx = &mut Context::from_waker(Waker::noop());
            let write = pin!(&mut stream).poll_write(cx, b"late");
            assert!(matches!(write, Poll::Ready(Err(_))), "closing is the last");
        }
    }
}

#[test]
fn a_close_is_answered_once_with_its_own_code() {
    for (said, answer) in [
        (&b""[..], &b"\x88\x00"[..]),
        (&[3, 232], &[0x88, 2, 3, 232]),
        (b"\x03\xE9going", &[0x88, 2, 3, 233]),
        (&[3, 237], &[0x88, 2, 3, 234]), // 1005 is never sent
    ] {
        let raw = [frame(0x82, b"last"), frame(0x88, said), frame(0x82, b"x")].concat();
        let mut stream = stream(3, &[], &raw);
        let (all, error) = read_all(&mut stream, 64);
        assert!(all == b"last" && error.is_none());
        let cx = &mut Context::from_waker(Waker::noop());
        assert!(pin!(&mut stream).poll_shutdown(cx).is_ready());
        assert_eq!(stream.inner.taken, answer);
    }
    let mut ours = stream(1, &[], &frame(0x88, &[3, 232]));
    let cx = &mut Context::from_waker(Waker::noop());
    assert!(pin!(&mut ours).poll_shutdown(cx).is_ready());
    assert!(read_all(&mut ours, 64).1.is_none());
    assert_eq!(
        ours.inner.taken, b"\x88\x00",
        "ours is answered, not theirs"
    );
}
