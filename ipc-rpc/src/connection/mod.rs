//! The protocol of one connection, as a state machine that does nothing else.
//!
//! No clock, no I/O, no runtime, no locks, no threads: time is an argument, messages go in and out as values.
//! Whoever drives it owns a port and a [`Connection`] and moves messages between them. Bodies of calls never
//! pass through here: a command gives the header to send before the body, and [`Connection::handle_message`]
//! judges the header of what was received.
//!
//! Either side may call and serve; the roles differ in the handshake alone.
//!
//! # Who drives it, and how
//! There are four kinds of methods: getters; `handle_*`, when something has happened; commands, when the user
//! wants something; and `poll_*`, which tell what is to be done now. After any `handle_*` and any command:
//!
//! 1. [`Connection::poll_transmit`] until `None`, and send what it gives;
//! 2. [`Connection::poll_event`] until `None`;
//! 3. [`Connection::poll_timeout`], and call [`Connection::handle_timeout`] once that time has come.
//!
//! Two rules, on which the peer's checks rest:
//! - **Everything leaves in the order in which it was handed out**, whether a command returned it or
//!   `poll_transmit`. A call whose header cannot leave in its turn, say because its arguments cannot be
//!   encoded or the port is full, is taken back with [`Connection::withdraw_call`] before the next header is
//!   asked for.
//! - **Each [`Incoming::Request`] is [finished](Connection::finish) once**, also after it was cancelled,
//!   since only then has its handler ended.
//!
//! `now` may lag behind the clock by as long as the driver likes deadlines to be late; only deadlines, and
//! the budget of cancels, look at it.
//!
//! # One call
//! [`Connection::start_call`] → Request → the peer's `handle_message` gives [`Incoming::Request`] → its
//! handler runs → its [`Connection::finish`] → Reply → our `handle_message` gives [`Incoming::Reply`].
//! Exactly one Reply answers each Request that is not one-way, whatever happens: [`calls`] says what follows
//! from that.
//!
//! From the caller's side each call ends exactly once: with [`Incoming::Reply`], or [`Event::Expired`], or
//! [`Event::Failed`], or because the caller gave it up with [`Connection::cancel_call`] or `withdraw_call`.

mod breach;
mod budget;
mod calls;
mod close;
mod commands;
mod handshake;
mod input;
mod keepalive;
mod limits;
mod output;
mod services;
mod serving;
mod timers;
mod wire;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(crate) use calls::CallKey;
pub(crate) use close::{CloseReason, ClosedBy, MAX_SENTENCE, clipped, sentence_from_peer};
pub(crate) use handshake::{DIRECT, MAX_HELLO, MAX_WELCOME, PIECES, PIECES_IN_MEMORY};
pub(crate) use limits::{ACCEPTING_HANDSHAKE, CONNECTING_HANDSHAKE, DRAIN, Limits, MAX_SERVICES};
pub(crate) use services::{Fit, PeerServices};
#[allow(unused_imports, reason = "only the tests of the core ask for it by itself")]
pub(crate) use timers::grace;
pub(crate) use wire::Kind;

use crate::{Error, ErrorKind, Outcome, ServiceInfo};
use budget::Budget;
use calls::Calls;
use keepalive::Keepalive;
use output::Control;
use serving::Serving;

/// What a connection is made of.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// Which end of the connection this is.
    pub(crate) role: Role,
    /// The numbers of the codecs that this side speaks, 1 to 16 of them. The connecting side's come in order
    /// of preference; the accepting side takes the first that it speaks too.
    pub(crate) codecs: Vec<u8>,
    /// What this side allows its peer.
    pub(crate) limits: Limits,
    /// What this side serves.
    pub(crate) services: Arc<[&'static ServiceInfo]>,
    /// How long the peer may take for its part of the handshake.
    pub(crate) handshake_timeout: Duration,
    /// How long the peer may take to answer when it is asked for a sign of life; it is not asked without.
    pub(crate) keepalive: Option<Duration>,
    /// What is to be done if both sides wish it: [`DIRECT`], [`PIECES`], [`PIECES_IN_MEMORY`], or nothing.
    pub(crate) wishes: u32,
}

