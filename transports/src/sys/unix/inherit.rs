//! Descriptors that this process was started with.

use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::FileType;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, sockopt};

use super::spawn::inode;
use super::stream::Witness;
use super::{Acceptor, Stream};
use crate::Identity;

/// A socket that this process was started with.
pub(crate) enum Adopted {
    Connected(Stream, Identity),
    Listening(Acceptor, Bound),
}

/// Where an inherited socket listens.
pub(crate) enum Bound {
    Path(std::path::PathBuf),
    #[cfg_attr(
        not(target_os = "linux"),
        expect(dead_code, reason = "only Linux has abstract names")
    )]
    Abstract(Vec<u8>),
    Inet(std::net::SocketAddr),
}

/// Takes the socket with that number for our own. The number stays open, since other code of the process may have it,
/// but from here on no child inherits it.
pub(crate) fn adopt(number: i32, expected: Option<u64>) -> io::Result<Adopted> {
    let unfit = |why: &str| Err(io::Error::other(why.to_owned()));
    // SAFETY: any number may be asked for; a new descriptor is made if it is open.
    let copy = unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 3) };
    if copy == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the system has just made this descriptor, and nobody else knows it.
    let socket = unsafe { OwnedFd::from_raw_fd(copy) };
    if FileType::from_raw_mode(rustix::fs::fstat(&socket)?.st_mode) != FileType::Socket {
        return unfit("it is no socket");
    }
    if expected.is_some_and(|expected| inode(&socket).ok() != Some(expected)) {
        return unfit("it is another socket than the one that was passed");
    }
    if sockopt::socket_type(&socket)? != SocketType::STREAM {
        return unfit("it is no stream socket");
    }
    let family = rustix::net::getsockname(&socket)?.address_family();
    if ![AddressFamily::UNIX, AddressFamily::INET, AddressFamily::INET6].contains(&family) {
        return unfit("it is neither a Unix nor a TCP socket");
    }
    // SAFETY: the number is open, as it was found to be; closing it in other programs harms nobody in this one.
    if unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } == -1 {
        return Err(io::Error::last_os_error());
    }
    rustix::io::ioctl_fionbio(&socket, true)?;
    if is_listening(&socket)? {
        let bound = bound(&socket)?;
        return Ok(Adopted::Listening(Acceptor::inherited(socket), bound));
    }
    if rustix::net::getpeername(&socket).is_err() {
        return unfit("it is neither connected nor listening");
    }
    let stream = Stream::new(socket)?;
    let identity = if family == AddressFamily::UNIX {
        stream.identity()?
    } else {
        socket2::SockRef::from(&stream).set_tcp_nodelay(true)?;
        Identity::Anonymous
    };
    Ok(Adopted::Connected(stream, identity))
}

#[cfg(not(target_vendor = "apple"))]
fn is_listening(socket: &OwnedFd) -> io::Result<bool> {
    Ok(sockopt::socket_acceptconn(socket)?)
}

/// Apple's systems do not tell. A stream socket that has no peer is taken for a listening one; if it is not, accepting
/// says so.
#[cfg(target_vendor = "apple")]
fn is_listening(socket: &OwnedFd) -> io::Result<bool> {
    match rustix::net::getpeername(socket) {
        Ok(_) => Ok(false),
        Err(rustix::io::Errno::NOTCONN) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// Takes standard input and output for a connection. From here on standard input is empty, and what is printed to
/// standard output goes to standard error; a child of this process inherits nothing of the connection.
pub(crate) fn adopt_stdio(expected: Option<[u64; 2]>) -> io::Result<Stream> {
    if io::stdin().is_terminal() || io::stdout().is_terminal() {
        return Err(io::Error::other(
            "it is a terminal; start this program from its client",
        ));
    }
    let input = rustix::io::fcntl_dupfd_cloexec(io::stdin(), 3)?;
    let output = rustix::io::fcntl_dupfd_cloexec(io::stdout(), 3)?;
    if let Some(expected) = expected {
        if [inode(&input)?, inode(&output)?] != expected {
            return Err(io::Error::other(
                "it is another pipe than the one that was passed",
            ));
        }
    }
    let nothing = std::fs::File::open("/dev/null")?;
    rustix::stdio::dup2_stdin(&nothing)?;
    rustix::stdio::dup2_stdout(io::stderr())?;
    for end in [&input, &output] {
        rustix::io::ioctl_fionbio(end, true)?;
    }
    Ok(Stream::pipes(input, output, Witness::Nobody))
}

fn bound(socket: &OwnedFd) -> io::Result<Bound> {
    let address = rustix::net::getsockname(socket.as_fd())?;
    if let Ok(address) = std::net::SocketAddr::try_from(address.clone()) {
        return Ok(Bound::Inet(address));
    }
    let address = SocketAddrUnix::try_from(address)?;
    if let Some(path) = address.path_bytes() {
        use std::os::unix::ffi::OsStrExt;
        return Ok(Bound::Path(Path::new(std::ffi::OsStr::from_bytes(path)).into()));
    }
    #[cfg(target_os = "linux")]
    if let Some(name) = address.abstract_name() {
        return Ok(Bound::Abstract(name.to_vec()));
    }
    Err(io::Error::other("it has no address"))
}
