//! The contract of a transport: one end of a connection, in two halves.
//!
//! Each half has one owner at a time and no lock inside. Moving data ([`Sender::try_send`], [`Sender::flush`],
//! [`Receiver::try_recv`]) never blocks; waiting is apart from it, so that a blocking and an async driver share
//! everything but how they wait: a blocking driver [`Receiver::park`]s, an async one registers the port's
//! event with its reactor.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use crate::socket::Agreed;
use crate::{
    Block, DirectUsage, Endpoint, Error, Header, Interrupt, Message, Peer, Pieces, Pool, Scheme, section,
};

/// One end of a connected, ordered, bidirectional channel of whole messages.
pub struct Port {
    /// The half that sends.
    pub sender: Box<dyn Sender>,
    /// The half that receives.
    pub receiver: Box<dyn Receiver>,
    /// Who is at the other end, as far as the system vouches for it.
    pub peer: Peer,
    /// Where it is connected.
    pub endpoint: Endpoint,
    /// What carries its messages.
    pub carrier: Carrier,
    /// Memory that can travel with its messages without being copied; `None` if this port carries none. The other side has
    /// to carry sections, too: it does if both are of this version and on one machine, and run as the same user.
    pub pool: Option<Pool>,
}

/// What carries the messages of a port. For a server or client of a plain name, that is settled with the first message.
#[derive(Clone)]
pub struct Carrier {
    kind: CarrierKind,
    direct: Option<Arc<crate::direct::Usage>>,
    /// What both sides of a stream have agreed on about large bodies.
    pieces: Arc<Agreed>,
    /// Large bodies can travel through files beside it.
    has_spools: bool,
}

#[derive(Clone)]
enum CarrierKind {
    Fixed(Scheme),
    #[allow(dead_code, reason = "only where memory is shared")]
    Agreed(Arc<crate::sys::shm::Meeting>),
}

impl Port {
    /// Whether this side takes large bodies in pieces beside a stream, through memory or files that both sides share, so that the other side's
    /// [`Sender::offer_pieces`] may be told so.
    #[must_use]
    pub fn takes_pieces_in_memory(&self) -> bool {
        self.pool.is_some() || self.carrier.has_spools
    }
}

impl Carrier {
    /// The transport as it is now: [`Scheme::SharedMemory`] or [`Scheme::Unix`] where the two sides had a choice.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        match &self.kind {
            CarrierKind::Fixed(scheme) => *scheme,
            CarrierKind::Agreed(meeting) => meeting.scheme(),
        }
    }

    /// What came of [`Endpoint::direct`]; `None` if it was not asked for, or if this transport has none.
    #[must_use]
    pub fn direct(&self) -> Option<DirectUsage> {
        self.direct.as_ref().map(|usage| usage.told())
    }

    /// Whether large bodies may be sent from where they are, without being copied before: see [`Sender::try_lend`].
    #[must_use]
    pub fn lends(&self) -> bool {
        self.direct.as_ref().is_some_and(|usage| usage.is_agreed())
            || self.scheme() == Scheme::SharedMemory
            || self.pieces.get() == Some(Pieces::InMemory) && !self.has_spools
    }

    /// Whether this side takes large bodies in pieces over a stream, so that the other side's [`Sender::offer_pieces`] may be told so.
    #[must_use]
    pub fn takes_pieces(&self) -> bool {
        !matches!(self.kind, CarrierKind::Fixed(Scheme::Memory))
    }

    pub(crate) fn with_direct(self, usage: Arc<crate::direct::Usage>) -> Self {
        Self {
            direct: Some(usage),
            ..self
        }
    }

    pub(crate) fn fixed(scheme: Scheme) -> Self {
        Self::of(CarrierKind::Fixed(scheme))
    }

    /// As [`Carrier::fixed`], for a stream that may have files for large bodies.
    pub(crate) fn of_stream(scheme: Scheme, has_spools: bool) -> Self {
        Self {
            has_spools,
            ..Self::fixed(scheme)
        }
    }

    fn of(kind: CarrierKind) -> Self {
        Self {
            kind,
            direct: None,
            pieces: Arc::default(),
            has_spools: false,
        }
    }

    /// For the half that sends: to be set when both sides take pieces.
    pub(crate) fn agreed_pieces(&self) -> Arc<Agreed> {
        Arc::clone(&self.pieces)
    }

    #[allow(dead_code, reason = "only where memory is shared")]
    pub(crate) fn agreed(meeting: Arc<crate::sys::shm::Meeting>) -> Self {
        Self::of(CarrierKind::Agreed(meeting))
    }
}

