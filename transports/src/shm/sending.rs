//! The half of a port that puts messages into the ring.
//!
//! A message that fits into a record is one, unless the endpoint asks for less ([`Cut`]). A longer one travels in pieces, on one of
//! a few *lanes*, and others travel between its pieces, as far as both are [`Header::UNORDERED`]: the other side is told of it with
//! its first piece, in its place among the others. Its body waits here, or with its owner, who hands on a piece at a time.

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;

use super::sections::Outbox;
use super::waits::Waits;
use super::{Cut, Mark, PREFIX, Producer};
use crate::lanes::{Body, Leaving};
use crate::socket::{Link, QUEUE_LIMIT};
use crate::{Block, Error, ErrorKind, Flushed, Header, Sender, Sent, buffers, section};

pub(crate) struct RingSender {
    link: Arc<Link>,
    waits: Arc<Waits>,
    producer: Producer,
    limit: usize,
    cut: Cut,
    /// What tells the other side of sections, if it can have any.
    outbox: Option<Outbox>,
    /// What waits for room, or for large messages before it.
    queue: VecDeque<Queued>,
    /// Large messages on their way.
    lanes: Leaving,
    /// Bytes of both.
    bytes: usize,
    /// Something is in the ring of which the other side was not told, in case it sleeps.
    unannounced: bool,
    /// There was room for a piece at the last look.
    room: bool,
    /// The buffer of the last body that is gone and was large for the ring, but no more.
    used: Option<Vec<u8>>,
    broken: bool,
}

struct Queued {
    header: Header,
    unordered: bool,
    head: Vec<u8>,
    body: Vec<u8>,
}

impl RingSender {
    pub(super) fn new(
        link: Arc<Link>,
        waits: Arc<Waits>,
        producer: Producer,
        limit: usize,
        cut: Cut,
    ) -> Self {
        Self {
            link,
            waits,
            producer,
            limit,
            cut,
            outbox: None,
            queue: VecDeque::new(),
            lanes: Leaving::default(),
            bytes: 0,
            unannounced: false,
            room: true,
            used: None,
            broken: false,
        }
    }

    /// Has it carry sections.
    pub(super) fn set_outbox(&mut self, outbox: Option<Outbox>) {
        self.outbox = outbox;
    }

    #[inline]
    fn check(&self) -> Result<(), Error> {
        self.link.birthplace.check()?;
        if self.broken || self.link.peer_gone() {
            return Err(Error::new(
                ErrorKind::PeerDied,
                "cannot send: the other side has ended",
            ));
        }
        Ok(())
    }

    /// Moves what waits into the ring, up to one piece of one large message, so that others get to send meanwhile.
    fn advance(&mut self) -> Result<Flushed, Error> {
        while let Some(next) = self.queue.front() {
            if !self.lanes.may_pass(next.unordered) {
                break;
            }
            let length = next.head.len() + next.body.len();
            if length > self.cut.whole {
                let Some(lane) = self.lanes.vacant() else {
                    break;
                };
                if !self.begin(lane)? {
                    return self.wait_for_space(self.cut.piece);
                }
            } else {
                if !self
                    .producer
                    .push(&next.header, Mark::Whole, [&next.head, &next.body])?
                {
                    return self.wait_for_space(length);
                }
                self.bytes -= length;
                self.queue.pop_front();
            }
            self.unannounced = true;
        }
        if let Some(lane) = self.lanes.next() {
            if !self.push_piece(lane)? {
                return self.wait_for_space(self.cut.piece);
            }
            self.unannounced = true;
        } else if self.waits() {
            // What is left is with its owners, who wait for room.
            return self.wait_for_space(self.cut.piece);
        }
        self.room = true;
        if !self.waits() {
            return Ok(Flushed::Done);
        }
        self.waits.note_space();
        Ok(Flushed::Blocked)
    }

    /// Sends the first piece of the message at the front of the queue.
    fn begin(&mut self, lane: usize) -> Result<bool, Error> {
        let Some(Queued {
            header, head, body, ..
        }) = self.queue.front()
        else {
            return Ok(true);
        };
        let total = head.len() + body.len();
        let mut start = Vec::with_capacity(PREFIX + head.len());
        start.extend_from_slice(&prefix_of(total, lane));
        start.extend_from_slice(head);
        let taken = self.cut.piece - start.len();
        if !self
            .producer
            .push(header, Mark::First, [&start, &body[..taken]])?
        {
            return Ok(false);
        }
        self.bytes -= head.len() + taken;
        if let Some(Queued { unordered, body, .. }) = self.queue.pop_front() {
            self.lanes.occupy(lane, unordered, Body::Kept(taken, body));
        }
        Ok(true)
    }

