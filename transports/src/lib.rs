//! Local transports: ordered, bidirectional channels of whole messages between processes on one machine.
//!
//! A server [`listen`]s on an [`Endpoint`], a client [`connect`]s to it, and each of them ends up with a
//! [`Port`]: a [`Sender`] and a [`Receiver`] that move [`Message`]s, and the identity of the [`Peer`].
//! Nothing here knows what a message means: calls, services and codecs live in `ipc-rpc`.
//!
//! All unsafe code of the project is in this crate, in `sys` (one system call per block).

mod endpoint;
mod error;
mod message;
mod peer;
mod port;

pub use endpoint::{Endpoint, Scheme};
pub use error::{Error, ErrorKind};
pub use message::{Header, Message};
pub use peer::{Identity, Peer};
pub use port::{Flushed, Port, Received, Receiver, Sender, Sent};
