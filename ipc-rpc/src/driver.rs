//! Waiting in Tokio: one task a connection moves its messages, keeps its time and runs its handlers.
//!
//! A client's calls put their requests on the wire themselves and are woken by this task with their replies. A
//! server's handlers get their first poll right in it, where the message was received: see [`crate::serving`].

mod budget;

use std::future::Future;
use std::ops::ControlFlow;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tokio::runtime::{Handle, Id};
use tokio::time::Sleep;
use transports::reactor::Source;
use transports::{Flushed, Spun, buffers};

use budget::{Budget, slice_in};

use crate::connection::{ClosedBy, State};
use crate::link::{Arrived, IDLE_CAPACITY, Inbox, Link, NO_SERVER, Out, wake_all};
use crate::serving::{Call, Serving};
use crate::{Error, ErrorKind, in_place};

/// How long a connection keeps large buffers with nothing to do.
const IDLE: Duration = Duration::from_secs(1);

/// How long after calls that got their replies in place the port is told to tell of news again.
const CEASED: Duration = Duration::from_millis(1);

/// How often, at most, a driver is woken only to tell the other side of sections that were given back. What else is sent takes such
/// news along, at once.
const NEWS_OF_MEMORY: Duration = Duration::from_millis(1);

/// The current runtime, or an error that says what needs it.
pub(crate) fn runtime(what: &str) -> Result<Handle, Error> {
    Handle::try_current().map_err(|_| {
        let sentence = format!("{what} was awaited outside of a Tokio runtime; use .wait() there");
        Error::new(ErrorKind::Unsupported, sentence)
    })
}

/// Fails where timers would panic. Only Tokio's panic tells; it changes nothing of ours.
pub(crate) fn timers() -> Result<(), Error> {
    std::panic::catch_unwind(|| drop(tokio::time::sleep(Duration::ZERO))).map_err(|_| {
        let sentence = "the Tokio runtime has no timers; build it with enable_time() or enable_all()";
        Error::new(ErrorKind::Unsupported, sentence)
    })
}

/// Sees to it that a driver for `link` runs in the current runtime.
pub(crate) fn ensure(link: &Arc<Link>, out: &mut Out) -> Result<(), Error> {
    let runtime = runtime("A call")?;
    if !out.drivers.are_in(runtime.id()) && out.core.state() != State::Closed {
        // What is wrong with this runtime is no reason to end the connection, which others use.
        timers()?;
        let source = link.source()?;
        let mut driver = Driver::new(link.clone(), out, &runtime, None);
        driver.source = Some(source);
        runtime.spawn(driver.run());
    }
    Ok(())
}

/// Drives one connection. See the module's documentation.
pub(crate) struct Driver {
    link: Arc<Link>,
    runtime: Id,
    /// How long one poll may take.
    slice: Duration,
    source: Option<Source>,
    timer: Option<Pin<Box<Sleep>>>,
    /// When the timer rings.
    armed: Option<Instant>,
    /// When the connection last had something to do, if it holds large buffers.
    busy: Option<Instant>,
    /// Somebody else was reading at the last look, so that there may be more than the reactor tells.
    missed: bool,
    /// Calls that had got their replies in place when this driver last ran.
    in_place: u64,
    /// When to look whether such calls have ceased.
    check: Option<Instant>,
    /// It pays to look again soon, and others are to have their turn first.
    later: bool,
    /// Until when the rest of a message must have arrived.
    late: Option<Instant>,
    /// There was a time when no timer was needed.
    settled: bool,
    /// Nothing more will come.
    ended: bool,
    /// Until when a closed connection stays, so that its peer gets to read why it was closed.
    linger: Option<Instant>,
    serving: Option<Serving>,
    memory: Memory,
}

/// When to look after the connection's memory.
#[derive(Default)]
struct Memory {
    /// What [`crate::nudge::Nudge`] wakes.
    waker: Option<Waker>,
    /// When news of it may wake this driver again.
    tell: Option<Instant>,
}

impl Driver {
    fn new(link: Arc<Link>, out: &mut Out, runtime: &Handle, serving: Option<Serving>) -> Self {
        out.drivers.enter(runtime.id());
        Self {
            link,
            runtime: runtime.id(),
            slice: slice_in(runtime),
            source: None,
            timer: None,
            armed: None,
            busy: None,
            missed: false,
            in_place: 0,
            check: None,
            later: false,
            late: None,
            settled: false,
            ended: false,
            linger: None,
            serving,
            memory: Memory::default(),
        }
    }

    /// Drives a connection whose other side calls us.
    pub(crate) fn spawn(runtime: &Handle, link: Arc<Link>, serving: Serving) {
        let driver = Self::new(link.clone(), &mut link.out(), runtime, Some(serving));
        runtime.spawn(driver.run());
    }

