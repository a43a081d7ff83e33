//! Memory that travels with messages without being copied.
//!
//! A port whose [`Port::pool`](crate::Port::pool) is there carries *sections* beside the bodies of its messages. This side
//! takes a [`Chunk`] from the pool, fills it in place, makes it a [`Block`] that nobody on this side writes any more, and
//! sends that with [`Sender::try_send_with`](crate::Sender::try_send_with). The other side finds a [`Lease`] of it in
//! [`Message::sections`](crate::Message::sections), and gives it back by dropping it. Then the memory is the pool's again.
//!
//! ```
//! use transports::{Header, Message, memory};
//!
//! let (mut near, mut far) = memory::pair(1 << 20);
//! let pool = near.pool.as_ref().expect("memory is passed on in a process");
//! let mut chunk = pool.alloc(5)?;
//! chunk.copy_from_slice(b"hello");
//! let block = chunk.freeze()?;
//! near.sender.try_send_with(&Header::default(), &[], &mut Vec::new(), &[block])?;
//! near.sender.flush()?;
//!
//! let mut message = Message::default();
//! far.receiver.try_recv(&mut message)?;
//! assert_eq!(message.sections[0].bytes(), Some(&b"hello"[..]));
//! # Ok::<(), transports::Error>(())
//! ```

mod atom;
mod budget;
mod keeper;
mod lease;
mod loan;
mod private;
mod tally;
mod waiting;

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::task::Waker;

pub use atom::Atom;
pub(crate) use budget::{Budget, Charge};
#[allow(unused_imports, reason = "only where memory is shared")]
pub(crate) use keeper::{Kept, Watch, note_taken};
pub use lease::Lease;
pub(crate) use loan::{Loan, Taken};
pub(crate) use tally::Tally;
pub(crate) use waiting::Waiting;

use crate::sys::shm::{SharedBlock, SharedChunk, SharedPool};
use crate::{Error, ErrorKind};
use lease::Leased;
use loan::Unsent;
use private::Piece;

/// Where this side of a connection takes the memory from that the other side can read. A clone is the same pool.
///
/// It belongs to one connection and one direction, and holds at most [`Pool::BUDGET`] bytes, and beyond these one section
/// of the largest size that the endpoint's [`max_message`](crate::Endpoint::max_message) allows. Memory is counted by the
/// size that was set aside for a section, its length rounded up to a power of two that is at least [`Pool::SMALLEST`].
#[derive(Clone)]
pub struct Pool(PoolKind);

#[derive(Clone)]
enum PoolKind {
    Private(Arc<private::Store>),
    Shared(SharedPool),
}

/// Memory of a [`Pool`] that is being written: a `[u8]` that begins at a multiple of [`Chunk::ALIGNMENT`].
///
/// Where it came from the pool it has zeros, or something that this side wrote on this connection before: nothing else ever
/// gets to the other side with it. Dropping it gives the memory back.
pub struct Chunk {
    memory: Writable,
    /// Bytes of it that are meant.
    length: usize,
}

enum Writable {
    Private(Piece),
    Shared(SharedChunk),
}

/// Memory of a [`Pool`] that nobody on this side writes any more: a `[u8]` to read, and to send on the connection of its
/// pool as often as wanted. A clone is another handle of the same memory. Memory of [`Pool::alloc_common`], which both sides write, is
/// sent as a block, too; as a slice it is empty, since its bytes change while one looks. What the other side is to have to itself, of
/// [`Chunk::lend`] and [`Lease::send_back`], is sent once at most, and is empty as a slice as well.
///
/// The memory is the pool's again when every handle is dropped and the other side has dropped its leases, as many as the
/// block was sent with messages. A handle can be dropped on any thread, and may outlive the connection.
#[derive(Clone)]
pub struct Block {
    memory: Frozen,
    length: usize,
}

#[derive(Clone)]
enum Frozen {
    Private(Arc<Piece>),
    Shared(SharedBlock),
    /// Of [`Chunk::lend`] and [`Lease::send_back`].
    Unsent(Unsent),
}

