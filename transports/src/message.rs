//! What travels: a fixed header and a body.

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
    /// Sections attached (none yet: a port refuses other counts than zero).
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
}

/// A received message. The body is private memory of this process: nobody else can change it any more.
#[derive(Debug, Default)]
pub struct Message {
    /// The fixed part.
    pub header: Header,
    /// The body, `header.length` bytes. The capacity is kept from message to message.
    pub body: Vec<u8>,
}
