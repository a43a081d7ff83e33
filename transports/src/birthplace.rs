//! Telling a process from the copies that fork(2) makes of it.

use crate::{Error, ErrorKind, sys};

/// The process in which something was made.
///
/// A child of a fork has a copy of everything that its parent had, connections among them. If it used one, the two
/// would speak over each other on one channel: so a connection remembers where it was made, and refuses elsewhere.
/// Asking costs a load from memory where the system helps (Linux 4.14 and later), elsewhere a system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Birthplace(u64);

impl Birthplace {
    /// This process.
    #[must_use]
    pub fn here() -> Self {
        Self(sys::process_mark())
    }

    /// Whether this still is that process, and not a fork of it.
    #[inline]
    #[must_use]
    pub fn is_here(self) -> bool {
        sys::is_process_mark(self.0)
    }

    /// Some other process.
    #[cfg(all(test, unix))]
    pub(crate) fn elsewhere() -> Self {
        Self(u64::MAX)
    }

    /// Fails in every process but that one.
    ///
    /// # Errors
    /// `Forked`, with a sentence that says what to do.
    #[inline]
    pub fn check(self) -> Result<(), Error> {
        if self.is_here() { Ok(()) } else { Err(forked()) }
    }
}

#[cold]
fn forked() -> Error {
    let message = format!(
        "this connection belongs to the process that made it; this one (pid {}) is a fork of that and has a mere copy. \
         Connect again here",
        std::process::id()
    );
    Error::new(ErrorKind::Forked, message)
}
