//! Reading another process's memory, on Linux.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;

use super::Stream;
use super::identity::{Death, PeerProcess};
use crate::crash::crash_point;

/// Bytes that are copied in one call, which takes some 100 to 350 µs. Between two calls one sees whether the copy is still
/// wanted and whose memory it is. 64 MiB took 20.3 ms in one call, 21.1 ms in steps of 1 MiB and 22.1 ms in steps of 256 KiB
/// (medians of 9 in turn, a virtual machine with 2 processors).
const STEP: usize = 1 << 20;

/// The system copies with an instruction that is slow where what it writes lies a little behind what it reads, in terms of
/// the last 12 bits of both addresses, by which processors look for what is still to be written: 64 MiB took 18.7 ms, 41.5 ms with 8
/// bytes between them, 22.5 ms with 16 and 18.3 ms with 64 (measured as above). A byte string behind its length is such
/// a case.
const PAGE: usize = 4096;
const BEHIND: std::ops::Range<usize> = 1..64;

/// Then bytes take a detour of so many at a time, which stays in the cache.
const DETOUR: usize = 256 << 10;

/// Another process, whose memory the system may let this one read.
///
/// Whose memory it is, is told by a number, which goes to another process once this one has ended and was waited for. So each
/// copy is made between two looks at the pidfd, which stands for one process for ever: if that process lives after the copy,
/// then the number was its own during the copy.
pub(crate) struct Neighbour {
    number: libc::pid_t,
    life: Death,
}

/// Why memory was not read.
#[derive(Debug)]
pub(crate) enum Unreadable {
    /// The system does not let this process read that one's memory, or does not tell which process it is.
    Denied(io::Error),
    /// That process has ended.
    Gone,
    /// That process has no such memory, or not all of it.
    Absent,
    /// Nobody wants it any more.
    Unwanted,
    /// The system is short of something.
    Failed(io::Error),
}

impl Neighbour {
    /// The process at the other end of a stream.
    ///
    /// # Errors
    /// `Denied` where the system does not tell which process that is: pipes do not, nor kernels before 5.3, nor across
    /// process namespaces.
    pub(crate) fn of(stream: &Stream) -> Result<Self, Unreadable> {
        match PeerProcess::of(stream).map_err(Unreadable::Failed)? {
            PeerProcess::Watched(life) => Self::new(life),
            PeerProcess::Gone => Err(Unreadable::Gone),
            PeerProcess::Untold => Err(untold()),
        }
    }

    fn new(life: Death) -> Result<Self, Unreadable> {
        let told = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", life.as_raw_fd()));
        let told = told.map_err(|_| untold())?;
        let number = told
            .lines()
            .find_map(|line| line.strip_prefix("Pid:"))
            .and_then(|number| number.trim().parse().ok());
        match number {
            Some(number @ 1..) => Ok(Self { number, life }),
            // The system's way to say that it is no process any more.
            Some(-1) => Err(Unreadable::Gone),
            // Zero: one of another namespace.
            _ => Err(untold()),
        }
    }

    /// Copies `length` bytes that lie at `address` in that process onto the end of `into`, which must have room for them.
    /// It blocks for as long as the system takes, and that process can make that as long as it lives: see
    /// `direct::helpers`.
    ///
    /// Nothing else is read, and nothing is written but `into`. What the bytes are is for that process to say: it may change
    /// them meanwhile. Between two steps of 1 MiB `wanted` is asked whether to go on.
    ///
    /// # Errors
    /// `into` is as it was before.
    pub(crate) fn copy(
        &self,
        address: u64,
        length: usize,
        into: &mut Vec<u8>,
        wanted: impl Fn() -> bool,
    ) -> Result<(), Unreadable> {
        let room = into.spare_capacity_mut().get_mut(..length);
        let room = room.ok_or_else(|| Unreadable::Failed(io::ErrorKind::OutOfMemory.into()))?;
        let mut address = usize::try_from(address).map_err(|_| Unreadable::Absent)?;
        let behind = |memory: *const MaybeUninit<u8>| memory.addr().wrapping_sub(address) % PAGE;
        if length > PAGE && BEHIND.contains(&behind(room.as_ptr())) {
            let mut detour = vec![MaybeUninit::uninit(); DETOUR + PAGE];
            let start = (PAGE / 2).wrapping_sub(behind(detour.as_ptr())) % PAGE;
            for step in room.chunks_mut(DETOUR) {
                let through = &mut detour[start..start + step.len()];
                address = self.fill(address, through, &wanted)?;
                step.copy_from_slice(through);
            }
        } else {
            for step in room.chunks_mut(STEP) {
                address = self.fill(address, step, &wanted)?;
            }
        }
        let length = into.len() + length;
        // SAFETY: the loop above has had the system write each byte up to there.
        unsafe { into.set_len(length) };
        Ok(())
    }

