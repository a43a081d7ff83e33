//! Descriptors in Tokio's reactor.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::fifo::has_no_reader;
use super::identity::{Death, PeerProcess};
use super::{Acceptor, Appearance, Stream, Watch};

/// A stream, an acceptor or a death that Tokio's reactor watches, edge-triggered.
pub(crate) struct Registration {
    /// What news come from, and news of room as well if nothing else is there for them.
    main: AsyncFd<Watched>,
    fifos: Option<Box<Fifos>>,
}

/// What a stream of two FIFOs has beside the one that is read.
struct Fifos {
    /// What news of room come from.
    writing: AsyncFd<Watched>,
    /// What loses its last reader if the server ends before it accepts us. Given up once that is settled.
    rendezvous: Mutex<Option<AsyncFd<Watched>>>,
}

/// What the system tells of the peer's process.
pub(crate) enum WatchedPeer {
    Untold,
    Registered(Registration),
    Gone,
}

/// Owns what it watches, so that the descriptor stays open and the same for as long as it is registered.
pub(crate) enum Watched {
    Stream(Arc<Stream>),
    /// The writing end of a stream that has one of its own.
    Writing(Arc<Stream>),
    Rendezvous {
        fifo: Arc<OwnedFd>,
        stream: Arc<Stream>,
    },
    Acceptor(Arc<Acceptor>),
    Death(Death),
    Appearance(Arc<Appearance>),
    #[cfg(target_os = "linux")]
    Event(Arc<crate::sys::shm::Waits>),
}

impl AsRawFd for Watched {
    fn as_raw_fd(&self) -> RawFd {
        match self {
            Self::Stream(stream) => stream.as_raw_fd(),
            Self::Writing(stream) => stream
                .writing()
                .map_or_else(|| stream.as_raw_fd(), AsRawFd::as_raw_fd),
            Self::Rendezvous { fifo, .. } => fifo.as_raw_fd(),
            Self::Acceptor(acceptor) => acceptor.as_raw_fd(),
            Self::Death(death) => death.as_raw_fd(),
            Self::Appearance(appearance) => appearance.as_fd().as_raw_fd(),
            #[cfg(target_os = "linux")]
            Self::Event(waits) => waits.event().as_fd().as_raw_fd(),
        }
    }
}

impl Registration {
    pub(crate) fn stream(stream: &Arc<Stream>) -> io::Result<Self> {
        if stream.writing().is_none() {
            let both = Interest::READABLE | Interest::WRITABLE;
            return Self::new(Watched::Stream(Arc::clone(stream)), both);
        }
        let main = watch(Watched::Stream(Arc::clone(stream)), Interest::READABLE)?;
        let writing = watch(Watched::Writing(Arc::clone(stream)), Interest::WRITABLE)?;
        let rendezvous = stream.rendezvous().map(|fifo| {
            let stream = Arc::clone(stream);
            watch(Watched::Rendezvous { fifo, stream }, Interest::WRITABLE)
        });
        let fifos = Fifos {
            writing,
            rendezvous: Mutex::new(rendezvous.transpose()?),
        };
        Ok(Self {
            main,
            fifos: Some(Box::new(fifos)),
        })
    }

    pub(crate) fn acceptor(acceptor: &Arc<Acceptor>) -> io::Result<Self> {
        Self::new(Watched::Acceptor(Arc::clone(acceptor)), Interest::READABLE)
    }

    /// Readable each time that the event is raised.
    #[cfg(target_os = "linux")]
    pub(crate) fn event(waits: &Arc<crate::sys::shm::Waits>) -> io::Result<Self> {
        Self::new(Watched::Event(Arc::clone(waits)), Interest::READABLE)
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
        let looked = self.main.poll_read_ready(cx).map_ok(|mut guard| {
            if look() {
                guard.clear_ready()
            }
        });
        match &self.fifos {
            Some(fifos) if looked.is_pending() => {
                ready!(fifos.poll_rendezvous(cx))?;
                look();
                Poll::Ready(Ok(()))
            }
            _ => looked,
        }
    }

    /// Looks if the descriptor may be writable. `look` returns whether it is not, any more.
    pub(crate) fn poll_write(
        &self,
        cx: &mut Context<'_>,
        look: &mut dyn FnMut() -> bool,
    ) -> Poll<io::Result<()>> {
        let watched = self.fifos.as_ref().map_or(&self.main, |fifos| &fifos.writing);
        watched.poll_write_ready(cx).map_ok(|mut guard| {
            if look() {
                guard.clear_ready()
            }
        })
    }

    fn new(watched: Watched, interest: Interest) -> io::Result<Self> {
        Ok(Self {
            main: watch(watched, interest)?,
            fifos: None,
        })
    }
}

/// Tells when a child of ours may have ended.
pub(crate) enum ChildNews {
    Pidfd(AsyncFd<Watched>),
    /// Of all children: without pidfds there is nothing better.
    Signal(Signal),
}

impl ChildNews {
    pub(crate) fn of(child: &Watch) -> io::Result<Self> {
        Ok(match child.try_clone()? {
            Some(pidfd) => Self::Pidfd(watch(Watched::Death(pidfd.into()), Interest::READABLE)?),
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

impl Fifos {
    /// Ready once the server has ended without accepting us.
    fn poll_rendezvous(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut slot = self.rendezvous.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(watched) = &*slot else {
            return Poll::Pending;
        };
        let Watched::Rendezvous { fifo, stream } = watched.get_ref() else {
            return Poll::Pending;
        };
        if stream.rendezvous().is_none() {
            *slot = None;
            return Poll::Pending;
        }
        loop {
            let mut guard = ready!(watched.poll_write_ready(cx))?;
            if has_no_reader(fifo) {
                return Poll::Ready(Ok(()));
            }
            // It has room, which is no news.
            guard.clear_ready();
        }
    }
}

fn watch(watched: Watched, interest: Interest) -> io::Result<AsyncFd<Watched>> {
    // SAFETY: `Watched` holds the owner of its descriptor, immutably, until it is dropped with the `AsyncFd`: until
    // then it is open, and `as_raw_fd` returns the same.
    let registered = unsafe { AsyncFd::register_with_interest(watched, interest) };
    Ok(registered?)
}
