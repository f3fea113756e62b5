//! What a component says of itself without being run: the custom section `witmq:manifest`, JSON.
//!
//! Owns: [`Manifest`], found, read, and put into a component that has none. Must not: believe it about anything the component's imports and exports show.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use wasmparser::{Parser, Payload};

/// Name of the custom section, of the component or of a module within it.
pub(crate) const SECTION: &str = "witmq:manifest";
/// Bytes of the section.
const MANIFEST_BYTES: usize = 1024 * 1024;
/// Test vectors of one manifest.
const TESTS: usize = 256;

/// The manifest. Keys that this version does not know are left alone: a newer SDK may write them.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub(crate) struct Manifest {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) description: String,
    /// What a message is filled with; everything without a manifest.
    pub(crate) needs: Option<Vec<Need>>,
    /// JSON Schema of the configuration.
    pub(crate) config: Option<Value>,
    /// Capabilities that have to be granted, as it asks for them: `publish:FILTER`, `http:HOST`, `secret:NAME`, `clients`.
    pub(crate) capabilities: Vec<String>,
    pub(crate) limits: Limits,
    pub(crate) tests: Vec<Vector>,
}

/// A field that is filled in only when asked for.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Need {
    Payload,
    Properties,
    Client,
}

/// Limits that the plugin asks for: they count where they are tighter than the operator's.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub(crate) struct Limits {
    pub(crate) memory_bytes: Option<usize>,
    pub(crate) deadline_ms: Option<u64>,
    pub(crate) timeout_ms: Option<u64>,
}

/// What a hook is given, and what has to come of it.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub(crate) struct Vector {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) hook: Tested,
    #[serde(default)]
    pub(crate) config: Option<Value>,
    pub(crate) given: Given,
    /// What other services answer.
    #[serde(default)]
    pub(crate) answers: Vec<Answer>,
    /// Secrets that are there and granted, by name.
    #[serde(default)]
    pub(crate) secrets: BTreeMap<String, String>,
    pub(crate) expect: Value,
}

/// The hook that a vector is for.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Tested {
    #[default]
    Transform,
    Sink,
    Authenticate,
}

/// What another service answers in a vector.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub(crate) struct Answer {
    #[serde(default = "get")]
    pub(crate) method: String,
    pub(crate) url: String,
    #[serde(default = "fine")]
    pub(crate) status: u16,
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, String>,
    /// Text as it is, anything else as JSON.
    #[serde(default)]
    pub(crate) body: Value,
    /// It never answers.
    #[serde(default)]
    pub(crate) silent: bool,
}

fn get() -> String {
    "GET".to_owned()
}

fn fine() -> u16 {
    200
}

impl Answer {
    pub(crate) fn body(&self) -> Bytes {
        bytes(&self.body)
    }
}

/// Nothing stands for nothing, a text for itself, everything else for its JSON.
pub(crate) fn bytes(value: &Value) -> Bytes {
    match value {
        Value::Null => Bytes::new(),
        Value::String(text) => Bytes::copy_from_slice(text.as_bytes()),
        json => Bytes::from(json.to_string()),
    }
}

/// The message of a vector, or the attempt of a client.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub(crate) struct Given {
    pub(crate) topic: String,
    /// Text as it is, anything else as JSON.
    pub(crate) payload: Value,
    pub(crate) payload_base64: Option<String>,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) client_id: String,
    pub(crate) user_properties: Vec<(String, String)>,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<String>,
    /// Authentication Method.
    pub(crate) method: Option<String>,
    /// Authentication Data.
    pub(crate) data: Option<String>,
    /// What the challenge before left: it is the next round of an exchange.
    pub(crate) state: Option<String>,
}

/// A manifest that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// Its size, bytes.
    #[error("its manifest is {0} bytes long, at most {MANIFEST_BYTES} are allowed")]
    TooLarge(usize),
    /// There is more than one.
    #[error("it has two sections {SECTION}")]
    Twice,
    /// Its number of tests.
    #[error("its manifest has {0} tests, at most {TESTS} are allowed")]
    Tests(usize),
    /// What is wrong, with line and column.
    #[error("its manifest cannot be read: {0}")]
    Json(String),
}

/// Finds and reads the manifest of a component that is known to be valid. A component without one has the default.
pub(crate) fn read(wasm: &[u8]) -> Result<Manifest, ManifestError> {
    let mut found: Option<&[u8]> = None;
    for payload in Parser::new(0).parse_all(wasm) {
        let Ok(Payload::CustomSection(section)) = payload else {
            continue;
        };
        if section.name() == SECTION && found.replace(section.data()).is_some() {
            return Err(ManifestError::Twice);
        }
    }
    found.map_or_else(|| Ok(Manifest::default()), parse)
}

