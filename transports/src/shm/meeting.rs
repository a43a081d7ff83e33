//! How the two sides of a Unix socket agree to share memory, before anything else is said on it.
//!
//! A client that can and may share memory makes its side of it and sends the descriptors with an *offer*. A server
//! that can and may, too, makes its own side and sends that with an *answer*; from then on all messages travel in
//! memory, and the socket only tells of the end. A server that cannot *declines*, with a sentence, and the socket carries
//! the messages. A client that offers nothing just begins to speak, and so does a server that has to say something before
//! it has read the offer: both mean that the socket carries the messages.
//!
//! ```text
//! 0        4     5         6       8         16        24       32
//! | length | kind | version | zeros | "shm-ring" | memory | zeros  |     then, if declined, the sentence
//! ```
//!
//! `memory` is the number of bytes of the sender's memory. With an offer or an answer come three descriptors: that
//! memory, the word of the sender's bell, and the event that its tasks sleep on.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::receiving::RingReceiver;
use super::sending::RingSender;
use super::waits::Waits;
use super::{Bell, Consumer, Cut, Layout, Processors, Producer};
use crate::socket::Link;
use crate::sys::{Event, OwnMemory, PeerMemory, SharedWord, close_elsewhere};
use crate::{Endpoint, Error, ErrorKind, Header, Peer, Scheme};

/// What the two halves of a port share from the beginning.
pub(crate) struct Meeting {
    pub(super) link: Arc<Link>,
    outcome: OnceLock<Outcome>,
    /// Made by the half that receives, for the one that sends. Whoever decides holds the lock.
    sender: Mutex<Option<Box<RingSender>>>,
}

/// What carries the messages.
#[derive(Clone)]
pub(crate) enum Outcome {
    Socket,
    Memory(Arc<Waits>),
}

impl Meeting {
    pub(super) fn new(link: Arc<Link>) -> Arc<Self> {
        Arc::new(Self {
            link,
            outcome: OnceLock::new(),
            sender: Mutex::new(None),
        })
    }

    /// The transport as it is now.
    pub(crate) fn scheme(&self) -> Scheme {
        match self.outcome.get() {
            Some(Outcome::Memory(_)) => Scheme::SharedMemory,
            Some(Outcome::Socket) | None => Scheme::Unix,
        }
    }

    pub(crate) fn outcome(&self) -> Option<&Outcome> {
        self.outcome.get()
    }

    /// Settles on the socket, unless something else is settled.
    pub(super) fn settle_on_socket(&self) -> &Outcome {
        let _decision = self.sender();
        self.outcome.get_or_init(|| Outcome::Socket)
    }

    /// Settles on the socket, and tells the other side why, unless something else is settled.
    pub(super) fn decline(&self, reason: &str) -> Result<(), Error> {
        let _decision = self.sender();
        if self.outcome.get().is_none() {
            let sentence = &reason.as_bytes()[..reason.len().min(LONGEST_SENTENCE)];
            let header = Kind::Decline.header(sentence.len()).to_bytes();
            let frame = [&header[..], sentence].concat();
            let sent = self.link.stream.send_with_descriptors(&frame, &[]);
            sent.map_err(|error| Error::system("cannot decline to share memory", error))?;
            self.outcome.get_or_init(|| Outcome::Socket);
        }
        Ok(())
    }

    /// Settles on the memory of both, after `say` has told the other side. `None`: something else is settled.
    pub(super) fn settle_on_memory(
        &self,
        ours: Ours,
        theirs: Theirs,
        endpoint: &Endpoint,
        say: impl FnOnce(&Ours) -> Result<(), Error>,
    ) -> Result<Option<RingReceiver>, Error> {
        let mut place = self.sender();
        if self.outcome.get().is_some() {
            return Ok(None);
        }
        // What is put into the ring from now on is behind it.
        say(&ours)?;
        let waits = Waits::new(ours.bell, ours.event, theirs.bell, theirs.event, endpoint.waits());
        let waits = Arc::new(waits);
        let (own, peer) = (Arc::new(ours.memory), Arc::new(theirs.memory));
        let limit = endpoint.message_limit();
        let producer = Producer::new(own.clone(), peer.clone(), Layout::DEFAULT);
        *place = Some(Box::new(RingSender::new(
            self.link.clone(),
            waits.clone(),
            producer,
            limit,
            Cut::new(endpoint),
        )));
        self.outcome.get_or_init(|| Outcome::Memory(waits.clone()));
        let consumer = Consumer::new(own.clone(), peer.clone(), Layout::DEFAULT);
        let processors = Processors::new(own, peer);
        let link = self.link.clone();
        Ok(Some(RingReceiver::new(link, waits, consumer, processors, limit)))
    }

    /// Ends a wait for the ring.
    pub(crate) fn interrupt(&self) {
        if let Some(Outcome::Memory(waits)) = self.outcome.get() {
            waits.interrupt();
        }
    }

