//! JSON, written piece by piece into a bounded buffer.
//!
//! Owns: its form, its bound, and what of a payload is called how. Must not: know what a birth said.

use crate::config::Integers;
use crate::payload::{MetaData, Metric, Property, Template, property_set, property_sets};
use crate::value;
use crate::wire::Read;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use std::collections::BTreeSet;
use std::io::Write as _;

/// Bytes of what is made of one payload: a bit of a `BooleanArray` becomes six.
pub(crate) const OUTPUT_BYTES: usize = 2 * 1024 * 1024;
/// Templates within templates, property sets within property sets.
pub(crate) const LEVELS: usize = 16;
/// From here on a double no longer tells integers apart.
const EXACT: i128 = 1 << 53;

/// What is written so far.
pub(crate) struct Json {
    out: Vec<u8>,
    integers: Integers,
    levels: usize,
}

/// The members of an object.
pub(crate) struct Members<'j> {
    json: &'j mut Json,
    is_first: bool,
}

impl Members<'_> {
    /// Begins a member; its value comes next.
    pub(crate) fn put(&mut self, name: &str) -> Read<&mut Json> {
        if !std::mem::take(&mut self.is_first) {
            self.json.raw(",")?;
        }
        self.json.text(name)?;
        self.json.raw(":")?;
        Ok(self.json)
    }

    fn put_if<T>(
        &mut self,
        name: &str,
        value: Option<T>,
        write: impl FnOnce(&mut Json, T) -> Read<()>,
    ) -> Read<()> {
        match value {
            Some(value) => write(self.put(name)?, value),
            None => Ok(()),
        }
    }

    pub(crate) fn put_integer(&mut self, name: &str, value: Option<u64>) -> Read<()> {
        self.put_if(name, value, |json, value| json.integer(value.into()))
    }

    pub(crate) fn put_text(&mut self, name: &str, value: Option<&str>) -> Read<()> {
        self.put_if(name, value, Json::text)
    }

    pub(crate) fn put_bytes(&mut self, name: &str, value: Option<&[u8]>) -> Read<()> {
        self.put_if(name, value, Json::bytes)
    }

    fn put_boolean(&mut self, name: &str, value: Option<bool>) -> Read<()> {
        self.put_if(name, value, Json::boolean)
    }
}

impl Json {
    pub(crate) fn new(integers: Integers) -> Self {
        Self {
            out: Vec::new(),
            integers,
            levels: LEVELS,
        }
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.out
    }

    fn room(&self, bytes: usize) -> Read<()> {
        match self.out.len() + bytes {
            ..=OUTPUT_BYTES => Ok(()),
            _ => Err(format!("it would become more than {OUTPUT_BYTES} bytes")),
        }
    }

    fn raw(&mut self, text: &str) -> Read<()> {
        self.room(text.len())?;
        self.out.extend(text.as_bytes());
        Ok(())
    }

    fn display(&mut self, value: impl std::fmt::Display) -> Read<()> {
        self.room(0)?;
        write!(self.out, "{value}").map_err(|error| error.to_string())
    }

    pub(crate) fn null(&mut self) -> Read<()> {
        self.raw("null")
    }

    pub(crate) fn boolean(&mut self, value: bool) -> Read<()> {
        self.raw(if value { "true" } else { "false" })
    }

    pub(crate) fn integer(&mut self, value: i128) -> Read<()> {
        if self.integers == Integers::Text && !(-EXACT..=EXACT).contains(&value) {
            return self.display(format_args!("\"{value}\""));
        }
        self.display(value)
    }

    pub(crate) fn float(&mut self, value: f32) -> Read<()> {
        match value.is_finite() {
            true => self.serialize(&value),
            false => self.double(value.into()),
        }
    }

    /// JSON has no number for these three; the names are those of the JSON of Protocol Buffers.
    pub(crate) fn double(&mut self, value: f64) -> Read<()> {
        match value {
            f64::INFINITY => self.raw("\"Infinity\""),
            f64::NEG_INFINITY => self.raw("\"-Infinity\""),
            value if value.is_nan() => self.raw("\"NaN\""),
            value => self.serialize(&value),
        }
    }

