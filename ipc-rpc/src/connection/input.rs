//! What has happened: messages, time, the end.

use std::time::{Duration, Instant};

use transports::Header;

use super::breach::Breach;
use super::budget::Admission;
use super::calls::Answered;
use super::close::{self, ClosedBy, SHUT_DOWN};
use super::handshake::{self, HelloError};
use super::keepalive;
use super::limits::MAX_PINGS;
use super::output::Control;
use super::serving::GivenUp;
use super::wire::{self, Kind, MAGIC};
use super::{CancelReason, Connection, Event, Incoming, Phase, ReplyStatus, timers};
use crate::{Error, ErrorKind};

/// What has happened.
impl Connection {
    /// A message has arrived. `body` is looked at only if it belongs to the handshake or is a reason to
    /// close; those who are told of a request or reply know what to do with its body.
    ///
    /// # Errors
    /// `Protocol` if the peer broke a rule, `Incompatible` if the sides have no version or codec in common,
    /// `Busy` if the peer used up its budget. The connection is closed, and the last message to the peer says
    /// why.
    #[inline]
    pub(crate) fn handle_message(
        &mut self,
        now: Instant,
        header: &Header,
        body: &[u8],
    ) -> Result<Incoming, Error> {
        if self.phase == Phase::Closed {
            return Ok(Incoming::Nothing);
        }
        let kind = match self.judge(header) {
            Ok(kind) => kind,
            Err(breach) => return Err(self.breach(breach)),
        };
        self.keepalive.hear(now);
        match kind {
            Kind::Reply => self.on_reply(header),
            Kind::Request => self.on_request(now, header),
            _ => self.on_control(now, kind, header, body),
        }
    }

    /// The header of a message has arrived whose body is on its way, in pieces. It is judged now, and a call has its place
    /// among the others from now on; [`Self::handle_rest`] is due when all of it is there.
    ///
    /// # Errors
    /// As [`Self::handle_message`].
    pub(crate) fn handle_begun(&mut self, now: Instant, header: &Header) -> Result<(), Error> {
        if self.phase == Phase::Closed {
            return Ok(());
        }
        let kind = match self.judge(header) {
            Ok(kind) => kind,
            Err(breach) => return Err(self.breach(breach)),
        };
        self.keepalive.hear(now);
        if kind == Kind::Request {
            let deadline = match self.on_request(now, header)? {
                Incoming::Request { deadline, .. } => deadline,
                _ => None,
            };
            self.arriving.push((header.id, deadline));
        }
        Ok(())
    }

    /// All of a message has arrived that [`Self::handle_begun`] was told of.
    ///
    /// # Errors
    /// As [`Self::handle_message`].
    pub(crate) fn handle_rest(
        &mut self,
        now: Instant,
        header: &Header,
        body: &[u8],
    ) -> Result<Incoming, Error> {
        let place = self.arriving.iter().position(|&(id, _)| id == header.id);
        let Some(place) = place.filter(|_| header.kind == Kind::Request as u8) else {
            return self.handle_message(now, header, body);
        };
        let (id, deadline) = self.arriving.swap_remove(place);
        self.keepalive.hear(now);
        if self.phase == Phase::Closed || !self.serving.is_awaited(id) {
            // It was refused, or given up meanwhile, and answered.
            self.serving.finish(id);
            return Ok(Incoming::Nothing);
        }
        Ok(Incoming::Request {
            id,
            ordinal: header.ordinal,
            deadline,
            one_way: header.flags & wire::ONE_WAY != 0,
        })
    }

