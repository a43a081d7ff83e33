//! The core of a connection under a virtual clock.
//!
//! It is compiled into this test by itself, with nothing of the crate but errors and the tables of a service:
//! that this is possible shows that it depends on nothing else, and the counting allocator needs unsafe code,
//! which the crate forbids.

#[path = "../../src/connection/mod.rs"]
mod connection;
#[allow(
    dead_code,
    unreachable_pub,
    reason = "the crate makes more of its errors than the core does"
)]
#[path = "../../src/error.rs"]
mod error;

#[cfg(test)]
mod pair;
#[cfg(test)]
mod raw;

#[cfg(test)]
mod allocations;
#[cfg(test)]
mod begun;
#[cfg(test)]
mod calls;
#[cfg(test)]
mod cancels;
#[cfg(test)]
mod closing;
#[cfg(test)]
mod deadlines;
#[cfg(test)]
mod handshake;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod keepalive;
#[cfg(test)]
mod model;
#[cfg(test)]
mod offers;
#[cfg(test)]
mod purity;

use error::{Error, ErrorKind, Outcome};
use ipc_rpc::{MethodInfo, ServiceInfo};
