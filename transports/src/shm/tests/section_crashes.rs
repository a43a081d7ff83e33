//! A side that has sections of the other's, and has sent some of its own, is killed at each point at which it could be: the
//! other gets whole sections until the end, and has everything back after it. So it is where the two trust each other, and one of the
//! sections is answered in its own memory.

use std::process::{Command, Stdio};
use std::time::Instant;

use super::Random;
use super::child::PATIENCE;
use super::raw::{Held, Place, alone, deadline, received};
use crate::crash::VARIABLE;
use crate::{
    Block, Endpoint, Error, Flushed, Header, Lease, Message, Pool, Port, Received, Sent, connect, listen,
};

/// Where a child connects.
const ENDPOINT: &str = "TRANSPORTS_TEST_ENDPOINT";

const ROUNDS: u64 = 3;

fn bytes_of(id: u64) -> Vec<u8> {
    Random(id).bytes(5000)
}

/// Says that the two sides trust each other.
const TRUST: &str = "TRANSPORTS_TEST_TRUST";

fn trusting(endpoint: Endpoint, trusts: bool) -> Endpoint {
    if !trusts {
        return endpoint;
    }
    // SAFETY: both sides are this program, which changes nothing that it has sent, and looks at nothing that it has lent whole.
    unsafe { endpoint.trust_peer() }
}

/// A section that the other side is to transform.
fn question(pool: &Pool, id: u64) -> Result<Block, Error> {
    let bytes = bytes_of(id);
    let mut chunk = pool.alloc(bytes.len())?;
    chunk.copy_from_slice(&bytes);
    chunk.lend()
}

/// The same transformed: where it is, between sides that trust each other.
fn transformed(pool: &Pool, mut lease: Lease, trusts: bool) -> Result<Block, Error> {
    let flip = |bytes: &mut [u8]| bytes.iter_mut().for_each(|byte| *byte = !*byte);
    assert_eq!(lease.bytes_mut().map(flip).is_some(), trusts);
    match lease.send_back() {
        Ok(block) => Ok(block),
        Err(lease) => {
            let mut chunk = pool.alloc(lease.len())?;
            lease.copy_into(0, &mut chunk)?;
            flip(&mut chunk);
            chunk.lend()
        }
    }
}

/// Two sections, one of which is sealed.
fn blocks(pool: &Pool, id: u64) -> Result<[Block; 2], Error> {
    let bytes = bytes_of(id);
    let mut plain = pool.alloc(bytes.len())?;
    plain.copy_from_slice(&bytes);
    let mut sealed = pool.alloc_sealed(bytes.len())?;
    sealed.copy_from_slice(&bytes);
    Ok([plain.freeze()?, sealed.freeze()?])
}

fn send(port: &mut Port, id: u64, third: Block) -> Result<(), Error> {
    let pool = port.pool.clone().unwrap();
    let header = Header {
        id,
        ..Header::default()
    };
    let [one, two] = blocks(&pool, id)?;
    let blocks = [one, two, third];
    let sent = port
        .sender
        .try_send_with(&header, &[], &mut Vec::new(), &blocks)?;
    assert_eq!(sent, Sent::Accepted, "there is nothing else on the way");
    drop(blocks);
    assert_eq!(port.sender.flush()?, Flushed::Done);
    Ok(())
}

/// What came is whole, and the third section is `third`.
fn judge(message: &Message, id: u64, third: &[u8]) {
    assert_eq!((message.header.id, message.sections.len()), (id, 3));
    let bytes = bytes_of(id);
    for (lease, expected) in message.sections.iter().zip([&bytes, &bytes, third]) {
        let mut copy = Vec::new();
        lease.append_to(0, lease.len(), &mut copy).unwrap();
        assert!(copy == expected, "message {id}");
    }
}

/// The child: answers, and keeps every second message's sections until the next is there.
fn answer(endpoint: &Endpoint, trusts: bool) {
    let mut port = connect(endpoint, deadline()).unwrap();
    let pool = port.pool.clone().unwrap();
    let mut kept = Vec::new();
    let mut message = Message::default();
    for id in 0..ROUNDS {
        assert_eq!(received(&mut port, &mut message).unwrap(), Received::Message);
        judge(&message, id, &bytes_of(id));
        let third = transformed(&pool, message.sections.pop().unwrap(), trusts).unwrap();
        let former = std::mem::replace(&mut kept, message.sections.drain(..).collect());
        drop(former);
        if id % 2 == 0 {
            kept.pop();
        }
        send(&mut port, !id, third).unwrap();
    }
    // Until the other side has read it all.
    assert_eq!(received(&mut port, &mut message).unwrap(), Received::Closed);
}

