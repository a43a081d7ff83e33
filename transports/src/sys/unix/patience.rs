//! Waiting for bytes in the call that takes them.

use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_timeout, socket_timeout};
use rustix::process::Pid;
use rustix::thread::sched_getaffinity;

use super::Stream;
use crate::Identity;

/// Leave for a look at a stream to wait until something comes. That spares whoever waits for nothing else the call to poll(2) before
/// it. Only bytes and the end of the stream cut such a wait short, so it is a short one.
#[derive(Clone, Copy)]
pub(crate) struct Patience(Duration);

impl Patience {
    /// How long a look takes at most.
    pub(crate) fn longest(self) -> Duration {
        self.0
    }
}

impl Stream {
    /// Leave to wait in [`Stream::receive`]; `None` if this kind of stream gives none, or where it would not pay.
    ///
    /// Who waits like this is woken once more on the way, as the other side takes what it was sent. On another processor that is a head start, and a
    /// call of 32 B over `unix:` takes 12.6 to 13.8 µs instead of 18.2 to 19.1; on the same one it takes 8.5 instead of 8.1 (medians of interleaved
    /// runs, a virtual machine with 2 processors).
    pub(crate) fn patience(&self) -> Option<Patience> {
        let socket = self.socket().filter(|_| !self.shares_processor())?;
        // The system rounds it up to a tick of its clock, which is 1 to 10 ms, and says so.
        set_socket_timeout(socket, Timeout::Recv, Some(Duration::from_millis(1))).ok()?;
        let tick = socket_timeout(socket, Timeout::Recv).ok()??;
        // From here on each call says for itself that it does not wait.
        rustix::io::ioctl_fionbio(socket, false).ok()?;
        // The first tick may be under way.
        Some(Patience(2 * tick))
    }

    /// Whether this thread and the peer's process may run on one processor only, and on the same.
    fn shares_processor(&self) -> bool {
        let Ok(Identity::User { pid: Some(pid), .. }) = self.socket_identity() else {
            return false;
        };
        let peer = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let only = |of| sched_getaffinity(of).ok().filter(|allowed| allowed.count() == 1);
        match (only(None), peer.and_then(|peer| only(Some(peer)))) {
            (Some(ours), Some(theirs)) => ours == theirs,
            _ => false,
        }
    }
}
