//! Linux, macOS and their kin.

mod claim;
#[cfg(target_os = "linux")]
mod direct;
mod directory;
mod fifo;
mod fork;
mod huge;
mod identity;
mod inherit;
mod names;
#[cfg(target_os = "linux")]
mod patience;
#[cfg(feature = "tokio")]
mod reactor;
mod servers;
#[cfg(target_os = "linux")]
mod shared;
mod sockets;
mod spawn;
mod stream;
#[cfg(feature = "tokio")]
mod termination;
mod wait;
#[cfg(target_os = "linux")]
mod watch;
#[cfg(not(target_os = "linux"))]
#[path = "no_watch.rs"]
mod watch;

use std::io;

pub(crate) use claim::Claim;
#[cfg(all(target_os = "linux", test, not(loom)))]
pub(crate) use direct::tests::stalled;
#[cfg(target_os = "linux")]
pub(crate) use direct::{Neighbour, Unreadable, has_hung_up, random};
pub(crate) use fifo::{SpoolFile, connect_pipe, listen_pipe};
pub(crate) use fork::{is_process_mark, process_mark};
pub(crate) use huge::advise_huge;
pub(crate) use identity::{executable, group, own_groups, peer_groups, user};
pub(crate) use inherit::{Adopted, Bound, adopt, adopt_stdio};
pub(crate) use names::{pipe_path, socket_path};
#[cfg(target_os = "linux")]
pub(crate) use patience::Patience;
#[cfg(feature = "tokio")]
pub(crate) use reactor::{ChildNews, Registration, WatchedPeer};
pub(crate) use servers::servers;
#[cfg(target_os = "linux")]
pub(crate) use shared::{
    CommonMemory, Draft, Event, OwnMemory, PeerMemory, SealedMemory, SharedWord, SharedWords,
    close_elsewhere, may_move, processor,
};
#[cfg(all(target_os = "linux", test, not(loom)))]
pub(crate) use shared::{DESCRIPTORS, stream_of};
pub(crate) use sockets::{connect_unix, listen_unix};
pub(crate) use spawn::{Spawned, Watch, fate, spawn_on_socket, spawn_on_stdio};
pub(crate) use stream::{Acceptor, SpareDescriptor, Stream};
#[cfg(feature = "tokio")]
pub(crate) use termination::Termination;
pub(crate) use wait::{Bell, Waiter};
pub(crate) use watch::Appearance;

use super::AcceptFailure;

/// Ends this process at once, with no clean-up, as `kill -9` does.
#[cfg(all(any(test, feature = "crash-points"), not(all(test, loom))))]
pub(crate) fn kill_self() -> ! {
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    std::process::abort()
}

/// Whether `unix:` works here.
pub(crate) const HAS_UNIX_SOCKETS: bool = true;

/// Whether a child can be started with a connection, here.
pub(crate) const HAS_CHILDREN: bool = true;

/// Whether `pipe:` works here.
pub(crate) const HAS_PIPES: bool = true;

/// Whether something of this process or machine is used up: descriptors, memory, disk space.
pub(crate) fn is_exhaustion(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    let codes = [
        libc::EMFILE,
        libc::ENFILE,
        libc::ENOMEM,
        libc::ENOBUFS,
        libc::ENOSPC,
        libc::EDQUOT,
        libc::ETOOMANYREFS,
    ];
    code.is_some_and(|code| codes.contains(&code))
}

/// What a failed accept means for the listener.
pub(crate) fn accept_failure(error: &io::Error) -> AcceptFailure {
    // accept(2) reports errors that were pending on the new connection as its own.
    let dead = [
        libc::EINTR,
        libc::ECONNABORTED,
        libc::ECONNRESET,
        libc::EPROTO,
        libc::EPERM,
        libc::ENETDOWN,
        libc::ENOPROTOOPT,
        libc::EHOSTDOWN,
        libc::EHOSTUNREACH,
        libc::EOPNOTSUPP,
        libc::ENETUNREACH,
        libc::ETIMEDOUT,
    ];
    match error.raw_os_error() {
        _ if error.kind() == io::ErrorKind::WouldBlock => AcceptFailure::Empty,
        _ if is_exhaustion(error) => AcceptFailure::Exhausted,
        Some(code) if dead.contains(&code) => AcceptFailure::Skip,
        _ => AcceptFailure::Fatal,
    }
}
