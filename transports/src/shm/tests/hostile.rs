//! What a hostile side may write into its memory, and that the other says which rule it breaks, or bears it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::{Random, Side, header, sides};
use crate::ErrorKind;
use crate::sys::OwnMemory;
use crate::sys::shm::layout::{CONSUMED, PROCESSOR, WANTS_SPACE};
use crate::sys::shm::{Consumer, Corrupt, Fault, Layout, Mark, Processors};

/// Where the records begin, as `layout` shows it.
const RECORDS: usize = 512;
const COMMITTED: u64 = 1 << 31;
const WRAP: u64 = COMMITTED | 5 << 28;
const WHOLE: u64 = COMMITTED | 1 << 28;

fn small() -> Layout {
    Layout::new(4096, 1400).unwrap()
}

fn write(memory: &OwnMemory, offset: usize, word: u64) {
    memory.word(offset).store(word, Ordering::SeqCst);
}

/// What a consumer says that stands at `position`, where, and at the start of the ring, these words are.
fn popped(position: u64, word: u64, at_start: u64) -> Result<Option<usize>, Fault> {
    let [victim, hostile] = sides(small());
    let mut consumer = victim.consumer(small()).starting_at(position);
    write(&hostile.own, RECORDS, at_start);
    write(&hostile.own, RECORDS + (position % 4096) as usize, word);
    let mut body = b"canary".to_vec();
    let popped = consumer.pop(&mut body);
    assert_eq!(&body[..6], b"canary");
    // Nothing is taken on an error: it is found again.
    if popped.is_err() {
        assert_eq!(body.len(), 6);
        assert_eq!(consumer.pop(&mut body), popped);
        assert!(!consumer.release(), "nothing was consumed");
    }
    popped.map(|popped| popped.map(|(header, _)| header.length as usize))
}

#[track_caller]
fn refused(popped: Result<Option<usize>, Fault>, rule: &str) {
    let Err(Fault::Corrupt(Corrupt(text))) = popped else {
        panic!("{popped:?} is not refused: {rule}")
    };
    assert!(text.contains(rule), "{text:?} says nothing of {rule:?}");
    let error = crate::Error::from(Corrupt(text));
    assert_eq!(error.kind(), ErrorKind::Protocol);
    assert!(error.to_string().contains(rule), "{error}");
}

#[test]
fn what_is_not_committed_is_not_there() {
    for word in [0, 7, !COMMITTED, 5 << 28, u64::MAX << 32] {
        assert_eq!(popped(0, word & !COMMITTED, 0), Ok(None));
    }
}

#[test]
fn lengths_are_judged() {
    assert_eq!(popped(0, WHOLE, 0), Ok(Some(0)), "an empty body is one");
    assert_eq!(popped(0, WHOLE | 1400, 0), Ok(Some(1400)));
    refused(popped(0, WHOLE | 1401, 0), "longer than any");
    refused(popped(0, WHOLE | 0xff_ffff, 0), "longer than any");
    // Room for exactly one line: the fewer words, the longer the body.
    for (words, body) in [(0, 48), (1 << 24, 40), (1 << 25, 40), (3 << 24, 32)] {
        assert_eq!(
            popped(4096 - 64, WHOLE | words | body, 0),
            Ok(Some(body as usize))
        );
        refused(popped(4096 - 64, WHOLE | words | (body + 1), 0), "beyond the end");
    }
    refused(popped(4096 - 1024, WHOLE | 1400, 0), "beyond the end");
    // The same where positions wrap.
    refused(popped(u64::MAX - 63, WHOLE | 49, 0), "beyond the end");
    refused(popped(u64::from(u32::MAX) - 63, WHOLE | 49, 0), "beyond the end");
}

#[test]
fn marks_are_judged() {
    for mark in [0, 6, 7] {
        refused(popped(0, COMMITTED | mark << 28, 0), "unknown mark");
    }
    for mark in 1..=4 {
        assert_eq!(popped(0, COMMITTED | mark << 28 | 9, 0), Ok(Some(9)));
    }
    for spare in [1 << 26, 1 << 27, 0xf << 24] {
        refused(popped(0, WHOLE | spare, 0), "mean nothing");
    }
    assert_eq!(
        popped(0, u64::MAX, 0),
        Err(Corrupt("a record has an unknown mark").into())
    );
}

