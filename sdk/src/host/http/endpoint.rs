//! A service as a configuration names it: address, headers, a secret, a time.
//!
//! Owns: what is checked of that before anything is sent. Must not: send.

use super::{Request, Url, request};
use crate::{Config, Failure, Health};
use serde::Deserialize;
use std::collections::BTreeMap;

/// Headers that are the transport's business, or would be there twice.
const RESERVED: [&str; 8] = [
    "authorization",
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "te",
    "transfer-encoding",
    "upgrade",
];
/// Names of this machine: what is sent there crosses no network.
const HERE: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

/// A service, as a part of a plugin's configuration.
///
/// ```
/// use witmq_sdk::host::http::Endpoint;
///
/// let text = r#"{"url":"https://api.example.com/in","authorization":{"secret":"api-token"}}"#;
/// let endpoint: Endpoint = serde_json::from_str(text).unwrap();
/// endpoint.check().unwrap();
/// ```
#[derive(Clone, Debug, Deserialize, Config)]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    /// Where requests go: `https://host/path`.
    pub url: String,
    /// Headers of every request.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// The `Authorization` header, with a secret in it.
    pub authorization: Option<Authorization>,
    /// Milliseconds for a request and all of its answer.
    #[serde(default = "timeout_ms")]
    #[config(minimum = 1, maximum = 600_000)]
    pub timeout_ms: u64,
    /// Whether `http://` may lead beyond this machine.
    #[serde(default)]
    pub allow_plaintext: bool,
}

/// An `Authorization` header.
#[derive(Clone, Debug, Deserialize, Config)]
#[serde(deny_unknown_fields)]
pub struct Authorization {
    /// Name of the secret; `secret:NAME` has to be granted.
    pub secret: String,
    /// What stands before it; empty for nothing.
    #[serde(default = "bearer")]
    pub scheme: String,
}

fn timeout_ms() -> u64 {
    3000
}

fn bearer() -> String {
    "Bearer".to_owned()
}

impl Endpoint {
    /// Whether requests can be made of it: for [`crate::Plugin::new`].
    ///
    /// # Errors
    /// What is wrong with which key, for the operator.
    pub fn check(&self) -> Result<(), String> {
        let url = Url::parse(&self.url).map_err(|error| format!("url: {error}"))?;
        let is_name = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
        if !url.authority.chars().all(is_name) {
            return Err(format!("url: `{}` is no host", url.authority));
        }
        if !url.path.chars().all(|c| c.is_ascii_graphic()) {
            return Err("url: the path holds what has to be percent-encoded".to_owned());
        }
        let is_here = HERE
            .iter()
            .any(|name| url.host().eq_ignore_ascii_case(name));
        if !url.is_https && !is_here && !self.allow_plaintext {
            let text = "is not encrypted; take https, or say `allow_plaintext`";
            return Err(format!("url: `{}` {text}", self.url));
        }
        self.headers.iter().try_for_each(|(name, value)| {
            let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
            if name.is_empty() || !name.chars().all(is_token) {
                return Err(format!("headers: `{name}` is no name of a header"));
            }
            if RESERVED
                .iter()
                .any(|known| name.eq_ignore_ascii_case(known))
            {
                return Err(format!("headers: `{name}` cannot be set here"));
            }
            is_value(value)
                .then_some(())
                .ok_or_else(|| format!("headers: the value of `{name}` is no text of one line"))
        })
    }

    /// How it is: degraded while the secret is missing. For [`crate::Plugin::check`].
    #[must_use]
    pub fn health(&self) -> Health {
        match self.secret() {
            Ok(_) => Health::Ok,
            Err(text) => Health::Degraded(text),
        }
    }

    /// A request to its address.
    ///
    /// # Errors
    /// The secret is missing.
    pub fn request(&self, method: &str) -> Result<Request, Failure> {
        self.request_to(method, self.url.as_str())
    }

    /// A request to another address with its headers, secret and time: one that was made of `url`.
    ///
    /// # Errors
    /// The secret is missing.
    pub fn request_to(&self, method: &str, url: impl Into<String>) -> Result<Request, Failure> {
        let mut made = request(method, url).timeout_ms(self.timeout_ms);
        for (name, value) in &self.headers {
            made = made.header(name, value);
        }
        Ok(match self.secret().map_err(Failure::Failed)? {
            Some(value) => made.header("authorization", value),
            None => made,
        })
    }

    /// The value of the `Authorization` header, read anew each time.
    fn secret(&self) -> Result<Option<String>, String> {
        let Some(Authorization { secret, scheme }) = &self.authorization else {
            return Ok(None);
        };
        let text = crate::host::secrets::text(secret).map_err(|error| error.to_string())?;
        let text = text.filter(|text| !text.is_empty());
        let text = text.ok_or_else(|| format!("the secret `{secret}` is not there"))?;
        let value = match scheme.as_str() {
            "" => text,
            scheme => format!("{scheme} {text}"),
        };
        match is_value(&value) {
            true => Ok(Some(value)),
            false => Err(format!("the secret `{secret}` is no text of one line")),
        }
    }
}

fn is_value(text: &str) -> bool {
    text.chars()
        .all(|c| c == '\t' || c == ' ' || c.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(json: serde_json::Value) -> Endpoint {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn addresses_and_headers_are_checked() {
        for url in [
            "https://a.b/c?d=e",
            "https://a:8443",
            "http://localhost:1/",
            "http://127.0.0.1",
            "http://[::1]:80/",
        ] {
            endpoint(serde_json::json!({ "url": url })).check().unwrap();
        }
        for (config, expected) in [
            (serde_json::json!({ "url": "a/b" }), "no scheme"),
            (serde_json::json!({ "url": "http://a.b/" }), "not encrypted"),
            (
                serde_json::json!({ "url": "http://127.0.0.1.evil/" }),
                "not encrypted",
            ),
            (serde_json::json!({ "url": "https://{topic}/" }), "no host"),
            (
                serde_json::json!({ "url": "https://a/b c" }),
                "percent-encoded",
            ),
            (
                serde_json::json!({ "url": "https://a/\u{e9}" }),
                "percent-encoded",
            ),
            (
                serde_json::json!({ "url": "https://a", "headers": { "": "x" } }),
                "no name",
            ),
            (
                serde_json::json!({ "url": "https://a", "headers": { "a b": "x" } }),
                "no name",
            ),
            (
                serde_json::json!({ "url": "https://a", "headers": { "Host": "x" } }),
                "cannot be set",
            ),
            (
                serde_json::json!({ "url": "https://a", "headers": { "x": "1\r\ny: 2" } }),
                "one line",
            ),
        ] {
            let said = endpoint(config).check().unwrap_err();
            assert!(said.contains(expected), "{said}");
        }
        let open = serde_json::json!({ "url": "http://a.b/", "allow_plaintext": true });
        endpoint(open).check().unwrap();
    }

    #[test]
    fn a_request_has_the_headers_and_the_time() {
        let made = endpoint(serde_json::json!({
            "url": "https://a/b", "headers": { "x-one": "1" }, "timeout_ms": 7
        }));
        let made = made.request("PUT").unwrap();
        assert_eq!(
            (made.method.as_str(), made.url.as_str()),
            ("PUT", "https://a/b")
        );
        assert_eq!(made.headers, [("x-one".to_owned(), "1".to_owned())]);
        assert_eq!(made.timeout_ms, 7);
    }
}
