//! What a statement selects: values by path, as the actions see them.

use super::calls::Want;
use super::cel::{field, text as cel_text};

/// A value, or more below it.
enum Entry {
    Value {
        /// As it is written down.
        text: String,
        /// What its fields are fields of.
        inner: String,
    },
    Below(Output),
}

/// Values by name.
#[derive(Default)]
pub(super) struct Output(Vec<(String, Entry)>);

/// What a path led to, and the part of it that leads on.
pub(super) struct Found<'n> {
    pub(super) text: String,
    pub(super) rest: Vec<&'n str>,
}

impl Output {
    /// Puts a value at a path.
    pub(super) fn put(
        &mut self,
        path: &[String],
        text: String,
        inner: String,
    ) -> Result<(), String> {
        let Some((name, rest)) = path.split_first() else {
            return Err("a name is missing".to_owned());
        };
        let known = self.0.iter().position(|(known, _)| known == name);
        if rest.is_empty() {
            if let Some(known) = known {
                self.0.remove(known);
            }
            self.0.push((name.clone(), Entry::Value { text, inner }));
            return Ok(());
        }
        let at = known.unwrap_or(self.0.len());
        if known.is_none() {
            self.0.push((name.clone(), Entry::Below(Self::default())));
        }
        match (self.0.get_mut(at), rest) {
            (Some((_, Entry::Below(below))), rest) => below.put(rest, text, inner),
            (
                Some((
                    _,
                    Entry::Value {
                        text: whole,
                        inner: of,
                    },
                )),
                [one],
            ) => {
                let changed = format!("put({of}, {}, {text})", cel_text(one));
                (*whole, *of) = (changed.clone(), changed);
                Ok(())
            }
            _ => Err(format!(
                "a field within a field of `{name}`, which is selected whole, cannot be set"
            )),
        }
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.0.retain(|(known, _)| known != name);
    }

    /// All that another one has, instead of what is here.
    pub(super) fn add(&mut self, other: Self) {
        for (name, entry) in other.0 {
            self.remove(&name);
            self.0.push((name, entry));
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is at a path, or above it.
    pub(super) fn find<'n>(&self, path: &[&'n str], want: Want) -> Option<Found<'n>> {
        let (name, rest) = path.split_first()?;
        let (_, entry) = self.0.iter().find(|(known, _)| known == name)?;
        match (entry, rest) {
            (Entry::Value { text, .. }, []) if want == Want::Text => Some(Found {
                text: text.clone(),
                rest: Vec::new(),
            }),
            (Entry::Value { inner, .. }, rest) => Some(Found {
                text: inner.clone(),
                rest: rest.to_vec(),
            }),
            (Entry::Below(below), []) => Some(Found {
                text: below.written(),
                rest: Vec::new(),
            }),
            (Entry::Below(below), rest) => below.find(rest, want),
        }
    }

    /// As a map of CEL.
    pub(super) fn written(&self) -> String {
        let entries = self.0.iter().map(|(name, entry)| {
            let value = match entry {
                Entry::Value { text, .. } => text.clone(),
                Entry::Below(below) => below.written(),
            };
            format!("{}: {value}", cel_text(name))
        });
        format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
    }

    /// What a template names.
    pub(super) fn template(&self, path: &[&str]) -> Option<String> {
        let found = self.find(path, Want::Text)?;
        let is_whole = found.rest.is_empty();
        let written = found
            .rest
            .iter()
            .fold(found.text, |of, name| field(&of, name));
        Some(match is_whole {
            true => written,
            false => format!("default({written}, null)"),
        })
    }
}
