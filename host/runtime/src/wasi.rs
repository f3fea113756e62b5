//! What a guest built with Rust's std (or any libc) imports of WASI 0.2: answered without ever waiting.
//!
//! Owns: standard output and error (into the plugin's log), standard input (at its end), empty arguments and environment,
//! clocks and random. Everything else of WASI is a trap when called: no files, no sockets, and no waiting, because a guest
//! blocked inside a host call is out of the epoch's reach.

use crate::imports::State;
use rand::RngCore;
use std::collections::BTreeSet;
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use wasmtime::component::types::{ComponentInstance, ComponentItem};
use wasmtime::component::{
    Component, ComponentType, Lift, Linker, LinkerInstance, Lower, Resource, ResourceType,
};
use wasmtime::{Engine, StoreContextMut};

/// A handle of `wasi:io`: its number says which. The same host type as that of the stubs for what is not defined here,
/// because several interfaces name one resource.
type Handle = ();

const STDIN: u32 = 0;
const STDOUT: u32 = 1;
const STDERR: u32 = 2;
const READY: u32 = 3;
/// What `check-write` allows at a time.
const WRITE_BYTES: u64 = 4096;
/// Bytes of random given at a time.
const RANDOM_BYTES: usize = 64 * 1024;

type Cx<'a> = StoreContextMut<'a, State>;

/// Why a stream gives nothing.
#[derive(ComponentType, Lift, Lower)]
#[component(variant)]
enum StreamError {
    /// Never: nothing fails here.
    #[component(name = "last-operation-failed")]
    Failed(Resource<Handle>),
    #[component(name = "closed")]
    Closed,
}

/// A moment of the wall clock.
#[derive(ComponentType, Lift, Lower)]
#[component(record)]
struct Datetime {
    seconds: u64,
    nanoseconds: u32,
}

/// Defines what a component imports of WASI, in the very versions it does: first everything as a trap, then what is
/// answered in its place. What is not of WASI is not touched, so that the linker matches its versions.
pub(crate) fn add_to_linker(
    linker: &mut Linker<State>,
    engine: &Engine,
    component: &Component,
) -> wasmtime::Result<()> {
    let ty = component.component_type();
    let mut versions = BTreeSet::new();
    for (name, import) in ty.imports(engine) {
        let (true, ComponentItem::ComponentInstance(interface)) =
            (name.starts_with("wasi:"), import.ty)
        else {
            continue;
        };
        traps(linker, engine, name, &interface)?;
        let version = name.split_once('@').map(|(_, version)| version);
        versions.extend(version.filter(|version| version.starts_with("0.2.")));
    }
    linker.allow_shadowing(true);
    for version in versions {
        poll(linker, version)?;
        output(linker, version)?;
        input(linker, version)?;
        environment(linker, version)?;
        clocks(linker, version)?;
        random(linker, version)?;
    }
    linker.allow_shadowing(false);
    Ok(())
}

/// Everything of an interface ends the call.
fn traps(
    linker: &mut Linker<State>,
    engine: &Engine,
    name: &str,
    interface: &ComponentInstance,
) -> wasmtime::Result<()> {
    let mut instance = linker.instance(name)?;
    for (item, export) in interface.exports(engine) {
        match export.ty {
            ComponentItem::ComponentFunc(_) => {
                let text = format!("a plugin may not call `{item}` of `{name}`");
                instance.func_new(item, move |_, _, _, _| {
                    Err(wasmtime::Error::msg(text.clone()))
                })?;
            }
            ComponentItem::Resource(_) => resource(&mut instance, item)?,
            _ => {}
        }
    }
    Ok(())
}

/// A handle for the guest, if it may have one more.
fn handle(mut cx: Cx<'_>, number: u32) -> wasmtime::Result<Resource<Handle>> {
    match cx.data_mut().open_handle() {
        true => Ok(Resource::new_own(number)),
        false => Err(wasmtime::Error::msg(
            "it has as many handles open as it may (limits.plugin_handles)",
        )),
    }
}

/// A resource of ours: closing it makes room for another.
fn resource(instance: &mut LinkerInstance<'_, State>, name: &str) -> wasmtime::Result<()> {
    instance.resource(name, ResourceType::host::<Handle>(), |mut cx, _| {
        cx.data_mut().handles += 1;
        Ok(())
    })
}

/// Streams never make anyone wait, so what waits for them is ready at once; what waits for time is refused.
fn poll(linker: &mut Linker<State>, version: &str) -> wasmtime::Result<()> {
    type One = (Resource<Handle>,);
    let mut poll = linker.instance(&format!("wasi:io/poll@{version}"))?;
    resource(&mut poll, "pollable")?;
    poll.func_wrap("[method]pollable.ready", |_: Cx<'_>, (_,): One| Ok((true,)))?;
    poll.func_wrap("[method]pollable.block", |_: Cx<'_>, (_,): One| Ok(()))?;
    poll.func_wrap("poll", |_: Cx<'_>, (all,): (Vec<Resource<Handle>>,)| {
        Ok(((0u32..).take(all.len()).collect::<Vec<_>>(),))
    })?;
    let mut streams = linker.instance(&format!("wasi:io/streams@{version}"))?;
    for name in ["input", "output"] {
        streams.func_wrap(
            &format!("[method]{name}-stream.subscribe"),
            |cx: Cx<'_>, (_,): One| Ok((handle(cx, READY)?,)),
        )?;
    }
    let mut clock = linker.instance(&format!("wasi:clocks/monotonic-clock@{version}"))?;
    for name in ["subscribe-duration", "subscribe-instant"] {
        clock.func_wrap(
            name,
            |_: Cx<'_>, (_,): (u64,)| -> wasmtime::Result<(Resource<Handle>,)> {
                Err(wasmtime::Error::msg(
                    "a plugin may not wait: it would hold up its shard",
                ))
            },
        )?;
    }
    Ok(())
}

