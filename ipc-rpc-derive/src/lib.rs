//! The attribute macro of `ipc-rpc`. Use it as `#[ipc_rpc::service]`.
//!
//! It works in three steps: [`parse`] reads the trait and says all that is wrong with it, [`model`] holds what was
//! understood, [`expand`] writes the client and the server. This file only joins them.
#![forbid(unsafe_code)]

mod attributes;
mod errors;
mod expand;
mod hash;
mod lend;
mod model;
mod parse;
mod shape;
mod signature;
mod types;

#[cfg(test)]
mod golden;

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::Item;

use crate::errors::Errors;

/// Makes a service of a trait: a client that calls it from another process, and a server that runs it.
///
/// See the documentation of `ipc_rpc::service`.
#[proc_macro_attribute]
pub fn service(options: proc_macro::TokenStream, item: proc_macro::TokenStream) -> proc_macro::TokenStream {
    rewrite(options.into(), item.into()).into()
}

/// What stands in the place of `item` once the macro has run. It never panics: what it cannot read it gives back
/// with an error beside it.
fn rewrite(options: TokenStream, item: TokenStream) -> TokenStream {
    let mut errors = Errors::default();
    let output = match syn::parse2::<Item>(item.clone()) {
        Ok(Item::Trait(written)) => {
            let service = parse::service(options, &written, hash::fnv1a_64, &mut errors);
            expand::service(&written, service.as_ref(), errors.is_empty())
        }
        Ok(other) => {
            errors.at(
                parse::first_token(&other),
                "`#[ipc_rpc::service]` makes a service of a trait: put it on one",
            );
            other.into_token_stream()
        }
        Err(error) => {
            errors.push(error);
            item
        }
    };
    let errors = errors.into_compile_errors();
    quote!(#output #errors)
}
