//! From the trait as written to the [`Service`] model, with an error for all that cannot be a service.

mod method;
mod names;
mod options;
mod wire;

use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens;
use syn::ext::IdentExt;
use syn::{Ident, ItemTrait, TraitItem, TypeParamBound};

use crate::attributes::{self, Docs};
use crate::errors::Errors;
use crate::model::Service;

/// What gives a method its number on the wire; an argument, so that tests can make two numbers equal.
pub(crate) type Hash = fn(&str) -> u64;

/// Reads the trait. Nothing is returned if the trait as a whole cannot be a service; a method that cannot be part of
/// one is left out. In both cases `errors` says why.
pub(crate) fn service(
    options: TokenStream,
    written: &ItemTrait,
    hash: Hash,
    errors: &mut Errors,
) -> Option<Service> {
    let options = options::of_service(options, errors);
    let before = errors.count();
    check_head(written, errors);
    let sound = errors.count() == before;

    let name = options.name.unwrap_or_else(|| written.ident.unraw().to_string());
    let mut methods = Vec::new();
    for item in &written.items {
        match item {
            TraitItem::Fn(function) => {
                methods.extend(method::read(function, &written.ident, &name, hash, errors));
            }
            TraitItem::Const(constant) => {
                errors.at(
                    &constant.ident,
                    "a service has methods only: a client has no implementation to take a constant from",
                );
            }
            TraitItem::Type(associated) => errors.at(
                &associated.ident,
                "a service has methods only: client and server must agree on types, so write the type itself",
            ),
            TraitItem::Macro(call) => {
                errors.at(
                    &call.mac.path,
                    "a service has methods only, and this macro is not expanded yet: write them out",
                );
            }
            other => errors.at(other, "a service has methods only"),
        }
    }
    names::check(&mut methods, written, errors);

    sound.then(|| Service {
        vis: written.vis.clone(),
        ident: written.ident.clone(),
        name,
        version: options.version.unwrap_or(1),
        codec: options.codec.unwrap_or_default(),
        docs: Docs::of(&written.attrs),
        attributes: attributes::of_trait(&written.attrs),
        methods,
        parameter: unused_name(written),
    })
}

/// Everything before the trait's brace.
fn check_head(written: &ItemTrait, errors: &mut Errors) {
    options::refuse_rpc(
        &written.attrs,
        "options of the service are written `#[ipc_rpc::service(..)]`",
        errors,
    );
    if let Some(token) = &written.unsafety {
        errors.at(
            token,
            "a service cannot be an `unsafe` trait: a client could not keep its promises",
        );
    }
    if let Some(token) = &written.modifiers.auto_token {
        errors.at(token, "a service cannot be an `auto` trait: it has methods");
    }
    if !written.generics.params.is_empty() {
        errors.at(
            &written.generics.params,
            "a service cannot be generic: client and server are built apart and must agree on each type; \
             write the types themselves, or one trait for each",
        );
    }
    if let Some(clause) = &written.generics.where_clause {
        errors.at(
            clause,
            "a service cannot have a where clause: it has no type parameters to bound",
        );
    }
    for bound in &written.supertraits {
        if !holds_anyway(bound) {
            errors.at(
                bound,
                "a service cannot have super-traits: their methods would not travel; \
                 `Send`, `Sync` and `'static` hold for each service already",
            );
        }
    }
}

/// Whether the bound is one that the macro adds.
pub(crate) fn holds_anyway(bound: &TypeParamBound) -> bool {
    match bound {
        TypeParamBound::Lifetime(lifetime) => lifetime.ident == "static",
        TypeParamBound::Trait(bound) => {
            bound.maybe.is_none()
                && bound.lifetimes.is_none()
                && bound
                    .path
                    .segments
                    .last()
                    .is_some_and(|last| last.ident == "Send" || last.ident == "Sync")
        }
        _ => false,
    }
}

/// A name for the type parameter of generated code: the customary `T`, unless the trait uses that for something.
fn unused_name(written: &ItemTrait) -> Ident {
    fn uses(tokens: TokenStream, name: &str) -> bool {
        tokens.into_iter().any(|token| match token {
            TokenTree::Ident(ident) => ident == name,
            TokenTree::Group(group) => uses(group.stream(), name),
            _ => false,
        })
    }
    let tokens = written.to_token_stream();
    let name = ["T", "Implementation"]
        .into_iter()
        .find(|name| !uses(tokens.clone(), name));
    Ident::new(
        name.unwrap_or("__IpcRpcImplementation"),
        proc_macro2::Span::call_site(),
    )
}

/// The first token of an item that is its own, not an attribute's.
pub(crate) fn first_token(item: &impl ToTokens) -> Option<TokenTree> {
    let mut tokens = item.to_token_stream().into_iter();
    loop {
        match tokens.next()? {
            TokenTree::Punct(punct) if punct.as_char() == '#' => {
                tokens.next();
            }
            token => return Some(token),
        }
    }
}
