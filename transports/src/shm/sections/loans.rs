//! Places that the other side has to itself, and may send back.
//!
//! No handle of this side's stands for such a place: who had one gave it up when the place was sent. It is back when the other side's word says
//! so, as any other, and nobody has it then; or when a message says so, and whoever receives that has it.

use super::handle::Handle;
use super::pieces::SharedChunk;
use super::pool::{Place, SharedPool, State};
use super::wire::{Access, Entry};
use crate::{Error, ErrorKind};

/// A place that the other side has to itself.
pub(super) struct Loan {
    place: Place,
    /// Bytes of it that were sent.
    length: usize,
}

impl Loan {
    pub(super) fn is_of(&self, place: Place) -> bool {
        self.place == place
    }
}

impl SharedPool {
    /// Takes a place that the other side sends back.
    ///
    /// # Errors
    /// `Protocol` if it has no such place to itself; `PeerDied` if the connection has ended, and everything is back.
    pub(super) fn take_back(&self, entry: Entry) -> Result<SharedChunk, Error> {
        let mut state = self.state();
        state.check()?;
        let (offset, length) = (entry.offset as usize, entry.length as usize);
        let place = state.end_loan(entry)?;
        let memory = state.pooled(place).ok_or_else(|| refused("was never lent"))?;
        drop(state);
        let handle = Handle::new(self, place);
        Ok(SharedChunk::pooled(handle, memory, offset, length))
    }
}

impl State {
    /// Whether the other side may write to what it has to itself.
    pub(super) fn is_trusting(&self) -> bool {
        self.trusting
    }

    /// Who can write to memory that is cut into places, as the other side is told.
    pub(super) fn access(&self) -> Access {
        if self.trusting {
            Access::InTurn
        } else {
            Access::Owner
        }
    }

    /// The other side still has a place of which there is no handle any more.
    pub(super) fn wait_for(&mut self, place: Place) {
        self.lent.push_back(place);
    }

    /// It was sent back: somebody has a handle of it again.
    fn came_back(&mut self, place: Place) {
        self.lent.retain(|lent| *lent != place);
        self.sent[place.segment][place.number as usize].came_back();
    }

    /// The other side has the first `length` bytes of a place to itself from now on. There is no handle of it.
    pub(super) fn lend(&mut self, place: Place, length: usize) {
        self.loans.push(Loan { place, length });
        self.wait_for(place);
    }

    /// The place that an entry names, if the other side has it to itself, and has not given it back. It is not lent any more then.
    fn end_loan(&mut self, entry: Entry) -> Result<Place, Error> {
        let mut loans = self.loans.iter();
        let loan = loans.find(|loan| {
            let named = self.entry(loan.place, loan.length);
            named.is_some_and(|named| {
                Entry {
                    length: entry.length,
                    ..named
                } == entry
            })
        });
        let &Loan { place, length } = loan.ok_or_else(|| refused("was never lent, or is back"))?;
        if entry.length as usize != length {
            return Err(refused("is not as long as it was"));
        }
        if self.is_back(place) {
            return Err(refused("was given back before"));
        }
        self.loans.retain(|loan| !loan.is_of(place));
        self.came_back(place);
        Ok(place)
    }
}

fn refused(what: &str) -> Error {
    Error::new(
        ErrorKind::Protocol,
        format!("the other side's sections are refused: one of this side's that it sends back {what}"),
    )
}
