//! A port over a Unix socket whose two sides share memory, if both can: it begins as the socket's, and stays that or becomes
//! the ring's once the sides have met (see [`super::meeting`]).

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use super::fault::blamed;
use super::meeting::{self, Kind, LONGEST_SENTENCE, Meeting, Ours, Outcome, Theirs, VERSION};
use super::receiving::RingReceiver;
use super::sections::{self, Inbox, Outbox};
use super::sending::RingSender;
use crate::direct;
use crate::endpoint::Sharing;
use crate::socket::{Agreed, Link, QUEUE_LIMIT, SocketReceiver, SocketSender};
use crate::sys::{self, close_elsewhere};
use crate::{
    Block, Carrier, Endpoint, Error, ErrorKind, Flushed, Header, Interrupt, Message, Peer, Pieces, Port,
    Received, Receiver, Sender, Sent, Spun, section,
};

/// The port of a client.
///
/// # Errors
/// Memory is required and cannot be had.
pub(crate) fn connected(stream: Arc<sys::Stream>, peer: Peer, endpoint: Endpoint) -> Result<Port, Error> {
    let ours = match endpoint.sharing() {
        Sharing::Declined => None,
        sharing => {
            let made = match meeting::reason_against(&peer) {
                None => Ours::make(),
                Some(reason) => Err(Error::new(ErrorKind::Unsupported, reason)),
            };
            match made {
                Ok(ours) => Some(ours),
                Err(_) if sharing == Sharing::Preferred => None,
                Err(error) => return Err(error),
            }
        }
    };
    let meeting = Meeting::new(Arc::new(Link::new(stream)));
    let role = match ours {
        Some(ours) => {
            ours.send(&meeting.link, Kind::Offer)?;
            Role::Offered(Box::new(ours))
        }
        None => {
            meeting.settle_on_socket();
            Role::Done
        }
    };
    Ok(port(meeting, peer, endpoint, role))
}

/// The port of a server.
pub(crate) fn accepted(stream: Arc<sys::Stream>, peer: Peer, endpoint: Endpoint) -> Port {
    let meeting = Meeting::new(Arc::new(Link::new(stream)));
    port(meeting, peer, endpoint, Role::Asked)
}

fn port(meeting: Arc<Meeting>, peer: Peer, endpoint: Endpoint, role: Role) -> Port {
    let (pool, outbox, inbox) = match sections::attach(&meeting.link.stream, &peer, &endpoint) {
        Some((pool, outbox, inbox)) => (Some(pool), Some(outbox), Some(inbox)),
        None => (None, None, None),
    };
    let carrier = Carrier::agreed(meeting.clone());
    let sender = MeetingSender {
        waits_for_answer: matches!(role, Role::Offered(_)),
        way: Way::Undecided(VecDeque::new()),
        queued: 0,
        endpoint: endpoint.clone(),
        outbox,
        pieces: carrier.agreed_pieces(),
        meeting: meeting.clone(),
    };
    let waiter = sys::Waiter::new();
    let receiver = MeetingReceiver {
        meeting: meeting.clone(),
        role,
        peer: peer.clone(),
        endpoint: endpoint.clone(),
        inbox,
        bell: waiter.bell(),
        waiter: Some(waiter),
        arrived: Vec::new(),
        descriptors: Vec::new(),
        drained: false,
        broken: None,
        way: None,
    };
    let stream = meeting.link.stream.clone();
    let port = Port {
        sender: Box::new(sender),
        receiver: Box::new(receiver),
        peer,
        endpoint,
        carrier,
        pool,
    };
    direct::wrapped(port, &stream)
}

struct MeetingSender {
    meeting: Arc<Meeting>,
    endpoint: Endpoint,
    /// Until a way is taken.
    outbox: Option<Outbox>,
    /// What both sides have agreed on about large bodies. It counts on the socket only.
    pieces: Arc<Agreed>,
    /// The other side decides, and has not.
    waits_for_answer: bool,
    way: Way,
    /// Bytes that wait for the decision.
    queued: usize,
}

enum Way {
    /// What was to be sent meanwhile.
    Undecided(VecDeque<(Header, Vec<u8>)>),
    Socket(Box<SocketSender>),
    Memory(Box<RingSender>),
}

