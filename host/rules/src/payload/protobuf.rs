//! Protocol Buffers by descriptor: messages as JSON and back, in the names of their JSON.
//!
//! Owns: [`Schema`], and its bounds. Must not: know Sparkplug, which is one schema among others.
//!
//! 64-bit integers stay numbers, bytes are base64, enumerations are names (numbers where they have none), fields that are not
//! set are not there. Where a side has no type for what a field holds, both usual ways are taken.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use prost_reflect::prost::Message as _;
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor,
    ReflectMessage as _, Value as Field,
};
use serde_json::{Map, Number, Value as Json};
use std::collections::HashMap;

/// Bytes of a descriptor set, before base64.
pub(crate) const DESCRIPTOR_BYTES: usize = 128 * 1024;
/// What one payload may become: names and values, in bytes. The wire has no names, so it may grow by much.
pub(crate) const DECODED_BYTES: usize = 4 * 1024 * 1024;
/// Each value counts so many bytes, beside its text.
const VALUE_BYTES: usize = 32;

/// One kind of message.
#[derive(Clone, Debug)]
pub(crate) struct Schema {
    message: MessageDescriptor,
}

impl PartialEq for Schema {
    fn eq(&self, other: &Self) -> bool {
        self.message == other.message
    }
}

impl Eq for Schema {}

/// What is wrong with a schema: the descriptor, or the name of the message.
#[derive(Debug)]
pub(crate) enum Flaw {
    Descriptor(String),
    Message(String, Vec<String>),
}

impl Schema {
    /// The message `name` of a `FileDescriptorSet` in base64.
    pub(crate) fn new(descriptor: &str, name: &str) -> Result<Self, Flaw> {
        let text: String = descriptor.split_whitespace().collect();
        if text.len() / 4 * 3 > DESCRIPTOR_BYTES + 3 {
            return Err(Flaw::Descriptor(too_large()));
        }
        let bytes = BASE64_STANDARD
            .decode(text)
            .map_err(|error| Flaw::Descriptor(format!("it is no base64: {error}")))?;
        if bytes.len() > DESCRIPTOR_BYTES {
            return Err(Flaw::Descriptor(too_large()));
        }
        let pool = DescriptorPool::decode(&*bytes).map_err(|error| {
            Flaw::Descriptor(format!(
                "it is no FileDescriptorSet with its imports: {error}"
            ))
        })?;
        Self::of(&pool, name)
    }

    pub(crate) fn of(pool: &DescriptorPool, name: &str) -> Result<Self, Flaw> {
        let name = name.trim_start_matches('.');
        let message = pool.get_message_by_name(name).ok_or_else(|| {
            let known = pool.all_messages().filter(|known| !known.is_map_entry());
            let known = known.take(20).map(|known| known.full_name().to_owned());
            Flaw::Message(name.to_owned(), known.collect())
        })?;
        Ok(Self { message })
    }

    /// A payload as JSON. How deep messages are nested is bounded by `prost` (100).
    pub(crate) fn read(&self, payload: &[u8]) -> Result<Json, String> {
        if payload.len() > DECODED_BYTES {
            return Err(format!("it has more than {DECODED_BYTES} bytes"));
        }
        let message = DynamicMessage::decode(self.message.clone(), payload)
            .map_err(|error| error.to_string())?;
        let mut room = Room(DECODED_BYTES);
        read_message(&message, &mut room)
    }

    /// JSON as a payload.
    pub(crate) fn write(&self, json: &Json) -> Result<Vec<u8>, String> {
        Ok(message(&self.message, json)?.encode_to_vec())
    }
}

fn too_large() -> String {
    format!("it has more than {DESCRIPTOR_BYTES} bytes")
}

/// What is left of [`DECODED_BYTES`].
struct Room(usize);

impl Room {
    fn take(&mut self, bytes: usize) -> Result<(), String> {
        let left = self.0.checked_sub(bytes.saturating_add(VALUE_BYTES));
        self.0 = left.ok_or_else(|| format!("it would become more than {DECODED_BYTES} bytes"))?;
        Ok(())
    }
}

