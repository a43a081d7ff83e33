//! For the half of a port that sends: telling the other side where sections are.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use super::pool::{Place, SharedPool, State};
use super::wire::{Access, ENTRY, Entry, Frame, Lending};
use super::{Inbox, SharedChunk};
use crate::crash::crash_point;
use crate::section::{Loan, Taken, stranger};
use crate::sys::Stream;
use crate::{Block, Chunk, Error, ErrorKind, Header};

/// What the sender of a port has of its pool. The pool ends with it.
pub(crate) struct Outbox {
    pool: SharedPool,
    /// What counts the memory that this connection's other side has sent.
    mapped: Arc<AtomicUsize>,
}

impl Outbox {
    /// That of the connection whose other half receives with `inbox`.
    pub(super) fn new(pool: &SharedPool, inbox: &Inbox) -> Self {
        Self {
            pool: pool.clone(),
            mapped: inbox.mapped().clone(),
        }
    }

    /// Whether [`Outbox::hand_over`] would have to say something about segments first.
    pub(crate) fn has_to_announce(&self, blocks: &[Block]) -> bool {
        blocks.iter().filter_map(place_of).any(|place| {
            let mut state = self.pool.state();
            state.segment(place).is_some_and(|segment| !segment.announced)
        })
    }

    /// Makes the table for a message with these blocks. They are the other side's, too, from now on. Segments that it does
    /// not know are announced on the stream before, where nothing else may be half sent.
    ///
    /// # Errors
    /// `Unsupported` for blocks of other pools, and for what was sent that can be sent once; `Resource` if nothing can be announced now.
    /// Nothing was handed over then.
    pub(crate) fn hand_over(&self, stream: &Stream, blocks: &[Block]) -> Result<Vec<u8>, Error> {
        let taken = Taken::from(blocks)?;
        let announced: Vec<_> = taken
            .iter()
            .map(|part| self.judge(part))
            .collect::<Result<_, _>>()?;
        let mut state = self.pool.state();
        for (place, access) in announced.into_iter().flatten() {
            let access = access.unwrap_or_else(|| state.access());
            self.announce(&mut state, place, access, stream)?;
        }
        crash_point!();
        let mut table = Vec::with_capacity(ENTRY * blocks.len());
        for (block, loan) in taken.into_parts() {
            let entry = hand_over_one(&mut state, block, loan);
            table.extend(entry.into_iter().flat_map(Entry::to_bytes));
        }
        crash_point!();
        Ok(table)
    }

    /// The place of a block, or of what was taken out of it, and who can write to it if that is said of it alone. Nothing of what is the other
    /// side's.
    ///
    /// # Errors
    /// It is of another connection.
    fn judge(&self, part: (&Block, Option<&Loan>)) -> Result<Option<(Place, Option<Access>)>, Error> {
        match part {
            (_, Some(Loan::Lease(lease))) => {
                let lease = lease.as_shared().filter(|lease| lease.is_of(&self.mapped));
                lease.map(|_| None)
            }
            (_, Some(Loan::Chunk(chunk))) => {
                let chunk = chunk.as_shared().map(SharedChunk::handle);
                let chunk = chunk.filter(|handle| handle.is_of(&self.pool));
                chunk.map(|handle| Some((handle.place(), None)))
            }
            (block, None) => {
                let block = block.shared().filter(|(block, _)| block.is_of(&self.pool));
                block.map(|(block, _)| Some((block.handle().place(), block.access())))
            }
        }
        .ok_or_else(stranger)
    }

    /// Memory for a piece of a body, if there is some now.
    pub(crate) fn piece(&self, bytes: usize) -> Option<SharedChunk> {
        self.pool.take_piece(bytes)
    }

    /// Whether the other side knows the memory in which a piece lies, so that [`Outbox::hand_over_piece`] says nothing on the stream.
    pub(crate) fn is_known(&self, chunk: &SharedChunk) -> bool {
        let mut state = self.pool.state();
        let segment = state.segment(chunk.handle().place());
        segment.is_some_and(|segment| segment.announced)
    }

    /// Makes the frame that tells the other side of a piece, the first `length` bytes of a chunk, on that lane. They are the other
    /// side's, too, from now on. Its memory is announced on the stream before, if it has to be. `None`: that cannot be done now, and
    /// nothing was handed over.
    ///
    /// # Errors
    /// The stream is broken.
    pub(crate) fn hand_over_piece(
        &self,
        chunk: &SharedChunk,
        length: usize,
        lane: usize,
        stream: &Stream,
    ) -> Result<Option<Header>, Error> {
        let place = chunk.handle().place();
        let mut state = self.pool.state();
        let access = state.access();
        match self.announce(&mut state, place, access, stream) {
            Err(error) if error.kind() == ErrorKind::Resource => return Ok(None),
            told => told?,
        }
        crash_point!();
        state.count_sent(place);
        let entry = state.entry(place, length);
        crash_point!();
        Ok(entry.map(|entry| {
            let lane = lane as u64;
            Frame::Piece { lane, entry }.header()
        }))
    }

