//! The messages of Sparkplug B, read from the wire.
//!
//! Owns: which field number is what. Must not: know what a value means; that depends on a datatype.

use crate::wire::{Field, Fields, Read, take, varint};

/// Metrics of a payload.
pub(crate) const METRICS: usize = 20_000;

/// A payload as a whole.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Payload<'p> {
    pub(crate) timestamp: Option<u64>,
    pub(crate) metrics: Vec<Metric<'p>>,
    pub(crate) seq: Option<u64>,
    pub(crate) uuid: Option<&'p str>,
    pub(crate) body: Option<&'p [u8]>,
}

/// One metric.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Metric<'p> {
    pub(crate) name: Option<&'p str>,
    pub(crate) alias: Option<u64>,
    pub(crate) timestamp: Option<u64>,
    pub(crate) datatype: Option<u32>,
    pub(crate) is_historical: bool,
    pub(crate) is_transient: bool,
    pub(crate) is_null: bool,
    pub(crate) metadata: Option<&'p [u8]>,
    pub(crate) properties: Option<&'p [u8]>,
    pub(crate) value: Option<Raw<'p>>,
}

/// A value as the wire has it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Raw<'p> {
    Int(u32),
    Long(u64),
    Float(f32),
    Double(f64),
    Boolean(bool),
    Text(&'p str),
    Bytes(&'p [u8]),
    DataSet(&'p [u8]),
    Template(&'p [u8]),
    PropertySet(&'p [u8]),
    PropertySets(&'p [u8]),
}

impl<'p> Raw<'p> {
    /// The values that metrics, properties, parameters and cells have alike, by their place among them.
    fn scalar(place: u32, field: Field<'p>) -> Read<Option<Self>> {
        Ok(Some(match place {
            0 => Self::Int(field.small()?),
            1 => Self::Long(field.integer()?),
            2 => Self::Float(field.float()?),
            3 => Self::Double(field.double()?),
            4 => Self::Boolean(field.boolean()?),
            5 => Self::Text(field.text()?),
            _ => return Ok(None),
        }))
    }
}

/// Calls `each` with every field, and says of which one an error tells.
fn fields<'p>(bytes: &'p [u8], mut each: impl FnMut(u32, Field<'p>) -> Read<()>) -> Read<()> {
    for field in Fields(bytes) {
        let (number, field) = field?;
        each(number, field).map_err(|error| format!("field {number}: {error}"))?;
    }
    Ok(())
}

impl<'p> Payload<'p> {
    pub(crate) fn read(bytes: &'p [u8]) -> Read<Self> {
        let mut payload = Self::default();
        fields(bytes, |number, field| {
            match number {
                1 => payload.timestamp = Some(field.integer()?),
                2 if payload.metrics.len() == METRICS => {
                    return Err(format!("it has more than {METRICS} metrics"));
                }
                2 => {
                    let metric = Metric::read(field.bytes()?);
                    let at = payload.metrics.len();
                    let metric = metric.map_err(|error| format!("metric {at}: {error}"))?;
                    if metric.name.is_none() && metric.alias.is_none() {
                        return Err(format!("metric {at} has neither name nor alias"));
                    }
                    payload.metrics.push(metric);
                }
                3 => payload.seq = Some(field.integer()?),
                4 => payload.uuid = Some(field.text()?),
                5 => payload.body = Some(field.bytes()?),
                _ => {}
            }
            Ok(())
        })?;
        Ok(payload)
    }
}

impl<'p> Metric<'p> {
    pub(crate) fn read(bytes: &'p [u8]) -> Read<Self> {
        let mut metric = Self::default();
        fields(bytes, |number, field| {
            match number {
                1 => metric.name = Some(field.text()?),
                2 => metric.alias = Some(field.integer()?),
                3 => metric.timestamp = Some(field.integer()?),
                4 => metric.datatype = Some(field.small()?),
                5 => metric.is_historical = field.boolean()?,
                6 => metric.is_transient = field.boolean()?,
                7 => metric.is_null = field.boolean()?,
                8 => metric.metadata = Some(field.bytes()?),
                9 => metric.properties = Some(field.bytes()?),
                10..=15 => metric.value = Raw::scalar(number - 10, field)?,
                16 => metric.value = Some(Raw::Bytes(field.bytes()?)),
                17 => metric.value = Some(Raw::DataSet(field.bytes()?)),
                18 => metric.value = Some(Raw::Template(field.bytes()?)),
                19 => return Err("a value that is an extension is not known".to_owned()),
                _ => {}
            }
            Ok(())
        })?;
        Ok(metric)
    }
}

/// What a metric is besides its value.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct MetaData<'p> {
    pub(crate) is_multi_part: Option<bool>,
    /// Texts by their names: `content_type`, `file_name`, `file_type`, `md5`, `description`.
    pub(crate) texts: [(&'static str, Option<&'p str>); 5],
    pub(crate) size: Option<u64>,
    pub(crate) seq: Option<u64>,
}

impl<'p> MetaData<'p> {
    pub(crate) fn read(bytes: &'p [u8]) -> Read<Self> {
        let (mut is_multi_part, mut size, mut seq) = (None, None, None);
        let (mut content_type, mut file_name, mut file_type) = (None, None, None);
        let (mut md5, mut description) = (None, None);
        fields(bytes, |number, field| {
            match number {
                1 => is_multi_part = Some(field.boolean()?),
                2 => content_type = Some(field.text()?),
                3 => size = Some(field.integer()?),
                4 => seq = Some(field.integer()?),
                5 => file_name = Some(field.text()?),
                6 => file_type = Some(field.text()?),
                7 => md5 = Some(field.text()?),
                8 => description = Some(field.text()?),
                _ => {}
            }
            Ok(())
        })?;
        Ok(Self {
            is_multi_part,
            texts: [
                ("content_type", content_type),
                ("file_name", file_name),
                ("file_type", file_type),
                ("md5", md5),
                ("description", description),
            ],
            size,
            seq,
        })
    }
}

/// A property, or a parameter of a template, which has a name within.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Property<'p> {
    pub(crate) name: Option<&'p str>,
    pub(crate) datatype: Option<u32>,
    pub(crate) is_null: bool,
    pub(crate) value: Option<Raw<'p>>,
}

impl<'p> Property<'p> {
    fn read(bytes: &'p [u8]) -> Read<Self> {
        let mut property = Self::default();
        fields(bytes, |number, field| {
            match number {
                1 => property.datatype = Some(field.small()?),
                2 => property.is_null = field.boolean()?,
                3..=8 => property.value = Raw::scalar(number - 3, field)?,
                9 => property.value = Some(Raw::PropertySet(field.bytes()?)),
                10 => property.value = Some(Raw::PropertySets(field.bytes()?)),
                11 => return Err("a value that is an extension is not known".to_owned()),
                _ => {}
            }
            Ok(())
        })?;
        Ok(property)
    }

    fn read_parameter(bytes: &'p [u8]) -> Read<Self> {
        let mut parameter = Self::default();
        fields(bytes, |number, field| {
            match number {
                1 => parameter.name = Some(field.text()?),
                2 => parameter.datatype = Some(field.small()?),
                3..=8 => parameter.value = Raw::scalar(number - 3, field)?,
                9 => return Err("a value that is an extension is not known".to_owned()),
                _ => {}
            }
            Ok(())
        })?;
        Ok(parameter)
    }
}

/// Properties by their keys.
pub(crate) fn property_set(bytes: &[u8]) -> Read<Vec<Property<'_>>> {
    let (mut keys, mut values) = (Vec::new(), Vec::new());
    fields(bytes, |number, field| {
        match number {
            1 => keys.push(field.text()?),
            2 => values.push(Property::read(field.bytes()?)?),
            _ => {}
        }
        Ok(())
    })?;
    if keys.len() != values.len() {
        return Err(format!(
            "it has {} keys of properties, and {} values",
            keys.len(),
            values.len()
        ));
    }
    for (key, value) in keys.into_iter().zip(&mut values) {
        value.name = Some(key);
    }
    Ok(values)
}

/// The sets of a list of them.
pub(crate) fn property_sets(bytes: &[u8]) -> Read<Vec<&[u8]>> {
    let mut sets = Vec::new();
    fields(bytes, |number, field| {
        if number == 1 {
            sets.push(field.bytes()?);
        }
        Ok(())
    })?;
    Ok(sets)
}

/// A table.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct DataSet<'p> {
    pub(crate) columns: Vec<&'p str>,
    pub(crate) types: Vec<u32>,
    pub(crate) rows: Vec<&'p [u8]>,
}

impl<'p> DataSet<'p> {
    pub(crate) fn read(bytes: &'p [u8]) -> Read<Self> {
        let (mut set, mut count) = (Self::default(), None);
        fields(bytes, |number, field| {
            match (number, field) {
                (1, field) => count = Some(field.integer()?),
                (2, field) => set.columns.push(field.text()?),
                // Packed into one field, or each in one of its own.
                (3, Field::Bytes(mut packed)) => {
                    while !packed.is_empty() {
                        set.types.push(Field::Varint(varint(&mut packed)?).small()?);
                    }
                }
                (3, field) => set.types.push(field.small()?),
                (4, field) => set.rows.push(field.bytes()?),
                _ => {}
            }
            Ok(())
        })?;
        let columns = set.columns.len();
        let is_counted = count.is_none_or(|count| u64::try_from(columns) == Ok(count));
        if !is_counted || set.types.len() != columns {
            return Err(format!(
                "a data set of {} columns has {columns} names and {} types",
                count.unwrap_or_default(),
                set.types.len()
            ));
        }
        Ok(set)
    }

    /// The cells of a row, one for each column.
    pub(crate) fn row(&self, row: &'p [u8]) -> Read<Vec<Option<Raw<'p>>>> {
        let mut cells = Vec::new();
        fields(row, |number, field| {
            if number == 1 {
                cells.push(cell(field.bytes()?)?);
            }
            Ok(())
        })?;
        match cells.len() == self.columns.len() {
            true => Ok(cells),
            false => Err(format!(
                "a row of a data set has {} cells, and {} columns",
                cells.len(),
                self.columns.len()
            )),
        }
    }
}

fn cell(bytes: &[u8]) -> Read<Option<Raw<'_>>> {
    let mut value = None;
    fields(bytes, |number, field| {
        match number {
            1..=6 => value = Raw::scalar(number - 1, field)?,
            7 => return Err("a value that is an extension is not known".to_owned()),
            _ => {}
        }
        Ok(())
    })?;
    Ok(value)
}

/// A metric that is made of others.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Template<'p> {
    pub(crate) version: Option<&'p str>,
    pub(crate) metrics: Vec<Metric<'p>>,
    pub(crate) parameters: Vec<Property<'p>>,
    pub(crate) template_ref: Option<&'p str>,
    pub(crate) is_definition: Option<bool>,
}

