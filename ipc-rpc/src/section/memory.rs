//! Where the values of a section lie.

use std::fmt;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytemuck::Pod;
use transports::{Block, Chunk, Lease, buffers};

use crate::{Error, ErrorKind};

/// Values in memory of one kind or another.
pub(crate) enum Memory<T: Pod> {
    /// The user's own, or none at all.
    Values(Vec<T>),
    /// Private, copied out of a message.
    Copied(Copied),
    /// From the pool of the connection `origin`, still being written.
    Chunk { chunk: Chunk, origin: u64 },
    /// The same, written.
    Block { block: Block, origin: u64 },
    /// Of the other side of the connection `origin`, in place: its bytes can be lent.
    Lease { lease: Lease, origin: u64 },
    /// On its way out, with all rights to it: nobody looks at it any more but whoever sends it, and takes it from here. The call or
    /// result that it belongs to is only lent for that.
    Leaving(Box<Mutex<Memory<T>>>),
    /// The system refused to seal it.
    Lost(Arc<Error>),
}

/// Private bytes that begin at a multiple of what their values want.
pub(crate) struct Copied {
    buffer: Vec<u8>,
    start: usize,
}

impl<T: Pod> Memory<T> {
    /// Bytes of a value.
    pub(super) const SIZE: usize = {
        assert!(
            size_of::<T>() > 0,
            "a section of values that have no size has nothing to carry"
        );
        size_of::<T>()
    };

    pub(super) fn values(&self) -> &[T] {
        match self {
            Self::Values(values) => values,
            Self::Copied(copied) => cast(copied.bytes()),
            Self::Chunk { chunk, .. } => cast(chunk),
            Self::Block { block, .. } => cast(block),
            Self::Lease { lease, .. } => lease.bytes().map_or(&[], cast),
            Self::Leaving(_) | Self::Lost(_) => &[],
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        bytemuck::cast_slice(self.values())
    }

    /// The values, to be changed: what others can see is copied before.
    pub(super) fn values_mut(&mut self) -> &mut [T] {
        let is_in_place = match self {
            Self::Values(_) | Self::Copied(_) | Self::Chunk { .. } => true,
            Self::Lease { lease, .. } => lease.bytes_mut().is_some(),
            Self::Block { .. } | Self::Leaving(_) | Self::Lost(_) => false,
        };
        if !is_in_place {
            *self = Self::Values(self.values().to_vec());
        }
        match self {
            Self::Values(values) => values,
            Self::Copied(copied) => bytemuck::cast_slice_mut(copied.bytes_mut()),
            Self::Chunk { chunk, .. } => bytemuck::cast_slice_mut(chunk),
            Self::Lease { lease, .. } => lease.bytes_mut().map_or(&mut [], bytemuck::cast_slice_mut),
            Self::Block { .. } | Self::Leaving(_) | Self::Lost(_) => &mut [],
        }
    }

    /// Gets it ready to be sent whole, with the right to write to it: where it is memory of a connection and nobody else has it.
    pub(super) fn leave(&mut self) {
        let is_alone = match self {
            Self::Chunk { .. } => true,
            Self::Lease { lease, .. } => lease.bytes_mut().is_some(),
            Self::Values(_) | Self::Copied(_) | Self::Block { .. } | Self::Leaving(_) | Self::Lost(_) => {
                false
            }
        };
        if is_alone {
            let memory = mem::replace(self, Self::Values(Vec::new()));
            *self = Self::Leaving(Box::new(Mutex::new(memory)));
        }
    }

    /// What is to be sent, with the right to take it, if that is so.
    pub(super) fn lock(&self) -> Option<MutexGuard<'_, Self>> {
        match self {
            Self::Leaving(memory) => Some(memory.lock().unwrap_or_else(PoisonError::into_inner)),
            _ => None,
        }
    }

    /// A block to send on the connection `origin` of what can be sent there whole. Nothing is left here then.
    pub(super) fn take_block(&mut self, origin: u64) -> Option<Block> {
        match self {
            Self::Chunk { origin: own, .. } | Self::Lease { origin: own, .. } if *own == origin => {}
            _ => return None,
        }
        let left = match mem::replace(self, Self::Values(Vec::new())) {
            Self::Chunk { chunk, .. } => match chunk.lend() {
                Ok(block) => return Some(block),
                Err(error) => Self::Lost(Arc::new(error.into())),
            },
            Self::Lease { lease, origin } => match lease.send_back() {
                Ok(block) => return Some(block),
                Err(lease) => Self::Lease { lease, origin },
            },
            other => other,
        };
        *self = left;
        None
    }

    /// Ends the writing, so that it can be sent without a copy.
    pub(super) fn freeze(&mut self) {
        if let Self::Chunk { .. } = self {
            let Self::Chunk { chunk, origin } = mem::replace(self, Self::Values(Vec::new())) else {
                return;
            };
            *self = match chunk.freeze() {
                Ok(block) => Self::Block { block, origin },
                Err(error) => Self::Lost(Arc::new(error.into())),
            };
        }
    }

