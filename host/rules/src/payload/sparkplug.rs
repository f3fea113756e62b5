//! Payloads of Sparkplug B: its schema, built here, and its metrics with the one value each has.
//! Must not: know what a birth said; a metric that has an alias alone stays so.

use super::protobuf::Schema;
use prost_reflect::DescriptorPool;
use prost_reflect::prost_types::field_descriptor_proto::{Label, Type};
use prost_reflect::prost_types::{
    DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet,
};
use serde_json::{Map, Value as Json};
use std::sync::OnceLock;

/// Name, number, type.
type Field = (&'static str, i32, &'static str);

/// Messages with their fields: name, number, and type; `*` is a list of, a capital a message.
const MESSAGES: [(&str, &[Field]); 11] = [
    (
        "Payload",
        &[
            ("timestamp", 1, "u64"),
            ("metrics", 2, "*Metric"),
            ("seq", 3, "u64"),
            ("uuid", 4, "text"),
            ("body", 5, "bytes"),
        ],
    ),
    (
        "Metric",
        &[
            ("name", 1, "text"),
            ("alias", 2, "u64"),
            ("timestamp", 3, "u64"),
            ("datatype", 4, "u32"),
            ("is_historical", 5, "bool"),
            ("is_transient", 6, "bool"),
            ("is_null", 7, "bool"),
            ("metadata", 8, "MetaData"),
            ("properties", 9, "PropertySet"),
            ("int_value", 10, "u32"),
            ("long_value", 11, "u64"),
            ("float_value", 12, "float"),
            ("double_value", 13, "double"),
            ("boolean_value", 14, "bool"),
            ("string_value", 15, "text"),
            ("bytes_value", 16, "bytes"),
            ("dataset_value", 17, "DataSet"),
            ("template_value", 18, "Template"),
        ],
    ),
    (
        "MetaData",
        &[
            ("is_multi_part", 1, "bool"),
            ("content_type", 2, "text"),
            ("size", 3, "u64"),
            ("seq", 4, "u64"),
            ("file_name", 5, "text"),
            ("file_type", 6, "text"),
            ("md5", 7, "text"),
            ("description", 8, "text"),
        ],
    ),
    (
        "PropertySet",
        &[("keys", 1, "*text"), ("values", 2, "*PropertyValue")],
    ),
    ("PropertySetList", &[("propertyset", 1, "*PropertySet")]),
    (
        "PropertyValue",
        &[
            ("type", 1, "u32"),
            ("is_null", 2, "bool"),
            ("int_value", 3, "u32"),
            ("long_value", 4, "u64"),
            ("float_value", 5, "float"),
            ("double_value", 6, "double"),
            ("boolean_value", 7, "bool"),
            ("string_value", 8, "text"),
            ("propertyset_value", 9, "PropertySet"),
            ("propertysets_value", 10, "PropertySetList"),
        ],
    ),
    (
        "DataSet",
        &[
            ("num_of_columns", 1, "u64"),
            ("columns", 2, "*text"),
            ("types", 3, "*u32"),
            ("rows", 4, "*Row"),
        ],
    ),
    ("Row", &[("elements", 1, "*DataSetValue")]),
    (
        "DataSetValue",
        &[
            ("int_value", 1, "u32"),
            ("long_value", 2, "u64"),
            ("float_value", 3, "float"),
            ("double_value", 4, "double"),
            ("boolean_value", 5, "bool"),
            ("string_value", 6, "text"),
        ],
    ),
    (
        "Template",
        &[
            ("version", 1, "text"),
            ("metrics", 2, "*Metric"),
            ("parameters", 3, "*Parameter"),
            ("template_ref", 4, "text"),
            ("is_definition", 5, "bool"),
        ],
    ),
    (
        "Parameter",
        &[
            ("name", 1, "text"),
            ("type", 2, "u32"),
            ("int_value", 3, "u32"),
            ("long_value", 4, "u64"),
            ("float_value", 5, "float"),
            ("double_value", 6, "double"),
            ("boolean_value", 7, "bool"),
            ("string_value", 8, "text"),
        ],
    ),
];

