//! The half of a socket port that sends.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::mem;
use std::sync::Arc;

use super::{Link, QUEUE_LIMIT, Tag};
use crate::{Error, ErrorKind, Flushed, Header, Sender, Sent};

/// Bodies up to this many bytes are copied into the batch, longer ones are sent from where they are. The copy costs
/// less than a microsecond and saves the kernel a walk over many pieces.
const COPIED: usize = 16 << 10;
/// A batch that has grown to this many bytes is closed, so that it stays in the processor's cache.
const BATCH: usize = 64 << 10;
/// The largest buffer of a sent body that is kept for the next one, so that an idle connection holds little.
const KEPT: usize = 4 << 20;
/// Pieces handed to the kernel in one call.
const PIECES: usize = 16;

pub(crate) struct SocketSender {
    link: Arc<Link>,
    tag: Option<Tag>,
    limit: usize,
    queue: Queue,
    /// The system took less than it was given: nothing goes before there is space.
    blocked: bool,
    broken: bool,
}

impl SocketSender {
    pub(crate) fn new(link: Arc<Link>, limit: usize) -> Self {
        Self {
            tag: link.stream.tag(),
            link,
            limit,
            queue: Queue::default(),
            blocked: false,
            broken: false,
        }
    }

    fn write(&mut self) -> Result<Flushed, Error> {
        while self.queue.bytes > 0 {
            match self.queue.send_to(&self.link.stream) {
                Ok((given, taken)) => {
                    self.queue.advance(taken);
                    // A short write means that the system's buffer is full; trying again would only hear so.
                    if taken < given {
                        self.blocked = true;
                        return Ok(Flushed::Blocked);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.blocked = true;
                    return Ok(Flushed::Blocked);
                }
                Err(error) => {
                    self.broken = true;
                    self.queue = Queue::default();
                    return Err(Error::system("cannot send to the other side", error));
                }
            }
        }
        self.blocked = false;
        Ok(Flushed::Done)
    }

    fn check(&self) -> Result<(), Error> {
        self.link.birthplace.check()?;
        if self.broken {
            return Err(Error::new(
                ErrorKind::PeerDied,
                "cannot send: the connection broke before",
            ));
        }
        Ok(())
    }
}

impl Sender for SocketSender {
    fn try_send(&mut self, header: &Header, body: &mut Vec<u8>) -> Result<Sent, Error> {
        self.try_send_parts(header, &[], body)
    }

    fn try_send_parts(&mut self, header: &Header, head: &[u8], body: &mut Vec<u8>) -> Result<Sent, Error> {
        let length = head.len() + body.len();
        let header = header.outgoing(length, self.limit)?.to_bytes();
        self.check()?;
        if self.queue.bytes > 0 && self.queue.bytes + Header::SIZE + length > QUEUE_LIMIT {
            return Ok(Sent::Full);
        }
        if body.len() <= COPIED {
            self.queue.copy(self.tag, [&header, head, body]);
            if self.queue.is_batch_full() && !self.blocked {
                self.write()?;
            }
            return Ok(Sent::Accepted);
        }
        self.queue.copy(self.tag, [&header, head, &[]]);
        self.queue.take(body);
        if !self.blocked {
            self.write()?;
        }
        // The body's own buffer, if all of it went at once, or that of an earlier one.
        if let Some(used) = self.queue.used.take() {
            *body = used;
        }
        Ok(Sent::Accepted)
    }

    fn flush(&mut self) -> Result<Flushed, Error> {
        self.check()?;
        self.write()
    }

    fn queued(&self) -> usize {
        self.queue.bytes
    }
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
    /// The buffer of the last large body that is gone.
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

    /// One call to the system: how much it was given, and how much it took.
    fn send_to(&self, stream: &crate::sys::Stream) -> io::Result<(usize, usize)> {
        let mut slices = [IoSlice::new(&[]); PIECES];
        let mut given = 0;
        let mut count = 0;
        let mut skip = self.gone;
        for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
            let bytes = &piece.bytes()[skip..];
            skip = 0;
            given += bytes.len();
            count += 1;
            *slice = IoSlice::new(bytes);
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
                Some(Piece::Whole(body)) if body.capacity() <= KEPT => self.used = Some(body),
                Some(Piece::Whole(_)) | None => {}
            }
        }
    }
}
