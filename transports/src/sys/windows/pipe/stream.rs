//! A connection over a named pipe.

use std::io::{self, IoSlice};
use std::os::windows::io::OwnedHandle;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Event;
use super::operation::{Operation, Outcome};
use super::write::Write;
use crate::endpoint::PipeMode;
use crate::sys::Arrival;
use crate::{Header, Identity};

/// A connected pipe. One read is always under way, unless there is something to take.
pub(in crate::sys::windows) struct PipeStream {
    reading: Mutex<Option<Reading>>,
    writing: Mutex<Option<Writing>>,
    /// Set when there may be something to take.
    readable: Arc<Event>,
    /// Set when nothing that we wrote still waits for room.
    writable: Arc<Event>,
    identity: Identity,
}

struct Reading {
    operation: Operation,
    /// What was read and not taken yet.
    from: usize,
    to: usize,
    over: bool,
}

struct Writing {
    operation: Write,
    /// Bytes that are on their way, and that the caller believes to have still.
    given: usize,
    /// In message mode, bytes of our message that are still to be given.
    rest: usize,
    mode: PipeMode,
}

impl PipeStream {
    pub(super) fn new(pipe: OwnedHandle, mode: PipeMode, identity: Identity) -> io::Result<Self> {
        let pipe = Arc::new(pipe);
        let reading = Operation::new(&pipe)?;
        let writing = Write::new(&pipe)?;
        Ok(Self {
            readable: Arc::clone(reading.event()),
            writable: Arc::clone(writing.event()),
            reading: Mutex::new(Some(Reading {
                operation: reading,
                from: 0,
                to: 0,
                over: false,
            })),
            writing: Mutex::new(Some(Writing {
                operation: writing,
                given: 0,
                rest: 0,
                mode,
            })),
            identity,
        })
    }

    pub(in crate::sys::windows) fn identity(&self) -> Identity {
        self.identity.clone()
    }

    pub(in crate::sys::windows) fn readable(&self) -> &Arc<Event> {
        &self.readable
    }

    pub(in crate::sys::windows) fn writable(&self) -> &Arc<Event> {
        &self.writable
    }

    /// Gives the system as much as the pipe has room for. What waits for room counts as given only when it has gone:
    /// until then the caller has to keep it, since it is lost if the pipe is closed.
    pub(in crate::sys::windows) fn send(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        match &mut *lock(&self.writing) {
            Some(writing) => writing.send(pieces),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// Takes what has come; see `Stream::receive`.
    pub(in crate::sys::windows) fn receive(
        &self,
        body: &mut Vec<u8>,
        limit: usize,
        buffer: &mut Vec<u8>,
        more: usize,
    ) -> io::Result<Arrival> {
        let body_room = (body.capacity() - body.len()).min(limit);
        let rest_room = if body_room == limit {
            (buffer.capacity() - buffer.len()).min(more)
        } else {
            0
        };
        let asked = body_room + rest_room;
        let mut bytes = 0;
        let mut guard = lock(&self.reading);
        let Some(reading) = &mut *guard else {
            return Ok(Arrival {
                bytes,
                asked,
                attachments: false,
            });
        };
        while bytes < asked {
            let there = match reading.look() {
                Ok(there) => there,
                Err(_) if bytes > 0 => break,
                Err(error) => return Err(error),
            };
            if there.is_empty() {
                // The end. After something else, it is met again by the next look, which has to come.
                let asked = if bytes > 0 { bytes } else { asked };
                return Ok(Arrival {
                    bytes,
                    asked,
                    attachments: false,
                });
            }
            let (to, room) = match body_room.checked_sub(bytes) {
                Some(room @ 1..) => (&mut *body, room),
                _ => (&mut *buffer, asked - bytes),
            };
            let count = there.len().min(room);
            to.extend_from_slice(&there[..count]);
            reading.from += count;
            bytes += count;
        }
        Ok(Arrival {
            bytes,
            asked,
            attachments: false,
        })
    }

    /// Ends both directions: what is under way is cancelled, and the pipe is closed. The other side can still read what it
    /// has not read yet.
    pub(in crate::sys::windows) fn shutdown(&self) {
        *lock(&self.reading) = None;
        *lock(&self.writing) = None;
    }
}

impl Reading {
    /// What is there to be taken, of which nothing is left at the end. `WouldBlock` once a read is under way.
    fn look(&mut self) -> io::Result<&[u8]> {
        // A message of no bytes is no news, and may be followed by others.
        while self.from == self.to && !self.over {
            let outcome = if self.operation.is_under_way() {
                self.operation.outcome()?
            } else {
                self.operation.read()?
            };
            match outcome {
                Outcome::Done(bytes) => (self.from, self.to) = (0, bytes),
                // It has taken nothing: the next turn begins another.
                Outcome::Aborted => {}
                Outcome::UnderWay => return Err(io::ErrorKind::WouldBlock.into()),
                Outcome::Over => self.over = true,
            }
        }
        let (from, to) = (self.from, self.to);
        Ok(&self.operation.buffer()[from..to])
    }
}

impl Writing {
    fn send(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut taken = 0;
        loop {
            let outcome = if self.operation.is_under_way() {
                self.operation.outcome()?
            } else {
                let given = self.gather(pieces, taken);
                if given == 0 {
                    return Ok(taken);
                }
                self.given = given;
                self.operation.begin(given)?
            };
            match outcome {
                Outcome::Done(bytes) if bytes == self.given => {
                    taken += bytes;
                    self.given = 0;
                }
                // The system writes all, or fails; nobody but us cancels a write.
                Outcome::Done(_) | Outcome::Over | Outcome::Aborted => {
                    return Err(io::ErrorKind::BrokenPipe.into());
                }
                Outcome::UnderWay if taken == 0 => return Err(io::ErrorKind::WouldBlock.into()),
                Outcome::UnderWay => return Ok(taken),
            }
        }
    }

    /// Copies what is next behind the first `skip` bytes of the pieces: as much as fits, or, in message mode, one of our
    /// messages, or as much of it as fits.
    fn gather(&mut self, pieces: &[IoSlice<'_>], skip: usize) -> usize {
        let mut skip = skip;
        let mut count = 0;
        let mut left = None;
        for piece in pieces {
            let passed = skip.min(piece.len());
            skip -= passed;
            let piece = &piece[passed..];
            if piece.is_empty() {
                continue;
            }
            let left = left.get_or_insert_with(|| self.next(piece));
            let room = self.operation.buffer();
            let taken = piece.len().min(room.len() - count).min(*left);
            room[count..count + taken].copy_from_slice(&piece[..taken]);
            count += taken;
            *left -= taken;
            if *left == 0 || taken < piece.len() {
                break;
            }
        }
        if self.mode == PipeMode::Message {
            self.rest = left.unwrap_or(0);
        }
        count
    }

    /// How many bytes to write at most, where `piece` is what comes next.
    fn next(&self, piece: &[u8]) -> usize {
        match (self.mode, piece.first_chunk()) {
            (PipeMode::Byte, _) => usize::MAX,
            (PipeMode::Message, _) if self.rest > 0 => self.rest,
            (PipeMode::Message, Some(header)) => Header::SIZE + Header::from_bytes(header).length as usize,
            // A header is never cut: it is copied whole, and all that came before it has gone.
            (PipeMode::Message, None) => piece.len(),
        }
    }
}

fn lock<T>(half: &Mutex<T>) -> MutexGuard<'_, T> {
    half.lock().unwrap_or_else(PoisonError::into_inner)
}
