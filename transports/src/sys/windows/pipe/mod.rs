//! `pipe:` endpoints: named pipes, with overlapped I/O.
//!
//! What is under way belongs to the system, with its buffer and its `OVERLAPPED`. It has an event that is set whenever there
//! is something to look at, so that a thread waits for events, and a runtime has the system's thread pool wait for them.
//!
//! The system cancels what a thread has begun when the thread ends. A read, or waiting for a client, is begun again then
//! ([`operation::Operation`]). A write cannot be, since nobody could say how much of it was read: it is begun in the one way
//! that the system spares ([`write::Write`]).

mod acceptor;
mod calls;
mod event;
mod operation;
mod security;
mod stream;
#[cfg(feature = "tokio")]
mod watch;
mod write;

pub(super) use acceptor::{PipeAcceptor, path_of};
pub(crate) use acceptor::{connect_pipe, listen_pipe};
pub(super) use event::Event;
pub(super) use stream::PipeStream;
#[cfg(feature = "tokio")]
pub(super) use watch::EventWatch;
