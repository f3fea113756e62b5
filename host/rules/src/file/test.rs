//! The shape of a `[[test]]`.

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;
use std::fmt;

/// One `[[test]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Test {
    pub(crate) name: String,
    /// One message, or a list of them.
    #[serde(deserialize_with = "one_or_many")]
    pub(crate) given: Vec<Given>,
    pub(crate) expect: Vec<Expected>,
    /// Payload (JSON or text) that a plugin answers with; a plugin without one passes the message.
    #[serde(default)]
    pub(crate) stub: BTreeMap<String, toml::Value>,
    /// What tables hold before, by table and key.
    #[serde(default)]
    pub(crate) tables: BTreeMap<String, BTreeMap<String, toml::Value>>,
    /// Behind the messages the clock goes on until then, and windows end.
    pub(crate) until_ms: Option<u64>,
}

/// The message of a test.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Given {
    pub(crate) topic: String,
    pub(crate) payload: toml::Value,
    #[serde(default)]
    pub(crate) qos: u8,
    #[serde(default)]
    pub(crate) retain: bool,
    /// When it is received, in milliseconds since 1970: what `now()` says.
    #[serde(default)]
    pub(crate) received_ms: u64,
    /// What `random()` and `uuid()` give.
    #[serde(default)]
    pub(crate) seed: u64,
}

/// A message a test waits for; the payload's fields are a part of what must be there.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Expected {
    /// It reaches this sink; otherwise it is routed or published.
    pub(crate) sink: Option<String>,
    pub(crate) topic: Option<String>,
    pub(crate) payload: Option<toml::Value>,
}

/// A table, or a list of tables; errors are those of the table.
fn one_or_many<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Given>, D::Error> {
    struct OneOrMany;
    impl<'de> Visitor<'de> for OneOrMany {
        type Value = Vec<Given>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a message, or a list of messages")
        }
        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
            Given::deserialize(MapAccessDeserializer::new(map)).map(|given| vec![given])
        }
        fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
            Vec::deserialize(SeqAccessDeserializer::new(list))
        }
    }
    from.deserialize_any(OneOrMany)
}
