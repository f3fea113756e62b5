//! `#[derive(Config)]`: the schema of a type from its fields, doc comments and attributes.

use crate::json;
use crate::serde::Serde;
use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::ext::IdentExt as _;
use syn::meta::ParseNestedMeta;
use syn::spanned::Spanned as _;
use syn::{
    Data, DataEnum, DeriveInput, Error, Field, Fields, FieldsNamed, Lit, LitInt, LitStr, Result,
    Token, Variant, parse_quote,
};

pub(crate) fn expand(item: TokenStream) -> Result<TokenStream> {
    let mut item: DeriveInput = syn::parse2(item)?;
    let serde = Serde::read(&item.attrs)?;
    let schema = match &item.data {
        Data::Struct(data) => match &data.fields {
            Fields::Named(fields) => object(fields, &serde, serde.rename_all, None)?,
            Fields::Unnamed(fields) if fields.unnamed.len() == 1 => {
                let inner = fields.unnamed.first().map(|field| &field.ty);
                quote!(<#inner as ::witmq_sdk::Config>::SCHEMA)
            }
            other => {
                let text = "a configuration is a struct with named fields, or around one value";
                return Err(Error::new(span_of(other, &item), text));
            }
        },
        Data::Enum(data) => choices(data, &serde)?,
        Data::Union(_) => return Err(Error::new(item.ident.span(), "a union has no schema")),
    };
    let description = json::description(&item.attrs);
    let ident = &item.ident;
    for parameter in item.generics.type_params_mut() {
        parameter.bounds.push(parse_quote!(::witmq_sdk::Config));
    }
    let (generics, arguments, bounds) = item.generics.split_for_impl();
    Ok(quote! {
        #[automatically_derived]
        impl #generics ::witmq_sdk::Config for #ident #arguments #bounds {
            const SCHEMA: ::witmq_sdk::Schema = #schema.description(#description);
        }
    })
}

/// Where a struct without named fields is to be marked.
fn span_of(fields: &Fields, item: &DeriveInput) -> proc_macro2::Span {
    match fields {
        Fields::Unit => item.ident.span(),
        other => other.span(),
    }
}

