//! Calls on their way out: whether there is room for one, its place, and those who keep their arguments and hand them on.

use std::task::Waker;
use std::time::Instant;

use transports::{Header, Sent};

use super::Out;
use super::sending::mark;
use crate::connection::{CallKey, StartError, State};
use crate::link::Link;
use crate::link::places::Pending;
use crate::section::Attached;
use crate::{Error, ErrorKind, Outcome};

/// What became of an attempt to start a call.
pub(crate) enum Start {
    Sent(Pending),
    /// A one-way call: nothing more will be heard of it.
    Posted,
    /// There is no room now; wait in `Out::room`.
    Wait,
}

/// What became of an attempt to start a call whose caller keeps most of its arguments.
pub(crate) enum StartLent {
    /// It goes by this number.
    Begun(Pending, usize),
    /// There is no room now; wait in `Out::room`.
    Wait,
    /// It is to be sent whole.
    Whole,
}

/// What a caller wants to have sent.
#[derive(Clone, Copy)]
pub(crate) struct Request {
    pub(crate) ordinal: u64,
    pub(crate) one_way: bool,
    pub(crate) deadline: Option<Instant>,
}

impl Out {
    /// Starts a call and gives it to the port. On anything but `Wait`, `body` may be reused, and nothing is attached any more.
    pub(crate) fn start(
        &mut self,
        link: &Link,
        request: &Request,
        body: &mut Vec<u8>,
        attached: &mut Attached,
    ) -> Result<Start, Error> {
        let mut header = Header::default();
        let Some(key) = self.open(link, request, &mut header)? else {
            return Ok(Start::Wait);
        };
        let sent = self.send(&mut header, &[], body, attached);
        if let Ok(Sent::Accepted) = sent {
            return Ok(key.map_or(Start::Posted, |key| Start::Sent(self.calls.enter_call(key))));
        }
        if let Some(key) = key {
            self.core.withdraw_call(key);
        }
        match sent {
            Ok(_) => Ok(Start::Wait),
            Err(error) => self.refused(error).map(|()| Start::Wait),
        }
    }

    /// Starts a call of which the port gets no more than `head`, while the caller keeps the `rest`, so many bytes, and hands it
    /// on with [`Out::push_lent`].
    pub(crate) fn start_lent(
        &mut self,
        link: &Link,
        request: &Request,
        head: &[u8],
        rest: usize,
    ) -> Result<StartLent, Error> {
        let mut header = Header::default();
        let Some(key) = self.open(link, request, &mut header)? else {
            return Ok(StartLent::Wait);
        };
        let Some(key) = key else {
            return Ok(StartLent::Whole);
        };
        mark(&mut header);
        match self.sender.try_lend(&header, head, rest) {
            Ok(Some(number)) => {
                self.counters.sent.count(head.len() + rest, std::iter::empty());
                self.lending += 1;
                Ok(StartLent::Begun(self.calls.enter_call(key), number))
            }
            Ok(None) => {
                self.core.withdraw_call(key);
                Ok(StartLent::Whole)
            }
            Err(error) => {
                self.core.withdraw_call(key);
                self.refused(error).map(|()| StartLent::Wait)
            }
        }
    }

    /// Hands on a piece of what a caller keeps. The bytes that went; none, if there is no room.
    pub(crate) fn push_lent(&mut self, number: usize, rest: [&[u8]; 2]) -> Result<usize, Error> {
        if self.broken {
            // Whoever reads learns of the end.
            return Ok(0);
        }
        match self.sender.push_lent(number, rest) {
            Ok(taken) => Ok(taken),
            Err(error) => self.refused(error).map(|()| 0),
        }
    }

    /// A caller keeps nothing any more: all of it went, or the port takes the `rest`.
    pub(crate) fn end_lent(&mut self, number: usize, rest: Option<Vec<u8>>) {
        self.lending -= 1;
        if let Some(rest) = rest {
            self.sender.keep_lent(number, rest);
        }
    }

