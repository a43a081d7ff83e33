//! A connection in use: the protocol core, the port that carries it, and those who wait for something from it.
//!
//! Two locks, never held while user code runs, taken in this order when both are needed: `inbox` (whoever holds it is
//! the reader), then `out` (core, sender, and the table of waiting calls). Starting a call and putting it on the wire
//! happen under one hold of `out`, so ids leave in the order in which they were given.

#[cfg(feature = "tokio")]
mod drivers;
mod inbox;
mod out;
mod parcel;
mod places;
mod share;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Waker;
use std::time::{Duration, Instant};

use transports::{Birthplace, Carrier, Endpoint, Interrupt, Message, Peer, Pool, Port};

pub(crate) use inbox::{Arrived, Inbox};
pub(crate) use out::{Out, Request, Start, StartLent};
#[cfg(feature = "tokio")]
pub(crate) use parcel::IDLE_CAPACITY;
pub(crate) use parcel::Parcel;
use parcel::Parcels;
pub(crate) use places::{Ended, Pending};
#[cfg(feature = "tokio")]
pub(crate) use share::Share;

use crate::child::Leash;
use crate::connection::{self, Config, Connection, ReplyStatus, Role, State};
use crate::nudge::Nudge;
use crate::section::{Attached, Lender};
use crate::sync::{lock, try_lock};
use crate::traffic::Counters;
use crate::{Codec, Error, ErrorKind, Limits, Outcome, Traffic};

/// What a peer is told that connects to a client.
pub(crate) const NO_SERVER: &str = "a client accepts no connections";

/// What is wished of the other side of a port.
pub(crate) fn wishes(port: &Port) -> u32 {
    let wished = [
        (port.endpoint.is_direct(), connection::DIRECT),
        (port.carrier.takes_pieces(), connection::PIECES),
        (port.takes_pieces_in_memory(), connection::PIECES_IN_MEMORY),
    ];
    wished
        .iter()
        .filter(|(is_wished, _)| *is_wished)
        .fold(0, |wishes, (_, wish)| wishes | wish)
}

pub(crate) struct Link {
    pub(crate) id: u64,
    pub(crate) peer: Peer,
    pub(crate) endpoint: Endpoint,
    pub(crate) carrier: Carrier,
    pub(crate) limits: Limits,
    /// The memory that can be sent, if the port carries any.
    pool: Option<Pool>,
    lender: Option<Lender>,
    pub(crate) nudge: Nudge,
    pub(crate) counters: Arc<Counters>,
    /// The peer is a child of ours, which ends with the connection.
    leash: Option<Leash>,
    /// We connected; the peer is the server.
    connecting: bool,
    interrupt: Interrupt,
    birthplace: Birthplace,
    /// Apart from the inbox, which a blocking caller may hold for long.
    #[cfg(feature = "tokio")]
    watch: transports::reactor::Watch,
    out: Mutex<Out>,
    inbox: Mutex<Inbox>,
    /// Somebody wants to be told when the reader leaves: a follower, or a driver that found somebody else reading. Set and
    /// cleared under the lock of `out`.
    reader_awaited: AtomicBool,
    parcels: Parcels,
    /// Some buffer is larger than an idle connection may keep.
    #[cfg(feature = "tokio")]
    large: AtomicBool,
}

impl Link {
    /// A connection over `port`. If that leads to a child of ours, the child has `grace` to end after the connection.
    pub(crate) fn new(
        port: Port,
        config: Config,
        limits: Limits,
        grace: Duration,
    ) -> Result<Arc<Self>, Error> {
        static NEXT_ID: AtomicU64 = AtomicU64::new(1);
        let created = Instant::now();
        let connecting = config.role != Role::Accepting;
        let leash = port.peer.child().map(|child| Leash::new(child.clone(), grace));
        let core = Connection::new(config, created)?;
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        let counters = Arc::new(Counters::default());
        let lender = port.pool.clone().map(|pool| {
            pool.trim_when_idle();
            Lender::new(id, pool).from(port.endpoint.sections_threshold())
        });
        let link = Arc::new(Self {
            id,
            peer: port.peer,
            endpoint: port.endpoint,
            carrier: port.carrier,
            pool: port.pool,
            lender,
            nudge: Nudge::default(),
            counters: counters.clone(),
            limits,
            leash,
            connecting,
            interrupt: port.receiver.interrupt(),
            birthplace: Birthplace::here(),
            #[cfg(feature = "tokio")]
            watch: port.receiver.watch(),
            out: Mutex::new(Out::new(core, port.sender, created, counters)),
            inbox: Mutex::new(Inbox::new(port.receiver)),
            reader_awaited: AtomicBool::new(false),
            parcels: Parcels::default(),
            #[cfg(feature = "tokio")]
            large: AtomicBool::new(false),
        });
        if let Some(pool) = &link.pool {
            let weak = Arc::downgrade(&link);
            pool.on_unsent(Box::new(move || {
                if let Some(link) = weak.upgrade() {
                    link.tell_of_memory();
                }
            }));
        }
        Ok(link)
    }

