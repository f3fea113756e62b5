//! A table of a sink file, read key by key: each error says where it is, and a key that nobody asked for is one.
//!
//! Owns: [`Keys`]. Must not: know what the keys mean.

use crate::place::{SinkError, Source, suggest};
use crate::secret::Text;
use std::collections::BTreeMap;
use std::ops::{Range, RangeInclusive};
use std::time::Duration;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// What is left of a table.
pub(crate) struct Keys<'a> {
    source: Source<'a>,
    /// What stands before its keys in messages, for example `retry.`.
    path: String,
    at: usize,
    left: BTreeMap<String, (Range<usize>, Spanned<DeValue<'a>>)>,
    /// Asked for so far.
    known: Vec<&'static str>,
}

/// What stands behind a key of the operator's.
pub(crate) enum Named<'a> {
    Text(String),
    Table(Keys<'a>),
}

/// Each with its name and where that stands.
pub(crate) type Entries<'a> = Vec<(String, usize, Named<'a>)>;

impl<'a> Keys<'a> {
    /// A whole file.
    pub(crate) fn parse(source: Source<'a>) -> Result<Self, SinkError> {
        let table = DeTable::parse(source.text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            source.error(at, error.message().trim().to_owned())
        })?;
        Ok(Self::of(source, String::new(), 0, table.into_inner()))
    }

    fn of(source: Source<'a>, path: String, at: usize, table: DeTable<'a>) -> Self {
        let left = table.into_iter().map(|(key, value)| {
            let span = key.span();
            (key.into_inner().into_owned(), (span, value))
        });
        Self {
            source,
            path,
            at,
            left: left.collect(),
            known: Vec::new(),
        }
    }

    /// An error about the table as a whole.
    pub(crate) fn error(&self, message: impl Into<String>) -> SinkError {
        self.source.error(self.at, message)
    }

    /// An error about a place in the file.
    pub(crate) fn error_at(&self, at: usize, message: impl Into<String>) -> SinkError {
        self.source.error(at, message)
    }

    fn take(&mut self, key: &'static str) -> Option<Spanned<DeValue<'a>>> {
        self.known.push(key);
        self.left.remove(key).map(|(_, value)| value)
    }

    fn wrong(&self, key: &str, at: usize, wanted: &str) -> SinkError {
        self.source
            .error(at, format!("`{}{key}` is {wanted}", self.path))
    }

    fn missing(&self, key: &str, example: &str) -> SinkError {
        self.error(format!("`{}{key}` is missing", self.path))
            .hint(format!("for example `{key} = {example}`"))
    }

    /// Nothing may be left.
    pub(crate) fn finish(self) -> Result<(), SinkError> {
        let Some((key, (span, _))) = self.left.into_iter().next() else {
            return Ok(());
        };
        let error = self
            .source
            .error(span.start, format!("unknown key `{}{key}`", self.path));
        Err(match suggest(&key, self.known.iter().copied()) {
            Some(like) => error.hint(format!("did you mean `{like}`?")),
            None => error.hint(format!("there are {}", self.known.join(", "))),
        })
    }

    /// A text and where it stands.
    pub(crate) fn text(&mut self, key: &'static str) -> Result<Option<(String, usize)>, SinkError> {
        let Some(value) = self.take(key) else {
            return Ok(None);
        };
        let at = value.span().start;
        match value.into_inner() {
            DeValue::String(text) => Ok(Some((text.into_owned(), at))),
            _ => Err(self.wrong(key, at, "a text")),
        }
    }

    /// A text that must be there.
    pub(crate) fn needed(
        &mut self,
        key: &'static str,
        example: &str,
    ) -> Result<(String, usize), SinkError> {
        let text = self.text(key)?;
        text.filter(|(text, _)| !text.is_empty())
            .ok_or_else(|| self.missing(key, example))
    }

    /// One of these words, and which.
    pub(crate) fn word(
        &mut self,
        key: &'static str,
        words: &[&'static str],
    ) -> Result<Option<&'static str>, SinkError> {
        let Some((text, at)) = self.text(key)? else {
            return Ok(None);
        };
        if let Some(word) = words.iter().find(|word| **word == text) {
            return Ok(Some(word));
        }
        let error = self.wrong(
            key,
            at,
            &format!("one of {}, not `{text}`", words.join(", ")),
        );
        Err(match suggest(&text, words.iter().copied()) {
            Some(like) => error.hint(format!("did you mean `{like}`?")),
            None => error,
        })
    }

    /// Yes or no.
    pub(crate) fn flag(&mut self, key: &'static str, default: bool) -> Result<bool, SinkError> {
        let Some(value) = self.take(key) else {
            return Ok(default);
        };
        match value.get_ref() {
            DeValue::Boolean(flag) => Ok(*flag),
            _ => Err(self.wrong(key, value.span().start, "true or false")),
        }
    }

    /// A whole number within bounds.
    pub(crate) fn number(
        &mut self,
        key: &'static str,
        default: u64,
        bounds: RangeInclusive<u64>,
    ) -> Result<u64, SinkError> {
        let Some(value) = self.take(key) else {
            return Ok(default);
        };
        let wanted = || format!("a number from {} to {}", bounds.start(), bounds.end());
        let at = value.span().start;
        let DeValue::Integer(number) = value.get_ref() else {
            return Err(self.wrong(key, at, &wanted()));
        };
        u64::from_str_radix(number.as_str(), number.radix())
            .ok()
            .filter(|number| bounds.contains(number))
            .ok_or_else(|| self.wrong(key, at, &wanted()))
    }

    /// Milliseconds.
    pub(crate) fn millis(
        &mut self,
        key: &'static str,
        default: u64,
        bounds: RangeInclusive<u64>,
    ) -> Result<Duration, SinkError> {
        self.number(key, default, bounds).map(Duration::from_millis)
    }

    /// A text, or `{ secret = "NAME" }`.
    pub(crate) fn private(&mut self, key: &'static str) -> Result<Option<Text>, SinkError> {
        let Some(value) = self.take(key) else {
            return Ok(None);
        };
        self.private_value(key, value).map(Some)
    }

    fn private_value(&self, key: &str, value: Spanned<DeValue<'a>>) -> Result<Text, SinkError> {
        let at = value.span().start;
        match value.into_inner() {
            DeValue::String(text) => Ok(Text::Plain(text.into_owned())),
            DeValue::Table(table) => {
                let path = format!("{}{key}.", self.path);
                let mut keys = Self::of(self.source, path, at, table);
                let (name, _) = keys.needed("secret", "\"NAME\"")?;
                keys.finish()?;
                Ok(Text::Secret(name))
            }
            _ => Err(self.wrong(key, at, "a text or { secret = \"NAME\" }")),
        }
    }

    /// A table of texts and secrets with keys of the operator's.
    pub(crate) fn map(
        &mut self,
        key: &'static str,
    ) -> Result<Vec<(String, Text, usize)>, SinkError> {
        let Some(value) = self.take(key) else {
            return Ok(Vec::new());
        };
        let at = value.span().start;
        let DeValue::Table(table) = value.into_inner() else {
            return Err(self.wrong(key, at, "a table"));
        };
        let entries = table.into_iter().map(|(name, value)| {
            let at = name.span().start;
            let name = name.into_inner().into_owned();
            let value = self.private_value(&format!("{key}.{name}"), value)?;
            Ok((name, value, at))
        });
        entries.collect()
    }

    /// A table with keys of the operator's, in the order of the file: each a text or a table.
    pub(crate) fn named(&mut self, key: &'static str) -> Result<Option<Entries<'a>>, SinkError> {
        let Some(value) = self.take(key) else {
            return Ok(None);
        };
        let at = value.span().start;
        let DeValue::Table(table) = value.into_inner() else {
            return Err(self.wrong(key, at, "a table"));
        };
        let entries = table.into_iter().map(|(name, value)| {
            let (at, inner) = (name.span().start, value.span().start);
            let name = name.into_inner().into_owned();
            let path = format!("{}{key}.{name}", self.path);
            let entry = match value.into_inner() {
                DeValue::String(text) => Named::Text(text.into_owned()),
                DeValue::Table(table) => {
                    Named::Table(Self::of(self.source, format!("{path}."), inner, table))
                }
                _ => {
                    let error = format!("`{path}` is a text or a table");
                    return Err(self.source.error(inner, error));
                }
            };
            Ok((name, at, entry))
        });
        let mut entries = entries.collect::<Result<Vec<_>, _>>()?;
        entries.sort_by_key(|(_, at, _)| *at);
        Ok(Some(entries))
    }

    /// A list of texts, each with its place.
    pub(crate) fn texts(&mut self, key: &'static str) -> Result<Vec<(String, usize)>, SinkError> {
        let Some(value) = self.take(key) else {
            return Ok(Vec::new());
        };
        let at = value.span().start;
        let DeValue::Array(array) = value.into_inner() else {
            return Err(self.wrong(key, at, "a list of texts"));
        };
        let texts = array.into_iter().map(|value| {
            let at = value.span().start;
            match value.into_inner() {
                DeValue::String(text) => Ok((text.into_owned(), at)),
                _ => Err(self.wrong(key, at, "a list of texts")),
            }
        });
        texts.collect()
    }

    /// A table; an empty one if it is not there.
    pub(crate) fn table(&mut self, key: &'static str) -> Result<Self, SinkError> {
        Ok(self.given(key)?.unwrap_or_else(|| {
            Self::of(
                self.source,
                format!("{}{key}.", self.path),
                self.at,
                DeTable::new(),
            )
        }))
    }

    /// A table, if it is there.
    pub(crate) fn given(&mut self, key: &'static str) -> Result<Option<Self>, SinkError> {
        let Some(value) = self.take(key) else {
            return Ok(None);
        };
        let at = value.span().start;
        let DeValue::Table(table) = value.into_inner() else {
            return Err(self.wrong(key, at, "a table"));
        };
        let path = format!("{}{key}.", self.path);
        Ok(Some(Self::of(self.source, path, at, table)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(text: &str) -> Keys<'_> {
        let source = Source {
            file: "a.toml",
            text,
        };
        Keys::parse(source).unwrap_or_else(|error| unreachable!("{error}"))
    }

    #[test]
    fn what_is_wrong_says_where_and_what_to_do() {
        let mut some = keys("kind = \"file\"\n[retry]\nfrist_ms = 5\n");
        assert_eq!(
            some.needed("kind", "").map(|(text, _)| text),
            Ok("file".to_owned())
        );
        let mut retry = some
            .table("retry")
            .unwrap_or_else(|error| unreachable!("{error}"));
        assert_eq!(
            retry.millis("first_ms", 7, 1..=9),
            Ok(Duration::from_millis(7))
        );
        let error = retry.finish().expect_err("unknown");
        assert_eq!(
            error.to_string(),
            "a.toml:3:1: unknown key `retry.frist_ms`"
        );
        assert_eq!(error.hint.as_deref(), Some("did you mean `first_ms`?"));
        assert_eq!(some.finish(), Ok(()));
    }

    #[test]
    fn numbers_keep_within_their_bounds() {
        for (text, is_fine) in [
            ("n = 1", true),
            ("n = 9", true),
            ("n = 0", false),
            ("n = 10", false),
            ("n = -1", false),
            ("n = \"1\"", false),
        ] {
            assert_eq!(keys(text).number("n", 5, 1..=9).is_ok(), is_fine, "{text}");
        }
        let error = keys("\nn = 10")
            .number("n", 5, 1..=9)
            .expect_err("too large");
        assert_eq!(error.to_string(), "a.toml:2:5: `n` is a number from 1 to 9");
    }

    #[test]
    fn a_secret_is_named_and_not_written() {
        assert_eq!(
            keys("p = { secret = \"x\" }").private("p"),
            Ok(Some(Text::Secret("x".into())))
        );
        let error = keys("p = { sekret = \"x\" }")
            .private("p")
            .expect_err("misspelt");
        assert_eq!(error.to_string(), "a.toml:1:5: `p.secret` is missing");
    }
}
