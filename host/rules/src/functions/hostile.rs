//! Every function with every combination of strange arguments: it answers or says what is wrong, and stays in its
//! budget. Arithmetic that overflows, a slice beyond its end, an order that is none would show here.

use super::*;
use crate::expression::{Held, Limits};
use proptest::prelude::*;
use serde_json::json;

/// Arguments that some function has trouble with.
fn arguments() -> Vec<Value<'static>> {
    let json = [
        json!(null),
        json!(true),
        json!(""),
        json!("a"),
        json!("-1.5"),
        json!("äöü€😀"),
        json!("%5d %-3s %.2f %x %%"),
        json!("%"),
        json!("2026-11-27T10:00:00.123456Z"),
        json!("%Y-%m-%d %H:%M"),
        json!("Europe/Berlin"),
        json!("-23:59"),
        json!("month"),
        json!("us"),
        json!("little"),
        json!("sha1"),
        json!("float"),
        json!("1h30m"),
        json!("99999999999999999999w"),
        json!("(a|b)*[^c]+?$"),
        json!("$0$0$1"),
        json!("a/+/#"),
        json!("{\"a\":[1,{}]}"),
        json!("x".repeat(3000)),
        json!([]),
        json!([1, 2.5, 3]),
        json!(["b", "a", ""]),
        json!([1, "a", null, [], {}]),
        json!([["a", 1], ["b", 2]]),
        json!(vec![7; 300]),
        json!({}),
        json!({"a": 1, "key": "k", "value": {"a": []}}),
    ];
    let numbers = [
        0.0,
        -0.0,
        1.0,
        -1.0,
        2.5,
        15.0,
        63.0,
        64.0,
        1e15,
        -1e15,
        1e19,
        1e300,
        f64::MIN_POSITIVE,
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
    ];
    let whole = [0, 1, -1, 8, 64, 1_795_773_600_000, i64::MAX, i64::MIN];
    let bytes: [&[u8]; 4] = [b"", b"\xff", b"\x41\xa4\x00\x00", b"\x80\0\0\0\0\0\0\0"];
    let mut all: Vec<Value<'static>> = json.into_iter().map(Value::from_json).collect();
    all.extend(numbers.map(Value::Float));
    all.extend(whole.map(Value::Int));
    all.extend(bytes.map(|bytes| Value::Bytes(Held::Lent(bytes))));
    all.push(Value::from_items(vec![
        Value::Float(f64::NAN),
        Value::Int(1),
    ]));
    all
}

fn call(function: &Function, arguments: &[Value<'_>]) {
    let budget = Budget::new(Limits::default());
    let outcome = (function.run)(&Call {
        arguments,
        budget: &budget,
        pattern: None,
        now_ms: u64::MAX,
    });
    match outcome {
        Ok(value) => drop((value.to_json(), value.shown())),
        Err(fail) => assert!(!fail.message().is_empty(), "{}", function.name),
    }
}

#[test]
fn one_and_two_strange_arguments() {
    let pool = arguments();
    for function in all() {
        let (least, most) = function.arguments;
        if least == 0 {
            call(function, &[]);
        }
        for one in &pool {
            if least <= 1 && most >= 1 {
                call(function, std::slice::from_ref(one));
            }
            if least <= 2 && most >= 2 {
                for other in &pool {
                    call(function, &[one.clone(), other.clone()]);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(30_000))]

    #[test]
    fn many_strange_arguments(at in 0usize..1000, picks in prop::collection::vec(any::<prop::sample::Index>(), 3..7)) {
        thread_local! {
            static POOL: Vec<Value<'static>> = arguments();
        }
        let many: Vec<_> = all().filter(|function| function.arguments.1 > 2).collect();
        let function = many[at % many.len()];
        let (least, most) = function.arguments;
        let count = picks.len().clamp(least.min(picks.len()), most);
        let picked: Vec<_> = POOL.with(|pool| {
            picks.iter().take(count).map(|pick| pick.get(pool).clone()).collect()
        });
        if (least..=most).contains(&picked.len()) {
            call(function, &picked);
        }
    }
}
