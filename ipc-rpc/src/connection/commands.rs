//! What the user wants: calls, answers, the decision about a peer, the end.

use std::time::Instant;

use transports::Header;

use super::calls::{CallKey, NoSlot};
use super::close::{ClosedBy, SHUT_DOWN};
use super::output::{self, Control};
use super::serving::Finished;
use super::timers::{self, grace};
use super::wire::{self, Kind};
use super::{Connection, Drain, Phase, ReplyStatus, StartError, limits};
use crate::ErrorKind;

/// Commands.
impl Connection {
    /// Starts a call. The header is to be sent next, with the arguments as its body, or else the call is
    /// to be [withdrawn](Self::withdraw_call).
    ///
    /// # Errors
    /// See [`StartError`]; nothing has changed, but that a connection that has used up its ids is closed.
    #[inline]
    pub(crate) fn start_call(
        &mut self,
        now: Instant,
        ordinal: u64,
        deadline: Option<Instant>,
    ) -> Result<(CallKey, Header), StartError> {
        let mut header = self.request(now, ordinal, deadline)?;
        let expires = deadline.and_then(|deadline| deadline.checked_add(grace(deadline.duration_since(now))));
        let key = match self.calls.start(expires) {
            Ok(key) => key,
            Err(error) => return Err(self.no_slot(error)),
        };
        header.id = key.id();
        Ok((key, header))
    }

    /// Starts a call that nobody waits for. The header is to be sent next, with the arguments as its body. If
    /// it is not sent, nothing is to be done.
    ///
    /// # Errors
    /// See [`StartError`]; never `Full`.
    #[inline]
    pub(crate) fn start_one_way(
        &mut self,
        now: Instant,
        ordinal: u64,
        deadline: Option<Instant>,
    ) -> Result<Header, StartError> {
        let header = self.request(now, ordinal, deadline)?;
        match self.calls.one_way() {
            Ok(id) => Ok(Header {
                id,
                flags: wire::ONE_WAY,
                ..header
            }),
            Err(error) => Err(self.no_slot(error)),
        }
    }

    /// Takes back a call whose header was not sent. It has then never been.
    pub(crate) fn withdraw_call(&mut self, key: CallKey) {
        if self.calls.withdraw(key) {
            // It may have expired meanwhile. The peer must not hear of a call that was never sent.
            self.queue
                .retain(|control| *control != Control::Cancel { id: key.id() });
        }
    }

    /// Gives up a call that was sent: the peer is told, and the reply, which still comes, is dropped. Does
    /// nothing for a call that has ended.
    pub(crate) fn cancel_call(&mut self, key: CallKey) {
        if self.calls.give_up(key) {
            self.queue.push_back(Control::Cancel { id: key.id() });
        }
    }

    /// The handler of a call has ended, or been stopped. The header is to be sent next, with the body that
    /// [`ReplyStatus`] says. `None`: nobody waits for a reply, any more or ever; send nothing.
    ///
    /// `extra` travels to the caller as it is.
    #[inline]
    pub(crate) fn finish(&mut self, id: u64, status: ReplyStatus, extra: u64) -> Option<Header> {
        if self.serving.finish(id) != Finished::Answer {
            return None;
        }
        self.budget.finished();
        Some(output::reply(id, status, extra))
    }

    /// The header of a reply that is an error instead of the value that [`Self::finish`] gave the header for.
    pub(crate) fn failed_reply(&self, id: u64, kind: ErrorKind) -> Header {
        output::reply(id, ReplyStatus::Failed(kind), 0)
    }

    /// Lets the peer in that [`super::Incoming::Connect`] told of. The connection is open once
    /// [`Self::poll_transmit`] has given the Welcome. Does nothing in any other state.
    pub(crate) fn accept(&mut self) {
        if self.phase == Phase::Deciding {
            self.phase = Phase::Welcoming;
            self.queue.push_back(Control::Welcome);
        }
    }

