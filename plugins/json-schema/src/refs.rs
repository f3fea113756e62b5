//! What a `$ref` means: a place of the same document.
//!
//! Owns: identifiers, anchors, JSON Pointers. Must not: fetch anything.

use crate::config::Draft;
use serde_json::Value;
use std::collections::BTreeMap;

/// The document and the names in it.
pub(crate) struct Refs<'d> {
    document: &'d Value,
    /// Places of schemas with an `$id`, which are documents of their own.
    bases: BTreeMap<String, String>,
    /// Places by base and anchor.
    anchors: BTreeMap<(String, String), String>,
}

impl<'d> Refs<'d> {
    pub(crate) fn new(document: &'d Value, draft: Draft) -> Self {
        let mut refs = Self {
            document,
            bases: BTreeMap::new(),
            anchors: BTreeMap::new(),
        };
        refs.scan(document, "", "", draft);
        refs
    }

    /// Remembers every `$id` and anchor below a place.
    fn scan(&mut self, value: &Value, place: &str, base: &str, draft: Draft) {
        match value {
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.scan(item, &child(place, &index.to_string()), base, draft);
                }
            }
            Value::Object(members) => {
                let text = |name: &str| members.get(name).and_then(Value::as_str);
                let mut base = base;
                match text("$id") {
                    Some(id) if draft == Draft::Draft7 && id.starts_with('#') => {
                        self.anchors
                            .insert((base.to_owned(), id[1..].to_owned()), place.to_owned());
                    }
                    Some(id) => {
                        self.bases
                            .insert(id.trim_end_matches('#').to_owned(), place.to_owned());
                        base = place;
                    }
                    None => {}
                }
                let anchors = [text("$anchor"), text("$dynamicAnchor")]
                    .into_iter()
                    .flatten();
                for anchor in anchors {
                    self.anchors
                        .insert((base.to_owned(), anchor.to_owned()), place.to_owned());
                }
                for (name, member) in members {
                    if name != "const" && name != "enum" {
                        self.scan(member, &child(place, name), base, draft);
                    }
                }
            }
            _ => {}
        }
    }

    /// The value at a place.
    pub(crate) fn at(&self, place: &str) -> Option<&'d Value> {
        self.document.pointer(place)
    }

    /// The place that a reference at another place means.
    pub(crate) fn resolve(&self, place: &str, reference: &str) -> Result<String, String> {
        let (document, fragment) = reference.split_once('#').unwrap_or((reference, ""));
        let base = if document.is_empty() {
            self.base(place)
        } else {
            self.named(document).ok_or_else(|| {
                format!("`{reference}` is not in this schema, and nothing is fetched: put it under `$defs` with its `$id`")
            })?
        };
        let fragment = decoded(fragment);
        let target = if fragment.is_empty() || fragment.starts_with('/') {
            Some(format!("{base}{fragment}"))
        } else {
            self.anchors.get(&(base.to_owned(), fragment)).cloned()
        };
        let target = target.filter(|target| self.at(target).is_some());
        target.ok_or_else(|| format!("`{reference}` is nowhere in this schema"))
    }

    /// The nearest place around with an `$id`.
    fn base(&self, place: &str) -> &str {
        let around = self.bases.values().filter(|base| {
            let rest = place.strip_prefix(base.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        });
        around
            .max_by_key(|base| base.len())
            .map_or("", String::as_str)
    }

    /// The place with this `$id`, whole or by its last part.
    fn named(&self, document: &str) -> Option<&str> {
        let last = |id: &str| !document.contains(':') && id.rsplit('/').next() == Some(document);
        let exact = self.bases.get(document);
        exact
            .or_else(|| {
                self.bases
                    .iter()
                    .find(|(id, _)| last(id))
                    .map(|(_, place)| place)
            })
            .map(String::as_str)
    }
}

/// A JSON Pointer one level down.
pub(crate) fn child(place: &str, name: &str) -> String {
    format!("{place}/{}", name.replace('~', "~0").replace('/', "~1"))
}

/// A fragment without its percent signs; what is none stays.
fn decoded(fragment: &str) -> String {
    let mut bytes = Vec::with_capacity(fragment.len());
    let mut rest = fragment.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digits = after
            .get(..2)
            .and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) if *first == b'%' => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| fragment.to_owned())
}
