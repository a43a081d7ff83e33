//! The type of a call's arguments, and how the call is encoded and its result decoded.

use proc_macro2::{Ident, TokenStream};
use quote::{quote, quote_spanned};
use syn::ext::IdentExt;
use syn::parse_quote;

use super::{local, use_probe};
use crate::model::{Failure, Method, Service};
use crate::shape::Form;
use crate::types::with_lifetime;

pub(crate) fn call(service: &Service, method: &Method) -> TokenStream {
    let Method {
        ident,
        call,
        attributes,
        ..
    } = method;
    let vis = &service.vis;
    let cfg = &attributes.cfg;
    let lifetime = method.borrows().then(|| quote!(<'a>));
    let fields = method.wires().map(|(argument, _)| {
        let name = argument.name();
        let ty = with_lifetime(&argument.ty, &parse_quote!('a));
        quote!(#name: #ty)
    });
    let doc = format!(
        " The arguments of [`{}::{}`] on their way to the server.",
        service.ident,
        ident.unraw()
    );
    let implementation = method_impl(method);
    let check = transmit_check(method);
    quote! {
        #(#cfg)*
        #[doc = #doc]
        #vis struct #call #lifetime {
            #(#fields,)*
        }
        #(#cfg)*
        #implementation
        #check
    }
}

fn method_impl(method: &Method) -> TokenStream {
    let call = &method.call;
    let elided = method.borrows().then(|| quote!(<'_>));
    let returns = &method.returns.ty;
    let output = output(method);
    let info = info(method);
    let settle = settle(method);
    let encode = encode(method);
    let decode = decode(method);
    let finish = finish(method);
    quote! {
        #[automatically_derived]
        impl ::ipc_rpc::__private::Method for #call #elided {
            type Returns = #returns;
            type Output = #output;
            const INFO: &'static ::ipc_rpc::MethodInfo = #info;
            #settle
            #encode
            #decode
            #finish
        }
    }
}

/// What the caller gets.
fn output(method: &Method) -> TokenStream {
    let returns = &method.returns.ty;
    match &method.returns.failure {
        Failure::Never => quote!(::core::result::Result<#returns, ::ipc_rpc::Error>),
        Failure::Result(types) => {
            let [ok, err] = &**types;
            quote!(::core::result::Result<#ok, ::ipc_rpc::CallError<#err>>)
        }
        Failure::Alias => {
            let span = method.returns.wire.span();
            let [ok, err] = ["Ok", "Err"].map(|name| {
                let name = Ident::new(name, span);
                quote_spanned!(span=> <#returns as ::ipc_rpc::__private::ResultType>::#name)
            });
            quote_spanned!(span=> ::core::result::Result<#ok, ::ipc_rpc::CallError<#err>>)
        }
    }
}

fn info(method: &Method) -> TokenStream {
    let Method {
        name,
        ordinal,
        fingerprint,
        signature,
        docs,
        one_way,
        ..
    } = method;
    let arguments = method
        .wires()
        .map(|(argument, _)| argument.ident.unraw().to_string());
    quote! {
        &::ipc_rpc::MethodInfo {
            name: #name,
            ordinal: #ordinal,
            fingerprint: #fingerprint,
            signature: #signature,
            arguments: &[#(#arguments),*],
            one_way: #one_way,
            docs: #docs,
        }
    }
}

/// Gets sections ready, where there are any.
fn settle(method: &Method) -> Option<TokenStream> {
    let arguments: Vec<_> = method.wires().filter(|(_, wire)| wire.settles()).collect();
    if arguments.is_empty() {
        return None;
    }
    let probe = use_probe(arguments.iter().any(|(_, wire)| wire.probes()));
    let settled = arguments.into_iter().map(|(argument, wire)| {
        let name = argument.name();
        let shape = wire.shape();
        quote_spanned!(wire.span()=> <#shape as ::ipc_rpc::__private::EncodeAs<_>>::settle(&mut self.#name);)
    });
    Some(quote! {
        fn settle(&mut self) {
            #probe
            #(#settled)*
        }
    })
}

fn encode(method: &Method) -> TokenStream {
    let arguments = local("arguments");
    let values = method.wires().map(|(argument, wire)| {
        let name = argument.name();
        let shape = wire.shape();
        let span = wire.span();
        // A reference is the value's address already.
        let value = match wire.form {
            Form::Text | Form::Bytes | Form::Slice(_) | Form::Lent(_) => quote_spanned!(span=> self.#name),
            _ => quote_spanned!(span=> &self.#name),
        };
        quote_spanned!(span=> ::ipc_rpc::__private::Ref::<#shape, _>::new(#value))
    });
    let probe = use_probe(method.wires().any(|(_, wire)| wire.probes()));
    quote! {
        fn encode(
            &self,
            #arguments: ::ipc_rpc::__private::Encode<'_>,
        ) -> ::core::result::Result<(), ::ipc_rpc::Error> {
            #probe
            #arguments.write((#(#values,)*))
        }
    }
}

fn decode(method: &Method) -> TokenStream {
    let reply = local("reply");
    let (probe, body) = if method.one_way {
        // No reply is ever read.
        (None, quote!({ let _ = #reply; ::core::result::Result::Ok(()) }))
    } else {
        let wire = &method.returns.wire;
        let shape = wire.shape();
        let returns = &method.returns.ty;
        let read = quote_spanned!(wire.span()=> #reply.read::<#shape, #returns>());
        (use_probe(wire.probes()), read)
    };
    quote! {
        fn decode(
            #reply: ::ipc_rpc::__private::Decode<'_>,
        ) -> ::core::result::Result<Self::Returns, ::ipc_rpc::Error> {
            #probe
            #body
        }
    }
}

fn finish(method: &Method) -> TokenStream {
    let result = local("result");
    let span = method.returns.wire.span();
    let output = match method.returns.failure {
        Failure::Never => quote!(#result),
        Failure::Result(_) | Failure::Alias => {
            quote_spanned!(span=> ::ipc_rpc::__private::flatten(#result))
        }
    };
    quote_spanned! {span=>
        fn finish(
            #result: ::core::result::Result<Self::Returns, ::ipc_rpc::Error>,
        ) -> Self::Output {
            #output
        }
    }
}

/// Asks for each type whether it can travel at all, at a place where the answer is a sentence about that type.
fn transmit_check(method: &Method) -> Option<TokenStream> {
    let arguments = method.wires().flat_map(|(_, wire)| wire.leaves());
    let arguments = arguments.map(|leaf| leaf.assertion(quote!(assert_argument)));
    let results = method.returns.wire.leaves();
    let results = results
        .into_iter()
        .map(|leaf| leaf.assertion(quote!(assert_result)));
    let assertions: Vec<_> = arguments.chain(results).collect();
    (!assertions.is_empty()).then(|| {
        let cfg = &method.attributes.cfg;
        quote! {
            #(#cfg)*
            const _: fn() = || {
                #(#assertions)*
            };
        }
    })
}
