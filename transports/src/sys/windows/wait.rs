//! Blocking in `WSAPoll`, or for events, and being interrupted there.

use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::windows::io::{AsRawSocket, AsSocket};
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use windows_sys::Win32::Networking::WinSock::{
    POLLRDNORM, POLLWRNORM, SOCKET, SOCKET_ERROR, WSAPOLLFD, WSAPoll,
};

use super::pipe::Event;
use super::stream::Waitable;
use super::{Acceptor, Stream};
use crate::sys::Patience;

/// Waits for the news of one stream or acceptor.
pub(crate) struct Waiter {
    bell: Arc<Bell>,
}

/// Ends a wait from another thread.
pub(crate) struct Bell {
    raised: AtomicBool,
    /// Connected to itself: `WSAPoll` waits for sockets only. Made by the first wait; without it, the flag is enough.
    wire: OnceLock<UdpSocket>,
    /// The same for pipes, which are waited for by events.
    event: OnceLock<Event>,
}

impl Waiter {
    pub(crate) fn new() -> Self {
        Self {
            bell: Arc::new(Bell {
                raised: AtomicBool::new(false),
                wire: OnceLock::new(),
                event: OnceLock::new(),
            }),
        }
    }

    pub(crate) fn bell(&self) -> Arc<Bell> {
        Arc::clone(&self.bell)
    }

    /// Blocks until the stream has news, or room if `space` is set, or the bell rings, or the deadline passes. The
    /// end of a peer's process is seen by the end of its stream alone.
    pub(crate) fn wait(
        &mut self,
        stream: &Stream,
        space: bool,
        deadline: Option<Instant>,
    ) -> io::Result<bool> {
        let events = if space {
            POLLRDNORM | POLLWRNORM
        } else {
            POLLRDNORM
        };
        match stream.waitable() {
            Waitable::Socket(socket) => self.bell.wait_with(socket, events, deadline)?,
            Waitable::Events(readable, writable) if space => {
                self.bell.wait_events([readable, writable], deadline)?;
            }
            Waitable::Events(readable, _) => self.bell.wait_events([readable, readable], deadline)?,
        }
        Ok(false)
    }

    /// None: see [`Patience`].
    pub(crate) fn patience(&mut self, _stream: &Stream, _deadline: Option<Instant>) -> Option<Patience> {
        None
    }

    /// Blocks until somebody may be accepted, or the bell rings, or the deadline passes.
    pub(crate) fn wait_to_accept(
        &mut self,
        acceptor: &Acceptor,
        deadline: Option<Instant>,
    ) -> io::Result<()> {
        match acceptor.waitable() {
            Waitable::Socket(listener) => self.bell.wait_with(listener, POLLRDNORM, deadline),
            Waitable::Events(event, _) => self.bell.wait_events([event, event], deadline),
        }
    }
}

impl Bell {
    /// Ends the present wait, or the next.
    pub(crate) fn ring(&self) {
        if self.raised.swap(true, Ordering::SeqCst) {
            return;
        }
        // Either this thread sees the wire, or the waiting one, which makes the wire first, sees the flag.
        fence(Ordering::SeqCst);
        if let Some(wire) = self.wire.get() {
            // It fails only if the socket's buffer is full, which wakes as well.
            let _ = wire.send(&[1]);
        }
        if let Some(event) = self.event.get() {
            event.set();
        }
    }

    fn wait_events(&self, [one, other]: [&Event; 2], deadline: Option<Instant>) -> io::Result<()> {
        let bell = match self.event.get() {
            Some(event) => event,
            None => {
                let made = Event::new()?;
                made.reset();
                self.event.get_or_init(|| made)
            }
        };
        fence(Ordering::SeqCst);
        let mut rung = self.raised.load(Ordering::SeqCst);
        if !rung {
            // The same event twice is once too often for the system.
            let all = [bell, one, other];
            let all = if std::ptr::eq(one, other) {
                &all[..2]
            } else {
                &all[..]
            };
            rung = Event::wait(all, deadline)? == Some(0);
        }
        // Also without a flag: that may have been seen by the wait before, and the event set only then. In this order: who
        // rings in between ends the next wait as well.
        if rung {
            bell.reset();
            self.raised.store(false, Ordering::SeqCst);
        }
        Ok(())
    }

    fn wait_with(&self, socket: &impl AsSocket, events: i16, deadline: Option<Instant>) -> io::Result<()> {
        let wire = match self.wire.get() {
            Some(wire) => wire,
            None => {
                let made = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
                made.connect(made.local_addr()?)?;
                made.set_nonblocking(true)?;
                self.wire.get_or_init(|| made)
            }
        };
        fence(Ordering::SeqCst);
        let mut rung = self.raised.load(Ordering::SeqCst);
        if !rung {
            let socket = socket.as_socket();
            let mut entries = [
                WSAPOLLFD {
                    fd: socket.as_raw_socket() as SOCKET,
                    events,
                    revents: 0,
                },
                WSAPOLLFD {
                    fd: wire.as_raw_socket() as SOCKET,
                    events: POLLRDNORM,
                    revents: 0,
                },
            ];
            poll(&mut entries, milliseconds_until(deadline))?;
            rung = entries[1].revents != 0;
        }
        // As above.
        if rung {
            let mut byte = [0; 1];
            while wire.recv(&mut byte).is_ok() {}
            self.raised.store(false, Ordering::SeqCst);
        }
        Ok(())
    }
}

/// Rounded up, so that a wait is not over early again and again; -1 for ever.
fn milliseconds_until(deadline: Option<Instant>) -> i32 {
    let Some(deadline) = deadline else { return -1 };
    let left = deadline.saturating_duration_since(Instant::now());
    i32::try_from(left.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX)
}

fn poll(entries: &mut [WSAPOLLFD; 2], timeout: i32) -> io::Result<()> {
    // SAFETY: the entries are an array of as many initialised structs as is said, and the sockets in them are open: their
    // owners are borrowed by the caller.
    let result = unsafe { WSAPoll(entries.as_mut_ptr(), 2, timeout) };
    if result == SOCKET_ERROR {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
