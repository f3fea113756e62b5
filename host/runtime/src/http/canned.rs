//! What other services answer in a test of a component. Nothing is sent: a request has the answer that the test gives for
//! it, or is refused.

use super::body::Counted;
use super::{Driver, PATIENCE, Response};
use crate::config::HttpLimits;
use crate::manifest::Answer;
use crate::plugin::Shared;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody};

/// The answers of one test.
pub(crate) struct Canned {
    answers: Vec<Known>,
    /// The last request that has none.
    missed: Mutex<Option<String>>,
}

struct Known {
    method: String,
    uri: Uri,
    /// `None`: the service is silent.
    response: Option<http::Response<Bytes>>,
}

impl Canned {
    /// # Errors
    /// One of them is no answer of HTTP, in words.
    pub(crate) fn new(answers: &[Answer]) -> Result<Self, String> {
        let known = |answer: &Answer| known(answer).map_err(|text| format!("answers: {text}"));
        Ok(Self {
            answers: answers.iter().map(known).collect::<Result<_, _>>()?,
            missed: Mutex::default(),
        })
    }

    /// The last request that had no answer.
    pub(crate) fn missed(&self) -> Option<String> {
        let missed = self.missed.lock().unwrap_or_else(PoisonError::into_inner);
        missed.clone()
    }

    fn find(&self, method: &str, uri: &Uri) -> Option<Option<http::Response<Bytes>>> {
        let mut all = self.answers.iter();
        let found =
            all.find(|known| known.method.eq_ignore_ascii_case(method) && known.uri == *uri);
        if found.is_none() {
            let mut missed = self.missed.lock().unwrap_or_else(PoisonError::into_inner);
            *missed = Some(format!("{method} {uri}"));
        }
        found.map(|known| known.response.clone())
    }

    /// Reads the request, and answers it in its time.
    pub(super) fn exchange(
        &self,
        request: http::Request<WasiBody>,
        options: RequestOptions,
        limits: &HttpLimits,
        plugin: &Arc<Shared>,
    ) -> impl Future<Output = Result<(Response, Driver), Error>> + Send + use<> {
        let found = self.find(request.method().as_str(), request.uri());
        let sent = Counted::request(request.into_body(), limits.request_bytes, plugin);
        let (plugin, most) = (plugin.clone(), limits.response_bytes);
        async move {
            let Some(response) = found else {
                return Err(Error::DestinationNotFound);
            };
            sent.collect().await?;
            let Some(response) = response else {
                let wait = options.first_byte_timeout.unwrap_or(PATIENCE);
                tokio::time::sleep(wait).await;
                return Err(Error::HttpResponseTimeout);
            };
            let pause = options.between_bytes_timeout.unwrap_or(PATIENCE);
            let response = response.map(|body| {
                let body = Full::new(body).map_err(|never: Infallible| -> Error { match never {} });
                Counted::response(body, most, &plugin, pause).boxed_unsync()
            });
            let driver: Driver = Box::new(std::future::ready(Ok(())));
            Ok((response, driver))
        }
    }
}

fn known(answer: &Answer) -> Result<Known, String> {
    let url = &answer.url;
    let uri: Uri = url
        .parse()
        .map_err(|error| format!("`{url}` is no URL: {error}"))?;
    if uri.scheme().is_none() || uri.authority().is_none() {
        return Err(format!(
            "`{url}` is no URL: it begins with http:// or https://"
        ));
    }
    let status = StatusCode::from_u16(answer.status)
        .map_err(|_| format!("{} is no status", answer.status))?;
    let mut response = http::Response::new(answer.body());
    *response.status_mut() = status;
    for (name, value) in &answer.headers {
        let header = HeaderName::try_from(name)
            .ok()
            .zip(HeaderValue::try_from(value).ok());
        let (name, value) = header.ok_or_else(|| format!("`{name}: {value}` is no header"))?;
        response.headers_mut().append(name, value);
    }
    Ok(Known {
        method: answer.method.clone(),
        uri,
        response: (!answer.silent).then_some(response),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn canned(answers: serde_json::Value) -> Result<Canned, String> {
        Canned::new(&serde_json::from_value::<Vec<Answer>>(answers).unwrap())
    }

    #[test]
    fn a_request_has_the_answer_for_its_method_and_url() {
        let canned = canned(json!([
            { "url": "http://a.test", "body": {"a": 1}, "headers": {"x-a": "1"} },
            { "method": "POST", "url": "http://a.test/b?c=1", "status": 500 },
            { "url": "http://a.test/later", "silent": true },
        ]))
        .unwrap();
        let find = |method: &str, url: &str| canned.find(method, &url.parse().unwrap());
        let first = find("get", "http://A.test/").unwrap().unwrap();
        assert_eq!(
            (first.status().as_u16(), &first.body()[..]),
            (200, &b"{\"a\":1}"[..])
        );
        assert_eq!(first.headers()["x-a"], "1");
        let second = find("POST", "http://a.test/b?c=1").unwrap().unwrap();
        assert_eq!(second.status().as_u16(), 500);
        assert!(find("GET", "http://a.test/later").unwrap().is_none());
        assert_eq!(canned.missed(), None);
        for url in ["http://a.test/b?c=1", "https://a.test/", "http://b.test/"] {
            assert!(find("GET", url).is_none(), "{url}");
        }
        assert_eq!(canned.missed().unwrap(), "GET http://b.test/");
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        for (answer, words) in [
            (json!({"url": "/a"}), "`/a` is no URL"),
            (
                json!({"url": "http://a.test", "status": 7}),
                "7 is no status",
            ),
            (
                json!({"url": "http://a.test", "headers": {"a b": ""}}),
                "`a b: ` is no header",
            ),
        ] {
            let error = canned(json!([answer])).err().unwrap();
            assert!(error.contains(words), "{error}");
        }
    }
}
