//! Deadlines of many calls: the earliest at once, each set and cleared in logarithmic time, however a peer
//! chooses them.

use std::time::{Duration, Instant};

const NOWHERE: u32 = u32::MAX;

/// A binary heap of deadlines by slot, which knows where in the heap each slot is.
///
/// A plain heap whose stale entries are skipped would keep the deadline of every call that was answered in
/// time until it passes: millions of them in ten seconds.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    heap: Vec<(Instant, u32)>,
    /// Where in `heap` each slot's deadline is; [`NOWHERE`] for a slot without one.
    places: Vec<u32>,
}

impl Deadlines {
    /// The earliest deadline and its slot.
    pub(super) fn first(&self) -> Option<(Instant, u32)> {
        self.heap.first().copied()
    }

    /// Gives a slot, which has none, a deadline.
    pub(super) fn set(&mut self, slot: u32, at: Instant) {
        let index = slot as usize;
        if self.places.len() <= index {
            self.places.resize(index + 1, NOWHERE);
        }
        debug_assert_eq!(self.places[index], NOWHERE, "a slot has one deadline");
        self.heap.push((at, slot));
        self.rise(self.heap.len() - 1);
    }

    /// Takes a slot's deadline away, if it has one.
    pub(super) fn clear(&mut self, slot: u32) {
        let Some(place) = self.places.get_mut(slot as usize) else {
            return;
        };
        let hole = std::mem::replace(place, NOWHERE) as usize;
        if hole >= self.heap.len() {
            return;
        }
        self.heap.swap_remove(hole);
        if hole < self.heap.len() {
            let settled = self.rise(hole);
            self.sink(settled);
        }
    }

    /// Takes the earliest deadline out if it has passed at `now`.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<u32> {
        let (at, slot) = self.first()?;
        if at > now {
            return None;
        }
        self.clear(slot);
        Some(slot)
    }

    /// Forgets them all.
    pub(super) fn clear_all(&mut self) {
        self.heap.clear();
        self.places.clear();
    }

    fn rise(&mut self, mut at: usize) -> usize {
        let moving = self.heap[at];
        while at > 0 {
            let parent = (at - 1) / 2;
            if self.heap[parent].0 <= moving.0 {
                break;
            }
            self.put(at, self.heap[parent]);
            at = parent;
        }
        self.put(at, moving);
        at
    }

    fn sink(&mut self, mut at: usize) {
        let moving = self.heap[at];
        loop {
            let mut child = 2 * at + 1;
            if child + 1 < self.heap.len() && self.heap[child + 1].0 < self.heap[child].0 {
                child += 1;
            }
            if child >= self.heap.len() || moving.0 <= self.heap[child].0 {
                break;
            }
            self.put(at, self.heap[child]);
            at = child;
        }
        self.put(at, moving);
    }

    fn put(&mut self, at: usize, entry: (Instant, u32)) {
        self.heap[at] = entry;
        self.places[entry.1 as usize] = at as u32;
    }
}

/// What of a deadline travels: the nanoseconds left, at least 1, since 0 means that there is none.
pub(super) fn remaining(now: Instant, deadline: Instant) -> u64 {
    u64::try_from(deadline.saturating_duration_since(now).as_nanos())
        .unwrap_or(u64::MAX)
        .max(1)
}

/// The deadline that a peer means by `nanoseconds` left: none for 0, and none for one so far off that the
/// clock cannot show it.
pub(super) fn deadline_from(now: Instant, nanoseconds: u64) -> Option<Instant> {
    if nanoseconds == 0 {
        None
    } else {
        now.checked_add(Duration::from_nanos(nanoseconds))
    }
}

/// How long after its deadline a caller waits for the server's own report of it, which says how long the
/// handler had the call: a sixteenth of the time that the call had, but at least 1 ms, so that a reply can
/// still cross a busy machine, and at most 10 ms, so that nobody notices.
pub(crate) fn grace(timeout: Duration) -> Duration {
    const LEAST: Duration = Duration::from_millis(1);
    const MOST: Duration = Duration::from_millis(10);
    // Dividing a `Duration` is the dear part of starting a call with a deadline.
    if timeout >= MOST * 16 {
        MOST
    } else {
        Duration::from_nanos(timeout.as_nanos() as u64 / 16).max(LEAST)
    }
}

#[cfg(test)]
mod tests {
    //! The heap of deadlines, beside a table that is searched.

    use proptest::prelude::*;
    use std::collections::BTreeMap;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Set { slot: u32, at: u64 },
        Clear { slot: u32 },
        PopDue { now: u64 },
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            5 => (0u32..40, 0u64..100).prop_map(|(slot, at)| Step::Set { slot, at }),
            3 => (0u32..50).prop_map(|slot| Step::Clear { slot }),
            1 => (0u64..100).prop_map(|now| Step::PopDue { now }),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_earliest_is_always_first(script in proptest::collection::vec(step(), 1..400)) {
            let start = Instant::now();
            let after = |at: u64| start + Duration::from_millis(at);
            let mut heap = Deadlines::default();
            let mut table = BTreeMap::new();
            for step in script {
                match step {
                    Step::Set { slot, at } => {
                        heap.clear(slot);
                        heap.set(slot, after(at));
                        table.insert(slot, after(at));
                    }
                    Step::Clear { slot } => {
                        heap.clear(slot);
                        table.remove(&slot);
                    }
                    Step::PopDue { now } => {
                        while let Some(slot) = heap.pop_due(after(now)) {
                            let at = table.remove(&slot).unwrap();
                            prop_assert!(at <= after(now));
                            prop_assert!(table.values().all(|other| *other >= at));
                        }
                        prop_assert!(table.values().all(|at| *at > after(now)));
                    }
                }
                prop_assert_eq!(heap.first().map(|(at, _)| at), table.values().min().copied());
                if let Some((at, slot)) = heap.first() {
                    prop_assert_eq!(table.get(&slot), Some(&at));
                }
            }
        }
    }
}
