//! The half of a port that copies bodies out of the other side's memory.

use std::collections::{TryReserveError, VecDeque};
use std::io;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::time::Instant;

use super::shared::{Ended, NotLent, Note, Shared};
use super::wire::{Kind, Lending, NONCE};
use super::{MOST_LENT, helpers};
use crate::crash::crash_point;
use crate::sys::Unreadable;
use crate::{Endpoint, Error, ErrorKind, Header, Interrupt, Message, Received, Receiver, Spun, buffers};

pub(super) struct DirectReceiver {
    inner: Box<dyn Receiver>,
    shared: Arc<Shared>,
    limit: usize,
    /// What the other side has lent, in order. One body is copied at a time.
    lent: VecDeque<Lent>,
    /// The first of them is being copied; false once nobody wants it any more.
    wanted: Option<Arc<AtomicBool>>,
    /// What became of that copy, and messages that were seen since.
    copied: Option<(Ended, usize)>,
    /// What could not be read, and will be sent.
    refused: Vec<Lent>,
    /// The other side has shown something to read.
    asked: bool,
    /// The other side has ended while it lent something.
    cut: bool,
    broken: Option<(ErrorKind, String)>,
}

/// A message whose body the other side has lent.
struct Lent {
    slot: u64,
    header: Header,
    /// The first bytes of the body, and the last.
    head: Vec<u8>,
    tail: Vec<u8>,
    /// Where the others lie in the other side's memory, and how many they are.
    address: u64,
    length: usize,
    /// The other side may move them.
    may_move: bool,
    /// It has, since the copy was begun.
    moved: bool,
}

/// Messages that may have been there already when a copy was ready: more than fit into a ring or a socket's buffer. Behind
/// them there is no word about that copy any more.
const BEHIND: usize = 1 << 15;

impl DirectReceiver {
    pub(super) fn new(inner: Box<dyn Receiver>, shared: Arc<Shared>, endpoint: &Endpoint) -> Self {
        Self {
            inner,
            shared,
            limit: endpoint.message_limit(),
            lent: VecDeque::new(),
            wanted: None,
            copied: None,
            refused: Vec::new(),
            asked: false,
            cut: false,
            broken: None,
        }
    }

    fn look(&mut self, message: &mut Message) -> Result<Received, Error> {
        if let Some(ended) = self.shared.take_ended() {
            // What the other side has said before it changed the memory is there by now.
            fence(Ordering::SeqCst);
            self.copied = Some((ended, 0));
        }
        loop {
            if self.copied.is_some() && self.knows_enough() {
                if let Some(received) = self.conclude(message)? {
                    return Ok(received);
                }
            }
            let received = self.inner.try_recv(message)?;
            if let Some((_, seen)) = &mut self.copied {
                *seen += 1;
                if received == Received::Empty && self.inner.drained() {
                    *seen = BEHIND;
                    continue;
                }
            }
            match (received, Kind::of(&message.header)) {
                (Received::Empty, _) => return Ok(received),
                (Received::Message, Some(kind)) => {
                    if let Some(received) = self.hear(kind, message)? {
                        return Ok(received);
                    }
                }
                // It is told of when it was lent.
                (Received::Begun, Some(Kind::Copy)) => {}
                (Received::Begun, Some(_)) => return Err(broken("a word about it is in pieces")),
                (Received::Closed, _) if self.cut || self.is_lent() => {
                    let sentence = "the other side ended in the middle of a message";
                    return Err(Error::new(ErrorKind::PeerDied, sentence));
                }
                (received, _) => return Ok(received),
            }
        }
    }

    /// Whether what became of the copy can be acted upon: the other side has not said that it has moved what was copied.
    fn knows_enough(&self) -> bool {
        let stays = self.lent.front().is_none_or(|lent| !lent.may_move);
        stays || self.copied.as_ref().is_some_and(|(_, seen)| *seen >= BEHIND)
    }

    /// Hears what the other side has to say about bodies.
    fn hear(&mut self, kind: Kind, message: &mut Message) -> Result<Option<Received>, Error> {
        let header = message.header;
        if header.sections != 0 {
            return Err(broken("a word about it comes with sections"));
        }
        let unknown = |NotLent| broken("a slot is spoken of that holds nothing");
        match kind {
            Kind::Offer => self.prove(header.extra)?,
            Kind::Proof => {
                if !self.shared.judge(&message.body) {
                    return Err(broken("something is proved that nobody asked for"));
                }
            }
            Kind::Lend => return self.borrow(message).map(Some),
            Kind::Done => {
                buffers::give(self.shared.take_back(header.id).map_err(unknown)?);
                self.shared.wake_tasks();
            }
            Kind::Refuse => {
                self.shared.take_refusal(header.id).map_err(unknown)?;
                self.shared.wake_tasks();
            }
            Kind::Copy => return self.take_copy(message).map(Some),
            Kind::Move => {
                // One that is done with, or refused, is moved in vain.
                let mut lent = self.lent.iter_mut();
                if let Some(lent) = lent.find(|lent| lent.slot == header.id && lent.may_move) {
                    lent.address = header.extra;
                    lent.may_move = false;
                    lent.moved = true;
                }
            }
        }
        Ok(None)
    }

