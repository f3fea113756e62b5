//! What an expression means is what CEL means, where the two meet: `cel` evaluates the same text, and the outcomes are
//! the same. The texts keep to doubles and to what `cel` has.

use super::tests::eval;
use cel::objects::{Key, Map};
use cel::{Context, Program, Value};
use proptest::prelude::*;
use serde_json::Value as Json;
use std::collections::HashMap;
use std::sync::Arc;

fn to_cel(json: &Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(number) => Value::Float(number.as_f64().unwrap()),
        Json::String(text) => Value::String(Arc::new(text.clone())),
        Json::Array(items) => Value::List(Arc::new(items.iter().map(to_cel).collect())),
        Json::Object(fields) => {
            let entry = |(name, value): (&String, &Json)| (Key::from(name.clone()), to_cel(value));
            let map: HashMap<Key, Value> = fields.iter().map(entry).collect();
            Value::Map(Map { map: Arc::new(map) })
        }
    }
}

fn from_cel(value: &Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Bool(value) => Json::from(*value),
        Value::Int(number) => Json::from(*number as f64),
        Value::UInt(number) => Json::from(*number as f64),
        Value::Float(number) => Json::from(*number),
        Value::String(text) => Json::from(text.as_str()),
        Value::List(items) => items.iter().map(from_cel).collect(),
        other => panic!("{other:?}"),
    }
}

/// Numbers by value.
fn doubles(json: Json) -> Json {
    match json {
        Json::Number(number) => Json::from(number.as_f64().unwrap()),
        Json::Array(items) => items.into_iter().map(doubles).collect(),
        other => other,
    }
}

const PAYLOAD: &str = r#"{"c":20.5,"n":-3.0,"s":"abc","e":"","t":true,"l":[1.0,2.5,20.5],"w":["a","abc"],"o":{"c":1.0}}"#;

fn reference(source: &str) -> Result<Json, String> {
    let program = Program::compile(source).map_err(|error| error.to_string())?;
    let mut context = Context::default();
    context.add_variable_from_value("payload", to_cel(&serde_json::from_str(PAYLOAD).unwrap()));
    let value = program
        .execute(&context)
        .map_err(|error| error.to_string())?;
    Ok(from_cel(&value))
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Number,
    Text,
    Truth,
    Numbers,
}

fn leaves(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Number => &[
            "payload.c",
            "payload.n",
            "payload.o.c",
            "x",
            "1.0",
            "2.5",
            "-0.5",
            "payload.none",
            "payload.s",
        ],
        Kind::Text => &[
            "payload.s",
            "payload.e",
            "'a'",
            "'abc'",
            "payload.none",
            "payload.c",
        ],
        Kind::Truth => &[
            "payload.t",
            "true",
            "false",
            "has(payload.none)",
            "has(payload.o.c)",
            "payload.none",
            "payload.s",
        ],
        Kind::Numbers => &["payload.l", "[1.0, 2.5]", "[]", "payload.none"],
    }
}

