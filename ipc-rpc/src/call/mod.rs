//! A call: made by a client's method, sent when it is first polled or waited for, cancelled when it is dropped.
//!
//! - here: the call, the states it goes through, and how it is waited for by a thread that blocks;
//! - `method`: what the attribute macro makes of a method, and how its values are encoded and decoded;
//! - `lending`: the longest argument, which is left out of the body and handed on from where it is;
//! - `poll`: how a call is awaited;
//! - `outcome`: what the end of a call is to its caller;
//! - `trace`: how a call travelled, for those who want to know.

mod lending;
mod method;
mod outcome;
#[cfg(feature = "tokio")]
mod poll;
mod trace;

use std::fmt;
use std::time::{Duration, Instant};

use crate::blocking::{self, Look};
use crate::link::{Ended, Link, Parcel, Pending, Request, Start};
use crate::section::Attached;
use crate::waitlist::Ticket;
use crate::{Client, Error, ErrorKind};

use lending::{Gap, Lending, fill_gap};
use method::Purpose;
#[cfg(feature = "tokio")]
pub(crate) use method::delivered;
pub use method::{Decode, Encode, Method, ResultType, flatten};
use trace::{Mark, Trace};

/// A call of a service's method. End it with `.await` (in a Tokio runtime) or with [`Call::wait`] (anywhere else).
///
/// Nothing is sent before the first poll or `wait`: only then are the arguments encoded. Calls that are polled
/// together travel together on one connection, and their replies come in any order. Dropping a call that has been sent
/// cancels it: its handler is dropped at its next await.
///
/// There is no deadline unless one is set, here or with the client's `with_timeout`.
///
/// With the feature `tracing`, each call that was sent is told of when it has ended: an event of the level `TRACE` with the target
/// `ipc_rpc::call` and the fields `method`, `transport`, `outcome` (`ok`, `failed`, `expired`, `lost`, or `posted` for a one-way call), and in
/// bytes `sent_inline` and `received_inline` (in the body of the message, whole or in pieces), `sent_sections` and `received_sections` (in
/// memory that was handed over), and `sent_direct` (of the body, what the other side was to copy from where it is; of replies, `Client::direct`
/// counts those). A call that nobody listens to costs the question whether anybody does. [`Client::traffic`] has the sums.
#[must_use = "a call does nothing until it is awaited or waited for"]
pub struct Call<'a, M: Method> {
    client: &'a Client,
    method: M,
    timeout: Option<Duration>,
    state: State,
    /// What its arguments are encoded in, until they are sent.
    parcel: Option<Box<Parcel>>,
    trace: Trace,
    #[cfg(feature = "tokio")]
    timer: Option<std::pin::Pin<Box<tokio::time::Sleep>>>,
    #[cfg(feature = "tokio")]
    flight: Option<crate::in_place::Flight>,
}

enum State {
    Fresh,
    /// Encoded, and waiting for room.
    Encoded {
        request: Request,
        attached: Attached,
        gap: Option<Gap>,
        ticket: Option<Ticket>,
    },
    /// Sent in part: the rest is handed on piece by piece.
    Lending(Lending),
    Sent(Pending),
    /// One-way, and not yet taken by the system.
    Posted(Request),
    /// Answered, lost or, if it is one-way, sent: to be concluded.
    Ended(Option<Ended>),
    Done,
}

/// Who looks after a call, and for how long.
#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    /// A thread that blocks: nobody else sends.
    Blocking,
    /// A task, which looks again at once.
    #[cfg(feature = "tokio")]
    InPlace,
    /// A task, which looks again when it is woken.
    #[cfg(feature = "tokio")]
    Async,
}

/// What one step of a call came to.
enum Step {
    Ended,
    /// Sent, or waiting for room: the waker is where the news will come from.
    Waiting,
}

impl<'a, M: Method> Call<'a, M> {
    #[doc(hidden)]
    pub fn new(client: &'a Client, method: M) -> Self {
        Self {
            client,
            method,
            timeout: client.timeout(),
            state: State::Fresh,
            parcel: None,
            trace: Trace::new(),
            #[cfg(feature = "tokio")]
            timer: None,
            #[cfg(feature = "tokio")]
            flight: None,
        }
    }

    /// Gives the call a deadline, counted from when it is first polled or waited for. The server sees it, too, and drops
    /// the handler when it passes. It replaces the client's own.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Makes the call and blocks the thread until it has ended. No runtime is needed; the I/O is done by this thread.
    /// A one-way call has ended when the system has taken all of it.
    ///
    /// # Errors
    /// Those of the call, and `Unsupported` on a thread that a Tokio runtime needs for other tasks: await there, or
    /// use `spawn_blocking`.
    pub fn wait(mut self) -> M::Output {
        let result = self.wait_inner();
        M::finish(result.map_err(|error| error.with_method(M::INFO.name)))
    }

    fn wait_inner(&mut self) -> Result<M::Returns, Error> {
        blocking::may_block("Call::wait()")?;
        let link = self.client.link();
        link.check_ours()?;
        if let State::Fresh = self.state {
            self.encode()?;
        }
        let looked = blocking::block_until(link, |out, waker| match self.step(out, waker, How::Blocking) {
            Ok(Step::Ended) => Look::Done(Ok(())),
            Ok(Step::Waiting) => {
                let deadline = self.deadline();
                match deadline {
                    Some(deadline) if Instant::now() >= deadline => Look::Done(Err(self.timed_out(None))),
                    deadline if matches!(self.state, State::Sent(_)) => Look::Sent(deadline),
                    deadline => Look::NotYet(deadline),
                }
            }
            Err(error) => Look::Done(Err(error)),
        });
        looked?;
        self.conclude()
    }