    pub(crate) fn text(&mut self, text: &str) -> Read<()> {
        self.room(text.len() + 2)?;
        self.serialize(text)
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Read<()> {
        self.room(bytes.len())?;
        self.text(&BASE64_STANDARD.encode(bytes))
    }

    fn serialize<T: serde::Serialize + ?Sized>(&mut self, value: &T) -> Read<()> {
        self.room(0)?;
        serde_json::to_writer(&mut self.out, value).map_err(|error| error.to_string())
    }

    /// The name of a datatype; one that has none stays a number.
    pub(crate) fn datatype(&mut self, datatype: u32) -> Read<()> {
        match value::name(datatype) {
            Some(name) => self.text(name),
            None => self.integer(datatype.into()),
        }
    }

    pub(crate) fn list<T>(
        &mut self,
        items: impl IntoIterator<Item = T>,
        mut each: impl FnMut(&mut Self, T) -> Read<()>,
    ) -> Read<()> {
        self.raw("[")?;
        for (at, item) in items.into_iter().enumerate() {
            if at > 0 {
                self.raw(",")?;
            }
            each(self, item)?;
        }
        self.raw("]")
    }

    pub(crate) fn object(&mut self, fill: impl FnOnce(&mut Members<'_>) -> Read<()>) -> Read<()> {
        self.raw("{")?;
        fill(&mut Members {
            json: self,
            is_first: true,
        })?;
        self.raw("}")
    }

    /// What may be within itself.
    fn deeper(&mut self, write: impl FnOnce(&mut Self) -> Read<()>) -> Read<()> {
        let levels = self.levels.checked_sub(1);
        self.levels = levels.ok_or_else(|| format!("it has more than {LEVELS} levels"))?;
        write(self)?;
        self.levels += 1;
        Ok(())
    }

    /// The value of a metric or property, `null` if it has none.
    pub(crate) fn value(
        &mut self,
        datatype: Option<u32>,
        value: Option<crate::payload::Raw<'_>>,
        is_null: bool,
    ) -> Read<()> {
        match value.filter(|_| !is_null) {
            Some(value) => value::write(self, datatype, value),
            None => self.null(),
        }
    }

    /// A metric with all that is known of it; `name` and `datatype` may be those of the birth.
    pub(crate) fn metric(
        &mut self,
        metric: &Metric<'_>,
        name: Option<&str>,
        datatype: Option<u32>,
    ) -> Read<()> {
        self.object(|members| {
            members.put_text("name", name)?;
            members.put_integer("alias", metric.alias)?;
            members.put_integer("timestamp", metric.timestamp)?;
            members.put_if("datatype", datatype, Self::datatype)?;
            members
                .put("value")?
                .value(datatype, metric.value, metric.is_null)?;
            for (flag, is_set) in [
                ("is_historical", metric.is_historical),
                ("is_transient", metric.is_transient),
            ] {
                members.put_boolean(flag, is_set.then_some(true))?;
            }
            members.put_if("metadata", metric.metadata, Self::metadata)?;
            members.put_if("properties", metric.properties, Self::properties)
        })
    }

    fn metadata(&mut self, bytes: &[u8]) -> Read<()> {
        let metadata = MetaData::read(bytes)?;
        self.object(|members| {
            members.put_boolean("is_multi_part", metadata.is_multi_part)?;
            members.put_integer("size", metadata.size)?;
            members.put_integer("seq", metadata.seq)?;
            let mut texts = metadata.texts.into_iter();
            texts.try_for_each(|(name, text)| members.put_text(name, text))
        })
    }

    /// A property set: an object of its properties.
    pub(crate) fn properties(&mut self, bytes: &[u8]) -> Read<()> {
        let properties = property_set(bytes)?;
        let mut names = BTreeSet::new();
        self.deeper(|json| {
            json.object(|members| {
                for property in &properties {
                    let name = property.name.unwrap_or_default();
                    if !names.insert(name) {
                        return Err(format!("the property `{name}` is there twice"));
                    }
                    members.put(name)?.property(property)?;
                }
                Ok(())
            })
        })
    }

    fn property(&mut self, property: &Property<'_>) -> Read<()> {
        self.object(|members| {
            members.put_if("type", property.datatype, Self::datatype)?;
            let value = members.put("value")?;
            value.value(property.datatype, property.value, property.is_null)
        })
    }

    pub(crate) fn property_sets(&mut self, bytes: &[u8]) -> Read<()> {
        let sets = property_sets(bytes)?;
        self.list(sets, Self::properties)
    }

    pub(crate) fn template(&mut self, bytes: &[u8]) -> Read<()> {
        let template = Template::read(bytes)?;
        self.deeper(|json| {
            json.object(|members| {
                members.put_text("version", template.version)?;
                members.put_text("template_ref", template.template_ref)?;
                members.put_boolean("is_definition", template.is_definition)?;
                members
                    .put("metrics")?
                    .list(&template.metrics, |json, metric| {
                        json.metric(metric, metric.name, metric.datatype)
                    })?;
                if template.parameters.is_empty() {
                    return Ok(());
                }
                members
                    .put("parameters")?
                    .list(&template.parameters, |json, parameter| {
                        json.object(|members| {
                            members.put_text("name", parameter.name)?;
                            members.put_if("type", parameter.datatype, Self::datatype)?;
                            let value = members.put("value")?;
                            value.value(parameter.datatype, parameter.value, false)
                        })
                    })
            })
        })
    }
}