    fn push_piece(&mut self, lane: usize) -> Result<bool, Error> {
        let rest = self.lanes.rest(lane);
        let taken = rest.len().min(self.cut.piece);
        let is_last = taken == rest.len();
        if !self
            .producer
            .push(&piece_of(lane), piece_mark(is_last), [&rest[..taken], &[]])?
        {
            return Ok(false);
        }
        self.bytes -= taken;
        if let Some(body) = self.lanes.advance(lane, taken) {
            self.put_away(body);
        }
        Ok(true)
    }

    /// The same for what its owner keeps: the bytes that were taken.
    fn push_piece_lent(&mut self, lane: usize, rest: [&[u8]; 2]) -> Result<usize, Error> {
        let Some(left) = self.lanes.left_of_lent(lane) else {
            return Ok(0);
        };
        let [first, second] = rest;
        let from_first = first.len().min(self.cut.piece);
        let from_second = second.len().min(self.cut.piece - from_first);
        let taken = (from_first + from_second).min(left);
        let is_last = taken == left;
        let parts = [&first[..from_first], &second[..taken - from_first]];
        if !self.producer.push(&piece_of(lane), piece_mark(is_last), parts)? {
            self.wait_for_space(self.cut.piece)?;
            return Ok(0);
        }
        self.lanes.advance_lent(lane, taken);
        self.unannounced = true;
        self.announce();
        Ok(taken)
    }

    /// Keeps the buffer of a body that is gone.
    fn put_away(&mut self, body: Vec<u8>) {
        if body.capacity() < buffers::LEAST {
            self.used = Some(body);
        } else {
            buffers::give(body);
        }
    }

    /// There is no room. The other side tells when there is, unless it has made some by now.
    fn wait_for_space(&mut self, bytes: usize) -> Result<Flushed, Error> {
        self.announce();
        self.room = self.producer.wait_for_space(bytes)?;
        if self.room {
            self.waits.note_space();
        } else {
            // Once they share memory, the socket tells of the end, and of sections.
            if self.link.stream.has_news() {
                self.waits.note_control_news();
            }
            if self.link.stream.has_ended() {
                return Err(Error::new(
                    ErrorKind::PeerDied,
                    "cannot send: the other side has ended",
                ));
            }
            self.waits.note_full(self.producer.consumed());
        }
        Ok(Flushed::Blocked)
    }

    fn announce(&mut self) {
        if mem::take(&mut self.unannounced) {
            self.waits.wake_peer();
        }
    }

    fn is_full(&self, length: usize) -> bool {
        let queued = self.queued();
        queued > 0 && queued + Header::SIZE + length > QUEUE_LIMIT
    }

    /// Takes a message that was judged: what stands before its body, and that.
    #[inline]
    fn put(
        &mut self,
        header: &Header,
        unordered: bool,
        head: &[u8],
        body: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let length = head.len() + body.len();
        if length <= self.cut.whole && self.queue.is_empty() && self.lanes.may_pass(unordered) {
            match self.producer.push(header, Mark::Whole, [head, body]) {
                Ok(true) => {
                    self.unannounced = true;
                    return Ok(());
                }
                Ok(false) => {}
                Err(corrupt) => {
                    self.break_down();
                    return Err(corrupt.into());
                }
            }
        }
        self.enqueue(*header, unordered, head, body);
        Ok(())
    }

    #[inline]
    fn count(&self, body: usize, sections: &[Block]) {
        if let Some(outbox) = &self.outbox {
            outbox.count(body, sections);
        }
    }

    fn enqueue(&mut self, header: Header, unordered: bool, head: &[u8], body: &mut Vec<u8>) {
        let length = head.len() + body.len();
        let is_large = length > self.cut.whole;
        let (head, body) = if is_large && !self.cut.takes_head(head.len()) {
            (Vec::new(), [head, body].concat())
        } else if is_large {
            let body = mem::replace(body, self.used.take().unwrap_or_default());
            (head.to_vec(), body)
        } else {
            (head.to_vec(), body.clone())
        };
        self.bytes += length;
        self.queue.push_back(Queued {
            header,
            unordered,
            head,
            body,
        });
    }

