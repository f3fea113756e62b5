//! Functions of numbers.

use super::{ANY, Call, Function, Group};
use crate::expression::{Done, Fail, Value, contains};
use std::cmp::Ordering;

pub(super) const GROUP: Group = Group {
    name: "Numbers",
    words: "Every number is a double: whole ones are exact up to 2^53. Angles are in radians.",
    functions: FUNCTIONS,
};

/// A function of one number.
macro_rules! unary {
    ($name:literal, $words:literal, $example:literal, $result:literal, $run:expr) => {
        Function::new(
            $name,
            (1, 1),
            concat!($name, "(number) -> number"),
            $words,
            ($example, $result),
            |c| {
                let run: fn(f64) -> f64 = $run;
                Ok(Value::Float(run(c.number(0)?)))
            },
        )
    };
}

/// A test of one number.
macro_rules! test {
    ($name:literal, $words:literal, $example:literal, $result:literal, $run:expr) => {
        Function::new(
            $name,
            (1, 1),
            concat!($name, "(number) -> bool"),
            $words,
            ($example, $result),
            |c| {
                let run: fn(f64) -> bool = $run;
                Ok(Value::Bool(run(c.number(0)?)))
            },
        )
    };
}

const FUNCTIONS: &[Function] = &[
    Function::new(
        "abs",
        (1, 1),
        "abs(number) -> number",
        "Without its sign.",
        ("abs(-1.5)", "1.5"),
        |c| match c.value(0) {
            Value::Int(number) if *number != i64::MIN => Ok(Value::Int(number.abs())),
            _ => Ok(Value::Float(c.number(0)?.abs())),
        },
    ),
    Function::new(
        "round",
        (1, 2),
        "round(number[, digits]) -> number",
        "To the next whole number, or to digits behind the point (in front of it below 0); a half goes away from 0.",
        ("round(20.456, 1)", "20.5"),
        round,
    ),
    Function::new(
        "ceil",
        (1, 1),
        "ceil(number) -> number",
        "The next whole number not below it.",
        ("ceil(1.2)", "2"),
        |c| Ok(Value::whole(c.number(0)?.ceil())),
    ),
    Function::new(
        "floor",
        (1, 1),
        "floor(number) -> number",
        "The next whole number not above it.",
        ("floor(-1.2)", "-2"),
        |c| Ok(Value::whole(c.number(0)?.floor())),
    ),
    Function::new(
        "trunc",
        (1, 1),
        "trunc(number) -> number",
        "Without what is behind the point.",
        ("trunc(-1.8)", "-1"),
        |c| Ok(Value::whole(c.number(0)?.trunc())),
    ),
    Function::new(
        "sign",
        (1, 1),
        "sign(number) -> number",
        "-1, 0 or 1.",
        ("sign(-7)", "-1"),
        |c| {
            let number = c.number(0)?;
            Ok(if number == 0.0 {
                Value::Int(0)
            } else {
                Value::whole(number.signum())
            })
        },
    ),
    Function::new(
        "mod",
        (2, 2),
        "mod(number, by) -> number",
        "What is left of a division, with the sign of the number, as `%`.",
        ("mod(-7, 3)", "-1"),
        |c| Ok(Value::whole(c.number(0)? % c.number(1)?)),
    )
    .also("fmod"),
    Function::new(
        "div",
        (2, 2),
        "div(number, by) -> number",
        "How often `by` is in it, whole.",
        ("div(7, 2)", "3"),
        |c| Ok(Value::whole((c.number(0)? / c.number(1)?).trunc())),
    ),
    Function::new(
        "pow",
        (2, 2),
        "pow(number, by) -> number",
        "Number to the power of `by`.",
        ("pow(2, 10)", "1024.0"),
        |c| Ok(Value::Float(c.number(0)?.powf(c.number(1)?))),
    )
    .also("power"),
    unary!("sqrt", "The square root.", "sqrt(9)", "3.0", f64::sqrt),
    unary!("exp", "e to the power of it.", "exp(0)", "1.0", f64::exp),
    Function::new(
        "log",
        (1, 2),
        "log(number[, base]) -> number",
        "The logarithm; without a base the natural one.",
        ("log(8, 2)", "3.0"),
        |c| {
            let number = c.number(0)?;
            Ok(Value::Float(match c.get(1) {
                None => number.ln(),
                Some(_) => number.ln() / c.number(1)?.ln(),
            }))
        },
    ),
    unary!(
        "log2",
        "The logarithm to base 2.",
        "log2(1024)",
        "10.0",
        f64::log2
    ),
    unary!(
        "log10",
        "The logarithm to base 10.",
        "log10(1000)",
        "3.0",
        f64::log10
    ),
    unary!("sin", "Sine.", "sin(0)", "0.0", f64::sin),
    unary!("cos", "Cosine.", "cos(0)", "1.0", f64::cos),
    unary!("tan", "Tangent.", "tan(0)", "0.0", f64::tan),
    unary!("asin", "Arc sine.", "asin(0)", "0.0", f64::asin),
    unary!("acos", "Arc cosine.", "acos(1)", "0.0", f64::acos),
    unary!("atan", "Arc tangent.", "atan(0)", "0.0", f64::atan),
    Function::new(
        "atan2",
        (2, 2),
        "atan2(y, x) -> number",
        "The angle of a point.",
        ("round(atan2(1, 1), 4)", "0.7854"),
        |c| Ok(Value::Float(c.number(0)?.atan2(c.number(1)?))),
    ),
    unary!("sinh", "Hyperbolic sine.", "sinh(0)", "0.0", f64::sinh),
    unary!("cosh", "Hyperbolic cosine.", "cosh(0)", "1.0", f64::cosh),
    unary!("tanh", "Hyperbolic tangent.", "tanh(0)", "0.0", f64::tanh),
    unary!(
        "asinh",
        "Inverse hyperbolic sine.",
        "asinh(0)",
        "0.0",
        f64::asinh
    ),
    unary!(
        "acosh",
        "Inverse hyperbolic cosine.",
        "acosh(1)",
        "0.0",
        f64::acosh
    ),
    unary!(
        "atanh",
        "Inverse hyperbolic tangent.",
        "atanh(0)",
        "0.0",
        f64::atanh
    ),
    unary!(
        "degrees",
        "Radians as degrees.",
        "degrees(pi())",
        "180.0",
        f64::to_degrees
    ),
    unary!(
        "radians",
        "Degrees as radians.",
        "round(radians(180), 4)",
        "3.1416",
        f64::to_radians
    ),
    Function::new(
        "pi",
        (0, 0),
        "pi() -> number",
        "3.14159…",
        ("round(pi(), 5)", "3.14159"),
        |_| Ok(Value::Float(std::f64::consts::PI)),
    ),
    Function::new(
        "min",
        (1, ANY),
        "min(x, …) or list.min() -> number or string",
        "The least one; null of an empty list.",
        ("min(3, 1, 2)", "1"),
        |c| extreme(c, Ordering::Less),
    ),
    Function::new(
        "max",
        (1, ANY),
        "max(x, …) or list.max() -> number or string",
        "The greatest one; null of an empty list.",
        ("[3, 1, 2].max()", "3"),
        |c| extreme(c, Ordering::Greater),
    ),
    Function::new(
        "clamp",
        (3, 3),
        "clamp(number, least, most) -> number",
        "The number, but not below and not above.",
        ("clamp(120, 0, 100)", "100"),
        clamp,
    ),
    Function::new(
        "scale",
        (5, 5),
        "scale(number, from0, from1, to0, to1) -> number",
        "From one range to another, in a straight line.",
        ("scale(12, 4, 20, 0, 100)", "50.0"),
        scale,
    ),
    test!(
        "isNaN",
        "Whether it is no number, as 0/0.",
        "isNaN(0.0 / 0)",
        "true",
        f64::is_nan
    ),
    test!(
        "isInfinite",
        "Whether it is beyond all numbers, as 1/0.",
        "isInfinite(1 / 0)",
        "true",
        f64::is_infinite
    ),
    test!(
        "isFinite",
        "Whether it is a number, and not infinite.",
        "isFinite(1)",
        "true",
        f64::is_finite
    ),
    test!(
        "isWhole",
        "Whether there is nothing behind its point.",
        "isWhole(20.0)",
        "true",
        |number| number.fract() == 0.0
    ),
    Function::new(
        "between",
        (3, 3),
        "between(x, least, most) -> bool",
        "Whether it is not below and not above.",
        ("between(20, 15, 25)", "true"),
        |c| {
            let number = c.number(0)?;
            Ok((c.number(1)? <= number && number <= c.number(2)?).into())
        },
    ),
    Function::new(
        "oneOf",
        (2, ANY),
        "oneOf(x, y, …) -> bool",
        "Whether it equals one of the others.",
        ("oneOf('b', 'a', 'b')", "true"),
        |c| {
            let others = c.arguments.get(1..).unwrap_or_default().to_vec();
            Ok(contains(&Value::from_items(others), c.value(0), c.budget)?
                .is_some_and(|found| found)
                .into())
        },
    ),
];

