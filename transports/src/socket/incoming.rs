//! The half of a socket port that receives, and that waits.

use std::collections::TryReserveError;
use std::io;
use std::mem;
use std::sync::Arc;
use std::time::Instant;

use super::pieces::{Frame, is_frame};
use super::spool::PeerSpool;
use super::{Link, Tag};
use crate::crash::crash_point;
use crate::lanes::{Arriving, FIRST_STEP};
use crate::sys::shm::{Inbox, is_piece};
use crate::{Error, ErrorKind, Header, Interrupt, Message, Received, Receiver, buffers, sys};

/// Bytes that one look at the socket can bring, beside the body of a large message. Several small messages come
/// with one system call; a page is touched only when data reaches it.
const BUFFER: usize = 64 << 10;
/// Bodies above this many bytes are read into the message's own buffer rather than copied out of ours.
const COPIED: usize = 16 << 10;
/// Bytes asked for after a large message, or a piece of one: probably the next is large too, and what comes into our buffer of
/// it has to be copied.
const GLANCE: usize = 4 << 10;
/// Bytes taken by one `try_recv` before it gives way to others.
const SHARE: usize = 1 << 20;

/// What a piece counts for beside its bytes: about as many as are copied in the time that it takes to look at one.
const PIECE: usize = 4 << 10;

pub(crate) struct SocketReceiver {
    link: Arc<Link>,
    /// What has to stand before each header.
    tag: Option<Tag>,
    limit: usize,
    /// What knows of the other side's sections, if it can send any.
    inbox: Option<Inbox>,
    /// The other side's file for large bodies.
    spool: PeerSpool,
    waiter: sys::Waiter,
    /// What arrived and was not taken yet: from `start` on.
    buffer: Vec<u8>,
    start: usize,
    /// A message whose body goes into its own buffer.
    large: Option<Message>,
    /// Large messages that come in pieces, and of which not all is there.
    lanes: Arriving,
    /// The piece of one of them that is being read.
    piece: Option<Piece>,
    /// What the pieces that were taken since the last look began count for.
    copied: usize,
    /// The last message was a large one.
    after_large: bool,
    end: Option<End>,
    drained: bool,
    /// A message has come: the other side knows how to write them.
    introduced: bool,
}

/// What is to come next on the stream.
struct Piece {
    lane: u64,
    left: usize,
}

/// Why nothing more is read.
enum End {
    /// The other side closed, or its process ended.
    Closed,
    /// The other side closed without having read all that we sent.
    Reset,
    /// The other side broke the rules, or the system failed.
    Broken { kind: ErrorKind, message: String },
}

impl SocketReceiver {
    pub(crate) fn new(link: Arc<Link>, limit: usize, inbox: Option<Inbox>) -> Self {
        Self::after(link, limit, inbox, sys::Waiter::new(), Vec::new())
    }

    /// One that goes on where somebody else has read the first bytes.
    pub(crate) fn after(
        link: Arc<Link>,
        limit: usize,
        inbox: Option<Inbox>,
        waiter: sys::Waiter,
        arrived: Vec<u8>,
    ) -> Self {
        Self {
            tag: link.stream.tag(),
            spool: PeerSpool::new(link.stream.has_spools()),
            link,
            limit,
            inbox,
            waiter,
            buffer: arrived,
            start: 0,
            large: None,
            lanes: Arriving::default(),
            piece: None,
            copied: 0,
            after_large: false,
            end: None,
            drained: false,
            introduced: false,
        }
    }

    /// The header at the start of what is buffered, if it is whole, and as far as it is one to go by.
    fn header(&self) -> Option<Result<Header, Error>> {
        self.header_at(self.start)
    }

    /// As [`SocketReceiver::header`], from another place on.
    fn header_at(&self, start: usize) -> Option<Result<Header, Error>> {
        let mut rest = &self.buffer[start..];
        if let Some(expected) = &self.tag {
            let (tag, behind) = rest.split_first_chunk::<{ size_of::<Tag>() }>()?;
            if tag != expected {
                return Some(Err(Error::new(
                    ErrorKind::Protocol,
                    "a message without this connection's tag came: somebody else writes into this pipe",
                )));
            }
            rest = behind;
        }
        let header = Header::from_bytes(rest.first_chunk()?);
        if is_frame(&header) {
            return Some(Ok(header));
        }
        let checked = header.check_incoming_with(self.inbox.is_some(), self.limit);
        Some(checked.map(|()| header))
    }

