//! What other platforms have and this one has not.

use std::io;
use std::time::Instant;

use super::Stream;
use crate::{Endpoint, Error, ErrorKind, ServerEntry};

/// There are no forks: every mark is this process's.
pub(crate) fn process_mark() -> u64 {
    std::process::id().into()
}

/// Always.
#[inline]
pub(crate) fn is_process_mark(_mark: u64) -> bool {
    true
}

/// Groups have no numbers here.
pub(crate) fn own_groups() -> Vec<u32> {
    Vec::new()
}

/// Groups have no numbers here.
pub(crate) fn peer_groups(_stream: &Stream) -> Vec<u32> {
    Vec::new()
}

/// Refused: names are no files here.
pub(crate) fn servers() -> Result<Vec<ServerEntry>, Error> {
    let message = "cannot list servers: names are not supported on Windows yet";
    Err(Error::new(ErrorKind::Unsupported, message))
}

/// Waiting for a server to appear: there is nothing to be had.
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
