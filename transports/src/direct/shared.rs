//! What the two halves of a port share, and those who copy for them.

use std::collections::VecDeque;
use std::mem;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
#[cfg(feature = "tokio")]
use std::task::Waker;

use super::usage::Usage;
use super::wire::NONCE;
use super::{LENT_LIMIT, MOST_LENT};
use crate::crash::crash_point;
use crate::sys::{self, Neighbour, Stream, Unreadable};
use crate::{Birthplace, Interrupt};

pub(crate) struct Shared {
    stream: Arc<Stream>,
    pub(super) birthplace: Birthplace,
    pub(super) neighbour: Neighbour,
    interrupt: Interrupt,
    pub(super) usage: Arc<Usage>,
    state: Mutex<State>,
    /// A copy has ended.
    ended: AtomicBool,
    /// The owner of borrowed memory has something to do.
    owner_news: AtomicBool,
    /// The half that sends has something to say.
    to_say: AtomicBool,
    /// Bodies that are lent.
    lent: AtomicUsize,
    /// The port beneath had no room when it was last asked.
    blocked: AtomicBool,
    /// The other side will say no more, so that nothing comes back any more.
    over: AtomicBool,
    /// Whoever waits for news of the port is to look again.
    look: AtomicBool,
    #[cfg(feature = "tokio")]
    wakers: Mutex<Vec<Waker>>,
}

#[derive(Default)]
struct State {
    /// What the other side is to show; at a place that does not change.
    nonce: Option<Box<[u8; NONCE]>>,
    /// Bodies are lent.
    agreed: bool,
    lent: Vec<Option<Lent>>,
    lent_bytes: usize,
    notes: VecDeque<Note>,
    /// The copy that was made last.
    ended: Option<Ended>,
}

enum Lent {
    /// The other side may be reading it.
    Away(Vec<u8>),
    /// The same, with so many bytes of memory that somebody else owns.
    Borrowed(usize),
    /// The other side has done with it; its owner does not know yet.
    Returned,
    /// The other side could not read it; its owner does not know yet.
    Unread(usize),
    /// The other side could not read it, and gets it from the half that sends.
    Refused,
}

/// What its owner is to do with memory that was borrowed.
pub(super) enum Owed {
    /// Keep it as it is.
    Patience,
    /// Nothing any more.
    Nothing,
    /// Have so many bytes sent as a copy.
    Copy(usize),
}

/// What the half that sends is to say.
pub(super) enum Note {
    Offer { address: u64 },
    Proof(Vec<u8>),
    Done { slot: u64 },
    Refuse { slot: u64 },
    Copy { slot: u64, body: Vec<u8> },
}

/// A copy of a body, made or not.
pub(super) struct Ended {
    pub(super) body: Vec<u8>,
    pub(super) result: Result<(), Unreadable>,
}

/// The other side speaks of a body that it was not lent.
pub(super) struct NotLent;

impl Shared {
    pub(super) fn new(
        stream: Arc<Stream>,
        birthplace: Birthplace,
        neighbour: Neighbour,
        interrupt: Interrupt,
        usage: Arc<Usage>,
    ) -> Self {
        Self {
            stream,
            birthplace,
            neighbour,
            interrupt,
            usage,
            state: Mutex::default(),
            ended: AtomicBool::new(false),
            owner_news: AtomicBool::new(false),
            to_say: AtomicBool::new(false),
            lent: AtomicUsize::new(0),
            blocked: AtomicBool::new(false),
            over: AtomicBool::new(false),
            look: AtomicBool::new(false),
            #[cfg(feature = "tokio")]
            wakers: Mutex::default(),
        }
    }

    /// Shows the other side something to read. Nothing happens if the system has nothing that nobody can guess.
    pub(super) fn offer(&self) {
        let Ok(nonce) = sys::random() else { return };
        let mut state = self.state();
        let nonce = state.nonce.insert(Box::new(nonce));
        let address = nonce.as_ptr().expose_provenance() as u64;
        state.notes.push_back(Note::Offer { address });
        self.to_say.store(true, Ordering::Release);
    }

    /// Judges what the other side has read. False: it was not asked.
    pub(super) fn judge(&self, proof: &[u8]) -> bool {
        let mut state = self.state();
        let Some(nonce) = state.nonce.take() else {
            return false;
        };
        state.agreed = proof == nonce.as_slice();
        if state.agreed {
            self.usage.agree();
        } else if proof.is_empty() {
            self.usage
                .refuse("the other side cannot read this process's memory");
        } else {
            self.usage.refuse("the other side reads another process's memory");
        }
        true
    }

