//! The sending half of a connection, with the protocol core and those who wait.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

use transports::{Block, Flushed, Header, Pieces, Sender, Sent};

use super::places::{Ended, Pending, Places};
use super::share::Share;
use super::{Link, wake_all};
use crate::codec::Size;
use crate::connection::{
    CallKey, ClosedBy, Connection, DIRECT, Event, Kind, PIECES, PIECES_IN_MEMORY, StartError, State,
};
use crate::context::Cancellation;
use crate::section::Attached;
use crate::traffic::Counters;
use crate::waitlist::WaitList;
use crate::{Codec, Error, ErrorKind, Limits, Outcome};

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
    backlog: VecDeque<Waiting>,
    backlog_bytes: usize,
    /// Threads that wait until everything has been sent.
    sending: Vec<Waker>,
    /// Those who wait for something that the connection's end takes away.
    until_end: Vec<Waker>,
    /// Callers who keep what is left of their arguments, and wait until there is room for more.
    lenders: Vec<Waker>,
    /// How many keep some.
    lending: usize,
    /// What the connection counts towards what its user may have queued.
    pub(crate) share: Option<Share>,
    /// Some moment in the past: calls without a deadline need no better one.
    created: Instant,
    /// Body of a control message on its way out.
    control: Vec<u8>,
    counters: Arc<Counters>,
    #[cfg(feature = "tokio")]
    pub(crate) drivers: super::drivers::Drivers,
}

