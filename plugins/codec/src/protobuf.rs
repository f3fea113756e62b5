//! Protocol Buffers by descriptor, read into and written from the values of CBOR.
//!
//! Owns: what each kind of field is there and here. Must not: know a message that the descriptor has not.
//!
//! Where a side has no type for what a field holds, both of the usual ways are taken: bytes as base64, 64-bit integers as
//! text, enumerations by name or number.

use crate::config::{self, FieldNames, UnknownFields};
use crate::{OUTPUT_BYTES, too_much};
use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use ciborium::Value;
use prost_reflect::prost::Message as _;
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor,
    Value as Field,
};
use std::collections::{HashMap, HashSet};

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// One kind of message.
pub(crate) struct Protobuf {
    message: MessageDescriptor,
    names: FieldNames,
    defaults: bool,
    unknown: UnknownFields,
}

type Converted<T> = Result<T, String>;

impl Protobuf {
    pub(crate) fn new(config: &config::Protobuf) -> Converted<Self> {
        let text: String = config.descriptor.split_whitespace().collect();
        let bytes = BASE64
            .decode(text)
            .map_err(|error| format!("protobuf.descriptor: no base64: {error}"))?;
        let pool = DescriptorPool::decode(&*bytes).map_err(|error| {
            format!("protobuf.descriptor: no FileDescriptorSet with its imports: {error}")
        })?;
        let name = config.message.trim_start_matches('.');
        let message = pool.get_message_by_name(name).ok_or_else(|| {
            let known: Vec<_> = pool
                .all_messages()
                .take(20)
                .map(|known| known.full_name().to_owned())
                .collect();
            format!(
                "protobuf.message: the descriptor has no `{name}`; it has {}",
                known.join(", ")
            )
        })?;
        Ok(Self {
            message,
            names: config.field_names,
            defaults: config.defaults,
            unknown: config.unknown_fields,
        })
    }

    pub(crate) fn read(&self, payload: &[u8]) -> Converted<Value> {
        let message = DynamicMessage::decode(self.message.clone(), payload);
        let mut room = Room(OUTPUT_BYTES);
        self.read_message(&message.map_err(|error| error.to_string())?, &mut room)
    }

    pub(crate) fn write(&self, value: Value) -> Converted<Vec<u8>> {
        Ok(self.message(&self.message, value)?.encode_to_vec())
    }

    fn read_message(&self, message: &DynamicMessage, room: &mut Room) -> Converted<Value> {
        let descriptor = message_type(message);
        if self.unknown == UnknownFields::Refuse {
            let extension = message
                .extensions()
                .next()
                .map(|(extension, _)| extension.number());
            let unknown = message
                .unknown_fields()
                .next()
                .map(prost_reflect::UnknownField::number);
            if let Some(number) = extension.or(unknown) {
                return Err(format!("{} has no field {number}", descriptor.full_name()));
            }
        }
        let mut members = Vec::new();
        for field in descriptor.fields() {
            if !message.has_field(&field) && (!self.defaults || field.supports_presence()) {
                continue;
            }
            let name = match self.names {
                FieldNames::Json => field.json_name(),
                FieldNames::Proto => field.name(),
            };
            room.take(name.len())?;
            let value = self.read_field(&message.get_field(&field), &field, room)?;
            members.push((Value::from(name), value));
        }
        Ok(Value::Map(members))
    }

    fn read_field(
        &self,
        value: &Field,
        field: &FieldDescriptor,
        room: &mut Room,
    ) -> Converted<Value> {
        match value {
            Field::List(items) => {
                let kind = field.kind();
                let items = items.iter().map(|item| self.read_one(item, &kind, room));
                items.collect::<Converted<_>>().map(Value::Array)
            }
            Field::Map(entries) => {
                let Some(kind) = map_kinds(field).map(|(_, kind)| kind) else {
                    return Err(format!("`{}` is no map", field.name()));
                };
                let mut entries: Vec<_> = entries.iter().collect();
                entries.sort_unstable_by_key(|(key, _)| *key);
                let entries = entries
                    .into_iter()
                    .map(|(key, value)| Ok((read_key(key), self.read_one(value, &kind, room)?)));
                entries.collect::<Converted<_>>().map(Value::Map)
            }
            _ => self.read_one(value, &field.kind(), room),
        }
    }

