//! Who may open a pipe, and whose it is.

use std::ffi::c_void;
use std::io;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::ptr;

use windows_sys::Win32::Foundation::LocalFree;
use windows_sys::Win32::Security::Authorization::{
    ConvertSidToStringSidW, ConvertStringSecurityDescriptorToSecurityDescriptorW, GetSecurityInfo,
    SDDL_REVISION_1, SE_KERNEL_OBJECT,
};
use windows_sys::Win32::Security::{
    EqualSid, GetTokenInformation, OWNER_SECURITY_INFORMATION, PSID, TOKEN_QUERY, TOKEN_USER, TokenUser,
};
use windows_sys::Win32::System::Threading::{GetCurrentProcess, OpenProcessToken};

use super::calls::{check, wide};

/// A security descriptor: the owner is this process's user, and nobody else has any access.
pub(super) struct OwnerOnly(Local);

/// Memory that the system allocated for us.
struct Local(*mut c_void);

// SAFETY: it is plain memory that nothing changes any more.
unsafe impl Send for Local {}
// SAFETY: as above.
unsafe impl Sync for Local {}

impl Drop for Local {
    fn drop(&mut self) {
        // SAFETY: the system allocated it for us to free with this call, once.
        let _ = unsafe { LocalFree(self.0) };
    }
}

impl OwnerOnly {
    pub(super) fn new() -> io::Result<Self> {
        let user = User::current()?.to_string()?;
        let text = wide(&format!("O:{user}D:P(A;;GA;;;{user})"));
        let mut descriptor = ptr::null_mut();
        // SAFETY: the text ends in a zero, and both it and the pointer that is filled outlive the call.
        check(unsafe {
            ConvertStringSecurityDescriptorToSecurityDescriptorW(
                text.as_ptr(),
                SDDL_REVISION_1,
                &mut descriptor,
                ptr::null_mut(),
            )
        })?;
        Ok(Self(Local(descriptor)))
    }

    pub(super) fn descriptor(&self) -> *mut c_void {
        self.0.0
    }
}

/// Whether a pipe belongs to the user of this process.
pub(super) fn is_ours(pipe: &OwnedHandle) -> io::Result<bool> {
    let user = User::current()?;
    let mut owner: PSID = ptr::null_mut();
    let mut descriptor = ptr::null_mut();
    // SAFETY: the handle is open, and the two pointers that are filled outlive the call; the others are not asked for.
    let failed = unsafe {
        GetSecurityInfo(
            pipe.as_raw_handle(),
            SE_KERNEL_OBJECT,
            OWNER_SECURITY_INFORMATION,
            &mut owner,
            ptr::null_mut(),
            ptr::null_mut(),
            ptr::null_mut(),
            &mut descriptor,
        )
    };
    if failed != 0 {
        return Err(io::Error::from_raw_os_error(failed as i32));
    }
    // What `owner` points into.
    let _descriptor = Local(descriptor);
    if owner.is_null() {
        return Ok(false);
    }
    // SAFETY: both point to identifiers that live until the end of this function.
    Ok(unsafe { EqualSid(owner, user.sid()) } != 0)
}

/// The user of this process.
struct User {
    /// A `TOKEN_USER` and what it points to. Words, for its alignment.
    information: Vec<u64>,
}

impl User {
    fn current() -> io::Result<Self> {
        let mut token = ptr::null_mut();
        // SAFETY: the handle of the process is a constant that is never closed, and the pointer outlives the call.
        check(unsafe { OpenProcessToken(current_process(), TOKEN_QUERY, &mut token) })?;
        // SAFETY: the system has just made this handle, and nobody else knows it.
        let token = unsafe { OwnedHandle::from_raw_handle(token) };
        // A `TOKEN_USER` with an identifier of the longest kind has less than 100 bytes.
        let mut information = vec![0_u64; 32];
        let mut length = 0;
        // SAFETY: the token is open, and the buffer has as many bytes as is said.
        check(unsafe {
            GetTokenInformation(
                token.as_raw_handle(),
                TokenUser,
                information.as_mut_ptr().cast(),
                (information.len() * 8) as u32,
                &mut length,
            )
        })?;
        Ok(Self { information })
    }

    /// Points into this value.
    fn sid(&self) -> PSID {
        let user = self.information.as_ptr().cast::<TOKEN_USER>();
        // SAFETY: the system has put a `TOKEN_USER` there, and the words are aligned for it.
        unsafe { (*user).User.Sid }
    }

    fn to_string(&self) -> io::Result<String> {
        let mut text = ptr::null_mut();
        // SAFETY: the identifier lives in `self`, and the pointer that is filled outlives the call.
        check(unsafe { ConvertSidToStringSidW(self.sid(), &mut text) })?;
        let text = Local(text.cast());
        let start = text.0.cast::<u16>();
        let mut units = Vec::new();
        loop {
            // SAFETY: the system made a text that ends in a zero, which has not been passed yet.
            let at = unsafe { start.add(units.len()) };
            // SAFETY: as above.
            match unsafe { at.read() } {
                0 => break,
                unit => units.push(unit),
            }
        }
        String::from_utf16(&units).map_err(|_| io::ErrorKind::InvalidInput.into())
    }
}

fn current_process() -> windows_sys::Win32::Foundation::HANDLE {
    // SAFETY: it takes nothing, and returns a constant.
    unsafe { GetCurrentProcess() }
}