    fn announce(
        &self,
        state: &mut State,
        place: Place,
        access: Access,
        stream: &Stream,
    ) -> Result<(), Error> {
        if state.segment(place).is_none_or(|segment| segment.announced) {
            return Ok(());
        }
        // Its number may be one that the other side has to forget first.
        if !self.forget(state, stream)? {
            return Err(full());
        }
        let words = state.words_descriptor.take();
        let Some(segment) = state.segment(place) else {
            return Ok(());
        };
        let frame = Frame::Announce {
            segment: place.segment as u32,
            generation: segment.generation,
            length: segment.length as u64,
            access,
            descriptors: 1 + u8::from(words.is_some()),
        };
        let descriptors: Vec<BorrowedFd<'_>> =
            segment.descriptor.iter().chain(&words).map(AsFd::as_fd).collect();
        let sent = send(stream, &frame.header().to_bytes(), &descriptors);
        if let Ok(true) = sent {
            segment.announced = true;
            segment.descriptor = None;
        } else {
            state.words_descriptor = words;
        }
        if sent? { Ok(()) } else { Err(full()) }
    }

    /// Whether there is something for [`Outbox::tell`].
    #[inline]
    pub(crate) fn has_unsent(&self) -> bool {
        self.pool.has_unsent()
    }

    /// Tells the other side what it has to forget, on the stream, where nothing else may be half sent. False: the stream
    /// takes nothing now.
    ///
    /// # Errors
    /// The stream is broken.
    pub(crate) fn tell(&self, stream: &Stream) -> Result<bool, Error> {
        self.forget(&mut self.pool.state(), stream)
    }

    fn forget(&self, state: &mut State, stream: &Stream) -> Result<bool, Error> {
        if !state.forgotten.is_empty() {
            let frames = state.forgotten.iter().flat_map(|&(segment, generation)| {
                let frame = Frame::Forget { segment, generation };
                frame.header().to_bytes()
            });
            // At most 64 of them in all the time in which there is no room: they have different numbers.
            let frames: Vec<u8> = frames.collect();
            if !send(stream, &frames, &[])? {
                return Ok(false);
            }
            state.forgotten.clear();
        }
        self.pool.note_sent();
        Ok(true)
    }

    /// Counts a message that was sent.
    #[inline]
    pub(crate) fn count(&self, body: usize, blocks: &[Block]) {
        self.pool.tally().count(body, blocks);
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.pool.end();
    }
}

/// Where a block is that can be announced.
fn place_of(block: &Block) -> Option<Place> {
    let shared = block.shared().map(|(block, _)| block.handle().place());
    let of_chunk = |chunk: &Chunk| chunk.as_shared().map(|chunk| chunk.handle().place());
    shared.or_else(|| block.look(of_chunk).flatten())
}

/// Counts a block, or what was taken out of it, as sent; how the other side is told of it. Everything was judged before.
fn hand_over_one(state: &mut State, block: &Block, loan: Option<Loan>) -> Option<Entry> {
    match loan {
        None => {
            let (block, length) = block.shared()?;
            let place = block.handle().place();
            state.count_sent(place);
            state.entry(place, length)
        }
        Some(Loan::Chunk(chunk)) => {
            let place = chunk.into_shared()?.give_up();
            state.count_sent(place);
            let entry = state.entry(place, block.len())?;
            if state.is_trusting() {
                state.lend(place, block.len());
                Some(entry.lent(Lending::Alone))
            } else {
                state.wait_for(place);
                Some(entry)
            }
        }
        Some(Loan::Lease(lease)) => {
            let lease = lease.into_shared()?;
            let entry = lease.entry().lent(Lending::Back);
            crash_point!();
            lease.sent_back();
            Some(entry)
        }
    }
}

/// Sends frames, all or none of them. False: there is no room.
fn send(stream: &Stream, frames: &[u8], descriptors: &[BorrowedFd<'_>]) -> Result<bool, Error> {
    match stream.send_with_descriptors(frames, descriptors) {
        Ok(sent) if sent == frames.len() => Ok(true),
        // Something as short as this is one piece to the system.
        Ok(_) => Err(Error::new(
            ErrorKind::Io,
            "cannot tell the other side of shared memory: a part of it was sent",
        )),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
            ) =>
        {
            Ok(false)
        }
        Err(error) => Err(Error::system(
            "cannot tell the other side of shared memory",
            error,
        )),
    }
}

fn full() -> Error {
    let message =
        "the other side cannot be told of a new memory now; send the bytes in a body, or try again later";
    Error::new(ErrorKind::Resource, message)
}

/// At most so many frames are told at once, which fit into one piece of a socket's.
const _: () = assert!(super::SEGMENTS * Header::SIZE <= 4096);
