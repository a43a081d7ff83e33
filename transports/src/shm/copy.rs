//! Copying from and to memory that another process accesses at the same time.
//!
//! Neither `memcpy` nor a slice will do: to the language they are accesses that nobody else may make at the same time. On
//! x86-64 the copy is made of instructions that the compiler knows nothing of; elsewhere of relaxed atomic loads and
//! stores. What is torn by a write at the same time is for the reader to judge: the bytes are whatever they are, once.

use std::mem::MaybeUninit;

/// Copies bytes into shared memory.
///
/// # Safety
/// As many bytes at `to` are mapped, for writing.
#[inline]
pub(super) unsafe fn into(bytes: &[u8], to: *mut u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the bytes can be read, and as many at `to` written, as the caller says.
    unsafe {
        x86_64::copy(bytes.as_ptr(), to, bytes.len());
    }
    #[cfg(not(target_arch = "x86_64"))]
    // SAFETY: as many bytes at `to` can be written, as the caller says.
    unsafe {
        atomic::into(bytes, to);
    }
}

/// Copies bytes out of shared memory, as many as `to` takes, and initialises all of it.
///
/// # Safety
/// As many bytes at `from` are mapped.
#[inline]
pub(super) unsafe fn out(from: *const u8, to: &mut [MaybeUninit<u8>]) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: as many bytes at `from` can be read, as the caller says, and `to` written.
    unsafe {
        x86_64::copy(from, to.as_mut_ptr().cast(), to.len());
    }
    #[cfg(not(target_arch = "x86_64"))]
    // SAFETY: as many bytes at `from` can be read, as the caller says.
    unsafe {
        atomic::out(from, to);
    }
}

#[cfg(target_arch = "x86_64")]
mod x86_64 {
    use std::arch::asm;

    /// From here on the processor's own copy is used: see the table.
    const LARGE: usize = 1 << 30;

    /// Copies `length` bytes.
    ///
    /// # Safety
    /// The bytes at `from` can be read, those at `to` written, and they do not overlap. Others may write and read them at
    /// the same time.
    #[inline]
    pub(super) unsafe fn copy(from: *const u8, to: *mut u8, length: usize) {
        if length >= LARGE {
            // SAFETY: as the caller says.
            unsafe { by_string(from, to, length) };
        } else if length >= 16 {
            // SAFETY: as the caller says, and there are at least 16 bytes.
            unsafe { by_sixteen(from, to, length) };
        } else {
            // SAFETY: as the caller says, and there are at most 15 bytes.
            unsafe { short(from, to, length) };
        }
    }

    /// As [`copy`], by the instruction for that.
    #[inline]
    unsafe fn by_string(from: *const u8, to: *mut u8, length: usize) {
        // SAFETY: it reads `length` bytes at `from` and writes them at `to`, upwards: the direction flag is clear on entry
        // to a block.
        unsafe {
            asm!(
                "rep movsb",
                inout("rcx") length => _,
                inout("rsi") from => _,
                inout("rdi") to => _,
                options(nostack, preserves_flags),
            );
        }
    }

    /// As [`copy`], for 16 bytes and more: four registers at a time, one at a time, and at last the 16 bytes before the end,
    /// some of which may have been copied already.
    #[inline]
    unsafe fn by_sixteen(from: *const u8, to: *mut u8, length: usize) {
        // SAFETY: `rsi` and `rdi` advance by what was copied, and `rcx` says what is left, so that neither leaves its range;
        // the last 16 bytes begin inside, as there are at least so many.
        unsafe {
            asm!(
                "lea {last_from}, [rsi + rcx - 16]",
                "lea {last_to}, [rdi + rcx - 16]",
                "sub rcx, 64",
                "jb 3f",
                "2:",
                "movups {a}, [rsi]",
                "movups {b}, [rsi + 16]",
                "movups {c}, [rsi + 32]",
                "movups {d}, [rsi + 48]",
                "movups [rdi], {a}",
                "movups [rdi + 16], {b}",
                "movups [rdi + 32], {c}",
                "movups [rdi + 48], {d}",
                "add rsi, 64",
                "add rdi, 64",
                "sub rcx, 64",
                "jae 2b",
                "3:",
                // 64 less than what is left, and what is left is below 64.
                "add rcx, 48",
                "jnc 5f",
                "4:",
                "movups {a}, [rsi]",
                "movups [rdi], {a}",
                "add rsi, 16",
                "add rdi, 16",
                "sub rcx, 16",
                "jae 4b",
                "5:",
                "movups {a}, [{last_from}]",
                "movups [{last_to}], {a}",
                last_from = out(reg) _,
                last_to = out(reg) _,
                a = out(xmm_reg) _,
                b = out(xmm_reg) _,
                c = out(xmm_reg) _,
                d = out(xmm_reg) _,
                inout("rcx") length => _,
                inout("rsi") from => _,
                inout("rdi") to => _,
                options(nostack),
            );
        }
    }

