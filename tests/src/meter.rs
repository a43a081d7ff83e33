//! What a process holds, and how often it allocates.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

/// What a process holds, as `/proc` tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holdings {
    /// Open descriptors.
    pub descriptors: usize,
    /// Memory mappings.
    pub mappings: usize,
    /// Those of memory that is shared with other processes.
    pub shared: usize,
    /// Threads.
    pub threads: usize,
    /// Memory in use, in KiB.
    pub resident_kib: usize,
}

impl Holdings {
    /// What the process with this id holds.
    ///
    /// # Panics
    /// If there is no such process, or no `/proc`.
    #[must_use]
    pub fn of(pid: u32) -> Self {
        let count = |what: &str| {
            std::fs::read_dir(format!("/proc/{pid}/{what}"))
                .expect("the process lives")
                .count()
        };
        let read =
            |what: &str| std::fs::read_to_string(format!("/proc/{pid}/{what}")).expect("the process lives");
        let (maps, status) = (read("maps"), read("status"));
        let resident = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .expect("a process has memory");
        Self {
            descriptors: count("fd"),
            mappings: maps.lines().count(),
            shared: maps.lines().filter(|line| line.contains("/memfd:")).count(),
            threads: count("task"),
            resident_kib: resident
                .trim()
                .trim_end_matches(" kB")
                .parse()
                .expect("a number of kB"),
        }
    }

    /// What this process holds, without the descriptor that it takes to look.
    #[must_use]
    pub fn own() -> Self {
        let mut own = Self::of(std::process::id());
        own.descriptors -= 1;
        own
    }
}

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

/// The system's allocator, which counts how often it is asked for memory. For `#[global_allocator]`.
#[derive(Debug)]
pub struct Counting;

/// How often memory was asked for in this process, if [`Counting`] is its allocator.
#[must_use]
pub fn allocations() -> u64 {
    ALLOCATIONS.load(Ordering::Relaxed)
}

// SAFETY: every call goes to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc_zeroed`, which is the same.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `realloc`, which is the same.
        unsafe { System.realloc(old, layout, size) }
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`, which is the same.
        unsafe { System.dealloc(old, layout) }
    }
}
