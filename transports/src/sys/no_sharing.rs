//! Where processes cannot share memory as they do on Linux: sockets carry everything.

use std::sync::Arc;
#[cfg(feature = "tokio")]
use std::task::{Context, Poll};

use super::Stream;
use crate::endpoint::Sharing;
use crate::socket;
use crate::{Endpoint, Error, ErrorKind, Peer, Port, Scheme};

/// Whether memory can be shared with another process, here.
pub(crate) const HAS_SHARED_MEMORY: bool = false;

/// There is none.
pub(crate) enum Meeting {}

impl Meeting {
    pub(crate) fn scheme(&self) -> Scheme {
        match *self {}
    }

    pub(crate) fn interrupt(&self) {
        match *self {}
    }
}

/// The port of a client.
pub(crate) fn connected(stream: Arc<Stream>, peer: Peer, endpoint: Endpoint) -> Result<Port, Error> {
    if endpoint.sharing() == Sharing::Required {
        let message = format!("cannot connect to \"{endpoint}\": this platform shares no memory; use unix:");
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
    Ok(socket::with_peer(stream, peer, endpoint))
}

/// The port of a server.
pub(crate) fn accepted(stream: Arc<Stream>, peer: Peer, endpoint: Endpoint) -> Port {
    socket::with_peer(stream, peer, endpoint)
}

/// What an async driver waits on, where there is memory.
#[cfg(feature = "tokio")]
pub(crate) enum News {}

#[cfg(feature = "tokio")]
impl News {
    pub(crate) fn of(meeting: &Arc<Meeting>) -> Result<Self, Error> {
        match **meeting {}
    }

    pub(crate) fn poll_recv(
        &self,
        _cx: &mut Context<'_>,
        _look: &mut dyn FnMut() -> bool,
    ) -> Poll<Result<(), Error>> {
        match *self {}
    }

    pub(crate) fn poll_space(
        &self,
        _cx: &mut Context<'_>,
        _look: &mut dyn FnMut() -> bool,
    ) -> Poll<Result<(), Error>> {
        match *self {}
    }
}