impl MeetingSender {
    /// Takes the way that was decided on, if that is so. A server decides by sending.
    #[inline]
    fn decide(&mut self, sends: bool) -> Result<(), Error> {
        match self.way {
            Way::Undecided(_) => self.take_way(sends),
            Way::Socket(_) | Way::Memory(_) => Ok(()),
        }
    }

    #[cold]
    fn take_way(&mut self, sends: bool) -> Result<(), Error> {
        let Way::Undecided(waiting) = &mut self.way else {
            return Ok(());
        };
        let outcome = match self.meeting.outcome() {
            Some(outcome) => outcome,
            None if sends && !self.waits_for_answer => self.meeting.settle_on_socket(),
            None => return Ok(()),
        };
        let waiting = std::mem::take(waiting);
        self.way = match outcome {
            Outcome::Socket => {
                let link = self.meeting.link.clone();
                let pieces = Arc::clone(&self.pieces);
                let sender = SocketSender::new(link, &self.endpoint, self.outbox.take(), pieces);
                Way::Socket(Box::new(sender))
            }
            Outcome::Memory(_) => match self.meeting.take_sender() {
                Some(mut sender) => {
                    sender.set_outbox(self.outbox.take());
                    Way::Memory(sender)
                }
                // It is put there before the decision, and taken once.
                None => return Err(Error::new(ErrorKind::Io, "the connection has lost its sender")),
            },
        };
        self.queued = 0;
        for (header, mut body) in waiting {
            // All of it was within the bounds of what may wait.
            self.try_send(&header, &mut body)?;
        }
        Ok(())
    }
}

impl Sender for MeetingSender {
    fn try_send(&mut self, header: &Header, body: &mut Vec<u8>) -> Result<Sent, Error> {
        self.try_send_parts(header, &[], body)
    }

    fn try_send_parts(&mut self, header: &Header, head: &[u8], body: &mut Vec<u8>) -> Result<Sent, Error> {
        self.decide(true)?;
        match &mut self.way {
            Way::Memory(sender) => sender.try_send_parts(header, head, body),
            Way::Socket(sender) => sender.try_send_parts(header, head, body),
            Way::Undecided(waiting) => {
                let length = head.len() + body.len();
                header.outgoing(length, self.endpoint.message_limit())?;
                self.meeting.link.birthplace.check()?;
                let size = Header::SIZE + length;
                if self.queued > 0 && self.queued + size > QUEUE_LIMIT {
                    return Ok(Sent::Full);
                }
                self.queued += size;
                waiting.push_back((*header, [head, body].concat()));
                Ok(Sent::Accepted)
            }
        }
    }

    fn try_send_with(
        &mut self,
        header: &Header,
        head: &[u8],
        body: &mut Vec<u8>,
        sections: &[Block],
    ) -> Result<Sent, Error> {
        self.decide(true)?;
        match &mut self.way {
            Way::Memory(sender) => sender.try_send_with(header, head, body, sections),
            Way::Socket(sender) => sender.try_send_with(header, head, body, sections),
            Way::Undecided(_) if sections.is_empty() => self.try_send_parts(header, head, body),
            Way::Undecided(_) if self.outbox.is_none() => Err(section::refuse(sections.len())),
            Way::Undecided(_) => {
                let message =
                    "the two sides have not agreed yet on how to share memory; send the bytes in a body";
                Err(Error::new(ErrorKind::Resource, message))
            }
        }
    }

    fn flush(&mut self) -> Result<Flushed, Error> {
        self.decide(false)?;
        match &mut self.way {
            Way::Memory(sender) => sender.flush(),
            Way::Socket(sender) => sender.flush(),
            Way::Undecided(waiting) if waiting.is_empty() => Ok(Flushed::Done),
            Way::Undecided(_) => {
                self.meeting.link.birthplace.check()?;
                Ok(Flushed::Blocked)
            }
        }
    }

    fn queued(&self) -> usize {
        match &self.way {
            Way::Memory(sender) => sender.queued(),
            Way::Socket(sender) => sender.queued(),
            Way::Undecided(_) => self.queued,
        }
    }

