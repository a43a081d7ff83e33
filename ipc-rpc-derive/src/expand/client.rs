//! The client: a method a call.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
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
            /// Memory for a section of `count` values, to be passed to a call without a copy: see
            /// [`Client::alloc`](::ipc_rpc::Client::alloc).
            #vis fn alloc<Value: ::ipc_rpc::bytemuck::Pod>(
                &self,
                count: usize,
            ) -> ::core::result::Result<::ipc_rpc::Section<Value>, ::ipc_rpc::Error> {
                self.client.alloc(count)
            }
            /// Memory for a section, waited for while there is none: see
            /// [`Client::alloc_waiting`](::ipc_rpc::Client::alloc_waiting).
            #vis fn alloc_waiting<Value: ::ipc_rpc::bytemuck::Pod>(
                &self,
                count: usize,
            ) -> ::ipc_rpc::Allocation<'_, Value> {
                self.client.alloc_waiting(count)
            }
            /// Memory for a section that is sealed when it has been written, to be sent several times: see
            /// [`Client::alloc_sealed`](::ipc_rpc::Client::alloc_sealed).
            #vis fn alloc_sealed<Value: ::ipc_rpc::bytemuck::Pod>(
                &self,
                count: usize,
            ) -> ::core::result::Result<::ipc_rpc::Section<Value>, ::ipc_rpc::Error> {
                self.client.alloc_sealed(count)
            }
            /// Memory that both sides read and write at any time: see
            /// [`Client::alloc_shared`](::ipc_rpc::Client::alloc_shared).
            #vis fn alloc_shared<Value: ::ipc_rpc::Word>(
                &self,
                count: usize,
            ) -> ::core::result::Result<::ipc_rpc::SharedMut<Value>, ::ipc_rpc::Error> {
                self.client.alloc_shared(count)
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
    let types = method.wires().map(|(argument, wire)| {
        let ty = with_lifetime(&argument.ty, &parse_quote!('a));
        if wire.converts() {
            quote_spanned!(wire.span()=> impl ::core::convert::Into<#ty>)
        } else {
            quote!(#ty)
        }
    });
    let values = method.wires().map(|(argument, wire)| {
        let name = argument.name();
        if wire.converts() {
            quote_spanned!(wire.span()=> #name: ::core::convert::Into::into(#name))
        } else {
            quote!(#name)
        }
    });
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
            ::ipc_rpc::Call::new(&self.client, #call { #(#values),* })
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
