//! `webhook`: HTTP POST to a service, over one connection that is kept.
//!
//! Owns: what a status means. The service is not well: 408, 429, 5xx. The operator has to do something: 401, 403, 407.
//! Both come again. Everything else that is no success refuses the message.

use super::Means;
use super::tls::{dial, trust};
use crate::keys::Keys;
use crate::outlet::{Answer, Later, Outlet, Trouble, envelope};
use crate::place::SinkError;
use crate::record::Record;
use crate::secret::{Secret, Text};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{
    AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT,
};
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::time::Duration;

/// Bytes of an answer that are read; a longer one costs the connection.
const ANSWER_BYTES: usize = 64 * 1024;
/// Letters of an answer that are shown.
const SHOWN: usize = 200;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Body {
    /// A JSON array of envelopes.
    Batch,
    /// An envelope for each request.
    Message,
    /// The payload for each request; the topic in a header.
    Payload,
}

#[derive(Clone, Debug)]
pub(crate) struct Settings {
    uri: Uri,
    host: String,
    port: u16,
    is_tls: bool,
    body: Body,
    headers: Vec<(HeaderName, Text)>,
    bearer: Option<Text>,
    ca: Option<Text>,
}

impl Settings {
    pub(super) fn parse(keys: &mut Keys<'_>) -> Result<Self, SinkError> {
        let (url, at) = keys.needed("url", "\"https://example.com/in\"")?;
        let wrong = |text: &str| keys.error_at(at, format!("`url` {text}"));
        let uri: Uri = url
            .parse()
            .map_err(|error| wrong(&format!("is none: {error}")))?;
        let is_tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(wrong("begins with http:// or https://")),
        };
        let authority = uri
            .authority()
            .filter(|authority| !authority.as_str().contains('@'));
        let host = authority
            .ok_or_else(|| wrong("names a host, and no user"))?
            .host()
            .to_owned();
        let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let body = match keys.word("body", &["batch", "message", "payload"])? {
            Some("message") => Body::Message,
            Some("payload") => Body::Payload,
            _ => Body::Batch,
        };
        let mut headers = Vec::new();
        for (name, value, at) in keys.map("headers")? {
            let parsed = HeaderName::try_from(name.as_str());
            let parsed = parsed
                .map_err(|_| keys.error_at(at, format!("`{name}` is no name of a header")))?;
            headers.push((parsed, value));
        }
        Ok(Self {
            uri,
            host,
            port,
            is_tls,
            body,
            headers,
            bearer: keys.private("bearer")?,
            ca: keys.private("ca")?,
        })
    }
}

type Sender = SendRequest<Full<Bytes>>;

pub(crate) struct Webhook {
    settings: Settings,
    secrets: Secret,
    /// Taken while it is used: one that was given up in its middle is not used again.
    connection: Option<Sender>,
}

impl Webhook {
    pub(super) fn new(settings: Settings, means: &Means) -> Self {
        Self {
            settings,
            secrets: means.secrets.clone(),
            connection: None,
        }
    }

    async fn connect(&self) -> Result<Sender, String> {
        let settings = &self.settings;
        let trusted = match settings.is_tls {
            true => {
                let ca = settings.ca.as_ref().map(|ca| ca.reveal(&self.secrets));
                Some(trust(ca.transpose()?.as_deref())?)
            }
            false => None,
        };
        let stream = dial(&settings.host, settings.port, trusted).await?;
        let shaken = handshake(TokioIo::new(stream)).await;
        let (sender, connection) = shaken.map_err(|error| error.to_string())?;
        tokio::spawn(async move {
            let _says_the_request = connection.await.is_err();
        });
        Ok(sender)
    }

    fn request(
        &self,
        body: Bytes,
        record: Option<&Record>,
    ) -> Result<Request<Full<Bytes>>, String> {
        let settings = &self.settings;
        let path = settings
            .uri
            .path_and_query()
            .map_or("/", |path| path.as_str());
        let mut request = Request::post(path)
            .body(Full::new(body))
            .map_err(|error| error.to_string())?;
        let headers = request.headers_mut();
        let authority = settings
            .uri
            .authority()
            .map_or("", |authority| authority.as_str());
        let value = |text: &str| {
            HeaderValue::try_from(text)
                .map_err(|_| "a header has signs that it may not have".to_owned())
        };
        headers.insert(HOST, value(authority)?);
        headers.insert(
            USER_AGENT,
            HeaderValue::from_static(concat!("witmq/", env!("CARGO_PKG_VERSION"))),
        );
        let kind = record.and_then(|record| record.properties.content_type.as_deref());
        headers.insert(
            CONTENT_TYPE,
            match record {
                None => HeaderValue::from_static("application/json"),
                Some(_) => value(kind.unwrap_or("application/octet-stream"))?,
            },
        );
        if let Some(record) = record {
            // Topics may hold what headers may not.
            let topic: String = record.topic.bytes().map(escaped).collect();
            headers.insert("mqtt-topic", value(&topic)?);
        }
        if let Some(bearer) = &settings.bearer {
            let token = bearer.reveal(&self.secrets)?;
            headers.insert(AUTHORIZATION, value(&format!("Bearer {token}"))?);
        }
        for (name, text) in &settings.headers {
            headers.insert(name, value(&text.reveal(&self.secrets)?)?);
        }
        for value in headers.values_mut() {
            value.set_sensitive(true);
        }
        Ok(request)
    }

