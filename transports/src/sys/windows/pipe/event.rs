//! Events: what threads wait for.

use std::io;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::ptr;
use std::time::Instant;

use windows_sys::Win32::Foundation::{HANDLE, WAIT_FAILED, WAIT_OBJECT_0};
use windows_sys::Win32::System::Threading::{
    CreateEventW, INFINITE, ResetEvent, SetEvent, WaitForMultipleObjects,
};

/// An event that stays set until it is reset.
pub(crate) struct Event(OwnedHandle);

impl Event {
    /// A new one, set: whoever waits looks first.
    pub(in crate::sys::windows) fn new() -> io::Result<Self> {
        // SAFETY: no name and no attributes are given.
        let event = unsafe { CreateEventW(ptr::null(), 1, 1, ptr::null()) };
        if event.is_null() {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the system has just made this handle, and nobody else knows it.
        Ok(Self(unsafe { OwnedHandle::from_raw_handle(event) }))
    }

    pub(in crate::sys::windows) fn set(&self) {
        // SAFETY: the handle is open, and of an event. That cannot fail.
        let _ = unsafe { SetEvent(self.handle()) };
    }

    pub(in crate::sys::windows) fn reset(&self) {
        // SAFETY: the handle is open, and of an event. That cannot fail.
        let _ = unsafe { ResetEvent(self.handle()) };
    }

    pub(super) fn handle(&self) -> HANDLE {
        self.0.as_raw_handle()
    }

    /// Blocks until one of at most three events is set, or the deadline has passed. Tells which one, the first of several.
    pub(in crate::sys::windows) fn wait(
        events: &[&Self],
        deadline: Option<Instant>,
    ) -> io::Result<Option<usize>> {
        let mut handles = [ptr::null_mut(); 3];
        let mut count = 0;
        for (slot, event) in handles.iter_mut().zip(events) {
            *slot = event.handle();
            count += 1;
        }
        // SAFETY: as many handles as is said are of events that the caller lends.
        let waited =
            unsafe { WaitForMultipleObjects(count, handles.as_ptr(), 0, milliseconds_until(deadline)) };
        if waited == WAIT_FAILED {
            return Err(io::Error::last_os_error());
        }
        let first = (waited - WAIT_OBJECT_0) as usize;
        Ok((first < events.len()).then_some(first))
    }
}

/// Rounded up, so that a wait is not over early again and again; the largest number means for ever.
pub(super) fn milliseconds_until(deadline: Option<Instant>) -> u32 {
    let Some(deadline) = deadline else { return INFINITE };
    let left = deadline.saturating_duration_since(Instant::now());
    u32::try_from(left.as_nanos().div_ceil(1_000_000)).map_or(INFINITE - 1, |left| left.min(INFINITE - 1))
}
