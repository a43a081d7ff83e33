//! Sockets that never block.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::windows::io::{AsSocket, BorrowedSocket};
use std::sync::{Mutex, PoisonError};

use socket2::{MaybeUninitSlice, SockRef};

use crate::Identity;
use crate::sys::Arrival;

/// A connected, non-blocking stream socket.
pub(crate) struct Stream(TcpStream);

/// A listening, non-blocking socket.
pub(crate) struct Acceptor {
    listener: TcpListener,
    /// What the reactor accepted: it can learn of a connection only by accepting it.
    accepted: Mutex<VecDeque<TcpStream>>,
}

/// Nothing: the number of sockets has no limit that a spare one would help with.
pub(crate) struct SpareDescriptor;

impl Stream {
    /// Whether it is a pair of pipes: there are none yet.
    pub(crate) fn is_piped(&self) -> bool {
        false
    }

    /// Nobody vouches for a peer here.
    pub(crate) fn identity(&self) -> io::Result<Identity> {
        Ok(Identity::Anonymous)
    }

    /// Gives the system as much as it takes, in one call.
    pub(crate) fn send(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        SockRef::from(&self.0).send_vectored(pieces)
    }

    /// Takes what is there, in one call: first up to `limit` bytes onto the end of `body`, then up to `more` bytes onto
    /// the end of `buffer`; both only as far as they have capacity. Nothing goes to `buffer` unless `limit` fits
    /// into `body`.
    pub(crate) fn receive(
        &self,
        body: &mut Vec<u8>,
        limit: usize,
        buffer: &mut Vec<u8>,
        more: usize,
    ) -> io::Result<Arrival> {
        let spare = body.spare_capacity_mut();
        let body_room = spare.len().min(limit);
        let rest = buffer.spare_capacity_mut();
        let rest_room = if body_room == limit {
            rest.len().min(more)
        } else {
            0
        };
        let rest = &mut rest[..rest_room];
        let asked = body_room + rest.len();
        let mut pieces = [
            MaybeUninitSlice::new(&mut spare[..body_room]),
            MaybeUninitSlice::new(rest),
        ];
        let pieces = if body_room == 0 {
            &mut pieces[1..]
        } else {
            &mut pieces[..]
        };
        let (bytes, _) = SockRef::from(&self.0).recv_vectored(pieces)?;

        let to_body = bytes.min(body_room);
        let length = body.len() + to_body;
        // SAFETY: the system wrote `to_body` bytes behind the old end, within the capacity.
        unsafe { body.set_len(length) };
        let length = buffer.len() + (bytes - to_body);
        // SAFETY: the system wrote the rest behind the old end, within the capacity: it was asked for no more.
        unsafe { buffer.set_len(length) };
        Ok(Arrival {
            bytes,
            asked,
            attachments: false,
        })
    }

    /// Ends both directions, also for other holders of the socket.
    pub(crate) fn shutdown(&self) {
        // It fails only where the connection has ended already.
        let _ = self.0.shutdown(Shutdown::Both);
    }

    #[cfg(feature = "tokio")]
    pub(super) fn duplicate(&self) -> io::Result<TcpStream> {
        self.0.try_clone()
    }
}

impl TryFrom<TcpStream> for Stream {
    type Error = io::Error;

    /// Takes a stream that is non-blocking.
    fn try_from(stream: TcpStream) -> io::Result<Self> {
        Ok(Self(stream))
    }
}

impl AsSocket for Stream {
    fn as_socket(&self) -> BorrowedSocket<'_> {
        self.0.as_socket()
    }
}

impl Acceptor {
    /// The next connection.
    pub(crate) fn accept(&self) -> io::Result<Stream> {
        let accepted = self
            .accepted
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front();
        let stream = match accepted {
            Some(stream) => stream,
            None => self.listener.accept()?.0,
        };
        stream.set_nonblocking(true)?;
        Ok(Stream(stream))
    }

    #[cfg(feature = "tokio")]
    pub(super) fn duplicate(&self) -> io::Result<TcpListener> {
        self.listener.try_clone()
    }

    #[cfg(feature = "tokio")]
    pub(super) fn keep(&self, stream: TcpStream) {
        self.accepted
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push_back(stream);
    }
}

impl From<TcpListener> for Acceptor {
    /// Takes a listener that is non-blocking.
    fn from(listener: TcpListener) -> Self {
        Self {
            listener,
            accepted: Mutex::default(),
        }
    }
}

impl AsSocket for Acceptor {
    fn as_socket(&self) -> BorrowedSocket<'_> {
        self.listener.as_socket()
    }
}

impl SpareDescriptor {
    /// Nothing to set aside.
    pub(crate) fn reserve(_acceptor: &Acceptor) -> Option<Self> {
        None
    }
}
