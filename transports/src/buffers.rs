//! Large private buffers, kept for a while.
//!
//! Fresh memory is what large bodies cost most: a page that is touched for the first time takes some 2 µs, copying into it
//! a tenth of that. So buffers of large bodies go from one use to the next, over all connections of the process, and ask
//! the system for huge pages. What nobody used for a second is freed, by a thread that is there only while there is
//! something to free.
//!
//! ```
//! let mut body = Vec::new();
//! transports::buffers::reserve(&mut body, 1 << 20)?;
//! body.resize(1 << 20, 7);
//! transports::buffers::give(body);
//! // The next one gets that memory, unless a second has passed.
//! let mut next = Vec::new();
//! transports::buffers::reserve(&mut next, 1 << 20)?;
//! assert!(next.is_empty() && next.capacity() >= 1 << 20);
//! # Ok::<(), std::collections::TryReserveError>(())
//! ```

use std::collections::TryReserveError;
use std::mem;
use std::sync::{Mutex, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

use crate::{Birthplace, sys};

/// Buffers below this many bytes are not kept: the allocator is as good at it.
pub const LEAST: usize = 256 << 10;

/// Sizes, each twice the one before: from 256 KiB to 1 GiB.
const SIZES: usize = 13;

/// What a buffer has beyond its size, for the few bytes that stand before a body whose length is a power of two. It is also
/// what tells these buffers from others.
const BESIDE: usize = 64;

/// Bytes that are kept at most, in the whole process.
const MOST: usize = 256 << 20;

/// How long a buffer is kept that nobody uses.
const KEPT_FOR: Duration = Duration::from_secs(1);

/// What buffers are advised to be made of from this size on: the system's huge pages, on most machines.
const HUGE: usize = 2 << 20;

/// How much larger than needed a kept buffer may be, as a number of sizes.
const LARGER: usize = 2;

static SHELF: Mutex<Shelf> = Mutex::new(Shelf::new());

/// Takes a buffer that was kept and has room for `length` bytes, empty.
#[must_use]
pub fn take(length: usize) -> Option<Vec<u8>> {
    if length < LEAST {
        return None;
    }
    try_with(&SHELF, |shelf| shelf.take(length))?
}

/// Makes room in `buffer` for `more` bytes beyond its length: large ones with what was kept, or in such a way that it can be
/// kept.
///
/// # Errors
/// There is no memory; the buffer is as it was.
pub fn reserve(buffer: &mut Vec<u8>, more: usize) -> Result<(), TryReserveError> {
    if buffer.capacity() - buffer.len() >= more {
        return Ok(());
    }
    let needed = buffer.len().saturating_add(more);
    if needed < LEAST {
        return buffer.try_reserve(more);
    }
    if let Some(mut kept) = take(needed) {
        kept.extend_from_slice(buffer);
        give(mem::replace(buffer, kept));
        return Ok(());
    }
    let Some(index) = index_for(needed) else {
        return buffer.try_reserve_exact(more);
    };
    if buffer.is_empty() {
        // To move memory costs time even if there is nothing in it.
        let mut fresh = Vec::new();
        fresh.try_reserve_exact(size(index))?;
        give(mem::replace(buffer, fresh));
    } else {
        buffer.try_reserve_exact(size(index) - buffer.len())?;
    }
    if buffer.capacity() >= HUGE {
        sys::advise_huge(buffer);
    }
    Ok(())
}

/// Takes a buffer back that nobody needs any more. What [`reserve`] did not make is freed, small ones too.
pub fn give(buffer: Vec<u8>) {
    give_to(&SHELF, buffer);
}

/// Whether [`give`] would keep the buffer, if there is room.
#[must_use]
pub fn is_kept(buffer: &Vec<u8>) -> bool {
    index_of(buffer).is_some()
}

const fn size(index: usize) -> usize {
    (LEAST << index) + BESIDE
}

/// The smallest size that has room for so many bytes.
fn index_for(length: usize) -> Option<usize> {
    (0..SIZES).find(|&index| size(index) >= length)
}

fn index_of(buffer: &Vec<u8>) -> Option<usize> {
    index_for(buffer.capacity()).filter(|&index| size(index) == buffer.capacity())
}

fn give_to(shelf: &'static Mutex<Shelf>, mut buffer: Vec<u8>) {
    let Some(index) = index_of(&buffer) else {
        return;
    };
    buffer.clear();
    let since = Instant::now();
    let surplus = try_with(shelf, |locked| {
        if locked.watch(shelf) {
            locked.put(index, Kept { buffer, since })
        } else {
            Some(buffer)
        }
    });
    // Freed outside of the lock, since that takes long.
    drop(surplus);
}

/// Nobody waits for the shelf: in a fork, whoever has locked it may not exist.
fn try_with<R>(shelf: &Mutex<Shelf>, work: impl FnOnce(&mut Shelf) -> R) -> Option<R> {
    match shelf.try_lock() {
        Ok(mut shelf) => Some(work(&mut shelf)),
        Err(TryLockError::WouldBlock | TryLockError::Poisoned(_)) => None,
    }
}

/// What is kept.
struct Shelf {
    /// By size, those that were used last at the end.
    kept: [Vec<Kept>; SIZES],
    /// The capacity of all of them.
    bytes: usize,
    /// Where a thread is that will free them. A fork of that process has what is kept, and no such thread.
    watched: Option<Birthplace>,
}

struct Kept {
    buffer: Vec<u8>,
    since: Instant,
}

impl Shelf {
    const fn new() -> Self {
        Self {
            kept: [const { Vec::new() }; SIZES],
            bytes: 0,
            watched: None,
        }
    }

    fn take(&mut self, length: usize) -> Option<Vec<u8>> {
        let first = index_for(length)?;
        let mut fitting = first..SIZES.min(first + 1 + LARGER);
        let Kept { buffer, .. } = fitting.find_map(|index| self.kept[index].pop())?;
        self.bytes -= buffer.capacity();
        Some(buffer)
    }

    /// Keeps a buffer of that size, or gives it back because there are enough.
    fn put(&mut self, index: usize, kept: Kept) -> Option<Vec<u8>> {
        if self.bytes + kept.buffer.capacity() > MOST {
            return Some(kept.buffer);
        }
        self.bytes += kept.buffer.capacity();
        self.kept[index].push(kept);
        None
    }

    /// Takes out what nobody used since `then`.
    fn take_older_than(&mut self, then: Instant) -> Vec<Vec<u8>> {
        let mut old = Vec::new();
        for kept in &mut self.kept {
            let count = kept.partition_point(|kept| kept.since <= then);
            old.extend(kept.drain(..count).map(|kept| kept.buffer));
            if kept.is_empty() {
                *kept = Vec::new();
            }
        }
        self.bytes -= old.iter().map(Vec::capacity).sum::<usize>();
        old
    }

    /// Since when nobody used what was used least lately.
    fn oldest(&self) -> Option<Instant> {
        let firsts = self.kept.iter().filter_map(|kept| kept.first());
        firsts.map(|kept| kept.since).min()
    }

    /// Sees to it that what is kept will be freed; `shelf` is where this one is. False: that cannot be done.
    fn watch(&mut self, shelf: &'static Mutex<Self>) -> bool {
        if !self.watched.is_some_and(Birthplace::is_here) {
            let watcher = thread::Builder::new().name("ipc-rpc-buffers".to_owned());
            let started = watcher.spawn(|| free_what_is_old(shelf)).is_ok();
            self.watched = started.then(Birthplace::here);
        }
        self.watched.is_some()
    }
}

/// Frees what is old, until nothing is left.
fn free_what_is_old(shelf: &Mutex<Shelf>) {
    // Nothing is old yet. Who gave the first buffer may want it back at once, and would not wait for the shelf.
    thread::sleep(KEPT_FOR);
    loop {
        let (old, oldest) = {
            // This thread may wait: it holds up nobody.
            let Ok(mut shelf) = shelf.lock() else { return };
            let old = match Instant::now().checked_sub(KEPT_FOR) {
                Some(then) => shelf.take_older_than(then),
                None => Vec::new(),
            };
            let oldest = shelf.oldest();
            if oldest.is_none() {
                shelf.watched = None;
            }
            (old, oldest)
        };
        drop(old);
        let Some(oldest) = oldest else { return };
        thread::sleep((oldest + KEPT_FOR).saturating_duration_since(Instant::now()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buffer(length: usize) -> Vec<u8> {
        let mut buffer = Vec::new();
        reserve(&mut buffer, length).unwrap();
        buffer
    }

    fn put(shelf: &mut Shelf, length: usize, since: Instant) -> Option<Vec<u8>> {
        let buffer = buffer(length);
        shelf.put(index_of(&buffer).unwrap(), Kept { buffer, since })
    }

    #[test]
    fn a_buffer_is_taken_that_has_room_and_is_not_much_larger() {
        let mut shelf = Shelf::new();
        assert_eq!(put(&mut shelf, 3 << 20, Instant::now()), None);
        assert_eq!(shelf.bytes, (4 << 20) + BESIDE);
        assert_eq!(shelf.take(5 << 20), None);
        assert_eq!(shelf.take(512 << 10), None);
        let taken = shelf.take(1 << 20).unwrap();
        assert!(taken.is_empty() && is_kept(&taken));
        assert_eq!((shelf.take(1 << 20), shelf.bytes), (None, 0));
    }

    #[test]
    fn no_more_is_kept_than_the_most() {
        let mut shelf = Shelf::new();
        assert_eq!(put(&mut shelf, 128 << 20, Instant::now()), None);
        assert!(put(&mut shelf, 128 << 20, Instant::now()).is_some());
        assert_eq!(put(&mut shelf, 64 << 20, Instant::now()), None);
    }

    #[test]
    fn what_nobody_used_for_a_while_is_taken_out() {
        let mut shelf = Shelf::new();
        let then = Instant::now();
        let later = then + Duration::from_millis(1);
        for (length, since) in [(LEAST, then), (1 << 20, then), (1 << 20, later)] {
            assert_eq!(put(&mut shelf, length, since), None);
        }
        assert_eq!(shelf.oldest(), Some(then));
        assert_eq!(shelf.take_older_than(then).len(), 2);
        assert_eq!((shelf.oldest(), shelf.bytes), (Some(later), (1 << 20) + BESIDE));
    }

    #[test]
    fn what_is_not_of_a_size_is_freed() {
        assert!(!is_kept(&Vec::with_capacity(1 << 20)));
        assert!(!is_kept(&Vec::new()));
        assert_eq!(take(LEAST - 1), None);
        assert_eq!(take(usize::MAX), None);
        let mut small = Vec::new();
        reserve(&mut small, 100).unwrap();
        assert!(!is_kept(&small) && small.capacity() >= 100);
    }

    #[test]
    fn growing_keeps_what_is_there() {
        let mut growing = b"begins".to_vec();
        for megabytes in [1, 5, 20] {
            let more = (megabytes << 20) - growing.len();
            reserve(&mut growing, more).unwrap();
            assert!(is_kept(&growing) && growing.capacity() - growing.len() >= more);
        }
        assert_eq!(growing, b"begins");
    }

    #[test]
    fn no_memory_is_an_error() {
        let mut small = b"stays".to_vec();
        assert!(reserve(&mut small, usize::MAX).is_err());
        assert!(reserve(&mut small, isize::MAX as usize - 5).is_err());
        assert_eq!(small, b"stays");
    }

    #[cfg(unix)]
    #[test]
    fn a_fork_has_a_thread_of_its_own() {
        static OWN: Mutex<Shelf> = Mutex::new(Shelf::new());
        let mut shelf = OWN.lock().unwrap();
        shelf.watched = Some(Birthplace::elsewhere());
        assert!(shelf.watch(&OWN));
        assert_eq!(shelf.watched, Some(Birthplace::here()));
    }

    #[test]
    fn what_nobody_uses_is_freed_after_a_while() {
        static OWN: Mutex<Shelf> = Mutex::new(Shelf::new());
        let given = Instant::now();
        give_to(&OWN, buffer(LEAST));
        assert!(OWN.lock().unwrap().watched.is_some());
        while OWN.lock().unwrap().bytes > 0 {
            assert!(given.elapsed() < Duration::from_secs(60), "nobody frees it");
            thread::yield_now();
        }
        assert!(given.elapsed() >= KEPT_FOR);
        // There is nothing left to free, and nobody who would.
        assert_eq!(OWN.lock().unwrap().watched, None);
    }
}