/// Bytes by which each section makes a message's body longer where it is named in a table before that.
pub(crate) const ENTRY: usize = 16;

/// What a [`Pool`] and the half of the port that sends have come to so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// Messages that were sent without a section.
    pub inline_messages: u64,
    /// Bytes in the bodies of all messages.
    pub inline_bytes: u64,
    /// Messages that were sent with sections.
    pub section_messages: u64,
    /// Bytes in those sections.
    pub section_bytes: u64,
    /// Bytes that are set aside for sections now.
    pub in_use: usize,
    /// The most bytes that were at any time.
    pub high_water: usize,
}

impl Pool {
    /// Bytes that a pool holds at most, but for one large section: 64 MiB.
    pub const BUDGET: usize = 64 << 20;
    /// The least that is set aside for a section: 16 KiB. What is smaller travels faster in a body.
    pub const SMALLEST: usize = 16 << 10;
    /// The most sections that travel with one message.
    pub const SECTIONS: usize = 64;

    /// Takes memory for a section of `bytes` bytes. Never blocks.
    ///
    /// The other side reads it where it is, and copies it unless it trusts this one
    /// ([`Endpoint::trust_peer`](crate::Endpoint::trust_peer)).
    ///
    /// # Errors
    /// `Resource` if the budget is used up, or the memory or descriptors of this process or machine: it is there again
    /// when sections that were sent are given back; until then, send smaller parts in bodies. `TooLarge` above the
    /// endpoint's [`max_message`](crate::Endpoint::max_message). `Forked` in a fork of the connection's process.
    pub fn alloc(&self, bytes: usize) -> Result<Chunk, Error> {
        self.take(bytes, false)
    }

    /// As [`Pool::alloc`], but once it is a [`Block`] nobody can write to it any more, not even this process. So the other
    /// side can read it in place without trust, and for as long as it likes.
    ///
    /// That takes a memory of its own, which is made, sealed and passed on: some hundred times as long as taking memory
    /// from the pool, and worth it for what is sent several times. It is passed to the other side once, however often the
    /// block is sent.
    ///
    /// # Errors
    /// As [`Pool::alloc`].
    pub fn alloc_sealed(&self, bytes: usize) -> Result<Chunk, Error> {
        self.take(bytes, true)
    }

    /// Takes memory for `count` words that both sides read and write at any time, all of them zero. It is sent as any other block, with any
    /// number of messages; the other side finds the words with [`Lease::atoms`].
    ///
    /// It is a memory of its own, as that of [`Pool::alloc_sealed`], whose size nobody can change, and is given up when both sides have
    /// dropped it: what one side has said in it stays with the two of them.
    ///
    /// # Errors
    /// As [`Pool::alloc`].
    pub fn alloc_common<A: Atom>(&self, count: usize) -> Result<Block, Error> {
        let bytes = count.saturating_mul(size_of::<A>());
        let memory = match &self.0 {
            PoolKind::Private(store) => Frozen::Private(Arc::new(store.take_common::<A>(count, bytes)?)),
            PoolKind::Shared(pool) => Frozen::Shared(pool.take_common::<A>(bytes)?),
        };
        Ok(Block {
            memory,
            length: bytes,
        })
    }

    fn take(&self, bytes: usize, sealed: bool) -> Result<Chunk, Error> {
        let memory = match &self.0 {
            PoolKind::Private(store) => Writable::Private(store.take(bytes, sealed)?),
            PoolKind::Shared(pool) => Writable::Shared(pool.take(bytes, sealed)?),
        };
        Ok(Chunk {
            memory,
            length: bytes,
        })
    }

    /// Gives the system back what has not been used since the last time this was called. False if there is nothing that
    /// another call could give back, so that calling now and then can end until the pool is used again.
    ///
    /// Meant for whoever has a clock: called each second or so, it takes an idle connection back to nothing.
    pub fn trim(&self) -> bool {
        match &self.0 {
            PoolKind::Private(store) => store.trim(),
            PoolKind::Shared(pool) => pool.trim(),
        }
    }

