//! What travelled how.

use std::sync::atomic::{AtomicU64, Ordering};

use transports::Pool;

/// What a connection has carried so far, by the way in which it went: see [`Client::traffic`](crate::Client::traffic).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Traffic {
    /// What this side has sent.
    pub sent: Tiers,
    /// What this side has received.
    pub received: Tiers,
    /// Bytes of this side's pool that are set aside for sections now; 0 where there is no pool.
    pub pool_in_use: usize,
    /// The most bytes that were at any time.
    pub pool_high_water: usize,
}

/// Messages of one direction, those of the connection itself among them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tiers {
    /// Messages without a section.
    pub inline_messages: u64,
    /// Bytes in the bodies of all messages.
    pub inline_bytes: u64,
    /// Messages with sections.
    pub section_messages: u64,
    /// Bytes in those sections. A section that was sent twice counts twice.
    pub section_bytes: u64,
}

/// The counts of a connection. Whoever writes them holds the connection's lock; anybody reads them.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) sent: Counter,
    pub(crate) received: Counter,
}

/// The counts of one direction.
#[derive(Debug, Default)]
pub(crate) struct Counter {
    inline_messages: AtomicU64,
    inline_bytes: AtomicU64,
    section_messages: AtomicU64,
    section_bytes: AtomicU64,
}

impl Counters {
    pub(crate) fn traffic(&self, pool: Option<&Pool>) -> Traffic {
        let usage = pool.map(Pool::usage).unwrap_or_default();
        Traffic {
            sent: self.sent.tiers(),
            received: self.received.tiers(),
            pool_in_use: usage.in_use,
            pool_high_water: usage.high_water,
        }
    }
}

impl Counter {
    /// Counts one message, with the lengths of its sections. There is one writer at a time, so no more than a load and a store is needed.
    #[inline]
    pub(crate) fn count(&self, body: usize, sections: impl ExactSizeIterator<Item = usize>) {
        let add = |to: &AtomicU64, number: usize| {
            let sum = to.load(Ordering::Relaxed).wrapping_add(number as u64);
            to.store(sum, Ordering::Relaxed);
        };
        add(&self.inline_bytes, body);
        if sections.len() == 0 {
            add(&self.inline_messages, 1);
        } else {
            add(&self.section_messages, 1);
            add(&self.section_bytes, sections.sum());
        }
    }

    pub(crate) fn tiers(&self) -> Tiers {
        let count = |of: &AtomicU64| of.load(Ordering::Relaxed);
        Tiers {
            inline_messages: count(&self.inline_messages),
            inline_bytes: count(&self.inline_bytes),
            section_messages: count(&self.section_messages),
            section_bytes: count(&self.section_bytes),
        }
    }
}
