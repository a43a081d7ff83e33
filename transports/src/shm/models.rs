//! Models of the rings and the bell, and of giving sections back: loom runs their threads in all the orders that the memory
//! model allows, with up to three preemptions.
//!
//! The memory is private, of loom's atomics, one for each word; the system's sleep is a mutex and a condition variable,
//! without its time limit: a wake-up that is lost shows as a deadlock. Loom does not look for loads that happen after later stores,
//! so bodies have cells beside them that no two threads may use at once: that shows a record which is replaced too early.
#![expect(
    clippy::unwrap_used,
    reason = "a failed unwrap is a failed model, and clippy knows only functions marked as tests"
)]

mod leases;

use std::collections::TryReserveError;
use std::sync::Arc;
use std::time::Duration;

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use loom::sync::{Condvar, Mutex};
use loom::thread;

use super::bell::{Bell, EVENT, FUTEX, Word};
use super::memory::{Read, Write};
use super::{Consumer, Layout, Mark, Producer};
use crate::Header;

/// The three words before the records, and the records. Loom's atomics are dear: what lies between has none.
struct Memory {
    words: Vec<AtomicU64>,
    /// One for each word, written as it is by [`Write::copy_in`] and read by [`Read::copy_out`]. Loom fails a model in
    /// which nothing orders two uses.
    uses: Vec<UnsafeCell<()>>,
}

// SAFETY: the cells hold nothing, and loom judges their uses.
unsafe impl Sync for Memory {}

impl Memory {
    fn new() -> Arc<Self> {
        let count = 3 + layout().capacity() / 8;
        Arc::new(Self {
            words: (0..count).map(|_| AtomicU64::new(0)).collect(),
            uses: (0..count).map(|_| UnsafeCell::new(())).collect(),
        })
    }

    fn index(offset: usize) -> usize {
        assert_eq!(offset % 8, 0);
        match offset {
            512.. => 3 + (offset - 512) / 8,
            0 | 128 | 256 => offset / 128,
            _ => panic!("nothing lies at {offset}"),
        }
    }

    fn word(&self, offset: usize) -> &AtomicU64 {
        &self.words[Self::index(offset)]
    }
}

impl Read for Memory {
    fn load(&self, offset: usize) -> u64 {
        self.word(offset).load(Ordering::Relaxed)
    }

    fn copy_out(&self, offset: usize, length: usize, body: &mut Vec<u8>) -> Result<(), TryReserveError> {
        assert_eq!(length % 8, 0, "models use whole words");
        for at in (offset..offset + length).step_by(8) {
            self.uses[Self::index(at)].with(|_| ());
            body.extend(self.load(at).to_ne_bytes());
        }
        Ok(())
    }
}

impl Write for Memory {
    fn store(&self, offset: usize, word: u64, ordering: Ordering) {
        self.word(offset).store(word, ordering);
    }

    fn copy_in(&self, offset: usize, bytes: &[u8]) {
        for (at, word) in bytes.chunks(8).enumerate() {
            let word = u64::from_ne_bytes(word.try_into().unwrap());
            self.uses[Self::index(offset + 8 * at)].with_mut(|_| ());
            self.store(offset + 8 * at, word, Ordering::Relaxed);
        }
    }
}

/// A word to sleep on.
struct ModelWord {
    word: AtomicU32,
    lock: Mutex<()>,
    woken: Condvar,
}

impl ModelWord {
    fn new() -> Self {
        Self {
            word: AtomicU32::new(0),
            lock: Mutex::new(()),
            woken: Condvar::new(),
        }
    }
}

impl Word for ModelWord {
    fn load(&self) -> u32 {
        self.word.load(Ordering::Relaxed)
    }

    fn add(&self, bits: u32) {
        self.word.fetch_or(bits, Ordering::SeqCst);
    }

    fn remove(&self, bits: u32) {
        self.word.fetch_and(!bits, Ordering::SeqCst);
    }

    fn take(&self) -> u32 {
        self.word.swap(0, Ordering::SeqCst)
    }

    fn sleep(&self, expected: u32, _timeout: Duration) {
        // As the system does: whether the word is as expected is judged under the lock that who wakes takes.
        let guard = self.lock.lock().unwrap();
        if self.word.load(Ordering::SeqCst) == expected {
            drop(self.woken.wait(guard).unwrap());
        }
    }

    fn wake(&self) {
        let _guard = self.lock.lock().unwrap();
        self.woken.notify_all();
    }
}

/// An eventfd, which tells a reactor: a counter that one can sleep on.
struct ModelEvent {
    raised: Mutex<bool>,
    news: Condvar,
}

impl ModelEvent {
    fn new() -> Self {
        Self {
            raised: Mutex::new(false),
            news: Condvar::new(),
        }
    }

    fn raise(&self) {
        *self.raised.lock().unwrap() = true;
        self.news.notify_all();
    }

