//! Large messages on their way in pieces, several at a time: each has a *lane*, and the pieces of all of them, and whole
//! messages, travel in between one another as far as they may.

use crate::{Error, ErrorKind, Header, Message, buffers};

/// Large messages of one side that are on their way at the same time.
pub(crate) const LANES: usize = 8;

/// The memory set aside for a large body before any of it has come; it doubles as pieces arrive. What a hostile
/// length can claim is this much address space.
pub(crate) const FIRST_STEP: usize = 1 << 20;

/// The lanes of the half that sends.
#[derive(Default)]
pub(crate) struct Leaving {
    lanes: [Option<Large>; LANES],
    /// How many are in use.
    occupied: usize,
    /// Whose turn it was last.
    turn: usize,
}

struct Large {
    unordered: bool,
    body: Body,
}

/// What is left of a large message.
pub(crate) enum Body {
    /// What of the buffer is gone, and the buffer.
    Kept(usize, Vec<u8>),
    /// Its owner has it, so many bytes.
    Lent(usize),
}

impl Leaving {
    /// Whether nothing is on its way.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.occupied == 0
    }

    /// Whether a message may go now, as far as those that are on their way have a say.
    #[inline]
    pub(crate) fn may_pass(&self, unordered: bool) -> bool {
        let mut on_their_way = self.lanes.iter().flatten();
        self.occupied == 0 || on_their_way.all(|large| unordered && large.unordered)
    }

    /// A lane that is not in use.
    pub(crate) fn vacant(&self) -> Option<usize> {
        self.lanes.iter().position(Option::is_none)
    }

    /// A message takes a lane that is vacant.
    pub(crate) fn occupy(&mut self, lane: usize, unordered: bool, body: Body) {
        self.lanes[lane] = Some(Large { unordered, body });
        self.occupied += 1;
    }

    /// The next of those that are kept here, by turns.
    pub(crate) fn next(&mut self) -> Option<usize> {
        let is_kept = |large: &Large| matches!(large.body, Body::Kept(..));
        let lane = (1..=LANES)
            .map(|step| (self.turn + step) % LANES)
            .find(|&lane| self.lanes[lane].as_ref().is_some_and(is_kept))?;
        self.turn = lane;
        Some(lane)
    }

    /// What is left of one that is kept here.
    pub(crate) fn rest(&self, lane: usize) -> &[u8] {
        match self.lanes.get(lane) {
            Some(Some(Large {
                body: Body::Kept(sent, body),
                ..
            })) => &body[*sent..],
            _ => &[],
        }
    }

    /// So many bytes of one that is kept here are gone. The buffer, if that was all.
    pub(crate) fn advance(&mut self, lane: usize, taken: usize) -> Option<Vec<u8>> {
        let large = self.lanes.get_mut(lane)?;
        let Some(Large {
            body: Body::Kept(sent, body),
            ..
        }) = large
        else {
            return None;
        };
        *sent += taken;
        if *sent < body.len() {
            return None;
        }
        let body = std::mem::take(body);
        *large = None;
        self.occupied -= 1;
        Some(body)
    }

    /// What is left of one that its owner keeps.
    pub(crate) fn left_of_lent(&self, lane: usize) -> Option<usize> {
        match self.lanes.get(lane) {
            Some(Some(Large {
                body: Body::Lent(left),
                ..
            })) => Some(*left),
            _ => None,
        }
    }

    /// So many bytes of one that its owner keeps are gone.
    pub(crate) fn advance_lent(&mut self, lane: usize, taken: usize) {
        let Some(large) = self.lanes.get_mut(lane) else {
            return;
        };
        if let Some(Large {
            body: Body::Lent(left),
            ..
        }) = large
        {
            *left -= taken;
            if *left == 0 {
                *large = None;
                self.occupied -= 1;
            }
        }
    }

    /// Whether something is kept here.
    pub(crate) fn has_kept(&self) -> bool {
        let is_kept = |large: &Large| matches!(large.body, Body::Kept(..));
        self.occupied > 0 && self.lanes.iter().flatten().any(is_kept)
    }

    /// Whether owners keep something.
    pub(crate) fn has_lent(&self) -> bool {
        let is_lent = |large: &Large| matches!(large.body, Body::Lent(_));
        self.occupied > 0 && self.lanes.iter().flatten().any(is_lent)
    }

    /// Keeps here what its owner kept. False: that is not what was left.
    pub(crate) fn keep(&mut self, lane: usize, rest: Vec<u8>) -> bool {
        let fits = self.left_of_lent(lane) == Some(rest.len());
        if let Some(Some(large)) = self.lanes.get_mut(lane).filter(|_| fits) {
            large.body = Body::Kept(0, rest);
        }
        fits
    }

    /// What is left of the largest of those that are kept here and that others may pass: nobody has to wait for it.
    pub(crate) fn largest_passed(&self) -> usize {
        if self.occupied == 0 {
            return 0;
        }
        let passed = self.lanes.iter().flatten().filter_map(|large| match &large.body {
            Body::Kept(sent, body) if large.unordered => Some(body.len() - sent),
            Body::Kept(..) | Body::Lent(_) => None,
        });
        passed.max().unwrap_or(0)
    }
}

