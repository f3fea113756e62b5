//! Columns of a Parquet file: which part of a message each holds, and as what.
//!
//! Owns: [`Column`], and what fits one. Must not: know files.

use crate::keys::{Keys, Named};
use crate::place::SinkError;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use parquet::basic::{LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::schema::types::{Type as Schema, TypePtr};
use serde_json::Value;
use std::sync::Arc;

/// Columns of a file.
const COLUMNS: usize = 200;
/// Bytes of a column's name.
const NAME_BYTES: usize = 128;
/// What a message has as JSON; what else a column names is a field of the payload.
const FIELDS: [&str; 10] = [
    "topic",
    "payload",
    "payload_base64",
    "qos",
    "retain",
    "client",
    "username",
    "received_ms",
    "content_type",
    "user",
];
/// What `type` may be.
const KINDS: [&str; 7] = [
    "text",
    "json",
    "bytes",
    "integer",
    "float",
    "boolean",
    "timestamp",
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Json,
    Bytes,
    Integer,
    Float,
    Boolean,
    /// Milliseconds since 1970, UTC.
    Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) name: String,
    /// A path into the message as JSON.
    from: Vec<String>,
    pub(super) kind: Kind,
    pub(super) is_required: bool,
}

/// A value of a column.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cell {
    Bytes(Vec<u8>),
    Number(i64),
    Float(f64),
    Flag(bool),
}

fn kind(word: &str) -> Option<Kind> {
    Some(match word {
        "text" => Kind::Text,
        "json" => Kind::Json,
        "bytes" => Kind::Bytes,
        "integer" => Kind::Integer,
        "float" => Kind::Float,
        "boolean" => Kind::Boolean,
        "timestamp" => Kind::Timestamp,
        _ => return None,
    })
}

fn path(text: &str) -> Option<Vec<String>> {
    let parts: Vec<String> = text.split('.').map(str::to_owned).collect();
    let first = parts.first().map(String::as_str).unwrap_or_default();
    let is_field = FIELDS.contains(&first) && (first == "payload" || parts.len() == 1);
    (is_field && parts.iter().all(|part| !part.is_empty())).then_some(parts)
}

/// The columns where a file names none: everything that a message has.
pub(super) fn all() -> Vec<Column> {
    let columns = [
        ("received_ms", Kind::Timestamp, true),
        ("topic", Kind::Text, true),
        ("payload", Kind::Json, false),
        ("payload_base64", Kind::Bytes, false),
        ("qos", Kind::Integer, true),
        ("retain", Kind::Boolean, true),
        ("client", Kind::Text, true),
        ("username", Kind::Text, false),
        ("content_type", Kind::Text, false),
        ("user", Kind::Json, false),
    ];
    let columns = columns.map(|(name, kind, is_required)| Column {
        name: name.to_owned(),
        from: vec![name.to_owned()],
        kind,
        is_required,
    });
    columns.to_vec()
}

/// The table `columns`; `None`: there is none.
pub(super) fn parse(keys: &mut Keys<'_>) -> Result<Option<Vec<Column>>, SinkError> {
    let Some(entries) = keys.named("columns")? else {
        return Ok(None);
    };
    let mut columns = Vec::new();
    for (name, at, entry) in entries {
        let wrong = |text: &str| keys.error_at(at, format!("`columns.{name}` {text}"));
        let is_name = (1..=NAME_BYTES).contains(&name.len()) && !name.contains(['.', '\0']);
        if !is_name {
            return Err(wrong(
                "is no name of a column: up to 128 bytes, without dots",
            ));
        }
        let (word, from, is_required) = match entry {
            Named::Text(word) => (word, None, false),
            Named::Table(mut table) => {
                let (word, _) = table.needed("type", "\"float\"")?;
                let from = table.text("from")?.map(|(from, _)| from);
                let is_required = table.flag("required", false)?;
                table.finish()?;
                (word, from, is_required)
            }
        };
        let Some(kind) = kind(&word) else {
            let error = wrong(&format!("is one of {}, not `{word}`", KINDS.join(", ")));
            return Err(error);
        };
        let from = from.unwrap_or_else(|| match FIELDS.contains(&&*name) {
            true => name.clone(),
            false => format!("payload.{name}"),
        });
        let Some(from) = path(&from) else {
            let error = wrong(&format!("comes `from` `{from}`, which no message has"));
            return Err(error.hint(format!(
                "there are {}, and payload.FIELD",
                FIELDS.join(", ")
            )));
        };
        columns.push(Column {
            name,
            from,
            kind,
            is_required,
        });
    }
    if columns.is_empty() || columns.len() > COLUMNS {
        return Err(keys.error(format!("`columns` has 1 to {COLUMNS} entries")));
    }
    Ok(Some(columns))
}

