//! Bindings of `witmq:plugin`, generated from `wit/`; the hot export by hand in `hot`. They serve components of every
//! version of the same major (ADR 0013).
//!
//! Exports are called asynchronously: what waits may; what does not is ready at once (`instance::at_once`).
#![allow(
    unsafe_code,
    missing_docs,
    unused_qualifications,
    unreachable_pub,
    trivial_numeric_casts,
    clippy::all,
    clippy::pedantic,
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::use_self,
    clippy::too_many_lines,
    reason = "generated code: the ABI of components cannot be expressed without it (ADR 0003)"
)]

pub(crate) mod hot;
pub(crate) mod laid;
pub(crate) mod lean;
pub(crate) mod said;

wasmtime::component::bindgen!({
    path: "../../wit",
    world: "everything",
    imports: {
        "witmq:plugin/host-clients": async | trappable,
        default: trappable,
    },
    exports: { default: async },
});

pub(crate) use exports::witmq::plugin::{authenticate, authorize, events, lifecycle, sink, timer};
