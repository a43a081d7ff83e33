//! One direction of an in-process channel.

use std::collections::VecDeque;
use std::mem;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::socket::QUEUE_LIMIT;
use crate::{Error, Header, Lease, Message};

/// Buffers kept for the next messages: so many, and of so many bytes together, that a few tens of small calls or a
/// few large bodies in flight need no allocation, and an idle connection holds little.
const SPARE_BUFFERS: usize = 64;
const SPARE_BYTES: usize = 4 << 20;

/// Set in [`Lane::state`] beside the number of messages once no more will come.
const ENDED: usize = 1 << (usize::BITS - 1);

#[derive(Default)]
pub(super) struct Lane {
    queue: Mutex<Queue>,
    /// The number of messages, and [`ENDED`], told without the lock. Changed only under it.
    state: AtomicUsize,
}

#[derive(Default)]
struct Queue {
    messages: VecDeque<Message>,
    bytes: usize,
    spare: Vec<Vec<u8>>,
    spare_bytes: usize,
    /// The sender waits for room for so many bytes.
    wanted: Option<usize>,
    closed: bool,
    abandoned: bool,
}

pub(super) enum Put {
    Accepted,
    Full,
    Closed,
}

pub(super) enum Taken {
    Message { last: bool },
    Empty,
    Closed,
}

impl Lane {
    /// Takes the message, and leaves a used buffer in place of the body. `sections` gives what goes beside it, and is asked only if there
    /// is room, since some of it is given once.
    ///
    /// # Errors
    /// Those of `sections`; nothing was taken then.
    pub(super) fn put(
        &self,
        header: Header,
        body: &mut Vec<u8>,
        sections: impl FnOnce() -> Result<Vec<Lease>, Error>,
    ) -> Result<Put, Error> {
        let mut queue = self.queue();
        let size = Header::SIZE + body.len();
        match queue.room(size) {
            Put::Accepted => {}
            refused => return Ok(refused),
        }
        let sections = sections()?;
        let spare = queue.spare.pop().unwrap_or_default();
        queue.spare_bytes -= spare.capacity();
        queue.bytes += size;
        queue.messages.push_back(Message {
            header,
            body: mem::replace(body, spare),
            begun: false,
            sections,
        });
        self.publish(&queue);
        Ok(Put::Accepted)
    }

    /// Whether there is room for `size` bytes; if not, [`Lane::take`] will tell when there is.
    pub(super) fn request(&self, size: usize) -> Put {
        let mut queue = self.queue();
        let room = queue.room(size);
        queue.wanted = matches!(room, Put::Full).then_some(size);
        room
    }

    /// Moves the next message into `message`. True if this made the room that the sender waits for.
    pub(super) fn take(&self, message: &mut Message) -> (Taken, bool) {
        let mut queue = self.queue();
        let Some(next) = queue.messages.pop_front() else {
            return (if queue.closed { Taken::Closed } else { Taken::Empty }, false);
        };
        self.publish(&queue);
        queue.bytes -= Header::SIZE + next.body.len();
        let used = mem::replace(message, next).body;
        if queue.spare.len() < SPARE_BUFFERS && queue.spare_bytes + used.capacity() <= SPARE_BYTES {
            queue.spare_bytes += used.capacity();
            queue.spare.push(used);
        }
        let space = queue
            .wanted
            .is_some_and(|size| matches!(queue.room(size), Put::Accepted));
        if space {
            queue.wanted = None;
        }
        (
            Taken::Message {
                last: queue.messages.is_empty() && !queue.closed,
            },
            space,
        )
    }

    /// Whether [`Lane::take`] has a message, or the end.
    pub(super) fn ready(&self) -> bool {
        self.state.load(Ordering::Acquire) != 0
    }

    /// The sending side is gone: what was put can still be taken.
    pub(super) fn close(&self) {
        let mut queue = self.queue();
        queue.closed = true;
        self.publish(&queue);
    }

    /// The receiving side is gone: nothing can be put any more.
    pub(super) fn abandon(&self) {
        let mut queue = self.queue();
        queue.abandoned = true;
        queue.bytes = 0;
        let messages = mem::take(&mut queue.messages);
        queue.spare = Vec::new();
        queue.spare_bytes = 0;
        drop(queue);
        drop(messages);
    }

    fn publish(&self, queue: &Queue) {
        let ended = if queue.closed { ENDED } else { 0 };
        self.state.store(queue.messages.len() | ended, Ordering::Release);
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn room(&self, size: usize) -> Put {
        if self.abandoned {
            Put::Closed
        } else if self.messages.is_empty() || self.bytes + size <= QUEUE_LIMIT {
            Put::Accepted
        } else {
            Put::Full
        }
    }
}