    /// The half that sends, once.
    pub(super) fn take_sender(&self) -> Option<Box<RingSender>> {
        self.sender().take()
    }

    /// Whoever holds it decides.
    fn sender(&self) -> MutexGuard<'_, Option<Box<RingSender>>> {
        self.sender.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What this side brings to the meeting.
pub(super) struct Ours {
    memory: OwnMemory,
    bell: Bell,
    event: Event,
    descriptors: [OwnedFd; 2],
}

/// What the other side brings.
pub(super) struct Theirs {
    memory: PeerMemory,
    bell: Bell,
    event: Event,
}

impl Ours {
    pub(super) fn make() -> Result<Self, Error> {
        let (memory, memory_descriptor) = OwnMemory::create(Layout::DEFAULT.memory())?;
        let (word, bell_descriptor) = SharedWord::create()?;
        Ok(Self {
            memory,
            bell: Bell::new(word),
            event: Event::create()?,
            descriptors: [memory_descriptor, bell_descriptor],
        })
    }

    /// Sends an offer, or an answer to one. The socket is new, or next to it: there is room.
    pub(super) fn send(&self, link: &Link, kind: Kind) -> Result<(), Error> {
        let [memory, bell] = &self.descriptors;
        let frame = kind.header(0).to_bytes();
        let sent = link
            .stream
            .send_with_descriptors(&frame, &[memory.as_fd(), bell.as_fd(), self.event.as_fd()]);
        let whole =
            sent.map_err(|error| Error::system("cannot offer to share memory", error))? == frame.len();
        if whole {
            Ok(())
        } else {
            Err(Error::new(
                ErrorKind::Io,
                "cannot offer to share memory: the socket is full",
            ))
        }
    }
}

impl Theirs {
    /// Takes what came with an offer or an answer. What is refused is closed elsewhere.
    pub(super) fn take(header: &Header, mut descriptors: Vec<OwnedFd>) -> Result<Self, Error> {
        let (memory, bell) = match Self::attach(header, &descriptors) {
            Ok(attached) => attached,
            Err(error) => {
                close_elsewhere(descriptors);
                return Err(error);
            }
        };
        // There are three: see `attach`. The others are memory, which is closed at once.
        let event = Event::attach(descriptors.remove(2))?;
        Ok(Self { memory, bell, event })
    }

    fn attach(header: &Header, descriptors: &[OwnedFd]) -> Result<(PeerMemory, Bell), Error> {
        let refused = |rule: &str| Error::new(ErrorKind::Protocol, format!("cannot share memory: {rule}"));
        // An offer in another way is declined before it comes to this.
        if header.flags != VERSION {
            return Err(refused("the other side answers in another way than was offered"));
        }
        let length = usize::try_from(header.ordinal)
            .ok()
            .filter(|&length| length == Layout::DEFAULT.memory());
        let length = length.ok_or_else(|| refused("the other side's memory has another size than ours"))?;
        let [memory, bell, _] = descriptors else {
            return Err(refused("it takes three descriptors, and another number came"));
        };
        let memory = PeerMemory::attach(memory.as_fd(), length)?;
        Ok((memory, Bell::new(SharedWord::attach(bell.as_fd())?)))
    }
}

/// What is said about sharing memory. The numbers are far from those of the floor above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Offer = 0xf0,
    Answer = 0xf1,
    Decline = 0xf2,
}

impl Kind {
    /// What the bytes of a header mean here, if they do.
    pub(super) fn of(header: &Header) -> Option<Self> {
        if header.id != MAGIC {
            return None;
        }
        [Self::Offer, Self::Answer, Self::Decline]
            .into_iter()
            .find(|&kind| kind as u8 == header.kind)
    }

    /// A header of this kind with a body of `length` bytes.
    pub(super) fn header(self, length: usize) -> Header {
        Header {
            // A sentence.
            length: length as u32,
            kind: self as u8,
            flags: VERSION,
            id: MAGIC,
            ordinal: Layout::DEFAULT.memory() as u64,
            ..Header::default()
        }
    }
}

/// The version of the layout of all that is shared.
pub(super) const VERSION: u8 = 1;

const MAGIC: u64 = u64::from_le_bytes(*b"shm-ring");

/// The longest sentence with which a server declines.
pub(super) const LONGEST_SENTENCE: usize = 256;

/// Why this process does not share memory with that peer, if it does not.
///
/// Each side hands the other an event to raise, which whoever made it can make block: see [`Event`]. One's own user could
/// stop this process by other means; nobody else is to.
pub(super) fn reason_against(peer: &Peer) -> Option<String> {
    let same = peer.uid().is_some() && peer.uid() == Peer::own_uid();
    (!same).then(|| "memory is shared between processes of one user only".to_owned())
}
