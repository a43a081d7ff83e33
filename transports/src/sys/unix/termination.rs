//! Being told to end.

use std::io;
use std::task::{Context, Poll};

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that ask a process to end.
pub(crate) struct Termination([Signal; 2]);

impl Termination {
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self([
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
        ]))
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut told = Poll::Pending;
        // Both are asked each time: a signal keeps the waker of whoever asked it last.
        for signal in &mut self.0 {
            if signal.poll_recv(cx).is_ready() {
                told = Poll::Ready(());
            }
        }
        told
    }
}
