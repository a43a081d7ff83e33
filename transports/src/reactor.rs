//! What an async driver waits on, in Tokio's reactor.

use std::fmt;
use std::process::ExitStatus;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::direct::Shared;
use crate::memory::{DATA, Doorbell, SPACE};
use crate::sys::shm::Meeting;
use crate::{Child, Error, ErrorKind, sys};

/// Tells a task when a port or a listener has news. Edge-triggered: news is told once, until the look at it says
/// that it saw all there was.
///
/// A look that saw all there was ends with [`Receiver::arm`](crate::Receiver::arm), so that the other side tells of what
/// comes after it.
///
/// Both `poll` functions work alike. If there may be news, they run `look` once and return `Ready`, or `Pending` if that saw all
/// there was and the task's waker is there already for what comes next; otherwise they leave the waker and return `Pending`.
/// Neither makes a system call or allocates memory. A driver calls `poll_recv`, and while a flush was blocked `poll_space`,
/// until `Pending`, and only then lets go of the thread:
///
/// ```
/// # use std::task::{Context, Poll};
/// # use transports::{Error, Message, Port, Received, reactor::Source};
/// fn drive(port: &mut Port, source: &Source, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
///     let Port { receiver, .. } = port;
///     let mut message = Message::default();
///     loop {
///         let mut received = Ok(Received::Empty);
///         let polled = source.poll_recv(cx, || {
///             loop {
///                 received = receiver.try_recv(&mut message);
///                 match received {
///                     Ok(Received::Message) => println!("{} bytes", message.body.len()),
///                     _ => return receiver.drained() && receiver.arm(),
///                 }
///             }
///         })?;
///         if received? == Received::Closed {
///             return Poll::Ready(Ok(()));
///         }
///         if polled.is_pending() {
///             return Poll::Pending;
///         }
///     }
/// }
/// ```
///
/// After [`Received::Closed`](crate::Received::Closed) or an error there will always be news: stop asking.
/// One task waits in `poll_recv` and one, the same or another, in `poll_space`; the last waker of each counts.
/// Dropping it ends its registration; dropping the port but not the source still ends the connection.
pub struct Source(Kind);

enum Kind {
    Doorbell(Arc<Doorbell>),
    Socket { socket: sys::Registration, death: Death },
    Meeting(Box<sys::shm::News>),
    Direct { inner: Box<Source>, shared: Arc<Shared> },
}

/// The end of the peer's process, which its stream may not tell.
enum Death {
    /// The stream has to do.
    Untold,
    Watched {
        registration: sys::Registration,
        on_gone: OnGone,
    },
    Come,
}

/// What is done when the peer's process has ended.
pub(crate) type OnGone = Arc<dyn Fn() + Send + Sync>;

/// What the sources of a port are made from. It lives apart from the port's receiver, which another thread may be using,
/// for as long as that likes, when a runtime comes to wait for news.
#[derive(Clone)]
pub struct Watch(WatchKind);

#[derive(Clone)]
enum WatchKind {
    Doorbell(Arc<Doorbell>),
    Stream {
        stream: Arc<sys::Stream>,
        on_gone: OnGone,
    },
    Meeting(Arc<Meeting>),
    Direct {
        inner: Box<Watch>,
        shared: Arc<Shared>,
    },
}

impl Watch {
    /// A source, registered with the Tokio runtime that is current. One at a time: drop it before another is made in
    /// the same runtime.
    ///
    /// # Errors
    /// `Unsupported` outside of a Tokio runtime with I/O enabled; `Resource` if the system is short of descriptors.
    pub fn source(&self) -> Result<Source, Error> {
        match &self.0 {
            WatchKind::Doorbell(doorbell) => Ok(Source::doorbell(Arc::clone(doorbell))),
            WatchKind::Stream { stream, on_gone } => Source::stream(stream, Arc::clone(on_gone)),
            WatchKind::Meeting(meeting) => Source::meeting(meeting),
            WatchKind::Direct { inner, shared } => Ok(Source(Kind::Direct {
                inner: Box::new(inner.source()?),
                shared: Arc::clone(shared),
            })),
        }
    }