/// Datatypes by their numbers; arrays are bytes here.
const DATATYPES: [&str; 35] = [
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

fn field(&(name, number, of): &(&str, i32, &str)) -> FieldDescriptorProto {
    let (label, of) = match of.strip_prefix('*') {
        Some(of) => (Label::Repeated, of),
        None => (Label::Optional, of),
    };
    let kind = match of {
        "u32" => Type::Uint32,
        "u64" => Type::Uint64,
        "float" => Type::Float,
        "double" => Type::Double,
        "bool" => Type::Bool,
        "text" => Type::String,
        "bytes" => Type::Bytes,
        _ => Type::Message,
    };
    FieldDescriptorProto {
        name: Some(name.to_owned()),
        json_name: Some(name.to_owned()),
        number: Some(number),
        label: Some(label.into()),
        r#type: Some(kind.into()),
        type_name: (kind == Type::Message).then(|| format!(".sparkplug.{of}")),
        ..FieldDescriptorProto::default()
    }
}

/// The schema of a payload as it is on the wire; none only if the table above were wrong, which a test sees.
pub(crate) fn schema() -> Option<&'static Schema> {
    static SCHEMA: OnceLock<Option<Schema>> = OnceLock::new();
    let built = SCHEMA.get_or_init(|| {
        let messages = MESSAGES.iter().map(|(name, fields)| DescriptorProto {
            name: Some((*name).to_owned()),
            field: fields.iter().map(field).collect(),
            ..DescriptorProto::default()
        });
        let file = FileDescriptorProto {
            name: Some("sparkplug_b.proto".to_owned()),
            package: Some("sparkplug".to_owned()),
            message_type: messages.collect(),
            ..FileDescriptorProto::default()
        };
        let pool = DescriptorPool::from_file_descriptor_set(FileDescriptorSet { file: vec![file] });
        Schema::of(&pool.ok()?, "sparkplug.Payload").ok()
    });
    built.as_ref()
}

/// A payload as JSON: each metric with `value`, its `datatype` by name, and its properties by their keys.
pub(crate) fn read(payload: &[u8]) -> Result<Json, String> {
    let schema = schema().ok_or("its schema cannot be built")?;
    let mut json = schema.read(payload)?;
    metrics(&mut json)?;
    Ok(json)
}

fn metrics(of: &mut Json) -> Result<(), String> {
    let list = of.get_mut("metrics").and_then(Json::as_array_mut);
    for (at, metric) in list.into_iter().flatten().enumerate() {
        if let Some(metric) = metric.as_object_mut() {
            value(metric, "datatype").map_err(|error| format!("metric {at}: {error}"))?;
            if let Some(set) = metric.get_mut("properties") {
                properties(set).map_err(|error| format!("metric {at}: {error}"))?;
            }
        }
    }
    Ok(())
}

/// Puts `value` in the place of the field that the wire has for it.
fn value(of: &mut Map<String, Json>, type_name: &str) -> Result<(), String> {
    let datatype = of.get(type_name).and_then(Json::as_u64);
    let name = of.keys().find(|name| name.ends_with("_value")).cloned();
    let raw = name.and_then(|name| of.remove(&name));
    let is_null = of.remove("is_null").and_then(|is_null| is_null.as_bool()) == Some(true);
    let mut value = match raw.filter(|_| !is_null) {
        Some(raw) => typed(datatype.unwrap_or(0), raw)?,
        None => Json::Null,
    };
    metrics(&mut value)?; // of a template
    if value.get("keys").is_some() {
        properties(&mut value)?;
    }
    let known = datatype
        .and_then(|known| usize::try_from(known).ok())
        .and_then(|known| DATATYPES.get(known));
    if let Some(known) = known {
        of.insert(type_name.to_owned(), Json::from(*known));
    }
    of.insert("value".to_owned(), value);
    Ok(())
}