    /// Takes frames before the next message: what is said of sections, and large messages, until one begins or is whole.
    fn take_frames(&mut self, message: &mut Message) -> Result<Option<Received>, Error> {
        loop {
            if let Some(whole) = self.take_piece(message)? {
                return Ok(Some(whole));
            }
            let header = match self.header() {
                Some(Ok(header)) if self.piece.is_none() && is_frame(&header) => header,
                _ => return Ok(None),
            };
            if self.copied >= SHARE {
                self.drained = false;
                return Ok(Some(Received::Empty));
            }
            match Frame::read(&header)? {
                Some(Frame::Begin { lane, start }) => {
                    let from = self.start + self.head();
                    let Some(bytes) = self.buffer.get(from..from + Header::SIZE + start) else {
                        return Ok(None);
                    };
                    let Some((header, first)) = bytes.split_first_chunk() else {
                        return Ok(None);
                    };
                    let header = Header::from_bytes(header);
                    if is_frame(&header) {
                        let sentence = "a large message begins with a header that is no message's";
                        return Err(Error::new(ErrorKind::Protocol, sentence));
                    }
                    header.check_incoming_with(self.inbox.is_some(), self.limit)?;
                    self.lanes.begin(lane, header, first)?;
                    self.start = from + Header::SIZE + start;
                    message.header = header;
                    return Ok(Some(Received::Begun));
                }
                Some(Frame::Piece { lane, length }) => {
                    self.lanes.check(lane, length)?;
                    self.start += self.head();
                    self.copied += PIECE;
                    self.piece = Some(Piece { lane, left: length });
                }
                Some(Frame::Spool { size }) => {
                    self.start += self.head();
                    self.spool.announced(&self.link, size)?;
                }
                Some(Frame::Spooled { lane, place, length }) => {
                    self.start += self.head();
                    let body = self.lanes.room(lane, length as usize)?;
                    self.spool.take(place, length, body)?;
                    self.copied += PIECE + length as usize;
                    if let Some(whole) = self.end(lane, message)? {
                        return Ok(Some(whole));
                    }
                }
                None => {
                    self.start += self.head();
                    if let Some(whole) = self.take_frame(&header, message)? {
                        return Ok(Some(whole));
                    }
                }
            }
        }
    }

    /// Takes a frame about memory: what is said of it, or a piece that lies in it.
    fn take_frame(&mut self, header: &Header, message: &mut Message) -> Result<Option<Received>, Error> {
        let Some(inbox) = &mut self.inbox else {
            let message = "the other side tells of memory, but the two share none on this connection";
            return Err(Error::new(ErrorKind::Protocol, message));
        };
        let Some((piece, lane)) = inbox.piece(header)? else {
            return inbox.take_frame(header).map(|()| None);
        };
        let body = self.lanes.room(lane, piece.len())?;
        crash_point!();
        piece.append_to(0, piece.len(), body)?;
        crash_point!();
        self.copied += PIECE + piece.len();
        // The other side has it back before anybody looks at the message.
        drop(piece);
        self.end(lane, message)
    }

    /// Takes what has arrived of a piece that comes on the stream.
    fn take_piece(&mut self, message: &mut Message) -> Result<Option<Received>, Error> {
        let Some(Piece { lane, left }) = &mut self.piece else {
            return Ok(None);
        };
        let lane = *lane;
        if *left > 0 {
            let arrived = &self.buffer[self.start..];
            let bytes = &arrived[..arrived.len().min(*left)];
            if bytes.is_empty() {
                return Ok(None);
            }
            self.lanes.room(lane, bytes.len())?.extend_from_slice(bytes);
            self.start += bytes.len();
            *left -= bytes.len();
        }
        if *left > 0 {
            return Ok(None);
        }
        self.piece = None;
        self.end(lane, message)
    }

