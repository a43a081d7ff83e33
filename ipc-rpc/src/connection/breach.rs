//! The rules that a peer may break, as sentences, and what comes of it.

use std::fmt;

use super::close::ClosedBy;
use super::handshake::Malformed;
use super::output::Control;
use super::wire::Kind;
use super::{Connection, Phase};
use crate::{Error, ErrorKind};

/// A rule of the protocol that a peer broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Breach {
    Stranger,
    Kind(u8),
    Unexpected(Kind),
    Header(Kind, &'static str),
    TooLong(u32),
    Malformed(Malformed),
    NotOffered,
    OldId(u64),
    AfterDrain,
    Reply(u64),
    Cancel(u64),
    Pings,
    Pong,
}

impl fmt::Display for Breach {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stranger => formatter.write_str("whoever is at the other end does not speak ipc-rpc"),
            Self::Kind(code) => write!(formatter, "protocol broken: a message of the unknown kind {code}"),
            Self::Unexpected(kind) => write!(formatter, "protocol broken: a {kind:?} out of place"),
            Self::Header(kind, rule) => write!(formatter, "protocol broken: a {kind:?} with {rule}"),
            Self::TooLong(length) => write!(
                formatter,
                "protocol broken: a body of {length} bytes, above the limit"
            ),
            Self::Malformed(Malformed(what)) => {
                write!(formatter, "protocol broken: a handshake with malformed {what}")
            }
            Self::NotOffered => {
                formatter.write_str("protocol broken: a Welcome that chooses what was not offered")
            }
            Self::OldId(id) => write!(
                formatter,
                "protocol broken: a Request whose id {id:#x} is not new"
            ),
            Self::AfterDrain => {
                formatter.write_str("protocol broken: a Request after the Drain was acknowledged")
            }
            Self::Reply(id) => write!(
                formatter,
                "protocol broken: a Reply to {id:#x}, which is not unanswered"
            ),
            Self::Cancel(id) => write!(
                formatter,
                "protocol broken: a Cancel of {id:#x}, which cannot be cancelled"
            ),
            Self::Pings => formatter.write_str("protocol broken: more Pings than may be unanswered"),
            Self::Pong => formatter.write_str("protocol broken: a Pong to no Ping"),
        }
    }
}

impl Connection {
    /// Closes because the peer broke a rule. A stranger is told nothing.
    #[cold]
    pub(super) fn breach(&mut self, breach: Breach) -> Error {
        let sentence = breach.to_string();
        let farewell = match (self.phase, &breach) {
            (_, Breach::Stranger) => None,
            (Phase::AwaitHello | Phase::Deciding | Phase::Welcoming, _) => {
                self.queue.clear();
                Some(Control::Reject)
            }
            _ => Some(Control::Close),
        };
        self.shut(ClosedBy::Us, ErrorKind::Protocol, &sentence, farewell);
        Error::new(ErrorKind::Protocol, sentence)
    }
}
