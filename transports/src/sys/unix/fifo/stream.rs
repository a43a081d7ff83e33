//! A connection of two FIFOs.

use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::calls;
use super::files::{Pair, Spools};
use super::record::REFUSED;
use super::spool::SpoolFile;
use crate::socket::Tag;
use crate::sys::unix::user;
use crate::{Error, Identity};

/// The server has not greeted us yet: all that is sent is kept for it.
const WAITING: u8 = 0;
/// Both sides are there.
const OPEN: u8 = 1;
/// The server turned us away, or ended before it took notice of us.
const OVER: u8 = 2;

/// One FIFO to read, one to write; both non-blocking and closed on exec.
pub(in crate::sys::unix) struct Fifos {
    pub(super) read: OwnedFd,
    pub(super) write: OwnedFd,
    tag: Tag,
    spools: Spools,
    /// Whose the other side's files are.
    uid: u32,
    gid: u32,
    state: AtomicU8,
    waiting: Mutex<Option<Waiting>>,
}

/// What a client holds until it is greeted.
pub(super) struct Waiting {
    /// Has no reader once the server is gone.
    pub(super) rendezvous: Arc<OwnedFd>,
    /// The far ends, so that ours work before the server has opened its own.
    pub(super) _far: [OwnedFd; 2],
    pub(super) made: Made,
    pub(super) greeting: Vec<u8>,
}

/// Files to remove, unless the server did.
pub(super) struct Made {
    pub(super) pair: Pair,
    /// The process that made them: a child of a fork has a copy, which means nothing.
    pub(super) by: u32,
}

impl Drop for Made {
    fn drop(&mut self) {
        if self.by == std::process::id() {
            self.pair.remove();
        }
    }
}

impl Fifos {
    pub(super) fn new(
        [read, write]: [OwnedFd; 2],
        tag: Tag,
        spools: Spools,
        (uid, gid): (u32, u32),
        waiting: Option<Waiting>,
    ) -> io::Result<Self> {
        calls::silence(&write)?;
        Ok(Self {
            read,
            write,
            tag,
            spools,
            uid,
            gid,
            state: AtomicU8::new(if waiting.is_some() { WAITING } else { OPEN }),
            waiting: Mutex::new(waiting),
        })
    }

    pub(in crate::sys::unix) fn tag(&self) -> Tag {
        self.tag
    }

    /// The owner of the other side's files; the system does not tell the process.
    pub(in crate::sys::unix) fn identity(&self) -> Identity {
        Identity::User {
            uid: self.uid,
            gid: self.gid,
            pid: None,
        }
    }

    pub(in crate::sys::unix) fn is_of_own_user(&self) -> bool {
        Some(self.uid) == user()
    }

    /// Makes the file for the bodies that this side sends.
    pub(in crate::sys::unix) fn make_spool(&self, head: &[u8]) -> io::Result<SpoolFile> {
        SpoolFile::make(&self.spools.own, head)
    }

    /// Opens the file for those of the other side.
    pub(in crate::sys::unix) fn open_spool(&self) -> Result<Option<SpoolFile>, Error> {
        SpoolFile::open(&self.spools.other)
    }

    pub(in crate::sys::unix) fn reading(&self) -> &OwnedFd {
        &self.read
    }

    pub(in crate::sys::unix) fn writing(&self) -> &OwnedFd {
        &self.write
    }

    /// The rendezvous, while its end would be news: see [`has_no_reader`].
    pub(in crate::sys::unix) fn rendezvous(&self) -> Option<Arc<OwnedFd>> {
        if self.state.load(Ordering::Acquire) != WAITING {
            return None;
        }
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.as_ref().map(|waiting| Arc::clone(&waiting.rendezvous))
    }

    /// Writes as much as goes, in one call.
    pub(in crate::sys::unix) fn send(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        match self.settle()? {
            OVER => Err(io::ErrorKind::BrokenPipe.into()),
            _ => calls::write(&self.write, pieces),
        }
    }

    /// Whether there may be something to read: `WouldBlock` as long as the server has not greeted us, false if it never
    /// will.
    pub(in crate::sys::unix) fn may_receive(&self) -> io::Result<bool> {
        match self.settle()? {
            WAITING => Err(io::ErrorKind::WouldBlock.into()),
            state => Ok(state == OPEN),
        }
    }

    /// Ends both directions, also where a reactor still holds the descriptors; a child of a fork keeps its own.
    pub(in crate::sys::unix) fn shutdown(&self) {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(waiting);
        self.state.store(OVER, Ordering::Release);
        calls::detach(&self.read);
        calls::detach(&self.write);
        // Also that of a side which was killed before it could tell of its own.
        self.spools.remove();
    }

    /// Looks for the greeting, if it is still to come.
    fn settle(&self) -> io::Result<u8> {
        let state = self.state.load(Ordering::Acquire);
        if state != WAITING {
            return Ok(state);
        }
        let mut guard = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(waiting) = &mut *guard else {
            return Ok(self.state.load(Ordering::Acquire));
        };
        let settled = waiting.look(&self.read, &self.tag);
        let state = match settled {
            Ok(WAITING) => return Ok(WAITING),
            Ok(state) => state,
            Err(_) => OVER,
        };
        // The far ends are closed first: who sees the new state may rely on seeing the end of the other side.
        *guard = None;
        self.state.store(state, Ordering::Release);
        settled
    }
}

impl Waiting {
    fn look(&mut self, from: &OwnedFd, tag: &Tag) -> io::Result<u8> {
        // Asked before the look: a server greets us before it goes.
        let gone = has_no_reader(&self.rendezvous);
        while self.greeting.len() < tag.len() {
            let mut bytes = Tag::default();
            let missing = tag.len() - self.greeting.len();
            match rustix::io::read(from, &mut bytes[..missing]) {
                Ok(count) => self.greeting.extend_from_slice(&bytes[..count]),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(if gone { OVER } else { WAITING }),
                Err(error) => return Err(error.into()),
            }
        }
        match &self.greeting {
            greeting if greeting == tag => Ok(OPEN),
            greeting if *greeting == REFUSED => Ok(OVER),
            _ => {
                let message =
                    "what came first is not the server's greeting: somebody else writes into this pipe";
                Err(io::Error::new(io::ErrorKind::InvalidData, message))
            }
        }
    }
}

/// Whether a FIFO that we write to has lost its last reader.
pub(in crate::sys::unix) fn has_no_reader(fifo: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(fifo, PollFlags::empty())];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    matches!(poll(&mut fds, Some(&now)), Ok(1..))
}
