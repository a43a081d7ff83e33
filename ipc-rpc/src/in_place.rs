//! Waiting in place: an async call that is the only one looks at the port itself for a moment.
//!
//! Over shared memory an answer takes less time than waking a task does. So the call does what the driver would do, as a
//! leader among blocking callers does (see [`crate::blocking`]), and the driver is left asleep. It is woken by a
//! timer, once such calls have ceased, and has the port tell it of news again.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use transports::{Scheme, Spun};

use crate::ErrorKind;
use crate::link::{Arrived, Inbox, Link, NO_SERVER, Out, wake_all};

/// One call in the whole process: others may need the thread.
struct Turn;

static TAKEN: AtomicBool = AtomicBool::new(false);

impl Turn {
    fn take() -> Option<Self> {
        let free = !TAKEN.load(Ordering::Relaxed) && !TAKEN.swap(true, Ordering::Acquire);
        free.then_some(Self)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        TAKEN.store(false, Ordering::Release);
    }
}

/// Looks for a moment, until `look` gives a result. Without one, the driver is told of what comes.
pub(crate) fn wait<R>(link: &Link, mut look: impl FnMut(&mut Out) -> Option<R>) -> Option<R> {
    let result = lead(link, &mut look);
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
    let _turn = Turn::take()?;
    inbox.receiver.disarm();
    let mut now = Instant::now();
    loop {
        match inbox.receiver.spin(false, false) {
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
        if let Some(result) = look(&mut link.out()) {
            return Some(result);
        }
        if inbox.ended {
            return None;
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