    /// Has `waker` woken, once, when memory has come back, from either side, or the connection has ended: then what was refused with `Resource` may
    /// be tried again. Whoever waits calls this first, and tries again before sleeping: what came back in between wakes nobody. It may also be
    /// woken for nothing. Never blocks.
    ///
    /// As long as somebody waits, a thread of this process sleeps where the other side gives memory back.
    pub fn wake_on_return(&self, waker: &Waker) {
        match &self.0 {
            PoolKind::Private(store) => store.wake_on_return(waker),
            PoolKind::Shared(pool) => pool.wake_on_return(waker),
        }
    }

    /// Has [`Pool::trim`] called each second by itself as long as there is something to give back, by a thread of the process that is
    /// there as long as any of its pools has something.
    pub fn trim_when_idle(&self) {
        match &self.0 {
            PoolKind::Private(store) => store.watch().want(),
            PoolKind::Shared(pool) => pool.trim_when_idle(),
        }
    }

    /// Has `hook` called when this side has something to tell the other about its memory which goes with the next
    /// [`Sender::flush`](crate::Sender::flush), so that it goes soon even if nothing else is sent. It is called on
    /// whichever thread drops a handle, and must not block. There is one; setting it replaces the former.
    pub fn on_unsent(&self, hook: Box<dyn Fn() + Send + Sync>) {
        match &self.0 {
            // Nothing has to be told.
            PoolKind::Private(_) => drop(hook),
            PoolKind::Shared(pool) => pool.on_unsent(hook),
        }
    }

    /// What has been sent by the port's sender, and how much memory that took.
    #[must_use]
    pub fn usage(&self) -> Usage {
        match &self.0 {
            PoolKind::Private(store) => store.usage(),
            PoolKind::Shared(pool) => pool.usage(),
        }
    }

    /// A pool inside this process.
    pub(crate) fn private(largest: usize) -> Self {
        Self(PoolKind::Private(Arc::new(private::Store::new(largest))))
    }

    /// A pool of memory that another process can read.
    #[allow(dead_code, reason = "only where memory is shared")]
    pub(crate) fn shared(pool: SharedPool) -> Self {
        Self(PoolKind::Shared(pool))
    }

    /// For a sender inside this process: what the other side, whose pool is `theirs`, gets for these blocks.
    pub(crate) fn lend(&self, theirs: &Self, blocks: &[Block]) -> Result<Vec<Lease>, Error> {
        let (PoolKind::Private(own), PoolKind::Private(theirs)) = (&self.0, &theirs.0) else {
            return Err(stranger());
        };
        let taken = Taken::from(blocks)?;
        for (block, loan) in taken.iter() {
            let is_ours = match (loan, &block.memory) {
                (Some(Loan::Chunk(chunk)), _) => {
                    matches!(&chunk.memory, Writable::Private(piece) if piece.is_of(own))
                }
                (Some(Loan::Lease(lease)), _) => {
                    matches!(&lease.memory, Leased::Private(piece) if piece.is_of(theirs))
                }
                (None, Frozen::Private(piece)) => piece.is_of(own),
                (None, _) => false,
            };
            if !is_ours {
                return Err(stranger());
            }
        }
        let parts = taken.into_parts().into_iter();
        Ok(parts.filter_map(|(block, loan)| block.passed_on(loan)).collect())
    }

    /// For a sender inside this process: counts what was sent.
    pub(crate) fn count(&self, body: usize, sections: &[Block]) {
        if let PoolKind::Private(store) = &self.0 {
            store.tally.count(body, sections);
        }
    }
}

impl Chunk {
    /// A chunk begins at a multiple of so many bytes.
    pub const ALIGNMENT: usize = 64;

    /// Keeps the first `length` bytes only. Nothing happens if it is no longer than that. The same memory stays set aside.
    pub fn truncate(&mut self, length: usize) {
        self.length = self.length.min(length);
    }

