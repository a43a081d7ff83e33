//! Memory in larger pages.

/// Asks the system for larger pages where the buffer's memory has none yet. Whether it heeds that makes no difference but in time.
///
/// The pages at both ends are among them, though others may have a part of those: were they left out, the system would keep the
/// buffer as two or three areas, and could not move it as a whole to where there is room for it to grow.
#[cfg(target_os = "linux")]
pub(crate) fn advise_huge(buffer: &mut Vec<u8>) {
    use rustix::mm::{Advice, madvise};

    let page = rustix::param::page_size();
    let start = buffer.as_mut_ptr();
    let before = start.addr() % page;
    let length = (before + buffer.capacity()).next_multiple_of(page);
    // SAFETY: each of these pages holds a part of the buffer, which is borrowed for the time of the call, so that they are mapped;
    // and this advice changes nothing of what memory holds, whoever has it.
    let advised = unsafe { madvise(start.wrapping_sub(before).cast(), length, Advice::LinuxHugepage) };
    // A system without such pages says so each time.
    let _ = advised;
}

/// Other systems choose by themselves.
#[cfg(not(target_os = "linux"))]
pub(crate) fn advise_huge(_: &mut Vec<u8>) {}
