//! Waiting for bytes in the call that takes them.

use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_timeout, socket_timeout};

use super::Stream;
use super::shared::may_move;

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
    /// call of 32 B over `unix:` takes 12.9 µs instead of 17.7; on the same one it takes 8.5 instead of 8.0 (medians of some ten runs, a virtual
    /// machine with 2 processors). So a process that may run on one processor only, where the other side most likely runs, too, is given none.
    pub(crate) fn patience(&self) -> Option<Patience> {
        let socket = self.socket().filter(|_| may_move())?;
        // The system rounds it up to a tick of its clock, which is 1 to 10 ms, and says so.
        set_socket_timeout(socket, Timeout::Recv, Some(Duration::from_millis(1))).ok()?;
        let tick = socket_timeout(socket, Timeout::Recv).ok()??;
        // From here on each call says for itself that it does not wait.
        rustix::io::ioctl_fionbio(socket, false).ok()?;
        // The first tick may be under way.
        Some(Patience(2 * tick))
    }
}