impl fmt::Debug for Carrier {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Carrier({})", self.scheme())
    }
}

impl fmt::Debug for Port {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            sender: _,
            receiver: _,
            peer,
            endpoint,
            carrier,
            pool,
        } = self;
        formatter
            .debug_struct("Port")
            .field("endpoint", endpoint)
            .field("peer", peer)
            .field("carrier", carrier)
            .field("pool", pool)
            .finish_non_exhaustive()
    }
}

/// What a [`Listener::try_accept`] found.
#[derive(Debug)]
pub enum Accepted {
    /// A client connected.
    Port(Port),
    /// Nobody waits.
    Empty,
}

/// What became of a message given to [`Sender::try_send`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// The port has it, whole. [`Sender::flush`] moves it on.
    Accepted,
    /// Too much is queued already; nothing was taken. Try again after a [`Sender::flush`]; once that says
    /// [`Flushed::Done`], it goes. A message is never refused for its size alone: with nothing queued, one always
    /// goes.
    Full,
}

/// What a [`Sender::flush`] achieved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flushed {
    /// Nothing is queued any more.
    Done,
    /// The other side has no room; wait for space and flush again.
    Blocked,
}

/// What a [`Receiver::try_recv`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// A message, now in the caller's buffer.
    Message,
    /// The first piece of a large message: its header is in the caller's buffer, the message itself comes later, and others
    /// may come before it if both are [`Header::UNORDERED`] to their sender. Only where large messages travel in pieces.
    Begun,
    /// No whole message is there.
    Empty,
    /// The other side closed the channel, between two messages, and all that it sent was received.
    Closed,
}

/// What [`Receiver::spin`] came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spun {
    /// There is something to receive, or room, and it came within the first few microseconds.
    AtOnce,
    /// There is something to receive, or room.
    News,
    /// Looking still pays, but others want to look, too: let them, and look again.
    Later,
    /// Looking does not pay: sleep.
    Sleep,
}

/// The half of a port that sends.
pub trait Sender: Send {
    /// Queues one message without blocking. `header.length` is set by the port from the body's length.
    ///
    /// A body may be taken whole rather than copied: `body` is then left with another buffer of unspecified
    /// content. Either way the caller may reuse `body` at once.
    /// Small messages stay queued until [`Sender::flush`], so that several leave in one system call.
    ///
    /// # Errors
    /// `TooLarge` if the body is above the endpoint's limit, `Unsupported` if the header counts sections or handles
    /// that the transport cannot carry (nothing was taken, the port stays usable); anything else means that the
    /// connection is broken. What the other side sent before can still be received then.
    fn try_send(&mut self, header: &Header, body: &mut Vec<u8>) -> Result<Sent, Error>;

    /// [`Sender::try_send`] of a body in two parts: the few bytes of `head`, and `body` behind them. It spares the owner of
    /// a large body the copy that putting something before it would take.
    ///
    /// # Errors
    /// As [`Sender::try_send`].
    fn try_send_parts(&mut self, header: &Header, head: &[u8], body: &mut Vec<u8>) -> Result<Sent, Error> {
        body.splice(..0, head.iter().copied());
        let sent = self.try_send(header, body);
        if !matches!(sent, Ok(Sent::Accepted)) {
            body.drain(..head.len());
        }
        sent
    }

    /// [`Sender::try_send_parts`] with sections, at most [`Pool::SECTIONS`], of this port's pool. The other side finds them, in
    /// this order, in [`Message::sections`]. `header.sections` is set by the port from their number.
    ///
    /// A block may be sent again, unless the other side gets it to itself, and dropped at once: see [`Block`].
    ///
    /// # Errors
    /// As [`Sender::try_send`]. `Unsupported` if the port carries no sections, there are more than it takes, one is of
    /// another pool or connection, or one that is sent once was sent before; `Resource` if the other side cannot be told of a new memory now. Nothing was taken then, and the port
    /// stays usable: send the bytes in a body.
    fn try_send_with(
        &mut self,
        header: &Header,
        head: &[u8],
        body: &mut Vec<u8>,
        sections: &[Block],
    ) -> Result<Sent, Error> {
        if sections.is_empty() {
            self.try_send_parts(header, head, body)
        } else {
            Err(section::refuse(sections.len()))
        }
    }

