//! The attributes of serde that change the names and shapes of what is read.
//!
//! Owns: which of them a schema can follow. Must not: pass over one that would make the schema lie.

use crate::case::Case;
use syn::meta::ParseNestedMeta;
use syn::{Attribute, Error, Lit, LitStr, Result, Token, parenthesized, token};

/// What serde reads of an item: a container, a field or a variant.
#[derive(Default)]
pub(crate) struct Serde {
    pub(crate) rename: Option<String>,
    pub(crate) rename_all: Case,
    pub(crate) rename_all_fields: Case,
    pub(crate) has_default: bool,
    pub(crate) is_skipped: bool,
    pub(crate) denies_unknown: bool,
    pub(crate) tag: Option<String>,
}

/// Attributes that change the shape in a way that a schema cannot follow.
const OPAQUE: [&str; 12] = [
    "flatten",
    "untagged",
    "content",
    "with",
    "deserialize_with",
    "from",
    "try_from",
    "remote",
    "alias",
    "other",
    "variant_identifier",
    "field_identifier",
];

impl Serde {
    pub(crate) fn read(attributes: &[Attribute]) -> Result<Self> {
        let mut serde = Self::default();
        for attribute in attributes.iter().filter(|one| one.path().is_ident("serde")) {
            attribute.parse_nested_meta(|meta| serde.meta(&meta))?;
        }
        Ok(serde)
    }

    fn meta(&mut self, meta: &ParseNestedMeta<'_>) -> Result<()> {
        let name = meta.path.get_ident().map(ToString::to_string);
        match name.as_deref().unwrap_or_default() {
            "rename" => self.rename = name_of(meta)?.map(|name| name.value()),
            "rename_all" => self.rename_all = case_of(meta)?,
            "rename_all_fields" => self.rename_all_fields = case_of(meta)?,
            "default" => {
                self.has_default = true;
                ignore(meta)?;
            }
            "skip" | "skip_deserializing" => self.is_skipped = true,
            "deny_unknown_fields" => self.denies_unknown = true,
            "tag" => self.tag = Some(meta.value()?.parse::<LitStr>()?.value()),
            known if OPAQUE.contains(&known) => {
                return Err(meta.error(format!(
                    "a schema cannot follow `{known}`: write the configuration without it"
                )));
            }
            _ => ignore(meta)?,
        }
        Ok(())
    }
}

/// `= "name"`, or `(deserialize = "name")`.
fn name_of(meta: &ParseNestedMeta<'_>) -> Result<Option<LitStr>> {
    if meta.input.peek(Token![=]) {
        return meta.value()?.parse().map(Some);
    }
    let mut name = None;
    meta.parse_nested_meta(|inner| {
        let text: LitStr = inner.value()?.parse()?;
        if inner.path.is_ident("deserialize") {
            name = Some(text);
        }
        Ok(())
    })?;
    Ok(name)
}

fn case_of(meta: &ParseNestedMeta<'_>) -> Result<Case> {
    let Some(name) = name_of(meta)? else {
        return Ok(Case::None);
    };
    Case::parse(&name.value()).ok_or_else(|| Error::new(name.span(), "serde knows no such case"))
}

/// Goes past what belongs to an attribute that changes nothing here.
fn ignore(meta: &ParseNestedMeta<'_>) -> Result<()> {
    if meta.input.peek(Token![=]) {
        meta.value()?.parse::<Lit>()?;
    } else if meta.input.peek(token::Paren) {
        let inner;
        parenthesized!(inner in meta.input);
        inner.parse::<proc_macro2::TokenStream>()?;
    }
    Ok(())
}
