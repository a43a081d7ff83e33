//! The transports, and what each can do.

use std::fmt;

use crate::sys;

/// The transport that an endpoint names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Scheme {
    /// `mem:`, inside one process.
    Memory,
    /// `shm:`, shared memory.
    SharedMemory,
    /// `unix:`, a Unix domain socket.
    Unix,
    /// `pipe:`, a pair of FIFOs for each connection on Unix, a named pipe on Windows.
    Pipe,
    /// `tcp:`, by default on this machine only.
    Tcp,
    /// `exec:`, a child of the client.
    Exec,
    /// `fd:`, what this process was started with.
    Inherited,
}

impl Scheme {
    /// Every scheme of this version, on this platform or another.
    pub const ALL: [Self; 7] = [
        Self::Memory,
        Self::SharedMemory,
        Self::Unix,
        Self::Pipe,
        Self::Tcp,
        Self::Exec,
        Self::Inherited,
    ];

    /// The word before the colon.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "mem",
            Self::SharedMemory => "shm",
            Self::Unix => "unix",
            Self::Pipe => "pipe",
            Self::Tcp => "tcp",
            Self::Exec => "exec",
            Self::Inherited => "fd",
        }
    }

    /// Whether this platform has the transport.
    #[must_use]
    pub fn is_supported(self) -> bool {
        match self {
            Self::Memory | Self::Tcp => true,
            Self::SharedMemory => sys::shm::HAS_SHARED_MEMORY,
            Self::Unix => sys::HAS_UNIX_SOCKETS,
            Self::Exec | Self::Inherited => sys::HAS_CHILDREN,
            Self::Pipe => sys::HAS_PIPES,
        }
    }

    /// Whether the system vouches for who is at the other end, so that a service may depend on it. Of `fd:` it depends
    /// on the descriptor: the answer is that of a Unix socket.
    #[must_use]
    pub fn vouches_for_peer(self) -> bool {
        match self {
            Self::Memory | Self::SharedMemory | Self::Unix | Self::Pipe | Self::Exec | Self::Inherited => {
                true
            }
            Self::Tcp => false,
        }
    }

    /// Whether messages can carry handles. None can yet.
    #[must_use]
    pub fn carries_handles(self) -> bool {
        false
    }

    /// Whether messages can carry sections of memory here. [`Port::pool`](crate::Port::pool) tells it of one connection: both
    /// sides have to run as the same user, and what is inherited has to be a Unix socket.
    #[must_use]
    pub fn carries_sections(self) -> bool {
        match self {
            Self::Memory => true,
            Self::SharedMemory | Self::Unix | Self::Exec | Self::Inherited => sys::shm::HAS_SHARED_MEMORY,
            Self::Pipe | Self::Tcp => false,
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}
