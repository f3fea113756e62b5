//! Bindings generated from `wit/`: one module per hook, so that a plugin exports only the hooks it registers.
//! No name from here reaches a plugin's author.
#![allow(
    unsafe_code,
    missing_docs,
    unused_qualifications,
    unreachable_pub,
    trivial_numeric_casts,
    elided_lifetimes_in_paths,
    dead_code,
    clippy::all,
    clippy::pedantic,
    clippy::unwrap_used,
    clippy::mem_forget,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::use_self,
    clippy::too_many_lines,
    reason = "generated code: the ABI of components cannot be expressed without it"
)]

pub mod base {
    wit_bindgen::generate!({
        path: "../wit",
        world: "base",
        pub_export_macro: true,
        export_macro_name: "export_lifecycle",
        default_bindings_module: "witmq_sdk::base",
    });
}

pub mod authenticating {
    wit_bindgen::generate!({
        path: "../wit",
        world: "authenticating",
        pub_export_macro: true,
        export_macro_name: "export_authenticate",
        default_bindings_module: "witmq_sdk::authenticating",
    });
}

pub mod authorizing {
    wit_bindgen::generate!({
        path: "../wit",
        world: "authorizing",
        pub_export_macro: true,
        export_macro_name: "export_authorize",
        default_bindings_module: "witmq_sdk::authorizing",
    });
}

pub mod transforming {
    wit_bindgen::generate!({
        path: "../wit",
        world: "transforming",
        pub_export_macro: true,
        export_macro_name: "export_transform",
        default_bindings_module: "witmq_sdk::transforming",
    });
}
