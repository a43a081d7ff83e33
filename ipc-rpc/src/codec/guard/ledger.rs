//! The account of one message: what is left of its budget, and where it went wrong.

use serde::de::Error;

use crate::codec::budget::{Breach, Budget};
use crate::codec::error::CodecError;
use crate::codec::path::Path;
use crate::section::Delivered;

/// What is left of a message's budget, and what went wrong.
pub(in crate::codec) struct Ledger<'de> {
    pub(super) budget: Budget,
    /// The length of the message in bytes.
    pub(super) body: usize,
    elements: usize,
    heap: usize,
    breach: Option<Breach>,
    pub(super) path: Path,
    /// The field name that was read last, for `Items` to pick up.
    pub(super) name: Option<&'de str>,
    /// What is read is the key of a map, which JSON writes as text whatever its type.
    pub(super) key: bool,
    /// What came beside the body.
    pub(super) sections: Option<Delivered>,
}

impl<'de> Ledger<'de> {
    pub(in crate::codec) fn new(budget: &Budget, body: usize, sections: Option<Delivered>) -> Self {
        let Budget { elements, heap, .. } = *budget;
        Self {
            budget: *budget,
            body,
            elements,
            heap,
            breach: None,
            path: Path::default(),
            name: None,
            key: false,
            sections,
        }
    }

    /// Why the message is refused. A limit that was broken is the reason even if a type ignored it.
    #[cold]
    pub(in crate::codec) fn explain(&self, rule: &str) -> CodecError {
        match self.breach {
            None => CodecError::decode(&self.path, rule),
            Some(breach) => CodecError::decode(&self.path, &breach.explain(&self.budget, self.body)),
        }
    }

    /// Whether there are sections that were not read.
    pub(in crate::codec) fn has_sections_left(&self) -> bool {
        self.sections
            .as_ref()
            .is_some_and(|sections| !sections.is_used_up())
    }

    pub(in crate::codec) fn is_kept(&self) -> bool {
        self.breach.is_none()
    }

    #[inline]
    pub(super) fn take_elements<E: Error>(&mut self, count: usize) -> Result<(), E> {
        match self.elements.checked_sub(count) {
            Some(left) => self.elements = left,
            None => return Err(self.breach(Breach::Elements)),
        }
        Ok(())
    }

    #[inline]
    pub(super) fn take_heap<E: Error>(&mut self, bytes: usize) -> Result<(), E> {
        match self.heap.checked_sub(bytes) {
            Some(left) => self.heap = left,
            None => return Err(self.breach(Breach::Heap)),
        }
        Ok(())
    }

    #[cold]
    #[inline(never)]
    fn breach<E: Error>(&mut self, breach: Breach) -> E {
        self.breach.get_or_insert(breach);
        E::custom("the decoder's budget is used up")
    }
}

/// Where a value is being read to.
pub(super) struct Place<'l, 'de> {
    pub(super) ledger: &'l mut Ledger<'de>,
    /// Levels that may still be opened; as wide as a register, as are the others, or each reload would wait.
    pub(super) depth: usize,
    /// The bytes that are there for the value already: in its parent, or on the stack.
    pub(super) room: usize,
}

impl<'de> Place<'_, 'de> {
    /// Pays for a `T` that does not fit into the room there is, so must lie elsewhere. Then there is no more room than
    /// the `T` itself offers.
    #[inline]
    pub(super) fn settle<T, E: Error>(&mut self) -> Result<(), E> {
        if size_of::<T>() > self.room {
            self.ledger.take_heap(size_of::<T>())?;
        }
        self.room = size_of::<T>();
        Ok(())
    }

    /// Goes one level down.
    #[inline]
    pub(super) fn descend<E: Error>(&mut self) -> Result<(), E> {
        match self.depth.checked_sub(1) {
            Some(depth) => self.depth = depth,
            None => return Err(self.ledger.breach(Breach::Depth)),
        }
        Ok(())
    }
}