    /// One request. A connection that was kept may have ended meanwhile: another one is tried then.
    async fn post(&mut self, body: Bytes, record: Option<&Record>) -> Result<(), Trouble> {
        if let Some(mut kept) = self.connection.take()
            && kept.ready().await.is_ok()
        {
            let request = self.request(body.clone(), record).map_err(Trouble::away)?;
            if let Ok(response) = kept.send_request(request).await {
                return self.judge(kept, response).await;
            }
        }
        let mut fresh = self.connect().await.map_err(Trouble::away)?;
        let request = self.request(body, record).map_err(Trouble::away)?;
        let response = fresh.send_request(request).await;
        let response = response.map_err(|error| Trouble::away(format!("no answer: {error}")))?;
        self.judge(fresh, response).await
    }

    async fn judge(
        &mut self,
        connection: Sender,
        response: Response<hyper::body::Incoming>,
    ) -> Result<(), Trouble> {
        let (head, body) = response.into_parts();
        let body = Limited::new(body, ANSWER_BYTES).collect().await;
        let text = match body {
            Ok(body) => {
                self.connection = Some(connection);
                String::from_utf8_lossy(&body.to_bytes()).into_owned()
            }
            Err(_) => String::new(),
        };
        if head.status.is_success() {
            return Ok(());
        }
        let shown: String = text.trim().chars().take(SHOWN).collect();
        let text = format!("the service said {}: {shown}", head.status.as_u16());
        let after = head
            .headers
            .get(RETRY_AFTER)
            .and_then(|after| after.to_str().ok());
        let after = after.and_then(|after| after.trim().parse().ok());
        match is_to_come_again(head.status) {
            true => Err(Trouble::Away {
                text,
                after: after.map(Duration::from_secs),
            }),
            false => Err(Trouble::Refused(text)),
        }
    }

    async fn send_each(&mut self, batch: &[Record]) -> Result<Vec<Answer>, Trouble> {
        let mut answers = Vec::new();
        for record in batch {
            let sent = match self.settings.body {
                Body::Payload => self.post(record.payload.clone(), Some(record)).await,
                _ => self.post(envelope(record).to_string().into(), None).await,
            };
            answers.push(match sent {
                Ok(()) => Answer::Done,
                Err(Trouble::Refused(text)) => Answer::Never(text),
                // What was taken does not come again; the rest finds out for itself.
                Err(Trouble::Away { .. }) if !answers.is_empty() => break,
                Err(trouble) => return Err(trouble),
            });
        }
        Ok(answers)
    }
}

/// The service, or whoever looks after it, will do something about it.
fn is_to_come_again(status: StatusCode) -> bool {
    status.is_server_error() || matches!(status.as_u16(), 401 | 403 | 407 | 408 | 425 | 429)
}

/// A byte of a topic in a header.
fn escaped(byte: u8) -> String {
    match byte {
        b'%' => "%25".to_owned(),
        0x20..=0x7e => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    }
}

impl Outlet for Webhook {
    fn check(&mut self) -> Later<'_, Result<String, String>> {
        Box::pin(async {
            self.request(Bytes::new(), None)?;
            drop(self.connect().await?);
            let Settings { host, port, .. } = &self.settings;
            Ok(format!("{host}:{port} answers; nothing was posted"))
        })
    }

    fn send<'a>(&'a mut self, batch: &'a [Record]) -> Later<'a, Result<Vec<Answer>, Trouble>> {
        Box::pin(async move {
            if self.settings.body != Body::Batch {
                return self.send_each(batch).await;
            }
            let body = Value::Array(batch.iter().map(envelope).collect());
            self.post(body.to_string().into(), None).await?;
            Ok(vec![Answer::Done; batch.len()])
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings as Sink;

    #[test]
    fn an_address_is_checked_before_anything_is_sent() {
        let error = |url: &str| {
            let text = format!("kind = \"webhook\"\nurl = \"{url}\"");
            Sink::parse("w.toml", &text)
                .err()
                .map(|error| error.to_string())
        };
        assert_eq!(error("https://example.com/in?x=1"), None);
        assert_eq!(error("http://[::1]:80/"), None);
        for url in [
            "ftp://example.com",
            "example.com/in",
            "http://u:p@example.com/",
        ] {
            assert!(
                error(url).is_some_and(|error| error.starts_with("w.toml:2:7: `url` ")),
                "{url}"
            );
        }
    }

    #[test]
    fn a_status_is_an_answer_or_comes_again() {
        for (status, is_again) in [
            (500, true),
            (503, true),
            (429, true),
            (401, true),
            (400, false),
            (404, false),
            (422, false),
            (301, false),
        ] {
            let status = StatusCode::from_u16(status).expect("a status");
            assert_eq!(is_to_come_again(status), is_again, "{status}");
        }
    }
}
