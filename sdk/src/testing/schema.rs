//! A configuration against its schema: the keywords that `#[derive(Config)]` writes, but for `pattern`.

use serde_json::Value;

/// The first place where `value` does not fit, in words: `users[0].name: …`.
pub(super) fn check(schema: &Value, value: &Value) -> Result<(), String> {
    at("", schema, value)
}

fn at(path: &str, schema: &Value, value: &Value) -> Result<(), String> {
    let place = if path.is_empty() { "it" } else { path };
    let wrong = |text: String| Err(format!("{place}: {text}"));
    if let Some(wanted) = schema["type"].as_str()
        && !is_of(wanted, value)
    {
        return wrong(format!("expected {wanted}, not {value}"));
    }
    if let Some(names) = schema["enum"].as_array()
        && !names.contains(value)
    {
        return wrong(format!("expected one of {}, not {value}", schema["enum"]));
    }
    if let Some(constant) = schema.get("const")
        && constant != value
    {
        return wrong(format!("expected {constant}, not {value}"));
    }
    if let Some(choices) = schema["oneOf"].as_array() {
        let tried: Vec<_> = choices
            .iter()
            .map(|choice| at(path, choice, value))
            .collect();
        let fitting = tried.iter().filter(|result| result.is_ok()).count();
        if fitting != 1 {
            let errors: Vec<_> = tried.into_iter().filter_map(Result::err).collect();
            return wrong(format!(
                "fits {fitting} of the choices, not one: {}",
                errors.join("; ")
            ));
        }
    }
    for (keyword, size, unit) in [
        (
            "Length",
            value.as_str().map(|text| text.chars().count()),
            "characters",
        ),
        ("Items", value.as_array().map(Vec::len), "items"),
    ] {
        let bound = |which: &str| schema[format!("{which}{keyword}")].as_u64();
        let size = size.and_then(|size| u64::try_from(size).ok());
        if size
            .zip(bound("min"))
            .is_some_and(|(size, bound)| size < bound)
            || size
                .zip(bound("max"))
                .is_some_and(|(size, bound)| size > bound)
        {
            return wrong(format!(
                "has {} {unit}, which is out of bounds",
                size.unwrap_or(0)
            ));
        }
    }
    numbers(schema, value).or_else(wrong)?;
    members(path, schema, value)
}

fn is_of(wanted: &str, value: &Value) -> bool {
    match wanted {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        _ => false,
    }
}

fn numbers(schema: &Value, value: &Value) -> Result<(), String> {
    let Some(number) = value.as_f64() else {
        return Ok(());
    };
    let bound = |name: &str| schema[name].as_f64();
    if bound("minimum").is_some_and(|bound| number < bound) {
        return Err(format!("{value} is less than {}", schema["minimum"]));
    }
    if bound("maximum").is_some_and(|bound| number > bound) {
        return Err(format!("{value} is more than {}", schema["maximum"]));
    }
    Ok(())
}

fn members(path: &str, schema: &Value, value: &Value) -> Result<(), String> {
    if let (Some(items), Some(values)) = (schema.get("items"), value.as_array()) {
        for (index, value) in values.iter().enumerate() {
            at(&format!("{path}[{index}]"), items, value)?;
        }
    }
    let Some(object) = value.as_object() else {
        return Ok(());
    };
    let dot = if path.is_empty() { "" } else { "." };
    let required = schema["required"].as_array().into_iter().flatten();
    for name in required.filter_map(Value::as_str) {
        if !object.contains_key(name) {
            return Err(format!("{path}{dot}{name}: is missing"));
        }
    }
    for (name, value) in object {
        let path = format!("{path}{dot}{name}");
        match (
            schema["properties"].get(name),
            &schema["additionalProperties"],
        ) {
            (Some(member), _) => at(&path, member, value)?,
            (None, Value::Bool(false)) => return Err(format!("{path}: unknown field `{name}`")),
            (None, Value::Object(_)) => at(&path, &schema["additionalProperties"], value)?,
            _ => {}
        }
    }
    Ok(())
}
