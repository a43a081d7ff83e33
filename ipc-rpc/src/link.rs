//! A connection in use: the protocol core, the port that carries it, and those who wait for something from it.
//!
//! Two locks, never held while user code runs, taken in this order when both are needed: `inbox` (whoever holds it is
//! the reader), then `out` (core, sender, and the table of waiting calls). Starting a call and putting it on the wire
//! happen under one hold of `out`, so ids leave in the order in which they were given.

use std::collections::{HashMap, VecDeque};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Waker;
use std::time::Instant;

use transports::{Endpoint, Flushed, Header, Interrupt, Message, Peer, Port, Received, Receiver, Sender, Sent};

use crate::connection::{self, CallKey, ClosedBy, Config, Connection, Event, ReplyStatus, Role, StartError, State};
use crate::context::Cancellation;
use crate::sync::{lock, try_lock};
use crate::waitlist::WaitList;
use crate::{Codec, Error, ErrorKind, Limits, Outcome};

/// Encoding buffers above this are not kept for the next call.
const KEPT_CAPACITY: usize = 4 << 20;

/// Encoding buffers that are kept.
const KEPT_BUFFERS: usize = 64;

pub(crate) struct Link {
    pub(crate) id: u64,
    pub(crate) peer: Peer,
    pub(crate) endpoint: Endpoint,
    pub(crate) limits: Limits,
    /// We connected; the peer is the server.
    connecting: bool,
    pub(crate) interrupt: Interrupt,
    pub(crate) out: Mutex<Out>,
    pub(crate) inbox: Mutex<Inbox>,
    buffers: Mutex<Vec<Vec<u8>>>,
}

/// The receiving half, with the buffer that it fills.
pub(crate) struct Inbox {
    pub(crate) receiver: Box<dyn Receiver>,
    pub(crate) message: Message,
    /// Since when a message is there in part.
    begun: Option<Instant>,
    /// Nothing more will come.
    pub(crate) ended: bool,
}

impl Inbox {
    /// Takes in what is there, one message after the other. `each` is told of what the link cannot settle by itself, and
    /// stops it by breaking. True: that was all, until there is news from the port.
    pub(crate) fn receive(
        &mut self,
        link: &Link,
        mut each: impl FnMut(Arrived, &mut Vec<u8>) -> ControlFlow<()>,
    ) -> bool {
        let now = Instant::now();
        loop {
            match self.receiver.try_recv(&mut self.message) {
                Ok(Received::Message) => self.begun = None,
                Ok(Received::Empty) => {
                    if self.receiver.in_progress() {
                        self.begun.get_or_insert(now);
                    }
                    return self.receiver.drained();
                }
                Ok(Received::Closed) => {
                    self.ended = true;
                    let name = link.peer_name();
                    let sentence = format!("{name} has ended, or closed the connection without a word");
                    link.handle_end(&Error::new(ErrorKind::PeerDied, sentence));
                    return true;
                }
                Err(error) => {
                    self.ended = true;
                    link.handle_end(&error.into());
                    return true;
                }
            }
            let arrived = link.take_in(&mut self.message, now);
            if each(arrived, &mut self.message.body).is_break() {
                return false;
            }
            if self.receiver.drained() && !self.receiver.ready() {
                if self.receiver.in_progress() {
                    self.begun = Some(now);
                }
                return true;
            }
        }
    }

    /// Until when the rest of a message must have arrived.
    pub(crate) fn late(&self, link: &Link) -> Option<Instant> {
        self.begun.and_then(|begun| begun.checked_add(link.limits.message))
    }
}

/// Everything else of a connection.
pub(crate) struct Out {
    pub(crate) core: Connection,
    pub(crate) sender: Box<dyn Sender>,
    /// The port failed to send; what the peer sent before is still to be read.
    broken: bool,
    /// Our calls, until their callers have taken the result: longer than the core knows them.
    calls: Vec<Slot>,
    /// Pings ever sent.
    pings: u64,
    /// Places in `calls` that are free.
    free: Vec<usize>,
    /// The place in `calls` of the call that has a slot of the core.
    routes: Vec<usize>,
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
    /// What the connection counts towards what its user may have queued.
    pub(crate) share: Option<Share>,
    /// Some moment in the past: calls without a deadline need no better one.
    created: Instant,
    /// Body of a control message on its way out.
    control: Vec<u8>,
    #[cfg(feature = "tokio")]
    pub(crate) drivers: crate::driver::Drivers,
}