    pub(crate) fn direct(inner: Self, shared: Arc<Shared>) -> Self {
        let inner = Box::new(inner);
        Self(WatchKind::Direct { inner, shared })
    }

    pub(crate) fn doorbell(doorbell: Arc<Doorbell>) -> Self {
        Self(WatchKind::Doorbell(doorbell))
    }

    pub(crate) fn stream(stream: Arc<sys::Stream>, on_gone: OnGone) -> Self {
        Self(WatchKind::Stream { stream, on_gone })
    }
}

impl Watch {
    #[allow(dead_code, reason = "where no memory can be shared, nobody meets")]
    pub(crate) fn meeting(meeting: Arc<Meeting>) -> Self {
        Self(WatchKind::Meeting(meeting))
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match &self.0 {
            WatchKind::Doorbell(_) => "Watch(doorbell)",
            WatchKind::Stream { .. } => "Watch(socket)",
            WatchKind::Meeting(_) => "Watch(shared memory)",
            WatchKind::Direct { inner, .. } => return inner.fmt(formatter),
        })
    }
}

impl Source {
    /// Waits until there may be something to receive or accept, or the peer has died. `look` receives or accepts; it
    /// returns whether it saw all there was, as [`Receiver::drained`](crate::Receiver::drained) or
    /// [`Accepted::Empty`](crate::Accepted::Empty) tell.
    ///
    /// # Errors
    /// The reactor is gone: its runtime was shut down.
    pub fn poll_recv(&self, cx: &mut Context<'_>, look: impl FnOnce() -> bool) -> Poll<Result<(), Error>> {
        match &self.0 {
            Kind::Doorbell(doorbell) => poll_doorbell(doorbell, DATA, cx, look),
            Kind::Socket { socket, death } => {
                let mut look = Some(look);
                let mut look = || look.take().is_none_or(|look| look());
                if let Poll::Ready(polled) = socket.poll_read(cx, &mut look) {
                    return Poll::Ready(polled.map_err(gone));
                }
                match death {
                    Death::Untold => Poll::Pending,
                    // Never cleared: the dead stay dead.
                    Death::Watched {
                        registration,
                        on_gone,
                    } => {
                        let mut told = || {
                            on_gone();
                            look();
                            false
                        };
                        registration.poll_read(cx, &mut told).map_err(gone)
                    }
                    Death::Come => {
                        look();
                        Poll::Ready(Ok(()))
                    }
                }
            }
            Kind::Meeting(news) => {
                let mut look = Some(look);
                news.poll_recv(cx, &mut || look.take().is_none_or(|look| look()))
            }
            Kind::Direct { inner, shared } => {
                shared.register(cx.waker());
                if !shared.take_look() {
                    return inner.poll_recv(cx, look);
                }
                if !look() {
                    shared.look_again();
                }
                Poll::Ready(Ok(()))
            }
        }
    }

    /// Waits until there may be room to send. `look` flushes; it returns whether that was
    /// [`Flushed::Blocked`](crate::Flushed::Blocked).
    ///
    /// # Errors
    /// The reactor is gone: its runtime was shut down.
    pub fn poll_space(&self, cx: &mut Context<'_>, look: impl FnOnce() -> bool) -> Poll<Result<(), Error>> {
        match &self.0 {
            Kind::Doorbell(doorbell) => poll_doorbell(doorbell, SPACE, cx, look),
            Kind::Socket { socket, .. } => {
                let mut look = Some(look);
                socket
                    .poll_write(cx, &mut || look.take().is_none_or(|look| look()))
                    .map_err(gone)
            }
            Kind::Meeting(news) => {
                let mut look = Some(look);
                news.poll_space(cx, &mut || look.take().is_none_or(|look| look()))
            }
            Kind::Direct { inner, shared } => {
                shared.register(cx.waker());
                if shared.waits_for_room() {
                    return inner.poll_space(cx, look);
                }
                if !shared.may_flush() {
                    // The other side says when it has done with what it was lent.
                    return Poll::Pending;
                }
                look();
                Poll::Ready(Ok(()))
            }
        }
    }