/// Which end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It speaks first.
    Connecting {
        /// What the accepting side's `on_connect` sees, at most 4 KiB.
        blob: Vec<u8>,
    },
    /// It waits for the other to speak, and decides.
    Accepting,
}

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// The sides are introducing themselves.
    Handshaking,
    /// [`Incoming::Connect`] was handed out: [`Connection::accept`] or [`Connection::reject`] it.
    AwaitingDecision,
    /// Calls go both ways.
    Open,
    /// One side is about to close: the other starts no calls.
    Draining,
    /// It has ended; [`Connection::close_reason`] tells why.
    Closed,
}

/// Why a call is not started. [`Connection::start_error`] makes an [`Error`] of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StartError {
    /// As many calls are unanswered as the peer allows: wait until [`Connection::has_room`].
    Full,
    /// The deadline has passed already.
    Expired,
    /// The handshake is not over.
    NotOpen,
    /// The peer is about to close.
    Draining,
    /// The connection has ended.
    Closed,
}

/// How a call went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReplyStatus {
    /// The handler returned; the body is what it returned.
    Ok,
    /// The handler ran, perhaps not to its end; the body is a sentence of at most [`MAX_SENTENCE`] bytes.
    Failed(ErrorKind),
    /// The handler did not run; the body is a sentence of at most [`MAX_SENTENCE`] bytes.
    Refused(ErrorKind),
}

/// What a received message means to those above.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Incoming {
    /// Nothing.
    Nothing,
    /// The peer wants to connect: [`Connection::accept`] or [`Connection::reject`] it.
    Connect {
        /// What it sent for `on_connect` to see.
        blob: Vec<u8>,
    },
    /// The peer has accepted the connection.
    Opened,
    /// A call to serve. The body is its arguments. [`Connection::finish`] it.
    Request {
        /// What `finish` takes.
        id: u64,
        /// Which method; it may be unknown.
        ordinal: u64,
        /// When the caller stops waiting.
        deadline: Option<Instant>,
        /// No reply is sent.
        one_way: bool,
    },
    /// The answer to a call of ours, which ends it. The body is as `status` says.
    Reply {
        /// Which call.
        key: CallKey,
        /// How it went.
        status: ReplyStatus,
        /// Nanoseconds in the handler if it failed with `Deadline`; otherwise as the peer's `finish` was
        /// given it.
        extra: u64,
    },
    /// The caller of this call, which is being served, wants it no more. It has been answered: stop the
    /// handler and [`Connection::finish`] it, which sends nothing.
    Cancel {
        /// Which call.
        id: u64,
    },
    /// The answer to [`Connection::ping`].
    Pong {
        /// What `ping` was given.
        token: u64,
    },
    /// The peer is about to close: start no more calls. Those in progress go on.
    Draining,
    /// The peer has closed or rejected the connection: see [`Connection::close_reason`].
    Closed,
}

/// What happened otherwise than by a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The deadline of this call of ours has passed, which ends it.
    Expired(CallKey),
    /// A call being served is over: stop its handler and [`Connection::finish`] it, which sends nothing.
    CancelServing {
        /// Which call.
        id: u64,
        /// What happened.
        why: CancelReason,
    },
    /// The connection ended with this call of ours unanswered, which ends it. Whether it ran is unknown.
    Failed(CallKey),
    /// The connection has ended. The last event.
    Closed,
}

/// Why a call is no longer to be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CancelReason {
    /// Its deadline has passed.
    Deadline,
    /// The connection has ended.
    ConnectionLost,
}

