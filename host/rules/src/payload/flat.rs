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
    if let Some(first) = bytes.first_chunk() {
        return u64::from_be_bytes(*first);
    }
    let (mut prefix, mut rest, mut free) = (0, bytes, 64);
    if let Some((four, behind)) = rest.split_first_chunk::<4>() {
        free -= 32;
        (prefix, rest) = (u64::from(u32::from_be_bytes(*four)) << free, behind);
    }
    for byte in rest {
        free -= 8;
        prefix |= u64::from(*byte) << free;
    }
    prefix
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

    /// Whether it is this one, whose prefix is the same.
    fn is(&self, name: &str, text: &str) -> bool {
        let own = self.of(text);
        own.len() == name.len() && (name.len() <= 8 || own == name)
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

    /// Where it stands in the text, if it can be copied.
    fn copied(&self) -> Option<Span> {
        match self {
            Self::Read(span, _) if span.is_plain => Some(*span),
            _ => None,
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
        let whole = &*text;
        scan::fields(whole, |(start, end), value| {
            let name = part(whole, start, end);
            let prefix = prefix(name);
            if is_sorted && let Some(last) = fields.last() {
                is_sorted = (last.prefix, last.name.of(whole)) < (prefix, name);
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

    /// Where a field is, or where it would be.
    fn find(&self, name: &str) -> Result<usize, usize> {
        let prefix = prefix(name);
        let text = &*self.text;
        if self.fields.len() > FIELDS {
            return self.fields.binary_search_by(|field| {
                let by_prefix = field.prefix.cmp(&prefix);
                by_prefix.then_with(|| field.name.of(text).cmp(name))
            });
        }
        let is_before = |field: &&Field| {
            field.prefix < prefix || (field.prefix == prefix && field.name.of(text) < name)
        };
        let at = self.fields.iter().take_while(is_before).count();
        match self.fields.get(at) {
            Some(field) if field.prefix == prefix && field.name.is(name, text) => Ok(at),
            _ => Err(at),
        }
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
        let mut out = Writer {
            text: &self.text,
            out: Vec::with_capacity(self.text.len() + 64),
            from: 0,
            to: 0,
        };
        out.out.push(b'{');
        for field in &self.fields {
            match (&field.name, field.value.copied()) {
                (Name::Read(start, end), Some(value)) if value.start == end + 2 => {
                    out.copy(start - 1, value.end);
                }
                _ => out.field(field)?,
            }
        }
        Ok(out.end())
    }
}

/// What is written of an object, whose fields are copied in as few pieces as there are.
struct Writer<'t> {
    text: &'t str,
    out: Vec<u8>,
    /// What is still to be copied, if that is anything.
    from: u32,
    to: u32,
}

impl Writer<'_> {
    /// A field as it stands from its first quote on, with nothing between name, colon and value.
    fn copy(&mut self, from: u32, to: u32) {
        // Nothing but a comma fits between two fields that stand so.
        if self.to > 0 && from == self.to + 1 {
            self.to = to;
            return;
        }
        self.flush();
        self.comma();
        (self.from, self.to) = (from, to);
    }

    fn flush(&mut self) {
        let piece = part(self.text, self.from, self.to);
        self.out.extend_from_slice(piece.as_bytes());
        (self.from, self.to) = (0, 0);
    }

    fn comma(&mut self) {
        if self.out.len() > 1 {
            self.out.push(b',');
        }
    }

    fn field(&mut self, field: &Field) -> serde_json::Result<()> {
        self.flush();
        self.comma();
        serde_json::to_writer(&mut self.out, field.name.of(self.text))?;
        self.out.push(b':');
        match &field.value {
            Slot::Made(json) => serde_json::to_writer(&mut self.out, json),
            Slot::Read(span, _) if span.is_plain => {
                let value = part(self.text, span.start, span.end);
                self.out.extend_from_slice(value.as_bytes());
                Ok(())
            }
            Slot::Read(..) => serde_json::to_writer(&mut self.out, &field.value.json(self.text)),
        }
    }

    fn end(mut self) -> Vec<u8> {
        self.flush();
        self.out.push(b'}');
        self.out
    }
}

#[cfg(test)]
mod tests;
