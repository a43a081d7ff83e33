//! Making memory whose size nobody can change, and checking that what another process sent is such memory.
//!
//! An unsealed memory is a weapon: one side truncates it, and the other is killed by SIGBUS at its next look.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    MemfdFlags, OFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, fcntl_getfl, fstat, fstatfs,
    memfd_create,
};
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

use crate::{Error, ErrorKind};

/// What statfs(2) says of memory of memfd_create(2), unless it is made of huge pages.
const TMPFS_MAGIC: u64 = 0x0102_1994;

/// Makes memory of `length` zeros, not sealed yet. It takes no room until it is touched.
///
/// No room is set aside: this memory lies in the system's own tmpfs, whose size nobody limits, so that touching it
/// later does not fail as it does with a file of a tmpfs that is full. It counts towards the limits of whoever touches
/// it, as all memory does.
pub(super) fn create(length: usize) -> Result<OwnedFd, Error> {
    let failed = |error: Errno| Error::system("cannot make shared memory", error.into());
    // Crossing this limit is no error but a signal, SIGXFSZ, which would end the process.
    let limit = getrlimit(Resource::Fsize).current;
    if limit.is_some_and(|limit| limit < length as u64) {
        let message = format!(
            "cannot make {length} bytes of shared memory: this process may make no file of that size (RLIMIT_FSIZE)"
        );
        return Err(Error::new(ErrorKind::Resource, message));
    }
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let memory = match memfd_create("transports", flags | MemfdFlags::NOEXEC_SEAL) {
        // Before Linux 6.3 there is no such flag, and since then a system may insist on it.
        Err(Errno::INVAL) => memfd_create("transports", flags),
        made => made,
    };
    let memory = memory.map_err(failed)?;
    rustix::fs::ftruncate(&memory, length as u64).map_err(failed)?;
    Ok(memory)
}

/// Adds seals, and the one that forbids others to be added.
pub(super) fn seal(memory: &OwnedFd, seals: SealFlags) -> Result<(), Error> {
    try_seal(memory, seals).map_err(|error| Error::system("cannot seal shared memory", error.into()))
}

/// The same, with the system's own error: `BUSY` while somebody could write to what is to be sealed against that.
pub(super) fn try_seal(memory: &OwnedFd, seals: SealFlags) -> Result<(), Errno> {
    fcntl_add_seals(memory, seals | SealFlags::SEAL)
}

/// What the other side may still do to its memory.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Writable {
    /// Nobody who does not have it mapped for writing already can write to it.
    ByItsOwner,
    /// Everybody who has its descriptor can write to it.
    ByBoth,
    /// Nobody can write to it, nor could anybody have it mapped for writing when it was sealed.
    Never,
}

/// Checks that a descriptor from the other side is memory of exactly this length that stays so.
///
/// # Errors
/// `Protocol` if it is not; `Denied` if it is, and the descriptor does not allow what is to be done with it.
pub(super) fn verify(memory: BorrowedFd<'_>, length: usize, writable: Writable) -> Result<(), Error> {
    let refused_as = |kind: ErrorKind, rule: &str| {
        let message = format!("the other side's shared memory is refused: {rule}");
        Error::new(kind, message)
    };
    let refused = |rule: &str| refused_as(ErrorKind::Protocol, rule);
    // Anything but memory and the like has no seals to tell of: files, pipes, sockets, devices.
    let seals = match fcntl_get_seals(memory.as_fd()) {
        Ok(seals) => seals,
        Err(_) => return Err(refused("it is something else")),
    };
    let needed = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    if !seals.contains(needed) {
        return Err(refused("its size is not sealed"));
    }
    let is_closed = seals.intersects(SealFlags::FUTURE_WRITE | SealFlags::WRITE);
    match writable {
        Writable::ByItsOwner if !is_closed => return Err(refused("it is not sealed against writing")),
        Writable::ByBoth if is_closed => return Err(refused("it is sealed against writing")),
        Writable::Never if !seals.contains(SealFlags::WRITE) => {
            return Err(refused("it is not sealed against its owner's writing"));
        }
        Writable::ByItsOwner | Writable::ByBoth | Writable::Never => {}
    }
    let unknown = |error: Errno| Error::system("cannot examine the other side's shared memory", error.into());
    let size = fstat(memory).map_err(unknown)?.st_size;
    if u64::try_from(size).ok() != Some(length as u64) {
        return Err(refused("its size is not the one that was agreed on"));
    }
    // Huge pages can be sealed and may yet be missing when they are touched.
    let kind = fstatfs(memory).map_err(unknown)?.f_type;
    // The type of the field differs from architecture to architecture; the number has 32 bits.
    if kind as u64 & 0xffff_ffff != TMPFS_MAGIC {
        return Err(refused("it is not of ordinary pages"));
    }
    let access = fcntl_getfl(memory).map_err(unknown)? & OFlags::RWMODE;
    if access == OFlags::WRONLY {
        return Err(refused_as(ErrorKind::Denied, "it cannot be read"));
    }
    if writable == Writable::ByBoth && access != OFlags::RDWR {
        return Err(refused_as(ErrorKind::Denied, "it cannot be written"));
    }
    Ok(())
}