/// One of our calls or pings, as its caller refers to it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pending {
    /// None for a ping.
    key: Option<CallKey>,
    place: usize,
}

#[derive(Default)]
struct Slot {
    id: u64,
    state: SlotState,
}

#[derive(Default)]
enum SlotState {
    #[default]
    Free,
    Waiting(Waker),
    Ended(Ended),
}

/// How one of our calls ended.
pub(crate) enum Ended {
    /// The peer answered; the body is the value, or the sentence of the failure.
    Reply { status: ReplyStatus, extra: u64, body: Vec<u8> },
    /// Our own clock ended it.
    Expired,
    /// The peer answered a ping.
    Pong,
    /// The connection ended first.
    Lost,
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
pub(crate) struct Request {
    pub(crate) ordinal: u64,
    pub(crate) one_way: bool,
    pub(crate) deadline: Option<Instant>,
}

/// What came in and is not dealt with yet.
pub(crate) enum Arrived {
    /// Nothing that concerns the reader.
    Nothing,
    /// A call of the peer; its body is still in the message.
    Request { id: u64, ordinal: u64, deadline: Option<Instant>, one_way: bool },
    /// A client asks to be let in.
    #[cfg_attr(not(feature = "tokio"), expect(dead_code, reason = "only servers are asked"))]
    Connect { blob: Vec<u8> },
}

impl Link {
    pub(crate) fn new(port: Port, config: Config, limits: Limits) -> Result<Arc<Self>, Error> {
        static NEXT_ID: AtomicU64 = AtomicU64::new(1);
        let created = Instant::now();
        let connecting = config.role != Role::Accepting;
        let core = Connection::new(config, created)?;
        Ok(Arc::new(Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            peer: port.peer,
            endpoint: port.endpoint,
            limits,
            connecting,
            interrupt: port.receiver.interrupt(),
            out: Mutex::new(Out {
                core,
                sender: port.sender,
                broken: false,
                calls: Vec::new(),
                pings: 0,
                free: Vec::new(),
                routes: Vec::new(),
                room: WaitList::default(),
                followers: WaitList::default(),
                opening: Vec::new(),
                running: HashMap::new(),
                backlog: VecDeque::new(),
                backlog_bytes: 0,
                share: None,
                created,
                control: Vec::new(),
                #[cfg(feature = "tokio")]
                drivers: crate::driver::Drivers::default(),
            }),
            inbox: Mutex::new(Inbox { receiver: port.receiver, message: Message::default(), begun: None, ended: false }),
            buffers: Mutex::new(Vec::new()),
        }))
    }

