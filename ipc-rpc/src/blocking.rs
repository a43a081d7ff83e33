//! Waiting without a runtime: the calling thread does the I/O itself.
//!
//! Several threads may wait on one connection. The one that gets the inbox is the *leader*: it reads for all, and
//! blocks in the port. The others are *followers*: each parks until its own result is there or the leader leaves.
//! No wake-up is lost: a follower enters the list, and says that somebody is there, before it tries the inbox; a leader that
//! leaves frees the inbox before it looks whether somebody is, so one of the two sees the other.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::task::{Wake, Waker};
use std::thread::Thread;
use std::time::Instant;

use transports::Spun;

use crate::link::{Arrived, Inbox, Link, NO_SERVER, Out};
use crate::{Error, ErrorKind};

/// Wakes a parked thread.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

thread_local! {
    static THIS_THREAD: Waker = Waker::from(Arc::new(Unpark(std::thread::current())));
}

/// Refuses to block a thread that a runtime needs for other tasks.
pub(crate) fn may_block(what: &str) -> Result<(), Error> {
    #[cfg(feature = "tokio")]
    if tokio::runtime::worker_index().is_some() {
        let sentence = format!(
            "{what} was used on a Tokio worker thread and would block it; use .await, or spawn_blocking"
        );
        return Err(Error::new(ErrorKind::Unsupported, sentence));
    }
    let _ = what;
    Ok(())
}

/// What a look for a result came to.
pub(crate) enum Look<R> {
    Done(R),
    /// Not yet; look again when woken, and at this time at the latest.
    NotYet(Option<Instant>),
    /// As [`Look::NotYet`], where all is sent and only a message of the peer's, or its end, brings the result.
    Sent(Option<Instant>),
}

/// Blocks until `look` gives a result.
///
/// `look` leaves the waker that it is given where the result will come from; it is called under the connection's lock, so
/// it must be short and must not call the user's code.
pub(crate) fn block_until<R>(link: &Link, mut look: impl FnMut(&mut Out, &Waker) -> Look<R>) -> R {
    THIS_THREAD.with(|waker| {
        loop {
            if let Some(mut inbox) = link.try_inbox() {
                // Who reads looks for itself, and needs nobody to wake it.
                let result = lead(link, &mut inbox, &mut |out| look(out, Waker::noop()));
                drop(inbox);
                hand_over(link);
                return result;
            }
            let (ticket, timeout, look_again) = {
                let mut out = link.out();
                match look(&mut out, waker) {
                    Look::Done(result) => {
                        drop(out);
                        hand_over(link);
                        return result;
                    }
                    Look::NotYet(again) | Look::Sent(again) => {
                        if out.has_lenders() {
                            link.call_for_room();
                        }
                        let ticket = out.followers.enter(waker);
                        link.await_reader();
                        (ticket, out.core.poll_timeout(), again)
                    }
                }
            };
            // The leader may have left between the first try and the entry.
            if link.try_inbox().is_none() {
                park(earlier(look_again, timeout));
            }
            link.out().followers.remove(ticket);
            run_timers(link, timeout);
        }
    })
}

/// Reads for everybody until one's own result is there.
fn lead<R>(link: &Link, inbox: &mut Inbox, look: &mut dyn FnMut(&mut Out) -> Look<R>) -> R {
    // A look at a socket is a system call, and an answer to what was just sent cannot be there yet: wait first.
    if !inbox.receiver.spins() && inbox.receiver.ready() {
        receive(link, inbox, Instant::now());
    }
    loop {
        let (space, timeout, for_message, look_again) = {
            let mut out = link.out();
            // A call sends itself.
            if out.has_unsent() && out.transmit_breaks() {
                drop(out);
                // The peer has gone, perhaps with a word that says why, which has not been read yet.
                receive(link, inbox, Instant::now());
                continue;
            }
            if let Some(waker) = out.next_with_room(link) {
                waker.wake();
            }
            match look(&mut out) {
                Look::Done(result) => {
                    inbox.receiver.rest();
                    return result;
                }
                Look::NotYet(again) => (out.blocked(), out.core.poll_timeout(), false, again),
                Look::Sent(again) => (out.blocked(), out.core.poll_timeout(), !out.blocked(), again),
            }
        };
        let late = inbox.late(link);
        // While the other side is at work.
        let mut now = Instant::now();
        match inbox.receiver.spin(space, false) {
            Spun::AtOnce => {}
            Spun::News | Spun::Later => now = Instant::now(),
            Spun::Sleep => {
                let until = earlier(earlier(look_again, timeout), late);
                // Whoever else waits on this connection may have a reason to interrupt.
                let parked = if for_message && !link.reader_is_awaited() {
                    inbox.receiver.park_for_message(until)
                } else {
                    inbox.receiver.park(space, until)
                };
                if let Err(error) = parked {
                    link.handle_end(&error.into());
                }
                now = Instant::now();
            }
        }
        // First what has arrived: a thread that was away for long is no reason to find the peer silent.
        receive(link, inbox, now);
        run_timers(link, timeout);
        if inbox.late(link).is_some_and(|late| Instant::now() >= late) {
            link.close_late();
        }
    }
}

fn run_timers(link: &Link, timeout: Option<Instant>) {
    if let Some(timeout) = timeout {
        let now = Instant::now();
        if now >= timeout {
            link.handle_timeout(now);
        }
    }
}

/// Takes in all that is there.
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

/// Leaves the reader's place to somebody who still waits.
pub(crate) fn hand_over(link: &Link) {
    if !link.reader_is_awaited() {
        return;
    }
    // Somebody reads: that one will hand over in turn.
    if link.try_inbox().is_none() {
        return;
    }
    let mut out = link.out();
    let next = out.followers.next();
    #[cfg(feature = "tokio")]
    out.drivers.wake_missed();
    if out.followers.is_empty() {
        link.forget_awaited();
    }
    drop(out);
    if let Some(waker) = next {
        waker.wake();
    }
}

fn park(until: Option<Instant>) {
    match until {
        None => std::thread::park(),
        Some(until) => {
            let left = until.saturating_duration_since(Instant::now());
            if !left.is_zero() {
                std::thread::park_timeout(left);
            }
        }
    }
}

fn earlier(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, other) => one.or(other),
    }
}
