//! What a task sleeps on, and another process wakes.

use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::{Mode, OFlags, fcntl_getfl, open};
use rustix::io::Errno;

use super::close_elsewhere;
use crate::{Error, ErrorKind};

/// An eventfd: a counter that a reactor watches. This side makes one for its own sleep, and the other side, which gets a
/// descriptor of it, raises it.
///
/// Both descriptors stand for one open file, so that either side can make it block at any time (`O_NONBLOCK` belongs to the
/// file), and fill the counter: a peer that wants to can make [`Event::raise`] block for ever. That cannot be checked, nor
/// prevented: so raise only the events of peers of the same user, who could stop this process anyway. Wake others
/// through a socket, whose two ends are two files.
pub(crate) struct Event(OwnedFd);

impl Event {
    /// Makes one, not raised.
    ///
    /// # Errors
    /// `Resource` if descriptors or memory are used up.
    pub(crate) fn create() -> Result<Self, Error> {
        eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map(Self)
            .map_err(|error| Error::system("cannot make an event", error.into()))
    }

    /// Takes one that the other side made.
    ///
    /// # Errors
    /// `Protocol` if it is anything but an eventfd that does not block, as far as one can tell; `Unsupported` where /proc,
    /// which tells, is not there.
    pub(crate) fn attach(event: OwnedFd) -> Result<Self, Error> {
        match Self::judge(event.as_fd()) {
            Ok(()) => Ok(Self(event)),
            Err(error) => {
                close_elsewhere(vec![event]);
                Err(error)
            }
        }
    }

    fn judge(event: BorrowedFd<'_>) -> Result<(), Error> {
        if !is_eventfd(event)? {
            let message = "the other side's event is refused: it is something else";
            return Err(Error::new(ErrorKind::Protocol, message));
        }
        let flags = fcntl_getfl(event)
            .map_err(|error| Error::system("cannot examine the other side's event", error.into()))?;
        if !flags.contains(OFlags::NONBLOCK) {
            let message = "the other side's event is refused: it would block";
            return Err(Error::new(ErrorKind::Protocol, message));
        }
        Ok(())
    }

    /// Raises it: whoever watches it is told.
    pub(crate) fn raise(&self) {
        // It fails only if the counter is full, which is to be raised as well.
        let _ = rustix::io::retry_on_intr(|| rustix::io::write(&self.0, &1_u64.to_ne_bytes()));
    }

    /// Lowers it. Not needed where the watch tells of each raising, rather than of being raised.
    #[cfg(test)]
    pub(crate) fn lower(&self) {
        let mut count = [0; 8];
        // It fails only if it is not raised.
        let _ = rustix::io::retry_on_intr(|| rustix::io::read(&self.0, &mut count));
    }
}

impl AsFd for Event {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Whether a descriptor stands for an eventfd. Writing to anything else could block, kill this process with SIGPIPE, or
/// end up in a file of somebody's. The kinds of descriptors that have no name in the file system share one inode, so
/// that only what the system says of the descriptor tells them apart.
fn is_eventfd(descriptor: BorrowedFd<'_>) -> Result<bool, Error> {
    /// More than the system says of an eventfd.
    const LONGEST: u64 = 4096;
    let unknown = |error: io::Error| {
        let message = "cannot tell what the other side's event is: /proc does not say";
        Error::new(ErrorKind::Unsupported, message).with_source(error)
    };
    let path = format!("/proc/self/fdinfo/{}", descriptor.as_raw_fd());
    let file = open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(|error| match error {
        Errno::MFILE | Errno::NFILE | Errno::NOMEM => {
            Error::system("cannot examine the other side's event", error.into())
        }
        error => unknown(error.into()),
    })?;
    let mut said = Vec::new();
    std::fs::File::from(file)
        .take(LONGEST)
        .read_to_end(&mut said)
        .map_err(unknown)?;
    Ok(said
        .split(|&byte| byte == b'\n')
        .any(|line| line.starts_with(b"eventfd-count:")))
}
