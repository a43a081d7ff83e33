//! Windows: `mem:`, `tcp:` and `pipe:`.

mod absent;
mod pipe;
#[cfg(feature = "tokio")]
mod reactor;
mod stream;
#[cfg(feature = "tokio")]
mod termination;
mod wait;

use std::io;
use std::path::PathBuf;
use std::time::Instant;

use windows_sys::Win32::Foundation::{ERROR_NOT_ENOUGH_MEMORY, ERROR_TOO_MANY_OPEN_FILES};
use windows_sys::Win32::Networking::WinSock as winsock;

pub(crate) use absent::*;
pub(crate) use pipe::{connect_pipe, listen_pipe};
#[cfg(feature = "tokio")]
pub(crate) use reactor::{Registration, WatchedPeer};
pub(crate) use stream::{Acceptor, SpareDescriptor, Stream};
#[cfg(feature = "tokio")]
pub(crate) use termination::Termination;
pub(crate) use wait::{Bell, Waiter};

use super::AcceptFailure;
use crate::{Endpoint, Error, ErrorKind, Identity};

/// Ends this process at once, with no clean-up.
#[cfg(all(any(test, feature = "crash-points"), not(all(test, loom))))]
pub(crate) fn kill_self() -> ! {
    std::process::abort()
}

/// Whether `unix:` works here.
pub(crate) const HAS_UNIX_SOCKETS: bool = false;

/// The system chooses by itself how large pages are.
pub(crate) fn advise_huge(_: &mut Vec<u8>) {}

/// The right to serve a name: there are none yet.
pub(crate) enum Claim {}

/// Refused: see [`HAS_UNIX_SOCKETS`].
pub(crate) fn connect_unix(endpoint: &Endpoint, _deadline: Option<Instant>) -> Result<Stream, Error> {
    Err(unsupported(endpoint))
}

/// Refused: see [`HAS_UNIX_SOCKETS`].
pub(crate) fn listen_unix(endpoint: &Endpoint) -> Result<(Acceptor, Option<Claim>), Error> {
    Err(unsupported(endpoint))
}

/// Whether a child can be started with a connection, here.
pub(crate) const HAS_CHILDREN: bool = false;

/// A child that has just been started: there are none yet.
pub(crate) struct Spawned {
    pub(crate) process: std::process::Child,
    pub(crate) stream: Stream,
    pub(crate) identity: Identity,
    pub(crate) watch: Watch,
}

/// Tells of the end of a child: there are none yet.
pub(crate) enum Watch {}

impl Watch {
    /// Never called.
    pub(crate) fn wait(&self, _deadline: Option<Instant>) -> io::Result<bool> {
        match *self {}
    }
}

/// Tells when a child may have ended: there are none yet.
#[cfg(feature = "tokio")]
pub(crate) enum ChildNews {}

#[cfg(feature = "tokio")]
impl ChildNews {
    /// Never called.
    pub(crate) fn of(watch: &Watch) -> io::Result<Self> {
        match *watch {}
    }

    /// Never called.
    pub(crate) fn poll(&mut self, _cx: &mut std::task::Context<'_>) -> std::task::Poll<io::Result<()>> {
        match *self {}
    }
}

/// A socket that this process was started with.
#[expect(dead_code, reason = "nothing is inherited on this platform; others do")]
pub(crate) enum Adopted {
    Connected(Stream, Identity),
    Listening(Acceptor, Bound),
}

/// Where an inherited socket listens.
#[expect(dead_code, reason = "nothing is inherited on this platform; others do")]
pub(crate) enum Bound {
    Path(PathBuf),
    Abstract(Vec<u8>),
    Inet(std::net::SocketAddr),
}

/// Refused: see [`HAS_CHILDREN`].
pub(crate) fn spawn_on_socket(
    _command: std::process::Command,
    _variable: &str,
    _tell: impl FnOnce(i32, u64) -> String,
) -> io::Result<Spawned> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Refused: see [`HAS_CHILDREN`].
pub(crate) fn spawn_on_stdio(
    _command: std::process::Command,
    _variable: &str,
    _tell: impl FnOnce(u64, u64) -> String,
) -> io::Result<Spawned> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Refused: see [`HAS_CHILDREN`].
pub(crate) fn adopt(_number: i32, _expected: Option<u64>) -> io::Result<Adopted> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Refused: see [`HAS_CHILDREN`].
pub(crate) fn adopt_stdio(_expected: Option<[u64; 2]>) -> io::Result<Stream> {
    Err(io::ErrorKind::Unsupported.into())
}

/// What became of a process.
pub(crate) fn fate(status: std::process::ExitStatus) -> String {
    match status.code() {
        Some(code) => format!("ended with exit status {code}"),
        None => "ended".to_owned(),
    }
}

/// Whether `pipe:` works here.
pub(crate) const HAS_PIPES: bool = true;

/// Where a pipe is, in the system's own namespace.
pub(crate) fn pipe_path(name: &str) -> Option<PathBuf> {
    Some(pipe::path_of(name).into())
}

/// The socket of a name: there are none.
pub(crate) fn socket_path(_name: &str) -> Option<PathBuf> {
    None
}

/// Users have no numbers here.
pub(crate) fn user() -> Option<u32> {
    None
}

/// Groups have no numbers here.
pub(crate) fn group() -> Option<u32> {
    None
}

/// No transport here tells a peer's process.
pub(crate) fn executable(_stream: &Stream, _pid: u32) -> Option<PathBuf> {
    None
}

/// Whether something of this process or machine is used up.
pub(crate) fn is_exhaustion(error: &io::Error) -> bool {
    let codes = [
        ERROR_NOT_ENOUGH_MEMORY as i32,
        ERROR_TOO_MANY_OPEN_FILES as i32,
        winsock::WSAEMFILE,
        winsock::WSAENOBUFS,
    ];
    error.raw_os_error().is_some_and(|code| codes.contains(&code))
}

/// What a failed accept means for the listener.
pub(crate) fn accept_failure(error: &io::Error) -> AcceptFailure {
    let dead = [
        winsock::WSAECONNRESET,
        winsock::WSAECONNABORTED,
        winsock::WSAEINTR,
        winsock::WSAENETDOWN,
        winsock::WSAETIMEDOUT,
    ];
    match error.raw_os_error() {
        _ if error.kind() == io::ErrorKind::WouldBlock => AcceptFailure::Empty,
        _ if is_exhaustion(error) => AcceptFailure::Exhausted,
        Some(code) if dead.contains(&code) => AcceptFailure::Skip,
        _ => AcceptFailure::Fatal,
    }
}

fn unsupported(endpoint: &Endpoint) -> Error {
    let message = format!(
        "cannot use \"{endpoint}\": {}: is not supported on Windows yet; use tcp: or mem:",
        endpoint.scheme()
    );
    Error::new(ErrorKind::Unsupported, message)
}