    /// As [`copy`], for at most 15 bytes: two moves that may overlap, or a few single bytes.
    #[inline]
    unsafe fn short(from: *const u8, to: *mut u8, length: usize) {
        // SAFETY: the widest move is made that fits, at the start and before the end.
        unsafe {
            asm!(
                "cmp {n}, 8",
                "jb 2f",
                "mov {a}, [{from}]",
                "mov {b}, [{from} + {n} - 8]",
                "mov [{to}], {a}",
                "mov [{to} + {n} - 8], {b}",
                "jmp 5f",
                "2:",
                "cmp {n}, 4",
                "jb 3f",
                "mov {a:e}, [{from}]",
                "mov {b:e}, [{from} + {n} - 4]",
                "mov [{to}], {a:e}",
                "mov [{to} + {n} - 4], {b:e}",
                "jmp 5f",
                "3:",
                "test {n}, {n}",
                "jz 5f",
                "4:",
                "movzx {a:e}, byte ptr [{from} + {n} - 1]",
                "mov byte ptr [{to} + {n} - 1], {a:l}",
                "dec {n}",
                "jnz 4b",
                "5:",
                n = inout(reg) length => _,
                from = in(reg) from,
                to = in(reg) to,
                a = out(reg) _,
                b = out(reg) _,
                options(nostack),
            );
        }
    }
}

/// What other architectures do; tested on all.
#[cfg(any(test, not(target_arch = "x86_64")))]
mod atomic {
    use std::mem::MaybeUninit;
    use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

    /// As its namesake above.
    ///
    /// # Safety
    /// See there.
    #[cfg_attr(target_arch = "x86_64", allow(dead_code, reason = "only tests use it here"))]
    pub(super) unsafe fn into(bytes: &[u8], to: *mut u8) {
        let before = to.align_offset(size_of::<u64>()).min(bytes.len());
        let (first, rest) = bytes.split_at(before);
        let (words, last) = rest.split_at(rest.len() / 8 * 8);
        let single = |at: usize, byte: u8| {
            // SAFETY: the byte is among those that the caller vouches for.
            let to = unsafe { to.add(at) };
            // SAFETY: as above; a byte is aligned anywhere.
            unsafe { AtomicU8::from_ptr(to) }.store(byte, Ordering::Relaxed);
        };
        for (at, byte) in first.iter().enumerate() {
            single(at, *byte);
        }
        for (at, word) in words.chunks_exact(8).enumerate() {
            // SAFETY: the word is among the bytes that the caller vouches for.
            let to = unsafe { to.add(before + 8 * at) };
            let mut value = [0; 8];
            value.copy_from_slice(word);
            // SAFETY: as above; it is aligned, behind the bytes before.
            unsafe { AtomicU64::from_ptr(to.cast()) }.store(u64::from_ne_bytes(value), Ordering::Relaxed);
        }
        for (at, byte) in last.iter().enumerate() {
            single(before + words.len() + at, *byte);
        }
    }

    /// As its namesake above.
    ///
    /// # Safety
    /// See there.
    #[cfg_attr(target_arch = "x86_64", allow(dead_code, reason = "only tests use it here"))]
    pub(super) unsafe fn out(from: *const u8, to: &mut [MaybeUninit<u8>]) {
        let before = from.align_offset(size_of::<u64>()).min(to.len());
        let (first, rest) = to.split_at_mut(before);
        let (words, last) = rest.split_at_mut(rest.len() / 8 * 8);
        let single = |at: usize| {
            // SAFETY: the byte is among those that the caller vouches for.
            let from = unsafe { from.add(at) };
            // SAFETY: as above; a byte is aligned anywhere, and only read.
            unsafe { AtomicU8::from_ptr(from.cast_mut()) }.load(Ordering::Relaxed)
        };
        for (at, byte) in first.iter_mut().enumerate() {
            byte.write(single(at));
        }
        for (at, word) in words.chunks_exact_mut(8).enumerate() {
            // SAFETY: the word is among the bytes that the caller vouches for.
            let from = unsafe { from.add(before + 8 * at) };
            // SAFETY: as above; it is aligned, behind the bytes before, and only read.
            let value = unsafe { AtomicU64::from_ptr(from.cast_mut().cast()) }.load(Ordering::Relaxed);
            for (byte, value) in word.iter_mut().zip(value.to_ne_bytes()) {
                byte.write(value);
            }
        }
        for (at, byte) in last.iter_mut().enumerate() {
            byte.write(single(before + words.len() + at));
        }
    }
}
