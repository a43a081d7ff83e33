//! Where a codec writes: a buffer with an end that is not its own.

use std::io;

/// How far beyond the limit a value is measured, as a multiple of the limit. A sender wants to know what it would have
/// needed; an endless value must still come to an end.
const MEASURED: usize = 16;

/// Appends to a buffer up to a limit, then only counts.
pub(super) struct Sink<'out> {
    out: &'out mut Vec<u8>,
    limit: usize,
    /// What has been written or counted. Above the limit, nothing more is written.
    length: usize,
}

impl<'out> Sink<'out> {
    pub(super) fn new(out: &'out mut Vec<u8>, limit: usize) -> Self {
        Self {
            out,
            limit,
            length: 0,
        }
    }

    /// What the value needs, if that is above the limit.
    pub(super) fn overflow(&self) -> Option<usize> {
        (self.length > self.limit).then_some(self.length)
    }

    /// Takes `bytes`, or says that enough is enough: the value has been measured as far as it ever will be.
    #[inline]
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), Full> {
        let length = self.length.saturating_add(bytes.len());
        self.length = length;
        if length > self.limit {
            return self.count();
        }
        self.out.extend_from_slice(bytes);
        Ok(())
    }

    #[cold]
    fn count(&self) -> Result<(), Full> {
        if self.length > self.limit.saturating_mul(MEASURED) {
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
