//! `unix:` and `pipe:`, where the platform has them.

use std::sync::Arc;
use std::time::Instant;

use super::listener::SocketListener;
use crate::{Endpoint, Error, ErrorKind, Identity, Listener, Peer, Port, sys};

pub(crate) fn connect_unix(endpoint: &Endpoint, deadline: Option<Instant>) -> Result<Port, Error> {
    let stream = sys::connect_unix(endpoint, deadline)?;
    let identity = vouched_for(&stream, endpoint)?;
    let stream = Arc::new(stream);
    let peer = Peer::new(identity, Arc::downgrade(&stream));
    sys::shm::connected(stream, peer, endpoint.clone())
}

pub(crate) fn connect_pipe(endpoint: &Endpoint, deadline: Option<Instant>) -> Result<Port, Error> {
    let stream = sys::connect_pipe(endpoint, deadline)?;
    let identity = vouched_for(&stream, endpoint)?;
    Ok(super::port(stream, identity, endpoint.clone()))
}

pub(crate) fn listen_unix(endpoint: &Endpoint) -> Result<Box<dyn Listener>, Error> {
    let (acceptor, claim) = sys::listen_unix(endpoint)?;
    Ok(Box::new(SocketListener::new(acceptor, endpoint.clone(), claim)))
}

pub(crate) fn listen_pipe(endpoint: &Endpoint) -> Result<Box<dyn Listener>, Error> {
    let (acceptor, claim) = sys::listen_pipe(endpoint)?;
    Ok(Box::new(SocketListener::new(acceptor, endpoint.clone(), claim)))
}

/// Who serves at the other end of a stream: the expected user.
fn vouched_for(stream: &sys::Stream, endpoint: &Endpoint) -> Result<Identity, Error> {
    let server = endpoint.described();
    let identity = stream.identity().map_err(|error| {
        Error::system(
            format!("connected to {server}, but the system does not tell who serves it"),
            error,
        )
    })?;
    if let Some(expected) = endpoint.expected_server() {
        match identity {
            Identity::User { uid, .. } if uid == expected || uid == 0 => {}
            Identity::User { uid, .. } => {
                let message = format!(
                    "refused to use {server}: uid {uid} serves it, but uid {expected} is expected \
                     (Endpoint::expect_server changes this)"
                );
                return Err(Error::new(ErrorKind::Denied, message));
            }
            _ => {
                return Err(Error::new(
                    ErrorKind::Denied,
                    format!("nobody vouches for who serves {server}"),
                ));
            }
        }
    }
    Ok(identity)
}
