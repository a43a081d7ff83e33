//! How a client comes to its connection.

use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::calls;
use super::files::{self, Pair};
use super::record::{REFUSED, Record};
use super::stream::{Fifos, Made, Waiting};
use crate::sys::unix::{Stream, claim, names};
use crate::{Endpoint, Error, ErrorKind, connecting};

/// Leaves a record for the server, bounded by the deadline; see [`crate::connect`].
pub(crate) fn connect_pipe(endpoint: &Endpoint, deadline: Option<Instant>) -> Result<Stream, Error> {
    super::refuse_messages(endpoint)?;
    let path = names::find(endpoint)?;
    let opened = files::open(&path, OFlags::WRONLY);
    let (rendezvous, there) = opened.map_err(|error| explain(endpoint, error))?;
    let connected = || {
        let (token, tag) = (calls::random()?, calls::random()?);
        let record = Record { token, tag };
        let made = Made {
            pair: Pair::of(&path, &token),
            by: std::process::id(),
        };
        made.pair.make()?;
        // Each open finds the end that it needs: of `up`, whoever reads comes first.
        let (read, _) = files::open(&made.pair.down, OFlags::RDONLY)?;
        let (far_write, _) = files::open(&made.pair.down, OFlags::WRONLY)?;
        let (far_read, _) = files::open(&made.pair.up, OFlags::RDONLY)?;
        let (write, _) = files::open(&made.pair.up, OFlags::WRONLY)?;
        calls::silence(&rendezvous)?;
        leave(&rendezvous, record, deadline)?;
        let waiting = Waiting {
            rendezvous: Arc::new(rendezvous),
            _far: [far_read, far_write],
            made,
            greeting: Vec::with_capacity(REFUSED.len()),
        };
        let spools = waiting.made.pair.spools_of_client();
        Fifos::new(
            [read, write],
            tag,
            spools,
            (there.uid(), there.gid()),
            Some(waiting),
        )
    };
    connected()
        .map(Stream::fifos)
        .map_err(|error| explain(endpoint, error))
}

/// Writes the record as soon as there is room for it.
fn leave(rendezvous: &OwnedFd, record: Record, deadline: Option<Instant>) -> io::Result<()> {
    let bytes = record.to_bytes();
    loop {
        match calls::write(rendezvous, &[IoSlice::new(&bytes)]) {
            // Whole or not at all, since it is shorter than `PIPE_BUF`.
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let left = left.map(|left| Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        });
        match poll(&mut [PollFd::new(rendezvous, PollFlags::OUT)], left.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// What a failed attempt means to the one who wanted to connect.
fn explain(endpoint: &Endpoint, error: io::Error) -> Error {
    let server = endpoint.described();
    match error.raw_os_error() {
        Some(libc::ENOENT) => connecting::nobody_listens(endpoint),
        // Nobody reads, any more.
        Some(libc::ENXIO | libc::EPIPE) => match claim::dead_owner(endpoint) {
            Some(pid) => {
                let message = format!(
                    "cannot connect to {server}: the server that owned this pipe (pid {pid}) is gone; \
                     the next serve({}) will replace it",
                    endpoint.quoted()
                );
                Error::new(ErrorKind::NotConnected, message)
            }
            None => connecting::nobody_listens(endpoint),
        },
        Some(libc::EACCES) => names::kept_out(endpoint, error),
        Some(libc::ELOOP | libc::EISDIR) => not_a_pipe(endpoint),
        _ if error.kind() == io::ErrorKind::InvalidInput => not_a_pipe(endpoint),
        _ if error.kind() == io::ErrorKind::TimedOut => connecting::timed_out(endpoint),
        _ => Error::system(format!("cannot connect to {server}"), error),
    }
}

fn not_a_pipe(endpoint: &Endpoint) -> Error {
    let message = format!(
        "cannot connect to {}: what is there is not a pipe. Remove it",
        endpoint.described()
    );
    Error::new(ErrorKind::InvalidEndpoint, message)
}