    pub(crate) fn out(&self) -> std::sync::MutexGuard<'_, Out> {
        lock(&self.out)
    }

    /// The reader's place, if nobody has it.
    pub(crate) fn try_inbox(&self) -> Option<std::sync::MutexGuard<'_, Inbox>> {
        try_lock(&self.inbox)
    }

    /// An empty buffer to encode into.
    pub(crate) fn buffer(&self) -> Vec<u8> {
        lock(&self.buffers).pop().unwrap_or_default()
    }

    /// Takes a buffer back for the next call.
    pub(crate) fn recycle(&self, mut buffer: Vec<u8>) {
        if buffer.capacity() == 0 || buffer.capacity() > KEPT_CAPACITY {
            return;
        }
        buffer.clear();
        let mut buffers = lock(&self.buffers);
        if buffers.len() < KEPT_BUFFERS {
            buffers.push(buffer);
        }
    }

    /// Hands one received message to the core, and a reply to the call that waits for it.
    ///
    /// The reply's body is swapped out of `message`, with a recycled buffer left in its place.
    pub(crate) fn take_in(&self, message: &mut Message, now: Instant) -> Arrived {
        let mut out = self.out();
        // On an error the core has closed, with a reason that `transmit` sends.
        let incoming = match out.core.handle_message(now, &message.header, &message.body) {
            Ok(incoming) => incoming,
            Err(_) => connection::Incoming::Closed,
        };
        match incoming {
            connection::Incoming::Reply { key, status, extra } => {
                let mut body = self.buffer();
                std::mem::swap(&mut body, &mut message.body);
                let waker = out.end_call(key, Ended::Reply { status, extra, body });
                let next = out.room.next();
                drop(out);
                for waker in waker.into_iter().chain(next) {
                    waker.wake();
                }
                Arrived::Nothing
            }
            connection::Incoming::Request { id, ordinal, deadline, one_way } => {
                Arrived::Request { id, ordinal, deadline, one_way }
            }
            connection::Incoming::Connect { blob } => Arrived::Connect { blob },
            connection::Incoming::Cancel { id } => {
                if let Some(running) = out.running.remove(&id) {
                    drop(out);
                    running.cancel();
                }
                Arrived::Nothing
            }
            connection::Incoming::Opened => {
                let woken = std::mem::take(&mut out.opening);
                drop(out);
                wake_all(woken);
                Arrived::Nothing
            }
            connection::Incoming::Closed => {
                let woken = out.settle();
                drop(out);
                wake_all(woken);
                Arrived::Nothing
            }
            connection::Incoming::Pong { token } => {
                let place = out.calls.iter().position(|slot| slot.id == token);
                let waker = place.and_then(|place| out.end_place(place, Ended::Pong));
                drop(out);
                wake_all(waker);
                Arrived::Nothing
            }
            connection::Incoming::Nothing | connection::Incoming::Draining => Arrived::Nothing,
        }
    }

    /// The stream ended, or the port failed while receiving.
    pub(crate) fn handle_end(&self, error: &Error) {
        let mut out = self.out();
        out.core.handle_end(error);
        let woken = out.settle();
        drop(out);
        wake_all(woken);
    }

    /// Runs what is due.
    pub(crate) fn handle_timeout(&self, now: Instant) {
        let mut out = self.out();
        out.core.handle_timeout(now);
        let woken = out.settle();
        drop(out);
        wake_all(woken);
    }

    /// Closes because the rest of a message does not come.
    pub(crate) fn close_late(&self) {
        let sentence = format!("a message took longer than {:?} to arrive", self.limits.message);
        self.close(ErrorKind::Deadline, &sentence);
    }

    /// Closes from this side, for a reason that the peer is told, and sends what can be sent at once.
    pub(crate) fn close(&self, kind: ErrorKind, sentence: &str) {
        let mut out = self.out();
        out.core.close(kind, sentence);
        out.transmit();
        let woken = out.settle();
        drop(out);
        wake_all(woken);
        self.interrupt.raise();
    }

    /// Forgets one of our calls, and tells the peer.
    pub(crate) fn cancel(&self, call: Pending) {
        let mut out = self.out();
        if let Some(Ended::Reply { body, .. }) = out.release(call) {
            self.recycle(body);
        }
        if let Some(key) = call.key {
            out.core.cancel_call(key);
        }
        out.transmit();
        let next = out.room.next();
        drop(out);
        wake_all(next);
    }

    /// Answers one of the peer's calls, unless it was cancelled meanwhile. `flush`: nothing else follows at once.
    pub(crate) fn answer(&self, id: u64, status: ReplyStatus, extra: u64, body: &mut Vec<u8>, flush: bool) {
        let mut out = self.out();
        if let Some(header) = out.core.finish(id, status, extra) {
            out.send_reply(&header, body);
            if flush {
                out.flush();
            }
        }
    }

    /// Notes that a call of the peer has ended to which no answer is due: a one-way call, or one that was cancelled.
    #[cfg(feature = "tokio")]
    pub(crate) fn finish_unanswered(&self, id: u64) {
        let answer = self.out().core.finish(id, ReplyStatus::Ok, 0);
        debug_assert!(answer.is_none());
    }

    /// Lets the client in.
    #[cfg(feature = "tokio")]
    pub(crate) fn accept(&self) {
        self.out().core.accept();
    }

    /// Keeps the client out.
    #[cfg(feature = "tokio")]
    pub(crate) fn reject(&self, kind: ErrorKind, sentence: &str) {
        self.out().core.reject(kind, sentence);
    }

    /// Tells the peer that the end is near, and ends when its calls have ended, or at `until`.
    #[cfg(feature = "tokio")]
    pub(crate) fn drain(&self, until: Instant) {
        let mut out = self.out();
        out.core.drain(until);
        out.drivers.wake();
    }

    /// Gives large buffers back.
    #[cfg(feature = "tokio")]
    pub(crate) fn shrink(&self, capacity: usize) {
        lock(&self.buffers).retain(|buffer| buffer.capacity() <= capacity);
    }

    #[cfg(feature = "tokio")]
    pub(crate) fn source(&self) -> Result<transports::reactor::Source, transports::Error> {
        lock(&self.inbox).receiver.source()
    }

    #[cfg(feature = "tokio")]
    pub(crate) fn is_connecting(&self) -> bool {
        self.connecting
    }

    /// The other side, as messages name it.
    pub(crate) fn peer_name(&self) -> String {
        let pid = self.peer.pid().map_or_else(String::new, |pid| format!(" (pid {pid})"));
        if self.connecting {
            format!("the server of {:?}{pid}", self.endpoint.to_string())
        } else {
            format!("the client{pid}")
        }
    }
}

