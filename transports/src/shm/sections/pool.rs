//! What this side has made for its sections, and who has which part of it.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Waker;
use std::thread;

use super::handle::Handle;
use super::loans::Loan;
use super::pieces::{SharedBlock, SharedChunk};
use super::returns::{self, Sent, WORDS};
use super::wire::Entry;
use super::{PIECES, PLACES, SEGMENT, SEGMENTS};
use crate::crash::crash_point;
use crate::section::{Atom, Budget, Charge, Kept, Tally, Waiting, Watch, note_taken};
use crate::sys::{CommonMemory, Draft, OwnMemory, SharedWords};
use crate::{Birthplace, Error, ErrorKind, Pool, Usage};

/// Places that each call looks at first whether they came back: those that were sent first come back first.
const LOOKS: usize = 8;

/// Where this side of a connection takes shared memory. A clone is the same pool.
#[derive(Clone)]
pub(crate) struct SharedPool(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    tally: Tally,
    waiting: Waiting,
    /// The other side is to be told of segments that are forgotten.
    unsent: AtomicBool,
    hook: Mutex<Option<Hook>>,
    watch: Watch,
    birthplace: Birthplace,
}

type Hook = Arc<dyn Fn() + Send + Sync>;

/// Everything but the bytes.
pub(super) struct State {
    budget: Budget,
    /// By number. `None`: free for a new one.
    segments: Vec<Option<Segment>>,
    /// By number, how often each place was sent; kept from one segment to the next.
    pub(super) sent: Vec<[Sent; PLACES]>,
    /// Where the other side gives places back; made with the first segment.
    pub(super) words: Option<Arc<SharedWords>>,
    /// Until the other side has it.
    pub(super) words_descriptor: Option<OwnedFd>,
    /// Places of which this side has no handle any more, and which were not back when that was last looked at.
    pub(super) lent: VecDeque<Place>,
    /// Those among them that the other side has to itself.
    pub(super) loans: Vec<Loan>,
    /// The other side is trusted to write to what it has to itself, and to nothing else.
    pub(super) trusting: bool,
    /// Places with pieces of bodies, among all that somebody has.
    pieces: usize,
    /// Of the segment that was made last.
    generation: u32,
    in_use: usize,
    high_water: usize,
    /// Segments that the other side is to forget: their numbers and generations.
    pub(super) forgotten: Vec<(u32, u32)>,
    /// Something has come back that nobody was told of yet.
    released: bool,
    /// A thread sleeps where the other side gives back.
    watched: bool,
    /// The connection has ended: everything is back that was lent.
    over: bool,
}

/// A memory of this side's, as far as the pool knows it.
pub(super) struct Segment {
    pub(super) generation: u32,
    memory: SegmentMemory,
    /// Bytes.
    pub(super) length: usize,
    /// Bytes of each of its places.
    pub(super) class: usize,
    /// Places that nobody has; the last one is taken first, since its bytes are most likely in the processor's cache.
    free: Vec<u32>,
    charge: Charge,
    /// Until the other side has it.
    pub(super) descriptor: Option<OwnedFd>,
    /// The other side knows of it.
    pub(super) announced: bool,
    /// Nobody has used it since [`SharedPool::trim`] was last called.
    idle: bool,
}

enum SegmentMemory {
    Pooled(Arc<OwnMemory>),
    /// Whoever has a handle has the memory: it is used once.
    Single,
}

/// A part of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) segment: usize,
    pub(super) number: u32,
    /// It is for a piece of a body.
    is_piece: bool,
}

impl SharedPool {
    /// One whose largest section has `largest` bytes, for a side that is trusted or not. It holds nothing until it is used.
    pub(super) fn new(largest: usize, trusting: bool) -> Self {
        Self(Arc::new(Shared {
            state: Mutex::new(State {
                budget: Budget::new(largest),
                segments: Vec::new(),
                sent: Vec::new(),
                words: None,
                words_descriptor: None,
                lent: VecDeque::new(),
                loans: Vec::new(),
                trusting,
                pieces: 0,
                generation: 0,
                in_use: 0,
                high_water: 0,
                forgotten: Vec::new(),
                released: false,
                watched: false,
                over: false,
            }),
            tally: Tally::default(),
            waiting: Waiting::default(),
            unsent: AtomicBool::new(false),
            hook: Mutex::new(None),
            watch: Watch::default(),
            birthplace: Birthplace::here(),
        }))
    }

