//! The schema of a configuration, put together at compile time.
//!
//! Owns: what `#[derive(Config)]` and the manifest are made of. Must not: run; a schema is read from the file of a
//! component, so all of this is constant.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

/// A type with a JSON Schema (2020-12), so that the broker can check a configuration before the plugin sees it. Derived
/// for structs with named fields, for enums of plain names, and for enums with `#[serde(tag = "…")]`.
///
/// The derive reads the attributes of serde that change names and shapes (`default`, `rename`, `rename_all`, `skip`,
/// `deny_unknown_fields`, `tag`), takes doc comments as descriptions, and has an attribute of its own for what a field
/// may hold: `#[config(minimum = 0, maximum = 9)]` for numbers, `min_length`, `max_length` and `pattern` for texts,
/// `min_items` and `max_items` for lists, and `secret` for what is not to be shown.
///
/// ```
/// use witmq_sdk::Config as _;
///
/// /// What the operator may set.
/// #[derive(serde::Deserialize, witmq_sdk::Config)]
/// #[serde(deny_unknown_fields)]
/// struct Limits {
///     /// Degrees Celsius.
///     #[config(minimum = -40, maximum = 85)]
///     warn_at: f64,
///     #[serde(default)]
///     unit: Option<String>,
/// }
///
/// assert_eq!(
///     Limits::SCHEMA.to_string(),
///     concat!(
///         r#"{"type":"object","properties":{"warn_at":{"type":"number","minimum":-40,"maximum":85,"#,
///         r#""description":"Degrees Celsius."},"unit":{"type":"string"}},"required":["warn_at"],"#,
///         r#""additionalProperties":false,"description":"What the operator may set."}"#
///     )
/// );
/// ```
///
/// A value that is left out is `None`; an explicit `null` is refused.
#[diagnostic::on_unimplemented(
    message = "the configuration `{Self}` has no schema",
    label = "it is not a `witmq_sdk::Config`",
    note = "put `#[derive(serde::Deserialize, witmq_sdk::Config)]` on it, or use `witmq_sdk::NoConfig`"
)]
pub trait Config {
    /// Its schema.
    const SCHEMA: Schema;
}

/// A JSON Schema, as the derive makes it. `Display` writes it out.
#[derive(Clone, Copy, Debug)]
pub struct Schema {
    shape: Shape,
    minimum: &'static str,
    maximum: &'static str,
    /// More keywords, each with a comma before it.
    more: &'static str,
    /// A JSON string, or empty.
    description: &'static str,
    optional: bool,
}

