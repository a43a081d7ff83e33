//! What an async driver waits on, where two sides may share memory: their socket, and, once they do, the event that the other
//! side raises for a task that said it sleeps.

use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use super::Meeting;
use super::meeting::Outcome;
use super::waits::Waits;
use crate::reactor::{Source, gone, registered};
use crate::{Error, sys};

pub(crate) struct News {
    meeting: Arc<Meeting>,
    /// The socket, and the end of the other side's process.
    control: Source,
    /// Registered once there is memory.
    event: OnceLock<sys::Registration>,
}

impl News {
    pub(crate) fn of(meeting: &Arc<Meeting>) -> Result<Self, Error> {
        let weak = Arc::downgrade(meeting);
        let on_gone = move || {
            if let Some(meeting) = weak.upgrade() {
                meeting.link.set_peer_gone();
            }
        };
        Ok(Self {
            control: Source::stream(&meeting.link.stream, Arc::new(on_gone))?,
            meeting: meeting.clone(),
            event: OnceLock::new(),
        })
    }

    /// As [`Source::poll_recv`]. In memory, a look is due unless the port said that its task sleeps, and nobody woke it since.
    pub(crate) fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        look: &mut dyn FnMut() -> bool,
    ) -> Poll<Result<(), Error>> {
        let told = self.control.poll_recv(cx, || {
            if let Some(waits) = self.waits() {
                waits.note_control_news();
            }
            look()
        });
        match self.waits() {
            Some(waits) if told.is_pending() => {
                ready!(self.poll_event(waits, cx))?;
                if waits.is_armed() {
                    return Poll::Pending;
                }
                // If it saw all there was, and said that its task sleeps, that is woken by what comes next.
                if look() && waits.is_armed() {
                    Poll::Pending
                } else {
                    Poll::Ready(Ok(()))
                }
            }
            _ => told,
        }
    }

    /// As [`Source::poll_space`].
    pub(crate) fn poll_space(
        &self,
        cx: &mut Context<'_>,
        look: &mut dyn FnMut() -> bool,
    ) -> Poll<Result<(), Error>> {
        let Some(waits) = self.waits() else {
            return self.control.poll_space(cx, look);
        };
        ready!(self.poll_event(waits, cx))?;
        waits.arm_for_space();
        // A look that moves only a piece leaves room, of which nobody would tell.
        if look() && waits.is_full() {
            Poll::Pending
        } else {
            Poll::Ready(Ok(()))
        }
    }

    fn waits(&self) -> Option<&Arc<Waits>> {
        match self.meeting.outcome() {
            Some(Outcome::Memory(waits)) => Some(waits),
            Some(Outcome::Socket) | None => None,
        }
    }

    /// Sees to it that the task is woken when the event is raised. Always ready, since who is woken looks for itself.
    fn poll_event(&self, waits: &Arc<Waits>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let event = match self.event.get() {
            Some(event) => event,
            None => {
                let made = registered(|| sys::Registration::event(waits))?;
                self.event.get_or_init(|| made)
            }
        };
        // Until it is known not to have been raised since: only then the waker is kept. It need not be lowered, since each
        // raising is an event of its own.
        loop {
            match event.poll_read(cx, &mut || true) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(gone(error))),
                Poll::Pending => return Poll::Ready(Ok(())),
            }
        }
    }
}
