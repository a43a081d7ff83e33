//! A port whose other side writes its memory by hand: from either end, it is told which rule was broken, or bears it.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::child::PATIENCE;
use super::raw::{Hostile, LAYOUT, against_both, deadline, end_of, received, send};
use super::{Random, header_without_attachments};
use crate::lanes::LANES;
use crate::sys::shm::layout::{CONSUMED, PROCESSOR, WANTS_SPACE};
use crate::sys::shm::{Mark, PREFIX};
use crate::{Endpoint, ErrorKind, Flushed, Header, Message, Port, Received, Sent};

/// Where the records begin, as `layout` shows it.
const RECORDS: usize = 512;
const COMMITTED: u64 = 1 << 31;
/// The longest body of a record.
const LARGEST: usize = LAYOUT.largest();
const WHOLE: u64 = COMMITTED | 1 << 28;

fn push(hostile: &mut Hostile, header: &Header, mark: Mark, body: &[u8]) {
    assert_eq!(hostile.producer.push(header, mark, [body, b""]), Ok(true));
}

/// The first piece of a large message.
fn first(total: u32, lane: u32, length: usize) -> Vec<u8> {
    let mut body = total.to_le_bytes().to_vec();
    body.extend(lane.to_le_bytes());
    body.resize(PREFIX + length, 7);
    body
}

/// A further piece, or the last.
fn on(lane: u64) -> Header {
    Header {
        id: lane,
        ..Header::default()
    }
}

#[track_caller]
fn refused(port: &mut Port, kind: ErrorKind, rule: &str) {
    let error = end_of(port).expect_err(rule);
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.to_string().contains(rule), "{error}: nothing of {rule:?}");
    // It stays so, and nothing is in progress.
    let again = end_of(port).unwrap_err();
    assert_eq!((again.kind(), again.to_string()), (kind, error.to_string()));
    assert!(!port.receiver.in_progress());
}

#[test]
fn records_that_are_none() {
    let words = [
        (COMMITTED, "unknown mark"),
        (COMMITTED | 7 << 28, "unknown mark"),
        (COMMITTED | 5 << 28, "the start of the ring says"),
        (WHOLE | 1 << 27, "mean nothing"),
        (WHOLE | 0xff_ffff, "longer than any"),
        (u64::MAX, "unknown mark"),
    ];
    for (word, rule) in words {
        against_both(|mut port, hostile| {
            hostile.write(RECORDS, word);
            refused(&mut port, ErrorKind::Protocol, rule);
        });
    }
    // What is attached cannot be carried, as on a socket.
    against_both(|mut port, mut hostile| {
        push(&mut hostile, &super::header(1), Mark::Whole, b"attached");
        let error = end_of(&mut port).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");
    });
}

#[test]
fn what_came_before_is_received() {
    against_both(|mut port, mut hostile| {
        let mut message = Message::default();
        push(&mut hostile, &header_without_attachments(1), Mark::Whole, b"good");
        hostile.write(RECORDS + 64, u64::MAX);
        assert_eq!(received(&mut port, &mut message).unwrap(), Received::Message);
        assert_eq!((message.header.id, &message.body[..]), (1, &b"good"[..]));
        refused(&mut port, ErrorKind::Protocol, "unknown mark");
    });
}