    /// Has `waker` woken when there may be room for more of what a caller keeps.
    pub(crate) fn wait_to_lend(&mut self, waker: &Waker) {
        if !self.lenders.iter().any(|known| known.will_wake(waker)) {
            self.lenders.push(waker.clone());
        }
    }

    /// Whether callers keep what they are to hand on, so that others have to look for room for them.
    pub(crate) fn has_lenders(&self) -> bool {
        self.lending > 0
    }

    /// Whether some of them are about to do that.
    #[cfg(feature = "tokio")]
    pub(crate) fn has_busy_lenders(&self) -> bool {
        self.lending > self.lenders.len()
    }

    /// Whether there is room, but others of this thread are to have their turn first: those who are about to hand on what they keep, or,
    /// after a share of a large message, anybody.
    #[cfg(feature = "tokio")]
    pub(crate) fn has_room_for_later(&self) -> bool {
        self.has_busy_lenders() || !self.broken && self.sender.gives_way()
    }

    /// Enters a call with the core, if there is room: its key, unless it is one-way. Its header is put where it stays, see
    /// [`Parcel`](crate::link::Parcel).
    #[inline]
    fn open(
        &mut self,
        link: &Link,
        request: &Request,
        header: &mut Header,
    ) -> Result<Option<Option<CallKey>>, Error> {
        if self.broken && !self.gone && self.core.state() != State::Closed {
            let sentence = match &link.leash {
                Some(leash) => format!("{}; connect again", leash.why_gone()),
                None => format!("{} is gone; connect again", link.peer_name()),
            };
            return Err(Error::new(ErrorKind::PeerDied, sentence));
        }
        if !self.has_room(link) {
            return Ok(None);
        }
        let now = if request.deadline.is_some() {
            Instant::now()
        } else {
            self.created
        };
        if request.one_way {
            let started = self.core.start_one_way(now, request.ordinal, request.deadline);
            *header = started.map_err(|error| self.start_error(link, error))?;
            return Ok(Some(None));
        }
        match self.core.start_call(now, request.ordinal, request.deadline) {
            Ok((key, started)) => {
                *header = started;
                Ok(Some(Some(key)))
            }
            Err(StartError::Full) => Ok(None),
            Err(error) => Err(self.start_error(link, error)),
        }
    }

    /// What to say of a call that the port did not take: nothing yet, if that is because the peer has gone.
    fn refused(&mut self, error: transports::Error) -> Result<(), Error> {
        let error = self.send_failed(error);
        if self.gone { Ok(()) } else { Err(error) }
    }

    fn start_error(&self, link: &Link, error: StartError) -> Error {
        match error {
            StartError::Closed => self.closed_error(link, Outcome::NotSent),
            error => self.core.start_error(error),
        }
    }

    /// Whether one more call may go to the port. None may in the moment between the first attempt to send that found the peer gone and the
    /// end of the connection, which is when it is known why.
    fn has_room(&self, link: &Link) -> bool {
        let is_ending = self.gone && self.core.state() != State::Closed;
        !is_ending && self.backlog.is_empty() && self.sender.queued() < link.limits.max_queued
    }

    /// Those who can go on because the port has room again.
    pub(crate) fn next_with_room(&mut self, link: &Link) -> Option<Waker> {
        let room = !self.room.is_empty() && self.core.has_room() && self.has_room(link);
        if room { self.room.next() } else { None }
    }

    /// Sends a request on: at once if nothing else is in flight, or if the caller has no driver to do it; together
    /// with others otherwise.
    pub(crate) fn flush_call(&mut self, link: &Link, at_once: bool) {
        #[cfg(feature = "tokio")]
        if !at_once && self.core.in_flight() > 1 {
            self.drivers.request_flush();
            return;
        }
        let _ = at_once;
        self.push(link);
    }

    /// Sees to it that the drivers know of the next deadline, for a call that is going to wait: it has put its request on the wire
    /// by itself, and they may not have run since.
    #[cfg(feature = "tokio")]
    pub(crate) fn look_after_deadlines(&self) {
        if let Some(deadline) = self.core.poll_timeout() {
            self.drivers.wake_for_deadline(deadline);
        }
    }
}
