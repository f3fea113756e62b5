//! The JSON Schema of a chain file, for editors and for whoever writes chains by program.
//!
//! Must not: say less than `file` refuses by shape. What only a compiler sees (expressions, names) is not in it.

use crate::payload::Format;
use crate::step::WORDS;
use serde_json::{Map, Value as Json, json};

/// The schema as `witmq rule schema` prints it, and as it is in `host/docs/chain.schema.json`.
#[must_use]
pub fn schema() -> String {
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A chain of WitMQ",
        "type": "object",
        "required": ["from", "step"],
        "additionalProperties": false,
        "properties": {
            "from": {
                "description": "Topic with names, or a list of them with the same names",
                "oneOf": [text("Topic"), {"type": "array", "minItems": 1, "maxItems": 16, "items": text("Topic")}],
            },
            "mode": {"enum": ["rule", "transform"], "default": "rule"},
            "order": {"type": "integer", "default": 0},
            "description": {"type": "string"},
            "enabled": {"type": "boolean", "default": true},
            "decode": format("How payloads are read", &["sparkplug-b"]),
            "encode": format("How changed payloads are written", &[]),
            "on_error": on_error(),
            "step": steps(),
            "chain": {
                "description": "Named chains",
                "type": "object",
                "propertyNames": {"pattern": "^[A-Za-z0-9_-]{1,64}$"},
                "additionalProperties": {
                    "type": "object",
                    "required": ["step"],
                    "additionalProperties": false,
                    "properties": {"step": steps()},
                },
            },
            "table": tables("Constants by table and key, for lookup"),
            "test": {"type": "array", "items": {"$ref": "#/$defs/test"}},
        },
        "$defs": {
            "cel": {"type": "string", "maxLength": 4096, "description": "An expression (CEL)"},
            "step": step(),
            "test": test(),
            "given": given(),
            "expected": expected(),
        },
    });
    format!("{schema:#}\n")
}

fn text(description: &str) -> Json {
    json!({"type": "string", "description": description})
}

fn cel() -> Json {
    json!({"$ref": "#/$defs/cel"})
}

fn or_cel(known: Json) -> Json {
    json!({"oneOf": [known, cel()]})
}

fn format(description: &str, more: &[&str]) -> Json {
    let names = Format::WORDS.each_ref().map(Format::name);
    let words = names.iter().chain(more).collect::<Vec<_>>();
    let protobuf = json!({
        "type": "object",
        "required": ["protobuf", "message"],
        "additionalProperties": false,
        "properties": {
            "protobuf": text("FileDescriptorSet with its imports, in base64"),
            "message": text("Full name of the message"),
        },
    });
    json!({"description": description, "oneOf": [{"enum": words}, protobuf], "default": "auto"})
}

fn on_error() -> Json {
    json!({"enum": ["refuse", "stop", "continue", "dead-letter"]})
}

fn steps() -> Json {
    json!({"type": "array", "minItems": 1, "maxItems": 64, "items": {"$ref": "#/$defs/step"}})
}

fn tables(description: &str) -> Json {
    json!({
        "description": description,
        "type": "object",
        "additionalProperties": {"type": "object"},
    })
}

fn excess() -> Json {
    json!({"enum": ["stop", "drop", "refuse"], "default": "stop"})
}

fn table(required: &[&str], properties: &Json) -> Json {
    json!({
        "type": "object",
        "required": required,
        "additionalProperties": false,
        "properties": properties,
    })
}

fn step() -> Json {
    let mut owners = Map::new();
    for word in WORDS {
        for key in word.keys {
            let is_word = WORDS.iter().any(|word| word.word == *key);
            if !is_word {
                owners.insert((*key).to_owned(), json!([word.word]));
            }
        }
    }
    owners.insert("when".to_owned(), json!(["then"]));
    let kinds = WORDS.iter().map(|word| match word.word {
        "delete" => json!({"required": ["delete"], "not": {"required": ["set"]}}),
        word => json!({"required": [word]}),
    });
    let mut step = table(&[], &step_properties());
    step["oneOf"] = kinds.collect();
    step["dependentRequired"] = Json::Object(owners);
    step
}

