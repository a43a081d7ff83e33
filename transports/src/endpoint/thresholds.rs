//! From how many bytes on a body or a section travels in which way.

use super::Endpoint;
use crate::Pool;

impl Endpoint {
    /// The bodies that [`Endpoint::direct`] is about, unless [`Endpoint::direct_from`] says otherwise: from 1 MiB on.
    ///
    /// It is where waking a thread for the copy stops to be what it costs: a call took 385 µs with 1 MiB and 27.1 ms with 64 MiB,
    /// against 150 µs and 13.1 ms over `shm:` without it (medians of one run each, a virtual machine with 2
    /// processors). What is smaller is not worth being spared.
    pub const DIRECT_THRESHOLD: usize = 1 << 20;

    /// Has large bodies stay where they are until the other side has copied them out of this process's memory, and copies
    /// them out of the other's. It saves memory, not time: nothing of them is held anywhere in between.
    ///
    /// Both sides have to say so, since each lets the other read its memory: all of it, as far as the system knows.
    /// It is done between two processes of one user, over `shm:`, `unix:` and to a child, on Linux, if the system lets
    /// them: containers and sandboxes often do not, nor does the rule of Yama (`kernel.yama.ptrace_scope`) that only
    /// a process's ancestors may look into it. Otherwise bodies travel as they do without, and the log says so, once in the life of this
    /// process. [`Carrier::direct`](crate::Carrier::direct) tells what came of it.
    ///
    /// ```
    /// let endpoint: transports::Endpoint = "store".parse()?;
    /// let endpoint = endpoint.direct(true).direct_from(16 << 20);
    /// assert!(endpoint.is_direct());
    /// assert_eq!(endpoint.direct_threshold(), 16 << 20);
    /// # Ok::<(), transports::Error>(())
    /// ```
    #[must_use]
    pub fn direct(mut self, direct: bool) -> Self {
        self.direct = direct;
        self
    }

    /// Whether [`Endpoint::direct`] was said.
    #[must_use]
    pub fn is_direct(&self) -> bool {
        self.direct
    }

    /// Sets from how many bytes on this side lends the bodies that it sends, where [`Endpoint::direct`] was said;
    /// [`Endpoint::DIRECT_THRESHOLD`] unless it is set. Each side says it for itself. Zero means one.
    #[must_use]
    pub fn direct_from(mut self, bytes: usize) -> Self {
        self.direct_threshold = u32::try_from(bytes).unwrap_or(u32::MAX).max(1);
        self
    }

    /// From how many bytes on bodies are lent.
    #[must_use]
    pub fn direct_threshold(&self) -> usize {
        self.direct_threshold as usize
    }

    /// The bodies that travel in pieces over a socket, unless [`Endpoint::pieces_from`] says otherwise: from 64 KiB on.
    ///
    /// 64 KiB there and back took 30 µs blocking and 73 µs async in pieces, against 67 and 82 µs through the socket (medians of one
    /// run each, a virtual machine with 2 processors). What is smaller is copied faster than memory is handed over and taken back.
    pub const PIECES_THRESHOLD: usize = 64 << 10;

    /// Bytes of such a piece, unless [`Endpoint::piece_of`] says otherwise: 512 KiB.
    ///
    /// Each piece may wake the other side, which takes some 8 µs, and the larger it is, the longer one side waits for the other. 1 MiB there and
    /// back, async, took 409 µs in pieces of 64 KiB, 276 of 128, 213 of 256, 199 of 512 and 249 of 1 MiB, against 410 µs for a raw socket;
    /// 64 MiB one way 12.4 ms in pieces of 256 KiB, 8.4 of 512 and 8.9 of 1 MiB (the same machine, medians of two runs). That was one of AMD's. On
    /// one of Intel's, where a copy takes twice as long, the size makes no difference: 1 MiB there and back took 436 to 565 µs in pieces of 512 KiB,
    /// 371 to 503 of 128 and 370 to 555 of 64, and 64 MiB 86 to 109 ms, 86 to 120 and 85 to 107. Where small messages pass, pieces are short by
    /// themselves.
    pub const PIECE: usize = 512 << 10;

