//! For the half of a port that receives: what the other side says about its sections, and judging it.

use std::io;
use std::mem;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::lease::{Memory, PeerSegment, SharedLease, Trust};
use super::pool::{SharedPool, word};
use super::returns::WORDS;
use super::wire::{Access, ENTRY, Entry, Frame, Lending, is_frame};
use super::{SEGMENT, SEGMENTS};
use crate::crash::crash_point;
use crate::sys::shm::fault::blamed;
use crate::sys::{
    Arrival, CommonMemory, Patience, PeerMemory, SealedMemory, SharedWords, Stream, close_elsewhere,
};
use crate::{Chunk, Error, ErrorKind, Header, Lease, Message, Pool};

/// Descriptors that may wait for what is said about them: those of two announcements.
const WAITING: usize = 4;

/// Frames that are taken from the socket beside a ring in one look, before others get their turn.
const FRAMES: usize = 64;

/// What the receiver of a port knows of the other side's pool.
pub(crate) struct Inbox {
    /// By number.
    known: Vec<Option<Known>>,
    words: Option<Arc<SharedWords>>,
    /// Bytes that are mapped, of segments that were forgotten, too, as long as somebody has a part of them.
    mapped: Arc<AtomicUsize>,
    /// What came, and of which nothing was said yet.
    descriptors: Vec<OwnedFd>,
    /// The beginning of a frame, beside a ring.
    arrived: Vec<u8>,
    /// The longest section, in bytes.
    limit: usize,
    trusted: bool,
    /// What this side has made, and the other may send back.
    pool: SharedPool,
}

struct Known {
    generation: u32,
    segment: Arc<PeerSegment>,
}

impl Inbox {
    /// One of the side that has this pool.
    pub(super) fn new(pool: &SharedPool, limit: usize, trusted: bool) -> Self {
        Self {
            pool: pool.clone(),
            known: Vec::new(),
            words: None,
            mapped: Arc::default(),
            descriptors: Vec::new(),
            arrived: Vec::new(),
            limit,
            trusted,
        }
    }

    /// What counts the bytes that are mapped of the other side's memory, and of nobody else's.
    pub(super) fn mapped(&self) -> &Arc<AtomicUsize> {
        &self.mapped
    }

    /// As [`Stream::receive`]; what comes with the bytes is kept.
    pub(crate) fn receive(
        &mut self,
        stream: &Stream,
        body: &mut Vec<u8>,
        limit: usize,
        buffer: &mut Vec<u8>,
        more: usize,
        patience: Option<Patience>,
    ) -> io::Result<Arrival> {
        let former = self.descriptors.len();
        let descriptors = &mut self.descriptors;
        let mut arrival =
            stream.receive_beside_descriptors(body, limit, buffer, more, patience, descriptors)?;
        arrival.attachments |= self.descriptors.len() > WAITING;
        if self.descriptors.len() > former {
            // What was sent behind these was left for the next look, even if there was room for it.
            arrival.asked = arrival.bytes;
        }
        Ok(arrival)
    }

    /// Takes descriptors that came with bytes which somebody else has read.
    pub(crate) fn adopt(&mut self, descriptors: Vec<OwnedFd>) {
        self.descriptors.extend(descriptors);
    }

    /// Whether descriptors came of which nothing is said: to be asked when all that was said is known.
    pub(crate) fn has_strays(&self) -> bool {
        !self.descriptors.is_empty()
    }

    /// The piece of a large message that a frame is about, if it is, and the message's lane. It is given back when it is dropped.
    ///
    /// # Errors
    /// `Protocol` if it lies where nothing is.
    pub(crate) fn piece(&self, header: &Header) -> Result<Option<(Lease, u64)>, Error> {
        match Frame::read(header) {
            Some(Frame::Piece { lane, entry }) => Ok(Some((self.lease(entry, Lending::Shared)?, lane))),
            _ => Ok(None),
        }
    }

    /// Takes what a frame says of a memory.
    ///
    /// # Errors
    /// `Protocol` if it makes no sense, or what comes with it is not what it has to be; `Resource` if no more can be
    /// mapped.
    pub(crate) fn take_frame(&mut self, header: &Header) -> Result<(), Error> {
        match Frame::read(header) {
            Some(Frame::Announce {
                segment,
                generation,
                length,
                access,
                descriptors,
            }) => self.announced(segment as usize, generation, length, access, descriptors),
            Some(Frame::Forget { segment, generation }) => {
                let known = self.known.get_mut(segment as usize);
                let known =
                    known.filter(|known| known.as_ref().is_some_and(|known| known.generation == generation));
                let known = known.ok_or_else(|| refused("a memory that is to be forgotten is not known"))?;
                *known = None;
                crash_point!();
                Ok(())
            }
            Some(Frame::Piece { .. }) | None => Err(refused("what is said of a memory makes no sense")),
        }
    }

