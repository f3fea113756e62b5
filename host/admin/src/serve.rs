//! The listener of the HTTP origin and its thread.

use crate::{Page, Ports, Token, api, pages, upgrade};
use axum::Router;
use axum::routing::any;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{Semaphore, oneshot};
use tower::ServiceExt as _;

/// Settings of the HTTP origin.
pub struct AdminConfig {
    /// Where it listens.
    pub bind: SocketAddr,
    /// Who may use the API.
    pub token: Token,
    /// Files served as they are.
    pub pages: Vec<Page>,
    /// HTTP connections at a time, upgraded ones not counted (default 256).
    pub max_connections: usize,
}

/// Why the HTTP origin did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be bound.
    #[error(
        "cannot listen on {bind} (http): {source}; is another broker running? set `http.bind` to another address"
    )]
    Bind {
        /// The address.
        bind: SocketAddr,
        /// The system's words.
        source: io::Error,
    },
    /// No thread or runtime to be had.
    #[error("cannot start the http thread: {0}")]
    Thread(#[from] io::Error),
}

/// The running HTTP origin.
pub struct Admin {
    addr: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// A request's head must arrive within this.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

impl Admin {
    /// Binds and serves on a thread of its own.
    ///
    /// # Errors
    /// Address taken, no thread.
    pub fn start(config: AdminConfig, ports: Ports) -> Result<Self, StartError> {
        let bind = config.bind;
        let listener =
            TcpListener::bind(bind).map_err(|source| StartError::Bind { bind, source })?;
        listener.set_nonblocking(true)?;
        let addr = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(4)
            .build()?;
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("witmq-admin".into())
            .spawn(move || {
                tokio::task::LocalSet::new().block_on(&runtime, async move {
                    tokio::select! {
                        () = accept(listener, config, ports) => {}
                        _ = stopped => {}
                    }
                });
            })?;
        Ok(Self {
            addr,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Where it listens (tests bind port 0).
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// Stops accepting and ends the thread.
    pub fn stop(mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the http thread panicked");
        }
    }
}

async fn accept(listener: TcpListener, config: AdminConfig, ports: Ports) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "the http listener cannot be used");
            return;
        }
    };
    let app = Router::new()
        .route(
            "/mqtt",
            any(upgrade::mqtt).with_state(Arc::clone(&ports.mqtt)),
        )
        .merge(api::routes(config.token, ports))
        .merge(pages::routes(config.pages));
    let slots = Arc::new(Semaphore::new(config.max_connections));
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, peer)) => {
                let app = app.clone();
                tokio::task::spawn_local(async move {
                    connection(stream, peer, app).await;
                    drop(slot);
                });
            }
            Err(error) => {
                // Out of file descriptors, most likely: let some close instead of spinning.
                tracing::warn!(%error, "http accept failed");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn connection(stream: tokio::net::TcpStream, peer: SocketAddr, app: Router) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%peer, %error, "TCP_NODELAY refused");
    }
    let service = hyper::service::service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(peer);
        app.clone().oneshot(request)
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await;
    if let Err(error) = served {
        tracing::debug!(%peer, %error, "http connection ended");
    }
}