    fn waits(&self) -> bool {
        match &self.way {
            Way::Memory(sender) => sender.waits(),
            Way::Socket(sender) => sender.waits(),
            Way::Undecided(waiting) => !waiting.is_empty(),
        }
    }

    fn try_lend(&mut self, header: &Header, head: &[u8], rest: usize) -> Result<Option<usize>, Error> {
        self.decide(true)?;
        match &mut self.way {
            Way::Memory(sender) => sender.try_lend(header, head, rest),
            Way::Socket(sender) => sender.try_lend(header, head, rest),
            Way::Undecided(_) => Ok(None),
        }
    }

    fn push_lent(&mut self, number: usize, rest: [&[u8]; 2]) -> Result<usize, Error> {
        match &mut self.way {
            Way::Memory(sender) => sender.push_lent(number, rest),
            Way::Socket(sender) => sender.push_lent(number, rest),
            Way::Undecided(_) => Ok(0),
        }
    }

    fn takes_lent(&self) -> bool {
        match &self.way {
            Way::Memory(sender) => sender.takes_lent(),
            Way::Socket(sender) => sender.takes_lent(),
            Way::Undecided(_) => false,
        }
    }

    fn keep_lent(&mut self, number: usize, rest: Vec<u8>) {
        match &mut self.way {
            Way::Memory(sender) => sender.keep_lent(number, rest),
            Way::Socket(sender) => sender.keep_lent(number, rest),
            Way::Undecided(_) => {}
        }
    }

    fn offer_pieces(&mut self, pieces: Pieces) {
        self.pieces.set(pieces);
    }

    fn gives_way(&self) -> bool {
        match &self.way {
            Way::Socket(sender) => sender.gives_way(),
            Way::Memory(_) | Way::Undecided(_) => false,
        }
    }
}

/// What this side does at the meeting.
enum Role {
    /// A server: it waits for an offer, or for anything else.
    Asked,
    /// A client that has made an offer.
    Offered(Box<Ours>),
    Done,
}

struct MeetingReceiver {
    meeting: Arc<Meeting>,
    role: Role,
    peer: Peer,
    endpoint: Endpoint,
    /// Until a way is taken, as the next.
    inbox: Option<Inbox>,
    waiter: Option<sys::Waiter>,
    /// Ends a wait for news of the socket.
    bell: Arc<sys::Bell>,
    /// The beginning of what the other side says first.
    arrived: Vec<u8>,
    /// What came with it.
    descriptors: Vec<OwnedFd>,
    drained: bool,
    broken: Option<(ErrorKind, String)>,
    way: Option<Taken>,
}

/// The way that was taken.
enum Taken {
    Socket(Box<SocketReceiver>),
    Memory(Box<RingReceiver>),
}