fn step_properties() -> Json {
    json!({
        "filter": cel(),
        "set": {"type": "object", "additionalProperties": cel()},
        "delete": {"type": "array", "items": text("Path of a field, or $user.NAME")},
        "when": cel(),
        "then": text("Name of a chain of this file"),
        "foreach": cel(),
        "as": {"type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]*$", "default": "item"},
        "plugin": text("Name of a plugin"),
        "sink": text("Name of a plugin with a sink"),
        "dedup": table(&["key", "for"], &json!({
            "key": cel(), "for": text("A time, as in 10m"), "excess": excess(),
        })),
        "rate": table(&["limit", "per"], &json!({
            "key": cel(),
            "limit": {"type": "integer", "minimum": 0, "maximum": u32::MAX},
            "per": text("A time, as in 1s"),
            "excess": excess(),
        })),
        "changed": table(&["value"], &json!({
            "key": cel(),
            "value": cel(),
            "by": {"type": "number"},
            "at_least": text("A time, as in 1h"),
            "initial": {},
            "excess": excess(),
        })),
        "window": table(&[], &json!({
            "key": cel(),
            "count": {"type": "integer", "minimum": 0},
            "time": text("A time, as in 5m"),
            "every": text("A time, as in 1m"),
            "sliding": {"type": "boolean", "default": false},
            "value": cel(),
            "values": {"type": "object", "additionalProperties": cel()},
            "excess": excess(),
        })),
        "lookup": table(&["table", "key", "as"], &json!({
            "table": text("Name of a table"),
            "key": cel(),
            "as": text("Name of what is found"),
            "default": {},
        })),
        "store": table(&["table", "key", "value"], &json!({
            "table": text("Name of a table"), "key": cel(), "value": cel(),
        })),
        "publish": text("Topic with names and expressions in braces"),
        "payload": cel(),
        "qos": or_cel(json!({"enum": [0, 1, 2]})),
        "retain": or_cel(json!({"type": "boolean"})),
        "expiry": or_cel(json!({"type": "integer", "minimum": 0, "maximum": u32::MAX})),
        "content_type": text("Text with names and expressions in braces"),
        "response_topic": text("Topic with names and expressions in braces"),
        "user": {"type": "object", "additionalProperties": cel()},
        "on_error": on_error(),
    })
}

fn test() -> Json {
    let given = json!({"$ref": "#/$defs/given"});
    table(
        &["name", "given", "expect"],
        &json!({
            "name": {"type": "string"},
            "given": {"oneOf": [given, {"type": "array", "items": given}]},
            "expect": {"type": "array", "items": {"$ref": "#/$defs/expected"}},
            "stub": {"type": "object", "description": "Payloads that plugins answer with"},
            "tables": tables("What tables hold"),
            "until_ms": {"type": "integer", "minimum": 0},
        }),
    )
}

fn given() -> Json {
    table(
        &["topic", "payload"],
        &json!({
            "topic": {"type": "string"},
            "payload": {},
            "qos": {"enum": [0, 1, 2], "default": 0},
            "retain": {"type": "boolean", "default": false},
            "received_ms": {"type": "integer", "minimum": 0, "default": 0},
            "seed": {"type": "integer", "minimum": 0, "default": 0},
        }),
    )
}