#[test]
fn wraps_are_judged() {
    assert_eq!(popped(1024, WRAP, WHOLE | 5), Ok(Some(5)));
    refused(popped(1024, WRAP, WRAP), "two marks");
    refused(popped(1024, WRAP, 0), "no record behind it");
    refused(popped(0, WRAP, WRAP), "the start of the ring says");
    refused(popped(1024, WRAP, COMMITTED), "unknown mark");
    refused(popped(1024, WRAP, WHOLE | 1401), "longer than any");
    // A wrap says nothing else.
    refused(popped(1024, WRAP | 1, WHOLE), "unknown mark");
    refused(popped(1024, WRAP | 1 << 40, WHOLE), "unknown mark");
}

/// What a producer says that has produced ten lines of its ring of 64, of which the other side said first that it had
/// consumed four, and says now that it has consumed up to `index`.
fn looked(start: u64, index: u64) -> Result<bool, Corrupt> {
    let [victim, hostile] = sides(small());
    let mut producer = victim.producer(small()).starting_at(start);
    write(&hostile.own, CONSUMED, start);
    let push = |producer: &mut super::Producer| producer.push(&header(1), Mark::Whole, [b"", b""]);
    for _ in 0..63 {
        assert_eq!(push(&mut producer), Ok(true));
    }
    assert_eq!(push(&mut producer), Ok(false));
    write(&hostile.own, CONSUMED, start.wrapping_add(4 * 64));
    assert_eq!(push(&mut producer), Ok(true));
    for _ in 0..3 {
        assert_eq!(push(&mut producer), Ok(true));
    }
    // 67 lines produced, four consumed.
    write(&hostile.own, CONSUMED, start.wrapping_add(index));
    let went = push(&mut producer);
    if went.is_err() {
        assert_eq!(push(&mut producer), went);
        assert_eq!(producer.wait_for_space(0), went);
    }
    went
}

#[test]
fn indices_are_judged() {
    for start in [0, u64::from(u32::MAX) - 4095, u64::MAX - 63, u64::MAX - 4095] {
        assert_eq!(looked(start, 4 * 64), Ok(false), "nothing new");
        assert_eq!(looked(start, 5 * 64), Ok(true));
        assert_eq!(looked(start, 67 * 64), Ok(true), "all of it");
        let refused = |index: u64, rule: &str| {
            let Err(Corrupt(text)) = looked(start, index) else {
                panic!("{index:#x} from {start:#x} is not refused: {rule}")
            };
            assert!(text.contains(rule), "{text:?} says nothing of {rule:?}");
        };
        refused(68 * 64, "beyond what was produced");
        refused(67 * 64 + 1, "beyond what was produced");
        refused(67 * 64 + 4096 + 1, "beyond what was produced");
        refused(1 << 62, "beyond what was produced");
        refused(3 * 64, "went backwards");
        refused(0, "went backwards");
        refused(u64::MAX, "went backwards");
        refused(5 * 64 + 1, "within a line");
        refused(5 * 64 + 32, "within a line");
    }
}

#[test]
fn a_full_ring_stays_full_as_long_as_nobody_reads() {
    let [victim, hostile] = sides(small());
    let mut producer = victim.producer(small());
    while producer.push(&header(1), Mark::Whole, [b"", b""]).unwrap() {}
    for _ in 0..10_000 {
        assert_eq!(producer.push(&header(1), Mark::Whole, [b"", b""]), Ok(false));
        assert_eq!(producer.wait_for_space(0), Ok(false));
    }
    // It says that it read what it did not: its own loss.
    write(&hostile.own, CONSUMED, 63 * 64);
    assert_eq!(producer.push(&header(1), Mark::Whole, [b"", b""]), Ok(true));
}

#[test]
fn the_other_words_are_hints() {
    let [victim, hostile] = sides(small());
    let processors = Processors::new(Arc::clone(&victim.own), Arc::clone(&victim.peer));
    for (word, expected) in [
        (0, None),
        (1, Some(0)),
        (1 << 32, None),
        (u64::MAX, None),
        (u32::MAX.into(), Some(u32::MAX - 1)),
    ] {
        write(&hostile.own, PROCESSOR, word);
        assert_eq!(processors.peer_processor(), expected);
    }
    // It says that it waits, with nothing in its ring, and always.
    let mut consumer = victim.consumer(small());
    write(&hostile.own, WANTS_SPACE, u64::MAX);
    assert!(!consumer.release());
    assert!(!consumer.take_space_news());
}

