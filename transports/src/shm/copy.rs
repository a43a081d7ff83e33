//! Copying from and to memory that another process accesses at the same time.
//!
//! Neither `memcpy` nor a slice will do: to the language they are accesses that nobody else may make at the same time. On
//! x86-64 the copy is made of instructions that the compiler knows nothing of; elsewhere of relaxed atomic loads and
//! stores. What is torn by a write at the same time is for the reader to judge: the bytes are whatever they are, once.

use std::mem::MaybeUninit;
use std::slice;

/// What comes behind so many bytes of a body is written past the cache where it is received, too. Whoever looks at it begins at
/// the start, and would find nothing of the end in the cache, while it takes time to fetch lines only to overwrite them: 64 MiB
/// one way took 7.5 ms through the cache and 6.6 past it.
const CACHED: usize = 16 << 20;

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

/// As [`into`], for who reads them on another processor: past the cache, where that one finds them sooner in memory than by asking
/// this one for each line that it has changed.
///
/// # Safety
/// As for [`into`].
pub(super) unsafe fn into_far(bytes: &[u8], to: *mut u8) {
    #[cfg(target_arch = "x86_64")]
    if x86_64::memory_is_nearer() {
        // SAFETY: the bytes can be read, and as many at `to` written, as the caller says.
        unsafe { x86_64::past_cache(bytes.as_ptr(), to, bytes.len()) };
        return;
    }
    // SAFETY: as the caller says.
    unsafe { into(bytes, to) };
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

/// As [`out`], past the cache, where there is a way to do that.
///
/// # Safety
/// As for [`out`].
unsafe fn out_to_memory(from: *const u8, to: &mut [MaybeUninit<u8>]) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: as many bytes at `from` can be read, as the caller says, and `to` written.
    unsafe {
        x86_64::past_cache(from, to.as_mut_ptr().cast(), to.len());
    }
    #[cfg(not(target_arch = "x86_64"))]
    // SAFETY: as the caller says.
    unsafe {
        out(from, to);
    }
}

/// Appends a copy of `length` bytes of shared memory to a body, which has room for them.
///
/// # Safety
/// As many bytes at `from` are mapped.
///
/// # Panics
/// If there is no room.
#[inline]
pub(super) unsafe fn append(from: *const u8, length: usize, body: &mut Vec<u8>) {
    let there = body.len();
    let to = &mut body.spare_capacity_mut()[..length];
    if there < CACHED {
        // SAFETY: as the caller says.
        unsafe { out(from, to) };
    } else {
        // SAFETY: as the caller says.
        unsafe { out_to_memory(from, to) };
    }
    // SAFETY: so many bytes behind the old end were written, within the capacity.
    unsafe { body.set_len(there + length) };
}

/// As [`out`], to where bytes are already.
///
/// # Safety
/// As many bytes at `from` are mapped.
pub(super) unsafe fn over(from: *const u8, to: &mut [u8]) {
    let base = to.as_mut_ptr().cast::<MaybeUninit<u8>>();
    // SAFETY: these are the same bytes, borrowed mutably, and none of them is left uninitialised.
    let to = unsafe { slice::from_raw_parts_mut(base, to.len()) };
    // SAFETY: as the caller says.
    unsafe { out(from, to) };
}

#[cfg(target_arch = "x86_64")]
mod x86_64 {
    use std::arch::x86_64::__cpuid;
    use std::arch::{asm, is_x86_feature_detected};
    use std::sync::OnceLock;

    /// From here on wide registers are used, if the processor has them. Below they win nothing.
    ///
    /// Nanoseconds on an AMD EPYC 9004, from cache to cache; `memcpy` is that of glibc 2.36:
    ///
    /// | bytes | memcpy | 16 at a time | 32 at a time | rep movsb |
    /// |---|---|---|---|---|
    /// | 32 | 2.4 | 1.6 | | 3.8 |
    /// | 200 | 3.8 | 4.6 | | 11.0 |
    /// | 256 | 3.2 | 5.1 | 3.7 | 9.2 |
    /// | 512 | 4.9 | 8.9 | 5.8 | 11.4 |
    /// | 1,024 | 9.8 | 17.6 | 9.7 | 15.0 |
    /// | 4,096 | 42.8 | 69.6 | 35.5 | 41.1 |
    /// | 32,768 | 568 | 560 | 571 | 566 |
    const WIDE: usize = 256;
    /// From here on the processor's own copy is used, if it has no wide registers: see the table.
    const LARGE: usize = 1024;

    /// A line of the cache.
    const LINE: usize = 64;

    /// Copies `length` bytes.
    ///
    /// # Safety
    /// The bytes at `from` can be read, those at `to` written, and they do not overlap. Others may write and read them at
    /// the same time.
    #[inline]
    pub(super) unsafe fn copy(from: *const u8, to: *mut u8, length: usize) {
        if length < 16 {
            // SAFETY: as the caller says, and there are at most 15 bytes.
            unsafe { short(from, to, length) };
        } else if length < WIDE {
            // SAFETY: as the caller says, and there are at least 16 bytes.
            unsafe { by_sixteen(from, to, length) };
        } else {
            // SAFETY: as the caller says, and there are at least 32 bytes.
            unsafe { long(from, to, length) };
        }
    }