    fn wait(&self) {
        let mut raised = self.raised.lock().unwrap();
        while !*raised {
            raised = self.news.wait(raised).unwrap();
        }
        *raised = false;
    }
}

type ModelProducer = Producer<Memory, Memory>;
type ModelConsumer = Consumer<Memory, Memory>;

/// Eight lines, for records of one or two.
fn layout() -> Layout {
    Layout::new(512, 96).unwrap()
}

/// A position one line before the end of the ring, where the counters wrap as well. The first record does not fit there.
const BEFORE_THE_END: u64 = 0_u64.wrapping_sub(64);

fn ring(start: u64) -> (ModelProducer, ModelConsumer) {
    let (own, peer) = (Memory::new(), Memory::new());
    let producer = Producer::new(Arc::clone(&own), Arc::clone(&peer), layout()).starting_at(start);
    let consumer = Consumer::new(peer, own, layout()).starting_at(start);
    (producer, consumer)
}

fn model(run: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(run);
}

/// Every fifth has one line, the others two.
fn body_of(id: u64) -> Vec<u8> {
    let words = if id % 5 == 0 { 1 } else { 5 };
    (!id).to_ne_bytes().repeat(words)
}

fn push(producer: &mut ModelProducer, id: u64) -> bool {
    let header = Header {
        id,
        kind: 1,
        ..Header::default()
    };
    producer.push(&header, Mark::Whole, [&body_of(id), &[]]).unwrap()
}

/// Takes a record, whole and as it was sent, if one is there.
fn pop(consumer: &mut ModelConsumer) -> Option<u64> {
    let mut body = Vec::new();
    let (header, mark) = consumer.pop(&mut body).unwrap()?;
    assert_eq!((header.kind, mark), (1, Mark::Whole));
    assert_eq!(body, body_of(header.id));
    assert_eq!(header.length as usize, body.len());
    Some(header.id)
}

/// One side polls while the other writes more than fits, across the end of the ring.
#[test]
fn what_is_published_is_whole_and_in_order() {
    model(|| {
        let (mut producer, mut consumer) = ring(BEFORE_THE_END);
        let writer = thread::spawn(move || (1..=5).take_while(|id| push(&mut producer, *id)).count() as u64);
        let mut taken = 0;
        for _ in 0..3 {
            if let Some(id) = pop(&mut consumer) {
                taken += 1;
                assert_eq!(id, taken);
            }
        }
        let written = writer.join().unwrap();
        assert!(written >= 3, "three records fit at once");
        while let Some(id) = pop(&mut consumer) {
            taken += 1;
            assert_eq!(id, taken);
        }
        assert_eq!(taken, written);
    });
}

/// A consumer that sleeps as a thread, until all is there.
#[test]
fn no_wake_up_of_a_thread_is_lost() {
    model(|| {
        let (mut producer, mut consumer) = ring(BEFORE_THE_END);
        let bell = Arc::new(Bell::new(ModelWord::new()));
        let writer = {
            let bell = Arc::clone(&bell);
            thread::spawn(move || {
                for id in 1..=2 {
                    assert!(push(&mut producer, id));
                    assert_eq!(bell.ring() & EVENT, 0);
                }
            })
        };
        for id in 1..=2 {
            loop {
                if let Some(taken) = pop(&mut consumer) {
                    assert_eq!(taken, id);
                    break;
                }
                bell.arm(FUTEX);
                if !consumer.ready() {
                    bell.sleep(Duration::MAX);
                }
                bell.disarm(FUTEX);
            }
        }
        writer.join().unwrap();
    });
}

/// A consumer that sleeps as a task.
#[test]
fn no_wake_up_of_a_task_is_lost() {
    model(|| {
        let (mut producer, mut consumer) = ring(BEFORE_THE_END);
        let bell = Arc::new(Bell::new(ModelWord::new()));
        let event = Arc::new(ModelEvent::new());
        let writer = {
            let (bell, event) = (Arc::clone(&bell), Arc::clone(&event));
            thread::spawn(move || {
                for id in 1..=2 {
                    assert!(push(&mut producer, id));
                    if bell.ring() & EVENT != 0 {
                        event.raise();
                    }
                }
            })
        };
        for id in 1..=2 {
            loop {
                if let Some(taken) = pop(&mut consumer) {
                    assert_eq!(taken, id);
                    break;
                }
                bell.arm(EVENT);
                if consumer.ready() {
                    bell.disarm(EVENT);
                } else {
                    event.wait();
                }
            }
        }
        writer.join().unwrap();
    });
}