/// What the guest prints is a line of its log.
fn output(linker: &mut Linker<State>, version: &str) -> wasmtime::Result<()> {
    type Done = (Result<(), StreamError>,);
    let mut streams = linker.instance(&format!("wasi:io/streams@{version}"))?;
    resource(&mut streams, "output-stream")?;
    streams.func_wrap(
        "[method]output-stream.check-write",
        |_: Cx<'_>, (_,): (Resource<Handle>,)| Ok((Ok::<_, StreamError>(WRITE_BYTES),)),
    )?;
    for name in ["write", "blocking-write-and-flush"] {
        streams.func_wrap(
            &format!("[method]output-stream.{name}"),
            |mut cx: Cx<'_>, (_, bytes): (Resource<Handle>, Vec<u8>)| -> wasmtime::Result<Done> {
                cx.data_mut().print(&bytes);
                Ok((Ok(()),))
            },
        )?;
    }
    for name in ["flush", "blocking-flush"] {
        streams.func_wrap(
            &format!("[method]output-stream.{name}"),
            |_: Cx<'_>, (_,): (Resource<Handle>,)| -> wasmtime::Result<Done> { Ok((Ok(()),)) },
        )?;
    }
    for (name, number) in [("stdin", STDIN), ("stdout", STDOUT), ("stderr", STDERR)] {
        let mut instance = linker.instance(&format!("wasi:cli/{name}@{version}"))?;
        instance.func_wrap(&format!("get-{name}"), move |cx: Cx<'_>, (): ()| {
            Ok((handle(cx, number)?,))
        })?;
        let mut instance = linker.instance(&format!("wasi:cli/terminal-{name}@{version}"))?;
        instance.func_wrap(&format!("get-terminal-{name}"), |_: Cx<'_>, (): ()| {
            Ok((None::<Resource<Handle>>,))
        })?;
    }
    Ok(())
}

/// There is nothing to read.
fn input(linker: &mut Linker<State>, version: &str) -> wasmtime::Result<()> {
    let mut streams = linker.instance(&format!("wasi:io/streams@{version}"))?;
    resource(&mut streams, "input-stream")?;
    for name in ["read", "blocking-read"] {
        streams.func_wrap(
            &format!("[method]input-stream.{name}"),
            |_: Cx<'_>, (_, _): (Resource<Handle>, u64)| {
                Ok((Err::<Vec<u8>, _>(StreamError::Closed),))
            },
        )?;
    }
    Ok(())
}

fn environment(linker: &mut Linker<State>, version: &str) -> wasmtime::Result<()> {
    let mut instance = linker.instance(&format!("wasi:cli/environment@{version}"))?;
    instance.func_wrap("get-environment", |_: Cx<'_>, (): ()| {
        Ok((Vec::<(String, String)>::new(),))
    })?;
    instance.func_wrap("get-arguments", |_: Cx<'_>, (): ()| {
        Ok((Vec::<String>::new(),))
    })?;
    instance.func_wrap("initial-cwd", |_: Cx<'_>, (): ()| Ok((None::<String>,)))?;
    let mut preopens = linker.instance(&format!("wasi:filesystem/preopens@{version}"))?;
    preopens.func_wrap("get-directories", |_: Cx<'_>, (): ()| {
        Ok((Vec::<(Resource<Handle>, String)>::new(),))
    })
}

fn clocks(linker: &mut Linker<State>, version: &str) -> wasmtime::Result<()> {
    let start = Instant::now();
    let mut instance = linker.instance(&format!("wasi:clocks/monotonic-clock@{version}"))?;
    instance.func_wrap("now", move |_: Cx<'_>, (): ()| {
        Ok((u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX),))
    })?;
    instance.func_wrap("resolution", |_: Cx<'_>, (): ()| Ok((1u64,)))?;
    let mut instance = linker.instance(&format!("wasi:clocks/wall-clock@{version}"))?;
    instance.func_wrap("now", |_: Cx<'_>, (): ()| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.unwrap_or_default();
        Ok((Datetime {
            seconds: now.as_secs(),
            nanoseconds: now.subsec_nanos(),
        },))
    })?;
    instance.func_wrap("resolution", |_: Cx<'_>, (): ()| {
        Ok((Datetime {
            seconds: 0,
            nanoseconds: 1,
        },))
    })
}

fn random(linker: &mut Linker<State>, version: &str) -> wasmtime::Result<()> {
    let mut instance = linker.instance(&format!("wasi:random/insecure-seed@{version}"))?;
    instance.func_wrap("insecure-seed", |_: Cx<'_>, (): ()| {
        Ok(((random_u64(), random_u64()),))
    })?;
    for name in ["random", "insecure"] {
        let mut instance = linker.instance(&format!("wasi:random/{name}@{version}"))?;
        let prefix = if name == "random" { "" } else { "insecure-" };
        instance.func_wrap(&format!("get-{prefix}random-u64"), |_: Cx<'_>, (): ()| {
            Ok((random_u64(),))
        })?;
        instance.func_wrap(
            &format!("get-{prefix}random-bytes"),
            |_: Cx<'_>, (count,): (u64,)| {
                let count = usize::try_from(count)
                    .unwrap_or(usize::MAX)
                    .min(RANDOM_BYTES);
                let mut bytes = vec![0_u8; count];
                rand::rng().fill_bytes(&mut bytes);
                Ok((bytes,))
            },
        )?;
    }
    Ok(())
}

/// From a generator fit for secrets, seeded by the operating system: plugins make nonces and keys with it.
fn random_u64() -> u64 {
    rand::rng().next_u64()
}
