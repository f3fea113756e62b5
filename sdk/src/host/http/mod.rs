//! Requests to other services, granted by host (`http:HOST`). A plugin that makes them waits, so the broker runs it beside
//! the shards, and it cannot have the hook `authorize`. Needs the feature `http`. Native tests give the
//! answers: there is no network.
//!
//! ```
//! use witmq_sdk::host::http::{self, Response};
//! use witmq_sdk::testing::TestBroker;
//! use witmq_sdk::{Delivered, Failure, Message, NoConfig, Place, Plugin, Sink};
//!
//! /// Sends readings on.
//! #[witmq_sdk::plugin(sink, capabilities("http:api.example.com"))]
//! struct Readings;
//!
//! impl Plugin for Readings {
//!     type Config = NoConfig;
//!     fn new(_config: NoConfig, _place: &Place) -> Result<Self, String> {
//!         Ok(Self)
//!     }
//! }
//!
//! impl Sink for Readings {
//!     fn deliver_one(&mut self, message: &Message) -> Result<Delivered, Failure> {
//!         http::post("https://api.example.com/readings")
//!             .header("authorization", "Bearer x")
//!             .json(&message.text()?)?
//!             .timeout_ms(1000)
//!             .send()?
//!             .success()?;
//!         Ok(Delivered::Done)
//!     }
//! }
//!
//! let url = "https://api.example.com/readings";
//! let setup = TestBroker::<Readings>::setup().answers("POST", url, Response::new(204, ""));
//! let mut broker = setup.start("{}").unwrap();
//! assert_eq!(broker.deliver([("room/1", "20.5").into()]).unwrap(), [Delivered::Done]);
//! assert_eq!(broker.requests()[0].body, br#""20.5""#);
//! ```

mod endpoint;
#[cfg(target_family = "wasm")]
mod wasm;

pub use endpoint::{Authorization, Endpoint};

use crate::Failure;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;

#[cfg(not(target_family = "wasm"))]
use crate::testing::http as outside;
#[cfg(target_family = "wasm")]
use wasm as outside;

/// Milliseconds that a request may take, if nothing else is said.
const TIMEOUT_MS: u64 = 10_000;
/// Bytes of an answer's body, if nothing else is said.
const BODY_BYTES: usize = 1024 * 1024;

/// A request, sent by [`Request::send`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "nothing is asked before `send`"]
pub struct Request {
    /// `GET`, `POST` …
    pub method: String,
    /// All of it: `https://host/path?query`.
    pub url: String,
    /// Names and values, in order.
    pub headers: Vec<(String, String)>,
    /// Body; empty for none.
    pub body: Vec<u8>,
    /// Milliseconds for all of it: connection, request, and the last byte of the answer.
    pub timeout_ms: u64,
    /// Bytes that are read of the answer's body.
    pub body_bytes: usize,
    /// A longer body is cut there, instead of being an error.
    pub is_cut: bool,
}

/// An answer, whatever its status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Names in small letters and values, in order; what is no text is left out.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: Vec<u8>,
}

/// Why there is no answer, or not the one that was wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HttpError {
    /// The request cannot be sent as it is, in words.
    BadRequest(String),
    /// Not granted.
    Denied,
    /// It took too long.
    Timeout,
    /// The answer's body is longer than was allowed.
    TooLarge,
    /// Another status than 200 to 299; see [`Response::success`].
    Status(u16),
    /// Anything else, in words.
    Failed(String),
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadRequest(text) => write!(f, "the request is bad: {text}"),
            Self::Denied => f.write_str("the host is not granted to the plugin"),
            Self::Timeout => f.write_str("the request took too long"),
            Self::TooLarge => f.write_str("the answer is too large"),
            Self::Status(status) => write!(f, "the answer has status {status}"),
            Self::Failed(text) => write!(f, "the request failed: {text}"),
        }
    }
}

impl std::error::Error for HttpError {}

/// Asks for something.
pub fn get(url: impl Into<String>) -> Request {
    request("GET", url)
}

/// Sends something.
pub fn post(url: impl Into<String>) -> Request {
    request("POST", url)
}

/// Any method.
pub fn request(method: impl Into<String>, url: impl Into<String>) -> Request {
    Request {
        method: method.into(),
        url: url.into(),
        headers: Vec::new(),
        body: Vec::new(),
        timeout_ms: TIMEOUT_MS,
        body_bytes: BODY_BYTES,
        is_cut: false,
    }
}