fn whole(value: &Value) -> Option<i64> {
    let whole = |number: f64| {
        let is_whole = number.fract() == 0.0 && number.abs() <= 9_007_199_254_740_992.0;
        is_whole.then(|| format!("{number}").parse().ok()).flatten()
    };
    value.as_i64().or_else(|| value.as_f64().and_then(whole))
}

impl Column {
    /// What a message has for it: `None` is null.
    ///
    /// # Errors
    /// It has nothing that fits, and the column is required, in words.
    pub(super) fn cell<'a>(&self, message: &'a Value) -> Result<Option<Cell>, String> {
        let field = |value: &'a Value, name: &String| match value {
            Value::Array(list) => name.parse::<usize>().ok().and_then(|at| list.get(at)),
            value => value.get(name),
        };
        let found = self.from.iter().try_fold(message, field);
        let cell = match (found, self.kind) {
            // A payload that is no text is there under another name.
            (None, Kind::Bytes) if self.from == ["payload"] => message
                .get("payload_base64")
                .and_then(|text| STANDARD.decode(text.as_str()?).ok())
                .map(Cell::Bytes),
            (None | Some(Value::Null), _) => None,
            (Some(value), _) => self.fitting(value),
        };
        if cell.is_some() || !self.is_required {
            return Ok(cell);
        }
        let shown = found.map_or_else(|| "nothing".to_owned(), ToString::to_string);
        let shown: String = shown.chars().take(100).collect();
        let kind = format!("{:?}", self.kind).to_ascii_lowercase();
        Err(format!(
            "the column `{}` is required, and {shown} is no {kind} for it",
            self.name
        ))
    }

    fn fitting(&self, value: &Value) -> Option<Cell> {
        Some(match (self.kind, value) {
            (Kind::Json, value) => Cell::Bytes(value.to_string().into_bytes()),
            (Kind::Bytes, Value::String(text)) if self.from == ["payload_base64"] => {
                Cell::Bytes(STANDARD.decode(text).ok()?)
            }
            (Kind::Text | Kind::Bytes, Value::String(text)) => Cell::Bytes(text.clone().into()),
            (Kind::Text | Kind::Bytes, value) => Cell::Bytes(value.to_string().into_bytes()),
            (Kind::Integer | Kind::Timestamp, value) => Cell::Number(whole(value)?),
            (Kind::Float, value) => Cell::Float(value.as_f64()?),
            (Kind::Boolean, value) => Cell::Flag(value.as_bool()?),
        })
    }

    fn schema(&self) -> parquet::errors::Result<TypePtr> {
        let (physical, logical) = match self.kind {
            Kind::Text => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
            Kind::Json => (Physical::BYTE_ARRAY, Some(LogicalType::Json)),
            Kind::Bytes => (Physical::BYTE_ARRAY, None),
            Kind::Integer => (Physical::INT64, None),
            Kind::Float => (Physical::DOUBLE, None),
            Kind::Boolean => (Physical::BOOLEAN, None),
            Kind::Timestamp => {
                let logical = LogicalType::timestamp(true, TimeUnit::MILLIS);
                (Physical::INT64, Some(logical))
            }
        };
        let repetition = match self.is_required {
            true => Repetition::REQUIRED,
            false => Repetition::OPTIONAL,
        };
        let column = Schema::primitive_type_builder(&self.name, physical)
            .with_repetition(repetition)
            .with_logical_type(logical);
        column.build().map(Arc::new)
    }
}

/// The schema of a file.
pub(super) fn schema(columns: &[Column]) -> parquet::errors::Result<TypePtr> {
    let fields: Result<Vec<TypePtr>, _> = columns.iter().map(Column::schema).collect();
    let schema = Schema::group_type_builder("message").with_fields(fields?);
    schema.build().map(Arc::new)
}

