//! Payloads from bytes to JSON and back, in the formats of `decode` and `encode`.
//! Must not: know messages, chains or expressions' evaluation.

mod flat;
mod protobuf;
mod scan;
mod sparkplug;
mod written;

use crate::expression::Value;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use bytes::Bytes;
use bytestring::ByteString;
use ciborium::Value as Cbor;
pub(crate) use flat::Flat;
pub(crate) use protobuf::Schema;
use serde::Deserialize;
use serde_json::{Map, Value as Json};
pub(crate) use written::{decode, encode};

/// Lists and maps within each other, in a payload that is no JSON (`serde_json` has the same limit).
const DEPTH: usize = 128;

/// How a payload is read or written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Format {
    /// Read: JSON if it is some, otherwise text, otherwise bytes. Written: text and bytes as they are, the rest as JSON.
    #[default]
    Auto,
    Json,
    Text,
    Bytes,
    Cbor,
    Msgpack,
    /// Read only, except for what a test gives.
    Sparkplug,
    Protobuf(Schema),
}

impl Format {
    /// Those that a word names, for reading and for writing; `sparkplug-b` is for reading only.
    pub(crate) const WORDS: [Self; 6] = [
        Self::Auto,
        Self::Json,
        Self::Text,
        Self::Bytes,
        Self::Cbor,
        Self::Msgpack,
    ];

    /// The name in files.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Json => "json",
            Self::Text => "text",
            Self::Bytes => "bytes",
            Self::Cbor => "cbor",
            Self::Msgpack => "msgpack",
            Self::Sparkplug => "sparkplug-b",
            Self::Protobuf(_) => "protobuf",
        }
    }

    /// Whether there are payloads that it does not read.
    pub(crate) fn may_fail(&self) -> bool {
        !matches!(self, Self::Auto | Self::Bytes)
    }

    /// Whether there is JSON that it does not write.
    pub(crate) fn may_refuse(&self) -> bool {
        !matches!(self, Self::Auto | Self::Json | Self::Text | Self::Bytes)
    }

    /// Whether it has objects.
    pub(crate) fn has_fields(&self) -> bool {
        !matches!(self, Self::Text | Self::Bytes)
    }

    /// The payload as JSON; none if it is text or bytes.
    pub(crate) fn read(&self, payload: &[u8]) -> Result<Option<Json>, String> {
        let wrong = |cause: String| format!("the payload is no {}: {cause}", self.name());
        match self {
            Self::Auto => Ok(serde_json::from_slice(payload).ok()),
            Self::Bytes => Ok(None),
            Self::Text => match std::str::from_utf8(payload) {
                Ok(_) => Ok(None),
                Err(error) => Err(wrong(error.to_string())),
            },
            Self::Json => {
                let json = serde_json::from_slice(payload);
                json.map(Some).map_err(|error| wrong(error.to_string()))
            }
            Self::Cbor => read_cbor(payload).map(Some).map_err(wrong),
            Self::Msgpack => read_msgpack(payload).map(Some).map_err(wrong),
            Self::Sparkplug => sparkplug::read(payload).map(Some).map_err(wrong),
            Self::Protobuf(schema) => schema.read(payload).map(Some).map_err(wrong),
        }
    }

    /// As [`Self::read`], and no more of it is made than somebody asks for.
    pub(crate) fn open(&self, payload: &Bytes) -> Result<Option<Doc>, String> {
        if let Self::Auto | Self::Json = self
            && payload.trim_ascii_start().first() == Some(&b'{')
            && let Ok(text) = ByteString::try_from(payload.clone())
            && let Some(flat) = Flat::read(text)
        {
            return Ok(Some(Doc::Flat(flat)));
        }
        Ok(self.read(payload)?.map(Doc::Tree))
    }

    /// What [`Self::open`] gave and was changed.
    pub(crate) fn close(&self, doc: &Doc) -> Result<Bytes, String> {
        match (self, doc) {
            (_, Doc::Tree(json)) => self.write(json),
            (Self::Auto | Self::Json | Self::Text | Self::Bytes, Doc::Flat(flat)) => {
                let out = flat.write().map_err(|error| error.to_string())?;
                Ok(Bytes::from(out))
            }
            (_, Doc::Flat(flat)) => self.write(&flat.to_json()),
        }
    }

    /// JSON as a payload.
    pub(crate) fn write(&self, json: &Json) -> Result<Bytes, String> {
        match self {
            Self::Cbor => {
                let mut out = Vec::new();
                ciborium::into_writer(json, &mut out).map_err(|error| error.to_string())?;
                Ok(out.into())
            }
            Self::Msgpack => {
                let out = rmp_serde::to_vec(json).map_err(|error| error.to_string())?;
                Ok(out.into())
            }
            Self::Sparkplug => {
                let schema = sparkplug::schema().ok_or("its schema cannot be built")?;
                Ok(schema.write(json)?.into())
            }
            Self::Protobuf(schema) => Ok(schema.write(json)?.into()),
            Self::Auto | Self::Json | Self::Text | Self::Bytes => {
                // Half of what `to_string` takes, which writes piece by piece through `fmt`.
                let out = serde_json::to_vec(json).map_err(|error| error.to_string())?;
                Ok(Bytes::from(out))
            }
        }
    }

    /// What an expression gave: bytes that are ready, or JSON to be written.
    pub(crate) fn prepare(&self, value: &Value<'_>) -> Result<Prepared, String> {
        let ready = |bytes: &[u8]| Ok(Prepared::Ready(Bytes::copy_from_slice(bytes)));
        match (self, value) {
            (Self::Auto | Self::Text | Self::Bytes, Value::String(text)) => ready(text.as_bytes()),
            (Self::Auto | Self::Bytes, Value::Bytes(bytes)) => ready(bytes),
            (Self::Text, Value::Bool(_) | Value::Int(_) | Value::Float(_)) => {
                let text = value.key();
                ready(text.as_deref().unwrap_or_default().as_bytes())
            }
            (Self::Text | Self::Bytes, other) => Err(format!(
                "encode = \"{}\" cannot write a value of the kind {}",
                self.name(),
                other.kind()
            )),
            (_, other) => other.to_json().map(|json| Prepared::Doc(Doc::Tree(json))),
        }
    }

    /// What an expression gave, as a payload.
    pub(crate) fn encode(&self, value: &Value<'_>) -> Result<Bytes, String> {
        match self.prepare(value)? {
            Prepared::Ready(bytes) => Ok(bytes),
            Prepared::Doc(doc) => self.close(&doc),
        }
    }
}

