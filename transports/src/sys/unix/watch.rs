//! Waiting for a server to appear at a path, with inotify(7).

use std::ffi::{OsStr, OsString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;

use super::claim::lock_beside;
use super::names::socket_of;
use crate::Endpoint;
use crate::endpoint::Address;

/// How often to begin again because the way to a socket has just changed.
const ATTEMPTS: usize = 8;

/// Tells when something happens to a server's socket or to its lock, or, as long as their directory does not exist,
/// when the next directory on the way to it appears.
pub(crate) struct Appearance {
    inotify: OwnedFd,
    /// Names in the watched directory that matter.
    names: Vec<OsString>,
}

impl Appearance {
    /// Watches from now on. `None` where there is nothing to watch, or the system does not let us.
    pub(crate) fn watch(endpoint: &Endpoint) -> Option<Self> {
        if !matches!(
            endpoint.address(),
            Address::Name(_) | Address::Path(_) | Address::Pipe { .. }
        ) {
            return None;
        }
        let socket = socket_of(endpoint).ok()?;
        let lock = lock_beside(endpoint, &socket);
        for _ in 0..ATTEMPTS {
            let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).ok()?;
            let mut names = vec![socket.file_name()?.to_owned(), lock.file_name()?.to_owned()];
            let mut directory = socket.parent()?;
            while let Err(error) = add(&inotify, directory) {
                if error != Errno::NOENT {
                    return None;
                }
                names = vec![directory.file_name()?.to_owned()];
                directory = directory.parent()?;
            }
            // A directory on the way that was made before its own was watched is never told of.
            let is_above = Some(directory) != socket.parent();
            let missed = is_above && names.iter().any(|name| directory.join(name).exists());
            if !missed {
                return Some(Self { inotify, names });
            }
        }
        None
    }

    /// Blocks until something has happened, or the deadline passes.
    pub(crate) fn wait(&self, deadline: Instant) -> io::Result<()> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: left.subsec_nanos().into(),
            };
            match poll(&mut [PollFd::new(&self.inotify, PollFlags::IN)], Some(&timeout)) {
                Ok(0) => return Ok(()),
                Ok(_) if self.take() => return Ok(()),
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Takes what has been told, and says whether any of it matters.
    pub(crate) fn take(&self) -> bool {
        /// Room for several events with the longest names.
        const ROOM: usize = 4096;
        let mut buffer = [MaybeUninit::uninit(); ROOM];
        let mut reader = inotify::Reader::new(&self.inotify, &mut buffer);
        let mut matters = false;
        loop {
            match reader.next() {
                Ok(event) => {
                    let lost = ReadFlags::QUEUE_OVERFLOW
                        | ReadFlags::IGNORED
                        | ReadFlags::UNMOUNT
                        | ReadFlags::MOVE_SELF
                        | ReadFlags::DELETE_SELF;
                    let named = event.file_name().is_some_and(|name| {
                        let name = OsStr::from_bytes(name.to_bytes());
                        self.names.iter().any(|known| known == name)
                    });
                    matters |= named || event.events().intersects(lost);
                }
                Err(Errno::INTR) => {}
                Err(Errno::WOULDBLOCK) => return matters,
                // Better to look once too often than never.
                Err(_) => return true,
            }
        }
    }
}

impl AsFd for Appearance {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}

fn add(inotify: &OwnedFd, directory: &Path) -> Result<(), Errno> {
    // A server that begins to listen touches its lock: its socket appears before one can connect to it.
    let what = WatchFlags::CREATE
        | WatchFlags::MOVED_TO
        | WatchFlags::ATTRIB
        | WatchFlags::DELETE_SELF
        | WatchFlags::MOVE_SELF
        | WatchFlags::ONLYDIR;
    inotify::add_watch(inotify, directory, what).map(drop)
}