    /// Sets from how many bytes on the bodies that this side sends travel in pieces; small messages pass between the
    /// pieces. [`Endpoint::PIECES_THRESHOLD`] unless it is set, over a stream. Each side says it for itself. Zero means one.
    ///
    /// Over `unix:` and to a child, on Linux, between two processes of one user, they go through memory that both sides share, as far as there
    /// is some. Over `pipe:` on Unix, between two processes of one user, they go from the second one on through a file without a name that both
    /// have open: it lies in the file system where the pipe is, has room for four pieces, and is emptied when it is not used for a second.
    /// Everywhere else they go through the stream, and what is no longer than five pieces goes whole, whatever is set.
    ///
    /// Over `shm:` they go through the ring, whose records have room for 32 KiB: what is longer travels in pieces, whatever is set, and what is no longer
    /// than a piece goes whole. Unless it is set, what fits into a record does. Over `mem:` bodies are handed over.
    ///
    /// ```
    /// let endpoint: transports::Endpoint = "unix:store".parse()?;
    /// let endpoint = endpoint.pieces_from(1 << 20).piece_of(256 << 10);
    /// assert_eq!(endpoint.pieces_threshold(), 1 << 20);
    /// assert_eq!(endpoint.piece_size(), 256 << 10);
    /// # Ok::<(), transports::Error>(())
    /// ```
    #[must_use]
    pub fn pieces_from(mut self, bytes: usize) -> Self {
        self.pieces_threshold = Some(u32::try_from(bytes).unwrap_or(u32::MAX).max(1));
        self
    }

    /// From how many bytes on bodies travel in pieces over a stream.
    #[must_use]
    pub fn pieces_threshold(&self) -> usize {
        self.set_pieces_threshold().unwrap_or(Self::PIECES_THRESHOLD)
    }

    /// The same, if it was set.
    pub(crate) fn set_pieces_threshold(&self) -> Option<usize> {
        self.pieces_threshold.map(|bytes| bytes as usize)
    }

    /// Sets the bytes of a piece, for [`Endpoint::pieces_from`]; [`Endpoint::PIECE`] unless it is set. Four of them are on their way at most. Values
    /// below 4 KiB mean that, those above 1 MiB that. A piece that goes through the stream has 256 KiB at most, one through a file 128, and one
    /// through a ring 32, which is what it has there unless this is set.
    #[must_use]
    pub fn piece_of(mut self, bytes: usize) -> Self {
        let bytes = bytes.clamp(Self::LEAST_PIECE, Self::LARGEST_PIECE);
        self.piece_size = Some(u32::try_from(bytes).unwrap_or(u32::MAX));
        self
    }

    /// Bytes of a piece over a stream, where it has no reason to be smaller.
    #[must_use]
    pub fn piece_size(&self) -> usize {
        self.set_piece_size().unwrap_or(Self::PIECE)
    }

    /// The same, if it was set.
    pub(crate) fn set_piece_size(&self) -> Option<usize> {
        self.piece_size.map(|bytes| bytes as usize)
    }

    /// The sections that are worth memory of the pool's, unless [`Endpoint::sections_from`] says otherwise: from 16 KiB on.
    ///
    /// It is the least that a pool sets aside, and up to there the two copies of a message cost less than a microsecond, as much
    /// as handing memory over and taking it back.
    pub const SECTIONS_THRESHOLD: usize = Pool::SMALLEST;

    /// Sets from how many bytes on what the floor above offers its users as a section lies in memory of the pool's and travels beside a
    /// message; smaller ones travel inside. [`Endpoint::SECTIONS_THRESHOLD`] unless it is set. Each side says it for itself. Zero means one:
    /// a section with nothing in it has no memory.
    ///
    /// Ports do as they are told: [`Sender::try_send_with`](crate::Sender::try_send_with) sends a section of any size beside a message.
    #[must_use]
    pub fn sections_from(mut self, bytes: usize) -> Self {
        self.sections_threshold = u32::try_from(bytes).unwrap_or(u32::MAX).max(1);
        self
    }

    /// From how many bytes on sections travel beside a message.
    #[must_use]
    pub fn sections_threshold(&self) -> usize {
        self.sections_threshold as usize
    }

    /// Below a page, a piece costs more by itself than by its bytes.
    const LEAST_PIECE: usize = 4 << 10;
    /// Several are to fit into a memory of the pool's.
    pub(crate) const LARGEST_PIECE: usize = 1 << 20;
}
