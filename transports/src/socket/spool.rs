//! Pieces of large bodies that travel through a file, where two processes share no memory, but files: over `pipe:` on Unix.
//!
//! Each side that sends has a file of its own. It writes a piece into one of a few places and says so in a frame on the stream; the other side
//! reads it into the body that it belongs to, and gives the place back. A file is read and written, never mapped:
//!
//! ```text
//! 0          1                5                4096
//! | opened   | back | .. x 4  | nothing        | place | place | place | place |
//! | one byte of the other side's each          | of so many bytes as was said  |
//! ```
//!
//! The first bytes are the other side's to write: one says that it has opened the file, and one for each place counts how often that was
//! given back. So giving back takes no message, which would have to wait for room in the stream, and for the half of the port that sends; and
//! since each mark is a byte, whoever looks finds the old one or the new one, and nothing in between. The sender looks when it needs a place, and
//! without one the next bytes go through the stream: nobody waits for what comes back.
//!
//! The other side may write what it likes into marks and places, or cut the file short. The sender takes a mark for an allegation: who gives back too
//! early reads bytes that change, who gives back nothing is served through the stream. What a receiver reads is judged as what comes on the
//! stream, once it is in its own memory; where less is than was said, the connection ends.

use std::sync::atomic::{Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Link;
use super::pieces::Frame;
use crate::crash::crash_point;
use crate::section::{Kept, Watch, note_taken};
use crate::sys::SpoolFile;
use crate::{Birthplace, Endpoint, Error, ErrorKind};

/// Places of a file. They are for the other side to work on while this one goes on, and are used again and again.
const PLACES: usize = 4;

/// Bytes before the first place: a page, so that places are whole pages, too.
const HEAD: u64 = 4096;

/// The marks: that the file was opened, and how often each place is back.
const MARKS: usize = 1 + PLACES;

/// What the other side sets the first mark to.
const OPENED: u8 = 1;

/// The file of this side, for the half that sends.
pub(super) struct Spool(Arc<Shared>);

struct Shared {
    file: SpoolFile,
    /// Bytes of a place.
    size: usize,
    places: Mutex<Places>,
    watch: Watch,
    birthplace: Birthplace,
}

#[derive(Default)]
struct Places {
    /// The other side has the file.
    opened: bool,
    /// How often each place was sent, and how often it came back when that was last looked at.
    sent: [u8; PLACES],
    back: [u8; PLACES],
    /// There may be something behind the head.
    filled: bool,
    /// Something was written since [`Kept::trim`] was last called.
    used: bool,
    /// The system took no bytes, so it is asked again only after some time.
    resting: bool,
}

impl Spool {
    /// Makes the file, if the system grants one now. The other side is to be told with [`Spool::frame`].
    pub(super) fn make(link: &Link, size: usize) -> Option<Self> {
        let size = size.next_multiple_of(HEAD as usize);
        // What the other side overwrites is there by then, so that it needs no more room.
        let file = link.stream.make_spool(&[0; HEAD as usize]).ok()?;
        crash_point!();
        let watch = Watch::default();
        watch.want();
        Some(Self(Arc::new(Shared {
            file,
            size,
            places: Mutex::default(),
            watch,
            birthplace: Birthplace::here(),
        })))
    }

    /// What the other side is told of it.
    pub(super) fn frame(&self) -> Frame {
        Frame::Spool {
            size: self.0.size as u64,
        }
    }

    /// Whether pieces can be written at all, as far as was seen: the other side has the file, and the system takes bytes.
    pub(super) fn is_usable(&self) -> bool {
        let places = self.0.places();
        places.opened && !places.resting
    }

    /// Looks whether the other side has opened it.
    pub(super) fn look(&self) {
        let mut places = self.0.places();
        if !places.opened {
            self.0.look(&mut places);
        }
    }

    /// Writes a piece, in two parts, into a place: its number. `None`: none is free now, or the system takes no bytes.
    pub(super) fn put(&self, parts: [&[u8]; 2]) -> Option<u32> {
        let mut places = self.0.places();
        if places.free().is_none() {
            self.0.look(&mut places);
        }
        let place = places.free().filter(|_| places.opened && !places.resting)?;
        (places.filled, places.used) = (true, true);
        let begin = HEAD + (place * self.0.size) as u64;
        let second = begin + parts[0].len() as u64;
        crash_point!();
        let written = self.0.file.write(parts[0], begin);
        if written
            .and_then(|()| self.0.file.write(parts[1], second))
            .is_err()
        {
            places.resting = true;
        } else {
            places.sent[place] = places.sent[place].wrapping_add(1);
        }
        let resting = places.resting;
        drop(places);
        crash_point!();
        note_taken(&self.0);
        (!resting).then_some(place as u32)
    }
}

impl Shared {
    fn places(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the marks as they are now. What cannot be read has not changed.
    fn look(&self, places: &mut Places) {
        let mut marks = [0; MARKS];
        if matches!(self.file.read(&mut marks, 0), Ok(MARKS)) {
            // What the other side read before it set a mark is not overwritten by what is written on the strength of it.
            fence(Ordering::SeqCst);
            let [opened, back @ ..] = marks;
            places.opened = opened == OPENED;
            places.back = back;
        }
    }
}

impl Places {
    /// A place that the other side has not: the first, whose bytes are most likely in the processor's cache.
    fn free(&self) -> Option<usize> {
        (0..PLACES).find(|&place| self.sent[place] == self.back[place])
    }
}

impl Kept for Shared {
    fn trim(&self) -> bool {
        if !self.birthplace.is_here() {
            return false;
        }
        let mut places = self.places();
        if std::mem::take(&mut places.used) {
            return true;
        }
        places.resting = false;
        self.look(&mut places);
        if places.filled && places.sent == places.back {
            places.filled = self.file.shorten(HEAD).is_err();
        }
        places.filled
    }

    fn holds_anything(&self) -> bool {
        self.birthplace.is_here() && self.places().filled
    }

    fn watch(&self) -> &Watch {
        &self.watch
    }
}

/// The other side's file, for the half that receives.
pub(super) enum PeerSpool {
    /// The two sides have no files in common.
    Impossible,
    /// None was told of.
    Unknown,
    /// One was told of, and could not be opened here.
    Declined,
    Open {
        file: SpoolFile,
        size: u64,
        back: [u8; PLACES],
    },
}

impl PeerSpool {
    /// Before anything is said; `possible`: the other side may have one.
    pub(super) fn new(possible: bool) -> Self {
        if possible { Self::Unknown } else { Self::Impossible }
    }

    /// Takes what is said of a file, and opens it.
    ///
    /// # Errors
    /// `Protocol` if there may be none, or it is not what it has to be.
    pub(super) fn announced(&mut self, link: &Link, size: u64) -> Result<(), Error> {
        match self {
            Self::Unknown => {}
            Self::Impossible => return Err(refused("the two sides have none in common")),
            _ => return Err(refused("it is the second")),
        }
        if size == 0 || size > Endpoint::LARGEST_PIECE as u64 {
            return Err(refused("its places are larger than they may be, or none at all"));
        }
        crash_point!();
        *self = match link.stream.open_spool()? {
            // It is by this mark that the sender learns of it; without, the stream carries what comes.
            Some(file) if file.write(&[OPENED], 0).is_ok() => Self::Open {
                file,
                size,
                back: [0; PLACES],
            },
            _ => Self::Declined,
        };
        crash_point!();
        Ok(())
    }

    /// Appends the bytes of a piece to `body`, which has room for them, and gives its place back.
    ///
    /// # Errors
    /// `Protocol` if it lies where nothing is; `Io` if the system cannot read it.
    pub(super) fn take(&mut self, place: u32, length: u32, body: &mut Vec<u8>) -> Result<(), Error> {
        let Self::Open { file, size, back } = self else {
            return Err(refused("a piece lies in one that is not open"));
        };
        let Some(mark) = back.get_mut(place as usize) else {
            return Err(refused("a piece lies in a place that it does not have"));
        };
        if u64::from(length) > *size {
            return Err(refused("a piece is larger than its place"));
        }
        let begin = HEAD + u64::from(place) * *size;
        crash_point!();
        file.append_to(length as usize, begin, body)
            .map_err(|error| match error.kind() {
                std::io::ErrorKind::UnexpectedEof => refused("it is shorter than what is said to lie in it"),
                _ => Error::system("cannot read the other side's file for large bodies", error),
            })?;
        crash_point!();
        *mark = mark.wrapping_add(1);
        // Before that, all of it was read.
        fence(Ordering::SeqCst);
        // If the system does not take the byte, the place is not used again, and the stream carries what comes.
        let _ = file.write(&[*mark], 1 + u64::from(place));
        crash_point!();
        Ok(())
    }
}

fn refused(rule: &str) -> Error {
    let message = format!("the other side's file for large bodies is refused: {rule}");
    Error::new(ErrorKind::Protocol, message)
}
