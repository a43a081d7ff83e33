//! The two ways to a port, by scheme.

use std::time::Instant;

use crate::endpoint::Address;
use crate::{Endpoint, Error, ErrorKind, Listener, Port, child, inherited, memory, socket};

/// Connects to the server that listens on `endpoint`. Blocks until the system has queued the connection for the
/// server, or the deadline has passed; without a deadline, as long as a busy server's queue stays full.
///
/// For `exec:` a child is started, see [`spawn`](crate::spawn); for `fd:` the socket is taken, see
/// [`inherit`](crate::inherit).
///
/// A name goes to a socket or a pipe in a directory that this user or root owns, and to a server that runs as one of them;
/// see [`Endpoint::expect_server`].
///
/// # Errors
/// `NotConnected` if nobody listens, `Denied` if the system keeps us out or the server is not the expected user,
/// `Deadline`, `InvalidEndpoint` for a remote address without [`Endpoint::allow_remote`] or one that does not exist,
/// `Unsupported` for a transport that the platform lacks, `Resource`, `Io`.
pub fn connect(endpoint: &Endpoint, deadline: Option<Instant>) -> Result<Port, Error> {
    match endpoint.address() {
        Address::Memory(name) => memory::connect(endpoint, name, deadline),
        Address::Tcp { host, port } => socket::connect_tcp(endpoint, host, *port, deadline),
        Address::Pipe { .. } => socket::connect_pipe(endpoint, deadline),
        Address::Name(_) | Address::Path(_) | Address::Abstract(_) => {
            socket::connect_unix(endpoint, deadline)
        }
        Address::Exec(command) => child::exec(endpoint, command),
        Address::Descriptor(_) | Address::Inherited | Address::Stdio => inherited::connect(endpoint),
    }
}

/// Listens on `endpoint`.
///
/// For a name or a path, a lock file beside the socket decides who owns it: a live server's name is never taken,
/// and the socket of one that died is replaced. Call it in the process that serves: clients take the end of the
/// process that listened for the end of the server, even if a child of it accepts.
///
/// # Errors
/// `InUse` if it is served already; `Denied` if the directory does not belong to us alone, or the system refuses;
/// `InvalidEndpoint` if something other than a socket is there, for a path that is too long, or for a remote address
/// without [`Endpoint::allow_remote`]; `Unsupported` for a transport that the platform lacks, `Resource`, `Io`.
pub fn listen(endpoint: &Endpoint) -> Result<Box<dyn Listener>, Error> {
    match endpoint.address() {
        Address::Memory(name) => memory::listen(endpoint, name),
        Address::Tcp { host, port } => socket::listen_tcp(endpoint, host, *port),
        Address::Pipe { .. } => socket::listen_pipe(endpoint),
        Address::Name(_) | Address::Path(_) | Address::Abstract(_) => socket::listen_unix(endpoint),
        Address::Descriptor(_) | Address::Inherited | Address::Stdio => inherited::listen(endpoint),
        Address::Exec(_) => {
            let message = format!(
                "cannot serve \"{endpoint}\": it starts a program for a client; the program itself serves \
                 \"fd:inherited\""
            );
            Err(Error::new(ErrorKind::InvalidEndpoint, message))
        }
    }
}

/// The error of a connection attempt whose time is up.
pub(crate) fn timed_out(endpoint: &Endpoint) -> Error {
    let server = endpoint.described();
    let message = format!(
        "cannot connect to {server}: it did not accept in the time allowed. \
         The server is overloaded or stopped; try again later or allow more time"
    );
    Error::new(ErrorKind::Deadline, message)
}

/// The error when nobody listens.
pub(crate) fn nobody_listens(endpoint: &Endpoint) -> Error {
    let server = endpoint.described();
    let message = format!(
        "cannot connect to {server}: no server is listening. Start it, or use .retry(..) if it is still starting"
    );
    Error::new(ErrorKind::NotConnected, message)
}
