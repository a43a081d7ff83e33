//! Which of the user's attributes go where.
//!
//! The trait keeps them all. Generated code takes over those that mean the same there: `cfg` decides whether a piece
//! exists, documentation belongs to the client, too, and a lint that the user allowed for a signature is allowed
//! wherever the signature is repeated. `cfg_attr` goes with what it holds.

use proc_macro2::{TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::parse::Parser;
use syn::punctuated::Punctuated;
use syn::{AttrStyle, Attribute, Expr, ExprLit, Lit, Meta, Token, parse_quote};

use crate::model::{MethodAttributes, TraitAttributes};

/// What the pieces generated for a method take over from it.
pub(crate) fn of_method(attributes: &[Attribute]) -> MethodAttributes {
    // What stands inside a default body is about that body.
    let outer = attributes
        .iter()
        .filter(|attribute| matches!(attribute.style, AttrStyle::Outer));
    let attributes: &[Attribute] = &outer.cloned().collect::<Vec<_>>();
    let is_cfg = |meta: &Meta| meta.path().is_ident("cfg");
    MethodAttributes {
        cfg: select(attributes, |meta| is_cfg(meta).then(|| meta.clone())),
        client: select(attributes, |meta| {
            let kept = ["cfg", "doc", "deprecated", "must_use"]
                .iter()
                .any(|name| meta.path().is_ident(name));
            if kept && !is_bare_must_use(meta) {
                Some(meta.clone())
            } else {
                allowance(meta)
            }
        }),
        forward: select(attributes, |meta| {
            if is_cfg(meta) {
                Some(meta.clone())
            } else {
                allowance(meta)
            }
        }),
        deprecated: is_deprecated(attributes),
    }
}

/// What the client and the server take over from the trait.
pub(crate) fn of_trait(attributes: &[Attribute]) -> TraitAttributes {
    let types = select(attributes, |meta| {
        let path = meta.path();
        if path.is_ident("deprecated") || is_doc_option(meta) {
            Some(meta.clone())
        } else {
            allowance(meta)
        }
    });
    TraitAttributes {
        types,
        implementations: select(attributes, allowance),
        deprecated: is_deprecated(attributes),
    }
}

/// The attributes that a method of the trait keeps; `async` ones return a future from now on.
pub(crate) fn of_rewritten(attributes: &[Attribute], is_async: bool) -> Vec<Attribute> {
    select(attributes, |meta| {
        let dropped = meta.path().is_ident("rpc") || (is_async && is_bare_must_use(meta));
        (!dropped).then(|| meta.clone())
    })
}

pub(crate) fn is_deprecated(attributes: &[Attribute]) -> bool {
    !select(attributes, |meta| {
        meta.path().is_ident("deprecated").then(|| meta.clone())
    })
    .is_empty()
}

/// Calls and futures are `#[must_use]` by themselves, so on what returns one the bare attribute says nothing, and
/// lints object to it.
fn is_bare_must_use(meta: &Meta) -> bool {
    matches!(meta, Meta::Path(path) if path.is_ident("must_use"))
}

/// `doc(hidden)`, `doc(cfg(..))`: about where a thing is shown, unlike its text.
fn is_doc_option(meta: &Meta) -> bool {
    matches!(meta, Meta::List(list) if list.path.is_ident("doc"))
}

/// A lint that the user allows or expects here is allowed in generated code; there it need not come up, so it cannot
/// be expected.
fn allowance(meta: &Meta) -> Option<Meta> {
    let Meta::List(list) = meta else { return None };
    if list.path.is_ident("allow") {
        return Some(meta.clone());
    }
    list.path.is_ident("expect").then(|| {
        let tokens = &list.tokens;
        parse_quote!(allow(#tokens))
    })
}

/// The attributes for which `choose` gives something, with what it gives; those inside `cfg_attr`, too.
fn select(attributes: &[Attribute], choose: impl Fn(&Meta) -> Option<Meta>) -> Vec<Attribute> {
    let selected = attributes.iter().filter_map(|attribute| {
        let mut attribute = attribute.clone();
        attribute.meta = chosen(&attribute.meta, &choose)?;
        Some(attribute)
    });
    selected.collect()
}

fn chosen(meta: &Meta, choose: &impl Fn(&Meta) -> Option<Meta>) -> Option<Meta> {
    let Some((condition, inner)) = conditional(meta) else {
        return choose(meta);
    };
    let inner: Vec<Meta> = inner.iter().filter_map(|meta| chosen(meta, choose)).collect();
    (!inner.is_empty()).then(|| parse_quote!(cfg_attr(#condition, #(#inner),*)))
}

/// The condition of a `cfg_attr`, and the attributes that it holds.
pub(crate) fn conditional(meta: &Meta) -> Option<(TokenStream, Vec<Meta>)> {
    let Meta::List(list) = meta else { return None };
    if !list.path.is_ident("cfg_attr") {
        return None;
    }
    // Conditions are not all `Meta`s (`true` is one of them), so the first comma ends it.
    let is_comma = |token: &TokenTree| matches!(token, TokenTree::Punct(punct) if punct.as_char() == ',');
    let mut tokens = list.tokens.clone().into_iter();
    let condition = tokens.by_ref().take_while(|token| !is_comma(token)).collect();
    let inner = Punctuated::<Meta, Token![,]>::parse_terminated
        .parse2(tokens.collect())
        .ok()?;
    Some((condition, inner.into_iter().collect()))
}

/// A doc comment as the tables hold it: an expression of type `&'static str`.
#[derive(Default)]
pub(crate) struct Docs(Vec<Line>);

enum Line {
    Text(String),
    /// `#[doc = include_str!(..)]`
    Computed(Expr),
}

impl Docs {
    pub(crate) fn of(attributes: &[Attribute]) -> Self {
        let lines = attributes.iter().filter_map(|attribute| match &attribute.meta {
            Meta::NameValue(pair) if pair.path.is_ident("doc") => Some(match &pair.value {
                Expr::Lit(ExprLit {
                    lit: Lit::Str(text), ..
                }) => Line::Text(unindented(&text.value())),
                computed => Line::Computed(computed.clone()),
            }),
            _ => None,
        });
        Self(lines.collect())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Line by line without the space after the slashes, which is not part of the text.
fn unindented(text: &str) -> String {
    let lines: Vec<&str> = text
        .lines()
        .map(|line| line.strip_prefix(' ').unwrap_or(line).trim_end())
        .collect();
    lines.join("\n")
}

impl ToTokens for Docs {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        let texts: Option<Vec<&str>> = self
            .0
            .iter()
            .map(|line| match line {
                Line::Text(text) => Some(text.as_str()),
                Line::Computed(_) => None,
            })
            .collect();
        tokens.extend(match texts {
            Some(texts) => texts.join("\n").trim_matches('\n').to_token_stream(),
            None => {
                let lines = self.0.iter().map(|line| match line {
                    Line::Text(text) => quote!(#text, "\n"),
                    Line::Computed(computed) => quote!(#computed, "\n"),
                });
                quote!(::core::concat!(#(#lines),*))
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use syn::{TraitItemFn, parse_quote};

    use super::*;

    fn shown(attributes: &[Attribute]) -> String {
        quote!(#(#attributes)*).to_string()
    }

    fn expect_same(attributes: &[Attribute], expected: TokenStream) {
        assert_eq!(shown(attributes), expected.to_string());
    }

    #[test]
    fn each_piece_takes_over_what_means_the_same_there() {
        let method: TraitItemFn = parse_quote! {
            /// Documented.
            #[cfg(unix)]
            #[must_use]
            #[must_use = "for a reason"]
            #[allow(one, reason = "it is so")]
            #[expect(two)]
            #[warn(three)]
            #[cfg_attr(all(unix, true), cfg(target_os = "linux"), doc = "on Linux", inline, cfg_attr(x, allow(four)))]
            #[inline]
            fn get(&self) {
                #![allow(five)]
            }
        };
        let attributes = of_method(&method.attrs);
        assert!(!attributes.deprecated);
        expect_same(
            &attributes.cfg,
            quote!(#[cfg(unix)] #[cfg_attr(all(unix, true), cfg(target_os = "linux"))]),
        );
        expect_same(
            &attributes.forward,
            quote! {
                #[cfg(unix)]
                #[allow(one, reason = "it is so")]
                #[allow(two)]
                #[cfg_attr(all(unix, true), cfg(target_os = "linux"), cfg_attr(x, allow(four)))]
            },
        );
        expect_same(
            &attributes.client,
            quote! {
                #[doc = r" Documented."]
                #[cfg(unix)]
                #[must_use = "for a reason"]
                #[allow(one, reason = "it is so")]
                #[allow(two)]
                #[cfg_attr(all(unix, true), cfg(target_os = "linux"), doc = "on Linux", cfg_attr(x, allow(four)))]
            },
        );
    }

    #[test]
    fn only_a_future_drops_the_bare_must_use() {
        let attributes: Vec<Attribute> = vec![parse_quote!(#[must_use]), parse_quote!(#[rpc(result)])];
        expect_same(&of_rewritten(&attributes, true), quote!());
        expect_same(&of_rewritten(&attributes, false), quote!(#[must_use]));
    }

    #[test]
    fn docs_are_the_text_without_its_markers() {
        let docs = |attributes: &[Attribute]| Docs::of(attributes).to_token_stream().to_string();
        let written = [
            parse_quote!(#[doc = " First."]),
            parse_quote!(#[doc = ""]),
            parse_quote!(#[doc = "     indented code"]),
            parse_quote!(#[inline]),
        ];
        assert_eq!(docs(&written), quote!("First.\n\n    indented code").to_string());
        assert_eq!(docs(&[]), quote!("").to_string());
        let computed = [
            parse_quote!(#[doc = " First."]),
            parse_quote!(#[doc = include_str!("more.md")]),
        ];
        let expected = quote!(::core::concat!("First.", "\n", include_str!("more.md"), "\n"));
        assert_eq!(docs(&computed), expected.to_string());
    }
}
