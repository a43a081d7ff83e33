//! The ring against a queue.

use std::collections::{TryReserveError, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;

use super::{Random, header, ring, sides};
use crate::Header;
use crate::sys::shm::layout::PROCESSOR;
use crate::sys::shm::memory::{Read, Write};
use crate::sys::shm::{Consumer, Fault, Layout, Mark, Processors, Producer};

const MARKS: [Mark; 4] = [Mark::Whole, Mark::First, Mark::Further, Mark::Last];

fn small() -> Layout {
    Layout::new(4096, 1400).unwrap()
}

#[test]
fn layouts_hold_the_largest_record_or_are_refused() {
    assert_eq!(Layout::DEFAULT.largest(), 32 << 10);
    assert_eq!(Layout::DEFAULT.memory() % 4096, 0);
    for (capacity, largest) in [
        (256, 32),
        (1024, 352),
        (256 << 10, 98_272),
        (64 << 20, (1 << 24) - 1),
    ] {
        assert!(Layout::new(capacity, largest).is_some(), "{capacity} {largest}");
        assert!(
            Layout::new(capacity, largest + 1).is_none(),
            "{capacity} {largest}"
        );
    }
    for (capacity, largest) in [
        (0, 0),
        (64, 0),
        (128, 0),
        (384, 32),
        (128 << 20, 32),
        (4096, usize::MAX),
    ] {
        assert!(Layout::new(capacity, largest).is_none(), "{capacity} {largest}");
    }
}

#[test]
fn a_record_arrives_as_it_was() {
    let (mut producer, mut consumer) = ring(small());
    let mut body = b"kept ".to_vec();
    assert!(!consumer.ready());
    assert_eq!(consumer.pop(&mut body), Ok(None));
    assert_eq!(producer.push(&header(7), Mark::First, [b"he", b"llo"]), Ok(true));
    assert!(consumer.ready());
    let expected = Header {
        length: 5,
        ..header(7)
    };
    assert_eq!(consumer.pop(&mut body), Ok(Some((expected, Mark::First))));
    assert_eq!(body, b"kept hello");
    assert!(!consumer.ready());
    assert_eq!(consumer.pop(&mut body), Ok(None));
}

#[test]
fn the_largest_record_fits_wherever_an_emptied_ring_stands() {
    for layout in [small(), Layout::new(256, 32).unwrap()] {
        let largest = vec![7; layout.largest()];
        for lines in 0..layout.capacity() / 64 {
            let (producer, consumer) = ring(layout);
            let start = 64 * lines as u64;
            let (mut producer, mut consumer) = (producer.starting_at(start), consumer.starting_at(start));
            // The consumer says nothing by itself before a quarter of the ring.
            for _ in 0..layout.capacity() / 4 / 64 - 1 {
                assert_eq!(producer.push(&header(1), Mark::Whole, [b"", b""]), Ok(true));
                assert!(consumer.pop(&mut Vec::new()).unwrap().is_some());
            }
            assert_eq!(producer.push(&header(2), Mark::Whole, [&largest, b""]), Ok(true));
            let mut body = Vec::new();
            assert_eq!(consumer.pop(&mut body).unwrap().unwrap().0.id, 2);
            assert_eq!(body, largest);
        }
    }
}

#[test]
fn random_scripts_do_what_a_queue_does() {
    let starts = [
        0,
        u64::from(u32::MAX) - 4095,
        (1 << 63) - 64,
        u64::MAX - 63,
        u64::MAX - 4095,
        0_u64.wrapping_sub(64 << 10),
    ];
    for (seed, start) in (0..24).zip(starts.into_iter().cycle()) {
        for layout in [small(), Layout::new(256, 32).unwrap(), Layout::DEFAULT] {
            script(seed, start, layout);
        }
    }
}

fn script(seed: u64, start: u64, layout: Layout) {
    let mut random = Random(seed);
    let (producer, consumer) = ring(layout);
    let (mut producer, mut consumer) = (producer.starting_at(start), consumer.starting_at(start));
    let mut queue = VecDeque::new();
    let (mut given, mut taken) = (0, 0);
    let mut waits = None;
    for step in 0..1500 {
        let told = format!("seed {seed}, start {start:#x}, step {step}");
        match random.below(16) {
            0..7 => {
                let longest = [33, 200, layout.largest() + 1][random.below(3)].min(layout.largest() + 1);
                let length = random.below(longest);
                let body = random.bytes(length);
                let mark = MARKS[random.below(4)];
                let parts = body.split_at(random.below(length + 1));
                let went = producer.push(&header(given), mark, [parts.0, parts.1]);
                if went == Ok(true) {
                    queue.push_back((given, mark, body));
                    given += 1;
                    waits = None;
                } else {
                    assert_eq!(went, Ok(false), "{told}");
                    assert!(!queue.is_empty(), "an emptied ring has room: {told}");
                    waits = (producer.wait_for_space(length) == Ok(false)).then_some(length);
                }
            }
            7..14 => {
                assert_eq!(consumer.ready(), !queue.is_empty(), "{told}");
                let mut body = Vec::new();
                let popped = consumer.pop(&mut body).unwrap();
                let expected = queue.pop_front().map(|(id, mark, body)| {
                    let length = body.len() as u32;
                    ((Header { length, ..header(id) }, mark), body)
                });
                taken += u64::from(popped.is_some());
                assert_eq!(popped.map(|popped| (popped, body)), expected, "{told}");
            }
            14 => {
                let asked = consumer.release();
                assert!(waits.is_some() || !asked, "nobody waits: {told}");
            }
            _ => {
                let asked = consumer.take_space_news();
                if queue.is_empty() {
                    if let Some(length) = waits.take() {
                        // Told of space or not, there is room now for what waited.
                        assert_eq!(producer.wait_for_space(length), Ok(true), "{told}, told {asked}");
                    }
                }
            }
        }
    }
    assert_eq!(given, taken + queue.len() as u64);
    assert!(taken > 300, "the script moved only {taken}");
}

#[test]
fn who_waits_for_space_is_told_of_it() {
    let layout = small();
    let (mut producer, mut consumer) = ring(layout);
    let body = vec![1; 480];
    while producer.push(&header(1), Mark::Whole, [&body, b""]) == Ok(true) {}
    assert_eq!(producer.wait_for_space(480), Ok(false));
    // Seven records of 512 bytes are in the ring. A quarter is two of them.
    let mut scratch = Vec::new();
    consumer.pop(&mut scratch).unwrap().unwrap();
    assert!(!consumer.take_space_news());
    consumer.pop(&mut scratch).unwrap().unwrap();
    assert!(consumer.take_space_news());
    assert!(!consumer.take_space_news());
    consumer.pop(&mut scratch).unwrap().unwrap();
    assert!(consumer.release());
    assert!(!consumer.release(), "nothing is new");
    assert_eq!(producer.wait_for_space(480), Ok(true));
    consumer.pop(&mut scratch).unwrap().unwrap();
    assert!(!consumer.release(), "nobody waits any more");
}

#[test]
fn two_threads_keep_the_order() {
    for layout in [small(), Layout::DEFAULT] {
        let (producer, consumer) = ring(layout);
        let start = 0_u64.wrapping_sub(64 * 1001);
        let (producer, consumer) = (producer.starting_at(start), consumer.starting_at(start));
        let count = 100_000;
        let writer = thread::spawn(move || produce(producer, count, layout));
        consume(consumer, count, layout);
        writer.join().unwrap();
    }
}

/// The body of a record: its length and bytes follow from its number.
fn body_of(id: u64, layout: Layout) -> Vec<u8> {
    let mut random = Random(id);
    let longest = if id % 64 == 0 { layout.largest() } else { 100 };
    let length = random.below(longest + 1);
    vec![id as u8; length]
}

fn produce(mut producer: Producer, count: u64, layout: Layout) {
    for id in 0..count {
        let body = body_of(id, layout);
        while !producer.push(&header(id), Mark::Whole, [&body, b""]).unwrap() {
            thread::yield_now();
        }
    }
}

fn consume(mut consumer: Consumer, count: u64, layout: Layout) {
    let mut body = Vec::new();
    for id in 0..count {
        let taken = loop {
            body.clear();
            match consumer.pop(&mut body).unwrap() {
                Some(taken) => break taken,
                None => thread::yield_now(),
            }
        };
        assert_eq!(taken.0.id, id);
        assert_eq!(body, body_of(id, layout));
    }
}

#[test]
fn both_directions_are_apart() {
    let layout = small();
    let [one, two] = sides(layout);
    let (mut there, mut back) = (one.producer(layout), two.producer(layout));
    let (mut at_one, mut at_two) = (one.consumer(layout), two.consumer(layout));
    for id in 0..1000 {
        assert_eq!(there.push(&header(id), Mark::Whole, [b"there", b""]), Ok(true));
        assert_eq!(back.push(&header(!id), Mark::Last, [b"", b"back"]), Ok(true));
        let (mut body, mut answer) = (Vec::new(), Vec::new());
        assert_eq!(at_two.pop(&mut body).unwrap().unwrap().0.id, id);
        assert_eq!(at_one.pop(&mut answer).unwrap().unwrap().0.id, !id);
        assert_eq!((&body[..], &answer[..]), (&b"there"[..], &b"back"[..]));
    }
}

#[test]
fn processors_are_told() {
    let [one, two] = sides(small());
    let here = Processors::new(one.own, one.peer);
    let there = Processors::new(two.own, two.peer);
    assert_eq!(there.peer_processor(), None);
    for cpu in [0, 0, 1, 4095, u32::MAX - 1] {
        here.publish_processor(cpu);
        assert_eq!(there.peer_processor(), Some(cpu));
    }
    assert_eq!(here.peer_processor(), None);
}

#[test]
fn large_bodies_arrive_as_they_were_wherever_the_other_side_says_that_it_runs() {
    let layout = Layout::DEFAULT;
    let [one, two] = sides(layout);
    let (mut producer, mut consumer) = (one.producer(layout), two.consumer(layout));
    let mut random = Random(5);
    let bytes = random.bytes(layout.largest());
    let here = u64::from(crate::sys::processor()) + 1;
    for word in [0, here, here + 1, u64::MAX] {
        two.own.store(PROCESSOR, word, Ordering::Relaxed);
        for id in 0..100 {
            // Any beginning in the ring, any in the source, and any seam between the two parts.
            let small = &bytes[..random.below(200)];
            assert_eq!(producer.push(&header(id), Mark::Whole, [small, b""]), Ok(true));
            assert!(consumer.pop(&mut Vec::new()).unwrap().is_some());
            let sent = &bytes[random.below(64)..];
            let sent = &sent[..sent.len() - random.below(64)];
            let parts = sent.split_at(random.below(sent.len()));
            assert_eq!(
                producer.push(&header(id), Mark::Whole, [parts.0, parts.1]),
                Ok(true)
            );
            let mut body = Vec::new();
            assert!(consumer.pop(&mut body).unwrap().is_some());
            assert!(body == sent, "{id}, beside a side on {word}");
        }
    }
}

/// Memory of the other side from which nothing can be copied, as if there were no private memory for it.
struct Starved(Arc<crate::sys::PeerMemory>);

impl Read for Starved {
    fn load(&self, offset: usize) -> u64 {
        self.0.load(offset)
    }

    fn copy_out(&self, _offset: usize, _length: usize, body: &mut Vec<u8>) -> Result<(), TryReserveError> {
        body.try_reserve(usize::MAX)
    }
}

#[test]
fn a_record_for_which_there_is_no_memory_stays() {
    let [one, two] = sides(small());
    let mut producer = one.producer(small());
    assert_eq!(producer.push(&header(1), Mark::Whole, [b"body", b""]), Ok(true));
    let starved = Arc::new(Starved(Arc::clone(&two.peer)));
    let mut consumer = Consumer::new(Arc::clone(&two.own), starved, small());
    let mut body = b"kept".to_vec();
    for _ in 0..2 {
        assert_eq!(consumer.pop(&mut body), Err(Fault::NoMemory(4)));
        assert_eq!((&body[..], consumer.ready()), (&b"kept"[..], true));
    }
    let error = crate::Error::from(Fault::NoMemory(4));
    assert_eq!(error.kind(), crate::ErrorKind::Resource);
    assert!(two.consumer(small()).pop(&mut body).unwrap().is_some());
}
