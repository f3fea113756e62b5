//! Values by their datatypes.
//!
//! Owns: what the bytes of each datatype mean. Must not: know where a value stands.
//!
//! Implementations differ in which field of the wire they put an integer of up to 32 bits into, and in whether a negative
//! one of 8 or 16 bits is extended to 32; so each form is taken that leaves no doubt.

use crate::json::Json;
use crate::payload::{DataSet, Raw, texts};
use crate::wire::{Read, array, take};

/// Names of the datatypes, by their numbers.
const NAMES: [&str; 35] = [
    "Unknown",
    "Int8",
    "Int16",
    "Int32",
    "Int64",
    "UInt8",
    "UInt16",
    "UInt32",
    "UInt64",
    "Float",
    "Double",
    "Boolean",
    "String",
    "DateTime",
    "Text",
    "UUID",
    "DataSet",
    "Bytes",
    "File",
    "Template",
    "PropertySet",
    "PropertySetList",
    "Int8Array",
    "Int16Array",
    "Int32Array",
    "Int64Array",
    "UInt8Array",
    "UInt16Array",
    "UInt32Array",
    "UInt64Array",
    "FloatArray",
    "DoubleArray",
    "BooleanArray",
    "StringArray",
    "DateTimeArray",
];

/// The name of a datatype, if it is one.
pub(crate) fn name(datatype: u32) -> Option<&'static str> {
    NAMES.get(usize::try_from(datatype).ok()?).copied()
}

/// Writes a value. `datatype` is the one that was said or that the birth said; without one a value is what the wire says.
pub(crate) fn write(json: &mut Json, datatype: Option<u32>, value: Raw<'_>) -> Read<()> {
    let known = datatype.unwrap_or(0);
    match (known, value) {
        (1, raw) => signed(json, raw, 8),
        (2, raw) => signed(json, raw, 16),
        (3, raw) => signed(json, raw, 32),
        (4, raw) => signed(json, raw, 64),
        (5, raw) => unsigned(json, raw, 8),
        (6, raw) => unsigned(json, raw, 16),
        (7, raw) => unsigned(json, raw, 32),
        (8 | 13, raw) => unsigned(json, raw, 64),
        (9 | 10 | 0, Raw::Float(value)) => json.float(value),
        (9 | 10 | 0, Raw::Double(value)) => json.double(value),
        (11 | 0, Raw::Boolean(value)) => json.boolean(value),
        (12 | 14 | 15 | 0, Raw::Text(text)) => json.text(text),
        (16 | 0, Raw::DataSet(bytes)) => data_set(json, bytes),
        (17 | 18 | 0, Raw::Bytes(bytes)) => json.bytes(bytes),
        (19 | 0, Raw::Template(bytes)) => json.template(bytes),
        (20 | 0, Raw::PropertySet(bytes)) => json.properties(bytes),
        (21 | 0, Raw::PropertySets(bytes)) => json.property_sets(bytes),
        (22..=34, Raw::Bytes(bytes)) => items(json, known, bytes),
        (0, Raw::Int(value)) => json.integer(value.into()),
        (0, Raw::Long(value)) => json.integer(value.into()),
        (35.., _) => Err(format!("the datatype {known} is not known")),
        _ => Err(format!(
            "a value of the datatype {} is in the wrong field",
            name(known).unwrap_or_default()
        )),
    }
}

fn whole(raw: Raw<'_>) -> Read<u64> {
    match raw {
        Raw::Int(value) => Ok(value.into()),
        Raw::Long(value) => Ok(value),
        _ => Err("an integer is in the wrong field".to_owned()),
    }
}

fn unsigned(json: &mut Json, raw: Raw<'_>, bits: u32) -> Read<()> {
    let value = whole(raw)?;
    if bits < 64 && value >> bits != 0 {
        return Err(format!("{value} has more than {bits} bits"));
    }
    json.integer(value.into())
}

/// The low bits as a two's complement; the bits above them have to be their sign, or not be there.
fn signed(json: &mut Json, raw: Raw<'_>, bits: u32) -> Read<()> {
    let value = whole(raw)?;
    let rest = 64 - bits;
    let extended = (value << rest).cast_signed() >> rest;
    let low = value << rest >> rest;
    let is_within = value == low
        || value == extended.cast_unsigned()
        || value == extended.cast_unsigned() & u64::from(u32::MAX);
    if !is_within {
        return Err(format!("{value} has more than {bits} bits"));
    }
    json.integer(extended.into())
}

/// The items of an array, which are packed into bytes.
fn items(json: &mut Json, datatype: u32, bytes: &[u8]) -> Read<()> {
    match datatype {
        22 => packed(json, bytes, |json, item| {
            json.integer(i8::from_le_bytes(item).into())
        }),
        23 => packed(json, bytes, |json, item| {
            json.integer(i16::from_le_bytes(item).into())
        }),
        24 => packed(json, bytes, |json, item| {
            json.integer(i32::from_le_bytes(item).into())
        }),
        25 => packed(json, bytes, |json, item| {
            json.integer(i64::from_le_bytes(item).into())
        }),
        26 => packed(json, bytes, |json, item| {
            json.integer(u8::from_le_bytes(item).into())
        }),
        27 => packed(json, bytes, |json, item| {
            json.integer(u16::from_le_bytes(item).into())
        }),
        28 => packed(json, bytes, |json, item| {
            json.integer(u32::from_le_bytes(item).into())
        }),
        29 | 34 => packed(json, bytes, |json, item| {
            json.integer(u64::from_le_bytes(item).into())
        }),
        30 => packed(json, bytes, |json, item| {
            json.float(f32::from_le_bytes(item))
        }),
        31 => packed(json, bytes, |json, item| {
            json.double(f64::from_le_bytes(item))
        }),
        32 => booleans(json, bytes),
        _ => json.list(texts(bytes)?, |json, text| json.text(text)),
    }
}

fn packed<const N: usize>(
    json: &mut Json,
    bytes: &[u8],
    each: impl FnMut(&mut Json, [u8; N]) -> Read<()>,
) -> Read<()> {
    let (items, rest) = bytes.as_chunks::<N>();
    if !rest.is_empty() {
        return Err(format!(
            "an array of {} bytes has items of {N}",
            bytes.len()
        ));
    }
    json.list(items.iter().copied(), each)
}

/// How many there are, in four bytes, then eight in each byte, the highest bit first.
fn booleans(json: &mut Json, mut bytes: &[u8]) -> Read<()> {
    let count = u32::from_le_bytes(array(&mut bytes)?);
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let bits = take(&mut bytes, count.div_ceil(8))?;
    if !bytes.is_empty() {
        return Err(format!("an array of {count} booleans has bytes left"));
    }
    let bits = bits
        .iter()
        .flat_map(|byte| (0..8).map(move |at| byte & (0x80 >> at) != 0));
    json.list(bits.take(count), Json::boolean)
}

fn data_set(json: &mut Json, bytes: &[u8]) -> Read<()> {
    let set = DataSet::read(bytes)?;
    json.object(|members| {
        members
            .put("columns")?
            .list(&set.columns, |json, name| json.text(name))?;
        members
            .put("types")?
            .list(&set.types, |json, datatype| json.datatype(*datatype))?;
        members.put("rows")?.list(&set.rows, |json, row| {
            let cells = set.row(row)?;
            json.list(
                cells.into_iter().zip(&set.types),
                |json, (cell, datatype)| match cell {
                    Some(value) => write(json, Some(*datatype), value),
                    None => json.null(),
                },
            )
        })
    })
}
