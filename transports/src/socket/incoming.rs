//! The half of a socket port that receives, and that waits.

use std::collections::TryReserveError;
use std::io;
use std::mem;
use std::sync::Arc;
use std::time::Instant;

use super::{Link, Tag};
use crate::{Error, ErrorKind, Header, Interrupt, Message, Received, Receiver, sys};

/// Bytes that one look at the socket can bring, beside the body of a large message. Several small messages come
/// with one system call; a page is touched only when data reaches it.
const BUFFER: usize = 64 << 10;
/// Bodies above this many bytes are read into the message's own buffer rather than copied out of ours.
const COPIED: usize = 16 << 10;
/// Bytes asked for after a large message: probably the next is large too, and what comes into our buffer of it has
/// to be copied.
const GLANCE: usize = 4 << 10;
/// The memory set aside for a large body before any of it has come; it doubles as bytes arrive. What a hostile
/// length can claim is this much address space.
const FIRST_STEP: usize = 1 << 20;
/// Bytes read by one `try_recv` before it gives way to others.
const SHARE: usize = 1 << 20;

pub(crate) struct SocketReceiver {
    link: Arc<Link>,
    /// What has to stand before each header.
    tag: Option<Tag>,
    limit: usize,
    waiter: sys::Waiter,
    /// What arrived and was not taken yet: from `start` on.
    buffer: Vec<u8>,
    start: usize,
    /// A message whose body goes into its own buffer.
    large: Option<Message>,
    /// The last message was a large one.
    after_large: bool,
    end: Option<End>,
    drained: bool,
    /// A message has come: the other side knows how to write them.
    introduced: bool,
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
    pub(crate) fn new(link: Arc<Link>, limit: usize) -> Self {
        Self::after(link, limit, sys::Waiter::new(), Vec::new())
    }

    /// One that goes on where somebody else has read the first bytes.
    pub(crate) fn after(link: Arc<Link>, limit: usize, waiter: sys::Waiter, arrived: Vec<u8>) -> Self {
        Self {
            tag: link.stream.tag(),
            link,
            limit,
            waiter,
            buffer: arrived,
            start: 0,
            large: None,
            after_large: false,
            end: None,
            drained: false,
            introduced: false,
        }
    }

    /// The header at the start of what is buffered, if it is whole, and as far as it is one to go by.
    fn header(&self) -> Option<Result<Header, Error>> {
        let mut rest = &self.buffer[self.start..];
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
        Some(header.check_incoming(self.limit).map(|()| header))
    }

    /// Bytes before a body.
    fn head(&self) -> usize {
        Header::SIZE + self.tag.map_or(0, |tag| tag.len())
    }

    /// Takes a whole message out of what has arrived, or begins a large one.
    fn take(&mut self, message: &mut Message) -> Result<bool, Error> {
        if let Some(large) = &mut self.large {
            if large.body.len() < large.header.length as usize {
                return Ok(false);
            }
            mem::swap(message, large);
            self.large = None;
            self.after_large = true;
            return Ok(true);
        }
        let Some(header) = self.header() else {
            return Ok(false);
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
            return Ok(true);
        }
        if length > COPIED {
            let mut body = mem::take(&mut message.body);
            body.clear();
            reserve(&mut body, length.min(FIRST_STEP))?;
            body.extend_from_slice(arrived);
            self.large = Some(Message {
                header,
                body,
                begun: false,
            });
            self.start = self.buffer.len();
        }
        Ok(false)
    }

    /// One look at the socket. The number of bytes that came, or none.
    fn read(&mut self) -> Result<Option<usize>, Error> {
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
            None => (&mut nothing, 0),
        };
        let more = if self.after_large { GLANCE } else { BUFFER };
        // Asked before the look: what the peer sent before its end is there by now.
        let peer_gone = self.link.peer_gone();
        match self.link.stream.receive(body, limit, &mut self.buffer, more) {
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

    /// What to say when nothing more can be taken, or `None` while the channel is open.
    fn ended(&self) -> Option<Result<Received, Error>> {
        let within = self.large.is_some() || self.start < self.buffer.len();
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

    fn look(&mut self, message: &mut Message) -> Result<Received, Error> {
        let mut share = SHARE;
        loop {
            if self.take(message)? {
                return Ok(Received::Message);
            }
            if let Some(ended) = self.ended() {
                return ended;
            }
            let Some(bytes) = self.read()? else {
                // The end, or nothing there.
                return self.ended().unwrap_or(Ok(Received::Empty));
            };
            share = share.saturating_sub(bytes);
            if self.drained || share == 0 {
                return Ok(if self.take(message)? {
                    Received::Message
                } else {
                    Received::Empty
                });
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
        let mut received = self.look(message);
        self.introduced |= matches!(received, Ok(Received::Message));
        if let Err(error) = &mut received {
            if let Some(text) = self.printed() {
                *error = text;
            }
            // Whatever follows cannot be trusted to begin with a header.
            self.end = Some(End::Broken {
                kind: error.kind(),
                message: error.to_string(),
            });
            self.drained = true;
            self.large = None;
            self.buffer = Vec::new();
            self.start = 0;
        }
        received
    }

    fn ready(&self) -> bool {
        if self.end.is_some() {
            return true;
        }
        if let Some(large) = &self.large {
            return large.body.len() == large.header.length as usize;
        }
        self.header().is_some_and(|header| {
            header.map_or(true, |header| {
                self.buffer.len() - self.start >= self.head() + header.length as usize
            })
        })
    }

    fn in_progress(&self) -> bool {
        (self.large.is_some() || self.start < self.buffer.len()) && !self.ready()
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

/// Grows a buffer by exactly `more` bytes beyond its length, if they are not there.
fn reserve(buffer: &mut Vec<u8>, more: usize) -> Result<(), Error> {
    buffer
        .try_reserve_exact(more)
        .map_err(|error| no_memory(more, error))
}

fn no_memory(bytes: usize, error: TryReserveError) -> Error {
    let message = format!("no memory for {bytes} bytes of an incoming message");
    Error::new(ErrorKind::Resource, message).with_source(io::Error::other(error))
}
