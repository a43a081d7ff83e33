//! What is to be done: messages to send, events, the next time to wake up.

use std::time::Instant;

use transports::Header;

use super::close::{self, ClosedBy, SHUT_DOWN};
use super::wire::{self, Kind};
use super::{Connection, Event, Phase, ReplyStatus, Role, handshake};
use crate::ErrorKind;

/// A message that the core itself sends. Its body, if it has one, is written when it leaves.
///
/// The queue is bounded by what an honest peer can cause: one Cancel per unanswered call of ours, one answer
/// per unanswered call of theirs, [`super::limits::MAX_PINGS`] pings and pongs, and
/// [`super::budget::REFUSALS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Control {
    Hello,
    Welcome,
    Reject,
    Cancel {
        id: u64,
    },
    /// An answer to a call that the core gives without the handler.
    Answer {
        id: u64,
        status: ReplyStatus,
        extra: u64,
        sentence: &'static str,
    },
    Ping {
        token: u64,
    },
    Pong {
        token: u64,
    },
    Drain {
        acknowledged: bool,
    },
    Close,
}

/// What is to be done.
impl Connection {
    /// The next message to send that no command has returned: its header, and its body in `body`, whose
    /// content is replaced.
    #[inline]
    pub(crate) fn poll_transmit(&mut self, body: &mut Vec<u8>) -> Option<Header> {
        if self.queue.is_empty() {
            // Only now: the replies that ended the last calls have been handed out before.
            if self.drain.is_none() || !self.close_if_drained() {
                return None;
            }
        }
        let control = self.queue.pop_front()?;
        Some(self.write(control, body))
    }

    /// Whether [`Connection::poll_transmit`] may give anything.
    #[inline]
    pub(crate) fn has_to_say(&self) -> bool {
        !self.queue.is_empty() || self.drain.is_some()
    }

    /// The next thing that has happened otherwise than by a message.
    #[inline]
    pub(crate) fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When to call [`Self::handle_timeout`] next.
    #[inline]
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let drained = self.drain.and_then(|drain| drain.next());
        let times = [
            self.handshake_deadline,
            drained,
            self.calls.next_deadline(),
            self.serving.next_deadline(),
            self.next_look(),
        ];
        times.into_iter().flatten().min()
    }

    /// All that was announced has happened: the peer starts no calls, and none is in progress.
    fn close_if_drained(&mut self) -> bool {
        let drained = self.drain.is_some_and(|drain| drain.is_known())
            && self.calls.awaited() == 0
            && self.serving.awaited() == 0
            && self.serving.one_ways() == 0;
        if drained {
            self.shut(ClosedBy::Us, ErrorKind::Closed, SHUT_DOWN, Some(Control::Close));
        }
        drained
    }

    fn write(&mut self, control: Control, body: &mut Vec<u8>) -> Header {
        body.clear();
        let config = &self.config;
        let mut header = match control {
            Control::Hello => {
                if let Role::Connecting { blob } = &config.role {
                    handshake::write_hello(
                        body,
                        &config.codecs,
                        &config.limits,
                        blob,
                        &config.services,
                        config.wishes,
                    );
                }
                Kind::Hello.header()
            }
            Control::Welcome => {
                handshake::write_welcome(
                    body,
                    self.version,
                    self.codec,
                    &config.limits,
                    &config.services,
                    config.wishes,
                );
                self.phase = Phase::Open;
                Kind::Welcome.header()
            }
            Control::Reject => Header {
                extra: self.write_reason(body),
                ..Kind::Reject.header()
            },
            Control::Close => Header {
                id: self.serving.last_id(),
                extra: self.write_reason(body),
                ..Kind::Close.header()
            },
            Control::Cancel { id } => Header {
                id,
                ..Kind::Cancel.header()
            },
            Control::Answer {
                id,
                status,
                extra,
                sentence,
            } => {
                self.answers_queued -= 1;
                body.extend_from_slice(sentence.as_bytes());
                reply(id, status, extra)
            }
            Control::Ping { token } => Header {
                extra: token,
                ..Kind::Ping.header()
            },
            Control::Pong { token } => {
                self.pongs_queued -= 1;
                Header {
                    extra: token,
                    ..Kind::Pong.header()
                }
            }
            Control::Drain { acknowledged } => {
                let flags = if acknowledged { wire::ACKNOWLEDGED } else { 0 };
                Header {
                    flags,
                    ..Kind::Drain.header()
                }
            }
        };
        // A handshake is at most 1 MiB, everything else at most a sentence.
        header.length = body.len() as u32;
        header
    }

    /// Writes the sentence and returns the code.
    fn write_reason(&self, body: &mut Vec<u8>) -> u64 {
        let Some(reason) = &self.reason else { return 0 };
        body.extend_from_slice(close::clipped(&reason.sentence, close::MAX_SENTENCE as usize).as_bytes());
        u64::from(reason.kind.code())
    }
}

/// The header of a reply.
pub(super) fn reply(id: u64, status: ReplyStatus, extra: u64) -> Header {
    let (flags, ordinal) = match status {
        ReplyStatus::Ok => (0, 0),
        ReplyStatus::Failed(kind) => (wire::FAILED, u64::from(kind.code())),
        ReplyStatus::Refused(kind) => (wire::FAILED | wire::REFUSED, u64::from(kind.code())),
    };
    Header {
        id,
        flags,
        ordinal,
        extra,
        ..Kind::Reply.header()
    }
}