fn round<'a>(c: &Call<'_, 'a>) -> Done<Value<'a>> {
    let number = c.number(0)?;
    let digits = c.whole_or(1, 0)?;
    let Some(digits) = i32::try_from(digits)
        .ok()
        .filter(|digits| digits.abs() <= 15)
    else {
        return Err(c.not(1, "a number of digits from -15 to 15"));
    };
    if digits <= 0 {
        let unit = 10f64.powi(-digits);
        return Ok(Value::whole((number / unit).round() * unit));
    }
    let unit = 10f64.powi(digits);
    let scaled = (number * unit).round();
    // A number so large has no digits there.
    Ok(Value::Float(if scaled.is_finite() {
        scaled / unit
    } else {
        number
    }))
}

fn extreme<'a>(c: &Call<'_, 'a>, wanted: Ordering) -> Done<Value<'a>> {
    let one = match c.arguments {
        [Value::List(_)] => c.list(0)?.iter().collect(),
        arguments => arguments.to_vec(),
    };
    let mut found: Option<Value<'a>> = None;
    for value in one {
        c.budget.spend(1)?;
        let Some(best) = &found else {
            found = Some(value);
            continue;
        };
        match value.order(best, c.budget)? {
            Some(order) if order == wanted => found = Some(value),
            Some(_) => {}
            None => return Err(Fail::operands("it", "values of one kind", &[best, &value])),
        }
    }
    Ok(found.unwrap_or(Value::Null))
}

fn clamp<'a>(c: &Call<'_, 'a>) -> Done<Value<'a>> {
    let (number, least, most) = (c.number(0)?, c.number(1)?, c.number(2)?);
    if least > most || least.is_nan() || most.is_nan() {
        return Err(c.not(1, "a least number that is not above the greatest"));
    }
    Ok(if number < least {
        c.value(1).clone()
    } else if number > most {
        c.value(2).clone()
    } else {
        c.value(0).clone()
    })
}

fn scale<'a>(c: &Call<'_, 'a>) -> Done<Value<'a>> {
    let (from, to) = (c.number(1)?, c.number(2)?);
    let (low, high) = (c.number(3)?, c.number(4)?);
    if from == to {
        return Err(c.not(2, "another end of the range"));
    }
    Ok(Value::Float(
        (c.number(0)? - from) / (to - from) * (high - low) + low,
    ))
}
