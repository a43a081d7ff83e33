//! What messages carry of sections beside their bodies.

use std::cell::RefCell;
use std::rc::Rc;

use transports::{Block, Lease, Pool, buffers};

use crate::{Error, ErrorKind};

/// Bytes that a section takes in the body it is attached to: see `wire.rs`.
pub(super) const DESCRIPTOR: usize = 16;

/// What is sent with a body: nothing, mostly, and then it is to cost nothing to hand on and to drop.
#[derive(Debug, Default)]
pub(crate) struct Attached(Option<Box<Sections>>);

#[derive(Debug, Default)]
struct Sections {
    /// Where in the body each is described.
    places: Vec<usize>,
    blocks: Vec<Block>,
}

impl Attached {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    pub(crate) fn blocks(&self) -> &[Block] {
        self.0.as_ref().map_or(&[], |sections| &sections.blocks)
    }

    /// Whether one more can go with the same message.
    pub(super) fn has_room(&self) -> bool {
        self.blocks().len() < Pool::SECTIONS
    }

    /// Attaches a block that is described at `place`. Its index.
    pub(super) fn push(&mut self, place: usize, block: Block) -> u32 {
        let Sections { places, blocks } = &mut **self.0.get_or_insert_default();
        let index = blocks.len() as u32;
        places.push(place);
        blocks.push(block);
        index
    }

    /// What a body of `length` bytes comes to with all of them inside.
    pub(crate) fn length_inside(&self, length: usize) -> usize {
        let blocks = self.blocks();
        let bytes: usize = blocks.iter().map(|block| block.len()).sum();
        // An inline section begins with four bytes less than its descriptor takes.
        length + bytes - 4 * blocks.len()
    }

    /// Puts the bytes of all of them into the body, where they would have been had nothing been attached.
    ///
    /// # Errors
    /// There is no memory, or the other side has one of them to itself already; nothing has changed then.
    pub(crate) fn put_into(&mut self, body: &mut Vec<u8>) -> Result<(), transports::Error> {
        let mut whole = Vec::new();
        buffers::reserve(&mut whole, self.length_inside(body.len()))
            .map_err(|error| transports::Error::new(transports::ErrorKind::Resource, error.to_string()))?;
        let mut done = 0;
        if let Some(sections) = &self.0 {
            for (&place, block) in sections.places.iter().zip(&sections.blocks) {
                whole.extend_from_slice(&body[done..place]);
                whole.extend_from_slice(&super::wire::inline_head(block.len()));
                block.append_to(&mut whole)?;
                done = place + DESCRIPTOR;
            }
        }
        self.0 = None;
        whole.extend_from_slice(&body[done..]);
        buffers::give(std::mem::replace(body, whole));
        Ok(())
    }
}

/// What came with a body that is being decoded. A clone is the same.
#[derive(Clone)]
pub(crate) struct Delivered(Rc<RefCell<Rest>>);

struct Rest {
    /// The number of the connection that they came on.
    origin: u64,
    leases: Vec<Option<Lease>>,
    /// Bytes that may still be copied.
    heap: usize,
}

impl Delivered {
    /// Sections that came on the connection `origin`, and of which at most `heap` bytes may be copied.
    pub(crate) fn new(leases: Vec<Lease>, origin: u64, heap: usize) -> Self {
        let leases = leases.into_iter().map(Some).collect();
        Self(Rc::new(RefCell::new(Rest { origin, leases, heap })))
    }

    pub(super) fn origin(&self) -> u64 {
        self.0.borrow().origin
    }

    /// Whether a value has taken each of them.
    pub(crate) fn is_used_up(&self) -> bool {
        self.0.borrow().leases.iter().all(Option::is_none)
    }

    pub(super) fn take(&self, index: u32) -> Result<Lease, Error> {
        let mut rest = self.0.borrow_mut();
        let sections = rest.leases.len();
        let found = rest.leases.get_mut(index as usize).map(Option::take);
        let sentence = match found {
            Some(Some(lease)) => return Ok(lease),
            Some(None) => format!("two values refer to section {index}"),
            None => format!("there is no section {index}: the message has {sections}"),
        };
        Err(Error::new(ErrorKind::Decode, sentence))
    }

    /// Pays for a copy.
    pub(super) fn charge(&self, bytes: usize) -> Result<(), Error> {
        let mut rest = self.0.borrow_mut();
        match rest.heap.checked_sub(bytes) {
            Some(left) => {
                rest.heap = left;
                Ok(())
            }
            None => {
                let sentence = "the sections of the message take more memory than one message may";
                Err(Error::new(ErrorKind::Decode, sentence))
            }
        }
    }
}