    /// Takes the message on a lane, if it is whole.
    fn end(&mut self, lane: u64, message: &mut Message) -> Result<Option<Received>, Error> {
        let Some(whole) = self.lanes.take_whole(lane) else {
            return Ok(None);
        };
        buffers::give(mem::replace(message, whole).body);
        self.after_large = false;
        self.open(message)?;
        Ok(Some(Received::Message))
    }

    /// Takes the sections of a message that is whole.
    fn open(&self, message: &mut Message) -> Result<(), Error> {
        match &self.inbox {
            Some(inbox) if message.header.sections > 0 => inbox.open(message),
            _ => Ok(()),
        }
    }

    /// Bytes before a body.
    fn head(&self) -> usize {
        Header::SIZE + self.tag.map_or(0, |tag| tag.len())
    }

    /// Takes a whole message out of what has arrived, or begins a large one.
    fn take(&mut self, message: &mut Message) -> Result<Option<Received>, Error> {
        if let Some(large) = &mut self.large {
            if large.body.len() < large.header.length as usize {
                return Ok(None);
            }
            mem::swap(message, large);
            self.large = None;
            self.after_large = true;
            self.open(message)?;
            return Ok(Some(Received::Message));
        }
        if let Some(received) = self.take_frames(message)? {
            return Ok(Some(received));
        }
        let header = match self.header() {
            Some(Ok(header)) if is_frame(&header) => return Ok(None),
            Some(header) if self.piece.is_none() => header,
            _ => return Ok(None),
        };
        let (header, head) = (header?, self.head());
        let length = header.length as usize;
        let arrived = &self.buffer[self.start + head..];
        if let Some(body) = arrived.get(..length) {
            message.header = header;
            message.begun = false;
            message.body.clear();
            message
                .body
                .try_reserve(length)
                .map_err(|error| no_memory(length, error))?;
            message.body.extend_from_slice(body);
            self.start += head + length;
            self.after_large = length > COPIED;
            self.open(message)?;
            return Ok(Some(Received::Message));
        }
        if length > COPIED {
            let mut body = mem::take(&mut message.body);
            body.clear();
            if body.capacity() < length {
                if let Some(kept) = buffers::take(length) {
                    buffers::give(mem::replace(&mut body, kept));
                }
            }
            reserve(&mut body, length.min(FIRST_STEP))?;
            body.extend_from_slice(arrived);
            self.large = Some(Message {
                header,
                body,
                begun: false,
                sections: Vec::new(),
            });
            self.start = self.buffer.len();
        }
        Ok(None)
    }

    /// One look at the socket, which waits with `patience` alone. The number of bytes that came, or none.
    fn read(&mut self, patience: Option<sys::Patience>) -> Result<Option<usize>, Error> {
        self.make_room()?;
        let mut nothing = Vec::new();
        let (body, limit) = match &mut self.large {
            Some(large) => {
                let missing = large.header.length as usize - large.body.len();
                let room = large.body.capacity() - large.body.len();
                if room == 0 {
                    let step = missing.min(large.body.len().max(FIRST_STEP));
                    reserve(&mut large.body, step)?;
                }
                (&mut large.body, missing)
            }
            None => match &self.piece {
                Some(Piece { lane, left }) => (self.lanes.some_room(*lane, *left)?, *left),
                None => (&mut nothing, 0),
            },
        };
        let there = body.len();
        let more = if self.after_large || self.piece.is_some() {
            GLANCE
        } else {
            BUFFER
        };
        // Asked before the look: what the peer sent before its end is there by now.
        let peer_gone = self.link.peer_gone();
        let stream = &self.link.stream;
        let arrival = match &mut self.inbox {
            Some(inbox) => inbox.receive(stream, body, limit, &mut self.buffer, more, patience),
            None => stream.receive(body, limit, &mut self.buffer, more, patience),
        };
        crash_point!();
        let came = body.len() - there;
        if let Some(piece) = &mut self.piece {
            piece.left -= came;
        }
        match arrival {
            Ok(arrival) if arrival.attachments => Err(Error::new(
                ErrorKind::Protocol,
                "a message came with a file descriptor, which this connection does not carry",
            )),
            Ok(arrival) if arrival.bytes == 0 => {
                self.end = Some(End::Closed);
                self.drained = true;
                Ok(None)
            }
            Ok(arrival) => {
                // A dead peer makes no new event, so its data has to be read to the end.
                self.drained = arrival.bytes < arrival.asked && !peer_gone;
                Ok(Some(arrival.bytes))
            }
            Err(error) => match error.kind() {
                io::ErrorKind::Interrupted => {
                    self.drained = false;
                    Ok(Some(0))
                }
                io::ErrorKind::WouldBlock => {
                    if peer_gone {
                        self.end = Some(End::Closed);
                    }
                    self.drained = true;
                    Ok(None)
                }
                io::ErrorKind::ConnectionReset
                | io::ErrorKind::BrokenPipe
                | io::ErrorKind::ConnectionAborted => {
                    self.end = Some(End::Reset);
                    self.drained = true;
                    Ok(None)
                }
                _ => Err(Error::system("cannot receive from the other side", error)),
            },
        }
    }

