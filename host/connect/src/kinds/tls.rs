//! Who vouches for other sides: the roots of this machine, and those that a sink file names.

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Bytes both ways.
pub(super) trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// Who this broker is for the other side: certificates and their key, as PEM.
pub(super) struct Identity {
    pub(super) cert: String,
    pub(super) key: String,
}

/// Trusts the machine's roots, and with `ca` (PEM) those in place of them.
///
/// # Errors
/// There is no certificate in it, in words.
pub(super) fn trust(ca: Option<&str>) -> Result<Arc<ClientConfig>, String> {
    trust_as(ca, None)
}

/// The same, and shows who this broker is if the other side asks.
///
/// # Errors
/// There is no certificate in something, or a key that is another one's, in words.
pub(super) fn trust_as(
    ca: Option<&str>,
    identity: Option<&Identity>,
) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(pem) => {
            for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
                let certificate =
                    certificate.map_err(|error| format!("`ca` is no PEM: {error}"))?;
                let added = roots.add(certificate);
                added.map_err(|error| format!("a certificate of `ca` cannot be used: {error}"))?;
            }
            if roots.is_empty() {
                return Err("there is no certificate in `ca`".to_owned());
            }
        }
        None => {
            let native = rustls_native_certs::load_native_certs();
            let (known, _) = roots.add_parsable_certificates(native.certs);
            if known == 0 {
                return Err("this machine has no root certificates: name some with `ca`".to_owned());
            }
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let config = config.with_root_certificates(roots);
    let Some(identity) = identity else {
        return Ok(Arc::new(config.with_no_client_auth()));
    };
    let (chain, key) = read(identity)?;
    let config = config
        .with_client_auth_cert(chain, key)
        .map_err(|error| format!("`client_cert` and `client_key` cannot be used: {error}"))?;
    Ok(Arc::new(config))
}

fn read(
    identity: &Identity,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), String> {
    let chain = CertificateDer::pem_slice_iter(identity.cert.as_bytes());
    let chain: Result<Vec<_>, _> = chain.collect();
    let chain = chain.map_err(|error| format!("`client_cert` is no PEM: {error}"))?;
    if chain.is_empty() {
        return Err("there is no certificate in `client_cert`".to_owned());
    }
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes())
        .map_err(|error| format!("`client_key` is no key: {error}"))?;
    Ok((chain, key))
}

/// Without the brackets of an IPv6 address.
pub(super) fn bare(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}

/// A connection, secured if that is asked for.
///
/// # Errors
/// Nobody answers, or nobody who is trusted, in words.
pub(super) async fn dial(
    host: &str,
    port: u16,
    trusted: Option<Arc<ClientConfig>>,
) -> Result<Box<dyn Wire>, String> {
    let host = bare(host);
    let stream = TcpStream::connect((host, port)).await;
    let stream = stream.map_err(|error| format!("cannot connect to {host}:{port}: {error}"))?;
    let _is_slower = stream.set_nodelay(true).is_err();
    match trusted {
        Some(trusted) => secure(host, port, trusted, Box::new(stream)).await,
        None => Ok(Box::new(stream)),
    }
}

/// TLS over a connection that is there, with whom `host` names.
///
/// # Errors
/// It is not trusted, in words.
pub(super) async fn secure(
    host: &str,
    port: u16,
    trusted: Arc<ClientConfig>,
    wire: Box<dyn Wire>,
) -> Result<Box<dyn Wire>, String> {
    let host = bare(host);
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| format!("`{host}` is no name of a server"))?;
    let secured = TlsConnector::from(trusted).connect(name, wire).await;
    let secured =
        secured.map_err(|error| format!("no TLS with {host}:{port}: {}", clearer(&error)))?;
    Ok(Box::new(secured))
}

/// An error of a connection, with what to look at if it is about a certificate.
pub(super) fn clearer(error: &impl std::fmt::Display) -> String {
    let text = error.to_string();
    let hint = match () {
        // The latter: by another one of the same name.
        () if text.contains("UnknownIssuer") || text.contains("BadSignature") => {
            "nobody who is trusted signed its certificate: see `ca`"
        }
        () if text.contains("not valid for name") || text.contains("NotValidForName") => {
            "its certificate is for another name than the configuration has"
        }
        () => return text,
    };
    format!("{text} ({hint})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_not_trusted_is_told_apart_from_who_has_another_name() {
        let signer = "(nobody who is trusted signed its certificate: see `ca`)";
        for (text, wanted) in [
            ("invalid peer certificate: UnknownIssuer", signer),
            ("invalid peer certificate: BadSignature", signer),
            (
                "certificate not valid for name \"a\"",
                "(its certificate is for another name than the configuration has)",
            ),
            ("connection reset", "connection reset"),
        ] {
            assert!(clearer(&text).ends_with(wanted), "{text}");
        }
    }

    #[test]
    fn what_is_no_certificate_is_not_trusted() {
        assert!(trust(Some("")).is_err());
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(trust(Some(broken)).is_err());
        let nobody = Identity {
            cert: broken.to_owned(),
            key: String::new(),
        };
        let said = read(&nobody).expect_err("no key");
        assert!(said.starts_with("`client_key` is no key"), "{said}");
    }
}
