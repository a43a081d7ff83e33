//! The half of a port that takes messages out of the ring, and that waits.

use std::io;
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::sections::{Inbox, Listened};
use super::waits::{Patience, Waits};
use super::{Consumer, Mark, PREFIX, Processors};
use crate::lanes::Arriving;
use crate::socket::Link;
use crate::{Error, ErrorKind, Message, Received, Spun, buffers, sys};

/// Bytes of pieces that one `try_recv` takes before it gives way to others.
const SHARE: usize = 1 << 20;
/// What a piece counts for beside its bytes: about as many as are copied in the time that it takes to look at one.
const PIECE: usize = 4 << 10;

/// Sleeps in one wait that end early and for nothing, before the bell is left alone for the next: far more than an honest side
/// comes to.
const MOST_IN_VAIN: u32 = 64;

/// How long a thread sleeps before it looks whether the other side still lives: at first, so that a call to one that has
/// died fails soon, and later. Longer than the 4 ms between two ticks of most systems, so that going to sleep need not set
/// the processor's timer, which takes a virtual machine a microsecond or two.
const FIRST_SLEEP: Duration = Duration::from_millis(10);
const LONGEST_SLEEP: Duration = Duration::from_millis(20);

pub(crate) struct RingReceiver {
    link: Arc<Link>,
    waits: Arc<Waits>,
    consumer: Consumer,
    processors: Processors,
    limit: usize,
    /// What knows of the other side's sections, if it can send any.
    inbox: Option<Inbox>,
    patience: Patience,
    /// Large messages of which not all is there.
    lanes: Arriving,
    /// Looks at the socket.
    waiter: sys::Waiter,
    next_sleep: Duration,
    end: Option<End>,
}

/// Why nothing more is received.
enum End {
    /// The other side closed, or its process ended.
    Closed,
    /// The other side broke the rules, or the system failed.
    Broken { kind: ErrorKind, message: String },
}

impl RingReceiver {
    pub(super) fn new(
        link: Arc<Link>,
        waits: Arc<Waits>,
        consumer: Consumer,
        processors: Processors,
        limit: usize,
    ) -> Self {
        Self {
            link,
            waits,
            consumer,
            processors,
            limit,
            inbox: None,
            patience: Patience::new(),
            lanes: Arriving::default(),
            waiter: sys::Waiter::new(),
            next_sleep: FIRST_SLEEP,
            end: None,
        }
    }

    /// Has it carry sections.
    pub(super) fn set_inbox(&mut self, inbox: Option<Inbox>) {
        self.inbox = inbox;
    }

    pub(super) fn try_recv(&mut self, message: &mut Message) -> Result<Received, Error> {
        self.link.birthplace.check()?;
        if let Some(End::Broken { kind, message }) = &self.end {
            return Err(Error::new(*kind, message.clone()));
        }
        let received = self.look(message);
        if self.consumer.take_space_news() {
            self.waits.wake_peer();
        }
        match &received {
            Ok(Received::Message | Received::Begun) => {
                self.next_sleep = FIRST_SLEEP;
                self.patience.note_news();
            }
            Ok(Received::Empty | Received::Closed) => {}
            Err(error) => {
                // Whatever follows cannot be trusted.
                self.end = Some(End::Broken {
                    kind: error.kind(),
                    message: error.to_string(),
                });
                self.lanes = Arriving::default();
            }
        }
        received
    }

    fn look(&mut self, message: &mut Message) -> Result<Received, Error> {
        message.sections.clear();
        loop {
            if let Some(received) = self.take(message)? {
                return Ok(received);
            }
            if self.end.is_some() {
                return if self.in_progress() {
                    let sentence = "the other side ended in the middle of a message";
                    Err(Error::new(ErrorKind::PeerDied, sentence))
                } else {
                    Ok(Received::Closed)
                };
            }
            // What was put into the ring before the end is there by now: look once more.
            if !self.waits.take_control_news() || !self.look_at_socket()? {
                return Ok(Received::Empty);
            }
        }
    }

    /// The next whole message in the ring, or the beginning of one.
    fn take(&mut self, message: &mut Message) -> Result<Option<Received>, Error> {
        let mut share = SHARE;
        loop {
            message.body.clear();
            let lanes = &mut self.lanes;
            let Message { header, body, .. } = message;
            let popped = self.consumer.pop_with(header, |header, mark| match mark {
                Mark::Whole | Mark::First => Ok(body),
                Mark::Further | Mark::Last => Ok(lanes.room(header.id, header.length as usize)?),
            });
            let Some(mark) = popped? else {
                return Ok(None);
            };
            let header = &message.header;
            match mark {
                Mark::Whole => {
                    header.check_incoming_with(self.inbox.is_some(), self.limit)?;
                    message.begun = false;
                    if header.sections > 0 {
                        self.open(message)?;
                    }
                    return Ok(Some(Received::Message));
                }
                Mark::First => {
                    self.begin(message)?;
                    return Ok(Some(Received::Begun));
                }
                Mark::Further => {
                    share = share.saturating_sub(PIECE + header.length as usize);
                    if share == 0 {
                        return Ok(Some(Received::Empty));
                    }
                }
                Mark::Last => {
                    let Some(whole) = self.lanes.take_whole(header.id) else {
                        return Err(Error::new(
                            ErrorKind::Protocol,
                            "the last piece of a message came before all of it",
                        ));
                    };
                    buffers::give(mem::replace(message, whole).body);
                    if message.header.sections > 0 {
                        self.open(message)?;
                    }
                    return Ok(Some(Received::Message));
                }
            }
        }
    }