/// The schema of an object; `tag` is the member that names a variant, and its name.
fn object(
    fields: &FieldsNamed,
    serde: &Serde,
    case: crate::case::Case,
    tag: Option<(&str, &str)>,
) -> Result<TokenStream> {
    let mut members = Vec::new();
    if let Some((tag, name)) = tag {
        let (tag, name) = (json::string(tag), json::string(name));
        members.push(quote! {
            ::witmq_sdk::register::Field::new(#tag, ::witmq_sdk::Schema::constant(#name), false)
        });
    }
    for field in &fields.named {
        let of_field = Serde::read(&field.attrs)?;
        if of_field.is_skipped {
            continue;
        }
        let ident = field.ident.as_ref().map(|ident| ident.unraw().to_string());
        let own = || case.field(ident.as_deref().unwrap_or_default());
        let name = json::string(&of_field.rename.clone().unwrap_or_else(own));
        let schema = member(field)?;
        let has_default = of_field.has_default || serde.has_default;
        members.push(quote!(::witmq_sdk::register::Field::new(#name, #schema, #has_default)));
    }
    let is_open = !serde.denies_unknown;
    Ok(quote!(::witmq_sdk::Schema::object(&[#(#members),*], #is_open)))
}

/// The schema of a field: that of its type, with what its attributes add.
fn member(field: &Field) -> Result<TokenStream> {
    let ty = &field.ty;
    let mut bounds = Bounds::default();
    for attribute in &field.attrs {
        if attribute.path().is_ident("config") {
            attribute.parse_nested_meta(|meta| bounds.meta(&meta))?;
        }
    }
    let bounds = bounds.calls();
    let description = json::description(&field.attrs);
    let schema = quote_spanned!(ty.span()=> <#ty as ::witmq_sdk::Config>::SCHEMA);
    Ok(quote!(#schema #bounds.description(#description)))
}

/// What `#[config(…)]` says of a field.
#[derive(Default)]
struct Bounds {
    calls: TokenStream,
    text: String,
    items: String,
    /// The first attribute of texts, and of lists.
    text_span: Option<proc_macro2::Span>,
    items_span: Option<proc_macro2::Span>,
}

impl Bounds {
    fn meta(&mut self, meta: &ParseNestedMeta<'_>) -> Result<()> {
        let span = meta.path.span();
        let name = meta.path.get_ident().map(ToString::to_string);
        let mut text = |more: String| {
            self.text.push_str(&more);
            self.text_span.get_or_insert(span);
        };
        let mut items = |more: String| {
            self.items.push_str(&more);
            self.items_span.get_or_insert(span);
        };
        match name.as_deref().unwrap_or_default() {
            "minimum" => {
                let number = number(meta)?;
                self.calls.extend(quote_spanned!(span=> .minimum(#number)));
            }
            "maximum" => {
                let number = number(meta)?;
                self.calls.extend(quote_spanned!(span=> .maximum(#number)));
            }
            "min_length" => text(format!(",\"minLength\":{}", size(meta)?)),
            "max_length" => text(format!(",\"maxLength\":{}", size(meta)?)),
            "pattern" => {
                let pattern = meta.value()?.parse::<LitStr>()?.value();
                text(format!(",\"pattern\":{}", json::string(&pattern)));
            }
            "secret" => text(",\"writeOnly\":true".to_owned()),
            "min_items" => items(format!(",\"minItems\":{}", size(meta)?)),
            "max_items" => items(format!(",\"maxItems\":{}", size(meta)?)),
            _ => {
                return Err(meta.error(
                    "expected `minimum`, `maximum`, `min_length`, `max_length`, `pattern`, `secret`, `min_items` or \
                     `max_items`",
                ));
            }
        }
        Ok(())
    }

    fn calls(self) -> TokenStream {
        let Self {
            mut calls,
            text,
            items,
            text_span,
            items_span,
        } = self;
        calls.extend(text_span.map(|span| quote_spanned!(span=> .text(#text))));
        calls.extend(items_span.map(|span| quote_spanned!(span=> .items(#items))));
        calls
    }
}

/// A number as JSON writes it.
fn number(meta: &ParseNestedMeta<'_>) -> Result<String> {
    let value = meta.value()?;
    let sign = if value.parse::<Option<Token![-]>>()?.is_some() {
        "-"
    } else {
        ""
    };
    let literal: Lit = value.parse()?;
    let digits = match &literal {
        Lit::Int(number) => number.base10_digits().to_owned(),
        Lit::Float(number) => number.base10_digits().to_owned(),
        other => return Err(Error::new(other.span(), "expected a number")),
    };
    let zero = if digits.ends_with('.') { "0" } else { "" };
    Ok(format!("{sign}{digits}{zero}"))
}

fn size(meta: &ParseNestedMeta<'_>) -> Result<u32> {
    meta.value()?.parse::<LitInt>()?.base10_parse()
}

/// The schema of an enum: names, or objects told apart by a tag.
fn choices(data: &DataEnum, serde: &Serde) -> Result<TokenStream> {
    let mut names = Vec::new();
    let mut schemas = Vec::new();
    for variant in &data.variants {
        let of_variant = Serde::read(&variant.attrs)?;
        if of_variant.is_skipped {
            continue;
        }
        let own = || serde.rename_all.variant(&variant.ident.unraw().to_string());
        let name = of_variant.rename.clone().unwrap_or_else(own);
        match &serde.tag {
            Some(tag) => schemas.push(tagged(variant, serde, &of_variant, tag, &name)?),
            None if matches!(variant.fields, Fields::Unit) => names.push(json::string(&name)),
            None => {
                let text = "a choice with values needs `#[serde(tag = \"…\")]` on its enum";
                return Err(Error::new(variant.span(), text));
            }
        }
    }
    Ok(match &serde.tag {
        Some(_) => quote!(::witmq_sdk::Schema::one_of(&[#(#schemas),*])),
        None => quote!(::witmq_sdk::Schema::names(&[#(#names),*])),
    })
}

/// One variant of an enum with a tag.
fn tagged(
    variant: &Variant,
    serde: &Serde,
    of_variant: &Serde,
    tag: &str,
    name: &str,
) -> Result<TokenStream> {
    let none: FieldsNamed = parse_quote!({});
    let fields = match &variant.fields {
        Fields::Named(fields) => fields,
        Fields::Unit => &none,
        Fields::Unnamed(fields) => {
            let text = "a choice with a tag has named fields or none";
            return Err(Error::new(fields.span(), text));
        }
    };
    let case = match of_variant.rename_all {
        crate::case::Case::None => serde.rename_all_fields,
        own => own,
    };
    // Defaults of the container are those of a struct; the fields of a variant have their own only.
    let of_object = Serde {
        denies_unknown: serde.denies_unknown,
        ..Serde::default()
    };
    let schema = object(fields, &of_object, case, Some((tag, name)))?;
    let description = json::description(&variant.attrs);
    Ok(quote!(#schema.description(#description)))
}
