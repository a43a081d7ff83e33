//! One side is killed at each point at which it could be, and the other gets whole records, in order, until the end.

use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::child::{self, Connected, PATIENCE, in_child};
use super::{Random, header};
use crate::crash::VARIABLE;
use crate::sys::shm::{Layout, Mark};

/// The smallest ring for records of several sizes: it wraps every few rounds.
fn layout() -> Layout {
    Layout::new(1024, 200).unwrap()
}

const ROUNDS: u64 = 8;

fn body_of(id: u64) -> Vec<u8> {
    let length = Random(id).below(201);
    Random(id).bytes(length)
}

/// Answers each record with one of its own, and sleeps in between; every second answer comes with a second one.
fn answer(mut child: Connected) {
    let mut body = Vec::new();
    for id in 0..ROUNDS {
        while !child.consumer.ready() {
            assert!(child.sleep(PATIENCE), "nothing came");
        }
        body.clear();
        let (header, _) = child.consumer.pop(&mut body).unwrap().unwrap();
        assert_eq!((header.id, &body[..]), (id, &body_of(id)[..]));
        let _ = child.consumer.release();
        while !child.producer.push(&header, Mark::Whole, [&body, b""]).unwrap() {
            let _ = child.producer.wait_for_space(body.len()).unwrap();
        }
        let _ = child.producer.wait_for_space(0).unwrap();
        child.peer_bell.ring();
    }
}

/// How many answers came from a child that is killed at this point, and whether it lived.
fn killed_at(point: u64) -> (u64, bool) {
    let variables = [(VARIABLE, point.to_string())];
    let (mut process, stream) =
        child::start("crashes::a_death_at_any_point_leaves_whole_records", &variables);
    let mut parent = child::connect(stream, layout());
    let mut body = Vec::new();
    let mut answered = 0;
    let mut is_over = false;
    while answered < ROUNDS && !is_over {
        let sent = body_of(answered);
        let went = parent.producer.push(&header(answered), Mark::Whole, [&sent, b""]);
        assert_eq!(went, Ok(true), "an answered ring has room");
        parent.peer_bell.ring();
        let begun = Instant::now();
        loop {
            // What was put before the end is taken after it.
            is_over = has_ended(&parent);
            body.clear();
            if let Some((taken, mark)) = parent.consumer.pop(&mut body).expect("a death breaks no rule") {
                assert_eq!((taken.id, mark, &body[..]), (answered, Mark::Whole, &sent[..]));
                answered += 1;
                break;
            }
            if is_over {
                break;
            }
            assert!(begun.elapsed() < PATIENCE, "the child hangs at point {point}");
            parent.sleep(Duration::from_millis(5));
        }
    }
    let lived = process.wait().unwrap().success();
    after_the_end(&mut parent);
    (answered, lived)
}

/// Who survives goes on without harm until it notices.
fn after_the_end(parent: &mut Connected) {
    let begun = Instant::now();
    while parent
        .producer
        .push(&header(0), Mark::Whole, [&[1; 100], b""])
        .unwrap()
    {
        parent.peer_bell.ring();
    }
    assert_eq!(parent.producer.wait_for_space(200), Ok(false));
    parent.consumer.release();
    assert!(!parent.sleep(Duration::from_millis(1)));
    assert!(begun.elapsed() < PATIENCE);
}

fn has_ended(parent: &Connected) -> bool {
    let at_once = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    poll(&mut [PollFd::new(&parent.stream, PollFlags::IN)], Some(&at_once)).unwrap() == 1
}

#[test]
fn a_death_at_any_point_leaves_whole_records() {
    if let Some(child) = in_child(layout()) {
        return answer(child);
    }
    let mut seen = [false; ROUNDS as usize + 1];
    for point in 1.. {
        let (answered, lived) = killed_at(point);
        seen[answered as usize] = true;
        if lived {
            assert_eq!(answered, ROUNDS);
            assert!(point > 8 * ROUNDS, "only {point} points were passed");
            break;
        }
    }
    assert_eq!(
        seen,
        [true; ROUNDS as usize + 1],
        "after each number of answers some point was hit"
    );
}
