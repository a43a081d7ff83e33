//! What one side of a connection lets the other do.

use std::time::Duration;

use crate::codec::Budget;
use crate::connection;

/// Limits of this side of a connection, for a server or a client. The largest message is not among them: it is a
/// setting of the endpoint, `Endpoint::max_message`.
///
/// ```
/// let mut limits = ipc_rpc::Limits::default();
/// limits.max_in_flight = 16;
/// # let _ = limits;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Calls of one connection that may be in progress at once: 1,024; at most 65,536. The other side is told and waits.
    pub max_in_flight: u32,
    /// Bytes that may wait to be sent on one connection because the other side does not read: 16 MiB. Then new calls
    /// wait, and a server reads no more requests from that connection.
    pub max_queued: usize,
    /// Connections that a server accepts at once, over all endpoints: 4,096.
    pub max_connections: usize,
    /// Connections that a server accepts at once from one user: 1,024.
    pub max_connections_per_user: usize,
    /// Connections that a server has refused and that still stay, for up to `handshake`, until their clients have read why:
    /// 64. Whoever is refused beyond that is told why, and the connection is dropped at once; over `tcp:`, a client
    /// that has sent something by then may find the connection reset instead.
    pub max_refused: usize,
    /// Bytes that may wait to be sent on all connections of one user to a server: 64 MiB.
    pub max_queued_per_user: usize,
    /// Handlers that may still be ending after their calls were cancelled: 64. Then new calls are answered `Busy`.
    pub max_cancels_pending: u32,
    /// How long a client may take to introduce itself to a server: 1 s. A client's own limit is `Connect::timeout`.
    pub handshake: Duration,
    /// How long one message may take to arrive, from its first byte to its last: 10 s. Then the connection is closed.
    pub message: Duration,
    /// Levels that a received value may be nested: 64.
    pub max_depth: u32,
    /// Elements that a received value may have in all, counting those without a size: 16 Mi.
    pub max_elements: usize,
    /// Memory that a received value may take, in bytes: four times its message and 1 MiB more, but at most this:
    /// 256 MiB.
    pub max_heap: usize,
}

impl Default for Limits {
    fn default() -> Self {
        let core = connection::Limits::default();
        Self {
            max_in_flight: core.max_in_flight,
            max_queued: 16 << 20,
            max_connections: 4096,
            max_connections_per_user: 1024,
            max_refused: 64,
            max_queued_per_user: 64 << 20,
            max_cancels_pending: core.max_cancels_pending,
            handshake: connection::ACCEPTING_HANDSHAKE,
            message: Duration::from_secs(10),
            max_depth: Budget::DEPTH,
            max_elements: Budget::ELEMENTS,
            max_heap: Budget::HEAP_MAX,
        }
    }
}

impl Limits {
    /// What decoding a body of so many bytes may take.
    pub(crate) fn budget(&self, body: usize) -> Budget {
        let heap = Budget::for_body(body).heap.min(self.max_heap);
        Budget {
            elements: self.max_elements,
            depth: self.max_depth,
            heap,
        }
    }

    /// The part that the protocol core keeps.
    pub(crate) fn core(&self, max_body: usize) -> connection::Limits {
        connection::Limits {
            max_body: u32::try_from(max_body).unwrap_or(u32::MAX),
            max_in_flight: self.max_in_flight,
            max_cancels_pending: self.max_cancels_pending,
        }
    }
}
