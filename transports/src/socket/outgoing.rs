//! The half of a socket port that sends.
//!
//! Large bodies travel in pieces, on one of a few lanes, if both sides have agreed on that: through the stream, or through memory or a file that
//! both share, as long as there is some. So the stream is what one side waits in for the other. Messages
//! pass between the pieces as far as they are [`Header::UNORDERED`]; what may not waits here.

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;

use super::pieces::LONGEST_START;
use super::writer::{PIECE_BESIDE_MEMORY, PIECE_IN_FILE, PIECE_IN_STREAM, PieceSizes, PlaceSize, Writer};
use super::{Agreed, Link, QUEUE_LIMIT};
use crate::direct::LONGEST_WORD;
use crate::lanes::{Body, Leaving};
use crate::sys::shm::Outbox;
use crate::{Block, Endpoint, Error, ErrorKind, Flushed, Header, Pieces, Sender, Sent, buffers, section};

/// Bodies up to this many bytes are copied into the batch, longer ones are sent from where they are. The copy costs
/// less than a microsecond and saves the kernel a walk over many pieces.
const COPIED: usize = 16 << 10;

/// Bytes of pieces that one flush sends before others of the thread get their turn: some 50 to 100 µs. Giving way takes some 10 µs by
/// itself.
const SHARE: usize = 1 << 20;

/// Where all pieces go through the stream, a body of so many or fewer goes whole: it holds others up for hardly longer than one flush does.
/// 1 MiB there and back over `tcp:`, async, took 0.55 to 0.7 ms in pieces of 256 KiB, and whole 0.35 to 0.5; 64 MiB took from as long to a
/// tenth longer, and the small calls beside them a hundredth (a virtual machine with 2 processors).
const WHOLE: usize = 5;

/// Bytes of a piece at most that goes beside the stream while messages pass between the pieces: what lies before one of them is up to four pieces, and
/// they have to be copied first. Small calls beside 64 MiB that go there and back over `unix:`, both sides on one thread each, took 0.93 ms
/// with pieces of 512 KiB, 0.22 to 0.27 with 128 and 0.12 to 0.15 with 64, the slowest hundredth 60, 43 and 11; between
/// runtimes of several threads the slowest hundredth took 5.2 ms, 2.0 and 1.5 to 2.3 (a virtual machine with 2 processors, Intel).
const SHORT_PIECE: usize = 64 << 10;

/// How many pieces stay short after a message has passed: 2 MiB of them, which take about a millisecond.
const SHORT_PIECES: u32 = 32;

pub(crate) struct SocketSender {
    writer: Writer,
    limit: usize,
    /// Bodies of so many bytes travel in pieces.
    threshold: usize,
    /// Bytes of a piece.
    piece: usize,
    /// So many of the next pieces are short, since a message has passed.
    short: u32,
    /// Whether both sides take pieces, and how.
    agreed: Arc<Agreed>,
    /// What waits for large messages before it.
    waiting: VecDeque<Waiting>,
    /// Large messages on their way.
    lanes: Leaving,
    /// Bytes of both.
    bytes: usize,
    /// The last flush stopped although there was room.
    gives_way: bool,
}

struct Waiting {
    header: Header,
    unordered: bool,
    head: Vec<u8>,
    body: Vec<u8>,
}

impl SocketSender {
    /// `agreed` is told when both sides take pieces.
    pub(crate) fn new(
        link: Arc<Link>,
        endpoint: &Endpoint,
        outbox: Option<Outbox>,
        agreed: Arc<Agreed>,
    ) -> Self {
        // What is said about bodies that stay where they are does not travel in pieces.
        let shortest = if endpoint.is_direct() { LONGEST_WORD + 1 } else { 1 };
        Self {
            writer: Writer::new(link, outbox),
            limit: endpoint.message_limit(),
            threshold: endpoint.pieces_threshold().max(shortest),
            piece: endpoint.piece_size(),
            short: 0,
            agreed,
            waiting: VecDeque::new(),
            lanes: Leaving::default(),
            bytes: 0,
            gives_way: false,
        }
    }

