//! Being told to end.

use std::io;
use std::task::{Context, Poll};

use tokio::signal::windows::{CtrlBreak, CtrlC, CtrlClose, ctrl_break, ctrl_c, ctrl_close};

/// What asks a process with a console to end: Ctrl-C, Ctrl-Break, and the closing of its window. After the last one the
/// system ends the process within seconds, whatever it still does.
pub(crate) struct Termination {
    interrupt: CtrlC,
    stop: CtrlBreak,
    close: CtrlClose,
}

impl Termination {
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self {
            interrupt: ctrl_c()?,
            stop: ctrl_break()?,
            close: ctrl_close()?,
        })
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // All are asked each time: each keeps the waker of whoever asked it last.
        let told = [
            self.interrupt.poll_recv(cx).is_ready(),
            self.stop.poll_recv(cx).is_ready(),
            self.close.poll_recv(cx).is_ready(),
        ];
        match told.contains(&true) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }
}
