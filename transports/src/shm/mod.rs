//! Messages through memory that two processes share: the rings, and how to sleep beside them.
//!
//! Each side of a connection makes one memory that it alone writes, and hands the other a descriptor that gives reading
//! only; [`layout`] shows what lies where. A ring leads each way. Its records lie in the memory of the side that produces
//! them, and how far they were consumed is said in the memory of the other: so each index has one writer, and no side
//! can do more to the other than to send it nonsense.
//!
//! Nothing is ever locked in shared memory. A process that is killed at any instruction leaves the other with whole
//! records only: a record is there once its commit word is, which is one store ([`Producer::push`]).
//!
//! # What the other side may do
//! Anything, to its own memory, at any time. So a [`Producer`] and a [`Consumer`]
//! - keep their own positions to themselves, and never read one back from shared memory;
//! - load each word of the other side's once, and judge the copy: what no honest side writes is [`Corrupt`];
//! - copy a record's body out once, by [`copy`], which makes no reference to what the other side writes;
//! - take a number of steps that is bounded by what they were asked for.
//!
//! A [`Bell`] is written by both sides, and is a hint: it can wake too often, or too late, but no more.
//!
//! | file | what is in it |
//! |---|---|
//! | `layout` | what lies where in a memory, and the commit word |
//! | `memory`, `copy` | the accesses to it |
//! | `producer`, `consumer` | the two ends of a ring |
//! | `processors` | where the other side runs |
//! | `bell` | sleeping and waking |
//! | `meeting` | how two sides of a socket agree on all that |
//! | `port`, `sending`, `receiving` | the port that stands on it |
//! | `cut` | which bodies travel in pieces, and of how many bytes |
//! | `news` | what a reactor watches |
//! | `waits` | whether to look again or to sleep |
//! | `sections` | memory that travels with messages |

mod bell;
mod consumer;
mod copy;
mod cut;
mod fault;
mod layout;
mod meeting;
mod memory;
#[cfg(all(test, loom))]
mod models;
#[cfg(feature = "tokio")]
mod news;
mod port;
mod processors;
mod producer;
mod receiving;
mod sections;
mod sending;
mod sync;
#[cfg(all(test, not(loom)))]
mod tests;
mod waits;

pub(crate) use meeting::Meeting;
#[cfg(feature = "tokio")]
pub(crate) use news::News;
pub(crate) use port::{accepted, connected};
pub(crate) use sections::{
    Inbox, Outbox, SharedBlock, SharedChunk, SharedLease, SharedPool, attach, is_piece,
};
#[cfg(feature = "tokio")]
pub(crate) use waits::Waits;

use bell::{Bell, EVENT, FUTEX, SPACE};
use consumer::Consumer;
use cut::Cut;
use fault::{Corrupt, Fault};
use layout::{Layout, Mark};
use processors::Processors;
use producer::Producer;

/// Whether memory can be shared with another process, here.
pub(crate) const HAS_SHARED_MEMORY: bool = true;

/// Bytes before the body in the first piece of a large message: its whole length, and its lane, 32 bits each,
/// little-endian.
const PREFIX: usize = 8;
