//! Blocking in poll(2), and being interrupted there.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::identity::PeerProcess;
use super::{Acceptor, Stream};
use crate::sys::Patience;

/// Waits for the news of one socket. What it needs beside the socket is made when it first blocks.
pub(crate) struct Waiter {
    bell: Arc<Bell>,
    /// Known from the first wait on.
    peer: Option<PeerProcess>,
    /// What the stream said of it when it was first asked.
    patience: Option<Option<Patience>>,
}

/// Ends a wait from another thread.
pub(crate) struct Bell {
    raised: AtomicBool,
    /// Made by the first wait; without it, the flag is enough.
    wire: OnceLock<Wire>,
}

impl Waiter {
    pub(crate) fn new() -> Self {
        let bell = Bell {
            raised: AtomicBool::new(false),
            wire: OnceLock::new(),
        };
        Self {
            bell: Arc::new(bell),
            peer: None,
            patience: None,
        }
    }

    pub(crate) fn bell(&self) -> Arc<Bell> {
        Arc::clone(&self.bell)
    }

    /// Blocks until the stream has news, or room if `space` is set, or the bell rings, or the deadline passes, or the
    /// peer's process has ended: then it returns true.
    pub(crate) fn wait(
        &mut self,
        stream: &Stream,
        space: bool,
        deadline: Option<Instant>,
    ) -> io::Result<bool> {
        if self.peer.is_none() {
            // Out of descriptors, the end of the stream has to do until the next wait.
            self.peer = PeerProcess::of(stream).ok();
        }
        let death = match &self.peer {
            Some(PeerProcess::Gone) => return Ok(true),
            Some(PeerProcess::Watched(death)) => Some(death),
            Some(PeerProcess::Untold) | None => None,
        };
        let flags = match (space, stream.writing()) {
            (true, None) => PollFlags::IN | PollFlags::OUT,
            _ => PollFlags::IN,
        };
        // An end that is not waited for is left out: it may be in a state that would end each wait at once.
        let writing = stream.writing().filter(|_| space);
        let rendezvous = stream.rendezvous();
        // The peer first, where its answer is found.
        let watched = [
            death.map(|death| PollFd::new(death, PollFlags::IN)),
            Some(PollFd::new(stream, flags)),
            writing.map(|writing| PollFd::new(writing, PollFlags::OUT)),
            rendezvous
                .as_deref()
                .map(|it| PollFd::new(it, PollFlags::empty())),
        ];
        let first = self.bell.wait_with(watched, deadline)?;
        Ok(death.is_some() && !first.is_empty())
    }

    /// Leave to wait for bytes in the call that takes them, for whoever wants to hear of nothing else for as long as that may be. `None`: not
    /// on this stream, or not now.
    pub(crate) fn patience(&mut self, stream: &Stream, deadline: Option<Instant>) -> Option<Patience> {
        // What is found out by a first wait is found out early: whose process the peer is, for one.
        let may_block = matches!(self.peer, Some(PeerProcess::Watched(_) | PeerProcess::Untold));
        if !may_block || self.bell.raised.load(Ordering::SeqCst) {
            return None;
        }
        let patience = *self.patience.get_or_insert_with(|| stream.patience());
        let longest = patience?.longest();
        let has_time = |deadline: Instant| deadline.saturating_duration_since(Instant::now()) > longest;
        patience.filter(|_| deadline.is_none_or(has_time))
    }

    /// Blocks until somebody may be accepted, or the bell rings, or the deadline passes.
    pub(crate) fn wait_to_accept(
        &mut self,
        acceptor: &Acceptor,
        deadline: Option<Instant>,
    ) -> io::Result<()> {
        if acceptor.has_more() {
            return Ok(());
        }
        let watched = [Some(PollFd::new(acceptor, PollFlags::IN)), None, None, None];
        self.bell.wait_with(watched, deadline).map(|_| ())
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
            wire.pull();
        }
    }

    /// Waits for news of those that there are. What it saw of the first of them.
    fn wait_with<'a>(
        &'a self,
        watched: [Option<PollFd<'a>>; 4],
        deadline: Option<Instant>,
    ) -> io::Result<PollFlags> {
        let wire = match self.wire.get() {
            Some(wire) => wire,
            None => {
                let made = Wire::new()?;
                self.wire.get_or_init(|| made)
            }
        };
        fence(Ordering::SeqCst);
        let mut rung = self.raised.load(Ordering::SeqCst);
        let mut first = PollFlags::empty();
        if !rung {
            (first, rung) = Self::poll(wire, watched, deadline)?;
        }
        // Also without a flag: that may have been seen by the wait before, and the wire pulled only then. In this order: who
        // rings in between ends the next wait as well.
        if rung {
            wire.slacken();
            self.raised.store(false, Ordering::SeqCst);
        }
        Ok(first)
    }

    /// What it saw of the first of those that there are, and whether the wire was pulled.
    fn poll<'a>(
        wire: &'a Wire,
        watched: [Option<PollFd<'a>>; 4],
        deadline: Option<Instant>,
    ) -> io::Result<(PollFlags, bool)> {
        let timeout = deadline.map(|deadline| {
            let left = deadline.saturating_duration_since(Instant::now());
            Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: left.subsec_nanos().into(),
            }
        });
        let mut all: [PollFd<'_>; 5] =
            std::array::from_fn(|_| PollFd::from_borrowed_fd(wire.end(), PollFlags::IN));
        // The wire stands behind them.
        let mut count = 0;
        for one in watched.into_iter().flatten() {
            all[count] = one;
            count += 1;
        }
        match poll(&mut all[..=count], timeout.as_ref()) {
            // A signal is a reason as good as any to look again.
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok((all[0].revents(), !all[count].revents().is_empty()))
    }
}

/// What a thread that blocks in poll(2) is woken by.
#[cfg(target_os = "linux")]
struct Wire(OwnedFd);

#[cfg(target_os = "linux")]
impl Wire {
    fn new() -> io::Result<Self> {
        use rustix::event::{EventfdFlags, eventfd};
        Ok(Self(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
    }

    fn end(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }

    fn pull(&self) {
        // It fails only if the counter is full, which wakes as well.
        let _ = rustix::io::retry_on_intr(|| rustix::io::write(&self.0, &1_u64.to_ne_bytes()));
    }

    fn slacken(&self) {
        let mut count = [0; 8];
        // It fails only if nothing was written: the flag alone was seen.
        let _ = rustix::io::retry_on_intr(|| rustix::io::read(&self.0, &mut count));
    }
}

#[cfg(not(target_os = "linux"))]
struct Wire {
    near: OwnedFd,
    far: OwnedFd,
}

#[cfg(not(target_os = "linux"))]
impl Wire {
    fn new() -> io::Result<Self> {
        let (near, far) = rustix::pipe::pipe()?;
        for end in [&near, &far] {
            rustix::io::fcntl_setfd(end, rustix::io::FdFlags::CLOEXEC)?;
            rustix::io::ioctl_fionbio(end, true)?;
        }
        Ok(Self { near, far })
    }

    fn end(&self) -> std::os::fd::BorrowedFd<'_> {
        self.near.as_fd()
    }

    fn pull(&self) {
        // It fails only if the pipe is full, which wakes as well.
        let _ = rustix::io::retry_on_intr(|| rustix::io::write(&self.far, &[1]));
    }

    fn slacken(&self) {
        let mut pulls = [0; 16];
        // It fails only if nothing was written: the flag alone was seen.
        let _ = rustix::io::retry_on_intr(|| rustix::io::read(&self.near, &mut pulls));
    }
}