impl MeetingReceiver {
    /// Hears what the other side has to say about sharing memory. False: nothing yet.
    fn meet(&mut self) -> Result<bool, Error> {
        let stream = &self.meeting.link.stream;
        if let Some(Outcome::Socket) = self.meeting.outcome() {
            // A client that did not ask, or a server that had to speak first.
            self.take_socket();
            return Ok(true);
        }
        loop {
            let wanted = match self.heard() {
                Some((_, length)) => Header::SIZE + length,
                None => Header::SIZE,
            };
            let missing = wanted - self.arrived.len();
            if missing == 0 {
                break;
            }
            let former = self.descriptors.len();
            let peer_gone = self.meeting.link.peer_gone();
            let received = stream.receive_with_descriptors(&mut self.arrived, missing, &mut self.descriptors);
            match received {
                Ok(arrival) if arrival.attachments => return Err(surplus()),
                Ok(arrival) if arrival.bytes == 0 => {
                    // The socket's receiver says how that was.
                    self.take_socket();
                    return Ok(true);
                }
                Ok(_) if former > 0 && self.descriptors.len() > former => return Err(surplus()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && !peer_gone => {
                    self.drained = true;
                    return Ok(false);
                }
                Err(_) => {
                    self.take_socket();
                    return Ok(true);
                }
            }
            if self.arrived.len() >= Header::SIZE && self.heard().is_none() {
                // It is about something else.
                break;
            }
        }
        let descriptors = std::mem::take(&mut self.descriptors);
        match (std::mem::replace(&mut self.role, Role::Done), self.heard()) {
            (Role::Asked, Some((header, _))) if header.kind == Kind::Offer as u8 => {
                self.arrived.clear();
                self.answer(&header, descriptors)?;
            }
            (Role::Offered(ours), Some((header, _))) if header.kind == Kind::Answer as u8 => {
                let theirs = Theirs::take(&header, descriptors).map_err(blamed)?;
                self.take_memory(*ours, theirs, |_, _| Ok(()))?;
            }
            (Role::Offered(_), Some((header, _))) if header.kind == Kind::Decline as u8 => {
                close_elsewhere(descriptors);
                if self.endpoint.sharing() == Sharing::Required {
                    let sentence = String::from_utf8_lossy(&self.arrived[Header::SIZE..]).into_owned();
                    let message = format!(
                        "the server at {} does not share memory: {sentence}",
                        self.endpoint.quoted()
                    );
                    return Err(Error::new(ErrorKind::Unsupported, message));
                }
                self.arrived.clear();
                self.meeting.settle_on_socket();
                self.take_socket();
            }
            (_, Some(_)) => {
                close_elsewhere(descriptors);
                let message = "the other side spoke of sharing memory when it was not its turn";
                return Err(Error::new(ErrorKind::Protocol, message));
            }
            (_, None) => {
                if !descriptors.is_empty() {
                    // Of sections, perhaps, which the socket's receiver judges.
                    let Some(inbox) = &mut self.inbox else {
                        close_elsewhere(descriptors);
                        return Err(surplus());
                    };
                    inbox.adopt(descriptors);
                }
                // A server that speaks first refuses us, most likely: what it says is what to report.
                self.meeting.settle_on_socket();
                self.take_socket();
            }
        }
        Ok(true)
    }

    /// What the other side says about sharing memory: its header, and how long its body is.
    fn heard(&self) -> Option<(Header, usize)> {
        let header = Header::from_bytes(self.arrived.first_chunk()?);
        Kind::of(&header)?;
        let length = header.length as usize;
        // A sentence that is longer is none of ours: the socket's receiver judges it.
        (length <= LONGEST_SENTENCE).then_some((header, length))
    }

    /// Answers an offer.
    fn answer(&mut self, header: &Header, descriptors: Vec<OwnedFd>) -> Result<(), Error> {
        let against = match self.endpoint.sharing() {
            Sharing::Declined => Some("this server is served over its socket only".to_owned()),
            _ if header.flags != VERSION => Some("this program shares memory in another way".to_owned()),
            _ => meeting::reason_against(&self.peer),
        };
        let both = match against {
            Some(reason) => {
                close_elsewhere(descriptors);
                Err(reason)
            }
            None => match Theirs::take(header, descriptors) {
                Ok(theirs) => Ours::make()
                    .map(|ours| (ours, theirs))
                    .map_err(|error| error.to_string()),
                // What is out of order is nothing to go on with; what cannot be had, or not be used, is.
                Err(error) if error.kind() == ErrorKind::Protocol => return Err(error),
                Err(error) => Err(error.to_string()),
            },
        };
        match both {
            Ok((ours, theirs)) => self.take_memory(ours, theirs, |meeting, ours| {
                ours.send(&meeting.link, Kind::Answer)
            })?,
            Err(reason) => {
                self.meeting.decline(&reason)?;
                self.take_socket();
            }
        }
        Ok(())
    }

    /// Takes the ring, unless the socket was settled on meanwhile.
    fn take_memory(
        &mut self,
        ours: Ours,
        theirs: Theirs,
        say: impl FnOnce(&Meeting, &Ours) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let meeting = &*self.meeting;
        match meeting.settle_on_memory(ours, theirs, &self.endpoint, |ours| say(meeting, ours))? {
            Some(mut receiver) => {
                receiver.set_inbox(self.inbox.take());
                self.way = Some(Taken::Memory(Box::new(receiver)));
            }
            None => self.take_socket(),
        }
        Ok(())
    }

    fn take_socket(&mut self) {
        let waiter = self.waiter.take().unwrap_or_else(sys::Waiter::new);
        let arrived = std::mem::take(&mut self.arrived);
        let link = self.meeting.link.clone();
        let limit = self.endpoint.message_limit();
        let receiver = SocketReceiver::after(link, limit, self.inbox.take(), waiter, arrived);
        self.way = Some(Taken::Socket(Box::new(receiver)));
    }
}

impl Receiver for MeetingReceiver {
    fn try_recv(&mut self, message: &mut Message) -> Result<Received, Error> {
        loop {
            match &mut self.way {
                Some(Taken::Memory(receiver)) => return receiver.try_recv(message),
                Some(Taken::Socket(receiver)) => return receiver.try_recv(message),
                None => {}
            }
            self.meeting.link.birthplace.check()?;
            if let Some((kind, message)) = &self.broken {
                return Err(Error::new(*kind, message.clone()));
            }
            match self.meet() {
                Ok(true) => {}
                Ok(false) => return Ok(Received::Empty),
                Err(error) => {
                    self.broken = Some((error.kind(), error.to_string()));
                    self.drained = true;
                    return Err(error);
                }
            }
        }
    }

