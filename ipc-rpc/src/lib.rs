//! Remote procedure calls between processes on one machine: annotate a trait, serve it from one process, call it typed
//! from another, async or blocking.
//!
//! ```
//! #[ipc_rpc::service]
//! trait Hello {
//!     /// Greets somebody.
//!     async fn hello(&self, name: &str) -> String;
//! }
//!
//! struct Polite;
//!
//! impl Hello for Polite {
//!     async fn hello(&self, name: &str) -> String {
//!         format!("Hello, {name}!")
//!     }
//! }
//!
//! # fn main() -> Result<(), ipc_rpc::Error> {
//! // In the server: ipc_rpc::serve("hello", HelloServer::new(Polite)).await?;
//! // In the client: let client = HelloClient::connect("hello").await?;
//! let client = HelloClient::in_process(Polite).wait()?;
//! assert_eq!(client.hello("world").wait()?, "Hello, world!");
//! # Ok(())
//! # }
//! ```
//!
//! # Transports
//! An [`Endpoint`] says where a server is and what carries the messages. The calls are the same over each of them.
//!
//! | endpoint | what it is |
//! |---|---|
//! | `store` | shared memory where both sides can, else the socket over which they would have agreed on it |
//! | `shm:store` | shared memory, or an error for the client: between processes of one user, on Linux |
//! | `unix:store`, `unix:/run/store.sock`, `unix:@store` | a socket, by name, at a path, by an abstract name |
//! | `pipe:store` | FIFOs; on Windows a named pipe |
//! | `tcp:7000` | the loopback interface |
//! | `exec:PROGRAM`, `fd:inherited` | a child that serves its parent, see [`serve_inherited`] |
//! | `mem:store` | inside one process |
//!
//! [`Client::transport`] and [`Context::transport`] tell which it came to be, [`Endpoint::wait`] says how one waits over shared memory.
//!
//! # Handlers that compute
//! A handler is polled where its call was received, on the connection's own task. One that awaits gives way to the others. One that
//! computes for more than a few hundred microseconds without awaiting holds up the calls behind it on its connection, and on a
//! current-thread runtime every connection: mark the method `#[rpc(blocking)]`, which gives it a thread where it may take its
//! time, and serve from a multi-thread runtime.
#![forbid(unsafe_code)]

/// What the macro writes names this crate as its users do.
#[cfg(test)]
extern crate self as ipc_rpc;

#[doc(hidden)]
#[path = "private.rs"]
pub mod __private;
#[cfg(feature = "tokio")]
mod accept;
mod blocking;
mod call;
#[cfg(feature = "tokio")]
mod catalogue;
mod child;
mod client;
mod codec;
mod connect;
#[cfg_attr(
    not(feature = "tokio"),
    allow(
        dead_code,
        unused_imports,
        reason = "the core is symmetric, a build without a server is not"
    )
)]
mod connection;
mod context;
#[cfg(feature = "tokio")]
mod dispatch;
#[cfg(feature = "tokio")]
mod driver;
mod error;
#[cfg(feature = "tokio")]
mod gate;
#[cfg(feature = "tokio")]
mod hub;
#[cfg(feature = "tokio")]
mod in_place;
#[cfg(feature = "tokio")]
mod in_process;
mod limits;
mod link;
mod nudge;
mod ping;
mod section;
#[cfg(feature = "tokio")]
mod server;
mod service;
#[cfg(feature = "tokio")]
mod serving;
mod sync;
mod traffic;
mod transmit;
mod waitlist;

/// Which types a [`Section`] can hold: [`bytemuck::Pod`], to be derived.
pub use bytemuck;
pub use call::Call;
pub use child::{Child, Exit};
pub use client::{Client, ServiceClient};
pub use codec::Codec;
pub use connect::Connect;
pub use context::Context;
#[cfg(feature = "tokio")]
pub use dispatch::Service;
pub use error::{CallError, Error, ErrorKind, Outcome};
#[cfg(feature = "tokio")]
pub use gate::{ConnectRequest, Reject};
pub use ipc_rpc_derive::service;
pub use limits::Limits;
pub use ping::Ping;
pub use section::{Allocation, Plain, Section, SharedMut, View, Word};
#[cfg(feature = "tokio")]
pub use server::{Listening, Run, Server, ServerHandle, activated, serve, serve_inherited};
pub use service::{MethodInfo, ServiceInfo};
pub use traffic::{Tiers, Traffic};
pub use transports::{DirectState, DirectUsage, Endpoint, Identity, Peer, Scheme, ServerEntry, Wait};

/// What is being served under names in this user's runtime directory, by name: see [`ServerEntry`]. It needs no
/// runtime. Sockets at paths of their own, abstract names, `tcp:` and `mem:` are not among it: nothing keeps a list
/// of those.
///
/// Each socket is tried: its server sees a client that connects and leaves. It blocks for as long as the file system
/// takes and waits for no server. What it tells was true when it looked.
///
/// ```
/// for server in ipc_rpc::servers()? {
///     let state = if server.stale { "gone" } else { "serving" };
///     println!("{} {:?} {state}", server.name, server.pid);
/// }
/// # Ok::<(), ipc_rpc::Error>(())
/// ```
///
/// # Errors
/// `Denied` if the runtime directory is not this user's alone, `Unsupported` where names are no files, and those of the
/// system. No directory means that nothing was ever served: that is no error.
pub fn servers() -> Result<Vec<ServerEntry>, Error> {
    transports::servers().map_err(Error::from)
}

/// The Rust of the README, as doctests.
#[cfg(all(doctest, feature = "tokio"))]
#[doc = include_str!("../../README.md")]
struct Readme;

/// Keeps the server's half of an expansion if this crate can serve: see `__private`.
#[doc(hidden)]
#[cfg(feature = "tokio")]
#[macro_export]
macro_rules! __with_server {
    ($($half:tt)*) => { $($half)* };
}

/// Drops the server's half of an expansion: this crate was built without the `tokio` feature.
#[doc(hidden)]
#[cfg(not(feature = "tokio"))]
#[macro_export]
macro_rules! __with_server {
    ($($half:tt)*) => {};
}
