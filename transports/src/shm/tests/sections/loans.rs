//! Sections that the other side has to itself, and sends back: between sides that trust each other, and what one of them may say that is not so.

use rustix::fs::fcntl_get_seals;

use super::super::raw::{at_client_with, at_server_with, hear};
use super::*;
use crate::sys::shm::sections::wire::Lending;

fn trusting(endpoint: Endpoint) -> Endpoint {
    // SAFETY: what is sent in these tests is changed by whoever has it to himself, and not looked at by the other meanwhile.
    unsafe { endpoint.trust_peer() }
}

/// In each way that there is, against a side that trusts the other.
fn in_all_trusting_ways(test: impl Fn(Port, Foe)) {
    let (port, foe) = on_stream(&trusting(plain()));
    test(port, foe);
    for victim in [at_server_with, at_client_with] {
        let (port, hostile) = victim(trusting);
        test(port, Foe(Way::Ring(Box::new(hostile))));
    }
}

/// Two honest ports on one stream, each of which trusts the other or not.
fn pair(near_trusts: bool, far_trusts: bool) -> (Port, Port) {
    let (near, far) = UnixStream::pair().unwrap();
    let [near, far] = [(near, near_trusts), (far, far_trusts)].map(|(socket, trusts)| {
        socket.set_nonblocking(true).unwrap();
        let endpoint = if trusts { trusting(plain()) } else { plain() };
        crate::socket::port(stream_of(socket.into()).unwrap(), own_identity(), endpoint)
    });
    (near, far)
}

fn filled(pool: &Pool, length: usize, byte: u8) -> crate::Chunk {
    let mut chunk = pool.alloc(length).unwrap();
    chunk.fill(byte);
    chunk
}

fn announce_open(length: usize) -> Header {
    let frame = Frame::Announce {
        segment: 0,
        generation: 1,
        length: length as u64,
        access: Access::InTurn,
        descriptors: 2,
    };
    frame.header()
}

fn copy_of_block(block: &Block) -> Result<Vec<u8>, ErrorKind> {
    let mut bytes = Vec::new();
    let copied = block.append_to(&mut bytes);
    copied.map(|()| bytes).map_err(|error| error.kind())
}

/// It is the same place, every time, and nobody has copied it.
#[test]
fn a_place_goes_and_comes_back() {
    let (mut near, mut far) = pair(true, true);
    let pool = near.pool.clone().unwrap();
    for length in [1, 100_000, 5 * MIB] {
        let mut chunk = filled(&pool, length, 0);
        let place = chunk.as_ptr();
        for round in 0..100 {
            send_one(&mut near, chunk.lend().unwrap());
            let mut theirs = lease(&mut far);
            assert_eq!(theirs.bytes().unwrap()[length - 1], 2 * round);
            theirs.bytes_mut().unwrap().fill(2 * round + 1);
            let back = theirs.send_back().unwrap();
            assert_eq!((back.len(), back[..].len()), (length, 0));
            assert_eq!(copy_of_block(&back).unwrap(), vec![2 * round + 1; length]);
            send_one(&mut far, back);
            let mut ours = lease(&mut near);
            assert_eq!(ours.len(), length);
            assert_eq!(ours.bytes().unwrap().as_ptr(), place);
            assert_eq!(copy_of(&ours), vec![2 * round + 1; length]);
            ours.bytes_mut().unwrap()[0] = 7;
            let ours = ours.send_back().unwrap_err();
            let handle = ours.clone();
            let ours = ours.into_chunk().unwrap_err();
            drop(handle);
            chunk = ours.into_chunk().unwrap();
            assert_eq!(chunk[0], 7);
            chunk.fill(2 * round + 2);
            assert!(pool.usage().in_use >= length);
        }
        drop(chunk);
        assert_eq!(pool.usage().in_use, 0);
    }
    assert_eq!(far.pool.unwrap().usage().high_water, 0);
}

/// It is counted as a section, whoever made it.
#[test]
fn what_goes_back_is_counted() {
    let (mut near, mut far) = pair(true, true);
    let chunk = filled(near.pool.as_ref().unwrap(), 100_000, 1);
    send_one(&mut near, chunk.lend().unwrap());
    let theirs = lease(&mut far);
    send_one(&mut far, theirs.send_back().unwrap());
    drop(lease(&mut near));
    for port in [near, far] {
        let usage = port.pool.as_ref().unwrap().usage();
        assert_eq!((usage.section_messages, usage.section_bytes), (1, 100_000));
        assert_eq!(usage.in_use, 0);
    }
}