    /// A place for `bytes` bytes; with `sealed`, in a memory of its own.
    pub(crate) fn take(&self, bytes: usize, sealed: bool) -> Result<SharedChunk, Error> {
        self.0.birthplace.check()?;
        let mut state = self.0.state();
        state.check()?;
        let class = state.budget.class(bytes)?;
        let chunk = if sealed {
            let (place, draft) = state.make_single(bytes, class, Draft::create)?;
            SharedChunk::draft(Handle::new(self, place), draft, bytes)
        } else {
            let (place, memory) = state.take(class)?;
            let offset = place.number as usize * class;
            SharedChunk::pooled(Handle::new(self, place), memory, offset, bytes)
        };
        state.count_taken(class);
        self.0.leave(state);
        note_taken(&self.0);
        crash_point!();
        Ok(chunk)
    }

    /// A place for a piece of a body, of up to `bytes` bytes. `None`: there is none now, so that the piece has to go another
    /// way.
    pub(super) fn take_piece(&self, bytes: usize) -> Option<SharedChunk> {
        if !self.0.birthplace.is_here() {
            return None;
        }
        let mut state = self.0.state();
        if state.pieces >= PIECES {
            state.sweep(usize::MAX);
        }
        if state.over || state.pieces >= PIECES {
            return None;
        }
        let class = state.budget.class(bytes).ok()?;
        let taken = state.take(class);
        let chunk = taken.ok().map(|(place, memory)| {
            let place = Place {
                is_piece: true,
                ..place
            };
            state.pieces += 1;
            state.count_taken(class);
            let offset = place.number as usize * class;
            SharedChunk::pooled(Handle::new(self, place), memory, offset, bytes)
        });
        self.0.leave(state);
        note_taken(&self.0);
        crash_point!();
        chunk
    }

    /// A memory of its own for `bytes` bytes, which both sides write in words of type `A`.
    pub(crate) fn take_common<A: Atom>(&self, bytes: usize) -> Result<SharedBlock, Error> {
        self.0.birthplace.check()?;
        let mut state = self.0.state();
        state.check()?;
        let class = state.budget.class(bytes)?;
        let (place, (memory, descriptor)) = state.make_single(bytes, class, CommonMemory::create::<A>)?;
        let mut handle = Handle::new(self, place);
        state.count_taken(class);
        self.0.leave(state);
        note_taken(&self.0);
        handle.shows(descriptor);
        Ok(SharedBlock::common(handle, memory, bytes))
    }

    /// See [`Pool::trim`].
    pub(crate) fn trim(&self) -> bool {
        self.0.trim()
    }

    /// See [`Pool::trim_when_idle`].
    pub(crate) fn trim_when_idle(&self) {
        self.0.watch.want();
    }

    /// See [`Pool::wake_on_return`].
    pub(crate) fn wake_on_return(&self, waker: &Waker) {
        if !self.0.birthplace.is_here() {
            waker.wake_by_ref();
            return;
        }
        self.0.waiting.enter(waker);
        let mut state = self.0.state();
        if state.over {
            drop(state);
            self.0.waiting.wake();
            return;
        }
        // Without words nothing was ever taken, so there is nothing to wait for.
        let Some(words) = state.words.clone().filter(|_| !state.watched) else {
            return;
        };
        let weak = Arc::downgrade(&self.0);
        let thread = thread::Builder::new().name("ipc-rpc memory".to_owned());
        state.watched = thread.spawn(move || Shared::watch(&weak, &words)).is_ok();
        let watched = state.watched;
        drop(state);
        if !watched {
            // Whoever waits has to look for himself.
            self.0.waiting.wake();
        }
    }

    /// See [`Pool::on_unsent`].
    pub(crate) fn on_unsent(&self, hook: Box<dyn Fn() + Send + Sync>) {
        let former = self.0.hook().replace(hook.into());
        drop(former);
    }

