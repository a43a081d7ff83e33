//! Which bodies travel through a ring in pieces, and how large those are.

use super::{Layout, PREFIX};
use crate::Endpoint;
use crate::direct::LONGEST_WORD;

/// How one side cuts what it sends. The other takes any pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    /// Bytes of the longest body that is one record.
    pub(super) whole: usize,
    /// Bytes of a piece at most, with what stands before the first. A message in pieces has more.
    pub(super) piece: usize,
}

impl Cut {
    /// As an endpoint asks for it, as far as records can be that large. Unless it asks, they are as large as they can be.
    pub(super) fn new(endpoint: &Endpoint) -> Self {
        const LARGEST: usize = Layout::DEFAULT.largest();
        let piece = endpoint.set_piece_size().unwrap_or(LARGEST).min(LARGEST);
        // What is said about bodies that stay where they are does not travel in pieces.
        let shortest = if endpoint.is_direct() { LONGEST_WORD } else { 0 };
        // Nor does what is no longer than a piece.
        let whole = endpoint
            .set_pieces_threshold()
            .map_or(LARGEST, |least| (least - 1).clamp(piece.max(shortest), LARGEST));
        Self { whole, piece }
    }

    /// Whether there is room in the first piece for so many bytes that stand before the body.
    pub(super) fn takes_head(&self, head: usize) -> bool {
        PREFIX + head <= self.piece
    }
}