/// Trust on one side alone leaves everything as it is without.
#[test]
fn both_have_to_trust() {
    for (near_trusts, far_trusts) in [(false, false), (true, false), (false, true)] {
        let (mut near, mut far) = pair(near_trusts, far_trusts);
        let pool = near.pool.clone().unwrap();
        send_one(&mut near, filled(&pool, 100_000, 3).lend().unwrap());
        let mut theirs = lease(&mut far);
        assert!(theirs.bytes_mut().is_none());
        assert_eq!(theirs.bytes().is_some(), far_trusts);
        let theirs = theirs.send_back().unwrap_err();
        assert_eq!(copy_of(&theirs), [3; 100_000]);
        assert!(pool.usage().in_use > 0);
        drop(theirs);
        assert_eq!(pool.usage().in_use, 0);
    }
    // Whoever does not trust lets nobody write.
    for trusts in [false, true] {
        let endpoint = if trusts { trusting(plain()) } else { plain() };
        let (mut port, foe) = on_stream(&endpoint);
        let pool = port.pool.clone().unwrap();
        send_one(&mut port, filled(&pool, 10, 3).lend().unwrap());
        let (_, _, descriptors) = hear(foe.stream());
        let seals = fcntl_get_seals(&descriptors[0]).unwrap();
        assert!(seals.contains(SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL));
        assert_eq!(seals.contains(SealFlags::FUTURE_WRITE), !trusts);
    }
}

/// What somebody else may look at is nobody's to write.
#[test]
fn only_what_one_has_to_oneself_is_written() {
    let (mut near, mut far) = pair(true, true);
    let pool = near.pool.clone().unwrap();
    let block = filled(&pool, 100, 1).freeze().unwrap();
    send_one(&mut near, block.clone());
    let mut theirs = lease(&mut far);
    assert!(theirs.bytes_mut().is_none() && theirs.send_back().is_err());
    let mut sealed = pool.alloc_sealed(100).unwrap();
    sealed.fill(2);
    let sealed = sealed.lend().unwrap();
    assert_eq!((sealed.is_sealed(), &sealed[..]), (true, &[2; 100][..]));
    send_one(&mut near, sealed);
    assert!(lease(&mut far).bytes_mut().is_none());
    // Two handles of one.
    send_one(&mut near, filled(&pool, 100, 1).lend().unwrap());
    let mut theirs = lease(&mut far);
    let handle = theirs.clone();
    assert!(theirs.bytes_mut().is_none());
    let mut theirs = theirs.send_back().unwrap_err();
    drop(handle);
    assert!(theirs.bytes_mut().is_some());
    drop((theirs, block));
    assert_eq!(pool.usage().in_use, 0);
}

/// Who has a handle of what was sent has nothing, and what could not be sent is still there.
#[test]
fn it_is_sent_once() {
    let (mut near, mut far) = pair(true, true);
    let (mut other, _far) = pair(true, true);
    let pool = near.pool.clone().unwrap();
    let block = filled(&pool, 100, 1).lend().unwrap();
    let stranger = filled(other.pool.as_ref().unwrap(), 100, 1).lend().unwrap();
    let try_sending = |port: &mut Port, blocks: &[Block]| {
        let sent = port
            .sender
            .try_send_with(&Header::default(), &[], &mut Vec::new(), blocks);
        port.sender.flush().unwrap();
        sent.map_err(|error| error.kind())
    };
    for blocks in [
        vec![block.clone(), block.clone()],
        vec![block.clone(), stranger.clone()],
        vec![stranger.clone()],
    ] {
        assert_eq!(try_sending(&mut near, &blocks), Err(ErrorKind::Unsupported));
    }
    assert_eq!(copy_of_block(&block), Ok(vec![1; 100]));
    assert_eq!(
        try_sending(&mut near, std::slice::from_ref(&block)),
        Ok(Sent::Accepted)
    );
    assert_eq!(
        try_sending(&mut near, std::slice::from_ref(&block)),
        Err(ErrorKind::Unsupported)
    );
    assert_eq!(copy_of_block(&block), Err(ErrorKind::Unsupported));
    assert_eq!((block.len(), &block[..]), (100, &[][..]));
    // The same of what goes back, which goes to nobody else, either.
    let back = lease(&mut far).send_back().unwrap();
    assert_eq!(
        try_sending(&mut near, std::slice::from_ref(&back)),
        Err(ErrorKind::Unsupported)
    );
    assert_eq!(
        try_sending(&mut other, std::slice::from_ref(&back)),
        Err(ErrorKind::Unsupported)
    );
    assert_eq!(
        try_sending(&mut far, &[back.clone(), back.clone()]),
        Err(ErrorKind::Unsupported)
    );
    assert_eq!(
        try_sending(&mut far, std::slice::from_ref(&back)),
        Ok(Sent::Accepted)
    );
    assert_eq!(try_sending(&mut far, &[back]), Err(ErrorKind::Unsupported));
    // The handles of what is gone keep nothing from being used again.
    assert_eq!(lease(&mut near).bytes().unwrap(), [1; 100]);
    assert_eq!(pool.usage().in_use, 0);
    drop(block);
    assert_eq!(pool.usage().in_use, 0);
    // What is not sent after all is back, too.
    send_one(&mut near, filled(&pool, 100, 1).lend().unwrap());
    drop(lease(&mut far).send_back().unwrap());
    drop(filled(&pool, 100, 1).lend().unwrap());
    assert_eq!(pool.usage().in_use, 0);
}

