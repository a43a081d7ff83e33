//! Their calls: which wait for our answer, and whose handlers still run.
//!
//! A call that is cancelled or expires is answered at once, but its handler may take a while to end, or not
//! notice at all. Its entry stays until [`Serving::finish`], so that what a peer has set going is always
//! counted. If cancelling freed the entry, a peer could have any number of handlers running by cancelling
//! what it starts.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::timers::Deadlines;

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// The call in it, 0 for none.
    id: u64,
    received: Instant,
    given_up: bool,
    one_way: bool,
    has_deadline: bool,
}

/// A call that was given up while its handler runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GivenUp {
    pub(super) id: u64,
    pub(super) one_way: bool,
    /// How long the handler has had it.
    pub(super) held: Duration,
}

/// What was known of a call whose handler has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finished {
    /// It still waits for an answer.
    Answer,
    /// It is one-way, or was given up and answered.
    NoAnswer,
    /// It is not in the table.
    Unknown,
}

/// The table of calls whose handlers run.
#[derive(Debug, Default)]
pub(super) struct Serving {
    entries: Vec<Entry>,
    free: Vec<u32>,
    /// Ids and entries in the order in which they came, which is the order of ids, so a call is found by
    /// halving. Some may be stale: at most as many as are not, and a few. Unlike a hash table it has no keys
    /// for a peer to choose badly.
    order: VecDeque<(u64, u32)>,
    last_id: u64,
    given_up: usize,
    one_ways: usize,
    deadlines: Deadlines,
}

impl Serving {
    /// All whose handlers run, wanted or not.
    pub(super) fn running(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    /// Those whose calls were given up.
    pub(super) fn given_up(&self) -> usize {
        self.given_up
    }

    /// The one-way calls that were not given up.
    pub(super) fn one_ways(&self) -> usize {
        self.one_ways
    }

    /// Those that somebody waits for.
    pub(super) fn awaited(&self) -> usize {
        self.running() - self.given_up - self.one_ways
    }

    /// The newest id that the peer has used.
    pub(super) fn last_id(&self) -> u64 {
        self.last_id
    }

    /// Notes an id as used. False if it was used before, or is older than one that was.
    pub(super) fn claim(&mut self, id: u64) -> bool {
        let newer = id > self.last_id;
        if newer {
            self.last_id = id;
        }
        newer
    }

    /// Adds a call with a claimed id.
    pub(super) fn start(&mut self, now: Instant, id: u64, one_way: bool, deadline: Option<Instant>) {
        let entry = Entry {
            id,
            received: now,
            given_up: false,
            one_way,
            has_deadline: deadline.is_some(),
        };
        let index = match self.free.pop() {
            Some(index) => {
                self.entries[index as usize] = entry;
                index
            }
            None => {
                self.entries.push(entry);
                // Limits keep the table far below 2^32 entries: see `super::limits`.
                (self.entries.len() - 1) as u32
            }
        };
        self.order.push_back((id, index));
        self.one_ways += usize::from(one_way);
        if let Some(deadline) = deadline {
            self.deadlines.set(index, deadline);
        }
    }

    /// A handler has ended.
    pub(super) fn finish(&mut self, id: u64) -> Finished {
        let Some(index) = self.find(id) else {
            return Finished::Unknown;
        };
        let entry = &mut self.entries[index as usize];
        entry.id = 0;
        let entry = *entry;
        if entry.given_up {
            self.given_up -= 1;
        } else if entry.one_way {
            self.one_ways -= 1;
        }
        if entry.has_deadline {
            self.deadlines.clear(index);
        }
        self.free.push(index);
        self.forget_stale();
        if entry.given_up || entry.one_way {
            Finished::NoAnswer
        } else {
            Finished::Answer
        }
    }

    /// Whether the call is in the table and was not given up.
    pub(super) fn is_awaited(&self, id: u64) -> bool {
        self.find(id)
            .is_some_and(|index| !self.entries[index as usize].given_up)
    }

    /// The caller no longer waits. `None` if the call is not running, or was given up before.
    pub(super) fn give_up(&mut self, now: Instant, id: u64) -> Option<GivenUp> {
        let index = self.find(id)?;
        self.give_up_at(now, index)
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| at)
    }

    /// Gives up the next call whose deadline has passed.
    pub(super) fn expire(&mut self, now: Instant) -> Option<GivenUp> {
        let index = self.deadlines.pop_due(now)?;
        self.give_up_at(now, index)
    }

    /// Empties the table; calls `lost` for each call that was not given up, oldest first.
    pub(super) fn lose_all(&mut self, mut lost: impl FnMut(u64)) {
        for &(id, index) in &self.order {
            let entry = &self.entries[index as usize];
            if entry.id == id && !entry.given_up {
                lost(id);
            }
        }
        *self = Self {
            last_id: self.last_id,
            ..Self::default()
        };
    }

    fn give_up_at(&mut self, now: Instant, index: u32) -> Option<GivenUp> {
        let entry = &mut self.entries[index as usize];
        if entry.given_up {
            return None;
        }
        entry.given_up = true;
        let given_up = GivenUp {
            id: entry.id,
            one_way: entry.one_way,
            held: now.saturating_duration_since(entry.received),
        };
        self.given_up += 1;
        self.one_ways -= usize::from(given_up.one_way);
        self.deadlines.clear(index);
        Some(given_up)
    }

    fn find(&self, id: u64) -> Option<u32> {
        let at = match self.order.front() {
            // Calls mostly end in the order in which they came.
            Some(&(first, _)) if first == id => 0,
            _ => self.order.binary_search_by_key(&id, |&(id, _)| id).ok()?,
        };
        let (_, index) = self.order[at];
        (self.entries[index as usize].id == id).then_some(index)
    }

    fn forget_stale(&mut self) {
        while let Some(&(id, index)) = self.order.front() {
            if self.entries[index as usize].id == id {
                break;
            }
            self.order.pop_front();
        }
        // A long call at the front keeps those behind it. Sweeping when most are stale is constant time per
        // call.
        if self.order.len() > 2 * self.running() + 32 {
            let entries = &self.entries;
            self.order.retain(|&(id, index)| entries[index as usize].id == id);
        }
    }
}
