//! The sending half of a connection, with the protocol core and those who wait.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

use transports::{Flushed, Header, Sender, Sent};

use super::places::{Ended, Pending, Places};
use super::share::Share;
use super::{Link, wake_all};
#[cfg(feature = "tokio")]
use crate::Limits;
use crate::connection::{ClosedBy, Connection, Event, Kind, StartError, State};
use crate::context::Cancellation;
use crate::waitlist::WaitList;
use crate::{Codec, Error, ErrorKind, Outcome};

/// Everything of a connection but its receiving half.
pub(crate) struct Out {
    pub(crate) core: Connection,
    pub(crate) sender: Box<dyn Sender>,
    /// The port failed to send; what the peer sent before is still to be read.
    broken: bool,
    /// Our calls, and what became of them.
    pub(crate) calls: Places,
    /// Pings ever sent.
    pings: u64,
    /// Calls that wait until they may start.
    pub(crate) room: WaitList,
    /// Threads that wait in [`crate::blocking`] while another one reads.
    pub(crate) followers: WaitList,
    /// Those who wait for the end of the handshake.
    pub(crate) opening: Vec<Waker>,
    /// The peer's calls whose handlers run in tasks of their own.
    pub(crate) running: HashMap<u64, Arc<Cancellation>>,
    /// Replies that found the port full.
    backlog: VecDeque<(Header, Vec<u8>)>,
    backlog_bytes: usize,
    /// Threads that wait until everything has been sent.
    sending: Vec<Waker>,
    /// What the connection counts towards what its user may have queued.
    pub(crate) share: Option<Share>,
    /// Some moment in the past: calls without a deadline need no better one.
    created: Instant,
    /// Body of a control message on its way out.
    control: Vec<u8>,
    #[cfg(feature = "tokio")]
    pub(crate) drivers: super::drivers::Drivers,
}

/// What became of an attempt to start a call.
pub(crate) enum Start {
    Sent(Pending),
    /// A one-way call: nothing more will be heard of it.
    Posted,
    /// There is no room now; wait in `Out::room`.
    Wait,
}

/// What a caller wants to have sent.
#[derive(Clone, Copy)]
pub(crate) struct Request {
    pub(crate) ordinal: u64,
    pub(crate) one_way: bool,
    pub(crate) deadline: Option<Instant>,
}

impl Out {
    pub(super) fn new(core: Connection, sender: Box<dyn Sender>, created: Instant) -> Self {
        Self {
            core,
            sender,
            broken: false,
            calls: Places::default(),
            pings: 0,
            room: WaitList::default(),
            followers: WaitList::default(),
            opening: Vec::new(),
            running: HashMap::new(),
            backlog: VecDeque::new(),
            backlog_bytes: 0,
            sending: Vec::new(),
            share: None,
            created,
            control: Vec::new(),
            #[cfg(feature = "tokio")]
            drivers: super::drivers::Drivers::default(),
        }
    }

    /// Starts a call and gives it to the port. On anything but `Wait`, `body` may be reused.
    pub(crate) fn start(
        &mut self,
        link: &Link,
        request: &Request,
        body: &mut Vec<u8>,
    ) -> Result<Start, Error> {
        if self.broken && self.core.state() != State::Closed {
            let sentence = match &link.leash {
                Some(leash) => format!("{}; connect again", leash.why_gone()),
                None => format!("{} is gone; connect again", link.peer_name()),
            };
            return Err(Error::new(ErrorKind::PeerDied, sentence));
        }
        if !self.has_room(link) {
            return Ok(Start::Wait);
        }
        let now = if request.deadline.is_some() {
            Instant::now()
        } else {
            self.created
        };
        let (key, header) = if request.one_way {
            let started = self.core.start_one_way(now, request.ordinal, request.deadline);
            (None, started.map_err(|error| self.start_error(link, error))?)
        } else {
            match self.core.start_call(now, request.ordinal, request.deadline) {
                Ok((key, header)) => (Some(key), header),
                Err(StartError::Full) => return Ok(Start::Wait),
                Err(error) => return Err(self.start_error(link, error)),
            }
        };
        let sent = self.sender.try_send(&marked(&header), body);
        if let Ok(Sent::Accepted) = sent {
            return Ok(key.map_or(Start::Posted, |key| Start::Sent(self.calls.enter_call(key))));
        }
        if let Some(key) = key {
            self.core.withdraw_call(key);
        }
        match sent {
            Ok(_) => Ok(Start::Wait),
            Err(error) => {
                let error = self.send_failed(error);
                match &link.leash {
                    Some(leash) if error.kind() == ErrorKind::PeerDied => {
                        Err(Error::new(ErrorKind::PeerDied, leash.why_gone()))
                    }
                    _ => Err(error),
                }
            }
        }
    }