/// What is not taken when it comes back, and what is with a side whose connection has ended.
#[test]
fn nobody_takes_it() {
    let (mut near, mut far) = pair(true, true);
    let pool = near.pool.clone().unwrap();
    for _ in 0..3 {
        send_one(&mut near, filled(&pool, 100_000, 1).lend().unwrap());
    }
    let mut theirs = [(); 3].map(|()| lease(&mut far)).into_iter();
    send_one(&mut far, theirs.next().unwrap().send_back().unwrap());
    let mut message = Message::default();
    assert_eq!(received(&mut near, &mut message).unwrap(), Received::Message);
    message.sections.clear();
    drop(message);
    let mut kept = theirs.next().unwrap();
    let late = theirs.next().unwrap().send_back().unwrap();
    drop(near);
    assert_eq!(pool.usage().in_use, 0);
    // It is there as long as it is held, and written by nobody else.
    kept.bytes_mut().unwrap().fill(9);
    assert_eq!(kept.bytes().unwrap(), [9; 100_000]);
    let sent = far
        .sender
        .try_send_with(&Header::default(), &[], &mut Vec::new(), &[late]);
    let ended = sent.and_then(|_| far.sender.flush());
    assert!(ended.is_err() || end_of(&mut far).is_ok());
}

/// What a side says that it sends back, and does not have.
#[test]
fn what_was_never_lent_does_not_come_back() {
    let lent = at(0, 100_000).lent(Lending::Back);
    let with = |change: fn(&mut Entry)| {
        let mut entry = at(0, 100_000);
        change(&mut entry);
        entry.lent(Lending::Back)
    };
    let cases: [(Entry, &str); 9] = [
        (with(|entry| entry.generation = 0), "never lent"),
        (with(|entry| entry.generation = 2), "never lent"),
        (with(|entry| entry.segment = 1), "never lent"),
        (with(|entry| entry.segment = 64), "never lent"),
        (lent.lent(Lending::Alone), "never lent"),
        (with(|entry| entry.offset = 1), "never lent"),
        (with(|entry| entry.offset = 128 << 10), "never lent"),
        (with(|entry| entry.length += 1), "not as long as it was"),
        (with(|entry| entry.length -= 1), "not as long as it was"),
    ];
    for (entry, rule) in cases {
        in_all_trusting_ways(|mut port, mut foe| {
            let pool = port.pool.clone().unwrap();
            send_one(&mut port, filled(&pool, 100_000, 1).lend().unwrap());
            foe.message(&[entry], b"");
            refused(&mut port, ErrorKind::Protocol, rule);
            drop(port);
            assert_eq!(pool.usage().in_use, 0);
        });
    }
    in_all_trusting_ways(|mut port, mut foe| {
        foe.message(&[lent], b"");
        refused(&mut port, ErrorKind::Protocol, "never lent");
    });
    // What this side still has, or lends to be read only.
    in_all_trusting_ways(|mut port, mut foe| {
        let pool = port.pool.clone().unwrap();
        let held = filled(&pool, 100_000, 1);
        foe.message(&[lent], b"");
        refused(&mut port, ErrorKind::Protocol, "never lent");
        assert_eq!(held[..], [1; 100_000]);
    });
    in_all_trusting_ways(|mut port, mut foe| {
        let pool = port.pool.clone().unwrap();
        send_one(&mut port, block(&pool, 100_000));
        foe.message(&[lent], b"");
        refused(&mut port, ErrorKind::Protocol, "never lent");
    });
    // Where nobody is trusted nothing is ever lent like that.
    in_all_ways(|mut port, mut foe| {
        let pool = port.pool.clone().unwrap();
        send_one(&mut port, filled(&pool, 100_000, 1).lend().unwrap());
        foe.message(&[lent], b"");
        refused(&mut port, ErrorKind::Protocol, "never lent");
    });
}