    /// Encodes the arguments, outside of every lock: this runs the user's code.
    fn encode(&mut self) -> Result<(), Error> {
        let info = M::INFO;
        let (codec, limit) = self.client.check(info)?;
        let link = self.client.link();
        let mut parcel = link.parcel();
        let body = &mut parcel.body;
        let mut gap = None;
        let mut attached = Attached::default();
        self.method.settle();
        self.method.encode(Encode(Purpose::Body {
            codec,
            limit,
            info,
            body,
            attached: &mut attached,
            lender: link.lender(codec),
            // Where nothing can be lent, the copy is made right here.
            gap: (!info.one_way && link.lends()).then_some(&mut gap),
        }))?;
        if let (false, Some(Gap { at, .. })) = (attached.is_empty(), gap) {
            // What has sections is sent whole.
            gap = None;
            fill_gap(&self.method, &mut parcel.body, at)?;
        }
        let deadline = self
            .timeout
            .and_then(|timeout| Instant::now().checked_add(timeout));
        let request = Request {
            ordinal: info.ordinal,
            one_way: info.one_way,
            deadline,
        };
        self.state = State::Encoded {
            request,
            attached,
            gap,
            ticket: None,
        };
        self.parcel = Some(parcel);
        Ok(())
    }

    /// Until when the call itself must watch the clock: once it is sent, the connection does.
    fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Encoded { request, .. } | State::Posted(request) => request.deadline,
            _ => None,
        }
    }

    /// Goes as far as it goes without waiting.
    fn step(
        &mut self,
        out: &mut crate::link::Out,
        waker: &std::task::Waker,
        how: How,
    ) -> Result<Step, Error> {
        let link = self.client.link();
        if let State::Encoded { gap: Some(_), .. } = &self.state {
            self.start_lent(out)?;
        }
        if let (
            State::Encoded {
                request,
                attached,
                ticket,
                gap,
            },
            Some(parcel),
        ) = (&mut self.state, &mut self.parcel)
        {
            let mark = Mark::new(link, out);
            let started = match gap {
                // It has been tried.
                Some(_) => Ok(Start::Wait),
                None => out.start(link, request, &mut parcel.body, attached),
            };
            self.trace.sent_since(&mark, link, out);
            let waited = ticket.is_some();
            if let Ok(Start::Wait) = started {
                out.room.wait(ticket, waker);
                return Ok(Step::Waiting);
            }
            leave_line(link, out, ticket);
            match started {
                Ok(Start::Sent(call)) => {
                    self.state = State::Sent(call);
                    if let Some(mut parcel) = self.parcel.take() {
                        parcel.await_reply();
                        out.calls.keep(call, parcel);
                    }
                }
                Ok(_) => self.state = State::Posted(*request),
                Err(error) if error.kind() == ErrorKind::Deadline => return Err(self.too_late(waited)),
                Err(error) => return Err(error),
            }
            out.flush_call(link, how == How::Blocking);
        }
        if let State::Lending(lending) = &self.state {
            if let Some(ended) = out.calls.take_ended(lending.call, waker) {
                self.stop_lending(out);
                self.state = State::Ended(Some(ended));
                return Ok(Step::Ended);
            }
            self.push_lent(out, waker, how)?;
        }
        match self.state {
            State::Sent(call) => {
                let Some(ended) = out.calls.take_ended(call, waker) else {
                    return Ok(Step::Waiting);
                };
                self.state = State::Ended(Some(ended));
                Ok(Step::Ended)
            }
            State::Posted(_) => {
                // Without a driver, nobody may come by to send the rest.
                if how == How::Blocking && out.wait_to_be_sent(waker) {
                    return Ok(Step::Waiting);
                }
                self.state = State::Ended(None);
                Ok(Step::Ended)
            }
            State::Fresh | State::Encoded { .. } | State::Lending(_) => Ok(Step::Waiting),
            State::Ended(_) | State::Done => Err(outcome::already_given()),
        }
    }
}

// The arguments are only ever borrowed, never pinned.
impl<M: Method> Unpin for Call<'_, M> {}

impl<M: Method> Drop for Call<'_, M> {
    fn drop(&mut self) {
        let link = self.client.link();
        if let Some(parcel) = self.parcel.take() {
            link.recycle(parcel);
        }
        if let State::Done = self.state {
            return;
        }
        if !link.is_ours() {
            return;
        }
        if let State::Lending(Lending { call, .. }) = self.state {
            self.stop_lending(&mut link.out());
            link.cancel(call);
        }
        match std::mem::replace(&mut self.state, State::Done) {
            State::Sent(call) => link.cancel(call),
            State::Encoded { ticket, .. } => {
                let next = ticket.and_then(|ticket| link.out().room.leave(ticket));
                if let Some(waker) = next {
                    waker.wake();
                }
            }
            State::Fresh | State::Lending(_) | State::Posted(_) | State::Ended(_) | State::Done => {}
        }
    }
}

/// A call that waited for room has got it, or gives up: others get their turn.
fn leave_line(link: &Link, out: &mut crate::link::Out, ticket: &mut Option<Ticket>) {
    if let Some(ticket) = ticket.take() {
        let next = out.room.leave(ticket).or_else(|| out.next_with_room(link));
        if let Some(waker) = next {
            waker.wake();
        }
    }
}

impl<M: Method> fmt::Debug for Call<'_, M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Fresh => "not sent",
            State::Encoded { .. } => "waiting for room",
            State::Sent(_) => "sent",
            State::Lending(_) | State::Posted(_) => "being sent",
            State::Ended(_) | State::Done => "done",
        };
        formatter
            .debug_struct("Call")
            .field("method", &M::INFO.name)
            .field("state", &state)
            .finish()
    }
}