    fn announced(
        &mut self,
        number: usize,
        generation: u32,
        length: u64,
        access: Access,
        descriptors: u8,
    ) -> Result<(), Error> {
        if number >= SEGMENTS {
            return Err(refused("a memory has a number that is too high"));
        }
        if self.known.get(number).is_some_and(Option::is_some) {
            return Err(refused("a memory has the number of another"));
        }
        if usize::from(descriptors) != 1 + usize::from(self.words.is_none())
            || self.descriptors.len() < usize::from(descriptors)
        {
            return Err(refused("a memory comes without its descriptors"));
        }
        let most = Pool::BUDGET + self.limit.max(SEGMENT).next_power_of_two();
        let length = usize::try_from(length).ok().filter(|&length| {
            let mapped = self.mapped.load(Ordering::Relaxed);
            length > 0 && length % 4096 == 0 && length <= most.saturating_sub(mapped)
        });
        let length =
            length.ok_or_else(|| refused("a memory is larger than all may be, or no memory at all"))?;
        let rest = self.descriptors.split_off(usize::from(descriptors));
        let came = mem::replace(&mut self.descriptors, rest);
        crash_point!();
        match self.attach(&came, length, access).map_err(blamed) {
            Ok(memory) => {
                let segment = PeerSegment::new(memory, length, &self.mapped);
                if self.known.len() <= number {
                    self.known.resize_with(number + 1, || None);
                }
                self.known[number] = Some(Known {
                    generation,
                    segment: Arc::new(segment),
                });
                crash_point!();
                Ok(())
            }
            Err(error) => {
                close_elsewhere(came);
                Err(error)
            }
        }
    }

    fn attach(&mut self, came: &[OwnedFd], length: usize, access: Access) -> Result<Memory, Error> {
        if let [_, words] = came {
            self.words = Some(Arc::new(SharedWords::attach(words.as_fd(), WORDS)?));
        }
        let memory = came
            .first()
            .ok_or_else(|| refused("a memory comes without its descriptors"))?;
        Ok(match access {
            Access::Owner => Memory::Pooled(PeerMemory::attach(memory.as_fd(), length)?),
            Access::InTurn => Memory::Pooled(PeerMemory::attach_open(memory.as_fd(), length, self.trusted)?),
            Access::Nobody => Memory::Sealed(SealedMemory::attach(memory.as_fd(), length)?),
            Access::Both(word) => {
                Memory::Common(CommonMemory::attach(memory.as_fd(), length, usize::from(word))?)
            }
        })
    }

    /// Whether the table of a message names a memory that is not known: beside a ring, the socket has to be looked at
    /// first.
    pub(crate) fn misses_any(&self, message: &Message) -> bool {
        let count = usize::from(message.header.sections);
        let entries = message.body.chunks_exact(ENTRY).take(count);
        entries
            .filter_map(|bytes| bytes.first_chunk())
            .map(|bytes| Entry::from_bytes(bytes).lending())
            .any(|(lending, entry)| lending != Lending::Back && self.find(entry).is_none())
    }

    /// Takes the table from the front of a message's body, and puts what it names beside it.
    ///
    /// # Errors
    /// `Protocol` if it names what is not there; `TooLarge` for a section above the limit.
    pub(crate) fn open(&self, message: &mut Message) -> Result<(), Error> {
        message.sections.clear();
        let count = usize::from(message.header.sections);
        if count > Pool::SECTIONS {
            return Err(refused("a message has more of them than it may"));
        }
        let size = count * ENTRY;
        let table = message.body.get(..size);
        let table = table.ok_or_else(|| refused("a message has no room for as many as it has"))?;
        let entries: Vec<(Lending, Entry)> = table
            .chunks_exact(ENTRY)
            .filter_map(|bytes| bytes.first_chunk())
            .map(|bytes| Entry::from_bytes(bytes).lending())
            .collect();
        let apart = |at: usize| entries[..at].iter().all(|other| is_apart(&entries[at], other));
        if !(0..entries.len()).all(apart) {
            return Err(refused("two of a message overlap"));
        }
        for (lending, entry) in entries {
            let lease = match lending {
                Lending::Back => {
                    Lease::back(Chunk::shared(self.pool.take_back(entry)?, entry.length as usize))
                }
                lending => self.lease(entry, lending)?,
            };
            message.sections.push(lease);
        }
        message.body.drain(..size);
        // What is left of a length of 32 bits.
        message.header.length = message.body.len() as u32;
        Ok(())
    }

