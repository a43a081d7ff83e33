//! What is on the wire: kinds of message, their flags, and which fields of the header each kind uses.
//!
//! # Stability
//! Every number here, in [`super::handshake`] and in [`ErrorKind::code`] is read by programs that were built
//! at other times. Numbers are added, never changed or used again. What a kind does not use is zero, and a
//! message in which it is not zero is refused, so that a later protocol version may give it a meaning.
//!
//! | kind | `flags` | `id` | `ordinal` | `extra` | body |
//! |---|---|---|---|---|---|
//! | Hello | 0 | [`MAGIC`] | 0 | 0 | see [`super::handshake`] |
//! | Welcome | 0 | [`MAGIC`] | 0 | 0 | see [`super::handshake`] |
//! | Reject | 0 | [`MAGIC`] | 0 | [`ErrorKind::code`] | a sentence |
//! | Request | [`ONE_WAY`] | the call | the method | nanoseconds left, 0 for no deadline | arguments |
//! | Reply | [`FAILED`], [`REFUSED`] | the call | 0, or if failed [`ErrorKind::code`] | nanoseconds in the handler, or 0 | result, or if failed a sentence |
//! | Cancel | 0 | the call | 0 | 0 | none |
//! | Ping, Pong | 0 | 0 | 0 | a token | none |
//! | Drain | [`ACKNOWLEDGED`] | 0 | 0 | 0 | none |
//! | Close | 0 | the last call that it read, or 0 | 0 | [`ErrorKind::code`] | a sentence |

#[cfg(doc)]
use crate::ErrorKind;

use transports::Header;

use super::close::MAX_SENTENCE;
use super::handshake::{MAX_HELLO, MAX_WELCOME};

/// The id of every handshake message. Whoever does not begin with it does not speak this protocol, which
/// shows in the first 32 bytes, before any length is believed.
pub(crate) const MAGIC: u64 = u64::from_le_bytes(*b"ipc-rpc\0");

/// The oldest and newest protocol version that this build speaks.
pub(crate) const VERSIONS: std::ops::RangeInclusive<u16> = 1..=1;

/// On a Request: nobody waits for a reply, and none is sent.
pub(crate) const ONE_WAY: u8 = 1;
/// On a Reply: the call failed, `ordinal` says how and the body is a sentence.
pub(crate) const FAILED: u8 = 1;
/// On a Reply, only together with [`FAILED`]: the handler did not run.
pub(crate) const REFUSED: u8 = 2;
/// On a Drain: the answer to one.
pub(crate) const ACKNOWLEDGED: u8 = 1;

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// The connecting side's first message.
    Hello = 1,
    /// The accepting side lets the other in.
    Welcome = 2,
    /// The accepting side keeps the other out.
    Reject = 3,
    /// A call.
    Request = 4,
    /// The one answer to a call.
    Reply = 5,
    /// The caller no longer wants the answer; it still gets one.
    Cancel = 6,
    /// Asks for a [`Kind::Pong`].
    Ping = 7,
    /// The answer to a [`Kind::Ping`], with the same token.
    Pong = 8,
    /// The sender is about to close: start no more calls. Answered with [`ACKNOWLEDGED`] set.
    Drain = 9,
    /// The sender's last message: why it closes.
    Close = 10,
}

// The layout that the table above describes.
const _: () = assert!(Header::SIZE == 32 && size_of::<Kind>() == 1);

impl Kind {
    /// The kind with this number, if there is one.
    pub(crate) fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            1 => Self::Hello,
            2 => Self::Welcome,
            3 => Self::Reject,
            4 => Self::Request,
            5 => Self::Reply,
            6 => Self::Cancel,
            7 => Self::Ping,
            8 => Self::Pong,
            9 => Self::Drain,
            10 => Self::Close,
            _ => return None,
        })
    }

    /// Whether messages of this kind may pass one another while a large one is on its way. Not one-way calls, which are run in
    /// the order in which they were made, and not what begins or ends something.
    pub(crate) fn is_unordered(header: &Header) -> bool {
        match Self::from_code(header.kind) {
            Some(Self::Request) => header.flags & ONE_WAY == 0,
            Some(Self::Reply | Self::Cancel | Self::Ping | Self::Pong) => true,
            _ => false,
        }
    }

    /// Whether it belongs to the handshake and so carries [`MAGIC`].
    pub(crate) fn is_handshake(self) -> bool {
        matches!(self, Self::Hello | Self::Welcome | Self::Reject)
    }

    /// A header of this kind, everything else zero but the magic where it belongs.
    pub(super) fn header(self) -> Header {
        let id = if self.is_handshake() { MAGIC } else { 0 };
        Header {
            kind: self as u8,
            id,
            ..Header::default()
        }
    }

    /// Checks everything about a header that follows from its kind alone: flags, unused fields, attachments,
    /// and the length where the kind fixes one. Returns the rule that is broken.
    pub(super) fn check(self, header: &Header) -> Result<(), &'static str> {
        let (flags, longest) = match self {
            Self::Request => (ONE_WAY, u32::MAX),
            Self::Reply => (FAILED | REFUSED, u32::MAX),
            Self::Drain => (ACKNOWLEDGED, 0),
            Self::Cancel | Self::Ping | Self::Pong => (0, 0),
            Self::Hello => (0, MAX_HELLO),
            Self::Welcome => (0, MAX_WELCOME),
            Self::Reject | Self::Close => (0, MAX_SENTENCE),
        };
        if header.flags & !flags != 0 {
            return Err("a flag that its kind does not have");
        }
        if header.length > longest {
            return Err("a body longer than its kind may have");
        }
        let code_or_zero = |word: u64| word <= u64::from(u8::MAX);
        let sound = match self {
            Self::Request => return Ok(()),
            Self::Reply => {
                return match header.flags {
                    0 if header.ordinal != 0 => Err("a value in a field that its kind does not use"),
                    REFUSED => Err("a refusal that is no failure"),
                    _ if !code_or_zero(header.ordinal) => Err("an error code above 255"),
                    _ => Ok(()),
                };
            }
            Self::Hello | Self::Welcome => header.id == MAGIC && header.ordinal == 0 && header.extra == 0,
            Self::Reject => header.id == MAGIC && header.ordinal == 0 && code_or_zero(header.extra),
            Self::Cancel => header.ordinal == 0 && header.extra == 0,
            Self::Ping | Self::Pong => header.id == 0 && header.ordinal == 0,
            Self::Drain => header.id == 0 && header.ordinal == 0 && header.extra == 0,
            Self::Close => header.ordinal == 0 && code_or_zero(header.extra),
        };
        if header.sections != 0 || header.handles != 0 {
            return Err("attachments on a kind that has none");
        }
        if sound {
            Ok(())
        } else {
            Err("a value in a field that its kind does not use")
        }
    }
}
