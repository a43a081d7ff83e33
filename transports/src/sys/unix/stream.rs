//! Streams that never block: sockets, and pairs of pipes.

use std::io::{self, IoSlice};
use std::mem::{self, MaybeUninit};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::net::{SendAncillaryBuffer, SendFlags, Shutdown};

use super::quiet;
use crate::sys::Arrival;

/// A connected stream, both ways: non-blocking, closed on exec, never the cause of SIGPIPE.
pub(crate) struct Stream {
    /// What is read; of a socket, also what is written.
    input: OwnedFd,
    /// What is written, where that is a descriptor of its own: then both are pipes.
    output: Option<OwnedFd>,
    witness: Witness,
}

/// Who tells which process is at the other end.
pub(super) enum Witness {
    /// The system, asked about the socket.
    System,
    /// We started it. A pidfd, if the system has one: the socket would name the one who made the pair, ourselves.
    Child(Option<OwnedFd>),
    /// Nobody: pipes tell nothing.
    Nobody,
}

/// A listening socket: non-blocking, closed on exec.
pub(crate) struct Acceptor(OwnedFd);

/// A descriptor to give up when none is left.
pub(crate) struct SpareDescriptor(#[expect(dead_code, reason = "only held")] OwnedFd);

impl Stream {
    /// Takes a socket that is non-blocking and closed on exec already.
    pub(super) fn new(socket: OwnedFd) -> io::Result<Self> {
        Self::with_witness(socket, Witness::System)
    }

    /// As [`Stream::new`], where the socket may not know who is at the other end.
    pub(super) fn with_witness(socket: OwnedFd, witness: Witness) -> io::Result<Self> {
        // Elsewhere each send says it.
        #[cfg(target_vendor = "apple")]
        rustix::net::sockopt::set_socket_nosigpipe(&socket, true)?;
        Ok(Self {
            input: socket,
            output: None,
            witness,
        })
    }

    /// Takes two descriptors, one for each direction, that are non-blocking and closed on exec already.
    pub(super) fn pair(input: OwnedFd, output: OwnedFd, witness: Witness) -> Self {
        Self {
            input,
            output: Some(output),
            witness,
        }
    }

    pub(super) fn witness(&self) -> &Witness {
        &self.witness
    }

    /// Whether it is a pair of pipes.
    pub(crate) fn is_piped(&self) -> bool {
        self.output.is_some()
    }

    /// What becomes writable, where that is not the descriptor that becomes readable.
    pub(super) fn output(&self) -> Option<BorrowedFd<'_>> {
        self.output.as_ref().map(AsFd::as_fd)
    }

    /// Gives the system as much as it takes, in one call.
    pub(crate) fn send(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        if let Some(output) = &self.output {
            return quiet::write(output, pieces);
        }
        #[cfg(not(target_vendor = "apple"))]
        let flags = SendFlags::NOSIGNAL;
        #[cfg(target_vendor = "apple")]
        let flags = SendFlags::empty();
        let sent = match pieces {
            [one] => rustix::net::send(&self.input, one, flags)?,
            several => {
                rustix::net::sendmsg(&self.input, several, &mut SendAncillaryBuffer::default(), flags)?
            }
        };
        Ok(sent)
    }

    /// Takes what is there, in one call: first up to `limit` bytes onto the end of `body`, then up to `more` bytes onto
    /// the end of `buffer`; both only as far as they have capacity. Nothing goes to `buffer` unless `limit` fits
    /// into `body`.
    ///
    /// There is no room for control data, so that the system discards descriptors that the peer attached, and
    /// says so.
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
        let mut pieces = [piece(&mut spare[..body_room]), piece(rest)];
        let pieces = if body_room == 0 {
            &mut pieces[1..]
        } else {
            &mut pieces[..]
        };

        let (bytes, attachments) = if self.output.is_some() {
            // At most two pieces.
            let count = pieces.len() as libc::c_int;
            // SAFETY: the pipe is open; the pieces are memory that this call alone may write for as long as it lasts:
            // spare capacity of two vectors borrowed mutably.
            let received = unsafe { libc::readv(self.input.as_raw_fd(), pieces.as_ptr(), count) };
            (received, false)
        } else {
            // SAFETY: `msghdr` is a C struct of integers and pointers, for which zeros mean "absent".
            let mut message: libc::msghdr = unsafe { mem::zeroed() };
            message.msg_iov = pieces.as_mut_ptr();
            message.msg_iovlen = pieces.len() as _;
            // SAFETY: the socket is open; `message` has no name and no control data, and its pieces are memory that
            // this call alone may write for as long as it lasts: spare capacity of two vectors borrowed mutably.
            let received = unsafe { libc::recvmsg(self.input.as_raw_fd(), &mut message, 0) };
            (received, message.msg_flags & libc::MSG_CTRUNC != 0)
        };
        let bytes = usize::try_from(bytes).map_err(|_| io::Error::last_os_error())?;

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
            attachments,
        })
    }

    /// Ends both directions, also for other holders of the descriptor. Pipes end when they are closed.
    pub(crate) fn shutdown(&self) {
        if self.output.is_none() {
            // It fails only where the connection has ended already.
            let _ = rustix::net::shutdown(&self.input, Shutdown::Both);
        }
    }
}

fn piece(memory: &mut [MaybeUninit<u8>]) -> libc::iovec {
    libc::iovec {
        iov_base: memory.as_mut_ptr().cast(),
        iov_len: memory.len(),
    }
}

impl TryFrom<TcpStream> for Stream {
    type Error = io::Error;

    /// Takes a stream that is non-blocking.
    fn try_from(stream: TcpStream) -> io::Result<Self> {
        Self::new(stream.into())
    }
}

/// What becomes readable.
impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.input.as_fd()
    }
}

impl AsRawFd for Stream {
    fn as_raw_fd(&self) -> RawFd {
        self.input.as_raw_fd()
    }
}

impl Acceptor {
    /// Takes a listening socket that is non-blocking and closed on exec already.
    pub(super) fn new(socket: OwnedFd) -> Self {
        Self(socket)
    }

    /// The next connection.
    pub(crate) fn accept(&self) -> io::Result<Stream> {
        #[cfg(not(target_vendor = "apple"))]
        let socket = {
            let flags = rustix::net::SocketFlags::CLOEXEC | rustix::net::SocketFlags::NONBLOCK;
            rustix::net::accept_with(&self.0, flags)?
        };
        // A child that another thread forks and executes in between inherits the connection: macOS has no accept4.
        #[cfg(target_vendor = "apple")]
        let socket = {
            let socket = rustix::net::accept(&self.0)?;
            rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
            rustix::io::ioctl_fionbio(&socket, true)?;
            socket
        };
        Stream::new(socket)
    }
}

impl From<TcpListener> for Acceptor {
    /// Takes a listener that is non-blocking.
    fn from(listener: TcpListener) -> Self {
        Self::new(listener.into())
    }
}

impl AsFd for Acceptor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Acceptor {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl SpareDescriptor {
    /// Sets one aside, if there is one.
    pub(crate) fn reserve(acceptor: &Acceptor) -> Option<Self> {
        rustix::io::fcntl_dupfd_cloexec(acceptor, 0).ok().map(Self)
    }
}