    /// Drives a connection that was refused until its peer has taken note. Then `place` is dropped.
    pub(crate) fn spawn_refused(runtime: &Handle, link: Arc<Link>, place: impl Send + 'static) {
        let driver = Self::new(link.clone(), &mut link.out(), runtime, None);
        runtime.spawn(async move {
            driver.run().await;
            drop(place);
        });
    }

    async fn run(self) {
        // The driver keeps its own measure of fairness; Tokio's would make handlers that it polls look pending.
        tokio::task::unconstrained(self).await;
    }

    /// Receives what is there. True: nothing more, until the reactor says so.
    ///
    /// Where the port has nothing, it is asked whether it pays to look again, rather than to sleep.
    fn receive(&mut self, budget: &mut Budget) -> bool {
        let Self { link, serving, .. } = self;
        let Some(mut inbox) = link.try_inbox() else {
            // Somebody else reads, and wakes this driver on leaving; unless that was between the try and this note.
            let mut out = link.out();
            out.drivers.miss();
            link.await_reader();
            drop(out);
            self.missed = link.try_inbox().is_none();
            return self.missed;
        };
        let asleep = loop {
            let mut messages = 0;
            let drained = inbox.receive(link, budget.now, |arrived, body| {
                messages += 1;
                let congested = serve(link, serving.as_mut(), arrived, body);
                if congested || !budget.spend() {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            });
            budget.spend();
            if !drained || inbox.ended || budget.is_spent() {
                break drained;
            }
            if messages > 0 {
                // Where looking never pays, the driver does the rest in its turn.
                if !inbox.receiver.spins() || !link.send_answers() {
                    break true;
                }
            }
            let (spun, space) = wait(link, &mut inbox);
            match spun {
                Spun::AtOnce | Spun::News => {
                    if spun == Spun::News {
                        budget.now = Instant::now();
                    }
                    // It may have been room.
                    if space && !link.send_answers() {
                        break true;
                    }
                }
                Spun::Later => {
                    self.later = true;
                    break true;
                }
                Spun::Sleep => {
                    if inbox.receiver.arm() {
                        break true;
                    }
                    budget.now = Instant::now();
                }
            }
        };
        self.late = inbox.late(link);
        self.ended = inbox.ended;
        drop(inbox);
        link.out().drivers.wake_missed();
        asleep
    }

    /// Looks again after others have had their turn, if that is all that is due, which it is many times over where several
    /// connections are busy: what came is dealt with. True: others are to have their turn again, and that is all.
    fn looks_again(&mut self) -> bool {
        if !std::mem::take(&mut self.later) || self.late.is_some() || !self.is_at_ease() {
            return false;
        }
        let spun = match self.link.try_inbox() {
            Some(mut inbox) => inbox.receiver.spin(false, true),
            None => return false,
        };
        match spun {
            Spun::Later => return true,
            Spun::Sleep => return false,
            Spun::News | Spun::AtOnce => {}
        }
        let seen = self.receive(&mut Budget::new(self.slice));
        self.missed |= !seen;
        std::mem::take(&mut self.later) && self.late.is_none() && self.is_at_ease()
    }

    /// Whether nothing is due but to receive.
    fn is_at_ease(&self) -> bool {
        let out = self.link.out();
        let congested = self.serving.is_some() && out.congested(&self.link.limits);
        !congested
            && !out.drivers.flush_is_requested()
            && !out.blocked()
            && out.core.state() == State::Open
            && out.core.poll_timeout().is_none()
    }

    /// Whether calls look at the port in place, so that this driver would only be in their way. It comes back to see whether
    /// they still do.
    fn is_relieved(&mut self) -> bool {
        if !in_place::pays(&self.link) {
            return false;
        }
        let mut out = self.link.out();
        let Some(in_place) = out.drivers.in_place() else {
            self.check = None;
            return false;
        };
        let relieved = in_place != self.in_place && out.core.in_flight() == 0 && !out.blocked();
        self.in_place = in_place;
        self.check = relieved.then(|| Instant::now() + CEASED);
        if !relieved {
            out.drivers.rearm();
        }
        relieved
    }

    /// Takes part in everything but receiving. Breaks when the connection has ended.
    fn turn(&mut self, cx: &mut Context<'_>) -> ControlFlow<()> {
        let (blocked, deadline, closed_by) = {
            let mut out = self.link.out();
            out.drivers.wait(self.runtime, cx.waker());
            out.transmit();
            let blocked = out.blocked();
            let room = out.next_with_room(&self.link);
            let woken = out.settle();
            let closed_by = out.core.close_reason().map(|reason| reason.by);
            let deadline = out.core.poll_timeout();
            out.drivers.note_deadline(self.runtime, deadline);
            let state = (blocked, deadline, closed_by);
            drop(out);
            wake_all(room.into_iter().chain(woken));
            state
        };
        if let Some(closed_by) = closed_by {
            // What was sent last is to be read: so it must leave first, and a socket that is closed with something
            // unread may take it back.
            let heard = self.ended || self.link.is_connecting() || closed_by != ClosedBy::Us;
            let limit = self.link.limits.handshake;
            let linger = *self.linger.get_or_insert_with(|| Instant::now() + limit);
            if (heard && !blocked) || Instant::now() >= linger {
                return ControlFlow::Break(());
            }
        }
        self.arm(deadline, cx)
    }

    /// Sees to it that this task is woken at the next deadline; what is due now is done now.
    fn arm(&mut self, deadline: Option<Instant>, cx: &mut Context<'_>) -> ControlFlow<()> {
        let idle = self.busy.map(|busy| busy + IDLE);
        let tell = self.memory.tell;
        let Some(next) = [deadline, idle, self.late, self.linger, self.check, tell]
            .into_iter()
            .flatten()
            .min()
        else {
            self.armed = None;
            if !std::mem::replace(&mut self.settled, true) {
                // The handshake is over. Its timer would wake each of thousands of idle connections for nothing.
                self.timer = None;
            }
            return ControlFlow::Continue(());
        };
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(next.into())));
        // A timer that rings too early costs one look; moving it for each call would cost more.
        if self.armed.is_none_or(|armed| next < armed) {
            timer.as_mut().reset(next.into());
            self.armed = Some(next);
        }
        if timer.as_mut().poll(cx).is_ready() {
            self.armed = None;
            let now = Instant::now();
            if deadline.is_some_and(|deadline| now >= deadline) {
                self.link.handle_timeout(now);
            }
            if self.late.is_some_and(|late| now >= late) {
                // Somebody else may have read the rest; or be reading, and then sees to it.
                self.late = self.link.try_inbox().and_then(|inbox| inbox.late(&self.link));
                if self.late.is_some_and(|late| now >= late) {
                    self.late = None;
                    self.link.close_late();
                }
            }
            if idle.is_some_and(|idle| now >= idle) {
                self.shrink();
            }
            self.tend_memory(now);
            cx.waker().wake_by_ref();
        }
        ControlFlow::Continue(())
    }

    /// Comes back once the callers that were answered have run, if they are several: most of them call again, and their
    /// requests then leave together. If each of them woke this task instead, a multi-thread runtime would run it right
    /// behind that one, and each request would leave alone.
    fn follow_callers(&self, cx: &mut Context<'_>) {
        let mut out = self.link.out();
        if out.drivers.follow() {
            drop(out);
            give_way(cx);
        }
    }

    /// Sees whether the connection's memory wants something.
    fn watch_memory(&mut self, cx: &Context<'_>) {
        let nudge = &self.link.nudge;
        if self.link.pool().is_none() {
            return;
        }
        let Memory { waker, tell } = &mut self.memory;
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            nudge.enter(cx.waker(), waker.as_ref());
            *waker = Some(cx.waker().clone());
        }
        if tell.is_none() && nudge.is_unsent() {
            *tell = Some(Instant::now() + NEWS_OF_MEMORY);
        }
    }

    /// Does for the connection's memory what is due.
    fn tend_memory(&mut self, now: Instant) {
        if self.memory.tell.is_some_and(|tell| now >= tell) {
            self.memory.tell = None;
            self.link.nudge.clear_unsent();
        }
    }

    /// Gives large buffers back.
    fn shrink(&mut self) {
        self.busy = None;
        if let Some(mut inbox) = self.link.try_inbox() {
            if inbox.message.body.capacity() > IDLE_CAPACITY {
                buffers::give(std::mem::take(&mut inbox.message.body));
            }
        }
        self.link.shrink();
        if let Some(serving) = &mut self.serving {
            serving.shrink(IDLE_CAPACITY);
        }
    }

    fn fail(&self, error: transports::Error) {
        self.link.handle_end(&error.into());
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        this.watch_memory(cx);
        if this.looks_again() {
            this.later = true;
            this.follow_callers(cx);
            give_way(cx);
            return Poll::Pending;
        }
        let source = match this.source.take() {
            Some(source) => source,
            None => match this.link.source() {
                Ok(source) => source,
                Err(error) => {
                    this.fail(error);
                    return Poll::Ready(());
                }
            },
        };
        let mut budget = Budget::new(this.slice);
        // What the reactor told of was lost on the look that found somebody else reading.
        let mut unannounced = std::mem::take(&mut this.missed);
        let ended = loop {
            let relieved = this.is_relieved();
            if this.turn(cx).is_break() {
                break true;
            }
            if relieved {
                break false;
            }
            let congested = this.serving.is_some() && this.link.out().congested(&this.link.limits);
            let mut received = std::mem::take(&mut unannounced);
            // It has looked, and whatever comes from now on wakes this task.
            let mut sleeps = false;
            if received {
                unannounced = !this.receive(&mut budget);
            } else if !congested {
                let mut looked = false;
                let look = || {
                    looked = true;
                    this.receive(&mut budget)
                };
                match source.poll_recv(cx, look) {
                    Poll::Ready(Ok(())) => received = true,
                    Poll::Ready(Err(error)) => this.fail(error),
                    Poll::Pending => sleeps = looked,
                }
            }
            if this.later {
                give_way(cx);
                break this.turn(cx).is_break();
            }
            if (received || sleeps) && this.link.holds_large() {
                this.busy = Some(budget.started);
            }
            if sleeps && this.turn(cx).is_break() {
                break true;
            }
            if received {
                if this.missed {
                    // Looking again would find that one reading until it leaves.
                    break false;
                }
                if budget.is_spent() {
                    this.missed |= unannounced;
                    give_way(cx);
                    break this.turn(cx).is_break();
                }
                continue;
            }
            if this.link.out().blocked() {
                if this.link.out().has_room_for_later() {
                    give_way(cx);
                    break false;
                }
                let is_blocked = || {
                    let mut out = this.link.out();
                    out.flush() == Flushed::Blocked && !out.has_room_for_later()
                };
                match source.poll_space(cx, is_blocked) {
                    Poll::Ready(Ok(())) => continue,
                    Poll::Ready(Err(error)) => {
                        this.fail(error);
                        continue;
                    }
                    Poll::Pending => {}
                }
            }
            break false;
        };
        this.source = Some(source);
        if ended {
            return Poll::Ready(());
        }
        this.follow_callers(cx);
        Poll::Pending
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if let Some(waker) = &self.memory.waker {
            self.link.nudge.leave(waker);
        }
        let mut out = self.link.out();
        out.drivers.leave(self.runtime);
        let woken = if self.serving.is_some() {
            out.core
                .handle_end(&Error::new(ErrorKind::Closed, "the server has ended"));
            out.settle()
        } else {
            // The runtime ends before the connection: those who wait in another one see to it that it is driven there.
            out.waiting()
        };
        drop(out);
        wake_all(woken);
    }
}

