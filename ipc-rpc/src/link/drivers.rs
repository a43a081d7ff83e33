//! The drivers of a connection, as those see them who want something of a driver.

use std::task::Waker;
use std::time::Instant;

use tokio::runtime::Id;

/// The drivers of a connection: one in each runtime in which it is awaited, which is hardly ever more than one. Each
/// of them can do everything, so that a call does not depend on a runtime that nobody polls.
#[derive(Default)]
pub(crate) struct Drivers {
    seats: Vec<Seat>,
    /// A driver found somebody else reading; that one wakes the drivers when it leaves.
    missed: bool,
    /// They have been woken to flush and have not run yet.
    flush_requested: bool,
    /// Callers that have got their replies since a driver last ran.
    answered: usize,
    /// Calls that got their replies in place (see [`crate::in_place`]), ever.
    in_place: u64,
    /// Some did since a driver last had the port tell of news, so that it does not.
    unarmed: bool,
}

struct Seat {
    runtime: Id,
    waker: Option<Waker>,
    /// The connection's next deadline when the driver last looked, for which it has set its timer.
    deadline: Option<Instant>,
}

impl Drivers {
    /// Wakes them all to flush, if they have not been woken for it already.
    pub(crate) fn request_flush(&mut self) {
        if !std::mem::replace(&mut self.flush_requested, true) {
            self.wake();
        }
    }

    /// Whether they have been woken to flush and have not run since.
    pub(crate) fn flush_is_requested(&self) -> bool {
        self.flush_requested
    }

    /// Notes that a caller is about to be woken with its reply.
    pub(crate) fn note_answer(&mut self) {
        self.answered += 1;
    }

    /// Whether callers have got their replies since a driver last ran.
    pub(crate) fn has_answered(&self) -> bool {
        self.answered > 0
    }

    /// Whether several callers have got their replies since the last time. If so, the driver that asks comes back by
    /// itself, and nobody needs to wake it to flush.
    pub(crate) fn follow(&mut self) -> bool {
        let several = std::mem::take(&mut self.answered) > 1;
        self.flush_requested |= several;
        several
    }

    /// Notes that a call got its reply in place and left the port looking to nobody. A driver sees to it, in a while.
    pub(crate) fn note_in_place(&mut self) {
        self.in_place += 1;
        if !std::mem::replace(&mut self.unarmed, true) {
            self.wake();
        }
    }

    /// Calls that got their replies in place, ever, if the port has not been told since to tell of news.
    pub(crate) fn in_place(&self) -> Option<u64> {
        self.unarmed.then_some(self.in_place)
    }

    /// Notes that a driver looks after the port again.
    pub(crate) fn rearm(&mut self) {
        self.unarmed = false;
    }

    /// Somebody is going to wait without looking at the port.
    pub(crate) fn look_after_port(&self) {
        if self.unarmed {
            self.wake();
        }
    }

    /// Wakes them all.
    pub(crate) fn wake(&self) {
        for waker in self.seats.iter().filter_map(|seat| seat.waker.as_ref()) {
            waker.wake_by_ref();
        }
    }

    /// Wakes those that looked while somebody else was reading.
    pub(crate) fn wake_missed(&mut self) {
        if std::mem::take(&mut self.missed) {
            self.wake();
        }
    }

    /// Takes a seat for the driver of a runtime.
    pub(crate) fn enter(&mut self, runtime: Id) {
        self.seats.push(Seat {
            runtime,
            waker: None,
            deadline: None,
        });
    }

    /// Whether there is a driver in that runtime.
    pub(crate) fn are_in(&self, runtime: Id) -> bool {
        self.seats.iter().any(|seat| seat.runtime == runtime)
    }

    /// Notes that the driver of a runtime looks after everything now, and how to wake it the next time.
    pub(crate) fn wait(&mut self, runtime: Id, waker: &Waker) {
        self.flush_requested = false;
        match self
            .seats
            .iter_mut()
            .find(|seat| seat.runtime == runtime)
            .map(|seat| &mut seat.waker)
        {
            Some(Some(known)) => known.clone_from(waker),
            Some(none) => *none = Some(waker.clone()),
            None => {}
        }
    }

    /// Notes for which deadline the driver of a runtime sets its timer.
    pub(crate) fn note_deadline(&mut self, runtime: Id, deadline: Option<Instant>) {
        if let Some(seat) = self.seats.iter_mut().find(|seat| seat.runtime == runtime) {
            seat.deadline = deadline;
        }
    }

    /// Wakes those whose timer does not ring by then.
    pub(super) fn wake_for_deadline(&self, deadline: Instant) {
        for seat in &self.seats {
            if seat.deadline.is_none_or(|noted| deadline < noted) {
                if let Some(waker) = &seat.waker {
                    waker.wake_by_ref();
                }
            }
        }
    }

    /// Notes that a driver found somebody else reading.
    pub(crate) fn miss(&mut self) {
        self.missed = true;
    }

    /// Frees the seat of a driver that has ended.
    pub(crate) fn leave(&mut self, runtime: Id) {
        self.seats.retain(|seat| seat.runtime != runtime);
    }
}
