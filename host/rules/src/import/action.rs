//! Actions of a rule: `republish` becomes a `publish` step.
//! Must not: know statements.

use super::cel::text;
use super::output::Output;
use serde_json::Value as Json;

/// A `publish` step.
pub(super) struct Publish {
    pub(super) topic: String,
    /// CEL; the present payload without.
    pub(super) payload: Option<String>,
    pub(super) qos: Option<u64>,
    pub(super) retain: bool,
}

/// A part of a template.
enum Piece<'t> {
    Text(&'t str),
    /// `${a.b}`; `${.}` is empty.
    Path(Vec<&'t str>),
}

fn pieces(template: &str) -> Vec<Piece<'_>> {
    let (mut pieces, mut rest) = (Vec::new(), template);
    while let Some((before, behind)) = rest.split_once("${") {
        let Some((path, after)) = behind.split_once('}') else {
            break;
        };
        if !before.is_empty() {
            pieces.push(Piece::Text(before));
        }
        let names = path
            .split('.')
            .map(|name| name.trim_matches(['\'', '"', ' ']));
        pieces.push(Piece::Path(names.filter(|name| !name.is_empty()).collect()));
        rest = after;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest));
    }
    pieces
}

/// What a template names as CEL.
fn value(path: &[&str], output: &Output) -> Result<String, String> {
    if path.is_empty() {
        return Ok(output.written());
    }
    let found = output.template(path);
    found.ok_or_else(|| format!("`${{{}}}`, which is not selected,", path.join(".")))
}

/// A topic with expressions in braces.
fn topic(template: &str, output: &Output) -> Result<String, String> {
    let mut topic = String::new();
    for piece in pieces(template) {
        match piece {
            Piece::Text(text) if text.contains(['{', '}']) => {
                return Err(format!("braces in the topic `{template}`"));
            }
            Piece::Text(text) => topic.push_str(text),
            Piece::Path(path) => {
                let value = value(&path, output)?;
                if value.contains(['{', '}']) {
                    return Err(format!("`${{{}}}` in a topic", path.join(".")));
                }
                topic.push_str(&format!("{{{value}}}"));
            }
        }
    }
    Ok(topic)
}

/// A payload as CEL.
fn payload(template: &str, output: &Output, remarks: &mut Vec<String>) -> String {
    let mut known = |path: &[&str]| {
        value(path, output).unwrap_or_else(|lost| {
            remarks.push(format!("{lost} in a payload; `undefined` stands there"));
            text("undefined")
        })
    };
    let pieces = pieces(template);
    match &pieces[..] {
        [] => output.written(),
        [Piece::Path(path)] => known(path),
        pieces => {
            let parts = pieces.iter().map(|piece| match piece {
                Piece::Text(piece) => text(piece),
                Piece::Path(path) => format!("string({})", known(path)),
            });
            format!("concat({})", parts.collect::<Vec<_>>().join(", "))
        }
    }
}

/// The name of an action, if it is not `republish`.
fn other(action: &Json) -> Option<&str> {
    match action {
        Json::String(name) => Some(name),
        _ => match action.get("function").and_then(Json::as_str) {
            Some("republish") => None,
            Some(name) => Some(name),
            None => Some("without a name"),
        },
    }
}

/// A step for the action, and what is not carried over of it.
pub(super) fn publish(action: &Json, output: &Output) -> (Option<Publish>, Vec<String>) {
    let mut remarks = Vec::new();
    if let Some(name) = other(action) {
        let text = format!(
            "the action `{name}` is not there: write a `sink` or `plugin` step with a plugin that does it"
        );
        return (None, vec![text]);
    }
    let none = Json::Null;
    let args = action.get("args").unwrap_or(&none);
    let given = |key: &str| args.get(key).and_then(Json::as_str);
    let to = match given("topic") {
        Some(template) => topic(template, output),
        None => Err("a republish without a topic".to_owned()),
    };
    let to = match to {
        Ok(topic) => topic,
        Err(lost) => {
            remarks.push(format!(
                "{lost} is not carried over: this republish is left out"
            ));
            return (None, remarks);
        }
    };
    let (qos, retain) = options(args, &mut remarks);
    for key in ["mqtt_properties", "user_properties"] {
        let is_default = |given: &Json| {
            let text = given.as_str().unwrap_or_default();
            let is_none = given.as_object().is_some_and(serde_json::Map::is_empty);
            is_none
                || given.as_str().is_some() && (text.is_empty() || text.contains("User-Property"))
        };
        if args.get(key).is_some_and(|given| !is_default(given)) {
            remarks.push(format!(
                "the `{key}` of a republish; those of the message stay"
            ));
        }
    }
    let payload = payload(
        given("payload").unwrap_or("${payload}"),
        output,
        &mut remarks,
    );
    let publish = Publish {
        topic: to,
        payload: Some(payload),
        qos,
        retain,
    };
    (Some(publish), remarks)
}

/// Quality of service, none being that of the message, and `retain`.
fn options(args: &Json, remarks: &mut Vec<String>) -> (Option<u64>, bool) {
    let qos = match args.get("qos") {
        None => None,
        Some(Json::Number(number)) if number.as_u64().is_some_and(|qos| qos <= 2) => {
            number.as_u64()
        }
        Some(Json::String(text)) if text == "${qos}" => None,
        Some(other) => {
            remarks.push(format!("the qos {other}; that of the message is taken"));
            None
        }
    };
    let retain = match args.get("retain") {
        None => false,
        Some(Json::Bool(retain)) => *retain,
        Some(Json::String(text)) if text == "true" || text == "false" => text == "true",
        Some(other) => {
            remarks.push(format!("a retain that is computed ({other}); it is false"));
            false
        }
    };
    (qos, retain)
}
