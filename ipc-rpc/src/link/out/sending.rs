//! Messages on their way to the port, and those that wait because it is full.

use std::task::Waker;

use transports::{Block, Flushed, Header, Sent};

use super::Out;
use crate::codec::Size;
use crate::connection::{Kind, State};
use crate::link::{Link, wake_all};
use crate::section::Attached;
use crate::{Error, Limits};

/// A message that found the port full.
pub(super) struct Waiting {
    header: Header,
    body: Vec<u8>,
    attached: Attached,
}

impl Out {
    pub(in crate::link) fn send_reply(
        &mut self,
        mut header: Header,
        mut head: &[u8],
        body: &mut Vec<u8>,
        mut attached: Attached,
    ) {
        if self.broken {
            return;
        }
        let full = if self.backlog.is_empty() {
            match self.send_or_refuse(&mut header, &mut head, body, &mut attached) {
                Ok(sent) => sent == Sent::Full,
                Err(error) => {
                    self.send_failed(error);
                    return;
                }
            }
        } else {
            true
        };
        if full {
            body.splice(..0, head.iter().copied());
            self.backlog_bytes += body.len();
            self.backlog.push_back(Waiting {
                header,
                body: std::mem::take(body),
                attached,
            });
        }
    }

    /// Whether [`Out::transmit`] would do anything: if not, all that was sent has been handed on by whoever sent it.
    pub(crate) fn has_unsent(&self) -> bool {
        self.core.has_to_say() || self.blocked() || self.has_lenders() || !self.room.is_empty()
    }

    /// Sends what the core has to say and what waits for room, then flushes.
    pub(crate) fn transmit(&mut self) -> Flushed {
        while let Some(header) = self.core.poll_transmit(&mut self.control) {
            let mut body = std::mem::take(&mut self.control);
            self.send_reply(header, &[], &mut body, Attached::default());
            self.control = body;
        }
        self.flush()
    }

    /// As [`Out::transmit`]: whether the connection turned out by that to take no more, for the first time.
    pub(crate) fn transmit_breaks(&mut self) -> bool {
        let was_broken = self.broken;
        self.transmit();
        self.broken && !was_broken
    }

    /// Sends what goes at once, and forgets the rest: the peer reads no more.
    pub(in crate::link) fn part(&mut self) {
        self.transmit();
        if self.blocked() {
            self.set_broken();
        }
    }

    /// Sends all there is, and sees to it that somebody sends the rest when there is room.
    pub(crate) fn push(&mut self, link: &Link) {
        if self.transmit() == Flushed::Blocked {
            // Whoever reads now must also wait for space.
            link.interrupt.raise();
            #[cfg(feature = "tokio")]
            self.drivers.wake();
        }
    }

    /// Moves queued bytes on.
    pub(crate) fn flush(&mut self) -> Flushed {
        let flushed = self.flush_port();
        if !self.sending.is_empty() && !self.blocked() {
            wake_all(self.sending.drain(..));
        }
        if !self.lenders.is_empty() && self.sender.takes_lent() {
            wake_all(self.lenders.drain(..));
        }
        if let Some(share) = &mut self.share {
            share.set(if self.broken {
                0
            } else {
                self.sender.queued() + self.backlog_bytes
            });
        }
        flushed
    }

    fn flush_port(&mut self) -> Flushed {
        loop {
            if self.broken {
                return Flushed::Done;
            }
            match self.sender.flush() {
                Ok(Flushed::Done) if self.backlog.is_empty() => return Flushed::Done,
                Ok(Flushed::Done) => {}
                Ok(Flushed::Blocked) => return Flushed::Blocked,
                Err(error) => {
                    self.send_failed(error);
                    return Flushed::Done;
                }
            }
            while let Some(mut waiting) = self.backlog.pop_front() {
                self.backlog_bytes -= waiting.body.len();
                let Waiting {
                    header,
                    body,
                    attached,
                } = &mut waiting;
                match self.send_or_refuse(header, &mut &[][..], body, attached) {
                    Ok(Sent::Accepted) => {}
                    Ok(Sent::Full) => {
                        self.backlog_bytes += waiting.body.len();
                        self.backlog.push_front(waiting);
                        break;
                    }
                    Err(error) => {
                        self.send_failed(error);
                        break;
                    }
                }
            }
        }
    }

    /// Whether something waits for the peer to make room.
    pub(crate) fn blocked(&self) -> bool {
        !self.broken && (self.sender.waits() || !self.backlog.is_empty())
    }

    /// Whether something is still to be sent; then `waker`, a thread's, is told when that has changed.
    pub(crate) fn wait_to_be_sent(&mut self, waker: &Waker) -> bool {
        let waiting = self.blocked() && self.core.state() != State::Closed;
        if waiting && !self.sending.iter().any(|known| known.will_wake(waker)) {
            self.sending.push(waker.clone());
        }
        waiting
    }

