//! Writes, which the system works on while we do something else, and which outlive the threads that begin them.

use std::cell::UnsafeCell;
use std::io;
use std::os::windows::io::{AsRawHandle, OwnedHandle};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use windows_sys::Win32::Foundation::ERROR_IO_PENDING;
use windows_sys::Win32::Storage::FileSystem::WriteFile;
use windows_sys::Win32::System::IO::{CancelIoEx, GetOverlappedResult, OVERLAPPED};

use super::Event;
use super::calls::{BUFFER, check, tell};
use super::operation::{Outcome, closed_or};

/// At most one write at a time, and the memory that it works on.
///
/// When a thread ends, the system spares those writes of it that it tells of through a completion port, and that name no
/// event. The port is that of the system's thread pool, which calls [`ended`]. The event is ours: it is set whenever
/// nothing is under way.
pub(super) struct Write {
    pipe: Arc<OwnedHandle>,
    event: Arc<Event>,
    /// Out of a box, freed by the last of us and the system to need it.
    work: *const Work,
    /// The bytes of a write that was begun, and of which nobody has been told what came of it.
    under_way: Option<usize>,
}

/// What a write works on.
#[repr(C)]
struct Work {
    /// The first field, for its address is all that the system gives back.
    overlapped: UnsafeCell<OVERLAPPED>,
    buffer: UnsafeCell<Box<[u8]>>,
    event: Arc<Event>,
    /// What [`ended`] was told: zero, or the code of an error.
    code: AtomicU32,
    /// Whose the other fields are.
    state: AtomicU8,
}

/// All of the work is the [`Write`]'s.
const OURS: u8 = 0;
/// The work is the system's, until it calls [`ended`].
const LENT: u8 = 1;
/// [`ended`] is about to set the event.
const ENDED: u8 = 2;
/// The work is lent, and the [`Write`] is gone: [`ended`] frees the work.
const ABANDONED: u8 = 3;

// SAFETY: what the pointer leads to is shared with the system alone, which may touch it from any thread while it is lent.
unsafe impl Send for Write {}

impl Write {
    /// For one pipe, which has no other.
    pub(super) fn new(pipe: &Arc<OwnedHandle>) -> io::Result<Self> {
        tell(pipe, Some(ended))?;
        let event = Arc::new(Event::new()?);
        let work = Work {
            overlapped: UnsafeCell::new(OVERLAPPED::default()),
            buffer: UnsafeCell::new(vec![0; BUFFER as usize].into_boxed_slice()),
            event: Arc::clone(&event),
            code: AtomicU32::new(0),
            state: AtomicU8::new(OURS),
        };
        Ok(Self {
            pipe: Arc::clone(pipe),
            event,
            work: Box::into_raw(Box::new(work)),
            under_way: None,
        })
    }

    pub(super) fn event(&self) -> &Arc<Event> {
        &self.event
    }

    pub(super) fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    /// The buffer, which belongs to the system while something is under way: then it is empty.
    pub(super) fn buffer(&mut self) -> &mut [u8] {
        if self.is_under_way() {
            return &mut [];
        }
        // SAFETY: nothing is lent to the system, and whoever has `self` to himself has the buffer.
        unsafe { &mut *self.work().buffer.get() }
    }