/// How many answers came from a child that is killed at this point, and whether it lived.
fn killed_at(point: u64, endpoint: &Endpoint, trusts: bool, test: &str) -> (u64, bool) {
    let mut listener = listen(endpoint).unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("sys::shm::tests::{test}")])
        .args(["--nocapture", "--test-threads=1"])
        .env(ENDPOINT, endpoint.to_string())
        .env(TRUST, trusts.to_string())
        .env(VARIABLE, point.to_string())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut answered = 0;
    // It may die before it has connected.
    let begun = Instant::now();
    let is_dead = |child: &mut std::process::Child| child.try_wait().unwrap().is_some();
    let mut port = None;
    while port.is_none() && !is_dead(&mut child) {
        let soon = Instant::now() + std::time::Duration::from_millis(20);
        listener.park(Some(soon)).unwrap();
        if let crate::Accepted::Port(accepted) = listener.try_accept().unwrap() {
            port = Some(accepted);
        }
        assert!(begun.elapsed() < PATIENCE, "the child hangs at point {point}");
    }
    if let Some(mut port) = port {
        let pool = port.pool.clone().unwrap();
        let mut message = Message::default();
        // It may die at any time: whatever fails now fails for that.
        let mut next = |answered: u64| -> Result<bool, Error> {
            // Who serves hears first what the client wants; beside a ring, that is memory.
            while endpoint.scheme() != port.carrier.scheme() {
                port.receiver.park(false, deadline())?;
                if port.receiver.try_recv(&mut message)? == Received::Closed {
                    return Ok(false);
                }
            }
            let third = question(&pool, answered)?;
            send(&mut port, answered, third)?;
            if received(&mut port, &mut message)? != Received::Message {
                return Ok(false);
            }
            let flipped: Vec<u8> = bytes_of(answered).iter().map(|byte| !byte).collect();
            judge(&message, !answered, &flipped);
            assert_eq!(message.sections.pop().unwrap().into_chunk().is_ok(), trusts);
            Ok(true)
        };
        while answered < ROUNDS && matches!(next(answered), Ok(true)) {
            answered += 1;
        }
        drop(message);
        drop(port);
        assert_eq!(pool.usage().in_use, 0, "point {point}");
    }
    let lived = child.wait().unwrap().success();
    (answered, lived)
}

/// Tries all points, and says how many there are.
fn all_points(scheme: &str, trusts: bool, test: &str) {
    if let Ok(endpoint) = std::env::var(ENDPOINT) {
        assert_eq!(std::env::var(TRUST).unwrap(), trusts.to_string());
        return answer(&trusting(endpoint.parse().unwrap(), trusts), trusts);
    }
    alone(test, || {
        let place = Place::new();
        let endpoint = trusting(place.endpoint(scheme), trusts);
        // What is made once in a process and kept.
        killed_at(u64::MAX, &endpoint, trusts, test);
        let held = Held::now();
        let mut seen = [false; ROUNDS as usize + 1];
        for point in 1.. {
            let (answered, lived) = killed_at(point, &endpoint, trusts, test);
            seen[answered as usize] = true;
            held.returns(scheme);
            if lived {
                assert_eq!(answered, ROUNDS);
                assert!(point > 7 * ROUNDS, "only {point} points were passed");
                break;
            }
        }
        assert_eq!(
            seen,
            [true; ROUNDS as usize + 1],
            "after each number of answers some point was hit"
        );
    });
}

#[test]
fn a_death_over_a_stream_gives_everything_back() {
    all_points(
        "unix",
        false,
        "section_crashes::a_death_over_a_stream_gives_everything_back",
    );
}

#[test]
fn a_death_beside_a_ring_gives_everything_back() {
    all_points(
        "shm",
        false,
        "section_crashes::a_death_beside_a_ring_gives_everything_back",
    );
}

#[test]
fn a_death_over_a_stream_with_what_it_has_to_itself() {
    all_points(
        "unix",
        true,
        "section_crashes::a_death_over_a_stream_with_what_it_has_to_itself",
    );
}

#[test]
fn a_death_beside_a_ring_with_what_it_has_to_itself() {
    all_points(
        "shm",
        true,
        "section_crashes::a_death_beside_a_ring_with_what_it_has_to_itself",
    );
}
