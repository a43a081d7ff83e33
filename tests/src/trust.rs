//! Sides that trust each other.

use ipc_rpc::Endpoint;

/// The endpoint of a side whose other side is one of these tests' programs, too.
#[must_use]
pub fn trusting(endpoint: Endpoint) -> Endpoint {
    // SAFETY: at the other end of such a connection is a program of this package, which uses sections through the library alone: it changes
    // nothing that it has sent, and looks at nothing that it has lent whole.
    unsafe { endpoint.trust_peer() }
}