    fn make_room(&mut self) -> Result<(), Error> {
        if self.start == self.buffer.len() {
            self.buffer.clear();
            self.start = 0;
            if self.buffer.capacity() == 0 {
                reserve(&mut self.buffer, BUFFER)?;
            }
        } else if self.buffer.capacity() - self.buffer.len() < BUFFER / 2 {
            // What is left is less than one small message: the rest of a larger one is in `large`.
            self.buffer.drain(..self.start);
            self.start = 0;
            reserve(&mut self.buffer, BUFFER / 2)?;
        }
        Ok(())
    }

    /// Whether a part of a message is there.
    fn is_within(&self) -> bool {
        self.large.is_some() || self.lanes.is_any() || self.start < self.buffer.len()
    }

    /// What to say when nothing more can be taken, or `None` while the channel is open.
    fn ended(&self) -> Option<Result<Received, Error>> {
        let within = self.is_within();
        let died = |message| Some(Err(Error::new(ErrorKind::PeerDied, message)));
        match self.end.as_ref()? {
            End::Broken { kind, message } => Some(Err(Error::new(*kind, message.clone()))),
            _ if within => died("the other side ended in the middle of a message"),
            End::Reset => {
                died("the other side closed the connection before it had read all that was sent to it")
            }
            End::Closed => Some(Ok(Received::Closed)),
        }
    }

    /// What to say of a pipe that begins with something else than a message: standard output is a place where a program
    /// may print.
    fn printed(&self) -> Option<Error> {
        const SHOWN: usize = 60;
        let text = self.buffer.get(self.start..).filter(|text| !text.is_empty())?;
        if self.introduced || !self.link.stream.is_piped() {
            return None;
        }
        let shown = String::from_utf8_lossy(&text[..text.len().min(SHOWN)]);
        let more = if text.len() > SHOWN { " ..." } else { "" };
        let message = format!("the other side's output begins with {shown:?}{more}, which is no message");
        Some(Error::new(ErrorKind::Protocol, message))
    }

    /// The error for descriptors of which nothing is said in all that arrived.
    fn check_strays(&mut self) -> Result<(), Error> {
        let is_all = self.start == self.buffer.len();
        match &mut self.inbox {
            Some(inbox) if is_all && inbox.has_strays() => Err(inbox.unasked()),
            _ => Ok(()),
        }
    }

    /// Ends the stream for a reason, and says which it is.
    #[cold]
    fn break_down(&mut self, error: Error) -> Error {
        let error = self.printed().unwrap_or(error);
        // Whatever follows cannot be trusted to begin with a header.
        self.end = Some(End::Broken {
            kind: error.kind(),
            message: error.to_string(),
        });
        self.drained = true;
        self.large = None;
        self.lanes = Arriving::default();
        self.piece = None;
        self.buffer = Vec::new();
        self.start = 0;
        error
    }

    fn look(&mut self, message: &mut Message) -> Result<Received, Error> {
        message.sections.clear();
        let received = self.look_for_message(message)?;
        self.check_strays()?;
        Ok(received)
    }