#[test]
fn pieces_that_do_not_fit() {
    let header = header_without_attachments(1);
    let large = 100_000;
    let limit = Endpoint::DEFAULT_MESSAGE_LIMIT as u32;
    let begins: [(&[u8], ErrorKind, &str); 7] = [
        (b"", ErrorKind::Protocol, "does not say what it is of"),
        (b"1234567", ErrorKind::Protocol, "does not say what it is of"),
        (&first(0, 0, 10), ErrorKind::Protocol, "is all of it"),
        (&first(10, 0, 10), ErrorKind::Protocol, "is all of it"),
        (&first(limit + 1, 0, 10), ErrorKind::TooLarge, "67108865"),
        (
            &first(large, LANES as u32, 10),
            ErrorKind::Protocol,
            "does not exist, or is in use",
        ),
        (
            &first(large, u32::MAX, 10),
            ErrorKind::Protocol,
            "does not exist, or is in use",
        ),
    ];
    for (body, kind, rule) in begins {
        against_both(|mut port, mut hostile| {
            push(&mut hostile, &header, Mark::First, body);
            let error = end_of(&mut port).expect_err(rule);
            assert_eq!(error.kind(), kind, "{error}");
            assert!(
                kind == ErrorKind::TooLarge || error.to_string().contains(rule),
                "{error}"
            );
        });
    }
    // A lane that is in use, by a message that was begun as it should be.
    against_both(|mut port, mut hostile| {
        for _ in 0..2 {
            push(&mut hostile, &header, Mark::First, &first(large, 3, 1000));
        }
        refused(&mut port, ErrorKind::Protocol, "in use");
    });
    // Pieces of nothing.
    for mark in [Mark::Further, Mark::Last] {
        for lane in [0, LANES as u64, u64::MAX] {
            against_both(|mut port, mut hostile| {
                push(&mut hostile, &on(lane), mark, b"stray");
                refused(&mut port, ErrorKind::Protocol, "belongs to no message");
            });
        }
    }
    // Too few, too many.
    let total = LARGEST as u32 + 100;
    let goes_on: [(Mark, usize, &str); 5] = [
        (Mark::Last, 99, "before all of it"),
        (Mark::Last, 101, "more than it was said to have"),
        (Mark::Further, 101, "more than it was said to have"),
        (Mark::Further, LARGEST, "more than it was said to have"),
        (Mark::Further, 0, "has nothing in it"),
    ];
    for (mark, length, rule) in goes_on {
        against_both(|mut port, mut hostile| {
            push(
                &mut hostile,
                &header,
                Mark::First,
                &first(total, 0, LARGEST - PREFIX),
            );
            let before = LARGEST - PREFIX;
            let missing = total as usize - before - 100;
            push(&mut hostile, &on(0), Mark::Further, &vec![7; missing]);
            push(&mut hostile, &on(0), mark, &vec![7; length]);
            refused(&mut port, ErrorKind::Protocol, rule);
        });
    }
}

#[test]
fn a_message_that_ends_with_its_sender() {
    against_both(|mut port, mut hostile| {
        push(
            &mut hostile,
            &header_without_attachments(1),
            Mark::First,
            &first(100_000, 0, 1000),
        );
        let mut message = Message::default();
        assert_eq!(received(&mut port, &mut message).unwrap(), Received::Begun);
        assert!(port.receiver.in_progress());
        drop(hostile);
        let error = end_of(&mut port).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PeerDied, "{error}");
    });
}

/// A large message in the smallest pieces keeps nobody from anything else for longer than a large piece does.
#[test]
fn small_pieces_do_not_hold_the_receiver_up() {
    against_both(|mut port, mut hostile| {
        let total = 1 << 20;
        push(
            &mut hostile,
            &header_without_attachments(1),
            Mark::First,
            &first(total, 0, 0),
        );
        let mut pieces = 0;
        while hostile.producer.push(&on(0), Mark::Further, [b"1", b""]).unwrap() {
            pieces += 1;
        }
        assert!(pieces > 1000, "{pieces}");
        let mut message = Message::default();
        assert_eq!(port.receiver.try_recv(&mut message).unwrap(), Received::Begun);
        let mut looks = 0;
        loop {
            assert_eq!(port.receiver.try_recv(&mut message).unwrap(), Received::Empty);
            looks += 1;
            if port.receiver.drained() {
                break;
            }
            // Whoever waits goes on at once.
            let begun = Instant::now();
            port.receiver.park(false, deadline()).unwrap();
            assert!(!port.receiver.arm() && begun.elapsed() < PATIENCE / 2);
        }
        assert!(looks > 10, "{looks} looks for {pieces} pieces");
    });
}

#[test]
fn an_index_that_lies() {
    for index in [1, 63, 64 << 20, u64::MAX, u64::MAX - 63, 1 << 63] {
        against_both(|mut port, hostile| {
            hostile.write(CONSUMED, index);
            let header = header_without_attachments(1);
            let mut body = vec![7; 30_000];
            // It looks once its ring seems full.
            let error = loop {
                match port.sender.try_send(&header, &mut body).and_then(|sent| {
                    assert_eq!(sent, Sent::Accepted, "index {index:#x} was believed");
                    port.sender.flush()
                }) {
                    Ok(Flushed::Done) => {}
                    Ok(Flushed::Blocked) => panic!("index {index:#x} was not judged"),
                    Err(error) => break error,
                }
            };
            assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");
            assert!(error.to_string().contains("rule of the shared ring"), "{error}");
            assert_eq!(port.sender.queued(), 0);
            assert!(port.sender.try_send(&header, &mut body).is_err(), "it stays so");
        });
    }
}

