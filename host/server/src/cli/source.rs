//! Where `witmq plugin install` takes a component from: a file, HTTPS, or an OCI registry.
//!
//! Owns: fetching, its bounds, and the check of the digest it is pinned by. Must not: install anything; the broker itself
//! never fetches.

use super::oci;
use super::{CliError, Exit, tls};
use sha2::{Digest as _, Sha256};
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

/// Largest component fetched, as the broker takes it.
const MAX_BYTES: u64 = 64 * 1024 * 1024;
/// All of a fetch.
const TIMEOUT: Duration = Duration::from_secs(120);
/// Tries while a server says that it has too much to do.
const TRIES: u32 = 4;
/// The longest wait before another try.
const LONGEST_WAIT: u64 = 30;

/// A component and where it came from.
pub(super) struct Fetched {
    pub(super) wasm: Vec<u8>,
    /// As it was named, with its digest where a registry gave one.
    pub(super) origin: String,
}

/// What a fetch may rely on.
pub(super) struct Terms<'a> {
    /// The only certificates to trust; the system's if absent.
    pub(super) ca: Option<&'a Path>,
    /// What the component must be: sha256, in hex, with or without `sha256:`.
    pub(super) digest: Option<&'a str>,
}

/// Takes the component named by `source`: a path, `https://…`, or `oci://REGISTRY/REPOSITORY:TAG` or `@sha256:…`.
///
/// # Errors
/// It is not there, too large, or not what it is pinned to; nothing was installed.
pub(super) fn fetch(source: &str, terms: &Terms<'_>) -> Result<Fetched, CliError> {
    let fetched = match source.split_once("://") {
        None => file(Path::new(source))?,
        Some(("https" | "http", _)) => Fetched {
            wasm: Web::new(terms.ca)?.bytes(source, &[])?,
            origin: source.to_owned(),
        },
        Some(("oci", rest)) => oci::pull(rest, &Web::new(terms.ca)?)?,
        Some((scheme, _)) => {
            return Err(CliError::new(
                Exit::Usage,
                format!("`{scheme}://` is no source of plugins"),
            )
            .hint("name a file, https://… or oci://REGISTRY/REPOSITORY:TAG"));
        }
    };
    if let Some(wanted) = terms.digest {
        check(&fetched.wasm, wanted, source)?;
    }
    Ok(fetched)
}

fn file(path: &Path) -> Result<Fetched, CliError> {
    let wasm = std::fs::read(path)
        .map_err(|error| CliError::failed(format!("{}: {error}", path.display())))?;
    Ok(Fetched {
        wasm,
        origin: path.display().to_string(),
    })
}

/// sha256 in hex.
pub(super) fn digest(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Refuses what is not what it is pinned to.
pub(super) fn check(bytes: &[u8], wanted: &str, what: &str) -> Result<(), CliError> {
    let hex = wanted.strip_prefix("sha256:").unwrap_or(wanted);
    if hex.len() != 64 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(
            CliError::new(Exit::Usage, format!("`{wanted}` is no digest"))
                .hint("a digest is sha256: and 64 hexadecimal digits"),
        );
    }
    let found = digest(bytes);
    if found.eq_ignore_ascii_case(hex) {
        return Ok(());
    }
    Err(CliError::new(
        Exit::Refused,
        format!("{what} is not what it is pinned to: it has sha256:{found}, not sha256:{hex}"),
    )
    .hint("nothing was installed; ask its author, or pin the new digest if it is right"))
}

/// HTTP towards strangers.
pub(super) struct Web {
    agent: ureq::Agent,
}

/// An answer that is no success.
pub(super) struct Answer {
    pub(super) status: u16,
    /// `WWW-Authenticate`.
    pub(super) challenge: Option<String>,
}

impl Web {
    fn new(ca: Option<&Path>) -> Result<Self, CliError> {
        let certificates: Vec<Certificate<'static>> = tls::certificates(ca)?
            .iter()
            .map(|certificate| Certificate::from_der(certificate).to_owned())
            .collect();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = TlsConfig::builder()
            .unversioned_rustls_crypto_provider(provider)
            .root_certs(RootCerts::new_with_certs(&certificates))
            .build();
        let agent = ureq::Agent::config_builder()
            .tls_config(tls)
            .timeout_global(Some(TIMEOUT))
            .http_status_as_error(false)
            .build();
        Ok(Self {
            agent: agent.into(),
        })
    }

