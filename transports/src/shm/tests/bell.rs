//! Sleeping and being woken, between two mappings and two processes.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::child::{self, PATIENCE, in_child};
use super::header;
use crate::sys::SharedWord;
use crate::sys::shm::{Bell, EVENT, FUTEX, Layout, Mark};

/// One bell, by two mappings.
fn bell() -> (Bell, Bell) {
    let (word, descriptor) = SharedWord::create().unwrap();
    let other = SharedWord::attach(descriptor.as_fd()).unwrap();
    (Bell::new(word), Bell::new(other))
}

#[test]
fn bits_are_taken_by_who_rings() {
    let (own, other) = bell();
    assert_eq!(other.ring(), 0);
    own.arm(FUTEX);
    assert!(other.is_armed(FUTEX) && !other.is_armed(EVENT));
    own.arm(EVENT);
    assert_eq!(other.ring(), FUTEX | EVENT);
    assert!(!own.is_armed(FUTEX | EVENT));
    assert_eq!(other.ring(), 0);
    own.arm(FUTEX | EVENT);
    own.disarm(FUTEX);
    assert_eq!(other.ring(), EVENT);
}

#[test]
fn a_sleep_ends_with_its_time_or_before_it_begins() {
    let (own, other) = bell();
    own.arm(FUTEX);
    let begun = Instant::now();
    own.sleep(Duration::from_millis(30));
    assert!(begun.elapsed() >= Duration::from_millis(30));
    // Rung before it began; not armed at all.
    other.ring();
    let begun = Instant::now();
    own.sleep(PATIENCE);
    own.arm(EVENT);
    own.sleep(PATIENCE);
    assert!(begun.elapsed() < PATIENCE / 2);
}

#[test]
fn a_thread_is_woken_through_another_mapping() {
    let (own, other) = bell();
    let own = Arc::new(own);
    for _ in 0..200 {
        own.arm(FUTEX);
        let sleeper = {
            let own = Arc::clone(&own);
            thread::spawn(move || {
                let begun = Instant::now();
                while own.is_armed(FUTEX) {
                    own.sleep(PATIENCE);
                }
                assert!(begun.elapsed() < PATIENCE / 2);
            })
        };
        thread::yield_now();
        assert_eq!(other.ring(), FUTEX);
        sleeper.join().unwrap();
    }
}

/// A hostile side wakes all the time, and writes what it likes.
#[test]
fn a_storm_of_wake_ups_ends_sleeps_early_and_no_more() {
    let (word, descriptor) = SharedWord::create().unwrap();
    let other = SharedWord::attach(descriptor.as_fd()).unwrap();
    let own = Bell::new(word);
    for garbage in [0, EVENT, FUTEX, u32::MAX, 1 << 31] {
        other.take();
        other.add(garbage);
        other.wake();
        own.arm(FUTEX);
        own.sleep(Duration::from_millis(1));
        own.disarm(FUTEX | EVENT);
        assert!(!own.is_armed(FUTEX | EVENT));
        // Bits that mean nothing are taken with the others.
        assert_eq!(own.ring() & (FUTEX | EVENT), 0);
    }
}

const ROUNDS: u64 = 2000;

#[test]
fn processes_wake_each_other() {
    let layout = Layout::DEFAULT;
    if let Some(mut child) = in_child(layout) {
        let mut body = Vec::new();
        for round in 0..ROUNDS {
            while !child.consumer.ready() {
                assert!(child.sleep(PATIENCE), "nothing came in round {round}");
            }
            body.clear();
            let (header, mark) = child.consumer.pop(&mut body).unwrap().unwrap();
            assert!(child.producer.push(&header, mark, [&body, b""]).unwrap());
            if child.peer_bell.ring() & EVENT != 0 {
                child.peer_event.raise();
            }
        }
        // Until the other side has seen all of it.
        child::wait(&child.stream);
        return;
    }
    let (mut process, stream) = child::start("bell::processes_wake_each_other", &[]);
    let mut parent = child::connect(stream, layout);
    let mut body = Vec::new();
    let mut slept = 0;
    for round in 0..ROUNDS {
        let sent = round.to_ne_bytes();
        assert!(
            parent
                .producer
                .push(&header(round), Mark::Whole, [&sent, b""])
                .unwrap()
        );
        parent.peer_bell.ring();
        // As a thread, and as a task, by turns.
        while !parent.consumer.ready() {
            slept += 1;
            if round % 2 == 0 {
                assert!(parent.sleep(PATIENCE), "nothing came in round {round}");
                continue;
            }
            parent.own_bell.arm(EVENT);
            if !parent.consumer.ready() {
                child::wait(&parent.own_event);
                parent.own_event.lower();
            }
            parent.own_bell.disarm(EVENT);
        }
        body.clear();
        let (taken, _) = parent.consumer.pop(&mut body).unwrap().unwrap();
        assert_eq!((taken.id, &body[..]), (round, &sent[..]));
    }
    assert!(slept > 0, "nobody ever slept");
    drop(parent);
    assert!(process.wait().unwrap().success());
}

#[test]
fn an_event_is_raised_and_lowered() {
    let event = crate::sys::Event::create().unwrap();
    let is_raised = || {
        let at_once = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        poll(&mut [PollFd::new(&event, PollFlags::IN)], Some(&at_once)).unwrap() == 1
    };
    assert!(!is_raised());
    event.raise();
    event.raise();
    assert!(is_raised());
    event.lower();
    assert!(!is_raised());
    event.lower();
    // A full counter is no reason to wait.
    rustix::io::write(&event, &(u64::MAX - 1).to_ne_bytes()).unwrap();
    event.raise();
    assert!(is_raised());
}
