//! Waiting in place: an async call that is the only one looks at the port itself for a moment.
//!
//! Over shared memory an answer takes less time than waking a task does. So the call does what the driver would do, as a
//! leader among blocking callers does (see [`crate::blocking`]), and the driver is left asleep. It is woken by a
//! timer, once such calls have ceased, and has the port tell it of news again.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use transports::{Scheme, Spun};

use crate::ErrorKind;
use crate::link::{Arrived, Inbox, Link, NO_SERVER, Out, wake_all};

/// How long a call with large bodies looks itself before other tasks of the thread get their turn.
const MOST: Duration = Duration::from_micros(50);

/// A call among all async calls of the process that are in flight where looking in place pays, while it lasts. Several of
/// them, on whatever connections, leave the looking to their drivers: a call that keeps the thread keeps all others from
/// being made, and those of its own connection would win every time.
pub(crate) struct Flight {
    /// Both this call and the one that began before it had nobody beside them. Callers that take turns are alone now and then:
    /// one such moment does not make the next call the only one.
    began_alone: bool,
}

static IN_FLIGHT: AtomicUsize = AtomicUsize::new(0);

/// Whether the call that began last was alone.
static LAST_WAS_ALONE: AtomicBool = AtomicBool::new(true);

impl Flight {
    pub(crate) fn begin() -> Self {
        let alone = IN_FLIGHT.fetch_add(1, Ordering::Relaxed) == 0;
        let before = LAST_WAS_ALONE.load(Ordering::Relaxed);
        // Written only if it changes: callers on several threads share the line.
        if alone != before {
            LAST_WAS_ALONE.store(alone, Ordering::Relaxed);
        }
        Self {
            began_alone: alone && before,
        }
    }

    /// Whether it is the only one. At most one call is, since each of two that are in flight counts the other.
    fn is_alone(&self) -> bool {
        self.began_alone && IN_FLIGHT.load(Ordering::Relaxed) == 1
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        IN_FLIGHT.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether async calls of this process are in flight, on whatever connections.
pub(crate) fn others_call() -> bool {
    IN_FLIGHT.load(Ordering::Relaxed) > 0
}

/// Looks for a moment, until `look` gives a result. Without one, the driver is told of what comes.
pub(crate) fn wait<R>(
    link: &Link,
    flight: &Flight,
    mut look: impl FnMut(&mut Out) -> Option<R>,
) -> Option<R> {
    let result = if flight.is_alone() {
        lead(link, &mut look)
    } else {
        None
    };
    let mut out = link.out();
    if result.is_some() {
        out.drivers.note_in_place();
    } else {
        out.drivers.look_after_port();
    }
    // Blocking callers may have come meanwhile, and drivers.
    let next = out.followers.next();
    out.drivers.wake_missed();
    drop(out);
    wake_all(next);
    result
}

/// Whether the port of a connection is worth looking at.
pub(crate) fn pays(link: &Link) -> bool {
    link.carrier.scheme() == Scheme::SharedMemory
}

fn lead<R>(link: &Link, look: &mut dyn FnMut(&mut Out) -> Option<R>) -> Option<R> {
    let mut inbox = link.try_inbox()?;
    if link.out().core.in_flight() != 1 {
        return None;
    }
    inbox.receiver.disarm();
    let mut now = Instant::now();
    let until = now + MOST;
    let mut space = link.out().blocked();
    loop {
        match inbox.receiver.spin(space, false) {
            Spun::AtOnce => {}
            Spun::News => now = Instant::now(),
            Spun::Later | Spun::Sleep => {
                if inbox.receiver.arm() {
                    return None;
                }
                now = Instant::now();
            }
        }
        receive(link, &mut inbox, now);
        let mut out = link.out();
        if space {
            out.transmit();
        }
        if let Some(result) = look(&mut out) {
            inbox.receiver.rest();
            return Some(result);
        }
        space = out.blocked();
        drop(out);
        if inbox.ended {
            return None;
        }
        // A small call is over by now, or nothing comes.
        if space || inbox.receiver.in_progress() {
            now = Instant::now();
            if now >= until {
                if !inbox.receiver.arm() {
                    // What is there by now is announced to nobody.
                    link.out().drivers.wake();
                }
                return None;
            }
        }
    }
}

fn receive(link: &Link, inbox: &mut Inbox, now: Instant) {
    inbox.receive(link, now, |arrived, _| {
        match arrived {
            Arrived::Nothing => {}
            // Another look would have to wait for a line of the other side's, in vain.
            Arrived::LastReply => return ControlFlow::Break(()),
            Arrived::Request { id, .. } => link.refuse(id),
            Arrived::Connect { .. } => link.close(ErrorKind::Protocol, NO_SERVER),
        }
        ControlFlow::Continue(())
    });
}
