//! From the [`Service`] model to code.
//!
//! Generated code names everything by an absolute path, its locals have names that no user's expression meets, and
//! no module is made: a trait inside a function works as any other.

mod call;
mod client;
mod interface;
mod server;

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::{Ident, ItemTrait};

use crate::model::{Argument, Method, Service, generated};

/// The trait, rewritten, and what was made from it. `complete`: nothing was left out for an error, so all that
/// implements the trait can be written, too.
pub(crate) fn service(written: &ItemTrait, service: Option<&Service>, complete: bool) -> TokenStream {
    let interface = interface::rewritten(written);
    let Some(service) = service else {
        return quote!(#interface);
    };
    let forwarding = complete.then(|| interface::forwarding(service));
    let client = client::client(service);
    let calls = service.methods.iter().map(|method| call::call(service, method));
    let server = server::server(service);
    quote! {
        #interface
        #forwarding
        #client
        #(#calls)*
        ::ipc_rpc::__with_server! { #server }
    }
}

impl Service {
    /// What generated implementations are excused from: the lints that the user allowed for the trait, and a warning
    /// that it, or a method of it, is deprecated.
    fn allowances(&self) -> TokenStream {
        let written = &self.attributes.implementations;
        let deprecated = (self.attributes.deprecated
            || self.methods.iter().any(|method| method.attributes.deprecated))
        .then(|| quote!(#[allow(deprecated, reason = "it is served as long as it is there")]));
        // Code from a macro of the user's own crate is not excused from this lint as other generated code is.
        let unused = quote!(#[allow(dead_code, reason = "a program need not use all that is generated")]);
        quote!(#unused #(#written)* #deprecated)
    }
}

impl Argument {
    /// The user's name for it, marked as generated: a lint about the name was given at the trait already.
    fn name(&self) -> Ident {
        let mut name = self.ident.clone();
        name.set_span(generated(name.span()));
        name
    }
}

impl Method {
    /// What the tables say of it, as an expression.
    fn info(&self) -> TokenStream {
        let call = &self.call;
        let elided = self.borrows().then(|| quote!(<'static>));
        quote!(<#call #elided as ::ipc_rpc::__private::Method>::INFO)
    }

    /// The user's name for it, marked as generated.
    fn generated_name(&self) -> Ident {
        let mut name = self.ident.clone();
        name.set_span(generated(name.span()));
        name
    }
}

/// A local variable of generated code.
fn local(name: &str) -> Ident {
    format_ident!("__ipc_rpc_{name}", span = proc_macro2::Span::mixed_site())
}

/// Brings into scope what the shapes of unknown types need.
fn use_probe(needed: bool) -> Option<TokenStream> {
    needed.then(|| {
        quote!(
            use ::ipc_rpc::__private::{ProbeFallback as _, TransmitFallback as _};
        )
    })
}
