//! Functions of maps.

use super::{ANY, Call, Function, Group};
use crate::expression::{Done, Fail, Held, Map, Text, Value, index};
use std::collections::BTreeMap;

pub(super) const GROUP: Group = Group {
    name: "Maps",
    words: "Keys are texts; a number or truth as a key is written as text, so `{1: 'on', 0: 'off'}[payload.state]` finds it. `map.key`, `map['key']` and `'key' in map` work as they look.",
    functions: FUNCTIONS,
};

const FUNCTIONS: &[Function] = &[
    Function::new(
        "get",
        (2, 3),
        "x.get(path[, default]) -> any",
        "What is at a path of fields and positions; the default, or null, if nothing is there.",
        ("{'a': [{'b': 7}]}.get('a.0.b')", "7"),
        get,
    )
    .also("map_get mget"),
    Function::new(
        "keys",
        (1, 1),
        "map.keys() -> list",
        "Its keys, in order.",
        ("{'b': 1, 'a': 2}.keys()", r#"["a","b"]"#),
        |c| {
            c.built_list(
                c.map(0)?
                    .iter()
                    .map(|(name, _)| Value::String(name))
                    .collect(),
            )
        },
    )
    .also("map_keys"),
    Function::new(
        "values",
        (1, 1),
        "map.values() -> list",
        "Its values, in the order of their keys.",
        ("{'b': 1, 'a': 2}.values()", "[2,1]"),
        |c| c.built_list(c.map(0)?.iter().map(|(_, value)| value).collect()),
    )
    .also("map_values"),
    Function::new(
        "entries",
        (1, 1),
        "map.entries() -> list",
        "Maps with `key` and `value`.",
        ("{'a': 2}.entries()", r#"[{"key":"a","value":2}]"#),
        entries,
    )
    .also("map_to_entries"),
    Function::new(
        "fromEntries",
        (1, 1),
        "list.fromEntries() -> map",
        "A map of maps with `key` and `value`, or of pairs.",
        ("[['a', 1]].fromEntries()", r#"{"a":1}"#),
        from_entries,
    ),
    Function::new(
        "merge",
        (2, ANY),
        "map.merge(map, …) -> map",
        "All entries; a later map wins.",
        ("{'a': 1}.merge({'b': 2})", r#"{"a":1,"b":2}"#),
        merge,
    ),
    Function::new(
        "put",
        (3, 3),
        "map.put(key, x) -> map",
        "With one entry more, or another one.",
        ("{'a': 1}.put('b', 2)", r#"{"a":1,"b":2}"#),
        put,
    )
    .also("map_put mput"),
    Function::new(
        "remove",
        (2, ANY),
        "map.remove(key, …) -> map",
        "Without these keys.",
        ("{'a': 1, 'b': 2}.remove('a')", r#"{"b":2}"#),
        |c| select(c, false),
    ),
    Function::new(
        "pick",
        (2, ANY),
        "map.pick(key, …) -> map",
        "With these keys only.",
        ("{'a': 1, 'b': 2}.pick('a')", r#"{"a":1}"#),
        |c| select(c, true),
    ),
];

pub(super) fn from_texts<'a>(entries: impl Iterator<Item = (String, Value<'a>)>) -> Value<'a> {
    let own = |(name, value): (String, Value<'a>)| (Text::Own(name.into()), value);
    Value::from_entries(entries.map(own).collect())
}

fn own<'a>(c: &Call<'_, 'a>, map: &Map<'a>, more: usize) -> Done<BTreeMap<Text<'a>, Value<'a>>> {
    c.budget.build_map(map.len() + more)?;
    Ok(map.iter().collect())
}

fn get<'a>(c: &Call<'_, 'a>) -> Done<Value<'a>> {
    let otherwise = c.get(2).cloned().unwrap_or(Value::Null);
    if c.value(1).number().is_some() {
        return Ok(index(c.value(0), c.value(1)).unwrap_or(otherwise));
    }
    let path = c.text(1)?;
    let mut found = c.value(0).clone();
    for name in path.split('.') {
        c.budget.spend(1)?;
        let next = match &found {
            Value::Map(map) => map.get(name),
            Value::List(list) => name.parse().ok().and_then(|at| list.get(at)),
            _ => None,
        };
        match next {
            Some(value) => found = value,
            None => return Ok(otherwise),
        }
    }
    Ok(found)
}

fn entries<'a>(c: &Call<'_, 'a>) -> Done<Value<'a>> {
    let map = c.map(0)?;
    c.budget.build_map(map.len().saturating_mul(3))?;
    let entry = |(name, value)| {
        let name = (Held::Lent("key"), Value::String(name));
        Value::from_entries(BTreeMap::from([name, (Held::Lent("value"), value)]))
    };
    c.built_list(map.iter().map(entry).collect())
}

fn from_entries<'a>(c: &Call<'_, 'a>) -> Done<Value<'a>> {
    let list = c.list(0)?;
    c.budget.build_map(list.len())?;
    let mut made = BTreeMap::new();
    for item in list.iter() {
        let pair = match &item {
            Value::Map(map) => map.get("key").zip(map.get("value")),
            Value::List(pair) if pair.len() == 2 => pair.get(0).zip(pair.get(1)),
            _ => None,
        };
        let pair = pair.and_then(|(key, value)| Some((key.key()?, value)));
        let Some((key, value)) = pair else {
            let needed = "pairs, or maps with `key` and `value`";
            return Err(Fail::operands("fromEntries", needed, &[&item]));
        };
        made.insert(key, value);
    }
    Ok(Value::from_entries(made))
}

fn merge<'a>(c: &Call<'_, 'a>) -> Done<Value<'a>> {
    let mut all = BTreeMap::new();
    for at in 0..c.arguments.len() {
        let map = c.map(at)?;
        c.budget.build_map(all.len() + map.len())?;
        all.extend(map.iter());
    }
    Ok(Value::from_entries(all))
}

fn key<'a>(c: &Call<'_, 'a>, at: usize) -> Done<Text<'a>> {
    c.value(at).key().ok_or_else(|| c.not(at, "a text"))
}

fn put<'a>(c: &Call<'_, 'a>) -> Done<Value<'a>> {
    let mut map = own(c, c.map(0)?, 1)?;
    map.insert(key(c, 1)?, c.value(2).clone());
    Ok(Value::from_entries(map))
}

fn select<'a>(c: &Call<'_, 'a>, is_kept: bool) -> Done<Value<'a>> {
    let keys = (1..c.arguments.len()).map(|at| key(c, at));
    let keys = keys.collect::<Done<Vec<_>>>()?;
    let map = c.map(0)?;
    c.budget.spend(map.len() * keys.len())?;
    let mut map = own(c, map, 0)?;
    map.retain(|name, _| keys.contains(name) == is_kept);
    Ok(Value::from_entries(map))
}
