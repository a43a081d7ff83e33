//! Why a connection ended: who said so, what kind of failure it is, and a sentence.

use std::fmt;

use super::output::Control;
use super::{CancelReason, Connection, Event, Phase};
use crate::{Error, ErrorKind, Outcome};

/// Bytes of a sentence that travels in a Reject, a Close or a failed Reply: 1 KiB.
pub(crate) const MAX_SENTENCE: u32 = 1 << 10;

/// The reason for closing at the end of a drain.
pub(super) const SHUT_DOWN: &str = "shutting down";

/// Who ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClosedBy {
    /// This side: a command, a limit, or a breach of the protocol by the peer.
    Us,
    /// The peer, which sent the reason.
    Peer,
    /// Nobody: the transport broke, or the peer is gone.
    Transport,
}

/// Why a connection ended. There is one per connection, the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CloseReason {
    /// Who ended it.
    pub(crate) by: ClosedBy,
    /// What kind of failure it was.
    pub(crate) kind: ErrorKind,
    /// What happened, in at most [`MAX_SENTENCE`] bytes; a peer's has no control characters.
    pub(crate) sentence: String,
}

impl CloseReason {
    /// The failure of a call that the end of the connection caused.
    pub(crate) fn to_error(&self, outcome: Outcome) -> Error {
        Error::new(self.kind, self.to_string()).with_outcome(outcome)
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.by {
            ClosedBy::Us | ClosedBy::Transport => formatter.write_str(&self.sentence),
            ClosedBy::Peer if self.sentence.is_empty() => {
                formatter.write_str("the peer closed the connection")
            }
            ClosedBy::Peer => write!(formatter, "the peer closed the connection: {}", self.sentence),
        }
    }
}

impl Connection {
    /// Ends the connection, once: later reasons are lost. What is queued still leaves, then the farewell;
    /// without one, nothing does.
    pub(super) fn shut(&mut self, by: ClosedBy, kind: ErrorKind, sentence: &str, farewell: Option<Control>) {
        if self.phase == Phase::Closed {
            return;
        }
        self.phase = Phase::Closed;
        match farewell {
            Some(farewell) => self.queue.push_back(farewell),
            None => self.queue.clear(),
        }
        self.handshake_deadline = None;
        self.drain = None;
        let sentence = clipped(sentence, MAX_SENTENCE as usize).to_owned();
        self.reason = Some(CloseReason { by, kind, sentence });
        let events = &mut self.events;
        self.calls.fail_all(|key| events.push_back(Event::Failed(key)));
        self.serving.lose_all(|id| {
            events.push_back(Event::CancelServing {
                id,
                why: CancelReason::ConnectionLost,
            });
        });
        events.push_back(Event::Closed);
    }
}

/// What a peer says, made fit for logs and terminals: at most [`MAX_SENTENCE`] bytes of it are read, what is
/// not UTF-8 and what is a control character becomes U+FFFD. May take three times the bytes that were read.
pub(crate) fn sentence_from_peer(bytes: &[u8]) -> String {
    let bytes = &bytes[..bytes.len().min(MAX_SENTENCE as usize)];
    String::from_utf8_lossy(bytes)
        .chars()
        .map(|c| {
            if c.is_control() {
                char::REPLACEMENT_CHARACTER
            } else {
                c
            }
        })
        .collect()
}

/// The longest beginning of `text` that fits into `longest` bytes and does not cut a character.
pub(crate) fn clipped(text: &str, longest: usize) -> &str {
    let mut end = text.len().min(longest);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