    /// Whether one more call may go to the port.
    fn has_room(&self, link: &Link) -> bool {
        self.backlog.is_empty() && self.sender.queued() < link.limits.max_queued
    }

    fn start_error(&self, link: &Link, error: StartError) -> Error {
        match error {
            StartError::Closed => self.closed_error(link, Outcome::NotSent),
            error => self.core.start_error(error),
        }
    }

    /// Sends what the core has to say and what waits for room, then flushes.
    pub(crate) fn transmit(&mut self) -> Flushed {
        while let Some(header) = self.core.poll_transmit(&mut self.control) {
            let mut body = std::mem::take(&mut self.control);
            self.send_reply(&header, &[], &mut body);
            self.control = body;
        }
        self.flush()
    }

    /// Sends what goes at once, and forgets the rest: the peer reads no more.
    pub(super) fn part(&mut self) {
        if self.transmit() == Flushed::Blocked {
            self.set_broken();
        }
    }

    /// Moves queued bytes on.
    pub(crate) fn flush(&mut self) -> Flushed {
        let flushed = self.flush_port();
        if !self.blocked() {
            wake_all(self.sending.drain(..));
        }
        if let Some(share) = &mut self.share {
            share.set(if self.broken {
                0
            } else {
                self.sender.queued() + self.backlog_bytes
            });
        }
        flushed
    }

