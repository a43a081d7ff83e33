//! Connecting to and listening on `unix:` endpoints.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::{Acceptor, Claim, Stream, claim, names};
use crate::endpoint::Address;
use crate::{Endpoint, Error, ErrorKind, connecting};

/// Connects, bounded by the deadline; see [`crate::connect`].
pub(crate) fn connect_unix(endpoint: &Endpoint, deadline: Option<Instant>) -> Result<Stream, Error> {
    let target = match endpoint.address() {
        Address::Abstract(name) => Target {
            address: abstract_address(endpoint, name)?,
            path: PathBuf::new(),
            _directory: None,
        },
        Address::Path(path) => Target::at(endpoint, path)?,
        _ => Target::at(endpoint, &names::find(endpoint)?)?,
    };
    attempt(&target.address, deadline)
        .and_then(Stream::new)
        .map_err(|error| explain(endpoint, error))
}

/// Listens; see [`crate::listen`].
pub(crate) fn listen_unix(endpoint: &Endpoint) -> Result<(Acceptor, Option<Claim>), Error> {
    if let Address::Abstract(name) = endpoint.address() {
        return Ok((listen_abstract(endpoint, name)?, None));
    }
    let mode = Claim::mode_of(endpoint)?;
    let mut claim = Claim::take(endpoint)?;
    let target = Target::at(endpoint, claim.socket())?;
    claim.clear(endpoint, || attempt(&target.address, Some(Instant::now())))?;
    let bound = bind(&target).and_then(|socket| claim.made(mode).map(|()| Acceptor::new(socket)));
    match bound {
        Ok(acceptor) => {
            claim.announce();
            Ok((acceptor, Some(claim)))
        }
        Err(error) => Err(Error::system(
            format!("cannot serve {}", endpoint.described()),
            error,
        )),
    }
}

fn listen_abstract(endpoint: &Endpoint, name: &str) -> Result<Acceptor, Error> {
    abstract_address(endpoint, name)?;
    bind_abstract(name).map(Acceptor::new).map_err(|error| {
        let server = endpoint.quoted();
        if error.kind() == io::ErrorKind::AddrInUse {
            let message = format!(
                "cannot serve {server}: another program has this abstract name, which any user can take. \
                 Use a plain name, which is private to the user"
            );
            return Error::new(ErrorKind::InUse, message);
        }
        Error::system(format!("cannot serve {server}"), error)
    })
}

/// A socket's address, and the path in it.
pub(super) struct Target {
    pub(super) address: SocketAddrUnix,
    path: PathBuf,
    /// Has to stay open where the path goes through it.
    _directory: Option<OwnedFd>,
}

impl Target {
    pub(super) fn at(endpoint: &Endpoint, path: &Path) -> Result<Self, Error> {
        let invalid = |why: &str| {
            Error::new(
                ErrorKind::InvalidEndpoint,
                format!("cannot use {}: {why}", endpoint.described()),
            )
        };
        match SocketAddrUnix::new(path) {
            Ok(address) => {
                return Ok(Self {
                    address,
                    path: path.into(),
                    _directory: None,
                });
            }
            Err(Errno::NAMETOOLONG) => {}
            Err(error) => {
                return Err(Error::system(
                    format!("cannot use {}", endpoint.described()),
                    error.into(),
                ));
            }
        }
        let shortened = names::shorten(path).ok_or_else(|| {
            invalid("its path is longer than this system allows for a socket; use a shorter one")
        })?;
        let (directory, path) = shortened.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => connecting::nobody_listens(endpoint),
            io::ErrorKind::PermissionDenied => names::kept_out(endpoint, error),
            _ => Error::system(
                format!("cannot open the directory of {}", endpoint.described()),
                error,
            ),
        })?;
        let address = SocketAddrUnix::new(&path).map_err(|_| {
            invalid("its path is long and so is the name of the file; make one of them shorter")
        })?;
        Ok(Self {
            address,
            path,
            _directory: Some(directory),
        })
    }
}

/// One connection attempt. A Unix socket connects at once, or its server's queue is full.
pub(super) fn attempt(address: &SocketAddrUnix, deadline: Option<Instant>) -> io::Result<OwnedFd> {
    let socket = socket()?;
    loop {
        match rustix::net::connect(&socket, address) {
            Ok(()) => return Ok(socket),
            Err(Errno::INTR) => {}
            // Poll(2) does not tell when there is room again; a blocking attempt with a timeout does.
            Err(Errno::AGAIN) => break,
            Err(error) => return Err(error.into()),
        }
    }
    rustix::io::ioctl_fionbio(&socket, false)?;
    loop {
        let timeout = match deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())) {
            // Zero would mean no timeout.
            Some(left) if left.is_zero() => return Err(io::ErrorKind::TimedOut.into()),
            left => left,
        };
        rustix::net::sockopt::set_socket_timeout(&socket, rustix::net::sockopt::Timeout::Send, timeout)?;
        match rustix::net::connect(&socket, address) {
            Ok(()) => break,
            // The deadline decides.
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(error) => return Err(error.into()),
        }
    }
    rustix::net::sockopt::set_socket_timeout(&socket, rustix::net::sockopt::Timeout::Send, None)?;
    rustix::io::ioctl_fionbio(&socket, true)?;
    Ok(socket)
}

