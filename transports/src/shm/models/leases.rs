//! Places of segments that are sent, kept, given back, and used again.

use std::sync::Arc;

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicU32, Ordering, fence};
use loom::thread;

use super::model;
use crate::sys::shm::sections::returns::{GivingBack, Sent, Words};

/// A place of a segment: its bytes, the word at which it is given back, and how often it has come with a message.
struct ModelPlace {
    bytes: UnsafeCell<u64>,
    word: AtomicU32,
    arrived: AtomicU32,
    /// How often it has come back with a message.
    sent_back: AtomicU32,
    /// Somebody waits for it to be back.
    wanted: AtomicU32,
    rings: AtomicU32,
}

// SAFETY: loom judges the uses of the cell.
unsafe impl Sync for ModelPlace {}
// SAFETY: as above.
unsafe impl Send for ModelPlace {}

impl Words for ModelPlace {
    fn load(&self, index: usize) -> u32 {
        assert_eq!(index, 0);
        self.word.load(Ordering::Acquire)
    }

    fn add_one(&self, index: usize) {
        assert_eq!(index, 0);
        self.word.fetch_add(1, Ordering::SeqCst);
    }

    fn ring(&self) {
        fence(Ordering::SeqCst);
        if self.wanted.load(Ordering::SeqCst) != 0 && self.wanted.swap(0, Ordering::SeqCst) != 0 {
            self.rings.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl ModelPlace {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            bytes: UnsafeCell::new(0),
            word: AtomicU32::new(0),
            arrived: AtomicU32::new(0),
            sent_back: AtomicU32::new(0),
            wanted: AtomicU32::new(0),
            rings: AtomicU32::new(0),
        })
    }

    fn write(&self, bytes: u64) {
        // SAFETY: loom fails the model if anybody else uses it.
        self.bytes.with_mut(|place| unsafe { *place = bytes });
    }

    fn read(&self) -> u64 {
        // SAFETY: loom fails the model if anybody writes it meanwhile.
        self.bytes.with(|place| unsafe { *place })
    }

    /// Fills it and sends it so many times, as the ring does: what was written is there for whoever finds the message.
    fn send(&self, sent: &mut Sent, bytes: u64, times: u32) {
        self.write(bytes);
        for _ in 0..times {
            sent.count();
        }
        self.arrived.fetch_add(times, Ordering::Release);
    }

    /// A lease, if the message has come.
    fn lease(self: &Arc<Self>, number: u32) -> Option<ModelLease> {
        (self.arrived.load(Ordering::Acquire) >= number).then(|| ModelLease {
            giving_back: GivingBack::new(self, 0),
            place: self.clone(),
        })
    }
}

struct ModelLease {
    place: Arc<ModelPlace>,
    giving_back: GivingBack<ModelPlace>,
}

impl ModelLease {
    /// Says with a message that the other side has it again.
    fn send_back(self) {
        self.giving_back.tell_instead();
        self.place.sent_back.fetch_add(1, Ordering::Release);
    }
}

/// A place that was sent twice is written again only when both leases are gone, one of which is dropped on another thread.
#[test]
fn a_place_is_used_again_when_all_have_let_go() {
    model(|| {
        let place = ModelPlace::new();
        let mut sent = Sent::default();
        place.send(&mut sent, 1, 2);
        let receiver = {
            let place = Arc::clone(&place);
            thread::spawn(move || {
                let [one, two] = [1, 2].map(|number| place.lease(number).unwrap());
                let elsewhere = thread::spawn(move || assert_eq!(two.place.read(), 1));
                assert_eq!(one.place.read(), 1);
                drop(one);
                elsewhere.join().unwrap();
            })
        };
        if sent.is_back(&*place, 0) {
            place.write(2);
        }
        receiver.join().unwrap();
        assert!(sent.is_back(&*place, 0), "both were given back");
        place.write(3);
    });
}

/// Whoever waits for a place either sees that it is back, or is told so.
#[test]
fn whoever_waits_for_memory_is_told() {
    model(|| {
        let place = ModelPlace::new();
        let mut sent = Sent::default();
        place.send(&mut sent, 1, 1);
        let receiver = {
            let place = Arc::clone(&place);
            thread::spawn(move || drop(place.lease(1).unwrap()))
        };
        place.wanted.fetch_or(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        let seen = sent.is_back(&*place, 0);
        receiver.join().unwrap();
        assert!(seen || place.rings.load(Ordering::Relaxed) == 1, "nobody told");
    });
}

/// While the other side keeps a lease, or takes it to its grave, the place is not used again.
#[test]
fn a_place_that_is_kept_is_left_alone() {
    model(|| {
        let place = ModelPlace::new();
        let mut sent = Sent::default();
        place.send(&mut sent, 1, 2);
        let receiver = {
            let place = Arc::clone(&place);
            thread::spawn(move || {
                let [one, kept] = [1, 2].map(|number| place.lease(number).unwrap());
                assert_eq!(one.place.read(), 1);
                drop(one);
                assert_eq!(kept.place.read(), 1);
                // As if its process were killed: nothing is dropped.
                std::mem::forget(kept);
            })
        };
        assert!(!sent.is_back(&*place, 0));
        receiver.join().unwrap();
        assert!(!sent.is_back(&*place, 0));
    });
}

/// A place that comes back is sent again, and each time the other side finds what was meant for it.
#[test]
fn a_place_goes_to_and_fro() {
    model(|| {
        let place = ModelPlace::new();
        let receiver = {
            let place = Arc::clone(&place);
            thread::spawn(move || {
                for number in 1..=2 {
                    let lease = loop {
                        match place.lease(number) {
                            Some(lease) => break lease,
                            None => thread::yield_now(),
                        }
                    };
                    assert_eq!(lease.place.read(), u64::from(number));
                }
            })
        };
        let mut sent = Sent::default();
        for number in 1..=2 {
            place.send(&mut sent, number, 1);
            while !sent.is_back(&*place, 0) {
                thread::yield_now();
            }
        }
        receiver.join().unwrap();
    });
}

/// A place that the other side has to itself is written there, and comes back with a message, or, for want of one, by its word: it is written
/// here again only then, and with what was written there.
#[test]
fn a_place_is_written_in_turn() {
    model(|| {
        let place = ModelPlace::new();
        let mut sent = Sent::default();
        place.send(&mut sent, 1, 1);
        let receiver = {
            let place = Arc::clone(&place);
            thread::spawn(move || {
                let lease = place.lease(1).unwrap();
                assert_eq!(place.read(), 1);
                place.write(2);
                lease.send_back();
                // The second time is not for a message.
                while place.arrived.load(Ordering::Acquire) < 2 {
                    thread::yield_now();
                }
                let lease = place.lease(2).unwrap();
                assert_eq!(place.read(), 3);
                place.write(4);
                drop(lease);
            })
        };
        while place.sent_back.load(Ordering::Acquire) == 0 {
            assert!(!sent.is_back(&*place, 0), "the word says nothing of it");
            thread::yield_now();
        }
        sent.came_back();
        assert!(sent.is_back(&*place, 0), "nobody else has it");
        assert_eq!(place.read(), 2);
        place.send(&mut sent, 3, 1);
        while !sent.is_back(&*place, 0) {
            thread::yield_now();
        }
        assert_eq!(place.read(), 4);
        receiver.join().unwrap();
    });
}
