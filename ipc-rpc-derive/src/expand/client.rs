//! The client: a method a call.

use proc_macro2::TokenStream;
use quote::quote;
use syn::ext::IdentExt;
use syn::parse_quote;

use crate::model::{Codec, Method, Service};
use crate::types::with_lifetime;

pub(crate) fn client(service: &Service) -> TokenStream {
    let Service {
        vis,
        ident,
        attributes,
        methods,
        ..
    } = service;
    let client = service.client();
    let types = &attributes.types;
    let allowances = service.allowances();
    let type_doc = format!(
        " A client of [`{ident}`]: calls it in the process that serves it. Cheap to clone, and the clones share one \
         connection."
    );
    let connect_doc = format!(
        " Connects to a server of [`{ident}`]: at a name, such as `\"store\"`, or at an endpoint, such as \
         `\"tcp:127.0.0.1:7000\"`. Nothing happens before it is awaited, or waited for."
    );
    let spawn_doc = format!(
        " Starts a child process that serves [`{ident}`] to this client alone, over a connection that only it inherits: \
         its `main` calls `ipc_rpc::serve_inherited`. Nothing happens before it is awaited, or waited for."
    );
    let methods = methods.iter().map(|method| client_method(service, method));
    let info = info(service);
    quote! {
        #[doc = #type_doc]
        #(#types)*
        #[derive(::core::clone::Clone, ::core::fmt::Debug)]
        #vis struct #client {
            client: ::ipc_rpc::Client,
        }
        #allowances
        impl #client {
            #[doc = #connect_doc]
            #vis fn connect(
                endpoint: impl ::core::convert::TryInto<
                    ::ipc_rpc::Endpoint,
                    Error: ::core::convert::Into<::ipc_rpc::Error>,
                >,
            ) -> ::ipc_rpc::Connect<Self> {
                ::ipc_rpc::Connect::new(endpoint)
            }
            #[doc = #spawn_doc]
            #vis fn spawn(command: ::std::process::Command) -> ::ipc_rpc::Connect<Self> {
                ::ipc_rpc::Connect::spawn(command)
            }
            /// This client with a deadline: each of its calls ends after `timeout`, unless the call sets another.
            #[must_use]
            #vis fn with_timeout(&self, timeout: ::core::time::Duration) -> Self {
                Self { client: self.client.with_timeout(timeout) }
            }
            #(#methods)*
        }
        #[automatically_derived]
        #allowances
        impl ::ipc_rpc::ServiceClient for #client {
            const INFO: &'static ::ipc_rpc::ServiceInfo = #info;
            fn from_client(client: ::ipc_rpc::Client) -> Self {
                Self { client }
            }
            fn as_client(&self) -> &::ipc_rpc::Client {
                &self.client
            }
        }
    }
}

fn client_method(service: &Service, method: &Method) -> TokenStream {
    let vis = &service.vis;
    let name = method.generated_name();
    let call = &method.call;
    let attributes = &method.attributes.client;
    let doc = method.docs.is_empty().then(|| {
        let doc = format!(" Calls [`{}::{}`].", service.ident, method.ident.unraw());
        quote!(#[doc = #doc])
    });
    let names: Vec<_> = method.wires().map(|(argument, _)| argument.name()).collect();
    let types = method
        .wires()
        .map(|(argument, _)| with_lifetime(&argument.ty, &parse_quote!('a)));
    let (generics, receiver, returns) = if method.borrows() {
        (
            quote!(<'a>),
            quote!(&'a self),
            quote!(::ipc_rpc::Call<'a, #call<'a>>),
        )
    } else {
        (quote!(), quote!(&self), quote!(::ipc_rpc::Call<'_, #call>))
    };
    quote! {
        #(#attributes)*
        #doc
        #vis fn #name #generics (#receiver, #(#names: #types),*) -> #returns {
            ::ipc_rpc::Call::new(&self.client, #call { #(#names),* })
        }
    }
}

fn info(service: &Service) -> TokenStream {
    let Service {
        name, version, docs, ..
    } = service;
    let codec = match service.codec {
        Codec::Bincode => quote!(::ipc_rpc::Codec::Bincode),
        Codec::Json => quote!(::ipc_rpc::Codec::Json),
    };
    let methods = service.methods.iter().map(|method| {
        let cfg = &method.attributes.cfg;
        let info = method.info();
        quote!(#(#cfg)* #info)
    });
    quote! {
        &::ipc_rpc::ServiceInfo {
            name: #name,
            version: #version,
            codec: #codec,
            docs: #docs,
            methods: &[#(#methods),*],
        }
    }
}