fn read_message(message: &DynamicMessage, room: &mut Room) -> Result<Json, String> {
    let mut fields = Map::new();
    for field in message.descriptor().fields() {
        if message.has_field(&field) {
            room.take(field.json_name().len())?;
            let value = read_field(&message.get_field(&field), &field, room)?;
            fields.insert(field.json_name().to_owned(), value);
        }
    }
    Ok(Json::Object(fields))
}

fn read_field(value: &Field, field: &FieldDescriptor, room: &mut Room) -> Result<Json, String> {
    match value {
        Field::List(items) => {
            let kind = field.kind();
            let items = items.iter().map(|item| read_one(item, &kind, room));
            items.collect::<Result<_, _>>().map(Json::Array)
        }
        Field::Map(entries) => {
            let (_, kind) = map_kinds(field).ok_or("a map is where none can be")?;
            let mut fields = Map::new();
            for (key, value) in entries {
                let name = read_key(key);
                room.take(name.len())?;
                fields.insert(name, read_one(value, &kind, room)?);
            }
            Ok(Json::Object(fields))
        }
        one => read_one(one, &field.kind(), room),
    }
}

fn read_one(value: &Field, kind: &Kind, room: &mut Room) -> Result<Json, String> {
    room.take(0)?;
    Ok(match value {
        Field::Bool(value) => Json::from(*value),
        Field::I32(value) => Json::from(*value),
        Field::I64(value) => Json::from(*value),
        Field::U32(value) => Json::from(*value),
        Field::U64(value) => Json::from(*value),
        // In the shortest form that is this float: 20.1, not 20.100000381.
        Field::F32(value) => value.to_string().parse().map_or(Json::Null, double),
        Field::F64(value) => double(*value),
        Field::String(text) => {
            room.take(text.len())?;
            Json::from(text.as_str())
        }
        Field::Bytes(bytes) => {
            room.take(bytes.len().saturating_mul(4) / 3)?;
            Json::from(BASE64_STANDARD.encode(bytes))
        }
        Field::EnumNumber(number) => {
            let known = kind.as_enum().and_then(|kind| kind.get_value(*number));
            match known {
                Some(known) => Json::from(known.name()),
                None => Json::from(*number),
            }
        }
        Field::Message(message) => read_message(message, room)?,
        Field::List(_) | Field::Map(_) => return Err("a list is within a list".to_owned()),
    })
}

/// The three that JSON has no number for have the names of the JSON of Protocol Buffers.
fn double(value: f64) -> Json {
    match Number::from_f64(value) {
        Some(number) => Json::Number(number),
        None if value.is_nan() => Json::from("NaN"),
        None if value > 0.0 => Json::from("Infinity"),
        None => Json::from("-Infinity"),
    }
}

fn read_key(key: &MapKey) -> String {
    match key {
        MapKey::Bool(value) => value.to_string(),
        MapKey::I32(value) => value.to_string(),
        MapKey::I64(value) => value.to_string(),
        MapKey::U32(value) => value.to_string(),
        MapKey::U64(value) => value.to_string(),
        MapKey::String(text) => text.clone(),
    }
}

/// Kinds of the keys and values of a map.
fn map_kinds(field: &FieldDescriptor) -> Option<(Kind, Kind)> {
    let kind = field.kind();
    let entry = kind.as_message().filter(|_| field.is_map())?;
    let (key, value) = (entry.map_entry_key_field(), entry.map_entry_value_field());
    Some((key.kind(), value.kind()))
}

fn message(descriptor: &MessageDescriptor, json: &Json) -> Result<DynamicMessage, String> {
    let name = descriptor.full_name();
    let Json::Object(fields) = json else {
        return Err(format!("{name} has to be an object of its fields"));
    };
    let mut message = DynamicMessage::new(descriptor.clone());
    for (key, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
        let field = descriptor
            .get_field_by_json_name(key)
            .or_else(|| descriptor.get_field_by_name(key))
            .ok_or_else(|| format!("{name} has no field `{key}`"))?;
        if let Some(oneof) = field.containing_oneof()
            && oneof.fields().any(|other| message.has_field(&other))
        {
            return Err(format!(
                "{name}: more than one of `{}` is set",
                oneof.name()
            ));
        }
        let value = of_field(&field, value).map_err(|text| format!("{name}.{key}: {text}"))?;
        message
            .try_set_field(&field, value)
            .map_err(|error| format!("{name}.{key}: {error}"))?;
    }
    let is_missing = |field: &FieldDescriptor| field.is_required() && !message.has_field(field);
    match descriptor.fields().find(is_missing) {
        Some(field) => Err(format!("{name}: the field `{}` is missing", field.name())),
        None => Ok(message),
    }
}

