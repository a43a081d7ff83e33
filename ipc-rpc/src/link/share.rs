//! What the connections of one user leave unread, all together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What one connection counts towards the bytes that its user may leave unread, over all connections to a server.
pub(crate) struct Share {
    total: Arc<AtomicUsize>,
    own: usize,
}

impl Share {
    #[cfg(feature = "tokio")]
    pub(crate) fn of(total: Arc<AtomicUsize>) -> Self {
        Self { total, own: 0 }
    }

    /// Whether this connection is one of those that leave more than `limit` bytes unread together.
    pub(super) fn is_above(&self, limit: usize) -> bool {
        self.own > 0 && self.total.load(Ordering::Relaxed) > limit
    }

    pub(super) fn set(&mut self, own: usize) {
        if own > self.own {
            self.total.fetch_add(own - self.own, Ordering::Relaxed);
        } else if own < self.own {
            self.total.fetch_sub(self.own - own, Ordering::Relaxed);
        }
        self.own = own;
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.set(0);
    }
}