    /// Fails if the values are lost.
    pub(super) fn check(&self) -> Result<(), Error> {
        match self {
            Self::Lost(error) => {
                let sentence = format!("the memory of a section could not be sealed: {error}");
                Err(Error::new(error.kind(), sentence).with_source(error.clone()))
            }
            _ => Ok(()),
        }
    }

    /// Another handle of the same memory, where that is possible, else a copy.
    pub(super) fn share(&self) -> Self {
        match self {
            Self::Block { block, origin } => Self::Block {
                block: block.clone(),
                origin: *origin,
            },
            Self::Lease { lease, origin } => Self::Lease {
                lease: lease.clone(),
                origin: *origin,
            },
            Self::Lost(error) => Self::Lost(error.clone()),
            Self::Values(_) | Self::Copied(_) | Self::Chunk { .. } | Self::Leaving(_) => {
                Self::Values(self.values().to_vec())
            }
        }
    }

    /// Takes a section of `count` values as it came on the connection `origin`: in place where its bytes can be lent, else by a copy that
    /// `charge` has to allow.
    pub(super) fn from_lease(
        lease: Lease,
        origin: u64,
        count: u64,
        charge: impl FnOnce(usize) -> Result<(), Error>,
    ) -> Result<Self, Error> {
        let length = lease.len();
        if lease.is_common() {
            let sentence = "memory that both sides write is no section";
            return Err(Error::new(ErrorKind::Decode, sentence));
        }
        if count.checked_mul(Self::SIZE as u64) != Some(length as u64) {
            let sentence = format!(
                "{count} values of {} bytes do not make a section of {length}",
                Self::SIZE
            );
            return Err(Error::new(ErrorKind::Decode, sentence));
        }
        if length == 0 {
            return Ok(Self::Values(Vec::new()));
        }
        if lease.bytes().is_some_and(is_aligned::<T>) {
            return Ok(match lease.into_chunk() {
                // What this side has sent is as it was before, but for its values.
                Ok(chunk) => Self::Chunk { chunk, origin },
                Err(lease) => Self::Lease { lease, origin },
            });
        }
        charge(length)?;
        let mut copied = Copied::with_room::<T>(length)?;
        lease.append_to(0, length, &mut copied.buffer)?;
        Ok(Self::Copied(copied))
    }

    /// A copy of bytes that came inside a message.
    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        Self::whole(bytes.len())?;
        if bytes.is_empty() {
            return Ok(Self::Values(Vec::new()));
        }
        let mut copied = Copied::with_room::<T>(bytes.len())?;
        copied.buffer.extend_from_slice(bytes);
        Ok(Self::Copied(copied))
    }

    /// The same of bytes that may be kept.
    pub(super) fn from_buffer(buffer: Vec<u8>) -> Result<Self, Error> {
        if !buffer.is_empty() && is_aligned::<T>(&buffer) {
            Self::whole(buffer.len())?;
            return Ok(Self::Copied(Copied { buffer, start: 0 }));
        }
        Self::from_bytes(&buffer)
    }

    fn whole(length: usize) -> Result<(), Error> {
        if length % Self::SIZE == 0 {
            return Ok(());
        }
        let sentence = format!(
            "{length} bytes are no whole number of values of {} bytes",
            Self::SIZE
        );
        Err(Error::new(ErrorKind::Decode, sentence))
    }
}

/// Where this is called, alignment and length are known to fit: they were judged when the memory was taken.
fn cast<T: Pod>(bytes: &[u8]) -> &[T] {
    bytemuck::cast_slice(bytes)
}

fn is_aligned<T>(bytes: &[u8]) -> bool {
    bytes.as_ptr().addr() % align_of::<T>() == 0
}

impl Copied {
    /// Empty, with room for `length` bytes for which nothing is allocated any more, so that they stay aligned.
    fn with_room<T>(length: usize) -> Result<Self, Error> {
        let mut buffer = Vec::new();
        let room = length.saturating_add(align_of::<T>() - 1);
        buffers::reserve(&mut buffer, room).map_err(|error| {
            let sentence = format!("no memory for a section of {length} bytes");
            Error::new(ErrorKind::Resource, sentence).with_source(error)
        })?;
        let address = buffer.as_ptr().addr();
        let start = address.next_multiple_of(align_of::<T>()) - address;
        buffer.resize(start, 0);
        Ok(Self { buffer, start })
    }

    fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.buffer[self.start..]
    }
}

impl Drop for Copied {
    fn drop(&mut self) {
        buffers::give(mem::take(&mut self.buffer));
    }
}

impl<T: Pod> fmt::Debug for Memory<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self {
            Self::Values(_) | Self::Copied(_) => "private",
            Self::Chunk { .. } => "being written",
            Self::Block { .. } => "written",
            Self::Lease { .. } => "in place",
            Self::Leaving(_) => "sent",
            Self::Lost(_) => "lost",
        };
        write!(formatter, "{} values, {kind}", self.values().len())
    }
}