    /// The body, of at most [`MAX_BYTES`].
    pub(super) fn bytes(&self, url: &str, headers: &[(&str, &str)]) -> Result<Vec<u8>, CliError> {
        let answer = self.ask(url, headers)?;
        answer.map_err(|answer| CliError::failed(format!("{url} answers {}", answer.status)))
    }

    /// The same; the inner error is an answer that is no success.
    pub(super) fn ask(
        &self,
        url: &str,
        headers: &[(&str, &str)],
    ) -> Result<Result<Vec<u8>, Answer>, CliError> {
        is_safe(url)?;
        let mut tries = 0;
        loop {
            tries += 1;
            let request = headers
                .iter()
                .fold(self.agent.get(url), |request, (name, value)| {
                    request.header(*name, *value)
                });
            let mut response = (request.call())
                .map_err(|error| CliError::new(Exit::Unreachable, format!("{url}: {error}")))?;
            let header = |name: &str| {
                let value = response.headers().get(name)?;
                value.to_str().ok().map(str::to_owned)
            };
            let status = response.status().as_u16();
            if matches!(status, 429 | 503) && tries < TRIES {
                let asked = header("retry-after").and_then(|value| value.parse().ok());
                let wait = asked.unwrap_or(1_u64 << tries).min(LONGEST_WAIT);
                eprintln!("{url} has too much to do ({status}); again in {wait} s");
                std::thread::sleep(Duration::from_secs(wait));
                continue;
            }
            if !response.status().is_success() {
                let challenge = header("www-authenticate");
                return Ok(Err(Answer { status, challenge }));
            }
            let mut bytes = Vec::new();
            (response.body_mut().as_reader().take(MAX_BYTES + 1))
                .read_to_end(&mut bytes)
                .map_err(|error| CliError::failed(format!("{url} broke off: {error}")))?;
            if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > MAX_BYTES {
                let text = format!("{url} is larger than {MAX_BYTES} bytes, which is the limit");
                return Err(CliError::new(Exit::Refused, text));
            }
            return Ok(Ok(bytes));
        }
    }
}

/// `http:` shows the component, and what asks for it, to everybody on the way: only within this machine.
fn is_safe(url: &str) -> Result<(), CliError> {
    let Some(rest) = url.strip_prefix("http://") else {
        return Ok(());
    };
    if is_loopback(rest.split('/').next().unwrap_or_default()) {
        return Ok(());
    }
    Err(
        CliError::new(Exit::Refused, format!("{url} is not encrypted"))
            .hint("use https://; http:// is for this machine only"),
    )
}

/// Whether `HOST[:PORT]` is this machine.
pub(super) fn is_loopback(authority: &str) -> bool {
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    host == "localhost" || (host.parse::<std::net::IpAddr>()).is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_checked_in_every_form() {
        let hex = digest(b"x");
        for wanted in [hex.clone(), format!("sha256:{hex}"), hex.to_uppercase()] {
            assert!(check(b"x", &wanted, "it").is_ok());
            let error = check(b"y", &wanted, "it").unwrap_err();
            assert_eq!(error.exit, Exit::Refused, "{error}");
        }
        for wanted in ["", "sha256:", "sha512:00", &hex[1..]] {
            assert_eq!(check(b"x", wanted, "it").unwrap_err().exit, Exit::Usage);
        }
    }

    #[test]
    fn clear_text_stays_on_this_machine() {
        for url in [
            "http://127.0.0.1:1/x",
            "http://localhost/x",
            "http://[::1]:5/x",
            "https://far.example/x",
        ] {
            assert!(is_safe(url).is_ok(), "{url}");
        }
        for url in [
            "http://far.example/x",
            "http://127.0.0.1.far.example/x",
            "http://10.0.0.1/x",
        ] {
            assert!(is_safe(url).is_err(), "{url}");
        }
    }
}
