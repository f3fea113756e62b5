//! Functions of lists.

use super::{Call, Function, Group};
use crate::expression::{Done, ELEMENT_BYTES, Fail, List, Value, sorted};

pub(super) const GROUP: Group = Group {
    name: "Lists",
    words: "The first element is 0. `x in list` tells whether it is there, `+` joins two, `list[0]` is an element.",
    functions: FUNCTIONS,
};

const FUNCTIONS: &[Function] = &[
    Function::new(
        "first",
        (1, 2),
        "list.first([default]) -> any",
        "The first element; the default, or null, of an empty list.",
        ("[1, 2].first()", "1"),
        |c| at(c, c.list(0)?.get(0)),
    ),
    Function::new(
        "last",
        (1, 2),
        "list.last([default]) -> any",
        "The last element.",
        ("[1, 2].last()", "2"),
        |c| {
            let list = c.list(0)?;
            at(c, list.len().checked_sub(1).and_then(|last| list.get(last)))
        },
    ),
    Function::new(
        "slice",
        (2, 3),
        "x.slice(from[, to]) -> list, bytes or string",
        "From a position up to before another one; below 0 it counts from the end.",
        ("[1, 2, 3, 4].slice(1, -1)", "[2,3]"),
        slice,
    )
    .also("sublist"),
    Function::new(
        "append",
        (2, 2),
        "list.append(x) -> list",
        "With one more element.",
        ("[1].append(2)", "[1,2]"),
        |c| c.built_list(c.list(0)?.iter().chain([c.value(1).clone()]).collect()),
    ),
    Function::new(
        "distinct",
        (1, 1),
        "list.distinct() -> list",
        "Each element once.",
        ("[1, 2, 1.0].distinct()", "[1,2]"),
        distinct,
    ),
    Function::new(
        "sort",
        (1, 1),
        "list.sort() -> list",
        "Numbers or texts in their order.",
        ("[3, 1, 2].sort()", "[1,2,3]"),
        |c| {
            let items: Vec<_> = c.list(0)?.iter().collect();
            sorted(&items, &items, c.budget)
        },
    ),
    Function::new(
        "flatten",
        (1, 1),
        "list.flatten() -> list",
        "The elements of its lists instead of them, one level.",
        ("[1, [2, 3]].flatten()", "[1,2,3]"),
        flatten,
    ),
    Function::new(
        "range",
        (1, 3),
        "range([from, ]to[, step]) -> list",
        "Numbers from 0 or another one up to before `to`.",
        ("range(1, 6, 2)", "[1,3,5]"),
        range,
    ),
    Function::new(
        "zip",
        (2, 2),
        "zip(list, list) -> list",
        "Pairs, as long as both have elements.",
        ("zip([1, 2], ['a', 'b'])", r#"[[1,"a"],[2,"b"]]"#),
        zip,
    ),
    Function::new(
        "sum",
        (1, 1),
        "list.sum() -> number",
        "The sum of all numbers.",
        ("[1, 2, 3.5].sum()", "6.5"),
        |c| {
            Ok(Value::Float(
                numbers(c)?.iter().fold(0.0, |sum, one| sum + one),
            ))
        },
    ),
    Function::new(
        "avg",
        (1, 1),
        "list.avg() -> number or null",
        "Their mean; null of an empty list.",
        ("[1, 2, 6].avg()", "3.0"),
        |c| {
            let all = numbers(c)?;
            Ok(if all.is_empty() {
                Value::Null
            } else {
                Value::Float(all.iter().sum::<f64>() / all.len() as f64)
            })
        },
    ),
    Function::new(
        "median",
        (1, 1),
        "list.median() -> number or null",
        "The one in the middle.",
        ("[1, 9, 2].median()", "2.0"),
        median,
    ),
    Function::new(
        "stddev",
        (1, 1),
        "list.stddev() -> number or null",
        "Standard deviation, of all there are.",
        ("[2, 4, 4, 4, 5, 5, 7, 9].stddev()", "2.0"),
        stddev,
    ),
    Function::new(
        "containsAll",
        (2, 2),
        "list.containsAll(list) -> bool",
        "Whether every element of the other is in it.",
        ("[1, 2, 3].containsAll([3, 1])", "true"),
        contains_all,
    ),
];

fn at<'a>(c: &Call<'_, 'a>, found: Option<Value<'a>>) -> Done<Value<'a>> {
    Ok(found.unwrap_or_else(|| c.value(1).clone()))
}

/// Where a slice begins and ends.
pub(super) fn range_of(c: &Call<'_, '_>, length: usize) -> Done<(usize, usize)> {
    let place = |position: i64| {
        let count = usize::try_from(position.unsigned_abs()).unwrap_or(usize::MAX);
        if position < 0 {
            length.saturating_sub(count)
        } else {
            count.min(length)
        }
    };
    let from = place(c.whole(1)?);
    let to = place(c.whole_or(2, i64::MAX)?);
    Ok((from, to.max(from)))
}