impl<'p> Template<'p> {
    pub(crate) fn read(bytes: &'p [u8]) -> Read<Self> {
        let mut template = Self::default();
        fields(bytes, |number, field| {
            match number {
                1 => template.version = Some(field.text()?),
                2 if template.metrics.len() == METRICS => {
                    return Err(format!("a template has more than {METRICS} metrics"));
                }
                2 => template.metrics.push(Metric::read(field.bytes()?)?),
                3 if template.parameters.len() == METRICS => {
                    return Err(format!("a template has more than {METRICS} parameters"));
                }
                3 => template
                    .parameters
                    .push(Property::read_parameter(field.bytes()?)?),
                4 => template.template_ref = Some(field.text()?),
                5 => template.is_definition = Some(field.boolean()?),
                _ => {}
            }
            Ok(())
        })?;
        Ok(template)
    }
}

/// The items of a `StringArray`: texts that each end with a zero.
pub(crate) fn texts(mut bytes: &[u8]) -> Read<Vec<&str>> {
    let mut texts = Vec::new();
    while !bytes.is_empty() {
        let end = bytes.iter().position(|byte| *byte == 0);
        let text = take(&mut bytes, end.ok_or("a text of an array has no end")?)?;
        take(&mut bytes, 1)?;
        texts.push(std::str::from_utf8(text).map_err(|error| format!("it is no text: {error}"))?);
    }
    Ok(texts)
}
