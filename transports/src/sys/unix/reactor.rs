//! Descriptors in Tokio's reactor.

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::identity::{Death, PeerProcess};
use super::{Acceptor, Appearance, Stream};

/// A descriptor that Tokio's reactor watches, edge-triggered.
pub(crate) struct Registration(AsyncFd<Watched>);

/// What the system tells of the peer's process.
pub(crate) enum WatchedPeer {
    Untold,
    Registered(Registration),
    Gone,
}

/// Owns what it watches, so that the descriptor stays open and the same for as long as it is registered.
enum Watched {
    Stream(Arc<Stream>),
    Acceptor(Arc<Acceptor>),
    Death(Death),
    Appearance(Arc<Appearance>),
}

impl AsRawFd for Watched {
    fn as_raw_fd(&self) -> RawFd {
        match self {
            Self::Stream(stream) => stream.as_raw_fd(),
            Self::Acceptor(acceptor) => acceptor.as_raw_fd(),
            Self::Death(death) => death.as_raw_fd(),
            Self::Appearance(appearance) => appearance.as_fd().as_raw_fd(),
        }
    }
}

impl Registration {
    pub(crate) fn stream(stream: &Arc<Stream>) -> io::Result<Self> {
        Self::new(
            Watched::Stream(Arc::clone(stream)),
            Interest::READABLE | Interest::WRITABLE,
        )
    }

    pub(crate) fn acceptor(acceptor: &Arc<Acceptor>) -> io::Result<Self> {
        Self::new(Watched::Acceptor(Arc::clone(acceptor)), Interest::READABLE)
    }

    /// Readable once something has happened where a server is to appear.
    pub(crate) fn appearance(appearance: &Arc<Appearance>) -> io::Result<Self> {
        Self::new(Watched::Appearance(Arc::clone(appearance)), Interest::READABLE)
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
        self.0.poll_write_ready(cx).map_ok(|mut guard| {
            if look() {
                guard.clear_ready()
            }
        })
    }

    fn new(watched: Watched, interest: Interest) -> io::Result<Self> {
        // SAFETY: `Watched` holds the owner of its descriptor, immutably, until it is dropped with the `AsyncFd`: until
        // then it is open, and `as_raw_fd` returns the same.
        let registered = unsafe { AsyncFd::register_with_interest(watched, interest) };
        Ok(Self(registered?))
    }
}
