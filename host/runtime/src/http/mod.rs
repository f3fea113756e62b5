//! Requests of plugins to other services: `wasi:http`, for components beside the shards.
//!
//! Owns: the linker's part for such components, [`Beyond`], which is what their stores carry for it, and the decision
//! about each request: granted, within the limits, to an address that was checked. Must not: follow redirects.

mod body;
mod canned;
mod dial;
mod grant;
mod handler;
mod idle;
mod print;

pub use grant::{HttpGrant, NoHost};

pub(crate) use canned::Canned;
pub(crate) use dial::trust;

use crate::config::{HttpLimits, RuntimeConfig};
use crate::limited::Bound;
use crate::plugin::Shared;
use crate::state::State;
use body::Counted;
use http::uri::Scheme;
use http_body_util::BodyExt as _;
use hyper::client::conn::TrySendError;
use idle::{Idle, Route, Sender};
use rustls::ClientConfig;
use std::error::Error as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use wasmtime::component::{Linker, ResourceTable};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::p2::bindings::http::types::ErrorCode;
use wasmtime_wasi_http::{
    Error, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks, WasiHttpView,
};

/// Random bytes given at a time.
const RANDOM_BYTES: u64 = 64 * 1024;
/// Time for an answer to begin and between two parts of it, if the plugin says nothing; its call ends before that.
const PATIENCE: Duration = Duration::from_secs(600);

/// The requests of one plugin: how many at once, and what became of them.
pub(crate) struct Requests {
    at_once: Arc<Semaphore>,
    /// Sent.
    pub(crate) sent: AtomicU64,
    /// Not granted.
    pub(crate) denied: AtomicU64,
    /// Beyond those of one call, or those at once.
    pub(crate) too_many: AtomicU64,
    /// No connection in time.
    pub(crate) connect_timeouts: AtomicU64,
    /// Cut off because they became too large.
    pub(crate) too_large: AtomicU64,
    /// Sent on a connection that another request had before.
    pub(crate) reused: AtomicU64,
    idle: Idle,
}

impl Requests {
    pub(crate) fn new(limits: &HttpLimits) -> Self {
        Self {
            at_once: Arc::new(Semaphore::new(
                limits.concurrent.min(Semaphore::MAX_PERMITS),
            )),
            sent: AtomicU64::new(0),
            denied: AtomicU64::new(0),
            too_many: AtomicU64::new(0),
            connect_timeouts: AtomicU64::new(0),
            too_large: AtomicU64::new(0),
            reused: AtomicU64::new(0),
            idle: Idle::new(limits.idle, limits.idle_longest),
        }
    }
}

/// WASI that may wait, and `wasi:http`: for components that import the latter.
pub(crate) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(linker)?;
    handler::add_to_linker(linker)
}

/// What the store of such a component carries.
pub(crate) struct Beyond {
    wasi: WasiCtx,
    http: WasiHttpCtx,
    table: ResourceTable,
    door: Door,
}

impl Beyond {
    /// No files, no sockets, nothing of the process; what it prints goes into the log of the plugin.
    pub(crate) fn new(
        plugin: &Arc<Shared>,
        limits: &RuntimeConfig,
        trusted: Arc<ClientConfig>,
    ) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(limits.handles);
        let wasi = WasiCtx::builder()
            .stdout(print::Printed::new(plugin))
            .stderr(print::Printed::new(plugin))
            .allow_tcp(false)
            .allow_udp(false)
            .max_random_size(RANDOM_BYTES)
            .build();
        Self {
            wasi,
            http: WasiHttpCtx::new(),
            table,
            door: Door {
                plugin: plugin.clone(),
                left: 0,
                limits: limits.http.clone(),
                trusted,
            },
        }
    }

    /// Fresh budget for one call.
    pub(crate) fn begin(&mut self) {
        self.door.left = self.door.limits.requests;
    }
}

