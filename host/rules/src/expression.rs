//! CEL: compiled and checked at deploy, bounded, and with one kind of number.
//!
//! JSON does not say whether 20 is whole, and CEL does not mix whole and broken numbers. So every number that
//! enters an expression is a double, and so is every literal except an index. A chain that passes its test with
//! `20.0` then does the same when `20` comes.

use cel::objects::{Key, Map as CelMap};
use cel::{Context, Env, Program, Value};
use serde_json::Value as Json;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};

/// Bytes of an expression.
const SOURCE_BYTES: usize = 4096;
/// Operators, fields and brackets of an expression: the library recurses over them, and a shard's stack is 8 MiB.
const OPERATORS: usize = 96;
/// Levels of a JSON payload that are handed to an expression.
const JSON_DEPTH: usize = 64;
/// Bytes of an error kept.
const ERROR_BYTES: usize = 300;

/// Names an expression may use.
pub(crate) const VARIABLES: [&str; 6] =
    ["payload", "topic", "client", "qos", "retain", "received_ms"];
const FUNCTIONS: [&str; 22] = [
    "size",
    "contains",
    "startsWith",
    "endsWith",
    "matches",
    "has",
    "all",
    "exists",
    "exists_one",
    "map",
    "filter",
    "int",
    "uint",
    "double",
    "string",
    "bytes",
    "bool",
    "min",
    "max",
    "type",
    "timestamp",
    "duration",
];

/// A compiled expression.
pub(crate) struct Expression {
    pub(crate) source: String,
    program: Program,
}

impl std::fmt::Debug for Expression {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Expression").field(&self.source).finish()
    }
}

/// What is wrong with an expression, and at which byte of it.
pub(crate) struct Flaw {
    pub(crate) at: usize,
    pub(crate) message: String,
}

fn flaw(at: usize, message: impl Into<String>) -> Flaw {
    Flaw {
        at,
        message: message.into(),
    }
}

impl Expression {
    /// Compiles; `names` are what the chain's topic template captures.
    pub(crate) fn compile(source: &str, names: &[&str]) -> Result<Self, Flaw> {
        if source.len() > SOURCE_BYTES {
            return Err(flaw(
                0,
                format!("an expression is at most {SOURCE_BYTES} bytes long"),
            ));
        }
        check_depth(source)?;
        parse(source)?;
        let program = parse(&promote(source))?;
        check_names(source, &program, names)?;
        Ok(Self {
            source: source.to_owned(),
            program,
        })
    }

    /// Evaluates; errors are words for the operator.
    pub(crate) fn run(&self, context: &Context<'_, '_>) -> Result<Value, String> {
        // The library promises no freedom from panics; a panic here must not end a shard.
        match catch_unwind(AssertUnwindSafe(|| self.program.execute(context))) {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(shorten(&format!("`{}`: {error}", self.source))),
            Err(_) => Err(shorten(&format!(
                "`{}`: the expression library failed",
                self.source
            ))),
        }
    }
}

fn shorten(text: &str) -> String {
    text.get(..text.floor_char_boundary(ERROR_BYTES))
        .unwrap_or_default()
        .to_owned()
}

fn parse(source: &str) -> Result<Program, Flaw> {
    let parsed = catch_unwind(|| Program::compile(source));
    let errors = match parsed {
        Ok(Ok(program)) => return Ok(program),
        Ok(Err(errors)) => errors,
        Err(_) => return Err(flaw(0, "the expression cannot be parsed")),
    };
    let Some(first) = errors.errors.first() else {
        return Err(flaw(0, "the expression cannot be parsed"));
    };
    let line = usize::try_from(first.pos.0).unwrap_or(1).max(1);
    let column = usize::try_from(first.pos.1).unwrap_or(1).max(1);
    let start: usize = source
        .split_inclusive('\n')
        .take(line - 1)
        .map(str::len)
        .sum();
    let message = first.msg.lines().next().unwrap_or("it cannot be parsed");
    Err(flaw(
        (start + column - 1).min(source.len()),
        shorten(message),
    ))
}

/// Each operator, call, field and bracket is a level of recursion in the library, at worst.
fn check_depth(source: &str) -> Result<(), Flaw> {
    let mut count = 0usize;
    let mut quote = None;
    for (at, c) in source.char_indices() {
        match quote {
            Some(end) if c == end => quote = None,
            Some(_) => {}
            None if c == '"' || c == '\'' => quote = Some(c),
            None => count += usize::from("+-*/%<>=!&|?:.([{,".contains(c)),
        }
        if count > OPERATORS {
            let text = format!(
                "more than {OPERATORS} operators, fields and brackets; split it over several set steps"
            );
            return Err(flaw(at, text));
        }
    }
    Ok(())
}