    fn lease(&self, entry: Entry, lending: Lending) -> Result<Lease, Error> {
        let (Some(known), Some(words)) = (self.find(entry), &self.words) else {
            return Err(refused("one is in a memory that is not known"));
        };
        let (offset, length) = (entry.offset as usize, entry.length as usize);
        let end = offset
            .checked_add(length)
            .filter(|&end| end <= known.segment.length);
        if end.is_none() || offset >= known.segment.length {
            return Err(refused("one is not inside its memory"));
        }
        if offset % Pool::SMALLEST != 0 {
            return Err(refused("one begins where none can"));
        }
        if length > self.limit {
            return Err(Header::too_long(length, self.limit));
        }
        let word = word(entry.segment as usize, offset);
        let segment = known.segment.clone();
        let trust = match (&segment.memory, lending) {
            _ if !self.trusted => Trust::None,
            (Memory::Pooled(memory), Lending::Alone) if memory.is_open() => Trust::Absent,
            _ => Trust::Constant,
        };
        let lease = SharedLease::new(segment, entry, trust, words, word);
        Ok(Lease::shared(lease, length))
    }

    fn find(&self, entry: Entry) -> Option<&Known> {
        let known = self.known.get(entry.segment as usize)?.as_ref()?;
        (known.generation == entry.generation).then_some(known)
    }

    /// Takes what is said on the socket beside a ring. What ended it is left for a look of its own.
    ///
    /// # Errors
    /// As [`Inbox::take_frame`]; or somebody speaks of something else there.
    pub(crate) fn listen(&mut self, stream: &Stream) -> Result<Listened, Error> {
        for _ in 0..FRAMES {
            let missing = Header::SIZE - self.arrived.len();
            let former = self.descriptors.len();
            let mut arrived = mem::take(&mut self.arrived);
            let received = stream.receive_with_descriptors(&mut arrived, missing, &mut self.descriptors);
            self.arrived = arrived;
            match received {
                Ok(arrival) if arrival.attachments || former > 0 && self.descriptors.len() > former => {
                    return Err(self.went_on());
                }
                Ok(arrival) if arrival.bytes == 0 => return Ok(Listened::Ended),
                Ok(_) => {}
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return Ok(Listened::All),
                    io::ErrorKind::Interrupted => continue,
                    io::ErrorKind::ConnectionReset
                    | io::ErrorKind::BrokenPipe
                    | io::ErrorKind::ConnectionAborted => return Ok(Listened::Ended),
                    _ => return Err(Error::system("cannot receive from the other side", error)),
                },
            }
            // A frame has no body: whatever begins in another way is none.
            if self.arrived.iter().take(4).any(|&byte| byte != 0) {
                return Err(self.went_on());
            }
            if let Some(bytes) = self.arrived.first_chunk() {
                let header = Header::from_bytes(bytes);
                self.arrived.clear();
                if !is_frame(&header) {
                    return Err(self.went_on());
                }
                self.take_frame(&header)?;
                if self.has_strays() {
                    return Err(self.went_on());
                }
            }
        }
        Ok(Listened::More)
    }

    /// The error for what has no place beside a ring.
    fn went_on(&mut self) -> Error {
        close_elsewhere(mem::take(&mut self.descriptors));
        let message = "the other side went on speaking on the socket, after it had agreed to share memory";
        Error::new(ErrorKind::Protocol, message)
    }

    /// The error for descriptors that nobody asked for; they are closed.
    pub(crate) fn unasked(&mut self) -> Error {
        close_elsewhere(mem::take(&mut self.descriptors));
        let message = "a message came with a file descriptor, which this connection does not carry";
        Error::new(ErrorKind::Protocol, message)
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        close_elsewhere(mem::take(&mut self.descriptors));
    }
}

/// How far [`Inbox::listen`] came.
pub(crate) enum Listened {
    /// Nothing more is there.
    All,
    /// There may be more: look again soon.
    More,
    /// The other side will say no more.
    Ended,
}

/// Whether two sections have no byte in common, or are one and the same place, sent twice for both to read.
fn is_apart(one: &(Lending, Entry), other: &(Lending, Entry)) -> bool {
    let end = |entry: &Entry| u64::from(entry.offset) + u64::from(entry.length);
    let is_back = |lending: Lending| lending == Lending::Back;
    let ((how, one), (other_how, other)) = (*one, *other);
    let is_shared = how == Lending::Shared && other_how == Lending::Shared;
    is_back(how) != is_back(other_how)
        || one.segment != other.segment
        || one.offset == other.offset && is_shared
        || u64::from(one.offset) >= end(&other)
        || u64::from(other.offset) >= end(&one)
}

fn refused(rule: &str) -> Error {
    Error::new(
        ErrorKind::Protocol,
        format!("the other side's sections are refused: {rule}"),
    )
}
