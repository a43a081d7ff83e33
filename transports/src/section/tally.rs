//! What travelled how.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{Block, Usage};

/// Counts of what one sender has sent. It alone writes them, anybody reads them.
#[derive(Default)]
pub(crate) struct Tally {
    inline_messages: AtomicU64,
    inline_bytes: AtomicU64,
    section_messages: AtomicU64,
    section_bytes: AtomicU64,
}

impl Tally {
    /// Counts one message. To be called by one thread at a time: it is no more than a load and a store for each count.
    #[inline]
    pub(crate) fn count(&self, body: usize, sections: &[Block]) {
        let add = |to: &AtomicU64, number: usize| {
            let sum = to.load(Ordering::Relaxed).wrapping_add(number as u64);
            to.store(sum, Ordering::Relaxed);
        };
        add(&self.inline_bytes, body);
        if sections.is_empty() {
            add(&self.inline_messages, 1);
        } else {
            add(&self.section_messages, 1);
            add(
                &self.section_bytes,
                sections.iter().map(|block| block.len()).sum(),
            );
        }
    }

    /// The counts, as far as they have come.
    pub(crate) fn usage(&self) -> Usage {
        let count = |of: &AtomicU64| of.load(Ordering::Relaxed);
        Usage {
            inline_messages: count(&self.inline_messages),
            inline_bytes: count(&self.inline_bytes),
            section_messages: count(&self.section_messages),
            section_bytes: count(&self.section_bytes),
            ..Usage::default()
        }
    }
}
