//! The half of a port that lends bodies.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use super::shared::{Note, Owed, Shared};
use super::wire::{Kind, Lending};
use crate::crash::crash_point;
use crate::socket::QUEUE_LIMIT;
use crate::{Block, Endpoint, Error, ErrorKind, Flushed, Header, Pieces, Sender, Sent, buffers};

pub(super) struct DirectSender {
    inner: Box<dyn Sender>,
    shared: Arc<Shared>,
    limit: usize,
    /// Bodies of so many bytes and more are lent.
    threshold: usize,
    /// What waits until nothing is lent any more.
    queue: VecDeque<Held>,
    queued: usize,
    /// A message whose owner is about to say where its body lies.
    begun: Option<Begun>,
    offered: bool,
}

struct Begun {
    slot: u64,
    header: Header,
    head: Vec<u8>,
}

/// A message that waits.
struct Held {
    header: Header,
    body: Vec<u8>,
    sections: Vec<Block>,
}

impl DirectSender {
    pub(super) fn new(inner: Box<dyn Sender>, shared: Arc<Shared>, endpoint: &Endpoint) -> Self {
        Self {
            inner,
            shared,
            limit: endpoint.message_limit(),
            threshold: endpoint.direct_threshold(),
            queue: VecDeque::new(),
            queued: 0,
            begun: None,
            offered: false,
        }
    }

    /// Says what is to be said about bodies, as far as there is room.
    fn speak(&mut self) -> Result<(), Error> {
        while self.shared.has_to_say() {
            let Some(note) = self.shared.next_note() else {
                break;
            };
            crash_point!();
            if let Some(note) = self.send_note(note)? {
                self.shared.say_first(note);
                break;
            }
            crash_point!();
        }
        Ok(())
    }

    /// Gives the note back if there is no room.
    fn send_note(&mut self, note: Note) -> Result<Option<Note>, Error> {
        let (header, mut body) = match &note {
            Note::Offer { address } => (Kind::Offer.header(0, *address), Vec::new()),
            Note::Proof(bytes) => (Kind::Proof.header(0, 0), bytes.clone()),
            Note::Done { slot } => (Kind::Done.header(*slot, 0), Vec::new()),
            Note::Refuse { slot } => (Kind::Refuse.header(*slot, 0), Vec::new()),
            Note::Copy { .. } => return self.send_copy(note),
        };
        let sent = self.inner.try_send(&header, &mut body)?;
        Ok(match sent {
            Sent::Accepted => None,
            Sent::Full => Some(note),
        })
    }

    fn send_copy(&mut self, note: Note) -> Result<Option<Note>, Error> {
        let Note::Copy { slot, mut body } = note else {
            return Ok(Some(note));
        };
        match self.inner.try_send(&Kind::Copy.header(slot, 0), &mut body)? {
            Sent::Accepted => {
                self.shared.free(slot);
                Ok(None)
            }
            Sent::Full => Ok(Some(Note::Copy { slot, body })),
        }
    }

    /// Lends the body instead of sending it, if that is possible now.
    fn lend(&mut self, header: &Header, head: &[u8], body: &mut Vec<u8>) -> Result<Option<Sent>, Error> {
        if !Lending::fits(head, &[]) {
            return Ok(None);
        }
        let header = header.outgoing(head.len() + body.len(), self.limit)?;
        let length = body.len();
        let Some((slot, address)) = self.shared.lend(body) else {
            return Ok(None);
        };
        let mut told = Lending {
            header,
            may_move: false,
            head,
            tail: &[],
        }
        .write();
        let sent = self.inner.try_send(&Kind::Lend.header(slot, address), &mut told);
        crash_point!();
        if let Ok(Sent::Accepted) = sent {
            self.shared.usage.count_lent(length);
        } else if let Ok(unsent) = self.shared.take_back(slot) {
            *body = unsent;
        }
        sent.map(Some)
    }

