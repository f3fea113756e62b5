//! `from`: a text, or a list of them.

use serde::de::{Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, de};
use serde_spanned::Spanned;
use std::fmt;

/// Topic templates as written, at least one.
#[derive(Debug)]
pub(crate) struct From {
    pub(crate) first: Spanned<String>,
    pub(crate) others: Vec<Spanned<String>>,
}

/// Templates that one chain listens on.
const TEMPLATES: usize = 16;

enum Written {
    One(String),
    Several(Vec<Spanned<String>>),
}

impl<'de> Deserialize<'de> for Written {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Written;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a topic or a list of topics")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Written, E> {
                Ok(Written::One(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Written, A::Error> {
                let mut all = Vec::new();
                while let Some(one) = list.next_element()? {
                    all.push(one);
                }
                Ok(Written::Several(all))
            }
        }
        from.deserialize_any(Either)
    }
}

impl<'de> Deserialize<'de> for From {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let written = Spanned::<Written>::deserialize(from)?;
        let span = written.span();
        let all = match written.into_inner() {
            Written::One(text) => vec![Spanned::new(span, text)],
            Written::Several(all) => all,
        };
        let count = all.len();
        let mut all = all.into_iter();
        match all.next() {
            Some(first) if count <= TEMPLATES => Ok(Self {
                first,
                others: all.collect(),
            }),
            _ => Err(de::Error::custom(format!(
                "`from` is 1 to {TEMPLATES} topics, not {count}"
            ))),
        }
    }
}
