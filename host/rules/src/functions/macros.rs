//! What looks like a function and is compiled: it takes expressions, not values.

use super::{ANY, Function, Group};
use crate::expression::Value;

pub(super) const GROUP: Group = Group {
    name: "Macros",
    words: "`x` names an element within the expression behind it. Of a map they see the keys, in order. Nested ones may use all names around them.",
    functions: FUNCTIONS,
};

const fn compiled(
    name: &'static str,
    signature: &'static str,
    words: &'static str,
    example: (&'static str, &'static str),
) -> Function {
    let function = Function::new(name, (0, ANY), signature, words, example, |_| {
        Ok(Value::Null)
    });
    Function {
        is_macro: true,
        ..function
    }
}

const FUNCTIONS: &[Function] = &[
    compiled(
        "has",
        "has(x.field) -> bool",
        "Whether the field, and everything in front of it, is there.",
        ("has({'a': 1}.b)", "false"),
    ),
    compiled(
        "all",
        "list.all(x, condition) -> bool",
        "Whether it holds for every element.",
        ("[1, 2].all(x, x > 0)", "true"),
    ),
    compiled(
        "exists",
        "list.exists(x, condition) -> bool",
        "Whether it holds for one or more.",
        ("[1, 2].exists(x, x > 1)", "true"),
    ),
    compiled(
        "existsOne",
        "list.existsOne(x, condition) -> bool",
        "Whether it holds for exactly one.",
        ("[1, 2].existsOne(x, x > 0)", "false"),
    )
    .also("exists_one"),
    compiled(
        "filter",
        "list.filter(x, condition) -> list",
        "The elements for which it holds.",
        ("[1, 2, 3].filter(x, x > 1)", "[2,3]"),
    ),
    compiled(
        "map",
        "list.map(x[, condition], expression) -> list",
        "What the expression makes of each element, or of those for which the condition holds.",
        ("[1, 2, 3].map(x, x > 1, x * 2)", "[4.0,6.0]"),
    ),
    compiled(
        "sortBy",
        "list.sortBy(x, expression) -> list",
        "In the order of what the expression makes of each element.",
        ("[1, 3, 2].sortBy(x, -x)", "[3,2,1]"),
    ),
];