/// A message that found the port full.
struct Waiting {
    header: Header,
    body: Vec<u8>,
    attached: Attached,
}

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
    pub(super) fn new(
        core: Connection,
        sender: Box<dyn Sender>,
        created: Instant,
        counters: Arc<Counters>,
    ) -> Self {
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
            until_end: Vec::new(),
            lenders: Vec::new(),
            lending: 0,
            share: None,
            created,
            control: Vec::new(),
            counters,
            #[cfg(feature = "tokio")]
            drivers: super::drivers::Drivers::default(),
        }
    }

    /// Starts a call and gives it to the port. On anything but `Wait`, `body` may be reused, and nothing is attached any more.
    pub(crate) fn start(
        &mut self,
        link: &Link,
        request: &Request,
        body: &mut Vec<u8>,
        attached: &mut Attached,
    ) -> Result<Start, Error> {
        let Some((key, mut header)) = self.open(link, request)? else {
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
            Err(error) => Err(self.refused(link, error)),
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
        let Some((key, mut header)) = self.open(link, request)? else {
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
                Err(self.refused(link, error))
            }
        }
    }

    /// Hands on a piece of what a caller keeps. The bytes that went; none, if there is no room.
    pub(crate) fn push_lent(&mut self, number: usize, rest: [&[u8]; 2]) -> Result<usize, Error> {
        if self.broken {
            // Whoever reads learns of the end.
            return Ok(0);
        }
        self.sender
            .push_lent(number, rest)
            .map_err(|error| self.send_failed(error))
    }

    /// What this side has sent so far.
    #[cfg(feature = "tracing")]
    pub(crate) fn sent(&self) -> crate::Tiers {
        self.counters.sent.tiers()
    }

    /// Has `waker` woken when the connection has ended. As long as it has not, who waits says so before each time that it sleeps.
    pub(crate) fn wait_for_end(&mut self, waker: &Waker) {
        // Those who wait no longer left their wakers here: they go when room is needed for others.
        if self.until_end.len() >= 64 && self.until_end.len() == self.until_end.capacity() {
            wake_all(self.until_end.drain(..));
        }
        if !self.until_end.iter().any(|known| known.will_wake(waker)) {
            self.until_end.push(waker.clone());
        }
    }

    /// Whether the connection has ended.
    pub(crate) fn is_closed(&self) -> bool {
        self.core.state() == State::Closed
    }

    /// Has `waker` woken when there may be room for more of what a caller keeps.
    pub(crate) fn wait_to_lend(&mut self, waker: &Waker) {
        if !self.lenders.iter().any(|known| known.will_wake(waker)) {
            self.lenders.push(waker.clone());
        }
    }

    /// A caller keeps nothing any more: all of it went, or the port takes the `rest`.
    pub(crate) fn end_lent(&mut self, number: usize, rest: Option<Vec<u8>>) {
        self.lending -= 1;
        if let Some(rest) = rest {
            self.sender.keep_lent(number, rest);
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

    /// Enters a call with the core, if there is room: its key, unless it is one-way, and its header.
    #[inline]
    fn open(&mut self, link: &Link, request: &Request) -> Result<Option<(Option<CallKey>, Header)>, Error> {
        if self.broken && self.core.state() != State::Closed {
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
            let header = started.map_err(|error| self.start_error(link, error))?;
            return Ok(Some((None, header)));
        }
        match self.core.start_call(now, request.ordinal, request.deadline) {
            Ok((key, header)) => Ok(Some((Some(key), header))),
            Err(StartError::Full) => Ok(None),
            Err(error) => Err(self.start_error(link, error)),
        }
    }

    /// What to say of a call that the port did not take.
    fn refused(&mut self, link: &Link, error: transports::Error) -> Error {
        let error = self.send_failed(error);
        match &link.leash {
            Some(leash) if error.kind() == ErrorKind::PeerDied => {
                Error::new(ErrorKind::PeerDied, leash.why_gone())
            }
            _ => error,
        }
    }

    /// Tells the port what both sides wish, once the peer has told of its wishes.
    pub(super) fn grant_wishes(&mut self) {
        if self.core.both_wish(DIRECT) {
            self.sender.offer_direct();
        }
        if self.core.both_wish(PIECES_IN_MEMORY) {
            self.sender.offer_pieces(Pieces::InMemory);
        } else if self.core.both_wish(PIECES) {
            self.sender.offer_pieces(Pieces::InStream);
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

    /// Whether [`Out::transmit`] would do anything: if not, all that was sent has been handed on by whoever sent it.
    pub(crate) fn has_unsent(&self) -> bool {
        self.core.has_to_say() || self.blocked() || self.has_lenders() || !self.room.is_empty()
    }

    /// Sends what the core has to say and what waits for room, then flushes.
    pub(crate) fn transmit(&mut self) -> Flushed {
        while let Some(header) = self.core.poll_transmit(&mut self.control) {
            let mut body = std::mem::take(&mut self.control);
            self.send_reply(header, &[], &mut body, Attached::default());
            self.control = body;
        }
        self.flush()
    }

    /// As [`Out::transmit`]: whether the connection turned out by that to take no more, for the first time.
    pub(crate) fn transmit_breaks(&mut self) -> bool {
        let was_broken = self.broken;
        self.transmit();
        self.broken && !was_broken
    }

    /// Sends what goes at once, and forgets the rest: the peer reads no more.
    pub(super) fn part(&mut self) {
        self.transmit();
        if self.blocked() {
            self.set_broken();
        }
    }

    /// Moves queued bytes on.
    pub(crate) fn flush(&mut self) -> Flushed {
        let flushed = self.flush_port();
        if !self.sending.is_empty() && !self.blocked() {
            wake_all(self.sending.drain(..));
        }
        if !self.lenders.is_empty() && self.sender.takes_lent() {
            wake_all(self.lenders.drain(..));
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
            while let Some(mut waiting) = self.backlog.pop_front() {
                self.backlog_bytes -= waiting.body.len();
                let Waiting {
                    header,
                    body,
                    attached,
                } = &mut waiting;
                match self.send_or_refuse(header, &mut &[][..], body, attached) {
                    Ok(Sent::Accepted) => {}
                    Ok(Sent::Full) => {
                        self.backlog_bytes += waiting.body.len();
                        self.backlog.push_front(waiting);
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

    /// Sees to it that the drivers know of the next deadline, for a call that is going to wait: it has put its request on the wire
    /// by itself, and they may not have run since.
    #[cfg(feature = "tokio")]
    pub(crate) fn look_after_deadlines(&self) {
        if let Some(deadline) = self.core.poll_timeout() {
            self.drivers.wake_for_deadline(deadline);
        }
    }

    /// Sends all there is, and sees to it that somebody sends the rest when there is room.
    pub(crate) fn push(&mut self, link: &Link) {
        if self.transmit() == Flushed::Blocked {
            // Whoever reads now must also wait for space.
            link.interrupt.raise();
            #[cfg(feature = "tokio")]
            self.drivers.wake();
        }
    }

    /// Whether something waits for the peer to make room.
    pub(crate) fn blocked(&self) -> bool {
        !self.broken && (self.sender.waits() || !self.backlog.is_empty())
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
    pub(crate) fn congested(&self, limits: &Limits) -> bool {
        self.core.one_ways() >= limits.max_in_flight as usize
            || self.queued() > limits.max_queued
            || self
                .share
                .as_ref()
                .is_some_and(|share| share.is_above(limits.max_queued_per_user))
    }

    /// Bytes on their way out.
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

    pub(super) fn send_reply(
        &mut self,
        mut header: Header,
        mut head: &[u8],
        body: &mut Vec<u8>,
        mut attached: Attached,
    ) {
        if self.broken {
            return;
        }
        let full = if self.backlog.is_empty() {
            match self.send_or_refuse(&mut header, &mut head, body, &mut attached) {
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
            self.backlog.push_back(Waiting {
                header,
                body: std::mem::take(body),
                attached,
            });
        }
    }

    /// Gives a message to the port. If its sections cannot go beside it, it goes with their bytes inside.
    ///
    /// The header is marked where it is: a copy, of bytes that were just written one by one, would have to wait for them.
    fn send(
        &mut self,
        header: &mut Header,
        head: &[u8],
        body: &mut Vec<u8>,
        attached: &mut Attached,
    ) -> Result<Sent, transports::Error> {
        mark(header);
        if !attached.is_empty() {
            let length = head.len() + body.len();
            match self.sender.try_send_with(header, head, body, attached.blocks()) {
                Ok(Sent::Accepted) => {
                    let attached = std::mem::take(attached);
                    let lengths = attached.blocks().iter().map(|block: &Block| block.len());
                    self.counters.sent.count(length, lengths);
                    return Ok(Sent::Accepted);
                }
                Err(error) if is_about_sections(&error) => self.put_in(body, attached, &error)?,
                other => return other,
            }
        }
        let length = head.len() + body.len();
        let sent = if head.is_empty() {
            self.sender.try_send(header, body)
        } else {
            self.sender.try_send_parts(header, head, body)
        };
        match sent {
            Ok(Sent::Accepted) => {
                self.counters.sent.count(length, std::iter::empty());
                // Said anew: to copy what the port said, the processor would wait until all that it wrote before has left for
                // memory, the record of this message among it, whose line is with the other side.
                Ok(Sent::Accepted)
            }
            other => other,
        }
    }

    /// Puts the bytes of sections into the body, since they cannot go beside it, for the reason `why`.
    #[cold]
    fn put_in(
        &self,
        body: &mut Vec<u8>,
        attached: &mut Attached,
        why: &transports::Error,
    ) -> Result<(), transports::Error> {
        if attached.blocks().iter().any(Block::is_common) {
            // Its bytes would be a copy, which nobody else writes.
            let sentence = format!("memory that both sides write cannot be passed on: {why}");
            return Err(transports::Error::new(
                transports::ErrorKind::Unsupported,
                sentence,
            ));
        }
        let refused = |sentence: String| transports::Error::new(transports::ErrorKind::TooLarge, sentence);
        let length = attached.length_inside(body.len());
        let limit = self.core.max_body_to_send() as usize;
        if length > limit {
            // The other side would end the connection.
            return Err(refused(format!(
                "its sections cannot be passed on ({why}), and with them inside, the message is {}, above the limit of {}",
                Size(length),
                Size(limit)
            )));
        }
        attached.put_into(body).map_err(|error| {
            refused(format!(
                "its sections cannot be passed on ({why}), and to put them into the message: {error}"
            ))
        })
    }

    /// As [`Out::send`], but a reply that cannot be sent becomes an error for the caller, who waits.
    fn send_or_refuse(
        &mut self,
        header: &mut Header,
        head: &mut &[u8],
        body: &mut Vec<u8>,
        attached: &mut Attached,
    ) -> Result<Sent, transports::Error> {
        match self.send(header, head, body, attached) {
            Err(error)
                if is_about_this_message(&error) && Kind::from_code(header.kind) == Some(Kind::Reply) =>
            {
                let kind = Error::from_transport_kind(error.kind());
                *header = self.core.failed_reply(header.id, kind);
                *head = &[];
                *attached = Attached::default();
                *body = format!("the result cannot be sent: {error}").into_bytes();
                self.send(header, head, body, attached)
            }
            other => other,
        }
    }

    /// Notes that nothing can be sent any more. The connection ends when the reader has read what is left.
    fn send_failed(&mut self, error: transports::Error) -> Error {
        if !is_about_this_message(&error) {
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
                    woken.append(&mut self.until_end);
                    woken.append(&mut self.lenders);
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

/// Whether the port has taken nothing and is still usable: the sections of a message are at fault.
fn is_about_sections(error: &transports::Error) -> bool {
    matches!(
        error.kind(),
        transports::ErrorKind::Unsupported | transports::ErrorKind::Resource
    )
}

/// Whether the port took nothing, and takes other messages as before.
fn is_about_this_message(error: &transports::Error) -> bool {
    matches!(
        error.kind(),
        transports::ErrorKind::TooLarge | transports::ErrorKind::Unsupported
    )
}

/// Tells the port which messages may pass one another.
fn mark(header: &mut Header) {
    if Kind::is_unordered(header) {
        header.flags |= Header::UNORDERED;
    }
}
