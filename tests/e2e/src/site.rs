//! An HTTP server of a test, on loopback: one request a connection, an answer by the test, and what was asked in a queue.
//!
//! Owns: [`Site`], ended when dropped, so that a test can take its service away and bring it back at the same address.

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

/// A request.
#[derive(Clone, Debug)]
pub struct Asked {
    /// `GET`, `POST` …
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Names in small letters, and values.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: Vec<u8>,
}

impl Asked {
    /// A header by its name in small letters; empty if it is not there.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        let mut headers = self.headers.iter();
        let found = headers.find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value)
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// It is none.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// An answer: status, one header, body.
pub type Said = (u16, String, Vec<u8>);
type Says = dyn Fn(&Asked) -> Said + Send + Sync;

/// 200 with a body.
#[must_use]
pub fn ok(body: impl Into<Vec<u8>>) -> Said {
    status(200, body)
}

/// A status with a body.
#[must_use]
pub fn status(status: u16, body: impl Into<Vec<u8>>) -> Said {
    (status, "X-Test: 1".to_owned(), body.into())
}

/// A running server.
pub struct Site {
    /// Where it is.
    pub address: SocketAddr,
    /// What it was asked, in order. Whoever has seen an answer finds its question here.
    pub asked: Receiver<Asked>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Site {
    /// A server on a free port.
    #[must_use]
    pub fn start(says: impl Fn(&Asked) -> Said + Send + Sync + 'static) -> Self {
        Self::serve("127.0.0.1:0".parse().unwrap(), None, says)
    }

    /// The same at an address, for one that was there before.
    #[must_use]
    pub fn start_at(
        address: SocketAddr,
        says: impl Fn(&Asked) -> Said + Send + Sync + 'static,
    ) -> Self {
        Self::serve(address, None, says)
    }

    /// The same with TLS.
    #[must_use]
    pub fn start_tls(
        tls: Arc<ServerConfig>,
        says: impl Fn(&Asked) -> Said + Send + Sync + 'static,
    ) -> Self {
        Self::serve("127.0.0.1:0".parse().unwrap(), Some(tls), says)
    }

    fn serve(
        address: SocketAddr,
        tls: Option<Arc<ServerConfig>>,
        says: impl Fn(&Asked) -> Said + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, asked) = channel();
        let is_over = Arc::new(AtomicBool::new(false));
        let (says, ends): (Arc<Says>, _) = (Arc::new(says), is_over.clone());
        let thread = std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                if ends.load(Ordering::SeqCst) {
                    return;
                }
                let (says, sender, tls) = (says.clone(), sender.clone(), tls.clone());
                std::thread::spawn(move || match tls {
                    None => answer(socket, &*says, &sender),
                    Some(tls) => {
                        let connection = ServerConnection::new(tls).unwrap();
                        answer(StreamOwned::new(connection, socket), &*says, &sender);
                    }
                });
            }
        });
        Self {
            address,
            asked,
            is_over,
            thread: Some(thread),
        }
    }

    /// `http://` and where it is.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address)); // wakes it
        drop(self.thread.take().map(JoinHandle::join));
    }
}

/// One request, one answer, and the end.
fn answer(stream: impl Read + Write, says: &Says, log: &Sender<Asked>) {
    let mut stream = BufReader::new(stream);
    let Some(asked) = read(&mut stream) else {
        return; // somebody who does not trust us
    };
    let (status, header, body) = says(&asked);
    let head = format!(
        "HTTP/1.1 {status} X\r\n{header}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    // Before the answer: with it the test goes on, and looks for the question.
    let _nobody_listens = log.send(asked).is_err();
    let stream = stream.get_mut();
    let _is_gone = (stream.write_all(head.as_bytes()))
        .and_then(|()| stream.write_all(&body))
        .and_then(|()| stream.flush())
        .is_err();
}

fn read(stream: &mut BufReader<impl Read>) -> Option<Asked> {
    let mut first = String::new();
    stream
        .read_line(&mut first)
        .ok()
        .filter(|bytes| *bytes > 0)?;
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).ok()?;
        let Some((name, value)) = line.split_once(':') else {
            break;
        };
        headers.push((name.to_lowercase(), value.trim().to_owned()));
    }
    let mut words = first.split(' ').map(str::to_owned);
    let mut asked = Asked {
        method: words.next()?,
        path: words.next()?,
        headers,
        body: Vec::new(),
    };
    let length = asked.header("content-length").parse().unwrap_or(0);
    asked.body.resize(length, 0);
    stream.read_exact(&mut asked.body).ok()?;
    Some(asked)
}