    fn break_down(&mut self) {
        self.broken = true;
        self.queue = VecDeque::new();
        self.lanes = Leaving::default();
        self.bytes = 0;
    }
}

impl Sender for RingSender {
    fn try_send(&mut self, header: &Header, body: &mut Vec<u8>) -> Result<Sent, Error> {
        self.try_send_parts(header, &[], body)
    }

    fn try_send_parts(&mut self, header: &Header, head: &[u8], body: &mut Vec<u8>) -> Result<Sent, Error> {
        let unordered = header.flags & Header::UNORDERED != 0;
        let length = head.len() + body.len();
        // Not copied: its words were just written one by one, and a copy would wait for them.
        header.check_outgoing(length, self.limit)?;
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
        let header = header.outgoing_with(sections.len(), length, self.limit)?;
        self.check()?;
        if self.is_full(length) {
            return Ok(Sent::Full);
        }
        let Some(outbox) = &self.outbox else {
            return Err(section::refuse(sections.len()));
        };
        // A new memory is announced on the socket before the record is there that depends on it.
        let mut table = outbox.hand_over(&self.link.stream, sections)?;
        table.extend_from_slice(head);
        self.put(&header, unordered, &table, body)?;
        self.count(length, sections);
        Ok(Sent::Accepted)
    }

    fn flush(&mut self) -> Result<Flushed, Error> {
        self.check()?;
        if let Some(outbox) = self.outbox.as_ref().filter(|outbox| outbox.has_unsent()) {
            // What the socket does not take now goes with a later flush.
            outbox.tell(&self.link.stream)?;
        }
        if !self.waits() {
            self.announce();
            return Ok(Flushed::Done);
        }
        let advanced = self.advance();
        if advanced.is_err() {
            self.break_down();
        } else {
            self.announce();
        }
        advanced
    }

    fn queued(&self) -> usize {
        self.bytes - self.lanes.largest_passed()
    }

    fn waits(&self) -> bool {
        // An empty message waits, too.
        !self.lanes.is_empty() || !self.queue.is_empty()
    }

    fn try_lend(&mut self, header: &Header, head: &[u8], rest: usize) -> Result<Option<usize>, Error> {
        let total = head.len() + rest;
        let outgoing = header.outgoing(total, self.limit)?;
        self.check()?;
        let unordered = header.flags & Header::UNORDERED != 0;
        let fits = total > self.cut.whole && self.cut.takes_head(head.len());
        if !fits || !unordered || !self.queue.is_empty() || !self.lanes.may_pass(unordered) {
            return Ok(None);
        }
        let Some(lane) = self.lanes.vacant() else {
            return Ok(None);
        };
        let prefix = prefix_of(total, lane);
        match self.producer.push(&outgoing, Mark::First, [&prefix, head]) {
            Ok(true) => {}
            Ok(false) => return Ok(None),
            Err(corrupt) => {
                self.break_down();
                return Err(corrupt.into());
            }
        }
        self.unannounced = true;
        self.lanes.occupy(lane, unordered, Body::Lent(rest));
        self.count(total, &[]);
        Ok(Some(lane))
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
        self.room && self.lanes.has_lent()
    }

    fn keep_lent(&mut self, number: usize, rest: Vec<u8>) {
        let length = rest.len();
        if self.lanes.keep(number, rest) {
            self.bytes += length;
        }
    }
}

/// What stands before the first piece of a large message. A body is at most 1 GiB, and lanes are few.
fn prefix_of(total: usize, lane: usize) -> [u8; PREFIX] {
    let mut prefix = [0; PREFIX];
    prefix[..4].copy_from_slice(&(total as u32).to_le_bytes());
    prefix[4..].copy_from_slice(&(lane as u32).to_le_bytes());
    prefix
}

/// The header of a further piece.
fn piece_of(lane: usize) -> Header {
    Header {
        id: lane as u64,
        ..Header::default()
    }
}

fn piece_mark(is_last: bool) -> Mark {
    if is_last { Mark::Last } else { Mark::Further }
}
