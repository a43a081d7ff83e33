//! Streams that never block.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::windows::io::{AsSocket, BorrowedSocket};
use std::sync::{Arc, Mutex, PoisonError};

use socket2::{MaybeUninitSlice, SockRef};

use super::SpoolFile;
use super::pipe::{Event, PipeAcceptor, PipeStream};
use crate::socket::Tag;
use crate::sys::{Arrival, Patience};
use crate::{Error, Identity};

/// A connected stream.
pub(crate) struct Stream(Kind);

enum Kind {
    /// Non-blocking.
    Socket(TcpStream),
    Pipe(PipeStream),
}

/// Where clients come in.
pub(crate) struct Acceptor(Entrance);

enum Entrance {
    Socket(Listener),
    Pipe(PipeAcceptor),
}

/// A listening, non-blocking socket.
pub(super) struct Listener {
    pub(super) listener: TcpListener,
    /// What the reactor accepted: it can learn of a connection only by accepting it.
    accepted: Mutex<VecDeque<TcpStream>>,
}

/// What a thread or a runtime waits for.
pub(super) enum Waitable<'a, S> {
    Socket(&'a S),
    /// Events: of what may be taken, and of room.
    Events(&'a Arc<Event>, &'a Arc<Event>),
}

/// Nothing: the number of sockets has no limit that a spare one would help with.
pub(crate) struct SpareDescriptor;

impl Stream {
    /// Whether it is a pair of anonymous pipes: there are none yet.
    pub(crate) fn is_piped(&self) -> bool {
        false
    }

    pub(super) fn pipe(pipe: PipeStream) -> Self {
        Self(Kind::Pipe(pipe))
    }

    /// Who is at the other end.
    pub(crate) fn identity(&self) -> io::Result<Identity> {
        Ok(match &self.0 {
            Kind::Socket(_) => Identity::Anonymous,
            Kind::Pipe(pipe) => pipe.identity(),
        })
    }

    /// Has TCP hold nothing back in the hope of more.
    pub(crate) fn send_at_once(&self) -> io::Result<()> {
        match &self.0 {
            Kind::Socket(socket) => socket.set_nodelay(true),
            Kind::Pipe(_) => Ok(()),
        }
    }

    pub(super) fn waitable(&self) -> Waitable<'_, TcpStream> {
        match &self.0 {
            Kind::Socket(socket) => Waitable::Socket(socket),
            Kind::Pipe(pipe) => Waitable::Events(pipe.readable(), pipe.writable()),
        }
    }

    /// Pipes carry large bodies by themselves.
    pub(crate) fn has_spools(&self) -> bool {
        false
    }

    /// Refused: see [`Stream::has_spools`].
    pub(crate) fn make_spool(&self, _head: &[u8]) -> io::Result<SpoolFile> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// There is none: see [`Stream::has_spools`].
    pub(crate) fn open_spool(&self) -> Result<Option<SpoolFile>, Error> {
        Ok(None)
    }

    /// The system keeps third parties out.
    pub(crate) fn tag(&self) -> Option<Tag> {
        None
    }

    /// Gives the system as much as it takes, in one call.
    pub(crate) fn send(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        match &self.0 {
            Kind::Socket(socket) => SockRef::from(socket).send_vectored(pieces),
            Kind::Pipe(pipe) => pipe.send(pieces),
        }
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
        _patience: Option<Patience>,
    ) -> io::Result<Arrival> {
        let socket = match &self.0 {
            Kind::Socket(socket) => socket,
            Kind::Pipe(pipe) => return pipe.receive(body, limit, buffer, more),
        };
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
        let (bytes, _) = SockRef::from(socket).recv_vectored(pieces)?;

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

    /// Ends both directions, also for other holders of the stream.
    pub(crate) fn shutdown(&self) {
        match &self.0 {
            Kind::Socket(socket) => {
                // It fails only where the connection has ended already.
                let _ = socket.shutdown(Shutdown::Both);
            }
            Kind::Pipe(pipe) => pipe.shutdown(),
        }
    }
}

impl TryFrom<TcpStream> for Stream {
    type Error = io::Error;

    /// Takes a stream that is non-blocking.
    fn try_from(stream: TcpStream) -> io::Result<Self> {
        Ok(Self(Kind::Socket(stream)))
    }
}

impl Acceptor {
    pub(super) fn pipe(pipe: PipeAcceptor) -> Self {
        Self(Entrance::Pipe(pipe))
    }

    /// The next connection.
    pub(crate) fn accept(&self) -> io::Result<Stream> {
        let stream = match &self.0 {
            Entrance::Socket(socket) => socket.accept()?,
            Entrance::Pipe(pipe) => return pipe.accept(),
        };
        stream.set_nonblocking(true)?;
        Stream::try_from(stream)
    }

    pub(super) fn waitable(&self) -> Waitable<'_, Listener> {
        match &self.0 {
            Entrance::Socket(socket) => Waitable::Socket(socket),
            Entrance::Pipe(pipe) => Waitable::Events(pipe.event(), pipe.event()),
        }
    }
}

impl Listener {
    fn accept(&self) -> io::Result<TcpStream> {
        let accepted = self
            .accepted
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front();
        accepted.map_or_else(|| Ok(self.listener.accept()?.0), Ok)
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
        Self(Entrance::Socket(Listener {
            listener,
            accepted: Mutex::default(),
        }))
    }
}

impl AsSocket for Listener {
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