    /// Moves what is queued on to the other side, as much as goes without blocking.
    ///
    /// # Errors
    /// The connection is broken.
    fn flush(&mut self) -> Result<Flushed, Error>;

    /// Bytes accepted and not yet handed on, for which memory is held here. Where large messages pass one another, the
    /// largest of those that are on their way is left out: others need not wait for it.
    fn queued(&self) -> usize;

    /// Says that the other side's endpoint asks for [`Endpoint::direct`], too: from now on it may be asked whether it can read
    /// this process's memory, and once it has proved that, it is lent large bodies. Nothing happens if this port's
    /// own endpoint did not ask for it. To be followed by a [`Sender::flush`].
    fn offer_direct(&mut self) {}

    /// Says that the other side takes large bodies in pieces, too, and how: from now on they may be sent so, where
    /// the port can. The floor above asks it for that, since a port cannot know to whom it is connected.
    fn offer_pieces(&mut self, pieces: Pieces) {
        let _ = pieces;
    }

    /// Whether the last [`Sender::flush`] said [`Flushed::Blocked`] although there was room, to let others of this thread have
    /// their turn: flush again after that, without waiting for room.
    fn gives_way(&self) -> bool {
        false
    }

    /// Whether anything waits for room on the other side.
    fn waits(&self) -> bool {
        self.queued() > 0
    }

    /// Begins a message whose body is `head` and `rest` more bytes, which its owner keeps and hands on piece by piece, with
    /// [`Sender::push_lent`], so that they are not copied to be sent. Others pass meanwhile. `None`: not here, or not now; the
    /// message is to be sent whole. Otherwise the number by which it goes.
    ///
    /// # Errors
    /// As [`Sender::try_send`].
    fn try_lend(&mut self, header: &Header, head: &[u8], rest: usize) -> Result<Option<usize>, Error> {
        let _ = (header, head, rest);
        Ok(None)
    }

    /// Hands on one piece of what is left of a message that [`Sender::try_lend`] began: `rest` is all of that, in two parts. The
    /// bytes that were taken; none, if there is no room: try again when [`Sender::takes_lent`] says so. The number means
    /// nothing any more when all are taken.
    ///
    /// # Errors
    /// As [`Sender::flush`].
    fn push_lent(&mut self, number: usize, rest: [&[u8]; 2]) -> Result<usize, Error> {
        let _ = (number, rest);
        Ok(0)
    }

    /// Whether there is something to be done with [`Sender::push_lent`], as far as the last [`Sender::flush`] saw.
    fn takes_lent(&self) -> bool {
        false
    }

    /// Takes all that is left of a message that [`Sender::try_lend`] began, from an owner who cannot wait any longer.
    fn keep_lent(&mut self, number: usize, rest: Vec<u8>) {
        let _ = (number, rest);
    }
}

/// The half of a port that receives, and that waits.
pub trait Receiver: Send {
    /// Receives one whole message into `message`, whose body buffer is reused, without blocking. Unless it returns
    /// [`Received::Message`], the content of `message` is unspecified, but for the header after [`Received::Begun`].
    ///
    /// # Errors
    /// `TooLarge` for a declared length above the limit, `Protocol` for a header that no honest peer sends, `PeerDied`
    /// for an end of stream within a message, or one that shows that the other side never read all that we sent.
    /// `Resource` if there is no memory for the body. Each of them means that the connection is broken.
    fn try_recv(&mut self, message: &mut Message) -> Result<Received, Error>;

    /// Whether a message, or the news of the end, is certainly there, told without a system call.
    fn ready(&self) -> bool;

    /// Whether the last [`Receiver::try_recv`] saw the channel's end of data, so that a new event will announce
    /// more. False only costs one more look. After [`Received::Empty`], false means that this receiver had its share
    /// of a very large message and gives way to others: look again soon, or park, which returns at once.
    fn drained(&self) -> bool;

