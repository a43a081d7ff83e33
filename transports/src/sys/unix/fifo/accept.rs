//! How a server comes to its connections.

use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::calls;
use super::files::{self, Pair};
use super::record::{REFUSED, Record};
use super::stream::Fifos;
use crate::sys::unix::{Acceptor, Claim, Stream, user};
use crate::{Endpoint, Error};

/// Records that lead nowhere, which one look passes over before it gives way to others. As many as the rendezvous
/// holds, so that only a writer that never stops makes so many.
const PATIENCE: usize = 1024;
/// How often what dead clients left is looked for, and how old it has to be: a client opens its files as soon as it
/// has made them.
const SWEEP: Duration = Duration::from_secs(60);
/// Bytes that wait in the rendezvous, where this can be set: about a hundred clients. Beyond that they wait by themselves.
#[cfg(target_os = "linux")]
const BACKLOG: usize = 4096;

/// Listens; see [`crate::listen`].
pub(crate) fn listen_pipe(endpoint: &Endpoint) -> Result<(Acceptor, Option<Claim>), Error> {
    super::refuse_messages(endpoint)?;
    let mode = Claim::mode_of(endpoint)?;
    let mut claim = Claim::take(endpoint)?;
    let path = claim.socket().to_owned();
    claim.clear(endpoint, || match files::open(&path, OFlags::WRONLY) {
        // As for a socket whose server is gone.
        Err(error) if error.raw_os_error() == Some(libc::ENXIO) => {
            Err(io::Error::from(io::ErrorKind::ConnectionRefused))
        }
        opened => opened,
    })?;
    // Whoever waits here waits for a server that is gone.
    files::sweep(&path, None);
    let made = || {
        calls::make_fifo(&path)?;
        claim.made(mode)?;
        Rendezvous::open(path)
    };
    match made() {
        Ok(rendezvous) => {
            claim.announce();
            Ok((Acceptor::rendezvous(rendezvous), Some(claim)))
        }
        Err(error) => Err(Error::system(
            format!("cannot serve {}", endpoint.described()),
            error,
        )),
    }
}

/// The reading end of a FIFO into which clients write who they are.
pub(in crate::sys::unix) struct Rendezvous {
    path: PathBuf,
    fifo: OwnedFd,
    /// Ours, so that the last client's leaving is not the end.
    _writer: OwnedFd,
    state: Mutex<State>,
}

struct State {
    /// Read, and not dealt with yet.
    records: Vec<u8>,
    swept: Instant,
}

/// What came of a record.
enum Admitted {
    Client(Stream),
    /// There is no such client, or it is gone.
    Nobody,
}

impl Rendezvous {
    fn open(path: PathBuf) -> io::Result<Self> {
        let (fifo, _) = files::open(&path, OFlags::RDONLY)?;
        let (writer, _) = files::open(&path, OFlags::WRONLY)?;
        // A refusal leaves the system's own size.
        #[cfg(target_os = "linux")]
        let _ = rustix::pipe::fcntl_setpipe_size(&fifo, BACKLOG);
        let state = State {
            records: Vec::new(),
            swept: Instant::now(),
        };
        Ok(Self {
            path,
            fifo,
            _writer: writer,
            state: Mutex::new(state),
        })
    }

    pub(in crate::sys::unix) fn fifo(&self) -> &OwnedFd {
        &self.fifo
    }

    /// Whether a client was read of that is not accepted yet: the FIFO will not tell of it again.
    pub(in crate::sys::unix) fn has_more(&self) -> bool {
        Record::find(&self.state().records).1.is_some()
    }

    /// The next client. Out of descriptors, it stays where it is; with one left, that is used to turn it away.
    pub(in crate::sys::unix) fn accept(&self) -> io::Result<Stream> {
        let mut state = self.state();
        if state.swept.elapsed() > SWEEP {
            state.swept = Instant::now();
            files::sweep(&self.path, Some(SWEEP));
        }
        for _ in 0..PATIENCE {
            let record = self.next(&mut state.records)?;
            let admitted = self.admit(&record);
            match admitted {
                Ok(Admitted::Client(stream)) => {
                    state.records.drain(..Record::SIZE);
                    return Ok(stream);
                }
                // What looked like a record may be noise in front of a real one.
                Ok(Admitted::Nobody) => drop(state.records.drain(..1)),
                Err(Refusal { error, told }) => {
                    if told {
                        state.records.drain(..Record::SIZE);
                    }
                    return Err(error);
                }
            }
        }
        let message = "somebody writes records into this pipe to which no client belongs";
        Err(io::Error::new(io::ErrorKind::QuotaExceeded, message))
    }

    /// The first record, which stays in the buffer.
    fn next(&self, records: &mut Vec<u8>) -> io::Result<Record> {
        loop {
            let (skip, found) = Record::find(records);
            records.drain(..skip);
            if let Some(found) = found {
                return Ok(found);
            }
            let mut bytes = [0; 4096];
            match rustix::io::read(&self.fifo, &mut bytes) {
                Ok(count) => records.extend_from_slice(&bytes[..count]),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Opens a client's pair, takes the names away, and greets the client.
    fn admit(&self, record: &Record) -> Result<Admitted, Refusal> {
        let pair = Pair::of(&self.path, &record.token);
        let (write, down) = match files::open(&pair.down, OFlags::WRONLY) {
            Ok(opened) => opened,
            Err(error) if crate::sys::is_exhaustion(&error) => return Err(Refusal { error, told: false }),
            // ENXIO: it made the pair and is gone. Anything else is no pair of a client.
            Err(error) => {
                if error.raw_os_error() == Some(libc::ENXIO) {
                    pair.remove();
                }
                return Ok(Admitted::Nobody);
            }
        };
        let greet = |greeting| {
            calls::silence(&write)?;
            calls::write(&write, &[IoSlice::new(greeting)])
        };
        let opened = files::open(&pair.up, OFlags::RDONLY);
        pair.remove();
        match opened {
            Ok((read, up)) => {
                let owner = (up.uid(), up.gid());
                let is_one_user = down.uid() == up.uid() && (Some(up.uid()) == user() || up.uid() == 0);
                if !is_one_user || record.tag == REFUSED || greet(&record.tag).is_err() {
                    return Ok(Admitted::Nobody);
                }
                let fifos = Fifos::new([read, write], record.tag, pair.spools_of_server(), owner, None);
                Ok(fifos.map_or(Admitted::Nobody, |fifos| Admitted::Client(Stream::fifos(fifos))))
            }
            Err(error) if crate::sys::is_exhaustion(&error) => {
                // A client that cannot be told is gone.
                let _ = greet(&REFUSED);
                Err(Refusal { error, told: true })
            }
            Err(_) => Ok(Admitted::Nobody),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A client that there is no descriptor for.
struct Refusal {
    error: io::Error,
    /// It knows.
    told: bool,
}