    /// Ends the writing. Memory of [`Pool::alloc_sealed`] cannot be sealed while a child of this process has yet to start its program: this
    /// blocks the thread until it has, for a tenth of a second at most. Other memory takes no time.
    ///
    /// # Errors
    /// Only for memory of [`Pool::alloc_sealed`]: the system refuses to seal it or to map it again, `Resource` if that is
    /// for lack of something.
    pub fn freeze(self) -> Result<Block, Error> {
        let Self { memory, length } = self;
        let memory = match memory {
            Writable::Private(piece) => Frozen::Private(Arc::new(piece)),
            Writable::Shared(chunk) => Frozen::Shared(chunk.freeze()?),
        };
        Ok(Block { memory, length })
    }

    /// Ends the writing and the reading: the other side gets the memory to itself. It may write to it, if the two sides share a process, or each
    /// trusts the other ([`Endpoint::trust_peer`](crate::Endpoint::trust_peer)), and send it back ([`Lease::send_back`]); otherwise it
    /// reads it as it reads any other.
    ///
    /// The block can be sent once, whatever its handles. Until then its bytes can be copied ([`Block::append_to`]). Memory of
    /// [`Pool::alloc_sealed`] is frozen instead.
    ///
    /// # Errors
    /// As [`Chunk::freeze`].
    pub fn lend(self) -> Result<Block, Error> {
        let is_sealed = match &self.memory {
            Writable::Private(piece) => piece.is_sealed(),
            Writable::Shared(chunk) => chunk.is_draft(),
        };
        if is_sealed {
            return self.freeze();
        }
        let length = self.length;
        Ok(Block::of(Loan::Chunk(self), length))
    }

    /// One of memory that another process can read.
    #[allow(dead_code, reason = "only where memory is shared")]
    pub(crate) fn shared(chunk: SharedChunk, length: usize) -> Self {
        Self {
            memory: Writable::Shared(chunk),
            length,
        }
    }

    /// The same the other way round, if that is what it is.
    #[allow(dead_code, reason = "only where memory is shared")]
    pub(crate) fn as_shared(&self) -> Option<&SharedChunk> {
        match &self.memory {
            Writable::Private(_) => None,
            Writable::Shared(chunk) => Some(chunk),
        }
    }

    /// The same for good.
    #[allow(dead_code, reason = "only where memory is shared")]
    pub(crate) fn into_shared(self) -> Option<SharedChunk> {
        match self.memory {
            Writable::Private(_) => None,
            Writable::Shared(chunk) => Some(chunk),
        }
    }
}

impl Block {
    /// Whether it came from [`Pool::alloc_sealed`]: nobody can write to it any more.
    #[must_use]
    pub fn is_sealed(&self) -> bool {
        match &self.memory {
            Frozen::Private(piece) => piece.is_sealed(),
            Frozen::Shared(block) => block.is_sealed(),
            Frozen::Unsent(_) => false,
        }
    }

    /// Appends a copy of all bytes. As a slice, a block may be empty that has some: one that the other side gets to itself.
    ///
    /// # Errors
    /// `Unsupported` if the other side has them to itself by now, or if both sides write them; `Resource` if there is no memory for them.
    pub fn append_to(&self, to: &mut Vec<u8>) -> Result<(), Error> {
        if self.is_common() {
            return Err(word_by_word());
        }
        reserve(to, self.length)?;
        match &self.memory {
            Frozen::Private(_) | Frozen::Shared(_) => to.extend_from_slice(self),
            Frozen::Unsent(unsent) => unsent.append_to(to)?,
        }
        Ok(())
    }

    /// Whether it came from [`Pool::alloc_common`]: both sides write to it.
    #[must_use]
    pub fn is_common(&self) -> bool {
        match &self.memory {
            Frozen::Private(piece) => piece.is_common(),
            Frozen::Shared(block) => block.is_common(),
            Frozen::Unsent(_) => false,
        }
    }

