//! A number for each process, which a fork of it does not share.

use std::sync::atomic::{AtomicU64, Ordering};

/// Numbers given so far, in this process and those that it is a fork of. So a number from before a fork is below
/// every one from after it.
static GIVEN: AtomicU64 = AtomicU64::new(0);

/// The number of this process.
pub(crate) fn process_mark() -> u64 {
    match page::word() {
        Some(word) => loop {
            let mark = word.load(Ordering::Relaxed);
            if mark != 0 {
                break mark;
            }
            let next = GIVEN.fetch_add(1, Ordering::Relaxed) + 1;
            // Another thread may have been first: its number counts.
            let _ = word.compare_exchange(0, next, Ordering::Relaxed, Ordering::Relaxed);
        },
        None => std::process::id().into(),
    }
}

/// Whether that is the number of this process.
#[inline]
pub(crate) fn is_process_mark(mark: u64) -> bool {
    match page::word() {
        Some(word) => word.load(Ordering::Relaxed) == mark,
        None => u64::from(std::process::id()) == mark,
    }
}

#[cfg(target_os = "linux")]
mod page {
    use std::ptr::NonNull;
    use std::sync::OnceLock;
    use std::sync::atomic::AtomicU64;

    /// The least that can be mapped, and more than the word needs.
    const LENGTH: usize = 4096;

    /// A word that the system sets to zero in a fork of this process, however the fork was made. `None` before
    /// Linux 4.14, and where memory is used up.
    #[inline]
    pub(super) fn word() -> Option<&'static AtomicU64> {
        static WORD: OnceLock<Option<&'static AtomicU64>> = OnceLock::new();
        *WORD.get_or_init(map)
    }

    #[cold]
    fn map() -> Option<&'static AtomicU64> {
        // SAFETY: a new anonymous mapping at an address of the system's choice overlaps nothing that is in use.
        let mapped = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                LENGTH,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if mapped == libc::MAP_FAILED {
            return None;
        }
        // SAFETY: the range is the mapping just made. The advice changes what a fork finds in it, and nothing here.
        let advised = unsafe { libc::madvise(mapped, LENGTH, libc::MADV_WIPEONFORK) };
        if advised != 0 {
            // SAFETY: the range is the mapping just made, and nothing refers to it yet.
            unsafe { libc::munmap(mapped, LENGTH) };
            return None;
        }
        let word = NonNull::new(mapped.cast::<AtomicU64>())?;
        // SAFETY: the mapping is aligned to a page, zeroed, which is a value of the type, and never unmapped. A fork
        // has a mapping of its own at the same address, for which the same holds.
        Some(unsafe { word.as_ref() })
    }
}

#[cfg(not(target_os = "linux"))]
mod page {
    use std::sync::atomic::AtomicU64;

    /// There is no such word here: the process id has to do.
    pub(super) fn word() -> Option<&'static AtomicU64> {
        None
    }
}