    /// As [`copy`], for 32 bytes and more.
    ///
    /// # Safety
    /// As for [`copy`].
    unsafe fn long(from: *const u8, to: *mut u8, length: usize) {
        if is_x86_feature_detected!("avx") {
            // SAFETY: as the caller says, and the processor has the registers.
            unsafe { by_thirty_two(from, to, length) };
        } else if length < LARGE {
            // SAFETY: as the caller says.
            unsafe { by_sixteen(from, to, length) };
        } else {
            // SAFETY: as the caller says.
            unsafe { by_string(from, to, length) };
        }
    }

    /// As [`copy`], for at most 15 bytes: two moves that may overlap, or a few single bytes.
    ///
    /// # Safety
    /// As for [`copy`].
    #[inline]
    pub(super) unsafe fn short(from: *const u8, to: *mut u8, length: usize) {
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

    /// As [`copy`], for 16 bytes and more: four registers at a time, one at a time, and at last the 16 bytes before the end,
    /// some of which may have been copied already.
    ///
    /// # Safety
    /// As for [`copy`].
    #[inline]
    pub(super) unsafe fn by_sixteen(from: *const u8, to: *mut u8, length: usize) {
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
                // What is left is below 64, and `rcx` is 64 below that.
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

    /// As [`by_sixteen`], with registers of 32 bytes, for as many bytes and more.
    ///
    /// # Safety
    /// As for [`copy`], and the processor has these registers (AVX).
    #[inline]
    pub(super) unsafe fn by_thirty_two(from: *const u8, to: *mut u8, length: usize) {
        // SAFETY: as in `by_sixteen`. At the end the upper halves of all these registers are cleared, as code that knows only
        // the lower ones wants it; all are named as changed, for code that knows both.
        unsafe {
            asm!(
                "lea {last_from}, [rsi + rcx - 32]",
                "lea {last_to}, [rdi + rcx - 32]",
                "sub rcx, 128",
                "jb 3f",
                "2:",
                "vmovdqu ymm0, [rsi]",
                "vmovdqu ymm1, [rsi + 32]",
                "vmovdqu ymm2, [rsi + 64]",
                "vmovdqu ymm3, [rsi + 96]",
                "vmovdqu [rdi], ymm0",
                "vmovdqu [rdi + 32], ymm1",
                "vmovdqu [rdi + 64], ymm2",
                "vmovdqu [rdi + 96], ymm3",
                "add rsi, 128",
                "add rdi, 128",
                "sub rcx, 128",
                "jae 2b",
                "3:",
                // What is left is below 128, and `rcx` is 128 below that.
                "add rcx, 96",
                "jnc 5f",
                "4:",
                "vmovdqu ymm0, [rsi]",
                "vmovdqu [rdi], ymm0",
                "add rsi, 32",
                "add rdi, 32",
                "sub rcx, 32",
                "jae 4b",
                "5:",
                "vmovdqu ymm0, [{last_from}]",
                "vmovdqu [{last_to}], ymm0",
                "vzeroupper",
                last_from = out(reg) _,
                last_to = out(reg) _,
                inout("rcx") length => _,
                inout("rsi") from => _,
                inout("rdi") to => _,
                out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _,
                out("xmm4") _, out("xmm5") _, out("xmm6") _, out("xmm7") _,
                out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _,
                out("xmm12") _, out("xmm13") _, out("xmm14") _, out("xmm15") _,
                options(nostack),
            );
        }
    }

    /// Whether a processor of this kind finds sooner in memory what another one has written than in the cache of that one.
    ///
    /// So it is with AMD's, even where two of them have a cache in common: the table of the ring's producer is of such a one. It is the
    /// other way round with Intel's, which all have one: 1 MiB one way took 142 µs through the cache and 206 past it, there and
    /// back 372 and 503, 64 MiB one way 15.8 and 19.7 ms (medians of four runs in turn, an Xeon with 2 MiB of cache for each of
    /// 2 virtual processors and 105 MiB for all).
    pub(super) fn memory_is_nearer() -> bool {
        // To ask takes some microseconds in a virtual machine.
        static NEARER: OnceLock<bool> = OnceLock::new();
        *NEARER.get_or_init(|| {
            #[allow(unused_unsafe, reason = "it is unsafe in the oldest compiler that we support")]
            // SAFETY: every processor of this architecture has the instruction, and this leaf of it.
            let maker = unsafe { __cpuid(0) };
            let name = [maker.ebx, maker.edx, maker.ecx].map(u32::to_le_bytes);
            matches!(name.as_flattened(), b"AuthenticAMD" | b"HygonGenuine")
        })
    }

    /// As [`copy`], with stores that go to memory past the cache, one line of it at a time. All of them are done for whoever sees
    /// what is stored after this.
    ///
    /// # Safety
    /// As for [`copy`].
    pub(super) unsafe fn past_cache(from: *const u8, to: *mut u8, length: usize) {
        // Such a store needs a target that is aligned, and is worth something where it is a whole line.
        let before = to.align_offset(LINE).min(length);
        let lines = (length - before) / LINE;
        let behind = before + lines * LINE;
        // SAFETY: as the caller says, of the first of these bytes.
        unsafe { copy(from, to, before) };
        let (last_from, last_to) = (from.wrapping_add(behind), to.wrapping_add(behind));
        // SAFETY: as the caller says, of the last of them.
        unsafe { copy(last_from, last_to, length - behind) };
        if lines == 0 {
            return;
        }
        let (from, to) = (from.wrapping_add(before), to.wrapping_add(before));
        // SAFETY: as the caller says, of so many lines between those; the target is at the start of one. A fence follows, since
        // a store past the cache is not in the order of others by itself.
        unsafe {
            asm!(
                "2:",
                "movups {a}, [{from}]",
                "movups {b}, [{from} + 16]",
                "movups {c}, [{from} + 32]",
                "movups {d}, [{from} + 48]",
                "movntps [{to}], {a}",
                "movntps [{to} + 16], {b}",
                "movntps [{to} + 32], {c}",
                "movntps [{to} + 48], {d}",
                "add {from}, 64",
                "add {to}, 64",
                "dec {lines}",
                "jnz 2b",
                "sfence",
                from = inout(reg) from => _,
                to = inout(reg) to => _,
                lines = inout(reg) lines => _,
                a = out(xmm_reg) _,
                b = out(xmm_reg) _,
                c = out(xmm_reg) _,
                d = out(xmm_reg) _,
                options(nostack),
            );
        }
    }

    /// As [`copy`], by the instruction for that.
    ///
    /// # Safety
    /// As for [`copy`].
    #[inline]
    pub(super) unsafe fn by_string(from: *const u8, to: *mut u8, length: usize) {
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
}

/// What other architectures do; tested on all.
#[cfg(any(all(test, not(loom)), not(target_arch = "x86_64")))]
mod atomic {
    use std::mem::MaybeUninit;
    use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

    /// As its namesake above.
    ///
    /// # Safety
    /// See there.
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

/// All ways to copy, for their test: for how many bytes each is.
#[cfg(all(test, not(loom)))]
pub(super) mod ways {
    use std::mem::MaybeUninit;
    use std::ops::RangeInclusive;

    use super::atomic;

    /// Copies into memory that may be shared, and out of memory that may be.
    pub(crate) type Way = (
        &'static str,
        RangeInclusive<usize>,
        unsafe fn(*const u8, *mut u8, usize),
    );

    pub(crate) fn all() -> Vec<Way> {
        let ways: Vec<Way> = vec![
            ("into", 0..=usize::MAX, into),
            ("out", 0..=usize::MAX, out),
            ("atomic::into", 0..=usize::MAX, atomic_into),
            ("atomic::out", 0..=usize::MAX, atomic_out),
        ];
        #[cfg(target_arch = "x86_64")]
        let ways = {
            use super::x86_64;

            let mut ways = ways;
            ways.push(("short", 0..=15, x86_64::short));
            ways.push(("by_sixteen", 16..=usize::MAX, x86_64::by_sixteen));
            ways.push(("by_string", 0..=usize::MAX, x86_64::by_string));
            ways.push(("past_cache", 0..=usize::MAX, x86_64::past_cache));
            if std::arch::is_x86_feature_detected!("avx") {
                ways.push(("by_thirty_two", 32..=usize::MAX, x86_64::by_thirty_two));
            }
            ways
        };
        ways
    }

    unsafe fn into(from: *const u8, to: *mut u8, length: usize) {
        // SAFETY: the caller says that they can be read.
        let bytes = unsafe { std::slice::from_raw_parts(from, length) };
        // SAFETY: the caller says that they can be written.
        unsafe { super::into(bytes, to) };
    }

    unsafe fn out(from: *const u8, to: *mut u8, length: usize) {
        // SAFETY: the caller says that they can be written.
        let to = unsafe { std::slice::from_raw_parts_mut(to.cast::<MaybeUninit<u8>>(), length) };
        // SAFETY: the caller says that they can be read.
        unsafe { super::out(from, to) };
    }

    unsafe fn atomic_into(from: *const u8, to: *mut u8, length: usize) {
        // SAFETY: the caller says that they can be read.
        let bytes = unsafe { std::slice::from_raw_parts(from, length) };
        // SAFETY: the caller says that they can be written.
        unsafe { atomic::into(bytes, to) };
    }

    unsafe fn atomic_out(from: *const u8, to: *mut u8, length: usize) {
        // SAFETY: the caller says that they can be written.
        let to = unsafe { std::slice::from_raw_parts_mut(to.cast::<MaybeUninit<u8>>(), length) };
        // SAFETY: the caller says that they can be read.
        unsafe { atomic::out(from, to) };
    }
}
