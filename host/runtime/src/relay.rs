//! A relay: a core module put into a component, through which the engine finds `on-message` at once.
//!
//! For every call the engine looks the exported core function up. For one that a module defines it searches its tables, some
//! 700 instructions; one that a module imports it has at hand. So the component is given one more module, which imports
//! the function and exports it again. It has no code and nothing runs in it.
//!
//! Owns: [`relayed`]. Must not: judge the component; what it cannot read or place stays as it is.

use std::ops::Range;
use wasmparser::{ComponentAlias, ExternalKind, Parser, Payload};

/// Part of the key of what is compiled: another number where the relay changes.
pub(crate) const VERSION: u32 = 1;

/// The core function behind `on-message` of `transform`.
const BEGIN: &str = "witmq:plugin/transform@";
const END: &str = "#on-message";
/// The module of the import.
const FROM: &str = "r";

const CORE_MODULE: u8 = 1;
const CORE_INSTANCE: u8 = 2;
const ALIAS: u8 = 6;

/// The flat type of `on-message`: its 15 parameters, and where its answer lies. The engine refuses what has another one.
const PARAMETERS: [u8; 15] = {
    const I32: u8 = 0x7f;
    const I64: u8 = 0x7e;
    [
        I32, I32, I32, I32, I32, I32, I32, I32, I32, I32, I32, I64, I64, I32, I32,
    ]
};
const ANSWER: u8 = 0x7f;

/// Where the function is brought into the component.
struct Found {
    /// The section of aliases, with its head.
    section: Range<usize>,
    /// Its contents.
    contents: Range<usize>,
    /// The alias in it.
    alias: Range<usize>,
    /// The core instance that it is taken from.
    instance: u32,
    name: String,
    /// Core modules and core instances before.
    modules: u32,
    instances: u32,
}

/// The component with a relay; `None` where none can be placed.
pub(crate) fn relayed(wasm: &[u8]) -> Option<Vec<u8>> {
    let found = find(wasm)?;
    let mut out = wasm.get(..found.section.start)?.to_vec();
    section(&mut out, CORE_MODULE, &module(&found.name)?);
    section(&mut out, CORE_INSTANCE, &instance(&found)?);
    let mut aliases = wasm.get(found.contents.start..found.alias.start)?.to_vec();
    aliases.extend([0x00, 0x00, 0x01]); // a core function, from an export of a core instance
    number(&mut aliases, found.instances);
    text(&mut aliases, &found.name)?;
    aliases.extend(wasm.get(found.alias.end..found.contents.end)?);
    section(&mut out, ALIAS, &aliases);
    out.extend(wasm.get(found.section.end..)?);
    Some(out)
}

/// The alias, if neither modules nor instances follow it: their numbers would change.
fn find(wasm: &[u8]) -> Option<Found> {
    let (mut depth, mut modules, mut instances, mut end) = (0_u32, 0, 0, 0);
    let mut found: Option<Found> = None;
    for payload in Parser::new(0).parse_all(wasm) {
        match payload.ok()? {
            Payload::Version { range, .. } => {
                depth += 1;
                end = range.end;
                continue;
            }
            Payload::End(at) => {
                depth = depth.checked_sub(1)?;
                end = at;
                continue;
            }
            _ if depth != 1 => continue,
            Payload::ModuleSection { .. } if found.is_none() => modules += 1,
            Payload::InstanceSection(reader) if found.is_none() => {
                instances += reader.count();
                end = reader.range().end;
            }
            Payload::ModuleSection { .. } | Payload::InstanceSection(_) => return None,
            Payload::ComponentAliasSection(reader) => {
                let contents = reader.range();
                let mut items = reader.into_iter_with_offsets().peekable();
                while let Some(item) = items.next() {
                    let (at, alias) = item.ok()?;
                    let next = match items.peek() {
                        Some(Ok((next, _))) => *next,
                        Some(Err(_)) => return None,
                        None => contents.end,
                    };
                    let ComponentAlias::CoreInstanceExport {
                        kind: ExternalKind::Func,
                        instance_index,
                        name,
                    } = alias
                    else {
                        continue;
                    };
                    if name.starts_with(BEGIN) && name.ends_with(END) {
                        if found.is_some() {
                            return None;
                        }
                        found = Some(Found {
                            section: end..contents.end,
                            contents: contents.clone(),
                            alias: at..next,
                            instance: instance_index,
                            name: name.to_owned(),
                            modules,
                            instances,
                        });
                    }
                }
                end = contents.end;
            }
            other => end = other.as_section().map_or(end, |(_, range)| range.end),
        }
    }
    found
}

/// `(module (import "r" NAME (func $f (type …))) (export NAME (func $f)))`
fn module(name: &str) -> Option<Vec<u8>> {
    let mut out = b"\0asm\x01\0\0\0".to_vec();
    let mut types = vec![1, 0x60, u8::try_from(PARAMETERS.len()).ok()?];
    types.extend(PARAMETERS);
    types.extend([1, ANSWER]);
    section(&mut out, 1, &types);
    let mut imports = vec![1];
    text(&mut imports, FROM)?;
    text(&mut imports, name)?;
    imports.extend([0x00, 0]);
    section(&mut out, 2, &imports);
    let mut exports = vec![1];
    text(&mut exports, name)?;
    exports.extend([0x00, 0]);
    section(&mut out, 7, &exports);
    Some(out)
}

