//! What a guest built with Rust's std (or any libc) imports of WASI 0.2: answered without ever waiting.
//!
//! Owns: standard output and error (into the plugin's log), empty arguments and environment, clocks and random.
//! Everything else of WASI is a trap when called: no files, no sockets, and no waiting, because a guest blocked
//! inside a host call is out of the epoch's reach.

use crate::imports::State;
use rand::RngCore;
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, LinkerInstance, Resource, ResourceType, Val};

/// A handle of `wasi:io`: its number says which. The same host type as that of the stubs for what is not defined here,
/// because several interfaces name one resource.
type Handle = ();

const STDOUT: u32 = 1;
const STDERR: u32 = 2;
const READY: u32 = 3;
/// What `check-write` allows at a time.
const WRITE_BYTES: u64 = 4096;

type Cx<'a> = StoreContextMut<'a, State>;

/// Defines these interfaces in the very version a component imports them in: what is not defined by that name is
/// stubbed as a trap afterwards.
pub(crate) fn add_to_linker(linker: &mut Linker<State>, version: &str) -> wasmtime::Result<()> {
    poll(linker, version)?;
    streams(linker, version)?;
    environment(linker, version)?;
    clocks(linker, version)?;
    random(linker, version)
}

/// A resource of ours that needs no cleaning up.
fn resource(instance: &mut LinkerInstance<'_, State>, name: &str) -> wasmtime::Result<()> {
    instance.resource(name, ResourceType::host::<Handle>(), |_, _| Ok(()))
}

/// Streams never make anyone wait, so what waits for them is ready at once; what waits for time is refused.
fn poll(linker: &mut Linker<State>, version: &str) -> wasmtime::Result<()> {
    let mut poll = linker.instance(&format!("wasi:io/poll@{version}"))?;
    resource(&mut poll, "pollable")?;
    poll.func_new("[method]pollable.ready", |_, _, _, results| {
        answer(results, Val::Bool(true))
    })?;
    poll.func_new("[method]pollable.block", |mut cx, _, params, _| {
        give_back(&mut cx, params)
    })?;
    poll.func_new("poll", |mut cx, _, params, results| {
        give_back(&mut cx, params)?;
        let count = params.first().map_or(0, |list| {
            if let Val::List(list) = list {
                list.len()
            } else {
                0
            }
        });
        let all = (0u32..).take(count).map(Val::U32).collect();
        answer(results, Val::List(all))
    })?;
    let mut streams = linker.instance(&format!("wasi:io/streams@{version}"))?;
    streams.func_wrap(
        "[method]output-stream.subscribe",
        |_: Cx<'_>, (_,): (Resource<Handle>,)| Ok((Resource::<Handle>::new_own(READY),)),
    )?;
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

fn streams(linker: &mut Linker<State>, version: &str) -> wasmtime::Result<()> {
    let mut streams = linker.instance(&format!("wasi:io/streams@{version}"))?;
    resource(&mut streams, "output-stream")?;
    streams.func_new(
        "[method]output-stream.check-write",
        |mut cx, _, params, results| {
            give_back(&mut cx, params)?;
            answer(
                results,
                Val::Result(Ok(Some(Box::new(Val::U64(WRITE_BYTES))))),
            )
        },
    )?;
    for name in [
        "write",
        "blocking-write-and-flush",
        "flush",
        "blocking-flush",
    ] {
        streams.func_new(
            &format!("[method]output-stream.{name}"),
            |mut cx, _, params, results| {
                give_back(&mut cx, params)?;
                write(&mut cx, params);
                answer(results, Val::Result(Ok(None)))
            },
        )?;
    }
    for (name, number) in [("stdout", STDOUT), ("stderr", STDERR)] {
        let mut instance = linker.instance(&format!("wasi:cli/{name}@{version}"))?;
        instance.func_wrap(&format!("get-{name}"), move |_: Cx<'_>, (): ()| {
            Ok((Resource::<Handle>::new_own(number),))
        })?;
    }
    for name in ["stdin", "stdout", "stderr"] {
        let mut instance = linker.instance(&format!("wasi:cli/terminal-{name}@{version}"))?;
        instance.func_new(&format!("get-terminal-{name}"), |_, _, _, results| {
            answer(results, Val::Option(None))
        })?;
    }
    Ok(())
}

/// Gives borrowed handles back: a call must not keep them.
fn give_back(cx: &mut Cx<'_>, params: &[Val]) -> wasmtime::Result<()> {
    for param in params {
        match param {
            Val::Resource(handle) => handle.resource_drop(&mut *cx)?,
            Val::List(handles) if matches!(handles.first(), Some(Val::Resource(_))) => {
                give_back(cx, handles)?
            }
            _ => {}
        }
    }
    Ok(())
}

/// What the guest prints is a line of its log.
fn write(cx: &mut Cx<'_>, params: &[Val]) {
    let Some(Val::List(bytes)) = params.get(1) else {
        return;
    };
    let bytes: Vec<u8> = bytes
        .iter()
        .filter_map(|b| if let Val::U8(b) = b { Some(*b) } else { None })
        .collect();
    cx.data_mut().print(&bytes);
}

fn answer(results: &mut [Val], value: Val) -> wasmtime::Result<()> {
    if let Some(slot) = results.first_mut() {
        *slot = value;
    }
    Ok(())
}

fn environment(linker: &mut Linker<State>, version: &str) -> wasmtime::Result<()> {
    let mut instance = linker.instance(&format!("wasi:cli/environment@{version}"))?;
    instance.func_new("get-environment", |_, _, _, results| {
        answer(results, Val::List(Vec::new()))
    })?;
    instance.func_new("get-arguments", |_, _, _, results| {
        answer(results, Val::List(Vec::new()))
    })?;
    instance.func_new("initial-cwd", |_, _, _, results| {
        answer(results, Val::Option(None))
    })?;
    let mut preopens = linker.instance(&format!("wasi:filesystem/preopens@{version}"))?;
    preopens.func_new("get-directories", |_, _, _, results| {
        answer(results, Val::List(Vec::new()))
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
    instance.func_new("now", |_, _, _, results| {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        answer(results, datetime(now.as_secs(), now.subsec_nanos()))
    })?;
    instance.func_new("resolution", |_, _, _, results| {
        answer(results, datetime(0, 1))
    })
}

fn datetime(seconds: u64, nanoseconds: u32) -> Val {
    Val::Record(vec![
        ("seconds".to_owned(), Val::U64(seconds)),
        ("nanoseconds".to_owned(), Val::U32(nanoseconds)),
    ])
}

fn random(linker: &mut Linker<State>, version: &str) -> wasmtime::Result<()> {
    let mut instance = linker.instance(&format!("wasi:random/insecure-seed@{version}"))?;
    instance.func_new("insecure-seed", |_, _, _, results| {
        answer(
            results,
            Val::Tuple(vec![Val::U64(random_u64()), Val::U64(random_u64())]),
        )
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
                let count = usize::try_from(count).unwrap_or(usize::MAX).min(64 * 1024);
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
