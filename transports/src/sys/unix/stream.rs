//! Streams that block only where leave is given for it.

use std::io::{self, IoSlice};
use std::mem::{self, MaybeUninit};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;

use rustix::net::{SendAncillaryBuffer, SendFlags, Shutdown};

use super::fifo::{self, Fifos, Rendezvous, SpoolFile};
use crate::socket::Tag;
use crate::sys::{Arrival, Patience};
use crate::{Birthplace, Error, Identity};

/// A connected stream: closed on exec, never the cause of SIGPIPE. It is non-blocking, or each call says that it does not wait: see
/// [`Stream::patience`].
pub(crate) struct Stream(Kind, Witness);

enum Kind {
    Socket(OwnedFd),
    Fifos(Fifos),
    /// A child's standard input and output, or our own.
    Pipes {
        read: OwnedFd,
        write: OwnedFd,
    },
}

/// Who tells which process is at the other end.
pub(super) enum Witness {
    /// The system, asked about the socket.
    System,
    /// We started it. A pidfd, if the system has one: the socket would name the one who made the pair, ourselves.
    Child(
        #[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "only Linux has pidfds"))]
        Option<OwnedFd>,
    ),
    /// Nobody: pipes tell nothing.
    Nobody,
}

/// Where clients come in: non-blocking, closed on exec.
pub(crate) struct Acceptor(Entrance);

enum Entrance {
    Socket {
        socket: OwnedFd,
        /// Where it was bound; `None` if somebody else keeps it for the next server.
        bound: Option<Birthplace>,
    },
    Rendezvous(Rendezvous),
}

