//! Certificates: read, checked, and exchanged while connections go on.

use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

/// A certificate that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or holds no PEM of that kind.
    #[error("{file}: no {what} could be read: {cause}")]
    Pem {
        /// Which.
        file: PathBuf,
        /// What was looked for.
        what: &'static str,
        /// Why.
        cause: String,
    },
    /// The two do not fit together.
    #[error("{cert} and {key} do not make a TLS server: {cause}")]
    Unusable {
        /// Certificate file.
        cert: PathBuf,
        /// Key file.
        key: PathBuf,
        /// Why.
        cause: rustls::Error,
    },
}

/// The certificate a listener uses for the next handshake.
#[derive(Clone, Debug)]
pub struct TlsSlot {
    config: Arc<RwLock<Arc<ServerConfig>>>,
}

impl TlsSlot {
    /// Reads a certificate chain and its key, both PEM.
    ///
    /// # Errors
    /// A file is missing or holds something else, or key and certificate do not fit.
    pub fn load(cert: &Path, key: &Path) -> Result<Self, TlsError> {
        Ok(Self {
            config: Arc::new(RwLock::new(read(cert, key)?)),
        })
    }

    /// Reads the files again; the present certificate stays if they cannot be used.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn reload(&self, cert: &Path, key: &Path) -> Result<(), TlsError> {
        let config = read(cert, key)?;
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = config;
        Ok(())
    }

    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        self.config
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

fn read(cert: &Path, key: &Path) -> Result<Arc<ServerConfig>, TlsError> {
    let pem = |file: &Path, what, cause: String| TlsError::Pem {
        file: file.to_owned(),
        what,
        cause,
    };
    let chain: Vec<_> = CertificateDer::pem_file_iter(cert)
        .and_then(Iterator::collect)
        .map_err(|error| pem(cert, "certificate", error.to_string()))?;
    if chain.is_empty() {
        return Err(pem(cert, "certificate", "the file has none".to_owned()));
    }
    let private = PrivateKeyDer::from_pem_file(key)
        .map_err(|error| pem(key, "private key", error.to_string()))?;
    let unusable = |cause| TlsError::Unusable {
        cert: cert.to_owned(),
        key: key.to_owned(),
        cause,
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(unusable)?;
    Ok(Arc::new(config))
}
