//! The file beside a FIFO in which large bodies lie until the other side has read them.
//!
//! It is never mapped: whoever has it open may cut it short at any time, which a mapping answers with SIGBUS, and a
//! read with fewer bytes.

use std::fs::{File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::process::{Resource, getrlimit};

use crate::sys::unix::user;
use crate::{Error, ErrorKind};

/// What nobody but its owner reads and writes.
const PRIVATE: u32 = 0o600;

/// Such a file, open for reading and writing. It lives as long as either side has it open: the side that did not make it
/// takes its name away.
pub(crate) struct SpoolFile(File);

impl SpoolFile {
    /// Makes the file, which nobody made before, and writes its first bytes.
    pub(super) fn make(path: &Path, head: &[u8]) -> io::Result<Self> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::open(path, flags, Mode::from_raw_mode(PRIVATE as _))?);
        // The system takes the umask's bits from the mode.
        let private = file.set_permissions(Permissions::from_mode(PRIVATE));
        let made = Self(file);
        match private.and_then(|()| made.write(head, 0)) {
            Ok(()) => Ok(made),
            Err(error) => {
                // There may be room for it the next time.
                let _ = std::fs::remove_file(path);
                Err(error)
            }
        }
    }

    /// Opens what the other side made, and takes its name away. `None`: there is no such file to be had, and the bodies travel
    /// without.
    ///
    /// # Errors
    /// `Protocol` if something else is there.
    pub(super) fn open(path: &Path) -> Result<Option<Self>, Error> {
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::NOCTTY | OFlags::CLOEXEC;
        let opened = rustix::fs::open(path, flags, Mode::empty());
        let file = match opened.map_err(io::Error::from) {
            Ok(file) => File::from(file),
            Err(error) => {
                return match error.raw_os_error() {
                    Some(libc::ELOOP | libc::EMLINK | libc::EISDIR | libc::ENXIO | libc::EOPNOTSUPP) => {
                        Err(refused("it is none"))
                    }
                    _ => Ok(None),
                };
            }
        };
        let (Ok(there), Some(Ok(directory))) = (file.metadata(), path.parent().map(Path::metadata)) else {
            return Ok(None);
        };
        if !there.is_file() {
            return Err(refused("it is none"));
        }
        if Some(there.uid()) != user() {
            return Err(refused("it belongs to another user"));
        }
        if there.mode() & 0o777 != PRIVATE {
            return Err(refused("others may open it"));
        }
        if there.nlink() > 1 {
            return Err(refused("it has other names"));
        }
        // Somebody may have mounted a file there whose reads take as long as he likes.
        if there.dev() != directory.dev() {
            return Ok(None);
        }
        // Whichever side comes second finds nothing.
        let _ = std::fs::remove_file(path);
        Ok(Some(Self(file)))
    }

    /// Writes all of these bytes from `offset` on.
    pub(crate) fn write(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        // Crossing this limit is no error but a signal, SIGXFSZ, which would end the process.
        let end = offset + bytes.len() as u64;
        if getrlimit(Resource::Fsize)
            .current
            .is_some_and(|limit| limit < end)
        {
            return Err(io::Error::from_raw_os_error(libc::EFBIG));
        }
        self.0.write_all_at(bytes, offset)
    }

    /// Reads up to as many bytes as `to` has from `offset` on: how many were there.
    pub(crate) fn read(&self, to: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(to, offset)
    }

    /// Appends `length` bytes from `offset` on, for which `to` has room.
    ///
    /// # Errors
    /// `UnexpectedEof` if the file ends before; `to` has what was there then.
    pub(crate) fn append_to(&self, mut length: usize, mut offset: u64, to: &mut Vec<u8>) -> io::Result<()> {
        while length > 0 {
            let room = to.spare_capacity_mut();
            let most = room.len().min(length);
            let at = libc::off_t::try_from(offset).map_err(io::Error::other)?;
            // SAFETY: the file is open; the bytes are spare capacity of a vector that is borrowed mutably.
            let read = unsafe { libc::pread(self.0.as_raw_fd(), room.as_mut_ptr().cast(), most, at) };
            match usize::try_from(read) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => {
                    // SAFETY: the system wrote so many bytes behind the old end, within the capacity.
                    unsafe { to.set_len(to.len() + read) };
                    length -= read;
                    offset += read as u64;
                }
                Err(_) => {
                    let error = io::Error::last_os_error();
                    if error.kind() != io::ErrorKind::Interrupted {
                        return Err(error);
                    }
                }
            }
        }
        Ok(())
    }

    /// Gives the system back what is behind the first `length` bytes.
    pub(crate) fn shorten(&self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }
}

fn refused(why: &str) -> Error {
    let message = format!("the other side's file for large bodies is refused: {why}");
    Error::new(ErrorKind::Protocol, message)
}
