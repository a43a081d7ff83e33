//! Memory that goes to the other side whole, with the right to write to it.
//!
//! Nobody on this side may look at it any more once it is sent, and a [`Block`] has any number of handles. So what such a block holds cannot
//! be looked at through it at all: it lies behind a lock, from which it is taken when it is sent.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Block, Chunk, Frozen, Lease};
use crate::{Error, ErrorKind};

/// What a block holds that is sent once, with all rights to it.
pub(crate) enum Loan {
    /// Memory of this side's, which comes back.
    Chunk(Chunk),
    /// Memory of the other side's, which goes back.
    Lease(Lease),
}

/// A loan until it is sent. A clone is another handle of it.
#[derive(Clone)]
pub(super) struct Unsent(Arc<Mutex<Option<Loan>>>);

/// What was taken from blocks to send them. What nobody has [taken out](Taken::into_parts) when this is dropped is the blocks' again.
pub(crate) struct Taken<'a> {
    blocks: &'a [Block],
    /// One for each block: nothing, if it can be sent any number of times.
    loans: Vec<Option<Loan>>,
}

impl Loan {
    fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Chunk(chunk) => Some(chunk),
            Self::Lease(lease) => lease.bytes(),
        }
    }
}

impl Unsent {
    fn lock(&self) -> MutexGuard<'_, Option<Loan>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends the bytes to what has room for them.
    pub(super) fn append_to(&self, to: &mut Vec<u8>) -> Result<(), Error> {
        let loan = self.lock();
        let bytes = loan.as_ref().and_then(Loan::bytes).ok_or_else(gone)?;
        to.extend_from_slice(bytes);
        Ok(())
    }
}

impl Block {
    pub(super) fn of(loan: Loan, length: usize) -> Self {
        Self {
            memory: Frozen::Unsent(Unsent(Arc::new(Mutex::new(Some(loan))))),
            length,
        }
    }

    /// Looks at memory of this side's that is to be sent whole, if that is what it is, and it is still there.
    #[allow(dead_code, reason = "only where memory is shared")]
    pub(crate) fn look<R>(&self, look: impl FnOnce(&Chunk) -> R) -> Option<R> {
        match &self.memory {
            Frozen::Unsent(unsent) => match &*unsent.lock() {
                Some(Loan::Chunk(chunk)) => Some(look(chunk)),
                Some(Loan::Lease(_)) | None => None,
            },
            Frozen::Private(_) | Frozen::Shared(_) => None,
        }
    }
}

impl<'a> Taken<'a> {
    /// Takes what is sent once out of these blocks.
    ///
    /// # Errors
    /// `Unsupported` if one was sent before; all is as it was then.
    pub(crate) fn from(blocks: &'a [Block]) -> Result<Self, Error> {
        let mut taken = Self {
            blocks,
            loans: Vec::with_capacity(blocks.len()),
        };
        for block in blocks {
            let loan = match &block.memory {
                Frozen::Unsent(unsent) => Some(unsent.lock().take().ok_or_else(gone)?),
                Frozen::Private(_) | Frozen::Shared(_) => None,
            };
            taken.loans.push(loan);
        }
        Ok(taken)
    }

    /// The blocks, and what was taken from them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'a Block, Option<&Loan>)> {
        self.blocks.iter().zip(self.loans.iter().map(Option::as_ref))
    }

    /// The same, for good.
    pub(crate) fn into_parts(mut self) -> Vec<(&'a Block, Option<Loan>)> {
        let loans = std::mem::take(&mut self.loans);
        self.blocks.iter().zip(loans).collect()
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        for (block, loan) in self.blocks.iter().zip(self.loans.drain(..)) {
            if let (Frozen::Unsent(unsent), Some(loan)) = (&block.memory, loan) {
                *unsent.lock() = Some(loan);
            }
        }
    }
}

#[cold]
fn gone() -> Error {
    let message = "a section that the other side was to have to itself is sent once, and has been";
    Error::new(ErrorKind::Unsupported, message)
}
