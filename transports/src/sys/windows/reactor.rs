//! Sockets in Tokio's reactor, by way of duplicates: the reactor wants to own what it watches. Pipes are watched by the
//! system's thread pool.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::Interest;
use tokio::net::{TcpListener, TcpStream};

use super::pipe::EventWatch;
use super::stream::Waitable;
use super::{Acceptor, Appearance, Stream};

/// A stream or an acceptor that is watched.
pub(crate) enum Registration {
    Stream(TcpStream),
    /// What may be taken, and room.
    Pipe([EventWatch; 2]),
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
        match stream.waitable() {
            Waitable::Socket(socket) => TcpStream::from_std(socket.try_clone()?).map(Self::Stream),
            Waitable::Events(readable, writable) => {
                Ok(Self::Pipe([EventWatch::new(readable), EventWatch::new(writable)]))
            }
        }
    }

    /// Never called: see [`Appearance`].
    pub(crate) fn appearance(appearance: &Arc<Appearance>) -> io::Result<Self> {
        match **appearance {}
    }

    pub(crate) fn acceptor(acceptor: &Arc<Acceptor>) -> io::Result<Self> {
        match acceptor.waitable() {
            Waitable::Socket(socket) => Ok(Self::Acceptor {
                watched: TcpListener::from_std(socket.listener.try_clone()?)?,
                acceptor: Arc::clone(acceptor),
            }),
            Waitable::Events(event, _) => Ok(Self::Pipe([EventWatch::new(event), EventWatch::new(event)])),
        }
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
            Self::Pipe([readable, _]) => readable.poll(cx, look),
            Self::Acceptor { watched, acceptor } => {
                // A connection that failed is skipped; whatever else fails, the look meets as well.
                if let Ok((stream, _)) = ready!(watched.poll_accept(cx)) {
                    if let Waitable::Socket(listener) = acceptor.waitable() {
                        listener.keep(stream.into_std()?);
                    }
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
            Self::Pipe([_, writable]) => writable.poll(cx, look),
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