    /// The words that both sides write, of a block of [`Pool::alloc_common`] with the same type; `None` of any other.
    #[must_use]
    pub fn atoms<A: Atom>(&self) -> Option<&[A]> {
        match &self.memory {
            Frozen::Private(piece) => piece.atoms(),
            Frozen::Shared(block) => block.atoms(),
            Frozen::Unsent(_) => None,
        }
    }

    /// Bytes, also of a block of [`Pool::alloc_common`].
    #[must_use]
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether it has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// What the other side of the same process gets of it. It was judged: there is always something.
    fn passed_on(&self, loan: Option<Loan>) -> Option<Lease> {
        let memory = match (loan, &self.memory) {
            (Some(Loan::Chunk(chunk)), _) => match chunk.memory {
                Writable::Private(piece) => Leased::Private(Arc::new(piece)),
                Writable::Shared(_) => return None,
            },
            (Some(Loan::Lease(lease)), _) => match lease.memory {
                Leased::Private(piece) => Leased::Back(Arc::new(Chunk {
                    memory: Writable::Private(Arc::into_inner(piece)?),
                    length: self.length,
                })),
                Leased::Shared(_) | Leased::Back(_) => return None,
            },
            (None, Frozen::Private(piece)) => Leased::Private(piece.clone()),
            (None, Frozen::Shared(_) | Frozen::Unsent(_)) => return None,
        };
        Some(Lease {
            memory,
            length: self.length,
        })
    }

    /// What can be shown to another process, and how many bytes of it.
    #[allow(dead_code, reason = "only where memory is shared")]
    pub(crate) fn shared(&self) -> Option<(&SharedBlock, usize)> {
        match &self.memory {
            Frozen::Private(_) | Frozen::Unsent(_) => None,
            Frozen::Shared(block) => Some((block, self.length)),
        }
    }
}

impl Deref for Chunk {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.memory {
            Writable::Private(piece) => &piece.bytes()[..self.length],
            Writable::Shared(chunk) => &chunk.bytes()[..self.length],
        }
    }
}

impl DerefMut for Chunk {
    fn deref_mut(&mut self) -> &mut [u8] {
        match &mut self.memory {
            Writable::Private(piece) => &mut piece.bytes_mut()[..self.length],
            Writable::Shared(chunk) => &mut chunk.bytes_mut()[..self.length],
        }
    }
}

impl Deref for Block {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.memory {
            Frozen::Private(piece) if piece.is_common() => &[],
            Frozen::Private(piece) => &piece.bytes()[..self.length],
            Frozen::Shared(block) => {
                let bytes = block.bytes();
                &bytes[..self.length.min(bytes.len())]
            }
            Frozen::Unsent(_) => &[],
        }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Pool").field(&self.usage()).finish()
    }
}

impl fmt::Debug for Chunk {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Chunk({} bytes)", self.length)
    }
}

impl fmt::Debug for Block {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Block({} bytes)", self.length)
    }
}

fn reserve(to: &mut Vec<u8>, length: usize) -> Result<(), Error> {
    to.try_reserve(length).map_err(|error| {
        let message = format!("no memory for a copy of {length} bytes of a section");
        Error::new(ErrorKind::Resource, message).with_source(std::io::Error::other(error))
    })
}

fn word_by_word() -> Error {
    let message = "memory that both sides write is read word by word";
    Error::new(ErrorKind::Unsupported, message)
}

/// The error for blocks that a port cannot take: it carries none, or more than one message can have.
pub(crate) fn refuse(blocks: usize) -> Error {
    let message = if blocks > Pool::SECTIONS {
        format!("a message has at most {} sections, not {blocks}", Pool::SECTIONS)
    } else {
        "this transport carries no sections; put the bytes into the body".to_owned()
    };
    Error::new(ErrorKind::Unsupported, message)
}

/// The error for a block of another connection.
pub(crate) fn stranger() -> Error {
    let message =
        "a section can be sent only on the connection whose pool it was taken from; copy it into one of this";
    Error::new(ErrorKind::Unsupported, message)
}
