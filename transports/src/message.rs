//! What travels: a fixed header and a body.

use crate::{Error, ErrorKind, Lease, Pool, section};

/// The fixed part of every message, 32 bytes on the wire, little-endian.
///
/// The transport reads `length` and the attachment counts; the other fields belong to the floor above
/// and pass through untouched.
///
/// ```text
/// 0        4     5      6         7        8        16        24      32
/// | length |kind |flags |sections |handles | id     | ordinal | extra |
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Bytes of body that follow the header.
    pub length: u32,
    /// What the message is.
    pub kind: u8,
    /// Details of the kind.
    pub flags: u8,
    /// Sections attached: set by [`Sender::try_send_with`](crate::Sender::try_send_with). Other ways of sending refuse other
    /// counts than zero.
    pub sections: u8,
    /// Handles attached (none yet: a port refuses other counts than zero).
    pub handles: u8,
    /// Which call the message belongs to.
    pub id: u64,
    /// Which method is called.
    pub ordinal: u64,
    /// A further word, by kind.
    pub extra: u64,
}

impl Header {
    /// Bytes that a header takes on the wire.
    pub const SIZE: usize = 32;

    /// In the `flags` of a message given to a port: the message has no place in the order of others that have this flag,
    /// too. Where large bodies travel in pieces, such messages pass between the pieces of one another. It does not
    /// travel: bit 7 of the flags is for the port alone.
    pub const UNORDERED: u8 = 0x80;

    /// The header as it travels.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        bytes[0..4].copy_from_slice(&self.length.to_le_bytes());
        bytes[4] = self.kind;
        bytes[5] = self.flags;
        bytes[6] = self.sections;
        bytes[7] = self.handles;
        bytes[8..16].copy_from_slice(&self.id.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.ordinal.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.extra.to_le_bytes());
        bytes
    }

    /// Reads a header as it travelled. Every pattern of bits is a header; whether it makes sense is for the
    /// reader to judge.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; Self::SIZE]) -> Self {
        let word = |at: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&bytes[at..at + 8]);
            u64::from_le_bytes(word)
        };
        Self {
            length: u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]),
            kind: bytes[4],
            flags: bytes[5],
            sections: bytes[6],
            handles: bytes[7],
            id: word(8),
            ordinal: word(16),
            extra: word(24),
        }
    }

    /// As [`Header::outgoing`], for a message with so many sections.
    pub(crate) fn outgoing_with(&self, sections: usize, body: usize, limit: usize) -> Result<Self, Error> {
        let count = u8::try_from(sections).ok().filter(|_| sections <= Pool::SECTIONS);
        let count = count.ok_or_else(|| section::refuse(sections))?;
        let header = Self { sections: 0, ..*self }.outgoing(body, limit)?;
        Ok(Self {
            sections: count,
            ..header
        })
    }

    /// The header of a message that is about to be sent: judged, and with its length.
    #[inline]
    pub(crate) fn outgoing(&self, body: usize, limit: usize) -> Result<Self, Error> {
        let length = self.check_outgoing(body, limit)?;
        Ok(Self {
            length,
            flags: self.flags & !Self::UNORDERED,
            ..*self
        })
    }

    /// Judges the header of a message that is about to be sent; its length.
    #[inline]
    pub(crate) fn check_outgoing(&self, body: usize, limit: usize) -> Result<u32, Error> {
        if self.sections != 0 || self.handles != 0 {
            return Err(Self::carries_more());
        }
        match u32::try_from(body) {
            Ok(length) if body <= limit => Ok(length),
            _ => Err(Self::too_large(body, limit)),
        }
    }

    #[cold]
    fn carries_more() -> Error {
        Error::new(
            ErrorKind::Unsupported,
            "this transport carries no sections and no handles",
        )
    }

    #[cold]
    fn too_large(body: usize, limit: usize) -> Error {
        let message = format!(
            "a message of {body} bytes is above the limit of {limit} bytes; raise Endpoint::max_message"
        );
        Error::new(ErrorKind::TooLarge, message)
    }

    /// As [`Header::check_incoming`], where a message may have sections: their table counts as a part of its body.
    pub(crate) fn check_incoming_with(&self, sections: bool, limit: usize) -> Result<(), Error> {
        if !sections {
            return self.check_incoming(limit);
        }
        let table = usize::from(self.sections) * section::ENTRY;
        Self { sections: 0, ..*self }.check_incoming(limit + table)
    }

    /// Judges the header of a message that is about to be received.
    #[inline]
    pub(crate) fn check_incoming(&self, limit: usize) -> Result<(), Error> {
        if self.sections != 0 || self.handles != 0 {
            let message = "a message announces sections or handles, which this connection does not carry";
            return Err(Error::new(ErrorKind::Protocol, message));
        }
        let length = self.length as usize;
        if length > limit {
            Err(Self::too_long(length, limit))
        } else {
            Ok(())
        }
    }

    /// The error for an incoming message above the limit.
    pub(crate) fn too_long(length: usize, limit: usize) -> Error {
        let message = format!(
            "the other side sent a message of {length} bytes, the limit is {limit} bytes; \
             raise Endpoint::max_message on this side if it is meant"
        );
        Error::new(ErrorKind::TooLarge, message)
    }
}

/// A received message. The body is private memory of this process: nobody else can change it any more.
#[derive(Debug, Default)]
pub struct Message {
    /// The fixed part.
    pub header: Header,
    /// The body, `header.length` bytes. The capacity is kept from message to message.
    pub body: Vec<u8>,
    /// [`Received::Begun`](crate::Received::Begun) has told of it before.
    pub begun: bool,
    /// What travelled beside the body, `header.sections` of them. Dropping one gives it back. Some may be this side's own, which the
    /// other has had to itself: see [`Lease::into_chunk`].
    pub sections: Vec<Lease>,
}