/// Who says to have consumed what it has not read loses that, and nobody else anything.
#[test]
fn consumed_and_not_read() {
    against_both(|mut port, hostile| {
        let header = header_without_attachments(1);
        let size = 64 * 17;
        let mut sent = 0_u64;
        for _ in 0..2000 {
            assert_eq!(
                port.sender.try_send(&header, &mut vec![7; size - 32]).unwrap(),
                Sent::Accepted
            );
            assert_eq!(port.sender.flush().unwrap(), Flushed::Done);
            let at = sent % LAYOUT.capacity() as u64;
            let left = LAYOUT.capacity() as u64 - at;
            sent += size as u64 + if left < size as u64 { left } else { 0 };
            hostile.write(CONSUMED, sent);
        }
    });
}

#[test]
fn a_ring_that_stays_full() {
    against_both(|mut port, mut hostile| {
        let header = header_without_attachments(1);
        let mut sent = 0;
        while port.sender.try_send(&header, &mut vec![7; 20_000]).unwrap() == Sent::Accepted {
            let _ = port.sender.flush().unwrap();
            sent += 1;
            assert!(sent < 10_000, "nothing holds it back");
        }
        assert!(port.sender.queued() <= crate::socket::QUEUE_LIMIT);
        assert_eq!(port.sender.flush().unwrap(), Flushed::Blocked);
        // A wait for room ends with its time, and costs next to nothing.
        let (begun, used) = (Instant::now(), thread_time());
        let until = begun + Duration::from_millis(200);
        while Instant::now() < until {
            port.receiver.park(true, Some(until)).unwrap();
            assert_eq!(port.sender.flush().unwrap(), Flushed::Blocked);
        }
        assert!(
            thread_time() - used < Duration::from_millis(100),
            "{:?}",
            thread_time() - used
        );
        // What it makes of the wish for room is its own affair: now it reads, and everything arrives.
        let mut arrived = 0;
        let mut body = Vec::new();
        while arrived < sent {
            body.clear();
            if let Some((_, mark)) = hostile.consumer.pop(&mut body).unwrap() {
                assert_eq!((mark, body.len()), (Mark::Whole, 20_000));
                arrived += 1;
            } else {
                let _ = hostile.consumer.release();
                let _ = port.sender.flush().unwrap();
            }
        }
    });
}

/// Processor time of this thread so far.
fn thread_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(stat.split(' ').next().unwrap().parse().unwrap())
}

/// Nobody rings: what was put into the ring is found a little later, and so is the end.
#[test]
fn a_bell_that_is_never_rung() {
    // Twenty milliseconds, on a machine that may be busy; without a look of its own it would be never.
    const SOON: Duration = Duration::from_secs(4);
    against_both(|mut port, mut hostile| {
        let mut message = Message::default();
        for id in 0..10 {
            let pushed = thread::scope(|scope| {
                let pusher = scope.spawn(|| {
                    // Until it says that it sleeps, as an honest side would wait to be able to wake it.
                    while hostile.peer_bell.load() == 0 {
                        thread::yield_now();
                    }
                    push(
                        &mut hostile,
                        &header_without_attachments(id),
                        Mark::Whole,
                        b"psst",
                    );
                    Instant::now()
                });
                assert_eq!(received(&mut port, &mut message).unwrap(), Received::Message);
                pusher.join().unwrap()
            });
            assert!(pushed.elapsed() < SOON, "{:?}", pushed.elapsed());
        }
        let dropped = thread::scope(|scope| {
            let dropper = scope.spawn(|| {
                while hostile.peer_bell.load() == 0 {
                    thread::yield_now();
                }
                drop(hostile);
                Instant::now()
            });
            let _ = end_of(&mut port);
            dropper.join().unwrap()
        });
        assert!(dropped.elapsed() < SOON, "{:?}", dropped.elapsed());
    });
}