impl State {
    #[allow(
        clippy::expect_used,
        reason = "only components that wait are linked with it"
    )]
    fn beyond(&mut self) -> &mut Beyond {
        self.beyond
            .as_deref_mut()
            .expect("a component linked with wasi:http has what it needs")
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let beyond = self.beyond();
        WasiCtxView {
            ctx: &mut beyond.wasi,
            table: &mut beyond.table,
        }
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        let beyond = self.beyond();
        WasiHttpCtxView {
            hooks: &mut beyond.door,
            table: &mut beyond.table,
            ctx: &mut beyond.http,
        }
    }
}

/// Decides about each request of one instance.
struct Door {
    plugin: Arc<Shared>,
    /// Requests left in this call.
    left: u32,
    limits: HttpLimits,
    trusted: Arc<ClientConfig>,
}

type Response = http::Response<WasiBody>;
/// What drives the connection while its answer is read.
type Driver = Box<dyn Future<Output = Result<(), Error>> + Send>;

impl WasiHttpHooks for Door {
    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Driver,
    ) -> Box<dyn Future<Output = Result<(Response, Driver), Error>> + Send> {
        let options = options.unwrap_or_default();
        if let Some(canned) = self.plugin.canned.clone() {
            return match self.left.checked_sub(1) {
                Some(left) => {
                    self.left = left;
                    Box::new(canned.exchange(request, options, &self.limits, &self.plugin))
                }
                None => Box::new(std::future::ready(Err(Error::ConnectionLimitReached))),
            };
        }
        match self.admit(&request) {
            Ok(target) => Box::new(exchange(target, request, options)),
            Err(error) => Box::new(std::future::ready(Err(error))),
        }
    }

    fn p2_error_from_hyper(&mut self, error: &hyper::Error) -> ErrorCode {
        match error {
            error if error.is_timeout() => ErrorCode::HttpResponseTimeout,
            error if error.is_incomplete_message() || error.is_closed() => {
                ErrorCode::ConnectionTerminated
            }
            _ => ErrorCode::HttpProtocolError,
        }
    }

    fn p2_error_from_connect(&mut self, _: &std::io::Error) -> ErrorCode {
        ErrorCode::ConnectionRefused
    }

    fn p2_error_from_tls(&mut self, error: &std::io::Error) -> ErrorCode {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
        match inner {
            Some(rustls::Error::InvalidCertificate(_)) => ErrorCode::TlsCertificateError,
            _ => ErrorCode::TlsProtocolError,
        }
    }
}

impl Door {
    /// Whether it may be sent at all, and where to.
    fn admit(&mut self, request: &http::Request<WasiBody>) -> Result<dial::Target, Error> {
        let (plugin, requests) = (&self.plugin, &self.plugin.requests);
        let uri = request.uri();
        let is_https = uri.scheme() == Some(&Scheme::HTTPS);
        let authority = uri.authority().ok_or(Error::HttpRequestUriInvalid)?;
        let host = authority.host();
        if host.is_empty() || authority.as_str().contains('@') {
            return Err(Error::HttpRequestUriInvalid);
        }
        let port = match (authority.port(), is_https) {
            (Some(port), _) => port.as_u16(),
            (None, true) => 443,
            (None, false) => 80,
        };
        let grants = plugin.grants();
        let granted = grants.http.iter().filter(|grant| grant.is_for(host, port));
        let granted: Vec<_> = granted.cloned().collect();
        if granted.is_empty() {
            requests.denied.fetch_add(1, Ordering::Relaxed);
            plugin.denied(&format!(
                "plugin `{0}` may not send requests to `{host}:{port}`: grant it: witmq plugin grants {0} --add http:{host}:{port}",
                plugin.name
            ));
            return Err(Error::HttpRequestDenied);
        }
        let left = self.left.checked_sub(1);
        let permit = requests.at_once.clone().try_acquire_owned();
        let (Some(left), Ok(permit)) = (left, permit) else {
            requests.too_many.fetch_add(1, Ordering::Relaxed);
            plugin.limited.hit(match left {
                None => Bound::HttpRequests,
                Some(_) => Bound::HttpConcurrent,
            });
            return Err(Error::ConnectionLimitReached);
        };
        self.left = left;
        requests.sent.fetch_add(1, Ordering::Relaxed);
        Ok(dial::Target {
            plugin: plugin.clone(),
            host: host.to_owned(),
            port,
            granted,
            limits: self.limits.clone(),
            trusted: is_https.then(|| self.trusted.clone()),
            permit: Arc::new(permit),
        })
    }
}

