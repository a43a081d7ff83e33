//! Bytes on their way into a stream.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::mem;
use std::sync::Arc;

use super::pieces::Frame;
use super::spool::Spool;
use super::{Link, Tag};
use crate::crash::crash_point;
use crate::sys::shm::Outbox;
use crate::{Error, Flushed, Header, buffers};

/// A batch that has grown to this many bytes is closed, so that it stays in the processor's cache.
const BATCH: usize = 64 << 10;
/// Pieces handed to the kernel in one call.
const PIECES: usize = 16;

/// The stream, with what waits for the system to take it.
pub(super) struct Writer {
    pub(super) link: Arc<Link>,
    tag: Option<Tag>,
    /// What tells the other side of sections, if it can have any.
    pub(super) outbox: Option<Outbox>,
    /// The file for large bodies, once it is made.
    spool: Option<Spool>,
    queue: Queue,
    /// The system took less than it was given: nothing goes before there is space.
    blocked: bool,
    pub(super) broken: bool,
}

impl Writer {
    pub(super) fn new(link: Arc<Link>, outbox: Option<Outbox>) -> Self {
        Self {
            tag: link.stream.tag(),
            link,
            outbox,
            spool: None,
            queue: Queue::default(),
            blocked: false,
            broken: false,
        }
    }

    /// Bytes that wait.
    pub(super) fn bytes(&self) -> usize {
        self.queue.bytes
    }

    pub(super) fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// Nothing is sent any more.
    pub(super) fn break_down(&mut self) {
        self.broken = true;
        self.queue = Queue::default();
    }

    /// Gives the system what it takes.
    pub(super) fn write(&mut self) -> Result<Flushed, Error> {
        while self.queue.bytes > 0 {
            self.send([&[], &[]])?;
            if self.blocked {
                return Ok(Flushed::Blocked);
            }
        }
        self.blocked = false;
        // Between two messages, like this, there is room for what is no message.
        let unsent = self.outbox.as_ref().filter(|outbox| outbox.has_unsent());
        let told = unsent.map(|outbox| outbox.tell(&self.link.stream));
        self.broken = matches!(told, Some(Err(_)));
        if told.transpose()? == Some(false) {
            self.blocked = true;
            return Ok(Flushed::Blocked);
        }
        Ok(Flushed::Done)
    }

    /// One call to the system, for what is queued and then for bytes behind it that somebody else keeps: how many of these it took.
    fn send(&mut self, behind: [&[u8]; 2]) -> Result<usize, Error> {
        loop {
            crash_point!();
            match self.queue.send_to(&self.link.stream, behind) {
                Ok((given, taken)) => {
                    crash_point!();
                    // A short write means that the system's buffer is full; trying again would only hear so.
                    self.blocked = taken < given;
                    let of_queue = taken.min(self.queue.bytes);
                    self.queue.advance(of_queue);
                    return Ok(taken - of_queue);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.blocked = true;
                    return Ok(0);
                }
                Err(error) => {
                    self.break_down();
                    return Err(Error::system("cannot send to the other side", error));
                }
            }
        }
    }

    /// Appends a header and what stands before a body, which is appended, too, or taken whole. What has grown large goes at
    /// once, if it goes at all.
    ///
    /// # Errors
    /// The stream is broken.
    pub(super) fn put(
        &mut self,
        header: &Header,
        head: &[u8],
        body: &mut Vec<u8>,
        copied: usize,
    ) -> Result<(), Error> {
        let header = header.to_bytes();
        if body.len() <= copied {
            self.queue.copy(self.tag, [&header, head, body]);
            if self.queue.is_batch_full() && !self.blocked {
                self.write()?;
            }
            return Ok(());
        }
        self.queue.copy(self.tag, [&header, head, &[]]);
        self.queue.take(body);
        if !self.blocked {
            self.write()?;
        }
        // A buffer for the next one.
        if let Some(used) = self.queue.used.take() {
            *body = used;
        }
        Ok(())
    }

    /// Sees to the file for large bodies before one is sent, where there is to be one: it is made, with places of so many bytes, and the other side is
    /// told; or looked at, whether the other side has it by now.
    pub(super) fn prepare_spool(&mut self, size: usize) {
        if !self.link.stream.has_spools() {
            return;
        }
        match &self.spool {
            Some(spool) => spool.look(),
            None => {
                self.spool = Spool::make(&self.link, size);
                if let Some(spool) = &self.spool {
                    let frame = spool.frame().header().to_bytes();
                    self.queue.copy(self.tag, [&frame, &[], &[]]);
                    crash_point!();
                }
            }
        }
    }

    /// Whether there is memory for pieces, or a file that the other side has, too.
    pub(super) fn has_memory(&self) -> bool {
        self.outbox.is_some() || self.spool.as_ref().is_some_and(Spool::is_usable)
    }