    /// See [`Pool::usage`].
    pub(crate) fn usage(&self) -> Usage {
        let mut usage = self.0.tally.usage();
        if self.0.birthplace.is_here() {
            let mut state = self.0.state();
            state.sweep(usize::MAX);
            (usage.in_use, usage.high_water) = (state.in_use, state.high_water);
            self.0.leave(state);
        }
        usage
    }

    /// Whether this is the same pool.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Whether this is the process that it was made in, and no fork: that has a copy of everything, and perhaps of the lock while somebody
    /// held it.
    pub(super) fn is_here(&self) -> bool {
        self.0.birthplace.is_here()
    }

    /// Somebody of this side has a place no more: it is free, or still lent.
    pub(super) fn let_go(&self, place: Place) {
        let mut state = self.0.state();
        if state.is_back(place) {
            state.release(place);
        } else {
            state.wait_for(place);
        }
        self.0.leave(state);
    }

    pub(super) fn tally(&self) -> &Tally {
        &self.0.tally
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.state()
    }

    /// Whether [`State::forgotten`] has something.
    #[inline]
    pub(super) fn has_unsent(&self) -> bool {
        self.0.unsent.load(Ordering::Relaxed)
    }

    pub(super) fn note_sent(&self) {
        self.0.unsent.store(false, Ordering::Relaxed);
    }

    /// The connection has ended: nothing is lent any more, and nothing new is taken.
    pub(super) fn end(&self) {
        if self.0.birthplace.is_here() {
            let mut state = self.0.state();
            state.over = true;
            state.sweep(usize::MAX);
            for number in 0..state.segments.len() {
                if state.is_free(number) {
                    state.forget(number);
                }
            }
            state.forgotten = Vec::new();
            state.words_descriptor = None;
            let words = state.words.clone();
            self.0.leave(state);
            self.0.waiting.wake();
            // The one who sleeps for them ends.
            if let Some(words) = words {
                returns::rouse(&words);
            }
        }
    }
}

impl Kept for Shared {
    fn trim(&self) -> bool {
        if !self.birthplace.is_here() {
            return false;
        }
        let mut state = self.state();
        state.sweep(usize::MAX);
        for number in 0..state.segments.len() {
            if state.is_free(number) {
                let segment = state.segments[number].as_mut();
                if segment.is_some_and(|segment| std::mem::replace(&mut segment.idle, true)) {
                    state.forget(number);
                }
            }
        }
        let is_anything = state.segments.iter().any(Option::is_some);
        self.leave(state);
        is_anything
    }

    fn holds_anything(&self) -> bool {
        self.birthplace.is_here() && self.state().segments.iter().any(Option::is_some)
    }

    fn watch(&self) -> &Watch {
        &self.watch
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hook(&self) -> MutexGuard<'_, Option<Hook>> {
        self.hook.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends a use of the state, and tells those whom it concerns what has changed.
    fn leave(&self, mut state: MutexGuard<'_, State>) {
        let unsent = !state.forgotten.is_empty();
        let released = std::mem::take(&mut state.released);
        drop(state);
        if unsent {
            self.note_unsent();
        }
        if released {
            self.waiting.wake();
        }
    }

    /// Sleeps until something comes back of what is lent, and wakes those who wait then, until nobody has waited for a while.
    fn watch(weak: &Weak<Self>, words: &SharedWords) {
        let mut idle = false;
        loop {
            let asked = returns::ask(words);
            {
                let Some(shared) = weak.upgrade() else {
                    return;
                };
                let mut state = shared.state();
                state.sweep(usize::MAX);
                if state.over || idle && shared.waiting.is_empty() {
                    state.watched = false;
                    shared.leave(state);
                    return;
                }
                idle = shared.waiting.is_empty();
                shared.leave(state);
            }
            returns::sleep(words, asked);
        }
    }

    /// There is something to tell the other side.
    fn note_unsent(&self) {
        self.unsent.store(true, Ordering::Relaxed);
        let hook = self.hook().clone();
        if let Some(hook) = hook {
            hook();
        }
    }
}

impl State {
    /// Fails if nothing can be taken any more.
    pub(super) fn check(&self) -> Result<(), Error> {
        if self.over {
            return Err(Error::new(
                ErrorKind::PeerDied,
                "no sections: the connection has ended",
            ));
        }
        Ok(())
    }

