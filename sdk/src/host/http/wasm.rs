//! `wasi:http/outgoing-handler` 0.2, one request after the other.

use super::{HttpError, Request, Response, Url};
use wasip2::http::outgoing_handler;
use wasip2::http::types::{
    ErrorCode, Fields, IncomingBody, IncomingResponse, Method, OutgoingBody, OutgoingRequest,
    RequestOptions, Scheme,
};
use wasip2::io::streams::StreamError;

/// Bytes of one write; a stream takes no more at once.
const WRITE_BYTES: usize = 4096;
/// Bytes asked for by one read.
const READ_BYTES: u64 = 64 * 1024;

pub(super) fn send(request: &Request, url: &Url<'_>) -> Result<Response, HttpError> {
    let bad = |what: &str| HttpError::BadRequest(what.to_owned());
    let headers = request.headers.iter();
    let headers = headers.map(|(name, value)| (name.clone(), value.clone().into_bytes()));
    let headers = Fields::from_list(&headers.collect::<Vec<_>>())
        .map_err(|error| HttpError::BadRequest(format!("a header: {error}")))?;
    let outgoing = OutgoingRequest::new(headers);
    let scheme = if url.is_https {
        Scheme::Https
    } else {
        Scheme::Http
    };
    outgoing
        .set_method(&method(&request.method))
        .map_err(|()| bad("the method"))?;
    outgoing
        .set_scheme(Some(&scheme))
        .map_err(|()| bad("the scheme"))?;
    outgoing
        .set_authority(Some(url.authority))
        .map_err(|()| bad("the host"))?;
    outgoing
        .set_path_with_query(Some(url.path))
        .map_err(|()| bad("the path"))?;
    let body = outgoing.body().map_err(|()| bad("the body"))?;
    let pending = outgoing_handler::handle(outgoing, Some(options(request)))?;
    // After `handle`, or nobody would take what is written.
    write(body, &request.body)?;
    pending.subscribe().block();
    let lost = || HttpError::Failed("the answer was lost".to_owned());
    let response = pending.get().ok_or_else(lost)?.map_err(|()| lost())??;
    read(&response, request.body_bytes)
}

fn method(name: &str) -> Method {
    match name {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "DELETE" => Method::Delete,
        "PATCH" => Method::Patch,
        "OPTIONS" => Method::Options,
        other => Method::Other(other.to_owned()),
    }
}

/// Times; a host that takes none of them still has the plugin's own timeout.
fn options(request: &Request) -> RequestOptions {
    let options = RequestOptions::new();
    let timeout = Some(request.timeout_ms.saturating_mul(1_000_000));
    for result in [
        options.set_connect_timeout(timeout),
        options.set_first_byte_timeout(timeout),
        options.set_between_bytes_timeout(timeout),
    ] {
        result.unwrap_or_default();
    }
    options
}

fn write(body: OutgoingBody, bytes: &[u8]) -> Result<(), HttpError> {
    let failed = |error: StreamError| HttpError::Failed(error.to_string());
    if !bytes.is_empty() {
        let closed = |()| HttpError::Failed("the body cannot be written".to_owned());
        let stream = body.write().map_err(closed)?;
        for chunk in bytes.chunks(WRITE_BYTES) {
            match stream.blocking_write_and_flush(chunk) {
                // The other side answers before it has read everything: it may say why.
                Err(StreamError::Closed) => break,
                result => result.map_err(failed)?,
            }
        }
    }
    OutgoingBody::finish(body, None).or_else(|error| match error {
        ErrorCode::HttpRequestBodySize(_) | ErrorCode::ConnectionTerminated => Ok(()),
        other => Err(other.into()),
    })
}

fn read(response: &IncomingResponse, limit: usize) -> Result<Response, HttpError> {
    let lost = |()| HttpError::Failed("the body cannot be read".to_owned());
    let headers = response.headers().entries().into_iter();
    let headers = headers.filter_map(|(name, value)| {
        let value = String::from_utf8(value).ok()?;
        Some((name.to_ascii_lowercase(), value))
    });
    let mut answer = Response {
        status: response.status(),
        headers: headers.collect(),
        body: Vec::new(),
    };
    let body: IncomingBody = response.consume().map_err(lost)?;
    let stream = body.stream().map_err(lost)?;
    loop {
        match stream.blocking_read(READ_BYTES) {
            Ok(bytes) => answer.body.extend_from_slice(&bytes),
            Err(StreamError::Closed) => return Ok(answer),
            Err(StreamError::LastOperationFailed(error)) => {
                return Err(HttpError::Failed(error.to_debug_string()));
            }
        }
        if answer.body.len() > limit {
            return Err(HttpError::TooLarge);
        }
    }
}

impl From<ErrorCode> for HttpError {
    fn from(code: ErrorCode) -> Self {
        match code {
            ErrorCode::HttpRequestDenied | ErrorCode::DestinationIpProhibited => Self::Denied,
            ErrorCode::ConnectionTimeout
            | ErrorCode::ConnectionReadTimeout
            | ErrorCode::ConnectionWriteTimeout
            | ErrorCode::HttpResponseTimeout
            | ErrorCode::DnsTimeout => Self::Timeout,
            ErrorCode::HttpResponseBodySize(_) => Self::TooLarge,
            ErrorCode::HttpRequestUriInvalid | ErrorCode::HttpRequestMethodInvalid => {
                Self::BadRequest(code.to_string())
            }
            other => Self::Failed(other.to_string()),
        }
    }
}