    fn look_for_message(&mut self, message: &mut Message) -> Result<Received, Error> {
        let mut share = SHARE;
        self.copied = 0;
        loop {
            if let Some(received) = self.take(message)? {
                return Ok(received);
            }
            if let Some(ended) = self.ended() {
                return ended;
            }
            let Some(bytes) = self.read(None)? else {
                // The end, or nothing there.
                return self.ended().unwrap_or(Ok(Received::Empty));
            };
            share = share.saturating_sub(bytes);
            if self.drained || share == 0 {
                return Ok(self.take(message)?.unwrap_or(Received::Empty));
            }
        }
    }
}

impl Receiver for SocketReceiver {
    fn try_recv(&mut self, message: &mut Message) -> Result<Received, Error> {
        self.link.birthplace.check()?;
        if let Some(End::Broken { kind, message }) = &self.end {
            return Err(Error::new(*kind, message.clone()));
        }
        let received = self.look(message);
        self.introduced |= matches!(received, Ok(Received::Message));
        received.map_err(|error| self.break_down(error))
    }

    fn ready(&self) -> bool {
        if self.end.is_some() {
            return true;
        }
        if let Some(large) = &self.large {
            return large.body.len() == large.header.length as usize;
        }
        if let Some(piece) = &self.piece {
            return piece.left == 0 || self.start < self.buffer.len();
        }
        let mut start = self.start;
        while let Some(header) = self.header_at(start) {
            let Ok(header) = header else {
                return true;
            };
            let arrived = self.buffer.len() - start - self.head();
            if !is_frame(&header) {
                return arrived >= header.length as usize;
            }
            match Frame::read(&header) {
                Ok(Some(Frame::Begin { .. })) => return arrived >= header.length as usize,
                // It is no news by itself.
                Ok(Some(Frame::Spool { .. })) => start += self.head(),
                // Of a memory: it is no news by itself, but a piece that lies there is.
                Ok(None) if self.inbox.is_some() && !is_piece(&header) => start += self.head(),
                _ => return true,
            }
        }
        false
    }

    fn in_progress(&self) -> bool {
        self.is_within() && !self.ready()
    }

    fn drained(&self) -> bool {
        self.drained
    }

    fn park(&mut self, space: bool, deadline: Option<Instant>) -> Result<(), Error> {
        if self.ready() {
            return Ok(());
        }
        let gone = self.waiter.wait(&self.link.stream, space, deadline);
        if gone.map_err(|error| Error::system("cannot wait for the other side", error))? {
            self.link.set_peer_gone();
        }
        Ok(())
    }

    fn park_for_message(&mut self, deadline: Option<Instant>) -> Result<(), Error> {
        if self.ready() {
            return Ok(());
        }
        let patience = self.waiter.patience(&self.link.stream, deadline);
        if patience.is_some() {
            match self.read(patience) {
                Ok(None) if self.end.is_none() => {}
                Ok(_) => return Ok(()),
                Err(error) => {
                    // The next look tells of it.
                    self.break_down(error);
                    return Ok(());
                }
            }
        }
        self.park(false, deadline)
    }

    fn interrupt(&self) -> Interrupt {
        Interrupt::bell(self.waiter.bell())
    }

    #[cfg(feature = "tokio")]
    fn watch(&self) -> crate::reactor::Watch {
        let link = Arc::downgrade(&self.link);
        let on_gone = move || {
            if let Some(link) = link.upgrade() {
                link.set_peer_gone();
            }
        };
        crate::reactor::Watch::stream(Arc::clone(&self.link.stream), Arc::new(on_gone))
    }
}

/// Grows a buffer by `more` bytes beyond its length, if they are not there.
fn reserve(buffer: &mut Vec<u8>, more: usize) -> Result<(), Error> {
    buffers::reserve(buffer, more).map_err(|error| no_memory(more, error))
}

fn no_memory(bytes: usize, error: TryReserveError) -> Error {
    let message = format!("no memory for {bytes} bytes of an incoming message");
    Error::new(ErrorKind::Resource, message).with_source(io::Error::other(error))
}
