//! Descriptors that travel with bytes.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};

use super::close_elsewhere;
use crate::sys::unix::Stream;
use crate::sys::{Arrival, Patience};

/// The most descriptors that travel together.
pub(crate) const DESCRIPTORS: usize = 4;

impl Stream {
    /// As [`Stream::send`], with descriptors, at most [`DESCRIPTORS`], which the other side receives with the first of the
    /// bytes. They are sent if any byte is; `bytes` must not be empty.
    ///
    /// # Errors
    /// `Unsupported` if the stream is no Unix socket; `ETOOMANYREFS` if too many of this user's descriptors are on their
    /// way already.
    pub(crate) fn send_with_descriptors(
        &self,
        bytes: &[u8],
        descriptors: &[BorrowedFd<'_>],
    ) -> io::Result<usize> {
        if !self.carries_descriptors() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        if bytes.is_empty() || descriptors.len() > DESCRIPTORS {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() {
            // There is room: the number was judged above.
            control.push(SendAncillaryMessage::ScmRights(descriptors));
        }
        let sent = rustix::net::sendmsg(
            self.as_fd(),
            &[IoSlice::new(bytes)],
            &mut control,
            SendFlags::NOSIGNAL | SendFlags::DONTWAIT,
        )?;
        Ok(sent)
    }

    /// Takes what is there, in one call: up to `most` bytes onto the end of `buffer`, and the descriptors that came with
    /// them onto the end of `descriptors`, closed on exec.
    ///
    /// If more came than [`DESCRIPTORS`], or than this process may have, [`Arrival::attachments`] is set and all that came
    /// are closed. Whether they were to come at all is for the caller to judge; it closes those that were not with
    /// [`close_elsewhere`].
    pub(crate) fn receive_with_descriptors(
        &self,
        buffer: &mut Vec<u8>,
        most: usize,
        descriptors: &mut Vec<OwnedFd>,
    ) -> io::Result<Arrival> {
        if !self.carries_descriptors() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let former = buffer.len();
        buffer.try_reserve(most)?;
        buffer.resize(former + most, 0);
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = rustix::net::recvmsg(
            self.as_fd(),
            &mut [IoSliceMut::new(&mut buffer[former..])],
            &mut control,
            RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT,
        );
        buffer.truncate(former + received.as_ref().map_or(0, |received| received.bytes));
        let received = received?;
        let mut came = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                came.extend(rights);
            }
        }
        // The space is rounded up, so that a few more may find room.
        let attachments = received.flags.contains(ReturnFlags::CTRUNC) || came.len() > DESCRIPTORS;
        if attachments {
            close_elsewhere(came);
        } else {
            descriptors.append(&mut came);
        }
        Ok(Arrival {
            bytes: received.bytes,
            asked: most,
            attachments,
        })
    }
}

impl Stream {
    /// As [`Stream::receive`], with the descriptors that came with the bytes, as
    /// [`Stream::receive_with_descriptors`]. In one call no bytes come that were sent after others with descriptors.
    pub(crate) fn receive_beside_descriptors(
        &self,
        body: &mut Vec<u8>,
        limit: usize,
        buffer: &mut Vec<u8>,
        more: usize,
        patience: Option<Patience>,
        descriptors: &mut Vec<OwnedFd>,
    ) -> io::Result<Arrival> {
        let mut control = [0; CONTROL.div_ceil(size_of::<usize>())];
        let (mut arrival, length) =
            self.receive_with_control(body, limit, buffer, more, patience, &mut control)?;
        if length > 0 {
            let mut came = rights(&control, length);
            arrival.attachments |= came.len() > DESCRIPTORS;
            if arrival.attachments {
                close_elsewhere(came);
            } else {
                descriptors.append(&mut came);
            }
        }
        Ok(arrival)
    }
}

/// Bytes of what stands before the data in a piece of control data: its length, with this, and two numbers that say what it
/// is.
const PREFIX: usize = size_of::<libc::cmsghdr>();
/// Bytes of control data with so many descriptors.
const CONTROL: usize = PREFIX + DESCRIPTORS * size_of::<RawFd>();

/// The descriptors in the first `length` bytes of control data that the system has written.
fn rights(control: &[usize], length: usize) -> Vec<OwnedFd> {
    let bytes: Vec<u8> = control.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let mut rest = &bytes[..length.min(bytes.len())];
    let mut came = Vec::new();
    while let Some((prefix, _)) = rest.split_at_checked(PREFIX) {
        let (size, kind) = prefix.split_at(size_of::<usize>());
        let number = |at: usize| {
            kind[kind.len() - at..]
                .first_chunk()
                .map(|bytes| i32::from_ne_bytes(*bytes))
        };
        let size = size.first_chunk().map_or(0, |bytes| usize::from_ne_bytes(*bytes));
        let Some(data) = rest.get(PREFIX..size) else {
            break;
        };
        if (number(8), number(4)) == (Some(libc::SOL_SOCKET), Some(libc::SCM_RIGHTS)) {
            for descriptor in data.chunks_exact(size_of::<RawFd>()) {
                let Some(number) = descriptor.first_chunk() else {
                    continue;
                };
                // SAFETY: the system has just opened it for this process, and nobody else knows it.
                came.push(unsafe { OwnedFd::from_raw_fd(RawFd::from_ne_bytes(*number)) });
            }
        }
        let next = size.next_multiple_of(size_of::<usize>());
        rest = rest.get(next..).unwrap_or_default();
    }
    came
}

/// The stream of a socket, for tests.
#[cfg(test)]
pub(crate) fn stream_of(socket: OwnedFd) -> io::Result<Stream> {
    Stream::new(socket)
}