    /// Keeps the peer out that [`super::Incoming::Connect`] told of, or one that has not introduced itself
    /// yet; it learns the kind and the first [`super::MAX_SENTENCE`] bytes of the sentence. Does nothing in
    /// any other state.
    pub(crate) fn reject(&mut self, kind: ErrorKind, sentence: &str) {
        if matches!(self.phase, Phase::AwaitHello | Phase::Deciding) {
            self.shut(ClosedBy::Us, kind, sentence, Some(Control::Reject));
        }
    }

    /// Asks the peer for a sign of life, with a token other than 2⁶³, which comes as [`super::Incoming::Pong`]. False, and nothing is
    /// sent, if the connection is not open or eight pings are unanswered.
    #[must_use]
    pub(crate) fn ping(&mut self, token: u64) -> bool {
        let possible = self.phase == Phase::Open && self.pings.len() < limits::MAX_PINGS;
        if possible {
            self.pings.push_back(token);
            self.queue.push_back(Control::Ping { token });
        }
        possible
    }

    /// Announces the end: the peer starts no more calls, calls in progress go on, both ways, and the
    /// connection closes when none is left, or at `until`. This side may still start calls, since handlers
    /// that end may need them. A second time it only changes `until`. A connection that is not open is closed
    /// at once.
    ///
    /// The peer acknowledges the announcement. One that does not within [`limits::DRAIN_PATIENCE`] is not reading, so it is
    /// not calling either: the connection then closes as soon as nothing is in progress. A call that crosses the
    /// Close is known not to have run.
    pub(crate) fn drain(&mut self, now: Instant, until: Instant) {
        match (&mut self.drain, self.phase) {
            (_, Phase::Closed) => {}
            (Some(drain), _) => drain.until = until,
            (None, Phase::Open) => {
                self.drain = Some(Drain {
                    until,
                    patience: now.checked_add(limits::DRAIN_PATIENCE),
                    acknowledged: false,
                });
                self.queue.push_back(Control::Drain { acknowledged: false });
            }
            (None, _) => self.close(ErrorKind::Closed, SHUT_DOWN),
        }
    }

    /// Ends the connection; the peer learns the kind and the first [`super::MAX_SENTENCE`] bytes of the
    /// sentence, if it has spoken our protocol so far. Unanswered calls fail, handlers are to be stopped: see
    /// the events. Does nothing if it has ended.
    pub(crate) fn close(&mut self, kind: ErrorKind, sentence: &str) {
        let farewell = match self.phase {
            Phase::AwaitHello => None,
            // The peer must not hear a Close before a Hello.
            Phase::AwaitWelcome if self.queue.contains(&Control::Hello) => {
                self.queue.clear();
                None
            }
            Phase::Deciding | Phase::Welcoming => {
                self.queue.clear();
                Some(Control::Reject)
            }
            Phase::AwaitWelcome | Phase::Open | Phase::Closed => Some(Control::Close),
        };
        self.shut(ClosedBy::Us, kind, sentence, farewell);
    }

    #[inline]
    fn request(&self, now: Instant, ordinal: u64, deadline: Option<Instant>) -> Result<Header, StartError> {
        if self.phase != Phase::Open || self.peer_drains {
            return Err(match self.phase {
                Phase::Open => StartError::Draining,
                Phase::Closed => StartError::Closed,
                _ => StartError::NotOpen,
            });
        }
        let extra = match deadline {
            None => 0,
            Some(deadline) if deadline <= now => return Err(StartError::Expired),
            Some(deadline) => timers::remaining(now, deadline),
        };
        Ok(Header {
            ordinal,
            extra,
            ..Kind::Request.header()
        })
    }

    #[cold]
    fn no_slot(&mut self, error: NoSlot) -> StartError {
        match error {
            NoSlot::Full => StartError::Full,
            NoSlot::Exhausted => {
                self.close(
                    ErrorKind::Closed,
                    "the connection has used up its ids for calls; connect again",
                );
                StartError::Closed
            }
        }
    }
}
