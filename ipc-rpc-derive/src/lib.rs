//! The attribute macro of `ipc-rpc`. Use it as `#[ipc_rpc::service]`.
//!
//! It works in three steps: `parse` reads the trait and says all that is wrong with it, `model` holds what was
//! understood, `expand` writes the client and the server. This file only joins them.
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
/// ```text
/// #[ipc_rpc::service]
/// pub trait Store {
///     /// Looks a key up.
///     async fn get(&self, key: &str) -> Option<Vec<u8>>;
///     async fn put(&self, context: &Context, key: &str, value: &[u8]) -> Result<Version, StoreError>;
///     #[rpc(oneway)]
///     async fn log(&self, line: &str);
///     #[rpc(blocking)]
///     fn digest(&self, rounds: u64) -> u64;
/// }
/// ```
///
/// # What it makes
/// - **The trait**, in which each `async fn` returns a future that is `Send`, with `Send + Sync + 'static` as its
///   super-traits. Whoever implements it writes plain `async fn`. A method with a body has that as its default.
///   `Arc<T>` implements it where `T` does.
/// - **`StoreClient`**, which is `Clone`, with `connect`, `with_timeout`, `alloc`, and a method for each of the trait's. Such a
///   method takes the same arguments and gives a `Call`, to be ended with `.await` or `.wait()`; the arguments' type is
///   `StoreGet` for `get`. `in_process` makes a client and its server in one process, for tests.
/// - **`StoreServer<T>`**, what a server serves: `new`, `from_arc`, and `require_identity`, which refuses transports
///   that cannot tell who calls. It is there if `ipc-rpc` has its `tokio` feature.
///
/// # Options of the service
/// | option | meaning | without it |
/// |---|---|---|
/// | `name = "store"` | the service's name on the wire | the trait's name |
/// | `version = 2` | its version; between programs that have different ones each call is refused | 1 |
/// | `codec = "json"` | the codec that its clients ask for: `"bincode"` or `"json"` | `"bincode"` |
///
/// # Options of a method
/// | option | meaning |
/// |---|---|
/// | `#[rpc(oneway)]` | nobody waits for the handler, and it returns nothing; a call ends once it is sent |
/// | `#[rpc(blocking)]` | a plain `fn` that runs on a thread where it may block or compute for long |
/// | `#[rpc(result)]` | the return type is an alias of `Result` whose name does not end in `Result` |
///
/// # Arguments
/// All types that serde can encode and decode, at most 16 of them, each under a plain name: it is the name under which
/// the argument travels where arguments travel by name.
///
/// | written | what the handler gets |
/// |---|---|
/// | `T` | the value |
/// | `&str`, `&[u8]` | borrowed from the received message, where the codec allows, else from a decoded copy |
/// | `&T`, `&[T]`, `&Path` | borrowed from the decoded value |
/// | `Option<&T>`, `(u8, &str)` | likewise; inside an `Option` all is borrowed or nothing |
/// | `Section<T>`, `View<T>` | memory that travels with the call; the client's method takes whatever can be made into one |
/// | `SharedMut<T>` | memory that both sides write, as atomics; the client's method takes it or a reference to it |
/// | `&Context` | the call's context; it is not on the wire, and the client's method does not have it |
///
/// # Results
/// Any owned serde type. A caller gets `Result<T, Error>`, and where the method returns `Result<T, E>`, or a path that
/// ends in `Result`, `Result<T, CallError<E>>`.
///
/// # Compatibility
/// A method is known on the wire by the hash of `name.method`, so methods can be reordered and added. If the types in a
/// method's signature change, its calls fail with both signatures in the message, and other methods still work; `&str`
/// and `String` and the like are the same. What is inside a type is not looked at: if that changes, `version` must.
///
/// # What it refuses
/// Generic traits and methods, named lifetimes, super-traits, associated types and constants, `self` other than
/// `&self`, `impl Trait` and `dyn`, references where nothing could lend them, and names that generated code needs. Each
/// error stands at the token that is at fault and says what to write instead.
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
