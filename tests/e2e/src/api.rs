//! The admin API over one kept connection: bytes of HTTP/1.1, so that tests see status and headers.
//!
//! Owns: [`Api`]. Must not: know what is asked.

use crate::{Broker, PATIENCE};
use serde_json::Value;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// For example 200.
    pub status: u16,
    /// Names in lower case, with their values.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub text: String,
}

impl Answer {
    /// A header, or nothing.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value)
    }

    /// The body as JSON; null if it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }
}

/// A connection to `/api/v1`.
#[derive(Debug)]
pub struct Api {
    stream: BufReader<TcpStream>,
    token: String,
}

impl Api {
    /// With the broker's own token.
    #[must_use]
    pub fn of(broker: &Broker) -> Self {
        let token = std::fs::read_to_string(broker.folder().join(".witmq/admin.token")).unwrap();
        let stream = TcpStream::connect(broker.address("http")).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self {
            stream: BufReader::new(stream),
            token: token.trim().to_owned(),
        }
    }

    /// Asks and reads the answer. `more`: further headers, each with its line end.
    pub fn ask(&mut self, method: &str, path: &str, more: &str, body: &str) -> Answer {
        let request = format!(
            "{method} /api/v1/{path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\
             Content-Length: {}\r\n{more}\r\n{body}",
            self.token,
            body.len()
        );
        self.stream.get_mut().write_all(request.as_bytes()).unwrap();
        let first = self.line();
        let status = first.split(' ').nth(1).unwrap().parse().unwrap();
        let mut headers = Vec::new();
        loop {
            let line = self.line();
            let Some((name, value)) = line.split_once(": ") else {
                break;
            };
            headers.push((name.to_lowercase(), value.to_owned()));
        }
        let mut answer = Answer {
            status,
            headers,
            text: String::new(),
        };
        let mut body = vec![0; answer.header("content-length").parse().unwrap_or(0)];
        self.stream.read_exact(&mut body).unwrap();
        answer.text = String::from_utf8(body).unwrap();
        answer
    }

    /// Asks with JSON; the answer has to be good.
    pub fn post(&mut self, path: &str, body: &Value) -> Value {
        let kind = "Content-Type: application/json\r\n";
        let answer = self.ask("POST", path, kind, &body.to_string());
        assert!(answer.status < 300, "{path}: {answer:?}");
        answer.json()
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }
}
