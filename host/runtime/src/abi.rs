//! Bindings of `witmq:plugin@0.1.0`, generated from `wit/`. One file per frozen version, once there are more.
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

wasmtime::component::bindgen!({
    path: "../../wit",
    world: "everything",
});

pub(crate) use exports::witmq::plugin::{authenticate, authorize, lifecycle, transform};