    fn flush_port(&mut self) -> Flushed {
        loop {
            if self.broken {
                return Flushed::Done;
            }
            match self.sender.flush() {
                Ok(Flushed::Done) if self.backlog.is_empty() => return Flushed::Done,
                Ok(Flushed::Done) => {}
                Ok(Flushed::Blocked) => return Flushed::Blocked,
                Err(error) => {
                    self.send_failed(error);
                    return Flushed::Done;
                }
            }
            while let Some((header, mut body)) = self.backlog.pop_front() {
                let length = body.len();
                match self.sender.try_send(&marked(&header), &mut body) {
                    Ok(Sent::Accepted) => self.backlog_bytes -= length,
                    Ok(Sent::Full) => {
                        self.backlog.push_front((header, body));
                        break;
                    }
                    Err(error) => {
                        self.send_failed(error);
                        break;
                    }
                }
            }
        }
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

    /// Sends all there is, and sees to it that somebody sends the rest when there is room.
    pub(super) fn push(&mut self, link: &Link) {
        if self.transmit() == Flushed::Blocked {
            // Whoever reads now must also wait for space.
            link.interrupt.raise();
            #[cfg(feature = "tokio")]
            self.drivers.wake();
        }
    }

    /// Whether something waits for the peer to make room.
    pub(crate) fn blocked(&self) -> bool {
        !self.broken && (self.sender.queued() > 0 || !self.backlog.is_empty())
    }

    /// Whether something is still to be sent; then `waker`, a thread's, is told when that has changed.
    pub(crate) fn wait_to_be_sent(&mut self, waker: &Waker) -> bool {
        let waiting = self.blocked() && self.core.state() != State::Closed;
        if waiting && !self.sending.iter().any(|known| known.will_wake(waker)) {
            self.sending.push(waker.clone());
        }
        waiting
    }

    /// Those who can go on because the port has room again.
    pub(crate) fn next_with_room(&mut self, link: &Link) -> Option<Waker> {
        let room = !self.room.is_empty() && self.core.has_room() && self.has_room(link);
        if room { self.room.next() } else { None }
    }

    /// Whether the peer leaves so much unread that it is not to be served further.
    #[cfg(feature = "tokio")]
    pub(crate) fn congested(&self, limits: &Limits) -> bool {
        self.core.one_ways() >= limits.max_in_flight as usize
            || self.queued() > limits.max_queued
            || self
                .share
                .as_ref()
                .is_some_and(|share| share.is_above(limits.max_queued_per_user))
    }

    /// Bytes on their way out.
    #[cfg(feature = "tokio")]
    fn queued(&self) -> usize {
        if self.broken {
            0
        } else {
            self.sender.queued() + self.backlog_bytes
        }
    }

    /// Those who wait for something that only a driver brings.
    #[cfg(feature = "tokio")]
    pub(crate) fn waiting(&mut self) -> Vec<Waker> {
        let mut woken = std::mem::take(&mut self.opening);
        woken.extend(self.calls.wakers());
        while let Some(waker) = self.room.next() {
            woken.push(waker);
        }
        woken
    }

    pub(super) fn send_reply(&mut self, header: &Header, head: &[u8], body: &mut Vec<u8>) {
        if self.broken {
            return;
        }
        let full = if self.backlog.is_empty() {
            match self.sender.try_send_parts(&marked(header), head, body) {
                Ok(sent) => sent == Sent::Full,
                Err(error) => {
                    self.send_failed(error);
                    return;
                }
            }
        } else {
            true
        };
        if full {
            body.splice(..0, head.iter().copied());
            self.backlog_bytes += body.len();
            self.backlog.push_back((*header, std::mem::take(body)));
        }
    }

    /// Notes that nothing can be sent any more. The connection ends when the reader has read what is left.
    fn send_failed(&mut self, error: transports::Error) -> Error {
        if error.kind() != transports::ErrorKind::TooLarge {
            self.set_broken();
        }
        Error::from(error)
    }

    fn set_broken(&mut self) {
        self.broken = true;
        self.backlog.clear();
        self.backlog_bytes = 0;
    }

    /// Takes the core's events, and gives the wakers of those whom they concern.
    pub(crate) fn settle(&mut self) -> Vec<Waker> {
        let mut woken = Vec::new();
        while let Some(event) = self.core.poll_event() {
            match event {
                Event::Expired(key) => woken.extend(self.calls.end_call(key, Ended::Expired)),
                Event::Failed(key) => {
                    let may_have_run = self.core.may_have_run(key);
                    woken.extend(self.calls.end_call(key, Ended::Lost { may_have_run }));
                }
                Event::CancelServing { id, .. } => {
                    if let Some(running) = self.running.remove(&id) {
                        running.cancel_into(&mut woken);
                    }
                }
                Event::Closed => {
                    // Calls have been told of already: those that still wait are pings.
                    woken.extend(self.calls.end_all());
                    while let Some(waker) = self.room.next() {
                        woken.push(waker);
                    }
                    woken.append(&mut self.opening);
                    woken.append(&mut self.sending);
                    for (_, running) in self.running.drain() {
                        running.cancel_into(&mut woken);
                    }
                    #[cfg(feature = "tokio")]
                    self.drivers.wake();
                }
            }
        }
        woken
    }

    /// Sends a ping, if not too many are unanswered.
    pub(crate) fn ping(&mut self, link: &Link) -> Result<Pending, Error> {
        // Unlike any id of a call, of which even the last is smaller.
        let token = u64::MAX - self.pings;
        self.pings += 1;
        if self.core.ping(token) {
            let pending = self.calls.enter_ping(token);
            self.push(link);
            return Ok(pending);
        }
        Err(match self.core.state() {
            State::Closed => self.closed_error(link, Outcome::NotSent),
            _ => Error::new(
                ErrorKind::Busy,
                "too many pings are unanswered on this connection",
            ),
        })
    }

    /// Why nothing can be done on this connection any more.
    pub(crate) fn closed_error(&self, link: &Link, outcome: Outcome) -> Error {
        match self.core.close_reason() {
            Some(reason) if reason.by == ClosedBy::Peer => {
                let name = link.peer_name();
                let sentence = match reason.sentence.as_str() {
                    "" => format!("{name} closed the connection"),
                    sentence => format!("{name} closed the connection: {sentence}"),
                };
                Error::new(reason.kind, sentence).with_outcome(outcome)
            }
            Some(reason) => reason.to_error(outcome),
            None => Error::new(ErrorKind::Closed, "the connection is closed").with_outcome(outcome),
        }
    }

    pub(crate) fn codec(&self) -> Codec {
        Codec::from_id(self.core.codec_id()).unwrap_or_default()
    }
}

/// Tells the port which messages may pass one another.
fn marked(header: &Header) -> Header {
    let unordered = if Kind::is_unordered(header) {
        Header::UNORDERED
    } else {
        0
    };
    Header {
        flags: header.flags | unordered,
        ..*header
    }
}
