//! What differs each time: random numbers and UUIDs.
//!
//! Each thread has a generator of its own, seeded by the operating system. A test of a chain seeds that of its thread,
//! so that it sees the same each time. The generator (ChaCha12, reseeded by nobody) is fit for identifiers.

use super::{Call, Function, Group};
use crate::expression::{Done, Value};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::cell::RefCell;

thread_local! {
    static GENERATOR: RefCell<StdRng> = RefCell::new(StdRng::from_os_rng());
}

/// What is random on this thread begins anew, and always the same.
pub(crate) fn seed(seed: u64) {
    GENERATOR.with_borrow_mut(|generator| *generator = StdRng::seed_from_u64(seed));
}

fn next<T>(make: impl FnOnce(&mut StdRng) -> T) -> T {
    GENERATOR.with_borrow_mut(make)
}

pub(super) const GROUP: Group = Group {
    name: "Random numbers and identifiers",
    words: "In a `[[test]]` they are the same each time: `given.seed` (0 without it) chooses them.",
    functions: FUNCTIONS,
};

const FUNCTIONS: &[Function] = &[
    Function::new(
        "random",
        (0, 0),
        "random() -> number",
        "From 0 up to before 1.",
        ("random() < 1", "true"),
        |_| Ok(Value::Float(next(|generator| generator.random()))),
    ),
    Function::new(
        "randomInt",
        (2, 2),
        "randomInt(from, to) -> number",
        "A whole number, both ends included.",
        ("between(randomInt(1, 6), 1, 6)", "true"),
        random_int,
    ),
    Function::new(
        "uuid",
        (0, 0),
        "uuid() -> string",
        "A random UUID (version 4).",
        ("uuid().matches('^[0-9a-f]{8}-[0-9a-f]{4}-4')", "true"),
        |c| c.built(uuid(next(|generator| generator.random()), 4)),
    )
    .also("uuid_v4 uuid_v4_no_hyphen"),
    Function::new(
        "uuidV7",
        (0, 0),
        "uuidV7() -> string",
        "A UUID (version 7) that sorts by the time of its message.",
        ("uuidV7().substring(14, 15)", r#""7""#),
        uuid_v7,
    ),
];

fn random_int<'a>(c: &Call<'_, 'a>) -> Done<Value<'a>> {
    let (from, to) = (c.whole(0)?, c.whole(1)?);
    if from > to {
        return Err(c.not(1, "a number that is not below the first"));
    }
    Ok(Value::Int(next(|generator| {
        generator.random_range(from..=to)
    })))
}

fn uuid_v7<'a>(c: &Call<'_, 'a>) -> Done<Value<'a>> {
    let noise: u128 = next(|generator| generator.random());
    let time = u128::from(c.now_ms) << 80;
    c.built(uuid(time | noise >> 48, 7))
}

/// Written as RFC 9562 has it, with its version and variant.
fn uuid(bits: u128, version: u128) -> String {
    let bits = bits & !(0xf << 76) | version << 76;
    let bits = bits & !(0b11 << 62) | 0b10 << 62;
    let digits = format!("{bits:032x}");
    let part = |from, to| digits.get(from..to).unwrap_or_default();
    let parts = [(0, 8), (8, 12), (12, 16), (16, 20), (20, 32)];
    parts.map(|(from, to)| part(from, to)).join("-")
}