/// `(core instance (instantiate RELAY (with "r" (instance ORIGINAL))))`
fn instance(found: &Found) -> Option<Vec<u8>> {
    let mut out = vec![1, 0x00];
    number(&mut out, found.modules);
    out.push(1);
    text(&mut out, FROM)?;
    out.push(0x12);
    number(&mut out, found.instance);
    Some(out)
}

fn section(out: &mut Vec<u8>, id: u8, contents: &[u8]) {
    out.push(id);
    number(out, u32::try_from(contents.len()).unwrap_or(u32::MAX));
    out.extend(contents);
}

fn text(out: &mut Vec<u8>, text: &str) -> Option<()> {
    number(out, u32::try_from(text.len()).ok()?);
    out.extend(text.as_bytes());
    Some(())
}

/// LEB128.
fn number(out: &mut Vec<u8>, mut number: u32) {
    loop {
        let [low, ..] = number.to_le_bytes();
        number >>= 7;
        if number == 0 {
            return out.push(low & 0x7f);
        }
        out.push(low | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine;
    use wasmtime::component::{Component, Linker, Val};
    use wasmtime::{Engine, Store};

    const NAME: &str = "witmq:plugin/transform@1.0.0#on-message";

    /// A component whose function has parameters that lie flat as those of `on-message` do; `before` and `after` its alias.
    fn component(last: &str, before: &str, after: &str) -> Vec<u8> {
        let core = format!("{} i64 i64 i32 {last}", "i32 ".repeat(11));
        let types = (0..11).map(|_| "u32").chain(["u64", "u64", "u32"]);
        let flat = |name| match name {
            "i64" => "u64",
            _ => "u32",
        };
        let types: String = types
            .chain([flat(last)])
            .enumerate()
            .map(|(number, of)| format!("(param \"p{number}\" {of})"))
            .collect();
        wat::parse_str(format!(
            "(component
                (core module $m
                    (func (export \"other\") (result i32) i32.const 1)
                    (func (export \"{NAME}\") (param {core}) (result i32) local.get 4))
                (core instance $i (instantiate $m))
                {before}
                (alias core export $i \"other\" (core func $o))
                (alias core export $i \"{NAME}\" (core func $f))
                {after}
                (func (export \"other\") (result u32) (canon lift (core func $o)))
                (func (export \"f\") {types} (result u32) (canon lift (core func $f))))"
        ))
        .unwrap()
    }

    fn call(engine: &Engine, wasm: &[u8]) -> Vec<Val> {
        let component = Component::new(engine, wasm).unwrap();
        let mut store = Store::new(engine, ());
        store.set_epoch_deadline(1_000_000);
        let instance = Linker::new(engine).instantiate(&mut store, &component);
        let instance = instance.unwrap();
        let mut answers = Vec::new();
        let mut given: Vec<_> = (0..15).map(Val::U32).collect();
        (given[11], given[12]) = (Val::U64(11), Val::U64(12));
        for (name, given) in [("other", &[][..]), ("f", &given)] {
            let func = instance.get_func(&mut store, name).unwrap();
            let mut answer = [Val::Bool(false)];
            func.call(&mut store, given, &mut answer).unwrap();
            answers.extend(answer);
        }
        answers
    }

    #[test]
    fn a_component_does_the_same_with_a_relay() {
        let engine = engine::engine().unwrap();
        for before in ["", "(core module) (core instance (instantiate 1))"] {
            let wasm = component("i32", before, "");
            let relayed = relayed(&wasm).unwrap();
            let modules = |wasm: &[u8]| {
                let all = Parser::new(0).parse_all(wasm);
                all.filter(|payload| matches!(payload, Ok(Payload::ModuleSection { .. })))
                    .count()
            };
            assert_eq!(modules(&relayed), modules(&wasm) + 1);
            let answers = call(&engine, &relayed);
            assert_eq!(answers, [Val::U32(1), Val::U32(4)]);
            assert_eq!(answers, call(&engine, &wasm));
        }
    }

    #[test]
    fn a_function_of_another_type_is_refused_by_the_engine_and_not_run() {
        let engine = engine::engine().unwrap();
        let relayed = relayed(&component("i64", "", "")).unwrap();
        assert!(Component::new(&engine, relayed).is_err());
    }

    #[test]
    fn what_has_no_place_for_a_relay_stays_as_it_is() {
        assert!(relayed(b"\0asm\x0d\0\x01\0").is_none(), "no such function");
        assert!(relayed(b"\0asm\x01\0\0\0").is_none(), "no component");
        assert!(relayed(b"other").is_none(), "no WebAssembly");
        let whole = component("i32", "", "");
        assert!(relayed(&whole[..whole.len() - 1]).is_none(), "cut");
        // Their numbers would change.
        for after in [
            "(core module)",
            "(core instance (export \"o\" (func $o)))",
            &format!("(alias core export $i \"{NAME}\" (core func))"),
        ] {
            assert!(relayed(&component("i32", "", after)).is_none(), "{after}");
        }
    }
}
