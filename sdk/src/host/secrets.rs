//! Secrets that the operator keeps outside of the configuration, granted by name (`secret:NAME`).

use super::broker;

/// The bytes of a secret; `None` if it is not granted or not there. Read anew each time: ask when it is needed.
#[must_use]
pub fn get(name: &str) -> Option<Vec<u8>> {
    broker::secret(name)
}

/// The same as text without blanks around it, as it is in a file that ends with a line end.
#[must_use]
pub fn text(name: &str) -> Option<String> {
    let text = String::from_utf8(get(name)?).ok()?;
    Some(text.trim().to_owned())
}