/// One end of a connection. See the [module](self) for how to drive it.
#[derive(Debug)]
pub(crate) struct Connection {
    phase: Phase,
    /// The peer has announced that it is about to close, so nothing is started.
    peer_drains: bool,
    calls: Calls,
    serving: Serving,
    /// The peer's calls whose arguments are still on their way, with their deadlines: as many as a port receives at once.
    arriving: Vec<(u64, Option<Instant>)>,
    budget: Budget,
    queue: VecDeque<Control>,
    /// Refusals and other answers in `queue`, which still count towards the peer's limit.
    answers_queued: usize,
    events: VecDeque<Event>,
    drain: Option<Drain>,
    handshake_deadline: Option<Instant>,
    keepalive: Keepalive,
    /// Tokens of our pings that are unanswered.
    pings: VecDeque<u64>,
    /// Pongs in `queue`.
    pongs_queued: usize,
    one_ways_dropped: u64,
    codec: u8,
    version: u16,
    peer_max_body: u32,
    peer_services: PeerServices,
    peer_wishes: u32,
    reason: Option<CloseReason>,
    /// The last call of ours that the peer had read when it closed.
    peer_saw: Option<u64>,
    config: Config,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Accepting: nothing received.
    AwaitHello,
    /// Accepting: the Hello is good.
    Deciding,
    /// Accepting: Welcome waits to be sent.
    Welcoming,
    /// Connecting: no answer received.
    AwaitWelcome,
    Open,
    Closed,
}

/// Our own announcement that we are about to close.
#[derive(Clone, Copy, Debug)]
struct Drain {
    until: Instant,
    /// Until when it is worth waiting for the peer to acknowledge it.
    patience: Option<Instant>,
    /// The peer has read it: no more calls will come.
    acknowledged: bool,
}

impl Drain {
    /// Whether all has been done to let the peer know.
    fn is_known(&self) -> bool {
        self.acknowledged || self.patience.is_none()
    }

    /// When something is to be done about it.
    fn next(&self) -> Option<Instant> {
        let patience = self.patience.filter(|_| !self.acknowledged);
        patience
            .map(|patience| patience.min(self.until))
            .or(Some(self.until))
    }
}

impl Connection {
    /// One end of a new connection. The handshake's time starts now.
    ///
    /// # Errors
    /// What `config` says does not fit into a handshake: `TooLarge`, or `Unsupported` if there is no codec.
    pub(crate) fn new(mut config: Config, now: Instant) -> Result<Self, Error> {
        config.limits = config.limits.bounded();
        let mut queue = VecDeque::new();
        let phase = match &config.role {
            Role::Connecting { blob } => {
                handshake::check_offer(&config.codecs, &config.services, blob, config.wishes, MAX_HELLO)?;
                queue.push_back(Control::Hello);
                Phase::AwaitWelcome
            }
            Role::Accepting => {
                handshake::check_offer(&config.codecs, &config.services, &[], config.wishes, MAX_WELCOME)?;
                Phase::AwaitHello
            }
        };
        Ok(Self {
            phase,
            peer_drains: false,
            calls: Calls::new(),
            serving: Serving::default(),
            arriving: Vec::new(),
            budget: Budget::new(now),
            queue,
            answers_queued: 0,
            events: VecDeque::new(),
            drain: None,
            handshake_deadline: now.checked_add(config.handshake_timeout),
            keepalive: Keepalive::new(config.keepalive),
            pings: VecDeque::new(),
            pongs_queued: 0,
            one_ways_dropped: 0,
            codec: 0,
            version: 0,
            peer_max_body: 0,
            peer_services: PeerServices::default(),
            peer_wishes: 0,
            reason: None,
            peer_saw: None,
            config,
        })
    }
}

/// Getters.
impl Connection {
    /// Whether both sides wish it, as far as the peer has told by now.
    pub(crate) fn both_wish(&self, wish: u32) -> bool {
        self.config.wishes & self.peer_wishes & wish != 0
    }

    /// How far it has come.
    pub(crate) fn state(&self) -> State {
        match self.phase {
            Phase::AwaitHello | Phase::AwaitWelcome | Phase::Welcoming => State::Handshaking,
            Phase::Deciding => State::AwaitingDecision,
            Phase::Open if self.peer_drains || self.drain.is_some() => State::Draining,
            Phase::Open => State::Open,
            Phase::Closed => State::Closed,
        }
    }