impl Out {
    /// Starts a call and gives it to the port. On anything but `Wait`, `body` may be reused.
    pub(crate) fn start(&mut self, link: &Link, request: &Request, body: &mut Vec<u8>) -> Result<Start, Error> {
        if self.broken {
            let sentence = format!("{} is gone; connect again", link.peer_name());
            return Err(Error::new(ErrorKind::PeerDied, sentence));
        }
        if !self.has_room(link) {
            return Ok(Start::Wait);
        }
        let now = if request.deadline.is_some() { Instant::now() } else { self.created };
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
        let sent = self.sender.try_send(&header, body);
        if let Ok(Sent::Accepted) = sent {
            return Ok(key.map_or(Start::Posted, |key| Start::Sent(self.enter(key))));
        }
        if let Some(key) = key {
            self.core.withdraw_call(key);
        }
        match sent {
            Ok(_) => Ok(Start::Wait),
            Err(error) => Err(self.send_failed(error)),
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

    /// How a call ended, once; until then `waker` is kept to be told.
    pub(crate) fn take_ended(&mut self, call: Pending, waker: &Waker) -> Option<Ended> {
        match &mut self.calls[call.place].state {
            SlotState::Waiting(known) => {
                if !known.will_wake(waker) {
                    known.clone_from(waker);
                }
                None
            }
            _ => self.release(call),
        }
    }

    /// Sends what the core has to say and what waits for room, then flushes.
    pub(crate) fn transmit(&mut self) -> Flushed {
        while let Some(header) = self.core.poll_transmit(&mut self.control) {
            let mut body = std::mem::take(&mut self.control);
            self.send_reply(&header, &mut body);
            self.control = body;
        }
        self.flush()
    }

    /// Moves queued bytes on.
    pub(crate) fn flush(&mut self) -> Flushed {
        let flushed = self.flush_port();
        if let Some(share) = &mut self.share {
            let queued = if self.broken { 0 } else { self.sender.queued() + self.backlog_bytes };
            share.set(queued);
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
                match self.sender.try_send(&header, &mut body) {
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
            || self.share.as_ref().is_some_and(|share| share.own > 0 && share.is_used_up(limits))
    }

    /// Bytes on their way out.
    fn queued(&self) -> usize {
        if self.broken { 0 } else { self.sender.queued() + self.backlog_bytes }
    }

    /// Those who wait for something that only a driver brings.
    #[cfg(feature = "tokio")]
    pub(crate) fn waiting(&mut self) -> Vec<Waker> {
        let mut woken = std::mem::take(&mut self.opening);
        woken.extend(self.calls.iter().filter_map(|slot| match &slot.state {
            SlotState::Waiting(waker) => Some(waker.clone()),
            _ => None,
        }));
        while let Some(waker) = self.room.next() {
            woken.push(waker);
        }
        woken
    }

    fn send_reply(&mut self, header: &Header, body: &mut Vec<u8>) {
        if self.broken {
            return;
        }
        let full = if self.backlog.is_empty() {
            match self.sender.try_send(header, body) {
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
            self.backlog_bytes += body.len();
            self.backlog.push_back((*header, std::mem::take(body)));
        }
    }

    /// Notes that nothing can be sent any more. The connection ends when the reader has read what is left.
    fn send_failed(&mut self, error: transports::Error) -> Error {
        if error.kind() != transports::ErrorKind::TooLarge {
            self.broken = true;
            self.backlog.clear();
            self.backlog_bytes = 0;
        }
        Error::from(error)
    }

    /// Takes the core's events, and gives the wakers of those whom they concern.
    pub(crate) fn settle(&mut self) -> Vec<Waker> {
        let mut woken = Vec::new();
        while let Some(event) = self.core.poll_event() {
            match event {
                Event::Expired(key) => woken.extend(self.end_call(key, Ended::Expired)),
                Event::Failed(key) => woken.extend(self.end_call(key, Ended::Lost)),
                Event::CancelServing { id, .. } => {
                    if let Some(running) = self.running.remove(&id) {
                        running.cancel();
                    }
                }
                Event::Closed => {
                    // Of those who still wait all calls have been told.
                    for place in 0..self.calls.len() {
                        woken.extend(self.end_place(place, Ended::Lost));
                    }
                    while let Some(waker) = self.room.next() {
                        woken.push(waker);
                    }
                    woken.append(&mut self.opening);
                    for (_, running) in self.running.drain() {
                        running.cancel();
                    }
                    #[cfg(feature = "tokio")]
                    self.drivers.wake();
                }
            }
        }
        woken
    }

    /// Gives a call that was just sent a place to wait in.
    fn enter(&mut self, key: CallKey) -> Pending {
        let place = self.take_place(key.id());
        if self.routes.len() <= key.slot() {
            self.routes.resize(key.slot() + 1, 0);
        }
        self.routes[key.slot()] = place;
        Pending { key: Some(key), place }
    }

    /// Sends a ping, if not too many are unanswered.
    pub(crate) fn ping(&mut self, link: &Link) -> Result<Pending, Error> {
        // Unlike any id of a call, of which even the last is smaller.
        let token = u64::MAX - self.pings;
        self.pings += 1;
        let place = self.take_place(token);
        if self.core.ping(token) {
            self.flush_call(link, true);
            return Ok(Pending { key: None, place });
        }
        self.release(Pending { key: None, place });
        Err(match self.core.state() {
            State::Closed => self.closed_error(link, Outcome::NotSent),
            _ => Error::new(ErrorKind::Busy, "too many pings are unanswered on this connection"),
        })
    }

    fn take_place(&mut self, id: u64) -> usize {
        let slot = Slot { id, state: SlotState::Waiting(Waker::noop().clone()) };
        match self.free.pop() {
            Some(place) => {
                self.calls[place] = slot;
                place
            }
            None => {
                self.calls.push(slot);
                self.calls.len() - 1
            }
        }
    }

    /// Keeps how a call ended, and gives the waker of its caller.
    fn end_call(&mut self, key: CallKey, ended: Ended) -> Option<Waker> {
        let place = *self.routes.get(key.slot())?;
        self.calls.get(place).filter(|slot| slot.id == key.id())?;
        self.end_place(place, ended)
    }

    fn end_place(&mut self, place: usize, ended: Ended) -> Option<Waker> {
        let state = &mut self.calls.get_mut(place)?.state;
        match std::mem::take(state) {
            SlotState::Waiting(waker) => {
                *state = SlotState::Ended(ended);
                Some(waker)
            }
            other => {
                *state = other;
                None
            }
        }
    }

    /// Frees a call's place.
    fn release(&mut self, call: Pending) -> Option<Ended> {
        self.free.push(call.place);
        match std::mem::take(&mut self.calls[call.place]).state {
            SlotState::Ended(ended) => Some(ended),
            _ => None,
        }
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

/// What one connection counts towards the bytes that its user may leave unread, over all connections to a server.
pub(crate) struct Share {
    total: Arc<AtomicUsize>,
    own: usize,
}

impl Share {
    #[cfg(feature = "tokio")]
    pub(crate) fn of(total: Arc<AtomicUsize>) -> Self {
        Self { total, own: 0 }
    }

    #[cfg(feature = "tokio")]
    fn is_used_up(&self, limits: &Limits) -> bool {
        self.total.load(Ordering::Relaxed) > limits.max_queued_per_user
    }

    fn set(&mut self, own: usize) {
        if own > self.own {
            self.total.fetch_add(own - self.own, Ordering::Relaxed);
        } else if own < self.own {
            self.total.fetch_sub(self.own - own, Ordering::Relaxed);
        }
        self.own = own;
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.set(0);
    }
}

pub(crate) fn wake_all(wakers: impl IntoIterator<Item = Waker>) {
    for waker in wakers {
        waker.wake();
    }
}