    /// Begins to write what is at the start of the buffer.
    pub(super) fn begin(&mut self, bytes: usize) -> io::Result<Outcome> {
        debug_assert!(!self.is_under_way(), "one at a time");
        let buffer = self.buffer();
        let bytes = buffer.len().min(bytes);
        let buffer = buffer.as_ptr();
        let pipe = self.pipe.as_raw_handle();
        let work = self.work();
        work.state.store(LENT, Ordering::Release);
        // SAFETY: the buffer has that many bytes, and it and the `OVERLAPPED` stay where they are until the write has ended:
        // the state says that they are lent.
        let done = unsafe { WriteFile(pipe, buffer, bytes as u32, ptr::null_mut(), self.overlapped()) };
        match check(done) {
            Err(error) if error.raw_os_error() == Some(ERROR_IO_PENDING as i32) => {
                work.event.reset();
                // It may have ended before that: then the event was perhaps set too early.
                if work.state.load(Ordering::Acquire) != LENT {
                    work.event.set();
                }
                self.under_way = Some(bytes);
                self.outcome()
            }
            // It has ended as it began, which `ended` is not told of.
            Err(error) => {
                work.state.store(OURS, Ordering::Relaxed);
                closed_or(error.raw_os_error().unwrap_or_default() as u32)
            }
            Ok(()) => {
                work.state.store(OURS, Ordering::Relaxed);
                Ok(Outcome::Done(bytes))
            }
        }
    }

    /// What has come of the write that is under way, without waiting.
    pub(super) fn outcome(&mut self) -> io::Result<Outcome> {
        let work = self.work();
        if work.state.load(Ordering::Acquire) != OURS {
            return Ok(Outcome::UnderWay);
        }
        let code = work.code.load(Ordering::Relaxed);
        let written = self.under_way.take().unwrap_or_default();
        // A pipe takes all of a write that does not fail. The count is not asked for: it is lost on Wine if the thread that
        // began the write has ended just now.
        if code == 0 {
            return Ok(Outcome::Done(written));
        }
        let mut bytes = 0;
        // SAFETY: a write was begun with this `OVERLAPPED`, and has ended.
        let done =
            unsafe { GetOverlappedResult(self.pipe.as_raw_handle(), self.overlapped(), &mut bytes, 0) };
        match check(done) {
            Ok(()) => Ok(Outcome::Done(bytes as usize)),
            Err(error) => closed_or(error.raw_os_error().unwrap_or_default() as u32),
        }
    }

    /// As the system is to know it: with leave to the whole of the work, which [`ended`] needs.
    fn overlapped(&self) -> *mut OVERLAPPED {
        self.work.cast_mut().cast()
    }

    fn work(&self) -> &Work {
        // SAFETY: it is freed by `drop`, or after it. Whatever the system changes meanwhile is in a cell.
        unsafe { &*self.work }
    }
}

impl Drop for Write {
    /// Cancels what is under way, and does not wait for its end.
    fn drop(&mut self) {
        if self.work().state.load(Ordering::Acquire) == LENT {
            // SAFETY: the handle is open, and a write was begun with this `OVERLAPPED`. If it has ended already, there is nothing
            // to cancel.
            let _ = unsafe { CancelIoEx(self.pipe.as_raw_handle(), self.overlapped()) };
        }
        if self.work().state.swap(ABANDONED, Ordering::AcqRel) != OURS {
            return;
        }
        // SAFETY: it came out of a box, and is ours again.
        drop(unsafe { Box::from_raw(self.work.cast_mut()) });
    }
}

/// Called on a thread of the system's pool for each write that ended later than it began, once.
unsafe extern "system" fn ended(code: u32, _bytes: u32, overlapped: *mut OVERLAPPED) {
    let work: *mut Work = overlapped.cast();
    // SAFETY: the `OVERLAPPED` of a write is the start of a `Work`, which is lent until its state says otherwise.
    let shared = unsafe { &*work };
    shared.code.store(code, Ordering::Relaxed);
    let is_needed = shared
        .state
        .compare_exchange(LENT, ENDED, Ordering::AcqRel, Ordering::Acquire)
        .is_ok();
    if is_needed {
        // Before the work is given back: set any later, the event could be taken for that of the next write.
        shared.event.set();
    }
    let returned = shared
        .state
        .compare_exchange(ENDED, OURS, Ordering::AcqRel, Ordering::Acquire);
    if returned.is_err() {
        // SAFETY: it came out of a box, and nobody else knows it any more.
        drop(unsafe { Box::from_raw(work) });
    }
}