fn parse(bytes: &[u8]) -> Result<Manifest, ManifestError> {
    if bytes.len() > MANIFEST_BYTES {
        return Err(ManifestError::TooLarge(bytes.len()));
    }
    let manifest: Manifest =
        serde_json::from_slice(bytes).map_err(|error| ManifestError::Json(error.to_string()))?;
    match manifest.tests.len() {
        count if count > TESTS => Err(ManifestError::Tests(count)),
        _ => Ok(manifest),
    }
}

/// Puts a manifest, JSON text, behind a component whose build tool knows of none.
///
/// # Errors
/// It is no manifest, or a broker would refuse it.
pub fn with_manifest(mut wasm: Vec<u8>, manifest: &str) -> Result<Vec<u8>, ManifestError> {
    parse(manifest.as_bytes())?;
    let mut name = leb128(SECTION.len());
    name.extend(SECTION.as_bytes());
    wasm.push(0); // a custom section
    wasm.extend(leb128(name.len() + manifest.len()));
    wasm.extend(name);
    wasm.extend(manifest.as_bytes());
    Ok(wasm)
}

/// A number as WebAssembly writes it.
fn leb128(mut value: usize) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        let low = value.to_le_bytes()[0] & 0x7F;
        value >>= 7;
        if value == 0 {
            out.push(low);
            return out;
        }
        out.push(low | 0x80);
    }
}

impl Manifest {
    /// Whether messages are filled with this field.
    pub(crate) fn needs(&self, need: Need) -> bool {
        self.needs
            .as_ref()
            .is_none_or(|needs| needs.contains(&need))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever it says.
    fn with_section(bytes: &[u8]) -> Vec<u8> {
        append(wat::parse_str("(component)").unwrap(), bytes)
    }

    fn append(mut wasm: Vec<u8>, bytes: &[u8]) -> Vec<u8> {
        wasm.push(0);
        wasm.extend(leb128(1 + SECTION.len() + bytes.len()));
        wasm.extend(leb128(SECTION.len()));
        wasm.extend(SECTION.as_bytes());
        wasm.extend(bytes);
        wasm
    }

    #[test]
    fn a_component_without_one_needs_everything() {
        let manifest = read(&wat::parse_str("(component)").unwrap()).unwrap();
        assert!(manifest.needs(Need::Payload) && manifest.needs(Need::Client));
        assert_eq!(manifest, Manifest::default());
    }

    #[test]
    fn it_is_read_and_what_is_not_known_is_left_alone() {
        let text =
            br#"{"name":"a","version":"1","needs":["payload"],"later":1,"limits":{"deadline_ms":5},
            "tests":[{"name":"t","given":{"topic":"t","payload":{"c":1}},"expect":"pass"}]}"#;
        let manifest = read(&with_section(text)).unwrap();
        assert_eq!((&*manifest.name, &*manifest.version), ("a", "1"));
        assert!(manifest.needs(Need::Payload) && !manifest.needs(Need::Properties));
        assert_eq!(manifest.limits.deadline_ms, Some(5));
        assert_eq!(manifest.tests.len(), 1);
    }

    #[test]
    fn what_is_wrong_is_said() {
        let text = |bytes: &[u8]| read(&with_section(bytes)).unwrap_err().to_string();
        assert!(text(b"{").contains("line 1 column 1"));
        assert!(text(br#"{"needs":["everything"]}"#).contains("unknown variant `everything`"));
        let twice = append(with_section(b"{}"), b"{}");
        assert_eq!(read(&twice), Err(ManifestError::Twice));
        let blank = |length: usize| {
            let mut bytes = vec![b' '; length - 2];
            bytes.extend(b"{}");
            read(&with_section(&bytes))
        };
        assert!(blank(MANIFEST_BYTES).is_ok());
        assert_eq!(
            blank(MANIFEST_BYTES + 1),
            Err(ManifestError::TooLarge(MANIFEST_BYTES + 1))
        );
    }

    #[test]
    fn what_was_put_in_is_read_again() {
        let bare = || wat::parse_str("(component)").unwrap();
        for length in [0, 90, 200, 20_000] {
            let text = format!(r#"{{"name":"a","description":"{}"}}"#, "x".repeat(length));
            let manifest = read(&with_manifest(bare(), &text).unwrap()).unwrap();
            assert_eq!(manifest.description.len(), length);
        }
        let error = with_manifest(bare(), "{").unwrap_err();
        assert!(matches!(error, ManifestError::Json(_)), "{error}");
    }
}
