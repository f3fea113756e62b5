//! The example page, built into the binary and served on the HTTP origin.

use bytes::Bytes;
use witmq_admin::Page;

fn page(path: &str, content_type: &'static str, body: &'static [u8]) -> Page {
    Page {
        path: path.to_owned(),
        content_type,
        body: Bytes::from_static(body),
    }
}

/// The page and its scripts.
pub(crate) fn all() -> Vec<Page> {
    const HTML: &[u8] = include_bytes!("../../../examples/browser/index.html");
    vec![
        page("/", "text/html; charset=utf-8", HTML),
        page(
            "/app.js",
            "text/javascript; charset=utf-8",
            include_bytes!("../../../examples/browser/app.js"),
        ),
        page(
            "/style.css",
            "text/css; charset=utf-8",
            include_bytes!("../../../examples/browser/style.css"),
        ),
        page(
            "/mqtt.min.js",
            "text/javascript; charset=utf-8",
            include_bytes!(concat!(env!("OUT_DIR"), "/mqtt.min.js")),
        ),
    ]
}
