//! Remote procedure calls between processes on one machine: a trait is a service.
#![forbid(unsafe_code)]

mod codec;
#[expect(dead_code, unused_imports, reason = "the client and the server, which drive it, are not written yet")]
mod connection;
mod error;
#[doc(hidden)]
#[path = "private.rs"]
pub mod __private;
mod service;

pub use codec::Codec;
pub use error::{CallError, Error, ErrorKind, Outcome};
pub use service::{MethodInfo, ServiceInfo};
