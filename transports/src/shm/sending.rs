//! The half of a port that puts messages into the ring.
//!
//! A message that fits into a record is one. A longer one travels in pieces, on one of a few *lanes*, and others travel
//! between its pieces, as far as both are [`Header::UNORDERED`]: the other side is told of it with its first piece, in
//! its place among the others.

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;

use super::waits::Waits;
use super::{LANES, LARGEST, Mark, PREFIX, Producer};
use crate::socket::{Link, QUEUE_LIMIT};
use crate::{Error, ErrorKind, Flushed, Header, Sender, Sent};

/// The largest buffer of a sent body that is kept for the next one, so that an idle connection holds little.
const KEPT: usize = 4 << 20;

pub(crate) struct RingSender {
    link: Arc<Link>,
    waits: Arc<Waits>,
    producer: Producer,
    limit: usize,
    /// What waits for room, or for large messages before it.
    queue: VecDeque<Queued>,
    /// Large messages on their way.
    lanes: [Option<Large>; LANES],
    /// Whose turn it is.
    turn: usize,
    /// Bytes of both.
    bytes: usize,
    /// Something is in the ring of which the other side was not told, in case it sleeps.
    unannounced: bool,
    /// The buffer of the last large body that is gone.
    used: Option<Vec<u8>>,
    broken: bool,
}

struct Queued {
    header: Header,
    unordered: bool,
    head: Vec<u8>,
    body: Vec<u8>,
}

struct Large {
    unordered: bool,
    /// What of it is gone.
    sent: usize,
    body: Vec<u8>,
}

impl RingSender {
    pub(super) fn new(link: Arc<Link>, waits: Arc<Waits>, producer: Producer, limit: usize) -> Self {
        Self {
            link,
            waits,
            producer,
            limit,
            queue: VecDeque::new(),
            lanes: Default::default(),
            turn: 0,
            bytes: 0,
            unannounced: false,
            used: None,
            broken: false,
        }
    }

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

    /// Whether a message may go now, as far as those that are on their way in pieces have a say.
    fn may_pass(&self, unordered: bool) -> bool {
        let mut on_their_way = self.lanes.iter().flatten();
        on_their_way.all(|large| unordered && large.unordered)
    }

    /// Moves what waits into the ring, up to one piece of one large message, so that others get to send meanwhile.
    fn advance(&mut self) -> Result<Flushed, Error> {
        while let Some(next) = self.queue.front() {
            if !self.may_pass(next.unordered) {
                break;
            }
            let length = next.head.len() + next.body.len();
            if length > LARGEST {
                let Some(lane) = self.lanes.iter().position(Option::is_none) else {
                    break;
                };
                if !self.begin(lane)? {
                    return self.wait_for_space(LARGEST);
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
        let Some(lane) = self.next_lane() else {
            return Ok(Flushed::Done);
        };
        if !self.push_piece(lane)? {
            return self.wait_for_space(LARGEST);
        }
        self.unannounced = true;
        if self.bytes == 0 {
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
        // A body is at most 1 GiB, and lanes are few.
        start.extend_from_slice(&(total as u32).to_le_bytes());
        start.extend_from_slice(&(lane as u32).to_le_bytes());
        start.extend_from_slice(head);
        let taken = LARGEST - start.len();
        if !self
            .producer
            .push(header, Mark::First, [&start, &body[..taken]])?
        {
            return Ok(false);
        }
        self.bytes -= head.len() + taken;
        if let Some(Queued { unordered, body, .. }) = self.queue.pop_front() {
            self.lanes[lane] = Some(Large {
                unordered,
                sent: taken,
                body,
            });
        }
        Ok(true)
    }

    /// The next of those that are on their way, by turns.
    fn next_lane(&mut self) -> Option<usize> {
        let lane = (1..=LANES)
            .map(|step| (self.turn + step) % LANES)
            .find(|&lane| self.lanes[lane].is_some())?;
        self.turn = lane;
        Some(lane)
    }

    fn push_piece(&mut self, lane: usize) -> Result<bool, Error> {
        let Some(Large { sent, body, .. }) = &mut self.lanes[lane] else {
            return Ok(true);
        };
        let rest = &body[*sent..];
        let taken = rest.len().min(LARGEST);
        let is_last = taken == rest.len();
        let header = Header {
            id: lane as u64,
            ..Header::default()
        };
        let mark = if is_last { Mark::Last } else { Mark::Further };
        if !self.producer.push(&header, mark, [&rest[..taken], &[]])? {
            return Ok(false);
        }
        self.bytes -= taken;
        *sent += taken;
        if is_last {
            let body = self.lanes[lane].take().map(|large| large.body);
            self.used = body.filter(|body| body.capacity() <= KEPT);
        }
        Ok(true)
    }

    /// There is no room. The other side tells when there is, unless it has made some by now.
    fn wait_for_space(&mut self, bytes: usize) -> Result<Flushed, Error> {
        self.announce();
        if self.producer.wait_for_space(bytes)? {
            self.waits.note_space();
        } else {
            // Once they share memory, the socket tells of nothing but the end.
            if self.link.stream.has_news() {
                self.waits.note_control_news();
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

    fn enqueue(&mut self, header: Header, unordered: bool, head: &[u8], body: &mut Vec<u8>) {
        let length = head.len() + body.len();
        let body = if length > LARGEST {
            mem::replace(body, self.used.take().unwrap_or_default())
        } else {
            body.clone()
        };
        self.bytes += length;
        self.queue.push_back(Queued {
            header,
            unordered,
            head: head.to_vec(),
            body,
        });
    }

    fn break_down(&mut self) {
        self.broken = true;
        self.queue = VecDeque::new();
        self.lanes = Default::default();
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
        let header = header.outgoing(length, self.limit)?;
        self.check()?;
        if self.bytes > 0 && self.bytes + Header::SIZE + length > QUEUE_LIMIT {
            return Ok(Sent::Full);
        }
        if length <= LARGEST && self.queue.is_empty() && self.may_pass(unordered) {
            match self.producer.push(&header, Mark::Whole, [head, body]) {
                Ok(true) => {
                    self.unannounced = true;
                    return Ok(Sent::Accepted);
                }
                Ok(false) => {}
                Err(corrupt) => {
                    self.break_down();
                    return Err(corrupt.into());
                }
            }
        }
        self.enqueue(header, unordered, head, body);
        Ok(Sent::Accepted)
    }

    fn flush(&mut self) -> Result<Flushed, Error> {
        self.check()?;
        let advanced = if self.bytes == 0 && self.queue.is_empty() {
            Ok(Flushed::Done)
        } else {
            self.advance()
        };
        if advanced.is_err() {
            self.break_down();
        } else {
            self.announce();
        }
        advanced
    }

    fn queued(&self) -> usize {
        // An empty message waits, too.
        self.bytes + self.queue.len()
    }
}
