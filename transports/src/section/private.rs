//! Sections inside one process: handles of memory that change hands.

use std::any::Any;
use std::collections::TryReserveError;
use std::io;
use std::mem;
use std::ptr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use super::{Atom, Budget, Charge, Chunk, Kept, Pool, Tally, Usage, Waiting, Watch, note_taken};
use crate::{Birthplace, Error, ErrorKind};

/// The pool of one side.
pub(super) struct Store {
    state: Mutex<State>,
    pub(super) tally: Tally,
    waiting: Waiting,
    watch: Watch,
    birthplace: Birthplace,
}

struct State {
    budget: Budget,
    /// Memory that nobody uses, by its class, and whether that is so since [`Store::trim`] was last called.
    spare: Vec<Spare>,
}

struct Spare {
    class: usize,
    memory: Vec<u8>,
    idle: bool,
}

/// Memory that was taken from a [`Store`]; it goes back when it is dropped.
pub(super) struct Piece {
    memory: Vec<u8>,
    /// Where the first aligned byte is.
    start: usize,
    sealed: bool,
    /// A `Vec` of atoms instead, which both sides write.
    common: Option<Box<dyn Any + Send + Sync>>,
    class: usize,
    charge: Charge,
    store: Arc<Store>,
}

impl Store {
    pub(super) fn new(largest: usize) -> Self {
        Self {
            state: Mutex::new(State {
                budget: Budget::new(largest),
                spare: Vec::new(),
            }),
            tally: Tally::default(),
            waiting: Waiting::default(),
            watch: Watch::default(),
            birthplace: Birthplace::here(),
        }
    }

    /// Memory for a section of `bytes` bytes: zeros, or what had been used on this side of the connection before.
    pub(super) fn take(self: &Arc<Self>, bytes: usize, sealed: bool) -> Result<Piece, Error> {
        self.birthplace.check()?;
        let mut piece = {
            let mut state = self.state();
            let class = state.budget.class(bytes)?;
            let charge = state.budget.take(class, class)?;
            Piece {
                memory: state.take_spare(class).unwrap_or_default(),
                start: 0,
                sealed,
                common: None,
                class,
                charge,
                store: self.clone(),
            }
        };
        note_taken(self);
        let length = piece.class + Chunk::ALIGNMENT;
        piece
            .memory
            .try_reserve_exact(length - piece.memory.len())
            .map_err(|error| no_memory(bytes, error))?;
        // Its place is known from here on: it is never reallocated.
        let address = piece.memory.as_ptr().addr();
        piece.start = address.next_multiple_of(Chunk::ALIGNMENT) - address;
        // What is there already is left as it is. Of the rest no more is touched than is needed.
        let needed = piece.start + bytes;
        if piece.memory.len() < needed {
            piece.memory.resize(needed, 0);
        }
        Ok(piece)
    }

    /// Memory of `count` words, which are `bytes` bytes, for both sides to write.
    pub(super) fn take_common<A: Atom>(self: &Arc<Self>, count: usize, bytes: usize) -> Result<Piece, Error> {
        self.birthplace.check()?;
        let mut words = Vec::<A>::new();
        let (class, charge) = {
            let mut state = self.state();
            let class = state.budget.class(bytes)?;
            words
                .try_reserve_exact(count)
                .map_err(|error| no_memory(bytes, error))?;
            (class, state.budget.take(class, class)?)
        };
        words.resize_with(count, A::zero);
        Ok(Piece {
            memory: Vec::new(),
            start: 0,
            sealed: false,
            common: Some(Box::new(words)),
            class,
            charge,
            store: self.clone(),
        })
    }

    pub(super) fn wake_on_return(&self, waker: &Waker) {
        self.waiting.enter(waker);
    }