/// Signed integers are on the wire as what their bits are without a sign; some extend them to 32 bits, others do not.
fn typed(datatype: u64, raw: Json) -> Result<Json, String> {
    let Some(number) = raw.as_u64() else {
        return Ok(raw);
    };
    let bits = match datatype {
        1 => 8,
        2 => 16,
        3 => 32,
        4 => 64,
        _ => return Ok(raw),
    };
    let shift = 64 - bits;
    let signed = number.wrapping_shl(shift).cast_signed() >> shift;
    let is_it = number >> (bits - 1) <= 1 || signed.cast_unsigned() & 0xFFFF_FFFF == number;
    match is_it {
        true => Ok(Json::from(signed)),
        false => Err(format!("{number} is no integer of {bits} bits")),
    }
}

/// Keys and values, which the wire has in two lists, as an object.
fn properties(set: &mut Json) -> Result<(), String> {
    let mut take = |name| match set.get_mut(name).map(Json::take) {
        Some(Json::Array(list)) => list,
        _ => Vec::new(),
    };
    let (keys, values) = (take("keys"), take("values"));
    if keys.len() != values.len() {
        let (keys, values) = (keys.len(), values.len());
        return Err(format!(
            "it has {keys} keys of properties, and {values} values"
        ));
    }
    let mut named = Map::new();
    for (key, property) in keys.into_iter().zip(values) {
        let (Json::String(key), Json::Object(mut property)) = (key, property) else {
            continue;
        };
        value(&mut property, "type")?;
        named.insert(key, property.remove("value").unwrap_or(Json::Null));
    }
    *set = Json::Object(named);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn there_and_read(wire: &Json) -> Result<Json, String> {
        read(&schema().unwrap().write(wire).unwrap())
    }

    #[test]
    fn each_metric_has_its_one_value() {
        let wire = json!({"timestamp": 7, "seq": 1, "metrics": [
            {"name": "a", "datatype": 9, "float_value": 20.1},
            {"name": "b", "datatype": 1, "int_value": 0xFE},
            {"name": "c", "datatype": 1, "int_value": 0xFFFF_FFFE_u32},
            {"name": "d", "datatype": 4, "long_value": u64::MAX},
            {"name": "e", "datatype": 12, "is_null": true},
            {"alias": 3, "int_value": 5, "properties": {
                "keys": ["unit"], "values": [{"type": 12, "string_value": "C"}]}},
        ]});
        let expected = json!({"timestamp": 7, "seq": 1, "metrics": [
            {"name": "a", "datatype": "Float", "value": 20.1},
            {"name": "b", "datatype": "Int8", "value": -2},
            {"name": "c", "datatype": "Int8", "value": -2},
            {"name": "d", "datatype": "Int64", "value": -1},
            {"name": "e", "datatype": "String", "value": null},
            {"alias": 3, "value": 5, "properties": {"unit": "C"}},
        ]});
        assert_eq!(there_and_read(&wire), Ok(expected));
    }

    #[test]
    fn what_is_no_payload_is_told() {
        let wide = json!({"metrics": [{"name": "a", "datatype": 1, "int_value": 0x1FE}]});
        let error = there_and_read(&wide).unwrap_err();
        assert_eq!(error, "metric 0: 510 is no integer of 8 bits");
        let odd = json!({"metrics": [{"name": "a", "properties": {"keys": ["x"]}}]});
        assert!(there_and_read(&odd).unwrap_err().contains("1 keys"));
        assert!(read(&[0xFF]).is_err());
    }

    #[test]
    fn a_template_within_has_its_values_too() {
        let wire = json!({"metrics": [{"name": "t", "datatype": 19, "template_value": {
            "metrics": [{"name": "x", "datatype": 11, "boolean_value": true}]}}]});
        let read = there_and_read(&wire).unwrap();
        let inner = &read["metrics"][0]["value"]["metrics"][0];
        assert_eq!(
            inner,
            &json!({"name": "x", "datatype": "Boolean", "value": true})
        );
    }
}
