//! Files that only their owner may read: the admin token, private keys; and, beside the token, where it is of use.

use anyhow::{Context as _, Result};
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// The file of the data folder with the address of the HTTP origin, for the command line.
pub(crate) const HTTP_ADDRESS: &str = "http.address";

/// Writes `bytes` to a file of mode 0600, replacing it whole.
///
/// # Errors
/// The folder cannot be written.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let staged = path.with_extension("new");
    let write = || -> std::io::Result<()> {
        if staged.exists() {
            std::fs::remove_file(&staged)?;
        }
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&staged)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&staged, path)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// The admin token of this data folder, made the first time.
///
/// # Errors
/// The folder cannot be read or written.
pub(crate) fn admin_token(data_dir: &Path) -> Result<String> {
    let path = data_dir.join("admin.token");
    if path.is_file() {
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        if text.trim().len() >= 32 {
            return Ok(text.trim().to_owned());
        }
        anyhow::bail!(
            "{} is too short to be a token; delete it to have a new one made",
            path.display()
        );
    }
    let mut bytes = [0_u8; 32];
    rand::RngCore::fill_bytes(&mut rand::rng(), &mut bytes);
    let token: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    write(&path, token.as_bytes())?;
    Ok(token)
}

/// Says in the data folder where the HTTP origin is, or that there is none.
///
/// # Errors
/// The folder cannot be written.
pub(crate) fn write_address(data_dir: &Path, address: Option<SocketAddr>) -> Result<()> {
    let path = data_dir.join(HTTP_ADDRESS);
    match address {
        Some(address) => write(&path, format!("http://{}\n", reachable(address)).as_bytes()),
        None if path.exists() => {
            std::fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))
        }
        None => Ok(()),
    }
}

/// An address of this machine for one that stands for all of them.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn the_token_is_made_once_and_private() {
        let dir = tempfile::tempdir().expect("temp dir");
        let first = admin_token(dir.path()).expect("token");
        assert_eq!(first.len(), 64);
        assert_eq!(admin_token(dir.path()).expect("again"), first);
        let mode = std::fs::metadata(dir.path().join("admin.token"))
            .expect("file")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::write(dir.path().join("admin.token"), "x").expect("write");
        assert!(admin_token(dir.path()).is_err());
    }

    #[test]
    fn the_address_is_one_that_can_be_reached() {
        let dir = tempfile::tempdir().expect("temp dir");
        let file = dir.path().join(HTTP_ADDRESS);
        for (bound, written) in [
            ("127.0.0.1:8080", "http://127.0.0.1:8080\n"),
            ("192.0.2.7:80", "http://192.0.2.7:80\n"),
            ("0.0.0.0:1", "http://127.0.0.1:1\n"),
            ("[::]:2", "http://[::1]:2\n"),
        ] {
            let bound = Some(bound.parse().expect("address"));
            write_address(dir.path(), bound).expect("written");
            assert_eq!(std::fs::read_to_string(&file).expect("file"), written);
        }
        for _ in 0..2 {
            write_address(dir.path(), None).expect("removed");
            assert!(!file.exists());
        }
    }
}