    fn check(&self) -> Result<(), Error> {
        self.writer.link.birthplace.check()?;
        if self.writer.broken {
            return Err(Error::new(
                ErrorKind::PeerDied,
                "cannot send: the connection broke before",
            ));
        }
        Ok(())
    }

    fn break_down(&mut self) {
        self.writer.break_down();
        self.waiting = VecDeque::new();
        self.lanes = Leaving::default();
        self.bytes = 0;
    }

    /// Whether a body of that length travels in pieces, behind a head of that one.
    fn is_large(&self, head: usize, length: usize) -> bool {
        let least = match self.pieces() {
            None => return false,
            Some(Pieces::InMemory) => self.threshold,
            Some(Pieces::InStream) => self.threshold.max(WHOLE * self.piece_sizes().in_stream + 1),
        };
        length >= least && head <= LONGEST_START && length > head
    }

    /// How pieces travel now.
    fn pieces(&self) -> Option<Pieces> {
        let agreed = self.agreed.get();
        match agreed {
            Some(Pieces::InMemory) if !self.writer.has_memory() => Some(Pieces::InStream),
            _ => agreed,
        }
    }

    /// Before a message with a body of that length is taken.
    fn prepare(&mut self, length: usize) {
        if length >= self.threshold && self.agreed.get() == Some(Pieces::InMemory) {
            self.writer.prepare_spool(self.piece_in_memory());
        }
    }

    /// Bytes of a piece that goes beside the stream.
    fn piece_in_memory(&self) -> usize {
        if self.writer.outbox.is_some() {
            self.piece
        } else {
            self.piece.min(PIECE_IN_FILE)
        }
    }

    /// Bytes of a piece beside the stream at most, as messages pass or not.
    fn longest_now(&self) -> usize {
        if self.short > 0 { SHORT_PIECE } else { usize::MAX }
    }

    fn piece_sizes(&self) -> PieceSizes {
        match self.pieces() {
            Some(Pieces::InMemory) => PieceSizes {
                in_memory: Some(PlaceSize {
                    all: self.piece_in_memory(),
                    used: self.piece_in_memory().min(self.longest_now()),
                }),
                in_stream: self.piece.min(PIECE_BESIDE_MEMORY),
            },
            _ => PieceSizes {
                in_memory: None,
                in_stream: self.piece.min(PIECE_IN_STREAM),
            },
        }
    }

    /// Whether a message goes now, as far as others have a say.
    fn may_pass(&self, unordered: bool) -> bool {
        self.waiting.is_empty() && self.lanes.may_pass(unordered)
    }

    fn is_full(&self, length: usize) -> bool {
        let queued = self.queued();
        queued > 0 && queued + Header::SIZE + length > QUEUE_LIMIT
    }

    fn count(&self, body: usize, sections: &[Block]) {
        if let Some(outbox) = &self.writer.outbox {
            outbox.count(body, sections);
        }
    }

    /// Takes a message that was judged: what stands before its body, and that.
    fn put(&mut self, header: Header, unordered: bool, head: &[u8], body: &mut Vec<u8>) -> Result<(), Error> {
        self.prepare(head.len() + body.len());
        let is_large = self.is_large(head.len(), head.len() + body.len());
        if self.may_pass(unordered) && (!is_large || self.lanes.vacant().is_some()) {
            return self.put_now(&header, unordered, head, body);
        }
        self.bytes += head.len() + body.len();
        let body = if body.len() > COPIED {
            mem::replace(body, self.writer.take_used().unwrap_or_default())
        } else {
            body.clone()
        };
        self.waiting.push_back(Waiting {
            header,
            unordered,
            head: head.to_vec(),
            body,
        });
        Ok(())
    }

