//! What is told of a trap: where the guest was when it ended.

use crate::log::Level;
use crate::state::State;
use wasmtime::{Store, Trap, WasmBacktrace};

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
pub(crate) fn report(store: &Store<State>, error: &wasmtime::Error) {
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