/// A thread and a task sleep at once on one bell: both are woken by whoever rings.
#[test]
fn a_thread_and_a_task_are_both_woken() {
    model(|| {
        let bell = Arc::new(Bell::new(ModelWord::new()));
        let event = Arc::new(ModelEvent::new());
        let news = Arc::new(AtomicU64::new(0));
        let sleeper = {
            let (bell, news) = (Arc::clone(&bell), Arc::clone(&news));
            thread::spawn(move || {
                while news.load(Ordering::Acquire) == 0 {
                    bell.arm(FUTEX);
                    if news.load(Ordering::Acquire) == 0 {
                        bell.sleep(Duration::MAX);
                    }
                    bell.disarm(FUTEX);
                }
            })
        };
        let task = {
            let (bell, news, event) = (Arc::clone(&bell), Arc::clone(&news), Arc::clone(&event));
            thread::spawn(move || {
                while news.load(Ordering::Acquire) == 0 {
                    bell.arm(EVENT);
                    if news.load(Ordering::Acquire) == 0 {
                        event.wait();
                    } else {
                        bell.disarm(EVENT);
                    }
                }
            })
        };
        news.store(1, Ordering::Release);
        if bell.ring() & EVENT != 0 {
            event.raise();
        }
        sleeper.join().unwrap();
        task.join().unwrap();
    });
}

/// A producer that sleeps until there is space, beside a consumer that tells of it when it has taken a record.
#[test]
fn no_news_of_space_are_lost() {
    model(|| {
        let (mut producer, mut consumer) = ring(0);
        // Six lines of eight. The fourth record fits behind them once the first was taken, and the fifth replaces a line of it.
        for id in 1..=3 {
            assert!(push(&mut producer, id));
        }
        let bell = Arc::new(Bell::new(ModelWord::new()));
        let reader = {
            let bell = Arc::clone(&bell);
            thread::spawn(move || {
                let mut taken = 0;
                // The others may not be there yet: they are taken below.
                while taken < 3 {
                    if let Some(id) = pop(&mut consumer) {
                        taken += 1;
                        assert_eq!(id, taken);
                        if consumer.take_space_news() {
                            bell.ring();
                        }
                    }
                }
                consumer
            })
        };
        for id in 4..=5 {
            while !push(&mut producer, id) {
                bell.arm(FUTEX);
                if !producer.wait_for_space(body_of(id).len()).unwrap() {
                    bell.sleep(Duration::MAX);
                }
                bell.disarm(FUTEX);
            }
        }
        let mut consumer = reader.join().unwrap();
        for id in 4..=5 {
            assert_eq!(pop(&mut consumer), Some(id));
        }
    });
}

/// Two sides sleep on each other: the consumer until something is there, the producer until there is space.
#[test]
fn both_sides_may_sleep() {
    model(|| {
        let (mut producer, mut consumer) = ring(BEFORE_THE_END);
        for id in 1..=2 {
            assert!(push(&mut producer, id));
        }
        let [at_producer, at_consumer] = [(); 2].map(|()| Arc::new(Bell::new(ModelWord::new())));
        let reader = {
            let (own, other) = (Arc::clone(&at_consumer), Arc::clone(&at_producer));
            thread::spawn(move || {
                for expected in 1..=5 {
                    loop {
                        if let Some(id) = pop(&mut consumer) {
                            assert_eq!(id, expected);
                            break;
                        }
                        own.arm(FUTEX);
                        let waits = consumer.release() | consumer.take_space_news();
                        if waits {
                            other.ring();
                        }
                        if !consumer.ready() {
                            own.sleep(Duration::MAX);
                        }
                        own.disarm(FUTEX);
                    }
                    if consumer.take_space_news() {
                        other.ring();
                    }
                }
            })
        };
        for id in 3..=5 {
            while !push(&mut producer, id) {
                at_producer.arm(FUTEX);
                if !producer.wait_for_space(body_of(id).len()).unwrap() {
                    at_producer.sleep(Duration::MAX);
                }
                at_producer.disarm(FUTEX);
            }
            at_consumer.ring();
        }
        reader.join().unwrap();
    });
}

/// The models can fail: without the fence of who sleeps, a wake-up is lost.
#[test]
#[should_panic(expected = "deadlock")]
fn a_bell_without_its_fence_is_found_out() {
    model(|| {
        let word = Arc::new(ModelWord::new());
        let news = Arc::new(AtomicU64::new(0));
        let waker = {
            let (word, news) = (Arc::clone(&word), Arc::clone(&news));
            thread::spawn(move || {
                news.store(1, Ordering::Release);
                fence(Ordering::SeqCst);
                if word.load() != 0 && word.take() & FUTEX != 0 {
                    word.wake();
                }
            })
        };
        // As `Bell::arm`, but the word is written by a store that nothing orders before the look at the news.
        word.word.store(FUTEX, Ordering::Release);
        if news.load(Ordering::Acquire) == 0 {
            word.sleep(FUTEX, Duration::MAX);
        }
        waker.join().unwrap();
    });
}
