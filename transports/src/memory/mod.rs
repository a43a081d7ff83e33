//! `mem:`, both ends in this process: two queues of whole messages, whose buffers change hands instead of being copied.

mod doorbell;
mod lane;
mod registry;

use std::sync::Arc;
use std::time::Instant;

pub(crate) use doorbell::{DATA, Doorbell, SPACE};
pub(crate) use registry::{connect, listen};

use crate::{
    Block, Carrier, Endpoint, Error, ErrorKind, Flushed, Header, Identity, Interrupt, Lease, Message, Peer,
    Pool, Port, Received, Receiver, Scheme, Sender, Sent,
};
use lane::{Lane, Put, Taken};

/// Two ports that are connected to each other and to no name. `max_message` is the largest body in bytes, as
/// [`Endpoint::max_message`].
#[must_use]
pub fn pair(max_message: usize) -> (Port, Port) {
    let endpoint = Endpoint::memory("pair", max_message);
    ports(&endpoint, &endpoint)
}

/// The ports of a new connection: of the side with `near`'s settings, and of the side with `far`'s.
fn ports(near: &Endpoint, far: &Endpoint) -> (Port, Port) {
    let lanes = [Arc::new(Lane::default()), Arc::new(Lane::default())];
    let doorbells = [Arc::new(Doorbell::new()), Arc::new(Doorbell::new())];
    let pools = [near, far].map(|endpoint| Pool::private(endpoint.message_limit()));
    let side = |own: usize, other: usize, endpoint: &Endpoint| {
        let side = Arc::new(Side {
            outgoing: Arc::clone(&lanes[own]),
            incoming: Arc::clone(&lanes[other]),
            doorbell: Arc::clone(&doorbells[own]),
            other: Arc::clone(&doorbells[other]),
        });
        let limit = endpoint.message_limit();
        let pool = pools[own].clone();
        Port {
            carrier: Carrier::fixed(Scheme::Memory),
            sender: Box::new(MemorySender {
                side: Arc::clone(&side),
                limit,
                pool: pool.clone(),
                theirs: pools[other].clone(),
                unannounced: 0,
                refused: None,
            }),
            receiver: Box::new(MemoryReceiver {
                side,
                limit,
                drained: false,
                broken: None,
            }),
            peer: Peer::new(Identity::SameProcess, std::sync::Weak::new()),
            endpoint: endpoint.clone(),
            pool: Some(pool),
        }
    };
    (side(0, 1, near), side(1, 0, far))
}

/// What the two halves of a port share. The channel ends when both are gone.
struct Side {
    outgoing: Arc<Lane>,
    incoming: Arc<Lane>,
    doorbell: Arc<Doorbell>,
    other: Arc<Doorbell>,
}

impl Drop for Side {
    fn drop(&mut self) {
        self.outgoing.close();
        self.incoming.abandon();
        self.other.ring(DATA | SPACE);
    }
}

struct MemorySender {
    side: Arc<Side>,
    limit: usize,
    pool: Pool,
    /// The other side's.
    theirs: Pool,
    /// Bytes that were put and for which the other side's doorbell was not rung yet.
    unannounced: usize,
    /// The size of the message that found no room, until there is room for it.
    refused: Option<usize>,
}

impl Sender for MemorySender {
    fn try_send(&mut self, header: &Header, body: &mut Vec<u8>) -> Result<Sent, Error> {
        let header = header.outgoing(body.len(), self.limit)?;
        self.put(header, body, &[])
    }

    fn try_send_with(
        &mut self,
        header: &Header,
        head: &[u8],
        body: &mut Vec<u8>,
        sections: &[Block],
    ) -> Result<Sent, Error> {
        let header = header.outgoing_with(sections.len(), head.len() + body.len(), self.limit)?;
        body.splice(..0, head.iter().copied());
        let sent = self.put(header, body, sections);
        if !matches!(sent, Ok(Sent::Accepted)) {
            body.drain(..head.len());
        }
        sent
    }

    fn flush(&mut self) -> Result<Flushed, Error> {
        if std::mem::take(&mut self.unannounced) > 0 {
            self.side.other.ring(DATA);
        }
        let Some(size) = self.refused else {
            return Ok(Flushed::Done);
        };
        match self.side.outgoing.request(size) {
            Put::Accepted => {
                self.refused = None;
                Ok(Flushed::Done)
            }
            Put::Full => Ok(Flushed::Blocked),
            Put::Closed => Err(closed()),
        }
    }

    fn queued(&self) -> usize {
        self.unannounced
    }
}

impl MemorySender {
    fn put(&mut self, header: Header, body: &mut Vec<u8>, sections: &[Block]) -> Result<Sent, Error> {
        let length = body.len();
        let size = Header::SIZE + length;
        let lend = || match sections {
            [] => Ok(Vec::new()),
            sections => self.pool.lend(&self.theirs, sections),
        };
        match self.side.outgoing.put(header, body, lend)? {
            Put::Accepted => {
                self.pool.count(length, sections);
                self.unannounced += size;
                self.refused = None;
                Ok(Sent::Accepted)
            }
            Put::Full => {
                self.refused = Some(size);
                Ok(Sent::Full)
            }
            Put::Closed => Err(closed()),
        }
    }
}

struct MemoryReceiver {
    side: Arc<Side>,
    limit: usize,
    drained: bool,
    broken: Option<(usize, usize)>,
}

impl Receiver for MemoryReceiver {
    fn try_recv(&mut self, message: &mut Message) -> Result<Received, Error> {
        if let Some((length, limit)) = self.broken {
            return Err(Header::too_long(length, limit));
        }
        // Giving back what the last message brought is no business of whoever holds the queue.
        message.sections.clear();
        let (taken, space) = self.side.incoming.take(message);
        if space {
            self.side.other.ring(SPACE);
        }
        match taken {
            Taken::Message { last } => {
                self.drained = last;
                let sections = message.sections.iter().map(Lease::len);
                let longest = sections.fold(message.body.len(), usize::max);
                if longest > self.limit {
                    self.broken = Some((longest, self.limit));
                    return Err(Header::too_long(longest, self.limit));
                }
                Ok(Received::Message)
            }
            Taken::Empty => {
                self.drained = true;
                Ok(Received::Empty)
            }
            Taken::Closed => {
                self.drained = true;
                Ok(Received::Closed)
            }
        }
    }

    fn ready(&self) -> bool {
        self.broken.is_some() || self.side.incoming.ready()
    }

    fn in_progress(&self) -> bool {
        false
    }

    fn drained(&self) -> bool {
        self.drained
    }

    fn park(&mut self, space: bool, deadline: Option<Instant>) -> Result<(), Error> {
        if !self.ready() {
            self.side
                .doorbell
                .wait(if space { DATA | SPACE } else { DATA }, deadline);
        }
        Ok(())
    }

    fn interrupt(&self) -> Interrupt {
        Interrupt::doorbell(Arc::clone(&self.side.doorbell))
    }

    #[cfg(feature = "tokio")]
    fn watch(&self) -> crate::reactor::Watch {
        crate::reactor::Watch::doorbell(Arc::clone(&self.side.doorbell))
    }
}

fn closed() -> Error {
    Error::new(
        ErrorKind::PeerDied,
        "cannot send: the other side closed the connection",
    )
}
