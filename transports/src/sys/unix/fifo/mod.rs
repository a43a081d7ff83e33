//! `pipe:` endpoints: FIFOs in the user's private directory.
//!
//! A FIFO goes one way and has no connections, so these are made of files. The server reads connect records from a
//! *rendezvous* FIFO, `NAME.fifo`. A client makes two FIFOs of its own, `NAME.TOKEN.up` and `NAME.TOKEN.down`, and writes
//! their token into the rendezvous: a record is shorter than `PIPE_BUF`, so that the system never mixes two of
//! them. The server opens both, removes their names, and greets the client. Until then the client holds the far ends, too,
//! so that nothing that it sends early is lost, and it holds the rendezvous: once that has no reader, no greeting
//! will come.
//!
//! Large bodies travel through a file of their own, `NAME.TOKEN.up-spool` or `NAME.TOKEN.down-spool`, which the side that sends
//! makes before its first one, and of which it tells in the stream. The other side opens it and removes its name. Since both know
//! the name from the beginning, a side whose peer was killed in between removes it when the connection ends; if both were killed,
//! the next server does.
//!
//! The system cannot tell of a third writer in a FIFO. Nobody but this user and root can open one, and each frame bears a
//! tag that only the two sides know.

mod accept;
mod calls;
mod connect;
mod files;
mod record;
mod spool;
mod stream;

use crate::endpoint::{Address, PipeMode};
use crate::{Endpoint, Error, ErrorKind};
pub(super) use accept::Rendezvous;
pub(super) use calls::{detach, write};

pub(crate) use accept::listen_pipe;
pub(crate) use connect::connect_pipe;
pub(crate) use spool::SpoolFile;
pub(super) use stream::Fifos;
#[cfg(feature = "tokio")]
pub(super) use stream::has_no_reader;

/// A FIFO carries bytes.
fn refuse_messages(endpoint: &Endpoint) -> Result<(), Error> {
    match endpoint.address() {
        Address::Pipe {
            mode: PipeMode::Message,
            ..
        } => {
            let message =
                format!("cannot use \"{endpoint}\": only Windows has pipes of messages; leave out the mode");
            Err(Error::new(ErrorKind::Unsupported, message))
        }
        _ => Ok(()),
    }
}