    /// The same for one that waits for nothing: if it is large, a lane is vacant.
    fn put_now(
        &mut self,
        header: &Header,
        unordered: bool,
        head: &[u8],
        body: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let is_large = self.is_large(head.len(), head.len() + body.len());
        let Some(lane) = self.lanes.vacant().filter(|_| is_large) else {
            if !self.lanes.is_empty() {
                self.short = SHORT_PIECES;
            }
            return self.writer.put(header, head, body, COPIED);
        };
        self.writer.begin(lane, header, head);
        self.bytes += body.len();
        let body = mem::replace(body, self.writer.take_used().unwrap_or_default());
        self.lanes.occupy(lane, unordered, Body::Kept(0, body));
        Ok(())
    }

    /// Whether the first of those that wait for others does not have to any longer.
    fn can_release(&self) -> bool {
        let Some(next) = self.waiting.front() else {
            return false;
        };
        let length = next.head.len() + next.body.len();
        let has_room = self.lanes.vacant().is_some() || !self.is_large(next.head.len(), length);
        has_room && self.lanes.may_pass(next.unordered)
    }

    /// Has those go that waited for others, as far as they do not wait any longer.
    fn release(&mut self) -> Result<(), Error> {
        while self.can_release() && !self.writer.is_blocked() {
            let Some(mut next) = self.waiting.pop_front() else {
                break;
            };
            self.bytes -= next.head.len() + next.body.len();
            self.put_now(&next.header, next.unordered, &next.head, &mut next.body)?;
        }
        Ok(())
    }

    /// Moves on what is there, until there is no room, or this had its share.
    fn advance(&mut self) -> Result<Flushed, Error> {
        self.gives_way = false;
        let mut share = SHARE;
        loop {
            // What a message begins with goes together with its first piece, so that the other side is woken once.
            self.release()?;
            let next = if self.writer.is_blocked() {
                None
            } else {
                self.lanes.next()
            };
            if let Some(lane) = next {
                let sizes = self.piece_sizes();
                let rest = [self.lanes.rest(lane), &[]];
                let taken = self.writer.piece(lane, rest, sizes)?;
                self.short = self.short.saturating_sub(1);
                share = share.saturating_sub(taken);
                self.bytes -= taken;
                if let Some(body) = self.lanes.advance(lane, taken) {
                    buffers::give(body);
                }
            }
            if self.writer.write()? == Flushed::Blocked {
                return Ok(Flushed::Blocked);
            }
            let has_more = self.lanes.has_kept() || self.can_release();
            if !has_more {
                break;
            }
            if share == 0 {
                self.gives_way = true;
                return Ok(Flushed::Blocked);
            }
        }
        if self.lanes.is_empty() {
            self.writer.rest();
        }
        // What is left is with its owners.
        Ok(if self.waits() {
            Flushed::Blocked
        } else {
            Flushed::Done
        })
    }

    /// Hands on one piece of what its owner keeps: the bytes that were taken.
    fn push_piece_lent(&mut self, lane: usize, rest: [&[u8]; 2]) -> Result<usize, Error> {
        if self.lanes.left_of_lent(lane) != Some(rest[0].len() + rest[1].len()) {
            return Ok(0);
        }
        if self.writer.is_blocked() && self.writer.write()? == Flushed::Blocked {
            return Ok(0);
        }
        let taken = self.writer.piece(lane, rest, self.piece_sizes())?;
        self.short = self.short.saturating_sub(1);
        self.lanes.advance_lent(lane, taken);
        self.writer.write()?;
        Ok(taken)
    }
}

impl Sender for SocketSender {
    fn try_send(&mut self, header: &Header, body: &mut Vec<u8>) -> Result<Sent, Error> {
        self.try_send_parts(header, &[], body)
    }

    fn try_send_parts(&mut self, header: &Header, head: &[u8], body: &mut Vec<u8>) -> Result<Sent, Error> {
        let unordered = header.flags & Header::UNORDERED != 0;
        let length = head.len() + body.len();
        let header = header.outgoing(length, self.limit)?;
        self.check()?;
        if self.is_full(length) {
            return Ok(Sent::Full);
        }
        self.put(header, unordered, head, body)?;
        self.count(length, &[]);
        Ok(Sent::Accepted)
    }

