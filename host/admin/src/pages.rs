//! Pages that need no token: the landing page, the example page and its script, health.

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;

/// One file served as it is.
#[derive(Clone, Debug)]
pub struct Page {
    /// Path from the root, e.g. `/example/`.
    pub path: String,
    /// Content type.
    pub content_type: &'static str,
    /// The bytes.
    pub body: Bytes,
}

/// Scripts and connections only from and to the own origin; nothing from elsewhere.
const POLICY: &str =
    "default-src 'self'; style-src 'self'; frame-ancestors 'none'; base-uri 'none'";

type Files = Arc<BTreeMap<String, Page>>;

/// Routes of the pages, and the answer to everything else.
pub(crate) fn routes(pages: Vec<Page>) -> Router {
    let files: Files = Arc::new(pages.into_iter().map(|p| (p.path.clone(), p)).collect());
    Router::new().fallback(page).with_state(files)
}

async fn page(State(files): State<Files>, uri: Uri) -> Response {
    let Some(page) = files.get(uri.path()) else {
        let known: Vec<&str> = files.keys().map(String::as_str).collect();
        let text = format!(
            "Nothing is here. This is the HTTP origin of WitMQ: /mqtt (MQTT over WebSocket), /api/v1, /metrics, \
             /livez, /readyz {}\n",
            known.join(" ")
        );
        return (StatusCode::NOT_FOUND, text).into_response();
    };
    let mut response = page.body.clone().into_response();
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(page.content_type),
    );
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(POLICY),
    );
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}
