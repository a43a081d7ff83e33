//! Our calls: which are unanswered, and which of these somebody still waits for.
//!
//! Each call that was sent and is not one-way is answered by exactly one Reply, also one that was cancelled
//! or has expired. So a call keeps its slot until that Reply is here, whoever still wants it, and there are
//! three cases and no guess: the id in a Reply is that of its slot and somebody waits, or nobody does any
//! more and it is dropped, or the peer broke the protocol. It costs no memory beyond the table, and calls
//! that were given up still count towards the peer's limit for as long as the peer works on them.

use std::time::Instant;

use super::timers::Deadlines;

/// One of our calls. Never given out twice on one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct CallKey(u64);

impl CallKey {
    /// The id on the wire.
    pub(crate) fn id(self) -> u64 {
        self.0
    }

    /// The call's place in a table: below [`super::Connection::max_calls`], and no other call's as long as
    /// this one is unanswered. A later call has the same slot with another key.
    pub(crate) fn slot(self) -> usize {
        usize::from(self.0 as u16)
    }
}

/// The low bits of an id are its slot, the upper ones its sequence number.
const SLOT_BITS: u32 = 16;
const LAST_SEQUENCE: u64 = u64::MAX >> SLOT_BITS;

#[derive(Clone, Copy, Debug)]
struct Slot {
    /// The call in it, 0 for none.
    id: u64,
    given_up: bool,
    has_deadline: bool,
}

/// Why a call gets no slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoSlot {
    Full,
    Exhausted,
}

/// What a Reply meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answered {
    /// Somebody waits for it.
    Wanted(CallKey),
    /// The call was cancelled or has expired.
    GivenUp,
    /// No such call is unanswered.
    Unknown,
}

/// The table of unanswered calls.
#[derive(Debug)]
pub(super) struct Calls {
    slots: Vec<Slot>,
    /// Empty slots, the one used last on top, since it is in the cache.
    free: Vec<u16>,
    last_sequence: u64,
    limit: u32,
    given_up: usize,
    deadlines: Deadlines,
}

impl Calls {
    pub(super) fn new() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            last_sequence: 0,
            limit: 0,
            given_up: 0,
            deadlines: Deadlines::default(),
        }
    }

    /// How many calls may be unanswered: the peer's limit.
    pub(super) fn limit(&self) -> u32 {
        self.limit
    }

    /// The peer has said how many calls may be unanswered.
    pub(super) fn set_limit(&mut self, limit: u32) {
        self.limit = limit;
    }

    /// All unanswered calls.
    pub(super) fn unanswered(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// The unanswered calls that somebody waits for.
    pub(super) fn awaited(&self) -> usize {
        self.unanswered() - self.given_up
    }

    pub(super) fn has_room(&self) -> bool {
        !self.free.is_empty() || self.slots.len() < self.limit as usize
    }

    #[inline]
    pub(super) fn start(&mut self, expires: Option<Instant>) -> Result<CallKey, NoSlot> {
        if !self.has_room() {
            return Err(NoSlot::Full);
        }
        let sequence = self.next_sequence()?;
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => self.add_slot(),
        };
        let id = sequence << SLOT_BITS | u64::from(slot);
        self.slots[usize::from(slot)] = Slot {
            id,
            given_up: false,
            has_deadline: expires.is_some(),
        };
        if let Some(expires) = expires {
            self.deadlines.set(u32::from(slot), expires);
        }
        Ok(CallKey(id))
    }

    /// An id for a call that nobody waits for and that takes no slot.
    pub(super) fn one_way(&mut self) -> Result<u64, NoSlot> {
        Ok(self.next_sequence()? << SLOT_BITS)
    }

    /// The call was never sent: forget it. False if it is not in the table.
    pub(super) fn withdraw(&mut self, key: CallKey) -> bool {
        let known = self.find(key.0).is_some();
        if known {
            self.release(key);
        }
        known
    }

    /// Nobody waits for it any more. True if somebody did until now.
    pub(super) fn give_up(&mut self, key: CallKey) -> bool {
        let Some(slot) = self.find(key.0) else {
            return false;
        };
        if slot.given_up {
            return false;
        }
        slot.given_up = true;
        self.given_up += 1;
        self.deadlines.clear(key.slot() as u32);
        true
    }

    /// A Reply to `id` arrived.
    #[inline]
    pub(super) fn answer(&mut self, id: u64) -> Answered {
        let Some(slot) = self.find(id) else {
            return Answered::Unknown;
        };
        let wanted = !slot.given_up;
        let key = CallKey(id);
        self.release(key);
        if wanted {
            Answered::Wanted(key)
        } else {
            Answered::GivenUp
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| at)
    }

    /// Gives up the next call whose time is over.
    pub(super) fn expire(&mut self, now: Instant) -> Option<CallKey> {
        let slot = self.deadlines.pop_due(now)?;
        let key = CallKey(self.slots[slot as usize].id);
        self.give_up(key);
        Some(key)
    }

    /// Empties the table; calls `failed` for each call that somebody waits for.
    pub(super) fn fail_all(&mut self, mut failed: impl FnMut(CallKey)) {
        for slot in &self.slots {
            if slot.id != 0 && !slot.given_up {
                failed(CallKey(slot.id));
            }
        }
        self.slots.clear();
        self.free.clear();
        self.given_up = 0;
        self.deadlines.clear_all();
    }

    /// Lets a test come near the last id.
    #[cfg(test)]
    #[allow(
        dead_code,
        reason = "the core's tests compile this module into a crate of their own"
    )]
    pub(super) fn skip_to_sequence(&mut self, last: u64) {
        self.last_sequence = last;
    }

    /// An id has 48 bits of sequence number: a million calls a second for nine years.
    #[inline]
    fn next_sequence(&mut self) -> Result<u64, NoSlot> {
        if self.last_sequence == LAST_SEQUENCE {
            return Err(NoSlot::Exhausted);
        }
        self.last_sequence += 1;
        Ok(self.last_sequence)
    }

    #[cold]
    fn add_slot(&mut self) -> u16 {
        // The limit is at most 2^16, and `start` has looked at it.
        let slot = self.slots.len() as u16;
        self.slots.push(Slot {
            id: 0,
            given_up: false,
            has_deadline: false,
        });
        slot
    }

    #[inline]
    fn find(&mut self, id: u64) -> Option<&mut Slot> {
        self.slots
            .get_mut(CallKey(id).slot())
            .filter(|slot| slot.id == id && id != 0)
    }

    #[inline]
    fn release(&mut self, key: CallKey) {
        let slot = &mut self.slots[key.slot()];
        slot.id = 0;
        self.given_up -= usize::from(slot.given_up);
        if slot.has_deadline {
            self.deadlines.clear(key.slot() as u32);
        }
        self.free.push(key.slot() as u16);
    }
}