/// A value on its way to be a payload.
pub(crate) enum Prepared {
    Ready(Bytes),
    Doc(Doc),
}

/// A payload that was read.
#[derive(Clone, Debug)]
pub(crate) enum Doc {
    /// An object of JSON.
    Flat(Flat),
    Tree(Json),
}

fn read_cbor(payload: &[u8]) -> Result<Json, String> {
    let mut rest = payload;
    let value: Cbor = ciborium::de::from_reader_with_recursion_limit(&mut rest, DEPTH)
        .map_err(|error| error.to_string())?;
    ends(rest)?;
    to_json(value)
}

fn read_msgpack(payload: &[u8]) -> Result<Json, String> {
    let mut rest = payload;
    let mut reader = rmp_serde::Deserializer::new(&mut rest);
    reader.set_max_depth(DEPTH);
    let value = Cbor::deserialize(&mut reader).map_err(|error| error.to_string())?;
    ends(rest)?;
    to_json(value)
}

fn ends(rest: &[u8]) -> Result<(), String> {
    match rest.len() {
        0 => Ok(()),
        left => Err(format!("{left} bytes are left behind its end")),
    }
}

/// Bytes become base64, names become texts; nothing is lost in silence.
fn to_json(value: Cbor) -> Result<Json, String> {
    Ok(match value {
        Cbor::Null => Json::Null,
        Cbor::Bool(value) => Json::Bool(value),
        Cbor::Integer(number) => {
            let number = i128::from(number);
            match (i64::try_from(number), u64::try_from(number)) {
                (Ok(number), _) => Json::from(number),
                (_, Ok(number)) => Json::from(number),
                _ => return Err(format!("{number} has more than 64 bits")),
            }
        }
        Cbor::Float(number) => serde_json::Number::from_f64(number)
            .map(Json::Number)
            .ok_or_else(|| format!("{number} is no number for expressions"))?,
        Cbor::Text(text) => Json::String(text),
        Cbor::Bytes(bytes) => Json::String(BASE64_STANDARD.encode(bytes)),
        Cbor::Tag(2 | 3, _) => return Err("an integer has more than 64 bits".to_owned()),
        Cbor::Tag(_, value) => to_json(*value)?,
        Cbor::Array(items) => {
            Json::Array(items.into_iter().map(to_json).collect::<Result<_, _>>()?)
        }
        Cbor::Map(entries) => {
            let mut fields = Map::new();
            for (name, value) in entries {
                let name = match name {
                    Cbor::Text(name) => name,
                    Cbor::Integer(number) => i128::from(number).to_string(),
                    Cbor::Bool(value) => value.to_string(),
                    _ => return Err("a name is neither text, integer nor boolean".to_owned()),
                };
                if fields.contains_key(&name) {
                    return Err(format!("the name `{name}` is there twice"));
                }
                fields.insert(name, to_json(value)?);
            }
            Json::Object(fields)
        }
        other => return Err(format!("{other:?} has no form in expressions")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn read(format: &Format, payload: &[u8]) -> Result<Json, String> {
        format.read(payload).map(Option::unwrap)
    }

    #[test]
    fn what_has_no_form_in_json_is_told_or_becomes_a_text() {
        for (payload, expected) in [
            (&[0x42, 1, 2][..], json!("AQI=")),
            (&[0xA1, 0x01, 0x02], json!({"1": 2})),
            (&[0xC0, 0x61, b'x'], json!("x")),
            (
                &[0x1B, 255, 255, 255, 255, 255, 255, 255, 255],
                json!(u64::MAX),
            ),
        ] {
            assert_eq!(read(&Format::Cbor, payload), Ok(expected));
        }
        for payload in [
            &[][..],
            &[0xF9, 0x7E, 0],          // not a number
            &[0x01, 0x02],             // something behind it
            &[0xA2, 1, 1, 1, 1],       // a name twice
            &[0xA1, 0x80, 1],          // a list as a name
            &[0xC2, 0x42, 1, 0, 0, 0], // cut
            &[0x9B, 255, 255, 255, 255, 255, 255, 255, 255],
        ] {
            let error = read(&Format::Cbor, payload).unwrap_err();
            assert!(error.starts_with("the payload is no cbor: "), "{error}");
        }
        let extension = [0xD4, 1, 1];
        assert_eq!(read(&Format::Msgpack, &extension), Ok(json!([1, "AQ=="])));
        assert_eq!(read(&Format::Msgpack, &[0xC4, 2, 1, 2]), Ok(json!("AQI=")));
        for payload in [&[][..], &[0xC1], &[1, 2], &[0xDD, 255, 255, 255, 255]] {
            let error = read(&Format::Msgpack, payload).unwrap_err();
            assert!(error.starts_with("the payload is no msgpack: "), "{error}");
        }
    }

    #[test]
    fn depth_is_bounded() {
        for (format, list) in [(Format::Cbor, 0x81), (Format::Msgpack, 0x91)] {
            let nested = |levels: usize| [vec![list; levels], vec![1]].concat();
            assert!(read(&format, &nested(DEPTH - 2)).is_ok(), "{format:?}");
            assert!(read(&format, &nested(DEPTH + 2)).is_err(), "{format:?}");
            assert!(read(&format, &nested(1_000_000)).is_err(), "{format:?}");
        }
    }

    fn any_json() -> impl Strategy<Value = Json> {
        let leaf = prop_oneof![
            Just(Json::Null),
            any::<bool>().prop_map(Json::from),
            any::<i64>().prop_map(Json::from),
            any::<u64>().prop_map(Json::from),
            (-1e300..1e300).prop_map(Json::from),
            ".{0,8}".prop_map(Json::from),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Json::from),
                prop::collection::btree_map(".{0,4}", inner, 0..5)
                    .prop_map(|map| Json::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(json in any_json()) {
            for format in [Format::Cbor, Format::Msgpack] {
                let written = format.write(&json).unwrap();
                prop_assert_eq!(read(&format, &written), Ok(json.clone()));
            }
        }

        #[test]
        fn no_bytes_panic(payload in prop::collection::vec(any::<u8>(), 0..60)) {
            for format in [Format::Json, Format::Text, Format::Bytes, Format::Cbor, Format::Msgpack] {
                drop(format.read(&payload));
            }
        }
    }
}
