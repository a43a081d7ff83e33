//! What the two sides of a stream have agreed on about large bodies.

use std::sync::atomic::{AtomicU8, Ordering};

/// How large bodies travel over a stream: see [`Sender::offer_pieces`](crate::Sender::offer_pieces).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Pieces {
    /// In pieces through the stream.
    InStream,
    /// In pieces through memory that both sides share, or through a file over `pipe:` on Unix, as far as there is some, and through the stream
    /// otherwise.
    InMemory,
}

/// What is agreed, for whoever wants to know it. Nothing is, at first.
#[derive(Default)]
pub(crate) struct Agreed(AtomicU8);

impl Agreed {
    pub(crate) fn set(&self, pieces: Pieces) {
        let number = match pieces {
            Pieces::InStream => 1,
            Pieces::InMemory => 2,
        };
        self.0.store(number, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> Option<Pieces> {
        match self.0.load(Ordering::Relaxed) {
            0 => None,
            1 => Some(Pieces::InStream),
            _ => Some(Pieces::InMemory),
        }
    }
}
