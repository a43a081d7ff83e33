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
//! | `crash` | being killed in the middle of all this, for tests |

// What is not used yet is so by the port, which stands on this.
#![allow(
    dead_code,
    unused_imports,
    reason = "the port that uses it all is not there yet"
)]

mod bell;
mod consumer;
mod copy;
mod crash;
mod fault;
mod layout;
mod memory;
#[cfg(all(test, loom))]
mod models;
mod processors;
mod producer;
mod sync;
#[cfg(all(test, not(loom)))]
mod tests;

pub(crate) use bell::{Bell, EVENT, FUTEX};
pub(crate) use consumer::Consumer;
pub(crate) use crash::crash_point;
pub(crate) use fault::{Corrupt, Fault};
pub(crate) use layout::{Layout, Mark};
pub(crate) use processors::Processors;
pub(crate) use producer::Producer;