/// A connection, and what has to be known to keep it.
struct Connected {
    sender: Sender,
    at: IpAddr,
    /// Another request had it before: it may have ended meanwhile.
    is_used: bool,
}

/// A connection that waits, or a new one.
async fn connected(
    target: &dial::Target,
    route: &Route,
    options: RequestOptions,
) -> Result<Connected, Error> {
    let requests = &target.plugin.requests;
    if let Some((sender, at)) = requests
        .idle
        .take(Instant::now(), route, |at| target.allows(at))
    {
        return Ok(Connected {
            sender,
            at,
            is_used: true,
        });
    }
    let wait = options.connect_timeout.unwrap_or(PATIENCE);
    let dialled = tokio::time::timeout(wait.min(target.limits.connect), target.dial()).await;
    let (stream, at) = dialled.unwrap_or_else(|_| {
        requests.connect_timeouts.fetch_add(1, Ordering::Relaxed);
        target.plugin.limited.hit(Bound::HttpConnect);
        Err(Error::ConnectionTimeout)
    })?;
    let mut builder = hyper::client::conn::http1::Builder::new();
    builder.max_buf_size(target.limits.head_bytes);
    let (sender, connection) = builder.handshake(stream).await?;
    tokio::spawn(async move {
        // How it ended is said by the body, or by what waits for the head.
        let _is_told = connection.await.is_err();
    });
    Ok(Connected {
        sender,
        at,
        is_used: false,
    })
}

/// One request and the head of its answer.
async fn exchange(
    target: dial::Target,
    request: http::Request<WasiBody>,
    options: RequestOptions,
) -> Result<(Response, Driver), Error> {
    let route = target.route();
    let limits = &target.limits;
    let (mut parts, body) = request.into_parts();
    // The origin form: scheme and authority are the proxy's.
    let path = parts.uri.path_and_query().cloned();
    parts.uri = path.map_or_else(|| http::Uri::from_static("/"), http::Uri::from);
    let body = Counted::request(body, limits.request_bytes, &target.plugin);
    let mut request = http::Request::from_parts(parts, body);
    let wait = options.first_byte_timeout.unwrap_or(PATIENCE);
    let (response, connected) = loop {
        let mut connected = connected(&target, &route, options).await?;
        let head = tokio::time::timeout(wait, connected.sender.try_send_request(request)).await;
        match head.map_err(|_| Error::HttpResponseTimeout)? {
            Ok(response) => break (response, connected),
            Err(mut failed) => match failed.take_message().filter(|_| connected.is_used) {
                Some(unsent) => request = unsent, // the other side closed it before: on another one
                None => return Err(lost(&target, failed)),
            },
        }
    };
    if connected.is_used {
        let reused = &target.plugin.requests.reused;
        reused.fetch_add(1, Ordering::Relaxed);
    }
    let pause = options.between_bytes_timeout.unwrap_or(PATIENCE);
    let (maximum, plugin) = (limits.response_bytes, &target.plugin);
    let response = response.map(|body| {
        let body = Counted::response(body, maximum, plugin, pause).holding(target.permit.clone());
        body.boxed_unsync()
    });
    let Connected { sender, at, .. } = connected;
    tokio::spawn(idle::keep(target.plugin.clone(), route, at, sender));
    Ok((response, Box::new(std::future::ready(Ok(()))))) // the connection drives itself
}

fn lost<T>(target: &dial::Target, failed: TrySendError<T>) -> Error {
    let error = failed.into_error();
    if error.is_parse_too_large() {
        target.plugin.limited.hit(Bound::HttpHeadBytes);
    }
    named(error)
}

/// A failure of our own inside of hyper's.
fn named(error: hyper::Error) -> Error {
    match error.source().and_then(|inner| inner.downcast_ref()) {
        Some(Error::HttpRequestBodySize(size)) => Error::HttpRequestBodySize(*size),
        _ => Error::Hyper(error),
    }
}
