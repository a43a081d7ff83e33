//! Waiting for a server to appear, where the system does not tell: there is nothing to be had.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

use crate::Endpoint;

/// See its namesake for Linux.
pub(crate) enum Appearance {}

impl Appearance {
    /// Never.
    pub(crate) fn watch(_endpoint: &Endpoint) -> Option<Self> {
        None
    }

    /// Never called.
    pub(crate) fn wait(&self, _deadline: Instant) -> io::Result<()> {
        match *self {}
    }

    /// Never called.
    #[cfg(feature = "tokio")]
    pub(crate) fn take(&self) -> bool {
        match *self {}
    }
}

impl AsFd for Appearance {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match *self {}
    }
}
