//! The address of a provider's keys, which the provider says (OpenID Connect Discovery 1.0, section 4).
//!
//! Owns: the question, what is believed of the answer, and for how long. Must not: fetch keys.

use serde::{Deserialize, Serialize};
use witmq_sdk::Failure;
use witmq_sdk::host::http::{Endpoint, Request};
use witmq_sdk::host::{clock, metrics};

/// Where a provider describes itself, below its address.
const WELL_KNOWN: &str = "/.well-known/openid-configuration";
/// Bytes of such a description.
const DOCUMENT_BYTES: usize = 64 * 1024;

/// What is read of it.
#[derive(Debug, Deserialize)]
struct Document {
    issuer: String,
    jwks_uri: String,
}

/// An address that was found.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Found {
    jwks_uri: String,
    found_ms: u64,
}

/// Asks a provider where its keys are, and remembers it for a while.
#[derive(Debug)]
pub(crate) struct Discovery {
    /// So old an address is asked for anew.
    refresh_ms: u64,
    found: Option<Found>,
}

impl Discovery {
    pub(crate) fn new(refresh_ms: u64) -> Self {
        Self {
            refresh_ms,
            found: None,
        }
    }

    pub(crate) fn found(&self) -> Option<Found> {
        self.found.clone()
    }

    /// What another instance found.
    pub(crate) fn recall(&mut self, found: Found) {
        self.found = Some(found);
    }

    /// The next time the provider is asked again.
    pub(crate) fn forget(&mut self) {
        self.found = None;
    }

    /// A request for the keys of a provider.
    pub(crate) fn request(&mut self, provider: &Endpoint) -> Result<Request, Failure> {
        let is_young = |found: &Found| clock::now_ms().abs_diff(found.found_ms) < self.refresh_ms;
        let known = self.found.take().filter(is_young);
        let found = match known {
            Some(found) => found,
            None => ask(provider)?,
        };
        let address = Endpoint {
            url: found.jwks_uri.clone(),
            ..provider.clone()
        };
        self.found = Some(found);
        match is_same_place(&provider.url, &address.url) {
            true => address.request("GET"),
            // Headers and secrets are for the provider alone.
            false => {
                let bare = Endpoint {
                    headers: [].into(),
                    authorization: None,
                    ..address
                };
                bare.request("GET")
            }
        }
    }
}

/// Whether scheme, host and port are the same.
fn is_same_place(one: &str, other: &str) -> bool {
    let place = |url: &str| {
        let parts: Vec<&str> = url.split('/').take(3).collect();
        parts.join("/").to_ascii_lowercase()
    };
    place(one) == place(other)
}

fn ask(provider: &Endpoint) -> Result<Found, Failure> {
    metrics::count("jwks_discoveries", 1);
    let url = format!("{}{WELL_KNOWN}", provider.url.trim_end_matches('/'));
    let request = provider.request_to("GET", url.as_str())?;
    let response = request.body_bytes(DOCUMENT_BYTES).send()?.success()?;
    let bad = |text: String| Failure::Failed(format!("{url}: {text}"));
    let document: Document =
        serde_json::from_slice(&response.body).map_err(|error| bad(error.to_string()))?;
    if document.issuer != provider.url {
        let (theirs, ours) = (&document.issuer, &provider.url);
        return Err(bad(format!(
            "the provider calls itself `{theirs}`, not `{ours}`; write it so in `issuer`"
        )));
    }
    let address = Endpoint {
        url: document.jwks_uri,
        ..provider.clone()
    };
    address
        .check()
        .map_err(|text| bad(format!("jwks_uri: {text}")))?;
    Ok(Found {
        jwks_uri: address.url,
        found_ms: clock::now_ms(),
    })
}
