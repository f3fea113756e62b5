//! A JSON object whose fields are where they were read until somebody asks for them.
//!
//! Owns: [`Flat`]. What comes of it is byte for byte what comes of the tree that `serde_json` reads, which property tests
//! compare: names in order, each once, the last of several, everything written anew that is not written so already.
//! Must not: know messages, chains or paths.

use super::scan::{self, Kind, Span};
use crate::expression::Value;
use bytestring::ByteString;
use serde_json::{Map, Value as Json};
use std::sync::OnceLock;

/// Fields that room is made for at once.
const FIELDS: usize = 16;

/// An object, by its text.
#[derive(Clone, Debug)]
pub(crate) struct Flat {
    text: ByteString,
    /// In order of names, each once.
    fields: Vec<Field>,
}

#[derive(Clone, Debug)]
struct Field {
    /// Of its name.
    prefix: u64,
    name: Name,
    value: Slot,
}

#[derive(Clone, Debug)]
enum Name {
    /// From, to.
    Read(u32, u32),
    Made(Box<str>),
}

#[derive(Clone, Debug)]
enum Slot {
    /// In the text, and what was made of it if that does not lend itself.
    Read(Span, OnceLock<Box<Json>>),
    Made(Json),
}

/// The first eight bytes of a name: most names differ there, and a comparison of two numbers says so.
fn prefix(name: &str) -> u64 {
    let bytes = name.as_bytes();
    match bytes.first_chunk() {
        Some(first) => u64::from_be_bytes(*first),
        None => (0..8).fold(0, |prefix, at| {
            prefix << 8 | u64::from(bytes.get(at).copied().unwrap_or(0))
        }),
    }
}

fn part(text: &str, start: u32, end: u32) -> &str {
    let place = |at| usize::try_from(at).unwrap_or(usize::MAX);
    text.get(place(start)..place(end)).unwrap_or_default()
}

impl Name {
    fn of<'a>(&'a self, text: &'a str) -> &'a str {
        match self {
            Self::Read(start, end) => part(text, *start, *end),
            Self::Made(name) => name,
        }
    }
}

/// A number of at most 15 digits with a point: as `serde_json` computes it, and exact.
fn decimal(text: &str) -> f64 {
    let (mut digits, mut scale, mut is_behind) = (0u64, 1u64, false);
    for byte in text.bytes() {
        match byte {
            b'0'..=b'9' => {
                digits = digits * 10 + u64::from(byte - b'0');
                scale *= if is_behind { 10 } else { 1 };
            }
            b'.' => is_behind = true,
            _ => {}
        }
    }
    let number = digits as f64 / scale as f64;
    if text.starts_with('-') {
        -number
    } else {
        number
    }
}

impl Slot {
    fn value<'a>(&'a self, text: &'a str) -> Value<'a> {
        match self {
            Self::Made(json) => Value::from(json),
            Self::Read(span, made) => {
                let source = part(text, span.start, span.end);
                match span.kind {
                    Kind::Null => Value::Null,
                    Kind::True => Value::Bool(true),
                    Kind::False => Value::Bool(false),
                    Kind::Whole => Value::Int(source.parse().unwrap_or_default()),
                    Kind::Decimal => Value::Float(decimal(source)),
                    Kind::Text => {
                        let within = source.get(1..source.len().saturating_sub(1));
                        Value::lent(within.unwrap_or_default())
                    }
                    Kind::Number | Kind::Escaped | Kind::Nested => {
                        Value::from(&**made.get_or_init(|| Box::new(parse(source))))
                    }
                }
            }
        }
    }

    fn json(&self, text: &str) -> Json {
        match self {
            Self::Made(json) => json.clone(),
            Self::Read(span, made) => match made.get() {
                Some(json) => Json::clone(json),
                None => parse(part(text, span.start, span.end)),
            },
        }
    }

    /// As a tree, to be changed.
    fn make(&mut self, text: &str) -> &mut Json {
        if let Self::Read(span, made) = self {
            let made = made.take().map(|json| *json);
            let made = made.unwrap_or_else(|| parse(part(text, span.start, span.end)));
            *self = Self::Made(made);
        }
        match self {
            Self::Made(json) => json,
            Self::Read(..) => unreachable!("it was made above"),
        }
    }

