//! What one message may cost its receiver.

use super::error::Size;

/// What decoding one message may take, whatever its sender wrote. Depth and elements have one default for all messages;
/// memory is in proportion to the body that the receiver has accepted already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Elements of sequences and entries of maps in all, those that take no bytes too.
    pub elements: usize,
    /// How deep values may lie in each other: sequences, tuples, structs, maps, enum variants with content, `Some` and
    /// newtypes count one each.
    pub depth: u32,
    /// Memory on the heap, in bytes, as estimated from the sizes of the types: elements, entries, boxes, strings and
    /// byte strings. The spare room of a growing container and the allocator's own needs come on top, and are at
    /// most about twice as much again. What is borrowed from the message is free.
    pub heap: usize,
}

impl Budget {
    /// Elements in all: 16 Mi.
    pub const ELEMENTS: usize = 16 << 20;
    /// Levels: 64. Builds without optimisation take up to 6 KiB of stack a level, so this fits into 384 KiB anywhere.
    pub const DEPTH: u32 = 64;
    /// Bytes of heap for each byte of the body: 4.
    pub const HEAP_PER_BYTE: usize = 4;
    /// Bytes of heap for any body: 1 MiB.
    pub const HEAP_BASE: usize = 1 << 20;
    /// Bytes of heap at most: 256 MiB.
    pub const HEAP_MAX: usize = 256 << 20;

    /// The default for a body of that many bytes: 16 Mi elements, 64 levels, and 4 bytes of heap for each byte of the
    /// body plus 1 MiB, but at most 256 MiB. A body that is itself larger, because the limit on bodies was raised,
    /// may still be one string: then the heap is the body's size plus 1 MiB.
    #[must_use]
    pub const fn for_body(bytes: usize) -> Self {
        let heap = bytes
            .saturating_mul(Self::HEAP_PER_BYTE)
            .saturating_add(Self::HEAP_BASE);
        let plain = bytes.saturating_add(Self::HEAP_BASE);
        let most = if plain > Self::HEAP_MAX {
            plain
        } else {
            Self::HEAP_MAX
        };
        Self {
            elements: Self::ELEMENTS,
            depth: Self::DEPTH,
            heap: if heap > most { most } else { heap },
        }
    }
}

/// The limit of a [`Budget`] that a message is above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Breach {
    Elements,
    Depth,
    Heap,
}

impl Breach {
    pub(super) fn explain(self, budget: &Budget, body: usize) -> String {
        match self {
            Self::Elements => format!("more than {} elements in one message", budget.elements),
            Self::Depth => format!("nested deeper than {} levels", budget.depth),
            Self::Heap => {
                format!(
                    "it would take more than {} of memory, the limit for a body of {}",
                    Size(budget.heap),
                    Size(body)
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_heap_is_in_proportion_to_the_body_up_to_a_maximum() {
        const MIB: usize = 1 << 20;
        let heap = |body| Budget::for_body(body).heap;
        assert_eq!(heap(0), MIB);
        assert_eq!(heap(9), 36 + MIB);
        assert_eq!(heap(10 * MIB), 41 * MIB);
        assert_eq!(heap(64 * MIB), 256 * MIB);
        assert_eq!(heap(255 * MIB), 256 * MIB);
        assert_eq!(heap(1024 * MIB), 1025 * MIB);
        assert_eq!(heap(usize::MAX), usize::MAX);
    }
}
