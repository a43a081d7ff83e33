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

/// A file for large bodies beside a pipe: there is nothing to be had.
pub(crate) enum SpoolFile {}

impl SpoolFile {
    /// Never called.
    pub(crate) fn write(&self, _bytes: &[u8], _offset: u64) -> io::Result<()> {
        match *self {}
    }

    /// Never called.
    pub(crate) fn read(&self, _to: &mut [u8], _offset: u64) -> io::Result<usize> {
        match *self {}
    }

    /// Never called.
    pub(crate) fn append_to(&self, _length: usize, _offset: u64, _to: &mut Vec<u8>) -> io::Result<()> {
        match *self {}
    }

    /// Never called.
    pub(crate) fn shorten(&self, _length: u64) -> io::Result<()> {
        match *self {}
    }
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