    fn write(&self, text: &str, out: &mut Vec<u8>) -> serde_json::Result<()> {
        match self {
            Self::Made(json) => serde_json::to_writer(out, json),
            Self::Read(span, _) if span.is_plain => {
                out.extend_from_slice(part(text, span.start, span.end).as_bytes());
                Ok(())
            }
            Self::Read(..) => serde_json::to_writer(out, &self.json(text)),
        }
    }
}

/// What the scan took is JSON.
fn parse(text: &str) -> Json {
    let json = serde_json::from_str(text);
    debug_assert!(json.is_ok(), "{text} {json:?}");
    json.unwrap_or_default()
}

impl Flat {
    /// `None`: it is no object, or one that the tree is for.
    pub(super) fn read(text: ByteString) -> Option<Self> {
        let mut fields: Vec<Field> = Vec::with_capacity(FIELDS);
        let mut is_sorted = true;
        scan::fields(&text, |(start, end), value| {
            let name = part(&text, start, end);
            let prefix = prefix(name);
            if is_sorted && let Some(last) = fields.last() {
                is_sorted = (last.prefix, last.name.of(&text)) < (prefix, name);
            }
            fields.push(Field {
                prefix,
                name: Name::Read(start, end),
                value: Slot::Read(value, OnceLock::new()),
            });
        })?;
        if !is_sorted {
            fields.sort_by(|one, other| {
                let by_prefix = one.prefix.cmp(&other.prefix);
                by_prefix.then_with(|| one.name.of(&text).cmp(other.name.of(&text)))
            });
            fields.dedup_by(|later, earlier| {
                let is_same = later.prefix == earlier.prefix
                    && later.name.of(&text) == earlier.name.of(&text);
                if is_same {
                    std::mem::swap(later, earlier);
                }
                is_same
            });
        }
        Some(Self { text, fields })
    }

    fn find(&self, name: &str) -> Result<usize, usize> {
        let prefix = prefix(name);
        self.fields.binary_search_by(|field| {
            let by_prefix = field.prefix.cmp(&prefix);
            by_prefix.then_with(|| field.name.of(&self.text).cmp(name))
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.fields.len()
    }

    pub(crate) fn get(&self, name: &str) -> Option<Value<'_>> {
        let field = self.fields.get(self.find(name).ok()?)?;
        Some(field.value.value(&self.text))
    }

    /// Names and values, by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, Value<'_>)> {
        let text = &*self.text;
        let fields = self.fields.iter();
        fields.map(move |field| (field.name.of(text), field.value.value(text)))
    }

    /// As a tree.
    pub(crate) fn to_json(&self) -> Json {
        let text = &*self.text;
        let fields = self.fields.iter();
        let fields = fields.map(|field| (field.name.of(text).to_owned(), field.value.json(text)));
        Json::Object(fields.collect::<Map<_, _>>())
    }

    /// Another value of a field, or one more field.
    pub(crate) fn set(&mut self, name: &str, value: Json) {
        let value = Slot::Made(value);
        match self.find(name) {
            Ok(at) => {
                if let Some(field) = self.fields.get_mut(at) {
                    field.value = value;
                }
            }
            Err(at) => self.fields.insert(
                at,
                Field {
                    prefix: prefix(name),
                    name: Name::Made(name.into()),
                    value,
                },
            ),
        }
    }

    /// The tree of a field, to be changed.
    pub(crate) fn get_mut(&mut self, name: &str) -> Option<&mut Json> {
        let at = self.find(name).ok()?;
        Some(self.fields.get_mut(at)?.value.make(&self.text))
    }

    pub(crate) fn remove(&mut self, name: &str) {
        if let Ok(at) = self.find(name) {
            self.fields.remove(at);
        }
    }

    pub(super) fn write(&self) -> serde_json::Result<Vec<u8>> {
        let mut out = Vec::with_capacity(self.text.len() + 64);
        out.push(b'{');
        for (place, field) in self.fields.iter().enumerate() {
            if place > 0 {
                out.push(b',');
            }
            match &field.name {
                Name::Read(start, end) => {
                    // It has no escapes, and needs none.
                    out.push(b'"');
                    out.extend_from_slice(part(&self.text, *start, *end).as_bytes());
                    out.push(b'"');
                }
                Name::Made(name) => serde_json::to_writer(&mut out, &**name)?,
            }
            out.push(b':');
            field.value.write(&self.text, &mut out)?;
        }
        out.push(b'}');
        Ok(out)
    }
}

#[cfg(test)]
mod tests;