/// Does something on another thread, again and again, while `work` runs.
fn while_it<T>(again: impl Fn() + Sync, work: impl FnOnce() -> T) -> T {
    struct Over<'a>(&'a AtomicBool);
    impl Drop for Over<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                again();
            }
        });
        let _over = Over(&over);
        work()
    })
}

/// The other side wakes a sleeper for nothing, as often as it can, or tells it that it does not sleep: the sleeper turns to
/// the socket, and takes next to no time.
#[test]
fn a_bell_that_is_rung_for_ever() {
    const WAIT: Duration = Duration::from_millis(600);
    type Storm = fn(&Hostile);
    let storms: [(&str, Storm); 3] = [
        ("wake", |hostile| hostile.peer_bell.wake()),
        ("silence", |hostile| {
            hostile.peer_bell.take();
        }),
        ("both, and the event", |hostile| {
            hostile.peer_bell.take();
            hostile.peer_bell.wake();
            hostile.peer_event.raise();
        }),
    ];
    for (what, storm) in storms {
        against_both(|mut port, hostile| {
            let mut message = Message::default();
            let used = while_it(
                || storm(&hostile),
                || {
                    let (until, used) = (Instant::now() + WAIT, thread_time());
                    while Instant::now() < until {
                        assert_eq!(port.receiver.try_recv(&mut message).unwrap(), Received::Empty);
                        port.receiver.park(false, Some(until)).unwrap();
                    }
                    thread_time() - used
                },
            );
            println!("{what}: {used:?} of {WAIT:?}");
            assert!(used < WAIT / 4, "{what}: {used:?} of {WAIT:?}");
        });
    }
}

/// A storm ends, and the port is as fast as before; what it was sent during one arrives.
#[test]
fn messages_arrive_in_a_storm_and_after_it() {
    against_both(|mut port, mut hostile| {
        let mut message = Message::default();
        let Hostile {
            producer, peer_bell, ..
        } = &mut hostile;
        for id in 0..20 {
            while_it(
                || peer_bell.wake(),
                || {
                    let pushed = producer.push(&header_without_attachments(id), Mark::Whole, [b"still", b""]);
                    assert_eq!(pushed, Ok(true));
                    assert_eq!(received(&mut port, &mut message).unwrap(), Received::Message);
                    assert_eq!(message.header.id, id);
                },
            );
        }
    });
}

/// Every word of the other side's changes all the time: what comes is a message, or a broken rule.
#[test]
fn words_that_never_rest() {
    const FOR: Duration = Duration::from_millis(150);
    for seed in 0..4 {
        against_both(|mut port, hostile| {
            let words = [CONSUMED, WANTS_SPACE, PROCESSOR];
            let random = std::sync::Mutex::new(Random(seed));
            let flip = || {
                let mut random = random.lock().unwrap();
                let offset = match random.below(4) {
                    0 => words[random.below(3)],
                    _ => RECORDS + 8 * random.below(512),
                };
                let word = match random.below(4) {
                    0 => random.next(),
                    1 => WHOLE | random.next() & 0x7fff,
                    2 => COMMITTED | (1 + random.next() % 5) << 28 | random.next() & 0x1ff,
                    _ => 0,
                };
                hostile.write(offset, word);
            };
            while_it(flip, || {
                let (until, mut message) = (Instant::now() + FOR, Message::default());
                while Instant::now() < until {
                    match port.receiver.try_recv(&mut message) {
                        Ok(Received::Closed) => panic!("nobody closed"),
                        Ok(_) => {}
                        Err(error) => {
                            let kind = error.kind();
                            assert!(
                                matches!(kind, ErrorKind::Protocol | ErrorKind::TooLarge),
                                "{error}"
                            );
                        }
                    }
                    if let Err(error) = port
                        .sender
                        .try_send(&header_without_attachments(1), &mut vec![7; 5000])
                        .and_then(|_| port.sender.flush())
                    {
                        assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");
                        break;
                    }
                }
            });
        });
    }
}

#[test]
fn descriptors_on_a_socket_that_only_tells_of_the_end() {
    against_both(|mut port, hostile| {
        let (read, write) = rustix::pipe::pipe().unwrap();
        send(hostile.stream.as_fd(), b"x", &[write.as_fd(); 253]);
        drop(write);
        refused(&mut port, ErrorKind::Protocol, "went on speaking");
        // None was kept.
        assert_eq!(rustix::io::read(&read, &mut [0]), Ok(0));
    });
}
