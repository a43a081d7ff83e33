//! Sections in memory that two processes share.
//!
//! The side that sends makes the memory, in *segments*: it maps a memory for writing, seals it against all others, and hands
//! the other side its descriptor, which gives reading only. A segment of 1 MiB is cut into places of one size; larger sections have one of their
//! own, and so have sealed ones. A message says in a table which places its sections are in ([`wire`]).
//!
//! The other side gives a place back by counting up a word that both sides write ([`returns`]). Each is as many times lent
//! out as it was sent; it is free again once the word says as many. So giving back takes neither a message nor a system
//! call, works on any thread, and when the connection is idle or full. What it costs: the sender learns of it only when it
//! looks, which it does when it needs room.
//!
//! Between sides that trust each other, a place can be lent whole ([`loans`]): the other side has it to itself then, may write to it, and can send
//! it back with a message of its own, which is how one answers in the request's own memory. For that, segments of a side that trusts the
//! other are not sealed against writing, and mapped for it by a side that trusts, too.
//!
//! A segment that is not needed any more is forgotten by both sides: there is a message for that, and one to announce a
//! segment. They travel in a stream between the messages, and on the socket beside a ring, always before the
//! first message that depends on them.
//!
//! # What the other side may do
//! - The sender may change pooled memory while it is read, or send nonsense in tables and announcements. The receiver
//!   judges each of them, maps only what is sealed against shrinking, and copies what is not sealed against writing.
//! - The receiver may give back what it has not done with, or nothing, or more than it got: it reads changed bytes then, or
//!   gets no more sections. The sender trusts the word with no more than that.
//!
//! Only processes of one user share sections, as with the ring: their memory is accounted together, and nobody else gets to
//! have this process map and close what they chose.
//!
//! | file | what is in it |
//! |---|---|
//! | `pool` | what this side has made, and which part of it is free or lent |
//! | `handle` | who has which part on this side |
//! | `pieces` | a part of it, while it is written, and when it can be sent |
//! | `outbox` | for the half of a port that sends: telling the other side |
//! | `inbox` | for the half that receives: what the other side has told, and judging it |
//! | `lease` | what came |
//! | `loans` | what the other side has to itself, and sends back |
//! | `returns` | the words |
//! | `wire` | tables and announcements |

mod handle;
mod inbox;
mod lease;
mod loans;
mod outbox;
mod pieces;
mod pool;
pub(super) mod returns;
pub(super) mod wire;

pub(crate) use inbox::{Inbox, Listened};
pub(crate) use lease::SharedLease;
pub(crate) use outbox::Outbox;
pub(crate) use pieces::{SharedBlock, SharedChunk};
pub(crate) use pool::SharedPool;
pub(crate) use wire::is_piece;

use super::meeting;
use crate::{Endpoint, Peer, Pool, sys};

/// Bytes of a segment whose places are smaller than that.
pub(super) const SEGMENT: usize = 1 << 20;

/// The most segments of one side.
pub(super) const SEGMENTS: usize = 64;

/// The most places in one segment.
pub(super) const PLACES: usize = SEGMENT / Pool::SMALLEST;

/// Pieces of bodies that one side has on their way at most. They are for the other side to work on while this one goes on, and
/// are used again and again: more would not stay in the cache, and keep memory from sections. Of 512 KiB, two were as fast as four with
/// 1 MiB there and back, and four faster in one direction.
pub(super) const PIECES: usize = 4;

/// What lets the port of a stream carry sections: for its user, for its half that sends, and for the one that receives.
/// `None` where they cannot be carried, or not to this peer.
pub(crate) fn attach(
    stream: &sys::Stream,
    peer: &Peer,
    endpoint: &Endpoint,
) -> Option<(Pool, Outbox, Inbox)> {
    if meeting::reason_against(peer).is_some() || !stream.carries_descriptors() {
        return None;
    }
    let (limit, trusting) = (endpoint.message_limit(), endpoint.is_peer_trusted());
    let pool = SharedPool::new(limit, trusting);
    let inbox = Inbox::new(&pool, limit, trusting);
    let outbox = Outbox::new(&pool, &inbox);
    Some((Pool::shared(pool), outbox, inbox))
}
