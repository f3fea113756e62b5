//! From a name to a connection: resolved here, checked, and dialled at the address that was checked.

use super::HttpGrant;
use super::grant::address;
use super::idle::Route;
use crate::config::HttpLimits;
use crate::plugin::Shared;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio_rustls::TlsConnector;
use wasmtime_wasi_http::Error;

/// Addresses of one name that are tried.
const ADDRESSES: usize = 8;

/// Bytes both ways.
pub(super) trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// Where one request goes.
pub(super) struct Target {
    pub(super) plugin: Arc<Shared>,
    pub(super) host: String,
    pub(super) port: u16,
    /// The grants for this host and port; any of them may allow an address.
    pub(super) granted: Vec<HttpGrant>,
    pub(super) limits: HttpLimits,
    /// With TLS: who vouches for the other side.
    pub(super) trusted: Option<Arc<ClientConfig>>,
    /// One of the requests that may be under way.
    pub(super) permit: Arc<OwnedSemaphorePermit>,
}

impl Target {
    /// What a connection to it is kept under.
    pub(super) fn route(&self) -> Route {
        Route {
            host: self.host.clone(),
            port: self.port,
            is_secure: self.trusted.is_some(),
        }
    }

    /// Whether the grants of now lead there.
    pub(super) fn allows(&self, at: IpAddr) -> bool {
        self.granted.iter().any(|grant| grant.allows(at))
    }

    /// A connection to the first address that is allowed and answers, and that address.
    pub(super) async fn dial(&self) -> Result<(TokioIo<Box<dyn Wire>>, IpAddr), Error> {
        let resolved = self.resolve().await?;
        let is_allowed = |at: &&SocketAddr| self.allows(at.ip());
        let allowed: Vec<SocketAddr> = resolved.iter().filter(is_allowed).copied().collect();
        if allowed.is_empty() {
            return Err(self.refuse(&resolved));
        }
        let mut failure = Error::DestinationNotFound;
        for at in allowed {
            match TcpStream::connect(at).await {
                Ok(stream) => return Ok((self.secure(stream).await?, at.ip())),
                Err(error) => failure = Error::Connect(error),
            }
        }
        Err(failure)
    }

    async fn resolve(&self) -> Result<Vec<SocketAddr>, Error> {
        if let Some(address) = address(&self.host) {
            return Ok(vec![SocketAddr::new(address, self.port)]);
        }
        // The lookup cannot be given up, so it holds its place among the requests until it ends.
        let (name, permit) = ((self.host.clone(), self.port), self.permit.clone());
        let looking = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let found = name.to_socket_addrs();
            found.map(|all| all.take(ADDRESSES).collect::<Vec<_>>())
        });
        let found = looking.await.map_err(|error| error.to_string());
        let found = found.and_then(|found| found.map_err(|error| error.to_string()));
        let found = found.map_err(|cause| Error::DnsError {
            rcode: Some(cause),
            info_code: None,
        })?;
        match found.is_empty() {
            true => Err(Error::DestinationNotFound),
            false => Ok(found),
        }
    }

    /// The host is granted, and its addresses lead where plugins may not go.
    fn refuse(&self, resolved: &[SocketAddr]) -> Error {
        let requests = &self.plugin.requests;
        requests.denied.fetch_add(1, Ordering::Relaxed);
        let (plugin, host) = (&self.plugin.name, &self.host);
        let at: Vec<String> = resolved.iter().map(|at| at.ip().to_string()).collect();
        self.plugin.denied(&format!(
            "plugin `{plugin}` may not send requests to `{host}` at {}: if it is a host of a private network, grant it: \
             witmq plugin grants {plugin} --add http:{host}/private; any other address has to be granted itself",
            at.join(", ")
        ));
        Error::DestinationIpProhibited
    }

    async fn secure(&self, stream: TcpStream) -> Result<TokioIo<Box<dyn Wire>>, Error> {
        let Some(trusted) = &self.trusted else {
            return Ok(TokioIo::new(Box::new(stream)));
        };
        let name = match address(&self.host) {
            Some(address) => ServerName::from(address),
            None => ServerName::try_from(self.host.trim_end_matches('.').to_owned())
                .map_err(|_| Error::HttpRequestUriInvalid)?,
        };
        let connector = TlsConnector::from(trusted.clone());
        let stream = connector.connect(name, stream).await.map_err(Error::Tls)?;
        Ok(TokioIo::new(Box::new(stream)))
    }
}

/// Who vouches for other sides: the roots of this machine, and those of a PEM file.
///
/// # Errors
/// The file cannot be read or holds no certificate, in words.
pub(crate) fn trust(extra: Option<&Path>) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    let (known, _) = roots.add_parsable_certificates(native.certs);
    if let Some(path) = extra {
        let named = |error: &dyn std::fmt::Display| {
            format!(
                "the certificates in {} cannot be used: {error}",
                path.display()
            )
        };
        let all = CertificateDer::pem_file_iter(path).map_err(|error| named(&error))?;
        let mut added = 0;
        for certificate in all {
            let certificate = certificate.map_err(|error| named(&error))?;
            roots.add(certificate).map_err(|error| named(&error))?;
            added += 1;
        }
        if added == 0 {
            return Err(named(&"there are none"));
        }
    } else if known == 0 {
        tracing::warn!(
            "this machine has no root certificates: https requests of plugins fail until it has, or `plugin_ca` names a file"
        );
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let config = config.with_root_certificates(roots).with_no_client_auth();
    Ok(Arc::new(config))
}