impl Request {
    /// Adds a header.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Sets the body.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Sets the body to a value as JSON, and says so in `content-type`.
    ///
    /// # Errors
    /// The value has no JSON form.
    pub fn json(self, value: &impl Serialize) -> Result<Self, Failure> {
        let body = serde_json::to_vec(value).map_err(|error| Failure::Failed(error.to_string()))?;
        Ok(self.header("content-type", "application/json").body(body))
    }

    /// Gives it so many milliseconds (10,000 otherwise), from the connection to the last byte of the answer. A call of
    /// the plugin has an end of its own (5,000 by default), which is a failure of the plugin: stay below it.
    pub fn timeout_ms(mut self, timeout_ms: u64) -> Self {
        self.timeout_ms = timeout_ms;
        self
    }

    /// Takes so many bytes of the answer's body (1 MiB otherwise); a longer one is an error.
    pub fn body_bytes(mut self, body_bytes: usize) -> Self {
        self.body_bytes = body_bytes;
        self
    }

    /// Takes so many bytes of the answer's body and leaves the rest, for answers whose status is what counts.
    pub fn beginning(mut self, body_bytes: usize) -> Self {
        self.is_cut = true;
        self.body_bytes(body_bytes)
    }

    /// Sends it and waits for the whole answer.
    ///
    /// # Errors
    /// There is no answer. One with a status of failure is an answer.
    pub fn send(self) -> Result<Response, HttpError> {
        let url = Url::parse(&self.url)?;
        let mut response = outside::send(&self, &url)?;
        if response.body.len() > self.body_bytes && !self.is_cut {
            return Err(HttpError::TooLarge);
        }
        response.body.truncate(self.body_bytes);
        Ok(response)
    }
}

impl Response {
    /// An answer for tests.
    #[must_use]
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: body.into(),
        }
    }

    /// The first header of that name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        let found = headers.find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// The answer, if its status is 200 to 299.
    ///
    /// # Errors
    /// [`HttpError::Status`].
    pub fn success(self) -> Result<Self, HttpError> {
        match self.status {
            200..=299 => Ok(self),
            status => Err(HttpError::Status(status)),
        }
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// [`Failure::Failed`]: it is the other side's fault, not the message's.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        serde_json::from_slice(&self.body).map_err(|error| {
            Failure::Failed(format!("the answer is not what it should be: {error}"))
        })
    }
}

/// The parts of a URL that a request is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Url<'a> {
    pub(crate) is_https: bool,
    pub(crate) authority: &'a str,
    /// With the query, and with `/` at its beginning.
    pub(crate) path: &'a str,
}

impl<'a> Url<'a> {
    fn parse(url: &'a str) -> Result<Self, HttpError> {
        let bad = |text: &str| HttpError::BadRequest(format!("`{url}` {text}"));
        let (scheme, rest) = url.split_once("://").ok_or_else(|| bad("has no scheme"))?;
        let is_https = match scheme {
            "https" => true,
            "http" => false,
            _ => return Err(bad("is neither http nor https")),
        };
        // A fragment stays on this side.
        let rest = rest.split('#').next().unwrap_or_default();
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at_checked(end).unwrap_or((rest, ""));
        if authority.is_empty() || authority.contains('@') {
            return Err(bad("has no host, or a user name before it"));
        }
        if path.starts_with('?') {
            return Err(bad("needs a `/` before its query"));
        }
        let path = if path.is_empty() { "/" } else { path };
        Ok(Self {
            is_https,
            authority,
            path,
        })
    }

    /// The host without its port.
    pub(crate) fn host(&self) -> &'a str {
        match self.authority.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => host,
            _ => self.authority,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart_or_refused() {
        for (url, authority, host, path) in [
            ("http://a", "a", "a", "/"),
            ("https://a:8080/b?c=d#e", "a:8080", "a", "/b?c=d"),
            ("https://[::1]:80/", "[::1]:80", "[::1]", "/"),
            ("https://[::1]/", "[::1]", "[::1]", "/"),
        ] {
            let parsed = Url::parse(url).unwrap();
            assert_eq!(parsed.authority, authority, "{url}");
            assert_eq!(parsed.host(), host, "{url}");
            assert_eq!(parsed.path, path, "{url}");
        }
        for url in [
            "a/b",
            "ftp://a",
            "http://",
            "http:///b",
            "http://u@a/",
            "http://a?b",
        ] {
            assert!(
                matches!(Url::parse(url), Err(HttpError::BadRequest(_))),
                "{url}"
            );
        }
    }
}
