//! `unix:`, `tcp:` and `pipe:`, one implementation: messages framed on a byte stream.

mod agreed;
mod incoming;
mod listener;
mod outgoing;
mod pieces;
mod spool;
mod tcp;
mod unix;
mod writer;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub(crate) use agreed::Agreed;
pub use agreed::Pieces;
#[allow(unused_imports, reason = "only where memory is shared")]
pub(crate) use incoming::SocketReceiver;
#[allow(unused_imports, reason = "only where memory is shared")]
pub(crate) use outgoing::SocketSender;
pub(crate) use tcp::{connect as connect_tcp, listen as listen_tcp};
pub(crate) use unix::{connect_pipe, connect_unix, listen_pipe, listen_unix};

use crate::direct;
use crate::{Birthplace, Carrier, Child, Endpoint, Identity, Listener, Peer, Port, sys};

/// Bytes that a sender queues before it refuses more, as long as anything is queued: 16 MiB.
pub(crate) const QUEUE_LIMIT: usize = 16 << 20;

/// What stands before the header of each message of a stream into which the system cannot keep third parties from
/// writing: 16 random bytes that only the two sides know.
pub(crate) type Tag = [u8; 16];

/// What the two halves of a port share. The connection ends when both are gone, even where a child of a fork still
/// holds the descriptor, or a reactor.
pub(crate) struct Link {
    pub(crate) stream: Arc<sys::Stream>,
    /// The peer's process has ended: what it sent is still to be read, but no more will come.
    peer_gone: AtomicBool,
    /// Where the connection may be used and ended.
    pub(crate) birthplace: Birthplace,
}

impl Link {
    pub(crate) fn new(stream: Arc<sys::Stream>) -> Self {
        Self {
            stream,
            peer_gone: AtomicBool::new(false),
            birthplace: Birthplace::here(),
        }
    }

    pub(crate) fn peer_gone(&self) -> bool {
        self.peer_gone.load(Ordering::Acquire)
    }

    pub(crate) fn set_peer_gone(&self) {
        self.peer_gone.store(true, Ordering::Release);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // The copy that a fork drops is no reason to end what its parent uses.
        if self.birthplace.is_here() {
            self.stream.shutdown();
        }
    }
}

/// The port of a connected stream.
pub(crate) fn port(stream: sys::Stream, identity: Identity, endpoint: Endpoint) -> Port {
    let stream = Arc::new(stream);
    let peer = Peer::new(identity, Arc::downgrade(&stream));
    with_peer(stream, peer, endpoint)
}

/// The port of a stream that is connected to a child of this process.
pub(crate) fn port_of_child(
    stream: sys::Stream,
    identity: Identity,
    endpoint: Endpoint,
    child: Child,
) -> Port {
    let stream = Arc::new(stream);
    let peer = Peer::started(identity, Arc::downgrade(&stream), child);
    with_peer(stream, peer, endpoint)
}

/// Accepts from an inherited socket.
pub(crate) fn adopted(acceptor: sys::Acceptor, endpoint: Endpoint) -> Box<dyn Listener> {
    Box::new(listener::SocketListener::new(acceptor, endpoint, None))
}

pub(crate) fn with_peer(stream: Arc<sys::Stream>, peer: Peer, endpoint: Endpoint) -> Port {
    let limit = endpoint.message_limit();
    let carrier = Carrier::of_stream(endpoint.scheme(), stream.has_spools());
    let (pool, outbox, inbox) = match sys::shm::attach(&stream, &peer, &endpoint) {
        Some((pool, outbox, inbox)) => (Some(pool), Some(outbox), Some(inbox)),
        None => (None, None, None),
    };
    let link = Arc::new(Link::new(Arc::clone(&stream)));
    let port = Port {
        sender: Box::new(outgoing::SocketSender::new(
            Arc::clone(&link),
            &endpoint,
            outbox,
            carrier.agreed_pieces(),
        )),
        carrier,
        receiver: Box::new(incoming::SocketReceiver::new(link, limit, inbox)),
        peer,
        endpoint,
        pool,
    };
    direct::wrapped(port, &stream)
}