    /// Reads what the other side shows, and says what it is.
    fn prove(&mut self, address: u64) -> Result<(), Error> {
        if mem::replace(&mut self.asked, true) {
            return Err(broken("a proof is asked for twice"));
        }
        let shared = Arc::clone(&self.shared);
        let prove = move || {
            let mut bytes = Vec::with_capacity(NONCE);
            if let Err(error) = shared.neighbour.copy(address, NONCE, &mut bytes, || true) {
                note_refusal(&error);
            }
            crash_point!();
            shared.say(Note::Proof(bytes));
            shared.wake();
        };
        if !helpers::run(Box::new(prove)) {
            self.shared.say(Note::Proof(Vec::new()));
        }
        Ok(())
    }

    /// Takes note of a message whose body is lent.
    fn borrow(&mut self, message: &mut Message) -> Result<Received, Error> {
        if !self.asked || self.lent.len() + self.refused.len() >= MOST_LENT {
            return Err(broken("more is lent than was agreed on"));
        }
        let Some(lending) = Lending::read(&message.body) else {
            return Err(broken("a message without a header is lent"));
        };
        let Lending {
            header, head, tail, ..
        } = lending;
        header.check_incoming(self.limit)?;
        let length = (header.length as usize).checked_sub(head.len() + tail.len());
        let length = length.filter(|&length| length > 0 && Kind::of(&header).is_none());
        let Some(length) = length else {
            return Err(broken("a message without a body is lent"));
        };
        let (slot, address) = (message.header.id, message.header.extra);
        let mut known = self.lent.iter().chain(&self.refused);
        if known.any(|lent| lent.slot == slot) {
            return Err(broken("a slot is lent twice"));
        }
        self.lent.push_back(Lent {
            slot,
            header,
            head: head.to_vec(),
            tail: tail.to_vec(),
            address,
            length,
            may_move: lending.may_move,
            moved: false,
        });
        crash_point!();
        self.copy_next()?;
        message.header = header;
        Ok(Received::Begun)
    }

    /// Has the next body copied, unless one is.
    fn copy_next(&mut self) -> Result<(), Error> {
        while self.wanted.is_none() {
            let Some(next) = self.lent.front_mut() else { break };
            next.moved = false;
            let mut body = Vec::new();
            buffers::reserve(&mut body, next.header.length as usize)
                .map_err(|error| no_memory(next.length, error))?;
            body.extend_from_slice(&next.head);
            let wanted = Arc::new(AtomicBool::new(true));
            let (shared, is_wanted) = (Arc::clone(&self.shared), Arc::clone(&wanted));
            let (address, length) = (next.address, next.length);
            let copy = move || {
                let is_wanted = || is_wanted.load(Ordering::Relaxed);
                let result = shared.neighbour.copy(address, length, &mut body, is_wanted);
                crash_point!();
                shared.end(Ended { body, result });
            };
            if helpers::run(Box::new(copy)) {
                self.wanted = Some(wanted);
            } else {
                self.refuse_first();
            }
        }
        Ok(())
    }

    /// Asks for a copy of the first body.
    fn refuse_first(&mut self) {
        if let Some(lent) = self.lent.pop_front() {
            self.shared.say(Note::Refuse { slot: lent.slot });
            self.refused.push(lent);
        }
    }

    /// What became of the first body.
    fn conclude(&mut self, message: &mut Message) -> Result<Option<Received>, Error> {
        let Some((mut ended, _)) = self.copied.take() else {
            return Ok(None);
        };
        self.wanted = None;
        if self.lent.front().is_some_and(|lent| lent.moved) {
            buffers::give(ended.body);
            self.copy_next()?;
            return Ok(None);
        }
        let received = match ended.result {
            // What was copied before the stream was shut down was copied before the memory was freed.
            Ok(()) if !self.shared.has_hung_up() => self.lent.pop_front().map(|lent| {
                crash_point!();
                self.shared.say(Note::Done { slot: lent.slot });
                self.shared.usage.count_fetched(lent.length);
                // There is room: it was reserved with the rest.
                ended.body.extend_from_slice(&lent.tail);
                let former = mem::replace(
                    message,
                    Message {
                        header: lent.header,
                        body: ended.body,
                        begun: true,
                        sections: Vec::new(),
                    },
                );
                buffers::give(former.body);
                Received::Message
            }),
            Ok(()) | Err(Unreadable::Gone | Unreadable::Unwanted) => {
                self.cut = true;
                self.lent.clear();
                None
            }
            Err(Unreadable::Absent) if self.shared.has_hung_up() => {
                self.cut = true;
                self.lent.clear();
                None
            }
            Err(Unreadable::Absent) => return Err(broken("a body lies where there is no memory")),
            Err(error @ (Unreadable::Denied(_) | Unreadable::Failed(_))) => {
                note_refusal(&error);
                self.refuse_first();
                None
            }
        };
        self.copy_next()?;
        Ok(received)
    }

