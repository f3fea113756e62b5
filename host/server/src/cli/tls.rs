//! TLS towards a broker, from the command line.

use super::CliError;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use std::path::Path;
use std::sync::Arc;

/// Files that systems keep the certificates in that they trust.
const SYSTEM: [&str; 3] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
];

/// The certificates of `ca`, or the system's.
///
/// # Errors
/// The file cannot be read or holds no certificate; the system has none.
pub(super) fn certificates(ca: Option<&Path>) -> Result<Vec<CertificateDer<'static>>, CliError> {
    let Some(path) = ca else {
        let found = SYSTEM
            .iter()
            .filter_map(|path| CertificateDer::pem_file_iter(path).ok());
        let found: Vec<_> = found.flatten().flatten().collect();
        return match found.is_empty() {
            false => Ok(found),
            true => Err(CliError::failed("no system certificates were found").hint(
                "name the certificate to trust: --ca FILE (`witmq dev` writes .witmq/ca.pem)",
            )),
        };
    };
    let bad = |e: String| CliError::failed(format!("{}: {e}", path.display()));
    let found = CertificateDer::pem_file_iter(path).map_err(|e| bad(e.to_string()))?;
    let found: Vec<_> = found
        .collect::<Result<_, _>>()
        .map_err(|e| bad(e.to_string()))?;
    match found.is_empty() {
        false => Ok(found),
        true => Err(bad("no certificate in it".into())),
    }
}

/// Trusts the certificates of `ca`, or the system's.
///
/// # Errors
/// As [`certificates`].
pub(crate) fn client(ca: Option<&Path>) -> Result<Arc<ClientConfig>, CliError> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(path) => {
            for certificate in certificates(ca)? {
                let added = roots.add(certificate);
                added.map_err(|e| CliError::failed(format!("{}: {e}", path.display())))?;
            }
        }
        None => drop(roots.add_parsable_certificates(certificates(None)?)),
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| CliError::failed(e.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