/// What a schema describes. Names are JSON strings, with their quotes.
#[derive(Clone, Copy, Debug)]
enum Shape {
    /// `{}`
    Anything,
    Number(&'static str),
    Text,
    Boolean,
    List(&'static Schema),
    Map(&'static Schema),
    Object {
        fields: &'static [Field],
        is_open: bool,
    },
    Constant(&'static str),
    Names(&'static [&'static str]),
    OneOf(&'static [Schema]),
}

/// A member of an object.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct Field {
    name: &'static str,
    schema: Schema,
    is_required: bool,
}

impl Field {
    /// `name` is a JSON string.
    #[must_use]
    pub const fn new(name: &'static str, schema: Schema, has_default: bool) -> Self {
        Self {
            name,
            schema,
            is_required: !has_default && !schema.optional,
        }
    }
}

/// What the derive calls.
#[doc(hidden)]
impl Schema {
    const fn new(shape: Shape) -> Self {
        Self {
            shape,
            minimum: "",
            maximum: "",
            more: "",
            description: "",
            optional: false,
        }
    }

    const fn integer(minimum: &'static str, maximum: &'static str) -> Self {
        Self {
            minimum,
            maximum,
            ..Self::new(Shape::Number("integer"))
        }
    }

    #[must_use]
    pub const fn object(fields: &'static [Field], is_open: bool) -> Self {
        Self::new(Shape::Object { fields, is_open })
    }

    #[must_use]
    pub const fn constant(value: &'static str) -> Self {
        Self::new(Shape::Constant(value))
    }

    #[must_use]
    pub const fn names(names: &'static [&'static str]) -> Self {
        Self::new(Shape::Names(names))
    }

    #[must_use]
    pub const fn one_of(schemas: &'static [Self]) -> Self {
        Self::new(Shape::OneOf(schemas))
    }

    /// `text` is a JSON string; empty leaves the type's own description.
    #[must_use]
    pub const fn description(mut self, text: &'static str) -> Self {
        if !text.is_empty() {
            self.description = text;
        }
        self
    }

    #[must_use]
    pub const fn minimum(mut self, number: &'static str) -> Self {
        assert!(
            matches!(self.shape, Shape::Number(_)),
            "`minimum` is for numbers"
        );
        self.minimum = number;
        self
    }

    #[must_use]
    pub const fn maximum(mut self, number: &'static str) -> Self {
        assert!(
            matches!(self.shape, Shape::Number(_)),
            "`maximum` is for numbers"
        );
        self.maximum = number;
        self
    }

    /// Keywords of strings.
    #[must_use]
    pub const fn text(mut self, more: &'static str) -> Self {
        assert!(
            matches!(self.shape, Shape::Text),
            "`min_length`, `max_length`, `pattern` and `secret` are for texts"
        );
        self.more = more;
        self
    }

    /// Keywords of arrays.
    #[must_use]
    pub const fn items(mut self, more: &'static str) -> Self {
        assert!(
            matches!(self.shape, Shape::List(_)),
            "`min_items` and `max_items` are for lists"
        );
        self.more = more;
        self
    }

    const fn optional(mut self) -> Self {
        self.optional = true;
        self
    }
}

/// Constant text, counted (`N` is 0) or written.
#[doc(hidden)]
#[derive(Debug)]
pub struct Writer<const N: usize> {
    bytes: [u8; N],
    length: usize,
}

impl<const N: usize> Writer<N> {
    /// Nothing yet.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "constant")]
    pub const fn new() -> Self {
        Self {
            bytes: [0; N],
            length: 0,
        }
    }

    /// How long the text is.
    #[must_use]
    pub const fn length(&self) -> usize {
        self.length
    }

    /// The text; `N` is its length.
    #[must_use]
    pub const fn finish(self) -> [u8; N] {
        assert!(
            self.length == N,
            "the text has another length than was counted"
        );
        self.bytes
    }

    /// Adds text as it is.
    #[must_use]
    pub const fn text(mut self, text: &str) -> Self {
        let text = text.as_bytes();
        let mut at = 0;
        while at < text.len() {
            if self.length < N {
                self.bytes[self.length] = text[at];
            }
            self.length += 1;
            at += 1;
        }
        self
    }

    /// Adds a schema.
    #[must_use]
    pub const fn schema(self, schema: &Schema) -> Self {
        let mut out = self.text("{");
        let before = out.length;
        out = out.shape(&schema.shape);
        if !schema.minimum.is_empty() {
            out = out.text(",\"minimum\":").text(schema.minimum);
        }
        if !schema.maximum.is_empty() {
            out = out.text(",\"maximum\":").text(schema.maximum);
        }
        out = out.text(schema.more);
        if !schema.description.is_empty() {
            let comma = if out.length == before { "" } else { "," };
            out = out
                .text(comma)
                .text("\"description\":")
                .text(schema.description);
        }
        out.text("}")
    }

    const fn shape(self, shape: &Shape) -> Self {
        match shape {
            Shape::Anything => self,
            Shape::Number(kind) => self.text("\"type\":\"").text(kind).text("\""),
            Shape::Text => self.text("\"type\":\"string\""),
            Shape::Boolean => self.text("\"type\":\"boolean\""),
            Shape::List(items) => self.text("\"type\":\"array\",\"items\":").schema(items),
            Shape::Map(values) => self
                .text("\"type\":\"object\",\"additionalProperties\":")
                .schema(values),
            Shape::Object { fields, is_open } => self.object(fields, *is_open),
            Shape::Constant(value) => self.text("\"const\":").text(value),
            Shape::Names(names) => {
                let mut out = self.text("\"enum\":[");
                let mut at = 0;
                while at < names.len() {
                    out = out.text(if at == 0 { "" } else { "," }).text(names[at]);
                    at += 1;
                }
                out.text("]")
            }
            Shape::OneOf(schemas) => {
                let mut out = self.text("\"oneOf\":[");
                let mut at = 0;
                while at < schemas.len() {
                    out = out
                        .text(if at == 0 { "" } else { "," })
                        .schema(&schemas[at]);
                    at += 1;
                }
                out.text("]")
            }
        }
    }

    const fn object(self, fields: &[Field], is_open: bool) -> Self {
        let mut out = self.text("\"type\":\"object\",\"properties\":{");
        let mut at = 0;
        while at < fields.len() {
            out = out
                .text(if at == 0 { "" } else { "," })
                .text(fields[at].name)
                .text(":")
                .schema(&fields[at].schema);
            at += 1;
        }
        out = out.text("}");
        let (mut at, mut count) = (0, 0);
        while at < fields.len() {
            if fields[at].is_required {
                out = out
                    .text(if count == 0 { ",\"required\":[" } else { "," })
                    .text(fields[at].name);
                count += 1;
            }
            at += 1;
        }
        out.text(if count == 0 { "" } else { "]" })
            .text(if is_open {
                ""
            } else {
                ",\"additionalProperties\":false"
            })
    }
}

/// The same as the constant writer makes, at run time.
impl fmt::Display for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let out = Writer::<DISPLAY_BYTES>::new().schema(self);
        let text = out.bytes.get(..out.length).unwrap_or(&out.bytes);
        f.write_str(std::str::from_utf8(text).map_err(|_| fmt::Error)?)
    }
}