    /// Appends the beginning of a large message.
    pub(super) fn begin(&mut self, lane: usize, header: &Header, start: &[u8]) {
        let frame = Frame::Begin {
            lane: lane as u64,
            start: start.len(),
        };
        let parts = [&frame.header().to_bytes()[..], &header.to_bytes(), start];
        self.queue.copy(self.tag, parts);
    }

    /// Sends the next piece of a large message, out of the two parts of what is left of it: through memory, if
    /// there is some to be had now. The bytes that were taken; none, if what is queued has to go first and cannot.
    ///
    /// # Errors
    /// The stream is broken.
    pub(super) fn piece(&mut self, lane: usize, rest: [&[u8]; 2], sizes: PieceSizes) -> Result<usize, Error> {
        if let Some(place) = sizes.in_memory {
            if let Some(taken) = self.piece_in_memory(lane, rest, place)? {
                return Ok(taken);
            }
            if let Some(taken) = self.piece_in_file(lane, rest, place.used) {
                return Ok(taken);
            }
        }
        self.piece_in_stream(lane, rest, sizes.in_stream)
    }

    /// The same through memory. `None`: there is none now.
    fn piece_in_memory(
        &mut self,
        lane: usize,
        rest: [&[u8]; 2],
        place: PlaceSize,
    ) -> Result<Option<usize>, Error> {
        let length = (rest[0].len() + rest[1].len()).min(place.used);
        // All are set aside the same room, so that one memory does for all.
        let chunk = self.outbox.as_ref().and_then(|outbox| outbox.piece(place.all));
        if let Some(mut chunk) = chunk {
            let to_announce = self
                .outbox
                .as_ref()
                .is_some_and(|outbox| !outbox.is_known(&chunk));
            // Where nothing is half sent.
            if to_announce && self.write()? == Flushed::Blocked {
                return Ok(Some(0));
            }
            if let Some(outbox) = &self.outbox {
                let [first, second] = parts(rest, length);
                let (to_first, to_second) = chunk.bytes_mut()[..length].split_at_mut(first.len());
                to_first.copy_from_slice(first);
                to_second.copy_from_slice(second);
                crash_point!();
                match outbox.hand_over_piece(&chunk, length, lane, &self.link.stream) {
                    Ok(Some(frame)) => {
                        self.queue.copy(self.tag, [&frame.to_bytes(), &[], &[]]);
                        crash_point!();
                        return Ok(Some(length));
                    }
                    Ok(None) => {}
                    Err(error) => {
                        self.break_down();
                        return Err(error);
                    }
                }
            }
        }
        Ok(None)
    }

    /// The same through the file. `None`: there is no room in it now.
    fn piece_in_file(&mut self, lane: usize, rest: [&[u8]; 2], most: usize) -> Option<usize> {
        let length = (rest[0].len() + rest[1].len()).min(most);
        let place = self.spool.as_ref()?.put(parts(rest, length))?;
        let frame = Frame::Spooled {
            lane: lane as u64,
            place,
            // At most 1 MiB.
            length: length as u32,
        };
        self.queue.copy(self.tag, [&frame.header().to_bytes(), &[], &[]]);
        crash_point!();
        Some(length)
    }

    /// The same through the stream: the system takes it from where it is, and what it does not take is copied, so that the next
    /// message need not wait for its owner.
    fn piece_in_stream(&mut self, lane: usize, rest: [&[u8]; 2], most: usize) -> Result<usize, Error> {
        let length = (rest[0].len() + rest[1].len()).min(most);
        let frame = Frame::Piece {
            lane: lane as u64,
            length,
        };
        let piece = parts(rest, length);
        self.queue.copy(self.tag, [&frame.header().to_bytes(), &[], &[]]);
        let gone = if self.blocked { 0 } else { self.send(piece)? };
        if gone < length {
            let [of_first, of_second] = parts(piece, gone).map(<[u8]>::len);
            self.queue
                .copy(None, [&piece[0][of_first..], &piece[1][of_second..], &[]]);
        }
        Ok(length)
    }

    /// Frees what the pieces of large messages needed, when there are none.
    pub(super) fn rest(&mut self) {
        if self.queue.batch.capacity() > 2 * BATCH {
            self.queue.batch = Vec::new();
        }
    }

    /// Takes the buffer of the last body that was taken whole and is gone, if it is small.
    pub(super) fn take_used(&mut self) -> Option<Vec<u8>> {
        self.queue.used.take()
    }
}

/// Bytes of the pieces of a large message at most.
#[derive(Clone, Copy)]
pub(super) struct PieceSizes {
    /// Of one in memory, where both sides share some, or a file.
    pub(super) in_memory: Option<PlaceSize>,
    /// Of one in the stream.
    pub(super) in_stream: usize,
}