    /// Tells the other side of a message whose body its owner keeps.
    fn tell(&mut self, begun: &Begun, lent: &[u8], tail: &[u8]) -> Result<(), Error> {
        let Begun { slot, header, head } = begun;
        let length = head.len() + lent.len() + tail.len();
        let mut told = Lending {
            header: header.outgoing(length, self.limit)?,
            may_move: true,
            head,
            tail,
        }
        .write();
        self.shared.set_borrowed(*slot, lent.len());
        crash_point!();
        let address = lent.as_ptr().expose_provenance() as u64;
        let sent = self
            .inner
            .try_send(&Kind::Lend.header(*slot, address), &mut told)?;
        if sent == Sent::Full {
            // It was asked for room before, so this cannot be.
            return Err(Error::new(
                ErrorKind::Io,
                "the port has no room where it had some",
            ));
        }
        crash_point!();
        self.shared.usage.count_lent(lent.len());
        Ok(())
    }

    /// Sends a message after all of which the other side was not told yet.
    fn send_begun(&mut self, begun: Begun, mut rest: Vec<u8>) {
        let Begun { slot, header, head } = begun;
        self.shared.forget(slot);
        // There was room when it was begun, and nothing was sent since.
        if !matches!(
            self.inner.try_send_parts(&header, &head, &mut rest),
            Ok(Sent::Accepted)
        ) {
            self.shared.hang_up();
        }
    }

    /// The owner of a body leaves it while the other side may be reading it: from now on it reads a copy. It is told of that
    /// before the owner's memory can change: it looks at what it was told when it has read all of a body, and before
    /// anybody sees it.
    fn relocate(&mut self, slot: u64, copy: Vec<u8>) {
        let Some(address) = self.shared.replace(slot, copy) else {
            return;
        };
        crash_point!();
        let told = self
            .inner
            .try_send(&Kind::Move.header(slot, address), &mut Vec::new());
        let told = told.and_then(|_| self.inner.flush());
        // What is told is there before what is written after it.
        fence(Ordering::SeqCst);
        crash_point!();
        if !matches!(told, Ok(Flushed::Done)) {
            // It cannot be told now. Nothing else would keep it from taking for the body what the memory becomes.
            self.shared.hang_up();
        }
    }

    /// Notes whether there is room to wait for, rather than for what is lent.
    fn note_room(&self) {
        self.shared.set_blocked(self.inner.waits());
    }

    /// Whether a message may not go before what is lent.
    fn has_to_wait(&self, header: &Header) -> bool {
        let unordered = header.flags & Header::UNORDERED != 0;
        !self.queue.is_empty() || !unordered && self.shared.lent() > 0
    }

    /// Has a message wait until nothing is lent any more, and those that came before it are gone.
    fn hold(&mut self, header: &Header, head: &[u8], body: &[u8], sections: &[Block]) -> Result<Sent, Error> {
        self.shared.birthplace.check()?;
        let size = Header::SIZE + head.len() + body.len();
        header.outgoing_with(sections.len(), head.len() + body.len(), self.limit)?;
        if self.queued > 0 && self.queued + size > QUEUE_LIMIT {
            return Ok(Sent::Full);
        }
        self.queued += size;
        self.queue.push_back(Held {
            header: *header,
            body: [head, body].concat(),
            sections: sections.to_vec(),
        });
        Ok(Sent::Accepted)
    }

    /// Sends what waited.
    fn release(&mut self) -> Result<(), Error> {
        while self.shared.lent() == 0 {
            let Some(Held {
                header,
                body,
                sections,
            }) = self.queue.front_mut()
            else {
                break;
            };
            let size = Header::SIZE + body.len();
            if self.inner.try_send_with(header, &[], body, sections)? == Sent::Full {
                break;
            }
            self.queue.pop_front();
            self.queued -= size;
        }
        Ok(())
    }
}

impl Sender for DirectSender {
    fn try_send(&mut self, header: &Header, body: &mut Vec<u8>) -> Result<Sent, Error> {
        self.try_send_parts(header, &[], body)
    }

