//! Local transports: ordered, bidirectional channels of whole messages between processes on one machine.
//!
//! A server [`listen`]s on an [`Endpoint`], a client [`connect`]s to it, and each of them ends up with a
//! [`Port`]: a [`Sender`] and a [`Receiver`] that move [`Message`]s, and the identity of the [`Peer`].
//! Nothing here knows what a message means: calls, services and codecs live in `ipc-rpc`.
//!
//! All unsafe code of the project is in this crate, in `sys` and `shm` (one operation per block).
//!
//! ```
//! use transports::{Accepted, Endpoint, Header, Message, Received, connect, listen};
//!
//! let endpoint: Endpoint = "mem:greeting".parse()?;
//! let mut listener = listen(&endpoint)?;
//! let mut client = connect(&endpoint, None)?;
//! client.sender.try_send(&Header { id: 7, ..Header::default() }, &mut b"hello".to_vec())?;
//! client.sender.flush()?;
//!
//! listener.park(None)?;
//! let Accepted::Port(mut server) = listener.try_accept()? else { unreachable!("the client is connected") };
//! let mut message = Message::default();
//! server.receiver.park(false, None)?;
//! assert_eq!(server.receiver.try_recv(&mut message)?, Received::Message);
//! assert_eq!((message.header.id, &message.body[..]), (7, &b"hello"[..]));
//! # Ok::<(), transports::Error>(())
//! ```

mod appearance;
mod birthplace;
pub mod buffers;
mod child;
mod connecting;
mod crash;
mod direct;
mod endpoint;
mod error;
mod inherited;
mod interrupt;
mod lanes;
pub mod memory;
mod message;
mod peer;
mod port;
#[cfg(feature = "tokio")]
pub mod reactor;
mod section;
mod servers;
mod socket;
mod sys;

pub use appearance::Appearance;
pub use birthplace::Birthplace;
pub use child::{Channel, Child, exec_command, spawn, spawn_with};
pub use connecting::{connect, listen};
pub use direct::{DirectState, DirectUsage};
pub use endpoint::{Endpoint, Scheme, Wait};
pub use error::{Error, ErrorKind};
pub use inherited::{Activated, Inherited, activated, inherit};
pub use interrupt::Interrupt;
pub use message::{Header, Message};
pub use peer::{Identity, Peer};
pub use port::{Accepted, Carrier, Flushed, Listener, Port, Received, Receiver, Sender, Sent, Spun};
pub use section::{Atom, Block, Chunk, Lease, Pool, Usage};
pub use servers::{ServerEntry, servers};
pub use socket::Pieces;