    fn try_send_with(
        &mut self,
        header: &Header,
        head: &[u8],
        body: &mut Vec<u8>,
        sections: &[Block],
    ) -> Result<Sent, Error> {
        if sections.is_empty() {
            return self.try_send_parts(header, head, body);
        }
        let unordered = header.flags & Header::UNORDERED != 0;
        let length = head.len() + body.len();
        let mut header = header.outgoing_with(sections.len(), length, self.limit)?;
        self.check()?;
        if self.is_full(length) {
            return Ok(Sent::Full);
        }
        // A new memory is announced between two messages, when those before it are gone.
        let outbox = self.writer.outbox.as_ref();
        let has_to_wait =
            self.writer.bytes() > 0 && outbox.is_some_and(|outbox| outbox.has_to_announce(sections));
        if has_to_wait && self.writer.write()? == Flushed::Blocked {
            return Ok(Sent::Full);
        }
        let Some(outbox) = &self.writer.outbox else {
            return Err(section::refuse(sections.len()));
        };
        let mut table = outbox.hand_over(&self.writer.link.stream, sections)?;
        // At most 64 entries of 16 bytes beside a body of at most 1 GiB.
        header.length += table.len() as u32;
        table.extend_from_slice(head);
        self.put(header, unordered, &table, body)?;
        self.count(length, sections);
        Ok(Sent::Accepted)
    }

    fn flush(&mut self) -> Result<Flushed, Error> {
        self.check()?;
        let flushed = self.advance();
        if flushed.is_err() {
            self.break_down();
        }
        flushed
    }

    fn queued(&self) -> usize {
        self.writer.bytes() + self.bytes - self.lanes.largest_passed()
    }

    fn waits(&self) -> bool {
        // An empty message waits, too.
        self.writer.bytes() > 0 || !self.lanes.is_empty() || !self.waiting.is_empty()
    }

    fn gives_way(&self) -> bool {
        self.gives_way
    }

    fn offer_pieces(&mut self, pieces: Pieces) {
        self.agreed.set(pieces);
    }

    fn try_lend(&mut self, header: &Header, head: &[u8], rest: usize) -> Result<Option<usize>, Error> {
        let total = head.len() + rest;
        let outgoing = header.outgoing(total, self.limit)?;
        self.check()?;
        let unordered = header.flags & Header::UNORDERED != 0;
        // Where the system copies each piece anyway, it does not pay: a call that leaves no buffer behind has none for its reply. Of an
        // echo of 64 MiB over `tcp:`, which took 85 ms, it made 122.
        let pays = self.agreed.get() == Some(Pieces::InMemory) && self.writer.outbox.is_some();
        if !pays || !self.is_large(head.len(), total) || !unordered || !self.may_pass(unordered) {
            return Ok(None);
        }
        // With something queued, it would wait longer than its owner likes.
        let lane = self.lanes.vacant().filter(|_| !self.writer.is_blocked());
        if let Some(lane) = lane {
            self.writer.begin(lane, &outgoing, head);
            self.lanes.occupy(lane, unordered, Body::Lent(rest));
            self.count(total, &[]);
        }
        Ok(lane)
    }

    fn push_lent(&mut self, number: usize, rest: [&[u8]; 2]) -> Result<usize, Error> {
        self.check()?;
        let pushed = self.push_piece_lent(number, rest);
        if pushed.is_err() {
            self.break_down();
        }
        pushed
    }

    fn takes_lent(&self) -> bool {
        !self.writer.is_blocked() && self.lanes.has_lent()
    }

    fn keep_lent(&mut self, number: usize, rest: Vec<u8>) {
        let length = rest.len();
        if self.lanes.keep(number, rest) {
            self.bytes += length;
        }
    }
}