    /// Gives a large message a lane. Its first piece is in `message`.
    fn begin(&mut self, message: &mut Message) -> Result<(), Error> {
        let broken = |rule: &str| Error::new(ErrorKind::Protocol, format!("a piece of a message {rule}"));
        let Some((prefix, rest)) = message.body.split_first_chunk::<PREFIX>() else {
            return Err(broken("does not say what it is of"));
        };
        let [a, b, c, d, e, f, g, h] = *prefix;
        let (total, lane) = (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]));
        let header = &mut message.header;
        header.length = total;
        header.check_incoming_with(self.inbox.is_some(), self.limit)?;
        self.lanes.begin(lane.into(), *header, rest)?;
        Ok(())
    }

    /// Takes the sections of a message that is whole. What its table depends on was said on the socket before.
    #[cold]
    fn open(&mut self, message: &mut Message) -> Result<(), Error> {
        let Some(inbox) = &mut self.inbox else {
            return Ok(());
        };
        while inbox.misses_any(message) {
            match inbox.listen(&self.link.stream)? {
                Listened::More => {}
                // The end is still to be found there.
                Listened::All | Listened::Ended => break,
            }
        }
        inbox.open(message)
    }

    /// Whether the socket tells of the end; it may tell of sections, too.
    fn look_at_socket(&mut self) -> Result<bool, Error> {
        // Asked before the look: what the peer sent before its end is there by now.
        let peer_gone = self.link.peer_gone();
        if let Some(inbox) = &mut self.inbox {
            let ended = match inbox.listen(&self.link.stream)? {
                Listened::More => {
                    self.waits.note_control_news();
                    false
                }
                Listened::All => peer_gone,
                Listened::Ended => true,
            };
            if ended {
                self.link.set_peer_gone();
                self.end = Some(End::Closed);
            }
            return Ok(ended);
        }
        let mut buffer = Vec::with_capacity(1);
        let ended = match self.link.stream.receive(&mut Vec::new(), 0, &mut buffer, 1, None) {
            Ok(arrival) if arrival.bytes == 0 => true,
            Ok(_) => {
                let message =
                    "the other side went on speaking on the socket, after it had agreed to share memory";
                return Err(Error::new(ErrorKind::Protocol, message));
            }
            Err(error) => match error.kind() {
                io::ErrorKind::Interrupted => {
                    self.waits.note_control_news();
                    false
                }
                io::ErrorKind::WouldBlock => peer_gone,
                io::ErrorKind::ConnectionReset
                | io::ErrorKind::BrokenPipe
                | io::ErrorKind::ConnectionAborted => true,
                _ => return Err(Error::system("cannot receive from the other side", error)),
            },
        };
        if ended {
            self.link.set_peer_gone();
            self.end = Some(End::Closed);
        }
        Ok(ended)
    }

    pub(super) fn ready(&self) -> bool {
        is_anything(&self.consumer, &self.waits, self.end.as_ref(), false)
    }

    pub(super) fn in_progress(&self) -> bool {
        self.lanes.is_any()
    }

    fn anything(&self, space: bool) -> bool {
        is_anything(&self.consumer, &self.waits, self.end.as_ref(), space)
    }

    pub(super) fn spin(&mut self, space: bool, once: bool) -> Spun {
        let here = sys::processor();
        self.processors.publish_processor(here);
        let Self {
            waits,
            consumer,
            processors,
            end,
            ..
        } = self;
        let elsewhere = || processors.peer_processor().is_some_and(|there| there != here);
        let anything = || is_anything(consumer, waits, end.as_ref(), space);
        self.patience.spin(waits, once, elsewhere, anything)
    }

    pub(super) fn arm(&mut self) -> bool {
        self.release();
        self.waits.arm();
        let anything = self.ready();
        if anything {
            self.waits.disarm();
        } else {
            self.patience.rest();
        }
        !anything
    }

    pub(super) fn park(&mut self, space: bool, deadline: Option<Instant>) -> Result<(), Error> {
        self.release();
        let mut in_vain = 0;
        while !self.anything(space) {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let limit = left.map_or(self.next_sleep, |left| left.min(self.next_sleep));
            let begun = Instant::now();
            let listens = in_vain < MOST_IN_VAIN;
            if limit.is_zero() || listens && self.waits.sleep(limit, || self.anything(space)) {
                break;
            }
            if !self.anything(space) {
                // Nobody woke this thread: see whether there is anybody who could. If somebody does it again and again for
                // nothing, or silences the bell, only the socket is listened to for a while.
                let until = if listens { begun } else { begun + limit };
                in_vain = if listens {
                    in_vain + u32::from(begun.elapsed() < limit)
                } else {
                    0
                };
                self.next_sleep = (self.next_sleep * 2).min(LONGEST_SLEEP);
                let gone = self.waiter.wait(&self.link.stream, false, Some(until));
                if gone.map_err(|error| Error::system("cannot wait for the other side", error))? {
                    self.link.set_peer_gone();
                }
                if self.link.peer_gone() || self.link.stream.has_news() {
                    self.waits.note_control_news();
                }
            }
        }
        Ok(())
    }

    pub(super) fn disarm(&mut self) {
        self.waits.disarm();
    }

    #[inline]
    pub(super) fn rest(&mut self) {
        self.patience.rest();
    }

    /// Tells the other side how much of its ring is free, before this one sleeps.
    fn release(&mut self) {
        if self.consumer.release() {
            self.waits.wake_peer();
        }
    }
}

/// Whether there is something to receive, or to learn, or room to send.
#[inline]
fn is_anything(consumer: &Consumer, waits: &Waits, end: Option<&End>, space: bool) -> bool {
    consumer.ready()
        || end.is_some()
        || waits.has_control_news()
        || space && waits.has_space(|| consumer.consumed_by_peer())
}