    /// Reads all of `step`. The address behind it.
    fn fill(
        &self,
        mut address: usize,
        mut step: &mut [MaybeUninit<u8>],
        wanted: &impl Fn() -> bool,
    ) -> Result<usize, Unreadable> {
        while !step.is_empty() {
            if !wanted() {
                return Err(Unreadable::Unwanted);
            }
            crash_point!();
            let count = self.read(address, step)?;
            step = &mut step[count..];
            // Behind the last address there is nothing to be read.
            address = address.checked_add(count).ok_or(Unreadable::Absent)?;
        }
        Ok(address)
    }

    /// One step: from 1 byte to all of them, fewer where memory that is there ends within them.
    fn read(&self, address: usize, into: &mut [MaybeUninit<u8>]) -> Result<usize, Unreadable> {
        if self.life.has_come() {
            return Err(Unreadable::Gone);
        }
        let local = libc::iovec {
            iov_base: into.as_mut_ptr().cast(),
            iov_len: into.len(),
        };
        let remote = libc::iovec {
            iov_base: std::ptr::without_provenance_mut(address),
            iov_len: into.len(),
        };
        // SAFETY: `local` is all of `into`, which is borrowed mutably and may take any bytes. `remote` is never accessed by
        // this process: the system reads it in the other one, or says that it cannot.
        let count = unsafe { libc::process_vm_readv(self.number, &local, 1, &remote, 1, 0) };
        let error = io::Error::last_os_error();
        if self.life.has_come() {
            // It may have been somebody else's.
            return Err(Unreadable::Gone);
        }
        match usize::try_from(count) {
            Ok(0) => Err(Unreadable::Absent),
            Ok(count) => Ok(count),
            Err(_) => Err(match error.raw_os_error() {
                Some(libc::EPERM | libc::EACCES | libc::ENOSYS) => Unreadable::Denied(error),
                Some(libc::EFAULT | libc::EINVAL) => Unreadable::Absent,
                // It lives, but has given up its memory: it is about to end.
                Some(libc::ESRCH) => Unreadable::Gone,
                _ => Unreadable::Failed(error),
            }),
        }
    }
}

/// Bytes that nobody can guess.
pub(crate) fn random() -> io::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    // SAFETY: the array has as many bytes as is said.
    let result = unsafe { libc::getentropy(bytes.as_mut_ptr().cast(), bytes.len()) };
    if result == 0 {
        Ok(bytes)
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Whether the other side, or this one, has shut the stream down, or nobody holds its other end any more. What was sent
/// before may still be there to be received.
pub(crate) fn has_hung_up(stream: &Stream) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let end = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
    let mut fds = [PollFd::new(stream, PollFlags::RDHUP)];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // Whoever asks wants to be sure that it has not.
    match poll(&mut fds, Some(&now)) {
        Ok(_) => fds[0].revents().intersects(end),
        Err(_) => true,
    }
}

fn untold() -> Unreadable {
    let message = "the system does not tell which process is at the other end";
    Unreadable::Denied(io::Error::new(io::ErrorKind::Unsupported, message))
}

#[cfg(all(test, not(loom)))]
#[path = "direct_tests.rs"]
pub(crate) mod tests;