/// Pieces of a source: names, and everything else; strings are skipped.
fn words(source: &str) -> Vec<(usize, &str)> {
    let mut words = Vec::new();
    let mut quote = None;
    let mut start = None;
    let mut is_escaped = false;
    for (at, c) in source.char_indices() {
        if let Some(end) = quote {
            if is_escaped {
                is_escaped = false;
            } else if c == '\\' {
                is_escaped = true;
            } else if c == end {
                quote = None;
            }
            continue;
        }
        let is_word = c.is_ascii_alphanumeric() || c == '_' || c == '.';
        match (is_word, start) {
            (true, None) => start = Some(at),
            (false, Some(from)) => {
                words.extend(source.get(from..at).map(|word| (from, word)));
                start = None;
            }
            _ => {}
        }
        if c == '"' || c == '\'' {
            quote = Some(c);
        }
    }
    words.extend(start.and_then(|from| source.get(from..).map(|word| (from, word))));
    words
}

/// Makes whole literals doubles, except an index in brackets.
fn promote(source: &str) -> String {
    let mut out = String::with_capacity(source.len() + 8);
    let mut copied = 0;
    for (at, word) in words(source) {
        let end = at + word.len();
        if !word.bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        let before = source.get(..at).unwrap_or_default().trim_end();
        let after = source.get(end..).unwrap_or_default().trim_start();
        let is_index = before.ends_with('[')
            && after.starts_with(']')
            && before
                .trim_end_matches('[')
                .trim_end()
                .ends_with(|c: char| c.is_alphanumeric() || "_])\"'".contains(c));
        out.push_str(source.get(copied..end).unwrap_or_default());
        if !is_index {
            out.push_str(".0");
        }
        copied = end;
    }
    out.push_str(source.get(copied..).unwrap_or_default());
    out
}

fn check_names(source: &str, program: &Program, names: &[&str]) -> Result<(), Flaw> {
    let references = program.references();
    let place = |name: &str| source.find(name).unwrap_or(0);
    for variable in references.variables() {
        let is_bound =
            variable.starts_with(['@', '_']) || source.contains(&format!("({variable},"));
        if is_bound || VARIABLES.contains(&variable) {
            continue;
        }
        let hint = if names.contains(&variable) {
            format!("; the name from the topic is `topic.{variable}`")
        } else {
            let like = crate::place::suggest(variable, VARIABLES);
            like.map(|like| format!("; did you mean `{like}`?"))
                .unwrap_or_default()
        };
        let known = VARIABLES.join(", ");
        return Err(flaw(
            place(variable),
            format!("`{variable}` is unknown{hint} (there are {known})"),
        ));
    }
    for function in references.functions() {
        let is_operator = !function.starts_with(|c: char| c.is_ascii_alphabetic());
        if is_operator || FUNCTIONS.contains(&function) {
            continue;
        }
        let like = crate::place::suggest(function, FUNCTIONS);
        let hint = like
            .map(|like| format!("; did you mean `{like}`?"))
            .unwrap_or_default();
        return Err(flaw(
            place(function),
            format!("there is no function `{function}`{hint}"),
        ));
    }
    for (at, word) in words(source) {
        let Some(name) = word
            .strip_prefix("topic.")
            .and_then(|rest| rest.split('.').next())
        else {
            continue;
        };
        if name != "name" && !names.contains(&name) {
            let mut known = names.to_vec();
            known.push("name");
            let like = crate::place::suggest(name, known.iter().copied());
            let hint = like
                .map(|like| format!("; did you mean `topic.{like}`?"))
                .unwrap_or_default();
            let text = format!(
                "`topic.{name}` is unknown{hint} (there are {})",
                known.join(", ")
            );
            return Err(flaw(at, text));
        }
    }
    Ok(())
}

/// The functions of CEL, made once.
pub(crate) fn context<'v>() -> Context<'static, 'v> {
    static ENV: OnceLock<Arc<Env>> = OnceLock::new();
    Context::with_env(ENV.get_or_init(|| Arc::new(Env::stdlib())).clone())
}

/// JSON for an expression: every number a double.
pub(crate) fn to_cel(json: &Json) -> Value {
    to_cel_within(json, JSON_DEPTH)
}

fn to_cel_within(json: &Json, depth: usize) -> Value {
    let Some(depth) = depth.checked_sub(1) else {
        return Value::Null;
    };
    match json {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(number) => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
        Json::String(text) => Value::String(Arc::new(text.clone())),
        Json::Array(items) => Value::List(Arc::new(
            items
                .iter()
                .map(|item| to_cel_within(item, depth))
                .collect(),
        )),
        Json::Object(fields) => {
            let entry = |(name, value): (&String, &Json)| {
                (Key::from(name.clone()), to_cel_within(value, depth))
            };
            let map: HashMap<Key, Value> = fields.iter().map(entry).collect();
            Value::Map(CelMap { map: Arc::new(map) })
        }
    }
}

/// A result as JSON; whole doubles stay doubles (`68.0`), as they were computed.
pub(crate) fn to_json(value: &Value) -> Result<Json, String> {
    to_json_within(value, JSON_DEPTH)
}