/// What a failed attempt means to the one who wanted to connect.
fn explain(endpoint: &Endpoint, error: io::Error) -> Error {
    let server = endpoint.described();
    match error.kind() {
        io::ErrorKind::NotFound => connecting::nobody_listens(endpoint),
        io::ErrorKind::TimedOut => connecting::timed_out(endpoint),
        io::ErrorKind::ConnectionRefused => match claim::dead_owner(endpoint) {
            Some(pid) => {
                let message = format!(
                    "cannot connect to {server}: the server that owned this socket (pid {pid}) is gone; \
                     the next serve({}) will replace it",
                    endpoint.quoted()
                );
                Error::new(ErrorKind::NotConnected, message)
            }
            None => connecting::nobody_listens(endpoint),
        },
        io::ErrorKind::PermissionDenied => names::kept_out(endpoint, error),
        _ => Error::system(format!("cannot connect to {server}"), error),
    }
}

#[cfg(not(target_vendor = "apple"))]
fn socket() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        flags,
        None,
    )?)
}

// A child that another thread forks and executes in between inherits the socket: macOS has no way around.
#[cfg(target_vendor = "apple")]
fn socket() -> io::Result<OwnedFd> {
    let socket = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::empty(),
        None,
    )?;
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&socket, true)?;
    Ok(socket)
}

/// Makes the socket file, with mode 0600 or less, and listens. `interprocess` sets the mode before it binds,
/// so that there is no moment in which the file is open to others. Its own handling of used names stays off:
/// it would remove a file without knowing whose it is.
#[cfg(target_os = "linux")]
fn bind(target: &Target) -> io::Result<OwnedFd> {
    use interprocess::local_socket::{GenericFilePath, ToFsName};

    create(
        target.path.as_path().to_fs_name::<GenericFilePath>()?,
        Some(0o600),
    )
}

#[cfg(target_os = "linux")]
fn bind_abstract(name: &str) -> io::Result<OwnedFd> {
    use interprocess::local_socket::ToNsName;
    use interprocess::os::unix::local_socket::AbstractNsUdSocket;

    create(name.to_ns_name::<AbstractNsUdSocket>()?, None)
}

#[cfg(target_os = "linux")]
fn create(name: interprocess::local_socket::Name<'_>, mode: Option<libc::mode_t>) -> io::Result<OwnedFd> {
    use interprocess::local_socket::{ListenerNonblockingMode, ListenerOptions};
    use interprocess::os::unix::local_socket::ListenerOptionsExt;
    use interprocess::os::unix::uds_local_socket::Listener;

    let options = ListenerOptions::new()
        .name(name)
        .nonblocking(ListenerNonblockingMode::Accept)
        .reclaim_name(false)
        .try_overwrite(false);
    let options = match mode {
        Some(mode) => options.mode(mode),
        None => options,
    };
    Ok(options.create_sync_as::<Listener>()?.into())
}

/// Elsewhere the mode of a socket cannot be set before it has a file (`interprocess` refuses to): it is set before
/// the socket listens, so that nobody can connect in between.
#[cfg(not(target_os = "linux"))]
fn bind(target: &Target) -> io::Result<OwnedFd> {
    use std::os::unix::fs::PermissionsExt;

    /// As long as the system allows; it cuts a larger number.
    const BACKLOG: i32 = 4096;
    let socket = socket()?;
    rustix::net::bind(&socket, &target.address)?;
    std::fs::set_permissions(&target.path, std::fs::Permissions::from_mode(0o600))?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket)
}

#[cfg(not(target_os = "linux"))]
fn bind_abstract(_name: &str) -> io::Result<OwnedFd> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(target_os = "linux")]
fn abstract_address(endpoint: &Endpoint, name: &str) -> Result<SocketAddrUnix, Error> {
    SocketAddrUnix::new_abstract_name(name.as_bytes())
        .map_err(|error| Error::system(format!("cannot use {}", endpoint.quoted()), error.into()))
}

#[cfg(not(target_os = "linux"))]
fn abstract_address(endpoint: &Endpoint, _name: &str) -> Result<SocketAddrUnix, Error> {
    let message = format!(
        "cannot use {}: only Linux has abstract names; use a plain name",
        endpoint.quoted()
    );
    Err(Error::new(ErrorKind::Unsupported, message))
}