/// It comes back once.
#[test]
fn what_is_back_does_not_come_back() {
    let lent = at(0, 100_000).lent(Lending::Back);
    in_all_trusting_ways(|mut port, mut foe| {
        let pool = port.pool.clone().unwrap();
        send_one(&mut port, filled(&pool, 100_000, 1).lend().unwrap());
        foe.message(&[lent], b"");
        let ours = lease(&mut port);
        foe.message(&[lent], b"");
        refused(&mut port, ErrorKind::Protocol, "never lent");
        assert_eq!(ours.bytes().unwrap(), [1; 100_000]);
        drop((port, ours));
        assert_eq!(pool.usage().in_use, 0);
    });
    in_all_trusting_ways(|mut port, mut foe| {
        let pool = port.pool.clone().unwrap();
        send_one(&mut port, filled(&pool, 100_000, 1).lend().unwrap());
        foe.message(&[lent, lent], b"");
        refused(&mut port, ErrorKind::Protocol, "overlap");
    });
    // By the word, and by a message.
    in_all_trusting_ways(|mut port, mut foe| {
        let pool = port.pool.clone().unwrap();
        send_one(&mut port, filled(&pool, 100_000, 1).lend().unwrap());
        words_of(&foe).word(0).fetch_add(1, Ordering::SeqCst);
        foe.message(&[lent], b"");
        refused(&mut port, ErrorKind::Protocol, "given back before");
    });
    // The other way round, it has said too much, and does not get this place again.
    in_all_trusting_ways(|mut port, mut foe| {
        let pool = port.pool.clone().unwrap();
        send_one(&mut port, filled(&pool, 100_000, 1).lend().unwrap());
        foe.message(&[lent], b"");
        let ours = lease(&mut port);
        words_of(&foe).word(0).fetch_add(1, Ordering::SeqCst);
        let place = ours.bytes().unwrap().as_ptr();
        drop(ours);
        assert!(pool.usage().in_use > 0);
        assert!(filled(&pool, 100_000, 1).as_ptr() != place);
        drop(port);
        assert_eq!(pool.usage().in_use, 0);
    });
}

/// Who is told to have something to himself, and does not.
#[test]
fn what_is_said_to_be_lent_whole() {
    let made = || {
        let (memory, descriptor) = OwnMemory::create_open(MIB).unwrap();
        Made {
            memory,
            descriptor,
            ..Made::new(MIB)
        }
    };
    let whole = at(0, 1000).lent(Lending::Alone);
    // As it should be.
    in_all_trusting_ways(|mut port, mut foe| {
        let mut made = made();
        made.fill(0, 1000, 4);
        foe.tell(announce_open(MIB), &made.both());
        foe.message(&[whole], b"");
        let mut lease = lease(&mut port);
        assert_eq!(lease.bytes().unwrap(), [4; 1000]);
        lease.bytes_mut().unwrap().fill(5);
        drop(lease);
        assert_eq!(
            (made.returned(0), made.memory.word(0).load(Ordering::SeqCst)),
            (1, 0x0505_0505_0505_0505)
        );
    });
    // To whoever does not trust it is like any other.
    in_all_ways(|mut port, mut foe| {
        let mut made = made();
        made.fill(0, 1000, 4);
        foe.tell(announce_open(MIB), &made.both());
        foe.message(&[whole], b"");
        let mut lease = lease(&mut port);
        assert!(lease.bytes().is_none() && lease.bytes_mut().is_none());
        assert_eq!(copy_of(&lease), [4; 1000]);
        drop(lease);
        assert_eq!(made.returned(0), 1);
    });
    // What nobody may write to is only read.
    in_all_trusting_ways(|mut port, mut foe| {
        let made = Made::new(MIB);
        foe.tell(announce(0, 1, MIB, 2), &made.both());
        foe.message(&[whole], b"");
        let mut lease = lease(&mut port);
        assert!(lease.bytes().is_some() && lease.bytes_mut().is_none());
    });
    for entries in [[whole, whole], [whole, at(0, 1000)], [at(0, MIB), whole]] {
        in_all_trusting_ways(|mut port, mut foe| {
            foe.tell(announce_open(MIB), &made().both());
            foe.message(&entries, b"");
            refused(&mut port, ErrorKind::Protocol, "overlap");
        });
    }
    let size = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    for (memory, rule) in [
        (memfd(MIB, SealFlags::empty()), "its size is not sealed"),
        (
            memfd(MIB, SealFlags::GROW | SealFlags::SEAL),
            "its size is not sealed",
        ),
        (
            memfd(MIB, size | SealFlags::FUTURE_WRITE),
            "sealed against writing",
        ),
        (memfd(2 * MIB, size), "its size is not the one"),
    ] {
        let attack = |mut port: Port, foe: Foe| {
            let words = Made::new(MIB);
            foe.tell(
                announce_open(MIB),
                &[memory.as_fd(), words.words_descriptor.as_fd()],
            );
            refused(&mut port, ErrorKind::Protocol, rule);
        };
        in_all_ways(attack);
        in_all_trusting_ways(attack);
    }
}
