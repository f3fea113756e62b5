//! JSON text at compile time, and what doc comments say.

use syn::{Attribute, Expr, ExprLit, Lit, Meta};

/// A JSON string, with its quotes.
pub(crate) fn string(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            c if u32::from(c) < 0x20 => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// The first paragraph of a doc comment on one line; empty without.
pub(crate) fn first_paragraph(attributes: &[Attribute]) -> String {
    let lines = attributes.iter().filter_map(|attribute| {
        let Meta::NameValue(doc) = &attribute.meta else {
            return None;
        };
        match &doc.value {
            Expr::Lit(ExprLit {
                lit: Lit::Str(text),
                ..
            }) if doc.path.is_ident("doc") => Some(text.value()),
            _ => None,
        }
    });
    let text = lines.collect::<Vec<_>>().join("\n");
    let paragraph = text
        .lines()
        .map(str::trim)
        .skip_while(|line| line.is_empty());
    paragraph
        .take_while(|line| !line.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

/// The same as a JSON string; empty without a doc comment.
pub(crate) fn description(attributes: &[Attribute]) -> String {
    match first_paragraph(attributes) {
        text if text.is_empty() => text,
        text => string(&text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_escaped() {
        assert_eq!(string("a\"b\\c\nd\u{1}é"), r#""a\"b\\c\nd\u0001é""#);
    }

    #[test]
    fn the_first_paragraph_is_one_line() {
        let item: syn::DeriveInput = syn::parse_quote! {
            /// One
            /// two.
            ///
            /// Three.
            struct A;
        };
        assert_eq!(first_paragraph(&item.attrs), "One two.");
        assert_eq!(description(&[]), "");
    }
}