/// Ends the thread that flips when the victim is done, also when that has failed.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn words_that_change_while_one_looks_do_no_harm() {
    words_change(Duration::ZERO);
}

#[test]
fn an_index_that_changes_while_one_looks_does_no_harm() {
    an_index_changes(Duration::ZERO);
}

#[test]
#[ignore = "takes ten seconds"]
fn words_that_change_for_ten_seconds_do_no_harm() {
    words_change(LONG);
}

#[test]
#[ignore = "takes ten seconds"]
fn an_index_that_changes_for_ten_seconds_does_no_harm() {
    an_index_changes(LONG);
}

const LONG: Duration = Duration::from_secs(10);

/// The numbers of looks at what changes: a million, and then as many as it takes to fill the time.
fn looks(time: Duration) -> impl Iterator<Item = u64> {
    let begun = Instant::now();
    (0..).take_while(move |look| look % 1_000_000 != 0 || *look == 0 || begun.elapsed() < time)
}

/// A thread flips whatever a consumer looks at, as fast as it can, while the consumer looks.
fn words_change(time: Duration) {
    let layout = small();
    let [victim, hostile] = sides(layout);
    let over = AtomicBool::new(false);
    let (mut whole, mut refused, mut absent) = (0_u64, 0_u64, 0_u64);
    thread::scope(|scope| {
        scope.spawn(|| flip(&hostile, layout, &over));
        let _over = Over(&over);
        let mut random = Random(3);
        let mut consumer: Consumer = victim.consumer(layout);
        let mut body = Vec::new();
        for _ in looks(time) {
            body.clear();
            match consumer.pop(&mut body) {
                Ok(Some((header, _))) => {
                    assert_eq!(header.length as usize, body.len());
                    assert!(body.len() <= layout.largest());
                    whole += 1;
                }
                Ok(None) => {
                    assert!(body.is_empty());
                    absent += 1;
                    consumer = victim.consumer(layout).starting_at(random.next() << 6);
                }
                Err(Fault::Corrupt(_)) => {
                    assert!(body.is_empty());
                    refused += 1;
                    consumer = victim.consumer(layout).starting_at(random.next() << 6);
                }
                Err(Fault::NoMemory(_)) => panic!("such lengths are never asked for"),
            }
            consumer.take_space_news();
        }
    });
    assert!(
        whole > 1000 && refused > 1000,
        "{whole} whole, {refused} refused, {absent} absent"
    );
}

fn flip(hostile: &Side, layout: Layout, over: &AtomicBool) {
    let mut random = Random(5);
    while !over.load(Ordering::Relaxed) {
        let position = 64 * random.below(layout.capacity() / 64);
        let bits = random.next();
        let word = match bits % 8 {
            0 => WRAP,
            1 => bits,
            2 => 0,
            // Just about the longest that fits in, and about the end of the ring.
            3 => WHOLE | ((layout.largest() - 4) as u64 + (bits >> 8) % 8),
            4 => WHOLE | ((layout.capacity() - position) as u64 + (bits >> 8) % 8).saturating_sub(36),
            _ => WHOLE | ((bits >> 8) % 200),
        };
        write(&hostile.own, RECORDS + position, word);
        for at in 1..4 {
            write(&hostile.own, RECORDS + position + 8 * at, bits);
        }
        write(&hostile.own, WANTS_SPACE, bits);
    }
}

/// The same for a producer: the index of what was consumed flips while it looks.
fn an_index_changes(time: Duration) {
    let layout = small();
    let [victim, hostile] = sides(layout);
    let over = AtomicBool::new(false);
    let (mut went, mut full, mut refused) = (0_u64, 0_u64, 0_u64);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut random = Random(7);
            while !over.load(Ordering::Relaxed) {
                let word = match random.below(8) {
                    0 => random.next(),
                    1 => u64::MAX - random.next() % 4096,
                    _ => 64 * (random.next() % 256),
                };
                write(&hostile.own, CONSUMED, word);
            }
        });
        let _over = Over(&over);
        let mut producer = victim.producer(layout);
        for id in looks(time) {
            match producer.push(&header(id), Mark::Whole, [&[7; 100], b""]) {
                Ok(true) => went += 1,
                Ok(false) => full += 1,
                Err(_) => {
                    refused += 1;
                    producer = victim.producer(layout).starting_at(id % 64 * 64);
                }
            }
        }
    });
    assert!(
        went > 1000 && refused > 1000,
        "{went} went, {full} full, {refused} refused"
    );
}