fn one_of(names: &[&'static str]) -> impl Strategy<Value = &'static str> + use<> {
    prop::sample::select(names.to_vec())
}

fn truths(depth: u32) -> BoxedStrategy<String> {
    let of = move |kind| expressions(kind, depth - 1);
    let (number, text) = (|| of(Kind::Number), || of(Kind::Text));
    let (truth, list) = (|| of(Kind::Truth), || of(Kind::Numbers));
    prop_oneof![
        (
            number(),
            one_of(&["<", "<=", ">", ">=", "==", "!="]),
            number()
        )
            .prop_map(|(one, operator, other)| format!("({one} {operator} {other})")),
        (text(), one_of(&["<", ">=", "==", "!="]), text())
            .prop_map(|(one, operator, other)| format!("({one} {operator} {other})")),
        (truth(), one_of(&["&&", "||"]), truth())
            .prop_map(|(one, operator, other)| format!("({one} {operator} {other})")),
        truth().prop_map(|one| format!("!({one})")),
        (
            text(),
            one_of(&["startsWith", "endsWith", "contains"]),
            text()
        )
            .prop_map(|(one, name, other)| format!("({one}).{name}({other})")),
        (number(), list()).prop_map(|(one, list)| format!("({one} in {list})")),
        (
            list(),
            one_of(&["all", "exists", "exists_one"]),
            number(),
            one_of(&["<", "=="])
        )
            .prop_map(|(list, name, other, operator)| format!(
                "{list}.{name}(x, x {operator} {other})"
            )),
    ]
    .boxed()
}

/// Expressions of one kind; a wrong kind or a missing field comes in now and then.
fn expressions(kind: Kind, depth: u32) -> BoxedStrategy<String> {
    let leaf = prop::sample::select(leaves(kind).to_vec()).prop_map(str::to_owned);
    if depth == 0 {
        return leaf.boxed();
    }
    let number = || expressions(Kind::Number, depth - 1);
    let text = || expressions(Kind::Text, depth - 1);
    let truth = || expressions(Kind::Truth, depth - 1);
    let list = || expressions(Kind::Numbers, depth - 1);
    let choice = (
        truth(),
        expressions(kind, depth - 1),
        expressions(kind, depth - 1),
    )
        .prop_map(|(when, one, other)| format!("({when} ? {one} : {other})"));
    let of_kind: BoxedStrategy<String> = match kind {
        Kind::Number => prop_oneof![
            (number(), one_of(&["+", "-", "*", "/"]), number())
                .prop_map(|(one, operator, other)| format!("({one} {operator} {other})")),
            number().prop_map(|one| format!("-({one})")),
            (list(), 0..4).prop_map(|(list, at)| format!("{list}[{at}]")),
            list().prop_map(|list| format!("double(size({list}))")),
        ]
        .boxed(),
        Kind::Text => prop_oneof![
            (text(), text()).prop_map(|(one, other)| format!("({one} + {other})")),
            number().prop_map(|one| format!("string({one})")),
        ]
        .boxed(),
        Kind::Truth => truths(depth),
        Kind::Numbers => prop_oneof![
            (list(), number()).prop_map(|(list, other)| format!("{list}.map(x, x + {other})")),
            (list(), number()).prop_map(|(list, other)| format!("{list}.filter(x, x < {other})")),
            (list(), number(), number()).prop_map(|(list, least, other)| format!(
                "{list}.map(x, x > {least}, x * {other})"
            )),
            (list(), list()).prop_map(|(one, other)| format!("({one} + {other})")),
            (number(), number()).prop_map(|(one, other)| format!("[{one}, {other}]")),
        ]
        .boxed(),
    };
    prop_oneof![1 => leaf, 5 => of_kind, 1 => choice].boxed()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn both_give_the_same(
        source in prop_oneof![
            expressions(Kind::Number, 3),
            expressions(Kind::Text, 3),
            expressions(Kind::Truth, 4),
            expressions(Kind::Numbers, 3),
        ],
    ) {
        // Within macros, `x` is also the element of one further out.
        let source = format!("[2.5].map(x, {source})[0]");
        let expected = reference(&source);
        let got = eval(&source, PAYLOAD).map(doubles);
        match (&expected, &got) {
            (Ok(expected), Ok(got)) => prop_assert_eq!(expected, got, "{}", source),
            (Err(_), Err(_)) => {}
            // What is no number is neither less nor greater, as the specification has it.
            (Err(error), Ok(_)) if error.contains("'(double, double)'") => {}
            // JSON has no infinite numbers, and a shard no endless stack.
            (Ok(_), Err(error)) if error.contains("JSON cannot say") || error.contains("more than 96 operators") => {}
            _ => prop_assert!(false, "{source}: {expected:?} and {got:?}"),
        }
    }
}