    fn try_send_parts(&mut self, header: &Header, head: &[u8], body: &mut Vec<u8>) -> Result<Sent, Error> {
        if Kind::of(header).is_some() {
            let message = "the ordinal of a message is one that ports keep for themselves";
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        self.speak()?;
        if self.has_to_wait(header) {
            return self.hold(header, head, body, &[]);
        }
        if header.flags & Header::UNORDERED != 0 && body.len() >= self.threshold {
            if let Some(sent) = self.lend(header, head, body)? {
                return Ok(sent);
            }
        }
        self.inner.try_send_parts(header, head, body)
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
        self.speak()?;
        if self.has_to_wait(header) {
            return self.hold(header, head, body, sections);
        }
        // What is beside it may be large; the body is not worth being lent.
        self.inner.try_send_with(header, head, body, sections)
    }

    fn flush(&mut self) -> Result<Flushed, Error> {
        self.speak()?;
        self.release()?;
        let flushed = self.inner.flush()?;
        self.note_room();
        // What is lent keeps nobody from sending; only receiving brings news of it.
        let holds_back = !self.queue.is_empty() || self.shared.has_to_say();
        Ok(if holds_back { Flushed::Blocked } else { flushed })
    }

    fn queued(&self) -> usize {
        // What is lent is not in the way of others, and bounded by itself.
        self.inner.queued() + self.queued
    }

    fn waits(&self) -> bool {
        // Whoever closes the connection would wait in vain for what a side has that is gone.
        let own = self.shared.lent() > 0 || !self.queue.is_empty() || self.shared.has_to_say();
        own && !self.shared.is_over() || self.inner.waits()
    }

    fn try_lend(&mut self, header: &Header, head: &[u8], rest: usize) -> Result<Option<usize>, Error> {
        self.speak()?;
        if self.has_to_wait(header) {
            return Ok(None);
        }
        let large = header.flags & Header::UNORDERED != 0 && rest >= self.threshold;
        // With nothing queued, what is said when the owner tells where the body lies goes in its turn.
        let mut slot = None;
        if large && self.begun.is_none() && !self.inner.waits() {
            header.outgoing(head.len() + rest, self.limit)?;
            slot = self.shared.borrow(rest);
        }
        let Some(slot) = slot else {
            // The port beneath could take it in pieces, but both would then wait for room, each in its own way.
            return Ok(None);
        };
        self.begun = Some(Begun {
            slot,
            header: *header,
            head: head.to_vec(),
        });
        Ok(Some(slot as usize))
    }

    fn push_lent(&mut self, number: usize, rest: [&[u8]; 2]) -> Result<usize, Error> {
        let slot = number as u64;
        let [lent, tail] = rest;
        if let Some(begun) = self.begun.take_if(|begun| begun.slot == slot) {
            if !Lending::fits(&begun.head, tail) {
                self.send_begun(begun, [lent, tail].concat());
                self.flush()?;
                return Ok(lent.len() + tail.len());
            }
            self.tell(&begun, lent, tail)?;
            // The owner may wait for it now, and nobody else knows of it.
            self.flush()?;
            return Ok(0);
        }
        match self.shared.owed(slot) {
            Owed::Patience => return Ok(0),
            Owed::Nothing => {}
            Owed::Copy(_) => {
                let mut body = Vec::new();
                // Without memory, what follows says so.
                let _ = buffers::reserve(&mut body, lent.len());
                body.extend_from_slice(lent);
                self.shared.say(Note::Copy { slot, body });
                self.flush()?;
            }
        }
        Ok(lent.len() + tail.len())
    }

    fn takes_lent(&self) -> bool {
        self.shared.has_owner_news() || self.inner.takes_lent()
    }

    fn keep_lent(&mut self, number: usize, mut rest: Vec<u8>) {
        let slot = number as u64;
        if let Some(begun) = self.begun.take_if(|begun| begun.slot == slot) {
            self.send_begun(begun, rest);
            return;
        }
        match self.shared.owed(slot) {
            Owed::Patience => self.relocate(slot, rest),
            Owed::Nothing => {}
            Owed::Copy(length) => {
                rest.truncate(length);
                self.shared.say(Note::Copy { slot, body: rest });
            }
        }
    }

    fn offer_pieces(&mut self, pieces: Pieces) {
        self.inner.offer_pieces(pieces);
    }

    fn gives_way(&self) -> bool {
        self.inner.gives_way()
    }

    fn offer_direct(&mut self) {
        if !self.offered {
            self.offered = true;
            self.shared.offer();
        }
    }
}
