//! The buffers that calls are encoded into and replies come in: from one call to the next, and back when nobody needs them.

use std::cell::Cell;
#[cfg(feature = "tokio")]
use std::sync::atomic::Ordering;

use transports::buffers;

use super::Link;
use crate::sync::lock;

/// The largest buffer that a thread keeps for its next call, on whatever connection.
const SPARE_CAPACITY: usize = 4 << 10;

thread_local! {
    /// What the thread's next call is encoded into, so that most calls need not ask their connection for a buffer.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Encoding buffers that are kept.
const KEPT_BUFFERS: usize = 64;

/// What a buffer may keep on a connection that has had nothing to do for a while.
#[cfg(feature = "tokio")]
pub(crate) const IDLE_CAPACITY: usize = 64 << 10;

impl Link {
    /// An empty buffer to encode into.
    pub(crate) fn buffer(&self) -> Vec<u8> {
        let spare = SPARE.try_with(Cell::take).unwrap_or_default();
        if spare.capacity() > 0 {
            return spare;
        }
        lock(&self.buffers).pop().unwrap_or_default()
    }

    /// Whether a buffer is worth keeping for the next call, and small enough that each connection may.
    pub(crate) fn keeps(buffer: &Vec<u8>) -> bool {
        buffer.capacity() > 0 && buffer.capacity() < buffers::LEAST
    }

    /// Takes a buffer back for the next call.
    pub(crate) fn recycle(&self, mut buffer: Vec<u8>) {
        if !Self::keeps(&buffer) {
            buffers::give(buffer);
            return;
        }
        buffer.clear();
        if buffer.capacity() <= SPARE_CAPACITY {
            // A thread that is about to end keeps nothing.
            let Ok(former) = SPARE.try_with(|spare| spare.replace(buffer)) else {
                return;
            };
            if former.capacity() == 0 {
                return;
            }
            buffer = former;
        }
        self.note_buffer(&buffer);
        let mut buffers = lock(&self.buffers);
        if buffers.len() < KEPT_BUFFERS {
            buffers.push(buffer);
        }
    }

    /// Notes whether a buffer that the connection keeps is to be given back some time.
    #[inline]
    pub(super) fn note_buffer(&self, buffer: &Vec<u8>) {
        #[cfg(feature = "tokio")]
        if buffer.capacity() > IDLE_CAPACITY && !self.holds_large() {
            self.large.store(true, Ordering::Relaxed);
        }
        #[cfg(not(feature = "tokio"))]
        let _ = buffer;
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
        lock(&self.buffers).retain(|buffer| buffer.capacity() <= IDLE_CAPACITY);
    }
}