/// Bytes of a place for a piece.
#[derive(Clone, Copy)]
pub(super) struct PlaceSize {
    /// What is set aside, the same for all pieces.
    pub(super) all: usize,
    /// What is used of it at most.
    pub(super) used: usize,
}

/// Bytes of a piece that goes through the stream because none of the memory is free. The other side may make room there while the
/// system copies these.
pub(super) const PIECE_BESIDE_MEMORY: usize = 32 << 10;

/// Bytes of a piece at most that goes through a file. Smaller ones than those in memory, since the system takes twice as long to copy them, and others wait
/// meanwhile: calls of 32 B beside bodies of 64 MiB over `pipe:` took 0.38 to 0.5 ms with pieces of 128 KiB, and 0.5 to 1.0 with 512; 64 MiB there
/// and back took the same 140 to 160 ms with both, where all of it through the FIFO takes 170 to 210 (medians of two runs each, a virtual
/// machine with 2 processors).
pub(super) const PIECE_IN_FILE: usize = 128 << 10;

/// Bytes of a piece at most where all of them go through the stream: as many as are copied in some 50 µs.
pub(super) const PIECE_IN_STREAM: usize = 256 << 10;

/// The first `length` bytes of two parts, which have so many.
fn parts([first, second]: [&[u8]; 2], length: usize) -> [&[u8]; 2] {
    let of_first = first.len().min(length);
    [&first[..of_first], &second[..length - of_first]]
}

/// Bytes that wait for the system to take them.
#[derive(Default)]
struct Queue {
    pieces: VecDeque<Piece>,
    /// Bytes of the first piece that are gone already.
    gone: usize,
    /// Bytes that are still to go.
    bytes: usize,
    /// An empty batch, kept for the next time.
    batch: Vec<u8>,
    /// The buffer of the last body that is gone and was not copied, if it is small enough to be left here.
    used: Option<Vec<u8>>,
}

enum Piece {
    /// Headers and small bodies, copied one after the other.
    Batch(Vec<u8>),
    /// One large body.
    Whole(Vec<u8>),
}

impl Piece {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Batch(bytes) | Self::Whole(bytes) => bytes,
        }
    }
}

impl Queue {
    fn copy(&mut self, tag: Option<Tag>, parts: [&[u8]; 3]) {
        let batch = match self.pieces.back_mut() {
            Some(Piece::Batch(batch)) if batch.len() < BATCH => batch,
            _ => {
                self.pieces.push_back(Piece::Batch(mem::take(&mut self.batch)));
                let Some(Piece::Batch(batch)) = self.pieces.back_mut() else {
                    return;
                };
                batch
            }
        };
        let before = batch.len();
        if let Some(tag) = tag {
            batch.extend_from_slice(&tag);
        }
        for part in parts {
            batch.extend_from_slice(part);
        }
        self.bytes += batch.len() - before;
    }

    fn take(&mut self, body: &mut Vec<u8>) {
        self.bytes += body.len();
        self.pieces.push_back(Piece::Whole(mem::take(body)));
    }

    fn is_batch_full(&self) -> bool {
        matches!(self.pieces.back(), Some(Piece::Batch(batch)) if batch.len() >= BATCH)
    }

    /// One call to the system for what waits, and bytes behind it if all of that fits into the call: how much it was given, and
    /// how much it took.
    fn send_to(&self, stream: &crate::sys::Stream, behind: [&[u8]; 2]) -> io::Result<(usize, usize)> {
        let mut slices = [IoSlice::new(&[]); PIECES + 2];
        let mut given = 0;
        let mut count = 0;
        let mut skip = self.gone;
        for (slice, piece) in slices.iter_mut().zip(self.pieces.iter().take(PIECES)) {
            let bytes = &piece.bytes()[skip..];
            skip = 0;
            given += bytes.len();
            count += 1;
            *slice = IoSlice::new(bytes);
        }
        if count == self.pieces.len() {
            for bytes in behind.into_iter().filter(|bytes| !bytes.is_empty()) {
                given += bytes.len();
                slices[count] = IoSlice::new(bytes);
                count += 1;
            }
        }
        Ok((given, stream.send(&slices[..count])?))
    }

    fn advance(&mut self, mut taken: usize) {
        self.bytes -= taken;
        while let Some(first) = self.pieces.front_mut() {
            let left = first.bytes().len() - self.gone;
            if taken < left {
                self.gone += taken;
                return;
            }
            taken -= left;
            self.gone = 0;
            match self.pieces.pop_front() {
                Some(Piece::Batch(mut batch)) => {
                    batch.clear();
                    if batch.capacity() > self.batch.capacity() {
                        self.batch = batch;
                    }
                }
                Some(Piece::Whole(body)) if body.capacity() < buffers::LEAST => self.used = Some(body),
                Some(Piece::Whole(body)) => buffers::give(body),
                None => {}
            }
        }
    }
}
