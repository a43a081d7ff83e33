//! What a call travels in: its request on the way out, its reply on the way back, and an empty buffer for the next call between
//! them.

use std::cell::Cell;
use std::mem;
use std::sync::Mutex;
#[cfg(feature = "tokio")]
use std::sync::atomic::Ordering;

use transports::{Lease, buffers};

use super::Link;
use crate::connection::ReplyStatus;
use crate::sync::lock;

/// The largest buffer that a thread keeps for its next call, on whatever connection.
const SPARE_CAPACITY: usize = 4 << 10;

/// Parcels that a connection keeps.
const KEPT: usize = 64;

/// What a buffer may keep on a connection that has had nothing to do for a while.
#[cfg(feature = "tokio")]
pub(crate) const IDLE_CAPACITY: usize = 64 << 10;

thread_local! {
    /// What the thread's next call goes in, so that most calls need not ask their connection for it.
    static SPARE: Cell<Option<Box<Parcel>>> = const { Cell::new(None) };
}

/// A request or a reply of one of our calls.
///
/// It goes from hand to hand in a box: a processor that copies several words by wider moves, right after they were written one by
/// one, has to wait until they have left for the cache. Handed on by value, a reply did that six times on its way.
pub(crate) struct Parcel {
    /// What was encoded.
    pub(crate) body: Vec<u8>,
    /// What came beside a reply.
    pub(crate) sections: Vec<Lease>,
    /// How a reply says that the call went.
    pub(crate) status: ReplyStatus,
    /// What a reply's header says beside that.
    pub(crate) extra: u64,
}

impl Parcel {
    pub(super) fn new() -> Box<Self> {
        Box::new(Self {
            body: Vec::new(),
            sections: Vec::new(),
            status: ReplyStatus::Ok,
            extra: 0,
        })
    }

    /// Whether its buffer is small enough that each connection may keep it.
    fn is_small(&self) -> bool {
        self.body.capacity() < buffers::LEAST
    }

    /// Empties it. A large buffer goes where others find it.
    fn clear(&mut self) {
        self.sections.clear();
        if self.is_small() {
            self.body.clear();
        } else {
            buffers::give(mem::take(&mut self.body));
        }
    }

    /// The request is sent, and the reply will be received here.
    pub(crate) fn await_reply(&mut self) {
        if !self.is_small() {
            buffers::give(mem::take(&mut self.body));
        }
    }
}

/// The parcels that a connection keeps for its next calls.
#[derive(Default)]
pub(super) struct Parcels(
    #[allow(clippy::vec_box, reason = "they come in boxes, and leave in them")] Mutex<Vec<Box<Parcel>>>,
);

impl Parcels {
    /// An empty one.
    pub(super) fn take(&self) -> Box<Parcel> {
        let spare = SPARE.try_with(Cell::take).unwrap_or_default();
        spare.or_else(|| lock(&self.0).pop()).unwrap_or_else(Parcel::new)
    }

    /// Takes one back. Its capacity, if the connection keeps it from now on.
    pub(super) fn give(&self, mut parcel: Box<Parcel>) -> Option<usize> {
        parcel.clear();
        if parcel.body.capacity() <= SPARE_CAPACITY {
            // A thread that is about to end keeps nothing.
            let former = SPARE.try_with(|spare| spare.replace(Some(parcel))).ok()?;
            parcel = former?;
        }
        let capacity = parcel.body.capacity();
        let mut kept = lock(&self.0);
        if kept.len() == KEPT {
            return None;
        }
        kept.push(parcel);
        Some(capacity)
    }

    /// Gives those back whose buffers are above `capacity`.
    #[cfg(feature = "tokio")]
    pub(super) fn shrink(&self, capacity: usize) {
        lock(&self.0).retain(|parcel| parcel.body.capacity() <= capacity);
    }
}

impl Link {
    /// Something empty for a call to go in.
    pub(crate) fn parcel(&self) -> Box<Parcel> {
        self.parcels.take()
    }

    /// Takes it back for the next call.
    pub(crate) fn recycle(&self, parcel: Box<Parcel>) {
        if let Some(capacity) = self.parcels.give(parcel) {
            self.note_buffer(capacity);
        }
    }

    /// Notes whether a buffer that the connection keeps is to be given back some time.
    #[inline]
    pub(super) fn note_buffer(&self, capacity: usize) {
        #[cfg(feature = "tokio")]
        if capacity > IDLE_CAPACITY && !self.holds_large() {
            self.large.store(true, Ordering::Relaxed);
        }
        #[cfg(not(feature = "tokio"))]
        let _ = capacity;
    }

    /// Whether there are large buffers to give back.
    #[cfg(feature = "tokio")]
    pub(crate) fn holds_large(&self) -> bool {
        self.large.load(Ordering::Relaxed)
    }

    /// Gives large buffers back.
    #[cfg(feature = "tokio")]
    pub(crate) fn shrink(&self) {
        self.large.store(false, Ordering::Relaxed);
        self.parcels.shrink(IDLE_CAPACITY);
    }
}