/// Has this task run again once all that are ready have run, and the reactor has been asked for news. A task that woke itself would
/// keep the reactor from being asked for dozens of polls, and on a multi-thread runtime wake another worker besides.
pub(crate) fn give_way(cx: &mut Context<'_>) {
    // Its first poll hands the waker over, and is never the last.
    let _ = pin!(tokio::task::yield_now()).poll(cx);
}

/// Deals with one message. Whether a client is not to be served further for the time being.
#[inline]
fn serve(link: &Arc<Link>, serving: Option<&mut Serving>, arrived: Arrived, body: &mut Vec<u8>) -> bool {
    match arrived {
        Arrived::Nothing | Arrived::LastReply => serving.is_some() && link.out().congested(&link.limits),
        Arrived::Request {
            id,
            ordinal,
            deadline,
            one_way,
            sections,
        } => {
            let Some(serving) = serving else {
                link.refuse(id);
                return false;
            };
            let call = Call {
                id,
                ordinal,
                deadline,
                one_way,
            };
            serving.begin(link, call, body, sections)
        }
        Arrived::Connect { blob } => {
            match serving {
                Some(serving) => serving.decide(link, &blob),
                None => link.close(ErrorKind::Protocol, NO_SERVER),
            }
            false
        }
    }
}

/// Looks again at a port that has nothing, for as long as that pays. True: also for room to send.
fn wait(link: &Link, inbox: &mut Inbox) -> (Spun, bool) {
    if !inbox.receiver.spins() {
        return (Spun::Sleep, false);
    }
    let (space, busy) = {
        let out = link.out();
        let space = out.blocked();
        if out.has_busy_lenders() {
            return (Spun::Later, false);
        }
        if link.is_connecting() && !space {
            // Replies are all that a client looks for, and its callers have to get those that are there first.
            let calls = out.core.in_flight() > 0;
            if !calls && !in_place::others_call() {
                return (Spun::Sleep, false);
            }
            if out.drivers.has_answered() {
                return (Spun::Later, false);
            }
            if !calls {
                // Callers of several connections take turns: the one of this will be back in a moment.
                drop(out);
                return (inbox.receiver.spin(false, true), false);
            }
        }
        // Handlers that wait for something may need this very thread.
        (space, !out.running.is_empty())
    };
    (inbox.receiver.spin(space, busy), space)
}