fn of_field(field: &FieldDescriptor, json: &Json) -> Result<Field, String> {
    if let Some((key_kind, kind)) = map_kinds(field) {
        let fields = json.as_object().ok_or("it has to be an object")?;
        let mut entries = HashMap::with_capacity(fields.len());
        for (name, value) in fields {
            entries.insert(key(&key_kind, name)?, one(&kind, value)?);
        }
        return Ok(Field::Map(entries));
    }
    if field.is_list() {
        let items = json.as_array().ok_or("it has to be a list")?;
        let items = items.iter().map(|item| one(&field.kind(), item));
        return items.collect::<Result<_, _>>().map(Field::List);
    }
    one(&field.kind(), json)
}

fn one(kind: &Kind, json: &Json) -> Result<Field, String> {
    Ok(match kind {
        Kind::Double => Field::F64(float(json)?),
        #[allow(clippy::cast_possible_truncation, reason = "that is what a float is")]
        Kind::Float => Field::F32(float(json)? as f32),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Field::I32(integer(json)?),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Field::I64(integer(json)?),
        Kind::Uint32 | Kind::Fixed32 => Field::U32(integer(json)?),
        Kind::Uint64 | Kind::Fixed64 => Field::U64(integer(json)?),
        Kind::Bool => Field::Bool(json.as_bool().ok_or("it has to be true or false")?),
        Kind::String => Field::String(json.as_str().ok_or("it has to be a text")?.to_owned()),
        Kind::Bytes => {
            let text = json.as_str().ok_or("it has to be base64")?;
            let bytes = BASE64_STANDARD.decode(text);
            Field::Bytes(
                bytes
                    .map_err(|error| format!("it is no base64: {error}"))?
                    .into(),
            )
        }
        Kind::Enum(descriptor) => Field::EnumNumber(match json.as_str() {
            Some(name) => descriptor
                .get_value_by_name(name)
                .ok_or_else(|| format!("{} has no `{name}`", descriptor.full_name()))?
                .number(),
            None => integer(json)?,
        }),
        Kind::Message(descriptor) => Field::Message(message(descriptor, json)?),
    })
}

fn float(json: &Json) -> Result<f64, String> {
    let of_text = |text: &str| match text {
        "NaN" => Some(f64::NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        text => text.parse().ok(),
    };
    let number = json.as_f64().or_else(|| json.as_str().and_then(of_text));
    number.ok_or_else(|| "it has to be a number".to_owned())
}

/// What was computed is a double: one that is whole will do.
fn integer<T: TryFrom<i128>>(json: &Json) -> Result<T, String> {
    let of_double = |number: f64| {
        #[allow(
            clippy::cast_possible_truncation,
            reason = "it is whole, and not too large"
        )]
        let whole = (number.fract() == 0.0 && number.abs() < 1e19).then_some(number as i128);
        whole
    };
    let number = match json {
        Json::Number(number) => (number.as_i64().map(i128::from))
            .or_else(|| number.as_u64().map(i128::from))
            .or_else(|| number.as_f64().and_then(of_double)),
        Json::String(text) => text.parse().ok(),
        _ => None,
    };
    let number = number.ok_or("it has to be a whole number")?;
    T::try_from(number).map_err(|_| format!("{number} is too large, or negative"))
}

fn key(kind: &Kind, name: &str) -> Result<MapKey, String> {
    let text = Json::from(name);
    Ok(match kind {
        Kind::Bool => MapKey::Bool(name.parse().map_err(|_| "a name has to be true or false")?),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => MapKey::I32(integer(&text)?),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => MapKey::I64(integer(&text)?),
        Kind::Uint32 | Kind::Fixed32 => MapKey::U32(integer(&text)?),
        Kind::Uint64 | Kind::Fixed64 => MapKey::U64(integer(&text)?),
        _ => MapKey::String(name.to_owned()),
    })
}

#[cfg(test)]
mod tests;