    /// A place of that class.
    fn take(&mut self, class: usize) -> Result<(Place, Arc<OwnMemory>), Error> {
        self.sweep(LOOKS);
        let place = self.free_place(class).or_else(|| {
            self.sweep(usize::MAX);
            self.free_place(class)
        });
        if let Some(place) = place {
            return Ok(place);
        }
        let length = class.max(SEGMENT);
        let (number, charge) = self.make_room(length, class)?;
        let create = if self.trusting {
            OwnMemory::create_open
        } else {
            OwnMemory::create
        };
        let made = self.prepare_words().and_then(|()| create(length));
        let (memory, descriptor) = match made {
            Ok(made) => made,
            Err(error) => {
                self.budget.give_back(&charge);
                return Err(error);
            }
        };
        let memory = Arc::new(memory);
        // At most `PLACES`.
        let places = (length / class) as u32;
        self.generation = self.generation.wrapping_add(1);
        self.segments[number] = Some(Segment {
            generation: self.generation,
            memory: SegmentMemory::Pooled(memory.clone()),
            length,
            class,
            free: (1..places).rev().collect(),
            charge,
            descriptor: Some(descriptor),
            announced: false,
            idle: false,
        });
        let place = Place {
            segment: number,
            number: 0,
            is_piece: false,
        };
        Ok((place, memory))
    }

    /// A memory of its own for a section of `bytes` bytes, which is charged as that class.
    fn make_single<M>(
        &mut self,
        bytes: usize,
        class: usize,
        create: impl FnOnce(usize) -> Result<M, Error>,
    ) -> Result<(Place, M), Error> {
        self.sweep(usize::MAX);
        let (number, charge) = self.make_room(class, class)?;
        // Whole pages, and at least one.
        let length = bytes.max(1).next_multiple_of(4096);
        let memory = match self.prepare_words().and_then(|()| create(length)) {
            Ok(memory) => memory,
            Err(error) => {
                self.budget.give_back(&charge);
                return Err(error);
            }
        };
        self.generation = self.generation.wrapping_add(1);
        self.segments[number] = Some(Segment {
            generation: self.generation,
            memory: SegmentMemory::Single,
            length,
            class,
            free: Vec::new(),
            charge,
            descriptor: None,
            announced: false,
            idle: false,
        });
        let place = Place {
            segment: number,
            number: 0,
            is_piece: false,
        };
        Ok((place, memory))
    }

    /// A place of that class that nobody has.
    fn free_place(&mut self, class: usize) -> Option<(Place, Arc<OwnMemory>)> {
        for (number, segment) in self.segments.iter_mut().enumerate() {
            let Some(segment) = segment.as_mut().filter(|segment| segment.class == class) else {
                continue;
            };
            let SegmentMemory::Pooled(memory) = &segment.memory else {
                continue;
            };
            if let Some(place) = segment.free.pop() {
                segment.idle = false;
                let place = Place {
                    segment: number,
                    number: place,
                    is_piece: false,
                };
                return Some((place, memory.clone()));
            }
        }
        None
    }

