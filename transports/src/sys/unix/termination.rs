//! Being told to end.

use std::io;
use std::task::{Context, Poll};

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that ask a process to end.
pub(crate) struct Termination([Signal; 2]);

impl Termination {
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self([signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?]))
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // Both are asked each time: each keeps the waker only while it has nothing.
        let told = self.0.iter_mut().fold(false, |told, signal| signal.poll_recv(cx).is_ready() || told);
        if told { Poll::Ready(()) } else { Poll::Pending }
    }
}