    fn ready(&self) -> bool {
        match &self.way {
            Some(Taken::Memory(receiver)) => receiver.ready(),
            Some(Taken::Socket(receiver)) => receiver.ready(),
            None => self.broken.is_some(),
        }
    }

    fn drained(&self) -> bool {
        match &self.way {
            Some(Taken::Memory(receiver)) => !receiver.ready(),
            Some(Taken::Socket(receiver)) => receiver.drained(),
            None => self.drained,
        }
    }

    fn in_progress(&self) -> bool {
        match &self.way {
            Some(Taken::Memory(receiver)) => receiver.in_progress(),
            Some(Taken::Socket(receiver)) => receiver.in_progress(),
            None => !self.arrived.is_empty(),
        }
    }

    fn spins(&self) -> bool {
        matches!(self.way, Some(Taken::Memory(_)))
    }

    fn spin(&mut self, space: bool, once: bool) -> Spun {
        match &mut self.way {
            Some(Taken::Memory(receiver)) => receiver.spin(space, once),
            _ => Spun::Sleep,
        }
    }

    fn arm(&mut self) -> bool {
        match &mut self.way {
            Some(Taken::Memory(receiver)) => receiver.arm(),
            _ => !self.ready(),
        }
    }

    fn disarm(&mut self) {
        if let Some(Taken::Memory(receiver)) = &mut self.way {
            receiver.disarm();
        }
    }

    fn rest(&mut self) {
        if let Some(Taken::Memory(receiver)) = &mut self.way {
            receiver.rest();
        }
    }

    fn park(&mut self, space: bool, deadline: Option<Instant>) -> Result<(), Error> {
        match (&mut self.way, &mut self.waiter) {
            (Some(Taken::Memory(receiver)), _) => receiver.park(space, deadline),
            (Some(Taken::Socket(receiver)), _) => receiver.park(space, deadline),
            (None, Some(waiter)) if self.broken.is_none() => {
                // Only the decision makes room.
                let gone = waiter.wait(&self.meeting.link.stream, false, deadline);
                if gone.map_err(|error| Error::system("cannot wait for the other side", error))? {
                    self.meeting.link.set_peer_gone();
                }
                Ok(())
            }
            (None, _) => Ok(()),
        }
    }

    fn park_for_message(&mut self, deadline: Option<Instant>) -> Result<(), Error> {
        match &mut self.way {
            Some(Taken::Socket(receiver)) => receiver.park_for_message(deadline),
            _ => self.park(false, deadline),
        }
    }

    fn interrupt(&self) -> Interrupt {
        Interrupt::meeting(self.meeting.clone(), self.bell.clone())
    }

    #[cfg(feature = "tokio")]
    fn watch(&self) -> crate::reactor::Watch {
        crate::reactor::Watch::meeting(self.meeting.clone())
    }
}

fn surplus() -> Error {
    Error::new(
        ErrorKind::Protocol,
        "a message came with a file descriptor, which this connection does not carry",
    )
}