/// The lanes of the half that receives.
#[derive(Default)]
pub(crate) struct Arriving {
    lanes: [Option<Message>; LANES],
}

/// Why a piece is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The other side broke this rule.
    Rule(&'static str),
    /// There is no memory for so many bytes.
    NoMemory(usize),
}

impl Arriving {
    /// Gives a message a lane. Its header was judged; `first` is the beginning of its body, not all of it.
    pub(crate) fn begin(&mut self, lane: u64, header: Header, first: &[u8]) -> Result<(), Refusal> {
        let total = header.length as usize;
        if first.len() >= total {
            return Err(Refusal::Rule("the first piece of a message is all of it"));
        }
        let lane = usize::try_from(lane).ok();
        let Some(place @ None) = lane.and_then(|lane| self.lanes.get_mut(lane)) else {
            return Err(Refusal::Rule(
                "a piece is for a lane that does not exist, or is in use",
            ));
        };
        let step = total.min(FIRST_STEP.max(first.len()));
        let mut body = buffers::take(total).unwrap_or_default();
        buffers::reserve(&mut body, step).map_err(|_| Refusal::NoMemory(step))?;
        body.extend_from_slice(first);
        *place = Some(Message {
            header,
            body,
            begun: true,
            sections: Vec::new(),
        });
        Ok(())
    }

    /// Whether a further piece of so many bytes may come: the message that it belongs to.
    pub(crate) fn check(&mut self, lane: u64, length: usize) -> Result<&mut Message, Refusal> {
        let lane = usize::try_from(lane).ok();
        let Some(Some(large)) = lane.and_then(|lane| self.lanes.get_mut(lane)) else {
            return Err(Refusal::Rule("a piece belongs to no message that was begun"));
        };
        if length == 0 {
            return Err(Refusal::Rule("a piece of a message has nothing in it"));
        }
        if length > large.header.length as usize - large.body.len() {
            return Err(Refusal::Rule(
                "the pieces of a message are more than it was said to have",
            ));
        }
        Ok(large)
    }

    /// Where a further piece goes that has come: behind those that are there. There is room for it.
    pub(crate) fn room(&mut self, lane: u64, length: usize) -> Result<&mut Vec<u8>, Refusal> {
        self.room_for(lane, length, length)
    }

    /// Where one goes that is coming. There is room for some of it: what is set aside is no more than what has come, or than
    /// [`FIRST_STEP`].
    pub(crate) fn some_room(&mut self, lane: u64, length: usize) -> Result<&mut Vec<u8>, Refusal> {
        self.room_for(lane, length, 1)
    }

    fn room_for(&mut self, lane: u64, length: usize, least: usize) -> Result<&mut Vec<u8>, Refusal> {
        let large = self.check(lane, length)?;
        let (there, total) = (large.body.len(), large.header.length as usize);
        if large.body.capacity() - there < least {
            let step = (total - there).min(there.max(least).max(FIRST_STEP));
            buffers::reserve(&mut large.body, step).map_err(|_| Refusal::NoMemory(step))?;
        }
        Ok(&mut large.body)
    }

    /// The message on a lane, if all of it is there: it leaves.
    pub(crate) fn take_whole(&mut self, lane: u64) -> Option<Message> {
        let place = self.lanes.get_mut(usize::try_from(lane).ok()?)?;
        place.take_if(|large| large.body.len() == large.header.length as usize)
    }

    /// Whether something has come in part.
    pub(crate) fn is_any(&self) -> bool {
        self.lanes.iter().any(Option::is_some)
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Rule(rule) => {
                let message = format!("the other side broke a rule of large messages: {rule}");
                Self::new(ErrorKind::Protocol, message)
            }
            Refusal::NoMemory(bytes) => {
                let message = format!("there is no memory for {bytes} bytes of a message");
                Self::new(ErrorKind::Resource, message)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Arriving, FIRST_STEP, Refusal};
    use crate::Header;

    /// What is claimed takes little memory; what has come takes a few times as much.
    #[test]
    fn room_is_made_for_what_comes() {
        // More than any other test leaves a buffer for.
        let total = 300 * FIRST_STEP;
        let header = Header {
            length: total as u32,
            ..Header::default()
        };
        let mut lanes = Arriving::default();
        lanes.begin(3, header, &[]).unwrap();
        let mut there = 0;
        while there < 20 * FIRST_STEP {
            let body = lanes.some_room(3, total - there).unwrap();
            let room = body.capacity() - body.len();
            assert!(room > 0);
            // Room for as much again; buffers are of a few sizes, and one that was kept is up to four times larger than the one that fits.
            let most = 16 * there.max(FIRST_STEP) + FIRST_STEP;
            assert!(body.capacity() <= most, "{there}");
            let came = room.min(total - there).min(FIRST_STEP / 2);
            body.resize(there + came, 7);
            there += came;
        }
        assert!(lanes.take_whole(3).is_none());
        let excess = lanes.check(3, total - there + 1).map(|_| ());
        assert!(matches!(excess, Err(Refusal::Rule(_))));
        assert!(lanes.check(3, total - there).is_ok());
    }
}
