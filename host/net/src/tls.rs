//! Certificates: read, checked, and exchanged while connections go on.

use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
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
    /// A file is no list of revoked certificates.
    #[error("{file}: no list of revoked certificates could be read: {cause}")]
    Revoked {
        /// Which.
        file: PathBuf,
        /// Why.
        cause: String,
    },
    /// Client certificates cannot be checked with this.
    #[error("{ca} cannot be used to check certificates of clients: {cause}")]
    ClientCa {
        /// The file.
        ca: PathBuf,
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

/// Where a listener's certificates are, all PEM but for lists of revoked ones.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// Certificate chain of the server.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// There if clients are asked for certificates.
    pub clients: Option<ClientCertificates>,
}

/// What clients have to show.
#[derive(Clone, Debug)]
pub struct ClientCertificates {
    /// Authorities whose certificates are taken.
    pub ca: PathBuf,
    /// Whether a client without one is refused. One that shows another is refused in any case.
    pub is_required: bool,
    /// Lists of revoked certificates, PEM or DER. With any, a certificate whose authority has no list there is refused.
    pub revoked: Vec<PathBuf>,
}

/// The certificate a listener uses for the next handshake.
#[derive(Clone, Debug)]
pub struct TlsSlot {
    files: Arc<TlsFiles>,
    config: Arc<RwLock<Arc<ServerConfig>>>,
}

impl TlsSlot {
    /// Reads all files.
    ///
    /// # Errors
    /// A file is missing or holds something else, or key and certificate do not fit.
    pub fn load(files: TlsFiles) -> Result<Self, TlsError> {
        Ok(Self {
            config: Arc::new(RwLock::new(read(&files)?)),
            files: Arc::new(files),
        })
    }

    /// Reads the files again; what was read before stays if they cannot be used.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn reload(&self) -> Result<(), TlsError> {
        let config = read(&self.files)?;
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = config;
        Ok(())
    }

    /// Where it is read from.
    #[must_use]
    pub fn files(&self) -> &TlsFiles {
        &self.files
    }

    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        self.config
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

fn pem(file: &Path, what: &'static str, cause: String) -> TlsError {
    TlsError::Pem {
        file: file.to_owned(),
        what,
        cause,
    }
}

/// All certificates of a file; at least one.
fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let all: Vec<_> = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect)
        .map_err(|error| pem(file, "certificate", error.to_string()))?;
    match all.is_empty() {
        true => Err(pem(file, "certificate", "the file has none".to_owned())),
        false => Ok(all),
    }
}

fn read(files: &TlsFiles) -> Result<Arc<ServerConfig>, TlsError> {
    let TlsFiles { cert, key, clients } = files;
    let chain = certificates(cert)?;
    let private = PrivateKeyDer::from_pem_file(key)
        .map_err(|error| pem(key, "private key", error.to_string()))?;
    let unusable = |cause| TlsError::Unusable {
        cert: cert.clone(),
        key: key.clone(),
        cause,
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(unusable)?;
    let builder = match clients {
        Some(clients) => builder.with_client_cert_verifier(verifier(clients)?),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_single_cert(chain, private).map_err(unusable)?;
    // A client that comes back goes on where it was, however many others came meanwhile: what the server has to remember
    // is in the client's ticket, under a key that changes every six hours and with each reading of the files.
    config.ticketer = rustls::crypto::ring::Ticketer::new().map_err(unusable)?;
    Ok(Arc::new(config))
}

fn verifier(clients: &ClientCertificates) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let ca = &clients.ca;
    let bad = |cause: String| TlsError::ClientCa {
        ca: ca.clone(),
        cause,
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(ca)? {
        roots
            .add(certificate)
            .map_err(|error| bad(error.to_string()))?;
    }
    let (roots, provider) = (
        Arc::new(roots),
        Arc::new(rustls::crypto::ring::default_provider()),
    );
    let builder = || WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone());
    let mut all = Vec::new();
    for file in &clients.revoked {
        let lists = revoked(file)?;
        // By itself first, so that it can be said which file it is.
        let tried = builder().with_crls(lists.iter().cloned()).build();
        tried.map_err(|error| no_list(file, error))?;
        all.extend(lists);
    }
    let builder = builder().with_crls(all);
    let builder = match clients.is_required {
        true => builder,
        false => builder.allow_unauthenticated(),
    };
    builder.build().map_err(|error| bad(error.to_string()))
}

fn no_list(file: &Path, cause: impl std::fmt::Display) -> TlsError {
    TlsError::Revoked {
        file: file.to_owned(),
        cause: cause.to_string(),
    }
}

/// All lists of a file, PEM, or the one that it is; at least one.
fn revoked(file: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    const PEM: &[u8] = b"-----BEGIN ";
    let bytes = std::fs::read(file).map_err(|error| no_list(file, error))?;
    if !bytes.windows(PEM.len()).any(|part| part == PEM) {
        return Ok(vec![bytes.into()]);
    }
    let all: Vec<_> = CertificateRevocationListDer::pem_slice_iter(&bytes)
        .collect::<Result<_, _>>()
        .map_err(|error| no_list(file, error))?;
    match all.is_empty() {
        true => Err(no_list(file, "the file has none")),
        false => Ok(all),
    }
}
