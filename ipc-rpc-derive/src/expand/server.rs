//! The server: from an ordinal to the handler, and back with its result.

use proc_macro2::{Literal, TokenStream};
use quote::{quote, quote_spanned};

use super::{local, use_probe};
use syn::spanned::Spanned;

use crate::model::{Method, Mode, Service};

pub(crate) fn server(service: &Service) -> TokenStream {
    let Service {
        vis,
        ident,
        attributes,
        parameter,
        ..
    } = service;
    let client = service.client();
    let server = service.server();
    let name = server.to_string();
    let types = &attributes.types;
    let allowances = service.allowances();
    let type_doc = format!(" Serves an implementation of [`{ident}`] to other processes.");
    let in_process_doc = " A client of `implementation` in this process, for tests: calls are encoded and dispatched \
                          as between processes.";
    let dispatch = dispatch(service);
    let incoming = local("incoming");
    quote! {
        #allowances
        impl #client {
            #[doc = #in_process_doc]
            #vis fn in_process<#parameter: #ident>(implementation: #parameter) -> ::ipc_rpc::Connect<Self> {
                ::ipc_rpc::__private::in_process(#server::new(implementation))
            }
        }
        #[doc = #type_doc]
        #(#types)*
        #vis struct #server<#parameter> {
            implementation: ::std::sync::Arc<#parameter>,
            requires_identity: bool,
        }
        #allowances
        impl<#parameter: #ident> #server<#parameter> {
            /// Serves `implementation`.
            #[must_use]
            #vis fn new(implementation: #parameter) -> Self {
                Self::from_arc(::std::sync::Arc::new(implementation))
            }
            /// Serves an implementation that others hold, too.
            #[must_use]
            #vis fn from_arc(implementation: ::std::sync::Arc<#parameter>) -> Self {
                Self { implementation, requires_identity: false }
            }
            /// Refuses to be served where the transport cannot tell who calls, such as over `tcp:`.
            #[must_use]
            #vis fn require_identity(self) -> Self {
                Self { requires_identity: true, ..self }
            }
        }
        #[automatically_derived]
        #allowances
        impl<#parameter> ::core::clone::Clone for #server<#parameter> {
            fn clone(&self) -> Self {
                Self {
                    implementation: ::core::clone::Clone::clone(&self.implementation),
                    requires_identity: self.requires_identity,
                }
            }
        }
        #[automatically_derived]
        #allowances
        impl<#parameter> ::core::fmt::Debug for #server<#parameter> {
            fn fmt(&self, formatter: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                formatter.debug_struct(#name).finish_non_exhaustive()
            }
        }
        #[automatically_derived]
        #allowances
        impl<#parameter: #ident> ::ipc_rpc::Service for #server<#parameter> {
            const INFO: &'static ::ipc_rpc::ServiceInfo = <#client as ::ipc_rpc::ServiceClient>::INFO;
            fn dispatch(
                self,
                #incoming: ::ipc_rpc::__private::Incoming,
            ) -> impl ::core::future::Future<Output = ::ipc_rpc::__private::Incoming>
            + ::core::marker::Send
            + 'static {
                #dispatch
            }
            fn requires_identity(&self) -> bool {
                self.requires_identity
            }
        }
    }
}

/// One future for all methods, so that the server can keep its place in memory from call to call.
fn dispatch(service: &Service) -> TokenStream {
    let incoming = local("incoming");
    let arms = service.methods.iter().map(|method| arm(service, method));
    let probes = service.methods.iter().any(|method| {
        method.wires().any(|(_, wire)| wire.probes()) || (!method.one_way && method.returns.wire.probes())
    });
    let probe = use_probe(probes);
    quote! {
        #probe
        async move {
            match #incoming.ordinal() {
                #(#arms)*
                _ => #incoming.unknown(),
            }
        }
    }
}

fn arm(service: &Service, method: &Method) -> TokenStream {
    let incoming = local("incoming");
    let cfg = &method.attributes.cfg;
    let ordinal = Literal::u64_unsuffixed(method.ordinal);
    let handle = handle(service, method);
    match method.mode {
        Mode::Async => quote! {
            #(#cfg)*
            #ordinal => {
                let mut #incoming = #incoming;
                #handle
                #incoming
            }
        },
        Mode::Blocking => quote! {
            #(#cfg)*
            #ordinal => {
                ::ipc_rpc::__private::run_blocking(
                    #incoming,
                    move |#incoming: &mut ::ipc_rpc::__private::Incoming| { #handle },
                ).await
            }
        },
    }
}

/// Decodes the arguments, runs the handler and writes what it returned.
fn handle(service: &Service, method: &Method) -> TokenStream {
    let Service {
        ident: interface,
        parameter,
        ..
    } = service;
    let [incoming, context, payload, reply, result, error] =
        ["incoming", "context", "payload", "reply", "result", "error"].map(local);
    let info = method.info();
    let name = method.generated_name();

    let decoded = method.wires().map(|(_, wire)| {
        let (shape, ty) = (wire.shape(), wire.decoded());
        quote_spanned!(wire.span()=> ::ipc_rpc::__private::Owned<#shape, #ty>)
    });
    let mut patterns = Vec::new();
    let arguments: Vec<TokenStream> = method
        .arguments
        .iter()
        .map(|argument| match &argument.wire {
            Some(wire) => {
                let (pattern, lent) = wire.lend(&local(&format!("argument_{}", patterns.len())));
                patterns.push(pattern);
                lent
            }
            None => {
                let mut context = context.clone();
                context.set_span(context.span().located_at(argument.ty.span()));
                quote!(#context)
            }
        })
        .collect();
    let takes_context = arguments.len() != patterns.len();
    let context = if takes_context {
        quote!(#context)
    } else {
        quote!(_)
    };
    let wait = (method.mode == Mode::Async).then(|| quote!(.await));
    let run = quote!(<#parameter as #interface>::#name(&self.implementation, #(#arguments),*) #wait);
    let answer = if method.one_way {
        quote! {
            #run;
            #reply.done();
        }
    } else {
        let wire = &method.returns.wire;
        let returns = &method.returns.ty;
        let shape = wire.shape();
        let write = quote_spanned!(wire.span()=> #reply.write::<#shape, #returns>(#result));
        quote! {
            let #result = #run;
            #write;
        }
    };
    quote! {
        let (#context, #payload, #reply) = #incoming.parts();
        match #payload.read::<(#(#decoded,)*)>(#info) {
            ::core::result::Result::Ok((#(#patterns,)*)) => { #answer }
            ::core::result::Result::Err(#error) => #reply.fail(#error),
        }
    }
}
