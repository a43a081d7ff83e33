//! Where processes cannot share memory as they do on Linux: sockets carry everything.

use std::io;
use std::sync::Arc;
use std::task::Waker;
#[cfg(feature = "tokio")]
use std::task::{Context, Poll};

use super::Stream;
use crate::endpoint::Sharing;
use crate::section::Atom;
use crate::socket;
use crate::sys::{Arrival, Patience};
use crate::{Block, Endpoint, Error, ErrorKind, Header, Lease, Message, Peer, Pool, Port, Scheme, Usage};

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

/// What lets the port of a stream carry sections: nothing does.
pub(crate) fn attach(_stream: &Stream, _peer: &Peer, _endpoint: &Endpoint) -> Option<(Pool, Outbox, Inbox)> {
    None
}

/// Whether a header tells of a piece that lies in memory.
pub(crate) fn is_piece(_header: &Header) -> bool {
    false
}

/// There is none, here and below.
#[derive(Clone)]
pub(crate) enum SharedPool {}

pub(crate) enum SharedChunk {}

#[derive(Clone)]
pub(crate) enum SharedBlock {}

#[derive(Clone)]
pub(crate) enum SharedLease {}

pub(crate) enum Outbox {}

pub(crate) enum Inbox {}

impl SharedPool {
    pub(crate) fn take(&self, _bytes: usize, _sealed: bool) -> Result<SharedChunk, Error> {
        match *self {}
    }

    pub(crate) fn take_common<A: Atom>(&self, _bytes: usize) -> Result<SharedBlock, Error> {
        match *self {}
    }

    pub(crate) fn trim(&self) -> bool {
        match *self {}
    }

    pub(crate) fn wake_on_return(&self, _waker: &Waker) {
        match *self {}
    }

    pub(crate) fn trim_when_idle(&self) {
        match *self {}
    }

    pub(crate) fn on_unsent(&self, _hook: Box<dyn Fn() + Send + Sync>) {
        match *self {}
    }

    pub(crate) fn usage(&self) -> Usage {
        match *self {}
    }
}

impl SharedChunk {
    pub(crate) fn bytes(&self) -> &[u8] {
        match *self {}
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        match *self {}
    }

    pub(crate) fn is_draft(&self) -> bool {
        match *self {}
    }

    pub(crate) fn freeze(self) -> Result<SharedBlock, Error> {
        match self {}
    }
}

impl SharedBlock {
    pub(crate) fn is_common(&self) -> bool {
        match *self {}
    }

    pub(crate) fn atoms<A: Atom>(&self) -> Option<&[A]> {
        match *self {}
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        match *self {}
    }

    pub(crate) fn is_sealed(&self) -> bool {
        match *self {}
    }
}

impl SharedLease {
    pub(crate) fn is_common(&self) -> bool {
        match *self {}
    }

    pub(crate) fn atoms<A: Atom>(&self) -> Option<&[A]> {
        match *self {}
    }

    pub(crate) fn bytes(&self) -> Option<&[u8]> {
        match *self {}
    }

    pub(crate) fn bytes_mut(&mut self) -> Option<&mut [u8]> {
        match *self {}
    }

    pub(crate) fn append_to(&self, _offset: usize, _length: usize, _to: &mut Vec<u8>) {
        match *self {}
    }

    pub(crate) fn copy_into(&self, _offset: usize, _to: &mut [u8]) {
        match *self {}
    }
}

impl Outbox {
    pub(crate) fn has_to_announce(&self, _blocks: &[Block]) -> bool {
        match *self {}
    }

    pub(crate) fn hand_over(&self, _stream: &Stream, _blocks: &[Block]) -> Result<Vec<u8>, Error> {
        match *self {}
    }

    pub(crate) fn has_unsent(&self) -> bool {
        match *self {}
    }

    pub(crate) fn tell(&self, _stream: &Stream) -> Result<bool, Error> {
        match *self {}
    }

    pub(crate) fn count(&self, _body: usize, _blocks: &[Block]) {
        match *self {}
    }

    pub(crate) fn piece(&self, _bytes: usize) -> Option<SharedChunk> {
        match *self {}
    }

    pub(crate) fn is_known(&self, _chunk: &SharedChunk) -> bool {
        match *self {}
    }

    pub(crate) fn hand_over_piece(
        &self,
        _chunk: &SharedChunk,
        _length: usize,
        _lane: usize,
        _stream: &Stream,
    ) -> Result<Option<Header>, Error> {
        match *self {}
    }
}

impl Inbox {
    pub(crate) fn receive(
        &mut self,
        _stream: &Stream,
        _body: &mut Vec<u8>,
        _limit: usize,
        _buffer: &mut Vec<u8>,
        _more: usize,
        _patience: Option<Patience>,
    ) -> io::Result<Arrival> {
        match *self {}
    }

    pub(crate) fn has_strays(&self) -> bool {
        match *self {}
    }

    pub(crate) fn take_frame(&mut self, _header: &Header) -> Result<(), Error> {
        match *self {}
    }

    pub(crate) fn piece(&self, _header: &Header) -> Result<Option<(Lease, u64)>, Error> {
        match *self {}
    }

    pub(crate) fn open(&self, _message: &mut Message) -> Result<(), Error> {
        match *self {}
    }

    pub(crate) fn unasked(&mut self) -> Error {
        match *self {}
    }
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
