//! What a component says of itself without being run: the custom section `witmq:manifest`, JSON.
//!
//! Owns: [`Manifest`], found and read. Must not: believe it about anything the component's imports and exports show.

use serde::Deserialize;
use serde_json::Value;
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

/// A message and what `transform` has to make of it.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub(crate) struct Vector {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) config: Option<Value>,
    pub(crate) given: Given,
    pub(crate) expect: Value,
}

/// The message of a vector.
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
}

/// A manifest that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ManifestError {
    #[error("its manifest is {0} bytes long, at most {MANIFEST_BYTES} are allowed")]
    TooLarge(usize),
    #[error("it has two sections {SECTION}")]
    Twice,
    #[error("its manifest has {0} tests, at most {TESTS} are allowed")]
    Tests(usize),
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
    let Some(bytes) = found else {
        return Ok(Manifest::default());
    };
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

    fn with_section(bytes: &[u8]) -> Vec<u8> {
        let mut wasm = wat::parse_str("(component)").unwrap();
        append(&mut wasm, bytes);
        wasm
    }

    fn append(wasm: &mut Vec<u8>, bytes: &[u8]) {
        let leb = |mut value: usize, out: &mut Vec<u8>| loop {
            let byte = u8::try_from(value & 0x7F).unwrap();
            value >>= 7;
            out.push(if value > 0 { byte | 0x80 } else { byte });
            if value == 0 {
                break;
            }
        };
        let mut body = Vec::new();
        leb(SECTION.len(), &mut body);
        body.extend_from_slice(SECTION.as_bytes());
        body.extend_from_slice(bytes);
        wasm.push(0);
        leb(body.len(), wasm);
        wasm.extend(body);
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
        let mut twice = with_section(b"{}");
        append(&mut twice, b"{}");
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
}