    pub(super) fn usage(&self) -> Usage {
        let state = self.state();
        Usage {
            in_use: state.budget.in_use(),
            high_water: state.budget.high_water(),
            ..self.tally.usage()
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept for Store {
    /// Gives back what nobody has used since this was last called. False: nothing is left.
    fn trim(&self) -> bool {
        let mut state = self.state();
        let spare = mem::take(&mut state.spare);
        let (idle, mut used): (Vec<_>, Vec<_>) = spare.into_iter().partition(|spare| spare.idle);
        used.iter_mut().for_each(|spare| spare.idle = true);
        state.spare = used;
        let is_anything = !state.spare.is_empty() || state.budget.in_use() > 0;
        drop(state);
        drop(idle);
        is_anything
    }

    fn holds_anything(&self) -> bool {
        let state = self.state();
        !state.spare.is_empty() || state.budget.in_use() > 0
    }

    fn watch(&self) -> &Watch {
        &self.watch
    }
}

impl State {
    fn take_spare(&mut self, class: usize) -> Option<Vec<u8>> {
        let at = self.spare.iter().rposition(|spare| spare.class == class)?;
        Some(self.spare.swap_remove(at).memory)
    }

    /// Keeps memory, as long as all of it is within what a pool may hold: rather than what has been kept for longer.
    fn keep(&mut self, class: usize, memory: Vec<u8>) -> Vec<Spare> {
        let room = Pool::BUDGET.saturating_sub(self.budget.in_use());
        let mut kept = class;
        self.spare.push(Spare {
            class,
            memory,
            idle: false,
        });
        let newest = self.spare.len() - 1;
        let older = self.spare[..newest].iter().rev();
        let staying = older
            .take_while(|spare| {
                kept += spare.class;
                kept <= room
            })
            .count();
        let going = if class <= room {
            newest - staying
        } else {
            newest + 1
        };
        self.spare.drain(..going).collect()
    }
}

fn no_memory(bytes: usize, error: TryReserveError) -> Error {
    let message = format!("no memory for a section of {bytes} bytes");
    Error::new(ErrorKind::Resource, message).with_source(io::Error::other(error))
}

impl Piece {
    pub(super) fn is_of(&self, store: &Arc<Store>) -> bool {
        ptr::eq(Arc::as_ptr(&self.store), Arc::as_ptr(store))
    }

    pub(super) fn is_sealed(&self) -> bool {
        self.sealed
    }

    /// Whoever has it to himself may write to it.
    pub(super) fn is_writable(&self) -> bool {
        !self.sealed && !self.is_common()
    }

    pub(super) fn is_common(&self) -> bool {
        self.common.is_some()
    }

    pub(super) fn atoms<A: Atom>(&self) -> Option<&[A]> {
        let words = self.common.as_ref()?.downcast_ref::<Vec<A>>()?;
        Some(words)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.memory[self.start..]
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..]
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        let mut state = self.store.state();
        state.budget.give_back(&self.charge);
        let memory = mem::take(&mut self.memory);
        let going = if self.is_common() {
            Vec::new()
        } else {
            state.keep(self.class, memory)
        };
        drop(state);
        drop(going);
        self.store.waiting.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::super::Kept;
    use super::{Arc, Pool, Store};

    fn spare(store: &Store) -> Vec<usize> {
        store.state().spare.iter().map(|spare| spare.class).collect()
    }

    #[test]
    fn memory_is_kept_and_used_again() {
        const MIB: usize = 1 << 20;
        let store = Arc::new(Store::new(256 * MIB));
        let mut piece = store.take(5, false).unwrap();
        piece.bytes_mut()[4] = 7;
        drop(piece);
        assert_eq!(spare(&store), [Pool::SMALLEST]);
        // What this side wrote may be there again, and what is new is zeros.
        let piece = store.take(1000, false).unwrap();
        assert_eq!(piece.bytes()[..5], [0, 0, 0, 0, 7]);
        assert!(piece.bytes()[5..1000].iter().all(|&byte| byte == 0));
        assert!(spare(&store).is_empty());
        drop(piece);
        // The newest are kept, up to the budget; what is above it never is.
        drop(store.take(2 * MIB, false).unwrap());
        drop(store.take(62 * MIB, false).unwrap());
        assert_eq!(spare(&store), [64 * MIB]);
        drop(store.take(MIB, false).unwrap());
        assert_eq!(spare(&store), [MIB]);
        drop(store.take(100 * MIB, false).unwrap());
        assert!(spare(&store).is_empty());
        drop(store.take(1, false).unwrap());
        assert!(store.trim());
        assert!(!store.trim());
        assert!(spare(&store).is_empty());
    }
}