fn to_json_within(value: &Value, depth: usize) -> Result<Json, String> {
    let depth = depth
        .checked_sub(1)
        .ok_or("the result is nested too deeply")?;
    Ok(match value {
        Value::Null => Json::Null,
        Value::Bool(value) => Json::Bool(*value),
        Value::Int(number) => Json::from(*number),
        Value::UInt(number) => Json::from(*number),
        Value::Float(number) => serde_json::Number::from_f64(*number)
            .map(Json::Number)
            .ok_or("the result is no finite number")?,
        Value::String(text) => Json::String(text.to_string()),
        Value::List(items) => Json::Array(
            items
                .iter()
                .map(|item| to_json_within(item, depth))
                .collect::<Result<_, _>>()?,
        ),
        Value::Map(map) => {
            let mut fields = serde_json::Map::new();
            for (name, value) in map.map.iter() {
                let name = match name {
                    Key::String(name) => name.to_string(),
                    Key::Int(number) => number.to_string(),
                    Key::Uint(number) => number.to_string(),
                    Key::Bool(value) => value.to_string(),
                };
                fields.insert(name, to_json_within(value, depth)?);
            }
            Json::Object(fields)
        }
        _ => return Err("the result has no JSON form; use string(...) or double(...)".to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn eval(source: &str, payload: &str) -> Result<Json, String> {
        let expression = Expression::compile(source, &["room"]).map_err(|flaw| flaw.message)?;
        let mut context = context();
        context.add_variable_from_value("payload", to_cel(&serde_json::from_str(payload).unwrap()));
        expression.run(&context).and_then(|value| to_json(&value))
    }

    #[test]
    fn whole_and_broken_numbers_give_the_same() {
        for payload in [r#"{"c":20}"#, r#"{"c":20.0}"#] {
            assert_eq!(
                eval("payload.c * 9 / 5 + 32", payload).unwrap(),
                Json::from(68.0)
            );
            assert_eq!(
                eval("payload.c > 10 && payload.c == 20", payload).unwrap(),
                Json::Bool(true)
            );
            assert_eq!(
                eval("[payload.c, 3][0]", payload).unwrap(),
                Json::from(20.0)
            );
        }
        assert_eq!(
            eval("payload.list[1]", r#"{"list":[1,2]}"#).unwrap(),
            Json::from(2.0)
        );
        assert_eq!(
            eval("payload.list.map(x, x * 2)", r#"{"list":[1,2]}"#).unwrap(),
            serde_json::json!([2.0, 4.0])
        );
        assert_eq!(eval("'20 + 1'", "{}").unwrap(), Json::from("20 + 1"));
    }

    #[test]
    fn sizes_compare_with_literals() {
        assert_eq!(
            eval("size(payload.list) > 1", r#"{"list":[1,2]}"#).unwrap(),
            Json::Bool(true)
        );
        assert_eq!(eval("has(payload.x)", "{}").unwrap(), Json::Bool(false));
    }

    #[test]
    fn unknown_names_are_found_before_any_message_comes() {
        for (source, expected, at) in [
            ("paylod.c > 1", "did you mean `payload`", 0),
            ("room == 'x'", "`topic.room`", 0),
            (
                "payload.c > 1 && topic.rom == 'x'",
                "did you mean `topic.room`",
                17,
            ),
            ("sze(payload) > 1", "no function `sze`", 0),
            ("payload.c >", "", 0),
        ] {
            let flaw = Expression::compile(source, &["room"]).err().unwrap();
            assert!(
                flaw.message.contains(expected),
                "{source}: {}",
                flaw.message
            );
            assert!(
                flaw.at >= at && flaw.at <= source.len(),
                "{source}: {}",
                flaw.at
            );
        }
    }

    #[test]
    fn hostile_depth_is_refused() {
        let sum = |count: usize| format!("1{}", "+1".repeat(count));
        let deep = |count: usize| format!("{}1{}", "(".repeat(count), ")".repeat(count));
        for source in [sum(OPERATORS), deep(32)] {
            // As the engine does it: compiled on a large stack, run on a shard's.
            let compile =
                move || Expression::compile(&source, &[]).is_ok_and(|e| e.run(&context()).is_ok());
            let done = std::thread::Builder::new()
                .stack_size(crate::check::STACK_BYTES)
                .spawn(compile);
            assert!(done.unwrap().join().unwrap());
        }
        for source in [
            sum(OPERATORS + 1),
            deep(OPERATORS + 1),
            "-".repeat(2000),
            "x".repeat(SOURCE_BYTES + 1),
        ] {
            assert!(Expression::compile(&source, &[]).is_err());
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(source in "[a-z0-9.+*/()\\[\\]{}\"' ?:!<>=&|-]{0,40}") {
            if let Ok(expression) = Expression::compile(&source, &[]) {
                drop(expression.run(&context()));
            }
        }
    }
}