    /// Lends a body, if that is agreed on and not too much is lent already. The slot, and where the body lies.
    pub(super) fn lend(&self, body: &mut Vec<u8>) -> Option<(u64, u64)> {
        let mut state = self.state();
        let length = body.len();
        let slot = self.slot_for(&mut state, length)?;
        let address = body.as_ptr().expose_provenance() as u64;
        state.lent[slot] = Some(Lent::Away(mem::take(body)));
        state.lent_bytes += length;
        self.lent.fetch_add(1, Ordering::Relaxed);
        crash_point!();
        Some((slot as u64, address))
    }

    /// Takes a body back of which the other side was not told, or that it has done with. It is empty where somebody else
    /// owns the memory.
    pub(super) fn take_back(&self, slot: u64) -> Result<Vec<u8>, NotLent> {
        let mut state = self.state();
        let place = state.place(slot)?;
        let (body, length) = match mem::take(place) {
            Some(Lent::Away(body)) => {
                let length = body.len();
                (body, length)
            }
            Some(Lent::Borrowed(length)) => {
                *place = Some(Lent::Returned);
                self.owner_news.store(true, Ordering::Release);
                (Vec::new(), length)
            }
            other => {
                *place = other;
                return Err(NotLent);
            }
        };
        state.lent_bytes -= length;
        self.lent.fetch_sub(1, Ordering::Relaxed);
        crash_point!();
        Ok(body)
    }

    /// A slot for so many bytes that somebody else owns, if lending is agreed on and not too much is lent already.
    pub(super) fn borrow(&self, length: usize) -> Option<u64> {
        let mut state = self.state();
        let slot = self.slot_for(&mut state, length)?;
        state.lent[slot] = Some(Lent::Borrowed(length));
        state.lent_bytes += length;
        self.lent.fetch_add(1, Ordering::Relaxed);
        crash_point!();
        Some(slot as u64)
    }

    /// Sets how many bytes it came to be.
    pub(super) fn set_borrowed(&self, slot: u64, bytes: usize) {
        let mut state = self.state();
        if let Ok(Some(Lent::Borrowed(length))) = state.place(slot) {
            let former = mem::replace(length, bytes);
            state.lent_bytes = state.lent_bytes - former + bytes;
        }
    }

    /// What is to be done with memory that was borrowed. The slot is free if that is nothing.
    pub(super) fn owed(&self, slot: u64) -> Owed {
        let mut state = self.state();
        let Ok(place) = state.place(slot) else {
            return Owed::Nothing;
        };
        if !matches!(place, Some(Lent::Borrowed(_))) {
            self.owner_news.store(false, Ordering::Release);
        }
        match place {
            Some(Lent::Borrowed(_)) => Owed::Patience,
            Some(Lent::Unread(length)) => {
                let length = *length;
                *place = Some(Lent::Refused);
                Owed::Copy(length)
            }
            _ => {
                *place = None;
                Owed::Nothing
            }
        }
    }

    /// Has a copy take the place of memory that was borrowed, and that its owner leaves. Where the copy lies; `None` if
    /// it is not needed.
    pub(super) fn replace(&self, slot: u64, mut copy: Vec<u8>) -> Option<u64> {
        let mut state = self.state();
        let place = state.place(slot).ok()?;
        let Some(Lent::Borrowed(length)) = place else {
            return None;
        };
        copy.truncate(*length);
        let address = copy.as_ptr().expose_provenance() as u64;
        *place = Some(Lent::Away(copy));
        Some(address)
    }

    /// Frees a slot of which the other side was not told.
    pub(super) fn forget(&self, slot: u64) {
        drop(self.take_back(slot));
        if let Ok(place) = self.state().place(slot) {
            *place = None;
        }
    }

    /// Shuts the stream down: what is lent is not to be counted on any more.
    pub(super) fn hang_up(&self) {
        self.stream.shutdown();
    }

    fn slot_for(&self, state: &mut State, length: usize) -> Option<usize> {
        let count = self.lent.load(Ordering::Relaxed);
        let has_room = count == 0 || count < MOST_LENT && state.lent_bytes + length <= LENT_LIMIT;
        if !state.agreed || !has_room {
            return None;
        }
        let free = state.lent.iter().position(Option::is_none);
        if free.is_none() {
            state.lent.push(None);
        }
        Some(free.unwrap_or(state.lent.len() - 1))
    }

    /// The other side could not read a body: it is to get a copy, and no more is lent.
    pub(super) fn take_refusal(&self, slot: u64) -> Result<(), NotLent> {
        let mut state = self.state();
        let place = state.place(slot)?;
        match mem::take(place) {
            Some(Lent::Away(body)) => {
                *place = Some(Lent::Refused);
                state.lent_bytes -= body.len();
                state.notes.push_back(Note::Copy { slot, body });
                self.to_say.store(true, Ordering::Release);
            }
            Some(Lent::Borrowed(length)) => {
                *place = Some(Lent::Unread(length));
                self.owner_news.store(true, Ordering::Release);
                state.lent_bytes -= length;
            }
            other => {
                *place = other;
                return Err(NotLent);
            }
        }
        self.usage.count_refused();
        Ok(())
    }

