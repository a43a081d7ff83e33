//! What differs between platforms, and all unsafe code of the project.
//!
//! Each platform offers the same items, so that no other module needs to know which one it is:
//!
//! | item | what it is |
//! |---|---|
//! | `Stream` | a connected socket or pipe that never blocks |
//! | `Acceptor` | what listens, and never blocks |
//! | `Arrival` | what one look at a stream brought |
//! | `Waiter`, `Bell` | blocking until a socket has news, and ending that from another thread |
//! | `Patience` | leave to block in the look itself |
//! | `Registration` | a socket in Tokio's reactor |
//! | `Termination` | being told to end |
//! | `SpareDescriptor` | a descriptor to give up when none is left |
//! | `connect_unix`, `listen_unix`, `Claim`, `socket_path`, `HAS_UNIX_SOCKETS` | `unix:` endpoints and who owns their names |
//! | `spawn_on_socket`, `spawn_on_stdio`, `Spawned`, `Watch`, `ChildNews`, `fate`, `HAS_CHILDREN` | children that are connected to us |
//! | `adopt`, `adopt_stdio`, `Adopted`, `Bound` | what this process was started with |
//! | `connect_pipe`, `listen_pipe`, `pipe_path`, `HAS_PIPES`, `SpoolFile` | `pipe:` endpoints, and files for large bodies beside them |
//! | `user`, `group`, `own_groups`, `peer_groups`, `executable` | who runs this process, and who a peer is and what it runs |
//! | `process_mark`, `is_process_mark` | telling a process from its forks |
//! | `shm` | ports over shared memory |
//! | `Neighbour`, `Unreadable`, `random`, `has_hung_up` | reading another process's memory, and what is needed around it |
//! | `advise_huge` | memory in larger pages |
//! | `Appearance`, `servers` | waiting for a server to appear, and listing those that are there |
//! | `is_exhaustion`, `accept_failure` | what an error of the system means |

#[cfg(unix)]
mod unix;
// Beside this directory, because most of it is no matter of a system's calls; declared here, because it is there on Linux
// alone, and this is where platforms differ.
#[cfg(not(target_os = "linux"))]
mod no_direct;
#[cfg(not(target_os = "linux"))]
mod no_patience;
#[cfg(target_os = "linux")]
#[path = "../shm/mod.rs"]
pub(crate) mod shm;
#[cfg(not(target_os = "linux"))]
#[path = "no_sharing.rs"]
pub(crate) mod shm;
#[cfg(windows)]
mod windows;

#[cfg(not(target_os = "linux"))]
pub(crate) use no_direct::*;
#[cfg(not(target_os = "linux"))]
pub(crate) use no_patience::Patience;
#[cfg(unix)]
pub(crate) use unix::*;
#[cfg(windows)]
pub(crate) use windows::*;

/// What one look at a stream brought.
pub(crate) struct Arrival {
    /// Bytes received; none means that the other side has closed.
    pub(crate) bytes: usize,
    /// Bytes that there was room for.
    pub(crate) asked: usize,
    /// The peer attached descriptors; they were discarded.
    pub(crate) attachments: bool,
}

/// What a failed accept means for the listener.
pub(crate) enum AcceptFailure {
    /// Nobody waits.
    Empty,
    /// The connection that was to be accepted is dead; look for the next.
    Skip,
    /// Something is used up; it may be there again later.
    Exhausted,
    /// The listener is broken.
    Fatal,
}