    fn read_one(&self, value: &Field, kind: &Kind, room: &mut Room) -> Converted<Value> {
        room.take(1)?;
        Ok(match value {
            Field::Bool(value) => Value::Bool(*value),
            Field::I32(value) => Value::from(*value),
            Field::I64(value) => Value::from(*value),
            Field::U32(value) => Value::from(*value),
            Field::U64(value) => Value::from(*value),
            Field::F32(value) => Value::from(*value),
            Field::F64(value) => Value::from(*value),
            Field::String(text) => Value::Text(text.clone()),
            Field::Bytes(bytes) => Value::Bytes(bytes.to_vec()),
            Field::EnumNumber(number) => {
                let known = kind.as_enum().and_then(|kind| kind.get_value(*number));
                match &known {
                    Some(known) => {
                        room.take(known.name().len())?;
                        Value::from(known.name())
                    }
                    None => Value::from(*number),
                }
            }
            Field::Message(message) => self.read_message(message, room)?,
            Field::List(_) | Field::Map(_) => return Err("a list is within a list".to_owned()),
        })
    }

    fn message(&self, descriptor: &MessageDescriptor, value: Value) -> Converted<DynamicMessage> {
        let name = descriptor.full_name();
        let Value::Map(members) = untagged(value) else {
            return Err(format!("{name} has to be a map of its fields"));
        };
        let mut message = DynamicMessage::new(descriptor.clone());
        let mut seen = HashSet::new();
        for (key, value) in members {
            let Value::Text(key) = untagged(key) else {
                return Err(format!("a field of {name} has a name that is no text"));
            };
            let field = descriptor
                .get_field_by_json_name(&key)
                .or_else(|| descriptor.get_field_by_name(&key));
            let Some(field) = field else {
                match self.unknown {
                    UnknownFields::Drop => continue,
                    UnknownFields::Refuse => return Err(format!("{name} has no field `{key}`")),
                }
            };
            if !seen.insert(field.number()) {
                return Err(format!(
                    "{name}: the field `{}` is there twice",
                    field.name()
                ));
            }
            if value.is_null() {
                continue;
            }
            if let Some(oneof) = field.containing_oneof()
                && oneof.fields().any(|other| message.has_field(&other))
            {
                return Err(format!(
                    "{name}: more than one field of `{}` is set",
                    oneof.name()
                ));
            }
            let value = self
                .field(&field, value)
                .map_err(|text| format!("{name}.{key}: {text}"))?;
            message
                .try_set_field(&field, value)
                .map_err(|error| format!("{name}.{key}: {error}"))?;
        }
        let missing = descriptor
            .fields()
            .find(|field| field.is_required() && !message.has_field(field));
        match missing {
            Some(field) => Err(format!("{name}: the field `{}` is missing", field.name())),
            None => Ok(message),
        }
    }

    fn field(&self, field: &FieldDescriptor, value: Value) -> Converted<Field> {
        if let Some((key_kind, kind)) = map_kinds(field) {
            let Value::Map(members) = untagged(value) else {
                return Err("it has to be a map".to_owned());
            };
            let mut entries = HashMap::with_capacity(members.len());
            for (name, value) in members {
                if entries
                    .insert(key(&key_kind, name)?, self.one(&kind, value)?)
                    .is_some()
                {
                    return Err("a name is there twice".to_owned());
                }
            }
            return Ok(Field::Map(entries));
        }
        if field.is_list() {
            let Value::Array(items) = untagged(value) else {
                return Err("it has to be a list".to_owned());
            };
            let items = items.into_iter().map(|item| self.one(&field.kind(), item));
            return items.collect::<Converted<_>>().map(Field::List);
        }
        self.one(&field.kind(), value)
    }

