//! The trait itself, and its implementation for `Arc`.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::{
    Expr, FnArg, ItemTrait, Pat, ReturnType, Stmt, Token, TraitItem, TraitItemFn, Type, TypeParamBound,
    parse_quote,
};

use crate::attributes::of_rewritten;
use crate::model::{Method, Mode, Service};
use crate::parse::holds_anyway;

/// The trait as the compiler gets it: each `async fn` returns a future that may move between threads, and whoever
/// implements the trait can be shared between them. It is rewritten as far as it goes when there are errors, so that
/// other code that uses it does not fail as well.
pub(crate) fn rewritten(written: &ItemTrait) -> ItemTrait {
    let mut interface = written.clone();
    interface.attrs = of_rewritten(&written.attrs, false);
    // In a program that only calls, nobody implements the trait, and nothing else names it.
    interface
        .attrs
        .push(parse_quote!(#[allow(dead_code, reason = "a program may only call the service")]));
    add_bounds(&mut interface);
    for item in &mut interface.items {
        if let TraitItem::Fn(function) = item {
            rewrite(function);
        }
    }
    interface
}

fn add_bounds(interface: &mut ItemTrait) {
    let written: Vec<String> = interface
        .supertraits
        .iter()
        .filter(|bound| holds_anyway(bound))
        .map(|bound| match bound {
            TypeParamBound::Trait(bound) => bound
                .path
                .segments
                .last()
                .map_or_else(String::new, |last| last.ident.to_string()),
            other => other.to_token_stream().to_string(),
        })
        .collect();
    let bounds = [
        ("Send", quote!(::core::marker::Send)),
        ("Sync", quote!(::core::marker::Sync)),
        ("'static", quote!('static)),
    ];
    for (name, bound) in bounds {
        if !written.iter().any(|known| known == name) {
            interface.supertraits.push(TypeParamBound::Verbatim(bound));
        }
    }
    interface.colon_token.get_or_insert_with(Default::default);
}

fn rewrite(function: &mut TraitItemFn) {
    let signature = &mut function.sig;
    let is_async = signature.asyncness.take().is_some();
    function.attrs = of_rewritten(&function.attrs, is_async);
    for input in &mut signature.inputs {
        let FnArg::Typed(input) = input else { continue };
        input.attrs.retain(|attribute| !attribute.path().is_ident("rpc"));
        // Refused already; the compiler need not say so again.
        if function.default.is_none() && !matches!(*input.pat, Pat::Ident(_)) {
            *input.pat = Pat::Verbatim(quote!(_));
        }
    }
    if !is_async {
        return;
    }
    let output = match &signature.output {
        ReturnType::Type(_, ty) => ty.to_token_stream(),
        ReturnType::Default => quote!(()),
    };
    signature.output = ReturnType::Type(
        <Token![->]>::default(),
        Box::new(Type::Verbatim(future_of(&output))),
    );
    if let Some(body) = &mut function.default {
        let statements = &body.stmts;
        let future = quote!(async move { #(#statements)* });
        body.stmts = vec![Stmt::Expr(Expr::Verbatim(future), None)];
    }
}

fn future_of(output: &TokenStream) -> TokenStream {
    quote!(impl ::core::future::Future<Output = #output> + ::core::marker::Send)
}

/// What is shared is served as what it is: `impl Store for Arc<T>`.
pub(crate) fn forwarding(service: &Service) -> TokenStream {
    let Service {
        ident,
        parameter,
        methods,
        ..
    } = service;
    let methods = methods.iter().map(|method| forward(service, method));
    let allowances = service.allowances();
    quote! {
        #[automatically_derived]
        #allowances
        impl<#parameter: #ident> #ident for ::std::sync::Arc<#parameter> {
            #(#methods)*
        }
    }
}

fn forward(service: &Service, method: &Method) -> TokenStream {
    let Service {
        ident: interface,
        parameter,
        ..
    } = service;
    let name = method.generated_name();
    let attributes = &method.attributes.forward;
    let names: Vec<_> = method.arguments.iter().map(|argument| argument.name()).collect();
    let types = method.arguments.iter().map(|argument| &argument.ty);
    let returns = &method.returns.ty;
    let output = match method.mode {
        Mode::Async => future_of(&returns.to_token_stream()),
        Mode::Blocking => returns.to_token_stream(),
    };
    quote! {
        #(#attributes)*
        fn #name(&self, #(#names: #types),*) -> #output {
            <#parameter as #interface>::#name(self, #(#names),*)
        }
    }
}
