//! Answers to requests in native builds: those that a test gives. There is no network.

#![cfg_attr(
    target_family = "wasm",
    allow(dead_code, reason = "the stand-in serves native builds")
)]

use super::stand_in;
use crate::host::http::{HttpError, Request, Response, Url};
use std::collections::BTreeMap;

/// What was asked, and what is answered.
#[derive(Debug, Default)]
pub(crate) struct Exchanges {
    /// `None`: the service is silent.
    answers: BTreeMap<(String, String), Option<Response>>,
    requests: Vec<Request>,
    /// Milliseconds that each request takes.
    pub(super) takes_ms: u64,
}

impl Exchanges {
    pub(super) fn answer(&mut self, method: &str, url: &str, answer: Response) {
        self.answers
            .insert((method.to_owned(), url.to_owned()), Some(answer));
    }

    pub(super) fn silence(&mut self, method: &str, url: &str) {
        self.answers
            .insert((method.to_owned(), url.to_owned()), None);
    }

    pub(super) fn take(&mut self) -> Vec<Request> {
        std::mem::take(&mut self.requests)
    }
}

pub(crate) fn send(request: &Request, url: &Url<'_>) -> Result<Response, HttpError> {
    stand_in::with(|state| {
        let granted = state.grants("http:");
        if !granted.is_none_or(|mut hosts| hosts.any(|host| is_host(host, url))) {
            return Err(HttpError::Denied);
        }
        let name = (request.method.clone(), request.url.clone());
        let answer = state.http.answers.get(&name).cloned();
        state.http.requests.push(request.clone());
        let takes_ms = match answer {
            Some(None) => u64::MAX,
            _ => state.http.takes_ms,
        };
        state.now_ms += takes_ms.min(request.timeout_ms);
        if takes_ms > request.timeout_ms {
            return Err(HttpError::Timeout);
        }
        let text = || {
            format!(
                "the test has no answer to {} {}",
                request.method, request.url
            )
        };
        answer.flatten().ok_or_else(|| HttpError::Failed(text()))
    })
}

/// Whether a grant is for this host, or for all below a domain, on any port or on the one that it names. Addresses are
/// the broker's to check.
fn is_host(granted: &str, url: &Url<'_>) -> bool {
    let granted = granted.strip_suffix("/private").unwrap_or(granted);
    if let Some(domain) = granted.strip_prefix('*') {
        let ends = |name: &str| {
            name.to_ascii_lowercase()
                .ends_with(&domain.to_ascii_lowercase())
        };
        return ends(url.host()) || ends(url.authority);
    }
    granted.eq_ignore_ascii_case(url.host()) || granted.eq_ignore_ascii_case(url.authority)
}
