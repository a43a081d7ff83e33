//! Memory in larger pages.

use std::mem::MaybeUninit;

/// Asks the system for larger pages where the memory has none yet. Whether it heeds that makes no difference but in time.
#[cfg(target_os = "linux")]
pub(crate) fn advise_huge(memory: &mut [MaybeUninit<u8>]) {
    use rustix::mm::{Advice, madvise};

    let page = rustix::param::page_size();
    let before = memory.as_ptr().align_offset(page).min(memory.len());
    let whole = (memory.len() - before) / page * page;
    let start = memory[before..].as_mut_ptr();
    // SAFETY: these whole pages lie within memory that is borrowed for the time of the call, and this advice changes nothing
    // of what it holds.
    let advised = unsafe { madvise(start.cast(), whole, Advice::LinuxHugepage) };
    // A system without such pages says so each time.
    let _ = advised;
}

/// Other systems choose by themselves.
#[cfg(not(target_os = "linux"))]
pub(crate) fn advise_huge(_: &mut [MaybeUninit<u8>]) {}
