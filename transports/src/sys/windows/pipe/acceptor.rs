//! How the two sides come to their connection.

use std::io;
use std::os::windows::io::OwnedHandle;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use windows_sys::Win32::Foundation::{
    ERROR_ACCESS_DENIED, ERROR_FILE_NOT_FOUND, ERROR_PIPE_BUSY, ERROR_SEM_TIMEOUT,
};

use super::Event;
use super::calls;
use super::event::milliseconds_until;
use super::operation::{Operation, Outcome};
use super::security::{self, OwnerOnly};
use super::stream::PipeStream;
use crate::endpoint::{Address, PipeMode};
use crate::sys::windows::{Acceptor, Claim, Stream};
use crate::{Endpoint, Error, ErrorKind, Identity, connecting};

/// A pipe of which one instance always waits for a client: the next is made before one is handed out.
pub(in crate::sys::windows) struct PipeAcceptor {
    path: Vec<u16>,
    mode: PipeMode,
    security: OwnerOnly,
    waiting: Mutex<Waiting>,
    /// That of whichever instance waits.
    event: Arc<Event>,
}

struct Waiting {
    instance: Operation,
    connected: bool,
}

/// Listens; see [`crate::listen`]. The first instance owns the name for as long as any lives.
pub(crate) fn listen_pipe(endpoint: &Endpoint) -> Result<(Acceptor, Option<Claim>), Error> {
    let (path, mode) = target(endpoint)?;
    let listened = OwnerOnly::new().and_then(|security| {
        let first = calls::create(&path, mode, &security, true)?;
        PipeAcceptor::new(path, mode, security, first)
    });
    match listened {
        Ok(acceptor) => Ok((Acceptor::pipe(acceptor), None)),
        // What the system says of a pipe that is there already.
        Err(error) if matches!(code(&error), ERROR_ACCESS_DENIED | ERROR_PIPE_BUSY) => {
            let message = format!(
                "cannot serve {}: another process already serves it",
                endpoint.quoted()
            );
            Err(Error::new(ErrorKind::InUse, message))
        }
        Err(error) => Err(Error::system(
            format!("cannot serve {}", endpoint.described()),
            error,
        )),
    }
}

/// Connects, bounded by the deadline; see [`crate::connect`].
pub(crate) fn connect_pipe(endpoint: &Endpoint, deadline: Option<Instant>) -> Result<Stream, Error> {
    let (path, mode) = target(endpoint)?;
    let server = endpoint.described();
    let connected = open(&path, deadline).and_then(|pipe| {
        let ours = security::is_ours(&pipe)?;
        Ok((pipe, ours))
    });
    let failed = |error| Error::system(format!("cannot connect to {server}"), error);
    let (pipe, ours) = connected.map_err(|error| match code(&error) {
        ERROR_FILE_NOT_FOUND => connecting::nobody_listens(endpoint),
        _ if error.kind() == io::ErrorKind::TimedOut => connecting::timed_out(endpoint),
        _ => failed(error),
    })?;
    if !ours {
        let message = format!("refused to use {server}: another user serves it");
        return Err(Error::new(ErrorKind::Denied, message));
    }
    if mode == PipeMode::Message {
        calls::read_messages(&pipe).map_err(|error| {
            let message = format!("cannot connect to {server}: the server's pipe is not in message mode");
            Error::new(ErrorKind::InvalidEndpoint, message).with_source(error)
        })?;
    }
    let identity = Identity::Account {
        same_user: true,
        pid: calls::server_process(&pipe),
    };
    PipeStream::new(pipe, mode, identity)
        .map(Stream::pipe)
        .map_err(failed)
}

fn target(endpoint: &Endpoint) -> Result<(Vec<u16>, PipeMode), Error> {
    match endpoint.address() {
        Address::Pipe { name, mode } => Ok((calls::wide(&path_of(name)), *mode)),
        _ => Err(Error::new(
            ErrorKind::InvalidEndpoint,
            format!("{} is not a pipe", endpoint.quoted()),
        )),
    }
}

/// Where a pipe of that name is.
pub(in crate::sys::windows) fn path_of(name: &str) -> String {
    format!(r"\\.\pipe\ipc-rpc\{name}")
}

/// Opens an instance as soon as one waits.
fn open(path: &[u16], deadline: Option<Instant>) -> io::Result<OwnedHandle> {
    loop {
        match calls::open(path) {
            Err(error) if code(&error) == ERROR_PIPE_BUSY => {}
            opened => return opened,
        }
        // Somebody else may be faster than we are after the wait: then it begins again.
        match calls::wait(path, milliseconds_until(deadline)) {
            Err(error) if code(&error) != ERROR_SEM_TIMEOUT => return Err(error),
            Ok(()) | Err(_) => {}
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Err(io::ErrorKind::TimedOut.into());
        }
    }
}

impl PipeAcceptor {
    fn new(path: Vec<u16>, mode: PipeMode, security: OwnerOnly, first: OwnedHandle) -> io::Result<Self> {
        let event = Arc::new(Event::new()?);
        let waiting = Waiting::begin(first, &event)?;
        Ok(Self {
            path,
            mode,
            security,
            waiting: Mutex::new(waiting),
            event,
        })
    }

    pub(in crate::sys::windows) fn event(&self) -> &Arc<Event> {
        &self.event
    }

    /// The next connection. Without the means to make another instance, its client stays where it is.
    pub(in crate::sys::windows) fn accept(&self) -> io::Result<Stream> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if !waiting.is_connected()? {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let next = calls::create(&self.path, self.mode, &self.security, false)?;
        let next = Waiting::begin(next, &self.event)?;
        let Waiting { instance, .. } = std::mem::replace(&mut *waiting, next);
        let pipe = Arc::clone(instance.pipe());
        drop(instance);
        let pipe = Arc::into_inner(pipe).ok_or(io::ErrorKind::Other)?;
        let identity = Identity::Account {
            // Nobody else could have opened it.
            same_user: true,
            pid: calls::client_process(&pipe),
        };
        PipeStream::new(pipe, self.mode, identity).map(Stream::pipe)
    }
}

impl Waiting {
    /// Has an instance wait for a client, and the event tell when one is there.
    fn begin(pipe: OwnedHandle, event: &Arc<Event>) -> io::Result<Self> {
        let mut instance = Operation::with_event(&Arc::new(pipe), Arc::clone(event), false);
        let outcome = instance.connect()?;
        Ok(Self {
            instance,
            connected: !matches!(outcome, Outcome::UnderWay),
        })
    }

    fn is_connected(&mut self) -> io::Result<bool> {
        if !self.connected {
            // One that is gone again is met as one that closes at once.
            let mut outcome = self.instance.outcome()?;
            if matches!(outcome, Outcome::Aborted) {
                outcome = self.instance.connect()?;
            }
            self.connected = !matches!(outcome, Outcome::UnderWay);
        }
        Ok(self.connected)
    }
}

fn code(error: &io::Error) -> u32 {
    error.raw_os_error().map_or(0, |code| code as u32)
}