    pub(crate) fn doorbell(doorbell: Arc<Doorbell>) -> Self {
        Self(Kind::Doorbell(doorbell))
    }

    fn meeting(meeting: &Arc<Meeting>) -> Result<Self, Error> {
        Ok(Self(Kind::Meeting(Box::new(sys::shm::News::of(meeting)?))))
    }

    pub(crate) fn stream(stream: &Arc<sys::Stream>, on_gone: OnGone) -> Result<Self, Error> {
        let socket = registered(|| sys::Registration::stream(stream))?;
        let death = match registered(|| sys::Registration::death(stream))? {
            sys::WatchedPeer::Untold => Death::Untold,
            sys::WatchedPeer::Registered(registration) => Death::Watched {
                registration,
                on_gone,
            },
            sys::WatchedPeer::Gone => {
                on_gone();
                Death::Come
            }
        };
        Ok(Self(Kind::Socket { socket, death }))
    }

    pub(crate) fn acceptor(acceptor: &Arc<sys::Acceptor>) -> Result<Self, Error> {
        let socket = registered(|| sys::Registration::acceptor(acceptor))?;
        Ok(Self(Kind::Socket {
            socket,
            death: Death::Untold,
        }))
    }
}

/// Waits until the process is told to end: Ctrl-C, on Unix also SIGTERM, on Windows also Ctrl-Break and the closing of
/// its console window.
///
/// # Errors
/// `Unsupported` outside of a Tokio runtime with I/O enabled; `Io` if the system lets nobody listen to signals.
pub async fn termination() -> Result<(), Error> {
    let mut signals = registered(sys::Termination::listen)?;
    std::future::poll_fn(|cx| signals.poll(cx)).await;
    Ok(())
}

/// Waits until a child has ended, and tells how. Dropping the future stops the waiting only.
///
/// # Errors
/// `Unsupported` outside of a Tokio runtime with I/O enabled; those of [`Child::try_wait`].
pub async fn exited(child: &Child) -> Result<ExitStatus, Error> {
    let mut news = registered(|| sys::ChildNews::of(child.watch()))?;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        std::future::poll_fn(|cx| news.poll(cx)).await.map_err(gone)?;
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match &self.0 {
            Kind::Doorbell(_) => "Source(doorbell)",
            Kind::Socket { .. } => "Source(socket)",
            Kind::Meeting(_) => "Source(shared memory)",
            Kind::Direct { inner, .. } => return inner.fmt(formatter),
        })
    }
}

fn poll_doorbell(
    doorbell: &Doorbell,
    flag: u8,
    cx: &mut Context<'_>,
    look: impl FnOnce() -> bool,
) -> Poll<Result<(), Error>> {
    if !doorbell.take_or_register(flag, cx.waker()) {
        return Poll::Pending;
    }
    if !look() {
        doorbell.ring(flag);
    }
    Poll::Ready(Ok(()))
}

/// Registers with the current runtime. Tokio panics where there is none, or none with I/O; this library does not.
pub(crate) fn registered<T>(register: impl FnOnce() -> std::io::Result<T>) -> Result<T, Error> {
    let unsupported = || {
        let message = "no Tokio runtime with I/O enabled is current; \
                       enter one, and build it with enable_io() or enable_all()";
        Error::new(ErrorKind::Unsupported, message)
    };
    tokio::runtime::Handle::try_current().map_err(|_| unsupported())?;
    // Whether a runtime has I/O enabled can be learned only from Tokio's panic. Nothing of ours is changed when
    // it comes: the closure makes one registration or none.
    let registered =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(register)).map_err(|_| unsupported())?;
    registered.map_err(|error| Error::system("cannot register with the runtime's reactor", error))
}

pub(crate) fn gone(error: std::io::Error) -> Error {
    Error::system("the runtime's reactor is gone", error)
}