/// A descriptor to give up when none is left.
pub(crate) struct SpareDescriptor(#[expect(dead_code, reason = "only held")] OwnedFd);

/// What is asked for as a Unix socket's send buffer; Linux doubles it. Linux's own default of 208 KiB makes the two sides of a
/// large body wake each other five times for each MiB.
#[cfg(target_os = "linux")]
const SEND_BUFFER: usize = 512 << 10;

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
        // TCP sizes its buffers by itself, unless it is told. The system bounds what is asked for by its own limit.
        #[cfg(target_os = "linux")]
        if rustix::net::sockopt::socket_domain(&socket)? == rustix::net::AddressFamily::UNIX {
            rustix::net::sockopt::set_socket_send_buffer_size(&socket, SEND_BUFFER)?;
        }
        Ok(Self(Kind::Socket(socket), witness))
    }

    /// Takes two pipes, one for each direction, that are non-blocking and closed on exec already.
    pub(super) fn pipes(read: OwnedFd, write: OwnedFd, witness: Witness) -> Self {
        Self(Kind::Pipes { read, write }, witness)
    }

    pub(super) fn witness(&self) -> &Witness {
        &self.1
    }

    /// Whether the other side may have written to it as a program writes to its standard output.
    pub(crate) fn is_piped(&self) -> bool {
        matches!(self.0, Kind::Pipes { .. })
    }

    pub(super) fn fifos(fifos: Fifos) -> Self {
        Self(Kind::Fifos(fifos), Witness::Nobody)
    }

    /// Who is at the other end; asked once when the connection is made.
    pub(crate) fn identity(&self) -> io::Result<Identity> {
        match &self.0 {
            Kind::Socket(_) => self.socket_identity(),
            Kind::Fifos(fifos) => Ok(fifos.identity()),
            Kind::Pipes { .. } => Ok(Identity::Anonymous),
        }
    }

    /// Whether descriptors can be attached to what is sent.
    #[cfg(target_os = "linux")]
    pub(crate) fn carries_descriptors(&self) -> bool {
        // Elsewhere the system refuses them, or loses them: TCP sends the bytes without a word.
        let is_unix = |socket| {
            rustix::net::sockopt::socket_domain(socket)
                .is_ok_and(|domain| domain == rustix::net::AddressFamily::UNIX)
        };
        matches!(&self.0, Kind::Socket(socket) if is_unix(socket))
    }

    /// Whether there is something to receive, the end included, as far as a look that takes nothing can tell.
    #[cfg(target_os = "linux")]
    pub(crate) fn has_news(&self) -> bool {
        let mut byte = [0];
        let flags = rustix::net::RecvFlags::PEEK | rustix::net::RecvFlags::DONTWAIT;
        match &self.0 {
            Kind::Socket(socket) => !matches!(
                rustix::net::recv(socket, &mut byte, flags),
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR)
            ),
            Kind::Fifos(_) | Kind::Pipes { .. } => false,
        }
    }

    /// Whether the other side has ended, and all that it sent was received, as far as a look that takes nothing can tell.
    #[cfg(target_os = "linux")]
    pub(crate) fn has_ended(&self) -> bool {
        let mut byte = [0];
        let flags = rustix::net::RecvFlags::PEEK | rustix::net::RecvFlags::DONTWAIT;
        match &self.0 {
            Kind::Socket(socket) => match rustix::net::recv(socket, &mut byte, flags) {
                Ok((_, bytes)) => bytes == 0,
                Err(error) => !matches!(error, rustix::io::Errno::AGAIN | rustix::io::Errno::INTR),
            },
            Kind::Fifos(_) | Kind::Pipes { .. } => false,
        }
    }

    /// Has TCP hold nothing back in the hope of more.
    pub(crate) fn send_at_once(&self) -> io::Result<()> {
        socket2::SockRef::from(self).set_tcp_nodelay(true)
    }

    /// What each frame has to bear, where the system cannot tell of a third writer.
    pub(crate) fn tag(&self) -> Option<Tag> {
        match &self.0 {
            Kind::Socket(_) | Kind::Pipes { .. } => None,
            Kind::Fifos(fifos) => Some(fifos.tag()),
        }
    }

    /// Whether large bodies can travel through files beside it: between FIFOs of one user.
    pub(crate) fn has_spools(&self) -> bool {
        matches!(&self.0, Kind::Fifos(fifos) if fifos.is_of_own_user())
    }

    /// Makes the file for the bodies that this side sends, once, with these bytes in it.
    pub(crate) fn make_spool(&self, head: &[u8]) -> io::Result<SpoolFile> {
        match &self.0 {
            Kind::Fifos(fifos) => fifos.make_spool(head),
            Kind::Socket(_) | Kind::Pipes { .. } => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Opens the file for those that the other side sends. `None`: it is not to be had.
    ///
    /// # Errors
    /// `Protocol` if what the other side made is no such file.
    pub(crate) fn open_spool(&self) -> Result<Option<SpoolFile>, Error> {
        match &self.0 {
            Kind::Fifos(fifos) => fifos.open_spool(),
            Kind::Socket(_) | Kind::Pipes { .. } => Ok(None),
        }
    }

    /// The socket, if it is one.
    #[cfg(target_os = "linux")]
    pub(super) fn socket(&self) -> Option<&OwnedFd> {
        match &self.0 {
            Kind::Socket(socket) => Some(socket),
            Kind::Fifos(_) | Kind::Pipes { .. } => None,
        }
    }

    /// What news of room comes from, if it is not what other news come from.
    pub(super) fn writing(&self) -> Option<&OwnedFd> {
        match &self.0 {
            Kind::Socket(_) => None,
            Kind::Fifos(fifos) => Some(fifos.writing()),
            Kind::Pipes { write, .. } => Some(write),
        }
    }

    /// What loses its last reader if the server ends before it accepts us.
    pub(super) fn rendezvous(&self) -> Option<Arc<OwnedFd>> {
        match &self.0 {
            Kind::Socket(_) | Kind::Pipes { .. } => None,
            Kind::Fifos(fifos) => fifos.rendezvous(),
        }
    }

    /// Gives the system as much as it takes, in one call.
    pub(crate) fn send(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        #[cfg(not(target_vendor = "apple"))]
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        #[cfg(target_vendor = "apple")]
        let flags = SendFlags::empty();
        let sent = match (&self.0, pieces) {
            (Kind::Fifos(fifos), pieces) => fifos.send(pieces)?,
            (Kind::Pipes { write, .. }, pieces) => fifo::write(write, pieces)?,
            (Kind::Socket(socket), [one]) => rustix::net::send(socket, one, flags)?,
            (Kind::Socket(socket), several) => {
                rustix::net::sendmsg(socket, several, &mut SendAncillaryBuffer::default(), flags)?
            }
        };
        Ok(sent)
    }

    /// Takes what is there, in one call: first up to `limit` bytes onto the end of `body`, then up to `more` bytes onto
    /// the end of `buffer`; both only as far as they have capacity. Nothing goes to `buffer` unless `limit` fits
    /// into `body`.
    ///
    /// With `patience`, it waits for the first of it, and says `WouldBlock` after [`Patience::longest`].
    ///
    /// There is no room for control data, so that the system discards descriptors that the peer attached, and
    /// says so.
    pub(crate) fn receive(
        &self,
        body: &mut Vec<u8>,
        limit: usize,
        buffer: &mut Vec<u8>,
        more: usize,
        patience: Option<Patience>,
    ) -> io::Result<Arrival> {
        let (arrival, _) = self.receive_with_control(body, limit, buffer, more, patience, &mut [])?;
        Ok(arrival)
    }

    /// As [`Stream::receive`], with room for control data; the second number is how many bytes of it came.
    pub(super) fn receive_with_control(
        &self,
        body: &mut Vec<u8>,
        limit: usize,
        buffer: &mut Vec<u8>,
        more: usize,
        patience: Option<Patience>,
        control: &mut [usize],
    ) -> io::Result<(Arrival, usize)> {
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

        let (bytes, attachments, controlled) = match &self.0 {
            Kind::Socket(socket) => receive(socket, pieces, control, patience)?,
            Kind::Fifos(fifos) if fifos.may_receive()? => (read(fifos.reading(), pieces)?, false, 0),
            Kind::Fifos(_) => (0, false, 0),
            Kind::Pipes { read: pipe, .. } => (read(pipe, pieces)?, false, 0),
        };

        let to_body = bytes.min(body_room);
        let length = body.len() + to_body;
        // SAFETY: the system wrote `to_body` bytes behind the old end, within the capacity.
        unsafe { body.set_len(length) };
        let length = buffer.len() + (bytes - to_body);
        // SAFETY: the system wrote the rest behind the old end, within the capacity: it was asked for no more.
        unsafe { buffer.set_len(length) };
        let arrival = Arrival {
            bytes,
            asked,
            attachments,
        };
        Ok((arrival, controlled))
    }

    /// Ends both directions, also for other holders of the descriptor. Pipes end when they are closed.
    pub(crate) fn shutdown(&self) {
        match &self.0 {
            Kind::Socket(socket) => {
                // It fails only where the connection has ended already.
                let _ = rustix::net::shutdown(socket, Shutdown::Both);
            }
            Kind::Fifos(fifos) => fifos.shutdown(),
            Kind::Pipes { read, write } => {
                fifo::detach(read);
                fifo::detach(write);
            }
        }
    }
}

/// How a socket is looked at: what comes with the bytes is closed on exec. Elsewhere there is no room for it, and the socket is
/// non-blocking.
#[cfg(target_os = "linux")]
const RECEIVING: libc::c_int = libc::MSG_CMSG_CLOEXEC;
#[cfg(not(target_os = "linux"))]
const RECEIVING: libc::c_int = 0;

/// One look at a socket: how many bytes came, whether control data came for which there was no room, and how many bytes of
/// that came.
fn receive(
    socket: &OwnedFd,
    pieces: &mut [libc::iovec],
    control: &mut [usize],
    patience: Option<Patience>,
) -> io::Result<(usize, bool, usize)> {
    let flags = match patience {
        Some(_) => RECEIVING,
        None => RECEIVING | libc::MSG_DONTWAIT,
    };
    // SAFETY: `msghdr` is a C struct of integers and pointers, for which zeros mean "absent".
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_iov = pieces.as_mut_ptr();
    message.msg_iovlen = pieces.len() as _;
    if !control.is_empty() {
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = size_of_val(control) as _;
    }
    // SAFETY: the socket is open; `message` has no name, its control data goes to a slice of that size, and its pieces, which
    // the caller alone makes, are spare capacity of two vectors that it has borrowed mutably.
    let received = unsafe { libc::recvmsg(socket.as_raw_fd(), &mut message, flags) };
    let bytes = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
    let is_cut = message.msg_flags & libc::MSG_CTRUNC != 0;
    let controlled = if control.is_empty() {
        0
    } else {
        message.msg_controllen as usize
    };
    Ok((bytes, is_cut, controlled))
}

/// One look at a FIFO.
fn read(fifo: &OwnedFd, pieces: &mut [libc::iovec]) -> io::Result<usize> {
    // At most two: they fit.
    let count = pieces.len() as libc::c_int;
    // SAFETY: the FIFO is open; the pieces, which the caller alone makes, are spare capacity of two vectors that it has
    // borrowed mutably.
    let received = unsafe { libc::readv(fifo.as_raw_fd(), pieces.as_ptr(), count) };
    usize::try_from(received).map_err(|_| io::Error::last_os_error())
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

/// What news come from.
impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.0 {
            Kind::Socket(socket) => socket.as_fd(),
            Kind::Fifos(fifos) => fifos.reading().as_fd(),
            Kind::Pipes { read, .. } => read.as_fd(),
        }
    }
}

