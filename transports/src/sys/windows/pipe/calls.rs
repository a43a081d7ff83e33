//! Making and opening named pipes, and asking who is there.

use std::io;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::ptr;

use windows_sys::Win32::Foundation::{GENERIC_READ, GENERIC_WRITE, INVALID_HANDLE_VALUE};
use windows_sys::Win32::Security::SECURITY_ATTRIBUTES;
use windows_sys::Win32::Storage::FileSystem::{
    CreateFileW, FILE_FLAG_FIRST_PIPE_INSTANCE, FILE_FLAG_OVERLAPPED, OPEN_EXISTING, PIPE_ACCESS_DUPLEX,
    SECURITY_IDENTIFICATION, SECURITY_SQOS_PRESENT, SetFileCompletionNotificationModes,
};
use windows_sys::Win32::System::IO::{BindIoCompletionCallback, LPOVERLAPPED_COMPLETION_ROUTINE};
use windows_sys::Win32::System::Pipes::{
    CreateNamedPipeW, GetNamedPipeClientProcessId, GetNamedPipeServerProcessId, PIPE_READMODE_BYTE,
    PIPE_READMODE_MESSAGE, PIPE_REJECT_REMOTE_CLIENTS, PIPE_TYPE_BYTE, PIPE_TYPE_MESSAGE,
    PIPE_UNLIMITED_INSTANCES, PIPE_WAIT, SetNamedPipeHandleState, WaitNamedPipeW,
};
use windows_sys::Win32::System::WindowsProgramming::FILE_SKIP_COMPLETION_PORT_ON_SUCCESS;

use super::security::OwnerOnly;
use crate::endpoint::PipeMode;

/// Bytes that the system keeps for each direction. Never zero: then each write waits for its reader.
pub(super) const BUFFER: u32 = 64 << 10;

/// The name of a pipe, as the system takes it.
pub(super) fn wide(path: &str) -> Vec<u16> {
    path.encode_utf16().chain([0]).collect()
}

/// Makes one more instance of a pipe: it takes one client, of this user and this machine. The first finds nobody else's
/// pipe of that name.
pub(super) fn create(
    path: &[u16],
    mode: PipeMode,
    security: &OwnerOnly,
    first: bool,
) -> io::Result<OwnedHandle> {
    let attributes = SECURITY_ATTRIBUTES {
        nLength: size_of::<SECURITY_ATTRIBUTES>() as u32,
        lpSecurityDescriptor: security.descriptor(),
        bInheritHandle: 0,
    };
    let kind = match mode {
        PipeMode::Byte => PIPE_TYPE_BYTE | PIPE_READMODE_BYTE,
        PipeMode::Message => PIPE_TYPE_MESSAGE | PIPE_READMODE_MESSAGE,
    };
    let first = if first { FILE_FLAG_FIRST_PIPE_INSTANCE } else { 0 };
    // SAFETY: the name ends in a zero, and it, the attributes and the descriptor in them outlive the call.
    let pipe = unsafe {
        CreateNamedPipeW(
            path.as_ptr(),
            PIPE_ACCESS_DUPLEX | FILE_FLAG_OVERLAPPED | first,
            kind | PIPE_WAIT | PIPE_REJECT_REMOTE_CLIENTS,
            PIPE_UNLIMITED_INSTANCES,
            BUFFER,
            BUFFER,
            0,
            &attributes,
        )
    };
    own(pipe)
}

/// Connects to a waiting instance. The server may ask who we are, and not act in our name.
pub(super) fn open(path: &[u16]) -> io::Result<OwnedHandle> {
    let flags = FILE_FLAG_OVERLAPPED | SECURITY_SQOS_PRESENT | SECURITY_IDENTIFICATION;
    // SAFETY: the name ends in a zero and outlives the call.
    let pipe = unsafe {
        CreateFileW(
            path.as_ptr(),
            GENERIC_READ | GENERIC_WRITE,
            0,
            ptr::null(),
            OPEN_EXISTING,
            flags,
            ptr::null_mut(),
        )
    };
    own(pipe)
}

/// Reads messages, where the pipe has them, rather than bytes. Fails where it has none.
pub(super) fn read_messages(pipe: &OwnedHandle) -> io::Result<()> {
    let mode = PIPE_READMODE_MESSAGE;
    // SAFETY: the handle is open, the mode outlives the call, and the other settings are left alone.
    let done = unsafe { SetNamedPipeHandleState(pipe.as_raw_handle(), &mode, ptr::null(), ptr::null()) };
    check(done)
}

/// Waits until an instance waits for a client.
pub(super) fn wait(path: &[u16], milliseconds: u32) -> io::Result<()> {
    // Zero would mean the pipe's own default.
    // SAFETY: the name ends in a zero and outlives the call.
    check(unsafe { WaitNamedPipeW(path.as_ptr(), milliseconds.max(1)) })
}

pub(super) fn client_process(pipe: &OwnedHandle) -> Option<u32> {
    let mut pid = 0;
    // SAFETY: the handle is open, and the number outlives the call.
    let done = unsafe { GetNamedPipeClientProcessId(pipe.as_raw_handle(), &mut pid) };
    (done != 0 && pid != 0).then_some(pid)
}

pub(super) fn server_process(pipe: &OwnedHandle) -> Option<u32> {
    let mut pid = 0;
    // SAFETY: the handle is open, and the number outlives the call.
    let done = unsafe { GetNamedPipeServerProcessId(pipe.as_raw_handle(), &mut pid) };
    (done != 0 && pid != 0).then_some(pid)
}

/// Has the system's thread pool call `ended` for each operation without an event that ends later than it began.
pub(super) fn tell(pipe: &OwnedHandle, ended: LPOVERLAPPED_COMPLETION_ROUTINE) -> io::Result<()> {
    // SAFETY: the handle is open. What `ended` may do with what it is given, those know who begin the operations.
    check(unsafe { BindIoCompletionCallback(pipe.as_raw_handle(), ended, 0) })?;
    let mode = FILE_SKIP_COMPLETION_PORT_ON_SUCCESS as u8;
    // SAFETY: the handle is open.
    check(unsafe { SetFileCompletionNotificationModes(pipe.as_raw_handle(), mode) })
}

pub(super) fn check(done: windows_sys::core::BOOL) -> io::Result<()> {
    if done == 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

fn own(handle: windows_sys::Win32::Foundation::HANDLE) -> io::Result<OwnedHandle> {
    if handle == INVALID_HANDLE_VALUE {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the system has just made this handle, and nobody else knows it.
    Ok(unsafe { OwnedHandle::from_raw_handle(handle) })
}