    /// Whether this process made the connection. To be asked before anything else, also before a lock is taken: in a
    /// fork, another thread may have held it that does not exist there.
    #[inline]
    pub(crate) fn is_ours(&self) -> bool {
        self.birthplace.is_here()
    }

    /// The error of whoever would use it in a fork of its process.
    #[inline]
    pub(crate) fn check_ours(&self) -> Result<(), Error> {
        self.birthplace
            .check()
            .map_err(|error| Error::from(error).with_outcome(Outcome::NotSent))
    }

    pub(crate) fn out(&self) -> MutexGuard<'_, Out> {
        lock(&self.out)
    }

    /// The reader's place, if nobody has it.
    pub(crate) fn try_inbox(&self) -> Option<MutexGuard<'_, Inbox>> {
        try_lock(&self.inbox)
    }

    /// Notes that somebody wants to be told when the reader leaves, who then tries the inbox once more. Under the lock of `out`.
    pub(crate) fn await_reader(&self) {
        self.reader_awaited.swap(true, Ordering::AcqRel);
    }

    /// Notes that all of them have been told. Under the lock of `out`.
    pub(crate) fn forget_awaited(&self) {
        self.reader_awaited.swap(false, Ordering::AcqRel);
    }

    /// Whether somebody wants to be told, asked by a reader that has left. It costs less than the lock does under which the
    /// answer can be had as well.
    ///
    /// Everybody changes the word, be it to what it was, and nobody only stores to it: of two changes, one comes first and the other
    /// sees it, and what was done before it. If it is this one, the other side sees, too, that the inbox is free.
    pub(crate) fn reader_is_awaited(&self) -> bool {
        self.reader_awaited
            .compare_exchange(false, false, Ordering::AcqRel, Ordering::Acquire)
            .is_err()
    }

    /// There is something to tell the peer of our memory. A driver does that soon; without any, it is done here, unless somebody is just
    /// sending. May be called with locks of this connection held, and does not wait for any.
    fn tell_of_memory(&self) {
        if self.nudge.unsent() {
            return;
        }
        self.nudge.clear_unsent();
        if let Some(mut out) = try_lock(&self.out) {
            out.flush();
        }
    }

    /// Where memory comes from that can be sent, if there is any and messages in `codec` can refer to it.
    pub(crate) fn lender(&self, codec: Codec) -> Option<&Lender> {
        self.lender.as_ref().filter(|_| codec == Codec::Bincode)
    }

    /// What has travelled how.
    pub(crate) fn traffic(&self) -> Traffic {
        self.counters.traffic(self.pool.as_ref())
    }

    #[cfg(feature = "tokio")]
    pub(crate) fn pool(&self) -> Option<&Pool> {
        self.pool.as_ref()
    }

    /// Hands one received message to the core, and a reply to the call that waits for it.
    ///
    /// The reply's body is swapped out of `message`, with the call's own buffer left in its place; sections are taken out.
    pub(crate) fn take_in(&self, message: &mut Message, now: Instant) -> Arrived {
        let arrived = self.settle(message, now);
        // Those that nobody wants go back, now that no lock is held.
        message.sections.clear();
        arrived
    }

    #[inline]
    fn settle(&self, message: &mut Message, now: Instant) -> Arrived {
        self.note_buffer(message.body.capacity());
        let mut out = self.out();
        let (header, body) = (&message.header, &message.body);
        let lengths = message.sections.iter().map(transports::Lease::len);
        self.counters.received.count(body.len(), lengths);
        let handled = if message.begun {
            out.core.handle_rest(now, header, body)
        } else {
            out.core.handle_message(now, header, body)
        };
        // On an error the core has closed, with a reason that `transmit` sends.
        let incoming = handled.unwrap_or(connection::Incoming::Closed);
        match incoming {
            connection::Incoming::Reply { key, status, extra } => {
                let waker = out.calls.deliver(key, |parcel| {
                    self.note_buffer(parcel.body.capacity());
                    std::mem::swap(&mut parcel.body, &mut message.body);
                    std::mem::swap(&mut parcel.sections, &mut message.sections);
                    parcel.status = status;
                    parcel.extra = extra;
                });
                #[cfg(feature = "tokio")]
                if waker.is_some() {
                    out.drivers.note_answer();
                }
                let next = out.next_with_room(self);
                let last = out.core.in_flight() == 0;
                drop(out);
                wake_all(waker);
                wake_all(next);
                if last {
                    Arrived::LastReply
                } else {
                    Arrived::Nothing
                }
            }
            connection::Incoming::Request {
                id,
                ordinal,
                deadline,
                one_way,
            } => Arrived::Request {
                id,
                ordinal,
                deadline,
                one_way,
                sections: std::mem::take(&mut message.sections),
            },
            connection::Incoming::Connect { blob } => Arrived::Connect { blob },
            connection::Incoming::Cancel { id } => {
                let running = out.running.remove(&id);
                drop(out);
                let mut woken = Vec::new();
                if let Some(running) = running {
                    running.cancel_into(&mut woken);
                }
                wake_all(woken);
                Arrived::Nothing
            }
            connection::Incoming::Opened => {
                out.grant_wishes();
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
                let waker = out.calls.end_ping(token);
                drop(out);
                wake_all(waker);
                Arrived::Nothing
            }
            connection::Incoming::Nothing | connection::Incoming::Draining => Arrived::Nothing,
        }
    }

    /// Hands the core the header of a message whose body is on its way.
    pub(crate) fn take_in_begun(&self, message: &Message, now: Instant) {
        let mut out = self.out();
        if out.core.handle_begun(now, &message.header).is_err() {
            let woken = out.settle();
            drop(out);
            wake_all(woken);
        }
    }

    /// The stream ended, or the port failed while receiving.
    pub(crate) fn handle_end(&self, error: &Error) {
        let mut out = self.out();
        out.core.handle_end(error);
        let woken = out.settle();
        drop(out);
        self.release();
        wake_all(woken);
    }

    /// The peer broke a rule of the port's: it is told why, if it can be.
    fn handle_unreadable(&self, error: &Error) {
        let mut out = self.out();
        out.core.handle_unreadable(error);
        out.push(self);
        let woken = out.settle();
        drop(out);
        self.release();
        wake_all(woken);
    }

    /// Why the port has ended: what the system says of a child, else `told`.
    fn why_ended(&self, told: Error) -> Error {
        match &self.leash {
            // A connection that was closed needs no other reason.
            Some(leash) if told.kind() == ErrorKind::PeerDied && self.out().core.state() != State::Closed => {
                Error::new(ErrorKind::PeerDied, leash.why_ended())
            }
            _ => told,
        }
    }

    /// The peer's process, if it is a child of ours.
    pub(crate) fn child(&self) -> Option<&transports::Child> {
        self.leash.as_ref().map(Leash::child)
    }

    /// A child whose connection has ended is to end, too.
    fn release(&self) {
        if let Some(leash) = &self.leash {
            leash.release();
        }
    }

    /// Runs what is due.
    pub(crate) fn handle_timeout(&self, now: Instant) {
        let mut out = self.out();
        out.core.handle_timeout(now);
        if out.core.is_silent() {
            let name = self.peer_name();
            let sentence =
                format!("{name} has stopped answering: it was asked for a sign of life and gave none");
            out.core.close(ErrorKind::PeerDied, &sentence);
            out.part();
        }
        let woken = out.settle();
        drop(out);
        wake_all(woken);
    }

    /// Whether the port may send large bodies from where they are.
    pub(crate) fn lends(&self) -> bool {
        self.carrier.lends()
    }

    /// Ends the sleep of whoever reads.
    pub(crate) fn interrupt(&self) -> Interrupt {
        self.interrupt.clone()
    }

    /// Has whoever reads look for room, too.
    pub(crate) fn call_for_room(&self) {
        self.interrupt.raise();
    }

    /// Closes because the rest of a message does not come.
    pub(crate) fn close_late(&self) {
        let sentence = format!("a message took longer than {:?} to arrive", self.limits.message);
        self.close(ErrorKind::Deadline, &sentence);
    }

    /// Closes from this side, for a reason that the peer is told, and sends what can be sent at once.
    pub(crate) fn close(&self, kind: ErrorKind, sentence: &str) {
        if !self.is_ours() {
            return;
        }
        let mut out = self.out();
        out.core.close(kind, sentence);
        out.push(self);
        let woken = out.settle();
        drop(out);
        self.release();
        wake_all(woken);
        self.interrupt.raise();
    }

    /// Forgets one of our calls, and tells the peer.
    pub(crate) fn cancel(&self, call: Pending) {
        if !self.is_ours() {
            return;
        }
        let mut out = self.out();
        let ended = out.calls.leave(call);
        if let Some(key) = call.key {
            out.core.cancel_call(key);
        }
        out.push(self);
        drop(out);
        if let Some(Ended::Reply(parcel)) = ended {
            self.recycle(parcel);
        }
    }

    /// Answers one of the peer's calls, unless it was cancelled meanwhile. `flush`: nothing else follows at once. Whether the
    /// connection is congested now: see [`Out::congested`].
    pub(crate) fn answer(
        &self,
        id: u64,
        status: ReplyStatus,
        extra: u64,
        body: &mut Vec<u8>,
        flush: bool,
    ) -> bool {
        self.answer_parts(id, status, extra, &[], body, Attached::default(), flush)
    }

    /// The same with a body in two parts, of which `head` is copied, and with sections.
    #[allow(clippy::too_many_arguments, reason = "they are what a reply consists of")]
    pub(crate) fn answer_parts(
        &self,
        id: u64,
        status: ReplyStatus,
        extra: u64,
        head: &[u8],
        body: &mut Vec<u8>,
        attached: Attached,
        flush: bool,
    ) -> bool {
        self.note_buffer(body.capacity());
        let mut out = self.out();
        if let Some(header) = out.core.finish(id, status, extra) {
            out.send_reply(header, head, body, attached);
            if flush {
                out.push(self);
            }
        }
        out.congested(&self.limits)
    }

    /// Sends what there is to send, between two looks at the port. False: there is more to do than that.
    #[cfg(feature = "tokio")]
    pub(crate) fn send_answers(&self) -> bool {
        let mut out = self.out();
        out.transmit();
        let next = out.next_with_room(self);
        let woken = out.settle();
        let open = out.core.state() != State::Closed;
        drop(out);
        wake_all(next);
        wake_all(woken);
        open
    }

    /// Answers a call of the peer on a side that serves nothing.
    pub(crate) fn refuse(&self, id: u64) {
        let mut sentence = b"this side of the connection serves nothing".to_vec();
        self.answer(
            id,
            ReplyStatus::Refused(ErrorKind::UnknownService),
            0,
            &mut sentence,
            true,
        );
    }

    /// Notes that a call of the peer has ended to which no answer is due: a one-way call, or one that was cancelled. Whether the
    /// connection is still congested.
    #[cfg(feature = "tokio")]
    pub(crate) fn finish_unanswered(&self, id: u64) -> bool {
        let mut out = self.out();
        let congested = out.congested(&self.limits);
        let answer = out.core.finish(id, ReplyStatus::Ok, 0);
        debug_assert!(answer.is_none());
        if congested {
            out.drivers.wake();
        }
        congested && out.congested(&self.limits)
    }

    /// Lets the client in.
    #[cfg(feature = "tokio")]
    pub(crate) fn accept(&self) {
        let mut out = self.out();
        out.core.accept();
        out.grant_wishes();
    }

    /// Keeps the client out.
    #[cfg(feature = "tokio")]
    pub(crate) fn reject(&self, kind: ErrorKind, sentence: &str) {
        self.out().core.reject(kind, sentence);
    }

    /// Sends what can be sent at once, for a connection that is then dropped.
    #[cfg(feature = "tokio")]
    pub(crate) fn part(&self) {
        self.out().part();
    }

    /// Tells the peer that the end is near, and ends when its calls have ended, or at `until`.
    #[cfg(feature = "tokio")]
    pub(crate) fn drain(&self, until: Instant) {
        let mut out = self.out();
        out.core.drain(Instant::now(), until);
        out.drivers.wake();
    }

    #[cfg(feature = "tokio")]
    pub(crate) fn source(&self) -> Result<transports::reactor::Source, transports::Error> {
        self.watch.source()
    }

    #[cfg(feature = "tokio")]
    pub(crate) fn is_connecting(&self) -> bool {
        self.connecting
    }

    /// The other side, as messages name it.
    pub(crate) fn peer_name(&self) -> String {
        if let Some(child) = self.child() {
            return child.to_string();
        }
        let pid = self
            .peer
            .pid()
            .map_or_else(String::new, |pid| format!(" (pid {pid})"));
        if self.connecting {
            format!("the server of {:?}{pid}", self.endpoint.to_string())
        } else {
            format!("the client{pid}")
        }
    }
}

/// Wakes; not under a lock, since wakers are the user's code.
pub(crate) fn wake_all(wakers: impl IntoIterator<Item = Waker>) {
    for waker in wakers {
        waker.wake();
    }
}
