//! Overlapped operations that can be begun again: reads, and waiting for a client. The system works on one while we do
//! something else.

use std::io;
use std::os::windows::io::{AsRawHandle, OwnedHandle};
use std::ptr;
use std::sync::Arc;

use windows_sys::Win32::Foundation::{
    ERROR_BROKEN_PIPE, ERROR_IO_INCOMPLETE, ERROR_IO_PENDING, ERROR_MORE_DATA, ERROR_NO_DATA,
    ERROR_OPERATION_ABORTED, ERROR_PIPE_CONNECTED, ERROR_PIPE_NOT_CONNECTED,
};
use windows_sys::Win32::Storage::FileSystem::ReadFile;
use windows_sys::Win32::System::IO::{CancelIoEx, GetOverlappedResult, OVERLAPPED};
use windows_sys::Win32::System::Pipes::ConnectNamedPipe;

use super::Event;
use super::calls::{BUFFER, check};

/// At most one read or connect at a time, and the memory that it works on.
///
/// The event is set whenever nothing is under way: the system resets it when it begins and sets it at the end, and we set
/// it where nothing begins.
pub(super) struct Operation {
    pipe: Arc<OwnedHandle>,
    event: Arc<Event>,
    /// Made by us, given to the system while something is under way: only through the pointer is it touched then.
    overlapped: *mut OVERLAPPED,
    /// As above: `BUFFER` bytes, or none for an operation that never moves any.
    buffer: *mut [u8],
    under_way: bool,
}

// SAFETY: the two pointers are to memory that this value alone owns, and that the system may write to from any thread.
unsafe impl Send for Operation {}

/// What an operation came to.
pub(super) enum Outcome {
    /// That many bytes were moved.
    Done(usize),
    UnderWay,
    /// It was cancelled, though not by us: the thread that began it has ended. Nothing was moved.
    Aborted,
    /// The other side has closed.
    Over,
}

impl Operation {
    /// With an event of its own.
    pub(super) fn new(pipe: &Arc<OwnedHandle>) -> io::Result<Self> {
        Ok(Self::with_event(pipe, Arc::new(Event::new()?), true))
    }

    /// With an event that others use when this does not, any more.
    pub(super) fn with_event(pipe: &Arc<OwnedHandle>, event: Arc<Event>, moves_data: bool) -> Self {
        let overlapped = OVERLAPPED {
            // The lowest bit is no part of a handle: it keeps the end from the thread pool, which is told of writes.
            hEvent: event.handle().map_addr(|handle| handle | 1),
            ..OVERLAPPED::default()
        };
        let buffer = vec![0; if moves_data { BUFFER as usize } else { 0 }];
        Self {
            pipe: Arc::clone(pipe),
            event,
            overlapped: Box::into_raw(Box::new(overlapped)),
            buffer: Box::into_raw(buffer.into_boxed_slice()),
            under_way: false,
        }
    }

    pub(super) fn event(&self) -> &Arc<Event> {
        &self.event
    }

    pub(super) fn pipe(&self) -> &Arc<OwnedHandle> {
        &self.pipe
    }

    pub(super) fn is_under_way(&self) -> bool {
        self.under_way
    }

    /// The buffer, which belongs to the system while something is under way: then it is empty.
    pub(super) fn buffer(&mut self) -> &mut [u8] {
        if self.under_way {
            return &mut [];
        }
        // SAFETY: the memory is ours and lives as long as `self`, and the system does not work on it now.
        unsafe { &mut *self.buffer }
    }

    /// Begins to read into the buffer.
    pub(super) fn read(&mut self) -> io::Result<Outcome> {
        let (pipe, buffer) = (self.pipe.as_raw_handle(), self.begin());
        // SAFETY: buffer and `OVERLAPPED` have as many bytes as is said, and stay where they are until the operation has
        // ended: `drop` waits for that.
        let done = unsafe { ReadFile(pipe, buffer, BUFFER, ptr::null_mut(), self.overlapped) };
        self.begun(done)
    }

    /// Begins to wait for a client.
    pub(super) fn connect(&mut self) -> io::Result<Outcome> {
        let pipe = self.pipe.as_raw_handle();
        let _ = self.begin();
        // SAFETY: as for `read`.
        let done = unsafe { ConnectNamedPipe(pipe, self.overlapped) };
        self.begun(done)
    }

    /// What has come of the operation that is under way, without waiting.
    pub(super) fn outcome(&mut self) -> io::Result<Outcome> {
        let mut bytes = 0;
        // SAFETY: the operation was begun with this `OVERLAPPED`, which lives as long as `self`.
        let done = unsafe { GetOverlappedResult(self.pipe.as_raw_handle(), self.overlapped, &mut bytes, 0) };
        let failed = check(done).err().and_then(|error| error.raw_os_error());
        if failed.map(|code| code as u32) == Some(ERROR_IO_INCOMPLETE) {
            return Ok(Outcome::UnderWay);
        }
        self.under_way = false;
        // The system has done so, but perhaps not for one that ended as it began.
        self.event.set();
        match failed.map(|code| code as u32) {
            // A message of the pipe that is longer than the buffer: the rest comes with the next read.
            None | Some(ERROR_MORE_DATA) => Ok(Outcome::Done(bytes as usize)),
            Some(code) => closed_or(code),
        }
    }

    fn begin(&mut self) -> *mut u8 {
        debug_assert!(!self.under_way, "one at a time");
        self.buffer.cast()
    }

    fn begun(&mut self, done: windows_sys::core::BOOL) -> io::Result<Outcome> {
        let code = match check(done) {
            Ok(()) => 0,
            Err(error) => error.raw_os_error().unwrap_or_default() as u32,
        };
        match code {
            0 | ERROR_IO_PENDING | ERROR_MORE_DATA => {
                self.under_way = true;
                self.outcome()
            }
            ERROR_PIPE_CONNECTED => {
                self.event.set();
                Ok(Outcome::Done(0))
            }
            code => {
                self.event.set();
                closed_or(code)
            }
        }
    }
}

impl Drop for Operation {
    /// Ends what is under way, and frees its memory only then.
    fn drop(&mut self) {
        if self.under_way {
            let pipe = self.pipe.as_raw_handle();
            // SAFETY: the handle is open, and the operation was begun with this `OVERLAPPED`. If it has ended already, there
            // is nothing to cancel.
            let _ = unsafe { CancelIoEx(pipe, self.overlapped) };
            let mut bytes = 0;
            // SAFETY: as above; this waits until the system is done with the memory.
            let _ = unsafe { GetOverlappedResult(pipe, self.overlapped, &mut bytes, 1) };
        }
        // SAFETY: it came out of a box, and nobody works on it any more.
        drop(unsafe { Box::from_raw(self.overlapped) });
        // SAFETY: as above.
        drop(unsafe { Box::from_raw(self.buffer) });
    }
}

/// What an operation came to that failed.
pub(super) fn closed_or(code: u32) -> io::Result<Outcome> {
    match code {
        ERROR_BROKEN_PIPE | ERROR_PIPE_NOT_CONNECTED | ERROR_NO_DATA => Ok(Outcome::Over),
        ERROR_OPERATION_ABORTED => Ok(Outcome::Aborted),
        code => Err(io::Error::from_raw_os_error(code as i32)),
    }
}
