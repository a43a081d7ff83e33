//! The system calls of FIFOs that no library offers in safe form.

use std::ffi::CString;
use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Makes a FIFO that only its owner can open, and that nobody made before.
pub(super) fn make_fifo(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    const PRIVATE: u32 = 0o600;
    let text = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: the path is a C string that outlives the call.
    let result = unsafe { libc::mkfifo(text.as_ptr(), PRIVATE as libc::mode_t) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // The system takes the umask's bits from the mode. Nobody else can exchange what is in a private directory.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(PRIVATE))
}

/// Bytes that nobody can guess.
pub(super) fn random() -> io::Result<[u8; 16]> {
    let mut bytes = [0; 16];
    // SAFETY: the array has as many bytes as is said.
    let result = unsafe { libc::getentropy(bytes.as_mut_ptr().cast(), bytes.len()) };
    if result == 0 {
        Ok(bytes)
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Makes a later [`write()`] to this FIFO cause no signal, where that is a setting of the descriptor.
pub(super) fn silence(fifo: &OwnedFd) -> io::Result<()> {
    #[cfg(target_vendor = "apple")]
    {
        // SAFETY: the descriptor is open, and the command takes an integer.
        let result = unsafe { libc::fcntl(fifo.as_raw_fd(), libc::F_SETNOSIGPIPE, 1) };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    let _ = fifo;
    Ok(())
}

/// Writes as much as goes. `BrokenPipe` if nobody reads, and never a signal: the program may have one that kills it.
pub(in crate::sys::unix) fn write(fifo: &OwnedFd, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
    #[cfg(not(target_vendor = "apple"))]
    let quiet = Quiet::begin()?;
    let written = rustix::io::writev(fifo, pieces);
    #[cfg(not(target_vendor = "apple"))]
    quiet.end(written == Err(rustix::io::Errno::PIPE));
    Ok(written?)
}

/// Lets `fifo` go while others still hold its number: from now on that stands for `/dev/null`. Without a descriptor to
/// do that with, it stays open until they let go.
pub(in crate::sys::unix) fn detach(fifo: &OwnedFd) {
    use rustix::fs::{Mode, OFlags};
    let Ok(nothing) = rustix::fs::open(c"/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()) else {
        return;
    };
    // SAFETY: both descriptors are open, and `fifo` stays so: its owner goes on to own the number, behind which there is
    // another file now.
    #[cfg(not(target_vendor = "apple"))]
    let _ = unsafe { libc::dup3(nothing.as_raw_fd(), fifo.as_raw_fd(), libc::O_CLOEXEC) };
    #[cfg(target_vendor = "apple")]
    {
        // SAFETY: as above.
        let _ = unsafe { libc::dup2(nothing.as_raw_fd(), fifo.as_raw_fd()) };
        let _ = rustix::io::fcntl_setfd(fifo, rustix::io::FdFlags::CLOEXEC);
    }
}

/// A time in which SIGPIPE waits instead of killing. For pipes there is no flag like that of send(2).
#[cfg(not(target_vendor = "apple"))]
struct Quiet {
    signals: libc::sigset_t,
    /// The thread blocked the signal itself: then it is its own to deal with.
    was_blocked: bool,
}

#[cfg(not(target_vendor = "apple"))]
impl Quiet {
    fn begin() -> io::Result<Self> {
        // SAFETY: a set of signals is a C struct of integers, for which zeros are valid.
        let mut signals: libc::sigset_t = unsafe { std::mem::zeroed() };
        let mut before = signals;
        // SAFETY: the call initialises the set that it is given.
        let _ = unsafe { libc::sigemptyset(&mut signals) };
        // SAFETY: the set is initialised, and the signal exists.
        let _ = unsafe { libc::sigaddset(&mut signals, libc::SIGPIPE) };
        // SAFETY: both sets outlive the call, which reads the one and writes the other.
        let result = unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &signals, &mut before) };
        if result != 0 {
            return Err(io::Error::from_raw_os_error(result));
        }
        // SAFETY: the call above has filled the set.
        let was_blocked = unsafe { libc::sigismember(&before, libc::SIGPIPE) } == 1;
        Ok(Self { signals, was_blocked })
    }

    fn end(self, raised: bool) {
        if self.was_blocked {
            return;
        }
        if raised {
            let at_once = libc::timespec {
                tv_sec: 0,
                tv_nsec: 0,
            };
            // SAFETY: the set and the time outlive the call, which may be told nothing about the signal. It takes the one
            // that this thread's write raised; where SIGPIPE is ignored there is none.
            let _ = unsafe { libc::sigtimedwait(&self.signals, std::ptr::null_mut(), &at_once) };
        }
        // SAFETY: the set outlives the call, which may be told nowhere to write the old one to.
        let _ = unsafe { libc::pthread_sigmask(libc::SIG_UNBLOCK, &self.signals, std::ptr::null_mut()) };
    }
}