fn expected() -> Json {
    table(
        &[],
        &json!({"sink": {"type": "string"}, "topic": {"type": "string"}, "payload": {}}),
    )
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::file::{
        Changed, Dedup, Expected, File, Given, Lookup, Rate, Step, Store, Test, Window,
    };
    use jsonschema::Validator;
    use serde::de::DeserializeOwned;
    use std::collections::BTreeSet;
    use std::path::Path;
    use std::sync::LazyLock;

    static VALIDATOR: LazyLock<Validator> = LazyLock::new(|| {
        let schema: Json = serde_json::from_str(&schema()).unwrap();
        jsonschema::validator_for(&schema).unwrap()
    });

    fn errors(file: &str) -> Vec<String> {
        let value: toml::Value = toml::from_str(file).unwrap();
        let value = serde_json::to_value(value).unwrap();
        let errors = VALIDATOR.iter_errors(&value);
        errors.map(|error| error.to_string()).collect()
    }

    /// A file that is deployed is valid.
    pub(crate) fn assert_valid(file: &str) {
        let errors = errors(file);
        assert!(errors.is_empty(), "{errors:?} in\n{file}");
    }

    fn docs() -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs")
    }

    /// Write it anew with `witmq rule schema > host/docs/chain.schema.json`.
    #[test]
    fn the_schema_is_the_committed_one() {
        let committed = std::fs::read_to_string(docs().join("chain.schema.json")).unwrap();
        let json = |text: &str| serde_json::from_str::<Json>(text).unwrap();
        assert_eq!(json(&committed), json(&schema()));
    }

    #[test]
    fn examples_and_documented_chains_are_valid() {
        let mut texts = Vec::new();
        for entry in std::fs::read_dir(docs().join("../../examples/chains")).unwrap() {
            texts.push(std::fs::read_to_string(entry.unwrap().path()).unwrap());
        }
        let page = std::fs::read_to_string(docs().join("chains.md")).unwrap();
        for block in page.split("```toml\n").skip(1) {
            let text = block.split("```").next().unwrap();
            if !text.contains("from = ") {
                continue; // a part of a file
            }
            crate::check("documented.toml", text).unwrap_or_else(|error| panic!("{error}"));
            texts.push(text.to_owned());
        }
        assert!(texts.len() >= 6, "{}", texts.len());
        texts.iter().for_each(|text| assert_valid(text));
    }

    #[test]
    fn what_the_shape_refuses_is_not_valid() {
        for bad in [
            "from = []\nstep = [{ filter = 'true' }]",
            "from = 'a'",
            "from = 'a'\nstep = []",
            "from = 'a'\nstep = [{}]",
            "from = 'a'\nstep = [{ filter = 'true', publish = 'b' }]",
            "from = 'a'\nstep = [{ filter = 'true', qos = 1 }]",
            "from = 'a'\nstep = [{ publish = 'b', qos = 3 }]",
            "from = 'a'\nstep = [{ when = 'true' }]",
            "from = 'a'\ndecode = 'yaml'\nstep = [{ filter = 'true' }]",
            "from = 'a'\nform = 'b'\nstep = [{ filter = 'true' }]",
        ] {
            assert!(!errors(bad).is_empty(), "{bad}");
        }
    }

    /// Keys that the file has, as serde tells them.
    fn keys<T: DeserializeOwned>() -> BTreeSet<String> {
        let error = toml::from_str::<T>("no-such-key = 1").err().unwrap();
        let message = error.message().to_owned();
        assert!(message.starts_with("unknown field"), "{message}");
        let names = message.split('`').skip(3).step_by(2);
        names.map(str::to_owned).collect()
    }

    #[test]
    fn the_schema_has_every_key_and_no_other() {
        let schema: Json = serde_json::from_str(&schema()).unwrap();
        let step = "/$defs/step/properties";
        let nested = |name: &str| format!("{step}/{name}/properties");
        for (at, keys) in [
            ("/properties".to_owned(), keys::<File>()),
            (step.to_owned(), keys::<Step>()),
            (nested("dedup"), keys::<Dedup>()),
            (nested("rate"), keys::<Rate>()),
            (nested("changed"), keys::<Changed>()),
            (nested("window"), keys::<Window>()),
            (nested("lookup"), keys::<Lookup>()),
            (nested("store"), keys::<Store>()),
            ("/$defs/test/properties".to_owned(), keys::<Test>()),
            ("/$defs/given/properties".to_owned(), keys::<Given>()),
            ("/$defs/expected/properties".to_owned(), keys::<Expected>()),
        ] {
            let known = schema.pointer(&at).unwrap().as_object().unwrap();
            let known: BTreeSet<String> = known.keys().cloned().collect();
            assert_eq!(known, keys, "{at}");
        }
    }
}