/// Most that `Display` writes of a schema; the manifest's is of any length.
const DISPLAY_BYTES: usize = 16 * 1024;

macro_rules! schema {
    ($($type:ty: $schema:expr),+ $(,)?) => {
        $(impl Config for $type { const SCHEMA: Schema = $schema; })+
    };
}

schema! {
    bool: Schema::new(Shape::Boolean),
    String: Schema::new(Shape::Text),
    f32: Schema::new(Shape::Number("number")),
    f64: Schema::new(Shape::Number("number")),
    u8: Schema::integer("0", "255"),
    u16: Schema::integer("0", "65535"),
    u32: Schema::integer("0", "4294967295"),
    u64: Schema::integer("0", "18446744073709551615"),
    usize: Schema::integer("0", "4294967295"),
    i8: Schema::integer("-128", "127"),
    i16: Schema::integer("-32768", "32767"),
    i32: Schema::integer("-2147483648", "2147483647"),
    i64: Schema::integer("-9223372036854775808", "9223372036854775807"),
    std::num::NonZeroU8: Schema::integer("1", "255"),
    std::num::NonZeroU16: Schema::integer("1", "65535"),
    std::num::NonZeroU32: Schema::integer("1", "4294967295"),
    std::num::NonZeroU64: Schema::integer("1", "18446744073709551615"),
    serde_json::Value: Schema::new(Shape::Anything),
    serde_json::Map<String, serde_json::Value>: Schema::object(&[], true),
}

impl<T: Config> Config for Option<T> {
    const SCHEMA: Schema = T::SCHEMA.optional();
}

impl<T: Config> Config for Box<T> {
    const SCHEMA: Schema = T::SCHEMA;
}

impl<T: Config> Config for Vec<T> {
    const SCHEMA: Schema = Schema::new(Shape::List(&T::SCHEMA));
}

impl<T: Config> Config for BTreeMap<String, T> {
    const SCHEMA: Schema = Schema::new(Shape::Map(&T::SCHEMA));
}

impl<T: Config, S> Config for HashMap<String, T, S> {
    const SCHEMA: Schema = Schema::new(Shape::Map(&T::SCHEMA));
}