    /// A number, and room in the budget, for a segment of that length, at the expense of others that nobody uses.
    fn make_room(&mut self, length: usize, class: usize) -> Result<(usize, Charge), Error> {
        let number = loop {
            match self.segments.iter().position(Option::is_none) {
                Some(number) => break number,
                None if self.segments.len() < SEGMENTS => {
                    self.segments.push(None);
                    self.sent.push([Sent::default(); PLACES]);
                }
                None if self.forget_one() => {}
                None => {
                    let message = format!(
                        "no room for a section: all {SEGMENTS} memories of this connection are in use. Wait until the \
                         other side has given some back, or send the bytes in bodies"
                    );
                    return Err(Error::new(ErrorKind::Resource, message));
                }
            }
        };
        loop {
            match self.budget.take(length, class) {
                Ok(charge) => return Ok((number, charge)),
                Err(_) if self.forget_one() => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Forgets a segment that nobody uses, if there is one.
    fn forget_one(&mut self) -> bool {
        let free = (0..self.segments.len()).find(|&number| self.is_free(number));
        free.is_some_and(|number| {
            self.forget(number);
            true
        })
    }

    /// Whether there is a segment of that number, and nobody uses it.
    fn is_free(&self, number: usize) -> bool {
        let segment = self.segments.get(number).and_then(Option::as_ref);
        segment.is_some_and(|segment| match segment.memory {
            SegmentMemory::Pooled(_) => segment.free.len() == segment.length / segment.class,
            // It is forgotten at once.
            SegmentMemory::Single => false,
        })
    }

    fn forget(&mut self, number: usize) {
        let segment = self.segments.get_mut(number).and_then(Option::take);
        if let Some(segment) = segment {
            self.budget.give_back(&segment.charge);
            if segment.announced {
                // There are at most 64.
                self.forgotten.push((number as u32, segment.generation));
            }
        }
    }

    fn prepare_words(&mut self) -> Result<(), Error> {
        if self.words.is_none() {
            let (words, descriptor) = SharedWords::create(WORDS)?;
            self.words = Some(Arc::new(words));
            self.words_descriptor = Some(descriptor);
        }
        Ok(())
    }

    fn count_taken(&mut self, class: usize) {
        self.in_use += class;
        self.high_water = self.high_water.max(self.in_use);
    }

    /// Looks which of the places that are lent are back, of the first so many.
    fn sweep(&mut self, mut looks: usize) {
        let mut at = 0;
        while at < self.lent.len() && looks > 0 {
            looks -= 1;
            let place = self.lent[at];
            if self.is_back(place) {
                self.lent.remove(at);
                self.release(place);
            } else {
                at += 1;
            }
        }
    }

    /// Whether the other side has a place no more.
    pub(super) fn is_back(&self, place: Place) -> bool {
        let sent = self.sent[place.segment][place.number as usize];
        let words = self.words.as_deref();
        self.over || words.is_none_or(|words| sent.is_back(words, place.word(self)))
    }

    /// Neither side has it any more.
    fn release(&mut self, place: Place) {
        let Some(segment) = self.segments[place.segment].as_mut() else {
            return;
        };
        self.in_use -= segment.class;
        self.loans.retain(|loan| !loan.is_of(place));
        self.pieces -= usize::from(place.is_piece);
        self.released = true;
        let is_single = matches!(segment.memory, SegmentMemory::Single);
        if !is_single {
            segment.free.push(place.number);
        }
        if is_single || self.over && self.is_free(place.segment) {
            self.forget(place.segment);
        }
    }

    /// The segment in which a place is that somebody has a handle of.
    pub(super) fn segment(&mut self, place: Place) -> Option<&mut Segment> {
        self.segments.get_mut(place.segment)?.as_mut()
    }

    /// How the other side is told of the first `length` bytes of a place that somebody has a handle of.
    pub(super) fn entry(&self, place: Place, length: usize) -> Option<Entry> {
        let segment = self.segments.get(place.segment)?.as_ref()?;
        Some(Entry {
            segment: place.segment as u32,
            generation: segment.generation,
            // A memory has at most 1 GiB.
            offset: place.number * segment.class as u32,
            length: length as u32,
        })
    }

    /// Counts a place as sent once more.
    pub(super) fn count_sent(&mut self, place: Place) {
        self.sent[place.segment][place.number as usize].count();
    }

    /// The memory in which a place is, if that is cut into places.
    pub(super) fn pooled(&self, place: Place) -> Option<Arc<OwnMemory>> {
        match &self.segments.get(place.segment)?.as_ref()?.memory {
            SegmentMemory::Pooled(memory) => Some(memory.clone()),
            SegmentMemory::Single => None,
        }
    }
}

impl Place {
    /// Which of the words is its: that of its first bytes.
    fn word(self, state: &State) -> usize {
        let class = state.segments[self.segment]
            .as_ref()
            .map_or(0, |segment| segment.class);
        word(self.segment, self.number as usize * class)
    }
}

/// The word at which the place is given back that begins there.
pub(super) fn word(segment: usize, offset: usize) -> usize {
    segment * PLACES + offset / Pool::SMALLEST % PLACES
}
