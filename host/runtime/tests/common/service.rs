//! HTTP services of the tests: they answer, or never, or drop by drop.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

/// A service on this machine.
pub(crate) struct Service {
    pub(crate) at: SocketAddr,
    /// Connections so far.
    pub(crate) hits: Arc<AtomicU32>,
    /// Connections that both sides have closed, of a service that lasts.
    pub(crate) ended: Arc<AtomicU32>,
}

impl Service {
    /// Answers each connection with what `answer` makes of the request's head, and closes it.
    pub(crate) fn start(answer: impl Fn(&str) -> Vec<u8> + Send + 'static) -> Self {
        Self::wrapped(answer, |stream| Box::new(stream))
    }

    pub(crate) fn wrapped(
        answer: impl Fn(&str) -> Vec<u8> + Send + 'static,
        wrap: impl Fn(std::net::TcpStream) -> Box<dyn Stream> + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let hits = Arc::new(AtomicU32::new(0));
        let counted = hits.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                counted.fetch_add(1, Ordering::SeqCst);
                let _is_gone = serve(wrap(stream), &answer).is_err();
            }
        });
        let ended = Arc::default();
        Self { at, hits, ended }
    }

    /// Answers each request with the number of its connection and of itself on it, and closes a connection behind the answer to
    /// `/last`, without having said so.
    pub(crate) fn lasting() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let hits = Arc::new(AtomicU32::new(0));
        let ended = Arc::new(AtomicU32::new(0));
        let (counted, over) = (hits.clone(), ended.clone());
        std::thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let connection = counted.fetch_add(1, Ordering::SeqCst) + 1;
                let over = over.clone();
                std::thread::spawn(move || {
                    for number in 1.. {
                        let Ok(Some((read, head))) = read_head(&mut stream) else {
                            return;
                        };
                        let text = String::from_utf8_lossy(&read[..head]).into_owned();
                        let body = format!("{connection}.{number}");
                        let length = body.len();
                        let answer =
                            format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}");
                        stream.write_all(answer.as_bytes()).unwrap();
                        if text.contains("/last") {
                            stream.shutdown(std::net::Shutdown::Write).unwrap();
                            stream.read_to_end(&mut Vec::new()).unwrap();
                            over.fetch_add(1, Ordering::SeqCst);
                            return;
                        }
                    }
                });
            }
        });
        Self { at, hits, ended }
    }

    /// Takes connections and never answers.
    pub(crate) fn silent() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        (listener, at)
    }

    /// Answers one byte after the other, until the sender is dropped.
    pub(crate) fn dripping() -> (Sender<()>, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let (sender, stop) = channel::<()>();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                // Who answers before the question breaks the protocol, and the client would say so.
                let is_asked = read_head(&mut stream).is_ok_and(|head| head.is_some());
                let head = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n";
                let mut is_there = is_asked && stream.write_all(head).is_ok();
                while is_there {
                    is_there = stream.write_all(b"x").is_ok();
                    match stop.recv_timeout(Duration::from_millis(20)) {
                        Err(RecvTimeoutError::Timeout) => {}
                        _ => return,
                    }
                }
            }
        });
        (sender, at)
    }

    pub(crate) fn hits(&self) -> u32 {
        self.hits.load(Ordering::SeqCst)
    }
}

pub(crate) trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

/// What was read and the length of the request's head in it, or nothing where it ends before.
fn read_head(stream: &mut impl Read) -> std::io::Result<Option<(Vec<u8>, usize)>> {
    let mut read = Vec::new();
    let mut part = [0; 4096];
    loop {
        let count = stream.read(&mut part)?;
        read.extend_from_slice(&part[..count]);
        if let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            return Ok(Some((read, end + 4)));
        }
        if count == 0 {
            return Ok(None);
        }
    }
}

fn serve(mut stream: Box<dyn Stream>, answer: &impl Fn(&str) -> Vec<u8>) -> std::io::Result<()> {
    let Some((mut read, head)) = read_head(&mut stream)? else {
        return Ok(());
    };
    let mut part = [0; 4096];
    let text = String::from_utf8_lossy(&read[..head]).into_owned();
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_length = name.eq_ignore_ascii_case("content-length");
        is_length.then(|| value.trim().parse::<usize>().unwrap())
    });
    while read.len() < head + length.unwrap_or(0) {
        let count = stream.read(&mut part)?;
        if count == 0 {
            return Ok(());
        }
        read.extend_from_slice(&part[..count]);
    }
    stream.write_all(&answer(&text))?;
    stream.flush()
}

pub(crate) fn ok(body: &str) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body.as_bytes()].concat()
}
