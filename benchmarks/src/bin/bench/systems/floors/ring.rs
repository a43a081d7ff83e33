//! A ring of slots for one producer and one consumer, in shared memory, written plainly.
//!
//! ```text
//! line 0              line 1 ..                       each slot begins on a line of 64 bytes
//! | consumed (u64) .. | commit (u64) | bytes ..      | commit (u64) | bytes ..      | ..
//! ```
//! A slot holds message number `n` (from 1 on) once its commit word is `n` and, in the lower bits, the message's length.
//! A small message shares the line of its commit word, so that one line travels for each.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::memory::Memory;

/// Bytes in a line of the cache.
pub(crate) const LINE: usize = 64;
/// Bytes of a commit word.
const COMMIT: usize = 8;

/// Where a ring is, and how large.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    start: usize,
    /// Bytes that a message has at most.
    capacity: usize,
    slots: u64,
}

impl Layout {
    pub(crate) fn new(start: usize, capacity: usize, slots: u64) -> Self {
        Self {
            start,
            capacity,
            slots,
        }
    }

    /// The first byte after the ring.
    pub(crate) fn end(self) -> usize {
        self.start + LINE + self.stride() * self.slots as usize
    }

    fn stride(self) -> usize {
        (COMMIT + self.capacity).next_multiple_of(LINE)
    }

    /// Where the slot of message `number` begins.
    fn slot(self, number: u64) -> usize {
        self.start + LINE + (number % self.slots) as usize * self.stride()
    }

    /// How many messages are consumed between two words about it: seldom enough that the line stays with the consumer.
    fn quarter(self) -> u64 {
        (self.slots / 4).max(1)
    }
}

/// The side that writes.
pub(crate) struct Producer {
    memory: Arc<Memory>,
    layout: Layout,
    /// The last message written.
    number: u64,
    /// What the consumer had consumed when last looked.
    consumed: u64,
}

/// The side that reads.
pub(crate) struct Consumer {
    memory: Arc<Memory>,
    layout: Layout,
    /// The next message to read.
    number: u64,
}

impl Producer {
    pub(crate) fn new(memory: Arc<Memory>, layout: Layout) -> Self {
        Self {
            memory,
            layout,
            number: 0,
            consumed: 0,
        }
    }

    /// Publishes a message of `length` bytes, which `fill` writes at the place it is given. Spins while the ring is
    /// full.
    pub(crate) fn push(&mut self, length: usize, fill: impl FnOnce(&Memory, usize)) {
        assert!(length <= self.layout.capacity);
        while self.number - self.consumed == self.layout.slots {
            self.consumed = self.memory.word64(self.layout.start).load(Ordering::Acquire);
            std::hint::spin_loop();
        }
        self.number += 1;
        let slot = self.layout.slot(self.number);
        fill(&self.memory, slot + COMMIT);
        let commit = self.number << LENGTH_BITS | length as u64;
        self.memory.word64(slot).store(commit, Ordering::Release);
    }
}

impl Consumer {
    pub(crate) fn new(memory: Arc<Memory>, layout: Layout) -> Self {
        Self {
            memory,
            layout,
            number: 1,
        }
    }

    /// Whether there is a message.
    pub(crate) fn is_ready(&self) -> bool {
        let commit = self.memory.word64(self.layout.slot(self.number));
        commit.load(Ordering::Acquire) >> LENGTH_BITS == self.number
    }

    /// Takes a message that is ready: `take` gets its place and its length.
    pub(crate) fn pop<T>(&mut self, take: impl FnOnce(&Memory, usize, usize) -> T) -> T {
        let slot = self.layout.slot(self.number);
        let commit = self.memory.word64(slot).load(Ordering::Acquire);
        let length = (commit & ((1 << LENGTH_BITS) - 1)) as usize;
        let taken = take(&self.memory, slot + COMMIT, length);
        if self.number.is_multiple_of(self.layout.quarter()) {
            let consumed = self.memory.word64(self.layout.start);
            consumed.store(self.number, Ordering::Release);
        }
        self.number += 1;
        taken
    }
}

/// Bits of a commit word that hold the length: up to 128 MiB.
const LENGTH_BITS: u32 = 27;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_arrive_in_order_and_whole_across_many_rounds() {
        let layout = Layout::new(LINE, 100, 8);
        let (memory, _file) = Memory::new(layout.end()).unwrap();
        let memory = Arc::new(memory);
        let mut producer = Producer::new(memory.clone(), layout);
        let sender = std::thread::spawn(move || {
            for number in 0..10_000_u32 {
                let bytes = vec![number as u8; number as usize % 101];
                producer.push(bytes.len(), |memory, at| memory.write(at, &bytes));
            }
        });
        let mut consumer = Consumer::new(memory, layout);
        for number in 0..10_000_u32 {
            while !consumer.is_ready() {
                std::thread::yield_now();
            }
            let bytes = consumer.pop(|memory, at, length| {
                let mut bytes = vec![0; length];
                memory.read(at, &mut bytes);
                bytes
            });
            assert_eq!(bytes, vec![number as u8; number as usize % 101]);
        }
        sender.join().unwrap();
    }
}
