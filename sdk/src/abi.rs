//! Bindings generated from `wit/`: one module per hook, so that a plugin exports only the hooks it has.
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
        generate_unused_types: true,
    });
}

/// The bindings of one hook; messages and failures are those of `base`.
macro_rules! hook {
    ($module:ident, $world:literal, $export:literal, $bindings:literal) => {
        pub mod $module {
            wit_bindgen::generate!({
                path: "../wit",
                world: $world,
                pub_export_macro: true,
                export_macro_name: $export,
                default_bindings_module: $bindings,
                with: { "witmq:plugin/types@1.0.0": crate::abi::base::witmq::plugin::types },
            });
        }
    };
}

hook!(
    authenticating,
    "authenticating",
    "export_authenticate",
    "witmq_sdk::authenticating"
);
hook!(
    authorizing,
    "authorizing",
    "export_authorize",
    "witmq_sdk::authorizing"
);
hook!(
    transforming,
    "transforming",
    "export_transform",
    "witmq_sdk::transforming"
);
hook!(sinking, "sinking", "export_sink", "witmq_sdk::sinking");
hook!(
    observing,
    "observing",
    "export_events",
    "witmq_sdk::observing"
);
hook!(timing, "timing", "export_timer", "witmq_sdk::timing");

/// What a broker asks for memory that it may put messages into (`crate::desk`); beside the interface of plugins, and not needed.
pub mod lending {
    wit_bindgen::generate!({
        inline: "
            package witmq:guest@1.0.0;
            interface desk {
                /// Memory that lies where it is, and that only the broker writes: its address, or 0.
                lend: func(bytes: u32) -> u32;
            }
            world lending {
                export desk;
            }
        ",
        world: "lending",
        pub_export_macro: true,
        export_macro_name: "export_desk",
        default_bindings_module: "witmq_sdk::lending",
    });
}
