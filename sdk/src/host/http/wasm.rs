//! `wasi:http/outgoing-handler` 0.2, one request after the other.

use super::{HttpError, Request, Response, Url};
use wasip2::clocks::monotonic_clock;
use wasip2::http::outgoing_handler;
use wasip2::http::types::{
    ErrorCode, Fields, IncomingBody, IncomingResponse, Method, OutgoingBody, OutgoingRequest,
    RequestOptions, Scheme,
};
use wasip2::io::poll::{self, Pollable};
use wasip2::io::streams::{OutputStream, StreamError};

/// Bytes of one write; a stream takes no more at once.
const WRITE_BYTES: usize = 4096;
/// Bytes asked for by one read.
const READ_BYTES: u64 = 64 * 1024;

/// What the whole request has to be done by.
struct Deadline(Pollable);

impl Deadline {
    /// Until something can go on.
    fn wait(&self, other: &Pollable) -> Result<(), HttpError> {
        let ready = poll::poll(&[other, &self.0]);
        ready.contains(&0).then_some(()).ok_or(HttpError::Timeout)
    }
}

pub(super) fn send(request: &Request, url: &Url<'_>) -> Result<Response, HttpError> {
    let nanoseconds = request.timeout_ms.saturating_mul(1_000_000);
    let deadline = Deadline(monotonic_clock::subscribe_duration(nanoseconds));
    let outgoing = outgoing(request, url)?;
    let closed = |()| HttpError::BadRequest("the body".to_owned());
    let body = outgoing.body().map_err(closed)?;
    let pending = outgoing_handler::handle(outgoing, Some(options(nanoseconds)))?;
    // After `handle`, or nobody would take what is written.
    write(body, &request.body, &deadline)?;
    deadline.wait(&pending.subscribe())?;
    let lost = || HttpError::Failed("the answer was lost".to_owned());
    let response = pending.get().ok_or_else(lost)?.map_err(|()| lost())??;
    read(&response, request.body_bytes, &deadline)
}

/// The request without its body.
fn outgoing(request: &Request, url: &Url<'_>) -> Result<OutgoingRequest, HttpError> {
    let bad = |what: &str| HttpError::BadRequest(what.to_owned());
    let headers = request.headers.iter();
    let headers = headers.map(|(name, value)| (name.clone(), value.clone().into_bytes()));
    let mut headers: Vec<_> = headers.collect();
    // Without it the body would come in chunks, which not every service takes.
    let has_length = |(name, _): &(String, _)| name.eq_ignore_ascii_case("content-length");
    if !request.body.is_empty() && !headers.iter().any(has_length) {
        let length = request.body.len().to_string();
        headers.push(("content-length".to_owned(), length.into_bytes()));
    }
    let headers = Fields::from_list(&headers)
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
    Ok(outgoing)
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

/// Times; a host that takes none of them is not waited for either.
fn options(nanoseconds: u64) -> RequestOptions {
    let options = RequestOptions::new();
    let timeout = Some(nanoseconds);
    for result in [
        options.set_connect_timeout(timeout),
        options.set_first_byte_timeout(timeout),
        options.set_between_bytes_timeout(timeout),
    ] {
        result.unwrap_or_default();
    }
    options
}

fn write(body: OutgoingBody, bytes: &[u8], deadline: &Deadline) -> Result<(), HttpError> {
    if !bytes.is_empty() {
        let closed = |()| HttpError::Failed("the body cannot be written".to_owned());
        let stream = body.write().map_err(closed)?;
        match write_all(&stream, bytes, deadline) {
            // The other side answers before it has read everything: it may say why.
            Ok(()) | Err(Unwritten::Stream(StreamError::Closed)) => {}
            Err(Unwritten::Stream(error)) => return Err(HttpError::Failed(error.to_string())),
            Err(Unwritten::Http(error)) => return Err(error),
        }
    }
    OutgoingBody::finish(body, None).or_else(|error| match error {
        ErrorCode::HttpRequestBodySize(_) | ErrorCode::ConnectionTerminated => Ok(()),
        other => Err(other.into()),
    })
}

/// Why a body was not written to its end.
enum Unwritten {
    Stream(StreamError),
    Http(HttpError),
}

fn write_all(
    stream: &OutputStream,
    mut bytes: &[u8],
    deadline: &Deadline,
) -> Result<(), Unwritten> {
    let ready = || loop {
        match stream.check_write().map_err(Unwritten::Stream)? {
            0 => deadline
                .wait(&stream.subscribe())
                .map_err(Unwritten::Http)?,
            room => return Ok(usize::try_from(room).unwrap_or(WRITE_BYTES)),
        }
    };
    while !bytes.is_empty() {
        let room = ready()?.min(WRITE_BYTES);
        let (part, rest) = bytes.split_at(room.min(bytes.len()));
        stream.write(part).map_err(Unwritten::Stream)?;
        bytes = rest;
    }
    stream.flush().map_err(Unwritten::Stream)?;
    ready().map(drop)
}

/// The answer, with one byte more of its body than wanted if there is one.
fn read(
    response: &IncomingResponse,
    limit: usize,
    deadline: &Deadline,
) -> Result<Response, HttpError> {
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
    while answer.body.len() <= limit {
        match stream.read(READ_BYTES) {
            Ok(bytes) if bytes.is_empty() => deadline.wait(&stream.subscribe())?,
            Ok(bytes) => answer.body.extend_from_slice(&bytes),
            Err(StreamError::Closed) => break,
            Err(StreamError::LastOperationFailed(error)) => {
                return Err(HttpError::Failed(error.to_debug_string()));
            }
        }
    }
    Ok(answer)
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
