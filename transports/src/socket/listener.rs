//! Accepting, for every kind of socket.

use std::sync::Arc;
use std::time::Instant;

use crate::endpoint::Address;
use crate::sys::{self, AcceptFailure};
use crate::{Accepted, Endpoint, Error, ErrorKind, Identity, Interrupt, Listener, Peer, Port};

pub(super) struct SocketListener {
    acceptor: Arc<sys::Acceptor>,
    endpoint: Endpoint,
    waiter: sys::Waiter,
    /// Given up for a moment when the process has no descriptor left, so that a client can be told.
    spare: Option<sys::SpareDescriptor>,
    /// Holds the name; freed after the socket is closed.
    _claim: Option<sys::Claim>,
}

impl SocketListener {
    pub(super) fn new(acceptor: sys::Acceptor, endpoint: Endpoint, claim: Option<sys::Claim>) -> Self {
        let spare = sys::SpareDescriptor::reserve(&acceptor);
        Self {
            acceptor: Arc::new(acceptor),
            endpoint,
            waiter: sys::Waiter::new(),
            spare,
            _claim: claim,
        }
    }

    /// The next connection that is alive, with who made it.
    fn next(&self) -> Result<Option<(sys::Stream, Identity)>, std::io::Error> {
        loop {
            let stream = match self.acceptor.accept() {
                Ok(stream) => stream,
                Err(error) => match sys::accept_failure(&error) {
                    AcceptFailure::Empty => return Ok(None),
                    AcceptFailure::Skip => continue,
                    AcceptFailure::Exhausted | AcceptFailure::Fatal => return Err(error),
                },
            };
            let identity = match self.endpoint.address() {
                Address::Tcp { .. } => stream.send_at_once().map(|()| Identity::Anonymous),
                _ => stream.identity(),
            };
            // A client that gave up while it waited makes these fail; its connection is dropped.
            if let Ok(identity) = identity {
                return Ok(Some((stream, identity)));
            }
        }
    }

    fn port(&self, stream: sys::Stream, identity: Identity) -> Port {
        let endpoint = self.endpoint.clone();
        match endpoint.address() {
            Address::Name(_) | Address::Path(_) | Address::Abstract(_) => {
                let stream = Arc::new(stream);
                let peer = Peer::new(identity, Arc::downgrade(&stream));
                sys::shm::accepted(stream, peer, endpoint)
            }
            _ => super::port(stream, identity, endpoint),
        }
    }

    /// With no descriptor left, tells the client that waits longest by closing its connection. False if nobody
    /// waits: the system looks for a descriptor first, and complains either way.
    fn turn_away(&mut self) -> bool {
        if self.spare.take().is_none() {
            return true;
        }
        let nobody = self
            .acceptor
            .accept()
            .is_err_and(|error| matches!(sys::accept_failure(&error), AcceptFailure::Empty));
        self.spare = sys::SpareDescriptor::reserve(&self.acceptor);
        !nobody
    }
}

impl Listener for SocketListener {
    fn try_accept(&mut self) -> Result<Accepted, Error> {
        if self.spare.is_none() {
            self.spare = sys::SpareDescriptor::reserve(&self.acceptor);
        }
        match self.next() {
            Ok(None) => Ok(Accepted::Empty),
            Ok(Some((stream, identity))) => Ok(Accepted::Port(self.port(stream, identity))),
            Err(error) if sys::is_exhaustion(&error) => {
                if !self.turn_away() {
                    return Ok(Accepted::Empty);
                }
                let message = format!(
                    "cannot accept a connection to {}, which was closed. Raise the limit on open files \
                     (ulimit -n), or serve fewer connections",
                    self.endpoint.quoted()
                );
                Err(Error::new(ErrorKind::Resource, message).with_source(error))
            }
            Err(error) => Err(Error::system(
                format!("cannot accept a connection to {}", self.endpoint.quoted()),
                error,
            )),
        }
    }

    fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    fn park(&mut self, deadline: Option<Instant>) -> Result<(), Error> {
        let waited = self.waiter.wait_to_accept(&self.acceptor, deadline);
        waited.map_err(|error| {
            Error::system(
                format!("cannot wait for clients of {}", self.endpoint.quoted()),
                error,
            )
        })
    }

    fn interrupt(&self) -> Interrupt {
        Interrupt::bell(self.waiter.bell())
    }

    #[cfg(feature = "tokio")]
    fn source(&self) -> Result<crate::reactor::Source, Error> {
        crate::reactor::Source::acceptor(&self.acceptor)
    }
}
