//! `#[plugin(…)]`: the registration of a struct and its manifest.

use crate::arguments::{Arguments, hook_trait};
use crate::json;
use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::{Data, DeriveInput, Error, Result};

pub(crate) fn expand(arguments: TokenStream, item: &TokenStream) -> Result<TokenStream> {
    let item: DeriveInput = syn::parse2(item.clone())?;
    let arguments: Arguments = syn::parse2(arguments)?;
    if !matches!(item.data, Data::Struct(_)) {
        return Err(Error::new(item.ident.span(), "a plugin is a struct"));
    }
    if !item.generics.params.is_empty() {
        let text = "a component holds one plugin: it cannot be generic";
        return Err(Error::new_spanned(&item.generics, text));
    }
    let plugin = &item.ident;
    let manifest = manifest(&arguments, &item);
    let registered = registered(&arguments, plugin);
    let exports = exports(&arguments, plugin);
    Ok(quote! {
        const _: () = {
            #manifest
            #registered
            #exports
        };
    })
}

/// The manifest as constant bytes, and the custom section that holds it.
fn manifest(arguments: &Arguments, item: &DeriveInput) -> TokenStream {
    let plugin = &item.ident;
    let name = match &arguments.name {
        Some(name) => quote!(#name),
        None => quote!(::core::env!("CARGO_PKG_NAME")),
    };
    let rest = rest(arguments, &json::description(&item.attrs));
    let tests = arguments.tests.as_ref().map(|file| {
        // Next to `Cargo.toml`, like every file that a package names.
        let path = quote_spanned! {file.span()=>
            ::core::include_str!(::core::concat!(::core::env!("CARGO_MANIFEST_DIR"), "/", #file))
        };
        quote!(.text(",\"tests\":").text(#path))
    });
    quote! {
        const fn manifest<const N: usize>() -> ::witmq_sdk::register::Writer<N> {
            ::witmq_sdk::register::Writer::new()
                .text("{\"name\":\"")
                .text(#name)
                .text("\",\"version\":\"")
                .text(::core::env!("CARGO_PKG_VERSION"))
                .text("\"")
                .text(#rest)
                .text(",\"config\":")
                .schema(&<<#plugin as ::witmq_sdk::Plugin>::Config as ::witmq_sdk::Config>::SCHEMA)
                #tests
                .text("}")
        }
        const LENGTH: usize = manifest::<0>().length();
        const MANIFEST: [u8; LENGTH] = manifest::<LENGTH>().finish();

        #[cfg(target_family = "wasm")]
        #[allow(unsafe_code, reason = "generated: a custom section of the component")]
        #[used]
        #[unsafe(link_section = "witmq:manifest")]
        static SECTION: [u8; LENGTH] = MANIFEST;
    }
}

/// What the manifest says between the version and the schema.
fn rest(arguments: &Arguments, description: &str) -> String {
    let mut rest = String::new();
    if !description.is_empty() {
        rest.push_str(&format!(",\"description\":{description}"));
    }
    let needs: Vec<String> = match &arguments.needs {
        Some(needs) => needs.iter().map(|need| format!("\"{need}\"")).collect(),
        // Only these two hooks are given messages.
        None if arguments.has("transform") || arguments.has("sink") => {
            vec!["\"payload\"".to_owned()]
        }
        None => Vec::new(),
    };
    rest.push_str(&format!(",\"needs\":[{}]", needs.join(",")));
    if let Some(capabilities) = &arguments.capabilities {
        let texts: Vec<_> = capabilities
            .iter()
            .map(|one| json::string(&one.value()))
            .collect();
        rest.push_str(&format!(",\"capabilities\":[{}]", texts.join(",")));
    }
    if let Some(limits) = &arguments.limits {
        let one =
            |(name, value): &(Ident, syn::LitInt)| format!("\"{name}\":{}", value.base10_digits());
        let limits: Vec<_> = limits.iter().map(one).collect();
        rest.push_str(&format!(",\"limits\":{{{}}}", limits.join(",")));
    }
    rest
}

/// The instance, and what tests call by name.
fn registered(arguments: &Arguments, plugin: &Ident) -> TokenStream {
    let names = arguments.hooks.iter().map(ToString::to_string);
    // An error about a missing trait stands at the hook that asks for it.
    let checks = arguments.hooks.iter().map(|hook| {
        let of = hook_trait(hook);
        let mut plugin = plugin.clone();
        plugin.set_span(hook.span());
        quote_spanned! {hook.span()=>
            const fn #hook<P: ::witmq_sdk::#of>() {}
            #hook::<#plugin>();
        }
    });
    let called = called(arguments);
    quote! {
        const _: () = {
            #(#checks)*
        };

        ::std::thread_local! {
            static INSTANCE: ::core::cell::RefCell<::core::option::Option<#plugin>> =
                const { ::core::cell::RefCell::new(::core::option::Option::None) };
        }

        impl ::witmq_sdk::register::Registered for #plugin {
            const MANIFEST: &'static str = match ::core::str::from_utf8(&MANIFEST) {
                ::core::result::Result::Ok(text) => text,
                ::core::result::Result::Err(_) => "",
            };
            const HOOKS: &'static [&'static str] = &[#(#names),*];

            fn with<R>(f: impl ::core::ops::FnOnce(&mut ::core::option::Option<Self>) -> R) -> R {
                INSTANCE.with_borrow_mut(f)
            }
            #called
        }
    }
}

/// The hooks that tests call by name.
fn called(arguments: &Arguments) -> TokenStream {
    let transform = arguments.has("transform").then(|| {
        quote! {
            fn transform(
                &mut self,
                message: &::witmq_sdk::Message,
            ) -> ::core::option::Option<::core::result::Result<::witmq_sdk::Outcome, ::witmq_sdk::Failure>> {
                ::core::option::Option::Some(::witmq_sdk::Transform::on_message(self, message))
            }
        }
    });
    let sink = arguments.has("sink").then(|| {
        quote! {
            fn sink(
                &mut self,
                batch: &[::witmq_sdk::Message],
            ) -> ::core::option::Option<
                ::core::result::Result<::std::vec::Vec<::witmq_sdk::Delivered>, ::witmq_sdk::Failure>,
            > {
                ::core::option::Option::Some(::witmq_sdk::Sink::deliver(self, batch))
            }
        }
    });
    let authenticate = arguments.has("authenticate").then(|| {
        quote! {
            fn authenticate(
                &mut self,
                attempt: &::witmq_sdk::Attempt,
                round: ::core::option::Option<(&[u8], &[u8])>,
            ) -> ::core::option::Option<::core::result::Result<::witmq_sdk::Step, ::witmq_sdk::Failure>> {
                ::core::option::Option::Some(match round {
                    ::core::option::Option::Some((state, data)) => {
                        ::witmq_sdk::Authenticate::proceed(self, attempt, state, data)
                    }
                    ::core::option::Option::None => ::witmq_sdk::Authenticate::begin(self, attempt),
                })
            }
        }
    });
    let timer = arguments.has("timer").then(|| {
        quote! {
            fn timer(
                &mut self,
                token: u64,
                due_ms: u64,
            ) -> ::core::option::Option<::core::result::Result<(), ::witmq_sdk::Failure>> {
                ::core::option::Option::Some(::witmq_sdk::Timer::fire(self, token, due_ms))
            }
        }
    });
    quote! {
        #transform
        #sink
        #authenticate
        #timer
    }
}

/// The exports of the component.
fn exports(arguments: &Arguments, plugin: &Ident) -> TokenStream {
    let hooks = arguments.hooks.iter().map(|hook| {
        let module = match hook.to_string().as_str() {
            "authenticate" => "authenticating",
            "authorize" => "authorizing",
            "transform" => "transforming",
            "sink" => "sinking",
            "events" => "observing",
            _ => "timing",
        };
        let module = format_ident!("{module}");
        let export = format_ident!("export_{hook}");
        // The function of `transform` is not the generated one.
        let from = match hook == "transform" {
            true => format_ident!("answering"),
            false => module.clone(),
        };
        quote!(::witmq_sdk::#module::#export!(Adapter with_types_in ::witmq_sdk::#from);)
    });
    // Only `transform` is called for each message by itself.
    let desk = arguments.has("transform").then(
        || quote!(::witmq_sdk::lending::export_desk!(Adapter with_types_in ::witmq_sdk::lending);),
    );
    quote! {
        #[cfg(target_family = "wasm")]
        #[allow(unsafe_code, missing_docs, unused_qualifications, reason = "generated: the exports of a component")]
        const _: () = {
            type Adapter = ::witmq_sdk::register::Exports<#plugin>;
            ::witmq_sdk::base::export_lifecycle!(Adapter with_types_in ::witmq_sdk::base);
            #(#hooks)*
            #desk
        };
    }
}