    /// Whether the peer leaves so much unread that it is not to be served further.
    pub(crate) fn congested(&self, limits: &Limits) -> bool {
        self.core.one_ways() >= limits.max_in_flight as usize
            || self.queued() > limits.max_queued
            || self
                .share
                .as_ref()
                .is_some_and(|share| share.is_above(limits.max_queued_per_user))
    }

    /// Bytes on their way out.
    fn queued(&self) -> usize {
        if self.broken {
            0
        } else {
            self.sender.queued() + self.backlog_bytes
        }
    }

    /// Gives a message to the port. If its sections cannot go beside it, it goes with their bytes inside.
    ///
    /// The header is marked where it is: a copy, of bytes that were just written one by one, would have to wait for them.
    pub(super) fn send(
        &mut self,
        header: &mut Header,
        head: &[u8],
        body: &mut Vec<u8>,
        attached: &mut Attached,
    ) -> Result<Sent, transports::Error> {
        mark(header);
        if !attached.is_empty() {
            let length = head.len() + body.len();
            match self.sender.try_send_with(header, head, body, attached.blocks()) {
                Ok(Sent::Accepted) => {
                    let attached = std::mem::take(attached);
                    let lengths = attached.blocks().iter().map(|block: &Block| block.len());
                    self.counters.sent.count(length, lengths);
                    return Ok(Sent::Accepted);
                }
                Err(error) if is_about_sections(&error) => self.put_in(body, attached, &error)?,
                other => return other,
            }
        }
        let length = head.len() + body.len();
        let sent = if head.is_empty() {
            self.sender.try_send(header, body)
        } else {
            self.sender.try_send_parts(header, head, body)
        };
        match sent {
            Ok(Sent::Accepted) => {
                self.counters.sent.count(length, std::iter::empty());
                // Said anew: to copy what the port said, the processor would wait until all that it wrote before has left for
                // memory, the record of this message among it, whose line is with the other side.
                Ok(Sent::Accepted)
            }
            other => other,
        }
    }

    /// Puts the bytes of sections into the body, since they cannot go beside it, for the reason `why`.
    #[cold]
    fn put_in(
        &self,
        body: &mut Vec<u8>,
        attached: &mut Attached,
        why: &transports::Error,
    ) -> Result<(), transports::Error> {
        if attached.blocks().iter().any(Block::is_common) {
            // Its bytes would be a copy, which nobody else writes.
            let sentence = format!("memory that both sides write cannot be passed on: {why}");
            return Err(transports::Error::new(
                transports::ErrorKind::Unsupported,
                sentence,
            ));
        }
        let refused = |sentence: String| transports::Error::new(transports::ErrorKind::TooLarge, sentence);
        let length = attached.length_inside(body.len());
        let limit = self.core.max_body_to_send() as usize;
        if length > limit {
            // The other side would end the connection.
            return Err(refused(format!(
                "its sections cannot be passed on ({why}), and with them inside, the message is {}, above the limit of {}",
                Size(length),
                Size(limit)
            )));
        }
        attached.put_into(body).map_err(|error| {
            refused(format!(
                "its sections cannot be passed on ({why}), and to put them into the message: {error}"
            ))
        })
    }

    /// As [`Out::send`], but a reply that cannot be sent becomes an error for the caller, who waits.
    fn send_or_refuse(
        &mut self,
        header: &mut Header,
        head: &mut &[u8],
        body: &mut Vec<u8>,
        attached: &mut Attached,
    ) -> Result<Sent, transports::Error> {
        match self.send(header, head, body, attached) {
            Err(error)
                if is_about_this_message(&error) && Kind::from_code(header.kind) == Some(Kind::Reply) =>
            {
                let kind = Error::from_transport_kind(error.kind());
                *header = self.core.failed_reply(header.id, kind);
                *head = &[];
                *attached = Attached::default();
                *body = format!("the result cannot be sent: {error}").into_bytes();
                self.send(header, head, body, attached)
            }
            other => other,
        }
    }

    /// Notes that nothing can be sent any more. The connection ends when the reader has read what is left.
    pub(super) fn send_failed(&mut self, error: transports::Error) -> Error {
        if !is_about_this_message(&error) {
            self.set_broken();
        }
        self.gone |= error.kind() == transports::ErrorKind::PeerDied;
        Error::from(error)
    }

    fn set_broken(&mut self) {
        self.broken = true;
        self.backlog.clear();
        self.backlog_bytes = 0;
    }
}

/// Whether the port has taken nothing and is still usable: the sections of a message are at fault.
fn is_about_sections(error: &transports::Error) -> bool {
    matches!(
        error.kind(),
        transports::ErrorKind::Unsupported | transports::ErrorKind::Resource
    )
}

/// Whether the port took nothing, and takes other messages as before.
fn is_about_this_message(error: &transports::Error) -> bool {
    matches!(
        error.kind(),
        transports::ErrorKind::TooLarge | transports::ErrorKind::Unsupported
    )
}

/// Tells the port which messages may pass one another.
pub(super) fn mark(header: &mut Header) {
    if Kind::is_unordered(header) {
        header.flags |= Header::UNORDERED;
    }
}
