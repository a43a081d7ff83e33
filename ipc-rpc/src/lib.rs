//! Remote procedure calls between processes on one machine: a trait is a service.
#![forbid(unsafe_code)]

mod codec;
mod connection;
mod error;
#[doc(hidden)]
#[path = "private.rs"]
pub mod __private;
mod service;

pub use codec::Codec;
pub use error::{CallError, Error, ErrorKind, Outcome};
pub use service::{MethodInfo, ServiceInfo};
