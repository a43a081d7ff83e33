//! The direct tier: a large body stays in its sender's memory until the other side has copied it from there.
//!
//! It saves memory, not time: neither ring nor socket holds anything of the body, and no further copy of it is made. Both
//! sides have to ask for it ([`Endpoint::direct`](crate::Endpoint::direct)), since each lets the other read its memory, all
//! of it: whoever runs as the same user can anyway, where the system knows no finer rule, but nothing of this crate makes
//! use of that unless it was told to. No rule of the system's is relaxed: where processes of one user may not look into
//! each other, bodies travel as they do without.
//!
//! # What is said
//! A port of this tier stands on another one, which carries small messages, and these beside them, known by their kind and
//! by [`MAGIC`](wire::MAGIC) in `ordinal`:
//!
//! | kind | `id` | `extra` | body | what it says |
//! |---|---|---|---|---|
//! | Offer | 0 | address | | at this place of mine lie 32 random bytes: show that you can read them |
//! | Proof | 0 | 0 | these bytes, or none | I can read your memory, or I cannot |
//! | Lend | slot | address | a header; 32 bits: how many bytes come first, and in bit 31 whether it may move; the first and the last bytes of the message's body | those in between lie there: they stay until you say so |
//! | Done | slot | 0 | | I have it |
//! | Refuse | slot | 0 | | I cannot read it: send a copy |
//! | Copy | slot | 0 | the bytes | here they are |
//! | Move | slot | address | | from now on they lie there, and what was read elsewhere counts for nothing |
//!
//! Each direction is agreed on by itself: a side lends bodies once the other has proved that it can read them.
//!
//! # What may pass what
//! Only messages that are [`Header::UNORDERED`](crate::Header::UNORDERED) are lent. A message that has a place in the order
//! waits, in the half that sends, until nothing is lent any more; the others pass.
//!
//! # What a peer can do
//! Send nonsense, as everywhere. It can name any address, of its own memory only: what is read goes into a private buffer,
//! as many bytes as were announced, from the process that the stream's pidfd stands for, which is looked at before and after
//! ([`Neighbour`](crate::sys::Neighbour)). It can change the bytes while they are copied: they are judged afterwards. And
//! it can make the copy take for ever, with memory that it serves itself (userfaultfd, FUSE): so no thread copies that
//! anybody needs ([`helpers`]). The connection that waits for such a copy is closed by the floor above when a message takes too
//! long; the others go on.
//!
//! # When a body is given back
//! A lent body is the port's, or a caller's who lends it for the time of the call ([`Sender::try_lend`](crate::Sender::try_lend)).
//! A body of the port's is freed when the other side says Done, or when the connection has ended; neither a cancelled call nor
//! one whose deadline has passed frees it. A caller who gives the call up leaves the port a copy, and the other side is told
//! to read that one (Move). In each case the other side is told first, or the stream shut down, and then the memory is
//! freed; whoever copies looks for both after the copy, and before anybody sees it. So nobody ever sees what
//! became of the memory later, with one exception: a call that is neither dropped nor polled again, but forgotten
//! (`mem::forget`), tells nobody that it has left its arguments.

mod helpers;
mod receiving;
mod sending;
mod shared;
#[cfg(all(test, not(loom)))]
mod tests;
mod usage;
mod wire;

use std::sync::Arc;

pub(crate) use shared::Shared;
pub(crate) use usage::Usage;
pub use usage::{DirectState, DirectUsage};

use crate::sys::{Neighbour, Stream, Unreadable};
use crate::{Birthplace, Port};

/// Messages that one side has lent and not got back yet, at most.
const MOST_LENT: usize = 64;

/// Bytes that one side has lent and not got back yet, at most, as long as there are several messages. More travel as they do
/// without this tier.
const LENT_LIMIT: usize = 64 << 20;

/// Bytes of what one side says of a body at most, what it says of what stands before and behind that among them. The other side has to learn of
/// messages in the order of their numbers, and other messages would pass what travels in pieces.
pub(crate) const LONGEST_WORD: usize = 8 << 10;

/// The port with this tier, if its endpoint asks for it and there is somebody whose memory could be read. Nothing is said to
/// the other side before [`Sender::offer_direct`](crate::Sender::offer_direct).
pub(crate) fn wrapped(port: Port, stream: &Arc<Stream>) -> Port {
    if !port.endpoint.is_direct() {
        return port;
    }
    let usage = Usage::new();
    let port = Port {
        carrier: port.carrier.with_direct(Arc::clone(&usage)),
        ..port
    };
    if !port.peer.same_user() {
        usage.refuse("the other side runs as another user");
        return port;
    }
    let neighbour = match Neighbour::of(stream) {
        Ok(neighbour) => neighbour,
        Err(Unreadable::Denied(error) | Unreadable::Failed(error)) => {
            usage.refuse(&error.to_string());
            return port;
        }
        // The port will say how it ended.
        Err(Unreadable::Gone | Unreadable::Absent | Unreadable::Unwanted) => return port,
    };
    let shared = Arc::new(Shared::new(
        Arc::clone(stream),
        Birthplace::here(),
        neighbour,
        port.receiver.interrupt(),
        usage,
    ));
    Port {
        sender: Box::new(sending::DirectSender::new(
            port.sender,
            Arc::clone(&shared),
            &port.endpoint,
        )),
        receiver: Box::new(receiving::DirectReceiver::new(
            port.receiver,
            shared,
            &port.endpoint,
        )),
        ..port
    }
}
