//! Who has a place on this side.

use std::os::fd::OwnedFd;

use super::pool::{Place, SharedPool};

/// The right to use a place, until it is dropped; after that, the other side may still have it.
pub(super) struct Handle {
    pool: SharedPool,
    place: Place,
    /// The other side has the place instead.
    given_up: bool,
}

impl Handle {
    pub(super) fn new(pool: &SharedPool, place: Place) -> Self {
        Self {
            pool: pool.clone(),
            place,
            given_up: false,
        }
    }

    /// The place, which is for the pool to look after from now on.
    pub(super) fn give_up(mut self) -> Place {
        self.given_up = true;
        self.place
    }

    pub(super) fn place(&self) -> Place {
        self.place
    }

    pub(super) fn is_of(&self, pool: &SharedPool) -> bool {
        self.pool.is(pool)
    }

    /// Its memory can be shown to the other side now, by this descriptor.
    pub(super) fn shows(&mut self, descriptor: OwnedFd) {
        if let Some(segment) = self.pool.state().segment(self.place) {
            segment.descriptor = Some(descriptor);
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if !self.given_up && self.pool.is_here() {
            self.pool.let_go(self.place);
        }
    }
}
