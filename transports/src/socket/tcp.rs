//! `tcp:`, by default on this machine only.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::mpsc;
use std::time::Instant;

use super::listener::SocketListener;
use crate::endpoint::local_addresses;
use crate::{Endpoint, Error, ErrorKind, Identity, Listener, Port, connecting, sys};

pub(crate) fn connect(
    endpoint: &Endpoint,
    host: &str,
    port: u16,
    deadline: Option<Instant>,
) -> Result<Port, Error> {
    if port == 0 {
        let message = format!(
            "cannot connect to \"{endpoint}\": port 0 names no server; a listener's endpoint tells its port"
        );
        return Err(Error::new(ErrorKind::InvalidEndpoint, message));
    }
    let mut last = None;
    for address in addresses(endpoint, host, port, deadline)? {
        match connect_to(address, deadline) {
            Ok(stream) => {
                let ready = stream
                    .set_nodelay(true)
                    .and_then(|()| stream.set_nonblocking(true))
                    .and_then(|()| stream.try_into());
                let stream = ready.map_err(|error| failed(endpoint, error))?;
                return Ok(super::port(stream, Identity::Anonymous, endpoint.clone()));
            }
            Err(error) => last = Some(error),
        }
    }
    Err(failed(
        endpoint,
        last.unwrap_or_else(|| io::ErrorKind::NotFound.into()),
    ))
}

pub(crate) fn listen(endpoint: &Endpoint, host: &str, port: u16) -> Result<Box<dyn Listener>, Error> {
    let server = endpoint.quoted();
    // Only the first: whoever falls back to ::1 because 127.0.0.1 is taken serves half of "localhost".
    let address = addresses(endpoint, host, port, None)?.into_iter().next();
    let Some(address) = address else {
        return Err(Error::new(
            ErrorKind::InvalidEndpoint,
            format!("cannot serve {server}: the host has no address"),
        ));
    };
    let bound = TcpListener::bind(address).and_then(|listener| {
        let port = listener.local_addr()?.port();
        listener.set_nonblocking(true)?;
        Ok((sys::Acceptor::from(listener), port))
    });
    match bound {
        Ok((acceptor, port)) => Ok(Box::new(SocketListener::new(
            acceptor,
            endpoint.with_tcp_port(port),
            None,
        ))),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            let message = format!("cannot serve {server}: another program already listens there");
            Err(Error::new(ErrorKind::InUse, message))
        }
        Err(error) => Err(Error::system(format!("cannot serve {server}"), error)),
    }
}

fn connect_to(address: SocketAddr, deadline: Option<Instant>) -> io::Result<TcpStream> {
    let stream = match deadline {
        None => TcpStream::connect(address)?,
        Some(deadline) => {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            TcpStream::connect_timeout(&address, left)?
        }
    };
    // With nobody listening on a port that the system hands out, a connection can meet itself.
    if stream.local_addr()? == stream.peer_addr()? {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    Ok(stream)
}

fn failed(endpoint: &Endpoint, error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => connecting::nobody_listens(endpoint),
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => connecting::timed_out(endpoint),
        _ => Error::system(format!("cannot connect to {}", endpoint.described()), error),
    }
}

/// The addresses that `host` means, all of which may be used.
fn addresses(
    endpoint: &Endpoint,
    host: &str,
    port: u16,
    deadline: Option<Instant>,
) -> Result<Vec<SocketAddr>, Error> {
    let local = local_addresses(host, port);
    let on_this_machine = |addresses: &Vec<SocketAddr>| {
        addresses
            .iter()
            .all(|address| address.ip().to_canonical().is_loopback())
    };
    match local {
        Some(addresses) if on_this_machine(&addresses) || endpoint.is_remote_allowed() => Ok(addresses),
        None if endpoint.is_remote_allowed() => resolve(endpoint, host.to_owned(), port, deadline),
        _ => {
            let message = format!(
                "\"{endpoint}\" is not an address of this machine alone: other machines may reach it. \
                 Use 127.0.0.1, or Endpoint::allow_remote if that is meant"
            );
            Err(Error::new(ErrorKind::InvalidEndpoint, message))
        }
    }
}

/// Asks the system's resolver, which knows no deadline, on a thread that may outlive this call.
fn resolve(
    endpoint: &Endpoint,
    host: String,
    port: u16,
    deadline: Option<Instant>,
) -> Result<Vec<SocketAddr>, Error> {
    let failed = |error| Error::system(format!("cannot find the host of \"{endpoint}\""), error);
    let (answer, question) = mpsc::sync_channel(1);
    let lookup = move || {
        let found = (host.as_str(), port).to_socket_addrs().map(Iterator::collect);
        // Nobody listens any more if the deadline has passed.
        drop(answer.send(found));
    };
    std::thread::Builder::new()
        .name("ipc-rpc resolver".into())
        .spawn(lookup)
        .map_err(failed)?;
    let found = match deadline {
        None => question.recv().map_err(|_| io::ErrorKind::BrokenPipe.into()),
        Some(deadline) => {
            let left = deadline.saturating_duration_since(Instant::now());
            question
                .recv_timeout(left)
                .map_err(|_| io::ErrorKind::TimedOut.into())
        }
    };
    found.and_then(|found| found).map_err(failed)
}
