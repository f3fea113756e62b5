//! The macros of `witmq-sdk`, which re-exports them: use them from there.
//!
//! Owns: reading what an author wrote, and words at the right place where it is wrong. Must not: know the ABI; what is
//! generated calls `witmq_sdk::register`, which does the work.

mod arguments;
mod case;
mod config;
mod json;
mod plugin;
mod serde;

use proc_macro::TokenStream;

/// Makes a struct a plugin: `#[witmq_sdk::plugin(transform, events)]`, with one or more of the hooks `authenticate`,
/// `authorize`, `transform`, `sink`, `events` and `timer`, each of which is the trait of that name.
///
/// It writes the component's manifest: name and version of the package, the first paragraph of the struct's doc comment
/// as description, and the schema of the configuration. What else the manifest says is given with the hooks:
///
/// - `needs(payload, properties, client)`: what a message is filled with. Without it that is the payload; `needs()` is
///   nothing but topic and flags, which is fastest.
/// - `capabilities("publish:alerts/#", "http:api.example.com", "secret:token", "clients")`: what an operator is asked to
///   grant.
/// - `limits(memory_bytes = 8_388_608, deadline_ms = 5, timeout_ms = 2000)`: tighter limits
///   than the operator's.
/// - `tests = "tests.json"`: test vectors in a file next to `Cargo.toml`, which the broker runs before a version serves;
///   `TestBroker::run_vectors` runs them in `cargo test`.
/// - `name = "scale"`: another name than the package's.
#[proc_macro_attribute]
pub fn plugin(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let item = proc_macro2::TokenStream::from(item);
    match plugin::expand(arguments.into(), &item) {
        Ok(made) => quote::quote!(#item #made).into(),
        // The struct stays, so that the compiler has nothing else to say.
        Err(error) => {
            let error = error.into_compile_error();
            quote::quote!(#item #error).into()
        }
    }
}

/// Gives a configuration a schema; see the trait `witmq_sdk::Config`.
#[proc_macro_derive(Config, attributes(config, serde))]
pub fn config(item: TokenStream) -> TokenStream {
    config::expand(item.into())
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}