    /// A body that could not be read, as a copy.
    fn take_copy(&mut self, message: &mut Message) -> Result<Received, Error> {
        let slot = message.header.id;
        let place = self.refused.iter().position(|lent| lent.slot == slot);
        let Some(place) = place else {
            return Err(broken("a copy comes that nobody asked for"));
        };
        let lent = self.refused.swap_remove(place);
        crash_point!();
        if message.body.len() != lent.length {
            return Err(broken("a copy has another length than what was lent"));
        }
        let more = lent.head.len() + lent.tail.len();
        if more > 0 {
            let room = message.body.try_reserve(more);
            room.map_err(|error| no_memory(more, error))?;
            message.body.splice(..0, lent.head);
            message.body.extend_from_slice(&lent.tail);
        }
        message.header = lent.header;
        message.begun = true;
        Ok(Received::Message)
    }

    fn is_lent(&self) -> bool {
        !self.lent.is_empty() || !self.refused.is_empty()
    }
}

impl Receiver for DirectReceiver {
    fn try_recv(&mut self, message: &mut Message) -> Result<Received, Error> {
        self.shared.birthplace.check()?;
        if let Some((kind, message)) = &self.broken {
            return Err(Error::new(*kind, message.clone()));
        }
        let received = self.look(message);
        if matches!(received, Ok(Received::Closed) | Err(_)) {
            self.shared.set_over();
        }
        if let Err(error) = &received {
            // Whatever follows cannot be trusted.
            self.broken = Some((error.kind(), error.to_string()));
            self.lent.clear();
            self.refused.clear();
            self.copied = None;
            self.cancel();
        }
        received
    }

    fn ready(&self) -> bool {
        self.broken.is_some() || self.shared.has_ended() || self.inner.ready()
    }

    fn drained(&self) -> bool {
        self.broken.is_some() || !self.shared.has_ended() && self.inner.drained()
    }

    fn in_progress(&self) -> bool {
        self.is_lent() || self.inner.in_progress()
    }

    fn spins(&self) -> bool {
        self.inner.spins()
    }

    fn spin(&mut self, space: bool, once: bool) -> Spun {
        if self.shared.has_ended() {
            return Spun::News;
        }
        self.inner.spin(space && self.shared.is_blocked(), once)
    }

    fn arm(&mut self) -> bool {
        !self.shared.has_ended() && self.inner.arm()
    }

    fn disarm(&mut self) {
        self.inner.disarm();
    }

    fn park(&mut self, space: bool, deadline: Option<Instant>) -> Result<(), Error> {
        // The end of a copy raises the interrupt: if it comes after this look, it ends the wait.
        if self.ready() {
            return Ok(());
        }
        self.inner.park(space && self.shared.is_blocked(), deadline)
    }

    fn interrupt(&self) -> Interrupt {
        self.inner.interrupt()
    }

    #[cfg(feature = "tokio")]
    fn watch(&self) -> crate::reactor::Watch {
        crate::reactor::Watch::direct(self.inner.watch(), Arc::clone(&self.shared))
    }
}

impl DirectReceiver {
    /// Has a copy that is being made end at its next step.
    fn cancel(&mut self) {
        if let Some(wanted) = self.wanted.take() {
            wanted.store(false, Ordering::Relaxed);
        }
    }
}

impl Drop for DirectReceiver {
    fn drop(&mut self) {
        self.cancel();
    }
}

/// The log hears of what the system does not let this process do.
fn note_refusal(error: &Unreadable) {
    if let Unreadable::Denied(error) | Unreadable::Failed(error) = error {
        super::usage::log_once(&format!(
            "this process cannot read the other side's memory: {error}"
        ));
    }
}

fn broken(rule: &str) -> Error {
    let message = format!("the other side breaks a rule about bodies that are lent: {rule}");
    Error::new(ErrorKind::Protocol, message)
}

fn no_memory(bytes: usize, error: TryReserveError) -> Error {
    let message = format!("no memory for {bytes} bytes of an incoming message");
    Error::new(ErrorKind::Resource, message).with_source(io::Error::other(error))
}