    /// The number of the codec that both sides use, once the Hello is answered.
    pub(crate) fn codec_id(&self) -> u8 {
        self.codec
    }

    /// What the peer serves, as it said in the handshake.
    pub(crate) fn peer_services(&self) -> &PeerServices {
        &self.peer_services
    }

    /// The largest body of a request or reply that the peer accepts, in bytes.
    pub(crate) fn max_body_to_send(&self) -> u32 {
        self.peer_max_body
    }

    /// The largest body that the peer may send now, in bytes. It grows when the handshake is over.
    pub(crate) fn max_body_to_receive(&self) -> u32 {
        match self.phase {
            Phase::AwaitHello | Phase::Deciding | Phase::Welcoming => MAX_HELLO,
            Phase::AwaitWelcome => MAX_WELCOME,
            Phase::Open | Phase::Closed => self.config.limits.max_body,
        }
    }

    /// How many calls of ours the peer allows to be unanswered. Every [`CallKey::slot`] is below it.
    pub(crate) fn max_calls(&self) -> usize {
        self.calls.limit() as usize
    }

    /// Our unanswered calls, also those that were given up and still await their reply. One-way calls are not
    /// among them.
    pub(crate) fn in_flight(&self) -> usize {
        self.calls.unanswered()
    }

    /// Whether the peer's limit lets another call be started.
    pub(crate) fn has_room(&self) -> bool {
        self.calls.has_room()
    }

    /// The peer's calls that are not [finished](Self::finish).
    #[allow(
        dead_code,
        reason = "a counter: the tests of the core ask for it, servers do not show it yet"
    )]
    pub(crate) fn serving(&self) -> usize {
        self.serving.running()
    }

    /// The peer's one-way calls that are not finished. Read no more while they are as many as may be in
    /// flight: the next would be dropped.
    pub(crate) fn one_ways(&self) -> usize {
        self.serving.one_ways()
    }

    /// One-way calls of the peer that were dropped because too many were running.
    #[allow(
        dead_code,
        reason = "a counter: the tests of the core ask for it, servers do not show it yet"
    )]
    pub(crate) fn one_ways_dropped(&self) -> u64 {
        self.one_ways_dropped
    }

    /// Whether the peer was asked for a sign of life and has given none in time. It is for the driver to
    /// [close](Self::close) then.
    pub(crate) fn is_silent(&self) -> bool {
        self.phase == Phase::Open && self.keepalive.is_silent()
    }

    /// Why it has ended, once it has.
    pub(crate) fn close_reason(&self) -> Option<&CloseReason> {
        self.reason.as_ref()
    }

    /// Whether a call that failed with the connection may have run. It has not if the peer closed without having
    /// read it.
    pub(crate) fn may_have_run(&self, key: CallKey) -> bool {
        self.peer_saw.is_none_or(|last| key.id() <= last)
    }

    /// What a caller is told whose call was not started.
    pub(crate) fn start_error(&self, error: StartError) -> Error {
        match (error, &self.reason) {
            (StartError::Closed, Some(reason)) => reason.to_error(Outcome::NotSent),
            (StartError::Closed | StartError::NotOpen, _) => {
                Error::new(ErrorKind::NotConnected, "the connection is not open yet")
            }
            (StartError::Draining, _) => Error::new(
                ErrorKind::Closed,
                "the peer is shutting down and takes no new calls; connect again to reach its successor",
            ),
            (StartError::Expired, _) => Error::new(
                ErrorKind::Deadline,
                "the deadline had passed before the call was sent",
            ),
            (StartError::Full, _) => Error::new(
                ErrorKind::Busy,
                format!(
                    "{} calls are unanswered on this connection, which is the peer's limit",
                    self.max_calls()
                ),
            ),
        }
    }
}

/// Lets a test come near the last id.
#[cfg(test)]
#[allow(
    dead_code,
    reason = "the core's tests compile this module into a crate of their own"
)]
impl Connection {
    pub(crate) fn skip_to_sequence(&mut self, last: u64) {
        self.calls.skip_to_sequence(last);
    }
}
