//! `pipe:` endpoints: named pipes, with overlapped I/O.
//!
//! A read or write that is under way belongs to the system: its buffer, its `OVERLAPPED` and its event live in an
//! [`operation::Operation`], which cancels it and waits for its end before it frees them. Each has an event that is set
//! whenever there is something to look at, so that a thread waits for events, and a runtime has the system's thread
//! pool wait for them.

mod acceptor;
mod calls;
mod event;
mod operation;
mod security;
mod stream;
#[cfg(feature = "tokio")]
mod watch;

pub(super) use acceptor::{PipeAcceptor, path_of};
pub(crate) use acceptor::{connect_pipe, listen_pipe};
pub(super) use event::Event;
pub(super) use stream::PipeStream;
#[cfg(feature = "tokio")]
pub(super) use watch::EventWatch;
