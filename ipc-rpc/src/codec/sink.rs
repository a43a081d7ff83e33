//! Where a codec writes: a buffer with an end that is not its own.

use std::cell::Cell;
use std::io;

use transports::buffers;

/// How far beyond the limit a value is measured, as a multiple of the limit. A sender wants to know what it would have
/// needed; an endless value must still come to an end.
const MEASURED: usize = 16;

/// Byte strings from this size on may be left where they are; see [`Extras::lent`](super::Extras::lent).
/// A smaller one is copied in a microsecond.
pub(crate) const LENT: usize = 64 << 10;

/// Appends to a buffer up to a limit, then only counts.
pub(super) struct Sink<'out> {
    out: &'out mut Vec<u8>,
    limit: usize,
    /// What is not copied, and where it belongs once it has come.
    lent: Option<&'out [u8]>,
    gap: Option<usize>,
    /// What has been written or counted, for others to see, too. Above the limit, nothing more is written.
    length: &'out Cell<usize>,
}

impl<'out> Sink<'out> {
    pub(super) fn new(
        out: &'out mut Vec<u8>,
        limit: usize,
        lent: Option<&'out [u8]>,
        length: &'out Cell<usize>,
    ) -> Self {
        Self {
            out,
            limit,
            lent,
            gap: None,
            length,
        }
    }

    /// Where in the buffer the bytes belong that were lent, if they came.
    pub(super) fn gap(&self) -> Option<usize> {
        self.gap
    }

    /// What the value needs, if that is above the limit.
    pub(super) fn overflow(&self) -> Option<usize> {
        let length = self.length.get();
        (length > self.limit).then_some(length)
    }

    /// Takes `bytes`, or says that enough is enough: the value has been measured as far as it ever will be.
    #[inline]
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), Full> {
        let length = self.length.get().saturating_add(bytes.len());
        self.length.set(length);
        if length > self.limit {
            return self.count();
        }
        if bytes.len() >= LENT {
            self.push_large(bytes);
        } else {
            self.out.extend_from_slice(bytes);
        }
        Ok(())
    }

    #[cold]
    fn push_large(&mut self, bytes: &[u8]) {
        if self.gap.is_none() && self.lent.is_some_and(|lent| std::ptr::eq(lent, bytes)) {
            self.gap = Some(self.out.len());
            return;
        }
        // Without memory, what follows says so.
        let _ = buffers::reserve(self.out, bytes.len());
        self.out.extend_from_slice(bytes);
    }

    #[cold]
    fn count(&self) -> Result<(), Full> {
        if self.length.get() > self.limit.saturating_mul(MEASURED) {
            Err(Full)
        } else {
            Ok(())
        }
    }
}

/// The value is far above the limit; see [`Sink::overflow`].
#[derive(Debug)]
pub(super) struct Full;

impl io::Write for Sink<'_> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes)?;
        Ok(bytes.len())
    }

    #[inline]
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.push(bytes).map_err(|Full| io::ErrorKind::WriteZero.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
