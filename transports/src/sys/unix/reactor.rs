//! Descriptors in Tokio's reactor.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::identity::{Death, PeerProcess};
use super::{Acceptor, Stream, Watch};

/// What Tokio's reactor watches, edge-triggered: a descriptor, and another one if that is where room to write shows.
pub(crate) struct Registration(AsyncFd<Watched>, Option<AsyncFd<Watched>>);

/// What the system tells of the peer's process.
pub(crate) enum WatchedPeer {
    Untold,
    Registered(Registration),
    Gone,
}

/// Owns what it watches, so that the descriptor stays open and the same for as long as it is registered.
pub(crate) enum Watched {
    Stream(Arc<Stream>),
    Output(Arc<Stream>),
    Acceptor(Arc<Acceptor>),
    Death(Death),
}

impl AsRawFd for Watched {
    fn as_raw_fd(&self) -> RawFd {
        match self {
            Self::Stream(stream) => stream.as_raw_fd(),
            Self::Output(stream) => stream
                .output()
                .map_or(stream.as_raw_fd(), |output| output.as_raw_fd()),
            Self::Acceptor(acceptor) => acceptor.as_raw_fd(),
            Self::Death(death) => death.as_raw_fd(),
        }
    }
}

impl Registration {
    pub(crate) fn stream(stream: &Arc<Stream>) -> io::Result<Self> {
        let watched = Watched::Stream(Arc::clone(stream));
        if stream.output().is_none() {
            return Self::new(watched, Interest::READABLE | Interest::WRITABLE);
        }
        let mut both = Self::new(watched, Interest::READABLE)?;
        both.1 = Some(register(Watched::Output(Arc::clone(stream)), Interest::WRITABLE)?);
        Ok(both)
    }

    pub(crate) fn acceptor(acceptor: &Arc<Acceptor>) -> io::Result<Self> {
        Self::new(Watched::Acceptor(Arc::clone(acceptor)), Interest::READABLE)
    }

    /// Readable once the peer's process has ended.
    pub(crate) fn death(stream: &Stream) -> io::Result<WatchedPeer> {
        Ok(match PeerProcess::of(stream)? {
            PeerProcess::Untold => WatchedPeer::Untold,
            PeerProcess::Gone => WatchedPeer::Gone,
            PeerProcess::Watched(death) => {
                WatchedPeer::Registered(Self::new(Watched::Death(death), Interest::READABLE)?)
            }
        })
    }

    /// Looks if the descriptor may be readable. `look` returns whether it saw all there was.
    pub(crate) fn poll_read(
        &self,
        cx: &mut Context<'_>,
        look: &mut dyn FnMut() -> bool,
    ) -> Poll<io::Result<()>> {
        // The guard clears only the readiness that it was made for: an event during the look stays.
        self.0.poll_read_ready(cx).map_ok(|mut guard| {
            if look() {
                guard.clear_ready()
            }
        })
    }

    /// Looks if the descriptor may be writable. `look` returns whether it is not, any more.
    pub(crate) fn poll_write(
        &self,
        cx: &mut Context<'_>,
        look: &mut dyn FnMut() -> bool,
    ) -> Poll<io::Result<()>> {
        let output = self.1.as_ref().unwrap_or(&self.0);
        output.poll_write_ready(cx).map_ok(|mut guard| {
            if look() {
                guard.clear_ready()
            }
        })
    }

    fn new(watched: Watched, interest: Interest) -> io::Result<Self> {
        Ok(Self(register(watched, interest)?, None))
    }
}

/// Tells when a child of ours may have ended.
pub(crate) enum ChildNews {
    Pidfd(AsyncFd<Watched>),
    /// Of all children: without pidfds there is nothing better.
    Signal(Signal),
}

impl ChildNews {
    pub(crate) fn of(watch: &Watch) -> io::Result<Self> {
        Ok(match watch.try_clone()? {
            Some(pidfd) => Self::Pidfd(register(Watched::Death(pidfd.into()), Interest::READABLE)?),
            None => Self::Signal(signal(SignalKind::child())?),
        })
    }

    /// Ready at the end of the child, or for no reason. Once it has ended, ready for ever.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Pidfd(pidfd) => pidfd.poll_read_ready(cx).map_ok(drop),
            Self::Signal(signal) => signal.poll_recv(cx).map(|_| Ok(())),
        }
    }
}

fn register(watched: Watched, interest: Interest) -> io::Result<AsyncFd<Watched>> {
    // SAFETY: `Watched` holds the owner of its descriptor, immutably, until it is dropped with the `AsyncFd`: until
    // then it is open, and `as_raw_fd` returns the same.
    let registered = unsafe { AsyncFd::register_with_interest(watched, interest) };
    Ok(registered?)
}
