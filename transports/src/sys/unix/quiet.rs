//! Writing to a pipe whose reader may be gone, without the signal that ends a process by default.

use std::io::{self, IoSlice};
use std::mem;
use std::os::fd::OwnedFd;
use std::ptr;

/// Gives a pipe as much as it takes, in one call. A pipe without a reader is an error, never SIGPIPE.
///
/// Rust's own programs ignore the signal, but a library may be part of another one's. Sockets have a flag for this; pipes
/// do not (before Linux 6.18), so where the signal is not ignored, it is blocked in this thread for as long as the call
/// lasts, and taken if the call caused it.
pub(super) fn write(pipe: &OwnedFd, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
    if is_ignored()? {
        return Ok(rustix::io::writev(pipe, pieces)?);
    }
    let mut only = empty();
    // SAFETY: `only` is an initialised set.
    unsafe { libc::sigaddset(&mut only, libc::SIGPIPE) };
    // A signal that waits already is somebody else's.
    let waited = is_pending();
    let mut before = empty();
    // SAFETY: both sets are initialised, and live.
    match unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &only, &mut before) } {
        0 => {}
        error => return Err(io::Error::from_raw_os_error(error)),
    }
    let written = rustix::io::writev(pipe, pieces);
    if written == Err(rustix::io::Errno::PIPE) && !waited && is_pending() {
        let mut taken = 0;
        // SAFETY: the set is initialised. It does not block: the signal is pending, and no other thread can take it,
        // since the system sends it to the thread that wrote.
        unsafe { libc::sigwait(&only, &mut taken) };
    }
    // SAFETY: `before` is what this thread had.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &before, ptr::null_mut()) };
    Ok(written?)
}

/// Whether this process ignores SIGPIPE.
fn is_ignored() -> io::Result<bool> {
    // SAFETY: `sigaction` is a C struct of integers and an optional pointer, for which zeros are values.
    let mut action: libc::sigaction = unsafe { mem::zeroed() };
    // SAFETY: it only asks; `action` is written.
    match unsafe { libc::sigaction(libc::SIGPIPE, ptr::null(), &mut action) } {
        0 => Ok(action.sa_sigaction == libc::SIG_IGN),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Whether a SIGPIPE waits for this thread.
fn is_pending() -> bool {
    let mut pending = empty();
    // SAFETY: `pending` is a live set.
    unsafe { libc::sigpending(&mut pending) };
    // SAFETY: `pending` is initialised.
    unsafe { libc::sigismember(&pending, libc::SIGPIPE) == 1 }
}

fn empty() -> libc::sigset_t {
    // SAFETY: a set of signals is a C struct of integers.
    let mut set = unsafe { mem::zeroed() };
    // SAFETY: `set` is live; this makes it the empty set, whatever it looks like.
    unsafe { libc::sigemptyset(&mut set) };
    set
}