    /// The time that [`Self::poll_timeout`] told has come. Does nothing if it has not.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if self.handshake_deadline.is_some_and(|deadline| deadline <= now) {
            // In whole milliseconds: what is left of a caller's 50 ms after connecting is 49.9 and some more.
            let millis = self.config.handshake_timeout.as_nanos().div_ceil(1_000_000);
            let allowed = Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX));
            let sentence = format!("the handshake took longer than {allowed:?}");
            self.close(ErrorKind::Deadline, &sentence);
        }
        while let Some(GivenUp { id, one_way, held }) = self.serving.expire(now) {
            if !one_way {
                let extra = u64::try_from(held.as_nanos()).unwrap_or(u64::MAX);
                self.answer(id, ReplyStatus::Failed(ErrorKind::Deadline), extra, "");
            }
            self.events.push_back(Event::CancelServing {
                id,
                why: CancelReason::Deadline,
            });
        }
        while let Some(key) = self.calls.expire(now) {
            // The peer has most likely seen the deadline pass by itself, unless it was stopped.
            self.queue.push_back(Control::Cancel { id: key.id() });
            self.events.push_back(Event::Expired(key));
        }
        self.look_for_life(now);
        if let Some(drain) = &mut self.drain {
            drain.patience = drain.patience.filter(|patience| *patience > now);
            if drain.until <= now {
                let left = self.calls.awaited() + self.serving.awaited() + self.serving.one_ways();
                let sentence = format!("{SHUT_DOWN}; calls still in progress: {left}");
                self.close(ErrorKind::Closed, if left == 0 { SHUT_DOWN } else { &sentence });
            }
        }
    }

    /// The transport has ended or failed; `error` tells how. Nothing more can be sent. Does nothing if the
    /// connection has ended before.
    pub(crate) fn handle_end(&mut self, error: &Error) {
        // Also what a closed connection still had to say.
        self.queue.clear();
        self.shut(ClosedBy::Transport, error.kind(), &error.to_string(), None);
    }

    /// What has arrived breaks a rule of the transport's; `error` tells which. Nothing more can be received, but a peer that
    /// has introduced itself is told why. Does nothing if the connection has ended before.
    pub(crate) fn handle_unreadable(&mut self, error: &Error) {
        if self.is_introduced() {
            self.close(error.kind(), &format!("protocol broken: {error}"));
        } else {
            self.handle_end(error);
        }
    }

    /// The rules that hold for a header whatever happened before, and which kinds may come when.
    #[inline]
    fn judge(&self, header: &Header) -> Result<Kind, Breach> {
        let Some(kind) = Kind::from_code(header.kind) else {
            return Err(if self.is_introduced() {
                Breach::Kind(header.kind)
            } else {
                Breach::Stranger
            });
        };
        let expected = match self.phase {
            Phase::Open | Phase::Closed => !kind.is_handshake(),
            Phase::AwaitHello => kind == Kind::Hello,
            // The peer may lose patience.
            Phase::Deciding | Phase::Welcoming => kind == Kind::Close,
            Phase::AwaitWelcome => matches!(kind, Kind::Welcome | Kind::Reject),
        };
        if !self.is_introduced() && (!expected || header.id != MAGIC) {
            return Err(Breach::Stranger);
        }
        if !expected {
            return Err(Breach::Unexpected(kind));
        }
        kind.check(header).map_err(|rule| Breach::Header(kind, rule))?;
        if header.length > self.max_body_to_receive() {
            return Err(Breach::TooLong(header.length));
        }
        Ok(kind)
    }

    /// Whether the peer has shown that it speaks our protocol.
    fn is_introduced(&self) -> bool {
        !matches!(self.phase, Phase::AwaitHello | Phase::AwaitWelcome)
    }

    #[inline]
    fn on_reply(&mut self, header: &Header) -> Result<Incoming, Error> {
        match self.calls.answer(header.id) {
            Answered::Wanted(key) => {
                let status = if header.flags == 0 {
                    ReplyStatus::Ok
                } else {
                    failure(header)
                };
                Ok(Incoming::Reply {
                    key,
                    status,
                    extra: header.extra,
                })
            }
            Answered::GivenUp => Ok(Incoming::Nothing),
            Answered::Unknown => Err(self.breach(Breach::Reply(header.id))),
        }
    }

    #[inline]
    fn on_request(&mut self, now: Instant, header: &Header) -> Result<Incoming, Error> {
        let (id, one_way) = (header.id, header.flags & wire::ONE_WAY != 0);
        if !self.serving.claim(id) {
            return Err(self.breach(Breach::OldId(id)));
        }
        if self.drain.is_some_and(|drain| drain.acknowledged) {
            return Err(self.breach(Breach::AfterDrain));
        }
        let limits = &self.config.limits;
        let slowed = self.serving.given_up() > limits.max_cancels_pending as usize;
        if one_way {
            if slowed || self.serving.one_ways() >= limits.max_in_flight as usize {
                self.one_ways_dropped += 1;
                return Ok(Incoming::Nothing);
            }
        } else {
            let above_limit = self.serving.awaited() + self.answers_queued >= limits.max_in_flight as usize;
            match self.budget.admit(now, above_limit, slowed) {
                Admission::Run => {}
                Admission::Refuse => {
                    self.answer(id, ReplyStatus::Refused(ErrorKind::Busy), 0, BUSY);
                    return Ok(Incoming::Nothing);
                }
                Admission::GoAway => {
                    self.close(ErrorKind::Busy, GO_AWAY);
                    return Err(Error::new(ErrorKind::Busy, GO_AWAY));
                }
            }
        }
        let deadline = timers::deadline_from(now, header.extra);
        self.serving.start(now, id, one_way, deadline);
        Ok(Incoming::Request {
            id,
            ordinal: header.ordinal,
            deadline,
            one_way,
        })
    }

    fn on_control(
        &mut self,
        now: Instant,
        kind: Kind,
        header: &Header,
        body: &[u8],
    ) -> Result<Incoming, Error> {
        match kind {
            Kind::Hello => self.on_hello(body),
            Kind::Welcome => self.on_welcome(body),
            Kind::Cancel => self.on_cancel(now, header.id),
            Kind::Ping => self.on_ping(header.extra),
            Kind::Pong => self.on_pong(header.extra),
            Kind::Drain => self.on_drain(header.flags & wire::ACKNOWLEDGED != 0),
            Kind::Reject | Kind::Close => {
                let sentence = close::sentence_from_peer(body);
                if kind == Kind::Close {
                    self.peer_saw = Some(header.id);
                }
                let kind = ErrorKind::from_code(header.extra as u8);
                self.shut(ClosedBy::Peer, kind, &sentence, None);
                Ok(Incoming::Closed)
            }
            // `handle_message` has dealt with them.
            Kind::Request | Kind::Reply => Ok(Incoming::Nothing),
        }
    }

    fn on_hello(&mut self, body: &[u8]) -> Result<Incoming, Error> {
        let (version, hello) = match handshake::read_hello(body) {
            Ok(read) => read,
            Err(HelloError::Malformed(malformed)) => return Err(self.breach(Breach::Malformed(malformed))),
            Err(HelloError::Versions(oldest, newest)) => {
                let (ours, to) = (wire::VERSIONS.start(), wire::VERSIONS.end());
                return Err(self.incompatible(&format!(
                    "no protocol version in common: this side speaks {ours} to {to}, \
                     the peer {oldest} to {newest}; rebuild the older program"
                )));
            }
        };
        let Some(codec) = hello
            .codecs
            .iter()
            .find(|codec| self.config.codecs.contains(codec))
        else {
            let (ours, theirs) = (&self.config.codecs, &hello.codecs);
            return Err(self.incompatible(&format!(
                "no codec in common: this side speaks {ours:?}, the peer {theirs:?} (by number)"
            )));
        };
        self.codec = *codec;
        self.meet(
            version,
            hello.limits.max_body,
            hello.limits.max_in_flight,
            hello.services,
        );
        self.peer_wishes = hello.wishes;
        self.phase = Phase::Deciding;
        Ok(Incoming::Connect { blob: hello.blob })
    }

    fn on_welcome(&mut self, body: &[u8]) -> Result<Incoming, Error> {
        let welcome = match handshake::read_welcome(body) {
            Ok(welcome) => welcome,
            Err(malformed) => return Err(self.breach(Breach::Malformed(malformed))),
        };
        if !wire::VERSIONS.contains(&welcome.version) || !self.config.codecs.contains(&welcome.codec) {
            return Err(self.breach(Breach::NotOffered));
        }
        self.codec = welcome.codec;
        self.meet(
            welcome.version,
            welcome.limits.max_body,
            welcome.limits.max_in_flight,
            welcome.services,
        );
        self.peer_wishes = welcome.wishes;
        self.phase = Phase::Open;
        Ok(Incoming::Opened)
    }

    fn meet(&mut self, version: u16, max_body: u32, max_in_flight: u32, services: super::PeerServices) {
        self.handshake_deadline = None;
        self.version = version;
        self.peer_max_body = max_body;
        self.calls.set_limit(max_in_flight);
        self.peer_services = services;
    }

    fn on_cancel(&mut self, now: Instant, id: u64) -> Result<Incoming, Error> {
        if id > self.serving.last_id() {
            return Err(self.breach(Breach::Cancel(id)));
        }
        // It has ended, and the answer is under way; or it is a gap between ids that nobody ever used.
        let Some(given_up) = self.serving.give_up(now, id) else {
            return Ok(Incoming::Nothing);
        };
        if given_up.one_way {
            return Err(self.breach(Breach::Cancel(id)));
        }
        self.budget.cancelled(now);
        self.answer(id, ReplyStatus::Failed(ErrorKind::Cancelled), 0, "");
        Ok(Incoming::Cancel { id })
    }

    fn on_ping(&mut self, token: u64) -> Result<Incoming, Error> {
        if self.pongs_queued == MAX_PINGS {
            return Err(self.breach(Breach::Pings));
        }
        self.pongs_queued += 1;
        self.queue.push_back(Control::Pong { token });
        Ok(Incoming::Nothing)
    }

    fn on_pong(&mut self, token: u64) -> Result<Incoming, Error> {
        match self.pings.pop_front() {
            Some(keepalive::TOKEN) if token == keepalive::TOKEN => Ok(Incoming::Nothing),
            Some(asked) if asked == token => Ok(Incoming::Pong { token }),
            _ => Err(self.breach(Breach::Pong)),
        }
    }

    fn on_drain(&mut self, acknowledged: bool) -> Result<Incoming, Error> {
        if acknowledged {
            return match &mut self.drain {
                Some(drain) if !drain.acknowledged => {
                    drain.acknowledged = true;
                    Ok(Incoming::Nothing)
                }
                _ => Err(self.breach(Breach::Unexpected(Kind::Drain))),
            };
        }
        if self.peer_drains {
            return Err(self.breach(Breach::Unexpected(Kind::Drain)));
        }
        self.peer_drains = true;
        self.queue.push_back(Control::Drain { acknowledged: true });
        Ok(Incoming::Draining)
    }

    /// Answers a call without its handler.
    fn answer(&mut self, id: u64, status: ReplyStatus, extra: u64, sentence: &'static str) {
        self.answers_queued += 1;
        self.queue.push_back(Control::Answer {
            id,
            status,
            extra,
            sentence,
        });
    }

    /// Closes because the two sides cannot understand each other.
    fn incompatible(&mut self, sentence: &str) -> Error {
        self.shut(
            ClosedBy::Us,
            ErrorKind::Incompatible,
            sentence,
            Some(Control::Reject),
        );
        Error::new(ErrorKind::Incompatible, sentence)
    }
}

/// How a reply failed, as its header says.
#[cold]
fn failure(header: &Header) -> ReplyStatus {
    let kind = ErrorKind::from_code(header.ordinal as u8);
    if header.flags & wire::REFUSED != 0 {
        ReplyStatus::Refused(kind)
    } else {
        ReplyStatus::Failed(kind)
    }
}

const BUSY: &str = "the peer runs as many calls of this connection as it allows; try again later";
const GO_AWAY: &str =
    "too many calls were cancelled, or made above the limit; connect again and do less at once";