/// The cells of a message.
///
/// # Errors
/// A required column has none, in words.
pub(super) fn row(columns: &[Column], message: &Value) -> Result<Vec<Option<Cell>>, String> {
    columns.iter().map(|column| column.cell(message)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::place::Source;
    use serde_json::json;

    fn read(text: &str) -> Result<Vec<Column>, String> {
        let source = Source {
            file: "a.toml",
            text,
        };
        let mut keys = Keys::parse(source).map_err(|error| error.to_string())?;
        let columns = parse(&mut keys).map_err(|error| error.to_string())?;
        Ok(columns.unwrap_or_default())
    }

    fn one(text: &str) -> Column {
        read(&format!("columns = {{ {text} }}"))
            .expect("right")
            .remove(0)
    }

    #[test]
    fn a_column_is_a_type_and_comes_from_somewhere() {
        let columns = read(
            "[columns]\ntopic = \"text\"\nc = \"float\"\nat = { type = \"timestamp\", from = \"received_ms\", required = true }",
        );
        let columns = columns.expect("right");
        let shown: Vec<_> = columns
            .iter()
            .map(|column| (&*column.name, column.from.join("."), column.is_required))
            .collect();
        let wanted = [
            ("topic", "topic".to_owned(), false),
            ("c", "payload.c".to_owned(), false),
            ("at", "received_ms".to_owned(), true),
        ];
        assert_eq!(shown, wanted, "in the order of the file");
        for (text, wanted) in [
            ("columns = {}", "a.toml:1:1: `columns` has 1 to 200 entries"),
            (
                "columns = { a = \"txt\" }",
                "a.toml:1:13: `columns.a` is one of text, json, bytes, integer, float, boolean, timestamp, not `txt`",
            ),
            (
                "columns = { a = { type = \"text\", from = \"topics\" } }",
                "a.toml:1:13: `columns.a` comes `from` `topics`, which no message has",
            ),
            (
                "columns = { a = { type = \"text\", requierd = true } }",
                "a.toml:1:34: unknown key `columns.a.requierd`",
            ),
            (
                "columns = { a = 5 }",
                "a.toml:1:17: `columns.a` is a text or a table",
            ),
            (
                "columns = { \"a.b\" = \"text\" }",
                "a.toml:1:13: `columns.a.b` is no name of a column: up to 128 bytes, without dots",
            ),
        ] {
            assert_eq!(read(text), Err(wanted.to_owned()));
        }
        let many = |count: usize| {
            let columns = (0..count).map(|number| format!("c{number} = \"text\"\n"));
            read(&format!("[columns]\n{}", columns.collect::<String>()))
        };
        assert!(many(COLUMNS).is_ok());
        assert!(many(COLUMNS + 1).is_err());
    }

    #[test]
    fn a_value_fits_or_is_null_or_is_refused() {
        let message = json!({
            "topic": "a/b", "received_ms": 7, "retain": false,
            "payload": {"c": 20.0, "half": 20.5, "s": "x", "l": [1, {"d": true}], "none": null},
        });
        let bytes = |text: &str| Some(Cell::Bytes(text.as_bytes().to_vec()));
        for (text, wanted) in [
            ("topic = \"text\"", bytes("a/b")),
            ("c = \"integer\"", Some(Cell::Number(20))),
            ("c = \"float\"", Some(Cell::Float(20.0))),
            ("c = \"text\"", bytes("20.0")),
            ("half = \"integer\"", None),
            ("s = \"json\"", bytes("\"x\"")),
            ("s = \"bytes\"", bytes("x")),
            ("s = \"boolean\"", None),
            ("none = \"json\"", None),
            ("lost = \"text\"", None),
            ("retain = \"boolean\"", Some(Cell::Flag(false))),
            ("received_ms = \"timestamp\"", Some(Cell::Number(7))),
            (
                "d = { type = \"boolean\", from = \"payload.l.1.d\" }",
                Some(Cell::Flag(true)),
            ),
        ] {
            assert_eq!(one(text).cell(&message), Ok(wanted), "{text}");
        }
        let needed = one("half = { type = \"integer\", required = true }");
        assert_eq!(
            needed.cell(&message),
            Err("the column `half` is required, and 20.5 is no integer for it".to_owned())
        );
        let needed = one("lost = { type = \"text\", required = true }");
        assert!(needed.cell(&message).is_err());
        let binary = json!({"payload_base64": "/wA="});
        let raw = Some(Cell::Bytes(vec![0xff, 0]));
        assert_eq!(one("payload = \"bytes\"").cell(&binary), Ok(raw.clone()));
        assert_eq!(one("payload_base64 = \"bytes\"").cell(&binary), Ok(raw));
        assert_eq!(one("payload = \"text\"").cell(&binary), Ok(None));
    }
}
