//! The sending half of a connection, with the protocol core and those who wait.

mod sending;
mod starting;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

use transports::{Pieces, Sender};

use sending::Waiting;
pub(crate) use starting::{Request, Start, StartLent};

use super::places::{Ended, Pending, Places};
use super::share::Share;
use super::{Link, wake_all};
use crate::connection::{ClosedBy, Connection, DIRECT, Event, PIECES, PIECES_IN_MEMORY, State};
use crate::context::Cancellation;
use crate::traffic::Counters;
use crate::waitlist::WaitList;
use crate::{Codec, Error, ErrorKind, Outcome};

/// Everything of a connection but its receiving half.
pub(crate) struct Out {
    pub(crate) core: Connection,
    pub(crate) sender: Box<dyn Sender>,
    /// The port failed to send; what the peer sent before is still to be read.
    broken: bool,
    /// It did because the peer has gone. Whoever reads is about to learn that, and perhaps why.
    gone: bool,
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
            gone: false,
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
