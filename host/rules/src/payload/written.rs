//! `decode` and `encode` as a file says them: a word, or `{ protobuf = "…", message = "…" }`.

use super::Format;
use super::protobuf::{Flaw, Schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use std::fmt;

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Protobuf {
    protobuf: String,
    message: String,
}

struct Written {
    /// Besides those that are read and written.
    more: Option<Format>,
}

impl<'de> Visitor<'de> for Written {
    type Value = Format;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a format, or { protobuf = \"…\", message = \"…\" }")
    }

    fn visit_str<E: Error>(self, word: &str) -> Result<Format, E> {
        let mut known = Format::WORDS.into_iter().chain(self.more);
        known.find(|known| known.name() == word).ok_or_else(|| {
            let names = Format::WORDS.each_ref().map(Format::name).join("`, `");
            Error::custom(format!(
                "unknown variant `{word}`, expected one of `{names}`"
            ))
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Format, A::Error> {
        let written = Protobuf::deserialize(MapAccessDeserializer::new(map))?;
        let schema = Schema::new(&written.protobuf, &written.message);
        schema.map(Format::Protobuf).map_err(|flaw| match flaw {
            Flaw::Descriptor(cause) => Error::custom(format!("protobuf: {cause}")),
            Flaw::Message(name, known) => Error::custom(format!(
                "message: the descriptor has no `{name}`; it has {}",
                known.join(", ")
            )),
        })
    }
}

pub(crate) fn decode<'de, D: Deserializer<'de>>(from: D) -> Result<Format, D::Error> {
    let more = Some(Format::Sparkplug);
    from.deserialize_any(Written { more })
}

pub(crate) fn encode<'de, D: Deserializer<'de>>(from: D) -> Result<Format, D::Error> {
    from.deserialize_any(Written { more: None })
}