    /// The copy of a refused body was sent.
    pub(super) fn free(&self, slot: u64) {
        if let Ok(place) = self.state().place(slot) {
            *place = None;
            self.lent.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Whether an owner of borrowed memory has something to do, of whom nobody has told it.
    pub(super) fn has_owner_news(&self) -> bool {
        self.owner_news.load(Ordering::Acquire)
    }

    /// Bodies that are lent.
    pub(super) fn lent(&self) -> usize {
        self.lent.load(Ordering::Relaxed)
    }

    /// Notes something for the half that sends.
    pub(super) fn say(&self, note: Note) {
        self.state().notes.push_back(note);
        self.to_say.store(true, Ordering::Release);
    }

    /// Puts back what did not go.
    pub(super) fn say_first(&self, note: Note) {
        self.state().notes.push_front(note);
        self.to_say.store(true, Ordering::Release);
    }

    pub(super) fn next_note(&self) -> Option<Note> {
        let mut state = self.state();
        let note = state.notes.pop_front();
        if note.is_none() {
            self.to_say.store(false, Ordering::Release);
        }
        note
    }

    #[inline]
    pub(super) fn has_to_say(&self) -> bool {
        self.to_say.load(Ordering::Acquire)
    }

    /// Tells the half that receives what became of a copy.
    pub(super) fn end(&self, ended: Ended) {
        self.state().ended = Some(ended);
        self.ended.store(true, Ordering::Release);
        self.wake();
    }

    #[inline]
    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    pub(super) fn take_ended(&self) -> Option<Ended> {
        if !self.has_ended() {
            return None;
        }
        self.ended.store(false, Ordering::Release);
        self.state().ended.take()
    }

    pub(super) fn set_blocked(&self, blocked: bool) {
        self.blocked.store(blocked, Ordering::Relaxed);
    }

    /// Whether the port beneath had no room.
    pub(super) fn is_blocked(&self) -> bool {
        self.blocked.load(Ordering::Relaxed)
    }

    /// Notes that the other side will say no more.
    pub(super) fn set_over(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Has whoever waits for news of the port look again.
    pub(super) fn wake(&self) {
        self.interrupt.raise();
        self.wake_tasks();
    }

    /// The same for tasks. A thread that waits for the port is the one that receives, or is woken by it.
    pub(super) fn wake_tasks(&self) {
        self.look.store(true, Ordering::SeqCst);
        #[cfg(feature = "tokio")]
        {
            let wakers = mem::take(&mut *self.wakers());
            wakers.into_iter().for_each(Waker::wake);
        }
    }

    /// Has this task woken with the next [`Shared::wake`].
    #[cfg(feature = "tokio")]
    pub(crate) fn register(&self, waker: &Waker) {
        let mut wakers = self.wakers();
        if !wakers.iter().any(|known| known.will_wake(waker)) {
            wakers.push(waker.clone());
        }
    }

    /// Whether there was a [`Shared::wake`] since the last time.
    #[cfg(feature = "tokio")]
    pub(crate) fn take_look(&self) -> bool {
        self.look.load(Ordering::SeqCst) && self.look.swap(false, Ordering::SeqCst)
    }

    /// There is more to be seen than was looked at.
    #[cfg(feature = "tokio")]
    pub(crate) fn look_again(&self) {
        self.look.store(true, Ordering::SeqCst);
    }

    /// Whether flushing waits for the port beneath, rather than for what is lent.
    #[cfg(feature = "tokio")]
    pub(crate) fn waits_for_room(&self) -> bool {
        self.is_blocked()
    }

    /// Whether flushing waits for nothing that anybody would tell of.
    #[cfg(feature = "tokio")]
    pub(crate) fn may_flush(&self) -> bool {
        self.lent() == 0 || self.has_to_say()
    }

    /// Whether the stream was shut down, or the other side's process has let go of it.
    pub(super) fn has_hung_up(&self) -> bool {
        sys::has_hung_up(&self.stream)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(feature = "tokio")]
    fn wakers(&self) -> MutexGuard<'_, Vec<Waker>> {
        self.wakers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // Whoever copies a body looks whether the stream was shut down when it has all of it, and before anybody sees it. So
        // that comes first, and only then the memory is freed. A fork's copy of it is no reason to end anything.
        if *self.lent.get_mut() > 0 && self.birthplace.is_here() {
            self.stream.shutdown();
        }
    }
}

impl State {
    fn place(&mut self, slot: u64) -> Result<&mut Option<Lent>, NotLent> {
        let place = usize::try_from(slot)
            .ok()
            .and_then(|slot| self.lent.get_mut(slot));
        place.filter(|place| place.is_some()).ok_or(NotLent)
    }
}