    fn one(&self, kind: &Kind, value: Value) -> Converted<Field> {
        let value = untagged(value);
        Ok(match kind {
            Kind::Double => Field::F64(double(&value)?),
            Kind::Float => Field::F32(float(double(&value)?)?),
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Field::I32(integer(&value)?),
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Field::I64(integer(&value)?),
            Kind::Uint32 | Kind::Fixed32 => Field::U32(integer(&value)?),
            Kind::Uint64 | Kind::Fixed64 => Field::U64(integer(&value)?),
            Kind::Bool => Field::Bool(value.as_bool().ok_or("it has to be true or false")?),
            Kind::String => Field::String(value.into_text().map_err(|_| "it has to be a text")?),
            Kind::Bytes => Field::Bytes(match value {
                Value::Bytes(bytes) => bytes.into(),
                Value::Text(text) => BASE64
                    .decode(text)
                    .map_err(|error| format!("it is no base64: {error}"))?
                    .into(),
                _ => return Err("it has to be bytes, or base64".to_owned()),
            }),
            Kind::Enum(descriptor) => Field::EnumNumber(match value.as_text() {
                Some(name) => {
                    let known = descriptor.get_value_by_name(name);
                    known
                        .ok_or_else(|| format!("{} has no `{name}`", descriptor.full_name()))?
                        .number()
                }
                None => integer(&value)?,
            }),
            Kind::Message(descriptor) => Field::Message(self.message(descriptor, value)?),
        })
    }
}

/// What names and values may still become: the wire has no names, and two bytes of it may stand for a message full of
/// defaults. Counted before they are made.
struct Room(usize);

impl Room {
    fn take(&mut self, bytes: usize) -> Converted<()> {
        self.0 = self.0.checked_sub(bytes).ok_or_else(too_much)?;
        Ok(())
    }
}

fn message_type(message: &DynamicMessage) -> MessageDescriptor {
    use prost_reflect::ReflectMessage as _;
    message.descriptor()
}

/// Kinds of the keys and values of a map.
fn map_kinds(field: &FieldDescriptor) -> Option<(Kind, Kind)> {
    let kind = field.kind();
    let entry = kind.as_message().filter(|_| field.is_map())?;
    Some((
        entry.map_entry_key_field().kind(),
        entry.map_entry_value_field().kind(),
    ))
}

fn untagged(mut value: Value) -> Value {
    while let Value::Tag(_, inner) = value {
        value = *inner;
    }
    value
}

fn read_key(key: &MapKey) -> Value {
    match key {
        MapKey::Bool(value) => Value::Bool(*value),
        MapKey::I32(value) => Value::from(*value),
        MapKey::I64(value) => Value::from(*value),
        MapKey::U32(value) => Value::from(*value),
        MapKey::U64(value) => Value::from(*value),
        MapKey::String(text) => Value::Text(text.clone()),
    }
}

fn key(kind: &Kind, name: Value) -> Converted<MapKey> {
    let name = untagged(name);
    Ok(match kind {
        Kind::Bool => MapKey::Bool(match (&name, name.as_text()) {
            (Value::Bool(value), _) => *value,
            (_, Some("true")) => true,
            (_, Some("false")) => false,
            _ => return Err("a name has to be true or false".to_owned()),
        }),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => MapKey::I32(integer(&name)?),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => MapKey::I64(integer(&name)?),
        Kind::Uint32 | Kind::Fixed32 => MapKey::U32(integer(&name)?),
        Kind::Uint64 | Kind::Fixed64 => MapKey::U64(integer(&name)?),
        _ => MapKey::String(name.into_text().map_err(|_| "a name has to be a text")?),
    })
}

/// An integer of the field's size: as such, as text, or as a double without a fraction.
fn integer<T: TryFrom<i128>>(value: &Value) -> Converted<T> {
    let number = match value {
        Value::Integer(number) => Some(i128::from(*number)),
        Value::Text(text) => text.parse().ok(),
        Value::Float(number) if number.fract() == 0.0 && number.abs() < 1e20 => {
            format!("{number:.0}").parse().ok()
        }
        _ => None,
    };
    let number = number.ok_or("it has to be an integer")?;
    T::try_from(number).map_err(|_| format!("{number} is out of its range"))
}

fn double(value: &Value) -> Converted<f64> {
    let number = match value {
        Value::Float(number) => Some(*number),
        Value::Integer(number) => i128::from(*number).to_string().parse().ok(),
        Value::Text(text) => match text.as_str() {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            text => text.parse().ok().filter(|number: &f64| number.is_finite()),
        },
        _ => None,
    };
    number.ok_or_else(|| "it has to be a number".to_owned())
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the field holds no more digits"
)]
fn float(number: f64) -> Converted<f32> {
    let float = number as f32;
    if float.is_infinite() && number.is_finite() {
        return Err(format!("{number} is out of the range of a float"));
    }
    Ok(float)
}
