//! What ended a call, by its name, and what is told of a trap: where the guest was.

use crate::limited::Bound;
use crate::log::Level;
use crate::package::first_line;
use crate::state::State;
use wasmtime::component::ResourceTableError;
use wasmtime::{Store, Trap, WasmBacktrace};
use witmq_broker::ports::StepFailure;

/// Frames that are reported.
const FRAMES: usize = 12;
/// Functions of a language that end a program, above the one whose fault it is.
const MACHINERY: [&str; 6] = [
    "abort",
    "std::",
    "core::panicking",
    "core::option",
    "core::result",
    "__rust",
];

/// Where the guest was, innermost first, into its log.
fn report(store: &Store<State>, error: &wasmtime::Error) {
    let (Some(trap), Some(trace)) = (
        error.downcast_ref::<Trap>(),
        error.downcast_ref::<WasmBacktrace>(),
    ) else {
        return;
    };
    let names = trace.frames().iter().map(|frame| match frame.func_name() {
        Some(name) => format!("{:#}", rustc_demangle::demangle(name)),
        None => format!("function {}", frame.func_index()),
    });
    let is_machinery = |name: &String| MACHINERY.iter().any(|start| name.starts_with(start));
    let frames: Vec<String> = names.skip_while(is_machinery).take(FRAMES).collect();
    let plugin = &store.data().plugin;
    let text = format!("{trap}, in {}", frames.join(" < "));
    plugin.log.write(&plugin.name, Level::Error, &text);
}

/// Names what ended a call, and counts the bound that did; `time` is that of its time.
pub(crate) fn classify(store: &Store<State>, error: &wasmtime::Error, time: Bound) -> StepFailure {
    report(store, error);
    let shared = &store.data().plugin;
    let plugin = shared.name.clone();
    if store.data().memory.exceeded.is_some() {
        return StepFailure::Memory(plugin); // counted when it was refused
    }
    if let Some(ResourceTableError::Full) = error.downcast_ref() {
        shared.limited.hit(Bound::Handles);
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::Interrupt) => {
            shared.limited.hit(time);
            StepFailure::Deadline(plugin)
        }
        Some(trap) => StepFailure::Trap {
            plugin,
            cause: trap.to_string(),
        },
        None => {
            let cause = first_line(error);
            // The budget of bytes that cross the border has no type of its own.
            match cause.contains("hostcalls") {
                true => {
                    shared.limited.hit(Bound::TransferBytes);
                    StepFailure::BadAnswer { plugin, cause }
                }
                false => StepFailure::Trap { plugin, cause },
            }
        }
    }
}
