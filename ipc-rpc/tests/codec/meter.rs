//! Counts what each thread allocates, so that tests can say "nothing" and "at most".

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

thread_local! {
    /// Allocations so far.
    static CALLS: Cell<usize> = const { Cell::new(0) };
    /// Bytes now; may wrap below zero where one thread frees what another allocated.
    static NOW: Cell<isize> = const { Cell::new(0) };
    /// The most bytes at once.
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn grew(bytes: usize) {
    CALLS.set(CALLS.get() + 1);
    NOW.set(NOW.get() + bytes as isize);
    PEAK.set(PEAK.get().max(NOW.get()));
}

fn shrank(bytes: usize) {
    NOW.set(NOW.get() - bytes as isize);
}

// SAFETY: every call goes to the system's allocator with the caller's own arguments, whose contract the caller keeps;
// the counters are plain numbers of this thread, need no destructor and allocate nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grew(layout.size());
        // SAFETY: the caller's layout, unchanged.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        grew(layout.size());
        // SAFETY: the caller's layout, unchanged.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        shrank(layout.size());
        // SAFETY: the caller got this pointer from this allocator, which is the system's, with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Both blocks are there while the content moves, so the peak has to have both.
        grew(size);
        shrank(layout.size());
        // SAFETY: the caller got this pointer from this allocator, which is the system's, with this layout.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// What a piece of code allocated on its own thread.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    /// How often.
    pub(crate) calls: usize,
    /// The most bytes at once, beyond what was there before.
    pub(crate) peak: usize,
}

/// Runs `code` and tells what it allocated.
pub(crate) fn cost<R>(code: impl FnOnce() -> R) -> (R, Cost) {
    let calls = CALLS.get();
    let before = NOW.get();
    PEAK.set(before);
    let result = code();
    (
        result,
        Cost {
            calls: CALLS.get() - calls,
            peak: (PEAK.get() - before).max(0) as usize,
        },
    )
}

#[test]
fn the_meter_sees_what_is_there_at_once() {
    let ((), cost) = cost(|| {
        for _ in 0..10 {
            drop(std::hint::black_box(vec![0_u8; 1000]));
        }
    });
    assert_eq!((cost.calls, cost.peak), (10, 1000));
}
