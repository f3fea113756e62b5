//! `witmq plugin new`: a folder to begin with.

use super::{CliError, Exit, print};
use std::path::{Path, PathBuf};

/// The files of a new plugin: where they go and what is in them.
const TEMPLATE: [(&str, &str); 3] = [
    (
        "Cargo.toml",
        include_str!("../../../../sdk/template/Cargo.toml.in"),
    ),
    (
        "src/lib.rs",
        include_str!("../../../../sdk/template/src/lib.rs.in"),
    ),
    (
        "README.md",
        include_str!("../../../../sdk/template/README.md.in"),
    ),
];

/// Writes a new plugin into a folder of its name.
pub(super) fn new(name: &str, sdk: Option<&Path>) -> Result<(), CliError> {
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.is_empty()
        || !name.chars().all(legal)
        || !name.starts_with(|c: char| c.is_ascii_lowercase())
    {
        return Err(CliError::new(
            Exit::Usage,
            format!(
                "`{name}` cannot be a plugin name: use lower case letters, digits and -, a letter first"
            ),
        ));
    }
    let folder = PathBuf::from(name);
    if folder.exists() {
        return Err(CliError::new(
            Exit::Refused,
            format!("{name} exists already; nothing was written"),
        ));
    }
    let sdk = match sdk {
        Some(path) => path.join("sdk"),
        None => find_sdk()?,
    };
    let sdk = sdk
        .canonicalize()
        .map_err(|e| CliError::failed(format!("{}: {e}", sdk.display())))?;
    let dependency = format!("witmq-sdk = {{ path = {:?} }}", sdk.display().to_string());
    for (path, text) in TEMPLATE {
        let path = folder.join(path);
        let write = || {
            std::fs::create_dir_all(path.parent().unwrap_or(&folder))?;
            std::fs::write(
                &path,
                text.replace("{{name}}", name)
                    .replace("{{sdk}}", &dependency),
            )
        };
        write().map_err(|e| CliError::failed(format!("{}: {e}", path.display())))?;
    }
    print(&format!(
        "{name}/ written. Next:\n  cd {name}\n  witmq plugin test\n  witmq plugin install .\n  witmq plugin watch       # and each time \
         a file is saved"
    ));
    Ok(())
}

/// The SDK of the checkout this is run in.
fn find_sdk() -> Result<PathBuf, CliError> {
    let here = std::env::current_dir().map_err(|e| CliError::failed(e.to_string()))?;
    here.ancestors()
        .map(|dir| dir.join("sdk"))
        .find(|sdk| sdk.join("Cargo.toml").is_file() && sdk.join("template").is_dir())
        .ok_or_else(|| {
            CliError::new(Exit::Usage, "the SDK is not in this folder or above it")
                .hint("give the path of a checkout of WitMQ: --sdk PATH")
        })
}