    /// Whether a part of a message has arrived and the rest has not.
    fn in_progress(&self) -> bool;

    /// Whether [`Receiver::spin`] ever does anything, so that there is a point in asking for it.
    fn spins(&self) -> bool {
        false
    }

    /// Looks again and again for a message, or room to send if `space` is set, for as long as that pays: see
    /// [`Wait`](crate::Wait). Blocks for some 50 µs at most, with `once` only for one look. Sockets say [`Spun::Sleep`] at
    /// once.
    fn spin(&mut self, space: bool, once: bool) -> Spun {
        let _ = (space, once);
        Spun::Sleep
    }

    /// Declares to the other side that nobody looks any more until the [`Source`](crate::reactor::Source) has news, then
    /// looks once more. False: something is there, look again. To be called before a task that has seen
    /// [`Received::Empty`] lets go of the thread; [`Receiver::park`] does it by itself.
    fn arm(&mut self) -> bool {
        !self.ready()
    }

    /// Takes [`Receiver::arm`] back: from now on somebody looks again and again, and the other side need not wake anybody.
    fn disarm(&mut self) {}

    /// Says that whoever looked again and again has what it looked for, and does not look for the time being. Receivers of one
    /// process give way to one another, and this one is no reason to any more.
    fn rest(&mut self) {}

    /// Blocks the calling thread until there may be something to receive, or room to send if `space` is set, or the
    /// peer has died, or [`Interrupt::raise`] was called, or the deadline has passed. May also return for no reason.
    ///
    /// # Errors
    /// The system refused to wait; the connection is unusable.
    fn park(&mut self, space: bool, deadline: Option<Instant>) -> Result<(), Error>;

    /// [`Receiver::park`] without `space`, for whoever waits for messages alone: what else ends it, the death of the peer's process or an
    /// interrupt, may do so late, by two ticks of the system's clock, which are 20 ms at most. Sockets may have received then what
    /// [`Receiver::try_recv`] gives, and need one system call less for it.
    ///
    /// # Errors
    /// As [`Receiver::park`].
    fn park_for_message(&mut self, deadline: Option<Instant>) -> Result<(), Error> {
        self.park(false, deadline)
    }

    /// A handle with which any thread ends a [`Receiver::park`], the present one or else the next.
    fn interrupt(&self) -> Interrupt;

    /// What [`Receiver::source`] is made from, to keep where the receiver is not at hand.
    #[cfg(feature = "tokio")]
    fn watch(&self) -> crate::reactor::Watch;

    /// What an async driver waits on, registered with the Tokio runtime that is current. One at a time: drop it
    /// before another is made in the same runtime.
    ///
    /// # Errors
    /// `Unsupported` outside of a Tokio runtime with I/O enabled; `Resource` if the system is short of descriptors.
    #[cfg(feature = "tokio")]
    fn source(&self) -> Result<crate::reactor::Source, Error> {
        self.watch().source()
    }
}

/// Where clients connect. Dropping it frees the name; connections that were accepted live on.
pub trait Listener: Send {
    /// Accepts one connection without blocking.
    ///
    /// # Errors
    /// `Resource` if this process or machine is short of descriptors or memory: pause before the next try, the
    /// listener stays usable. A client that gave up while it waited is skipped without an error.
    fn try_accept(&mut self) -> Result<Accepted, Error>;

    /// Where it listens, with the port number that the system chose.
    fn endpoint(&self) -> &Endpoint;

    /// Blocks the calling thread until a client may be waiting, or [`Interrupt::raise`] was called, or the deadline
    /// has passed. May also return for no reason.
    ///
    /// # Errors
    /// The system refused to wait.
    fn park(&mut self, deadline: Option<Instant>) -> Result<(), Error>;

    /// A handle with which any thread ends a [`Listener::park`], the present one or else the next.
    fn interrupt(&self) -> Interrupt;

    /// What an async driver waits on before it accepts; see [`Receiver::source`].
    ///
    /// # Errors
    /// As [`Receiver::source`].
    #[cfg(feature = "tokio")]
    fn source(&self) -> Result<crate::reactor::Source, Error>;
}