fn slice<'a>(c: &Call<'_, 'a>) -> Done<Value<'a>> {
    match c.value(0) {
        Value::List(list) => {
            let (from, to) = range_of(c, list.len())?;
            if let List::Json(items) = list {
                return Ok(Value::List(List::Json(
                    items.get(from..to).unwrap_or_default(),
                )));
            }
            c.budget.build_list(to - from)?;
            c.built_list(list.iter().skip(from).take(to - from).collect())
        }
        Value::Bytes(bytes) => {
            let (from, to) = range_of(c, bytes.len())?;
            c.budget.build(to - from)?;
            Ok(super::bytes::owned(
                bytes.get(from..to).unwrap_or_default().to_vec(),
            ))
        }
        _ => {
            let text = c.text(0)?;
            let (from, to) = range_of(c, text.chars().count())?;
            c.built(text.chars().skip(from).take(to - from).collect())
        }
    }
}

fn distinct<'a>(c: &Call<'_, 'a>) -> Done<Value<'a>> {
    let mut kept: Vec<Value<'a>> = Vec::new();
    for item in c.list(0)?.iter() {
        let mut is_new = true;
        for known in &kept {
            if known.equals(&item, c.budget)? {
                is_new = false;
                break;
            }
        }
        if is_new {
            kept.push(item);
        }
    }
    c.built_list(kept)
}

fn flatten<'a>(c: &Call<'_, 'a>) -> Done<Value<'a>> {
    let mut all = Vec::new();
    for item in c.list(0)?.iter() {
        match item {
            Value::List(inner) => {
                c.budget.spend(inner.len())?;
                c.budget
                    .fits((all.len() + inner.len()).saturating_mul(ELEMENT_BYTES))?;
                all.extend(inner.iter());
            }
            other => all.push(other),
        }
    }
    c.built_list(all)
}

fn range<'a>(c: &Call<'_, 'a>) -> Done<Value<'a>> {
    let (from, to) = match c.arguments.len() {
        1 => (0.0, c.number(0)?),
        _ => (c.number(0)?, c.number(1)?),
    };
    let step = c.number_or(2, 1.0)?;
    if step == 0.0 || !step.is_finite() || !from.is_finite() || !to.is_finite() {
        return Err(Fail::wrong(
            "it takes finite numbers and a step that is not 0",
        ));
    }
    let count = ((to - from) / step).ceil().max(0.0);
    let count = whole(count).unwrap_or(usize::MAX); // beyond every limit
    c.budget.build_list(count)?;
    c.built_list(
        (0..count)
            .map(|at| Value::whole(from + step * at as f64))
            .collect(),
    )
}

fn whole(count: f64) -> Option<usize> {
    crate::expression::whole(count).and_then(|count| usize::try_from(count).ok())
}

fn zip<'a>(c: &Call<'_, 'a>) -> Done<Value<'a>> {
    let (one, other) = (c.list(0)?, c.list(1)?);
    c.budget
        .build_list(one.len().min(other.len()).saturating_mul(3))?;
    let pair = |(one, other)| Value::from_items(vec![one, other]);
    c.built_list(one.iter().zip(other.iter()).map(pair).collect())
}

fn numbers(c: &Call<'_, '_>) -> Done<Vec<f64>> {
    let number = |item: Value<'_>| {
        let found = item.number();
        found.ok_or_else(|| Fail::operands("it", "a list of numbers", &[&item]))
    };
    c.list(0)?.iter().map(number).collect()
}

fn median<'a>(c: &Call<'_, 'a>) -> Done<Value<'a>> {
    let mut all = numbers(c)?;
    c.budget.spend(all.len() * 4)?;
    all.sort_by(f64::total_cmp);
    let middle = all.len() / 2;
    Ok(
        match (
            all.get(middle),
            middle.checked_sub(1).and_then(|at| all.get(at)),
        ) {
            (Some(high), Some(low)) if all.len().is_multiple_of(2) => {
                Value::Float(f64::midpoint(*low, *high))
            }
            (Some(found), _) => Value::Float(*found),
            (None, _) => Value::Null,
        },
    )
}

fn stddev<'a>(c: &Call<'_, 'a>) -> Done<Value<'a>> {
    let all = numbers(c)?;
    if all.is_empty() {
        return Ok(Value::Null);
    }
    let count = all.len() as f64;
    let mean = all.iter().sum::<f64>() / count;
    let squares: f64 = all.iter().map(|one| (one - mean).powi(2)).sum();
    Ok(Value::Float((squares / count).sqrt()))
}

fn contains_all<'a>(c: &Call<'_, 'a>) -> Done<Value<'a>> {
    for wanted in c.list(1)?.iter() {
        if crate::expression::contains(c.value(0), &wanted, c.budget)? != Some(true) {
            return Ok(false.into());
        }
    }
    Ok(true.into())
}