impl AsRawFd for Stream {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl Acceptor {
    /// Takes a listening socket that was bound here, is non-blocking and closed on exec already.
    pub(super) fn new(socket: OwnedFd) -> Self {
        Self(Entrance::Socket {
            socket,
            bound: Some(Birthplace::here()),
        })
    }

    /// As [`Acceptor::new`], for a socket that others go on listening at.
    pub(super) fn inherited(socket: OwnedFd) -> Self {
        Self(Entrance::Socket { socket, bound: None })
    }

    pub(super) fn rendezvous(rendezvous: Rendezvous) -> Self {
        Self(Entrance::Rendezvous(rendezvous))
    }

    /// Whether there is somebody to accept of whom there will be no more news.
    pub(super) fn has_more(&self) -> bool {
        match &self.0 {
            Entrance::Socket { .. } => false,
            Entrance::Rendezvous(rendezvous) => rendezvous.has_more(),
        }
    }

    /// The next connection.
    pub(crate) fn accept(&self) -> io::Result<Stream> {
        let listening = match &self.0 {
            Entrance::Socket { socket, .. } => socket,
            Entrance::Rendezvous(rendezvous) => return rendezvous.accept(),
        };
        #[cfg(not(target_vendor = "apple"))]
        let socket = {
            let flags = rustix::net::SocketFlags::CLOEXEC | rustix::net::SocketFlags::NONBLOCK;
            rustix::net::accept_with(listening, flags)?
        };
        // A child that another thread forks and executes in between inherits the connection: macOS has no accept4.
        #[cfg(target_vendor = "apple")]
        let socket = {
            let socket = rustix::net::accept(listening)?;
            rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
            rustix::io::ioctl_fionbio(&socket, true)?;
            socket
        };
        Stream::new(socket)
    }
}

impl Drop for Acceptor {
    /// Turns clients away from now on. Closing alone would not where a child of a fork, one that has yet to execute its
    /// program, say, still has the socket: they would connect, and wait for nobody.
    fn drop(&mut self) {
        match &self.0 {
            Entrance::Socket {
                socket,
                bound: Some(bound),
            } if bound.is_here() => {
                // Only Linux has this for a socket that listens; elsewhere it fails and changes nothing.
                let _ = rustix::net::shutdown(socket, Shutdown::Both);
            }
            _ => {}
        }
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
        match &self.0 {
            Entrance::Socket { socket, .. } => socket.as_fd(),
            Entrance::Rendezvous(rendezvous) => rendezvous.fifo().as_fd(),
        }
    }
}

impl AsRawFd for Acceptor {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl SpareDescriptor {
    /// Sets one aside, if there is one.
    pub(crate) fn reserve(acceptor: &Acceptor) -> Option<Self> {
        rustix::io::fcntl_dupfd_cloexec(acceptor, 0).ok().map(Self)
    }
}
