//! TLS towards a broker, from the command line.

use super::CliError;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use std::path::Path;
use std::sync::Arc;

/// Trusts the certificates of `ca`, or the system's.
///
/// # Errors
/// The file cannot be read or holds no certificate; the system has none.
pub(crate) fn client(ca: Option<&Path>) -> Result<Arc<ClientConfig>, CliError> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(path) => {
            let bad = |e: String| CliError::failed(format!("{}: {e}", path.display()));
            let certificates =
                CertificateDer::pem_file_iter(path).map_err(|e| bad(e.to_string()))?;
            for certificate in certificates {
                let certificate = certificate.map_err(|e| bad(e.to_string()))?;
                roots.add(certificate).map_err(|e| bad(e.to_string()))?;
            }
            if roots.is_empty() {
                return Err(bad("no certificate in it".into()));
            }
        }
        None => {
            for path in [
                "/etc/ssl/certs/ca-certificates.crt",
                "/etc/pki/tls/certs/ca-bundle.crt",
                "/etc/ssl/cert.pem",
            ] {
                let found = CertificateDer::pem_file_iter(path)
                    .into_iter()
                    .flatten()
                    .flatten();
                roots.add_parsable_certificates(found);
            }
            if roots.is_empty() {
                return Err(CliError::failed("no system certificates were found").hint(
                    "name the certificate to trust: --ca FILE (`witmq dev` writes .witmq/ca.pem)",
                ));
            }
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| CliError::failed(e.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
