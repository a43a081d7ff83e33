//! Sockets in Tokio's reactor, by way of duplicates: the reactor wants to own what it watches.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::Interest;
use tokio::net::{TcpListener, TcpStream};

use super::{Acceptor, Appearance, Stream};

/// A socket that Tokio's reactor watches.
pub(crate) enum Registration {
    Stream(TcpStream),
    Acceptor {
        watched: TcpListener,
        acceptor: Arc<Acceptor>,
    },
}

/// What the system tells of the peer's process.
#[expect(
    dead_code,
    reason = "no transport of this platform tells a peer's process; others do"
)]
pub(crate) enum WatchedPeer {
    Untold,
    Registered(Registration),
    Gone,
}

impl Registration {
    pub(crate) fn stream(stream: &Arc<Stream>) -> io::Result<Self> {
        TcpStream::from_std(stream.duplicate()?).map(Self::Stream)
    }

    /// Never called: see [`Appearance`].
    pub(crate) fn appearance(appearance: &Arc<Appearance>) -> io::Result<Self> {
        match **appearance {}
    }

    pub(crate) fn acceptor(acceptor: &Arc<Acceptor>) -> io::Result<Self> {
        let watched = TcpListener::from_std(acceptor.duplicate()?)?;
        Ok(Self::Acceptor {
            watched,
            acceptor: Arc::clone(acceptor),
        })
    }

    /// The end of a peer's process is seen by the end of its stream alone.
    pub(crate) fn death(_stream: &Stream) -> io::Result<WatchedPeer> {
        Ok(WatchedPeer::Untold)
    }

    /// Looks if the socket may be readable. `look` returns whether it saw all there was.
    pub(crate) fn poll_read(
        &self,
        cx: &mut Context<'_>,
        look: &mut dyn FnMut() -> bool,
    ) -> Poll<io::Result<()>> {
        match self {
            Self::Stream(stream) => {
                ready!(stream.poll_read_ready(cx))?;
                Poll::Ready(after_look(
                    stream.try_io(Interest::READABLE, || would_block_if(look())),
                ))
            }
            Self::Acceptor { watched, acceptor } => {
                // A connection that failed is skipped; whatever else fails, the look meets as well.
                if let Ok((stream, _)) = ready!(watched.poll_accept(cx)) {
                    acceptor.keep(stream.into_std()?);
                }
                look();
                Poll::Ready(Ok(()))
            }
        }
    }

    /// Looks if the socket may be writable. `look` returns whether it is not, any more.
    pub(crate) fn poll_write(
        &self,
        cx: &mut Context<'_>,
        look: &mut dyn FnMut() -> bool,
    ) -> Poll<io::Result<()>> {
        match self {
            Self::Stream(stream) => {
                ready!(stream.poll_write_ready(cx))?;
                Poll::Ready(after_look(
                    stream.try_io(Interest::WRITABLE, || would_block_if(look())),
                ))
            }
            // Nothing is ever written to it.
            Self::Acceptor { .. } => Poll::Pending,
        }
    }
}

/// Tokio clears the readiness when it hears that the operation would block, and only then.
fn would_block_if(drained: bool) -> io::Result<()> {
    if drained {
        Err(io::ErrorKind::WouldBlock.into())
    } else {
        Ok(())
    }
}

fn after_look(looked: io::Result<()>) -> io::Result<()> {
    match looked {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        looked => looked,
    }
}
